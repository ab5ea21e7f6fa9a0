"""Figures of the course: points, ellipses, matrices, loss surfaces and training curves.

Colours, sizes and fonts are in ``course.mplstyle``; :func:`use_style` applies it. Every function
draws into the axes it is given and returns what it drew. Tensors on any device, with or without
gradients, and arrays are accepted alike; nothing that is passed in is changed.
"""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from torch import Tensor

from helpers.gaussian import Gaussian, marginal
from helpers.validation import as_covariance, require_count, require_finite, require_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection, QuadMesh
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.quiver import Quiver
    from numpy.typing import ArrayLike, NDArray

    from helpers.history import History

STYLE = Path(__file__).with_name("course.mplstyle")
WIDE = (9.0, 3.8)
"""Size in inches of a figure with two or three panels side by side; one panel needs no size."""

_ROLES = ("data", "truth", "estimate", "start", "gradient", "reference", "warning")
_STYLE_PARAMS = mpl.rc_params_from_file(STYLE, use_default_template=False)
_CYCLE = _STYLE_PARAMS["axes.prop_cycle"].by_key()["color"]

COLORS = MappingProxyType(
    dict(zip(_ROLES, _CYCLE, strict=True)) | {"step": _CYCLE[_ROLES.index("gradient")]}
)
"""Colour of each role; ``"step"`` is the colour of ``"gradient"``."""

# Lines of different methods differ in colour and in dashes, so that a grey print tells them apart.
_METHOD_ROLES = ("estimate", "data", "gradient", "start", "truth", "warning")
_METHOD_DASHES = ("-", (0, (6, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)), (0, (9, 2)), (0, (2, 2)))
_GAP_FLOOR = 1e-16  # rounding in float64: below it a gap cannot be told from zero
_MAX_ANNOTATED = 12
_FIGURE_NAME = re.compile(r"\d\d(_[a-z0-9]+)+")


def use_style() -> None:
    """Apply the look of the course to every figure drawn from now on."""
    plt.style.use(STYLE)


