"""Squared Mahalanobis distances against what Gaussian data would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from helpers.diagnostics import chi_squared_quantiles, distance_band
from helpers.plotting.arrays import as_array, require_axes, require_look
from helpers.plotting.style import COLORS

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
        as `mahalanobis` gives them; n is at least d + 2.
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
        If a distance is negative or not finite, there are too few, or another argument does not
        fit.

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
    if n < 3:
        raise ValueError(f"distances: expected at least 3, got {n}")
    lower, upper = distance_band(n, dim, mass)
    quantiles = chi_squared_quantiles(n, dim).numpy()
    band = ax.fill_between(
        quantiles, lower, upper, color=COLORS["reference"], alpha=0.25, linewidth=0
    )
    reach = [0.0, quantiles[-1]]
    (line,) = ax.plot(reach, reach, color=COLORS["reference"], linestyle="--", linewidth=1.0)
    (dots,) = ax.plot(
        quantiles, distances, color=color, label=label, marker="o", markersize=4, linestyle="none"
    )
    ax.set(xlabel=f"chi-squared quantile, {dim} degrees of freedom", ylabel="squared distance")
    return dots, line, band
