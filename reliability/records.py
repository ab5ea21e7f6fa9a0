"""What the long runs found: one file of JSON each, of one form.

A record names the ``command`` that writes it, the ``day`` and the ``machine``, holds one table
(``columns`` and ``rows``) or several (``tables``, by name), and a ``summary`` of single numbers. Of
what it speaks it keeps a digest (``of``), which tells whether that has changed since. It names no
path and no computer, so that a run elsewhere differs by what it measured and by nothing else.

One rule for all verbs: a run writes its record if it was asked to, by ``--record``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "records"
Record = dict[str, Any]

# What a record may speak of, by the files that make it up; what a reader adds beside is none of it.
PARTS = {
    "helpers": ("helpers/**/*.py", "helpers/**/*.json", "helpers/**/*.mplstyle"),
    "notebooks": ("notebooks/[0-9][0-9]_*.ipynb",),
    "rules": ("tests/nbval_rules.py",),
    "tests": ("tests/**/*.py",),
    "pins": ("constraints.txt",),
}
SPEAKS_OF = {
    "audit": ("pins",),
    "errors": ("helpers",),
    "inputs": ("helpers",),
    "kills": ("helpers",),
    "mutants": ("helpers", "notebooks", "tests"),
    "rank_kills": ("helpers",),
}
OTHERS_SPEAK_OF = ("helpers", "notebooks", "rules")
DIGITS = 12  # of a digest

MAKE_VERBS = ("mutants", "stands", "soak", "audit")
COMMANDS = ("make ", "python -m reliability ")
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~-])(?:/(?!dev/null)[\w.-]+/[\w.-]+|[A-Za-z]:\\)")


def machine() -> dict[str, str | int]:
    """What a result may depend on, and nothing that tells one computer from its like."""
    return {
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": metadata.version("torch").partition("+")[0],
    }


def digest(part: str, root: Path = ROOT) -> str:
    """A short hash of the contents of a part of the repository, whatever its line endings."""
    whole = hashlib.sha256()
    paths = {path for pattern in PARTS[part] for path in root.glob(pattern)}
    for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        whole.update(f"{path.relative_to(root).as_posix()} {len(content)} ".encode() + content)
    return whole.hexdigest()[:DIGITS]


def digests(name: str, root: Path = ROOT) -> dict[str, str]:
    """What the record of a verb speaks of, each with its digest."""
    return {part: digest(part, root) for part in SPEAKS_OF.get(name, OTHERS_SPEAK_OF)}


def told_of(name: str, record: Mapping[str, Any], root: Path = ROOT) -> str:
    """What a record speaks of, and whether that has changed since."""
    then, now = record["of"], digests(name, root)
    if not then:
        return f"an earlier state of {_listed(now)}; which one was not written down"
    changed = [part for part in now if then.get(part) != now[part]]
    if changed:
        return f"{_listed(changed)} changed since"
    return f"the present {_listed(now)}"


def _listed(words: Sequence[str] | Mapping[str, Any]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


# What a verb is asked --------------------------------------------------------------------------


def parser(verb: str, description: str | None) -> argparse.ArgumentParser:
    """The command line of a verb, with the option that all of them share."""
    line = argparse.ArgumentParser(prog=f"python -m reliability {verb}", description=description)
    line.add_argument(
        "--record",
        action="store_true",
        help=f"write reliability/records/{verb}.json, which otherwise stays as it is",
    )
    return line


def count(at_least: int = 1) -> Callable[[str], int]:
    """The type of an argument that counts something."""

    def parsed(text: str) -> int:
        if not re.fullmatch(r"[-+]?\d+", text) or int(text) < at_least:
            told = f"expected an integer of at least {at_least}, got {text!r}"
            raise argparse.ArgumentTypeError(told)
        return int(text)

    return parsed


def command(verb: str, arguments: Sequence[str]) -> str:
    """The line that repeats a run; of a path it has the name alone."""
    line = shlex.join(re.sub(r"[^=]*[/\\]", "", word) for word in arguments)
    if verb not in MAKE_VERBS:
        return f"python -m reliability {verb} {line}".rstrip()
    return f'make {verb} ARGS="{line}"' if line else f"make {verb}"


def keep(name: str, record: Mapping[str, Any], asked: bool, folder: Path = FOLDER) -> None:
    """Write a record where that was asked for, and say what became of it.

    Parameters
    ----------
    name : str
        The verb.
    record : mapping
    asked : bool
        Whether the command line has ``--record``.
    folder : Path, optional
    """
    if asked:
        print(f"reliability/records/{write(name, record, folder).name}: written")
    else:
        print(f"reliability/records/{name}.json: as before; add --record to replace it")


# What a record is ------------------------------------------------------------------------------


def tables(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of a record by name; a single table has the empty name."""
    if "tables" in record:
        return record["tables"]
    return {"": {"columns": record["columns"], "rows": record["rows"]}} if "rows" in record else {}


