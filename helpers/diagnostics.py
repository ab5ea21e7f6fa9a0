"""Is the Gaussian right, how sure is the estimate, and which of several models to keep."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers.devices import widest_dtype
from helpers.estimators import maximum_likelihood
from helpers.gaussian import CHUNK, LOG_2PI, Gaussian, log_det, log_prob, mahalanobis
from helpers.uncertainty import n_free_parameters
from helpers.validation import (
    FAR,
    LARGEST_SIZE,
    as_gaussian,
    as_samples,
    as_tensor,
    require_answer,
    require_count,
    require_finite,
    require_number,
)

MOST_ROWS = 100_000  # of a simulated sample; each has to be sorted many times
MOST_DISTANCES = 2**28  # of a simulation; as float64 they take two gibibytes


class Mardia(NamedTuple):
    """Mardia's two measures of shape, and how surprising they would be for Gaussian data.

    Attributes
    ----------
    skewness : Tensor, shape (*batch,)
        Mean cube of the scaled products of all pairs of rows. Of n Gaussian rows its mean is
        d (d + 2) ((n + 1) (d + 1) - 6) / ((n + 1) (n + 3)), which vanishes slowly.
    kurtosis : Tensor, shape (*batch,)
        Mean squared `mahalanobis` of the rows. Of n Gaussian rows its mean is
        d (d + 2) (n - 1) / (n + 1).
    skewness_statistic, kurtosis_statistic : Tensor, shape (*batch,)
        In Gaussian data about chi-squared with d (d + 1) (d + 2) / 6 degrees of freedom, and about
        standard normal.
    skewness_p_value, kurtosis_p_value : Tensor, shape (*batch,)
        About how often Gaussian data give a larger skewness, and a kurtosis further from its mean;
        how nearly, the notes of `mardia` say.
    """

    skewness: Tensor
    kurtosis: Tensor
    skewness_statistic: Tensor
    kurtosis_statistic: Tensor
    skewness_p_value: Tensor
    kurtosis_p_value: Tensor


class LeaveOneOut(NamedTuple):
    """What a Gaussian fitted to all other rows says of each row.

    Attributes
    ----------
    distance : Tensor, shape (*batch, n)
        Squared Mahalanobis distance from the fit without the row.
    log_prob : Tensor, shape (*batch, n)
        Log-density under the fit without the row, in nats; its mean estimates that of new data
        under a fit to n - 1 rows.
    """

    distance: Tensor
    log_prob: Tensor


def mardia(data: Any) -> Mardia:
    r"""Multivariate skewness and kurtosis, each with a test of Gaussian data.

    .. math::
        b_1 = \frac1{n^2} \sum_{jk} \left( z_j^\top z_k \right)^3, \qquad
        b_2 = \frac1n \sum_k \lVert z_k \rVert^4, \qquad z_k = \hat L^{-1} (x_k - \hat\mu)

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d)

    Returns
    -------
    Mardia

    Raises
    ------
    TypeError, ValueError
        If `data` is no float array of that shape, has fewer than max(4, d + 2) rows, or has no
        maximum likelihood estimate.

    Notes
    -----
    Both statistics are scaled by the exact moments for n Gaussian rows, which matter in small
    samples: the mean of b_2 is d (d + 2) (n - 1) / (n + 1). Their distributions are approximate:
    tails of both are longer than assumed below some hundred rows, so that small p-values are too
    small. Of Gaussian samples with 50 rows and four columns, skewness has a p-value below 0.05 in
    about 7 of a hundred and below 0.01 in more than 2, kurtosis in 5 and nearly 2. And a sample
    that is not refused need not be Gaussian: few rows show no more than large deviations.

    References
    ----------
    Mardia (1970), Measures of multivariate skewness and kurtosis with applications. Biometrika 57,
    519-530. Mardia (1974), Applications of some measures of multivariate skewness and kurtosis in
    testing normality and robustness studies. Sankhya B 36, 115-128.
    """
    data = _as_enough_rows(data, fewest=4)
    n, d = data.shape[-2:]
    maximum_likelihood(data)  # refuses what has no fit in the precision of the data
    wide = data.to(widest_dtype(data.device))
    z = _whitened(wide, maximum_likelihood(wide))  # (*batch, d, n)
    # The sum over pairs of rows is one over triples of columns, which are fewer.
    skewness = sum(
        ((z * row[..., None, :]) @ z.mT / n).square().sum((-2, -1)) for row in z.unbind(-2)
    )
    kurtosis = z.square().sum(-2).square().mean(-1)

    df = d * (d + 1) * (d + 2) / 6
    scale = (d + 1) * (n + 1) * (n + 3) / (6 * ((n + 1) * (d + 1) - 6))
    skewness_statistic = skewness * scale
    mean = d * (d + 2) * (n - 1) / (n + 1)
    variance = 8 * d * (d + 2) * (n - 3) * (n - d - 1) * (n - d + 1)
    variance /= (n + 1) ** 2 * (n + 3) * (n + 5)
    kurtosis_statistic = (kurtosis - mean) / variance**0.5
    half_df = torch.full_like(skewness_statistic, df / 2)
    found = (
        skewness,
        kurtosis,
        skewness_statistic,
        kurtosis_statistic,
        torch.special.gammaincc(half_df, skewness_statistic / 2),
        torch.special.erfc(kurtosis_statistic.abs() / 2**0.5),
    )
    return Mardia(*(each.to(data.dtype) for each in found))


def leave_one_out(data: Any) -> LeaveOneOut:
    r"""Each row under the Gaussian that is fitted to all others, without fitting n times.

    With :math:`\delta_k` the squared distance of row k from the fit to all rows, the distance from
    the fit without it is

    .. math:: \frac{n \, \delta_k}{n - 1 - \delta_k}

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d)

    Returns
    -------
    LeaveOneOut
        For Gaussian data, `distance` times (n - 1 - d) / (n d) is F distributed with d and
        n - 1 - d degrees of freedom.

    Raises
    ------
    TypeError, ValueError
        If `data` is no float array of that shape, has fewer than d + 2 rows, or the others have no
        maximum likelihood estimate; the message names the first row that cannot be left out.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, section 5.2, for the
    distribution; the update is that of Sherman and Morrison (1950), Annals of Mathematical
    Statistics 21, 124-127.
    """
    data = _as_enough_rows(data, fewest=3)
    n, d = data.shape[-2:]
    maximum_likelihood(data)  # refuses what has no fit in the precision of the data
    wide = data.to(widest_dtype(data.device))
    gaussian = maximum_likelihood(wide)
    within = _whitened(wide, gaussian).square().sum(-2)  # (*batch, n)
    left = 1 - within / (n - 1)  # of the determinant of the scatter, without the row
    # A difference of nearly equal numbers: what is left of the digits is not enough.
    lost = left <= max(1e-6, 1e4 * torch.finfo(wide.dtype).eps)
    left = left.masked_fill(lost, 1.0)
    distance = n / (n - 1) * within / left
    log_scale = log_det(gaussian.scale_tril, validate_args=False)[..., None]
    log_scale = log_scale + d * np.log(n / (n - 1)) + left.log()  # (*batch, n)
    log_probs = -0.5 * (d * LOG_2PI + log_scale + distance)
    for *element, row in lost.nonzero().tolist():  # at most d of each data set
        place = (*element, row)
        fit = _fit_without(data[tuple(element)], row, element)
        distance[place] = mahalanobis(wide[place][None], *fit)[0]
        log_probs[place] = log_prob(wide[place][None], *fit)[0]
    distance, log_probs = distance.to(data), log_probs.to(data)
    return LeaveOneOut(
        require_answer(distance, "data", "distance"), require_answer(log_probs, "data", "log_prob")
    )


def _fit_without(data: Tensor, row: int, element: list[int]) -> Gaussian:
    """The fit to all rows (n, d) but one, in the widest dtype."""
    others = torch.cat([data[:row], data[row + 1 :]])
    try:
        maximum_likelihood(others)
    except ValueError as error:
        where = f" in batch element {tuple(element)}" if element else ""
        raise ValueError(
            f"data: expected rows of which each can be left out, got row {row}{where}, "
            f"without which there is no fit ({error})"
        ) from error
    return maximum_likelihood(others.to(widest_dtype(data.device)))


def chi_squared_quantiles(n: int, dim: int) -> Tensor:
    r"""Where the sorted squared distances of n rows from the truth would lie.

    The quantiles of chi-squared with d degrees of freedom at :math:`(k - \frac12) / n`.

    Parameters
    ----------
    n : int
        Number of rows.
    dim : int
        Number of variables d.

    Returns
    -------
    Tensor of float64, shape (n,)
        Rising.

    Raises
    ------
    TypeError, ValueError
        If an argument is no whole number from 1 to a million.

    References
    ----------
    Johnson and Wichern (2007), Applied Multivariate Statistical Analysis, section 4.6.
    """
    from scipy.special import gammaincinv

    n = require_count(n, "n", maximum=FAR)
    dim = require_count(dim, "dim", maximum=FAR)
    shares = (np.arange(1, n + 1) - 0.5) / n
    return torch.from_numpy(2 * gammaincinv(dim / 2, shares))


def distance_band(
    n: int, dim: int, mass: float = 0.95, *, repeats: int = 1000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    r"""Where each of the sorted squared distances of n Gaussian rows from their own fit lies.

    A row takes part in the fit that it is measured by. So its squared distance from the maximum
    likelihood estimate is not chi-squared: over n - 1 it is Beta distributed,

    .. math::
        \frac{\delta}{n - 1} \sim
        \mathrm{Beta} \left( \tfrac d2, \tfrac{n - d - 1}{2} \right),

    and it never exceeds n - 1. (From a covariance with n - 1 in the denominator the distance is
    smaller by (n - 1) / n.) Together the distances sum to n d, which keeps those in the middle much
    closer to their places than those of independent rows. So the band is simulated. It is the same
    for every Gaussian, because a linear map of the rows changes no distance.

    Parameters
    ----------
    n : int
        Number of rows, up to a hundred thousand.
    dim : int
        Number of variables d.
    mass : float
        Probability that one given rank falls between its limits; for all ranks at once it is less.
    repeats : int
        Number of samples that are simulated: at least 2 / (1 - mass), so that one lies beyond each
        limit, at most a hundred thousand, and fewer where n is large.
    seed : int
        The global seed is left alone.

    Returns
    -------
    lower, upper : Tensor of float64, shape (n,)
        Limits for the smallest distance first.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or n is below d + 2.

    Notes
    -----
    Time and memory grow with `repeats` times n; above some ten thousand rows pass a subsample.

    References
    ----------
    Gnanadesikan and Kettenring (1972), Robust estimates, residuals, and outlier detection with
    multiresponse data. Biometrics 28, 81-124, for the Beta distribution.
    """
    n = require_count(n, "n", minimum=3, maximum=MOST_ROWS)
    dim = require_count(dim, "dim", maximum=n - 2)
    fewest, most = fewest_repeats(mass), min(MOST_ROWS, MOST_DISTANCES // n)
    if fewest > most:
        raise ValueError(f"mass: expected at most {1 - 2 / most:.6g} for {n} rows, got {mass}")
    repeats = require_count(repeats, "repeats", minimum=fewest, maximum=most)
    rng = np.random.default_rng(require_count(seed, "seed", minimum=0))
    together = max(1, CHUNK // (n * dim))
    sizes = [min(together, repeats - first) for first in range(0, repeats, together)]
    found = torch.cat([_sorted_distances(rng.standard_normal((k, n, dim))) for k in sizes])
    lower, upper = np.quantile(found, [(1 - mass) / 2, (1 + mass) / 2], axis=0)
    return torch.from_numpy(lower), torch.from_numpy(upper)


def fewest_repeats(mass: float) -> int:
    """How many samples it takes for one to lie beyond each limit of a band of this mass."""
    mass = require_number(mass, "mass", above=0, below=1)
    return math.ceil(round(2 / (1 - mass), 6))


def _sorted_distances(rows: np.ndarray) -> Tensor:
    """Squared distances (k, n) of k samples (k, n, d) from their own fits, smallest first."""
    data = torch.from_numpy(rows)
    return _whitened(data, maximum_likelihood(data)).square().sum(-2).sort().values


def log_diagonal_standard_error(count: int) -> float:
    r"""Standard error of every :math:`\log L_{ii}` of a fit, :math:`1 / \sqrt{2 n}`.

    To first order in 1/n it is the same for every Gaussian truth, every i and every number of
    variables. The exact value for variable i, counted from 1, is
    :math:`\frac12 \sqrt{\psi'((n - i) / 2)}` with the trigamma function. Of data with another shape
    the standard deviation of a column has the relative error :math:`\sqrt{(\kappa - 1) / 4n}`,
    where :math:`\kappa` is the mean fourth power of the standardised column, 3 for a Gaussian.

    Parameters
    ----------
    count : int
        Number of samples n.

    Returns
    -------
    float
        Relative: 0.01 means that :math:`L_{ii}` is known to one per cent.

    Raises
    ------
    TypeError, ValueError
        If `count` is no positive whole number.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, section 7.2: in the
    Cholesky factor of a Wishart matrix the squares on the diagonal are chi-squared.
    """
    return (2 * require_count(count, "count")) ** -0.5


def expected_excess(dim: int, count: int) -> float:
    r"""How much log-density the maximum likelihood estimate loses on new data, on average.

    The mean of :math:`\mathrm{KL}(\text{truth} \,\Vert\, \text{estimate})` over samples of n, exact
    for Gaussian data, whatever the truth:

    .. math::
        \frac{p}{n - d - 2} + \frac12 \sum_{i=1}^d \left(
        \psi \left( \tfrac{n - i}{2} \right) - \log \tfrac n2 \right),
        \qquad p = \tfrac{d (d + 3)}{2}

    with the digamma function :math:`\psi`.

    Parameters
    ----------
    dim : int
        Number of variables d.
    count : int
        Number of samples n, at least d + 3; below, the mean is infinite.

    Returns
    -------
    float
        In nats per sample; for large n it is p / 2n, as `expected_gap`.

    Raises
    ------
    TypeError, ValueError
        If `dim` or `count` is no whole number, or `count` is below d + 3.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, sections 7.2, 7.5 and
    7.7, for the moments of a Wishart matrix.
    """
    dim = require_count(dim, "dim", maximum=FAR)
    count = require_count(count, "count", minimum=dim + 3)
    i = torch.arange(1, dim + 1, dtype=torch.float64, device="cpu")
    logs = torch.log1p(-i / count) + _digamma_minus_log((count - i) / 2)
    return n_free_parameters(dim) / (count - dim - 2) + 0.5 * logs.sum().item()


def draw_estimates(gaussian: Any, count: int, repeats: int, *, seed: int = 0) -> Gaussian:
    r"""What maximum likelihood would have found in other samples of the same size.

    No data are drawn: the mean of n Gaussian rows is normal, and the factor of their scatter is
    :math:`L A` with independent normal numbers below the diagonal of A and roots of chi-squared
    numbers on it (Bartlett's decomposition).

    Parameters
    ----------
    gaussian : object with `loc` (*batch, d) and `scale_tril` (*batch, d, d)
        The truth, or a fit that stands for it (a parametric bootstrap).
    count : int
        Number of samples n behind each estimate, at least d + 1.
    repeats : int
        How many estimates.
    seed : int
        The global seed is left alone.

    Returns
    -------
    Gaussian
        `loc` (repeats, *batch, d) and `scale_tril` (repeats, *batch, d, d).

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Bartlett (1933), On the theory of statistical regression. Proceedings of the Royal Society of
    Edinburgh 53, 260-283. Anderson (2003), section 7.2.
    """
    loc, scale_tril = as_gaussian(gaussian, "gaussian")
    *batch, d = torch.broadcast_shapes(loc.shape, scale_tril.shape[:-1])
    count = require_count(count, "count", minimum=d + 1)
    numbers = max(1, d * d * int(np.prod(batch)))
    repeats = require_count(repeats, "repeats", maximum=LARGEST_SIZE // numbers)
    rng = np.random.default_rng(require_count(seed, "seed", minimum=0))
    below = np.tril(rng.standard_normal((repeats, *batch, d, d)), -1)
    roots = np.sqrt(rng.chisquare(count - np.arange(1, d + 1), (repeats, *batch, d)))
    turn = below + roots[..., None] * np.eye(d)
    shift = rng.standard_normal((repeats, *batch, d, 1))
    turn, shift = (torch.from_numpy(each / count**0.5).to(scale_tril) for each in (turn, shift))
    return Gaussian(loc + (scale_tril @ shift)[..., 0], scale_tril @ turn)


def mean_confidence_radius(dim: int, count: int, mass: float = 0.95) -> float:
    r"""Mahalanobis radius of the ellipse around a fit in which the true mean is to be expected.

    By Hotelling's distribution, with the covariance of maximum likelihood,

    .. math:: r^2 = \frac{d}{n - d} F_{d, n - d}(\text{mass})

    Parameters
    ----------
    dim : int
        Number of variables d.
    count : int
        Number of samples n, more than d.
    mass : float
        In which share of all samples the ellipse is to hold the true mean.

    Returns
    -------
    float
        For `plot_ellipse(ax, loc, scale_tril, radius=...)`, with the fit's own factor.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Hotelling (1931), The generalization of Student's ratio. Annals of Mathematical Statistics 2,
    360-378. Anderson (2003), section 5.3.
    """
    from scipy.special import betaincinv

    dim = require_count(dim, "dim", maximum=FAR)
    count = require_count(count, "count", minimum=dim + 1)
    mass = require_number(mass, "mass", above=0, below=1)
    # d F / (n - d) is the odds of a Beta number; small ones keep their digits in this form.
    share = float(betaincinv(dim / 2, (count - dim) / 2, mass))
    if not 0 < share < 1:
        raise ValueError(f"mass: expected one whose radius float64 can hold, got {mass}")
    return (share / (1 - share)) ** 0.5


def aic(mean_nll: float | Tensor, n_parameters: int, count: int) -> float | Tensor:
    """Akaike's information criterion, 2 n NLL + 2 p; the smallest is to be preferred.

    Parameters
    ----------
    mean_nll : float or Tensor, shape (*batch,)
        Mean negative log-likelihood at its minimum, in nats per sample.
    n_parameters : int
        Free parameters p.
    count : int
        Number of samples n.

    Returns
    -------
    float or Tensor, shape (*batch,)
        Over 2n, an estimate of the mean negative log-likelihood on new data.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Akaike (1974), A new look at the statistical model identification. IEEE Transactions on
    Automatic Control 19, 716-723.
    """
    return _criterion(mean_nll, n_parameters, count, 2.0)


def bic(mean_nll: float | Tensor, n_parameters: int, count: int) -> float | Tensor:
    """Schwarz's information criterion, 2 n NLL + p log n; the smallest is to be preferred.

    Parameters
    ----------
    mean_nll : float or Tensor, shape (*batch,)
        Mean negative log-likelihood at its minimum, in nats per sample.
    n_parameters : int
        Free parameters p.
    count : int
        Number of samples n.

    Returns
    -------
    float or Tensor, shape (*batch,)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Schwarz (1978), Estimating the dimension of a model. Annals of Statistics 6, 461-464.
    """
    return _criterion(mean_nll, n_parameters, count, float(np.log(require_count(count, "count"))))


def _criterion(
    mean_nll: float | Tensor, n_parameters: int, count: int, price: float
) -> float | Tensor:
    """Twice the negative log-likelihood of all rows, and the price of each parameter."""
    if isinstance(mean_nll, Tensor):
        require_finite(as_tensor(mean_nll, "mean_nll"), "mean_nll")
    else:
        mean_nll = require_number(mean_nll, "mean_nll")
    n_parameters = require_count(n_parameters, "n_parameters", minimum=0)
    value = 2 * require_count(count, "count") * mean_nll + price * n_parameters
    finite = math.isfinite(value) if isinstance(value, float) else bool(value.isfinite().all())
    if not finite:
        raise ValueError(
            f"mean_nll: expected one that can be multiplied by {2 * count}, got {mean_nll}"
        )
    return value


def _as_enough_rows(data: Any, fewest: int) -> Tensor:
    """Samples (*batch, n, d) with at least `fewest` and d + 2 rows."""
    data = as_samples(data)
    n, d = data.shape[-2:]
    if n < max(fewest, d + 2):
        raise ValueError(
            f"data: expected at least {max(fewest, d + 2)} rows for {d} columns, got {n}"
        )
    return data


def _whitened(data: Tensor, gaussian: Gaussian) -> Tensor:
    """Rows of the data as columns, (*batch, d, n), centred and of unit covariance."""
    centred = (data - gaussian.loc[..., None, :]).mT
    return torch.linalg.solve_triangular(gaussian.scale_tril, centred, upper=False)


def _digamma_minus_log(x: Tensor) -> Tensor:
    """The digamma function minus the logarithm, which are nearly equal where x is large."""
    far = x.clamp(min=10.0)
    inverse = far.square().reciprocal()
    # Abramowitz and Stegun (1964), 6.3.18; at 10 the next term is 2e-14 of the whole.
    tail = inverse * (1 / 252 - inverse * (1 / 240 - inverse * (1 / 132 - inverse * 691 / 32760)))
    series = -0.5 / far - inverse * (1 / 12 - inverse * (1 / 120 - tail))
    return torch.where(x < 10, torch.digamma(x) - x.log(), series)
