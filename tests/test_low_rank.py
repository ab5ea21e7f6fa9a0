"""Factor analysis against scikit-learn, against torch's density, and against its own definition."""

from __future__ import annotations

import math
import warnings

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_linnerud, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale
from strategies import DTYPES, correlated_samples, eps, random_samples, seeds
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from helpers import (
    LowRankCovariance,
    SufficientStatistics,
    factor_analysis,
    log_prob,
    minimum_nll,
    n_free_parameters,
    probabilistic_pca,
)
from helpers.low_rank import (
    FLOOR,
    _best_loadings,
    _newton,
    _newton_step,
    _profiled,
    _root,
    _starts,
    low_rank_nll,
)

DIGITS = load_digits().data
LINNERUD = load_linnerud()
DATA = {
    "iris": load_iris().data,
    "wine": load_wine().data,
    "standardised wine": scale(load_wine().data),
    "breast cancer": load_breast_cancer().data,
    "digits": DIGITS[:, np.ptp(DIGITS, axis=0) > 0],
    "linnerud": np.hstack([LINNERUD.data, LINNERUD.target]),
}
CASES = [
    *(("iris", rank) for rank in (1, 2, 3)),
    *(("wine", rank) for rank in (1, 5)),
    *(("standardised wine", rank) for rank in (2, 10)),
    *(("breast cancer", rank) for rank in (3, 10)),
    *(("digits", rank) for rank in (1, 5)),
    *(("linnerud", rank) for rank in (2, 3, 5)),
]


def score(found: LowRankCovariance, data: np.ndarray) -> float:
    return found.log_prob(torch.as_tensor(data)).mean().item()


