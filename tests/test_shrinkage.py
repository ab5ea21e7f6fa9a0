"""Shrunk covariances against scikit-learn, against SciPy's densities, and what they promise."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import OAS, LedoitWolf
from sklearn.covariance import ledoit_wolf as their_ledoit_wolf
from sklearn.covariance import oas as their_oas
from sklearn.covariance import shrunk_covariance as their_shrunk_covariance
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_linnerud, load_wine
from sklearn.preprocessing import scale
from strategies import (
    BATCH_SHAPES,
    DTYPES,
    correlated_samples,
    random_gaussian,
    random_samples,
    seeds,
)
from torch import Tensor

from helpers import (
    SufficientStatistics,
    inverse_wishart_map,
    kl_divergence,
    ledoit_wolf,
    mean_log_prob,
    oas,
    shrunk_covariance,
)
from helpers.gaussian import Gaussian

DATA = {
    "iris": load_iris().data,
    "wine": load_wine().data,  # variances from 0.015 to 99,000
    "breast cancer": scale(load_breast_cancer().data),
    "digits": load_digits().data,  # of rank 61 in 64 dimensions
    "linnerud": load_linnerud().data,
    "fewer rows than columns": np.random.default_rng(0).normal(size=(7, 20)),
    "two columns": load_iris().data[:9, :2],
    "two rows": np.random.default_rng(1).normal(size=(2, 5)),
    "one column": np.random.default_rng(2).normal(size=(9, 1)),
}
ESTIMATORS = {"Ledoit-Wolf": (ledoit_wolf, their_ledoit_wolf), "OAS": (oas, their_oas)}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_are_those_of_scikit_learn(estimator, name):
    ours, theirs = ESTIMATORS[estimator]
    covariance, shrinkage = ours(DATA[name])
    expected, expected_shrinkage = theirs(DATA[name])
    size = np.abs(expected).max()
    # The variances of wine differ by 1e7, and so much more is lost of the small ones; and their
    # formula for the distance subtracts squares, which costs it some digits.
    np.testing.assert_allclose(covariance.numpy(), expected, rtol=1e-9, atol=1e-10 * size)
    assert shrinkage.item() == pytest.approx(expected_shrinkage, rel=1e-9)
    assert shrinkage.shape == ()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_shrinkage_by_a_number_is_that_of_scikit_learn(share):
    sample = torch.cov(correlated_samples(40, 6).T)
    expected = their_shrunk_covariance(sample.numpy(), shrinkage=share)
    np.testing.assert_allclose(shrunk_covariance(sample, share).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_batch_is_its_elements(estimator, batch_shape, dtype):
    ours = ESTIMATORS[estimator][0]
    data = random_samples(*batch_shape, 6, 4, dtype=dtype)
    before = data.clone()
    covariance, shrinkage = ours(data)
    assert covariance.shape == (*batch_shape, 4, 4)
    assert shrinkage.shape == batch_shape
    assert covariance.dtype == shrinkage.dtype == dtype
    assert torch.equal(data, before)
    again = shrunk_covariance(covariance, torch.zeros(batch_shape, dtype=dtype))
    assert torch.equal(again, covariance)
    for index in np.ndindex(batch_shape):
        one, its_shrinkage = ours(data[index])
        # The same sums, in another order at most.
        tolerance = {"rtol": 1e-6, "atol": 1e-6} if dtype == torch.float32 else {}
        torch.testing.assert_close(covariance[index], one, **tolerance)
        torch.testing.assert_close(shrinkage[index], its_shrinkage, **tolerance)


@given(seed=seeds, n=st.integers(3, 12), dim=st.integers(1, 9))
def test_a_shrunk_covariance_is_definite_for_any_number_of_rows(seed, n, dim):
    data = random_samples(n, dim, seed=seed)
    for ours, _ in ESTIMATORS.values():
        covariance, shrinkage = ours(data)
        assert 0 <= shrinkage.item() <= 1
        if n <= dim:
            assert shrinkage.item() > 0
            assert torch.linalg.cholesky_ex(covariance).info.item() == 0
        sample = torch.cov(data.T.reshape(dim, n), correction=0).reshape(dim, dim)
        # Total variance is left as it was, to a rounding for each term.
        torch.testing.assert_close(covariance.trace(), sample.trace(), rtol=1e-12, atol=0.0)


def test_two_rows_say_nothing_of_the_sampling_variance():
    """They lie on either side of their mean, as far from it: Ledoit and Wolf see no scatter."""
    data = random_samples(50, 2, 4, seed=1)
    shrinkage = ledoit_wolf(data)[1]
    assert (shrinkage >= 0).all()  # where rounding leaves a variance a little below zero
    assert (shrinkage < 1e-12).all()
    assert (oas(data)[1] > 0.5).all()


@pytest.mark.parametrize("share", [-0.1, 1.1, torch.tensor([0.5, 1.1]).double()])
def test_a_shrinkage_is_from_0_to_1(share):
    with pytest.raises(ValueError, match="shrinkage: expected a number from 0 to 1"):
        shrunk_covariance(torch.eye(2, dtype=torch.float64).expand(2, 2, 2), share)


@pytest.mark.parametrize(
    ("covariance", "shrinkage", "words"),
    [
        (torch.eye(2), torch.tensor([0.1, 0.2]), "expected batch shape () or one that"),
        (torch.eye(2).expand(2, 2, 2), torch.full((3,), 0.1), "expected batch shape (2,) or"),
        (torch.eye(2), torch.tensor(0.1).double(), "expected dtype float32 like"),
        (torch.eye(2), torch.tensor(torch.nan), "expected finite values"),
        (torch.eye(2).expand(3, 2, 2), torch.tensor([0.5, 1.5, 2.0]), "from 0 to 1, got 1.5"),
    ],
)
def test_a_shrinkage_that_does_not_go_with_the_covariance_is_named(covariance, shrinkage, words):
    with pytest.raises(ValueError, match=f"^shrinkage: .*{re.escape(words)}"):
        shrunk_covariance(covariance, shrinkage)


@pytest.mark.parametrize("ours", [ledoit_wolf, oas])
def test_a_mean_far_from_zero_costs_no_digit(ours):
    """Quarters beside 2^50 are exact in float64, and their sums are not."""
    data = (8 * random_samples(9, 3)).round() / 4
    for found, expected in zip(ours(data + 2.0**50), ours(data), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_differences_beyond_float64_are_told():
    data = torch.tensor([[1.7e308], [-1.7e308]], dtype=torch.float64)
    for ours, _ in ESTIMATORS.values():
        with pytest.raises(ValueError, match="^data: expected numbers whose differences float64"):
            ours(data)


@given(
    seed=seeds,
    factor=st.sampled_from([-3.0, 1e-150, 1e-30, 0.1, 7.0, 1e100]),
    shift=st.sampled_from([0.0, -5.0, 1e6]),
)
def test_units_origin_and_axes_do_not_matter(seed, factor, shift):
    data = random_samples(6, 4, seed=seed)
    turn = torch.linalg.qr(random_samples(4, 4, seed=seed + 1)).Q
    for ours, _ in ESTIMATORS.values():
        covariance, shrinkage = ours(data)
        moved = ours((data + shift) @ turn * factor)
        expected = turn.mT @ covariance @ turn * factor * factor
        # A shift by 1e6 leaves ten digits of data of size one.
        tolerance = 1e-8 if shift == 1e6 else 1e-11
        size = expected.abs().max().item()
        torch.testing.assert_close(moved[0], expected, rtol=tolerance, atol=tolerance * size)
        torch.testing.assert_close(moved[1], shrinkage, rtol=tolerance, atol=0.0)


@given(seed=seeds, share=st.floats(0, 1))
def test_eigenvectors_stay_and_eigenvalues_move_by_the_same_share(seed, share):
    sample = torch.cov(random_samples(5, 5, seed=seed).T)  # of rank 4
    values, vectors = torch.linalg.eigh(sample)
    expected = (1 - share) * values + share * values.mean()
    found = vectors.mT @ shrunk_covariance(sample, share) @ vectors
    # To some roundings of the largest eigenvalue.
    rounding = 1e-13 * values[-1].item()
    torch.testing.assert_close(found, torch.diag(expected), rtol=0.0, atol=rounding)


def test_each_matrix_of_a_batch_has_its_own_shrinkage_with_a_gradient():
    samples = torch.stack([torch.cov(random_samples(9, 3, seed=seed).T) for seed in (1, 2)])
    shares = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    shrunk = shrunk_covariance(samples, shares)
    assert torch.equal(shrunk[1], shrunk_covariance(samples[1], shares[1]))
    shrunk[0, 0, 1].backward()
    expected = torch.stack([-samples[0, 0, 1], torch.zeros_like(samples[0, 0, 1])])
    torch.testing.assert_close(shares.grad, expected)


def test_where_the_sample_is_a_multiple_of_the_identity_nothing_changes():
    rows = torch.eye(3, dtype=torch.float64)
    data = 2 * torch.cat([rows, -rows])
    expected = torch.cov(data.T, correction=0)
    for ours, theirs in ESTIMATORS.values():
        covariance, shrinkage = ours(data)
        torch.testing.assert_close(covariance, expected)
        assert shrinkage.item() == theirs(data.numpy())[1]


def test_both_come_nearer_to_the_truth_than_the_sample():
    """Over 200 samples of 10 rows in 5 dimensions, in squared error and in divergence."""
    truth = random_gaussian(5, seed=3)
    sigma = truth.covariance_matrix
    rows = random_samples(200, 10, 5, seed=4) @ truth.scale_tril.mT
    sample = SufficientStatistics.from_data(rows).covariance_matrix()

    def error(covariance: Tensor) -> float:
        return (covariance - sigma).square().sum(dim=(-2, -1)).mean().item()

    def divergence(covariance: Tensor) -> float:
        zero = torch.zeros(200, 5, dtype=torch.float64)
        fitted = Gaussian(zero, torch.linalg.cholesky(covariance))
        return kl_divergence(Gaussian(zero, truth.scale_tril.expand(200, 5, 5)), fitted).mean()

    for ours, _ in ESTIMATORS.values():
        assert error(ours(rows)[0]) < 0.9 * error(sample)
        assert divergence(ours(rows)[0]) < 0.5 * divergence(sample)


@pytest.mark.parametrize(("ours", "theirs"), [(ledoit_wolf, LedoitWolf), (oas, OAS)])
def test_float32_is_computed_in_float64(ours, theirs):
    data = load_wine().data
    expected = theirs().fit(data.astype(np.float32).astype(np.float64))
    covariance, shrinkage = ours(data.astype(np.float32))
    assert covariance.dtype == torch.float32
    # One rounding to float32 at the end, of numbers that no sum has spoilt.
    np.testing.assert_allclose(shrinkage.item(), expected.shrinkage_, rtol=1e-6)
    np.testing.assert_allclose(covariance.numpy(), expected.covariance_, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("ours", [ledoit_wolf, oas])
def test_rows_that_do_not_differ_are_refused(ours):
    with pytest.raises(ValueError, match="expected at least 2 rows, got 1"):
        ours(torch.ones(1, 3))
    with pytest.raises(ValueError, match="rows that are all the same"):
        ours(torch.stack([random_samples(4, 3), torch.ones(4, 3, dtype=torch.float64)]))


@pytest.mark.parametrize("ours", [ledoit_wolf, oas])
def test_gradients_to_the_data_are_those_of_finite_differences(ours):
    data = random_samples(12, 3) * torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    share = ours(data)[1].item()
    assert 0.01 < share < 0.99  # beyond, it is held at its wall and has no gradient
    assert torch.autograd.gradcheck(ours, data.requires_grad_())


# The inverse-Wishart prior -----------------------------------------------------------------------

PRIOR = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]], dtype=torch.float64)


def penalised(data: Tensor, df: float, sigma: Tensor) -> Tensor:
    """Negative log of likelihood times prior, up to a constant, at the mean of the samples."""
    lower = torch.linalg.cholesky(sigma)
    likelihood = len(data) * mean_log_prob(data, data.mean(0), lower)
    log_det = 2 * lower.diagonal().log().sum()
    trace = torch.cholesky_solve(PRIOR, lower).trace()
    return -likelihood + 0.5 * (df + 4) * log_det + 0.5 * trace


@pytest.mark.parametrize("n", [2, 3, 30])
@pytest.mark.parametrize("df", [2.5, 8.0])
def test_the_mode_has_no_gradient_of_likelihood_and_penalty(n, df):
    data = correlated_samples(n, 3)
    mode = inverse_wishart_map(data, PRIOR, df).requires_grad_()
    loss = penalised(data, df, mode)
    gradient = torch.autograd.grad(loss, mode)[0]
    # Of terms that are (n + df + 4) Sigma^-1 in size, each rounded.
    size = (n + df + 4) * torch.linalg.inv(mode.detach()).abs().max().item()
    assert gradient.abs().max().item() < 1e-13 * size


def test_gradients_of_the_mode_are_those_of_finite_differences():
    data = correlated_samples(5, 3).requires_grad_()
    root = torch.linalg.cholesky(PRIOR).requires_grad_()

    def mode(rows: Tensor, root: Tensor) -> Tensor:
        return inverse_wishart_map(rows, root @ root.mT, 3.0)

    assert torch.autograd.gradcheck(mode, (data, root))


def test_the_mode_is_that_of_the_densities_of_scipy():
    data, df = correlated_samples(12, 3), 6.5
    mode = inverse_wishart_map(data, PRIOR, df).numpy()

    def log_posterior(sigma: np.ndarray) -> float:
        likelihood = stats.multivariate_normal(data.mean(0).numpy(), sigma).logpdf(data.numpy())
        return likelihood.sum() + stats.invwishart(df, PRIOR.numpy()).logpdf(sigma)

    best = log_posterior(mode)
    generator = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(10):
            change = generator.normal(size=(3, 3)) * size
            nearby = (np.eye(3) + change) @ mode @ (np.eye(3) + change).T
            assert log_posterior(nearby) < best


def test_without_rows_the_prior_is_left_and_with_many_it_is_forgotten():
    nothing = SufficientStatistics.from_data(torch.empty(0, 3, dtype=torch.float64))
    torch.testing.assert_close(inverse_wishart_map(nothing, PRIOR, 6.0), PRIOR / 10)
    data = correlated_samples(200_000, 3)
    sample = torch.cov(data.T, correction=0)
    found = inverse_wishart_map(data, PRIOR, 6.0)
    # The prior counts as 10 rows in 200,000.
    torch.testing.assert_close(found, sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_a_batch_of_posteriors_is_its_elements(batch_shape):
    data = random_samples(*batch_shape, 2, 3)
    found = inverse_wishart_map(data, PRIOR, 3.0)
    assert found.shape == (*batch_shape, 3, 3)
    for index in np.ndindex(batch_shape):
        torch.testing.assert_close(found[index], inverse_wishart_map(data[index], PRIOR, 3.0))
    statistics = SufficientStatistics.from_data(data)
    assert torch.equal(inverse_wishart_map(statistics, PRIOR, 3.0), found)


def test_one_set_of_rows_goes_with_a_batch_of_priors():
    data = correlated_samples(5, 3)
    scales = torch.stack([PRIOR, 2 * PRIOR])
    found = inverse_wishart_map(data, scales, 3.0)
    assert torch.equal(found[1], inverse_wishart_map(data, 2 * PRIOR, 3.0))
    square = scales.expand(2, 2, 3, 3)  # as many batches as elements, fewer than variables
    assert torch.equal(inverse_wishart_map(data, square, 3.0), found.expand(2, 2, 3, 3))
    with pytest.raises(ValueError, match=r"^scale: expected a batch shape .* \(3,\) of data, got"):
        inverse_wishart_map(data.expand(3, 5, 3), scales, 3.0)


@pytest.mark.parametrize(
    ("scale_of_prior", "df", "words"),
    [
        (PRIOR, 2.0, "df: expected a finite number above 2"),
        (torch.ones_like(PRIOR), 4.0, "scale: expected a positive definite matrix"),
        (PRIOR[:2, :2], 4.0, "data.mean: expected shape"),
        (PRIOR.float(), 4.0, "scale: expected dtype float64"),
    ],
)
def test_priors_that_are_none_are_refused(scale_of_prior, df, words):
    with pytest.raises(ValueError, match=words):
        inverse_wishart_map(correlated_samples(5, 3), scale_of_prior, df)
