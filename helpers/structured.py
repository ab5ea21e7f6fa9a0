r"""Gaussians with fewer numbers than d(d+3)/2, learnt by likelihood like a `GaussianLikelihood`.

Fewer numbers ask for fewer samples. Three structures: no correlation at all, some common factors,
and a known covariance of which only the shrinkage is learnt.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, LowRankMultivariateNormal, MultivariateNormal

from helpers.devices import widest_dtype
from helpers.estimators import as_statistics
from helpers.factor_analysis import (
    FLOOR,
    cholesky_of_low_rank,
    count_free_parameters,
    factor_analysis,
    low_rank_log_prob,
    low_rank_nll,
)
from helpers.gaussian import LOG_2PI
from helpers.history import History, Recorder
from helpers.maps import cholesky_of_root
from helpers.statistics import SufficientStatistics
from helpers.uncertainty import Verdict
from helpers.validation import (
    LARGEST_SIZE,
    as_covariance,
    as_device,
    as_dtype,
    as_samples,
    as_tensor,
    require_answer,
    require_broadcastable,
    require_count,
    require_counts,
    require_finite,
    require_number,
    require_same_kind,
    require_semidefinite,
    require_shape,
)

DEFAULT_TOLERANCE = 1e-10
WEAK = 0.02  # the share of the variance that a new model gives to common factors, at most
MOST_STEPS = 1000
EM_STEPS = 10  # before L-BFGS: from anywhere to near a maximum
PATIENCE = 20  # steps without change after which a fit ends
STILL = 1e-14  # nats
FURTHEST_LOGIT = 50.0  # of a shrinkage; beyond, it is 0 or 1 to the last digit
POINTS = 1001


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
            self._require_fitting(statistics)
            require_same_kind(model=self.loc, data=statistics.mean)
        return self._nll(statistics)

    def _require_fitting(self, statistics: SufficientStatistics) -> None:
        """Raise ValueError unless there are samples of the model's shape."""
        require_shape(statistics.mean, "data.mean", (self.dim,), f"(..., {self.dim})")
        require_finite(statistics.mean, "data.mean")
        require_finite(statistics.scatter, "data.scatter")
        require_broadcastable(self.batch_shape, "data", statistics.batch_shape)
        if statistics.fewest is not None and statistics.fewest == 0:
            raise ValueError("data: expected at least one sample, got statistics of none")

    def _kind(self, dtype: Any, device: Any, n_numbers: int) -> dict[str, Any]:
        """Of the parameters; ValueError if so many numbers for each Gaussian are too many."""
        if math.prod(self.batch_shape) * n_numbers > LARGEST_SIZE:
            raise ValueError(
                f"dim, batch_shape: expected at most {LARGEST_SIZE} parameters, "
                f"got {math.prod(self.batch_shape) * n_numbers}"
            )
        return {
            "dtype": as_dtype(torch.get_default_dtype() if dtype is None else dtype),
            "device": None if device is None else as_device(device),
        }

    def _log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def _nll(self, statistics: SufficientStatistics) -> Tensor:
        raise NotImplementedError

    def _problem(self, statistics: SufficientStatistics) -> _Problem:
        """The same loss in coordinates that suit an optimiser, and its minimum."""
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

    def _problem(self, statistics: SufficientStatistics) -> _Problem:
        return _DiagonalProblem(self, statistics)


