"""Mini-batches under DistributedDataParallel: for models that have no sufficient statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, DistributedSampler, default_collate

from helpers.distributed.groups import Ranks, agree, find_ranks
from helpers.history import History, Recorder
from helpers.models import CovarianceModel, GaussianLikelihood, require_trainable
from helpers.objectives import LikelihoodObjective
from helpers.optimizers import make_stepper
from helpers.progress import ProgressBar
from helpers.training import DEFAULT_TOLERANCE
from helpers.validation import (
    as_device,
    as_samples,
    as_tensor,
    as_unread_samples,
    require_count,
)

EPOCHS = 50  # unless said otherwise, as in `fit`


class Prepared(Protocol):
    """What a rank is about to do."""

    def settings(self) -> dict[str, Any]:
        """What must be the same on all ranks, by the argument that says it."""


Run = TypeVar("Run", bound=Prepared)


@dataclass(frozen=True, eq=False)
class LossHistory:
    """The course of a fit whose exact minimum nobody knows.

    Attributes
    ----------
    step : Tensor of int64, shape (k,)
        Steps taken before each record: 0, 1, 2, 4, 8, ... and at the end of every epoch.
    loss : Tensor of float64, shape (k,)
        Mean loss on all the data, in evaluation mode.
    time : Tensor, shape (k,)
        Seconds of training until each record, without the recording.
    optimizer, device : str
        What did the work, and where.
    count : int
        Number of rows.
    """

    step: Tensor
    loss: Tensor
    time: Tensor
    optimizer: str
    device: str
    count: int

    @property
    def n_steps(self) -> int:
        """Steps taken in all."""
        return int(self.step[-1])

    def __str__(self) -> str:
        steps = "1 step" if self.n_steps == 1 else f"{self.n_steps} steps"
        return f"{self.optimizer}: {steps}, loss {self.loss[0]:.6g} -> {self.loss[-1]:.6g}"


def fit_data_parallel(
    model: nn.Module,
    data: Any,
    *,
    batch_size: int,
    optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] = "adam",
    max_steps: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    group: dist.ProcessGroup | None = None,
    progress: bool | None = None,
) -> History | LossHistory:
    """Train any model in mini-batches that the ranks of a process group share.

    Every rank calls it with the same arguments. At each step a rank computes the gradient of its
    rows of the batch, DistributedDataParallel adds the gradients up, and every rank takes the same
    step. The steps are those that one process takes with the whole batch, up to rounding. For a
    Gaussian alone `fit_shards` does the same work with one exchange; this is for models that have
    no sufficient statistics.

    Parameters
    ----------
    model : Module
        Called with a batch, it returns a loss for each row, shape (k,), or their mean, shape ().
        The loss of a row may not depend on the other rows, as it does with `BatchNorm1d`. Ranks
        start from the parameters of rank 0.
    data : Tensor or ndarray, shape (n, d), or torch.utils.data.Dataset
        All of it on every rank; a `numpy.memmap` stays on the disk. Rows have the model's dtype
        when it gets them. Items of a `Dataset` are tensors, or tuples of tensors with which the
        model is called as with several arguments.
    batch_size : int
        Rows of one batch, on all ranks together, from 1 to n. It need not be a multiple of the
        number of ranks.
    optimizer : {"adam"}, Optimizer or function
        "adam" comes with a cosine schedule. An optimiser of torch.optim, or a function that makes
        one from parameters, is used as it is; one that calls a closure, such as L-BFGS, is refused.
    max_steps : int, optional
        Number of steps; by default 50 epochs of ceil(n / batch_size) steps.
    seed : int
        Of the shuffling, by `torch.utils.data.DistributedSampler`.
    device : torch.device or str, optional
        Moves the model there. By default it stays where it is.
    group : ProcessGroup, optional
        The ranks that share the work; by default all of them, or this process alone where
        torch.distributed has not been initialised.
    progress : bool, optional
        Show a progress bar on rank 0; by default only when the work takes over two seconds.

    Returns
    -------
    History or LossHistory
        A `History` with the gap to the exact optimum for a `GaussianLikelihood`; for other models,
        whose minimum is unknown, a `LossHistory` with `step`, `loss` and `time`, one entry a
        record, and `n_steps`, `optimizer`, `device` and `count`, the number of rows.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or differs between ranks: on every rank, and the model is left
        as it was.
    FloatingPointError
        If training leaves the finite numbers. The model is left as it was.

    Notes
    -----
    `DistributedSampler` repeats rows so that all ranks have the same number of them. The repeated
    ones are left out here, and gradients are weighted by the rows that a rank has in a batch, so
    that no row counts twice and none is dropped. A rank without a row in a batch takes part with
    a gradient of zero.

    An error in the middle of a step, such as an item of a `Dataset` that cannot be read, ends the
    rank that meets it. The others learn of it when its process ends, which torchrun sees to, or
    when the timeout of the group is over.
    """
    ranks = find_ranks(group)
    how = (batch_size, optimizer, max_steps, seed, device, progress)
    with left_alone_on_error(model):
        return agreed(lambda: _Training(model, data, *how, ranks), ranks).train()


class _Training:
    """One call of `fit_data_parallel`: what it works on, and the loop."""

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        batch_size: int,
        optimizer: Any,
        max_steps: int | None,
        seed: int,
        device: Any,
        progress: bool | None,
        ranks: Ranks,
    ) -> None:
        home, self.dtype = _require_module(model)
        self.seed = require_count(seed, "seed", minimum=0)
        self.device = home if device is None else as_device(device)
        self.model = model.to(self.device)
        self.ranks = ranks
        self.rows = _Rows(data, self.model, self.device, self.dtype)
        n = require_count(len(self.rows), "number of rows of data")
        self.batch_size = require_count(batch_size, "batch_size", maximum=n)
        self.n_batches = math.ceil(n / self.batch_size)
        steps = EPOCHS * self.n_batches if max_steps is None else max_steps
        self.max_steps = require_count(steps, "max_steps")
        self.objective = self.rows.objective
        self.name, self.optimizer, self.schedule = _optimizer(optimizer, model, self.max_steps)
        self.recorder = Recorder(self.device)
        self.bar = progress_bar(self.max_steps, progress, ranks)
        self.leaves_some_alone = self._try_model()

    def settings(self) -> dict[str, Any]:
        """What must be the same on all ranks, by the argument that says it."""
        shapes = {name: tuple(each.shape) for name, each in self.model.named_parameters()}
        return {
            "data": f"{len(self.rows)} rows",
            "batch_size": self.batch_size,
            "max_steps": self.max_steps,
            "seed": self.seed,
            "optimizer": self.name,
            "model": f"{type(self.model).__name__} with {shapes} in {self.dtype}",
        }

    def train(self) -> History | LossHistory:
        """Take all the steps; the optimiser sees gradients that all ranks have added up."""
        module = self.model
        if self.ranks.n_ranks > 1:
            module = DistributedDataParallel(
                module,
                process_group=self.ranks.group,
                find_unused_parameters=self.leaves_some_alone,
            )
        self._record(0)
        batches = islice(self._batches(), self.max_steps)
        with self.bar as bar:
            for step, (share, whole) in enumerate(batches, start=1):
                self.recorder.start()
                self._step(module, share, self.ranks.n_ranks * len(share) / whole)
                self.recorder.stop()
                if self._is_due(step):
                    self._record(step)
                bar.advance()
        return self._history()

    def _batches(self) -> Iterator[tuple[list[int], int]]:
        """This rank's rows of each batch, epoch after epoch, and the number of rows on all."""
        n = len(self.rows)
        sampler = DistributedSampler(
            range(n), self.ranks.n_ranks, self.ranks.rank, shuffle=True, seed=self.seed
        )
        for epoch in count():
            sampler.set_epoch(epoch)
            for i, share in enumerate(shares_of_batches(sampler, n, self.batch_size)):
                yield share, min(self.batch_size, n - i * self.batch_size)

    def _step(self, module: nn.Module, share: list[int], weight: float) -> None:
        """One step. The gradients of all ranks are averaged, hence the weight."""
        self.optimizer.zero_grad()
        # A row that weighs nothing stands in for none, as all ranks must take part.
        (weight * self._mean_loss(module, share or [0])).backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()

    def _try_model(self) -> bool:
        """Look at the loss of a row or two; whether it leaves some of the parameters alone.

        What is wrong with a model shows here, on every rank and at once.
        """
        few = range(min(len(self.rows), 2))
        rows = self.rows.take(few)
        with torch.enable_grad(), _evaluation(self.model):
            try:
                loss = self._loss(self.model, rows)
            except (TypeError, RuntimeError) as error:
                raise ValueError(
                    f"model, data: expected a model that can be called with rows of data, got "
                    f"{type(self.model).__name__}, which says: {error}"
                ) from error
        if not isinstance(loss, Tensor) or not loss.is_floating_point():
            raise TypeError(f"model: expected one that returns a loss, got {type(loss).__name__}")
        if loss.shape not in ((), (len(few),)):
            raise ValueError(
                f"model: expected a loss of shape () or ({len(few)},) for {len(few)} rows, "
                f"got {tuple(loss.shape)}"
            )
        used = _parameters_behind(loss)
        if not used:
            raise ValueError("model: expected a loss that depends on parameters, got one of none")
        return any(each.requires_grad and id(each) not in used for each in self.model.parameters())

    def _loss(self, module: nn.Module, rows: tuple[Tensor, ...]) -> Tensor:
        checked = {"validate_args": False} if isinstance(self.model, GaussianLikelihood) else {}
        return module(*rows, **checked)

    def _mean_loss(self, module: nn.Module, numbers: list[int]) -> Tensor:
        """Mean over the rows of these numbers."""
        return self._loss(module, self.rows.take(numbers)).mean()

    def _is_due(self, step: int) -> bool:
        """Whether to record: at powers of two, at the end of an epoch and at the very end."""
        return step & (step - 1) == 0 or step % self.n_batches == 0 or step == self.max_steps

    @torch.no_grad()
    def _record(self, step: int) -> None:
        if self.objective is None:
            loss = gap = self._loss_on_all()
        else:
            gap = self.objective.gap(self.model)
            loss = self.objective.minimum + gap
        if not bool(loss.isfinite()):  # on all ranks or on none
            if step == 0:
                raise ValueError(
                    f"model, data: expected numbers for which the loss is finite, got "
                    f"{loss.item()} before the first step"
                )
            raise FloatingPointError(
                f"fit_data_parallel: {self.name} left the finite numbers by step {step}; "
                f"a smaller learning rate or standardised columns may help"
            )
        self.recorder.record(step, loss, gap)

    def _loss_on_all(self) -> Tensor:
        """Mean loss over all rows, of which each rank looks at its own."""
        n, ranks = len(self.rows), self.ranks
        sampler = DistributedSampler(range(n), ranks.n_ranks, ranks.rank, shuffle=False)
        total = 0.0
        with _evaluation(self.model):
            for share in shares_of_batches(sampler, n, ranks.n_ranks * self.batch_size):
                if share:
                    total += len(share) * self._mean_loss(self.model, share).item()
        return reduced([total], dist.ReduceOp.SUM, ranks)[0] / n

    def _history(self) -> History | LossHistory:
        about = {"optimizer": self.name, "device": str(self.device)}
        if self.objective is None:
            kept = self.recorder.state_dict()
            return LossHistory(
                kept["step"], kept["loss"], kept["time"], **about, count=len(self.rows)
            )
        converged = self.recorder.rows["gap"][-1].item() <= DEFAULT_TOLERANCE
        return self.recorder.history(
            **about, converged=converged, dim=self.model.dim, count=len(self.rows)
        )


