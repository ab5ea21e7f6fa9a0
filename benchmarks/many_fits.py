"""B Gaussians at once, each from n samples of d variables, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks import peers, textbook
from benchmarks.one_fit import closed_form
from benchmarks.peers import Entry
from benchmarks.problems import Truth, samples
from benchmarks.report import Row, Settings, timed
from benchmarks.timing import Contestant
from helpers import GaussianLikelihood, SufficientStatistics, fit

SIZES = ((10_000, 100, 2), (10_000, 200, 8))
LOOPED = 200  # of the Gaussians, where each is fitted alone
STEPS_TIMED = peers.STEPS_TIMED


def case(batch: int, n: int, d: int) -> str:
    """How a size is called in the rows."""
    return f"B={batch}, n={n}, d={d}"


def rows(settings: Settings) -> list[Row]:
    """Every way at every size."""
    found: list[Row] = []
    for batch, n, d in SIZES[:1] if settings.quick else SIZES:
        data = samples(n, d, batch_shape=(batch,))
        found += timed("many_fits", case(batch, n, d), entries(data), settings)
    return found


def entries(data: Tensor) -> list[Entry]:
    """Contestants on data (B, n, d); loops run over a part of them."""
    truth = Truth(data)
    batch, _, d = data.shape
    part = data[:LOOPED]
    part_truth = Truth(part)
    scale = batch / len(part)
    note = f"{len(part)} of {batch} timed" if scale > 1 else ""

    def helpers_work(model: GaussianLikelihood) -> GaussianLikelihood:
        fit(model, data, progress=False)
        return model

    def loop(name: str, fit_one: Any, peer: str, gap: Any) -> Entry:
        def make() -> Contestant:
            works = [fit_one(one) for one in part]
            return Contestant(
                name,
                lambda _: [work(None) for work in works],
                error=lambda answers: gap(*map(torch.stack, zip(*answers, strict=True))),
                scale=scale,
                note=note,
            )

        return Entry(make, peer)

    return [
        Entry(lambda: _textbook(data)),
        Entry(
            lambda: Contestant(
                "helpers, fit",
                helpers_work,
                prepare=lambda: GaussianLikelihood(d, (batch,), dtype=data.dtype),
                error=lambda model: truth.gap(model.loc, model.scale_tril),
            )
        ),
        Entry(
            lambda: Contestant(
                "closed form, batched", closed_form(data), error=lambda answer: truth.gap(*answer)
            )
        ),
        loop(
            "scikit-learn, a loop",
            peers.sklearn_covariance,
            "scikit-learn",
            part_truth.gap_of_covariance,
        ),
        loop("numpy, a loop", peers.numpy_fit, "numpy", part_truth.gap),
        Entry(
            lambda: Contestant(
                "numpy, batched",
                peers.numpy_batched(data),
                error=lambda answer: truth.gap(*map(torch.from_numpy, answer)),
            ),
            "numpy",
        ),
        Entry(
            lambda: Contestant(
                "JAX, closed form, batched",
                peers.jax_fit(data),
                error=lambda answer: truth.gap(*map(peers.from_jax, answer)),
            ),
            "JAX",
        ),
    ]


def _textbook(data: Tensor) -> Contestant:
    """One Gaussian stands for the others: a loop over all would take hours."""
    one = data[0]
    gaps = textbook.gaps_from_statistics(SufficientStatistics.from_data(one))
    return Contestant(
        "textbook, a loop",
        lambda model: textbook.fit_by_likelihood(model, one, STEPS_TIMED),
        prepare=lambda: textbook.TextbookGaussian(data.shape[-1], data.dtype),
        error=lambda _: gaps[-1],
        scale=len(data) * len(gaps) / STEPS_TIMED,
        note=f"{STEPS_TIMED} steps of one timed for {len(gaps)} steps of {len(data)}",
    )
