"""What a change of units, origin, order or coordinates does to every function, and what not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
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
    Gaussian,
    SufficientStatistics,
    condition,
    covariance_standard_error,
    entropy,
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
    whiten,
)

DIM = 4
N = 11
dtypes = st.sampled_from(DTYPES)


def close(actual: Tensor, expected: Tensor, roundings: float = 1e3) -> None:
    """Equal up to roundings: sums of some tens of terms, each enlarged by conditions near 10."""
    tolerance = roundings * eps(actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def covariance_of(gaussian: Gaussian) -> Tensor:
    return gaussian.covariance_matrix


def from_covariance(loc: Tensor, covariance: Tensor) -> Gaussian:
    return Gaussian(loc, torch.linalg.cholesky(covariance))


# Units: a power of two for each column rounds nothing, so that nothing but the units may change.


class Units:
    """Two Gaussians and samples, in the units of the day and in others, 2^k for column k."""

    def __init__(self, powers: list[int], seed: int, dtype: torch.dtype) -> None:
        self.scale = torch.tensor(powers, dtype=dtype).exp2()
        self.log = sum(powers) * torch.tensor(2.0).double().log().to(dtype)
        self.p, self.q = (random_gaussian(DIM, seed=seed + i, dtype=dtype) for i in (0, 1))
        self.value = random_samples(N, DIM, seed=seed + 2, dtype=dtype)

    def gaussian(self, gaussian: Gaussian) -> Gaussian:
        return Gaussian(*(self.vector(gaussian.loc), self.rows(gaussian.scale_tril)))

    def vector(self, vector: Tensor) -> Tensor:
        """A mean or samples."""
        return vector * self.scale

    def rows(self, factor: Tensor) -> Tensor:
        return factor * self.scale[:, None]

    def both(self, matrix: Tensor) -> Tensor:
        """A covariance."""
        return matrix * self.scale[:, None] * self.scale


units = st.builds(Units, st.lists(st.integers(-20, 20), min_size=DIM, max_size=DIM), seeds, dtypes)


@given(units, st.sampled_from([1, N]))
def test_units_change_no_bit_of_a_distance_or_divergence(units, n):
    value = units.value[:n]  # solved for one by one, or multiplied
    ours = mahalanobis(units.vector(value), *units.gaussian(units.p))
    assert torch.equal(ours, mahalanobis(value, *units.p))
    ours = kl_divergence(units.gaussian(units.p), units.gaussian(units.q))
    # The diagonal of W is that of L_p over that of L_q, whatever the units.
    assert torch.equal(ours, kl_divergence(units.p, units.q))


@given(units)
def test_units_shift_densities_by_their_logarithm(units):
    p, value = units.gaussian(units.p), units.vector(units.value)
    # A sum of up to 80 logarithms of two is rounded where it is large, and the rest is of size 10.
    close(log_prob(value, *p), log_prob(units.value, *units.p) - units.log)
    close(mean_log_prob(value, *p), mean_log_prob(units.value, *units.p) - units.log)
    statistics = SufficientStatistics.from_data(value)
    close(mean_log_prob(statistics, *p), mean_log_prob(value, *p))
    close(entropy(p.scale_tril), entropy(units.p.scale_tril) + units.log)
    close(log_det(p.scale_tril), log_det(units.p.scale_tril) + 2 * units.log)
    close(minimum_nll(value), minimum_nll(units.value) + units.log)


@given(units)
def test_units_change_no_bit_of_an_estimate_but_its_units(units):
    ours = SufficientStatistics.from_data(units.vector(units.value))
    expected = SufficientStatistics.from_data(units.value)
    assert torch.equal(ours.mean, units.vector(expected.mean))
    assert torch.equal(ours.scatter, units.both(expected.scatter))
    covariance = expected.covariance_matrix(correction=1)
    assert torch.equal(ours.covariance_matrix(correction=1), units.both(covariance))
    merged, plain = (
        SufficientStatistics.from_data(x[:4]).merge(SufficientStatistics.from_data(x[4:]))
        for x in (units.vector(units.value), units.value)
    )
    assert torch.equal(merged.mean, units.vector(plain.mean))
    assert torch.equal(merged.scatter, units.both(plain.scatter))
    loc, scale_tril = maximum_likelihood(units.vector(units.value))
    plain = maximum_likelihood(units.value)
    assert torch.equal(loc, units.vector(plain.loc))
    assert torch.equal(scale_tril, units.rows(plain.scale_tril))
    ours = mean_standard_error(units.both(covariance), 9)
    assert torch.equal(ours, units.vector(mean_standard_error(covariance, 9)))
    ours = covariance_standard_error(units.both(covariance), 9)
    assert torch.equal(ours, units.both(covariance_standard_error(covariance, 9)))


@given(units)
def test_units_change_no_bit_of_a_natural_step_but_its_units(units):
    covariance = covariance_of(units.q)
    factor = units.p.scale_tril
    seen = whiten(units.both(covariance), units.rows(factor))
    assert torch.equal(seen, whiten(covariance, factor))
    ours = natural_step(units.rows(factor), units.both(covariance))
    assert torch.equal(ours, units.rows(natural_step(factor, covariance)))


@given(units, st.permutations(range(DIM)), st.integers(1, DIM - 1))
def test_units_stay_with_their_variables(units, order, k):
    known, rest = order[:k], sorted(order[k:])
    ours = marginal(units.gaussian(units.p), known)
    plain = marginal(units.p, known)
    assert torch.equal(ours.loc, plain.loc * units.scale[known])
    # The QR factorisation may scale what it squares, by what is no power of two.
    close(ours.scale_tril / units.scale[known, None], plain.scale_tril)
    value = units.value[0]
    ours = condition(units.gaussian(units.p), known, units.vector(value)[known])
    plain = condition(units.p, known, value[known])
    close(ours.loc / units.scale[rest], plain.loc)
    close(ours.scale_tril / units.scale[rest, None], plain.scale_tril)


# Origin: a shift that is exact in the samples, and is rounded in the mean alone.


@given(seeds, dtypes, st.integers(-(2**10), 2**10))
def test_a_shift_moves_the_mean_and_nothing_else(seed, dtype, shift):
    data = correlated_samples(N, DIM, seed)
    data = (data * 2**10).round().div(2**10).to(dtype)  # a shift by a whole number rounds nothing
    moved = data + shift
    ours, plain = map(SufficientStatistics.from_data, (moved, data))
    sigma = plain.scatter.diagonal().sqrt()  # times sqrt(n)
    # Twice the bound of from_data, for two results.
    allowed = 2 * (4 + N / 2) * eps(dtype) * sigma[:, None] * sigma
    assert ((ours.scatter - plain.scatter).abs() <= allowed).all()
    allowed = eps(dtype) * (ours.mean.abs() + plain.mean.abs() + 2 * sigma)
    assert ((ours.mean - (plain.mean + shift)).abs() <= allowed).all()
    close(minimum_nll(moved), minimum_nll(data))


@given(seeds, dtypes, st.integers(-(2**10), 2**10))
def test_a_shift_of_everything_changes_no_distance_or_divergence(seed, dtype, shift):
    def grid(tensor: Tensor) -> Tensor:
        return (tensor.double() * 2**10).round().div(2**10).to(dtype)

    p, q = (random_gaussian(DIM, seed=seed + i, dtype=dtype) for i in (0, 1))
    p, q = Gaussian(grid(p.loc), p.scale_tril), Gaussian(grid(q.loc), q.scale_tril)
    far_p, far_q = Gaussian(p.loc + shift, p.scale_tril), Gaussian(q.loc + shift, q.scale_tril)
    value = grid(random_samples(N, DIM, seed=seed))
    for n in (1, N):
        assert torch.equal(mahalanobis(value[:n] + shift, *far_p), mahalanobis(value[:n], *p))
        assert torch.equal(log_prob(value[:n] + shift, *far_p), log_prob(value[:n], *p))
    assert torch.equal(mean_log_prob(value + shift, *far_p), mean_log_prob(value, *p))
    assert torch.equal(kl_divergence(far_p, far_q), kl_divergence(p, q))
    near, far = condition(p, [2, 0], value[0, :2]), condition(far_p, [2, 0], value[0, :2] + shift)
    assert torch.equal(far.scale_tril, near.scale_tril)
    allowed = eps(dtype) * (far.loc.abs() + near.loc.abs())
    assert ((far.loc - (near.loc + shift)).abs() <= allowed).all()


# Order: of the variables, and of the samples.


@given(seeds, st.permutations(range(DIM)))
def test_the_order_of_the_variables_is_that_of_the_answer(seed, order):
    data = correlated_samples(N, DIM, seed)
    model, other = random_gaussian(DIM, seed=seed), random_gaussian(DIM, seed=seed + 1)
    moved, other_moved = marginal(model, order), marginal(other, order)
    close(covariance_of(moved), covariance_of(model)[order][:, order])
    ours, plain = map(SufficientStatistics.from_data, (data[:, order], data))
    close(ours.mean, plain.mean[order])
    close(ours.scatter, plain.scatter[order][:, order])
    estimate = maximum_likelihood(data[:, order])
    close(covariance_of(estimate), plain.covariance_matrix()[order][:, order])
    close(minimum_nll(data[:, order]), minimum_nll(data))
    close(mean_log_prob(data[:, order], *moved), mean_log_prob(data, *model))
    close(mean_log_prob(ours, *moved), mean_log_prob(plain, *model))
    close(entropy(moved.scale_tril), entropy(model.scale_tril))
    ours = whiten(covariance_of(other_moved), moved.scale_tril)
    plain = whiten(covariance_of(other), model.scale_tril)
    # Each sees the other's covariance turned, by a rotation that depends on the order.
    close(torch.linalg.eigvalsh(ours), torch.linalg.eigvalsh(plain))
    covariance = covariance_of(model)
    ours = covariance_standard_error(covariance[order][:, order], N)
    assert torch.equal(ours, covariance_standard_error(covariance, N)[order][:, order])


@given(seeds, dtypes, st.permutations(range(N)))
def test_the_order_of_the_samples_does_not_matter(seed, dtype, order):
    data = correlated_samples(N, DIM, seed).to(dtype)
    model = random_gaussian(DIM, seed=seed, dtype=dtype)
    ours, plain = map(SufficientStatistics.from_data, (data[order], data))
    close(ours.mean, plain.mean)
    close(ours.scatter, plain.scatter)
    for actual, expected in zip(
        maximum_likelihood(data[order]), maximum_likelihood(data), strict=True
    ):
        close(actual, expected, 1e4)  # 11 samples of 4 variables: conditions up to 100
    close(mean_log_prob(data[order], *model), mean_log_prob(data, *model))
    close(log_prob(data[order], *model), log_prob(data, *model)[order])


# Coordinates: any map x -> A x + b that can be undone.


@given(seeds, st.floats(0, 3))
def test_an_estimate_follows_an_affine_map(seed, log_condition):
    data = correlated_samples(N, DIM, seed)
    rotation = torch.linalg.qr(random_samples(DIM, DIM, seed=seed + 1)).Q
    a = rotation @ random_scale_tril(DIM, 10**log_condition, seed)
    b = random_samples(DIM, seed=seed + 2)
    mapped = data @ a.mT + b
    plain, ours = maximum_likelihood(data), maximum_likelihood(mapped)
    # The map rounds its samples, by units of the largest direction, seen from the smallest: cond(A)
    # to the first power in samples and to the second in their covariance.
    roundings = 1e3 * 10 ** (2 * log_condition)
    covariance = a @ covariance_of(plain) @ a.mT
    exact = from_covariance(a @ plain.loc + b, (covariance + covariance.mT) / 2)
    assert kl_divergence(ours, exact).abs() <= roundings * eps(torch.float64)
    log_volume = torch.linalg.slogdet(a).logabsdet
    close(minimum_nll(mapped), minimum_nll(data) + log_volume, roundings)
    close(mean_log_prob(mapped, *exact), mean_log_prob(data, *plain) - log_volume, roundings)


@given(seeds)
def test_a_natural_step_follows_every_change_of_coordinates(seed):
    """Any lower-triangular A takes L to A L and S to A S A^T, and the step goes along."""
    factor = random_gaussian(DIM, seed=seed).scale_tril
    covariance = covariance_of(random_gaussian(DIM, seed=seed + 1))
    a = random_gaussian(DIM, seed=seed + 2).scale_tril
    mapped = a @ covariance @ a.mT
    mapped = (mapped + mapped.mT) / 2
    # Two conditions near 10, squared.
    close(whiten(mapped, a @ factor), whiten(covariance, factor), 1e6)
    close(natural_step(a @ factor, mapped), a @ natural_step(factor, covariance), 1e6)


# Round trips and chains.


@given(seeds, dtypes, st.integers(1, 5), st.floats(0, 12))
def test_a_covariance_is_what_its_whitened_form_says(seed, dtype, dim, log_condition):
    """L (L^-1 S L^-T) L^T = S, where the condition of S is up to 1e12 and that of L is moderate."""
    covariance = random_scale_tril(dim, 10 ** (log_condition / 2), seed)
    covariance = (covariance @ covariance.mT).to(dtype)
    factor = random_gaussian(dim, seed=seed, dtype=dtype).scale_tril
    again = factor @ whiten(covariance, factor) @ factor.mT
    scale = covariance.abs().max()
    assert (again - covariance).abs().max() <= 1e4 * eps(dtype) * scale  # condition near 10, twice


@given(seeds, dtypes, st.permutations(range(DIM)), st.data())
def test_marginals_of_marginals_and_back(seed, dtype, order, data):
    gaussian = random_gaussian(DIM, seed=seed, dtype=dtype)
    back = [order.index(i) for i in range(DIM)]
    for ours, expected in zip(marginal(marginal(gaussian, order), back), gaussian, strict=True):
        close(ours, expected)
    k = data.draw(st.integers(1, DIM))
    inner = data.draw(st.permutations(range(k)))[: data.draw(st.integers(1, k))]
    ours = marginal(marginal(gaussian, order[:k]), inner)
    for actual, expected in zip(ours, marginal(gaussian, [order[i] for i in inner]), strict=True):
        close(actual, expected)


@given(seeds, dtypes, st.permutations(range(DIM)))
def test_knowing_one_after_another_is_knowing_both(seed, dtype, order):
    gaussian = random_gaussian(DIM, seed=seed, dtype=dtype)
    value = random_samples(DIM, seed=seed + 1, dtype=dtype)
    first, second = order[:2]
    rest = [i for i in range(DIM) if i != first]
    once = condition(gaussian, [first], value[[first]])
    twice = condition(once, [rest.index(second)], value[[second]])
    together = condition(gaussian, [first, second], value[[first, second]])
    for actual, expected in zip(twice, together, strict=True):
        close(actual, expected, 1e4)  # conditions near 10, twice
    kept = [i for i in range(DIM) if i not in (first, second)][:1]
    # What is left out does not matter, before or after.
    small = condition(marginal(gaussian, [first, *kept]), [0], value[[first]])
    large = marginal(once, [rest.index(kept[0])])
    for actual, expected in zip(small, large, strict=True):
        close(actual, expected, 1e4)


@given(seeds, dtypes, st.permutations(range(DIM)), st.integers(1, DIM - 1))
def test_information_adds_up(seed, dtype, order, k):
    """Entropy and divergence of the joint are those of a part, and of the rest once it is known."""
    p, q = (random_gaussian(DIM, seed=seed + i, dtype=dtype) for i in (0, 1))
    known = order[:k]
    p_known, p_rest = marginal(p, known), condition(p, known, p.loc[known])
    parts = entropy(p_known.scale_tril) + entropy(p_rest.scale_tril)
    close(parts, entropy(p.scale_tril))
    # Telling fewer variables apart is never easier.
    part = kl_divergence(p_known, marginal(q, known))
    assert part <= kl_divergence(p, q) + 1e4 * eps(dtype) * (1 + kl_divergence(p, q))


@given(seeds, dtypes)
def test_a_conditional_mean_is_linear_and_its_factor_the_same(seed, dtype):
    gaussian = random_gaussian(DIM, seed=seed, dtype=dtype)
    a, b = random_samples(2, 2, seed=seed, dtype=dtype)
    of_a, of_b, of_middle = (condition(gaussian, [1, 3], x) for x in (a, b, (a + b) / 2))
    close(of_middle.loc, (of_a.loc + of_b.loc) / 2)
    assert torch.equal(of_a.scale_tril, of_b.scale_tril)


@given(st.integers(1, 6), seeds, dtypes, st.floats(0, 12))
def test_a_factor_survives_its_logarithm_at_any_condition(dim, seed, dtype, log_condition):
    scale_tril = random_scale_tril(dim, 10**log_condition, seed, dtype)
    free = log_cholesky_inverse(scale_tril)
    again = log_cholesky(*free)
    # |log L_ii| is below 50: its rounding is relative in L_ii.
    torch.testing.assert_close(again, scale_tril, rtol=100 * eps(dtype), atol=0)
    assert torch.equal(again.tril(-1), scale_tril.tril(-1))
    torch.testing.assert_close(
        log_cholesky_inverse(again)[0], free[0], rtol=0, atol=1e2 * eps(dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_zero_weight_do_not_exist(dtype):
    data = correlated_samples(N, DIM).to(dtype)
    none = SufficientStatistics.from_data(data[:0])
    whole = SufficientStatistics.from_data(data)
    for merged in (none.merge(whole), whole.merge(none)):
        assert torch.equal(merged.mean, whole.mean)
        assert torch.equal(merged.scatter, whole.scatter)
