"""Gaussians with fewer numbers than d(d+3)/2, learnt by likelihood like a `GaussianLikelihood`.

Fewer numbers ask for fewer samples. Three structures: no correlation at all, some common factors,
and a known covariance of which only the shrinkage is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, LowRankMultivariateNormal, MultivariateNormal

from helpers.estimators import as_statistics
from helpers.gaussian import LOG_2PI, triangular
from helpers.low_rank import (
    cholesky_of_low_rank,
    count_free_parameters,
    low_rank_log_prob,
    low_rank_nll,
)
from helpers.statistics import SufficientStatistics
from helpers.validation import (
    LARGEST_SIZE,
    as_covariance,
    as_kind,
    as_samples,
    as_tensor,
    require_answer,
    require_broadcastable,
    require_count,
    require_counts,
    require_finite,
    require_same_kind,
    require_semidefinite,
    require_shape,
)

WEAK = 0.02  # the share of the variance that a new model gives to common factors, at most


class StructuredLikelihood(nn.Module):
    """What Gaussians of all structures share: the loss, and how it is called.

    Parameters
    ----------
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One Gaussian for each element.
    """

    loc: Tensor

    def __init__(self, dim: int, batch_shape: Sequence[int] = ()) -> None:
        super().__init__()
        self._dim = require_count(dim, "dim")
        self._batch_shape = torch.Size(require_counts(batch_shape, "batch_shape", minimum=0))

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of `forward`; refused where it is not finite, unless told not to validate."""
        loss = super().__call__(*args, **kwargs)
        if not kwargs.get("validate_args", True):
            return loss
        return require_answer(loss, "data, and the model's parameters", "loss")

    @property
    def dim(self) -> int:
        """Number of variables d."""
        return self._dim

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch of Gaussians."""
        return self._batch_shape

    @property
    def n_free_parameters(self) -> int:
        """Free parameters of one Gaussian of this structure."""
        raise NotImplementedError

    @property
    def covariance_matrix(self) -> Tensor:
        """The covariance, (*batch_shape, d, d)."""
        raise NotImplementedError

    @property
    def scale_tril(self) -> Tensor:
        """Its Cholesky factor, (*batch_shape, d, d)."""
        raise NotImplementedError

    @property
    def distribution(self) -> Distribution:
        """The same Gaussian for torch.distributions, with gradients to the parameters."""
        return MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of samples (*batch_shape, n, d) in nats: shape (*batch_shape, n)."""
        value = as_samples(value, "value", dim=self.dim)
        require_same_kind(model=self.loc, value=value)
        require_broadcastable(self.batch_shape, "value", value.shape[:-2])
        answer = self._log_prob(value)
        return require_answer(answer, "value, and the model's parameters", "log_prob")

    def forward(self, data: Tensor | SufficientStatistics, *, validate_args: bool = True) -> Tensor:
        """Mean negative log-likelihood per sample.

        Parameters
        ----------
        data : Tensor, shape (*batch_shape, n, d), or SufficientStatistics
            One set of samples for each Gaussian, or one without batch for all of them.
        validate_args : bool
            False skips all checks of statistics, for loops that checked them before.

        Returns
        -------
        Tensor, shape batch_shape
            In nats per sample.

        Raises
        ------
        TypeError, ValueError
            If `data` is not finite, not of that shape, or not of the model's dtype.
        """
        statistics = as_statistics(data)
        if validate_args:
            require_fitting(self, statistics)
            require_same_kind(model=self.loc, data=statistics.mean)
        return self._nll(statistics)

    def _kind(self, dtype: Any, device: Any, n_numbers: int) -> dict[str, Any]:
        """Of the parameters; ValueError if so many numbers for each Gaussian are too many."""
        if math.prod(self.batch_shape) * n_numbers > LARGEST_SIZE:
            raise ValueError(
                f"dim, batch_shape: expected at most {LARGEST_SIZE} parameters, "
                f"got {math.prod(self.batch_shape) * n_numbers}"
            )
        return as_kind(dtype, device)

    def _log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def _nll(self, statistics: SufficientStatistics) -> Tensor:
        raise NotImplementedError