def save_figure(fig: Figure, name: str) -> None:
    """Write a figure to ``figures/NAME.png``, close it and show the very bytes that were written.

    The folder is ``figures`` beside the package, or the one that the environment variable
    ``COVARIANCE_FIGURES`` names; it is created where it is missing. The same figure gives the same
    bytes. If the folder cannot be written, a warning says so and the figure is shown all the same.

    Parameters
    ----------
    fig : Figure
        Closed afterwards, so that the notebook shows it once.
    name : str
        ``NN_words_in_snake_case``, with the number of the notebook and without an ending.

    Raises
    ------
    ValueError
        If the name has another form.
    """
    if not _FIGURE_NAME.fullmatch(name):
        raise ValueError(
            f"name: expected two digits and words in snake_case, such as '01_ellipse', got {name!r}"
        )
    from IPython.display import Image, display

    png = _png_bytes(fig)
    plt.close(fig)
    try:
        folder = _figures_folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(png)
    except OSError as error:
        warnings.warn(f"the figure {name} is shown but not saved: {error}", stacklevel=2)
    display(Image(data=png))


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
    ValueError
        If the points have another shape, or are not finite.
    """
    points = _array(points, "points", (None, 2))
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
    loc = _array(loc, "loc", (2,))
    scale_tril = _factor(scale_tril)
    n_points = require_count(n_points, "n_points", minimum=4)
    angles = np.linspace(0.0, 2.0 * math.pi, n_points)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (n_points, 2)
    circle[-1] = circle[0]  # the sine of 2 pi is not quite 0
    return loc + _mahalanobis_radius(mass, radius) * circle @ scale_tril.T  # (n_points, 2)


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
    if not isinstance(covariance_matrix, Tensor):
        covariance_matrix = torch.as_tensor(covariance_matrix, dtype=torch.float64)
    covariance_matrix = as_covariance(covariance_matrix, "covariance_matrix")
    rounding = 64 * torch.finfo(covariance_matrix.dtype).eps
    covariance_matrix = _array(covariance_matrix, "covariance_matrix", (None, None))  # (d, d)
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
    loc = _array(loc, "loc", (2,))
    covariance_matrix = _array(covariance_matrix, "covariance_matrix", (2, 2))
    lengths, directions = principal_axes(covariance_matrix)
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
    ax.autoscale_view()
    return quiver


def plot_matrix(
    ax: Axes,
    matrix: Tensor | ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    fmt: str = ".2f",
    center: float = 0.0,
    vmax: float | None = None,
) -> QuadMesh:
    """Draw a matrix as a heat map with its numbers.

    Blue is below `center`, red is above, and equal distances have equal strength. With more than
    12 rows or columns the numbers would be illegible: a colour bar stands in for them.

    Parameters
    ----------
    ax : Axes
    matrix : Tensor or array, shape (n, m)
    labels : sequence of str, optional
        Names of the rows and the columns of a square matrix; otherwise their indices.
    title : str, optional
    fmt : str
        Format of the numbers.
    center : float
        Value that is drawn white.
    vmax : float, optional
        Value of the strongest red; by default no value is beyond the scale.

    Returns
    -------
    QuadMesh

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional and finite, `labels` do not fit, or `vmax` is not above
        `center`.
    """
    matrix = _array(matrix, "matrix", (None, None))
    half_range = _half_range([matrix], center, vmax)
    mesh = _heat_map(ax, matrix, labels, center, half_range)
    if title is not None:
        ax.set_title(title)
    if _fits_numbers(matrix):
        _write_numbers(ax, mesh, matrix, fmt)
    else:
        ax.figure.colorbar(mesh, ax=ax)
    return mesh


def plot_matrices(
    matrices: Mapping[str, Tensor | ArrayLike],
    *,
    labels: Sequence[str] | None = None,
    fmt: str = ".2f",
    center: float = 0.0,
    vmax: float | None = None,
) -> Figure:
    """Draw matrices side by side with one colour scale, so that colours compare across panels.

    The rows are named at the left-hand panel only.

    Parameters
    ----------
    matrices : mapping of str to Tensor or array, shape (n, m)
        The keys become the titles.
    labels, fmt, center, vmax
        As in :func:`plot_matrix`, which also raises the errors.

    Returns
    -------
    Figure
        With one axes for each matrix, in order, and one for the colour bar.
    """
    if not matrices:
        raise ValueError("matrices: expected at least one matrix, got none")
    arrays = {name: _array(matrix, name, (None, None)) for name, matrix in matrices.items()}
    half_range = _half_range(arrays.values(), center, vmax)
    width = min(WIDE[0], 1.0 + 2.9 * len(arrays))
    # "compressed" is the constrained layout for panels of a fixed shape.
    fig, axes = plt.subplots(
        ncols=len(arrays), figsize=(width, 3.2), layout="compressed", squeeze=False
    )
    meshes = []
    for ax, (name, array) in zip(axes[0], arrays.items(), strict=True):
        meshes.append(_heat_map(ax, array, labels, center, half_range))
        ax.set_title(name)
        ax.tick_params(labelleft=ax is axes[0, 0])
    fig.colorbar(meshes[0], ax=axes[0], shrink=0.8)
    fig.draw_without_rendering()  # the size of the numbers depends on the size of the cells
    for ax, mesh, array in zip(axes[0], meshes, arrays.values(), strict=True):
        if _fits_numbers(array):
            _write_numbers(ax, mesh, array, fmt)
    return fig


def plot_loss_surface(
    ax: Axes,
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor | ArrayLike,
    y: Tensor | ArrayLike,
    *,
    xlabel: str,
    ylabel: str,
    levels: int = 12,
) -> QuadContourSet:
    """Draw the contours of a loss over two parameters; dark is low.

    The levels are spaced evenly in the logarithm of the height above the lowest point of the grid:
    the flat floor of a valley gets as many lines as its walls. The innermost one encloses about one
    hundredth of the picture. Where the loss is not finite the picture stays white. The limits of
    the axes are those of the grid: a path that is drawn later does not move them.

    Parameters
    ----------
    ax : Axes
    loss : callable
        Takes two tensors of shape (ny, nx) and returns one; it is called without gradients.
    x : Tensor or array, shape (nx,)
        Values of the first parameter, rising.
    y : Tensor or array, shape (ny,)
        Values of the second parameter, rising.
    xlabel, ylabel : str
    levels : int
        Number of contour lines.

    Returns
    -------
    QuadContourSet
        The filled contours, with levels in the units of the loss.

    Raises
    ------
    ValueError
        If a shape is wrong, or the loss is constant or nowhere finite on the grid.
    """
    require_count(levels, "levels", minimum=2)
    x, y = _array(x, "x", (None,)), _array(y, "y", (None,))
    grid_y, grid_x = torch.meshgrid(torch.from_numpy(y), torch.from_numpy(x), indexing="ij")
    with torch.no_grad():
        heights = torch.as_tensor(loss(grid_x, grid_y)).cpu()  # (ny, nx)
    if heights.shape != grid_x.shape:
        raise ValueError(
            f"loss: expected a function that returns shape {tuple(grid_x.shape)} on this grid, "
            f"got {tuple(heights.shape)}"
        )
    heights = np.ma.masked_invalid(heights.double().numpy())
    edges = _contour_edges(heights, levels)  # (levels + 2,)
    shades = sns.light_palette(COLORS["data"], levels + 6, reverse=True)[5:]
    filled = ax.contourf(x, y, heights, levels=edges, colors=shades)
    ax.contour(x, y, heights, levels=edges[1:-1], colors="white", linewidths=0.6)
    ax.grid(False)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    return filled


def plot_path(
    ax: Axes,
    path: Tensor | ArrayLike,
    *,
    color: str,
    label: str | None = None,
    linestyle: str = "-",
) -> tuple[Line2D, Line2D, Line2D]:
    """Draw the steps of an optimiser: a hollow circle at the start, a filled one at the end.

    Parameters
    ----------
    ax : Axes
    path : Tensor or array, shape (k, 2)
        The two parameters after each step, the starting point first.
    color : str
        One of :data:`COLORS`.
    label : str, optional
        Text for the legend.
    linestyle : str
        Give each path its own, so that a grey print tells them apart.

    Returns
    -------
    line, start, end : Line2D

    Raises
    ------
    ValueError
        If the path is empty, has another shape, or is not finite.
    """
    path = _array(path, "path", (None, 2))
    (line,) = ax.plot(
        *path.T,
        color=color,
        label=label,
        linestyle=linestyle,
        linewidth=1.3,
        marker=".",
        markersize=4,
    )
    (start,) = ax.plot(
        *path[0], color=color, marker="o", markersize=8, markerfacecolor="white", linestyle="none"
    )
    (end,) = ax.plot(
        *path[-1], color=color, marker="o", markersize=8, markeredgecolor="white", linestyle="none"
    )
    return line, start, end


def plot_gap(
    ax: Axes,
    histories: Mapping[str, History],
    *,
    sampling_error: float | None = None,
    x: Literal["step", "time"] = "step",
    log_x: bool | None = None,
) -> list[Line2D]:
    """Draw the gap to the exact optimum on a logarithmic axis, one line a method.

    A gap of at most 1e-16 is rounding: the line is not drawn there, and a hollow triangle on the
    lower edge marks the first such point. Of a batch, the worst gap is drawn.

    Parameters
    ----------
    ax : Axes
    histories : mapping of str to History
        The keys become the legend. A history has `step` (k,), `time` (k,) in seconds, and `gap`
        (k,) or (k, *batch).
    sampling_error : float, optional
        What the sample leaves open, p/2N, drawn as a dashed grey line.
    x : {"step", "time"}
    log_x : bool, optional
        Whether the horizontal axis is logarithmic, and linear near 0; by default it is if one
        method takes 30 times as long as another.

    Returns
    -------
    list of Line2D
        In the order of `histories`.

    Raises
    ------
    ValueError
        If there is no history, the shapes of one differ, there are more than six, `x` is
        unknown, or `sampling_error` is not positive.
    """
    if x not in ("step", "time"):
        raise ValueError(f"x: expected 'step' or 'time', got {x!r}")
    if not 1 <= len(histories) <= len(_METHOD_ROLES):
        raise ValueError(
            f"histories: expected 1 to {len(_METHOD_ROLES)} methods, which colours and dashes can "
            f"tell apart, got {len(histories)}"
        )
    curves = {name: _gap_curve(history, name, x) for name, history in histories.items()}
    lines = []
    for (name, (at, gap)), role, dashes in zip(
        curves.items(), _METHOD_ROLES, _METHOD_DASHES, strict=False
    ):
        visible = np.where(gap > _GAP_FLOOR, gap, np.nan)  # (k,)
        lines += ax.plot(at, visible, color=COLORS[role], linestyle=dashes, label=name)
    _mark_vanished(ax, curves.values())
    if sampling_error is not None:
        ax.axhline(
            require_number(float(sampling_error), "sampling_error", above=0.0),
            color=COLORS["reference"],
            linestyle="--",
            linewidth=1.2,
            label="sampling error p/2N",
        )
    ax.set_yscale("log")
    _scale_x(ax, [at for at, _ in curves.values()], log_x)
    ax.set(xlabel="time (s)" if x == "time" else "step", ylabel="gap to the exact optimum")
    ax.legend()
    return lines


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
    points = _array(points, "points", (None, None))
    dim = require_count(points.shape[1], "number of columns of points", minimum=2, maximum=5)
    gaussian = Gaussian(
        torch.from_numpy(_array(loc, "loc", (dim,))),
        torch.from_numpy(_array(scale_tril, "scale_tril", (dim, dim))),
    )
    labels = _axis_labels(labels, dim)
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


def _array(
    value: Tensor | ArrayLike, name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Finite float64 array on the CPU; None in `shape` stands for any size but 0."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    tensor = torch.as_tensor(value, dtype=torch.float64)
    fits = tensor.ndim == len(shape) and all(
        size > 0 if expected is None else size == expected
        for size, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape ({expected}), got {tuple(tensor.shape)}")
    require_finite(tensor, name)
    return tensor.numpy()


def _factor(scale_tril: Tensor | ArrayLike) -> NDArray[np.float64]:
    """Lower-triangular factor (2, 2), which may be singular."""
    scale_tril = _array(scale_tril, "scale_tril", (2, 2))
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
    if not 0.0 < mass < 1.0:
        raise ValueError(f"mass: expected a number between 0 and 1, got {mass}")
    return math.sqrt(-2.0 * math.log1p(-mass))


def _figures_folder() -> Path:
    folder = os.environ.get("COVARIANCE_FIGURES")
    return Path(folder) if folder else Path(__file__).resolve().parents[1] / "figures"


def _png_bytes(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    # The version of matplotlib in the metadata would change the bytes and not the picture.
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _half_range(
    matrices: Iterable[NDArray[np.float64]], center: float, vmax: float | None
) -> float:
    """Distance from the centre of the colour scale to either end."""
    if vmax is not None:
        return require_number(vmax, "vmax", above=center) - center
    largest = max(float(np.abs(matrix - center).max()) for matrix in matrices)
    return largest or 1.0  # a constant matrix is white on any scale


def _heat_map(
    ax: Axes,
    matrix: NDArray[np.float64],
    labels: Sequence[str] | None,
    center: float,
    half_range: float,
) -> QuadMesh:
    if labels is not None and matrix.shape != (len(labels), len(labels)):
        raise ValueError(
            f"labels: expected one for each row and column of a square matrix, got {len(labels)} "
            f"labels for shape {matrix.shape}"
        )
    # Without names, the indices: all of them, or about ten.
    ticks = math.ceil(max(matrix.shape) / _MAX_ANNOTATED) if labels is None else list(labels)
    sns.heatmap(
        matrix,
        ax=ax,
        vmin=center - half_range,
        vmax=center + half_range,
        cmap=_STYLE_PARAMS["image.cmap"],
        cbar=False,
        square=True,
        xticklabels=ticks,
        yticklabels=ticks,
    )
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.tick_params(length=0, rotation=0)
    if labels is not None and max(map(len, labels)) > 3:
        plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    return ax.collections[0]


def _fits_numbers(matrix: NDArray[np.float64]) -> bool:
    return max(matrix.shape) <= _MAX_ANNOTATED


def _write_numbers(ax: Axes, mesh: QuadMesh, matrix: NDArray[np.float64], fmt: str) -> None:
    texts = [_format_number(value, fmt) for value in matrix.flat]
    box = ax.get_position()  # in shares of the figure
    width, height = ax.figure.get_size_inches() * (box.width, box.height)  # inches
    cell = 72.0 * min(width / matrix.shape[1], height / matrix.shape[0])  # points
    # A digit is about 0.64 font sizes wide; a tenth of the cell stays free.
    size = min(mpl.rcParams["font.size"], 0.9 * cell / (0.64 * max(map(len, texts))))
    colors = mesh.cmap(mesh.norm(matrix.ravel()))
    for (row, column), text, color in zip(np.ndindex(matrix.shape), texts, colors, strict=True):
        ax.text(
            column + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color=_readable_on(color),
        )


def _format_number(value: float, fmt: str) -> str:
    text = format(value, fmt)
    # Rounding can leave a zero with a sign, which says nothing and differs between machines.
    return format(0.0, fmt) if text.startswith("-") and float(text) == 0.0 else text


def _readable_on(color: Sequence[float]) -> str:
    """Black or white, whichever has the higher contrast (WCAG 2.2, relative luminance)."""
    rgb = np.asarray(color[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return "black" if luminance > 0.179 else "white"


def _contour_edges(heights: np.ma.MaskedArray, levels: int) -> NDArray[np.float64]:
    """Limits of the filled bands (levels + 2,), from the lowest point to the highest."""
    finite = heights.compressed()
    lowest, highest = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if not lowest < highest:
        raise ValueError("loss: expected finite values that differ on the grid, got none")
    above = finite[finite > lowest] - lowest
    inner = np.geomspace(np.quantile(above, 0.01), highest - lowest, levels + 1)[:-1]
    return np.array([lowest, *(lowest + inner), highest])


def _gap_curve(
    history: History, name: str, x: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Horizontal values (k,) and worst gaps (k,)."""
    at = getattr(history, x).detach().cpu().double()  # (k,)
    gap = history.gap.detach().cpu().double()  # (k, *batch)
    if at.ndim != 1 or gap.ndim < 1 or len(at) != len(gap) or len(at) == 0:
        raise ValueError(
            f"histories[{name!r}]: expected {x} (k,) and gap (k, ...) with k of at least 1, "
            f"got {tuple(at.shape)} and {tuple(gap.shape)}"
        )
    return at.numpy(), gap.flatten(1).amax(1).numpy() if gap.ndim > 1 else gap.numpy()


