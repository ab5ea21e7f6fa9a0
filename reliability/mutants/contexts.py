"""A plugin for pytest, and a reader of what it leaves: which test runs which line of the helpers.

coverage.py starts in every Python process by itself where COVERAGE_PROCESS_START names its
configuration. In the process of the tests this plugin tells it which test is running; a process
that a test starts, or the kernel of a notebook, finds that in PYTEST_CURRENT_TEST.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import coverage
import pytest

Lines = dict[str, dict[str, dict[int, set[str]]]]
FOLDER = "MUTANTS_MAP"  # the environment variable that says where to write
COLLECTION = ""
HERE = "<here>"  # begins the context of what ran in the process of the tests

CONFIGURATION = """\
[run]
core = ctrace
parallel = true
sigterm = true
data_file = {folder}/data
context = ${{PYTEST_CURRENT_TEST-}}
include = {helpers}/*
"""
# nbval kills its kernels, so a kernel keeps what it knows after each cell.
STARTUP = """\
import coverage

if _collector := coverage.Coverage.current():
    get_ipython().events.register("post_execute", _collector.save)
"""


class Contexts:
    """Tells coverage.py which test is running, and keeps how long each took."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        collector = coverage.Coverage.current()
        collector.switch_context(HERE + item.nodeid)
        try:
            return (yield)
        finally:
            collector.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        told = {"seconds": self.seconds, "failed": sorted(self.failed)}
        path = self.folder / f"tests-{os.getpid()}.json"
        path.write_text(json.dumps(told), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    # With pytest-xdist, the tests run in its workers.
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Contexts(Path(os.environ[FOLDER])))


def read(folder: Path, helpers: Path) -> dict[str, dict]:
    """What a run left: for each test its time, and its lines of the helpers by module.

    A notebook counts as one test, since its cells build on one another. Tests that did not pass
    are left out: they can judge nothing. What runs while tests are collected has the empty name.
    """
    seconds, failed = defaultdict(float), set()
    for path in sorted(folder.glob("tests-*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        for name, duration in told["seconds"].items():
            seconds[_test(name)] += duration
        failed |= {_test(name) for name in told["failed"]}
    found = {
        name: {"seconds": round(duration, 4), "here": {}, "elsewhere": {}}
        for name, duration in seconds.items()
        if name not in failed
    }
    found[COLLECTION] = {"seconds": 0.0, "here": {}, "elsewhere": {}}
    for path in sorted(folder.glob("data.*")):
        data = coverage.CoverageData(basename=str(path))
        data.read()
        for file in data.measured_files():
            module = Path(file).relative_to(helpers).as_posix()
            _add(found, module, data.contexts_by_lineno(file))
    for test in found.values():
        for place in ("here", "elsewhere"):
            test[place] = {module: sorted(lines) for module, lines in test[place].items()}
    return found


def add_lines(test: dict, other: dict) -> None:
    """Add the lines of another entry to those of a test."""
    for place in ("here", "elsewhere"):
        for module, lines in other[place].items():
            test[place][module] = sorted({*lines, *test[place].get(module, ())})


def prepare(folder: Path, helpers: Path) -> dict[str, str]:
    """Write what coverage.py and the kernels read; the environment that leads them to it."""
    configuration = folder / "coveragerc"
    startup = folder / "ipython" / "profile_default" / "startup" / "keep.py"
    startup.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(CONFIGURATION.format(folder=folder, helpers=helpers), encoding="utf-8")
    startup.write_text(STARTUP, encoding="utf-8")
    return {
        "COVERAGE_PROCESS_START": str(configuration),
        "IPYTHONDIR": str(folder / "ipython"),
        FOLDER: str(folder),
    }


def _add(found: dict[str, dict], module: str, by_line: dict[int, list[str]]) -> None:
    for line, contexts in by_line.items():
        for context in set(contexts):
            _, is_here, name = context.rpartition(HERE)
            # PYTEST_CURRENT_TEST goes on with the phase: `... (call)`.
            name = _test(name if is_here else name.rpartition(" (")[0])
            if name in found:
                lines = found[name]["here" if is_here else "elsewhere"].setdefault(module, set())
                lines.add(line)


def _test(name: str) -> str:
    """The name of a test, or of the notebook that a cell is in."""
    file, _, _ = name.partition("::")
    return file if file.endswith(".ipynb") else name


def is_notebook(test: str) -> bool:
    """Whether a test is a notebook."""
    return test.endswith(".ipynb")


def file_of(test: str) -> str:
    """The file that a test is in."""
    return test.partition("::")[0]


def by_line(tests: dict[str, dict]) -> Lines:
    """The same map turned round: which tests run a line, by place, module and line."""
    found: Lines = {"here": {}, "elsewhere": {}}
    for name, test in tests.items():
        for place, modules in found.items() if name != COLLECTION else ():
            for module, lines in test[place].items():
                known = modules.setdefault(module, defaultdict(set))
                for line in lines:
                    known[line].add(name)
    return found


def covering(
    lines_of: Lines, module: str, lines: tuple[int, int] | None, places: Iterable[str]
) -> set[str]:
    """The tests that run any of the lines of a module (of all its lines for None)."""
    return {
        name
        for place in places
        for line, names in lines_of[place].get(module, {}).items()
        if lines is None or lines[0] <= line <= lines[1]
        for name in names
    }
