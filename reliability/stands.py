"""Run every notebook in many environments and compare all outputs: ``make stands``.

Each run executes all notebooks with nbval in strict mode, by the machinery and the tolerances of
``make test`` (``conftest.py``, ``tests/nbval_rules.py``), with one thing or more that differs from
there. A run that this machine cannot do is left out, and the record says why.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from xml.etree import ElementTree

from reliability import records

ROOT = Path(__file__).parents[1]
LOOPBACK = Path(__file__).with_name("loopback.py")
RUN_SECONDS = 1800
LONGEST_SENTENCE = 300
SHOWN_MISMATCHES = 5
PARTS = ("conftest.py", "pyproject.toml", "tests/nbval_rules.py", "helpers", "notebooks")
# What the outer process has of these would be one more thing that differs.
FOREIGN = re.compile(
    r"(PYTEST|COVARIANCE|PYTHON|OMP|MKL|OPENBLAS|ONEDNN|ATEN|NPY|LC|JUPYTER|IPYTHON|MPL)_?.*"
    r"|LANG(UAGE)?|TZ"
)
THREADS = "torch.set_num_threads({})"
COLOUR = re.compile(r"\x1b\[\d*m")
# What has to be there, found without importing: that would make a home folder, for one.
NEEDS = """
import importlib.util, locale, sys
locale.setlocale(locale.LC_ALL, "")
lost = [name for name in ("matplotlib", "nbval", "torch") if not importlib.util.find_spec(name)]
sys.exit(f"this Python has no {', '.join(lost)}" if lost else 0)
"""
# Below AVX: torch's own kernels, MKL, oneDNN, the OpenBLAS of NumPy and SciPy, NumPy itself.
WITHOUT_AVX = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
}
# Nobody can make a folder there, not even root.
NO_HOME = {"HOME": "/dev/null/home", "JUPYTER_RUNTIME_DIR": "{folder}/runtime"}
BLOCKED = {
    "read-only": (
        'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && [ ! -w . ]',
        ("unshare", "--map-root-user", "--mount"),
    ),
    # The one device that is there is loopback; we put it up, for ranks that speak to each other.
    "no network": (
        "[ $(grep -c : /proc/net/dev) = 1 ] && ! grep -q 0 /proc/net/route",
        ("unshare", "--map-root-user", "--net", sys.executable, "-I", str(LOOPBACK)),
    ),
}


@dataclass(frozen=True, eq=False)
class Way:
    """One environment to run in, by what differs in it from that of ``make test``."""

    what: str
    variables: Mapping[str, str] = field(default_factory=dict)  # {folder} is a temporary one
    threads: int = 1  # that the notebooks give to torch
    elsewhere: bool = False  # from a copy, in a folder with another kind of name
    blocked: tuple[str, ...] = ()  # of BLOCKED
    busy: bool = False  # a process per core that computes without end
    python: str = sys.executable


def _threads(number: int) -> dict[str, str]:
    # A thread that waits for work sleeps: on matrices as small as ours it would spin otherwise.
    return {"OMP_NUM_THREADS": str(number), "OMP_WAIT_POLICY": "passive"}


def _locale(name: str) -> dict[str, str]:
    return {"LC_ALL": name, "LOCPATH": "{folder}/locales"}


WAYS = (
    Way("as make test runs them"),
    Way("2 threads, in torch and in NumPy", _threads(2), threads=2),
    Way("4 threads, in torch and in NumPy", _threads(4), threads=4),
    Way("OMP_NUM_THREADS not set", {"OMP_NUM_THREADS": ""}),
    Way("copied to a folder with blanks and umlauts, started from /", elsewhere=True),
    Way("read-only checkout", blocked=("read-only",)),
    Way("home folder that does not exist", {"HOME": "{folder}/no/home"}),
    Way("home folder that cannot be made", NO_HOME),
    Way("no network: a namespace without interfaces", blocked=("no network",)),
    Way("loaded machine: a busy process per core beside", busy=True),
    Way("PYTHONHASHSEED=0", {"PYTHONHASHSEED": "0"}),
    Way("PYTHONHASHSEED=1", {"PYTHONHASHSEED": "1"}),
    Way("PYTHONHASHSEED=random", {"PYTHONHASHSEED": "random"}),
    Way(
        "locale C, as plain ASCII",
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ),
    Way("locale de_DE.UTF-8", _locale("de_DE.UTF-8")),
    Way("locale tr_TR.UTF-8", _locale("tr_TR.UTF-8")),
    Way("time zone Pacific/Kiritimati", {"TZ": "Pacific/Kiritimati"}),
    Way("time zone America/St_Johns", {"TZ": "America/St_Johns"}),
    Way("torch without AVX: ATEN_CPU_CAPABILITY=default", {"ATEN_CPU_CAPABILITY": "default"}),
    Way("torch with AVX2 at most: ATEN_CPU_CAPABILITY=avx2", {"ATEN_CPU_CAPABILITY": "avx2"}),
    Way(
        "MKL and oneDNN at their oldest processor",
        {name: WITHOUT_AVX[name] for name in ("MKL_CBWR", "ONEDNN_MAX_CPU_ISA")},
    ),
    Way("no AVX in any library", WITHOUT_AVX),
    Way(
        "much at once: no AVX, read-only, no network, no home, tr_TR, 2 threads for NumPy",
        {
            **WITHOUT_AVX,
            **NO_HOME,
            **_locale("tr_TR.UTF-8"),
            "PYTHONHASHSEED": "random",
            "OMP_NUM_THREADS": "2",
        },
        blocked=("read-only", "no network"),
        busy=True,
    ),
)
# What `make test-trust` runs: two that tell most, for the price of two.
QUICK = (
    Way("no AVX, elsewhere, no home", {**WITHOUT_AVX, **NO_HOME}, elsewhere=True),
    Way(
        "read-only, no network, hash seed 1",
        {"PYTHONHASHSEED": "1"},
        blocked=("read-only", "no network"),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What a run of all notebooks gave."""

    cells: int
    mismatches: list[tuple[str, str, str]]  # notebook, cell, sentence
    numbers: list[tuple[float, float]]  # relative difference, as a share of what is allowed
    figures: list[tuple[float, float]]  # grey levels, as a share of what is allowed
    seconds: float


