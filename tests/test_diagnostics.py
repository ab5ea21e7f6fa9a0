"""Diagnostics against scipy, scikit-learn, published values, refits and simulation."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from matplotlib.colors import to_rgba
from scipy import special, stats
from sklearn.datasets import load_iris, load_wine
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import scale
from strategies import (
    DTYPES,
    correlated_samples,
    dims,
    random_gaussian,
    random_samples,
    seeds,
)

import helpers.plotting.distances
from helpers import (
    COLORS,
    Gaussian,
    aic,
    bic,
    chi_squared_quantiles,
    covariance_standard_error,
    distance_band,
    draw_estimates,
    expected_excess,
    expected_gap,
    kl_divergence,
    leave_one_out,
    log_diagonal_standard_error,
    log_prob,
    mahalanobis,
    mardia,
    maximum_likelihood,
    mean_confidence_radius,
    n_free_parameters,
    plot_chi_squared,
)
from helpers.diagnostics import _digamma_minus_log, fewest_repeats

STANDARD = Gaussian(torch.zeros(3), torch.eye(3).expand(2, 3, 3, 3))
SMALLEST = Gaussian(torch.zeros(1), torch.ones(1, 1))
WINE = torch.from_numpy(scale(load_wine().data))
IRIS = torch.from_numpy(load_iris().data)


# Mardia ----------------------------------------------------------------------------------------


def mardia_by_pairs(data):
    """Both measures from the matrix of all pairs of rows, with an inverse."""
    x = data.double().numpy()
    centred = x - x.mean(axis=0)
    products = centred @ np.linalg.inv(np.cov(x.T, bias=True).reshape(2 * x.shape[1:])) @ centred.T
    return (products**3).mean(), (products.diagonal() ** 2).mean()


def test_mardia_on_wine_has_the_reference_values():
    distance = mahalanobis(WINE, *maximum_likelihood(WINE))
    assert distance.mean().item() == pytest.approx(13, rel=1e-13)
    found = mardia(WINE)
    assert round(found.kurtosis.item(), 7) == 225.1140200
    share = (distance > stats.chi2.ppf(0.95, 13)).double().mean().item()
    assert round(share, 6) == 0.084270


@pytest.mark.parametrize("data", [WINE, IRIS, IRIS[:50], correlated_samples(9, 1, seed=2)])
def test_both_measures_are_those_of_all_pairs_of_rows(data):
    skewness, kurtosis = mardia_by_pairs(data)
    found = mardia(data)
    assert found.skewness.item() == pytest.approx(skewness, rel=1e-9)  # an inverse loses digits
    assert found.kurtosis.item() == pytest.approx(kurtosis, rel=1e-9)


def test_of_one_column_both_measures_are_those_of_scipy():
    x = random_samples(200, 1, seed=3).exp()
    found = mardia(x)
    assert found.skewness.item() == pytest.approx(stats.skew(x[:, 0].numpy()) ** 2, rel=1e-12)
    kurtosis = stats.kurtosis(x[:, 0].numpy(), fisher=False)
    assert found.kurtosis.item() == pytest.approx(kurtosis, rel=1e-12)


@pytest.mark.parametrize(("data", "sign"), [(IRIS[:50], 1), (random_samples(80, 4).sin(), -1)])
def test_p_values_are_those_of_scipy_for_the_statistics(data, sign):
    """Of long tails and of short ones."""
    found = mardia(data)
    assert found.kurtosis_statistic.sign() == sign
    assert found.skewness_p_value.item() == pytest.approx(
        stats.chi2.sf(found.skewness_statistic.item(), 4 * 5 * 6 / 6), rel=1e-12
    )
    assert found.kurtosis_p_value.item() == pytest.approx(
        2 * stats.norm.sf(abs(found.kurtosis_statistic.item())), rel=1e-12
    )


def test_both_measures_of_gaussian_data_average_what_the_docstring_says():
    n, d = 20, 3
    found = mardia(random_samples(20_000, n, d, seed=27))
    means = d * (d + 2) * ((n + 1) * (d + 1) - 6) / ((n + 1) * (n + 3)), d * (d + 2) * 19 / 21
    for measure, mean in zip((found.skewness, found.kurtosis), means, strict=True):
        assert measure.mean().item() == pytest.approx(mean, abs=4 * measure.std().item() / 141)


@pytest.mark.parametrize(("n", "d"), [(20, 3), (6, 1)])
def test_statistics_of_gaussian_data_have_the_moments_that_they_are_scaled_by(n, d):
    repeats = 20_000
    found = mardia(random_samples(repeats, n, d, seed=4))
    df = d * (d + 1) * (d + 2) / 6
    # Four standard errors of a mean of 20,000.
    error = 4 / math.sqrt(repeats)
    skewness = found.skewness_statistic
    assert skewness.mean().item() == pytest.approx(df, abs=error * skewness.std().item())
    assert found.kurtosis_statistic.mean().item() == pytest.approx(0, abs=error)
    # The squares of a skewed number are known less well: its fourth moment is about 5.
    assert found.kurtosis_statistic.var().item() == pytest.approx(1, abs=2 * error)


@pytest.mark.parametrize(("n", "d"), [(50, 4), (150, 4), (569, 30)])
def test_gaussian_data_are_refused_about_as_often_as_they_should_be(n, d):
    repeats = 400
    found = mardia(random_samples(repeats, n, d, seed=5))
    for p_value in (found.skewness_p_value, found.kurtosis_p_value):
        # 5 % of 400 are 20 give or take 4.4; the distributions are approximate on top of that.
        assert 0.02 < (p_value < 0.05).double().mean() < 0.09


def test_of_few_rows_gaussian_data_are_refused_as_often_as_the_notes_say():
    found = mardia(random_samples(20_000, 50, 4, seed=28))
    for p_value, at_5, at_1 in (
        (found.skewness_p_value, 0.07, 0.023),
        (found.kurtosis_p_value, 0.05, 0.017),
    ):
        # Four standard errors of a share of 20,000: 0.007 of 0.07, 0.0042 of 0.023.
        assert (p_value < 0.05).double().mean().item() == pytest.approx(at_5, abs=0.007)
        assert (p_value < 0.01).double().mean().item() == pytest.approx(at_1, abs=0.0042)


@given(seed=seeds, dim=dims)
def test_units_and_the_order_of_rows_do_not_matter(seed, dim):
    data = correlated_samples(dim + 6, dim, seed=seed)
    changed = data.flip(0) @ random_gaussian(dim, seed=seed + 1).scale_tril.mT * -1000 + 5
    for before, after in zip(mardia(data), mardia(changed), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-9)


# Leaving rows out ------------------------------------------------------------------------------


@given(seed=seeds, dim=dims)
def test_leaving_one_out_is_a_fit_without_it(seed, dim):
    data = correlated_samples(dim + 5, dim, seed=seed)
    found = leave_one_out(data)
    for k in range(len(data)):
        others = maximum_likelihood(torch.cat([data[:k], data[k + 1 :]]))
        expected = mahalanobis(data[k : k + 1], *others)
        # Few rows make some fits nearly singular, and the distances from them large.
        torch.testing.assert_close(found.distance[k : k + 1], expected, rtol=1e-6, atol=0)
        expected = log_prob(data[k : k + 1], *others)
        torch.testing.assert_close(found.log_prob[k : k + 1], expected, rtol=1e-6, atol=1e-9)


def test_distances_without_the_row_are_f_distributed():
    n, d = 20, 3
    distance = leave_one_out(random_samples(2000, n, d, seed=6)).distance[:, 0]
    found = stats.kstest(distance.numpy() * (n - 1 - d) / (n * d), stats.f(d, n - 1 - d).cdf)
    assert found.pvalue > 0.01


def test_the_mean_without_the_row_is_p_over_n_above_that_of_the_fit():
    """The training loss is below the truth's by p / 2n, the held-out one above it by as much."""
    data = random_samples(200, 300, 4, seed=7)
    held_out = -leave_one_out(data).log_prob.mean(-1)
    optimism = held_out - helpers.minimum_nll(data)
    assert optimism.mean().item() == pytest.approx(2 * expected_gap(4, 300), rel=0.05)


