"""Loss surfaces, the paths of optimisers on them, and the gap to the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from matplotlib.patheffects import withStroke
from torch import Tensor

from helpers.plotting.arrays import (
    LARGEST_DRAWN,
    as_array,
    require_axes,
    require_look,
    require_mapping,
)
from helpers.plotting.style import COLORS, text_color
from helpers.uncertainty import ROUNDING
from helpers.validation import (
    require_callable,
    require_choice,
    require_count,
    require_flag,
    require_number,
    require_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import GraphicsContextBase, RendererBase
    from matplotlib.contour import QuadContourSet
    from matplotlib.lines import Line2D
    from matplotlib.path import Path
    from matplotlib.transforms import Transform
    from matplotlib.typing import ColorType
    from numpy.typing import ArrayLike, NDArray

    from helpers.history import History

# Lines of different methods differ in colour and in dashes, so that a grey print tells them apart.
_METHOD_ROLES = ("estimate", "data", "gradient", "start", "truth", "warning")
_METHOD_DASHES = ("-", (0, (6, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)), (0, (9, 2)), (0, (2, 2)))


class _Halo(withStroke):
    """A white edge along a line; around its markers it would cut the line to pieces."""

    def draw_path(
        self,
        renderer: RendererBase,
        gc: GraphicsContextBase,
        tpath: Path,
        affine: Transform,
        rgbFace: ColorType | None = None,
    ) -> None:
        if rgbFace is None:
            super().draw_path(renderer, gc, tpath, affine, rgbFace)
        else:
            renderer.draw_path(gc, tpath, affine, rgbFace)


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
    import seaborn as sns  # takes as long as torch, and most figures do without

    require_axes(ax)
    require_count(levels, "levels", minimum=2, maximum=1000)
    require_text(xlabel, "xlabel")
    require_text(ylabel, "ylabel")
    x, y = _as_rising(x, "x"), _as_rising(y, "y")
    grid_y, grid_x = torch.meshgrid(torch.from_numpy(y), torch.from_numpy(x), indexing="ij")
    heights = _heights(require_callable(loss, "loss"), grid_x, grid_y)  # (ny, nx)
    heights = np.ma.masked_invalid(heights.double().numpy())
    edges = _contour_edges(heights, levels)  # (levels + 2,)
    shades = sns.light_palette(COLORS["data"], levels + 6, reverse=True)[5:]
    filled = ax.contourf(x, y, heights, levels=edges, colors=shades)
    ax.contour(x, y, heights, levels=edges[1:-1], colors="white", linewidths=0.6)
    ax.grid(False)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    return filled


def _as_rising(values: Tensor | ArrayLike, name: str) -> NDArray[np.float64]:
    """Values of a grid, (n,), each above the one before it."""
    values = as_array(values, name, (None,))
    if len(values) < 2 or not (np.diff(values) > 0).all():
        raise ValueError(f"{name}: expected two rising values or more, got {values.tolist()[:5]}")
    return values


def _heights(loss: Callable[[Tensor, Tensor], Tensor], grid_x: Tensor, grid_y: Tensor) -> Tensor:
    """Values of a loss on a grid, (ny, nx)."""
    try:
        with torch.no_grad():
            heights = loss(grid_x, grid_y)
    except TypeError as error:
        raise TypeError(
            f"loss: expected a function of two tensors, got one that says: {error}"
        ) from error
    if not isinstance(heights, Tensor) or heights.is_complex() or heights.shape != grid_x.shape:
        is_tensor = isinstance(heights, Tensor)
        came = f"{tuple(heights.shape)} of {heights.dtype}" if is_tensor else repr(heights)[:80]
        raise ValueError(
            f"loss: expected a function that returns a tensor of shape {tuple(grid_x.shape)} on "
            f"this grid, got {came}"
        )
    return heights.cpu()


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
    require_axes(ax)
    require_look(color, label, linestyle)
    path = as_array(path, "path", (None, 2))
    (line,) = ax.plot(
        *path.T,
        color=color,
        label=label,
        linestyle=linestyle,
        linewidth=1.3,
        marker=".",
        markersize=4,
        path_effects=[_Halo(linewidth=3.3, foreground="white")],  # seen on any shade
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
    direct_labels: bool = False,
) -> list[Line2D]:
    """Draw the gap to the exact optimum on a logarithmic axis, one line a method.

    A gap below 1e-12 is rounding: the line is not drawn there, and a hollow triangle on the
    lower edge marks the first such point. Of a batch, the worst gap is drawn.

    Parameters
    ----------
    ax : Axes
    histories : mapping of str to History
        The keys become the legend. A history has `step` (k,), `time` (k,) in seconds, which is
        drawn in milliseconds, and `gap` (k,) or (k, *batch).
    sampling_error : float, optional
        What the sample leaves open, p/2N, drawn as a dashed grey line.
    x : {"step", "time"}
    log_x : bool, optional
        Whether the horizontal axis is logarithmic, and linear near 0; by default it is if one
        method takes 30 times as long as another.
    direct_labels : bool
        Write each key where its line ends, or beside its triangle, in a tone of the line's
        colour, instead of into the legend.

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
    require_axes(ax)
    require_choice(x, "x", ("step", "time"))
    require_flag(direct_labels, "direct_labels")
    if log_x is not None:
        require_flag(log_x, "log_x")
    if sampling_error is not None:
        require_number(sampling_error, "sampling_error", above=0.0, below=LARGEST_DRAWN)
    if not 1 <= len(require_mapping(histories, "histories")) <= len(_METHOD_ROLES):
        raise ValueError(
            f"histories: expected 1 to {len(_METHOD_ROLES)} methods, which colours and dashes can "
            f"tell apart, got {len(histories)}"
        )
    curves = {name: _gap_curve(history, name, x) for name, history in histories.items()}
    lines = []
    for (name, (at, gap)), role, dashes in zip(
        curves.items(), _METHOD_ROLES, _METHOD_DASHES, strict=False
    ):
        visible = np.where(gap > ROUNDING, gap, np.nan)  # (k,)
        lines += ax.plot(at, visible, color=COLORS[role], linestyle=dashes, label=name)
    marks = _mark_vanished(ax, curves.values())
    if sampling_error is not None:
        ax.axhline(
            sampling_error,
            color=COLORS["reference"],
            linestyle="--",
            linewidth=1.2,
            label="sampling error p/2N",
        )
    ax.set_yscale("log")
    _scale_x(ax, [at for at, _ in curves.values()], log_x)
    ax.set(xlabel="time (ms)" if x == "time" else "step", ylabel="gap to the exact optimum (nats)")
    if direct_labels:
        _label_ends(ax, lines, marks)
    ax.legend()
    return lines


