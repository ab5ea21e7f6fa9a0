"""Picture: the same loss, one step in the entries of Sigma and one in the free numbers of L."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from helpers.interactive.ellipse import covariance_from
from helpers.interactive.engine import InteractivePicture, Scene, choice_slider, slider
from helpers.parametrizations import log_cholesky, log_cholesky_inverse
from helpers.plotting import COLORS, ellipse_points, plot_ellipse
from helpers.statistics import SufficientStatistics, mean_log_prob
from helpers.validation import cholesky_factor, try_cholesky

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_REACH = 5.0
_DATA_CORRELATION = 0.99  # that of the run in the notebook which leaves the cone
_NOTHING = ((), ())
_LENGTHS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)


class Step(NamedTuple):
    """Where a step has ended.

    Attributes
    ----------
    covariance_matrix : Tensor, shape (2, 2)
        Symmetric, and perhaps no covariance.
    scale_tril : Tensor, shape (2, 2), or None
        Its Cholesky factor; None if there is none.
    smallest : float
        Its smallest eigenvalue.
    """

    covariance_matrix: Tensor
    scale_tril: Tensor | None
    smallest: float


def explore_step() -> InteractivePicture:
    """Choose a start and the length of one gradient step; see where Sigma ends, both ways.

    Returns
    -------
    InteractivePicture
        The last expression of a cell shows it.
    """
    controls = {
        "length": choice_slider("length of the step", 0.5, _LENGTHS),
        "correlation": slider("correlation at the start", 0.0, 0.0, 0.95, 0.05),
    }
    still = "The figure above shows both ways down: one leaves the cone, the other cannot."
    return InteractivePicture(StepScene, controls, still=still)


class StepScene(Scene):
    """On the left a step in the entries of Sigma, on the right one in the free numbers of L."""

    def __init__(self) -> None:
        super().__init__(2, sharex=True, sharey=True)
        zeros, target = torch.zeros(2), covariance_from(1.0, 1.0, _DATA_CORRELATION)
        self.statistics = SufficientStatistics(
            torch.tensor(500), torch.zeros(2, dtype=torch.float64), 500 * target
        )
        factor = cholesky_factor(target, "target")
        self.panels = []
        for ax, title in zip(
            self.axes, ("step in the entries of Σ", "step in the free numbers of L"), strict=True
        ):
            plot_ellipse(ax, zeros, factor, color=COLORS["truth"], label="the data, S")
            self.panels.append(Panel(ax))
            ax.set(title=title, xlabel="first variable", aspect="equal")
            ax.set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH))
        self.axes[0].set_ylabel("second variable")
        self.figure.legend(*self.axes[0].get_legend_handles_labels(), loc="outside right center")
        self.moving = [artist for panel in self.panels for artist in panel.artists]

    def move(self, length: float, correlation: float) -> str:
        """Take both steps, and say where they end."""
        start = cholesky_factor(covariance_from(1.0, 1.0, correlation), "start")
        by_entries = step_in_entries(start, self.statistics, length)
        by_factor = step_in_factor(start, self.statistics, length)
        for panel, step in zip(self.panels, (by_entries, by_factor), strict=True):
            panel.draw(start, step)
        return (
            f"Step of length {length:g} from correlation {correlation:.2f}. "
            f"In Σ: {_verdict(by_entries)}. In L: {_verdict(by_factor)}."
        )


class Panel:
    """The start, and the ellipse after the step; or the direction in which there is none."""

    def __init__(self, ax: Axes) -> None:
        zeros, eye = torch.zeros(2), torch.eye(2)
        look = {"color": COLORS["start"], "linestyle": ":", "label": "start"}
        self.start = plot_ellipse(ax, zeros, eye, **look)
        self.end = plot_ellipse(ax, zeros, eye, color=COLORS["estimate"], label="after the step")
        (self.negative,) = ax.plot(
            [], [], color=COLORS["warning"], linestyle="--", label="negative variance"
        )
        self.said = ax.text(0, -0.9 * _REACH, "", ha="center", va="bottom", zorder=5)
        self.artists = (self.start, self.end, self.negative, self.said)

    def draw(self, start: Tensor, step: Step) -> None:
        """Show a step from a covariance with this factor, (2, 2)."""
        self.start.set_data(*_boundary(start))
        inside = step.scale_tril is not None
        self.end.set_data(*(_boundary(step.scale_tril) if inside else _NOTHING))
        self.negative.set_data(*(_NOTHING if inside else _line(step.covariance_matrix)))
        self.said.set_text(f"smallest eigenvalue {step.smallest:.3g}")
        self.said.set_color("black" if inside else COLORS["warning"])


def step_in_entries(scale_tril: Tensor, data: SufficientStatistics, length: float) -> Step:
    """One gradient step of the mean negative log-likelihood in the entries of Sigma.

    Parameters
    ----------
    scale_tril : Tensor, shape (2, 2)
        Where the step starts.
    data : SufficientStatistics
    length : float

    Returns
    -------
    Step
    """
    entries = (scale_tril @ scale_tril.mT).requires_grad_()
    loss = -mean_log_prob(data, data.mean, torch.linalg.cholesky(entries))
    (gradient,) = torch.autograd.grad(loss, entries)
    end = (entries - length * gradient).detach()
    factor, failed = try_cholesky(end)
    smallest = torch.linalg.eigvalsh(end)[0].item()
    return Step(end, None if bool(failed) else factor, smallest)


def step_in_factor(scale_tril: Tensor, data: SufficientStatistics, length: float) -> Step:
    """The same step in the free numbers of the factor: log-diagonal, and what is below.

    Parameters
    ----------
    scale_tril : Tensor, shape (2, 2)
        Where the step starts.
    data : SufficientStatistics
    length : float

    Returns
    -------
    Step
    """
    numbers = [part.requires_grad_() for part in log_cholesky_inverse(scale_tril)]
    loss = -mean_log_prob(data, data.mean, log_cholesky(*numbers))
    gradients = torch.autograd.grad(loss, numbers)
    ends = [
        (part - length * slope).detach() for part, slope in zip(numbers, gradients, strict=True)
    ]
    factor = log_cholesky(*ends)
    # From the factor itself: in the product a tiny eigenvalue would drown in rounding.
    smallest = torch.linalg.svdvals(factor)[-1].item() ** 2
    return Step(factor @ factor.mT, factor, smallest)


def _boundary(scale_tril: Tensor) -> NDArray[np.float64]:
    """Ellipse of a factor: (2, n_points)."""
    return ellipse_points(torch.zeros(2), scale_tril).T


def _line(covariance_matrix: Tensor) -> Tensor:
    """Ends of a line through the centre along the eigenvector of the smallest eigenvalue."""
    direction = torch.linalg.eigh(covariance_matrix).eigenvectors[:, :1]  # (2, 1)
    return direction * torch.tensor([-0.7, 0.7]) * _REACH


def _verdict(step: Step) -> str:
    place = "outside the cone" if step.scale_tril is None else "a covariance"
    return f"{place}, smallest eigenvalue {step.smallest:.3g}"
