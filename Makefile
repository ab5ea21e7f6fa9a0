# Everything is relative to this folder, so that a path with a space in it does no harm.
# Variables: make setup PYTHON=python3.12 (it counts when .venv is created: make clean first),
# make lab PORT=9000, make test ARGS="-k cholesky", make notebooks ONLY=01, make workshop PLAN=90min.

VENV := .venv
PORT ?= 8888
ARGS ?=
ONLY ?=
PLAN ?= day
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif

RUN := "$(BIN)/python" -m
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DOCS_STAMP := $(VENV)/.installed-docs
SOURCES = helpers workshop tests conftest.py $(wildcard benchmarks docs notebooks)
FIRST_NOTEBOOK := notebooks/01_cholesky_theory.ipynb
# What takes long, and checks what is generated rather than what it is generated from.
WORKSHOP_TESTS := tests/test_slides_in_browser.py $(wildcard tests/test_student_copies_*.py)

# A PYTHONPATH of the user could put another helpers package before ours.
unexport PYTHONPATH
# Small matrices are slower on several threads than on one.
test test-browser test-site test-workshop notebooks run-times: export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help setup lab test test-workshop test-browser test-static notebooks workshop run-times site test-site bench lint format clean

help:  ## list these verbs
	@echo "usage: make VERB [PYTHON=python3.12] [PORT=8888] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s%s\n", $$1, $$2 }'

setup: $(STAMP)  ## create .venv and install the course in it (does nothing when that is done)

# The check runs on any Python that can be found, so it is written in words that Python 2 knows too.
$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "make: there is no '$(PYTHON)' on this machine. Install Python 3.11 or later from https://www.python.org/downloads/, or name the one you have: make setup PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: '$(PYTHON)' is older than Python 3.11. Install Python 3.11 or later from https://www.python.org/downloads/, or name the one you have: make setup PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "make: '$(PYTHON)' comes without the venv module. Install it (on Debian and Ubuntu: sudo apt-get install python3-venv) and run make again." >&2; exit 1; }
	@"$(BIN)/python" -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(VENV)"
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch "$(STAMP)"

lab: $(STAMP)  ## open the course in JupyterLab
	$(RUN) jupyterlab --ServerApp.root_dir=. --port=$(PORT) $(ARGS) $(FIRST_NOTEBOOK)

lint: $(STAMP)  ## check style and spelling
	$(RUN) ruff check $(SOURCES)
	$(RUN) ruff format --check $(SOURCES)
	$(RUN) codespell_lib $(SOURCES) README.md

test: lint  ## run every test and every notebook (ARGS go to pytest)
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval --nbval-current-env \
	  --nbval-cell-timeout=120 --nbval-kernel-startup-timeout=120 \
	  $(addprefix --ignore=,tests/test_site_in_browser.py tests/browser $(WORKSHOP_TESTS)) \
	  $(wildcard notebooks) tests $(ARGS)

test-workshop: $(STAMP)  ## run what learners are given, stub by stub, and look at the slides
	$(RUN) pytest -q -n 2 --dist loadfile $(WORKSHOP_TESTS) $(ARGS)

test-browser: $(STAMP)  ## run every notebook in JupyterLab in a browser, pictures in build/browser
	$(RUN) pytest -n 2 --dist worksteal tests/browser $(ARGS)

test-static: $(STAMP)  ## check the form of the notebooks without running them
	$(RUN) pytest -q tests/test_notebooks_static.py $(ARGS)

notebooks: $(STAMP)  ## re-execute the notebooks and store what changed (ONLY=01 for one of them)
	"$(BIN)/python" tests/store_notebooks.py $(ONLY) $(ARGS)

workshop: $(STAMP)  ## write copies, slides and sheets to build/workshop (PLAN=90min, half-day or day)
	$(RUN) workshop --plan "$(PLAN)" $(ARGS)

run-times: $(STAMP)  ## measure how long each notebook runs, for the teacher's guide
	$(RUN) workshop run-times

site: $(DOCS_STAMP)  ## build the website in build/site
	"$(BIN)/python" docs/build.py $(ARGS)

test-site: $(DOCS_STAMP)  ## build the website and look at every page of it in a browser
	$(RUN) pytest -q -n 2 tests/test_site.py tests/test_site_in_browser.py $(ARGS)

$(DOCS_STAMP): $(STAMP)
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e ".[test,docs]"
	@touch "$(DOCS_STAMP)"

bench: $(BENCH_STAMP)  ## measure the helpers beside other libraries (ARGS=--quick for a short run)
	$(RUN) benchmarks $(ARGS)

$(BENCH_STAMP): $(STAMP)
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e ".[test,bench]"
	@touch "$(BENCH_STAMP)"

format: $(STAMP)  ## rewrite the code in the common style
	$(RUN) ruff check --fix $(SOURCES)
	$(RUN) ruff format $(SOURCES)

clean:  ## remove .venv and what tools have left behind
	rm -rf "$(VENV)" build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find $(SOURCES) -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
