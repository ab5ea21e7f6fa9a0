"""Fits that are to be interrupted, in processes of their own that can be killed.

``python -m reliability.interrupted WAY FOLDER`` fits in one of the ``WAYS`` with a checkpoint in
``FOLDER``, goes on from it where there is one, and writes the result beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers import CovarianceLearner, CovarianceModel, GaussianLikelihood, fit, training

ROWS, DIM, BATCH = 60, 5, 3
STEPS = {"max_steps": 40}
MINI_BATCHES = {"max_steps": 40, "batch_size": 8}


@dataclass(frozen=True)
class Way:
    """A model, the form of its data, and the options of `fit`."""

    data: str
    options: dict[str, Any] = field(default_factory=dict)
    model: type[CovarianceModel] = GaussianLikelihood
    dtype: torch.dtype = torch.float64
    batch_shape: tuple[int, ...] = ()


def _momentum(parameters: Any) -> torch.optim.Optimizer:
    # A learning rate from np.logspace is a number of NumPy's own, which a checkpoint must hold too.
    return torch.optim.SGD(parameters, lr=np.float64(1e-3), momentum=0.9)


NARROW, MANY = {"dtype": torch.float32}, {"batch_shape": (BATCH,)}
ADAM, ONLINE = {"optimizer": "adam", **STEPS}, {"max_steps": 8, "batch_size": 8}
WAYS = {
    "natural": Way("tensor"),
    "natural, float32, memmap": Way("memmap", **NARROW),
    "natural, three models": Way("three tensors", **MANY),
    "natural, batches": Way("batches"),
    "natural, target": Way("target", model=CovarianceLearner),
    "natural-autograd": Way("tensor", {"optimizer": "natural-autograd"}),
    "natural-autograd, float32, batches": Way(
        "batches", {"optimizer": "natural-autograd"}, **NARROW
    ),
    "online natural, memmap": Way("memmap", ONLINE),
    "online natural, float32, three models": Way("three tensors", ONLINE, **NARROW, **MANY),
    "lbfgs": Way("tensor", {"optimizer": "lbfgs"}),
    "lbfgs, float32, three models": Way(
        "three tensors", {"optimizer": "lbfgs", **STEPS}, **NARROW, **MANY
    ),
    "adam": Way("tensor", ADAM),
    "adam, float32, three models, memmap": Way("three memmaps", ADAM, **NARROW, **MANY),
    "adam, target": Way("target", ADAM, model=CovarianceLearner),
    "adam, mini-batches, float32, memmap": Way(
        "memmap", {"optimizer": "adam", **MINI_BATCHES}, **NARROW
    ),
    "adam, batches": Way("batches", ADAM),
    "momentum": Way("tensor", {"optimizer": _momentum, **STEPS}),
    "momentum, mini-batches, three models": Way(
        "three tensors", {"optimizer": _momentum, **MINI_BATCHES}, **MANY
    ),
}


def make_model(way: Way) -> CovarianceModel:
    """A model at its start."""
    return way.model(DIM, way.batch_shape, dtype=way.dtype)


def make_data(way: Way, folder: Path) -> Any:
    """The same numbers at every start, in the form of this way."""
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, ROWS, DIM) if way.data.startswith("three") else (ROWS, DIM)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64)
    rows = rows.cumsum(-1) * torch.tensor([1.0, 3.0, 0.5, 1.0, 2.0]).double() + 1.0
    rows = rows.to(way.dtype)
    if way.data == "target":
        return rows.mT.cov()
    if way.data == "batches":
        return list(rows.split(9))
    if "memmap" in way.data:
        return _mapped(rows, folder / "data.npy")
    return rows


def _mapped(rows: Tensor, path: Path) -> np.ndarray:
    if not path.exists():  # a process may be killed while it writes
        part = path.with_suffix(".new.npy")
        np.save(part, rows.numpy())
        part.rename(path)
    return np.load(path, mmap_mode="r")


def run(name: str, folder: Path) -> None:
    """Fit with the checkpoint ``fit.pt``, and write ``result.pt``."""
    way = WAYS[name]
    model, data = make_model(way), make_data(way, folder)
    started = time.perf_counter()
    history = fit(model, data, checkpoint=folder / "fit.pt", **way.options)
    result = {"model": model.state_dict(), "seconds": time.perf_counter() - started}
    result |= {key: getattr(history, key) for key in ("step", "loss", "gap", "converged")}
    torch.save(result, folder / "result.pt")


def result_in(folder: Path) -> dict[str, Any]:
    """What `run` wrote."""
    return torch.load(folder / "result.pt", weights_only=True)


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two results agree in everything but the time they took."""
    pairs = [(one["model"], other["model"]), (one, other)]
    keys = [list(one["model"]), ["step", "loss", "gap"]]
    equal = all(
        torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype
        for (a, b), names in zip(pairs, keys, strict=True)
        for key in names
    )
    return equal and one["converged"] == other["converged"]


# Where a process may kill itself. Every save passes through them in this order.
PLACES = (
    "with an empty file",
    "with half of a file",
    "with a file that has not its name yet",
    "after a file has its name",
)


def arm(place: str, count: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Let this process send itself a signal, when it comes to a place for so many times."""
    owner, name, before = {
        PLACES[0]: (tempfile, "mkstemp", False),
        PLACES[1]: (os, "fsync", True),
        PLACES[2]: (os, "replace", True),
        PLACES[3]: (os, "replace", False),
    }[place]
    function, left = getattr(owner, name), count

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and before:
            if place == PLACES[1]:  # what the disk may hold while a file is written
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), how)
        value = function(*arguments, **options)
        if left == 0 and not before:
            os.kill(os.getpid(), how)
        return value

    setattr(owner, name, deadly)


def _child(name: str, folder: Path, death: tuple[Any, ...], ready: Connection) -> None:
    torch.set_num_threads(1)
    training.CHECKPOINT_SECONDS = -1.0  # after every step
    if death:
        arm(*death)
    ready.send_bytes(b"ready")
    run(name, folder)


def started(name: str, folder: Path, *death: Any) -> multiprocessing.process.BaseProcess:
    """A process that is about to fit, with a checkpoint after every step; `arm` takes `death`."""
    context = _context()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, folder, death, there), daemon=True)
    process.start()
    there.close()
    here.recv_bytes()
    here.close()
    return process


def _context() -> multiprocessing.context.BaseContext:
    # Where it can be had, a server that has imported torch already forks the processes.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # The first step of an optimiser of torch imports the compiler, which takes a second.
    context.set_forkserver_preload([__name__, "torch._dynamo"])
    return context


def undisturbed(name: str, folder: Path) -> dict[str, Any]:
    """The result of a fit that nobody interrupts."""
    process = started(name, folder)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{name}: expected the fit to end, got exit code {process.exitcode}")
    return result_in(folder)


def main(arguments: Sequence[str]) -> int:
    """Fit in a way, in a folder."""
    name, folder = arguments
    run(name, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