def test_the_mean_without_the_row_is_exactly_that_of_fits_with_a_row_less():
    n, d = 20, 3
    data = random_samples(20_000, n, d, seed=29)
    optimism = -leave_one_out(data).log_prob.mean(-1) - helpers.minimum_nll(data)
    new_rows = n_free_parameters(d) / (n - d - 2)  # above the training loss, for n rows
    exact = new_rows - expected_excess(d, n) + expected_excess(d, n - 1)
    error = optimism.std().item() / 20_000**0.5
    assert optimism.mean().item() == pytest.approx(exact, abs=4 * error)
    assert exact - new_rows > 10 * error  # so that the two can be told apart


def test_a_row_that_cannot_be_left_out_is_named():
    data = random_samples(10, 2, seed=8)
    data[:, 1] = 3.0
    data[6, 1] = 4.0
    with pytest.raises(ValueError, match=r"^data: .* of which each .* got row 6, .* 1\)"):
        leave_one_out(data)
    with pytest.raises(ValueError, match=r"row 6 in batch element \(1,\),"):
        leave_one_out(torch.stack([random_samples(10, 2), data]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_far_from_all_others_is_no_reason_to_refuse(dtype):
    data = random_samples(500, 3, seed=22, dtype=dtype)
    data[7, 1] = 1e4
    batch = torch.stack([random_samples(500, 3, seed=23, dtype=dtype), data])
    found = leave_one_out(batch)
    for each in found:
        assert each.dtype == dtype
    wide = data.double()
    others = maximum_likelihood(torch.cat([wide[:7], wide[8:]]))
    # In float32 the answer is rounded; in float64 the formula loses six digits of sixteen.
    close = {"rtol": 1e-6 if dtype == torch.float32 else 1e-9, "atol": 0}
    for each, function in zip(found, (mahalanobis, log_prob), strict=True):
        expected = function(wide[7:8], *others)
        torch.testing.assert_close(each[1, 7:8].double(), expected, **close)


@pytest.mark.parametrize("largest", [3e3, 3e5, 3e7])
def test_both_ways_to_leave_a_row_out_agree(largest):
    """From the formula as long as it has its digits, then from a fit: none is seen at the seam."""
    data = random_samples(60, 2, seed=24)
    data[5] = largest
    others = maximum_likelihood(torch.cat([data[:5], data[6:]]))
    expected = mahalanobis(data[5:6], *others)
    found = leave_one_out(data)
    torch.testing.assert_close(found.distance[5:6], expected, rtol=1e-8, atol=0)
    expected = log_prob(data[5:6], *others)
    torch.testing.assert_close(found.log_prob[5:6], expected, rtol=1e-8, atol=0)


def test_a_row_that_is_settled_by_a_fit_spoils_no_gradient():
    data = random_samples(12, 2, seed=24)
    data[5] = 3e5
    data.requires_grad_()
    gradient = torch.autograd.grad(leave_one_out(data).log_prob.sum(), data)[0]
    assert gradient.isfinite().all()


def test_gradients_of_leaving_out_are_those_of_finite_differences():
    data = random_samples(8, 2, seed=24).requires_grad_()
    assert torch.autograd.gradcheck(leave_one_out, data)


def test_what_has_no_fit_in_its_own_precision_is_refused():
    data = random_samples(50, 2, seed=25, dtype=torch.float32)
    data[:, 1] = data[:, 0] + 1e-4 * data[:, 1]
    leave_one_out(data.double())
    with pytest.raises(ValueError, match="^data: covariance: expected a positive definite matrix"):
        leave_one_out(data)


def test_a_device_without_float64_settles_more_rows_by_a_fit(monkeypatch):
    monkeypatch.setattr(helpers.diagnostics, "widest_dtype", lambda device: torch.float32)
    data = random_samples(500, 3, seed=22, dtype=torch.float32)
    data[7, 1] = 1e3
    wide = data.double()
    expected = mahalanobis(wide[7:8], *maximum_likelihood(torch.cat([wide[:7], wide[8:]])))
    found = leave_one_out(data).distance[7:8].double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("offset", [0.1, 1e6 + 0.1, -1e6 - 0.1])
def test_a_constant_column_far_from_zero_is_seen(offset):
    data = random_samples(50, 2, seed=25)
    data[:, 1] = offset
    data[3, 1] += 0.1
    with pytest.raises(ValueError, match=r"got row 3, .* a constant column 1\)"):
        leave_one_out(data)


def test_a_row_whose_distance_float32_cannot_hold_is_told():
    data = random_samples(20, 1, seed=26, dtype=torch.float32) * 1e-15
    data[3] = 1e10
    with pytest.raises(ValueError, match=r"^data: expected numbers whose distance float32 can"):
        leave_one_out(data)


# Quantiles and bands -----------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (7, 3), (150, 4), (569, 30)])
def test_quantiles_are_those_of_scipy(n, dim):
    found = chi_squared_quantiles(n, dim)
    expected = stats.chi2.ppf((np.arange(1, n + 1) - 0.5) / n, dim)
    assert (found.dtype, found.shape) == (torch.float64, (n,))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_distances_from_the_own_fit_are_beta_distributed():
    n, d = 12, 3
    data = random_samples(2000, n, d, seed=9)
    distance = mahalanobis(data, *maximum_likelihood(data))[:, 0].numpy()
    beta = stats.beta(d / 2, (n - d - 1) / 2)
    assert stats.kstest(distance / (n - 1), beta.cdf).pvalue > 0.01
    assert stats.kstest(distance, stats.chi2(d).cdf).pvalue < 1e-6  # as the plain plot assumes
    # The same with N - 1 in the covariance.
    with_less = distance * (n - 1) / n
    assert stats.kstest(with_less / ((n - 1) ** 2 / n), beta.cdf).pvalue > 0.01


@pytest.mark.parametrize(("n", "d"), [(20, 2), (50, 4), (569, 30)])
def test_each_dot_of_gaussian_data_falls_into_the_band_as_often_as_it_says(n, d):
    repeats = 1000
    data = random_samples(repeats, n, d, seed=10)
    distance = mahalanobis(data, *maximum_likelihood(data)).sort().values
    lower, upper = distance_band(n, d, 0.9)
    inside = ((lower <= distance) & (distance <= upper)).double().mean(0)
    # 0.9 give or take 0.0095 each, by these samples and as much by those of the band.
    assert 0.85 < inside.min() < inside.max() < 0.95
    assert inside.mean().item() == pytest.approx(0.9, abs=0.01)


def test_limits_of_a_band_rise_and_nest():
    narrow, wide = distance_band(30, 4, 0.5), distance_band(30, 4, 0.99)
    for each in (*narrow, *wide):
        assert bool((each.diff() > 0).all())
        assert 0 < each[0] < each[-1] < 29
    assert bool((wide[0] < narrow[0]).all() and (narrow[1] < wide[1]).all())


def test_the_largest_of_n_is_where_independent_rows_would_have_it():
    """Far out, what the rows have in common matters little."""
    _, upper = distance_band(100, 2, 0.9, repeats=5000)
    beta = stats.beta(1, 48.5)
    # The share above the limit has a standard error of 0.3 %, the dependence adds about 1 %.
    assert 1 - beta.cdf(upper[-1] / 99) ** 100 == pytest.approx(0.05, abs=0.02)


def test_a_band_repeats_and_leaves_the_global_seed_alone():
    state = torch.random.get_rng_state()
    first, again, other = (distance_band(9, 2, repeats=40, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_band_is_simulated_often_enough_and_not_too_often():
    with pytest.raises(ValueError, match=r"^repeats: expected a whole number from 40 to 100000"):
        distance_band(9, 2, repeats=39)
    with pytest.raises(ValueError, match=r"^repeats: .* from 40 to 2684, got 2685"):
        distance_band(100_000, 2, repeats=2685)
    with pytest.raises(ValueError, match=r"^mass: expected at most 0.99998 for 9 rows, got 0.9999"):
        distance_band(9, 2, 0.99999)


@pytest.mark.parametrize("chunk", [1, 40, 2**19])
def test_a_band_is_the_same_however_many_samples_are_simulated_at_a_time(monkeypatch, chunk):
    expected = distance_band(9, 2, repeats=41, seed=1)
    sizes, simulate = [], helpers.diagnostics._sorted_distances
    monkeypatch.setattr(helpers.diagnostics, "CHUNK", chunk)
    monkeypatch.setattr(
        helpers.diagnostics, "_sorted_distances", lambda x: sizes.append(len(x)) or simulate(x)
    )
    for found, limits in zip(distance_band(9, 2, repeats=41, seed=1), expected, strict=True):
        torch.testing.assert_close(found, limits, rtol=1e-12, atol=0)
    assert sum(sizes) == 41


def test_so_many_samples_that_one_lies_beyond_each_limit():
    assert [fewest_repeats(mass) for mass in (0.5, 0.7, 0.9, 0.95)] == [4, 7, 20, 40]
    # What is closer to a whole number than rounding can tell is that number.
    assert [fewest_repeats(1 - 2 / count) for count in (40.0000003, 40.000003)] == [40, 41]


@pytest.mark.parametrize("mass", [-0.5, 0.0, 1.0, 1.5])
def test_a_mass_is_between_zero_and_one(mass):
    for call in (lambda: distance_band(9, 2, mass), lambda: mean_confidence_radius(2, 9, mass)):
        with pytest.raises(ValueError, match="^mass: expected a finite number between 0 and 1"):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: chi_squared_quantiles(10**6 + 1, 1), "n: .* from 1 to 1000000, got"),
        (lambda: chi_squared_quantiles(1, 10**6 + 1), "dim: .* from 1 to 1000000, got"),
        (lambda: expected_excess(10**6 + 1, 10**7), "dim: .* from 1 to 1000000, got"),
        (lambda: mean_confidence_radius(10**6 + 1, 10**7), "dim: .* from 1 to 1000000, got"),
        (lambda: mean_confidence_radius(2, 2), "count: .* at least 3, got 2"),
        (lambda: distance_band(2, 1), "n: .* from 3 to 100000, got 2"),
        (lambda: distance_band(100_001, 1), "n: .* from 3 to 100000, got 100001"),
        (lambda: distance_band(100_000, 2, 1 - 2 / 2684, repeats=1), "repeats: .* 2684 to 2684,"),
        (lambda: distance_band(9, 2, seed=-1), "seed: .* at least 0, got -1"),
        (lambda: draw_estimates(STANDARD, 9, 2, seed=-1), "seed: .* at least 0, got -1"),
        (lambda: draw_estimates(STANDARD, 3, 2), "count: .* at least 4, got 3"),
        # 2^40 numbers at most, of which an estimate takes 54, or at least one.
        (lambda: draw_estimates(STANDARD, 9, 2**40), "repeats: .* from 1 to 20361326440, got"),
        (lambda: draw_estimates(SMALLEST, 9, 2**41), "repeats: .* from 1 to 1099511627776, got"),
    ],
)
def test_limits_of_counts_are_named(call, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


@pytest.mark.parametrize(("dim", "mass"), [(2, 1 - 2**-53), (1, 1e-320)])
def test_a_radius_that_float64_cannot_hold_is_told(dim, mass):
    with pytest.raises(ValueError, match="^mass: expected one whose radius float64 can hold"):
        mean_confidence_radius(dim, dim + 1, mass)
    assert mean_confidence_radius(dim, dim + 1) > 0


@pytest.mark.parametrize(("loc", "factor"), [((3,), (2, 3, 3)), ((2, 3), (3, 3))])
def test_parts_of_a_truth_go_together_as_batches_do(loc, factor):
    truth = Gaussian(torch.zeros(loc), torch.eye(3).expand(factor))
    drawn = draw_estimates(truth, 9, 5)
    assert (drawn.loc.shape, drawn.scale_tril.shape) == ((5, 2, 3), (5, 2, 3, 3))


def test_too_few_rows_for_a_band_are_named():
    with pytest.raises(ValueError, match=r"^dim: expected a whole number from 1 to 3, got 4"):
        distance_band(5, 4)


# Errors of the estimate ------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [random_gaussian(4, seed=11), random_gaussian(2, seed=12)])
def test_drawn_estimates_are_those_of_drawn_data(truth):
    n, repeats, d = 30, 4000, len(truth.loc)
    drawn = draw_estimates(truth, n, repeats, seed=1)
    data = random_samples(repeats, n, d, seed=13) @ truth.scale_tril.mT + truth.loc
    refitted = maximum_likelihood(data)
    below = torch.tril_indices(d, d)
    for ours, theirs in [
        (drawn.loc, refitted.loc),
        (drawn.scale_tril[:, *below], refitted.scale_tril[:, *below]),
        (drawn.covariance_matrix[:, *below], refitted.covariance_matrix[:, *below]),
    ]:
        for a, b in zip(ours.T, theirs.T, strict=True):
            assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > 1e-3
    # And they go together: the loss of a whole estimate.
    excess = [kl_divergence(truth, Gaussian(*each)) for each in zip(*drawn, strict=True)]
    theirs = [kl_divergence(truth, Gaussian(*each)) for each in zip(*refitted, strict=True)]
    assert stats.ks_2samp(torch.stack(excess), torch.stack(theirs)).pvalue > 1e-3


def test_wishart_variances_are_exact():
    truth = random_gaussian(3, seed=14)
    n, repeats = 25, 20_000
    sample_covariance = draw_estimates(truth, n, repeats).covariance_matrix * n / (n - 1)
    sigma = truth.covariance_matrix
    standard_error = covariance_standard_error(sigma, n - 1)  # Var S_ij of the unbiased estimate
    # 1 / sqrt(40,000) each, and squares of skewed numbers scatter more: five times that.
    ratio = sample_covariance.std(0) / standard_error
    torch.testing.assert_close(ratio, torch.ones(3, 3).double(), rtol=0.03, atol=0)
    error = standard_error / repeats**0.5
    assert ((sample_covariance.mean(0) - sigma).abs() < 4 * error).all()


@pytest.mark.parametrize("scale_of", [1e-3, 1e3])
def test_the_log_diagonal_is_as_uncertain_as_it_says_whatever_the_truth(scale_of):
    truth = random_gaussian(3, seed=15)
    truth = Gaussian(truth.loc, truth.scale_tril * torch.tensor([1.0, scale_of, 1.0])[:, None])
    n, repeats = 500, 4000
    logs = draw_estimates(truth, n, repeats).scale_tril.diagonal(dim1=-2, dim2=-1).log()
    exact = [math.sqrt(special.polygamma(1, (n - i) / 2)) / 2 for i in (1, 2, 3)]
    # A standard deviation from 4,000 is known to 1.1 %.
    np.testing.assert_allclose(logs.std(0), exact, rtol=0.045)
    np.testing.assert_allclose(exact, log_diagonal_standard_error(n), rtol=0.01)  # first order
    assert log_diagonal_standard_error(500) == pytest.approx(0.0316, abs=5e-5)


@pytest.mark.parametrize(("d", "n"), [(1, 4), (4, 12), (5, 500), (13, 178)])
def test_the_expected_excess_is_what_simulation_finds(d, n):
    truth = random_gaussian(d, seed=16)
    drawn = draw_estimates(truth, n, 20_000)
    everywhere = Gaussian(*(part.expand(20_000, *part.shape) for part in truth))
    excess = kl_divergence(everywhere, drawn)
    error = excess.std().item() / 20_000**0.5
    if n == 4:  # with one degree of freedom above the limit, the variance is infinite
        error = 0.1 * expected_excess(d, n)
    assert excess.mean().item() == pytest.approx(expected_excess(d, n), abs=4 * error)


@pytest.mark.parametrize("dim", [1, 4, 30])
def test_the_expected_excess_is_p_over_2n_for_many_samples(dim):
    for count in (10**4, 10**9, 2**62):
        ratio = expected_excess(dim, count) / expected_gap(dim, count)
        assert 1 - 1e-12 < ratio < 1 + 2 * (dim + 3) / count + 1e-12
    by_scipy = sum(special.digamma((40 - i) / 2) - math.log(20) for i in range(1, dim + 1)) / 2
    by_scipy += n_free_parameters(dim) / (40 - dim - 2)
    assert expected_excess(dim, 40) == pytest.approx(by_scipy, rel=1e-12)


@pytest.mark.parametrize("x", [0.5, 1.0, 9.5, 9.999, 10.0, 10.5, 12.0, 30.0, 1e4, 1e9])
def test_the_digamma_function_keeps_its_digits_beside_the_logarithm(x):
    with mpmath.workdps(40):
        expected = mpmath.digamma(x) - mpmath.log(x)
        found = _digamma_minus_log(torch.tensor([x], dtype=torch.float64)).item()
        # At 10 the first term that is left out is 1.7e-14 of the whole.
        assert abs(found / expected - 1) < 2e-14


def test_the_mean_excess_of_d_plus_2_samples_is_infinite():
    with pytest.raises(ValueError, match=r"^count: expected a whole number at least 7, got 6"):
        expected_excess(4, 6)


@pytest.mark.parametrize(("d", "n", "mass"), [(1, 5, 0.5), (2, 50, 0.95), (4, 20, 0.99)])
def test_the_region_of_the_mean_is_hotellings(d, n, mass):
    radius = mean_confidence_radius(d, n, mass)
    assert radius**2 == pytest.approx(d / (n - d) * stats.f.ppf(mass, d, n - d), rel=1e-12)
    truth = random_gaussian(d, seed=17)
    drawn = draw_estimates(truth, n, 4000)
    distance = torch.cat([mahalanobis(truth.loc[None], *each) for each in zip(*drawn, strict=True)])
    covered = (distance < radius**2).double().mean().item()
    assert covered == pytest.approx(mass, abs=4 * math.sqrt(mass * (1 - mass) / 4000))


def test_of_one_variable_the_region_of_the_mean_is_students():
    x = random_samples(12, 1, seed=18)
    fit = maximum_likelihood(x)
    half = mean_confidence_radius(1, 12) * fit.scale_tril.item()
    low, high = stats.t.interval(0.95, 11, loc=x.mean().item(), scale=stats.sem(x[:, 0].numpy()))
    assert (high - low) / 2 == pytest.approx(half, rel=1e-12)


# Criteria --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "p"), [("full", 14), ("diag", 8), ("spherical", 5)])
def test_criteria_are_those_of_scikit_learn(kind, p):
    x = IRIS.numpy()
    theirs = GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(x)
    mean_nll = -theirs.score(x)
    assert aic(mean_nll, p, 150) == pytest.approx(theirs.aic(x), rel=1e-12)
    assert bic(mean_nll, p, 150) == pytest.approx(theirs.bic(x), rel=1e-12)
    assert n_free_parameters(4) == 14


def test_criteria_of_a_batch_come_in_its_dtype():
    nll = torch.tensor([1.0, -2.0])
    assert aic(nll, 3, 10).tolist() == [26.0, -34.0]
    assert aic(nll, 3, 10).dtype == torch.float32
    assert bic(nll.double(), 3, 10).tolist() == pytest.approx(
        [20 + 3 * math.log(10), -40 + 3 * math.log(10)], rel=1e-15
    )


def test_criteria_of_a_number_are_python_floats():
    """Larger than a float32, which torch would make of it."""
    assert aic(1e38, 1, 10) == pytest.approx(2e39)
    assert bic(-1e300, 1, 10) == pytest.approx(-2e301)


def test_what_is_computed_from_numbers_stays_off_other_devices():
    """Whatever torch.set_default_device says: here it names one that holds no numbers."""
    expected = (expected_excess(3, 40), aic(1.0, 2, 40), bic(1.0, 2, 40))
    with torch.device("meta"):
        assert (expected_excess(3, 40), aic(1.0, 2, 40), bic(1.0, 2, 40)) == expected


def test_what_makes_no_criterion_is_named():
    assert aic(0.0, 0, 10) == 0
    assert aic(1.0, 0, 10) == 20
    for call, words in (
        (lambda: aic(1.0, -1, 10), "n_parameters: .* at least 0, got -1"),
        (lambda: bic(1.0, 3, 0), "count: expected a whole number at least 1, got 0"),
        (lambda: aic(torch.tensor([1.0, math.nan]), 3, 10), "mean_nll: expected finite"),
        (lambda: aic(1e308, 3, 10), r"mean_nll: .* be multiplied by 20, got 1e\+308"),
        (lambda: aic(torch.tensor([1.0, 3e38]), 3, 10), "mean_nll: .* be multiplied by 20, got"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            call()


def test_half_of_aic_per_sample_estimates_the_loss_on_new_data():
    data = random_samples(4000, 100, 3, seed=19)
    nll = helpers.minimum_nll(data)
    estimated = (aic(nll, 9, 100) / 200).mean().item()
    entropy = 1.5 * (1 + math.log(2 * math.pi))
    assert estimated == pytest.approx(entropy + expected_gap(3, 100), rel=0.002)


def test_mardia_far_from_zero_keeps_its_digits():
    """In float32 a whitened row was off by the rounding of its mean: by 0.4 in the statistic."""
    far = (random_samples(100, 4, seed=0) + 1e5).float()
    found, expected = mardia(far), mardia(far.double())
    assert all(each.dtype == torch.float32 for each in found)
    # Of the answer alone, which is rounded once.
    torch.testing.assert_close([each.double() for each in found], list(expected), rtol=1e-6, atol=0)


def test_mardia_asks_for_a_fit_in_the_dtype_of_the_data():
    """A column that repeats another but for 1e-4 has variance of its own in float64 alone."""
    data = random_samples(100, 3).float()
    data[:, 2] = data[:, 0] + 1e-4 * data[:, 2]
    for refuse in (maximum_likelihood, mardia):
        with pytest.raises(ValueError, match="column 2 has no variance left"):
            refuse(data)
    assert mardia(data.double()).kurtosis.isfinite()


# Batches, dtypes, inputs -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [mardia, leave_one_out])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (0,), (1,), (3, 2)])
def test_a_batch_is_its_elements_and_nothing_is_changed(function, dtype, batch):
    data = random_samples(*batch, 12, 3, seed=20, dtype=dtype)
    kept = data.clone()
    found = function(data)
    assert torch.equal(data, kept)
    for part in found:
        assert part.dtype == dtype
        assert part.shape[: len(batch)] == batch
    for index in np.ndindex(*batch):
        for part, alone in zip(found, function(data[index]), strict=True):
            # One matrix and many take other paths through LAPACK.
            torch.testing.assert_close(
                part[index], alone, rtol=1e3 * torch.finfo(dtype).eps, atol=0
            )


def test_drawn_estimates_of_a_batch_differ_and_repeat():
    batch = random_gaussian(3, (2,), seed=21, dtype=torch.float32)
    state = torch.random.get_rng_state()
    drawn, again = draw_estimates(batch, 9, 5, seed=1), draw_estimates(batch, 9, 5, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (drawn.loc.shape, drawn.scale_tril.shape) == ((5, 2, 3), (5, 2, 3, 3))
    assert drawn.scale_tril.dtype == torch.float32
    assert torch.equal(drawn.scale_tril, again.scale_tril)
    assert not torch.equal(drawn.loc, draw_estimates(batch, 9, 5, seed=2).loc)
    assert not torch.equal(drawn.loc[:, 0] - batch.loc[0], drawn.loc[:, 1] - batch.loc[1])
    assert torch.equal(drawn.scale_tril, drawn.scale_tril.tril())
    empty = draw_estimates(random_gaussian(3, (0,)), 9, 5)
    assert empty.scale_tril.shape == (5, 0, 3, 3)


def test_estimates_of_a_nearly_singular_truth_stay_factors():
    factor = torch.tensor([[1.0, 0.0], [1.0, 1e-12]], dtype=torch.float64)
    drawn = draw_estimates(Gaussian(torch.zeros(2).double(), factor), 3, 1000)
    assert (drawn.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()


@pytest.mark.parametrize(("function", "n"), [(mardia, 4), (leave_one_out, 4)])
def test_too_few_rows_are_counted(function, n):
    with pytest.raises(ValueError, match=r"^data: expected at least 5 rows for 3 columns, got 4"):
        function(random_samples(n, 3))


def test_of_one_column_the_kurtosis_needs_four_rows():
    """Of three, the kurtosis is the same whatever they are: its variance vanishes."""
    with pytest.raises(ValueError, match=r"^data: expected at least 4 rows for 1 columns, got 3"):
        mardia(random_samples(3, 1))
    assert mardia(random_samples(4, 1)).kurtosis_statistic.isfinite()
    assert leave_one_out(random_samples(3, 1)).distance.isfinite().all()


# The figure ------------------------------------------------------------------------------------


def test_the_plot_shows_every_distance_in_order_and_the_band():
    distances = mahalanobis(IRIS[:50], *maximum_likelihood(IRIS[:50]))
    fig, ax = plt.subplots()
    kept = distances.clone()
    dots, line, band = plot_chi_squared(ax, distances, 4, color=COLORS["warning"], label="setosa")
    plt.close(fig)
    assert torch.equal(distances, kept)
    np.testing.assert_allclose(dots.get_xdata(), chi_squared_quantiles(50, 4))
    np.testing.assert_allclose(dots.get_ydata(), distances.sort().values)
    assert dots.get_label() == "setosa"
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    outline = band.get_paths()[0].vertices
    for limits in distance_band(50, 4):
        assert all(np.isclose(outline[:, 1], limit.item()).any() for limit in limits)


def test_the_look_of_the_plot():
    distances = mahalanobis(IRIS[:50], *maximum_likelihood(IRIS[:50]))
    fig, ax = plt.subplots()
    dots, line, band = plot_chi_squared(ax, distances, 4, color=COLORS["warning"])
    plt.close(fig)
    last = stats.chi2.ppf(49.5 / 50, 4)
    assert line.get_xdata() == pytest.approx([0.0, last], rel=1e-9)
    assert (line.get_color(), line.get_linestyle()) == (COLORS["reference"], "--")
    assert line.get_linewidth() == 1.0
    look = (dots.get_marker(), dots.get_markersize(), dots.get_linestyle(), dots.get_color())
    assert look == ("o", 2.0, "None", COLORS["warning"])
    assert band.get_linewidth() == [0.0]
    expected = to_rgba(COLORS["reference"], 0.25)
    assert tuple(band.get_facecolor()[0]) == pytest.approx(expected)
    assert ax.get_xlabel() == "chi-squared quantile, 4 degrees of freedom"
    assert ax.get_ylabel() == "squared distance"


def test_limits_of_what_can_be_plotted(monkeypatch):
    fig, ax = plt.subplots()
    plot_chi_squared(ax, [0.0, 1.0, 2.0], 1)  # a row at the mean itself
    distances = mahalanobis(IRIS[:50], *maximum_likelihood(IRIS[:50]))
    plot_chi_squared(ax, 1.0008 * distances, 4)  # a thousandth is rounding in float32
    with pytest.raises(ValueError, match="^dim: expected a whole number from 1 to 2, got 3"):
        plot_chi_squared(ax, [1.0, 2.0, 3.0, 4.0], 3)
    with pytest.raises(TypeError, match="^ax: expected"):
        plot_chi_squared(fig, distances, 4)
    with pytest.raises((TypeError, ValueError), match="^color: expected"):
        plot_chi_squared(ax, distances, 4, color="no colour")
    monkeypatch.setattr(helpers.plotting.distances, "MOST_ROWS", 50)
    plot_chi_squared(ax, distances, 4)
    plt.close(fig)


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        ([1.0, -1.0, 2.0, 3.0], "distances: expected squared distances, got -1"),
        ([1.0, 2.0], "distances: expected 3 to 100000 of them, got 2"),
        ([2.0] * 100_001, "distances: expected 3 to 100000 of them, got 100001"),
        ([1.0, 2.0, 3.0], "dim: expected a whole number from 1 to 1, got 2"),
        ([1.0, 2.0, 3.0, 4.0], r"distances: .* whose mean is dim = 2, got a mean of 2\.5"),
    ],
)
def test_what_cannot_be_plotted_is_told(distances, message):
    fig, ax = plt.subplots()
    with pytest.raises(ValueError, match=f"^{message}"):
        plot_chi_squared(ax, distances, 2)
    plt.close(fig)


def test_distances_of_the_wrong_kind_are_not_drawn():
    fig, ax = plt.subplots()
    data = IRIS[:50]
    centred = data - data.mean(0)
    unbiased = torch.linalg.cholesky(torch.cov(data.mT))
    for distances in (
        mahalanobis(data, data.mean(0), unbiased),  # N - 1 in the covariance
        mahalanobis(data, *maximum_likelihood(data)).sqrt(),
        leave_one_out(data).distance,
        centred.square().sum(1),
    ):
        with pytest.raises(ValueError, match=r"^distances: expected those of rows from"):
            plot_chi_squared(ax, distances, 4)
    plot_chi_squared(ax, mahalanobis(data.float(), *maximum_likelihood(data.float())), 4)
    plt.close(fig)


def test_a_wide_band_is_simulated_more_often():
    distances = mahalanobis(IRIS[:50], *maximum_likelihood(IRIS[:50]))
    fig, ax = plt.subplots()
    _, _, band = plot_chi_squared(ax, distances, 4, mass=0.999)
    with pytest.raises(ValueError, match=r"^mass: expected at most"):
        plot_chi_squared(ax, distances, 4, mass=1 - 1e-9)
    plt.close(fig)
    outline = band.get_paths()[0].vertices
    for limits in distance_band(50, 4, 0.999, repeats=2000):
        assert all(np.isclose(outline[:, 1], limit.item()).any() for limit in limits)