class DiagonalLikelihood(StructuredLikelihood):
    r"""A Gaussian without correlations; a new one is the standard normal.

    .. math:: \Sigma = \mathrm{diag}(e^{2 a_1}, \dots, e^{2 a_d})

    Parameters
    ----------
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One Gaussian for each element.
    dtype, device
        Of the parameters, as in `torch.zeros`.

    Attributes
    ----------
    loc : Parameter, shape (*batch_shape, d)
    log_scale : Parameter, shape (*batch_shape, d)
        :math:`a`, the logarithms of the standard deviations.
    """

    def __init__(
        self,
        dim: int,
        batch_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(dim, batch_shape)
        kind = self._kind(dtype, device, 2 * self.dim)
        self.loc = nn.Parameter(torch.zeros(*self.batch_shape, dim, **kind))
        self.log_scale = nn.Parameter(torch.zeros(*self.batch_shape, dim, **kind))

    @property
    def n_free_parameters(self) -> int:
        """A mean and a variance for each variable: 2d."""
        return 2 * self.dim

    @property
    def covariance_matrix(self) -> Tensor:
        """The diagonal covariance, (*batch_shape, d, d)."""
        return torch.diag_embed((2 * self.log_scale).exp())

    @property
    def scale_tril(self) -> Tensor:
        """Its Cholesky factor, (*batch_shape, d, d), diagonal as well."""
        return torch.diag_embed(self.log_scale.exp())

    def _log_prob(self, value: Tensor) -> Tensor:
        own = (value - self.loc[..., None, :]) / self.log_scale.exp()[..., None, :]
        log_det = 2 * self.log_scale.sum(dim=-1)[..., None]
        return -0.5 * (self.dim * LOG_2PI + log_det + own.square().sum(dim=-1))

    def _nll(self, statistics: SufficientStatistics) -> Tensor:
        variance = statistics.covariance_matrix().diagonal(dim1=-2, dim2=-1)
        square = variance + (statistics.mean - self.loc).square()
        ratio = (square * (-2 * self.log_scale).exp()).sum(dim=-1)
        return 0.5 * (self.dim * LOG_2PI + 2 * self.log_scale.sum(dim=-1) + ratio)


class LowRankLikelihood(StructuredLikelihood):
    r"""A Gaussian whose correlations come from k common factors.

    .. math:: \Sigma = \Lambda \Lambda^\top + \mathrm{diag}(e^{b_1}, \dots, e^{b_d})

    Densities and loss use Woodbury's identity and the determinant lemma: O(d k) a sample or, from
    statistics, O(d^2 k) for all of them, and no d x d matrix is factorised. A new one has
    unit variances and weak loadings of different shape, from which all factors can be learnt; at
    zero loadings the gradient vanishes.

    A fit goes on from the correlations of the model and takes its scales from the data, so that the
    units do not matter. The likelihood may have several maxima. A fit ends at one of them and
    measures its gap from the best that many starts found: see `converged` of its history.

    Parameters
    ----------
    dim : int
        Number of variables d.
    rank : int
        Number of factors k, from 1 to d - 1.
    batch_shape : sequence of int
        One Gaussian for each element.
    dtype, device
        Of the parameters, as in `torch.zeros`.

    Attributes
    ----------
    loc : Parameter, shape (*batch_shape, d)
    cov_factor : Parameter, shape (*batch_shape, d, k)
        :math:`\Lambda`. Any rotation of its columns is the same covariance.
    log_cov_diag : Parameter, shape (*batch_shape, d)
        :math:`b`, the logarithms of the variances that each variable has for itself.
    """

    def __init__(
        self,
        dim: int,
        rank: int,
        batch_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(dim, batch_shape)
        require_count(dim, "dim", minimum=2)
        self._rank = require_count(rank, "rank", maximum=self.dim - 1)
        kind = self._kind(dtype, device, self.dim * (self.rank + 2))
        batch = self.batch_shape
        self.loc = nn.Parameter(torch.zeros(*batch, dim, **kind))
        waves = _waves(self.dim, self.rank).to(self.loc) * math.sqrt(WEAK / self.rank)  # (d, k)
        self.cov_factor = nn.Parameter(waves.expand(*batch, dim, rank).clone())
        own = (1 - waves.square().sum(dim=-1)).log()
        self.log_cov_diag = nn.Parameter(own.expand(*batch, dim).clone())

    @property
    def rank(self) -> int:
        """Number of factors k."""
        return self._rank

    @property
    def cov_diag(self) -> Tensor:
        """The variance that each variable has for itself, (*batch_shape, d)."""
        return self.log_cov_diag.exp()

    @property
    def n_free_parameters(self) -> int:
        """Of mean, loadings without their rotation, and variances: 2d + dk - k(k-1)/2."""
        return count_free_parameters(self.dim, self.rank)

    @property
    def covariance_matrix(self) -> Tensor:
        """The covariance, (*batch_shape, d, d)."""
        return self.cov_factor @ self.cov_factor.mT + torch.diag_embed(self.cov_diag)

    @property
    def scale_tril(self) -> Tensor:
        """Its Cholesky factor, (*batch_shape, d, d), without forming the covariance."""
        return cholesky_of_low_rank(self.cov_factor, self.cov_diag)

    @property
    def distribution(self) -> LowRankMultivariateNormal:
        """The same Gaussian for torch.distributions, with gradients to the parameters."""
        return LowRankMultivariateNormal(
            self.loc, self.cov_factor, self.cov_diag, validate_args=False
        )

    def _log_prob(self, value: Tensor) -> Tensor:
        return low_rank_log_prob(value, self.loc, self.cov_factor, self.cov_diag)

    def _nll(self, statistics: SufficientStatistics) -> Tensor:
        return low_rank_nll(statistics, self.loc, self.cov_factor, self.cov_diag)


class ShrinkageLikelihood(StructuredLikelihood):
    r"""A known covariance of which one number is learnt: how far to shrink it.

    .. math::
        \Sigma = (1 - \alpha) \, S + \alpha \, \frac{\mathrm{tr}(S)}{d} \, I, \qquad
        \alpha = \frac1{1 + e^{-a}}

    Train it on rows that :math:`S` has not seen: on its own rows the best shrinkage is none. One
    eigendecomposition at the start makes every loss O(d).

    Parameters
    ----------
    covariance_matrix : Tensor, shape (*batch_shape, d, d)
        :math:`S`; it may be singular.
    loc : Tensor, shape (*batch_shape, d), optional
        The mean, which stays as it is: that of the rows of :math:`S`. By default zero, for
        centred data.

    Attributes
    ----------
    logit_shrinkage : Parameter, shape batch_shape
        :math:`a`; at the start 0, which is a shrinkage of one half.
    """

    def __init__(self, covariance_matrix: Tensor, loc: Tensor | None = None) -> None:
        name = "covariance_matrix"
        sample = require_semidefinite(as_covariance(covariance_matrix, name), name).detach()
        *batch, dim = sample.shape[:-1]
        super().__init__(dim, batch)
        if bool((sample.diagonal(dim1=-2, dim2=-1).sum(dim=-1) <= 0).any()):
            raise ValueError(f"{name}: expected a variance above zero, got none")
        if loc is None:
            loc = sample.new_zeros(*batch, dim)
        else:
            loc = as_tensor(loc, "loc").detach()
            require_shape(loc, "loc", (dim,), f"(..., {dim})")
            require_finite(loc, "loc")
            require_same_kind(covariance_matrix=sample, loc=loc)
            require_broadcastable(self.batch_shape, "loc", loc.shape[:-1])
            loc = loc.expand(*batch, dim).clone()
        values, vectors = torch.linalg.eigh(sample)
        require_answer(values, name, "eigenvalues")
        self.register_buffer("loc", loc)
        self.register_buffer("eigenvalues", values.clamp(min=0))
        self.register_buffer("eigenvectors", vectors)
        self.logit_shrinkage = nn.Parameter(sample.new_zeros(batch))

    @property
    def shrinkage(self) -> Tensor:
        """The share of the way towards the multiple of the identity, shape batch_shape."""
        return torch.sigmoid(self.logit_shrinkage)

    @property
    def n_free_parameters(self) -> int:
        """The shrinkage: 1, as :math:`S` and the mean are not learnt here."""
        return 1

    @property
    def variances(self) -> Tensor:
        """Eigenvalues of the covariance, rising, (*batch_shape, d)."""
        return shrunk_variances(self.eigenvalues, self.logit_shrinkage)

    @property
    def covariance_matrix(self) -> Tensor:
        """The shrunk covariance, (*batch_shape, d, d)."""
        root = self._root
        return root @ root.mT

    @property
    def scale_tril(self) -> Tensor:
        """Its Cholesky factor, (*batch_shape, d, d)."""
        return triangular(self._root)

    @property
    def _root(self) -> Tensor:
        return self.eigenvectors * self.variances.sqrt()[..., None, :]

    def _log_prob(self, value: Tensor) -> Tensor:
        turned = (value - self.loc[..., None, :]) @ self.eigenvectors  # (*batch, n, d)
        variances = self.variances[..., None, :]
        ratio = turned.square() / variances
        return -0.5 * (self.dim * LOG_2PI + (variances.log() + ratio).sum(dim=-1))

    def _nll(self, statistics: SufficientStatistics) -> Tensor:
        return nll_of_variances(self.variances, mean_squares(self, statistics))


def require_fitting(model: StructuredLikelihood, statistics: SufficientStatistics) -> None:
    """Raise ValueError unless there are samples of the model's shape."""
    require_shape(statistics.mean, "data.mean", (model.dim,), f"(..., {model.dim})")
    require_finite(statistics.mean, "data.mean")
    require_finite(statistics.scatter, "data.scatter")
    require_broadcastable(model.batch_shape, "data", statistics.batch_shape)
    if statistics.fewest is not None and statistics.fewest == 0:
        raise ValueError("data: expected at least one sample, got statistics of none")


def mean_squares(model: ShrinkageLikelihood, statistics: SufficientStatistics) -> Tensor:
    """Mean squares of samples along the model's eigenvectors, (*batch, d)."""
    scatter = statistics.covariance_matrix() @ model.eigenvectors
    spread = (model.eigenvectors * scatter).sum(dim=-2)
    shift = (statistics.mean - model.loc)[..., None, :] @ model.eigenvectors
    return spread + shift[..., 0, :].square()


def shrunk_variances(eigenvalues: Tensor, logit: Tensor) -> Tensor:
    """Eigenvalues (*batch, d) after shrinkage by the sigmoid of a logit (*batch,)."""
    mean = eigenvalues.mean(dim=-1, keepdim=True)
    kept, moved = torch.sigmoid(-logit)[..., None], torch.sigmoid(logit)[..., None]
    return kept * eigenvalues + moved * mean


def nll_of_variances(variances: Tensor, seen: Tensor) -> Tensor:
    """Mean NLL from the variances along axes and the mean squares seen there, (*batch, d)."""
    d = variances.shape[-1]
    return 0.5 * (d * LOG_2PI + (variances.log() + seen / variances).sum(dim=-1))


def _waves(dim: int, rank: int) -> Tensor:
    """Orthogonal columns, (d, k), that no variable has nothing of: cosines of rising frequency."""
    kind = {"dtype": torch.float64, "device": "cpu"}  # which not every device has
    place = (torch.arange(dim, **kind) + 0.5) / dim
    return torch.cos(math.pi * place[:, None] * torch.arange(rank, **kind))
