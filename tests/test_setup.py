"""The set-up: three lists of requirements that agree, and a Makefile that says what is missing."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"playwright-python": "playwright", "pytorch": "torch"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = map(Requirement, lines)
    return {canonicalize_name(one.name): one for one in parsed}


def needed() -> dict[str, Requirement]:
    """What pyproject.toml asks for, to run the course and to test it."""
    return requirements(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"])


def pinned() -> dict[str, Requirement]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return requirements([line for line in text.splitlines() if line and line[0] != "#"])


def locked(text: str) -> dict[str, tuple[Requirement, list[str]]]:
    """What CI installs, and the hashes of the files that it takes."""
    entries = text.replace("\\\n", " ").splitlines()
    found = {}
    for entry in entries:
        if entry and entry[0] != "#":
            line, *hashes = re.split(r"\s+--hash=", entry.strip())
            requirement = Requirement(line)
            found[canonicalize_name(requirement.name)] = (requirement, hashes)
    return found


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def conda_packages() -> dict[str, SpecifierSet]:
    lines = [line for line in conda()["dependencies"] if isinstance(line, str)]
    # conda writes one sign where pip writes two.
    parsed = [Requirement(re.sub(r"(?<=\w)=(?=\d)", "==", line)) for line in lines]
    return {CONDA_NAMES.get(one.name, one.name): one.specifier for one in parsed}


def test_environment_yml_asks_for_what_pyproject_asks_for():
    packages = conda_packages()
    (python,) = packages.pop("python")
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.version)
    assert packages.pop("pip") == SpecifierSet()
    assert packages == {name: one.specifier for name, one in needed().items()}


def test_environment_yml_installs_the_helpers_and_nothing_else_by_pip():
    (by_pip,) = (line["pip"] for line in conda()["dependencies"] if isinstance(line, dict))
    assert by_pip == ["-e ."]
    assert conda()["channels"] == ["conda-forge"]
    assert conda()["name"] == PROJECT["name"]


def test_every_requirement_has_a_lower_bound_and_no_other():
    for requirement in needed().values():
        assert [clause.operator for clause in requirement.specifier] == [">="], str(requirement)


def test_every_pin_is_exact_and_meets_its_bound():
    pins = pinned()
    for name, pin in pins.items():
        assert [clause.operator for clause in pin.specifier] == ["=="], str(pin)
        # Without a build suffix, so that every platform finds the version.
        assert "+" not in str(pin.specifier), name
    for name, requirement in needed().items():
        (pin,) = pins[name].specifier
        assert requirement.specifier.contains(pin.version), name


def test_the_pins_cover_all_that_the_requirements_pull_in():
    """Follow the requirements of what is installed here, package by package."""
    waiting, seen = list(needed()), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in metadata.requires(name) or []:
            child = Requirement(line)
            if child.marker is None or child.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(child.name))
    # A CUDA build of torch brings libraries that the builds for other machines lack.
    extras_of_cuda = {name for name in seen if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert seen - extras_of_cuda <= set(pinned())


@pytest.mark.parametrize("extra", ["audit", "bench", "docs", "mutants"])
def test_what_the_course_does_not_need_is_bounded_and_pinned_and_not_in_environment_yml(extra):
    """What audits, measures and builds the website: `make` installs it when asked to."""
    peers = requirements(PROJECT["optional-dependencies"][extra])
    for name, requirement in peers.items():
        assert [clause.operator for clause in requirement.specifier] == [">="], name
        (pin,) = pinned()[name].specifier
        assert requirement.specifier.contains(pin.version), name
    assert not set(peers) & (set(conda_packages()) - set(needed()))


LOCK = (ROOT / ".ci" / "requirements.txt").read_text(encoding="utf-8")
BUILD_LOCK = (ROOT / ".ci" / "build-requirements.txt").read_text(encoding="utf-8")
# What only the benchmarks need, and torch, which is installed by its version alone.
NOT_LOCKED = {
    *("dask", "distributed", "gpytorch", "jax", "jaxlib", "linear-operator", "locket"),
    *("ml-dtypes", "multipledispatch", "numpyro", "opt-einsum", "partd", "pyro-api", "pyro-ppl"),
    *("tblib", "toolz", "torch", "zict"),
}


def test_ci_installs_the_pinned_versions_and_only_files_whose_hash_is_known():
    pins = {name: pin.specifier for name, pin in pinned().items()}
    lock = locked(LOCK)
    assert {name: one.specifier for name, (one, _) in lock.items()} == {
        name: pins[name] for name in pins if name not in NOT_LOCKED
    }
    for name, (_, hashes) in lock.items():
        assert hashes, name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), name


def test_ci_builds_with_the_tools_that_pyproject_asks_for():
    asked = requirements(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    )
    tools, lock = locked(BUILD_LOCK), locked(LOCK)
    assert set(tools) == set(asked)
    for name, (one, hashes) in tools.items():
        assert (one.specifier, hashes) == (lock[name][0].specifier, lock[name][1])


def test_what_is_not_locked_is_in_the_pins_and_no_library_of_a_gpu_is_in_either():
    assert set(pinned()) >= NOT_LOCKED
    assert not [name for name in pinned() if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_the_lock_says_why_torch_is_not_in_it():
    about = (ROOT / ".ci" / "requirements.in").read_text(encoding="utf-8")
    comments = "".join(line for line in about.splitlines(keepends=True) if line[0] == "#")
    assert "torch is installed after the rest, by its version alone" in comments
    assert LOCK.startswith(comments), "make lock writes it again"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"(?m)^zipp==\S+", "zipp==0.1"),
        (r"(?m)^zipp==(.|\n)*?(?=^\w)", ""),
        (r"(?m)^(zipp==\S+)( \\\n +--hash\S+)+", r"\1"),
        (r"sha256:.{60}", "sha256:"),
    ],
)
def test_a_lock_that_differs_would_be_noticed(old, new, monkeypatch):
    changed, n_changed = re.subn(old, new, LOCK, count=1)
    assert n_changed == 1
    monkeypatch.setitem(globals(), "LOCK", changed)
    with pytest.raises(AssertionError):
        test_ci_installs_the_pinned_versions_and_only_files_whose_hash_is_known()


def test_what_is_installed_meets_the_bounds():
    for name, requirement in needed().items():
        assert requirement.specifier.contains(metadata.version(name), prereleases=True), name


@pytest.mark.skipif(not os.environ.get("CI"), reason="only where constraints.txt was installed")
def test_what_is_installed_is_what_is_pinned():
    for name in needed():
        assert pinned()[name].specifier.contains(metadata.version(name)), name


def test_helpers_come_from_this_checkout():
    """The editable installation holds from any folder, with a clean PYTHONPATH."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import importlib.util as found; print(found.find_spec('helpers').origin)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT.parent, env=clean, capture_output=True, check=True)
    assert Path(said.stdout.decode().strip()) == ROOT / "helpers" / "__init__.py"