class LowRankLikelihood(StructuredLikelihood):
    r"""A Gaussian whose correlations come from k common factors.

    .. math:: \Sigma = \Lambda \Lambda^\top + \mathrm{diag}(e^{b_1}, \dots, e^{b_d})

    Densities and loss use Woodbury's identity and the determinant lemma: O(d k) a sample or, from
    statistics, O(d^2 k) for all of them, and no d x d matrix is factorised. A new one has
    unit variances and weak loadings of different shape, from which all factors can be learnt; at
    zero loadings the gradient vanishes.

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
        waves = _waves(self.dim, self.rank).to(**kind) * math.sqrt(WEAK / self.rank)  # (d, k)
        batch = self.batch_shape
        self.loc = nn.Parameter(torch.zeros(*batch, dim, **kind))
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

    def _problem(self, statistics: SufficientStatistics) -> _Problem:
        return _LowRankProblem(self, statistics)


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
        return _shrunk(self.eigenvalues, self.logit_shrinkage)

    @property
    def covariance_matrix(self) -> Tensor:
        """The shrunk covariance, (*batch_shape, d, d)."""
        root = self._root
        return root @ root.mT

    @property
    def scale_tril(self) -> Tensor:
        """Its Cholesky factor, (*batch_shape, d, d)."""
        return cholesky_of_root(self._root, validate_args=False)

    @property
    def _root(self) -> Tensor:
        return self.eigenvectors * self.variances.sqrt()[..., None, :]

    def _log_prob(self, value: Tensor) -> Tensor:
        turned = (value - self.loc[..., None, :]) @ self.eigenvectors  # (*batch, n, d)
        variances = self.variances[..., None, :]
        ratio = turned.square() / variances
        return -0.5 * (self.dim * LOG_2PI + (variances.log() + ratio).sum(dim=-1))

    def _nll(self, statistics: SufficientStatistics) -> Tensor:
        return _nll_of_variances(self.variances, self._seen(statistics))

    def _seen(self, statistics: SufficientStatistics) -> Tensor:
        """Mean squares of samples along the eigenvectors, (*batch, d)."""
        scatter = statistics.covariance_matrix() @ self.eigenvectors
        spread = (self.eigenvectors * scatter).sum(dim=-2)
        shift = (statistics.mean - self.loc)[..., None, :] @ self.eigenvectors
        return spread + shift[..., 0, :].square()

    def _problem(self, statistics: SufficientStatistics) -> _Problem:
        return _ShrinkageProblem(self, statistics)


@dataclass(frozen=True, eq=False)
class StructuredHistory(History):
    """The course of a fit of a structured model, which has fewer parameters than others.

    Attributes
    ----------
    n_parameters : int
        Free parameters p of the structure.
    """

    n_parameters: int = 0

    @property
    def sampling_error(self) -> float | None:
        """p / 2n in nats: what the samples leave open."""
        return None if self.count is None else self.n_parameters / (2 * self.count)

    @property
    def verdict(self) -> Verdict | None:
        """The final gap, the worst of a batch, beside the sampling error."""
        if self.sampling_error is None:
            return None
        return Verdict(max(0.0, self.gap[-1].max().item()), self.sampling_error)


class _Problem:
    """A fit in coordinates of its own: what L-BFGS moves, and how far it is from the minimum."""

    def __init__(self, parameters: Sequence[Tensor], minimum: Tensor) -> None:
        self.parameters = [each.detach().clone().requires_grad_() for each in parameters]
        self.minimum = minimum

    def prepare(self) -> None:
        """What comes before the first step: nothing, or a step that brings the scales right."""

    def gap(self) -> Tensor:
        """Loss above its minimum, with gradients, shape batch_shape."""
        raise NotImplementedError

    def values(self) -> dict[str, Tensor]:
        """The parameters of the model at this place, by name."""
        raise NotImplementedError


class _DiagonalProblem(_Problem):
    """In units of the sample's own means and standard deviations."""

    def __init__(self, model: DiagonalLikelihood, statistics: SufficientStatistics) -> None:
        self.centre, self.scale = statistics.mean, _standard_deviations(statistics)
        shift = (model.loc - self.centre) / self.scale
        log_ratio = model.log_scale - self.scale.log()
        minimum = 0.5 * model.dim * (LOG_2PI + 1) + self.scale.log().sum(dim=-1)
        super().__init__([shift, log_ratio], minimum)

    def gap(self) -> Tensor:
        shift, log_ratio = self.parameters
        spread = torch.expm1(-2 * log_ratio) + 2 * log_ratio  # no digits are lost at its minimum
        return 0.5 * (spread + shift.square() * (-2 * log_ratio).exp()).sum(dim=-1)

    def values(self) -> dict[str, Tensor]:
        shift, log_ratio = self.parameters
        return {"loc": self.centre + self.scale * shift, "log_scale": log_ratio + self.scale.log()}


