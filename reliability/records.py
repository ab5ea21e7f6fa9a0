"""What the long runs found: one file of JSON each, of one form.

A record names the ``command`` that writes it and the ``machine``, holds one table (``columns`` and
``rows``) or several (``tables``, by name), and a ``summary`` of single numbers. It names no path
and no computer, so that a run elsewhere differs by what it measured and by nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "records"
Record = dict[str, Any]

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


def tables(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of a record by name; a single table has the empty name."""
    if "tables" in record:
        return record["tables"]
    return {"": {"columns": record["columns"], "rows": record["rows"]}} if "rows" in record else {}


def _is_cell(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))


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
    """Write what a verb found, with the machine it ran on.

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
    whole = {"command": None, "machine": machine(), "summary": {}, **record}
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
