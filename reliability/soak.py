"""`make soak`: thousands of fits, moves of pictures, and all notebooks in one server at once.

Memory, Python objects, open files and threads are counted all along. What grows without end shows
as a slope: the line through the counts after the first fits, which fill caches.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from helpers import fit
from reliability import interrupted, records

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FITS, MOVES, KERNELS = 10_000, 1_000, 8
OPENINGS = 2 * len(NOTEBOOKS)  # each of them meets itself
PARTS = ("fits", "moves", "notebooks")
LEAST_FOR_A_LINE = 10  # repetitions: the error of a slope needs more counts than two
WARM_UP = 500  # fits, in which torch and the allocator fill their caches
SAMPLES = 100  # counts in all; each looks at every object there is
WITH_CHECKPOINT = 5  # every fifth time that a way comes round
MIB = 2.0**20
# What a whole run may grow by: the allocator's unrest is below this, a leak of one small tensor a
# fit (64 bytes of data, about 500 of Python and torch) is not, after 10,000 fits.
ALLOWED_MIB = 4.0
COUNTS = ("resident MiB", "Python objects", "open files", "threads")
COLUMNS = ["what", "how often", "counted", "at the start", "at the end", "per 1,000", "error"]


@dataclass(frozen=True)
class Growth:
    """How a count went over a run, after the warm-up.

    Attributes
    ----------
    first, last : float
        Median of the first and the last tenth of the counts.
    slope, error : float
        Of the line through all of them, for each 1,000 repetitions, and its standard error.
    """

    first: float
    last: float
    slope: float
    error: float

    @classmethod
    def of(cls, at: Sequence[int], counts: Sequence[float]) -> Growth:
        """From counts at a number of repetitions."""
        tenth = max(1, len(counts) // 10)
        thousands, values = np.asarray(at) / 1000, np.asarray(counts, dtype=float)
        (slope, _), covariance = np.polyfit(thousands, values, 1, cov=True)
        ends = np.median(values[:tenth]), np.median(values[-tenth:])
        return cls(*map(float, (*ends, slope, covariance[0, 0] ** 0.5)))

    @property
    def rise(self) -> float:
        """From the beginning to the end."""
        return self.last - self.first


@dataclass(frozen=True)
class Part:
    """A table of the record, its share of the summary, and whether all was well."""

    columns: list[str]
    rows: list[list[Any]]
    summary: dict[str, Any]
    passed: bool


def counted() -> tuple[float, ...]:
    """What this process holds now, in the order of `COUNTS`."""
    gc.collect()
    process = psutil.Process()
    files = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
    memory = process.memory_info().rss / MIB
    return memory, len(gc.get_objects()), files, process.num_threads()


def repeat(action: Iterator[Any], times: int, warm_up: int, samples: int = SAMPLES) -> list[Growth]:
    """Do the next thing of an iterator so many times, and count between."""
    every = max(1, (times - warm_up) // samples)
    at, rows = [], []
    for number in range(1, times + 1):
        next(action)
        if number >= warm_up and (number - warm_up) % every == 0:
            at.append(number)
            rows.append(counted())
    return [Growth.of(at, column) for column in zip(*rows, strict=True)]


def fits(folder: Path) -> Iterator[None]:
    """Fit after fit, in every way of the course, with new data and a new model each time."""
    for number, name in enumerate(cycle(interrupted.WAYS)):
        way, checkpoint = interrupted.WAYS[name], folder / "fit.pt"
        with_one = number // len(interrupted.WAYS) % WITH_CHECKPOINT == 0
        data = interrupted.make_data(way, _folder_of(way, folder))
        path = checkpoint if with_one else None
        fit(interrupted.make_model(way), data, checkpoint=path, progress=False, **way.options)
        checkpoint.unlink(missing_ok=True)
        yield


def _folder_of(way: interrupted.Way, folder: Path) -> Path:
    """A file of numbers belongs to one shape and dtype of data."""
    own = folder / f"{way.data} {way.dtype}".replace(".", " ")
    own.mkdir(exist_ok=True)
    return own


def moves(names: Sequence[str], times: int) -> Iterator[None]:
    """Moves of the interactive pictures, each opened once, a move of one after one of another.

    A picture that is opened again is kept beside the first, by ipywidgets and by the notebook's own
    list of results, until the kernel ends.
    """
    from helpers import interactive
    from helpers.interactive.__main__ import random_moves

    of_each = [random_moves(getattr(interactive, name)(), times) for name in names]
    for together in zip(*of_each, strict=True):
        for move in together:
            move()
            yield


def soak_fits(times: int, samples: int = SAMPLES) -> Part:
    """Fit so many times."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        growth = repeat(fits(Path(folder)), times, min(WARM_UP, times // 3), samples)
    summary = {
        "fits": times,
        "minutes": round((time.perf_counter() - begun) / 60, 1),
        "start_mib": round(growth[0].first, 1),
        "end_mib": round(growth[0].last, 1),
        "rise_mib": round(growth[0].rise, 2),
        "allowed_mib": ALLOWED_MIB,
        "slope_kib": round(growth[0].slope * 1024, 1),  # for each 1,000 fits
        "slope_error_kib": round(growth[0].error * 1024, 1),
    }
    return Part(COLUMNS, rows_of("fits", times, growth), summary, is_flat(growth))


