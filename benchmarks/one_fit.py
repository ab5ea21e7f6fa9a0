"""One Gaussian, learnt from n samples of d variables, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers, textbook
from benchmarks.peers import Entry
from benchmarks.problems import Truth, samples
from benchmarks.report import Row, Settings, timed
from benchmarks.timing import Contestant
from helpers import GaussianLikelihood, SufficientStatistics, fit

SIZES = ((1_000, 2), (10_000, 8), (100_000, 32))
WAYS = {
    "helpers, gradient written out": "natural",
    "helpers, autograd": "natural-autograd",
    "helpers, L-BFGS": "lbfgs",
    "helpers, Adam with schedule": "adam",
}
STEPS_TIMED = peers.STEPS_TIMED


def case(n: int, d: int) -> str:
    """How a size is called in the rows."""
    return f"n={n}, d={d}"


def rows(settings: Settings) -> list[Row]:
    """Every way at every size."""
    found: list[Row] = []
    for n, d in SIZES[:2] if settings.quick else SIZES:
        data = samples(n, d)
        found += timed("one_fit", case(n, d), entries(data, quick=settings.quick), settings)
    return found


def entries(data: Tensor, *, quick: bool = False) -> list[Entry]:
    """The contestants on these data; `quick` leaves out the slow ones."""
    truth = Truth(data)
    d = data.shape[-1]

    def gap_of_factor(answer: tuple[Any, Any]) -> float:
        return truth.gap(*answer)

    def gap_of_covariance(answer: tuple[Any, Any]) -> float:
        return truth.gap_of_covariance(*answer)

    def helpers_fit(name: str, optimizer: str) -> Contestant:
        def work(model: GaussianLikelihood) -> GaussianLikelihood:
            fit(model, data, optimizer=optimizer, progress=False)
            return model

        return Contestant(
            name,
            work,
            prepare=lambda: GaussianLikelihood(d, dtype=data.dtype),
            error=lambda model: truth.gap(model.loc, model.scale_tril),
        )

    found = [Entry(lambda: _textbook(data)), Entry(lambda: _textbook_mse(data))]
    found += [
        Entry(lambda name=name, how=how: helpers_fit(name, how))
        for name, how in WAYS.items()
        if not quick or how.startswith("natural")
    ]
    found += [
        Entry(lambda: Contestant("closed form", closed_form(data), error=gap_of_factor)),
        Entry(
            lambda: Contestant(
                "scikit-learn, EmpiricalCovariance",
                peers.sklearn_covariance(data),
                error=gap_of_covariance,
            ),
            "scikit-learn",
        ),
        Entry(
            lambda: Contestant("numpy, closed form", peers.numpy_fit(data), error=gap_of_factor),
            "numpy",
        ),
        Entry(
            lambda: Contestant(
                "scipy, multivariate_normal.fit", peers.scipy_fit(data), error=gap_of_covariance
            ),
            "scipy",
        ),
        Entry(
            lambda: Contestant(
                "JAX, closed form",
                peers.jax_fit(data),
                error=lambda answer: truth.gap(*map(peers.from_jax, answer)),
            ),
            "JAX",
        ),
    ]
    if not quick:
        for peer, name, steps in (
            ("GPyTorch", "GPyTorch, Adam", peers.gpytorch_steps),
            ("Pyro", "Pyro, SVI with Adam", peers.pyro_steps),
            ("NumPyro", "NumPyro, SVI with Adam", peers.numpyro_steps),
        ):
            found.append(Entry(lambda n=name, s=steps: _by_steps(n, s(data), data), peer))
    return found


def closed_form(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """Mean, scatter and Cholesky factor in bare torch, with no check at all; batches too."""

    def work(_: Any) -> tuple[Tensor, Tensor]:
        loc = data.mean(dim=-2)
        centred = data - loc[..., None, :]
        return loc, torch.linalg.cholesky(centred.mT @ centred / data.shape[-2])

    return work


def _by_steps(name: str, work: Callable[[Any], Any], data: Tensor) -> Contestant:
    """Adam from the standard normal, followed on the statistics like the textbook's."""
    statistics = SufficientStatistics.from_data(data)
    return _followed(name, work, textbook.gaps_from_statistics(statistics, log_diagonal=0.0))


def _followed(
    name: str,
    work: Callable[[Any], Any],
    gaps: Sequence[float],
    prepare: Callable[[], Any] | None = None,
) -> Contestant:
    """Some steps are timed; how many there are, and the gap they end at, is known beforehand."""
    return Contestant(
        name,
        work,
        prepare=prepare,
        error=lambda _: gaps[-1],
        scale=len(gaps) / STEPS_TIMED,
        note=f"{STEPS_TIMED} steps timed for {len(gaps)}",
    )


def _textbook(data: Tensor) -> Contestant:
    return _followed(
        "textbook",
        lambda model: textbook.fit_by_likelihood(model, data, STEPS_TIMED),
        textbook.gaps_from_statistics(SufficientStatistics.from_data(data)),
        prepare=lambda: textbook.TextbookGaussian(data.shape[-1], data.dtype),
    )


def _textbook_mse(data: Tensor) -> Contestant:
    """The same for a mean squared error; its gap is counted at the best mean, as it learns none."""
    statistics = SufficientStatistics.from_data(data)
    covariance = statistics.covariance_matrix(correction=1)
    fitted = textbook.fit_by_mse(textbook.TextbookGaussian(data.shape[-1]), lambda: covariance)
    gap = Truth(data).gap(statistics.mean, fitted.scale_tril)
    return Contestant(
        "MSE of the textbook",
        lambda model: textbook.fit_by_mse(model, lambda: torch.cov(data.T), STEPS_TIMED),
        prepare=lambda: textbook.TextbookGaussian(data.shape[-1]),
        error=lambda _: gap,
        scale=textbook.MSE_STEPS / STEPS_TIMED,
        note=f"{STEPS_TIMED} steps timed for {textbook.MSE_STEPS}",
    )
