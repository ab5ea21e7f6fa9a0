"""A process that runs tests against mutants, one after another, each in a fork of its own.

Started twice for each worker, in the worker's own copy of the checkout. `swap` has imported the
helpers and collected all tests: a fork puts the mutant's bytecode in place of a function's and
runs the tests that reach it, within milliseconds. `fresh` has imported only what the helpers
import: a fork plants the mutant's bytecode beside the right source, and imports helpers and tests.
That serves changes which act at import, and gives survivors a second trial, in which processes
that a test starts see the mutant too. In both, source stays right: a mutant dies for what it
computes, not for how it reads.

Requests and answers are lines of JSON on two pipes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import py_compile
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from reliability.mutants.codes import codes_within

# What a test may need besides the helpers, and takes long to import.
HEAVY = (
    "torch",
    "numpy",
    "scipy.stats",
    "hypothesis",
    "matplotlib.pyplot",
    "pandas",
    "sklearn.datasets",
    "sklearn.covariance",
    "seaborn",
    "nbformat",
    "PIL.Image",
    "ipywidgets",
)
OPTIONS = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:randomly"]
KILLED, SURVIVED, TIMEOUT, IMPOSSIBLE = "killed", "survived", "timeout", "impossible"
SLOWNESS = 10  # a test may take so many times its time,
PATIENCE = 6.0  # and as many seconds more, on a busy machine
UNKNOWN = 1.0  # seconds of a test that was never measured
STARTING = 90.0  # seconds to import and collect

Request = dict[str, Any]


def load_settings() -> None:
    """Random tests that draw the same at each run, know no time, and do not simplify a failure."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants", database=None, deadline=None, derandomize=True, phases=phases
    )
    settings.load_profile("mutants")