def soak_moves(times: int) -> Part:
    """Move sliders so many times, in all pictures together."""
    import matplotlib.pyplot as plt

    from helpers.interactive.__main__ import PICTURES

    growth = repeat(moves(PICTURES, times), times, times // 3)
    figures = len(plt.get_fignums())
    summary = {
        "moves": times,
        "moves_rise_mib": round(growth[0].rise, 2),
        "open_figures": figures,
    }
    rows = rows_of("moves", times, growth)
    return Part(COLUMNS, rows, summary, is_flat(growth) and not figures)


def rows_of(what: str, times: int, growth: Sequence[Growth]) -> list[list[Any]]:
    """Rows of the record."""
    return [
        [what, times, name, *(round(x, 2) for x in (g.first, g.last, g.slope, g.error))]
        for name, g in zip(COUNTS, growth, strict=True)
    ]


def is_flat(growth: Sequence[Growth]) -> bool:
    """Whether memory stays within the allocator's unrest, and nothing else is left open."""
    memory, _, files, threads = growth
    return memory.rise < ALLOWED_MIB and files.rise <= 0 and threads.rise <= 0


def soak_notebooks(openings: int, at_once: int) -> Part:
    """Run all notebooks in one server."""
    from reliability.one_server import run_together

    courses, kernels = run_together(NOTEBOOKS, openings, at_once)
    rows = []
    for path in NOTEBOOKS:
        own = [course for course in courses if course.notebook == path.stem]
        sums = [sum(getattr(c, name) for c in own) for name in ("cells", "compared")]
        rows.append([path.stem, len(own), *sums, sum(len(c.mismatches) for c in own)])
    mismatches = [told for course in courses for told in course.mismatches]
    print(*mismatches, sep="\n")
    summary = {
        "kernels": kernels,
        "openings": openings,
        "cells": sum(row[2] for row in rows),
        "compared": sum(row[3] for row in rows),
        "mismatches": len(mismatches),
    }
    columns = ["notebook", "openings", "cells run", "compared", "mismatches"]
    return Part(columns, rows, summary, not mismatches)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = records.parser("soak", __doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; all")
    a_line = records.count(at_least=LEAST_FOR_A_LINE)
    parser.add_argument("--fits", type=a_line, default=FITS, help=f"how many ({FITS:,})")
    parser.add_argument("--moves", type=a_line, default=MOVES, help=f"how many ({MOVES:,})")
    parser.add_argument(
        "--openings", type=records.count(), default=OPENINGS, help="of notebooks, in all"
    )
    parser.add_argument("--kernels", type=records.count(), default=KERNELS, help="at once")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"parts: expected some of {', '.join(PARTS)}, got {', '.join(unknown)}")
    if asked.record and set(asked.parts) != set(PARTS):
        parser.error(f"--record: expected all parts, got {', '.join(asked.parts)}")
    return asked


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 1 where something grows or differs."""
    asked = options(arguments)
    torch.set_num_threads(1)
    run = {
        "fits": lambda: soak_fits(asked.fits),
        "moves": lambda: soak_moves(asked.moves),
        "notebooks": lambda: soak_notebooks(asked.openings, asked.kernels),
    }
    parts: dict[str, Part] = {}
    for name in dict.fromkeys(asked.parts):
        parts[name] = part = run[name]()
        print(*part.rows, part.summary, sep="\n", flush=True)
    records.keep("soak", record_of(parts, records.command("soak", arguments)), asked.record)
    return 0 if all(part.passed for part in parts.values()) else 1


def record_of(parts: Mapping[str, Part], command: str) -> records.Record:
    """The record: a table of each part, and their sums."""
    return {
        "command": command,
        "tables": {
            name: {"columns": part.columns, "rows": part.rows} for name, part in parts.items()
        },
        "summary": {key: value for part in parts.values() for key, value in part.summary.items()},
    }
