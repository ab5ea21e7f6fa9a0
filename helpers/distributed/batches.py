"""Batches of Gaussians split over ranks: each rank fits its part, and all end with the whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from helpers.distributed.groups import Ranks, agree, find_ranks
from helpers.distributed.parallel import agreed, left_alone_on_error, progress_bar, reduced
from helpers.history import History, Recorder
from helpers.models import GaussianLikelihood, require_trainable
from helpers.objectives import LikelihoodObjective, is_stream
from helpers.optimizers import make_stepper
from helpers.statistics import SufficientStatistics
from helpers.training import DEFAULT_TOLERANCE, FULL_BATCH_STEPS
from helpers.validation import (
    as_device,
    as_tensor,
    as_unread_samples,
    require_broadcastable,
    require_count,
    require_number,
)

SEPARATE = ("natural", "natural-autograd", "adam")  # each Gaussian takes its own way down


def fit_batches(
    model: GaussianLikelihood,
    data: Any,
    *,
    optimizer: str | None = None,
    device: torch.device | str | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    group: dist.ProcessGroup | None = None,
    progress: bool | None = None,
) -> History:
    """Train a batch of Gaussians, of which each rank of a process group takes a part.

    Every rank calls it with the same arguments, fits its part of the first dimension of the batch,
    and ends with the whole model, the same on all of them bit for bit. What one process learns with
    `fit` differs from it by rounding only.

    Parameters
    ----------
    model : GaussianLikelihood
        With a batch shape of one dimension or more. There may be fewer Gaussians than ranks.
    data : Tensor or ndarray, shape (*batch, n, d), or SufficientStatistics
        As in `fit`. Of a `numpy.memmap` a rank reads only its part.
    optimizer : {"natural", "natural-autograd", "adam"}, optional
        Ways down on which no Gaussian looks at another; by default the natural gradient.
    device : torch.device or str, optional
        Moves the model there. By default it stays where it is.
    tol : float, optional
        Gap to the exact optimum at which the fit ends, for the worst Gaussian of all ranks. By
        default 1e-10 nats.
    max_steps : int, optional
        Largest number of steps. By default 100 for the natural gradient and 2,000 for "adam".
    group : ProcessGroup, optional
        The ranks that share the work; by default all of them, or this process alone where
        torch.distributed has not been initialised.
    progress : bool, optional
        Show a progress bar on rank 0; by default only when the work takes over two seconds.

    Returns
    -------
    History
        Of all Gaussians, on every rank.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or differs between ranks: on every rank, and the model is left
        as it was.
    FloatingPointError
        If training leaves the finite numbers. The model is left as it was.
    """
    ranks = find_ranks(group)
    how = (optimizer, device, tol, max_steps, progress)
    with left_alone_on_error(model):
        return agreed(lambda: _Part(model, data, *how, ranks), ranks).train()


class _Part:
    """One rank's part in a call of `fit_batches`."""

    def __init__(
        self,
        model: Any,
        data: Any,
        optimizer: str | None,
        device: Any,
        tol: float | None,
        max_steps: int | None,
        progress: bool | None,
        ranks: Ranks,
    ) -> None:
        _require_batch(model)
        self.name = "natural" if optimizer is None else optimizer
        if not isinstance(self.name, str) or self.name not in SEPARATE:
            raise ValueError(f"optimizer: expected one of {', '.join(SEPARATE)}, got {optimizer!r}")
        self.tol = DEFAULT_TOLERANCE if tol is None else require_number(tol, "tol", above=0)
        default = FULL_BATCH_STEPS.get(self.name, 2000)
        self.max_steps = require_count(default if max_steps is None else max_steps, "max_steps")
        self.bar = progress_bar(self.max_steps, progress, ranks)
        self.device = model.loc.device if device is None else as_device(device)
        self.model, self.ranks = model.to(self.device), ranks
        n = model.batch_shape[0]
        self.share = slice(ranks.rank * n // ranks.n_ranks, (ranks.rank + 1) * n // ranks.n_ranks)
        self.part = part_of_model(model, self.share)
        self.objective = self._objective(data)
        self.described = _description(data)
        self.stepper = make_stepper(
            self.name, self.part, self.objective, online=False, max_steps=self.max_steps
        )
        self.recorder = Recorder(self.device)

    def settings(self) -> dict[str, Any]:
        """What must be the same on all ranks, by the argument that says it."""
        shape = tuple(self.model.batch_shape)
        return {
            "model": f"batch shape {shape}, dim {self.model.dim}, {self.model.loc.dtype}",
            "data": self.described,
            "optimizer": self.name,
            "tol": self.tol,
            "max_steps": self.max_steps,
        }

    def train(self) -> History:
        """Step until the worst gap of all ranks is small enough or the steps are used up."""
        batch = self.objective.training_data(self.part.loc.dtype)
        n_steps, worst = 0, self._record(0)
        with self.bar as bar:
            while worst > self.tol and n_steps < self.max_steps:
                n_steps += 1
                worst = self._record(n_steps, batch)
                bar.advance()
        self.stepper.write()
        self._assemble_model()
        return self._history(converged=worst <= self.tol)

    def _record(self, step: int, batch: Any = None) -> float:
        """Take a step if there is a batch, and write it down; the worst gap of all ranks."""
        error, worst = None, 0.0
        try:
            if batch is not None:
                self.recorder.start()
                self.stepper.step(batch)
                self.recorder.stop()
            gap = self.stepper.gap()
            self.recorder.record(step, self.objective.minimum + gap, gap)
            worst = gap.max().item() if gap.numel() else 0.0
            if not math.isfinite(worst):
                raise self._not_finite(step, worst)
        except Exception as caught:  # the others must not wait for a rank that gave up
            error, worst = caught, math.inf
        worst = reduced([worst], dist.ReduceOp.MAX, self.ranks)[0].item()
        if worst == math.inf:
            agree(error, self.ranks)
        return worst

    def _not_finite(self, step: int, gap: float) -> Exception:
        if step == 0:
            return ValueError(
                f"model, data: expected numbers for which the loss is finite, got a gap of {gap} "
                f"before the first step"
            )
        return FloatingPointError(
            f"fit_batches: {self.stepper.name} left the finite numbers by step {step}; "
            f"standardised columns may help"
        )

    def _objective(self, data: Any) -> LikelihoodObjective:
        own = part_of_data(data, self.model, self.share)
        try:
            return LikelihoodObjective(self.part, own, self.device)
        except ValueError as error:
            if self.ranks.n_ranks == 1:
                raise
            raise ValueError(
                f"{error} (on rank {self.ranks.rank}, which counts from its first Gaussian, "
                f"number {self.share.start} of the batch)"
            ) from error

    @torch.no_grad()
    def _assemble_model(self) -> None:
        parts = dict(self.part.named_parameters())
        for name, whole in self.model.named_parameters():
            whole.copy_(self._assembled(parts[name], 0))

    def _assembled(self, part: Tensor, dim: int) -> Tensor:
        """The parts of all ranks side by side. Each number is one rank's and zero on the others."""
        if self.ranks.n_ranks == 1:
            return part
        shape = list(part.shape)
        shape[dim] = self.model.batch_shape[0]
        whole = torch.zeros(shape, dtype=part.dtype, device=self.ranks.device)
        whole.narrow(dim, self.share.start, part.shape[dim]).copy_(part)
        dist.all_reduce(whole, group=self.ranks.group)
        return whole

    def _history(self, *, converged: bool) -> History:
        """The records of all ranks; the slowest one tells the time."""
        rows = self.recorder.rows
        for name in ("loss", "gap"):
            whole = self._assembled(torch.stack(rows[name]), 1)  # (k, *batch)
            rows[name] = list(whole)
        rows["time"] = reduced(rows["time"], dist.ReduceOp.MAX, self.ranks).tolist()
        fewest = self.objective.count
        fewest = math.inf if fewest is None else fewest
        fewest = reduced([fewest], dist.ReduceOp.MIN, self.ranks)[0].item()
        return self.recorder.history(
            optimizer=self.stepper.name,
            device=str(self.device),
            converged=converged,
            dim=self.model.dim,
            count=None if fewest == math.inf else int(fewest),
        )


def part_of_model(model: GaussianLikelihood, share: slice) -> GaussianLikelihood:
    """A model of some of the Gaussians, as they are now."""
    shape = (share.stop - share.start, *model.batch_shape[1:])
    kind = {"dtype": model.loc.dtype, "device": model.loc.device}
    parametrization = getattr(model.scale, "scale_map", None)  # the usual factor has none
    part = GaussianLikelihood(model.dim, shape, parametrization=parametrization, **kind)
    with torch.no_grad():
        for own, whole in zip(part.parameters(), model.parameters(), strict=True):
            own.copy_(whole[share])
    return part


def part_of_data(data: Any, model: GaussianLikelihood, share: slice) -> Any:
    """The data of some of the Gaussians; data that serve all of them are left as they are."""
    if isinstance(data, SufficientStatistics):
        if not _has_batch(data.batch_shape, model):
            return data
        return SufficientStatistics(data.count[share], data.mean[share], data.scatter[share])
    if is_stream(data):
        raise TypeError(
            f"data: expected a Tensor, an array or SufficientStatistics, got {type(data).__name__}"
        )
    data = as_unread_samples(data, dim=model.dim)
    if not isinstance(data, np.memmap):
        data = as_tensor(data, "data")
    return data[share] if _has_batch(data.shape[:-2], model) else data


def _description(data: Any) -> str:
    """What can be compared between ranks without reading the data."""
    if isinstance(data, SufficientStatistics):
        return f"statistics of batch shape {tuple(data.batch_shape)}"
    return f"shape {tuple(data.shape)}"


def _has_batch(shape: torch.Size, model: GaussianLikelihood) -> bool:
    """Whether data of a batch shape have one part for each Gaussian of the first dimension."""
    require_broadcastable(model.batch_shape, "data", torch.Size(shape))
    return len(shape) == len(model.batch_shape) and shape[0] == model.batch_shape[0]


def _require_batch(model: Any) -> None:
    require_trainable(model)
    if not isinstance(model, GaussianLikelihood):
        raise TypeError(f"model: expected a GaussianLikelihood, got {type(model).__name__}")
    if not model.batch_shape:
        raise ValueError(
            "model: expected a batch of Gaussians, got batch shape (); fit_shards and "
            "fit_data_parallel share the work on one Gaussian"
        )
