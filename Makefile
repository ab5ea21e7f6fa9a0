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
AUDIT_STAMP := $(VENV)/.installed-audit
MUTANTS_STAMP := $(VENV)/.installed-mutants
LOCK := .ci/requirements.txt
BUILD_LOCK := .ci/build-requirements.txt
comma := ,
SOURCES = helpers workshop reliability tests conftest.py $(wildcard benchmarks docs notebooks)
FIRST_NOTEBOOK := notebooks/01_cholesky_theory.ipynb
# What takes long, and checks what is generated rather than what it is generated from.
WORKSHOP_TESTS := $(addprefix tests/test_,sheets_in_browser.py slides_in_browser.py \
  student_copies.py workshop_copies.py)

# A PYTHONPATH of the user could put another helpers package before ours.
unexport PYTHONPATH
# Small matrices are slower on several threads than on one.
test test-browser test-distributed test-site test-trust test-workshop notebooks run-times \
  mutants stands soak: export OMP_NUM_THREADS := 1

# $(call install,EXTRAS) takes the versions of constraints.txt. With CI set it takes nothing but the
# files whose hashes stand in the lock, which holds the extras too; torch, of which each platform
# has builds of its own, by its version alone; and then the course. One package, yattag, comes as
# source only: it is built, as the course is, with the build tools that were installed first.
by_constraints = $(RUN) pip install --disable-pip-version-check -c constraints.txt -e ".[$(1)]"
define by_hashes
$(RUN) pip install --disable-pip-version-check --require-hashes --only-binary :all: -r $(BUILD_LOCK)
$(RUN) pip install --disable-pip-version-check --require-hashes --only-binary :all: \
  --no-binary yattag --no-build-isolation -r $(LOCK)
$(RUN) pip install --disable-pip-version-check --only-binary :all: -c constraints.txt torch
$(RUN) pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
$(RUN) pip check
endef
install = $(by_constraints)
ifneq ($(strip $(CI)),)
install = $(if $(filter test,$(1)),$(by_hashes),$(if $(findstring bench,$(1)),$(by_constraints)))
endif

.DEFAULT_GOAL := help
.PHONY: help setup lab test test-workshop test-browser test-trust test-distributed test-static \
  notebooks workshop run-times site test-site bench mutants stands soak audit lock lint format clean

help:  ## list these verbs
	@echo "usage: make VERB [PYTHON=python3.12] [PORT=8888] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s%s\n", $$1, $$2 }'

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
	$(call install,test)
	@touch "$(STAMP)"

lab: $(STAMP)  ## open the course in JupyterLab
	@[ -z "$$HOME" ] || [ -w "$$HOME" ] || mkdir -p "$$HOME" 2> /dev/null || { \
	  echo "make: JupyterLab keeps its settings in your home folder, and '$$HOME' cannot be written. Name another folder: make lab HOME=/a/folder/of/yours" >&2; exit 1; }
	$(RUN) jupyterlab --ServerApp.root_dir=. --port=$(PORT) $(ARGS) $(FIRST_NOTEBOOK)

lint: $(STAMP)  ## check style and spelling
	$(RUN) ruff check $(SOURCES)
	$(RUN) ruff format --check $(SOURCES)
	$(RUN) codespell_lib $(SOURCES) README.md

test: lint  ## test the helpers and run every notebook (ARGS go to pytest)
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval --nbval-current-env \
	  --nbval-cell-timeout=120 --nbval-kernel-startup-timeout=120 \
	  $(addprefix --ignore=,tests/test_site_in_browser.py tests/browser tests/many_ranks tests/trust \
	  $(WORKSHOP_TESTS)) \
	  $(wildcard notebooks) tests $(ARGS)

test-workshop: $(STAMP)  ## run what learners are given, stub by stub, and look at slides and sheets
	$(RUN) pytest -q -n 2 --dist loadfile $(WORKSHOP_TESTS) $(ARGS)

test-browser: $(STAMP)  ## run every notebook in JupyterLab in a browser, pictures in build/browser
	$(RUN) pytest -n 2 --dist worksteal tests/browser $(ARGS)

