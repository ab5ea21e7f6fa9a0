"""What is minimised, and where its minimum lies: the yardstick of every fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.devices import to_device, widest_dtype
from helpers.estimators import estimate
from helpers.gaussian import Gaussian, divergence, entropy, kl_divergence
from helpers.models import CovarianceLearner, CovarianceModel, GaussianLikelihood
from helpers.statistics import SufficientStatistics, collect_batches, refuse_large, unwrap
from helpers.validation import (
    as_covariance,
    as_tensor,
    as_unread_samples,
    cholesky_factor,
    is_table,
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
        self.samples: Any = None  # what mini-batches are drawn from
        self.batches: Iterable[Any] | None = None  # or what they come from
        self.n_batches: int | None = None
        if isinstance(data, SufficientStatistics):
            require_shape(data.mean, "data.mean", (model.dim,), f"(..., {model.dim})")
            require_finite(data.mean, "data.mean")
            require_finite(data.scatter, "data.scatter")
            statistics = data.to(device=device, dtype=widest_dtype(device)).detach()
        elif is_stream(data):
            self.batches, counted = data, CountedBatches(data, model.dim)
            statistics = collect_batches(counted, "data", torch.float64)
            statistics = statistics.to(device=device, dtype=widest_dtype(device)).detach()
            self.n_batches = counted.n_batches
        else:
            self.samples = as_unread_samples(data, dim=model.dim)
            if isinstance(data, np.memmap):  # stays on the disk
                wide = SufficientStatistics.from_data(data, dtype=torch.float64)
                statistics = wide.to(device=device, dtype=widest_dtype(device))
            else:
                self.samples = to_device(as_tensor(data, "data").detach(), device)
                wide = widest_dtype(device)
                statistics = SufficientStatistics.from_data(self.samples, dtype=wide)
        require_broadcastable(model.batch_shape, "data", statistics.batch_shape)
        self.statistics = statistics
        # Raises where there is none; the covariance is divided by n.
        self.optimum, self.covariance_matrix = estimate(statistics)
        self.minimum = entropy(self.optimum.scale_tril, validate_args=False)
        self.count: int | None = statistics.fewest

    @property
    def loc(self) -> Tensor:
        """Mean of the samples."""
        return self.optimum.loc

    def training_data(self, dtype: torch.dtype) -> SufficientStatistics:
        """What a full-batch loss is computed from: the statistics, which are all it needs."""
        if dtype != self.statistics.scatter.dtype:
            refuse_large(self.statistics.scatter.to(dtype), "data")
        return self.statistics.to(dtype)

    def gap(self, model: Any, inverse: Tensor | None = None) -> Tensor:
        """Loss above its minimum, shape batch_shape, of anything with loc and scale_tril.

        Where L^-1 is known, two products replace two systems of equations.
        """
        if inverse is None:
            dtype = self.loc.dtype
            current = Gaussian(model.loc.to(dtype), model.scale_tril.to(dtype))
            return kl_divergence(self.optimum, current, validate_args=False)
        arrived = model.loc is self.loc
        shift = None if arrived else inverse @ (self.loc - model.loc)[..., None]
        return divergence(inverse @ self.optimum.scale_tril, shift)

    def fingerprint(self) -> dict[str, Tensor]:
        """What tells these data from others."""
        s = self.statistics
        return {"count": s.count, "mean": s.mean, "scatter": s.scatter}


class MeanSquaredErrorObjective:
    """Mean squared error of a `CovarianceLearner` to a target covariance; its minimum is zero."""

    samples: Any = None
    batches: Iterable[Any] | None = None
    n_batches: int | None = None
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

    def gap(self, model: Any, inverse: Tensor | None = None) -> Tensor:
        """The loss itself, shape batch_shape, of anything with scale_tril."""
        scale_tril = model.scale_tril.to(self.covariance_matrix.dtype)
        return (scale_tril @ scale_tril.mT - self.covariance_matrix).square().mean(dim=(-2, -1))

    def fingerprint(self) -> dict[str, Tensor]:
        """What tells this target from others."""
        return {"target": self.covariance_matrix}


class CountedBatches:
    """The batches of a stream, counted as they pass; each must have `dim` columns."""

    def __init__(self, batches: Iterable[Any], dim: int) -> None:
        self.batches = batches
        self.dim = dim
        self.n_batches = 0

    def __iter__(self) -> Iterator[Any]:
        for i, batch in enumerate(self.batches):
            samples = as_unread_samples(unwrap(batch), f"data[{i}]", dim=self.dim)
            self.n_batches += 1
            yield samples


def is_stream(data: Any) -> bool:
    """Whether data come in batches rather than in one piece."""
    in_one_piece = isinstance(data, (Tensor, np.ndarray, SufficientStatistics, str, bytes))
    return isinstance(data, Iterable) and not in_one_piece and not is_table(data)


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
