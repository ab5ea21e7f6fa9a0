"""Heat maps of matrices, alone or side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from helpers.plotting.arrays import (
    LARGEST_DRAWN,
    as_array,
    require_axes,
    require_labels,
    require_mapping,
)
from helpers.plotting.style import STYLE_PARAMS, WIDE, luminance
from helpers.validation import require_number, require_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

_MAX_ANNOTATED = 12
SMALLEST_RANGE = 1e-300  # of a colour scale, which is divided by it


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
    require_axes(ax)
    if title is not None:
        require_text(title, "title")
    matrix = as_array(matrix, "matrix", (None, None))
    _require_format(fmt)
    half_range = _half_range([matrix], center, vmax)
    mesh = _heat_map(ax, matrix, labels, center, half_range)
    if title is not None:
        ax.set_title(title)
    if _fits_numbers(matrix):
        _write_numbers(ax, mesh, matrix, fmt)
    else:
        ax.figure.colorbar(mesh)
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
    arrays = {
        name: as_array(matrix, f"matrices[{name!r}]", (None, None))
        for name, matrix in require_mapping(matrices, "matrices").items()
    }
    if not arrays:
        raise ValueError("matrices: expected at least one matrix, got none")
    for array in arrays.values():
        _square_labels(labels, array)
    _require_format(fmt)
    half_range = _half_range(arrays.values(), center, vmax)
    width = min(WIDE[0], 1.0 + 2.9 * len(arrays))
    # "compressed" is the constrained layout for panels of a fixed shape.
    fig, (axes,) = plt.subplots(
        ncols=len(arrays), figsize=(width, 3.2), layout="compressed", squeeze=False
    )
    meshes = []
    for ax, (name, array) in zip(axes, arrays.items(), strict=True):
        meshes.append(_heat_map(ax, array, labels, center, half_range))
        ax.set_title(name)
        ax.tick_params(labelleft=ax is axes[0])
    fig.colorbar(meshes[0], ax=axes, shrink=0.8)
    for ax, mesh, array in zip(axes, meshes, arrays.values(), strict=True):
        if _fits_numbers(array):
            _write_numbers(ax, mesh, array, fmt)
    return fig


def _half_range(
    matrices: Iterable[NDArray[np.float64]], center: float, vmax: float | None
) -> float:
    """Distance from the centre of the colour scale to either end."""
    require_number(center, "center")
    if vmax is None:
        largest = max(float(np.abs(matrix - center).max()) for matrix in matrices)
        return largest or 1.0  # a constant matrix is white on any scale
    half_range = require_number(vmax, "vmax", above=center) - center
    if not SMALLEST_RANGE < half_range < LARGEST_DRAWN:
        raise ValueError(
            f"vmax: expected a number above center by {SMALLEST_RANGE:g} to {LARGEST_DRAWN:g}, "
            f"got {vmax}"
        )
    return half_range


def _require_format(fmt: str) -> None:
    try:
        format(0.0, require_text(fmt, "fmt"))
    except ValueError as error:
        raise ValueError(
            f"fmt: expected a format of numbers, such as '.2f', got {fmt!r}"
        ) from error


def _square_labels(labels: Sequence[str] | None, matrix: NDArray[np.float64]) -> list[str] | None:
    """Names of the rows, which are those of the columns; None stays None."""
    if labels is not None and matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"labels: expected a square matrix to go with them, got {matrix.shape}")
    return require_labels(labels, len(matrix))


def _heat_map(
    ax: Axes,
    matrix: NDArray[np.float64],
    labels: Sequence[str] | None,
    center: float,
    half_range: float,
) -> QuadMesh:
    import seaborn as sns  # takes as long as torch, and most figures do without

    labels = _square_labels(labels, matrix)
    # Without names, the indices: all of them, or about ten.
    ticks = math.ceil(max(matrix.shape) / _MAX_ANNOTATED) if labels is None else labels
    sns.heatmap(
        matrix,
        ax=ax,
        vmin=center - half_range,
        vmax=center + half_range,
        cmap=STYLE_PARAMS["image.cmap"],
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
    return ax.collections[-1]


def _fits_numbers(matrix: NDArray[np.float64]) -> bool:
    return max(matrix.shape) <= _MAX_ANNOTATED


def _write_numbers(ax: Axes, mesh: QuadMesh, matrix: NDArray[np.float64], fmt: str) -> None:
    texts = [_format_number(value, fmt) for value in matrix.flat]
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()  # the layout decides how large the cells are
    cell = ax.get_window_extent().width / matrix.shape[1] * 72.0 / figure.dpi  # points
    # A tenth of the cell stays free.
    size = min(mpl.rcParams["font.size"], 0.9 * cell / max(map(_text_width, texts)))
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


def _text_width(text: str) -> float:
    """Width of a number in DejaVu Sans, in units of the font size."""
    return sum(0.36 if character in "-." else 0.64 for character in text)


def _readable_on(color: Sequence[float]) -> str:
    """Black or white, whichever has the higher contrast (WCAG 2.2, relative luminance)."""
    return "black" if luminance(color) > 0.179 else "white"
