"""Picture: the mean squared error over the log-diagonal, and the way of an optimiser on it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from helpers.datasets import two_correlated
from helpers.interactive.descent import METHODS, DescentScene, Path, descend
from helpers.interactive.engine import (
    InteractivePicture,
    choice,
    choice_slider,
    count_slider,
    slider,
)
from helpers.models import CovarianceLearner
from helpers.parametrizations import log_cholesky_inverse
from helpers.plotting import COLORS, plot_loss_surface
from helpers.validation import cholesky_factor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATES = (0.01, 0.03, 0.1, 0.2, 0.5)
N_STEPS = 100
_LOW, _HIGH, _STEP = -4.5, 1.0, 0.1  # starts, the same for both entries
_N_STARTS = round((_HIGH - _LOW) / _STEP) + 1


def explore_mse_descent() -> InteractivePicture:
    """Choose a start, an optimiser and its rate; follow it over the mean squared error.

    Returns
    -------
    InteractivePicture
        The last expression of a cell shows it.
    """
    controls = {
        "start": slider("log-diagonal at the start", -1.0, _LOW, _HIGH, _STEP),
        "method": choice("optimiser", list(METHODS)),
        "rate": choice_slider("learning rate", 0.1, RATES),
        "steps": count_slider("steps", 20, N_STEPS),
    }
    still = "The figure above shows three paths of gradient descent."
    return InteractivePicture(MseDescentScene, controls, still=still)


class MseDescentScene(DescentScene):
    """The plane of the two log-diagonal entries; the third number is held at its exact value."""

    def __init__(self) -> None:
        self.target = torch.cov(two_correlated(1000).mT)  # (2, 2)
        exact = log_cholesky_inverse(cholesky_factor(self.target, "target"))
        self.log_diagonal, self.below_diagonal = exact
        super().__init__(N_STEPS, "MSE", "no unit")
        self.paths = cache(self._paths)

    def move(self, start: float, method: str, rate: float, steps: int) -> str:
        """Follow this optimiser, and say where it is."""
        points, heights = self.paths(method, rate)
        which = round((start - _LOW) / _STEP)
        said = self.follow(Path(points[:, which], heights[:, which]), steps)
        return f"{method.capitalize()} at rate {rate:g} from {start:+.1f}, step {steps}: {said}."

    def draw_surface(self, ax: Axes) -> None:
        """Contours of the loss; dark is low."""
        grid = torch.linspace(-5.0, 1.3, 120, dtype=torch.float64)
        names = {"xlabel": r"$a_1 = \log L_{11}$", "ylabel": r"$a_2 = \log L_{22}$"}
        plot_loss_surface(
            ax, lambda a1, a2: self.loss(torch.stack([a1, a2], dim=-1)), grid, grid, **names
        )
        ax.plot(*self.log_diagonal, "*", color=COLORS["truth"], markersize=12)
        ax.set_aspect("equal")

    @torch.no_grad()
    def loss(self, log_diagonal: Tensor) -> Tensor:
        """Loss at log-diagonals of any batch, (*batch, 2): shape batch."""
        model = self.learner(log_diagonal)
        return model(self.target, validate_args=False)

    def learner(self, log_diagonal: Tensor) -> CovarianceLearner:
        """The model of the course, with the third number at its exact value."""
        model = CovarianceLearner(2, log_diagonal.shape[:-1], dtype=torch.float64)
        with torch.no_grad():
            model.scale.log_diagonal.copy_(log_diagonal)
            model.scale.below_diagonal.copy_(self.below_diagonal)
        return model

    def _paths(self, method: str, rate: float) -> Path:
        """From all starts at once: points (k, n_starts, 2), heights (k, n_starts)."""
        starts = torch.linspace(_LOW, _HIGH, _N_STARTS, dtype=torch.float64)
        model = self.learner(starts[:, None].expand(-1, 2))
        parameter = model.scale.log_diagonal
        optimizer = METHODS[method]([parameter], lr=rate)

        def loss() -> Tensor:
            return model(self.target, validate_args=False)

        points = descend(optimizer, loss, lambda: parameter, N_STEPS)
        return Path(points, self.loss(points))
