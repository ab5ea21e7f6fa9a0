r"""A covariance with few numbers: some common factors, and a variance of its own per variable.

.. math:: \Sigma = \Lambda \Lambda^\top + \Psi, \qquad \Psi = \mathrm{diag}(\psi)

with `cov_factor` :math:`\Lambda` (d, k) and `cov_diag` :math:`\psi` (d), the names of
`torch.distributions.LowRankMultivariateNormal`. Factor analysis leaves :math:`\psi` free;
probabilistic PCA gives all variables the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from helpers.devices import widest_dtype
from helpers.estimators import as_statistics, require_varying
from helpers.gaussian import LOG_2PI, log_prob, triangular
from helpers.statistics import SufficientStatistics
from helpers.uncertainty import n_free_parameters
from helpers.validation import (
    as_samples,
    as_tensor,
    common_batch_shape,
    require_answer,
    require_count,
    require_finite,
    require_flag,
    require_same_kind,
)

FLOOR = 1e-6  # of a variable's variance: the least that factor analysis leaves it for itself
LOWEST = math.log(FLOOR)
EXPLAINED = 1e-4  # what a start leaves a variable that the factors are to explain
SMALLEST_SHARE = 1e-10  # of a variance; below, a Cholesky factor keeps digits that Woodbury loses
LARGEST_STEP = 2.0  # in log psi
ENOUGH = 1e-15  # nats that a Newton step still promises
MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class LowRankCovariance:
    r"""A Gaussian with covariance :math:`\Lambda \Lambda^\top + \mathrm{diag}(\psi)`.

    Attributes
    ----------
    loc : Tensor, shape (*batch, d)
    cov_factor : Tensor, shape (*batch, d, k)
        :math:`\Lambda`, the loadings. Any rotation of its columns is the same covariance.
    cov_diag : Tensor, shape (*batch, d)
        :math:`\psi`, the variance that each variable has for itself.
    is_heywood : Tensor of bool, shape (*batch, d), optional
        Where :math:`\psi` ended at its floor: the likelihood would have it zero, so that the
        factors explain the variable entirely. No such variable unless said otherwise.
    is_isotropic : bool
        Whether all variables share one :math:`\psi`, which is then one free parameter.
    """

    loc: Tensor
    cov_factor: Tensor
    cov_diag: Tensor
    is_heywood: Tensor | None = None
    is_isotropic: bool = False

    def __post_init__(self) -> None:
        """Check that the parts belong together; ValueError or TypeError if not."""
        loc = as_tensor(self.loc, "loc")
        factor = as_tensor(self.cov_factor, "cov_factor")
        diagonal = as_tensor(self.cov_diag, "cov_diag")
        if factor.ndim < 2 or 0 in factor.shape[-2:]:
            raise ValueError(f"cov_factor: expected shape (..., d, k), got {tuple(factor.shape)}")
        shape = tuple(factor.shape[:-1])
        for name, part in (("loc", loc), ("cov_diag", diagonal)):
            if tuple(part.shape) != shape:
                raise ValueError(
                    f"{name}: expected shape {shape} for that of cov_factor, "
                    f"got {tuple(part.shape)}"
                )
        require_same_kind(cov_factor=factor, loc=loc, cov_diag=diagonal)
        for name, part in (("loc", loc), ("cov_factor", factor), ("cov_diag", diagonal)):
            require_finite(part, name)
        if not bool((diagonal > 0).all()):
            raise ValueError(
                f"cov_diag: expected variances above zero, got {diagonal.min().item():.6g}"
            )
        heywood = self.is_heywood
        if heywood is None:
            heywood = torch.zeros_like(diagonal, dtype=torch.bool)
        if not isinstance(heywood, Tensor) or heywood.dtype != torch.bool:
            raise TypeError(f"is_heywood: expected a Tensor of bool, got {heywood!r}")
        if heywood.shape != diagonal.shape or heywood.device != diagonal.device:
            raise ValueError(
                f"is_heywood: expected shape {shape} on {diagonal.device}, "
                f"got {tuple(heywood.shape)} on {heywood.device}"
            )
        require_flag(self.is_isotropic, "is_isotropic")
        parts = {"loc": loc, "cov_factor": factor, "cov_diag": diagonal, "is_heywood": heywood}
        self.__dict__.update(parts)  # arrays have become tensors

    @property
    def dim(self) -> int:
        """Number of variables d."""
        return self.cov_factor.shape[-2]

    @property
    def rank(self) -> int:
        """Number of factors k."""
        return self.cov_factor.shape[-1]

    @property
    def n_free_parameters(self) -> int:
        """Of mean, loadings without their rotation, and variances: 2d + dk - k(k-1)/2.

        With one variance for all variables d - 1 fewer; and never more than any Gaussian has.
        """
        return count_free_parameters(self.dim, self.rank, is_isotropic=self.is_isotropic)

    @property
    def covariance_matrix(self) -> Tensor:
        """Tensor, shape (*batch, d, d)."""
        return self.cov_factor @ self.cov_factor.mT + torch.diag_embed(self.cov_diag)

    @property
    def scale_tril(self) -> Tensor:
        """Cholesky factor, (*batch, d, d), without forming the covariance."""
        return cholesky_of_low_rank(self.cov_factor, self.cov_diag)

    @property
    def distribution(self) -> LowRankMultivariateNormal:
        """The same Gaussian for torch.distributions."""
        return LowRankMultivariateNormal(
            self.loc, self.cov_factor, self.cov_diag, validate_args=False
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of each sample, by Woodbury's identity: O(d k) each.

        Parameters
        ----------
        value : Tensor, shape (*batch, n, d)
            One row a sample.

        Returns
        -------
        Tensor, shape (*batch, n)
            In nats.

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes do not match, or a value is not finite.
        """
        value = as_samples(value, "value", dim=self.dim)
        require_same_kind(loc=self.loc, value=value)
        common_batch_shape(loc=self.loc.shape[:-1], value=value.shape[:-2])
        answer = low_rank_log_prob(value, self.loc, self.cov_factor, self.cov_diag)
        return require_answer(answer, "value, loc, cov_factor, cov_diag", "log_prob")


