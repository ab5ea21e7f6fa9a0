"""Picture: batch size and learning rate against the noise floor of mini-batches.

The runs behind it take minutes, so they are recorded: `python -m helpers.interactive --record`
makes them again. A slider chooses among what was run; nothing is interpolated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import chain, count, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from helpers.datasets import two_correlated
from helpers.estimators import maximum_likelihood
from helpers.gaussian import kl_divergence
from helpers.interactive.engine import InteractivePicture, Scene, choice_slider
from helpers.models import GaussianLikelihood
from helpers.plotting import COLORS
from helpers.uncertainty import expected_gap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECORD = Path(__file__).with_name("noise_floor.json")
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
BATCH_SIZES = (8, 16, 32, 64, 128, 256, 512)
N = 1024
N_MODELS = 20
N_STEPS = 1600
N_WATCHED = 320  # further steps, over which the gap is averaged
STILL_FALLING = 0.8  # the second half of these steps, over the first


class Run(NamedTuple):
    """Twenty models trained with Adam at one rate and one batch size.

    Attributes
    ----------
    rate : float
    batch_size : int
    step : list of int
        Ends of windows of steps.
    gap : list of float
        Mean over the models and the steps of each window, in units of the sampling error p/2N.
    level : float
        The same over the steps that follow.
    falling : bool
        Whether the gap is still on its way down there.
    """

    rate: float
    batch_size: int
    step: list[int]
    gap: list[float]
    level: float
    falling: bool


def explore_noise_floor() -> InteractivePicture:
    """Choose a learning rate and a batch size; see at which gap the training stays.

    Returns
    -------
    InteractivePicture
        The last expression of a cell shows it.
    """
    controls = {
        "rate": choice_slider("learning rate", 0.01, RATES),
        "batch_size": choice_slider("batch size", 32, BATCH_SIZES),
    }
    still = "The figure above shows some of the runs behind them."
    return InteractivePicture(NoiseFloorScene, controls, still=still)


class NoiseFloorScene(Scene):
    """On the left the gap of one run, on the right the levels of all of them."""

    def __init__(self) -> None:
        super().__init__(2)
        self.runs = {(run.rate, run.batch_size): run for run in load_runs()}
        course, levels = self.axes
        (self.curve,) = course.loglog([], color=COLORS["estimate"])
        lowest = min(min(run.gap) for run in self.runs.values())
        highest = max(max(run.gap) for run in self.runs.values())
        course.set(xlabel="step", ylabel="mean gap (p/2N)")
        course.set(xlim=(1, N_STEPS), ylim=(lowest / 2, 2 * highest))
        for rate in RATES:
            self._draw_levels(levels, rate)
        look = {"color": COLORS["estimate"]}
        (self.chosen_rate,) = levels.loglog([], ".-", **look)
        (self.chosen,) = levels.loglog([], "o", markersize=9, **look)
        levels.set(xlabel="batch size", ylabel="mean gap after the last step (p/2N)")
        levels.set_xlim(BATCH_SIZES[0] / 1.3, BATCH_SIZES[-1] * 3.5)  # room for the rates
        levels.set_xticks(BATCH_SIZES, labels=map(str, BATCH_SIZES))
        levels.set_xticks([], minor=True)
        for ax in self.axes:
            ax.axhline(1.0, color=COLORS["reference"], linestyle="--")
        course.text(1.3, 1.2, "sampling error", color=COLORS["reference"], va="bottom")
        self.moving = [self.curve, self.chosen_rate, self.chosen]

    def move(self, rate: float, batch_size: int) -> str:
        """Show this run, and say where it stays."""
        run = self.runs[rate, batch_size]
        self.curve.set_data(run.step, run.gap)
        self.chosen_rate.set_data(BATCH_SIZES, self._levels(rate))
        self.chosen.set_data([batch_size], [run.level])
        epochs = N_STEPS * batch_size / N
        where = "is still falling, at" if run.falling else "stays at about"
        return (
            f"Rate {rate:g}, batches of {batch_size}: after {N_STEPS} steps, {epochs:g} epochs, "
            f"the mean gap {where} {run.level:.2g} sampling errors p/2N."
        )

    def _levels(self, rate: float) -> list[float]:
        return [self.runs[rate, size].level for size in BATCH_SIZES]

    def _draw_levels(self, ax: Axes, rate: float) -> None:
        """The line of one rate, with its name at the end."""
        heights, color = self._levels(rate), COLORS["reference"]
        ax.loglog(BATCH_SIZES, heights, ".-", color=color, linewidth=0.8)
        ax.text(BATCH_SIZES[-1] * 1.12, heights[-1], f"rate {rate:g}", color=color, va="center")


@cache
def load_runs(path: Path = RECORD) -> tuple[Run, ...]:
    """The recorded runs.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of Run
    """
    return tuple(Run(**run) for run in json.loads(path.read_text(encoding="utf-8")))


def record(path: Path = RECORD) -> None:
    """Make all runs again and write them down.

    Parameters
    ----------
    path : Path
    """
    lines = [json.dumps(make_run(rate, size)._asdict()) for rate in RATES for size in BATCH_SIZES]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def make_run(rate: float, batch_size: int, n_steps: int = N_STEPS) -> Run:
    """Train twenty models, each with an order of the points of its own.

    Parameters
    ----------
    rate : float
    batch_size : int
    n_steps : int
        Of the curve.

    Returns
    -------
    Run
    """
    data = two_correlated(N)  # (N, 2)
    orders = torch.rand(
        N_MODELS, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).argsort()
    reordered = data[orders]  # (N_MODELS, N, 2)
    models = GaussianLikelihood(2, (N_MODELS,), dtype=torch.float64)
    optimizer = torch.optim.Adam(models.parameters(), lr=rate)
    best, unit = maximum_likelihood(data), expected_gap(2, N)
    gaps = torch.stack(
        [
            kl_divergence(best, models, validate_args=False).detach() / unit
            for _ in steps(models, optimizer, reordered, batch_size, n_steps)
        ]
    )  # (n_steps + N_WATCHED, N_MODELS)
    ends = log_spaced(n_steps)
    windows = gaps[:n_steps].split([end - start for start, end in pairwise([0, *ends])])
    watched = gaps[n_steps:]
    first, second = (half.mean().item() for half in watched.split(N_WATCHED // 2))
    return Run(
        rate,
        batch_size,
        ends,
        [_three_digits(window.mean().item()) for window in windows],
        _three_digits(watched.mean().item()),
        second < STILL_FALLING * first,
    )


def steps(
    models: GaussianLikelihood,
    optimizer: torch.optim.Optimizer,
    data: Tensor,
    batch_size: int,
    n_steps: int,
) -> Iterator[None]:
    """Train for `n_steps`, and then, from the first order again, for `N_WATCHED` more."""
    course = islice(batches(data, batch_size), n_steps)
    for batch in chain(course, islice(batches(data, batch_size), N_WATCHED)):
        optimizer.zero_grad()
        models(batch, validate_args=False).sum().backward()
        optimizer.step()
        yield


def batches(data: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Epoch after epoch of shuffled batches, (n_models, batch_size, d), of (n_models, n, d)."""
    for epoch in count():
        order = torch.randperm(data.shape[1], generator=torch.Generator().manual_seed(epoch))
        for index in order.split(batch_size):
            yield data[:, index]


def log_spaced(n_steps: int, n_windows: int = 50) -> list[int]:
    """Steps up to the last, about evenly on a logarithmic axis: the ends of windows."""
    return sorted({round(n_steps ** (i / n_windows)) for i in range(n_windows + 1)})


def _three_digits(number: float) -> float:
    return float(f"{number:.3g}")
