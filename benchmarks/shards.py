"""Shards on the disk, in its cache: `fit_shards` on two ranks beside dask with two workers.

Processes are there before the clock starts. Ours list the shards, read, reduce and fit; dask's
read and end with the mean and the covariance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import by_dask, ranks
from benchmarks.peers import Entry
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, timed
from benchmarks.timing import Contestant
from benchmarks.workers import State, Workers
from helpers.distributed import fit_shards

SIZE = (1_000_000, 64)
QUICK_SIZE = (40_000, 16)
N_SHARDS = 16
N_RANKS = 2
ROUNDS = 5
OURS = "helpers, fit_shards"
IN_FLOAT32 = "in float32, two passes"  # fewer digits, and so without a target
# How dask is asked, and in which dtype: `da.cov` sums up in float64 by itself.
THREADS = {
    ("two_passes", "float64"): "by two passes",
    ("one_graph", "float64"): "by one graph",
    ("cov", "float32"): "by da.cov",
    ("two_passes", "float32"): IN_FLOAT32,
}
# The other two take its processes longer, which send each other what they keep.
PROCESSES = {way: name for way, name in THREADS.items() if way[0] == "two_passes"}
CHUNK = 100_000


def case(n: int, d: int) -> str:
    """How a size is called in the rows."""
    return f"n={n}, d={d}, {N_RANKS} ranks"


def rows(settings: Settings) -> list[Row]:
    """All on the same shards of float32."""
    n, d = QUICK_SIZE if settings.quick else SIZE
    data = samples(n, d, dtype=torch.float32)
    with (
        tempfile.TemporaryDirectory() as folder,
        ranks.group(N_RANKS, settings) as workers,
        Workers(1, settings.cores) as dask,
    ):
        found = entries(
            data, write_shards(Path(folder), data.tensor_split(N_SHARDS)), workers, dask
        )
        rounds = settings.rounds if settings.quick else ROUNDS
        return timed(
            "shards", case(n, d), found, settings, error_is="relative error", rounds=rounds
        )


def write_shards(folder: Path, parts: Sequence[Tensor]) -> list[str]:
    """Write one `.npy` file a part."""
    paths = [str(folder / f"part-{number}.npy") for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        np.save(path, part.numpy())
    return paths


def entries(data: Tensor, paths: Sequence[str], workers: Workers, dask: Workers) -> list[Entry]:
    """Contestants that return a covariance; `paths` hold the same data."""
    exact = two_passes(data)
    size = exact.abs().max()
    shapes = [tuple(part.shape) for part in data.tensor_split(len(paths))]

    def error(answers: list[Any]) -> float:
        return ((torch.from_numpy(answers[0]) - exact).abs().max() / size).item()

    def contestant(library: str, function: Callable[..., Any], way: str, dtype: str) -> Contestant:
        source = (getattr(by_dask, way), N_RANKS, paths, shapes, dtype)
        return Contestant(
            f"{library}, {THREADS[way, dtype]}", lambda _: dask.do(function, *source), error=error
        )

    def threads(way: str, dtype: str) -> Contestant:
        return contestant("dask.array", by_dask.by_threads, way, dtype)

    def processes(way: str, dtype: str) -> Contestant:
        dask.do(by_dask.start_cluster, N_RANKS)
        return contestant("dask.distributed", by_dask.by_processes, way, dtype)

    ours = Contestant(OURS, lambda _: workers.do(fit_files, paths, N_RANKS), error=error)
    return [
        Entry(lambda: ours),
        *(Entry(lambda w=way: threads(*w), "dask") for way in THREADS),
        *(Entry(lambda w=way: processes(*w), "distributed") for way in PROCESSES),
    ]


def fit_files(state: State, paths: Sequence[str], n_ranks: int) -> np.ndarray:
    """What a rank does: its part of the whole fit. The covariance of the fitted model."""
    found = fit_shards(paths, group=state["groups"][n_ranks], progress=False)
    return found.model.covariance_matrix.detach().numpy()


def two_passes(data: Tensor) -> Tensor:
    """The covariance in float64, some rows at a time."""
    mean = sum(rows.sum(dim=0, dtype=torch.float64) for rows in data.split(CHUNK)) / len(data)
    return sum((centred := rows - mean).mT @ centred for rows in data.split(CHUNK)) / len(data)