def count_free_parameters(dim: int, rank: int, *, is_isotropic: bool = False) -> int:
    """Of mean, loadings without their rotation, and own variances; but no more than all Gaussians.

    Beyond that many (Ledermann 1937) factor analysis describes any covariance.
    """
    found = dim + dim * rank - rank * (rank - 1) // 2 + (1 if is_isotropic else dim)
    return min(found, n_free_parameters(dim))


def cholesky_of_low_rank(cov_factor: Tensor, cov_diag: Tensor) -> Tensor:
    """Cholesky factor (*batch, d, d): the R of a QR of [Lambda, psi^(1/2)] transposed."""
    return triangular(torch.cat([cov_factor, torch.diag_embed(cov_diag.sqrt())], dim=-1))


def low_rank_solver(cov_factor: Tensor, cov_diag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""What stands for the inverse and the determinant: O(d k^2).

    With :math:`Q R` the QR of :math:`[\psi^{-1/2} \Lambda; I]`, Woodbury's identity reads
    :math:`\Sigma^{-1} = \psi^{-1/2} (I - Q_1 Q_1^\top) \psi^{-1/2}` with :math:`Q_1` the first d
    rows, and the determinant lemma :math:`\det\Sigma = \det\Psi \, \det(R)^2`. An orthogonal Q
    loses no digits where a variance is tiny, as a Cholesky factor of :math:`R^\top R` would.

    Returns
    -------
    scale : Tensor, shape (*batch, d), the root of psi
    q : Tensor, shape (*batch, d + k, k)
    log_det : Tensor, shape (*batch,)
    """
    k = cov_factor.shape[-1]
    scale = cov_diag.sqrt()
    identity = torch.eye(k, dtype=cov_factor.dtype, device=cov_factor.device)
    identity = identity.expand(*cov_factor.shape[:-2], k, k)
    q, r = torch.linalg.qr(torch.cat([cov_factor / scale[..., None], identity], dim=-2))
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    log_det = cov_diag.log().sum(dim=-1) + 2 * diagonal.log().sum(dim=-1)
    return scale, q, log_det


def low_rank_log_prob(value: Tensor, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor) -> Tensor:
    """Log-density of samples (*batch, n, d), without checks."""
    d = loc.shape[-1]
    variance = cov_diag + cov_factor.square().sum(dim=-1)
    if bool((cov_diag < SMALLEST_SHARE * variance).any()):
        scale_tril = cholesky_of_low_rank(cov_factor, cov_diag)
        return log_prob(value, loc, scale_tril, validate_args=False)
    scale, q, log_det = low_rank_solver(cov_factor, cov_diag)
    own = (value - loc[..., None, :]) / scale[..., None, :]  # (*batch, n, d)
    score = own @ q[..., :d, :]  # (*batch, n, k)
    # The squared length of what the projection leaves, and not a difference of squares.
    left = own - score @ q[..., :d, :].mT
    beyond = score @ q[..., d:, :].mT
    distance = left.square().sum(dim=-1) + beyond.square().sum(dim=-1)
    return -0.5 * (d * LOG_2PI + log_det[..., None] + distance)


def low_rank_nll(
    statistics: SufficientStatistics, loc: Tensor, factor: Tensor, diag: Tensor
) -> Tensor:
    """Mean negative log-density of samples from their statistics, (*batch,), without checks."""
    d = loc.shape[-1]
    scale, q, log_det = low_rank_solver(factor, diag)
    shift = statistics.mean - loc
    moment = statistics.covariance_matrix() + shift[..., :, None] * shift[..., None, :]
    own = moment / scale[..., :, None] / scale[..., None, :]
    # As in `low_rank_log_prob`, of what the projection leaves, and not a difference of traces.
    top, below = q[..., :d, :], q[..., d:, :]
    identity = torch.eye(d, dtype=q.dtype, device=q.device)
    scores = top.mT @ own  # (*batch, k, d)
    left = (identity - top @ top.mT) * (own - top @ scores)
    beyond = (below @ top.mT) * (below @ scores)
    trace = left.sum(dim=(-2, -1)) + beyond.sum(dim=(-2, -1))
    return 0.5 * (d * LOG_2PI + log_det + trace)


def probabilistic_pca(data: Any, rank: int) -> LowRankCovariance:
    r"""The Gaussian with k common factors and one variance for all else, by maximum likelihood.

    .. math::
        \psi = \frac1{d - k} \sum_{j > k} \lambda_j, \qquad
        \Lambda = U_k (\mathrm{diag}(\lambda_1, \dots, \lambda_k) - \psi I)^{1/2}

    with the eigenvalues :math:`\lambda` of the sample covariance, divided by n, in falling order.

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d), or SufficientStatistics
        Columns in comparable units: one variance stands for all of them.
    rank : int
        Number of factors k, from 1 to d - 1 and at most n - 2.

    Returns
    -------
    LowRankCovariance
        Without gradients to `data`: they are detached.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the data lie in a space of k dimensions, where the
        likelihood has no maximum.

    References
    ----------
    Tipping and Bishop (1999), Probabilistic principal component analysis. Journal of the Royal
    Statistical Society B 61, 611-622.

    Notes
    -----
    `sklearn.decomposition.PCA` divides by n - 1, so its score is lower by a little.
    """
    statistics, rank = _as_statistics(data, rank)
    wide, variance = _wide(statistics)
    largest = variance.amax(dim=-1)  # (*batch,)
    if bool((largest <= 0).any()):
        raise ValueError("data: expected rows that differ, got rows that are all the same")
    unit = largest[..., None, None]  # so that no sum overflows
    values, vectors = torch.linalg.eigh(wide.covariance_matrix() / unit)  # rising
    rest, most = values[..., :-rank], values[..., -rank:].flip(-1)
    own = rest.mean(dim=-1, keepdim=True)  # (*batch, 1)
    rounding = 4 * statistics.dim * torch.finfo(statistics.mean.dtype).eps
    if bool((own <= rounding * most[..., :1]).any()):
        raise ValueError(
            f"data: expected samples with variance beyond {rank} dimensions, got some without; "
            f"with so little the likelihood has no maximum"
        )
    vectors = _with_signs(vectors[..., -rank:].flip(-1))
    factor = vectors * (most - own).clamp(min=0).sqrt()[..., None, :] * unit.sqrt()
    diagonal = (own * unit[..., 0]).expand_as(variance)
    return _result(statistics, factor, diagonal, None, is_isotropic=True)


def factor_analysis(data: Any, rank: int, *, n_starts: int = 20) -> LowRankCovariance:
    r"""The Gaussian with k common factors and a variance of its own per variable.

    By maximum likelihood: for given :math:`\psi` the best loadings are known from the eigenvalues
    :math:`\theta` and eigenvectors of :math:`\Psi^{-1/2} S \Psi^{-1/2}`, so what is left to
    minimise depends on d numbers,

    .. math::
        \tfrac12 \Big( d \log 2\pi + \sum_i \log\psi_i + \sum_{j \le k} (\log\theta_j + 1)
            + \sum_{j > k} \theta_j \Big),

    which Newton's method does in :math:`\log\psi` with exact second derivatives. The units of the
    columns do not matter.

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d), or SufficientStatistics
        n may be smaller than d.
    rank : int
        Number of factors k, from 1 to d - 1 and at most n - 2.
    n_starts : int
        The likelihood may have several maxima, so that many starts are tried, at most d + 3:
        from probabilistic PCA, from the partial variances, and from there with one variable after
        another left to the factors.

    Returns
    -------
    LowRankCovariance
        The best that was found, without gradients to `data`: they are detached. `is_heywood` says
        which :math:`\psi_i` ended at their floor, a millionth of the variance of the variable.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a column is constant, or columns are so dependent that k
        factors explain more than k of them, but for a millionth of their variance: with exact
        dependence the likelihood has no maximum.

    References
    ----------
    Jöreskog (1967), Some contributions to maximum likelihood factor analysis. Psychometrika 32,
    443-482. Lawley and Maxwell (1971), Factor Analysis as a Statistical Method, chapter 4.
    """
    statistics, rank = _as_statistics(data, rank)
    n_starts = require_count(n_starts, "n_starts")
    wide, variance = _wide(statistics)
    require_varying(variance)
    scale = variance.sqrt()  # (*batch, d)
    correlation = wide.covariance_matrix() / scale[..., :, None] / scale[..., None, :]
    d = statistics.dim
    flat = correlation.reshape(math.prod(correlation.shape[:-2]), d, d)
    found = [_log_own_variances(each, rank, n_starts) for each in flat]
    log_own = torch.stack(found) if found else flat.new_zeros(0, d)
    log_own = log_own.reshape(variance.shape)
    own, is_heywood = log_own.exp(), log_own <= LOWEST
    if bool((is_heywood.sum(dim=-1) > rank).any()):
        raise ValueError(
            f"data: expected columns of which {rank} factors explain at most {rank} entirely, got "
            f"{int(is_heywood.sum(dim=-1).max())}: but for a millionth of their variance some are "
            f"linear combinations of others"
        )
    loadings = _best_loadings(correlation, own, rank)
    return _result(statistics, scale[..., None] * loadings, own * variance, is_heywood)


def _log_own_variances(correlation: Tensor, rank: int, n_starts: int) -> Tensor:
    """The log psi, (d,), of the smallest loss that any start leads to."""
    root = _root(correlation)
    starts = islice(_starts(correlation, rank), n_starts)
    return min((_newton(root, start, rank) for start in starts), key=lambda end: end[1])[0]


def _starts(correlation: Tensor, rank: int) -> Iterator[Tensor]:
    """Where to start, log psi (d,)."""
    d = len(correlation)
    same = torch.linalg.eigvalsh(correlation)[:-rank].mean().clamp(min=10 * FLOOR)
    yield same.expand(d).log()
    # What is left of each variable once all others are known bounds psi from below.
    partial = (1 - rank / (2 * d)) * _partial_variances(correlation)
    log_partial = partial.clamp(min=10 * FLOOR).log()
    yield log_partial
    rising = log_partial.argsort()
    for explained in (rising[:rank], *rising.split(1)):
        start = log_partial.clone()
        start[explained] = math.log(EXPLAINED)
        yield start


def _partial_variances(correlation: Tensor) -> Tensor:
    """The variance, (d,), that each variable has left once all others are known."""
    identity = torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
    factor, info = torch.linalg.cholesky_ex(correlation)
    if info.item():  # with no more samples than variables nothing is left: it is only a start
        factor = torch.linalg.cholesky(0.9 * correlation + 0.1 * identity)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse.square().sum(dim=0).reciprocal()


def _root(correlation: Tensor) -> Tensor:
    """A square root, (d, d), whose singular values in any scaling keep their digits."""
    values, vectors = torch.linalg.eigh(correlation)
    return values.clamp(min=0).sqrt()[:, None] * vectors.mT


def _newton(root: Tensor, log_own: Tensor, rank: int) -> tuple[Tensor, float]:
    """Minimise the profiled loss over log psi (d,) above its floor; the end, and the loss there."""
    loss, gradient, hessian = _profiled(root, log_own, rank)
    for _ in range(MOST_STEPS):
        held = (log_own <= LOWEST) & (gradient > 0)
        step = _newton_step(gradient, hessian, held)
        if -0.5 * (gradient @ step).item() < ENOUGH:
            break
        for halving in range(30):
            moved = (log_own + step / 2**halving).clamp(min=LOWEST)
            there = _profiled(root, moved, rank)
            if there[0] < loss:
                break
        else:
            break  # rounding is all that is left
        log_own = moved
        loss, gradient, hessian = there
    return log_own, loss


def _newton_step(gradient: Tensor, hessian: Tensor, held: Tensor) -> Tensor:
    """A step downhill, (d,), that leaves alone what is held at its floor."""
    free = ~held
    values, vectors = torch.linalg.eigh(hessian[free][:, free])
    # Where the curvature is negative, away from the saddle; where there is none, not far.
    values = values.abs().clamp(min=1e-12)
    step = torch.zeros_like(gradient)
    step[free] = -vectors @ ((vectors.mT @ gradient[free]) / values)
    longest = step.abs().max().item()
    return step if longest <= LARGEST_STEP else step * (LARGEST_STEP / longest)


def _profiled(root: Tensor, log_own: Tensor, rank: int) -> tuple[float, Tensor, Tensor]:
    r"""Loss with the best loadings at log psi (d,), without its constant; gradient; Hessian.

    With :math:`\theta_m, v_m` the eigenpairs beyond the factors, and those of factors marked n,

    .. math::
        g = \tfrac12 \sum_m (1 - \theta_m) \, v_m \circ v_m, \qquad
        H = \tfrac12 \Big( V \Theta V^\top \circ V V^\top + \sum_{m, n}
            \frac{(1 - \theta_m)(\theta_m + \theta_n)}{\theta_n - \theta_m}
            \, v_m v_m^\top \circ v_n v_n^\top \Big).
    """
    scaled = root * (-0.5 * log_own).exp()
    _, singular, rows = torch.linalg.svd(scaled)
    theta = singular.square()  # falling
    # A factor whose eigenvalue is below one has no loading, and counts with the rest.
    n_factors = int((theta[:rank] > 1).sum())
    top, rest = theta[:n_factors], theta[n_factors:]
    v, w = rows[:n_factors], rows[n_factors:]  # rows are eigenvectors
    loss = 0.5 * (log_own.sum() + (top.log() + 1).sum() + rest.sum()).item()
    gradient = 0.5 * ((1 - rest) @ w.square())
    curvature = (w.mT @ (rest[:, None] * w)) * (w.mT @ w)
    for value, vector in zip(top, v, strict=True):
        weight = (1 - rest) * (rest + value) / (value - rest).clamp(min=1e-12)
        curvature = curvature + (w.mT @ (weight[:, None] * w)) * vector[:, None] * vector
    return loss, gradient, 0.5 * curvature


def _best_loadings(correlation: Tensor, own: Tensor, rank: int) -> Tensor:
    """The loadings, (*batch, d, k), that are most probable for given psi (*batch, d)."""
    scale = own.sqrt()
    values, vectors = torch.linalg.eigh(correlation / scale[..., :, None] / scale[..., None, :])
    values, vectors = values[..., -rank:].flip(-1), vectors[..., -rank:].flip(-1)
    lengths = (values - 1).clamp(min=0).sqrt()
    return _with_signs(scale[..., None] * vectors * lengths[..., None, :])


def _with_signs(columns: Tensor) -> Tensor:
    """Columns of which the largest entry is positive, so that every machine gives the same."""
    largest = columns.abs().argmax(dim=-2, keepdim=True)
    return columns * torch.where(columns.gather(-2, largest) < 0, -1.0, 1.0).to(columns.dtype)


def _as_statistics(data: Any, rank: Any) -> tuple[SufficientStatistics, int]:
    statistics = as_statistics(data)
    if statistics.dim < 2:
        raise ValueError("data: expected at least two columns, got 1")
    rank = require_count(rank, "rank", maximum=statistics.dim - 1)
    if statistics.fewest is not None and statistics.fewest < rank + 2:
        raise ValueError(
            f"data: expected at least {rank + 2} rows for rank {rank}, got {statistics.fewest}; "
            f"with so few the likelihood has no maximum"
        )
    return statistics, rank


def _wide(statistics: SufficientStatistics) -> tuple[SufficientStatistics, Tensor]:
    """Statistics in the widest dtype, without gradients, and the variances (*batch, d)."""
    wide = statistics.to(widest_dtype(statistics.mean.device)).detach()
    return wide, wide.covariance_matrix().diagonal(dim1=-2, dim2=-1)


def _result(
    statistics: SufficientStatistics,
    factor: Tensor,
    diagonal: Tensor,
    is_heywood: Tensor | None,
    *,
    is_isotropic: bool = False,
) -> LowRankCovariance:
    """The answer in the dtype of the data."""
    dtype = statistics.mean.dtype
    factor = require_answer(factor.to(dtype), "data", "loadings")
    diagonal = diagonal.to(dtype)
    if bool((diagonal <= 0).any()):
        raise ValueError(f"data: expected variances that {dtype} can hold, got some too small")
    return LowRankCovariance(statistics.mean.detach(), factor, diagonal, is_heywood, is_isotropic)
