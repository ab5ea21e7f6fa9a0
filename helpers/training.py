"""`fit`: one function that trains either model, in any of the ways the course explains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.checkpoints import (
    WAY_OUT,
    as_checkpoint_path,
    load_checkpoint,
    require_entry,
    require_tensor_entry,
    require_writable,
    save_checkpoint,
)
from helpers.devices import widest_dtype
from helpers.gaussian import rows_of_a_chunk
from helpers.history import History, Recorder
from helpers.interrupts import Interrupts
from helpers.models import CovarianceModel, GaussianLikelihood, require_trainable
from helpers.objectives import Objective, make_objective
from helpers.optimizers import Stepper, make_stepper
from helpers.progress import ProgressBar
from helpers.statistics import unwrap
from helpers.structured import StructuredLikelihood
from helpers.structured_fit import fit_structured
from helpers.validation import as_device, as_samples, as_tensor, require_count, require_number

DEFAULT_TOLERANCE = 1e-10
CHECKPOINT_SECONDS = 1.0
# Sums over the data differ from machine to machine, by some roundings of their scale.
SAME_DATA_ROUNDINGS = 1000
FROM_STATISTICS = (None, "natural", "natural-autograd", "lbfgs")  # batches are seen once
FULL_BATCH_STEPS = {"natural": 100, "natural-autograd": 100, "lbfgs": 1000}  # of the others, 2,000
MINI_BATCH_EPOCHS = {"natural": 1}  # of the others, 50


def fit(
    model: CovarianceModel | StructuredLikelihood,
    data: Any,
    *,
    optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    tol: float | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
) -> History:
    """Train a model in place, from where it is.

    `fit(model, data)` alone converges, whatever the units of the columns.

    Parameters
    ----------
    model : CovarianceLearner or GaussianLikelihood
        Or a structured model, such as a `LowRankLikelihood`: always by L-BFGS in float64, from
        samples or statistics, without mini-batches and checkpoints.
    data : Tensor or ndarray, shape (..., n, dim), SufficientStatistics, or iterable of batches
        For a `CovarianceLearner`, the target covariance (..., dim, dim). A `numpy.memmap` is read
        in chunks. Batches of shape (..., n_i, dim) may come from a list, a `DataLoader` or a
        generator: one pass collects their statistics, from which "natural", "natural-autograd" and
        "lbfgs" work; any other optimiser goes through them again, batch by batch, at every epoch.
    optimizer : {"natural", "natural-autograd", "lbfgs", "adam"}, Optimizer or function, optional
        The natural gradient with its gradient written out unless said otherwise; with `batch_size`,
        its online form. "natural-autograd" takes the same steps by autograd. "adam" comes with a
        cosine schedule. An optimiser of torch.optim, or a function that makes one from parameters,
        is used as it is.
    batch_size : int, optional
        Train in mini-batches of so many samples, reshuffled at every epoch. Without it every step
        uses all the data, through their sufficient statistics.
    device : torch.device or str, optional
        Moves the model there, and the data once. By default the model stays where it is.
    tol : float, optional
        Gap to the exact optimum at which a full-batch fit ends. By default 1e-10 nats; for a
        mean squared error 1e-10 times the smallest variance squared.
    max_steps : int, optional
        Largest number of steps. By default 100 for the natural gradient, 1,000 for L-BFGS and
        2,000 for others; in mini-batches one epoch for the natural gradient and 50 for others.
    seed : int
        Of the shuffling.
    progress : bool, optional
        Show a progress bar; by default only when the work takes over two seconds.
    checkpoint : str or Path, optional
        A file to which the state is written at the start, about once a second, at the end, and
        when Ctrl-C stops the fit.
        Where it is there already, the fit goes on from it: to the same bits on the same machine,
        to rounding on another, provided that batches come in the same order at every epoch.

    Returns
    -------
    History
        Loss and gap to the exact optimum at each record, time, and the optimiser used.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit: NaN or infinity, a wrong shape, too few samples, a constant
        column, an integer dtype, a device that is not there. The model is left as it was.
    FloatingPointError
        If training leaves the finite numbers. The model is left as it was.
    OSError
        If the checkpoint cannot be written, which is tried before the data are read, or if data
        cannot be read. The model keeps what it has learnt, and an older checkpoint is untouched.

    Notes
    -----
    Ctrl-C and the stop button of a notebook raise KeyboardInterrupt; the model keeps what it has
    learnt. With a checkpoint they wait for the end of the step, so that model and file agree; who
    presses twice waits for nothing, and the file stays as it was. SIGTERM and SIGKILL end the
    process at once. After any of them the same call goes on from the checkpoint, which is at most
    about a second old.
    """
    if isinstance(model, StructuredLikelihood):
        return fit_structured(
            model,
            data,
            optimizer=optimizer,
            batch_size=batch_size,
            device=device,
            tol=tol,
            max_steps=max_steps,
            checkpoint=checkpoint,
        )
    device = _check(model, batch_size, device, tol, seed)
    if checkpoint is not None:
        checkpoint = as_checkpoint_path(checkpoint)
    state = _stored(checkpoint)
    objective = make_objective(model, data, device)
    tol = DEFAULT_TOLERANCE * objective.unit if tol is None else float(tol)
    n_batches = _n_batches(objective, batch_size, optimizer)
    max_steps = _max_steps(optimizer, n_batches, max_steps)

    before = {name: value.clone() for name, value in model.state_dict().items()}
    home = model.scale.first_parameter.device
    try:
        if home != device:
            model.to(device)
        stepper = make_stepper(
            optimizer, model, objective, online=n_batches is not None, max_steps=max_steps
        )
        settings = {
            # To describe the model takes microseconds, and only a checkpoint asks.
            "model": None if checkpoint is None else _kind(model),
            "optimizer": stepper.name,
            "batch_size": None if batch_size is None else int(batch_size),
            "max_steps": max_steps,
            "tol": tol,
            "seed": int(seed),
        }
        run = _Run(model, objective, stepper, settings, checkpoint)
        if state is not None:
            run.resume(state)
        return run.train(n_batches, progress)
    except OSError:
        raise  # a full disk is no reason to forget what was learnt
    except Exception:
        # KeyboardInterrupt is no Exception: who stops a fit keeps what it has learnt.
        model.to(home)
        model.load_state_dict(before)
        raise


class _Run:
    """One call of `fit`: the loop, its records and its checkpoints."""

    def __init__(
        self,
        model: CovarianceModel,
        objective: Objective,
        stepper: Stepper,
        settings: dict[str, Any],
        checkpoint: Path | None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.stepper = stepper
        self.settings = settings
        self.checkpoint = checkpoint
        self.device = model.scale.first_parameter.device
        self.recorder = Recorder(self.device)
        self.interrupts = Interrupts()
        self.n_steps = 0
        self.n_saved: int | None = None  # steps in the checkpoint
        self.worst_gap = math.inf

    def train(self, n_batches: int | None, progress: bool | None) -> History:
        """Step until the gap is small enough or the steps are used up."""
        try:
            with nullcontext() if self.checkpoint is None else self.interrupts.deferred():
                self._loop(n_batches, progress)
            if self.n_saved != self.n_steps:
                self._save()
        except KeyboardInterrupt:
            self._save_between_steps()
            raise
        finally:
            self.stepper.write()  # who interrupts keeps what was learnt
        return self._history(converged=self.worst_gap <= self.settings["tol"])

    def _loop(self, n_batches: int | None, progress: bool | None) -> None:
        max_steps, tol = self.settings["max_steps"], self.settings["tol"]
        batches = self._batches(n_batches)
        if not self.recorder.rows["step"]:
            self.interrupts.hold()
            self._record()
            self.interrupts.release()
            self._save()  # so that a fit interrupted in its first second begins where it began
        saved = time.monotonic()
        with ProgressBar(max_steps, progress, done=self.n_steps) as bar:
            while self.n_steps < max_steps:
                if n_batches is None and self.worst_gap <= tol:
                    break
                self.recorder.start()
                batch = next(batches)
                self.interrupts.hold()
                self._step(batch)
                self.recorder.stop()
                self.n_steps += 1
                if _is_due(self.n_steps, n_batches, max_steps):
                    self._record()
                self.interrupts.release()
                bar.advance()
                if self.checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same fit."""
        settings = require_entry(state, "settings", dict)
        for name, value in self.settings.items():
            stored = settings.get(name)
            if type(stored) is not type(value) or stored != value:
                raise ValueError(
                    f"checkpoint: expected one of a fit with {name}={value!r}, "
                    f"got {name}={stored!r}; {WAY_OUT}"
                )
        self._require_same_data(require_entry(state, "data", dict))
        self.model.load_state_dict(self._model_state(require_entry(state, "model", dict)))
        self.stepper.load_state_dict(require_entry(state, "stepper", dict))
        self.recorder.load_state_dict(require_entry(state, "records", dict), self.model.batch_shape)
        # Past the last record, in mini-batches.
        self.recorder.elapsed = require_entry(state, "elapsed", float)
        self.n_steps = self.n_saved = require_entry(state, "n_steps", int)
        if not self.recorder.rows["step"][-1] <= self.n_steps <= self.settings["max_steps"]:
            raise ValueError(
                f"checkpoint: expected n_steps from {self.recorder.rows['step'][-1]} to "
                f"{self.settings['max_steps']}, got {self.n_steps}"
            )
        last = self.recorder.rows["gap"][-1]
        self.worst_gap = last.max().item() if last.numel() else 0.0

    def _require_same_data(self, data: dict[str, Any]) -> None:
        """Raise ValueError if a checkpoint is of a fit to other data."""
        for name, own, allowed in _with_rounding(self.objective.fingerprint()):
            stored = require_entry(data, name, Tensor)
            if stored.shape != own.shape or not bool(((stored - own).abs() <= allowed).all()):
                raise ValueError(
                    f"checkpoint: expected one of a fit to these data, got other data; {WAY_OUT}"
                )

    def _model_state(self, stored: dict[str, Any]) -> dict[str, Tensor]:
        """The parameters in a checkpoint, each of the shape and dtype of the model's own."""
        return {
            name: require_tensor_entry(stored, name, parameter.shape, (parameter.dtype,))
            for name, parameter in self.model.state_dict().items()
        }

    def _batches(self, n_batches: int | None) -> Iterator[Any]:
        """Endless batches from the present step on."""
        dtype = self.model.scale.first_parameter.dtype
        if n_batches is None:
            everything = self.objective.training_data(dtype)
            while True:
                yield everything
        step = self.n_steps
        while True:
            epoch, first = divmod(step, n_batches)
            before = step
            for batch in islice(self._epoch(epoch, dtype), first, None):
                yield batch
                step += 1
            if step - before < n_batches - first:
                raise ValueError(
                    f"data: expected {n_batches} batches at every epoch, as in the first pass, "
                    f"got {first + step - before}"
                )

    def _epoch(self, epoch: int, dtype: torch.dtype) -> Iterator[Tensor]:
        """The batches of an epoch: as they come, or in an order of our own."""
        if self.objective.batches is not None:
            for i, batch in enumerate(self.objective.batches):
                # Another epoch may bring what the first pass has not seen.
                samples = as_samples(unwrap(batch), f"data[{i}]", dim=self.model.dim)
                require_count(samples.shape[-2], f"number of rows of data[{i}]")
                yield samples.to(device=self.device, dtype=dtype)
            return
        samples, size = self.objective.samples, self.settings["batch_size"]  # (*batch, n, d)
        # An order that depends on seed and epoch alone, so that a resumed fit meets it again.
        generator = torch.Generator("cpu").manual_seed(
            (1_000_003 * self.settings["seed"] + epoch) % 2**63
        )
        order = torch.randperm(samples.shape[-2], generator=generator, device="cpu")
        # Fetching one batch takes as long as fetching many, and cutting them apart takes no time.
        n_together = max(1, rows_of_a_chunk(samples, samples.shape[:-2]) // size)
        for index in order.split(n_together * size):
            yield from _rows(samples, index).to(device=self.device, dtype=dtype).split(size, dim=-2)

    def _step(self, batch: Any) -> None:
        try:
            self.stepper.step(batch)
        except ValueError:
            self._record()  # raises FloatingPointError if that is why
            raise

    def _record(self) -> None:
        gap = self.stepper.gap()
        self.worst_gap = gap.max().item() if gap.numel() else 0.0  # NaN if any is
        if not math.isfinite(self.worst_gap):
            if self.n_steps == 0:
                raise ValueError(
                    f"model, data: expected numbers for which the loss is finite, got a gap of "
                    f"{self.worst_gap} before the first step"
                )
            raise FloatingPointError(self._diverged())
        self.recorder.record(self.n_steps, self.objective.minimum + gap, gap)

    def _diverged(self) -> str:
        return (
            f"fit: {self.stepper.name} left the finite numbers by step {self.n_steps}; "
            f"a smaller learning rate or standardised columns may help"
        )

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        self.stepper.write()
        state = {
            "settings": self.settings,
            "data": {name: value.cpu() for name, value in self.objective.fingerprint().items()},
            "model": self.model.state_dict(),
            "stepper": self.stepper.state_dict(),
            "records": self.recorder.state_dict(),
            "n_steps": self.n_steps,
            "elapsed": self.recorder.elapsed,
        }
        save_checkpoint(self.checkpoint, state)
        self.n_saved = self.n_steps

    def _save_between_steps(self) -> None:
        """Save what Ctrl-C stopped, unless it came within a step, which may be half done."""
        begun = bool(self.recorder.rows["step"])
        if begun and not self.interrupts.is_held and self.n_saved != self.n_steps:
            with suppress(OSError):  # the interrupt is what happened; the older file is whole
                self._save()

    def _history(self, *, converged: bool) -> History:
        return self.recorder.history(
            optimizer=self.stepper.name,
            device=str(self.device),
            converged=converged,
            dim=self.model.dim,
            count=self.objective.count,
        )


def _check(model: Any, batch_size: Any, device: Any, tol: Any, seed: Any) -> torch.device:
    require_trainable(model)
    if batch_size is not None:
        require_count(batch_size, "batch_size")
        if not isinstance(model, GaussianLikelihood):
            raise ValueError(
                "batch_size: expected None for a CovarianceLearner, whose target is one matrix, "
                f"got {batch_size}"
            )
    require_count(seed, "seed", minimum=0)
    if tol is not None:
        require_number(tol, "tol", above=0)
    parameter = model.scale.first_parameter
    device = parameter.device if device is None else as_device(device)
    if parameter.dtype == torch.float64 and widest_dtype(device) == torch.float32:
        raise ValueError(
            f"device: expected one that computes in float64 like the model, got {str(device)!r}; "
            f"model.float() makes a model that fits"
        )
    return device


def _stored(checkpoint: Path | None) -> dict[str, Any] | None:
    """What a checkpoint holds, before the data are read; None where there is none yet."""
    if checkpoint is None:
        return None
    if checkpoint.exists():
        return load_checkpoint(checkpoint)
    require_writable(checkpoint)
    return None


def _with_rounding(fingerprint: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each part of a fingerprint on the CPU, with what another machine may make of it."""
    parts = {name: value.cpu() for name, value in fingerprint.items()}
    matrix = parts.get("target", parts.get("scatter"))  # (*batch, d, d)
    scale = matrix.diagonal(dim1=-2, dim2=-1).sqrt()  # (*batch, d)
    rounding = SAME_DATA_ROUNDINGS * torch.finfo(matrix.dtype).eps
    for name, value in parts.items():
        if value is matrix:
            allowed = scale.unsqueeze(-1) * scale.unsqueeze(-2)
        else:
            allowed = value.abs() + scale if name == "mean" else torch.zeros_like(scale.sum(-1))
        yield name, value, rounding * allowed


def _kind(model: CovarianceModel) -> str:
    """What a checkpoint must agree on for a model to take its parameters."""
    dtype = model.scale.first_parameter.dtype
    mapped = getattr(model.scale, "scale_map", None)
    name = "" if mapped is None else f", {type(mapped).__name__}"
    shape = f"dim={model.dim}, batch_shape={tuple(model.batch_shape)}"
    return f"{type(model).__name__}({shape}, {dtype}{name})"


def _n_batches(objective: Objective, batch_size: int | None, optimizer: Any) -> int | None:
    """Batches in an epoch; None where every step uses all the data."""
    if objective.batches is not None:
        if batch_size is not None:
            raise ValueError(
                f"batch_size: expected None for data that come in batches, got {batch_size}"
            )
        if isinstance(optimizer, str | None) and optimizer in FROM_STATISTICS:
            return None
        if iter(objective.batches) is objective.batches:
            raise ValueError(
                f"data: expected batches that can be gone through again at every epoch, such as a "
                f"list or a DataLoader, for optimizer={optimizer!r}, got a "
                f"{type(objective.batches).__name__}, whose one pass the exact minimum has used"
            )
        return objective.n_batches
    if batch_size is None:
        return None
    if objective.samples is None:
        raise ValueError("data: expected samples to draw batches from, got SufficientStatistics")
    n = objective.samples.shape[-2]
    require_count(batch_size, "batch_size", maximum=n)
    return math.ceil(n / batch_size)


def _max_steps(optimizer: Any, n_batches: int | None, max_steps: Any) -> int:
    if max_steps is not None:
        return require_count(max_steps, "max_steps")
    name = "natural" if optimizer is None else optimizer
    key = name if isinstance(name, str) else ""
    if n_batches is None:
        return FULL_BATCH_STEPS.get(key, 2000)
    return MINI_BATCH_EPOCHS.get(key, 50) * n_batches


def _rows(samples: Tensor | np.ndarray, index: Tensor) -> Tensor:
    """Some rows of samples (*batch, n, d), which may lie on the disk."""
    if isinstance(samples, np.ndarray):
        return as_tensor(samples[..., index.numpy(), :], "data")
    return samples.index_select(-2, index.to(samples.device))


def _is_due(step: int, n_batches: int | None, max_steps: int) -> bool:
    """Whether to record: always in full-batch fits, else at powers of two and ends of epochs."""
    if n_batches is None or step == max_steps:
        return True
    power_of_two = step & (step - 1) == 0
    return power_of_two or step % n_batches == 0
