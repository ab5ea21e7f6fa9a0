"""Largest extra memory of a rank that fits shards, d = 64: beyond its imports, whatever n is.

Pages of the shards that are mapped into the rank count too. Each number of rows has two new ranks,
so that what a first use loads counts as well.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import memory, ranks
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, rounded
from benchmarks.shards import fit_files
from benchmarks.workers import State

SIZES = (100_000, 1_000_000, 10_000_000)
D = 64
N_RANKS = 2
BLOCK = 50_000  # rows that are written again and again


def case(n: int) -> str:
    """How a size is called in the rows."""
    return f"n={n}, d={D}, {N_RANKS} ranks"


def rows(settings: Settings) -> list[Row]:
    """Peak of the rank that needs most, for each number of rows."""
    found: list[Row] = []
    for n in SIZES[:1] if settings.quick else SIZES:
        row: Row = {"table": "rank_memory", "case": case(n), "contestant": "helpers, fit_shards"}
        with tempfile.TemporaryDirectory() as folder:
            if shutil.disk_usage(folder).free < 2 * 4 * n * D:
                found.append({**row, "skipped": "no room on the disk"})
                continue
            paths = [write(Path(folder) / f"part-{i}.npy", n // N_RANKS) for i in range(N_RANKS)]
            with ranks.group(N_RANKS, settings) as workers:
                extra = max(workers.do(extra_bytes, paths))
        found.append({**row, "mebibytes": rounded(extra / memory.MIB)})
    return found


def write(path: Path, n_rows: int) -> str:
    """Write a shard of float32 that repeats a block of rows."""
    block = samples(min(BLOCK, n_rows), D, dtype=torch.float32).numpy()
    shard = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_rows, D))
    for start in range(0, n_rows, len(block)):
        shard[start : start + len(block)] = block[: n_rows - start]
    return str(path)


def extra_bytes(state: State, paths: Sequence[str]) -> int:
    """Peak of the resident memory of this rank during the fit, above what there was before it."""
    before = memory.start_of_peak()
    fit_files(state, paths, N_RANKS)
    return memory.peak() - before
