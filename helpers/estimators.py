"""What needs no optimiser: the maximum likelihood estimate in closed form."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from helpers.gaussian import Gaussian, entropy
from helpers.statistics import SufficientStatistics
from helpers.validation import cholesky_factor


def as_statistics(data: Any) -> SufficientStatistics:
    """Statistics of `data`, (*batch, n, d); statistics are returned as they are."""
    return data if isinstance(data, SufficientStatistics) else SufficientStatistics.from_data(data)


def maximum_likelihood(data: Any) -> Gaussian:
    r"""The Gaussian under which the data are most probable.

    .. math::
        \hat\mu = \frac1n \sum_k x_k, \qquad
        \hat\Sigma = \frac1n \sum_k (x_k - \hat\mu)(x_k - \hat\mu)^\top

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d), or SufficientStatistics

    Returns
    -------
    Gaussian
        `loc` (*batch, d) and `scale_tril` (*batch, d, d).

    Raises
    ------
    ValueError
        If there is no maximum: n <= d, a constant column, or a column that is a linear
        combination of others. Such data make the likelihood grow without bound.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, section 3.2.
    """
    return estimate(as_statistics(data))[0]


def estimate(statistics: SufficientStatistics) -> tuple[Gaussian, Tensor]:
    """The Gaussian of `maximum_likelihood`, and the covariance that was factorised for it."""
    _require_enough(statistics)
    covariance = statistics.covariance_matrix(correction=0)
    try:
        factor = cholesky_factor(covariance, "data: covariance", statistics.count)
    except ValueError:
        require_varying(
            statistics.scatter.diagonal(dim1=-2, dim2=-1)
        )  # the most frequent reason has words of its own
        raise
    return Gaussian(statistics.mean, factor), covariance


def minimum_nll(data: Any) -> Tensor:
    r"""Smallest mean negative log-likelihood that any Gaussian reaches on the data.

    .. math:: \tfrac12 \left( d \log 2\pi + \log\det\hat\Sigma + d \right)

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d), or SufficientStatistics

    Returns
    -------
    Tensor, shape (*batch,)
        In nats per sample.

    Raises
    ------
    ValueError
        As `maximum_likelihood`.
    """
    return entropy(maximum_likelihood(data).scale_tril, validate_args=False)


def _require_enough(statistics: SufficientStatistics) -> None:
    if statistics.fewest is not None and statistics.fewest <= statistics.dim:
        raise ValueError(
            f"data: expected more samples than the {statistics.dim} variables, "
            f"got {statistics.fewest}; with so few the likelihood has no maximum"
        )


def require_varying(variance: Tensor) -> None:
    """Raise ValueError where a column, of variances or sums of squares (*batch, d), is constant."""
    constant = variance <= 0
    if bool(constant.any()):
        *element, column = constant.nonzero()[0].tolist()
        where = f" in batch element {tuple(element)}" if element else ""
        raise ValueError(f"data: expected columns that vary, got a constant column {column}{where}")
