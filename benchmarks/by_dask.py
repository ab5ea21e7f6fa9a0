"""Mean and covariance of shards, as dask's users write it; a worker calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.workers import State

Shape = tuple[int, int]


def start_cluster(state: State, n_workers: int) -> None:
    """Processes of dask.distributed, one thread each, which last as long as the worker."""
    if "client" in state:
        return
    distributed = import_module("distributed")
    enter = state["at_end"].enter_context
    cluster = distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
    )
    # Not the default client: dask.array on threads is measured beside it.
    state["client"] = enter(distributed.Client(enter(cluster), set_as_default=False))


def by_threads(state: State, way: Callable[..., Any], n_workers: int, *source: Any) -> np.ndarray:
    """The covariance by a pool of threads."""
    compute = import_module("dask").compute
    return way(_rows(*source), lambda *of: compute(*of, scheduler="threads", num_workers=n_workers))


def by_processes(state: State, way: Callable[..., Any], n_workers: int, *source: Any) -> np.ndarray:
    """The covariance by the processes of `start_cluster`, so many of them."""
    client = state["client"]
    return way(_rows(*source), lambda *of: client.gather(client.compute(of)))


def two_passes(x: Any, compute: Callable[..., Any]) -> np.ndarray:
    """The mean, then the scatter around it; the shards are read twice."""
    (mean,) = compute(x.mean(axis=0))
    centred = x - mean
    (covariance,) = compute(centred.T @ centred / len(x))
    return covariance


def one_graph(x: Any, compute: Callable[..., Any]) -> np.ndarray:
    """The same without a stop between: dask keeps the rows that it needs again in memory."""
    mean = x.mean(axis=0)
    centred = x - mean
    _, covariance = compute(mean, centred.T @ centred / len(x))
    return covariance


def cov(x: Any, compute: Callable[..., Any]) -> np.ndarray:
    """`dask.array.cov`, and the mean."""
    da = import_module("dask.array")
    _, covariance = compute(x.mean(axis=0), da.cov(x.T, bias=True))
    return covariance


def _rows(paths: Sequence[str], shapes: Sequence[Shape], dtype: str) -> Any:
    """The rows of all shards, in a dtype; nothing is read before it is needed."""
    da, delayed = import_module("dask.array"), import_module("dask").delayed
    parts = [
        da.from_delayed(delayed(np.load)(path, mmap_mode="r"), shape, np.float32)
        for path, shape in zip(paths, shapes, strict=True)
    ]
    return da.concatenate(parts).astype(dtype)
