"""The tables and numbers of ``docs/reliability.md``, taken from the records.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``, where NAME is that of
a record, or ``RECORD.TABLE`` where the record has several; the table ``records`` lists the records,
each with its day, its machine, and whether what it speaks of has changed since. A number in the
prose stands between ``<!--RECORD.KEY-->`` and ``<!--/-->``, and comes from the record's summary;
the longer ``<!-- number: RECORD.KEY -->`` and ``<!-- /number -->`` are read, too, and shortened.
Everything else on the page is written by hand and stays as it is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reliability import records

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
TABLE = re.compile(r"<!-- table: ([\w.-]+) -->\n.*?<!-- end of table -->", re.DOTALL)
NUMBER = re.compile(
    r"<!--(?: number: )?([\w-]+\.[\w.-]+) ?-->[^<]*<!--(?:/| /number )-->", re.DOTALL
)
MARK = re.compile(r"<!--(?: table:| end of table| number:| /number|/|[\w-]+\.)")
OVERVIEW = "records"


def shown(value: object) -> str:
    """A value as the page shows it: numbers with three digits, thousands set off."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of markdown; columns that hold only numbers keep to the right."""
    columns_of_cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    rules = ["---:" if _is_numeric(cells) else "---" for cells in columns_of_cells]
    lines = [list(columns), rules, *([shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _is_numeric(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(isinstance(cell, (int, float)) or cell is None for cell in cells)


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("|", r"\|").split())


def overview(folder: Path = records.FOLDER) -> str:
    """The markdown of the list of records: a line each."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        record = records.read(path.stem, folder)
        machine = "{cores} cores, {system}, Python {python}, torch {torch}"
        on = machine.format(**record["machine"])
        told = records.told_of(path.stem, record)
        rows.append([path.stem, f"`{record['command']}`", record["day"], on, told])
    return markdown(["record", "command", "day", "machine", "of"], rows)


def table_named(name: str, folder: Path = records.FOLDER) -> str:
    """The markdown of a table, by the name of its record and, after a point, its own."""
    if name == OVERVIEW:
        return overview(folder)
    record, _, own = name.partition(".")
    tables = records.tables(records.read(record, folder))
    if own not in tables:
        raise ValueError(f"table: expected one of {sorted(tables)} of {record}, got {own!r}")
    return markdown(**tables[own])


def number_named(name: str, folder: Path = records.FOLDER) -> str:
    """A number of a record's summary, by the name of the record and, after a point, its own."""
    record, _, key = name.partition(".")
    summary = records.read(record, folder)["summary"]
    if key not in summary:
        raise ValueError(f"number: expected one of {sorted(summary)} of {record}, got {key!r}")
    return shown(summary[key])


def filled(page: str, folder: Path = records.FOLDER) -> str:
    """The page with every table and every number taken from the records.

    Parameters
    ----------
    page : str
    folder : Path, optional
        Of the records.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a mark names what no record has, or a mark has no partner.
    """
    pairs = len(TABLE.findall(page)) + len(NUMBER.findall(page))
    if len(MARK.findall(page)) != 2 * pairs:
        raise ValueError(f"page: expected marks in pairs, got {len(MARK.findall(page))} marks")
    page = TABLE.sub(
        lambda mark: (
            f"<!-- table: {mark[1]} -->\n\n{table_named(mark[1], folder)}\n\n<!-- end of table -->"
        ),
        page,
    )
    return NUMBER.sub(
        lambda mark: f"<!--{mark[1]}-->{number_named(mark[1], folder)}<!--/-->",
        page,
    )


def update(page: Path = PAGE, folder: Path = records.FOLDER) -> bool:
    """Write the tables and numbers into the page; whether it has changed."""
    old = page.read_text(encoding="utf-8")
    new = filled(old, folder)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old


def main(arguments: list[str]) -> int:
    """Renew the page."""
    argparse.ArgumentParser(prog="python -m reliability report", description=__doc__).parse_args(
        arguments
    )
    print(f"docs/{PAGE.name}: {'written' if update() else 'unchanged'}")
    return 0
