"""Which exercises have passed: kept in a small file that may be lost without harm.

The file is ``build/progress.json`` beside the package, or the one that the environment variable
``COVARIANCE_PROGRESS`` names. Whatever happens to it, a check answers.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.exercises.catalogue import notebooks

VERSION = 1
LARGEST_FILE = 100_000  # bytes; a file of ours is far smaller
LOCK_SECONDS = 1.0

# What passed and could not be written, until it can.
_unkept: set[str] = set()


def record(number: str) -> None:
    """Keep that an exercise has passed, unless it was the solution's own cell that ran.

    Parameters
    ----------
    number : str
        Of the notebook and the exercise, such as "01.2".
    """
    if _is_solution_cell():
        return
    path = _file()
    _unkept.add(number)
    try:
        if not (_unkept <= (_read(path) or set())):
            with _alone(path):
                _write(path, (_read(path) or set()) | _unkept)
    except OSError:
        return
    _unkept.clear()


def show_progress() -> None:
    """Print which exercises of which notebook have passed so far."""
    path = _file()
    kept = _read(path)
    passed = (kept or set()) | _unkept
    table = notebooks()
    width = max((len(title) for title, _ in table.values()), default=0)
    for notebook, (title, numbers) in table.items():
        boxes = "  ".join(f"[{'x' if number in passed else ' '}] {number}" for number in numbers)
        print(f"{notebook}  {title:<{width}}  {boxes}")
    every = [number for _, numbers in table.values() for number in numbers]
    print(f"{len(passed.intersection(every))} of {len(every)} exercises have passed.")
    if _unkept:
        print(f"{_shown(path)} could not be written; this is kept until the kernel ends.")
    elif kept is None:
        print(f"{_shown(path)} could not be read, so this record starts anew.")


def _is_solution_cell() -> bool:
    """Whether the cell that runs is tagged as a solution; some front ends do not tell."""
    if "IPython" not in sys.modules:
        return False
    request = getattr(sys.modules["IPython"].get_ipython(), "get_parent", dict)() or {}
    return "solution" in (request.get("metadata", {}).get("tags") or ())


def _root() -> Path:
    return Path(__file__).resolve().parents[2]


def _file() -> Path:
    chosen = os.environ.get("COVARIANCE_PROGRESS")
    # A link is followed here, or writing would put a file in its place.
    return Path(os.path.realpath(chosen)) if chosen else _root() / "build" / "progress.json"


def _shown(path: Path) -> str:
    return path.relative_to(_root()).as_posix() if path.is_relative_to(_root()) else str(path)


def _read(path: Path) -> set[str] | None:
    """What the file holds; nothing if it is not there, None if it is not one of ours."""
    try:
        if not path.exists():
            return set()
        return _passed_in(path)
    except (OSError, ValueError, RecursionError):
        return None


def _passed_in(path: Path) -> set[str]:
    """What the file holds; a ValueError if it is not one of ours."""
    if not path.is_file():
        raise ValueError("not a file")
    with path.open("rb") as file:
        content = json.loads(file.read(LARGEST_FILE))
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ValueError("not of this version")
    passed = content.get("passed")
    if not isinstance(passed, list):
        raise ValueError("no list of exercises")
    return {each for each in passed if isinstance(each, str) and re.fullmatch(r"\d\d\.\d+", each)}


def _write(path: Path, passed: set[str]) -> None:
    """Put a new file in the place of the old one at once, so that no reader sees half of it."""
    _make_way(path)
    text = json.dumps({"version": VERSION, "passed": sorted(passed)}, indent=1) + "\n"
    handle, name = tempfile.mkstemp(prefix=".progress-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise


def _make_way(path: Path) -> None:
    """Move aside a file that is not ours; refuse to replace a folder, a device, a locked file."""
    if not path.exists():
        return
    if not path.is_file() or not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is not to be written")
    if _read(path) is None and path.stat().st_size:
        os.replace(path, path.with_name(f"{path.name}.unreadable"))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one kernel at a time read and write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if time.monotonic() > patience:  # left by a kernel that was ended while it wrote
                break
            time.sleep(0.01)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