def _mark_vanished(
    ax: Axes, curves: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> None:
    """Mark on the lower edge where each curve first falls to the floor."""
    style = {"marker": "v", "markersize": 7, "markerfacecolor": "white", "linestyle": "none"}
    any_vanished = False
    for (at, gap), role in zip(curves, _METHOD_ROLES, strict=False):
        vanished = gap <= _GAP_FLOOR
        if vanished.any():
            any_vanished = True
            edge = ax.get_xaxis_transform()  # horizontal in data units, vertical in shares of axes
            ax.plot(at[vanished.argmax()], 0.03, transform=edge, color=COLORS[role], **style)
    if any_vanished:
        ax.plot([], [], color=COLORS["reference"], label="gap of at most 1e-16", **style)


def _scale_x(ax: Axes, curves: Sequence[NDArray[np.float64]], log_x: bool | None) -> None:
    ends = [at.max() for at in curves]
    if log_x is None:
        log_x = max(ends) > 30.0 * min(ends)
    if log_x:
        positive = np.concatenate(curves)
        positive = positive[positive > 0]
        ax.set_xscale("symlog", linthresh=positive.min() if positive.size else 1.0)
        ax.set_xlim(left=min(0.0, *(at.min() for at in curves)))


def _axis_labels(labels: Sequence[str] | None, dim: int) -> list[str]:
    if labels is None:
        return [f"variable {i}" for i in range(dim)]
    if len(labels) != dim:
        raise ValueError(f"labels: expected {dim} of them, got {len(labels)}")
    return list(labels)


def _draw_marginal(ax: Axes, values: NDArray[np.float64], gaussian: Gaussian) -> None:
    """Histogram of one variable with the density of its marginal."""
    loc, scale = gaussian.loc.item(), gaussian.scale_tril.item()
    ax.hist(values, bins="auto", density=True, color=COLORS["data"], alpha=0.45)
    at = np.linspace(min(values.min(), loc - 3 * scale), max(values.max(), loc + 3 * scale), 200)
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
