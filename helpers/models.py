"""The two models of the course: a covariance learnt by MSE, a Gaussian learnt by likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from helpers.gaussian import log_prob
from helpers.maps import MappedCholesky, ScaleMap, require_scale_map
from helpers.parametrizations import LogCholesky
from helpers.statistics import SufficientStatistics, mean_log_prob
from helpers.validation import (
    FLOATING,
    as_samples,
    as_square,
    as_tensor,
    require_answer,
    require_broadcastable,
    require_finite,
    require_same_kind,
    require_shape,
)


class CovarianceModel(nn.Module):
    """What both models share: a learnable Cholesky factor, and the covariance read out of it.

    Parameters
    ----------
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One covariance for each element.
    dtype, device
        Of the parameters, as in `torch.zeros`.
    """

    def __init__(
        self,
        dim: int,
        batch_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.scale = LogCholesky(dim, batch_shape, dtype=dtype, device=device)
        self.__dict__["_dim"] = int(dim)  # Module.__setattr__ takes microseconds

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of `forward`; refused where it is not finite, unless told not to validate."""
        loss = super().__call__(*args, **kwargs)
        if not kwargs.get("validate_args", True):
            return loss
        return require_answer(loss, "data or target, and the model's parameters", "loss")

    @property
    def dim(self) -> int:
        """Number of variables d."""
        return self._dim

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch of covariances."""
        return self.scale.batch_shape

    @property
    def scale_tril(self) -> Tensor:
        """Cholesky factor, (*batch_shape, d, d)."""
        return self.scale()

    @property
    def covariance_matrix(self) -> Tensor:
        """The covariance that is learnt, (*batch_shape, d, d)."""
        scale_tril = self.scale_tril
        return scale_tril @ scale_tril.mT


# Where the exponential of a number is one that the dtype holds to its full precision.
_LOG_LIMITS = {
    dtype: (math.log(torch.finfo(dtype).smallest_normal), math.log(torch.finfo(dtype).max))
    for dtype in FLOATING
}


def require_trainable(model: CovarianceModel) -> None:
    """Raise an error unless the parameters are free, of a dtype to compute in, and a factor."""
    if not isinstance(model, CovarianceModel):
        raise TypeError(
            f"model: expected a CovarianceLearner or a GaussianLikelihood, "
            f"got {type(model).__name__}"
        )
    is_mapped = isinstance(model.scale, MappedCholesky)
    name = "free" if is_mapped else "log_diagonal"
    as_tensor(model.scale.first_parameter, f"model: {name}")
    if not all(parameter.requires_grad for parameter in model.parameters()):
        frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
        raise ValueError(
            f"model: expected parameters that require gradients, as all of them are fitted, "
            f"got {', '.join(frozen)} without"
        )
    if is_mapped:
        _require_factor(model.scale)
    else:
        _require_exponentials(model.scale)


def _require_factor(scale: MappedCholesky) -> None:
    """Raise ValueError unless the free numbers stand for a factor."""
    try:
        scale.scale_map(scale.free.detach())
    except ValueError as error:
        raise ValueError(f"model: {error}") from None


def _require_exponentials(scale: LogCholesky) -> None:
    """Raise ValueError unless the dtype holds the exponentials to its full precision."""
    log_diagonal = scale.log_diagonal
    lowest, highest = _LOG_LIMITS[log_diagonal.dtype]
    if not log_diagonal.numel():
        return
    smallest, largest = (end.item() for end in log_diagonal.aminmax())  # quicker to compare
    if not lowest < smallest <= largest < highest:  # NaN is not
        raise ValueError(
            f"model: expected log_diagonal between {lowest:.4g} and {highest:.4g}, "
            f"got numbers from {smallest:.4g} to {largest:.4g}"
        )


class CovarianceLearner(CovarianceModel):
    """A covariance matrix learnt by mean squared error to a target.

    Parameters
    ----------
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One covariance for each element.
    dtype, device
        Of the parameters, as in `torch.zeros`.

    Examples
    --------
    >>> model = CovarianceLearner(2)
    >>> model(torch.tensor([[1.0, 0.5], [0.5, 2.0]])).item()  # the MSE of the identity
    0.375
    """

    def forward(self, target: Tensor, *, validate_args: bool = True) -> Tensor:
        """Mean squared error over the d x d entries.

        Parameters
        ----------
        target : Tensor, shape (*batch_shape, d, d)
        validate_args : bool
            False skips all checks of `target`, for loops that checked it before.

        Returns
        -------
        Tensor, shape batch_shape

        Raises
        ------
        TypeError, ValueError
            If `target` is no finite matrix of that shape and of the model's dtype.
        """
        if validate_args:
            target = as_square(target, "target", dim=self.dim)
            require_same_kind(model=self.scale.log_diagonal, target=target)
            require_broadcastable(self.batch_shape, "target", target.shape[:-2])
        return (self.covariance_matrix - target).square().mean(dim=(-2, -1))


class GaussianLikelihood(CovarianceModel):
    """A multivariate normal learnt by likelihood; a new one is the standard normal exactly.

    Parameters
    ----------
    dim : int
        Number of variables d.
    batch_shape : sequence of int
        One Gaussian for each element.
    parametrization : ScaleMap, optional
        From free numbers to the Cholesky factor; by default the exponential on its diagonal, as in
        `LogCholesky`.
    dtype, device
        Of the parameters, as in `torch.zeros`.

    Attributes
    ----------
    loc : Parameter, shape (*batch_shape, d)
    """

    def __init__(
        self,
        dim: int,
        batch_shape: Sequence[int] = (),
        *,
        parametrization: ScaleMap | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(dim, batch_shape, dtype=dtype, device=device)
        self.loc = nn.Parameter(torch.zeros_like(self.scale.log_diagonal))
        if parametrization is not None:
            require_scale_map(parametrization, "parametrization")
            self.scale = MappedCholesky(
                parametrization, dim, batch_shape, dtype=dtype, device=device
            )

    @property
    def distribution(self) -> MultivariateNormal:
        """The same Gaussian for torch.distributions, with gradients to the parameters."""
        return MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of samples (*batch_shape, n, d) in nats: shape (*batch_shape, n)."""
        value = self._as_own(as_samples(value, "value", dim=self.dim), "value")
        return log_prob(value, self.loc, self.scale_tril)

    def forward(self, data: Tensor | SufficientStatistics, *, validate_args: bool = True) -> Tensor:
        """Mean negative log-likelihood per sample.

        Parameters
        ----------
        data : Tensor, shape (*batch_shape, n, d), or SufficientStatistics
            One set of samples for each Gaussian, or one without batch for all of them.
        validate_args : bool
            False skips all checks of `data`, for loops that checked them before.

        Returns
        -------
        Tensor, shape batch_shape
            In nats per sample.

        Raises
        ------
        TypeError, ValueError
            If `data` is not finite, not of that shape, or not of the model's dtype.
        """
        return -mean_log_prob(data, self.loc, self.scale_tril, validate_args=validate_args)

    @torch.no_grad()
    def assign(self, loc: Tensor, scale_tril: Tensor, *, validate_args: bool = True) -> None:
        """Set the parameters so that the model is this Gaussian.

        Parameters
        ----------
        loc : Tensor, shape (*batch_shape, d)
        scale_tril : Tensor, shape (*batch_shape, d, d)
        validate_args : bool
            False skips all checks, for loops that checked before.

        Raises
        ------
        TypeError, ValueError
            If shapes do not match or `scale_tril` is no Cholesky factor; nothing is then set.
        """
        if validate_args:
            loc = as_tensor(loc, "loc").to(self.loc)
            require_shape(loc, "loc", (self.dim,), f"(..., {self.dim})")
            require_broadcastable(self.batch_shape, "loc", loc.shape[:-1])
            require_finite(loc, "loc")
        self.scale.assign(scale_tril, validate_args=validate_args)
        self.loc.copy_(loc)

    def _as_own(self, samples: Tensor, name: str) -> Tensor:
        require_same_kind(model=self.loc, **{name: samples})
        require_broadcastable(self.batch_shape, name, samples.shape[:-2])
        return samples