# Where and with what a run is started -----------------------------------------------------------


def environment(way: Way, root: Path, folder: Path) -> dict[str, str]:
    """The variables of a run: those of this process that do no harm, and what differs."""
    kept = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    own = {name: value.format(folder=folder) for name, value in way.variables.items()}
    mine = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    return {name: value for name, value in {**kept, **mine, **own}.items() if value}


def command(way: Way, root: Path, arguments: Sequence[str]) -> list[str]:
    """The command line of a run, inside the namespaces that it asks for."""
    line = [way.python, *arguments]
    for name in reversed(way.blocked):
        check, unshare = BLOCKED[name]
        line = [*unshare, "sh", "-c", f'{check} && exec "$@"', str(root), *line]
    return line


def start(
    way: Way, root: Path, folder: Path, arguments: Sequence[str]
) -> subprocess.CompletedProcess:
    """Run Python in this way, and wait.

    Parameters
    ----------
    way : Way
    root : Path
        Of the checkout, or of the copy of it that the way needs.
    folder : Path
        A temporary one, for what the run writes.
    arguments : sequence of str
        Of Python.
    """
    return subprocess.run(
        command(way, root, arguments),
        cwd="/" if way.elsewhere else root,
        env=environment(way, root, folder),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=RUN_SECONDS,
    )


def copy_of(root: Path, folder: Path, threads: int = 1) -> Path:
    """A copy of what a run needs; its notebooks give torch as many threads as are asked for."""
    target = folder / "eine Kopie, größer"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (root / part).is_dir():
            shutil.copytree(root / part, target / part, ignore=ignored)
        else:
            shutil.copy(root / part, target / part)
    for path in (target / "notebooks").glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        if THREADS.format(1) not in text:
            raise ValueError(f"{path.name}: expected {THREADS.format(1)} in a cell, got none")
        path.write_text(text.replace(THREADS.format(1), THREADS.format(threads)), encoding="utf-8")
    return target


def make_locale(name: str, folder: Path) -> None:
    """Compile a locale where the machine has its source; otherwise Python will not find it."""
    language, _, charset = name.partition(".")
    if charset and shutil.which("localedef"):
        (folder / "locales").mkdir()
        how = ["localedef", "-i", language, "-f", charset, str(folder / "locales" / name)]
        subprocess.run(how, capture_output=True, check=False)


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """So many processes that compute until the end of the block."""
    with ExitStack() as stack:
        for _ in range(number):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


