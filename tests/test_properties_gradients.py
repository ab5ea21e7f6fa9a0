"""Gradients, first and second, beside finite differences: of every function of tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_gaussian, random_samples, seeds
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from helpers import (
    CovarianceLearner,
    Gaussian,
    GaussianLikelihood,
    SufficientStatistics,
    condition,
    covariance_standard_error,
    entropy,
    fit,
    kl_divergence,
    log_cholesky,
    log_cholesky_inverse,
    log_det,
    log_prob,
    mahalanobis,
    marginal,
    maximum_likelihood,
    mean_log_prob,
    mean_standard_error,
    minimum_nll,
    natural_step,
    natural_turn,
    whiten,
)
from helpers import statistics as statistics_module

CHECKED = {"validate_args": False}  # a finite difference above the diagonal is no factor


def symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def statistics_of(mean: Tensor, scatter: Tensor) -> SufficientStatistics:
    count = torch.full(mean.shape[:-1], 5)
    return SufficientStatistics(count, mean, symmetric(scatter))


def parts(statistics: SufficientStatistics) -> tuple[Tensor, Tensor]:
    return statistics.mean, statistics.scatter


# A lower-triangular argument is the lower triangle of a free one, a symmetric one its symmetric
# part, so that each entry may be moved on its own.
FUNCTIONS = {
    "log_det": ("f", lambda f: log_det(f.tril())),
    "entropy": ("f", lambda f: entropy(f.tril())),
    "mahalanobis": ("smf", lambda s, m, f: mahalanobis(s, m, f.tril())),
    "mahalanobis of one": ("tmf", lambda s, m, f: mahalanobis(s, m, f.tril())),
    "log_prob": ("smf", lambda s, m, f: log_prob(s, m, f.tril())),
    "kl_divergence": (
        "mfmf",
        lambda m, f, n, g: kl_divergence(Gaussian(m, f.tril()), Gaussian(n, g.tril())),
    ),
    "marginal": ("mf", lambda m, f: tuple(marginal(Gaussian(m, f.tril()), [f.shape[-1] - 1]))),
    "mean_log_prob": ("smf", lambda s, m, f: mean_log_prob(s, m, f.tril())),
    "mean_log_prob of statistics": (
        "mcmf",
        lambda a, c, m, f: mean_log_prob(statistics_of(a, c), m, f.tril()),
    ),
    "whiten": ("cf", lambda c, f: whiten(symmetric(c), f.tril())),
    "natural_step": ("fc", lambda f, c: natural_step(f.tril(), symmetric(c))),
    "natural_turn": ("c", natural_turn),
    "log_cholesky": ("mb", log_cholesky),
    "log_cholesky_inverse": ("f", lambda f: log_cholesky_inverse(f.tril())),
    "SufficientStatistics.from_data": ("s", lambda s: parts(SufficientStatistics.from_data(s))),
    "SufficientStatistics.merge": (
        "ss",
        lambda s, t: parts(
            SufficientStatistics.from_data(s).merge(SufficientStatistics.from_data(t))
        ),
    ),
    "maximum_likelihood": ("s", lambda s: tuple(maximum_likelihood(s))),
    "minimum_nll": ("s", minimum_nll),
    "mean_standard_error": ("c", lambda c: mean_standard_error(symmetric(c), 7)),
    "covariance_standard_error": ("c", lambda c: covariance_standard_error(symmetric(c), 7)),
}


def make(kind: str, batch: tuple[int, ...], seed: int, dim: int) -> Tensor:
    """An argument that wants a gradient."""
    gaussian = random_gaussian(dim, batch, seed=seed)
    tensor = {
        "m": lambda: gaussian.loc,
        "f": lambda: gaussian.scale_tril,
        "c": lambda: gaussian.covariance_matrix + torch.eye(dim),
        "b": lambda: random_samples(*batch, dim * (dim - 1) // 2, seed=seed),
        "s": lambda: random_samples(*batch, dim + 4, dim, seed=seed),
        "t": lambda: random_samples(*batch, 1, dim, seed=seed),
    }[kind]()
    return tensor.detach().clone().requires_grad_()


@pytest.mark.parametrize("name", FUNCTIONS)
@given(st.integers(1, 3), st.sampled_from([(), (2,), (1, 2)]), seeds)
@settings(max_examples=max(5, settings().max_examples // 5))
def test_gradients_agree_with_finite_differences(name, dim, batch, seed):
    """Along a random direction; with steps of 1e-6, differences are right to about 1e-9."""
    kinds, function = FUNCTIONS[name]
    arguments = tuple(make(kind, batch, seed + i, dim) for i, kind in enumerate(kinds))
    assert gradcheck(function, arguments, fast_mode=True)
    assert gradgradcheck(function, arguments, fast_mode=True)


@pytest.mark.parametrize("order", [gradcheck, gradgradcheck])
@given(st.integers(2, 4), seeds, st.data())
@settings(max_examples=max(5, settings().max_examples // 5))
def test_gradients_pass_through_conditioning(order, dim, seed, data):
    known = data.draw(st.permutations(range(dim)))[: data.draw(st.integers(1, dim - 1))]

    def conditional(loc: Tensor, factor: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(condition(Gaussian(loc, factor.tril()), known, value))

    loc, factor = make("m", (), seed, dim), make("f", (), seed + 1, dim)
    value = make("m", (), seed + 2, len(known))
    assert order(conditional, (loc, factor, value), fast_mode=True)


@pytest.mark.parametrize("name", ["mahalanobis", "log_prob", "mean_log_prob", "kl_divergence"])
@pytest.mark.parametrize(("dim", "batch"), [(1, 61), (2, 241)])
def test_gradients_of_many_small_ones(name, dim, batch):
    """What is written over to be quick must not be what a gradient needs."""
    kinds, function = FUNCTIONS[name]
    arguments = [make(kind, (batch,), i, dim) for i, kind in enumerate(kinds)]
    together = torch.autograd.grad(function(*arguments).sum(), arguments)
    for index in (0, batch - 1):
        alone = [x[index].detach().requires_grad_() for x in arguments]
        for ours, expected in zip(
            together, torch.autograd.grad(function(*alone).sum(), alone), strict=True
        ):
            # Sums of at most ten terms, of matrices whose condition is below 100.
            torch.testing.assert_close(ours[index], expected, rtol=1e-11, atol=1e-11)


def test_many_small_models_can_be_fitted_by_autograd():
    data = random_samples(241, 40, 2, dtype=torch.float32)
    model = GaussianLikelihood(2, (241,))
    history = fit(model, data, optimizer="adam", batch_size=8, max_steps=5, progress=False)
    assert history.loss[-1].mean() < history.loss[0].mean()


@given(st.integers(1, 3), seeds, st.booleans())
@settings(max_examples=max(5, settings().max_examples // 5))
def test_large_data_give_the_gradients_of_their_densities(dim, seed, second):
    """The way of large data, from coordinates in which the present Gaussian is standard."""
    samples, loc, factor = (make(kind, (), seed + i, dim) for i, kind in enumerate("smf"))
    samples = samples.detach()

    def mean_density(loc: Tensor, factor: Tensor) -> Tensor:
        return mean_log_prob(samples, loc, factor.tril(), **CHECKED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics_module, "SMALL", 0)
        check = gradgradcheck if second else gradcheck
        assert check(mean_density, (loc, factor), fast_mode=True)


@given(st.integers(1, 3), seeds)
@settings(max_examples=max(5, settings().max_examples // 5))
def test_both_models_pass_gradients_to_their_parameters(dim, seed):
    gaussian = random_gaussian(dim, seed=seed)
    likelihood = GaussianLikelihood(dim, dtype=torch.float64)
    learner = CovarianceLearner(dim, dtype=torch.float64)
    likelihood.assign(*gaussian)
    learner.scale.assign(gaussian.scale_tril)
    data = random_samples(dim + 4, dim, seed=seed + 1)
    target = random_gaussian(dim, seed=seed + 2).covariance_matrix
    for model, given_to in ((likelihood, data), (learner, target)):
        names, values = zip(*model.named_parameters(), strict=True)

        def loss(*parameters, model=model, given_to=given_to, names=names):
            named = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(model, named, (given_to,))

        assert gradcheck(loss, values, fast_mode=True)
        assert gradgradcheck(loss, values, fast_mode=True)
