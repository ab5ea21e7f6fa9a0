"""Squared Mahalanobis distances against what Gaussian data would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from helpers.diagnostics import (
    MOST_ROWS,
    chi_squared_quantiles,
    distance_band,
    fewest_repeats,
)
from helpers.plotting.arrays import as_array, require_axes, require_look
from helpers.plotting.style import COLORS
from helpers.validation import require_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike


def plot_chi_squared(
    ax: Axes,
    distances: Tensor | ArrayLike,
    dim: int,
    *,
    color: str = COLORS["data"],
    label: str | None = None,
    mass: float = 0.95,
) -> tuple[Line2D, Line2D, PolyCollection]:
    """Draw sorted squared distances against chi-squared quantiles, with a band to judge them by.

    Parameters
    ----------
    ax : Axes
    distances : Tensor or array, shape (n,)
        Squared Mahalanobis distances of the rows from the maximum likelihood fit to these rows,
        as `mahalanobis` gives them: their mean is d. From d + 2 to a hundred thousand.
    dim : int
        Number of variables d.
    color : str
        One of :data:`COLORS`.
    label : str, optional
        Text for the legend.
    mass : float
        Probability that one given dot of Gaussian data falls into the band.

    Returns
    -------
    dots, line : Line2D
        The line is where each distance equals its quantile.
    band : PolyCollection
        Limits of :func:`helpers.distance_band`, which knows that the fit has seen the rows: its
        upper end bends below the line where n is not large beside d.

    Raises
    ------
    TypeError, ValueError
        If a distance is negative or not finite, there are too few or too many, their mean is not
        d to a thousandth, or another argument does not fit.

    Notes
    -----
    The band is simulated: time and memory grow with n, and above some ten thousand rows pass a
    subsample, with the distances from the fit to it.

    References
    ----------
    Johnson and Wichern (2007), Applied Multivariate Statistical Analysis, section 4.6.
    """
    require_axes(ax)
    require_look(color, label)
    distances = np.sort(as_array(distances, "distances", (None,)))
    if distances[0] < 0:
        raise ValueError(f"distances: expected squared distances, got {distances[0]:.6g}")
    n = len(distances)
    if not 3 <= n <= MOST_ROWS:
        raise ValueError(f"distances: expected 3 to {MOST_ROWS} of them, got {n}")
    dim = require_count(dim, "dim", maximum=n - 2)
    _require_own_fit(distances, dim)
    lower, upper = distance_band(n, dim, mass, repeats=max(1000, fewest_repeats(mass)))
    quantiles = chi_squared_quantiles(n, dim).numpy()
    band = ax.fill_between(
        quantiles, lower, upper, color=COLORS["reference"], alpha=0.25, linewidth=0
    )
    reach = [0.0, quantiles[-1]]
    (line,) = ax.plot(reach, reach, color=COLORS["reference"], linestyle="--", linewidth=1.0)
    (dots,) = ax.plot(
        quantiles, distances, color=color, label=label, marker="o", markersize=2, linestyle="none"
    )
    ax.set(xlabel=f"chi-squared quantile, {dim} degrees of freedom", ylabel="squared distance")
    return dots, line, band


def _require_own_fit(distances: np.ndarray, dim: int) -> None:
    """Raise ValueError unless the distances average what those from the fit to their rows do."""
    mean = distances.mean()
    if not abs(mean - dim) <= 1e-3 * dim:
        raise ValueError(
            f"distances: expected those of rows from the maximum likelihood fit to these rows, "
            f"whose mean is dim = {dim}, got a mean of {mean:.6g}"
        )
