"""What the two pictures of an optimiser's path share: the path, and the scene it is drawn in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers.interactive.engine import Scene
from helpers.plotting import COLORS, plot_path
from helpers.uncertainty import ROUNDING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "gradient descent": torch.optim.SGD,
    "Adam": torch.optim.Adam,
}


_FAR_AWAY = 1e3  # outside of every picture, and no more than a renderer can take


class Path(NamedTuple):
    """The way of an optimiser over a plane, the start first.

    Attributes
    ----------
    points : Tensor, shape (k, 2)
        NaN or infinite once the optimiser has run away.
    heights : Tensor, shape (k,)
        The loss above its minimum.
    """

    points: Tensor
    heights: Tensor


class DescentScene(Scene):
    """On the left the path over the loss surface, on the right the loss above its minimum.

    Subclasses draw the surface on the left.

    Parameters
    ----------
    n_steps : int
        Length of the paths.
    height_name : str
        What the loss above its minimum is called.
    unit : str
        Its unit, for the axis.
    """

    def __init__(self, n_steps: int, height_name: str, unit: str) -> None:
        super().__init__(2)
        self.height_name = height_name
        plane, curve = self.axes
        self.draw_surface(plane)
        self.x_limits, self.y_limits = plane.get_xlim(), plane.get_ylim()
        look = {"color": COLORS["estimate"]}
        self.line, self.start, self.end = plot_path(plane, [[0.0, 0.0]], **look)
        (self.curve,) = curve.semilogy([], **look)
        (self.now,) = curve.semilogy([], "o", **look)
        curve.set(
            xlabel="step", ylabel=f"{height_name} ({unit})", xlim=(0, n_steps), ylim=(ROUNDING, 1e3)
        )
        self.moving = [self.line, self.start, self.end, self.curve, self.now]

    def draw_surface(self, ax: Axes) -> None:
        """Draw what the path lies on."""
        raise NotImplementedError

    def follow(self, path: Path, steps: int) -> str:
        """Draw a path as far as some step, and say where that is."""
        points = path.points[: steps + 1].numpy()
        heights = path.heights[: steps + 1].numpy()
        finite = np.isfinite(points).all(axis=1) & np.isfinite(heights)
        last = steps if finite.all() else int(finite.argmin()) - 1
        drawn = points[: last + 1].clip(-_FAR_AWAY, _FAR_AWAY)
        self.line.set_data(*drawn.T)
        self.start.set_data(*drawn[:1].T)
        self.end.set_data(*drawn[-1:].T)
        # Zero cannot be drawn on a logarithmic axis; what is below its lower end counts as zero.
        seen = heights[: last + 1].clip(min=ROUNDING)
        self.curve.set_data(range(last + 1), seen)
        self.now.set_data([last], seen[-1:])
        if last < steps:
            return f"run away, with no finite loss after step {last}"
        return f"{self.height_name} {_height_in_words(heights[-1])}{self._place(*points[last])}"

    def _place(self, x: float, y: float) -> str:
        inside = (
            self.x_limits[0] <= x <= self.x_limits[1] and self.y_limits[0] <= y <= self.y_limits[1]
        )
        return "" if inside else f", outside the picture at ({x:.3g}, {y:.3g})"


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Callable[[], Tensor],
    place: Callable[[], Tensor],
    n_steps: int,
) -> Tensor:
    """Where an optimiser leads a model.

    A batch of starts runs at once: the methods here treat each number by itself, and a sum of
    losses has the gradients of each.

    Parameters
    ----------
    optimizer : Optimizer
        Over the parameters of the model, which change in place.
    loss : callable
        Of the model as it is now; of any shape.
    place : callable
        What is to be remembered of the model as it is now.
    n_steps : int

    Returns
    -------
    Tensor, shape (n_steps + 1, ...)
        The places, the start first.
    """
    path = [place().detach().clone()]
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss().sum().backward()
        optimizer.step()
        path.append(place().detach().clone())
    return torch.stack(path)


def _height_in_words(height: float) -> str:
    return f"below {ROUNDING:.0e}" if height < ROUNDING else f"{height:.3g}"
