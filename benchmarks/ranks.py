"""Data in the memory of two ranks: a whole fit beside steps of DistributedDataParallel.

Also the ranks themselves, which `scaling`, `shards` and `rank_memory` work with.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmarks import textbook
from benchmarks.peers import Entry
from benchmarks.problems import Truth, samples
from benchmarks.report import Row, Settings, timed
from benchmarks.targets import WHOLE_FIT
from benchmarks.timing import Contestant
from benchmarks.workers import State, Workers
from helpers import GaussianLikelihood, SufficientStatistics, fit
from helpers.distributed import reduce_statistics

SIZE = (1_000_000, 32)
QUICK_SIZE = (20_000, 8)
N_RANKS = 2
STEPS, STEPS_TIMED = textbook.MAX_STEPS, 5
ROUNDS = 5
# What DDP trains: the model, and the logarithm of the diagonal it starts from.
MODELS = {"textbook": 1.0, "helpers": 0.0}


def case(n: int, d: int) -> str:
    """How a size is called in the rows."""
    return f"n={n}, d={d}, {N_RANKS} ranks"


def rows(settings: Settings) -> list[Row]:
    """Both ways on the same rows, which the ranks hold already."""
    n, d = QUICK_SIZE if settings.quick else SIZE
    data = samples(n, d)
    with tempfile.TemporaryDirectory() as folder, group(N_RANKS, settings) as ranks:
        path = Path(folder) / "data.npy"
        np.save(path, data.numpy())
        ranks.do(hold, str(path))
        found = entries(data, ranks)
        return timed("ranks", case(n, d), found, settings, rounds=2 if settings.quick else ROUNDS)


def entries(data: Tensor, ranks: Workers) -> list[Entry]:
    """Contestants whose ranks hold equal shares of the data."""
    truth = Truth(data)
    statistics = SufficientStatistics.from_data(data)

    def gap(answers: list[Any]) -> float:
        return truth.gap(*map(torch.from_numpy, answers[0]))

    def by_ddp(model: str, log_diagonal: float) -> Contestant:
        gaps = textbook.gaps_from_statistics(statistics, STEPS, log_diagonal=log_diagonal)
        return Contestant(
            f"DDP, model of the {model}, {STEPS} steps",
            lambda _: ranks.do(take_steps, STEPS_TIMED),
            prepare=lambda: ranks.do(start_ddp, model),
            error=lambda _: gaps[-1],
            scale=STEPS / STEPS_TIMED,
            note=f"{STEPS_TIMED} steps timed for {STEPS}; the gap after {len(gaps)}",
        )

    whole = Contestant(WHOLE_FIT, lambda _: ranks.do(fit_held), error=gap)
    return [
        Entry(lambda: whole),
        *(Entry(lambda m=model, s=start: by_ddp(m, s)) for model, start in MODELS.items()),
    ]


# What a rank does -------------------------------------------------------------------------------


@contextmanager
def group(number: int, settings: Settings) -> Iterator[Workers]:
    """Processes in one gloo group on this machine, and in a group of each smaller size."""
    # It is kept here, as torchrun's agent keeps one, on a port that the system chooses.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with Workers(number, settings.cores) as ranks:
        ranks.do(join, number, store.port)
        yield ranks


def join(state: State, number: int, port: int) -> None:
    """Make the groups: the first rank alone, the first two, and so on."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whether or not the host has a name
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port)
    dist.init_process_group("gloo", store=store, rank=state["number"], world_size=number)
    state["groups"] = {size: dist.new_group(range(size)) for size in range(1, number + 1)}


def hold(state: State, path: str) -> None:
    """Take this rank's rows into memory."""
    data = np.load(path, mmap_mode="r")
    share = np.array_split(data, dist.get_world_size())[state["number"]]
    state["rows"] = torch.from_numpy(np.array(share))


def fit_held(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of the rows, one reduction, and the fit; a mean and a factor."""
    whole = reduce_statistics(SufficientStatistics.from_data(state["rows"]))
    model = GaussianLikelihood(whole.dim, dtype=whole.mean.dtype)
    fit(model, whole, progress=False)
    return _answer(model)


def start_ddp(state: State, name: str) -> None:
    """Make the model, and take the first step, in which DDP sets itself up."""
    d, dtype = state["rows"].shape[-1], state["rows"].dtype
    of_helpers = name == "helpers"
    model = GaussianLikelihood(d, dtype=dtype) if of_helpers else textbook.TextbookGaussian(d)
    # The rows were looked at before: the fit need not do so at every step.
    state["given"] = {"validate_args": False} if of_helpers else {}
    state["ddp"] = DistributedDataParallel(model)
    state["optimizer"] = torch.optim.Adam(model.parameters(), lr=textbook.LEARNING_RATE)
    take_steps(state, 1)


def take_steps(state: State, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps of Adam on all the rows of all ranks; the mean and the factor after them."""
    optimizer, model = state["optimizer"], state["ddp"]
    for _ in range(n_steps):
        optimizer.zero_grad()
        model(state["rows"], **state["given"]).backward()
        optimizer.step()
    return _answer(model.module)


def _answer(model: Any) -> tuple[np.ndarray, np.ndarray]:
    return model.loc.detach().numpy(), model.scale_tril.detach().numpy()
