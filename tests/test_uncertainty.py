"""Sampling errors against simulation, and verdicts in words."""

from __future__ import annotations

import math

import pytest
import torch
from strategies import random_gaussian, random_samples

from helpers import (
    Gaussian,
    SufficientStatistics,
    Verdict,
    covariance_standard_error,
    expected_gap,
    judge,
    kl_divergence,
    maximum_likelihood,
    mean_standard_error,
    n_free_parameters,
)

REPEATS = 4000


@pytest.fixture(scope="module")
def simulated():
    """A truth in four dimensions, and the estimates from many samples of 200."""
    truth = random_gaussian(4, seed=1)
    data = random_samples(REPEATS, 200, 4, seed=2) @ truth.scale_tril.mT + truth.loc
    return truth, SufficientStatistics.from_data(data)


@pytest.mark.parametrize(("dim", "count"), [(1, 2), (2, 5), (4, 14), (13, 104), (30, 495)])
def test_free_parameters_are_counted(dim, count):
    assert n_free_parameters(dim) == count == dim + len(torch.tril_indices(dim, dim).T)
    assert type(n_free_parameters(dim)) is int


def test_expected_gap_is_what_simulation_finds(simulated):
    """Wilks: both the training gap of the truth and the held-out excess are near p / 2n."""
    truth, statistics = simulated
    estimate = maximum_likelihood(statistics)
    predicted = expected_gap(4, 200)
    assert predicted == 14 / 400
    everywhere = Gaussian(truth.loc.expand(REPEATS, 4), truth.scale_tril.expand(REPEATS, 4, 4))
    # The standard deviation is sqrt(2 / p) = 0.38 of the mean, so the average of 4,000 has 0.6 %;
    # terms of order d / n, here 2 to 3 %, are left out by the formula.
    for gap in (kl_divergence(estimate, everywhere), kl_divergence(everywhere, estimate)):
        assert gap.mean().item() == pytest.approx(predicted, rel=0.05)


def test_standard_errors_are_what_simulation_finds(simulated):
    truth, statistics = simulated
    # A standard deviation from 4,000 repeats is known to 1 / sqrt(8000) = 1.1 %; of 14 such numbers
    # none should be off by four times that. The formula leaves out 1 / 2n = 0.25 %.
    within = {"rtol": 0.05, "atol": 0.0}
    found = statistics.mean.std(dim=0)
    torch.testing.assert_close(mean_standard_error(truth.covariance_matrix, 200), found, **within)
    found = statistics.covariance_matrix().std(dim=0)
    predicted = covariance_standard_error(truth.covariance_matrix, 200)
    torch.testing.assert_close(predicted, found, **within)


def test_standard_errors_by_hand():
    sigma = torch.tensor([[4.0, 1.0], [1.0, 9.0]], dtype=torch.float64)
    expected = torch.tensor(
        [[math.sqrt(32 / 50), math.sqrt(37 / 50)], [math.sqrt(37 / 50), math.sqrt(162 / 50)]]
    )
    # Three roundings each.
    torch.testing.assert_close(
        covariance_standard_error(sigma, 50), expected.double(), rtol=1e-7, atol=0
    )
    assert mean_standard_error(sigma, 100).tolist() == pytest.approx([0.2, 0.3], rel=1e-15)
    batch = sigma.expand(3, 2, 2)
    assert covariance_standard_error(batch, 50).shape == (3, 2, 2)
    of_means = mean_standard_error(batch.float(), 100)
    assert (of_means.shape, of_means.dtype) == ((3, 2), torch.float32)
    assert of_means[2].tolist() == pytest.approx([0.2, 0.3], rel=1e-6)  # float32


@pytest.mark.parametrize(
    ("gap", "size", "meaning"),
    [
        (1e-14, "gap below 1e-12 nats, sampling error 2.50e-02", "the optimiser is not what"),
        (-1e-16, "gap below 1e-12 nats, sampling error 2.50e-02", "the optimiser is not what"),
        (
            2.4e-4,
            "gap 2.40e-04 nats, sampling error 2.50e-02 (0.0096 of it)",
            "the optimiser is not",
        ),
        (
            2.6e-4,
            "gap 2.60e-04 nats, sampling error 2.50e-02 (0.01 of it)",
            "the optimiser still adds",
        ),
        (
            0.026,
            "gap 2.60e-02 nats, sampling error 2.50e-02 (1 times that)",
            "not there yet, the optimiser is",
        ),
    ],
)
def test_the_verdict_in_words(gap, size, meaning):
    verdict = judge(gap, dim=2, count=100)
    assert str(verdict) == f"{size}: {verdict.meaning}"
    assert verdict.meaning.startswith(meaning)
    assert verdict.ratio == pytest.approx(gap / 0.025, rel=1e-15)