class Verdict:
    """A plugin that stops at the first failure, and says before each test which it is."""

    def __init__(self, tell: Callable[[str, str], None]):
        self.tell = tell

    def pytest_collection(self) -> None:
        load_settings()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.end(KILLED, report.nodeid)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell("started", nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.end(KILLED, report.nodeid)

    def end(self, outcome: str, by: str) -> None:
        self.tell(outcome, by)
        os._exit(0)


class Server(Verdict):
    """Instead of running the tests it collected, runs some of them for each request."""

    def __init__(self, channel: Channel):
        super().__init__(lambda *_: None)
        self.channel = channel
        self.is_child = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            raise RuntimeError(f"{report.nodeid}: expected to be collected\n{report.longrepr}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.is_child:
            super().pytest_runtest_logreport(report)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        helpers = Path.cwd() / "helpers"
        items = {item.nodeid: item for item in session.items}
        import_all(helpers)
        functions = functions_of(helpers)
        self.channel.answer({"ready": len(items)})
        for request in self.channel.requests():
            chosen = [items[name] for name in named(items, request["tests"])]

            def run(tell: Callable[[str, str], None], request=request, chosen=chosen) -> None:
                self.tell, self.is_child = tell, True
                if request["source"] and not swap(functions, helpers, request):
                    self.end(IMPOSSIBLE, "")
                for item, following in zip(chosen, [*chosen[1:], None], strict=True):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                self.end(SURVIVED, "")

            self.channel.answer(in_a_fork(run, request["seconds"]))
        os._exit(0)


def named(there: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """The tests that are wanted, once, in that order; a file stands for all tests in it."""
    by_name: dict[str, list[str]] = {}
    for name in there:
        by_name.setdefault(name, []).append(name)
        by_name.setdefault(name.partition("::")[0], []).append(name)
    return list(dict.fromkeys(name for one in wanted for name in by_name.get(one, [])))


class Chosen(Verdict):
    """Of what is collected, runs the tests of a request in its order."""

    def __init__(self, tell: Callable[[str, str], None], tests: list[str]):
        super().__init__(tell)
        self.tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        found = {item.nodeid: item for item in items}
        items[:] = [found[name] for name in named(found, self.tests)]


class Channel:
    """Lines of JSON, one way and the other."""

    def __init__(self, reading: int, writing: int):
        self.reader = os.fdopen(reading, "r", encoding="utf-8")
        self.writer = os.fdopen(writing, "w", encoding="utf-8")

    def requests(self) -> Iterator[Request]:
        for line in self.reader:
            yield json.loads(line)

    def answer(self, told: dict) -> None:
        self.writer.write(json.dumps(told) + "\n")
        self.writer.flush()


def import_all(helpers: Path) -> None:
    """Import every module of the helpers that is not a program."""
    for path in sorted(helpers.rglob("*.py")):
        parts = path.relative_to(helpers.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            importlib.import_module(".".join(parts).removesuffix(".__init__"))


def functions_of(helpers: Path) -> dict[CodeType, list[FunctionType]]:
    """Every function object of the helpers by its code, of which the position is a part."""
    found: dict[CodeType, list[FunctionType]] = {}
    gc.unfreeze()  # what is frozen is not listed
    for thing in gc.get_objects():
        # isinstance would ask lazy objects for their class, and some warn then.
        if type(thing) is FunctionType and thing.__code__.co_filename.startswith(str(helpers)):
            found.setdefault(thing.__code__, []).append(thing)
    gc.freeze()  # and what is frozen stays shared with the forks
    if not found:
        raise RuntimeError(f"expected functions of {helpers} among what is imported, got none")
    return found


def swap(functions: dict[CodeType, list[FunctionType]], helpers: Path, request: Request) -> bool:
    """Give a function the bytecode of the mutant; False where that cannot be done.

    And to those that it has made already, as a function that is called at import has.
    """
    path, swapped = helpers / request["module"], request["swapped"]
    right, wrong = (
        codes_within(compile(source, str(path), "exec"))
        for source in (path.read_text(encoding="utf-8"), request["source"])
    )
    try:
        for name in (name for name in right if f"{name}/".startswith(f"{swapped}/")):
            for function in functions.get(right[name], []):
                function.__code__ = wrong[name]
    except ValueError:  # another number of free variables
        return False
    return right[swapped] in functions


@contextlib.contextmanager
def planted(helpers: Path, module: str, source: str) -> Iterator[None]:
    """Wrong bytecode beside the right source of a module, for as long as it lasts."""
    path = helpers / module
    compiled = Path(importlib.util.cache_from_source(str(path)))
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder) / "mutant.py"
        wrong.write_text(source, encoding="utf-8")
        py_compile.compile(
            str(wrong),
            cfile=str(compiled),
            dfile=str(path),
            doraise=True,
            invalidation_mode=unchecked,
        )
    try:
        yield
    finally:
        compiled.unlink(missing_ok=True)


def in_a_fork(run: Callable[[Callable[[str, str], None]], None], seconds: dict) -> dict:
    """Run something in a fork; what it said last, or that a test took too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reading)
        try:
            run(lambda outcome, by: os.write(writing, f"{outcome} {by}\n".encode()) and None)
        finally:
            os._exit(3)
    os.close(writing)
    try:
        return _listen(reading, seconds)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _listen(reading: int, seconds: dict[str, float]) -> dict:
    began, limit, current, waiting = time.monotonic(), STARTING, "", b""
    deadline = began + limit
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return {"outcome": TIMEOUT, "by": current}
        piece = os.read(reading, 65536)
        if not piece:  # it ended by itself: a crash kills as a failure does
            return {"outcome": KILLED, "by": current}
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            outcome, _, current = line.decode().partition(" ")
            if outcome != "started":
                return {"outcome": outcome, "by": current}
            limit = PATIENCE + SLOWNESS * seconds.get(current, UNKNOWN)
            deadline = time.monotonic() + limit


def serve_swap(channel: Channel, files: list[str], temporary: str) -> None:
    """Collect the tests of some files, and judge."""
    pytest.main([*OPTIONS, f"--basetemp={temporary}", *files], plugins=[Server(channel)])


def serve_fresh(channel: Channel, temporary: str) -> None:
    """Import what is heavy, and judge."""
    for name in HEAVY:
        importlib.import_module(name)
    helpers = Path.cwd() / "helpers"
    channel.answer({"ready": 0})
    for request in channel.requests():
        files = sorted({name.partition("::")[0] for name in request["tests"]})

        def run(tell: Callable[[str, str], None], request=request, files=files) -> None:
            arguments = [*OPTIONS, f"--basetemp={temporary}", *files]
            chosen = Chosen(tell, request["tests"])
            code = pytest.main(arguments, plugins=[chosen])
            chosen.end(SURVIVED if code in (0, 5) else KILLED, "")

        with planted(helpers, request["module"], request["source"]):
            channel.answer(in_a_fork(run, request["seconds"]))


def main(arguments: list[str]) -> None:
    """`judge swap|fresh READ WRITE TEMPORARY [FILE...]`, in the folder of the copy."""
    how, reading, writing, temporary, *files = arguments
    channel = Channel(int(reading), int(writing))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    if how == "swap":
        serve_swap(channel, files, temporary)
    else:
        serve_fresh(channel, temporary)


if __name__ == "__main__":
    main(sys.argv[1:])