def _contour_edges(heights: np.ma.MaskedArray, levels: int) -> NDArray[np.float64]:
    """Limits of the filled bands (levels + 2,), from the lowest point to the highest."""
    finite = heights.compressed()
    if len(np.unique(finite)) < 2:
        raise ValueError("loss: expected finite values that differ on the grid, got none")
    lowest, highest = finite.min(), finite.max()
    above = finite[finite > lowest] - lowest
    height = highest - lowest
    first = min(np.quantile(above, 0.01), 0.5 * height)  # also where all but one are the highest
    inner = np.geomspace(first, height, levels + 1)[:-1]
    return np.array([lowest, *(lowest + inner), highest])


def _gap_curve(
    history: History, name: str, x: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Horizontal values (k,) and worst gaps (k,)."""
    if not all(isinstance(getattr(history, part, None), Tensor) for part in (x, "gap")):
        raise TypeError(
            f"histories[{name!r}]: expected a History, got {type(history).__name__} without {x} "
            f"and gap"
        )
    at = getattr(history, x).detach().cpu().double()  # (k,)
    gap = history.gap.detach().cpu().double()  # (k, *batch)
    if at.ndim != 1 or gap.ndim < 1 or len(at) != len(gap) or len(at) == 0:
        raise ValueError(
            f"histories[{name!r}]: expected {x} (k,) and gap (k, ...) with k of at least 1, "
            f"got {tuple(at.shape)} and {tuple(gap.shape)}"
        )
    at = 1000.0 * at if x == "time" else at
    return at.numpy(), gap.flatten(1).amax(1).numpy() if gap.ndim > 1 else gap.numpy()


def _mark_vanished(
    ax: Axes, curves: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> list[Line2D | None]:
    """Mark on the lower edge where each curve first falls to the floor; None where it does not."""
    style = {"marker": "v", "markersize": 7, "markerfacecolor": "white", "linestyle": "none"}
    edge = ax.get_xaxis_transform()  # horizontal in data units, vertical in shares of the axes
    marks: list[Line2D | None] = []
    for (at, gap), role in zip(curves, _METHOD_ROLES, strict=False):
        vanished, look = gap <= ROUNDING, {"color": COLORS[role], "transform": edge, **style}
        marks += ax.plot(at[vanished.argmax()], 0.03, **look) if vanished.any() else [None]
    if any(marks):
        ax.plot([], [], color=COLORS["reference"], label="below 1e-12", **style)
    return marks


def _label_ends(ax: Axes, lines: Sequence[Line2D], marks: Sequence[Line2D | None]) -> None:
    """Move the names of the lines from the legend to their marks, or else to where they end."""
    for line, mark in zip(lines, marks, strict=True):
        ax.annotate(
            line.get_label(),
            (mark or line).get_xydata()[-1],
            xycoords=(mark or line).get_transform(),
            xytext=(0, 9) if mark else (7, 0),  # above what else may stand in the row of marks
            textcoords="offset points",
            color=text_color(line.get_color()),
            va="bottom" if mark else "center",
        )
        line.set_label("_nolegend_")


def _scale_x(ax: Axes, curves: Sequence[NDArray[np.float64]], log_x: bool | None) -> None:
    ends = [at.max() for at in curves]
    if log_x is None:
        log_x = max(ends) > 30.0 * min(ends)
    if log_x:
        positive = np.concatenate(curves)
        positive = positive[positive > 0]
        ax.set_xscale("symlog", linthresh=positive.min() if positive.size else 1.0)
        ax.set_xlim(left=min(0.0, *(at.min() for at in curves)))
