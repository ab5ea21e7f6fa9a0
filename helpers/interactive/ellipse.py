"""Picture: a covariance as an ellipse, under variances and correlation, with L beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.interactive.engine import InteractivePicture, Scene, slider
from helpers.plotting import COLORS, ellipse_points, plot_ellipse, plot_points
from helpers.validation import cholesky_factor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

_REACH = 5.4  # the largest ellipse, and room around it
_COLUMNS = (COLORS["estimate"], COLORS["gradient"])  # of the columns of L, and of their arrows


def explore_ellipse() -> InteractivePicture:
    """Move the two variances and the correlation; see the ellipse, its box, and the factor L.

    Returns
    -------
    InteractivePicture
        The last expression of a cell shows it.
    """
    controls = {
        "variance_1": slider("variance of the first", 1.0, 0.1, 4.0, 0.1),
        "variance_2": slider("variance of the second", 2.0, 0.1, 4.0, 0.1),
        "correlation": slider("correlation", 0.35, -0.95, 0.95, 0.05),
    }
    still = "The figure above shows one covariance and the columns of its Cholesky factor."
    return InteractivePicture(EllipseScene, controls, still=still)


class EllipseScene(Scene):
    """On the left points, ellipse, box and the columns of L; on the right the numbers."""

    def __init__(self) -> None:
        super().__init__(2, width_ratios=(1.15, 1.0))
        plane, numbers = self.axes
        self.noise = torch.randn(
            300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        self.points = plot_points(plane, self.noise, color=COLORS["data"], alpha=0.3)
        zeros, eye = torch.zeros(2), torch.eye(2)  # until the first move
        self.ellipse = plot_ellipse(plane, zeros, eye, color=COLORS["truth"])
        self.box = plane.add_patch(Rectangle(zeros, *zeros, fill=False, linestyle="--"))
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.013}
        self.arrows = plane.quiver(zeros, zeros, *eye, color=_COLUMNS, **arrows)
        plane.set(
            xlabel="first variable",
            ylabel="second variable",
            aspect="equal",
            xlim=(-_REACH, _REACH),
            ylim=(-_REACH, _REACH),
        )
        numbers.set(xlim=(0, 1), ylim=(0, 1))
        numbers.set_axis_off()
        self.sigma_texts = _write_matrix(numbers, r"$\Sigma$ =", 0.74, ("black", "black"))
        self.factor_texts = _write_matrix(numbers, "$L$ =", 0.26, _COLUMNS)
        self.moving = [self.points, self.ellipse, self.box, self.arrows]
        self.moving += [*self.sigma_texts, *self.factor_texts]

    def move(self, variance_1: float, variance_2: float, correlation: float) -> str:
        """Draw this covariance, and say how its ellipse lies."""
        covariance = covariance_from(variance_1, variance_2, correlation)
        scale_tril = cholesky_factor(covariance, "covariance")
        self.points.set_offsets(self.noise @ scale_tril.mT)
        boundary = ellipse_points(torch.zeros(2), scale_tril)
        self.ellipse.set_data(*boundary.T)
        corner = boundary.max(axis=0)
        self.box.set_bounds(*-corner, *2 * corner)
        self.arrows.set_UVC(*scale_tril)
        _rewrite(self.sigma_texts, covariance)
        _rewrite(self.factor_texts, scale_tril)
        return (
            f"Variances {variance_1:.1f} and {variance_2:.1f}, correlation {correlation:.2f}: "
            f"{how_it_lies(covariance)}. "
            f"Σ is {in_words(covariance)}, L is {in_words(scale_tril)}."
        )


def covariance_from(variance_1: float, variance_2: float, correlation: float) -> Tensor:
    """Covariance of two variables, (2, 2)."""
    std = torch.tensor([variance_1, variance_2], dtype=torch.float64).sqrt()  # (2,)
    correlations = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    return std[:, None] * correlations * std


def how_it_lies(covariance: Tensor) -> str:
    """Words for the ellipse of a covariance, (2, 2)."""
    first, second = covariance.diagonal().tolist()
    covariance_12 = covariance[0, 1].item()
    if abs(covariance_12) > 1e-9:
        return f"the ellipse leans to the {'right' if covariance_12 > 0 else 'left'}"
    if abs(first - second) < 1e-9:
        return "the ellipse is a circle"
    return f"the ellipse {'lies flat' if first > second else 'stands upright'}"


def in_words(matrix: Tensor) -> str:
    """The rows of a matrix, (2, 2), in one line."""
    rows = (", ".join(_two_decimals(entry) for entry in row) for row in matrix.tolist())
    return f"[{'; '.join(rows)}]"


def _two_decimals(number: float) -> str:
    return f"{round(number, 2) + 0.0:.2f}"  # no zero with a sign


def _write_matrix(ax: Axes, name: str, y: float, colors: tuple[str, str]) -> list[Text]:
    """Write a matrix with brackets around it; the four numbers are returned, row by row."""
    look = {"va": "center", "fontsize": 19}
    ax.text(0.2, y, name, ha="right", **look)
    for edge, inward in ((0.25, 0.03), (0.97, -0.03)):
        bracket = ([edge + inward, edge, edge, edge + inward], [y + 0.17] * 2 + [y - 0.17] * 2)
        ax.plot(*bracket, color="black", linewidth=1.2)
    return [
        ax.text(right, y + up, "", ha="right", color=color, **look)
        for up in (0.09, -0.09)
        for right, color in zip((0.58, 0.92), colors, strict=True)
    ]


def _rewrite(texts: list[Text], matrix: Tensor) -> None:
    for text, entry in zip(texts, matrix.flatten().tolist(), strict=True):
        text.set_text(_two_decimals(entry))
