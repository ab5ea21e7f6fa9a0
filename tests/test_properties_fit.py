"""`fit` and both models: the same answer in any units, form, order and batch, at any condition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    correlated_samples,
    eps,
    random_gaussian,
    random_samples,
    random_scale_tril,
    seeds,
)
from torch import Tensor

from helpers import (
    CovarianceLearner,
    GaussianLikelihood,
    SufficientStatistics,
    covariance_standard_error,
    expected_gap,
    fit,
    judge,
    kl_divergence,
    maximum_likelihood,
    mean_standard_error,
    minimum_nll,
    n_free_parameters,
)
from helpers.objectives import make_objective
from reliability.errors import Problem

TOLERANCE = 1e-10  # nats, at which a fit ends unless told otherwise
CPU = torch.device("cpu")
WAYS = ("natural", "natural-autograd")
dtypes = st.sampled_from(DTYPES)
fewer = settings(max_examples=max(8, settings().max_examples // 3))


def fitted(data, dim: int, batch: tuple[int, ...] = (), dtype=torch.float64, **how):
    """A new model, fitted, with its history."""
    model = GaussianLikelihood(dim, batch, dtype=dtype)
    return model, fit(model, data, progress=False, **how)


def rounding_of(model: GaussianLikelihood | CovarianceLearner, kappa: float) -> float:
    """Gap that the rounding of a model's parameters leaves: (d eps kappa (1 + |log L_ii|))^2.

    A logarithm of L_ii rounds to eps |log L_ii|, which is relative in L_ii; seen from coordinates
    in which the optimum is the identity, kappa enlarges it; the gap is of second order.
    """
    logs = model.scale.log_diagonal.detach().abs().max().item()
    precision = eps(model.scale.log_diagonal.dtype)
    return (model.dim * precision * kappa * (1 + logs)) ** 2


@given(st.integers(1, 6), st.floats(0, 12), seeds, st.sampled_from(["rotated", "units"]), dtypes)
@settings(max_examples=settings().max_examples)
def test_a_fit_reaches_the_optimum_at_any_condition(dim, log_condition, seed, kind, dtype):
    """Of the covariance up to 1e12; a float32 model as near as its rounded parameters can be."""
    problem = Problem(dim, 10 ** (log_condition / 2), seed, torch.float64, kind)
    for way in WAYS:
        model, history = fitted(problem.data, dim, dtype=dtype, optimizer=way)
        floor = rounding_of(model, problem.kappa)
        assert history.gap[-1] <= TOLERANCE + floor
        assert history.converged or floor > 1e-3 * TOLERANCE
        assert torch.isfinite(history.loss).all()
        assert history.gap.min() >= -1e-13 * dim  # rounding of a divergence of size one


@given(
    st.integers(1, 5),
    seeds,
    st.lists(st.integers(-20, 20), min_size=5, max_size=5),
    st.lists(st.integers(-100, 100), min_size=5, max_size=5),
)
@fewer
def test_units_and_origin_change_the_model_and_not_the_fit(dim, seed, powers, shift):
    data = correlated_samples(30, dim, seed)
    scale = torch.tensor(powers[:dim]).double().exp2()
    origin = torch.tensor(shift[:dim]).double() * scale
    plain, history = fitted(data, dim)
    moved, other = fitted(data * scale + origin, dim)
    assert history.converged
    assert other.converged
    # Both end within the tolerance of the one optimum; the map rounds a few digits more.
    gap = kl_divergence(
        maximum_likelihood(data * scale + origin),
        type(maximum_likelihood(data))(
            plain.loc * scale + origin, plain.scale_tril * scale[:, None]
        ),
    )
    assert gap.abs() <= 2 * TOLERANCE
    volume = sum(powers[:dim]) * math.log(2)
    loss, expected = other.loss[-1].item(), history.loss[-1].item() + volume
    assert loss == pytest.approx(expected, abs=3 * TOLERANCE)
    assert torch.isfinite(moved.covariance_matrix).all()


@given(st.integers(1, 4), seeds, dtypes, st.permutations(range(30)))
@fewer
def test_the_form_of_the_data_does_not_matter(dim, seed, dtype, order):
    data = correlated_samples(30, dim, seed).to(dtype)
    model, _ = fitted(data, dim, dtype=dtype)
    batches = list(data.split(7))
    forms = [data.numpy(), SufficientStatistics.from_data(data.double()), data[order], batches]
    for form in (*forms, iter(batches), data.double()):
        other, _ = fitted(form, dim, dtype=dtype)
        # Both end within the tolerance: sqrt(2e-10) in whitened coordinates, or much nearer.
        for ours, expected in zip(other.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        assert other.loc.dtype == dtype


@given(st.integers(1, 3), st.sampled_from([(1,), (3,), (2, 2), (0,)]), seeds, st.booleans())
@fewer
def test_a_batch_of_fits_is_each_fit(dim, batch, seed, online):
    data = (
        random_samples(*batch, 20, dim, seed=seed)
        @ random_gaussian(dim, batch, seed=seed).scale_tril.mT
    )
    how = {"batch_size": 6} if online else {"tol": 1e-13}
    together, history = fitted(data, dim, batch, **how)
    assert history.loss.shape[1:] == batch
    expected = minimum_nll(data)
    torch.testing.assert_close(history.loss[-1], expected, rtol=1e-9, atol=1e-9)
    for index in torch.cartesian_prod(*map(torch.arange, batch)).reshape(-1, len(batch)).tolist():
        alone, _ = fitted(data[tuple(index)], dim, **how)
        # Second-order convergence: past 1e-13 nats both are at the last digits.
        for name in ("loc", "scale_tril"):
            ours, one = getattr(together, name)[tuple(index)], getattr(alone, name)
            torch.testing.assert_close(ours, one, rtol=1e-6, atol=1e-6)


@given(st.integers(1, 4), seeds, dtypes)
@fewer
def test_a_model_keeps_what_it_is_given(dim, seed, dtype):
    gaussian = random_gaussian(dim, seed=seed, dtype=dtype)
    model = GaussianLikelihood(dim, dtype=dtype)
    model.assign(*gaussian)
    assert torch.equal(model.loc, gaussian.loc)
    # A logarithm and its inverse.
    close = {"rtol": 8 * eps(dtype), "atol": 8 * eps(dtype)}
    torch.testing.assert_close(model.scale_tril, gaussian.scale_tril, **close)
    peer = model.distribution
    torch.testing.assert_close(peer.covariance_matrix, model.covariance_matrix, **close)
    twin = GaussianLikelihood(dim, dtype=dtype)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.scale_tril, model.scale_tril)


@given(st.integers(1, 4), st.floats(0, 6), seeds, dtypes)
@fewer
def test_a_gap_is_the_loss_above_its_minimum(dim, log_condition, seed, dtype):
    problem = Problem(dim, 10 ** (log_condition / 2), seed, dtype)
    model = GaussianLikelihood(dim, dtype=dtype)
    model.assign(problem.loc, problem.near)
    objective = make_objective(model, problem.data, CPU)
    wide = model.double()
    loss = wide(problem.data.double())
    gap = objective.gap(wide)
    # The loss is right to d^2 eps kappa^2, which the conditions here leave below 1e-8.
    assert (loss - objective.minimum - gap).abs() <= 1e-8 * (1 + loss.abs() + gap)


@given(st.integers(1, 5), st.floats(0, 4), seeds, dtypes, st.integers(-10, 10))
@fewer
def test_a_covariance_is_learnt_in_any_units(dim, log_condition, seed, dtype, power):
    target = random_scale_tril(dim, 10 ** (log_condition / 2), seed)
    target = (target @ target.mT) * 4.0**power
    model = CovarianceLearner(dim, dtype=dtype)
    history = fit(model, target.to(dtype), progress=False)
    # Ten thousand times the rounding of the dtype, relative to the largest entry: where float64
    # ends at its tolerance, which is relative to the smallest variance, it is far below.
    allowed = 1e4 * eps(dtype) * target.abs().max() + (1e-5 * target.diagonal().min())
    assert (model.covariance_matrix.double() - target).abs().max() <= allowed
    assert torch.isfinite(history.gap).all()
    # The root of the loss has the units of a covariance; both covariances round once or twice.
    plain = CovarianceLearner(dim, dtype=dtype)
    scaled = CovarianceLearner(dim, dtype=dtype)
    scaled.scale.assign(torch.eye(dim, dtype=dtype) * 2.0**power)
    unscaled = (target / 4.0**power).to(dtype)
    ours, expected = scaled(target.to(dtype)).sqrt(), plain(unscaled).sqrt() * 4.0**power
    allowed = 100 * eps(dtype) * (target.abs().max() + 4.0**power)
    assert (ours - expected).abs() <= allowed


@given(st.integers(1, 40), st.integers(1, 10**9), st.floats(1e-30, 1e6))
def test_a_verdict_is_a_ratio(dim, count, gap):
    sampling = expected_gap(dim, count)
    assert sampling * 2 * count == pytest.approx(n_free_parameters(dim), rel=1e-15)
    assert n_free_parameters(dim) == dim + sum(range(1, dim + 1))
    verdict = judge(gap, dim, count)
    assert verdict.ratio == pytest.approx(gap / sampling, rel=1e-15)
    assert verdict.negligible == (gap <= 0.01 * sampling) or verdict.ratio == pytest.approx(0.01)
    assert judge(torch.tensor([gap / 2, gap], dtype=torch.float64), dim, count) == verdict


@given(st.integers(1, 4), seeds, st.integers(1, 10**6), st.integers(1, 100))
def test_standard_errors_shrink_with_the_root_of_the_count(dim, seed, count, times):
    covariance: Tensor = random_gaussian(dim, seed=seed).covariance_matrix
    for standard_error in (mean_standard_error, covariance_standard_error):
        few, many = standard_error(covariance, count), standard_error(covariance, count * times**2)
        torch.testing.assert_close(many * times, few, rtol=8 * eps(torch.float64), atol=0)
    diagonal = covariance_standard_error(covariance, count).diagonal()
    expected = covariance.diagonal() * (2 / count) ** 0.5  # Var(s^2) = 2 sigma^4 / n
    torch.testing.assert_close(diagonal, expected, rtol=8 * eps(torch.float64), atol=0)
