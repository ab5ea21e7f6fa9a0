"""What is minimised, and where its minimum lies: the yardstick of every fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from helpers.devices import to_device, widest_dtype
from helpers.estimators import maximum_likelihood
from helpers.gaussian import Gaussian, entropy, kl_divergence
from helpers.models import CovarianceLearner, CovarianceModel, GaussianLikelihood
from helpers.statistics import SufficientStatistics
from helpers.validation import (
    as_covariance,
    as_samples,
    cholesky_factor,
    require_broadcastable,
    require_finite,
    require_shape,
)


class LikelihoodObjective:
    """Mean negative log-likelihood of data under a `GaussianLikelihood`.

    Measured from sufficient statistics in the widest dtype of the device, whatever the dtype of
    the model, so that the yardstick is finer than what it measures.
    """

    unit = 1.0  # of the gap: nats have no scale

    def __init__(self, model: GaussianLikelihood, data: Any, device: torch.device) -> None:
        if isinstance(data, SufficientStatistics):
            self.samples: Tensor | None = None
            statistics = data.to(device=device, dtype=widest_dtype(device)).detach()
            require_shape(statistics.mean, "data.mean", (model.dim,), f"(..., {model.dim})")
            require_finite(statistics.mean, "data.mean")
            require_finite(statistics.scatter, "data.scatter")
        else:
            self.samples = to_device(as_samples(data, dim=model.dim).detach(), device)
            statistics = SufficientStatistics.from_data(self.samples.to(widest_dtype(device)))
        require_broadcastable(model.batch_shape, "data", statistics.batch_shape)
        self.statistics = statistics
        self.optimum = maximum_likelihood(statistics)  # raises where there is none
        self.minimum = entropy(self.optimum.scale_tril)
        self.count: int | None = int(statistics.count.min()) if statistics.count.numel() else None

    @property
    def loc(self) -> Tensor:
        """Mean of the samples."""
        return self.statistics.mean

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance of the samples, divided by their number."""
        return self.statistics.covariance_matrix(correction=0)

    def training_data(self, dtype: torch.dtype) -> SufficientStatistics:
        """What a full-batch loss is computed from: the statistics, which are all it needs."""
        return self.statistics.to(dtype)

    def gap(self, model: GaussianLikelihood) -> Tensor:
        """Loss above its minimum, shape batch_shape."""
        dtype = self.loc.dtype
        current = Gaussian(model.loc.to(dtype), model.scale_tril.to(dtype))
        return kl_divergence(self.optimum, current)

    def fingerprint(self) -> dict[str, Tensor]:
        """What tells these data from others."""
        s = self.statistics
        return {"count": s.count, "mean": s.mean, "scatter": s.scatter}


class MeanSquaredErrorObjective:
    """Mean squared error of a `CovarianceLearner` to a target covariance; its minimum is zero."""

    samples: Tensor | None = None
    count: int | None = None
    loc: Tensor | None = None

    def __init__(self, model: CovarianceLearner, target: Any, device: torch.device) -> None:
        target = to_device(as_covariance(target, "data", dim=model.dim).detach(), device)
        require_broadcastable(model.batch_shape, "data", target.shape[:-2])
        self.covariance_matrix = target.to(widest_dtype(device))
        cholesky_factor(self.covariance_matrix, "data")  # raises if nothing reaches the target
        # The loss has the units of a variance squared, so what is small depends on the smallest.
        variance = self.covariance_matrix.diagonal(dim1=-2, dim2=-1)
        self.unit = variance.min().square().item() if variance.numel() else 1.0
        self.minimum = self.covariance_matrix.new_zeros(target.shape[:-2])

    def training_data(self, dtype: torch.dtype) -> Tensor:
        """What the loss is computed from."""
        return self.covariance_matrix.to(dtype)

    def gap(self, model: CovarianceLearner) -> Tensor:
        """The loss itself, shape batch_shape."""
        scale_tril = model.scale_tril.to(self.covariance_matrix.dtype)
        return (scale_tril @ scale_tril.mT - self.covariance_matrix).square().mean(dim=(-2, -1))

    def fingerprint(self) -> dict[str, Tensor]:
        """What tells this target from others."""
        return {"target": self.covariance_matrix}


Objective = LikelihoodObjective | MeanSquaredErrorObjective


def make_objective(model: CovarianceModel, data: Any, device: torch.device) -> Objective:
    """The objective that belongs to the model."""
    if isinstance(model, GaussianLikelihood):
        return LikelihoodObjective(model, data, device)
    if isinstance(model, CovarianceLearner):
        return MeanSquaredErrorObjective(model, data, device)
    raise TypeError(
        f"model: expected a CovarianceLearner or a GaussianLikelihood, got {type(model).__name__}"
    )
