"""Closed forms against NumPy, SciPy and scikit-learn, and the data that have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import EmpiricalCovariance
from sklearn.preprocessing import scale
from strategies import BATCH_SHAPES, DTYPES, correlated_samples, eps, random_samples, seeds

from helpers import (
    SufficientStatistics,
    load_dataset,
    log_det,
    log_prob,
    maximum_likelihood,
    minimum_nll,
)


def test_maximum_likelihood_divides_by_n():
    data = correlated_samples(30, 3)
    fit = maximum_likelihood(data)
    expected = np.cov(data.numpy(), rowvar=False, ddof=0)
    tolerance = {"rtol": 1e-13, "atol": 1e-13}  # sums of 30 terms
    torch.testing.assert_close(fit.covariance_matrix, torch.as_tensor(expected), **tolerance)
    torch.testing.assert_close(fit.loc, data.mean(dim=0), **tolerance)
    from_array = maximum_likelihood(data.numpy())
    from_statistics = maximum_likelihood(SufficientStatistics.from_data(data))
    assert torch.equal(from_array.scale_tril, fit.scale_tril)
    assert torch.equal(from_statistics.scale_tril, fit.scale_tril)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_a_batch_is_its_elements(batch_shape, dtype):
    data = random_samples(*batch_shape, 9, 2, dtype=dtype)
    fit, nll = maximum_likelihood(data), minimum_nll(data)
    assert (nll.shape, nll.dtype) == (batch_shape, dtype)
    for index in np.ndindex(*batch_shape):
        one = maximum_likelihood(data[index])
        tolerance = {"rtol": 50 * eps(dtype), "atol": 50 * eps(dtype)}  # sums of 9 terms
        torch.testing.assert_close(fit.scale_tril[index], one.scale_tril, **tolerance)
        torch.testing.assert_close(nll[index], minimum_nll(data[index]), **tolerance)


@given(seeds, st.integers(1, 4))
def test_no_gaussian_is_more_likely(seed, dim):
    data = correlated_samples(12, dim, seed)
    loc, scale_tril = maximum_likelihood(data)
    best = minimum_nll(data)
    # The formula and the mean of 12 densities, both of size ten.
    torch.testing.assert_close(
        -log_prob(data, loc, scale_tril).mean(), best, rtol=1e-12, atol=1e-12
    )
    nudge = random_samples(dim, dim, seed=seed) * 0.01
    worse = -log_prob(data, loc + nudge[0], scale_tril @ (torch.eye(dim) + nudge.tril())).mean()
    assert worse > best


def test_iris_agrees_with_scikit_learn():
    data = load_dataset("iris").data
    score = EmpiricalCovariance().fit(data.numpy()).score(data.numpy())
    # Published by scikit-learn's own run to 10 digits, over 150 flowers.
    assert -minimum_nll(data).item() * 150 == pytest.approx(-379.9146301, abs=1e-6)
    # Both in float64: some hundred roundings of numbers of size ten.
    assert -minimum_nll(data).item() == pytest.approx(score, rel=1e-12)


def test_standardised_wine_agrees_with_published_values():
    data = torch.as_tensor(scale(load_dataset("wine").data.numpy()))
    assert -minimum_nll(data).item() == pytest.approx(-14.6134730670, abs=1e-9)
    fit = maximum_likelihood(data)
    assert log_det(fit.scale_tril).item() == pytest.approx(-7.6654557292, abs=1e-9)
    assert torch.linalg.cond(fit.covariance_matrix).item() == pytest.approx(45.5208, abs=1e-4)
    scipy = stats.multivariate_normal(fit.loc.numpy(), fit.covariance_matrix.numpy())
    assert scipy.logpdf(data.numpy()).mean() == pytest.approx(-minimum_nll(data).item(), rel=1e-12)


def test_digits_have_no_maximum():
    """Three pixels are always white, and the rank of the 64 is 61."""
    data = load_dataset("digits").data
    assert (data == data[0]).all(dim=0).sum() == 3
    with pytest.raises(
        ValueError, match="data: expected columns that vary, got a constant column 0"
    ):
        maximum_likelihood(data)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6 + 0.1, -1e-30])
@pytest.mark.parametrize("n", [7, 1000, 4099])
def test_a_constant_column_is_found_in_any_unit(value, n):
    data = correlated_samples(n, 3)
    data[:, 1] = value
    with pytest.raises(ValueError, match="constant column 1"):
        maximum_likelihood(data)


@given(seeds, st.integers(2, 6), st.sampled_from([20, 500, 20_000]), st.booleans())
def test_a_dependent_column_is_found_whatever_the_rounding(seed, dim, n, repeated):
    data = correlated_samples(n, dim, seed % 1000)
    extra = data[:, :1] * 1.8 + 32 if repeated else data @ random_samples(dim, 1, seed=seed)
    with pytest.raises(ValueError, match=f"column {dim} has no variance left"):
        maximum_likelihood(torch.cat([data, extra], dim=1))


def test_small_units_make_no_column_constant():
    data = 1e-6 * correlated_samples(20, 2)
    with pytest.raises(ValueError, match="column 2 has no variance left"):
        maximum_likelihood(torch.cat([data, data[:, :1]], dim=1))


def test_nearly_dependent_columns_are_no_error():
    data = correlated_samples(1000, 2)
    close = data[:, :1] + 1e-5 * random_samples(1000, 1)  # 1e-10 of the variance is its own
    maximum_likelihood(torch.cat([data, close], dim=1))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_samples_are_counted(n):
    with pytest.raises(
        ValueError, match=f"data: expected more samples than the 3 variables, got {n}"
    ):
        maximum_likelihood(correlated_samples(10, 3)[:n])


def test_the_element_of_a_batch_is_named():
    data = random_samples(2, 3, 9, 2)
    data[1, 0, :, 1] = 5.0
    with pytest.raises(ValueError, match=r"constant column 1 in batch element \(1, 0\)"):
        maximum_likelihood(data)
    data[1, 0, :, 1] = data[1, 0, :, 0]
    with pytest.raises(ValueError, match=r"batch element \(1, 0\): column 1"):
        minimum_nll(data)
