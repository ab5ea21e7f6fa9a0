"""One pass over n samples of d variables in float32: mean and covariance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.peers import Entry
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, timed
from benchmarks.timing import Contestant
from helpers import SufficientStatistics

SIZE = (1_000_000, 64)


def rows(settings: Settings) -> list[Row]:
    """In memory, and from a file mapped into it."""
    n, d = SIZE
    data = samples(n, d, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.f32"
        data.numpy().tofile(path)
        return timed(
            "data_pass", f"n={n}, d={d}", entries(data, path), settings, error_is="relative error"
        )


def entries(data: Tensor, path: Path) -> list[Entry]:
    """Contestants that return the covariance; `path` holds the same data as raw float32."""
    exact = torch.cov(data.double().T, correction=0)
    size = exact.abs().max()
    mapped = np.memmap(path, dtype=np.float32, mode="r", shape=tuple(data.shape))

    def error(answer: Any) -> float:
        return ((torch.as_tensor(answer).double() - exact).abs().max() / size).item()

    def contestant(name: str, work: Callable[[Any], Any]) -> Contestant:
        return Contestant(name, work, error=error)

    def statistics(source: Any) -> Tensor:
        return SufficientStatistics.from_data(source).covariance_matrix()

    def product(_: Any) -> Tensor:
        return data.mT @ data

    return [
        Entry(lambda: contestant("torch.cov", lambda _: torch.cov(data.T, correction=0))),
        Entry(lambda: contestant("helpers, from_data", lambda _: statistics(data))),
        Entry(lambda: contestant("helpers, from_data of a memmap", lambda _: statistics(mapped))),
        # No covariance, so it has no error: the rate that nothing can beat.
        Entry(lambda: Contestant("matrix product alone", product)),
        *(
            Entry(lambda n=name, m=make: contestant(n, m(data)), peer)
            for peer, name, make in (
                ("numpy", "numpy.cov", peers.numpy_covariance),
                ("scikit-learn", "scikit-learn, EmpiricalCovariance", peers.sklearn_empirical),
                ("JAX", "JAX, numpy.cov", peers.jax_covariance),
            )
        ),
    ]
