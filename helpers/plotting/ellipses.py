"""Points, ellipses and principal axes: a covariance as geometry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from helpers.plotting.arrays import as_array, require_axes, require_look
from helpers.validation import as_covariance, require_count, require_flag, require_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D
    from matplotlib.quiver import Quiver
    from numpy.typing import ArrayLike, NDArray


def plot_points(
    ax: Axes,
    points: Tensor | ArrayLike,
    *,
    color: str,
    label: str | None = None,
    size: float = 14.0,
    alpha: float = 0.55,
) -> PathCollection:
    """Draw a cloud of points.

    Parameters
    ----------
    ax : Axes
    points : Tensor or array, shape (n, 2)
    color : str
        One of :data:`COLORS`.
    label : str, optional
        Text for the legend.
    size : float
        Area of a point, in square points.
    alpha : float
        Opacity, between 0 and 1.

    Returns
    -------
    PathCollection

    Raises
    ------
    TypeError, ValueError
        If the points have another shape or are not finite, or another argument does not fit.
    """
    require_axes(ax)
    require_look(color, label)
    points = as_array(points, "points", (None, 2))
    require_number(size, "size", above=0.0)
    if require_number(alpha, "alpha", above=0.0) > 1:
        raise ValueError(f"alpha: expected a number from 0 to 1, got {alpha}")
    return ax.scatter(*points.T, s=size, color=color, alpha=alpha, linewidths=0, label=label)


def ellipse_points(
    loc: Tensor | ArrayLike,
    scale_tril: Tensor | ArrayLike,
    *,
    mass: float | None = 0.95,
    radius: float | None = None,
    n_points: int = 200,
) -> NDArray[np.float64]:
    r"""Boundary of the ellipse that holds a given share of a Gaussian in the plane.

    .. math:: x(t) = \mu + r L u(t), \quad u(t) = (\cos t, \sin t), \quad r = \sqrt{-2 \log(1 - m)}

    The squared Mahalanobis distance is chi-squared with two degrees of freedom, whose quantile at
    mass :math:`m` is :math:`r^2`. No angle of the ellipse is computed, so that nothing depends on
    the sign of the correlation or on a gap between the eigenvalues. A singular factor gives a
    segment or a point.

    Parameters
    ----------
    loc : Tensor or array, shape (2,)
    scale_tril : Tensor or array, shape (2, 2)
        Lower-triangular factor of the covariance, not the covariance itself.
    mass : float or None
        Share of the probability inside, between 0 and 1; None stands for radius 1.
    radius : float, optional
        Mahalanobis radius of the boundary, in place of `mass`.
    n_points : int
        Number of points; the last repeats the first.

    Returns
    -------
    ndarray, shape (n_points, 2)
        In the units of `loc`.

    Raises
    ------
    ValueError
        If a shape is wrong, a number is not finite, the factor is not lower triangular, or `mass`,
        `radius` or `n_points` is out of range.

    References
    ----------
    Johnson and Wichern (2007), Applied Multivariate Statistical Analysis, section 4.2.
    """
    loc = as_array(loc, "loc", (2,))
    scale_tril = _factor(scale_tril)
    n_points = require_count(n_points, "n_points", minimum=4, maximum=1_000_000)
    angles = np.linspace(0.0, 2.0 * math.pi, n_points)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (n_points, 2)
    circle[-1] = circle[0]  # the sine of 2 pi is not quite 0
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
        points = loc + _mahalanobis_radius(mass, radius) * circle @ scale_tril.T  # (n_points, 2)
    return as_array(points, "loc, scale_tril, mass, radius: boundary", (None, 2))


def plot_ellipse(
    ax: Axes,
    loc: Tensor | ArrayLike,
    scale_tril: Tensor | ArrayLike,
    *,
    mass: float | None = 0.95,
    radius: float | None = None,
    color: str,
    label: str | None = None,
    fill: bool = False,
    linestyle: str = "-",
) -> Line2D:
    """Draw the ellipse of :func:`ellipse_points`, with a light filling if asked for.

    Parameters
    ----------
    ax : Axes
        Lengths compare by eye only after ``ax.set_aspect("equal")``.
    loc, scale_tril, mass, radius
        As in :func:`ellipse_points`, which also raises the errors.
    color : str
        One of :data:`COLORS`.
    label : str, optional
        Text for the legend.
    fill : bool
    linestyle : str

    Returns
    -------
    Line2D
        The boundary.
    """
    require_axes(ax)
    require_look(color, label, linestyle)
    require_flag(fill, "fill")
    boundary = ellipse_points(loc, scale_tril, mass=mass, radius=radius)  # (n_points, 2)
    if fill:
        ax.fill(*boundary.T, color=color, alpha=0.12, linewidth=0)
    (line,) = ax.plot(*boundary.T, color=color, label=label, linestyle=linestyle)
    return line


def principal_axes(
    covariance_matrix: Tensor | ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Half-lengths and directions of the ellipse of Mahalanobis radius 1.

    .. math:: \Sigma = \sum_i \ell_i^2 \, v_i v_i^\top

    Parameters
    ----------
    covariance_matrix : Tensor or array, shape (d, d)

    Returns
    -------
    lengths : ndarray, shape (d,)
        Square roots of the eigenvalues, longest first, in the units of the data.
    directions : ndarray, shape (d, d)
        Unit eigenvectors; column ``directions[:, i]`` belongs to ``lengths[i]``. Of the two signs,
        the one that makes the first large component positive.

    Raises
    ------
    ValueError
        If the matrix is not square, finite and symmetric, or has a negative eigenvalue.
    """
    is_float32 = getattr(covariance_matrix, "dtype", None) in (torch.float32, np.float32)
    precision = torch.float32 if is_float32 else torch.float64
    covariance_matrix = as_array(covariance_matrix, "covariance_matrix", (None, None))  # (d, d)
    as_covariance(torch.from_numpy(covariance_matrix).to(precision), "covariance_matrix")
    rounding = 64 * torch.finfo(precision).eps
    eigenvalues, directions = np.linalg.eigh(covariance_matrix)  # (d,), (d, d)
    eigenvalues, directions = eigenvalues[::-1], directions[:, ::-1]
    if eigenvalues[-1] < -rounding * abs(eigenvalues[0]):
        raise ValueError(
            "covariance_matrix: expected no negative eigenvalue, "
            f"got {eigenvalues[-1]:.3g} as the smallest"
        )
    sizes = np.abs(directions)
    # Large means over half the largest: a tie, as at 45 degrees, must not be decided by rounding.
    leading = (sizes > 0.5 * sizes.max(axis=0)).argmax(axis=0)  # (d,)
    signs = np.sign(np.take_along_axis(directions, leading[None], axis=0))  # (1, d)
    return np.sqrt(eigenvalues.clip(min=0.0)), directions * signs