class _LowRankProblem(_Problem):
    """In units of the sample's own, where each variance is kept above the floor of the optimum."""

    def __init__(self, model: LowRankLikelihood, statistics: SufficientStatistics) -> None:
        self.centre, self.scale = statistics.mean, _standard_deviations(statistics)
        unit = self.scale[..., :, None] * self.scale[..., None, :]
        self.standardised = SufficientStatistics._of(
            statistics.count, torch.zeros_like(statistics.mean), statistics.scatter / unit
        )
        self.best = factor_analysis(self.standardised, model.rank)
        self.lowest = self._nll(self.best.loc, self.best.cov_factor, self.best.cov_diag)
        own = (model.log_cov_diag - 2 * self.scale.log()).exp().clamp(min=2 * FLOOR)
        start = [
            (model.loc - self.centre) / self.scale,
            model.cov_factor / self.scale[..., None],
            (own - FLOOR).log(),
        ]
        super().__init__(start, self.lowest + self.scale.log().sum(dim=-1))

    def prepare(self) -> None:
        """Some steps of EM, which find the scales whatever the units."""
        with torch.no_grad():
            for _ in range(EM_STEPS):
                self._em_step()

    def _em_step(self) -> None:
        """A step of EM for factor analysis (Rubin and Thayer 1982)."""
        shift, factor, free = self.parameters
        own = FLOOR + free.exp()
        sample = self.standardised.covariance_matrix()
        weighted = factor / own[..., None]  # psi^-1 Lambda
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        # Mean and second moment of the factors, given the samples.
        capacitance = torch.linalg.cholesky(identity + factor.mT @ weighted)
        scores = torch.cholesky_solve(weighted.mT, capacitance)  # (*batch, k, d)
        crossed = sample @ scores.mT
        second = torch.cholesky_inverse(capacitance) + scores @ crossed
        turned = torch.cholesky_solve(crossed.mT, torch.linalg.cholesky(second)).mT
        left = 1 - (turned * crossed).sum(dim=-1)
        shift.zero_()
        factor.copy_(turned)
        free.copy_(left.clamp(min=2 * FLOOR).sub(FLOOR).log())

    def gap(self) -> Tensor:
        shift, factor, free = self.parameters
        return self._nll(shift, factor, FLOOR + free.exp()) - self.lowest

    def values(self) -> dict[str, Tensor]:
        shift, factor, free = self.parameters
        return {
            "loc": self.centre + self.scale * shift,
            "cov_factor": factor * self.scale[..., None],
            "log_cov_diag": (FLOOR + free.exp()).log() + 2 * self.scale.log(),
        }

    def _nll(self, shift: Tensor, factor: Tensor, own: Tensor) -> Tensor:
        return low_rank_nll(self.standardised, shift, factor, own)


class _ShrinkageProblem(_Problem):
    """One number, whose best value a search finds."""

    def __init__(self, model: ShrinkageLikelihood, statistics: SufficientStatistics) -> None:
        self.eigenvalues, self.seen = model.eigenvalues, model._seen(statistics)
        super().__init__([model.logit_shrinkage], self._minimum())

    def gap(self) -> Tensor:
        return self._nll(self.parameters[0]) - self.minimum

    def values(self) -> dict[str, Tensor]:
        return {"logit_shrinkage": self.parameters[0]}

    def _nll(self, logit: Tensor) -> Tensor:
        return _nll_of_variances(_shrunk(self.eigenvalues, logit), self.seen)

    def prepare(self) -> None:
        """Go to the best point of the grid: there may be several minima, and plateaus."""
        with torch.no_grad():
            self.parameters[0].copy_(self.best_of_grid)

    def _minimum(self) -> Tensor:
        """The smallest loss: on a grid, and between its points."""
        values = self.eigenvalues
        grid = torch.linspace(-FURTHEST_LOGIT, FURTHEST_LOGIT, POINTS, dtype=values.dtype)
        grid = grid.to(values.device).reshape(-1, *[1] * (values.ndim - 1))
        losses = self._nll(grid.expand(-1, *values.shape[:-1]))  # (points, *batch)
        best = losses.argmin(dim=0)
        self.best_of_grid = grid.flatten()[best]
        singular = values[..., 0] <= 4 * values.shape[-1] * _eps(values) * values[..., -1]
        if bool((singular & (best == 0)).any()):
            raise ValueError(
                "data: expected rows with variance where covariance_matrix has none, got rows "
                "without, so that no shrinkage is the best; use other rows than it was made from"
            )
        width = 2 * FURTHEST_LOGIT / (POINTS - 1)
        return self._nll(_golden_section(self._nll, self.best_of_grid, width))