test-trust: $(MUTANTS_STAMP)  ## kill fits, run notebooks where little is there, plant mistakes in helpers and statements, run the benchmarks' contestants
	$(RUN) pytest -q -n 2 --dist loadfile tests/trust $(ARGS)

test-distributed: $(STAMP)  ## fit shards with several processes, kill and stop some of them, spoil shards and disks
	$(RUN) pytest -q -n 2 --dist loadfile tests/many_ranks $(ARGS)

test-static: $(STAMP)  ## check the form of the notebooks without running them
	$(RUN) pytest -q tests/test_notebooks_static.py $(ARGS)

notebooks: $(STAMP)  ## re-execute the notebooks and store what changed (ONLY=01 for one of them)
	"$(BIN)/python" tests/store_notebooks.py $(ONLY) $(ARGS)

workshop: $(STAMP)  ## write copies, slides and sheets to build/workshop (PLAN=90min, half-day, day, second-half-day, second-day, scaling-out or term)
	$(RUN) workshop --plan "$(PLAN)" $(ARGS)

run-times: $(STAMP)  ## measure how long each notebook runs, for the teacher's guide
	$(RUN) workshop run-times

site: $(DOCS_STAMP)  ## build the website in build/site
	"$(BIN)/python" docs/build.py $(ARGS)

test-site: $(DOCS_STAMP)  ## build the website and look at every page of it in a browser
	$(RUN) pytest -q -n 2 tests/test_site.py tests/test_site_in_browser.py $(ARGS)

$(DOCS_STAMP): $(STAMP)
	$(call install,test$(comma)docs)
	@touch "$(DOCS_STAMP)"

bench: $(BENCH_STAMP)  ## measure the helpers beside other libraries (ARGS=--quick for a short run)
	$(RUN) benchmarks $(ARGS)

$(BENCH_STAMP): $(STAMP)
	$(call install,test$(comma)bench)
	@touch "$(BENCH_STAMP)"

mutants: $(MUTANTS_STAMP)  ## change the helpers in small ways: which changes do the tests notice (ARGS=--record: keep it)
	$(RUN) reliability mutants $(ARGS)

$(MUTANTS_STAMP): $(STAMP)
	$(call install,test$(comma)mutants)
	@touch "$(MUTANTS_STAMP)"

stands: $(STAMP)  ## run every notebook in more than twenty environments and compare all outputs (ARGS=--record: keep it)
	$(RUN) reliability stands $(ARGS)

soak: $(STAMP)  ## fit ten thousand times, and run all notebooks in one server at once (ARGS=--record: keep it)
	$(RUN) reliability soak $(ARGS)

audit: $(AUDIT_STAMP)  ## look up the pinned versions in a database of known vulnerabilities (ARGS=--record: keep it)
	$(RUN) reliability audit $(ARGS)

UV_LOCK = "$(BIN)/uv" pip compile --universal --python-version 3.11.0 --generate-hashes \
  --no-config --no-header --no-annotate --quiet --constraints constraints.txt

lock: $(AUDIT_STAMP)  ## write the hashes of what CI installs, after a change of the pins
	@mkdir -p build
	sed '/^#/!d' .ci/requirements.in > build/lock.txt
	$(UV_LOCK) --extra test --extra docs --extra audit --extra mutants --no-emit-package torch \
	  --excludes .ci/not-locked.txt pyproject.toml .ci/build-requirements.in >> build/lock.txt
	mv build/lock.txt $(LOCK)
	sed '/^#/!d' .ci/build-requirements.in > build/lock.txt
	$(UV_LOCK) .ci/build-requirements.in >> build/lock.txt
	mv build/lock.txt $(BUILD_LOCK)

$(AUDIT_STAMP): $(STAMP)
	$(call install,test$(comma)audit)
	@touch "$(AUDIT_STAMP)"

format: $(STAMP)  ## rewrite the code in the common style
	$(RUN) ruff check --fix $(SOURCES)
	$(RUN) ruff format $(SOURCES)

clean:  ## remove .venv and what tools have left behind
	rm -rf "$(VENV)" build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find $(SOURCES) -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