# The Makefile, in a copy of the files it needs, in a folder with a space in its name. ------------


MAKE = shutil.which("make")
needs_make = pytest.mark.skipif(
    MAKE is None or sys.platform == "win32", reason="stands in for programs by shell scripts"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # An outer make must not hand its flags and variables down, nor CI its way to install.
    outer = ("CI", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS", "ONLY", "PLAN", "PORT", "PYTHON")
    clean = {k: v for k, v in os.environ.items() if k not in outer}
    clean["PYTHONPATH"] = "/elsewhere"
    return subprocess.run(
        [MAKE, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )


def fake_python(folder: Path) -> Path:
    """An interpreter that creates a .venv of fakes, and writes down what it is asked for."""
    log = folder / "log"
    inside = folder / "inside"
    script(inside, f'echo "$*" >> "{log}"')
    create = f'mkdir -p .venv/bin && cp "{inside}" .venv/bin/python && chmod +x .venv/bin/python'
    return script(
        folder / "fake python", f'echo "$*" >> "{log}"\ncase "$2" in venv) {create};; esac'
    )


@needs_make
def test_make_lists_its_verbs(checkout):
    said = make(checkout).stdout
    verbs = ["setup", "lab", "test", "notebooks", "workshop", "run-times", "site"]
    verbs += ["test-site", "test-browser", "test-trust", "test-workshop", "test-distributed"]
    verbs += ["mutants", "stands", "soak", "audit", "lock"]
    for verb in [*verbs, "bench", "lint", "format", "clean"]:
        assert f"\n  {verb} " in said
    assert said == make(checkout, "help").stdout


@needs_make
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('case "$2" in *version_info*) exit 1;; esac', "is older than Python 3.11. Install Python"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "without the venv module. Install it"),
    ],
)
def test_make_says_in_one_sentence_what_to_install(checkout, body, words):
    python = script(checkout / "fake python", body)
    said = make(checkout, "setup", f"PYTHON={python}")
    assert said.returncode != 0
    sentence, *rest = said.stderr.splitlines()
    assert words in sentence
    # Besides our sentence make itself reports the target that failed, and nothing else.
    assert len(rest) == 1
    assert "Traceback" not in said.stderr
    assert not (checkout / ".venv").exists()


@needs_make
def test_make_says_that_there_is_no_python(checkout):
    said = make(checkout, "setup", "PYTHON=python-of-nowhere")
    assert said.returncode != 0
    assert "there is no 'python-of-nowhere' on this machine. Install Python 3.11" in said.stderr


@needs_make
def test_the_version_check_tells_old_from_new(checkout):
    """The very words of the Makefile, given to this interpreter: it is new enough."""
    check = next(
        line for line in (checkout / "Makefile").read_text().splitlines() if "info <" in line
    )
    code = check.split("'")[1]
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    too_new = code.replace("(3, 11)", "(99, 0)")
    assert too_new != code
    assert subprocess.run([sys.executable, "-c", too_new], check=False).returncode == 1


@needs_make
def test_a_second_setup_installs_nothing_until_the_requirements_change(checkout):
    python = f"PYTHON={fake_python(checkout)}"
    install = "pip install --disable-pip-version-check -c constraints.txt -e .[test]"
    log = checkout / "log"
    assert make(checkout, "setup", python).returncode == 0
    assert log.read_text().count(install) == 1
    assert make(checkout, "setup", python).returncode == 0
    assert log.read_text().count(install) == 1
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / "constraints.txt", (later, later))
    assert make(checkout, "setup", python).returncode == 0
    assert log.read_text().count(install) == 2
    assert log.read_text().count("-m venv") == 1


