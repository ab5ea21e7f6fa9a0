"""Sufficient statistics: any split gives the whole, and float32 keeps its digits."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    BATCH_SHAPES,
    DTYPES,
    correlated_samples,
    eps,
    random_gaussian,
    random_samples,
    random_scale_tril,
    seeds,
)

from helpers import SufficientStatistics, log_prob, mean_log_prob, whiten

FIELDS = ("count", "mean", "scatter")


def assert_same(a: SufficientStatistics, b: SufficientStatistics, factor: float = 200.0) -> None:
    """Equal up to the rounding of sums over some hundred samples of size one to ten."""
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        size = right.abs().max().item() if right.numel() else 0.0
        tolerance = factor * eps(a.mean.dtype) * max(size, 1.0)
        torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("dim", [1, 4])
def test_covariance_agrees_with_torch_and_numpy(dim, correction):
    data = correlated_samples(50, dim)
    statistics = SufficientStatistics.from_data(data)
    ours = statistics.covariance_matrix(correction)
    tolerance = {"rtol": 1e-13, "atol": 1e-13}  # sums of 50 terms, some 100 roundings
    torch.testing.assert_close(
        ours, torch.cov(data.T, correction=correction).view(dim, dim), **tolerance
    )
    peer = np.cov(data.numpy(), rowvar=False, ddof=correction).reshape(dim, dim)
    torch.testing.assert_close(ours, torch.as_tensor(peer), **tolerance)
    torch.testing.assert_close(statistics.mean, data.mean(dim=0), **tolerance)
    assert statistics.count.item() == 50


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_a_batch_is_its_elements(batch_shape, dtype):
    data = random_samples(*batch_shape, 9, 3, dtype=dtype)
    statistics = SufficientStatistics.from_data(data)
    assert statistics.batch_shape == batch_shape
    assert (statistics.dim, statistics.mean.dtype, statistics.count.dtype) == (
        3,
        dtype,
        torch.int64,
    )
    assert statistics.count.shape == batch_shape
    for index in np.ndindex(*batch_shape):
        one = SufficientStatistics.from_data(data[index])
        assert_same(SufficientStatistics(*(getattr(statistics, f)[index] for f in FIELDS)), one)


@given(seeds, st.integers(0, 40), st.integers(0, 40), st.sampled_from(DTYPES))
def test_split_anywhere_equals_the_whole(seed, a, b, dtype):
    data = correlated_samples(40, 3, seed).to(dtype)
    cuts = sorted((a, b))
    parts = [SufficientStatistics.from_data(x) for x in torch.tensor_split(data, cuts)]
    whole = SufficientStatistics.from_data(data)
    assert_same(functools.reduce(SufficientStatistics.merge, parts), whole)
    first, second, third = parts
    assert_same(first.merge(second.merge(third)), whole)  # associative
    assert_same(third.merge(first).merge(second), whole)  # commutative


def test_merging_keeps_the_dtype_and_its_digits():
    data = correlated_samples(1000, 3)
    merged = SufficientStatistics.from_data(data[:333]).merge(
        SufficientStatistics.from_data(data[333:])
    )
    assert merged.mean.dtype == merged.scatter.dtype == torch.float64
    # A share n_b / n that was rounded to float32 would be off by 1e-8.
    torch.testing.assert_close(merged.mean, data.mean(dim=0), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_samples_are_the_neutral_element(dtype):
    data = correlated_samples(8, 2).to(dtype)
    some, none = (SufficientStatistics.from_data(x) for x in (data, data[:0]))
    assert none.count == 0
    assert (none.mean == 0).all()
    assert (none.scatter == 0).all()
    for merged in (some.merge(none), none.merge(some)):
        assert all(torch.equal(getattr(merged, f), getattr(some, f)) for f in FIELDS)
    assert none.merge(none).count == 0
    assert torch.isfinite(none.merge(none).mean).all()
    with pytest.raises(ValueError, match=r"count: expected more than 0 samples .* got 0"):
        none.covariance_matrix()


def test_one_sample_has_a_mean_and_no_scatter():
    statistics = SufficientStatistics.from_data(torch.tensor([[3.0, -1.0]]))
    assert statistics.mean.tolist() == [3.0, -1.0]
    assert statistics.covariance_matrix().tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"count: expected more than 1 samples .* got 1"):
        statistics.covariance_matrix(correction=1)


def test_a_batch_may_hold_different_counts():
    lengths, data = (3, 0, 7), correlated_samples(7, 2)
    parts = [SufficientStatistics.from_data(data[:n]) for n in lengths]
    ragged = SufficientStatistics(*(torch.stack([getattr(p, f) for p in parts]) for f in FIELDS))
    more = correlated_samples(5, 2, seed=9)
    merged = ragged.merge(SufficientStatistics.from_data(more.expand(3, 5, 2)))
    for i, n in enumerate(lengths):
        whole = SufficientStatistics.from_data(torch.cat([data[:n], more]))
        assert_same(SufficientStatistics(*(getattr(merged, f)[i] for f in FIELDS)), whole)
        expected = torch.cov(torch.cat([data[:n], more]).T)
        torch.testing.assert_close(merged.covariance_matrix(1)[i], expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="got 0"):
        ragged.covariance_matrix()


def test_float32_far_from_zero_keeps_its_digits():
    """At a mean of 3000, E[x x^T] - m m^T in float32 is no covariance at all; ours is."""
    data = (correlated_samples(200, 2) + 3000).float()
    truth = SufficientStatistics.from_data(data.double()).covariance_matrix()
    naive = data.T @ data / 200 - data.mean(0)[:, None] * data.mean(0)
    assert (naive.double() - truth).abs().max() > 0.1
    # Centred entries are exact or rounded at the size of one (the difference of near numbers); the
    # rounding of the mean is mended. What is left is the sum of 200 products: 200 eps of variance.
    bound = 200 * eps(torch.float32) * truth.diagonal().max().item()
    ours = SufficientStatistics.from_data(data).covariance_matrix().double()
    assert (ours - truth).abs().max() <= bound
    halves = [SufficientStatistics.from_data(x) for x in data.split(100)]
    # A merge also rounds the mean of 3000 to 2e-4, and its square enters with delta.
    merged = halves[0].merge(halves[1]).covariance_matrix().double()
    assert (merged - truth).abs().max() <= bound + 3000 * eps(torch.float32)


@pytest.mark.parametrize("n", [100, 30_000])
def test_the_mean_is_right_to_the_last_place(n):
    """A plain sum in float32 is two units off here; the second pass mends it."""
    data = (random_samples(n, 64) + 3000).float()
    truth, unit = data.double().mean(dim=0), 2.0**-12  # the spacing of float32 at 3000
    assert ((data.sum(dim=0) / n).double() - truth).abs().max() > unit
    ours = SufficientStatistics.from_data(data).mean.double()
    # Half a unit is the nearest float32; the rounding of the correction itself is far smaller.
    assert (ours - truth).abs().max() <= 0.51 * unit


def test_what_was_handed_in_is_unchanged():
    data = correlated_samples(9, 2)
    before = data.clone()
    statistics = SufficientStatistics.from_data(data)
    fields = [getattr(statistics, f).clone() for f in FIELDS]
    statistics.merge(statistics).covariance_matrix(1)
    assert torch.equal(data, before)
    assert all(torch.equal(a, getattr(statistics, f)) for a, f in zip(fields, FIELDS, strict=True))


def test_conversion_keeps_the_count():
    statistics = SufficientStatistics.from_data(correlated_samples(9, 2)).to(torch.float32)
    assert (statistics.mean.dtype, statistics.scatter.dtype) == (torch.float32, torch.float32)
    assert (statistics.count.dtype, statistics.count.item()) == (torch.int64, 9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_the_mean_density_needs_no_samples(batch_shape, dtype):
    gaussian = random_gaussian(3, batch_shape, dtype=dtype)
    data = random_samples(*batch_shape, 30, 3, seed=1, dtype=dtype) + 1
    ours = mean_log_prob(SufficientStatistics.from_data(data), *gaussian)
    assert (ours.shape, ours.dtype) == (batch_shape, dtype)
    expected = log_prob(data, *gaussian).mean(dim=-1)
    # A sum of 30 x 3 squares of size ten on both sides.
    torch.testing.assert_close(ours, expected, rtol=100 * eps(dtype), atol=100 * eps(dtype))


def test_one_set_of_statistics_serves_a_batch_of_factors():
    data, gaussian = correlated_samples(20, 2), random_gaussian(2, (4,))
    statistics = SufficientStatistics.from_data(data)
    ours = mean_log_prob(statistics, gaussian.loc[0], gaussian.scale_tril)
    expected = log_prob(data, gaussian.loc[0], gaussian.scale_tril).mean(dim=-1)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)  # sums of 40 terms


@given(st.integers(1, 6), st.floats(0, 4), seeds)
def test_a_covariance_seen_through_its_own_factor_is_the_identity(dim, log_condition, seed):
    scale_tril = random_scale_tril(dim, 10**log_condition, seed)
    ours = whiten(scale_tril @ scale_tril.mT, scale_tril)
    # The product is rounded by d eps |Sigma|, which two solves enlarge by cond(L) each.
    bound = 4 * dim**2 * np.finfo(float).eps * np.linalg.cond(scale_tril.numpy()) ** 2
    assert (ours - torch.eye(dim)).abs().max() <= bound


def test_whitening_agrees_with_inverses():
    _, scale_tril = random_gaussian(3)
    matrix = torch.cov(correlated_samples(9, 3).T)
    inverse = np.linalg.inv(scale_tril.numpy())
    expected = torch.as_tensor(inverse @ matrix.numpy() @ inverse.T)
    torch.testing.assert_close(whiten(matrix, scale_tril), expected, rtol=1e-12, atol=1e-12)


X = torch.zeros(3, 2)
COUNT, MEAN, SCATTER = torch.tensor(3), torch.zeros(2), torch.eye(2)
GOOD = SufficientStatistics(COUNT, MEAN, SCATTER)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: SufficientStatistics.from_data(None), TypeError, ["data", "None"]),
        (
            lambda: SufficientStatistics.from_data(X[0]),
            ValueError,
            ["data", "(..., n, dim)", "(2,)"],
        ),
        (lambda: SufficientStatistics.from_data(X.int()), ValueError, ["data", "int32"]),
        (lambda: SufficientStatistics.from_data(X / 0), ValueError, ["data", "nan", "(0, 0)"]),
        (
            lambda: SufficientStatistics.from_data(torch.tensor([[1e30], [-1e30]])),
            ValueError,
            ["data: scatter", "finite", "inf"],
        ),
        (lambda: GOOD.merge(X), TypeError, ["other", "SufficientStatistics", "Tensor"]),
        (
            lambda: GOOD.merge(SufficientStatistics.from_data(torch.zeros(3, 1))),
            ValueError,
            ["other", "(2,)", "(1,)"],
        ),
        (
            lambda: GOOD.merge(SufficientStatistics.from_data(torch.zeros(5, 3, 2))),
            ValueError,
            ["other", "(2,)", "(5, 2)"],
        ),
        (lambda: GOOD.merge(GOOD.to(torch.float64)), ValueError, ["other", "float32", "float64"]),
        (lambda: GOOD.covariance_matrix(-1), ValueError, ["correction", "at least 0", "-1"]),
        (lambda: GOOD.covariance_matrix(0.5), TypeError, ["correction", "whole", "0.5"]),
        (lambda: GOOD.covariance_matrix(3), ValueError, ["count", "more than 3", "got 3"]),
        (lambda: SufficientStatistics(3, MEAN, SCATTER), TypeError, ["count", "Tensor", "3"]),
        (lambda: SufficientStatistics(COUNT.float(), MEAN, SCATTER), TypeError, ["count", "int64"]),
        (lambda: SufficientStatistics(COUNT, MEAN, X), ValueError, ["scatter", "(2, 2)", "(3, 2)"]),
        (
            lambda: SufficientStatistics(COUNT.expand(2), MEAN, SCATTER),
            ValueError,
            ["count", "()", "(2,)"],
        ),
        (
            lambda: SufficientStatistics(COUNT, MEAN, SCATTER.double()),
            ValueError,
            ["scatter", "float32", "float64"],
        ),
        (
            lambda: mean_log_prob(GOOD, torch.zeros(3), torch.eye(3)),
            ValueError,
            ["statistics.mean", "(..., 3)", "(2,)"],
        ),
        (
            lambda: mean_log_prob(GOOD, MEAN.double(), SCATTER.double()),
            ValueError,
            ["statistics", "float64", "float32"],
        ),
        (
            lambda: mean_log_prob(SufficientStatistics.from_data(X[:0]), MEAN, SCATTER),
            ValueError,
            ["count", "more than 0", "got 0"],
        ),
        (
            lambda: mean_log_prob(SufficientStatistics.from_data(X.expand(4, 3, 2)), MEAN, SCATTER),
            ValueError,
            ["statistics", "()", "(4,)"],
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
