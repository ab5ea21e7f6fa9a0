"""The same statistics and the same model, however rows lie in shards and shards on ranks."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from ranks import MEMBERS, Failed, Ranks, fitted, grown, reduced, reduced_parts
from strategies import seeds
from truth import apart, departure, one_process, truth_of, write_shards

from helpers import SufficientStatistics

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no server that forks")
WORLDS = sorted(MEMBERS)
RELATIVE = 1e-12
ROUNDING = 2.0**-53
MIB = 2**20


def samples(n: int, d: int, seed: int, away: float = 0.0, dtype: Any = np.float64) -> np.ndarray:
    """Correlated rows, columns of different size, means so many deviations away from zero."""
    dice = np.random.default_rng(seed)
    mixing = np.tril(dice.standard_normal((d, d))) / d + np.eye(d)
    scales = 10.0 ** dice.integers(-3, 4, d)
    return ((dice.standard_normal((n, d)) @ mixing.T + away) * scales).astype(dtype)


def agreed(answers: list[Any]) -> Any:
    """What all ranks say, which must be the same bits."""
    for answer in answers:
        assert not isinstance(answer, Failed), answer
        assert same_bits(answer, answers[0])
    return answers[0]


def same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[key], other[key]) for key in one)
    if isinstance(one, SufficientStatistics):
        return same_bits(vars(one), vars(other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


@st.composite
def shardings(draw: st.DrawFn) -> tuple[np.ndarray, list[int]]:
    """Rows, and the places where they are cut into shards."""
    d = draw(st.integers(1, 5))
    n = draw(st.integers(8 * d, 8 * d + 60))
    away = draw(st.sampled_from([0.0, 1e3, 1e6]))
    dtype = np.float64 if away else draw(st.sampled_from([np.float32, np.float64]))
    cuts = draw(st.lists(st.integers(0, n), max_size=9))
    return samples(n, d, draw(seeds), away, dtype), cuts


def test_any_sharding_on_any_ranks_gives_what_one_process_gives(four: Ranks):
    @given(shardings(), st.sampled_from(WORLDS), st.randoms(use_true_random=False))
    @example((samples(50, 3, 0), [0, 0, 50, 50]), "4", None)  # all rows in one of five shards
    @example((samples(50, 3, 0), []), "4", None)  # more ranks than shards
    def holds(sharding, world, dice):
        data, cuts = sharding
        with tempfile.TemporaryDirectory(prefix="shards-") as folder:
            paths = write_shards(Path(folder) / "data", data, cuts)
            if dice is not None:
                dice.shuffle(paths)
            result = agreed(four.run(world, fitted, paths))
        assert departure(result["statistics"], truth_of(data)) <= RELATIVE
        assert apart(result["model"], one_process(data)) <= RELATIVE

    holds()


@pytest.mark.parametrize("world", WORLDS)
def test_the_names_and_the_order_of_the_shards_do_not_matter(world, four: Ranks, tmp_path):
    data = samples(4000, 6, 7)
    data = data[np.argsort(data[:, 0])]  # shards whose means are far from each other
    cuts = [0, 10, 10, 700, 2500, 3999]
    paths = write_shards(tmp_path / "data", data, cuts)
    first = agreed(four.run(world, fitted, paths))
    assert departure(first["statistics"], truth_of(data)) <= RELATIVE
    # The order on the command line changes no bit, since shards are sorted by name.
    assert same_bits(agreed(four.run(world, fitted, paths[::-1])), first)
    assert same_bits(agreed(four.run(world, fitted, tmp_path / "data")), first)
    other = tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(reversed(paths)):
        path.rename(other / f"{number}.npy")
    second = agreed(four.run(world, fitted, other))
    assert departure(second["statistics"], truth_of(data)) <= RELATIVE


def test_the_result_of_several_ranks_is_near_that_of_one(four: Ranks, tmp_path):
    data = samples(20_000, 8, 3, away=100.0)
    paths = write_shards(tmp_path, data, [3, 3, 5000, 11_000, 19_999])
    of_one = agreed(four.run("1", fitted, paths))["statistics"]
    truth = truth_of(data)
    for world in ("2", "2, others", "4"):
        found = agreed(four.run(world, fitted, paths))["statistics"]
        assert departure(found, truth) <= RELATIVE
        lengths = torch.from_numpy(truth.spread.astype(float))
        distance = (found.scatter - of_one.scatter) / (lengths[:, None] * lengths)
        assert distance.abs().max() <= RELATIVE


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
@pytest.mark.parametrize("world", ["1", "2", "4"])
def test_batches_of_gaussians_are_reduced_each_on_its_own(world, batch, four: Ranks):
    number = len(MEMBERS[world])
    dice = np.random.default_rng(5)
    parts = [dice.standard_normal((*batch, n, 3)) + 50.0 for n in (40, 0, 1, 7)[:number]]
    found = agreed(four.run(world, reduced, parts))
    assert found.scatter.shape == (*batch, 3, 3)
    assert departure(found, truth_of(np.concatenate(parts, axis=-2))) <= RELATIVE


def test_each_element_of_a_batch_has_a_count_of_its_own(four: Ranks):
    count = torch.tensor([[5, 0], [0, 0], [1, 7], [2, 1]])
    dice = torch.Generator().manual_seed(0)
    rows = [[torch.randn(int(n), 2, generator=dice).double() for n in each] for each in count]
    parts = [[SufficientStatistics.from_data(each) for each in element] for element in rows]
    mean = torch.stack([torch.stack([each.mean for each in element]) for element in parts])
    scatter = torch.stack([torch.stack([each.scatter for each in element]) for element in parts])
    found = agreed(four.run("4", reduced_parts, count, mean, scatter))
    assert found.count.tolist() == [8, 8]
    for element in range(2):
        whole = truth_of(torch.cat([rows[rank][element] for rank in range(4)]).numpy())
        one = SufficientStatistics(
            found.count[element], found.mean[element], found.scatter[element]
        )
        assert departure(one, whole) <= RELATIVE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_row_anywhere_is_the_neutral_element(dtype, four: Ranks):
    found = agreed(four.run("4", reduced, [np.zeros((0, 3))] * 4, dtype))
    assert found.count == 0
    assert found.mean.dtype == found.scatter.dtype == dtype
    assert not found.mean.any()
    assert not found.scatter.any()


def test_small_integers_come_out_as_fractions_say(four: Ranks):
    parts = [np.array(rows, dtype=float) for rows in ([[1], [2]], [[4]], [[8], [-3]], [[7]])]
    found = agreed(four.run("4", reduced, parts))
    rows = [Fraction(int(row)) for row in np.concatenate(parts).ravel()]
    mean = sum(rows) / len(rows)
    scatter = sum((row - mean) ** 2 for row in rows)
    assert found.count == len(rows)
    assert abs(Fraction(found.mean.item()) / mean - 1) < 4 * ROUNDING
    assert abs(Fraction(found.scatter.item()) / scatter - 1) < 16 * ROUNDING


def test_no_row_of_nine_million_billion_is_lost(four: Ranks):
    counts = [2**51 + 1, 2**51 - 2, 2**52 - 3, 1]  # exact in float64 as long as the sum is
    mean = torch.tensor([[1.0], [1.0], [1.0], [1.0]]).double()
    scatter = torch.tensor(counts).double()[:, None, None]
    scatter[3] = 0  # a single row has no scatter
    found = agreed(four.run("4", reduced_parts, torch.tensor(counts), mean, scatter))
    assert found.count == sum(counts) == 2**53 - 3
    assert found.mean == 1.0
    counts[3] = 4  # from here on float64 may have left one out
    refused = four.run("4", reduced_parts, torch.tensor(counts), mean, scatter)
    words = f"statistics: expected fewer than 2^53 samples in all, got {2**53}"
    assert [(each.kind, each.message) for each in refused] == [("ValueError", words)] * 4


def test_memory_does_not_grow_with_the_shards(four: Ranks, tmp_path):
    block = np.random.default_rng(0).standard_normal((2**13, 64))  # 4 MiB
    for shard, blocks in enumerate((40, 1, 60, 0)):  # 404 MiB
        shape = (blocks * len(block), 64)
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        with open(tmp_path / f"{shard}.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(blocks):
                file.write(block)
    answers = four.run("2", grown, tmp_path)
    for answer in answers:
        assert not isinstance(answer, Failed), answer
        growth, count = answer
        assert count == 101 * len(block)
        assert growth < 64 * MIB, growth / MIB