@needs_make
def test_in_ci_nothing_is_installed_without_its_hash_but_torch_and_the_course(checkout):
    make(checkout, "audit", "site", f"PYTHON={fake_python(checkout)}", "CI=true")
    said = [line for line in (checkout / "log").read_text().splitlines() if "-m pip " in line]
    pip = "-m pip install --disable-pip-version-check"
    assert said == [
        f"{pip} --require-hashes --only-binary :all: -r .ci/build-requirements.txt",
        f"{pip} --require-hashes --only-binary :all: --no-binary yattag --no-build-isolation "
        "-r .ci/requirements.txt",
        f"{pip} --only-binary :all: -c constraints.txt torch",
        f"{pip} --no-deps --no-build-isolation -e .",
        "-m pip check",
    ]


@needs_make
def test_an_installation_that_failed_is_tried_again(checkout):
    python = fake_python(checkout)
    failing = 'case "$*" in *install*) exit 7;; esac'
    good = (checkout / "inside").read_text()
    script(checkout / "inside", failing)
    assert make(checkout, "setup", f"PYTHON={python}").returncode != 0
    (checkout / ".venv/bin/python").write_text(good)
    assert make(checkout, "setup", f"PYTHON={python}").returncode == 0
    assert "install" in (checkout / "log").read_text()


@needs_make
def test_lab_opens_the_first_notebook_on_the_port_asked_for(checkout):
    make(checkout, "lab", f"PYTHON={fake_python(checkout)}", "PORT=9123", "ARGS=--no-browser")
    last = (checkout / "log").read_text().splitlines()[-1]
    options = "--ServerApp.root_dir=. --port=9123 --no-browser"
    assert last == f"-m jupyterlab {options} notebooks/01_cholesky_theory.ipynb"


@needs_make
def test_lab_says_that_it_needs_a_home_folder(checkout):
    python = f"PYTHON={fake_python(checkout)}"
    said = make(checkout, "lab", python, "HOME=/dev/null/home")
    assert said.returncode != 0
    assert (
        "in your home folder, and '/dev/null/home' cannot be written. Name another" in said.stderr
    )
    assert "jupyterlab" not in (checkout / "log").read_text()
    assert make(checkout, "lab", python, f"HOME={checkout / 'new home'}").returncode == 0
    assert "jupyterlab" in (checkout / "log").read_text()


@needs_make
def test_test_runs_the_notebooks_in_strict_mode_on_one_thread(checkout):
    (checkout / "notebooks").mkdir()
    python = fake_python(checkout)
    script(checkout / "inside", f'echo "$* $OMP_NUM_THREADS<$PYTHONPATH>" >> "{checkout}/log"')
    make(checkout, "test", f"PYTHON={python}", "ARGS=-k cholesky")
    last = (checkout / "log").read_text().splitlines()[-1]
    assert last.startswith("-m pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval ")
    assert last.endswith("notebooks tests -k cholesky 1<>")


@needs_make
@pytest.mark.parametrize(("given", "plan"), [([], "day"), (["PLAN=90min"], "90min")])
def test_workshop_hands_the_plan_on(checkout, given, plan):
    make(checkout, "workshop", f"PYTHON={fake_python(checkout)}", *given)
    assert (checkout / "log").read_text().splitlines()[-1] == f"-m workshop --plan {plan}"


@needs_make
def test_bench_installs_the_peers_once(checkout):
    python = f"PYTHON={fake_python(checkout)}"
    log = checkout / "log"
    for _ in range(2):
        assert make(checkout, "bench", python, "ARGS=--quick").returncode == 0
    assert log.read_text().count("-c constraints.txt -e .[test,bench]") == 1
    assert log.read_text().count("-m benchmarks --quick") == 2
