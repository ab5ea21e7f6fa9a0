"""Picture: the likelihood over two numbers of L, and who notices the units of the data."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from helpers.datasets import two_correlated
from helpers.estimators import maximum_likelihood
from helpers.gaussian import Gaussian, kl_divergence
from helpers.interactive.descent import METHODS, DescentScene, Path, descend
from helpers.interactive.engine import InteractivePicture, choice, choice_slider, count_slider
from helpers.models import GaussianLikelihood
from helpers.optimizers import natural_step
from helpers.plotting import COLORS, plot_loss_surface
from helpers.statistics import SufficientStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

RATES = (0.01, 0.03, 0.05, 0.1, 0.3, 1.0)
UNITS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
N_STEPS = 60
NATURAL = "natural gradient"
START = (1.9, -0.5)  # L11 and L21, in the old unit


def explore_likelihood_descent() -> InteractivePicture:
    """Choose an optimiser, its rate and the unit of the second variable; follow it.

    Returns
    -------
    InteractivePicture
        The last expression of a cell shows it.
    """
    controls = {
        "method": choice("optimiser", [*METHODS, NATURAL]),
        "rate": choice_slider("learning rate", 0.1, RATES),
        "unit": choice_slider("second variable times", 1.0, UNITS),
        "steps": count_slider("steps", 10, N_STEPS),
    }
    still = "The figure above shows the gaps of three optimisers, in two units."
    return InteractivePicture(LikelihoodDescentScene, controls, still=still)


class LikelihoodDescentScene(DescentScene):
    """The plane of L11 and L21; the mean and L22 are held at their best values.

    Everything is computed in the unit that is chosen and drawn in the old one, in which the surface
    stays the same.
    """

    def __init__(self) -> None:
        self.data = two_correlated(100)  # (n, 2)
        self.best = maximum_likelihood(self.data)
        super().__init__(N_STEPS, "gap", "nats")
        self.paths = cache(self._paths)

    def move(self, method: str, rate: float, unit: float, steps: int) -> str:
        """Follow this optimiser, and say where it is."""
        points, heights = self.paths(method, rate)
        which = UNITS.index(unit)
        said = self.follow(Path(points[:, which], heights[:, which]), steps)
        how = method.capitalize() + ("" if method == NATURAL else f" at rate {rate:g}")
        return f"{how}, second variable times {unit:g}, step {steps}: {said}."

    def draw_surface(self, ax: Axes) -> None:
        """Contours of the loss; dark is low."""
        l11 = torch.linspace(0.5, 2.2, 100, dtype=torch.float64)
        l21 = torch.linspace(-0.8, 1.6, 100, dtype=torch.float64)
        names = {"xlabel": "$L_{11}$ (old unit)", "ylabel": "$L_{21}$ (old unit)"}
        plot_loss_surface(ax, lambda x, y: self.gap(torch.stack([x, y], dim=-1)), l11, l21, **names)
        ax.plot(*self.best.scale_tril[:, 0], "*", color=COLORS["truth"], markersize=12)

    def gap(self, columns: Tensor) -> Tensor:
        """Loss above its minimum, in nats, at first columns of L, (*batch, 2): shape batch."""
        model = Gaussian(self.best.loc, self.factor(columns))
        return kl_divergence(self.best, model, validate_args=False)

    def factor(self, columns: Tensor) -> Tensor:
        """Factors with these first columns, (*batch, 2): shape (*batch, 2, 2)."""
        second = torch.zeros_like(columns)
        second[..., 1] = self.best.scale_tril[1, 1]
        return torch.stack([columns, second], dim=-1)

    def _paths(self, method: str, rate: float) -> Path:
        """In all units at once: points (k, n_units, 2), heights (k, n_units)."""
        scales = torch.ones(len(UNITS), 2, dtype=torch.float64)  # of the two variables
        scales[:, 1] = torch.tensor(UNITS, dtype=torch.float64)
        start = scales * torch.tensor(START, dtype=torch.float64)
        if method == NATURAL:
            points = self._natural_path(start, scales) / scales
        else:
            points = self._descent_path(start, scales, METHODS[method], rate) / scales
        return Path(points, self.gap(points))

    def _natural_path(self, columns: Tensor, scales: Tensor) -> Tensor:
        """Natural-gradient steps; where they take L22, the first column does not depend on."""
        covariance = scales[:, :, None] * self.best.covariance_matrix * scales[:, None, :]
        path = [columns]
        for _ in range(N_STEPS):
            scale_tril = scales[..., None] * self.factor(path[-1] / scales)
            path.append(natural_step(scale_tril, covariance)[..., 0])
        return torch.stack(path)

    def _descent_path(
        self,
        columns: Tensor,
        scales: Tensor,
        method: Callable[..., torch.optim.Optimizer],
        rate: float,
    ) -> Tensor:
        """Steps of an optimiser on the numbers of the course's model."""
        model = GaussianLikelihood(2, (len(columns),), dtype=torch.float64)
        scale_tril = scales[..., None] * self.factor(columns / scales)
        model.assign(scales * self.best.loc, scale_tril)
        only_first = torch.tensor([1.0, 0.0])
        model.scale.log_diagonal.register_hook(lambda gradient: gradient * only_first)
        data = SufficientStatistics.from_data(self.data * scales[:, None])

        def loss() -> Tensor:
            return model(data, validate_args=False)

        return descend(
            method(list(model.scale.parameters()), lr=rate),
            loss,
            lambda: model.scale_tril[..., 0],
            N_STEPS,
        )