def _golden_section(loss: Callable[[Tensor], Tensor], centre: Tensor, width: float) -> Tensor:
    """Where a function of numbers (*batch,) is smallest, between centre - width and + width."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = centre - width, centre + width
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        is_left = loss(left) < loss(right)
        low, high = torch.where(is_left, low, left), torch.where(is_left, right, high)
    return (low + high) / 2


def _shrunk(eigenvalues: Tensor, logit: Tensor) -> Tensor:
    """Eigenvalues (*batch, d) after shrinkage by the sigmoid of a logit (*batch,)."""
    mean = eigenvalues.mean(dim=-1, keepdim=True)
    kept, moved = torch.sigmoid(-logit)[..., None], torch.sigmoid(logit)[..., None]
    return kept * eigenvalues + moved * mean


def _nll_of_variances(variances: Tensor, seen: Tensor) -> Tensor:
    """Mean NLL from the variances along axes and the mean squares seen there, (*batch, d)."""
    d = variances.shape[-1]
    return 0.5 * (d * LOG_2PI + (variances.log() + seen / variances).sum(dim=-1))


def fit_structured(
    model: StructuredLikelihood,
    data: Any,
    *,
    optimizer: Any = None,
    batch_size: Any = None,
    device: Any = None,
    tol: float | None = None,
    max_steps: int | None = None,
    checkpoint: Any = None,
) -> StructuredHistory:
    """Train a structured model in place, from where it is, by L-BFGS in float64.

    What `helpers.fit` does with such a model. The gap is that to the exact optimum of the
    structure: a closed form, or the best maximum that `factor_analysis` finds, of which there may
    be several.

    Parameters
    ----------
    model : DiagonalLikelihood, LowRankLikelihood or ShrinkageLikelihood
    data : Tensor or ndarray, shape (..., n, dim), or SufficientStatistics
    optimizer : {None, "lbfgs"}
    batch_size, checkpoint : None
    device : torch.device or str, optional
        Where the model is: structured models are small.
    tol : float, optional
        Gap at which the fit ends; by default 1e-10 nats.
    max_steps : int, optional
        By default 1,000.

    Returns
    -------
    StructuredHistory

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. The model is left as it was.
    FloatingPointError
        If training leaves the finite numbers. The model is left as it was.
    """
    _require_plain(optimizer, batch_size, checkpoint)
    _require_trainable(model)
    home = model.loc.device
    if device is not None and as_device(device).type != home.type:
        raise ValueError(f"device: expected that of the model, {home}, got {device!r}")
    tol = DEFAULT_TOLERANCE if tol is None else require_number(tol, "tol", above=0)
    max_steps = MOST_STEPS if max_steps is None else require_count(max_steps, "max_steps")
    statistics = _as_wide(model, data)
    wide = copy.deepcopy(model).to(statistics.mean.dtype)
    with torch.no_grad():
        problem = wide._problem(statistics)
    recorder = Recorder(home)
    try:
        converged = _descend(problem, recorder, tol, max_steps)
    except KeyboardInterrupt:
        _write(problem, model)  # who interrupts keeps what was learnt
        raise
    _write(problem, model)
    return StructuredHistory(
        **recorder.state_dict(),
        optimizer="L-BFGS",
        device=str(home),
        converged=converged,
        dim=model.dim,
        count=statistics.fewest,
        n_parameters=model.n_free_parameters,
    )


def _descend(problem: _Problem, recorder: Recorder, tol: float, max_steps: int) -> bool:
    """L-BFGS until every gap is small enough, nothing moves, or the steps are used up."""
    lbfgs = torch.optim.LBFGS(
        problem.parameters,
        max_iter=1,  # one iteration a step, so that each is recorded
        max_eval=25,
        history_size=50,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        lbfgs.zero_grad()
        total = problem.gap().sum()
        total.backward()
        return total

    worst = _record(problem, recorder, 0)
    unchanged = 0
    for step in range(1, max_steps + 1):
        if worst <= tol or unchanged == PATIENCE:
            break
        recorder.start()
        if step == 1:
            problem.prepare()
        lbfgs.step(closure)
        recorder.stop()
        before, worst = worst, _record(problem, recorder, step)
        unchanged = unchanged + 1 if abs(before - worst) <= STILL else 0
    return worst <= tol


def _record(problem: _Problem, recorder: Recorder, step: int) -> float:
    """Add a row; the largest gap."""
    with torch.no_grad():
        gap = problem.gap()
    worst = gap.max().item() if gap.numel() else 0.0
    if not math.isfinite(worst):
        if step == 0:
            raise ValueError(
                f"model, data: expected numbers for which the loss is finite, got a gap of "
                f"{worst} before the first step"
            )
        raise FloatingPointError(f"fit: L-BFGS left the finite numbers by step {step}")
    recorder.record(step, problem.minimum + gap, gap)
    return worst


@torch.no_grad()
def _write(problem: _Problem, model: StructuredLikelihood) -> None:
    """Set the model's parameters to where the problem is."""
    for name, value in problem.values().items():
        getattr(model, name).copy_(value)