@contextmanager
def prepared(way: Way, root: Path = ROOT) -> Iterator[tuple[Path, Path]]:
    """Where a run takes place: its root, and a temporary folder for what it writes."""
    with tempfile.TemporaryDirectory(prefix="stands-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "runtime").mkdir()
        if "LOCPATH" in way.variables:
            make_locale(way.variables["LC_ALL"], folder)
        if way.elsewhere or way.threads != 1:
            root = copy_of(root, folder, way.threads)
        if way.busy:
            stack.enter_context(busy_processes(os.cpu_count() or 1))
        yield root, folder


# What is run, and what came out -----------------------------------------------------------------


def obstacle(way: Way, root: Path, folder: Path) -> str | None:
    """Why this machine cannot run in this way, in a sentence; None if it can."""
    try:
        said = start(replace(way, busy=False), root, folder, ["-c", NEEDS])
    except FileNotFoundError as error:
        return f"there is no {error.filename} here"
    if said.returncode == 0:
        return None
    last = said.stderr.strip().rpartition("\n")[2]
    return last or f"it cannot be started: exit code {said.returncode}"


def nbval(root: Path, folder: Path, *, over_sockets: bool) -> list[str]:
    """The arguments of Python that run all notebooks as ``make test`` does."""
    plugins = ["no:cacheprovider", "no:xdist", "no:logging"]
    # Kernels talk over files there, so that nothing but ranks needs the loopback device.
    plugins += ["reliability.socket_files"] if over_sockets else []
    places = ["-c", str(root / "pyproject.toml"), "--rootdir", str(root)]
    how = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=600"]
    how += ["--nbval-kernel-startup-timeout=600", f"--junitxml={folder / 'outcome.xml'}"]
    loaded = [word for plugin in plugins for word in ("-p", plugin)]
    return ["-m", "pytest", "-q", "--color=no", *loaded, *places, *how, str(root / "notebooks")]


def mismatches(xml: Path) -> tuple[int, list[tuple[str, str, str]]]:
    """How many cells ran, and those that did not give what is stored: where, and a sentence."""
    cells = list(ElementTree.parse(xml).iter("testcase"))
    found = []
    for cell in cells:
        for failure in [*cell.iter("failure"), *cell.iter("error")]:
            # nbval puts what differs behind this word; without it no cell was reached.
            told = COLOUR.sub("", failure.text or "").partition("Traceback:")[2]
            notebook = cell.get("classname", "").removeprefix("notebooks.")
            sentence = " ".join((told or failure.get("message", "")).split())
            found.append((notebook, cell.get("name", ""), sentence[:LONGEST_SENTENCE]))
    return len(cells), found


def measured(log: Path) -> dict[str, list[tuple[float, float]]]:
    """What the comparison wrote down: each difference, and its share of what is allowed."""
    found: dict[str, list[tuple[float, float]]] = {"number": [], "figure": []}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        kind, difference, share = line.split()
        found[kind].append((float(difference), float(share)))
    return found


def code_cells(root: Path) -> int:
    """How many cells a run of all notebooks has to run."""
    notebooks = [json.loads(path.read_bytes()) for path in (root / "notebooks").glob("*.ipynb")]
    return sum(cell["cell_type"] == "code" for each in notebooks for cell in each["cells"])


def run(way: Way, root: Path = ROOT) -> Outcome | str:
    """Run all notebooks in one way.

    Parameters
    ----------
    way : Way
    root : Path, optional
        Of the checkout.

    Returns
    -------
    Outcome or str
        The reason in a sentence, where this machine cannot do it.
    """
    with prepared(way, root) as (place, folder):
        if reason := obstacle(way, place, folder):
            return reason.replace(str(folder), "FOLDER").replace(str(place), "CHECKOUT")
        log = folder / "measured.log"
        listening = {**way.variables, "COVARIANCE_MEASURED": str(log)}
        arguments = nbval(place, folder, over_sockets="no network" in way.blocked)
        begin = perf_counter()
        said = start(replace(way, variables=listening), place, folder, arguments)
        seconds = perf_counter() - begin
        xml = folder / "outcome.xml"
        cells, found = mismatches(xml) if xml.exists() else (0, [])
        expected = code_cells(place)
        if cells != expected:
            last = said.stdout.strip().rpartition("\n")[2]
            found.append(("all", "", f"expected {expected} cells, got {cells}: {last}"))
        told = measured(log)
        return Outcome(cells, found, told["number"], told["figure"], seconds)


# The record -------------------------------------------------------------------------------------

COLUMNS = (
    "run",
    "cells",
    "mismatches",
    "numbers: largest relative difference",
    "numbers: share of what is allowed",
    "figures: grey levels",
    "figures: share of what is allowed",
)


def row(way: Way, outcome: Outcome) -> list[Any]:
    """A line of the record's table."""
    largest = [
        float(f"{max((pair[side] for pair in kind), default=0.0):.2g}")
        for kind in (outcome.numbers, outcome.figures)
        for side in (0, 1)
    ]
    return [way.what, outcome.cells, len(outcome.mismatches), *largest]


def record_of(
    outcomes: Mapping[Way, Outcome | str], command: str = "make stands"
) -> records.Record:
    """The record of a run of all ways."""
    done = {way: each for way, each in outcomes.items() if isinstance(each, Outcome)}
    rows = [row(way, outcome) for way, outcome in done.items()]
    told = [[way.what, *each] for way, outcome in done.items() for each in outcome.mismatches]
    left = [[way.what, why] for way, why in outcomes.items() if isinstance(why, str)]
    by_name = {name: [line[place] for line in rows] for place, name in enumerate(COLUMNS)}
    return {
        "command": command,
        "tables": {
            "runs": {"columns": list(COLUMNS), "rows": rows},
            "mismatches": {"columns": ["run", "notebook", "cell", "what differs"], "rows": told},
            "left out": {"columns": ["run", "why"], "rows": left},
        },
        "summary": {
            "runs": len(rows),
            "cells": sum(by_name["cells"]),
            "numbers": sum(len(outcome.numbers) for outcome in done.values()),
            "figures": sum(len(outcome.figures) for outcome in done.values()),
            "mismatches": len(told),
            "left_out": len(left),
            "share_of_numbers": max(by_name["numbers: share of what is allowed"], default=0.0),
            "share_of_figures": max(by_name["figures: share of what is allowed"], default=0.0),
        },
    }


def report(way: Way, outcome: Outcome | str) -> str:
    """What a person reads when a run is over."""
    if isinstance(outcome, str):
        return f"left out: {way.what}: {outcome}"
    told = zip(COLUMNS, row(way, outcome), strict=True)
    line = ", ".join(f"{name} {value}" for name, value in told)
    line += f", {outcome.seconds:.0f} seconds"
    first = outcome.mismatches[:SHOWN_MISMATCHES]
    return "\n".join([line, *(f"    {' '.join(each)}" for each in first)])


def run_all(ways: Sequence[Way], root: Path = ROOT, jobs: int = 1) -> dict[Way, Outcome | str]:
    """Run all notebooks in each way, as many ways at a time as are asked for."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(run, way, root): way for way in ways}
        for done in as_completed(waiting):
            print(report(waiting[done], done.result()), flush=True)
    return {way: done.result() for done, way in waiting.items()}


def interpreter(path: str) -> Way:
    """The way of another Python, named by its version and torch's."""
    code = "import platform, torch; print(platform.python_version(), torch.__version__)"
    try:
        said = subprocess.run([path, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        expected = "expected a Python with the course's packages"
        raise ValueError(f"--python: {expected}, got {path}: {error}") from error
    version, torch = said.stdout.split()
    return Way(f"Python {version} with torch {torch}", python=path)


def chosen(options: argparse.Namespace) -> list[Way]:
    """The ways that the command line asks for."""
    ways = [*(QUICK if options.quick else WAYS), *map(interpreter, options.python)]
    return [way for way in ways if all(word in way.what for word in options.only)]


def repeated_by(arguments: Sequence[str], options: argparse.Namespace) -> str:
    """The command line of a run, with interpreters by their version."""
    versions = [interpreter(path).what.split()[1].rsplit(".", 1)[0] for path in options.python]
    names = {path: f"python{number}" for path, number in zip(options.python, versions, strict=True)}
    return records.command("stands", [names.get(word, word) for word in arguments])


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = records.parser("stands", __doc__)
    parser.add_argument("--quick", action="store_true", help="two runs")
    parser.add_argument("--only", action="append", default=[], help="runs with these words")
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="one more interpreter"
    )
    parser.add_argument("--jobs", type=records.count(), default=2, help="runs at a time (2)")
    options = parser.parse_args(arguments)
    if options.record and (options.quick or options.only):
        parser.error("--record: expected all runs, got --quick or --only")
    return options


def main(arguments: list[str]) -> int:
    """Do what is asked; the exit code is 1 where anything differed, 2 where nothing was asked."""
    options = options_of(arguments)
    try:
        ways = chosen(options)
        command = repeated_by(arguments, options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not ways:
        print(f"no run has the words {options.only}", file=sys.stderr)
        return 2
    record = record_of(run_all(ways, jobs=options.jobs), command)
    records.keep("stands", record, options.record)
    return 1 if record["summary"]["mismatches"] else 0
