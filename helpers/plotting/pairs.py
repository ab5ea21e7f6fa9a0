"""Every pair of variables with the Gaussian that is meant to describe them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgba
from torch import Tensor

from helpers.gaussian import Gaussian, marginal
from helpers.plotting.arrays import as_array, require_labels
from helpers.plotting.ellipses import plot_ellipse, plot_points
from helpers.plotting.style import COLORS, WIDE
from helpers.validation import as_gaussian, require_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray


def plot_pairs(
    points: Tensor | ArrayLike,
    loc: Tensor | ArrayLike,
    scale_tril: Tensor | ArrayLike,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draw every pair of variables with the Gaussian that is meant to describe them.

    On the diagonal stand histograms with the marginal density, below it scatter plots with the
    ellipse that holds 95 % of the marginal of the pair.

    Parameters
    ----------
    points : Tensor or array, shape (n, d)
        With d from 2 to 5.
    loc : Tensor or array, shape (d,)
    scale_tril : Tensor or array, shape (d, d)
        Lower triangular with a positive diagonal.
    labels : sequence of str, optional
        Names of the variables, with units.

    Returns
    -------
    Figure
        With d (d + 1) / 2 axes, row by row.

    Raises
    ------
    ValueError
        If a shape is wrong, a number is not finite, or `scale_tril` is not a Cholesky factor.
    """
    points = as_array(points, "points", (None, None))
    dim = require_count(points.shape[1], "number of columns of points", minimum=2, maximum=5)
    gaussian = Gaussian(
        torch.from_numpy(as_array(loc, "loc", (dim,))),
        torch.from_numpy(as_array(scale_tril, "scale_tril", (dim, dim))),
    )
    as_gaussian(gaussian, "loc, scale_tril")
    labels = require_labels(labels, dim) or [f"variable {i}" for i in range(dim)]
    side = min(WIDE[0], 2.2 * dim + 0.6)
    fig = plt.figure(figsize=(side, 0.85 * side), layout="constrained")
    grid = fig.add_gridspec(dim, dim)
    axes: dict[tuple[int, int], Axes] = {}
    for row, column in zip(*np.tril_indices(dim), strict=True):
        share_y = axes.get((row, 0)) if column < row else None
        ax = fig.add_subplot(grid[row, column], sharex=axes.get((column, column)), sharey=share_y)
        axes[row, column] = ax
        if row == column:
            _draw_marginal(ax, points[:, row], marginal(gaussian, [row]))
        else:
            _draw_pair(ax, points[:, [column, row]], marginal(gaussian, [column, row]))
        _label_outer(ax, row, column, labels)
    fig.align_labels()
    return fig


def _draw_marginal(ax: Axes, values: NDArray[np.float64], gaussian: Gaussian) -> None:
    """Histogram of one variable with the density of its marginal."""
    loc, scale = gaussian.loc.item(), gaussian.scale_tril.item()
    pale, edge = to_rgba(COLORS["data"], 0.45), COLORS["data"]  # the edge is what can be seen
    ax.hist(
        values, bins="auto", density=True, histtype="stepfilled", facecolor=pale, edgecolor=edge
    )
    at = np.linspace(min(values.min(), loc - 3 * scale), max(values.max(), loc + 3 * scale), 200)
    with np.errstate(over="ignore"):  # far out the density is zero
        log_density = -0.5 * ((at - loc) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))
    ax.plot(at, np.exp(log_density), color=COLORS["estimate"])
    ax.set_yticks([])


def _draw_pair(ax: Axes, points: NDArray[np.float64], gaussian: Gaussian) -> None:
    plot_points(ax, points, color=COLORS["data"], size=8, alpha=0.45)
    plot_ellipse(ax, gaussian.loc, gaussian.scale_tril, color=COLORS["estimate"])


def _label_outer(ax: Axes, row: int, column: int, labels: list[str]) -> None:
    """Label the left column and the lowest row; the others share their axes."""
    if row == len(labels) - 1:
        ax.set_xlabel(labels[column])
    else:
        ax.tick_params(labelbottom=False)
    if column == 0:
        ax.set_ylabel(labels[row] if row else "density")
    else:
        ax.tick_params(labelleft=False)
