"""The figures of the benchmarks: dots for times, lines for growth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.report import Row
from helpers import COLORS, use_style
from helpers.plotting.style import save_benchmark_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS = (
    *("one_fit", "mini_batches", "many_fits", "log_prob", "data_pass", "memory", "startup"),
    *("ranks", "shards"),
)
NAMES = (*DOTS, "growth", "scaling")
"""Of the tables that have a figure: `figures/bench_NAME.png`."""
MARKERS = "osD^"


def draw(rows: Sequence[Row]) -> list[str]:
    """Draw and save the figure of each table that has rows.

    Parameters
    ----------
    rows : sequence of Row

    Returns
    -------
    list of str
        Names of the tables that were drawn.
    """
    use_style()
    drawn = []
    for name in NAMES:
        own = [row for row in rows if row["table"] == name and "skipped" not in row]
        if own:
            save_benchmark_figure(DRAWN_BY.get(name, dots)(own), name)
            drawn.append(name)
    return drawn


def dots(rows: Sequence[Row]) -> Figure:
    """A panel a case: medians on a log axis, whiskers from quartile to quartile."""
    import matplotlib.pyplot as plt

    field = "mebibytes" if "mebibytes" in rows[0] else "seconds"
    cases = list(dict.fromkeys(row["case"] for row in rows if field in row))
    panels = [[row for row in rows if row["case"] == case and field in row] for case in cases]
    heights = [0.9 + 0.25 * len(panel) for panel in panels]
    fig, axes = plt.subplots(
        len(cases), figsize=(8.0, sum(heights)), height_ratios=heights, squeeze=False
    )
    for ax, case, panel in zip(axes[:, 0], cases, panels, strict=True):
        _dots(ax, panel, field)
        ax.set_title(case, loc="left")
    unit = "extra memory (MiB)" if field == "mebibytes" else "time (s)"
    axes[-1, 0].set_xlabel(f"{unit}, log scale")
    return fig


def lines(rows: Sequence[Row]) -> Figure:
    """A panel a variable: time over size, both on log axes, with the fitted exponents."""
    import matplotlib.pyplot as plt

    sized = [row for row in rows if "size" in row]
    variables = list(dict.fromkeys(row["variable"] for row in sized))
    exponents = {
        (row["case"], row["contestant"]): row["exponent"] for row in rows if "exponent" in row
    }
    fig, axes = plt.subplots(1, len(variables), figsize=(11.0, 3.8), sharey=True, squeeze=False)
    for ax, variable in zip(axes[0], variables, strict=True):
        own = [row for row in sized if row["variable"] == variable]
        for place, name in enumerate(dict.fromkeys(row["contestant"] for row in own)):
            points = [(row["size"], row["seconds"]) for row in own if row["contestant"] == name]
            exponent = exponents[f"exponent of {variable}", name]
            label = f"{name.removeprefix('helpers, ')}: {power(variable, exponent)}"
            ax.loglog(
                *zip(*points, strict=True),
                color=COLORS[("estimate", "data", "warning")[place]],
                marker=MARKERS[place],
                label=label,
            )
        ax.set_xlabel(variable)
        ax.legend(loc="upper left")
    axes[0, 0].set_ylabel("time (s)")
    return fig


def rates(rows: Sequence[Row]) -> Figure:
    """Rows a second over ranks, with the ideal; a line a case."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(5.5, 3.8))
    numbers = sorted({row["ranks"] for row in rows})
    ax.plot(numbers, numbers, "--", color="black", label="as many as ranks")
    for place, case in enumerate(dict.fromkeys(row["case"] for row in rows)):
        points = [(row["ranks"], row["rate"]) for row in rows if row["case"] == case]
        ax.plot(
            *zip(*points, strict=True),
            color=COLORS[("estimate", "data")[place]],
            marker=MARKERS[place],
            label=case,
        )
    ax.set_xlabel("ranks")
    ax.set_ylabel("rows a second (one rank = 1)")
    ax.set_xticks(numbers)
    ax.set_ylim(bottom=0)
    ax.legend(loc="upper left")
    return fig


DRAWN_BY = {"growth": lines, "scaling": rates}
"""How the figures are drawn that have no dots."""


def power(variable: str, exponent: float) -> str:
    """How a time grows: "n^1.5", or "flat" where the exponent rounds to zero."""
    return "flat" if abs(exponent) < 0.05 else f"{variable}^{exponent:.1f}"


def _dots(ax: Axes, rows: Sequence[Row], field: str) -> None:
    """Dots and not bars: on a log axis a bar's length would mean nothing."""
    for place, row in enumerate(sorted(rows, key=lambda row: row[field], reverse=True)):
        median = row[field]
        ax.plot(
            [row.get("lower", median), row.get("upper", median)], [place] * 2, "-", color="black"
        )
        ax.plot(median, place, "o", color=COLORS[_role(row["contestant"])])
    names = [row["contestant"] for row in sorted(rows, key=lambda row: row[field], reverse=True)]
    ax.set_yticks(range(len(names)), names)
    ax.set_xscale("log")
    ax.set_xlim(*_decades(rows, field))
    ax.set_ylim(-0.7, len(names) - 0.3)


def _decades(rows: Sequence[Row], field: str) -> tuple[float, float]:
    """Whole powers of ten on both sides of all dots and whiskers."""
    lowest = min(row.get("lower", row[field]) for row in rows)
    highest = max(row.get("upper", row[field]) for row in rows)
    return 10.0 ** math.floor(math.log10(lowest)), 10.0 ** math.ceil(math.log10(highest))


def _role(contestant: str) -> str:
    if contestant.startswith("helpers"):
        return "estimate"
    return "warning" if "textbook" in contestant else "reference"