class _Rows:
    """Rows of a table or items of a `Dataset`, by number, as the arguments of a model."""

    def __init__(
        self, data: Any, model: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.device, self.dtype = device, dtype
        self.objective: LikelihoodObjective | None = None
        is_gaussian = isinstance(model, GaussianLikelihood)
        if isinstance(data, Dataset):
            self.data = _require_length(data)
            if is_gaussian and len(self):
                self.objective = LikelihoodObjective(model, self._chunks(), device)
            return
        self.data = as_unread_samples(data, dim=model.dim if is_gaussian else None)
        if self.data.ndim != 2:
            raise ValueError(
                f"data: expected shape (n, d), one row a sample, got {tuple(self.data.shape)}"
            )
        if is_gaussian:
            self.objective = LikelihoodObjective(model, self.data, device)
            self.data = self.objective.samples
        elif not isinstance(data, np.memmap):
            self.data = as_samples(self.data).detach().to(device)

    def __len__(self) -> int:
        return len(self.data)

    def take(self, numbers: Any) -> tuple[Tensor, ...]:
        """The rows of these numbers, on the device and in the dtype of the model."""
        if isinstance(self.data, Dataset):
            batch = default_collate([self.data[i] for i in numbers])
        elif isinstance(self.data, np.ndarray):
            batch = as_tensor(self.data[list(numbers)], "data")
        else:
            batch = self.data[torch.as_tensor(list(numbers), device=self.data.device)]
        return tuple(self._moved(each) for each in _parts(batch))

    def _moved(self, part: Any) -> Tensor:
        if not isinstance(part, Tensor):
            raise TypeError(
                f"data: expected items that are tensors or tuples of tensors, got "
                f"{type(part).__name__}"
            )
        dtype = self.dtype if part.is_floating_point() else part.dtype
        return part.to(device=self.device, dtype=dtype)

    def _chunks(self, size: int = 4096) -> Iterator[Any]:
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


def _parts(batch: Any) -> Any:
    return batch if isinstance(batch, (tuple, list)) else (batch,)


def shares_of_batches(sampler: DistributedSampler, n: int, batch_size: int) -> list[list[int]]:
    """The rows that a rank has of each batch of an epoch.

    A sampler hands out the places rank, rank + size, ... of one order that all ranks agree on.
    Batches are cut from that order, so that they are those of one process; places from n on repeat
    earlier rows and are left out.
    """
    shares: list[list[int]] = [[] for _ in range(math.ceil(n / batch_size))]
    places = range(sampler.rank, n, sampler.num_replicas)
    for place, row in zip(places, sampler, strict=False):
        shares[place // batch_size].append(row)
    return shares


def _parameters_behind(loss: Tensor) -> set[int]:
    """The identities of the parameters that a loss has gradients for."""
    seen, ahead = set(), [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
    return {id(node.variable) for node in seen if hasattr(node, "variable")}


def _require_module(model: Any) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of a model that can be trained; TypeError or ValueError for others."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, CovarianceModel):
        require_trainable(model)
        if not isinstance(model, GaussianLikelihood):
            raise TypeError(
                f"model: expected one that maps rows to a loss, got {type(model).__name__}, "
                f"whose target is one matrix"
            )
        if model.batch_shape:
            raise ValueError(
                f"model: expected batch shape (), got {tuple(model.batch_shape)}; "
                f"fit_batches splits a batch of Gaussians over ranks"
            )
    parameters = [each for each in model.parameters() if each.requires_grad]
    if not parameters:
        raise ValueError("model: expected parameters that require gradients, got none")
    homes = {each.device for each in model.parameters()}
    if len(homes) > 1 or "meta" in {home.type for home in homes}:
        raise ValueError(
            f"model: expected parameters on one device that holds their numbers, got them on "
            f"{', '.join(sorted(map(str, homes)))}"
        )
    return homes.pop(), parameters[0].dtype


def _require_length(data: Dataset) -> Dataset:
    try:
        len(data)
    except TypeError as error:
        raise TypeError(
            f"data: expected a Dataset that has a length and items by number, got "
            f"{type(data).__name__}"
        ) from error
    return data


def _optimizer(
    optimizer: Any, model: nn.Module, max_steps: int
) -> tuple[str, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    """Name, optimiser and schedule; whether one is over these parameters `fit` knows to check."""
    made = isinstance(optimizer, torch.optim.Optimizer) or callable(optimizer)
    if not made and not (isinstance(optimizer, str) and optimizer == "adam"):
        raise ValueError(
            f"optimizer: expected 'adam', a torch.optim.Optimizer or a function that makes one "
            f"from parameters, got {optimizer!r}"
        )
    stepper = make_stepper(optimizer, model, None, online=True, max_steps=max_steps)
    if isinstance(stepper.optimizer, torch.optim.LBFGS):
        raise ValueError(
            "optimizer: expected one that asks for one gradient a step, got LBFGS, "
            "whose line search asks for several"
        )
    return stepper.name, stepper.optimizer, stepper.scheduler


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and each of its parts as it was afterwards."""
    before = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def left_alone_on_error(model: Any) -> Iterator[None]:
    """Put a model back as it was if anything but Ctrl-C ends the work."""
    if not isinstance(model, nn.Module):  # which is refused in there
        yield
        return
    before = {name: value.clone() for name, value in model.state_dict().items()}
    home = next((each.device for each in model.parameters()), None)
    try:
        yield
    except Exception:
        if home is not None:
            model.to(home)
        model.load_state_dict(before)
        raise


# What both ways of sharing work over ranks ask of the others ------------------------------------


def agreed(prepare: Callable[[], Run], ranks: Ranks) -> Run:
    """What a rank has prepared, once all ranks have prepared the same; or an error on all."""
    error, run = None, None
    try:
        run = prepare()
    except Exception as caught:  # the others must not wait for a rank that gave up
        error = caught
    agree(error, ranks)
    agree(_difference(run.settings(), ranks), ranks)
    return run


def _difference(settings: dict[str, Any], ranks: Ranks) -> ValueError | None:
    """An error that names the first argument in which a rank differs from the first one."""
    everyone = ranks.gather(settings)
    for name, expected in everyone[0].items():
        for rank, other in enumerate(everyone):
            if other[name] != expected:
                return ValueError(
                    f"{name}: expected the same on every rank, got {expected} on rank 0 and "
                    f"{other[name]} on rank {rank}"
                )
    return None


def reduced(numbers: Sequence[float], how: dist.ReduceOp.RedOpType, ranks: Ranks) -> Tensor:
    """A few numbers of all ranks taken together, in float64 on the CPU."""
    together = torch.tensor(numbers, dtype=torch.float64, device=ranks.device)
    if ranks.n_ranks > 1:
        dist.all_reduce(together, how, group=ranks.group)
    return together.cpu()


def progress_bar(total: int, show: bool | None, ranks: Ranks) -> ProgressBar:
    """A bar on the first rank; the others show none, and refuse the same arguments."""
    bar = ProgressBar(total, show)
    return bar if ranks.rank == 0 else ProgressBar(total, False)
