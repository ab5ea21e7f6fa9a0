"""Rows as text to read, and the record as a table for the README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from benchmarks.targets import LIBRARIES, WHOLE_FIT

README = Path(__file__).with_name("README.md")
START, END = "<!-- results: start -->", "<!-- results: end -->"
BASELINES = ("textbook", "torch.cov", "DDP")


def text(table: str, rows: Sequence[Row], targets: Sequence[Row]) -> str:
    """A table of a run, with ratios to the textbook and to the best peer, and its targets.

    Parameters
    ----------
    table : str
    rows, targets : sequence of Row
        Of a run; those of other tables are left out.

    Returns
    -------
    str
    """
    own = [row for row in rows if row["table"] == table]
    lines = [f"== {table}"]
    for case in dict.fromkeys(row["case"] for row in own):
        lines += [f"-- {case}", *_case([row for row in own if row["case"] == case])]
    lines += [f"   {_sentence(row)}" for row in targets if row["table"] == table]
    return "\n".join(lines)


def markdown(record: Mapping[str, Any]) -> str:
    """What the README states of a record: what it was made with, and the targets."""
    lines = [
        f"Measured {_made_with(record)}.",
        *(f"{tables} measured {_made_with(part)}." for tables, part in _renewed(record)),
        "",
        "| table | case | what | wanted | measured | |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["targets"]:
        sign = "at most" if row["at_most"] else "at least"
        lines.append(
            f"| {row['table']} | {row['case']} | {row['about']} | "
            f"{sign} {row['wanted']:,g}{row['unit']} | {_number(row)} | {row['verdict']} |"
        )
    return "\n".join([*lines, "", *_multiples(record["rows"]), "", *_rates(record["rows"])])


def with_results(readme: str, record: Mapping[str, Any]) -> str:
    """The README with the record's table between its two marks."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{markdown(record)}\n\n{END}{after}"


def _made_with(record: Mapping[str, Any]) -> str:
    """When, and with what: one sentence, without its subject."""
    peers = ", ".join(f"{name} {version}" for name, version in record["peers"].items())
    return (
        f"on {record['date']} with {record['threads']} threads of {record['device']}; "
        f"Python {record['python']}, torch {record['torch']}, {peers}"
    )


def _renewed(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names of tables that were measured later, together where they were, and with what."""
    together: dict[str, list[str]] = {}
    for table, part in record["renewed"].items():
        together.setdefault(_made_with(part), []).append(table)
    for names in together.values():
        yield ", ".join(f"`{name}`" for name in names), record["renewed"][names[0]]


def _multiples(rows: Sequence[Row]) -> Iterator[str]:
    """What takes longer than a whole fit in the memory of ranks, whether it has a target or not."""
    yield "| ranks | time | times the whole fit |"
    yield "|---|---|---|"
    found = [row for row in rows if row["table"] == "ranks" and "seconds" in row]
    whole = next((row["seconds"] for row in found if row["contestant"] == WHOLE_FIT), None)
    for row in found:
        times = "" if whole is None else f"{row['seconds'] / whole:,.0f}"
        yield f"| {row['contestant']} | {seconds_text(row['seconds'])} | {times} |"


def _rates(rows: Sequence[Row]) -> Iterator[str]:
    """The scaling over ranks, which has no targets."""
    yield "| scaling | ranks | rows | time | rows a second, those of one rank being 1 |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if "rate" in row:
            yield (
                f"| {row['case']} | {row['ranks']} | {row['size']:,} | "
                f"{seconds_text(row['seconds'])} | {row['rate']:.3g} |"
            )


def seconds_text(seconds: float) -> str:
    """A time with a unit that suits it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"


def _case(rows: Sequence[Row]) -> Iterator[str]:
    baseline = next((name for name in BASELINES if _best(rows, (name,))), None)
    other = None if baseline is None else _best(rows, (baseline,))
    peer = _best(rows, LIBRARIES)
    for row in rows:
        name = f"   {row['contestant']:36}"
        if "skipped" in row:
            yield f"{name} skipped: {row['skipped']}"
        elif "seconds" in row:
            spread = f"[{seconds_text(row['lower'])}, {seconds_text(row['upper'])}]"
            ratios = _ratio(other, row, baseline) + _ratio(peer, row, "best peer")
            error = "" if row["error"] is None else f"{row['error_is']} {float(row['error']):.1e}"
            rate = f" {row['rate']:.3g}x the rows a second" if "rate" in row else ""
            yield (
                f"{name} {seconds_text(row['seconds']):>8} {spread:24}{ratios}{rate} {error} "
                + row["note"]
            )
        elif "steps" in row:
            yield f"{name} {row['steps']} steps, gap {float(row['error']):.1e} {row['note']}"
        elif "mebibytes" in row:
            yield f"{name} {row['mebibytes']:.1f} MiB"
        elif "exponent" in row:
            yield f"{name} {row['exponent']:.2f} {row['note']}"
        else:
            yield f"{name} {', '.join(row['modules']) or 'none'}"


def _best(rows: Sequence[Row], names: tuple[str, ...]) -> float | None:
    found = [
        row["seconds"] for row in rows if "seconds" in row and row["contestant"].startswith(names)
    ]
    return min(found, default=None)


def _ratio(other: float | None, row: Row, name: str) -> str:
    return "" if other is None else f" {other / row['seconds']:9,.3g}x {name}"


def _sentence(row: Row) -> str:
    sign = "at most" if row["at_most"] else "at least"
    return (
        f"{row['verdict']}: {row['case']}, {row['about']}: {_number(row)} "
        f"({sign} {row['wanted']:,g}{row['unit']})"
    )


def _number(row: Row) -> str:
    return "-" if row["measured"] is None else f"{row['measured']:,g}{row['unit']}"
