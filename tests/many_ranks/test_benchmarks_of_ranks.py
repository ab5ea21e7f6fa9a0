"""The benchmarks with several processes: contestants agree, and what fails is said."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import by_dask, memory, peers, rank_memory, ranks, report, scaling, shards, textbook
from benchmarks.problems import Truth, samples
from benchmarks.timing import Contestant
from benchmarks.workers import Workers
from helpers import SufficientStatistics

N, D = 600, 3
HAS_DASK = all(peers.find_module(name) for name in ("dask", "distributed"))


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    """Two ranks."""
    with ranks.group(2, report.Settings()) as started:
        yield started


def contestants(entries: list[peers.Entry]) -> dict[str, Contestant]:
    return {each.name: each for each in peers.gather(entries)[0]}


def error(contestant: Contestant) -> float:
    """How wrong the answer of a contestant is."""
    given = contestant.prepare() if contestant.prepare else None
    return contestant.error(contestant.work(given))


# Workers ------------------------------------------------------------------------------------------


def test_workers_answer_in_their_order_and_say_what_failed():
    with Workers(2) as workers:
        assert workers.do(operator.itemgetter("number")) == [0, 1]
        assert workers.do(operator.itemgetter("number"), of=1) == [0]
        with pytest.raises(RuntimeError, match=r"worker [01]: (.|\n)*KeyError: 'nothing'"):
            workers.do(operator.itemgetter("nothing"))
    assert not any(process.is_alive() for process in workers.processes)


def test_a_worker_that_is_gone_is_an_error():
    with Workers(2) as workers:
        workers.processes[1].kill()
        with pytest.raises(RuntimeError, match="worker 1: ended before it answered"):
            workers.do(operator.itemgetter("number"))
    assert not any(process.is_alive() for process in workers.processes)


def test_workers_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with Workers(1) as workers:
        assert workers.do(threads_of_torch) == [1]


def threads_of_torch(_state) -> int:
    return torch.get_num_threads()


# Ranks --------------------------------------------------------------------------------------------


def test_a_whole_fit_and_ddp_go_to_the_same_optimum(two, tmp_path):
    data = samples(N, D)
    np.save(tmp_path / "data.npy", data.numpy())
    two.do(ranks.hold, str(tmp_path / "data.npy"))
    found = contestants(ranks.entries(data, two))
    assert error(found["helpers, whole fit"]) <= 1e-10
    for name in ("textbook", "helpers"):
        ddp = found[f"DDP, model of the {name}, 1000 steps"]
        assert error(ddp) <= 1e-4  # what 1,000 steps leave
        assert ddp.scale * ranks.STEPS_TIMED == ranks.STEPS


def test_the_steps_of_ddp_are_those_followed_on_the_statistics(two, tmp_path):
    data = samples(N, D)
    np.save(tmp_path / "data.npy", data.numpy())
    two.do(ranks.hold, str(tmp_path / "data.npy"))
    for name, log_diagonal in ranks.MODELS.items():
        two.do(ranks.start_ddp, name)
        answers = two.do(ranks.take_steps, 20)
        gaps = textbook.gaps_from_statistics(
            SufficientStatistics.from_data(data), 1 + 20, log_diagonal=log_diagonal
        )
        for answer in answers:
            gap = Truth(data).gap(*map(torch.from_numpy, answer))
            # Rounding of 1e-16 in each of 21 steps, seen through gaps of order one.
            assert gap == pytest.approx(gaps[-1], rel=1e-9), name


def test_ranks_and_dask_find_the_covariance_of_the_shards(two, tmp_path):
    data = samples(N, D, dtype=torch.float32)
    paths = shards.write_shards(tmp_path, data.tensor_split(7))
    with Workers(1) as dask:
        found = contestants(shards.entries(data, paths, two, dask))
        errors = {name: error(each) for name, each in found.items()}
    assert shards.OURS in errors
    assert len(errors) == (7 if HAS_DASK else 1)
    for name, wrong in errors.items():
        in_float32 = "in float32" in name
        # Rounding of single products, which adds up over 600 rows at worst.
        assert wrong <= (1e-4 if in_float32 else 1e-12), name


def test_two_passes_are_the_covariance():
    data = samples(N, D, dtype=torch.float32)
    expected = torch.cov(data.double().T, correction=0)
    torch.testing.assert_close(shards.two_passes(data), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not HAS_DASK, reason="dask is not installed")
def test_every_way_of_dask_finds_the_covariance_in_float64(tmp_path):
    data = samples(N, D, dtype=torch.float32)
    paths = shards.write_shards(tmp_path, data.tensor_split(2))
    for name, _dtype in shards.THREADS:
        got = by_dask.by_threads({}, getattr(by_dask, name), 2, paths, [(N // 2, D)] * 2, "float64")
        expected = shards.two_passes(data).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_scaling_gives_one_job_to_all_or_as_much_to_each(two, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "N_RANKS", (1, 2))
    paths = shards.write_shards(tmp_path, [samples(50, D, dtype=torch.float32)] * 4)
    for case, lengths in ((scaling.STRONG, [4, 4]), (scaling.WEAK, [2, 4])):
        jobs = {number: scaling.job(paths, number, case) for number in scaling.N_RANKS}
        assert [len(job) for job in jobs.values()] == lengths
        answers = [each.work(None) for each in contestants(scaling.entries(jobs, two)).values()]
        assert [len(answer) for answer in answers] == [1, 2]  # so many ranks worked
        for answer in answers:
            np.testing.assert_allclose(answer[0], answers[0][0], rtol=1e-9)


def test_memory_of_a_rank_is_that_of_what_it_does(two, tmp_path):
    n = 4 * rank_memory.BLOCK // 3
    paths = [rank_memory.write(tmp_path / f"{i}.npy", n) for i in range(2)]
    written = np.load(paths[0], mmap_mode="r")
    assert written.shape == (n, rank_memory.D)
    np.testing.assert_array_equal(written[rank_memory.BLOCK :], written[: n - rank_memory.BLOCK])
    extra = two.do(rank_memory.extra_bytes, paths)
    if Path("/proc/self/clear_refs").exists():
        # A chunk is 2 MiB in float64; the shard itself has 16 MiB.
        assert all(2**20 < each < 64 * memory.MIB for each in extra)


def test_a_rank_that_fails_is_an_error_at_once(two):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="paths: expected at least one file"):
        two.do(shards.fit_files, [], 2)
    assert time.monotonic() - start < 30
