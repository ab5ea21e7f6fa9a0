"""How the time grows with n, d and B, with exponents fitted to the three largest sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from benchmarks.peers import Entry
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, rounded, timed
from benchmarks.textbook import TextbookGaussian, fit_by_likelihood
from benchmarks.timing import Contestant
from helpers import GaussianLikelihood, SufficientStatistics, fit

SIZES = {
    "n": (1_000, 10_000, 100_000, 1_000_000),
    "d": (2, 8, 32, 128, 512),
    "B": (1, 10, 100, 1_000, 10_000),
}
FIXED = {"n": 2_000, "d": 8, "B": 1}
N_IN_BATCHES = 50
STEPS_TIMED = 2
LARGEST = 3


def rows(settings: Settings) -> list[Row]:
    """Times at each size, then the exponents."""
    found: list[Row] = []
    for variable, sizes in SIZES.items():
        here: list[Row] = []
        for size in sizes:
            given = {**FIXED, variable: size}
            n = N_IN_BATCHES if variable == "B" else given["n"]
            batch_shape = (size,) if variable == "B" else ()
            data = samples(n, given["d"], batch_shape=batch_shape)
            new = timed("growth", f"{variable}={size}", entries(data), settings, rounds=3)
            here += [{**row, "variable": variable, "size": size} for row in new]
        found += here + exponents(variable, here)
    return found


def entries(data: Tensor) -> list[Entry]:
    """A step of the textbook, and a fit of the helpers from data and from statistics."""
    *batch, _, d = data.shape
    statistics = SufficientStatistics.from_data(data)

    def helpers_fit(name: str, source: Tensor | SufficientStatistics) -> Contestant:
        return Contestant(
            name,
            lambda model: fit(model, source, progress=False),
            prepare=lambda: GaussianLikelihood(d, batch, dtype=data.dtype),
            error=lambda history: history.gap[-1].abs().max().item(),
        )

    found = [
        Entry(lambda: helpers_fit("helpers, fit from data", data)),
        Entry(lambda: helpers_fit("helpers, fit from statistics", statistics)),
    ]
    if not batch:
        found.append(Entry(lambda: _textbook_step(data)))
    return found


def exponents(variable: str, rows: Sequence[Row]) -> list[Row]:
    """The slope of log seconds over log size for each contestant, from the three largest.

    Parameters
    ----------
    variable : str
    rows : sequence of Row
        With `size` and `seconds`.

    Returns
    -------
    list of Row
        With `exponent`.
    """
    found = []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        own = sorted((row["size"], row["seconds"]) for row in rows if row["contestant"] == name)
        largest = own[-LARGEST:]
        slope = _slope([(math.log(size), math.log(seconds)) for size, seconds in largest])
        case = f"exponent of {variable}"
        row = {"table": "growth", "case": case, "contestant": name, "exponent": rounded(slope)}
        found.append({**row, "note": f"from {variable}={largest[0][0]} on"})
    return found


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line."""
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    above = sum((x - x_mean) * (y - y_mean) for x, y in points)
    return above / sum((x - x_mean) ** 2 for x, _ in points)


def _textbook_step(data: Tensor) -> Contestant:
    return Contestant(
        "a step of the textbook",
        lambda model: fit_by_likelihood(model, data, STEPS_TIMED),
        prepare=lambda: TextbookGaussian(data.shape[-1], data.dtype),
        scale=1 / STEPS_TIMED,
        note=f"{STEPS_TIMED} steps timed",
    )
