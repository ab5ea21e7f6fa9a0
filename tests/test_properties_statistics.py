"""Statistics of samples that come in any parts, in any order, merged in any tree."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DTYPES, correlated_samples, eps, random_samples, seeds
from torch import Tensor

from helpers import (
    GaussianLikelihood,
    SufficientStatistics,
    fit,
    maximum_likelihood,
    mean_log_prob,
    minimum_nll,
)
from helpers import statistics as statistics_module

DIM = 3
dtypes = st.sampled_from(DTYPES)
sizes = st.integers(0, 30)
cuts = st.lists(st.integers(0, 60), max_size=8).map(sorted)


def parts_of(data: Tensor, cuts: list[int]) -> list[Tensor]:
    """Data (n, d) cut at these rows; parts may be empty."""
    n = len(data)
    return [data[a:b] for a, b in pairwise([0, *(min(cut, n) for cut in cuts), n])]


def merged_in_a_tree(parts: list[SufficientStatistics], choose) -> SufficientStatistics:
    """Two neighbours or strangers at a time, as `choose(number)` says, until one is left."""
    parts = list(parts)
    while len(parts) > 1:
        first = parts.pop(choose(len(parts)))
        second = parts.pop(choose(len(parts)))
        parts.append(first.merge(second))
    return parts[0]


def assert_same(ours: SufficientStatistics, expected: SufficientStatistics, merges: int) -> None:
    """Equal within the bound of from_data and, for each merge, that of merge.

    A mean rounds to eps |m|; what lies between two means is off by twice that times the spread.
    """
    assert torch.equal(ours.count, expected.count)
    n = max(int(expected.count), 1)
    precision = eps(expected.mean.dtype)
    sigma = (expected.scatter.diagonal() / n).clamp(min=0).sqrt()  # (d,)
    of_mean = (1 + merges) * precision * (expected.mean.abs() + (n**0.5 + 4) * sigma)
    assert ((ours.mean - expected.mean).abs() <= of_mean).all()
    product = sigma[:, None] * sigma
    # Means of parts lie within sqrt(n) sigma of each other, and n_a n_b / n is below n / 4.
    cross = of_mean[:, None] * sigma * n**0.5
    of_scatter = (1 + merges) * (4 + n / 2) * precision * n * product
    allowed = of_scatter + n / 4 * (cross + cross.mT + of_mean[:, None] * of_mean)
    assert ((ours.scatter - expected.scatter).abs() <= allowed).all()


@given(seeds, cuts, dtypes, st.floats(0, 4), st.data())
def test_any_tree_of_merges_gives_the_whole(seed, cuts, dtype, log_far, data):
    samples = (correlated_samples(60, DIM, seed) + 10**log_far).to(dtype)
    parts = [SufficientStatistics.from_data(part) for part in parts_of(samples, cuts)]
    ours = merged_in_a_tree(parts, lambda number: data.draw(st.integers(0, number - 1)))
    assert_same(ours, SufficientStatistics.from_data(samples), merges=len(cuts))


@given(st.tuples(seeds, seeds, seeds), st.tuples(sizes, sizes, sizes), dtypes)
def test_merging_is_associative_and_commutative(seeds, sizes, dtype):
    """Of samples that need not come from the same distribution, and need not be any."""
    a, b, c = (
        SufficientStatistics.from_data(correlated_samples(n, DIM, seed).to(dtype))
        for seed, n in zip(seeds, sizes, strict=True)
    )
    assert_same(a.merge(b).merge(c), a.merge(b.merge(c)), merges=2)
    assert_same(a.merge(b), b.merge(a), merges=1)


@given(seeds, cuts, dtypes, st.randoms(use_true_random=False))
def test_batches_in_any_order_give_the_whole(seed, cuts, dtype, random):
    samples = correlated_samples(60, DIM, seed).to(dtype)
    batches = parts_of(samples, cuts)
    random.shuffle(batches)
    ours = SufficientStatistics.from_batches(batches)
    # One merge's worth of roundings at most: they add up in float64.
    assert_same(ours, SufficientStatistics.from_data(samples), merges=1)


@given(
    seeds,
    st.integers(0, 50),
    st.integers(1, 4),
    st.sampled_from([(), (1,), (2,), (2, 3), (0,)]),
    st.integers(1, 64),
    dtypes,
    st.booleans(),
)
def test_the_size_of_a_chunk_does_not_matter(seed, n, dim, batch, chunk, dtype, gradient):
    samples = random_samples(*batch, n, dim, seed=seed, dtype=dtype) + 3
    samples.requires_grad_(gradient)
    whole = SufficientStatistics.from_data(samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics_module, "CHUNK", chunk)
        ours = SufficientStatistics.from_data(samples)
    assert torch.equal(ours.count, whole.count)
    for actual, expected in ((ours.mean, whole.mean), (ours.scatter, whole.scatter)):
        assert actual.dtype == dtype
        # At most 50 terms of size up to ten.
        tolerance = 500 * eps(dtype)
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@given(seeds, st.integers(1, 5), dtypes)
def test_samples_that_are_there_several_times_change_no_estimate(seed, times, dtype):
    samples = correlated_samples(20, DIM, seed).to(dtype)
    once, often = (SufficientStatistics.from_data(x) for x in (samples, samples.repeat(times, 1)))
    tolerance = 100 * eps(dtype)  # sums of up to 100 terms
    for ours, expected in (
        (often.mean, once.mean),
        (often.covariance_matrix(), once.covariance_matrix()),
        (minimum_nll(often), minimum_nll(once)),
    ):
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)
    assert int(often.count) == times * int(once.count)


@given(seeds, cuts, dtypes)
def test_the_mean_density_of_parts_is_that_of_the_whole(seed, cuts, dtype):
    """Weighted by their counts, whether it is computed from samples or from statistics."""
    samples = correlated_samples(60, DIM, seed).to(dtype)
    model = maximum_likelihood(correlated_samples(60, DIM, seed + 1).to(dtype))
    parts = [part for part in parts_of(samples, cuts) if len(part)]
    for of in (lambda x: x, SufficientStatistics.from_data):
        total = sum(len(part) * mean_log_prob(of(part), *model) for part in parts)
        # Sums of 60 terms of size ten, conditions near 10.
        expected = mean_log_prob(of(samples), *model)
        torch.testing.assert_close(total / 60, expected, rtol=2e3 * eps(dtype), atol=0)


@given(seeds, st.integers(1, 40), st.randoms(use_true_random=False), dtypes)
@settings(max_examples=max(10, settings().max_examples // 3))
def test_one_epoch_online_ends_at_the_estimate(seed, batch_size, random, dtype):
    """Whatever the size of the batches and the order of the samples."""
    samples = correlated_samples(40, DIM, seed).to(dtype)
    order = list(range(40))
    random.shuffle(order)
    model = GaussianLikelihood(DIM, dtype=dtype)
    fit(model, samples[order], batch_size=batch_size, seed=seed % 1000, progress=False)
    loc, scale_tril = maximum_likelihood(samples)
    # The model's parameters are rounded; 40 samples of condition near 100.
    tolerance = 1e3 * eps(dtype)
    torch.testing.assert_close(model.loc.detach(), loc, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        model.scale_tril.detach(), scale_tril, rtol=tolerance, atol=tolerance
    )
