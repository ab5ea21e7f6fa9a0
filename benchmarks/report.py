"""Rows, and what becomes of them: a table to read, a record as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks import peers
from benchmarks.peers import Entry
from benchmarks.timing import measure

RECORD = Path(__file__).with_name("results.json")
SIGNIFICANT = 4
Row = dict[str, Any]
"""`table`, `case`, `contestant`; then `seconds`, `lower`, `upper`, `rounds`, `error` and `note`, or
what else a table measures; or `skipped` with the reason."""


@dataclass(frozen=True)
class Settings:
    """How a run is made.

    Attributes
    ----------
    quick : bool
        Fewer rounds, and without what takes long.
    threads : int
        Of every library.
    cores : tuple of int
        Where ranks may run, which have one thread each; empty for everywhere.
    """

    quick: bool = False
    threads: int = 2
    cores: tuple[int, ...] = ()

    @property
    def rounds(self) -> int:
        """Turns of each contestant."""
        return 2 if self.quick else 7


def timed(
    table: str,
    case: str,
    entries: Iterable[Entry],
    settings: Settings,
    *,
    error_is: str = "gap",
    rounds: int | None = None,
) -> list[Row]:
    """Measure the contestants and write down who is missing.

    Parameters
    ----------
    table, case : str
    entries : iterable of Entry
    settings : Settings
    error_is : {"gap", "relative error"}
        What the contestants' errors are: nats above the optimum, or the largest relative error.
    rounds : int, optional
        Other than those of the settings.

    Returns
    -------
    list of Row
    """
    contestants, missing = peers.gather(entries)
    found: list[Row] = []
    for each in measure(contestants, rounds=rounds or settings.rounds):
        found.append(
            {
                "table": table,
                "case": case,
                "contestant": each.name,
                "seconds": rounded(each.seconds),
                "lower": rounded(each.lower),
                "upper": rounded(each.upper),
                "rounds": each.rounds,
                "error": None if each.error is None else rounded(each.error),
                "error_is": error_is,
                "note": each.note,
            }
        )
    return found + [
        {"table": table, "case": case, "contestant": peer, "skipped": "not installed"}
        for peer in missing
    ]


def rounded(value: float) -> float | str:
    """Four significant digits; a word where JSON has no number."""
    return float(f"{value:.{SIGNIFICANT}g}") if math.isfinite(value) else str(value)


def environment(settings: Settings) -> dict[str, Any]:
    """What the run was made with; `load` is what else the machine did in the minute before."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": _processor(settings.cores),
        "threads": settings.threads,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__.split("+")[0],
        "peers": peers.versions(),
        "quick": settings.quick,
        "renewed": {},
    }


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, a row a line so that changes can be read."""
    head = {name: value for name, value in record.items() if name not in ("rows", "targets")}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    for name in ("targets", "rows"):
        body = ",\n".join(f"  {json.dumps(row)}" for row in record[name])
        lines.append(f" {json.dumps(name)}: [\n{body}\n ]" + ("," if name == "targets" else ""))
    path.write_text("{\n" + "\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path = RECORD) -> dict[str, Any]:
    """A record that `write` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def _processor(cores: Sequence[int]) -> str:
    """Model of the processor and how many cores there are for this run."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    if not cores and hasattr(os, "sched_getaffinity"):
        cores = tuple(os.sched_getaffinity(0))
    return f"{name}, {len(cores) or os.cpu_count()} cores"
