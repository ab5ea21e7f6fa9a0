"""Numbers of public data sets that anyone can recompute, from the helpers and from scikit-learn.

Each value is held to the digits that are printed here: once as the helpers compute it, and once as
scikit-learn does on the spot, which shares no code with them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf, ShrunkCovariance
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import scale
from torch import Tensor

import helpers


@cache
def iris() -> np.ndarray:
    """150 flowers, 4 columns in centimetres."""
    return load_iris().data


@cache
def wine() -> np.ndarray:
    """178 wines, 13 columns, each with mean 0 and variance 1 (divided by n)."""
    return scale(load_wine().data)


@cache
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """442 patients: body mass index, and the standardised target."""
    loaded = load_diabetes()
    return loaded.data[:, [2]], (loaded.target - loaded.target.mean()) / loaded.target.std()


class Reference(NamedTuple):
    """A value as it is printed, and two ways to it."""

    printed: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]


# Ways of our own -------------------------------------------------------------------------------


def covariance(data: np.ndarray) -> Tensor:
    return helpers.maximum_likelihood(data).covariance_matrix


def score(data: np.ndarray, covariance_matrix: Tensor) -> Tensor:
    """Mean log-density of samples under a Gaussian with their mean."""
    rows = torch.as_tensor(data)
    return helpers.log_prob(rows, rows.mean(0), torch.linalg.cholesky(covariance_matrix)).mean()


def shrunk_score() -> Tensor:
    return score(wine(), helpers.shrunk_covariance(covariance(wine()), 0.1))


def factor_score() -> Tensor:
    found = helpers.factor_analysis(wine(), 2)
    return found.log_prob(torch.as_tensor(wine())).mean()


def principal_score() -> Tensor:
    """Of probabilistic PCA with variances divided by n - 1, as scikit-learn has them."""
    found = helpers.probabilistic_pca(wine(), 2)
    unbiased = len(wine()) / (len(wine()) - 1)
    theirs = helpers.LowRankCovariance(
        found.loc, found.cov_factor * math.sqrt(unbiased), found.cov_diag * unbiased
    )
    return theirs.log_prob(torch.as_tensor(wine())).mean()


@cache
def mixture() -> GaussianMixture:
    """The maximum that EM finds; ten starts agree on it."""
    return GaussianMixture(3, random_state=0, n_init=10, tol=1e-8, max_iter=2000).fit(iris())


def mixture_log_likelihood() -> Tensor:
    """Log-likelihood of all rows: the density of a mixture is a sum over its components."""
    found = mixture()
    loc, covariances = torch.as_tensor(found.means_), torch.as_tensor(found.covariances_)
    rows = torch.as_tensor(iris()).expand(3, -1, -1)
    each = helpers.log_prob(rows, loc, torch.linalg.cholesky(covariances))  # (3, 150)
    weighted = each + torch.as_tensor(found.weights_).log()[:, None]
    return torch.logsumexp(weighted, dim=0).sum()


def mixture_bic() -> Any:
    n_parameters = 3 * helpers.n_free_parameters(4) + 2  # two of three weights are free
    return helpers.bic(-mixture_log_likelihood() / 150, n_parameters, 150)


def process_log_likelihood() -> Tensor:
    """A Gaussian process seen at 442 places is one sample of a Gaussian with 442 variables."""
    x, y = (torch.as_tensor(each) for each in diabetes())
    kernel = torch.exp(-0.5 * ((x - x.mT) / 0.05).square())
    kernel = kernel + 0.5 * torch.eye(len(x), dtype=x.dtype)
    zero = torch.zeros_like(y)
    return helpers.log_prob(y[None], zero, torch.linalg.cholesky(kernel))[0]


def distances(data: np.ndarray) -> Tensor:
    """Squared Mahalanobis distances from the estimate."""
    best = helpers.maximum_likelihood(data)
    return helpers.mahalanobis(torch.as_tensor(data), best.loc, best.scale_tril)


def share_beyond(squared: Any) -> float:
    """Which share of squared distances lies above the 5 % bound of chi-squared."""
    return float((np.asarray(squared) > stats.chi2.ppf(0.95, 13)).mean())


# Ways of scikit-learn --------------------------------------------------------------------------


def process() -> float:
    kernel = ConstantKernel(1.0) * RBF(0.05) + WhiteKernel(0.5)
    return (
        GaussianProcessRegressor(kernel, alpha=0, optimizer=None)
        .fit(*diabetes())
        .log_marginal_likelihood_value_
    )


def factors() -> float:
    fitted = FactorAnalysis(2, tol=1e-12, max_iter=100_000, svd_method="lapack").fit(wine())
    return fitted.score(wine())


def their_distances() -> np.ndarray:
    return EmpiricalCovariance().fit(wine()).mahalanobis(wine())


REFERENCES = {
    "iris, log-likelihood": Reference(
        "-379.9146301",
        lambda: -150 * helpers.minimum_nll(iris()),
        lambda: EmpiricalCovariance().fit(iris()).score(iris()) * 150,
    ),
    "wine, mean log-likelihood": Reference(
        "-14.6134730670",
        lambda: -helpers.minimum_nll(wine()),
        lambda: EmpiricalCovariance().fit(wine()).score(wine()),
    ),
    "wine, log-determinant": Reference(
        "-7.6654557292",
        lambda: helpers.log_det(helpers.maximum_likelihood(wine()).scale_tril),
        lambda: np.linalg.slogdet(EmpiricalCovariance().fit(wine()).covariance_)[1],
    ),
    "wine, condition": Reference(
        "45.5208",
        lambda: torch.linalg.cond(covariance(wine())),
        lambda: np.linalg.cond(EmpiricalCovariance().fit(wine()).covariance_),
    ),
    "wine, Ledoit-Wolf": Reference(
        "0.0482041442",
        lambda: helpers.ledoit_wolf(wine())[1],
        lambda: LedoitWolf().fit(wine()).shrinkage_,
    ),
    "wine, OAS": Reference(
        "0.0561291574",
        lambda: helpers.oas(wine())[1],
        lambda: OAS().fit(wine()).shrinkage_,
    ),
    "wine, shrunk by 0.1": Reference(
        "-14.7876107374",
        shrunk_score,
        lambda: ShrunkCovariance(shrinkage=0.1).fit(wine()).score(wine()),
    ),
    "iris, mixture of three": Reference(
        "-180.185478",
        mixture_log_likelihood,
        lambda: mixture().score(iris()) * 150,
    ),
    "iris, BIC of the mixture": Reference("580.8389", mixture_bic, lambda: mixture().bic(iris())),
    "wine, two factors": Reference("-15.4336575973", factor_score, factors),
    "wine, two principal components": Reference(
        "-16.1553628494", principal_score, lambda: PCA(2).fit(wine()).score(wine())
    ),
    "diabetes, Gaussian process": Reference("-552.4707411385", process_log_likelihood, process),
    "wine, mean squared distance": Reference(
        "13.0000000000", lambda: distances(wine()).mean(), lambda: their_distances().mean()
    ),
    "wine, Mardia's kurtosis": Reference(
        "225.1140200",
        lambda: helpers.mardia(wine()).kurtosis,
        lambda: (their_distances() ** 2).mean(),
    ),
    "wine, beyond the 5 % bound": Reference(
        "0.084270",
        lambda: share_beyond(distances(wine())),
        lambda: share_beyond(their_distances()),
    ),
}


def digits_of(value: Any, printed: str) -> str:
    """A number with as many decimal places as a printed one."""
    return f"{float(value):.{len(printed.partition('.')[2])}f}"


@pytest.mark.parametrize("name", REFERENCES)
def test_the_helpers_give_every_digit(name):
    reference = REFERENCES[name]
    assert digits_of(reference.ours(), reference.printed) == reference.printed


@pytest.mark.parametrize("name", REFERENCES)
def test_scikit_learn_gives_every_digit(name):
    reference = REFERENCES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert digits_of(reference.theirs(), reference.printed) == reference.printed


def test_gaussian_data_would_have_195_where_wine_has_225():
    """The mean square of chi-squared with 13 degrees of freedom, which is d (d + 2)."""
    assert stats.chi2.moment(2, 13) == pytest.approx(195, rel=1e-12)
    assert float(helpers.mardia(wine()).kurtosis_p_value) < 1e-6


def test_a_pca_by_maximum_likelihood_scores_higher_than_one_that_divides_by_n_minus_1():
    rows = torch.as_tensor(wine())
    ours = helpers.probabilistic_pca(wine(), 2).log_prob(rows).mean().item()
    assert ours > PCA(2).fit(wine()).score(wine())
    assert digits_of(ours, "-16.1552598882") == "-16.1552598882"


def test_digits_have_rank_61_and_no_maximum():
    pixels = load_digits().data
    assert np.linalg.matrix_rank(pixels - pixels.mean(0)) == 61
    assert int((np.ptp(pixels, axis=0) == 0).sum()) == 3
    with pytest.raises(ValueError, match="constant column 0"):
        helpers.maximum_likelihood(pixels)