def plot_principal_axes(
    ax: Axes,
    loc: Tensor | ArrayLike,
    covariance_matrix: Tensor | ArrayLike,
    *,
    color: str,
    label: str | None = None,
) -> Quiver:
    """Draw one arrow along each principal axis, one standard deviation long.

    Parameters
    ----------
    ax : Axes
        The arrows look perpendicular only after ``ax.set_aspect("equal")``.
    loc : Tensor or array, shape (2,)
        Where the arrows start.
    covariance_matrix : Tensor or array, shape (2, 2)
    color : str
        One of :data:`COLORS`.
    label : str, optional
        Text for the legend.

    Returns
    -------
    Quiver
        The two arrows, the longest first.

    Raises
    ------
    ValueError
        If a shape is wrong, or as :func:`principal_axes` does.
    """
    require_axes(ax)
    require_look(color, label)
    loc = as_array(loc, "loc", (2,))
    lengths, directions = principal_axes(covariance_matrix)
    if lengths.shape != (2,):
        raise ValueError(
            f"covariance_matrix: expected shape (2, 2), got ({len(lengths)}, {len(lengths)})"
        )
    arrows = (lengths * directions).T  # (2, 2), one arrow a row
    start = np.broadcast_to(loc, (2, 2))
    quiver = ax.quiver(
        *start.T,
        *arrows.T,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.009,
        facecolor=color,
        edgecolor="white",
        linewidth=0.6,
        label=label,
        zorder=3,
    )
    # A quiver reserves room for the starts of its arrows only.
    ax.update_datalim(loc + arrows)
    return quiver


def _factor(scale_tril: Tensor | ArrayLike) -> NDArray[np.float64]:
    """Lower-triangular factor (2, 2), which may be singular."""
    scale_tril = as_array(scale_tril, "scale_tril", (2, 2))
    if scale_tril[0, 1] != 0.0:
        raise ValueError(
            "scale_tril: expected a lower-triangular factor, got "
            f"{scale_tril[0, 1]:.3g} above the diagonal; is it the covariance matrix itself?"
        )
    return scale_tril


def _mahalanobis_radius(mass: float | None, radius: float | None) -> float:
    if radius is not None:
        return require_number(radius, "radius", above=0.0)
    if mass is None:
        return 1.0
    return math.sqrt(-2.0 * math.log1p(-require_number(mass, "mass", above=0.0, below=1.0)))