def loadings_and_variances(dim: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """A factor model: loadings of either sign, own variances between 0.2 and 1.2."""
    factor = random_samples(dim, rank, seed=seed)
    return factor, random_samples(dim, seed=seed + 1).sigmoid() + 0.2


def population(sigma: Tensor, n: int = 100) -> SufficientStatistics:
    """Statistics whose covariance is exactly a given one."""
    zero = torch.zeros(len(sigma), dtype=sigma.dtype)
    return SufficientStatistics(torch.tensor(n), zero, n * (sigma + sigma.mT) / 2)


# Factor analysis ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_no_score_is_below_that_of_scikit_learn(name, rank):
    data = DATA[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that is their difficulty
        theirs = FactorAnalysis(rank, tol=1e-4, max_iter=500, svd_method="lapack").fit(data)
    ours = factor_analysis(data, rank)
    # Rounding of a mean of densities that are up to 135 nats.
    assert score(ours, data) > theirs.score(data) - 1e-10


def test_where_em_converges_loadings_are_the_same_up_to_their_signs():
    data = DATA["standardised wine"]
    theirs = FactorAnalysis(2, tol=1e-12, max_iter=100_000, svd_method="lapack").fit(data)
    ours = factor_analysis(data, 2)
    # EM ends where the log-likelihood of all rows changes by 1e-12: some 1e-6 from the maximum.
    np.testing.assert_allclose(ours.cov_diag.numpy(), theirs.noise_variance_, rtol=1e-4)
    found = ours.cov_factor.abs().numpy()
    np.testing.assert_allclose(found, np.abs(theirs.components_.T), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.loc.numpy(), theirs.mean_, atol=1e-14)
    assert not ours.is_heywood.any()
    largest = ours.cov_factor.abs().argmax(dim=0)
    assert (ours.cov_factor.gather(0, largest[None]) > 0).all()


@pytest.mark.parametrize(("name", "rank"), [("wine", 2), ("digits", 3), ("breast cancer", 2)])
def test_at_the_maximum_no_parameter_has_a_gradient(name, rank):
    """By autograd through torch's own density, which knows nothing of the profile."""
    data = torch.as_tensor(scale(DATA[name]))
    found = factor_analysis(data, rank)
    assert not found.is_heywood.any()
    parameters = [part.clone().requires_grad_() for part in (found.loc, found.cov_factor)]
    log_own = found.cov_diag.log().requires_grad_()
    density = LowRankMultivariateNormal(*parameters, log_own.exp(), validate_args=False)
    gradients = torch.autograd.grad(-density.log_prob(data).mean(), [*parameters, log_own])
    # A Newton step that promises 1e-15 nats leaves gradients of about its root.
    assert max(each.abs().max().item() for each in gradients) < 1e-6


@pytest.mark.parametrize(
    ("name", "rank", "explained"),
    [("iris", 1, [2]), ("iris", 2, [1, 2]), ("wine", 5, [2, 9]), ("linnerud", 2, [4])],
)
def test_heywood_cases_end_at_the_floor_and_are_told(name, rank, explained):
    data = torch.as_tensor(scale(DATA[name]))
    found = factor_analysis(data, rank)
    assert found.is_heywood.nonzero().flatten().tolist() == explained
    torch.testing.assert_close(
        found.cov_diag[explained], torch.full((len(explained),), FLOOR).double()
    )
    statistics = SufficientStatistics.from_data(data)
    own = found.cov_diag.clone().requires_grad_()
    nll = low_rank_nll(statistics, found.loc, found.cov_factor, own)
    gradient = torch.autograd.grad(nll, own)[0]
    assert (gradient[explained] > 0).all()  # less own variance would fit better still
    free = ~found.is_heywood
    assert (gradient * own)[free].abs().max().item() < 1e-5


@settings(max_examples=8)
@given(seed=seeds, dim=st.integers(4, 8), rank=st.integers(1, 2))
def test_a_covariance_that_has_the_structure_is_found_exactly(seed, dim, rank):
    factor, own = loadings_and_variances(dim, rank, seed)
    if dim == 4:
        rank, factor = 1, factor[:, :1]  # two factors of four variables are more than a covariance
    sigma = factor @ factor.mT + torch.diag(own)
    found = factor_analysis(population(sigma), rank)
    truth = minimum_nll(population(sigma)).item()
    loss = low_rank_nll(population(sigma), found.loc, found.cov_factor, found.cov_diag).item()
    # In nats; a loss is flat at its minimum, so the covariance has half as many digits.
    assert abs(loss - truth) < 1e-11
    torch.testing.assert_close(found.covariance_matrix, sigma, rtol=1e-4, atol=1e-4)


@settings(max_examples=8)
@given(seed=seeds)
def test_units_and_signs_of_columns_do_not_matter(seed):
    data = correlated_samples(40, 5, seed=seed)
    units = torch.tensor([1e-6, -3.0, 1.0, 1e5, -1e2], dtype=torch.float64)
    found, other = factor_analysis(data, 2), factor_analysis(data * units, 2)
    assert torch.equal(found.is_heywood, other.is_heywood)
    expected = found.log_prob(data).mean() - units.abs().log().sum()
    torch.testing.assert_close(other.log_prob(data * units).mean(), expected, rtol=1e-9, atol=1e-9)


def test_enough_factors_describe_any_covariance():
    data = DATA["standardised wine"]
    found = factor_analysis(data, 10)
    assert score(found, data) == pytest.approx(-minimum_nll(data).item(), rel=1e-12)
    assert found.n_free_parameters == n_free_parameters(13)


@given(seed=seeds, rank=st.integers(1, 3))
def test_derivatives_of_the_profile_are_those_of_finite_differences(seed, rank):
    root = _root(torch.corrcoef(correlated_samples(20, 5, seed=seed).T))
    log_own = random_samples(5, seed=seed + 7) - 1
    _, gradient, hessian = _profiled(root, log_own, rank)
    step = 1e-5
    for i in range(5):
        change = torch.zeros(5, dtype=torch.float64)
        change[i] = step
        ahead, behind = (_profiled(root, log_own + s * change, rank) for s in (1, -1))
        # Central differences: an error of step squared, and rounding over step.
        assert (ahead[0] - behind[0]) / (2 * step) == pytest.approx(gradient[i].item(), abs=1e-7)
        numerical = (ahead[1] - behind[1]) / (2 * step)
        torch.testing.assert_close(hessian[i], numerical, rtol=1e-6, atol=1e-6)


def test_where_a_factor_is_as_good_as_the_rest_its_curvature_is_a_number():
    """Equal eigenvalues at the edge of the factors: an exchange of axes costs nothing."""
    _, gradient, hessian = _profiled(torch.eye(3).double(), -torch.ones(3).double(), 1)
    assert gradient.isfinite().all()
    assert hessian.isfinite().all()
    found = factor_analysis(population(torch.eye(3, dtype=torch.float64)), 1)
    torch.testing.assert_close(found.covariance_matrix, torch.eye(3).double(), rtol=1e-6, atol=1e-6)


@given(seed=seeds, rank=st.integers(1, 3), level=st.sampled_from([-2.0, 0.0, 1.5]))
def test_the_profile_is_the_loss_at_the_best_loadings(seed, rank, level):
    """Also where own variances are so large that a factor is better left out."""
    data = correlated_samples(20, 5, seed=seed)
    data = (data - data.mean(0)) / data.std(dim=0, correction=0)
    correlation = torch.corrcoef(data.T)
    log_own = random_samples(5, seed=seed + 7) / 2 + level
    profiled = _profiled(_root(correlation), log_own, rank)[0] + 2.5 * math.log(2 * math.pi)
    loadings = _best_loadings(correlation, log_own.exp(), rank)
    statistics = SufficientStatistics.from_data(data)
    zero = torch.zeros(5, dtype=torch.float64)
    assert low_rank_nll(statistics, zero, loadings, log_own.exp()).item() == pytest.approx(
        profiled, rel=1e-11
    )
    for change in (0.9, 1.1):
        other = low_rank_nll(statistics, zero, change * loadings, log_own.exp()).item()
        assert other >= profiled - 1e-11


def test_starts_are_those_of_the_docstring():
    """Probabilistic PCA, Joereskog's (1 - k/2d) / r^ii, and from there some variables explained."""
    data = DATA["standardised wine"][:, :5]
    correlation = torch.from_numpy(np.corrcoef(data.T))
    first, second, *others = _starts(correlation, 2)
    noise = PCA(2, svd_solver="full").fit(data).noise_variance_ * 177 / 178
    np.testing.assert_allclose(first.exp(), [noise] * 5, rtol=1e-12)
    left = 1 / np.linalg.inv(correlation.numpy()).diagonal()
    np.testing.assert_allclose(second.exp(), 0.8 * left, rtol=1e-12)
    rising = np.argsort(left).tolist()
    for explained, start in zip([rising[:2], *([i] for i in rising)], others, strict=True):
        found = start.exp()
        assert found[explained].tolist() == pytest.approx([1e-4] * len(explained), rel=1e-12)
        free = [i for i in range(5) if i not in explained]
        assert torch.equal(start[free], second[free])


def test_starts_stay_between_the_floor_and_the_whole_variance():
    factor = torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    same = torch.outer(factor, factor)
    for start in _starts(same, 1):  # nothing is left of any variable
        assert math.log(10 * FLOOR) - 1e-9 <= start.min() <= start.max() <= 0
        assert start.isfinite().all()
    # A tenth of noise leaves 0.1 (0.1 + 4 x 0.9) / (0.1 + 3 x 0.9), by Sherman and Morrison.
    second = list(_starts(same, 1))[1].exp()
    torch.testing.assert_close(second, torch.full((4,), 0.875 * 0.37 / 2.8).double())
    first, second, *_ = _starts((1 - 1e-9) * same + 1e-9 * torch.eye(4).double(), 1)
    torch.testing.assert_close(first.exp(), torch.full((4,), 1e-5).double())
    torch.testing.assert_close(second.exp(), torch.full((4,), 1e-5).double())


def test_a_newton_step_solves_for_what_is_free_and_goes_downhill():
    turn = torch.linalg.qr(random_samples(4, 4, seed=1)).Q
    gradient = 0.1 * random_samples(4, seed=2)
    held = torch.tensor([False, True, False, False])
    convex = turn @ torch.diag(torch.tensor([0.5, 1.0, 2.0, 4.0]).double()) @ turn.mT
    step = _newton_step(gradient, convex, held)
    assert step[1] == 0
    torch.testing.assert_close(convex[~held][:, ~held] @ step[~held], -gradient[~held])
    # Where the curvature is negative, as far as the same curvature upwards would lead.
    nobody = torch.zeros(4, dtype=torch.bool)
    signs = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    sizes = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    saddle, bowl = (turn @ torch.diag(each) @ turn.mT for each in (signs * sizes, sizes))
    step = _newton_step(gradient, saddle, nobody)
    torch.testing.assert_close(step, -torch.linalg.solve(bowl, gradient))
    # Never further than e^2 in a variance, and then in the same direction.
    for size in (1e3, -1e3):
        far = _newton_step(size * gradient, bowl, nobody)
        assert far.abs().max().item() == pytest.approx(2.0, rel=1e-12)
        torch.testing.assert_close(far / far.norm() * math.copysign(1, size), step / step.norm())
    flat = _newton_step(gradient, torch.zeros(4, 4).double(), nobody)
    torch.testing.assert_close(flat, -2 * gradient / gradient.abs().max())


def test_a_variance_comes_off_its_floor_where_that_fits_better_and_stays_where_not():
    """With one factor iris has a single maximum, at which the length of the petal is explained."""
    root = _root(torch.from_numpy(np.corrcoef(DATA["iris"].T)))
    ends = []
    for level in (math.log(FLOOR), -3.0, 0.0):
        end, loss = _newton(root, torch.full((4,), level, dtype=torch.float64), 1)
        assert (end <= math.log(FLOOR)).tolist() == [False, False, True, False]
        ends.append(loss)
    assert max(ends) - min(ends) < 1e-12


def test_more_starts_are_never_worse_and_sometimes_better():
    data = DATA["breast cancer"]
    scores = [score(factor_analysis(data, 10, n_starts=n), data) for n in (1, 3, 20)]
    assert scores[0] < scores[1] + 1e-12  # the same maximum, but for rounding
    assert scores[1] < scores[2] + 1e-12
    assert scores[-1] > scores[0] + 0.2  # nats per sample


def test_fewer_rows_than_columns_are_enough():
    data = random_samples(8, 20, seed=3)
    found = factor_analysis(data, 2)
    assert torch.linalg.cholesky_ex(found.covariance_matrix).info.item() == 0
    assert score(found, data.numpy()) > score(probabilistic_pca(data, 2), data.numpy())


# Probabilistic PCA -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iris", "standardised wine", "digits"])
@pytest.mark.parametrize("rank", [1, 3])
def test_probabilistic_pca_is_that_of_scikit_learn_divided_by_n(name, rank):
    data = DATA[name]
    ours, theirs = probabilistic_pca(data, rank), PCA(rank, svd_solver="full").fit(data)
    biased = (len(data) - 1) / len(data)
    expected = theirs.get_covariance() * biased
    size = np.abs(expected).max()
    np.testing.assert_allclose(ours.covariance_matrix.numpy(), expected, atol=1e-11 * size)
    np.testing.assert_allclose(ours.cov_diag.numpy(), theirs.noise_variance_ * biased, rtol=1e-10)


def test_no_gaussian_of_the_kind_is_more_probable_than_probabilistic_pca():
    data = torch.as_tensor(DATA["iris"])
    found = probabilistic_pca(data, 2)
    factor = found.cov_factor.clone().requires_grad_()
    own = found.cov_diag[0].clone().requires_grad_()
    density = LowRankMultivariateNormal(found.loc, factor, own.expand(4), validate_args=False)
    gradients = torch.autograd.grad(-density.log_prob(data).mean(), [factor, own])
    assert max(each.abs().max().item() for each in gradients) < 1e-10


@given(seed=seeds, dim=st.integers(3, 7), rank=st.integers(1, 2))
def test_a_structure_with_one_variance_is_found_exactly(seed, dim, rank):
    factor = random_samples(dim, rank, seed=seed)
    sigma = factor @ factor.mT + 0.3 * torch.eye(dim, dtype=torch.float64)
    found = probabilistic_pca(population(sigma), rank)
    torch.testing.assert_close(found.covariance_matrix, sigma, rtol=1e-10, atol=1e-10)


def test_equal_eigenvalues_leave_no_factor():
    found = probabilistic_pca(population(4 * torch.eye(3, dtype=torch.float64)), 1)
    assert found.cov_factor.abs().max().item() < 1e-6
    torch.testing.assert_close(found.cov_diag, torch.full((3,), 4.0).double())
    assert found.is_isotropic
    assert found.n_free_parameters == 3 + 3 + 1


@pytest.mark.parametrize(("roundings", "is_refused"), [(27, True), (34, False)])
def test_what_lies_in_so_many_dimensions_but_for_rounding_is_refused(roundings, is_refused):
    """Rounding is 4 d eps of the largest eigenvalue: here 4 times 5 times 1.5 roundings."""
    sigma = roundings * eps(torch.float64) * torch.eye(5, dtype=torch.float64)
    sigma[:2, :2] = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    if not is_refused:
        assert probabilistic_pca(population(sigma), 2).cov_diag.min() > 0
        return
    with pytest.raises(ValueError, match="^data: expected samples with variance beyond 2 dim"):
        probabilistic_pca(population(sigma), 2)


def test_rows_that_are_all_the_same_are_refused():
    for size in (1.0, -1e9):
        with pytest.raises(ValueError, match="^data: expected rows that differ, got rows that are"):
            probabilistic_pca(torch.full((9, 3), size, dtype=torch.float64), 1)


# Both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", [(), (1,), (0,), (3, 2)])
@pytest.mark.parametrize("estimator", [factor_analysis, probabilistic_pca])
def test_a_batch_is_its_elements(estimator, batch_shape, dtype):
    data = random_samples(*batch_shape, 12, 4, seed=5, dtype=dtype)
    before = data.clone()
    found = estimator(data, 1)
    assert torch.equal(data, before)
    assert found.loc.shape == found.cov_diag.shape == found.is_heywood.shape == (*batch_shape, 4)
    assert found.cov_factor.shape == (*batch_shape, 4, 1)
    assert found.cov_factor.dtype == found.cov_diag.dtype == dtype
    for index in np.ndindex(batch_shape):
        one = estimator(data[index], 1)
        # A matrix and a batch of them take different ways through LAPACK.
        tolerance = 1e-5 if dtype == torch.float32 else 1e-9
        kind = {"rtol": tolerance, "atol": tolerance}
        torch.testing.assert_close(found.covariance_matrix[index], one.covariance_matrix, **kind)
    assert torch.equal(estimator(SufficientStatistics.from_data(data), 1).cov_diag, found.cov_diag)


@pytest.mark.parametrize("estimator", [factor_analysis, probabilistic_pca])
def test_estimates_are_detached_from_the_data(estimator):
    found = estimator(correlated_samples(30, 4).requires_grad_(), 2)
    parts = (found.loc, found.cov_factor, found.cov_diag, found.covariance_matrix)
    assert not any(part.requires_grad for part in parts)


@pytest.mark.parametrize("estimator", [factor_analysis, probabilistic_pca])
@pytest.mark.parametrize(
    ("data", "rank", "words"),
    [
        (random_samples(9, 1), 1, "data: expected at least two columns"),
        (random_samples(9, 3), 3, "rank: expected a whole number from 1 to 2, got 3"),
        (random_samples(4, 6), 3, "data: expected at least 5 rows for rank 3, got 4"),
        (random_samples(9, 1).expand(9, 3), 1, "data: expected"),
    ],
)
def test_what_has_no_maximum_is_refused(estimator, data, rank, words):
    with pytest.raises(ValueError, match=words):
        estimator(data, rank)


@pytest.mark.parametrize("estimator", [factor_analysis, probabilistic_pca])
def test_the_least_that_is_enough(estimator):
    for data in (random_samples(9, 2), random_samples(3, 4)):
        assert estimator(data, 1).cov_factor.shape == (data.shape[1], 1)
    tiny = 3e-23 * random_samples(30, 3, dtype=torch.float32)  # its variance is below float32
    with pytest.raises(ValueError, match=r"^data: expected variances that torch\.float32 can hold"):
        estimator(tiny, 1)


def test_columns_that_repeat_each_other_are_refused_where_they_leave_no_maximum():
    data = correlated_samples(30, 4)
    twice = torch.cat([data, 2 * data[:, :1]], dim=1)
    with pytest.raises(ValueError, match="linear combinations"):
        factor_analysis(twice, 1)
    iris = torch.as_tensor(DATA["iris"])
    both = torch.stack([iris, iris.clone()])  # of the first, one is explained entirely as it is
    both[1, :, 3] = 2 * both[1, :, 0]
    with pytest.raises(ValueError, match="^data: .* explain at most 1 entirely, got 2: but for"):
        factor_analysis(both, 1)
    with pytest.raises(ValueError, match="constant column 4"):
        factor_analysis(torch.cat([data, 0 * data[:, :1]], dim=1), 1)


# What they return ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", [(), (0,), (3, 2)])
def test_density_and_factor_are_those_of_the_covariance(batch_shape, dtype):
    factor = random_samples(*batch_shape, 5, 2, seed=1, dtype=dtype)
    own = random_samples(*batch_shape, 5, seed=2, dtype=dtype).exp()
    loc = random_samples(*batch_shape, 5, seed=3, dtype=dtype)
    value = random_samples(*batch_shape, 7, 5, seed=4, dtype=dtype)
    found = LowRankCovariance(loc, factor, own)
    assert (found.dim, found.rank) == (5, 2)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    kind = {"rtol": tolerance, "atol": tolerance}
    expected = log_prob(value, loc, torch.linalg.cholesky(found.covariance_matrix))
    torch.testing.assert_close(found.log_prob(value), expected, **kind)
    if not batch_shape:  # torch counts batches from the other end
        torch.testing.assert_close(found.distribution.log_prob(value), expected, **kind)
    expected = torch.linalg.cholesky(found.covariance_matrix)
    torch.testing.assert_close(found.scale_tril, expected, **kind)
    assert not found.is_heywood.any()
    nll = low_rank_nll(SufficientStatistics.from_data(value), loc, factor, own)
    torch.testing.assert_close(nll, -found.log_prob(value).mean(dim=-1), **kind)


@pytest.mark.parametrize("own", [1e-6, 1e-9, 1e-14, 1e-200])
def test_a_tiny_variance_costs_no_digits(own):
    """With x_3 = a_1 + own noise, the density is that of a known product."""
    factor = torch.tensor([[1.0, 0.0], [0.5, 1.0], [2.0, 1.0]], dtype=torch.float64)
    diagonal = torch.tensor([0.7, 0.4, own], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    value = random_samples(6, 3, seed=2)
    found = LowRankCovariance(zero, factor, diagonal).log_prob(value)
    # A covariance of rank 3 of size one: adding the tiny variance to it is exact enough.
    sigma = factor @ factor.mT + torch.diag(diagonal)
    expected = log_prob(value, zero, torch.linalg.cholesky(sigma))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("unit", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("own", [1e-6, 1e-12, 1e-30, 1e-200])
def test_as_many_tiny_variances_as_factors_cost_no_digits(own, unit):
    """Those variables give the factors away: Woodbury's identity takes large numbers apart then."""
    factor = -unit * random_samples(5, 2, seed=2).abs()
    diagonal = unit * unit * random_samples(5, seed=3).exp()
    diagonal[:2] = unit * unit * own
    loc, value = unit * random_samples(5, seed=4), unit * random_samples(5, seed=5)
    found = LowRankCovariance(loc, factor, diagonal).log_prob(value[None]).item()
    with mpmath.workdps(300):
        loadings = mpmath.matrix(factor.tolist())
        sigma = loadings * loadings.T + mpmath.diag(diagonal.tolist())
        left = mpmath.matrix(value.tolist()) - mpmath.matrix(loc.tolist())
        distance = (left.T * mpmath.lu_solve(sigma, left))[0]
        expected = -(5 * mpmath.log(2 * mpmath.pi) + mpmath.log(mpmath.det(sigma)) + distance) / 2
    assert found == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(7, 4), r"value: expected shape \(..., n, 5\), got \(7, 4\)"),
        (torch.zeros(7, 5).double(), "value: expected dtype float32 like loc"),
        (torch.zeros(3, 7, 5), r"value: expected a batch shape that goes with \(2,\) of loc"),
        (torch.full((7, 5), 1e38), "value, loc, cov_factor, cov_diag: expected numbers whose log"),
    ],
)
def test_samples_that_do_not_fit_are_named(value, words):
    made = LowRankCovariance(torch.zeros(2, 5), torch.ones(2, 5, 1), torch.ones(2, 5))
    with pytest.raises(ValueError, match=f"^{words}"):
        made.log_prob(value)


def test_free_parameters_are_counted_without_rotations():
    zero, own = torch.zeros(6), torch.ones(6)
    made = LowRankCovariance(zero, torch.ones(6, 2), own)
    assert made.n_free_parameters == 6 + 12 - 1 + 6
    assert isinstance(made.n_free_parameters, int)
    assert (made.dim, made.rank) == (6, 2)
    same = LowRankCovariance(zero, torch.ones(6, 2), own, is_isotropic=True)
    assert same.n_free_parameters == 6 + 12 - 1 + 1


def test_gradients_of_density_and_loss_are_those_of_finite_differences():
    factor, own = loadings_and_variances(4, 2, seed=3)
    data = correlated_samples(10, 4)
    statistics = SufficientStatistics.from_data(data)
    parts = [part.requires_grad_() for part in (data.mean(0) + 0.1, factor, own)]
    assert torch.autograd.gradcheck(lambda *p: low_rank_nll(statistics, *p), parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"cov_diag": torch.zeros(3)}, "cov_diag: expected variances above zero, got 0"),
        ({"cov_diag": -torch.ones(3)}, "cov_diag: expected variances above zero, got -1"),
        ({"cov_diag": torch.tensor([2.0, -1.0, 1.0])}, "variances above zero, got -1"),
        ({"cov_diag": torch.ones(2)}, r"cov_diag: expected shape \(3,\)"),
        ({"cov_diag": torch.ones(3).double()}, "cov_diag: expected dtype float32"),
        ({"cov_factor": torch.ones(3, 0)}, r"cov_factor: expected shape \(..., d, k\)"),
        ({"cov_factor": torch.ones(0, 1)}, r"cov_factor: expected shape \(..., d, k\)"),
        ({"loc": torch.ones(3).double()}, "loc: expected dtype float32"),
        ({"loc": torch.full((3,), math.nan)}, "loc: expected finite values"),
        ({"cov_factor": torch.ones(3)}, r"cov_factor: expected shape \(..., d, k\)"),
        ({"is_heywood": torch.ones(2, dtype=torch.bool)}, "is_heywood: expected shape"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(parts, words):
    good = {"loc": torch.zeros(3), "cov_factor": torch.ones(3, 1), "cov_diag": torch.ones(3)}
    with pytest.raises(ValueError, match=words):
        LowRankCovariance(**{**good, **parts})


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"is_heywood": torch.ones(3)}, "is_heywood: expected a Tensor of bool"),
        ({"is_heywood": [True, False, True]}, "is_heywood: expected a Tensor of bool"),
        ({"is_isotropic": "no"}, "is_isotropic: expected True or False"),
    ],
)
def test_flags_are_true_or_false(part, words):
    with pytest.raises(TypeError, match=f"^{words}"):
        LowRankCovariance(torch.zeros(3), torch.ones(3, 1), torch.ones(3), **part)
