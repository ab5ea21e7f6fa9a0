"""The fit of shards on 1, 2 and 4 ranks: one job for all of them, and a job that grows with them.

A rank has one thread. Where there are fewer free cores than ranks, more ranks gain nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import ranks
from benchmarks.peers import Entry
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, rounded, timed
from benchmarks.shards import fit_files, write_shards
from benchmarks.timing import Contestant
from benchmarks.workers import Workers

N_RANKS = (1, 2, 4)
ROWS, QUICK_ROWS = 250_000, 5_000  # of a shard
D = 64
SHARDS_A_RANK = 2
ROUNDS = 5
STRONG, WEAK = "strong, one job", "weak, a share for each rank"


def rows(settings: Settings) -> list[Row]:
    """Times on so many ranks, and rows a second as a multiple of those of one rank."""
    n = QUICK_ROWS if settings.quick else ROWS
    shard = samples(n, D, dtype=torch.float32)
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, ranks.group(max(N_RANKS), settings) as workers:
        paths = write_shards(Path(folder), [shard] * (SHARDS_A_RANK * max(N_RANKS)))
        for case in (STRONG, WEAK):
            jobs = {number: job(paths, number, case) for number in N_RANKS}
            rounds = settings.rounds if settings.quick else ROUNDS
            times = timed("scaling", case, entries(jobs, workers), settings, rounds=rounds)
            sizes = [n * len(shards) for shards in jobs.values()]
            found += with_rates(times, sizes)
    return found


def job(paths: Sequence[str], n_ranks: int, case: str) -> Sequence[str]:
    """The shards that so many ranks are given."""
    return paths if case == STRONG else paths[: SHARDS_A_RANK * n_ranks]


def entries(jobs: dict[int, Sequence[str]], workers: Workers) -> list[Entry]:
    """A contestant a number of ranks; the shards are alike, so the answers are too."""

    def on(number: int) -> Contestant:
        return Contestant(
            f"helpers, {number} rank{'s' if number > 1 else ''}",
            lambda _: workers.do(fit_files, jobs[number], number, of=number),
        )

    return [Entry(lambda n=number: on(n)) for number in jobs]


def with_rates(times: Sequence[Row], sizes: Sequence[int]) -> list[Row]:
    """Times with the number of ranks, of rows, and how many times the rows a second of one rank."""
    one = sizes[0] / times[0]["seconds"]
    return [
        {**row, "ranks": number, "size": size, "rate": rounded(size / row["seconds"] / one)}
        for row, number, size in zip(times, N_RANKS, sizes, strict=True)
    ]