def _as_wide(model: StructuredLikelihood, data: Any) -> SufficientStatistics:
    """Statistics of the data on the model's device, one set for each Gaussian, in float64."""
    dtype = widest_dtype(model.loc.device)
    statistics = as_statistics(data).to(device=model.loc.device, dtype=dtype).detach()
    model._require_fitting(statistics)
    batch, d = model.batch_shape, model.dim
    return SufficientStatistics._of(
        statistics.count.expand(batch),
        statistics.mean.expand(*batch, d),
        statistics.scatter.expand(*batch, d, d),
    )


def _require_plain(optimizer: Any, batch_size: Any, checkpoint: Any) -> None:
    """Raise ValueError unless a fit is asked for that structured models have."""
    if optimizer is not None and not (isinstance(optimizer, str) and optimizer == "lbfgs"):
        raise ValueError(
            f"optimizer: expected None or 'lbfgs' for a structured model, got {optimizer!r}"
        )
    for name, value in (("batch_size", batch_size), ("checkpoint", checkpoint)):
        if value is not None:
            raise ValueError(f"{name}: expected None for a structured model, got {value!r}")


def _require_trainable(model: Any) -> None:
    """Raise an error unless a structured model has finite parameters that may be moved."""
    if not isinstance(model, StructuredLikelihood):
        raise TypeError(f"model: expected a structured model, got {type(model).__name__}")
    for name, parameter in model.named_parameters():
        require_finite(as_tensor(parameter, f"model: {name}"), f"model: {name}")
        if not parameter.requires_grad:
            raise ValueError(
                f"model: expected parameters that require gradients, as all of them are fitted, "
                f"got {name} without"
            )


def _standard_deviations(statistics: SufficientStatistics) -> Tensor:
    """Of the samples, (*batch, d), divided by n; ValueError at a constant column."""
    variance = statistics.covariance_matrix().diagonal(dim1=-2, dim2=-1)
    if bool((variance <= 0).any()):
        column = (variance <= 0).nonzero()[0, -1].item()
        raise ValueError(f"data: expected columns that vary, got a constant column {column}")
    return variance.sqrt()


def _waves(dim: int, rank: int) -> Tensor:
    """Orthogonal columns, (d, k), that no variable has nothing of: cosines of rising frequency."""
    place = (torch.arange(dim, dtype=torch.float64) + 0.5) / dim
    return torch.cos(math.pi * place[:, None] * torch.arange(rank, dtype=torch.float64))


def _eps(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).eps
