"""Mini-batches of 32 from n = 1024 samples of two variables: a step, and the time to a target."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import textbook
from benchmarks.peers import Entry
from benchmarks.problems import Truth
from benchmarks.report import Row, Settings, timed
from benchmarks.textbook import TextbookGaussian
from benchmarks.timing import Contestant
from helpers import GaussianLikelihood, fit, two_correlated

N, BATCH_SIZE = 1024, 32
EPOCHS_TIMED = 5
EPOCHS_OBSERVED = 40
TO_FLOOR = "to the textbook's floor"
STEP = "a step of Adam"
ADAM_LEARNING_RATE = 0.05
"""That of `fit(optimizer="adam")`, so that both sides of a step do the same."""


def rows(settings: Settings) -> list[Row]:
    """Both cases."""
    data = two_correlated(N)
    return timed("mini_batches", TO_FLOOR, to_floor(data), settings) + timed(
        "mini_batches", STEP, one_step(data), settings
    )


def to_floor(data: Tensor) -> list[Entry]:
    """Contestants that stop where the textbook stays: it circles about the optimum for ever."""
    truth = Truth(data)
    n_epochs, floor = epochs_to_floor(data)

    def by_textbook(model: TextbookGaussian) -> TextbookGaussian:
        return textbook.fit_in_mini_batches(model, data, n_epochs, batch_size=BATCH_SIZE)

    def online(model: GaussianLikelihood) -> GaussianLikelihood:
        fit(model, data, batch_size=BATCH_SIZE, progress=False)
        return model

    def in_one_pass(model: GaussianLikelihood) -> GaussianLikelihood:
        fit(model, data.split(BATCH_SIZE), progress=False)
        return model

    return [
        Entry(
            lambda: Contestant(
                "textbook",
                by_textbook,
                prepare=lambda: TextbookGaussian(2, data.dtype),
                error=_gap(truth),
                note=f"{n_epochs} epochs, floor {floor:.1e}",
            )
        ),
        Entry(
            lambda: Contestant(
                "helpers, online natural gradient",
                online,
                prepare=lambda: GaussianLikelihood(2, dtype=data.dtype),
                error=_gap(truth),
                note="1 epoch",
            )
        ),
        Entry(
            lambda: Contestant(
                "helpers, an iterable of batches",
                in_one_pass,
                prepare=lambda: GaussianLikelihood(2, dtype=data.dtype),
                error=_gap(truth),
                note="1 epoch",
            )
        ),
    ]


def one_step(data: Tensor) -> list[Entry]:
    """The same Adam with the same schedule for the same number of steps, stated for one step."""
    truth = Truth(data)
    n_steps = EPOCHS_TIMED * (len(data) // BATCH_SIZE)

    def by_textbook(model: TextbookGaussian) -> TextbookGaussian:
        return textbook.fit_in_mini_batches(
            model,
            data,
            EPOCHS_TIMED,
            batch_size=BATCH_SIZE,
            learning_rate=ADAM_LEARNING_RATE,
            schedule=True,
        )

    def by_helpers(model: GaussianLikelihood) -> GaussianLikelihood:
        fit(
            model,
            data,
            optimizer="adam",
            batch_size=BATCH_SIZE,
            max_steps=n_steps,
            progress=False,
        )
        return model

    def contestant(name: str, work: Callable[[Any], Any], model: Callable[..., Any]) -> Contestant:
        return Contestant(
            name,
            work,
            prepare=lambda: model(2, dtype=data.dtype),
            error=_gap(truth),
            scale=1 / n_steps,
            note=f"{n_steps} steps timed",
        )

    return [
        Entry(lambda: contestant("textbook, with the schedule", by_textbook, TextbookGaussian)),
        Entry(lambda: contestant("helpers, Adam", by_helpers, GaussianLikelihood)),
    ]


def epochs_to_floor(data: Tensor) -> tuple[int, float]:
    """When the textbook first comes down to the gap about which it then stays.

    Parameters
    ----------
    data : Tensor, shape (n, 2)

    Returns
    -------
    int
        Epochs until the gap is at most the floor.
    float
        The floor: the median gap at the ends of the second half of 40 epochs.
    """
    truth = Truth(data)
    model = TextbookGaussian(2, data.dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=textbook.LEARNING_RATE)
    gaps = []
    for _ in range(EPOCHS_OBSERVED):
        for batch in data.split(BATCH_SIZE):
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()
        gaps.append(truth.gap(model.loc, model.scale_tril))
    floor = statistics.median(gaps[EPOCHS_OBSERVED // 2 :])
    return 1 + next(epoch for epoch, gap in enumerate(gaps) if gap <= floor), floor


def _gap(truth: Truth) -> Callable[[Any], float]:
    return lambda model: truth.gap(model.loc, model.scale_tril)