def _is_cell(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _is_day(value: object) -> bool:
    try:
        return date.fromisoformat(str(value)).isoformat() == value
    except ValueError:
        return False


def _is_digest(value: object) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", str(value)) is not None


def problems(record: Mapping[str, Any]) -> list[str]:
    """How a record departs from the common form, a sentence each.

    Parameters
    ----------
    record : mapping

    Returns
    -------
    list of str
        Empty for a record in good form.
    """
    found = []
    if not str(record.get("command", "")).startswith(COMMANDS):
        found.append(f"command: expected one of make, got {record.get('command')!r}")
    if "tables" in record and ("rows" in record or "columns" in record):
        found.append("expected rows or tables, got both")
    if not _is_day(record.get("day")):
        found.append(f"day: expected YYYY-MM-DD, got {record.get('day')!r}")
    of = record.get("of")
    if not isinstance(of, Mapping) or not all(map(_is_digest, of.values())):
        found.append(f"of: expected digests by name, got {of!r}")
    summary = record.get("summary")
    if not isinstance(summary, Mapping) or not all(map(_is_cell, summary.values())):
        found.append(f"summary: expected single values by name, got {summary!r}")
    for name, table in tables(record).items():
        widths = {len(row) for row in table["rows"]}
        if widths - {len(table["columns"])}:
            found.append(f"table {name!r}: expected {len(table['columns'])} columns, got {widths}")
        if not all(_is_cell(value) for row in table["rows"] for value in row):
            found.append(f"table {name!r}: expected texts and numbers, got something else")
    text = json.dumps(record, ensure_ascii=False)
    found += [f"expected no absolute path, got {path}" for path in _ABSOLUTE_PATH.findall(text)]
    return found


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """Where the record of a verb lies."""
    return folder / f"{name}.json"


def read(name: str, folder: Path = FOLDER) -> Record:
    """The record of a verb.

    Raises
    ------
    ValueError
        If there is none.
    """
    path = path_of(name, folder)
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.json"))) or "none"
        raise ValueError(f"name: expected a record ({known}), got {name!r}")
    return json.loads(path.read_text(encoding="utf-8"))


def write(name: str, record: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write what a verb found, with the day, the machine, and digests of what it speaks of.

    Parameters
    ----------
    name : str
        The verb.
    record : mapping
        ``command``; ``columns`` and ``rows``, or ``tables``; ``summary``, which may be left out.
    folder : Path, optional

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    ValueError
        If the record is not of the common form.
    """
    beside = {"day": date.today().isoformat(), "machine": machine(), "of": digests(name)}
    whole = {"command": None, **beside, "summary": {}, **record}
    if found := problems(whole):
        raise ValueError(f"record: {'; '.join(found)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(name, folder)
    path.write_text(_one_row_a_line(whole), encoding="utf-8")
    return path


def _one_row_a_line(record: Mapping[str, Any]) -> str:
    """JSON that shows as few changed lines as there are changed rows."""
    rows: list[str] = []

    def place(row: Sequence[Any]) -> str:
        rows.append(json.dumps(row, ensure_ascii=False, allow_nan=False))
        return f"row {len(rows) - 1} of this record"

    def placed(table: Mapping[str, Any]) -> dict[str, Any]:
        own = {"columns": place(table["columns"]), "rows": [place(row) for row in table["rows"]]}
        return {**table, **own}

    if "tables" in record:
        shape = {**record, "tables": {name: placed(one) for name, one in record["tables"].items()}}
    else:
        shape = placed(record) if "rows" in record else record
    text = json.dumps(shape, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r'"row (\d+) of this record"', lambda mark: rows[int(mark[1])], text) + "\n"