def test_the_limits_of_a_verdict():
    assert Verdict(0.01, 1.0).negligible
    assert not Verdict(0.0101, 1.0).negligible
    assert "adds" in Verdict(1.0, 1.0).meaning
    assert str(Verdict(1e-12, 1e-10)).startswith(
        "gap 1.00e-12 nats, sampling error 1.00e-10 (0.01 "
    )


def test_what_rounding_leaves_below_zero_is_no_gap():
    assert Verdict(-0.009, 1.0).negligible
    assert Verdict(-0.9e-12, 1e-12).negligible
    n = 10**9  # so many that 1e-5, some roundings of a loss in float32, is no longer negligible
    assert judge(torch.tensor(-1e-5), 2, n).gap == 0
    with pytest.raises(ValueError, match="^gap: "):
        judge(torch.tensor(-1e-5, dtype=torch.float64), 2, n)


def test_a_verdict_is_checked_once_and_stays():
    verdict = Verdict(0.01, 1.0)
    with pytest.raises(AttributeError, match="cannot assign to field 'gap'"):
        verdict.gap = math.nan


def test_the_worst_of_a_batch_is_judged():
    gaps = torch.tensor([[1e-3, 2e-3]], requires_grad=True)
    assert judge(gaps, 2, 100).gap == pytest.approx(2e-3, rel=1e-6)  # float32


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: n_free_parameters(0), ValueError, ["dim", "at least 1", "0"]),
        (lambda: n_free_parameters(2.0), TypeError, ["dim", "whole number", "2.0"]),
        (lambda: expected_gap(2, 0), ValueError, ["count", "at least 1", "0"]),
        (lambda: judge(math.nan, 2, 10), ValueError, ["gap", "finite", "nan"]),
        (lambda: judge(torch.tensor([0.1, math.nan]), 2, 10), ValueError, ["gap", "finite", "nan"]),
        (lambda: judge(torch.zeros(0), 2, 10), ValueError, ["gap", "at least one", "(0,)"]),
        (lambda: judge(-5.0, 2, 10), ValueError, ["gap", "minus its minimum", "got -5"]),
        (lambda: judge(torch.tensor(-5.0), 2, 10), ValueError, ["gap", "minimum", "got -5"]),
        (lambda: Verdict(-0.02, 1.0), ValueError, ["gap", "at least -1.0e-02", "got -0.02"]),
        (lambda: Verdict(-2e-12, 1e-12), ValueError, ["gap", "at least -1.0e-12", "got -2e-12"]),
        (lambda: judge("small", 2, 10), TypeError, ["gap", "number", "small"]),
        (
            lambda: mean_standard_error(-torch.eye(2), 10),
            ValueError,
            ["covariance_matrix", "variances", "-1"],
        ),
        (lambda: mean_standard_error(torch.eye(2), 0), ValueError, ["count", "at least 1", "0"]),
        (
            lambda: covariance_standard_error(torch.ones(2, 3), 5),
            ValueError,
            ["covariance_matrix", "(2, 3)"],
        ),
        (
            lambda: covariance_standard_error(torch.ones(2, 2).tril(), 5),
            ValueError,
            ["covariance_matrix", "symmetric"],
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_thousand_roundings_below_zero_are_no_gap_and_more_are_refused():
    """In float32, where they are beyond what a number of Python may lie below zero."""
    rounding = torch.finfo(torch.float32).eps
    n = 10**9  # where a hundredth of the sampling error is far less
    assert judge(torch.tensor(-1000 * rounding), 1, n).gap == 0.0
    with pytest.raises(ValueError, match="gap: expected"):
        judge(torch.tensor(-1001 * rounding), 1, n)
    with pytest.raises(ValueError, match="gap: expected"):
        judge(torch.tensor(-999.5 * rounding).item(), 1, n)
