"""Sufficient statistics: any split gives the whole, and float32 keeps its digits."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    BATCH_SHAPES,
    DTYPES,
    correlated_samples,
    eps,
    random_gaussian,
    random_samples,
    random_scale_tril,
    seeds,
)
from torch.utils.data import DataLoader, Dataset

from helpers import (
    SufficientStatistics,
    gaussian,
    log_prob,
    mean_log_prob,
    statistics,
    whiten,
)

FIELDS = ("count", "mean", "scatter")


def assert_same(a: SufficientStatistics, b: SufficientStatistics, factor: float = 200.0) -> None:
    """Equal up to the rounding of sums over some hundred samples of size one to ten."""
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        size = right.abs().max().item() if right.numel() else 0.0
        tolerance = factor * eps(a.mean.dtype) * max(size, 1.0)
        torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("dim", [1, 4])
def test_covariance_agrees_with_torch_and_numpy(dim, correction):
    data = correlated_samples(50, dim)
    statistics = SufficientStatistics.from_data(data)
    ours = statistics.covariance_matrix(correction)
    tolerance = {"rtol": 1e-13, "atol": 1e-13}  # sums of 50 terms, some 100 roundings
    torch.testing.assert_close(
        ours, torch.cov(data.T, correction=correction).view(dim, dim), **tolerance
    )
    peer = np.cov(data.numpy(), rowvar=False, ddof=correction).reshape(dim, dim)
    torch.testing.assert_close(ours, torch.as_tensor(peer), **tolerance)
    torch.testing.assert_close(statistics.mean, data.mean(dim=0), **tolerance)
    assert statistics.count.item() == 50


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_a_batch_is_its_elements(batch_shape, dtype):
    data = random_samples(*batch_shape, 9, 3, dtype=dtype)
    statistics = SufficientStatistics.from_data(data)
    assert statistics.batch_shape == batch_shape
    assert (statistics.dim, statistics.mean.dtype, statistics.count.dtype) == (
        3,
        dtype,
        torch.int64,
    )
    assert statistics.count.shape == batch_shape
    for index in np.ndindex(*batch_shape):
        one = SufficientStatistics.from_data(data[index])
        assert_same(SufficientStatistics(*(getattr(statistics, f)[index] for f in FIELDS)), one)


@given(seeds, st.integers(0, 40), st.integers(0, 40), st.sampled_from(DTYPES))
def test_split_anywhere_equals_the_whole(seed, a, b, dtype):
    data = correlated_samples(40, 3, seed).to(dtype)
    cuts = sorted((a, b))
    parts = [SufficientStatistics.from_data(x) for x in torch.tensor_split(data, cuts)]
    whole = SufficientStatistics.from_data(data)
    assert_same(functools.reduce(SufficientStatistics.merge, parts), whole)
    first, second, third = parts
    assert_same(first.merge(second.merge(third)), whole)  # associative
    assert_same(third.merge(first).merge(second), whole)  # commutative


def test_merging_keeps_the_dtype_and_its_digits():
    data = correlated_samples(1000, 3)
    merged = SufficientStatistics.from_data(data[:333]).merge(
        SufficientStatistics.from_data(data[333:])
    )
    assert merged.mean.dtype == merged.scatter.dtype == torch.float64
    # A share n_b / n that was rounded to float32 would be off by 1e-8.
    torch.testing.assert_close(merged.mean, data.mean(dim=0), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 8])
def test_no_samples_are_the_neutral_element(n, dtype):
    data = correlated_samples(n, 2).to(dtype)
    some, none = (SufficientStatistics.from_data(x) for x in (data, data[:0]))
    assert none.count == 0
    assert (none.mean == 0).all()
    assert (none.scatter == 0).all()
    for merged in (some.merge(none), none.merge(some)):
        assert all(torch.equal(getattr(merged, f), getattr(some, f)) for f in FIELDS)
    assert none.merge(none).count == 0
    assert torch.isfinite(none.merge(none).mean).all()
    with pytest.raises(ValueError, match=r"count: expected more than 0 samples .* got 0"):
        none.covariance_matrix()


def test_one_sample_has_a_mean_and_no_scatter():
    data = torch.tensor([[3.0, -1e30]])  # whose square is no float32
    statistics = SufficientStatistics.from_data(data)
    assert torch.equal(statistics.mean, data[0])
    assert statistics.covariance_matrix().tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"count: expected more than 1 samples .* got 1"):
        statistics.covariance_matrix(correction=1)


def test_a_batch_may_hold_different_counts():
    lengths, data = (3, 0, 7), correlated_samples(7, 2)
    parts = [SufficientStatistics.from_data(data[:n]) for n in lengths]
    ragged = SufficientStatistics(*(torch.stack([getattr(p, f) for p in parts]) for f in FIELDS))
    more = correlated_samples(5, 2, seed=9)
    merged = ragged.merge(SufficientStatistics.from_data(more.expand(3, 5, 2)))
    for i, n in enumerate(lengths):
        whole = SufficientStatistics.from_data(torch.cat([data[:n], more]))
        assert_same(SufficientStatistics(*(getattr(merged, f)[i] for f in FIELDS)), whole)
        expected = torch.cov(torch.cat([data[:n], more]).T)
        torch.testing.assert_close(merged.covariance_matrix(1)[i], expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="got 0"):
        ragged.covariance_matrix()


def test_float32_far_from_zero_keeps_its_digits():
    """At a mean of 3000, E[x x^T] - m m^T in float32 is no covariance at all; ours is."""
    data = (correlated_samples(200, 2) + 3000).float()
    truth = SufficientStatistics.from_data(data.double()).covariance_matrix()
    naive = data.T @ data / 200 - data.mean(0)[:, None] * data.mean(0)
    assert (naive.double() - truth).abs().max() > 0.1
    # Centred entries are exact or rounded at the size of one (the difference of near numbers); the
    # rounding of the mean is mended. What is left is the sum of 200 products: 200 eps of variance.
    bound = 200 * eps(torch.float32) * truth.diagonal().max().item()
    ours = SufficientStatistics.from_data(data).covariance_matrix().double()
    assert (ours - truth).abs().max() <= bound
    halves = [SufficientStatistics.from_data(x) for x in data.split(100)]
    # A merge also rounds the mean of 3000 to 2e-4, and its square enters with delta.
    merged = halves[0].merge(halves[1]).covariance_matrix().double()
    assert (merged - truth).abs().max() <= bound + 3000 * eps(torch.float32)


@pytest.mark.parametrize("n", [100, 30_000])
def test_the_mean_is_right_to_the_last_place(n):
    """A plain sum in float32 is two units off here; the second pass mends it."""
    data = (random_samples(n, 64) + 3000).float()
    truth, unit = data.double().mean(dim=0), 2.0**-12  # the spacing of float32 at 3000
    assert ((data.sum(dim=0) / n).double() - truth).abs().max() > unit
    ours = SufficientStatistics.from_data(data).mean.double()
    # Half a unit is the nearest float32; the rounding of the correction itself is far smaller.
    assert (ours - truth).abs().max() <= 0.51 * unit


def test_what_was_handed_in_is_unchanged():
    data = correlated_samples(9, 2)
    before = data.clone()
    statistics = SufficientStatistics.from_data(data)
    fields = [getattr(statistics, f).clone() for f in FIELDS]
    statistics.merge(statistics).covariance_matrix(1)
    assert torch.equal(data, before)
    assert all(torch.equal(a, getattr(statistics, f)) for a, f in zip(fields, FIELDS, strict=True))


def test_statistics_stay_as_they_are_and_equal_only_themselves():
    ours = SufficientStatistics.from_data(correlated_samples(9, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        ours.mean = torch.zeros(2)
    # Field by field, tensors would be asked for one truth value.
    assert ours != SufficientStatistics(*(getattr(ours, f).clone() for f in FIELDS))
    assert {ours: "a key"}[ours] == "a key"


def test_parts_may_be_arrays():
    ours = SufficientStatistics(COUNT, MEAN.numpy(), SCATTER.numpy())
    assert isinstance(ours.mean, torch.Tensor)
    assert torch.equal(ours.scatter, SCATTER)
    assert mean_log_prob(ours, MEAN, SCATTER).ndim == 0


def test_conversion_keeps_the_count():
    statistics = SufficientStatistics.from_data(correlated_samples(9, 2)).to(torch.float32)
    assert (statistics.mean.dtype, statistics.scatter.dtype) == (torch.float32, torch.float32)
    assert (statistics.count.dtype, statistics.count.item()) == (torch.int64, 9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_the_mean_density_needs_no_samples(batch_shape, dtype):
    gaussian = random_gaussian(3, batch_shape, dtype=dtype)
    data = random_samples(*batch_shape, 30, 3, seed=1, dtype=dtype) + 1
    ours = mean_log_prob(SufficientStatistics.from_data(data), *gaussian)
    assert (ours.shape, ours.dtype) == (batch_shape, dtype)
    expected = log_prob(data, *gaussian).mean(dim=-1)
    # A sum of 30 x 3 squares of size ten on both sides.
    torch.testing.assert_close(ours, expected, rtol=100 * eps(dtype), atol=100 * eps(dtype))


def test_one_set_of_statistics_serves_a_batch_of_factors():
    data, gaussian = correlated_samples(20, 2), random_gaussian(2, (4,))
    statistics = SufficientStatistics.from_data(data)
    ours = mean_log_prob(statistics, gaussian.loc[0], gaussian.scale_tril)
    expected = log_prob(data, gaussian.loc[0], gaussian.scale_tril).mean(dim=-1)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)  # sums of 40 terms


@pytest.mark.parametrize(("of_loc", "of_factor"), [((4,), ()), ((), (4,))])
@pytest.mark.parametrize("of", [SufficientStatistics.from_data, torch.clone])
def test_one_mean_or_one_factor_serves_a_batch(of, of_loc, of_factor):
    data = random_samples(4, 20, 2)
    loc, scale_tril = random_gaussian(2, of_loc).loc, random_gaussian(2, of_factor).scale_tril
    expected = log_prob(data, loc, scale_tril).mean(dim=-1)
    ours = mean_log_prob(of(data), loc, scale_tril)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)  # sums of 40 terms


@given(st.integers(1, 6), st.floats(0, 4), seeds)
def test_a_covariance_seen_through_its_own_factor_is_the_identity(dim, log_condition, seed):
    scale_tril = random_scale_tril(dim, 10**log_condition, seed)
    ours = whiten(scale_tril @ scale_tril.mT, scale_tril)
    # The product is rounded by d eps |Sigma|, which two solves enlarge by cond(L) each.
    bound = 4 * dim**2 * np.finfo(float).eps * np.linalg.cond(scale_tril.numpy()) ** 2
    assert (ours - torch.eye(dim)).abs().max() <= bound


def test_whitening_agrees_with_inverses():
    _, scale_tril = random_gaussian(3)
    matrix = torch.cov(correlated_samples(9, 3).T)
    inverse = np.linalg.inv(scale_tril.numpy())
    expected = torch.as_tensor(inverse @ matrix.numpy() @ inverse.T)
    torch.testing.assert_close(whiten(matrix, scale_tril), expected, rtol=1e-12, atol=1e-12)


# --- one pass, in chunks, from anywhere ----------------------------------------------------------


@pytest.fixture
def _small_chunks(monkeypatch):
    """Chunks of 24 numbers, so that small data have many."""
    for module in (gaussian, statistics):
        monkeypatch.setattr(module, "CHUNK", 24)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(41, 3), (20, 4, 3), (3, 2, 41, 3), (2, 1, 3), (0, 9, 3), (2, 50)]
)
def test_chunks_give_what_the_whole_gives(shape, dtype):
    data = (random_samples(*shape) * 3 + 2).to(dtype)
    ours = SufficientStatistics.from_data(data)
    mean = data.mean(dim=-2)
    centred = data - mean[..., None, :]
    whole = SufficientStatistics(torch.full(shape[:-2], shape[-2]), mean, centred.mT @ centred)
    assert ours.mean.dtype == ours.scatter.dtype == dtype
    assert_same(ours, whole)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize(
    ("shape", "rows"), [((2, 50), 1), ((41, 3), 8), ((2, 9, 3), 4), ((1, 50), 1), ((0, 3), 8)]
)
def test_slices_hold_a_chunk_and_cover_each_row_once(shape, rows):
    slices = statistics._row_slices(torch.empty(shape))
    starts = range(0, max(shape[-2], 1), rows)  # one slice of none where there are none
    assert slices == [slice(start, start + rows) for start in starts]


def test_chunks_of_one_size_share_their_room():
    """A large file is read without asking for memory again."""
    desk, chunk, origin = statistics._Desk(), random_samples(5, 3), random_samples(3, seed=1)
    first = desk.centre(chunk, origin)
    assert torch.equal(first, chunk - origin)
    second = desk.centre(2 * chunk, origin)
    assert second.data_ptr() == first.data_ptr()
    assert torch.equal(second, 2 * chunk - origin)


@pytest.mark.usefixtures("_small_chunks")
def test_statistics_come_without_a_warning():
    """torch warns of a number taken from a graph, and of room that must grow."""
    torch.set_warn_always(True)  # and not once a process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            SufficientStatistics.from_data(correlated_samples(41, 3))
            SufficientStatistics.from_data(correlated_samples(41, 3).requires_grad_())
    finally:
        torch.set_warn_always(False)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("n", [4, 40])
def test_statistics_are_on_the_device_of_the_data(n):
    data = correlated_samples(n, 3)
    with torch.device("meta"):  # what torch would otherwise take
        ours = SufficientStatistics.from_data(data)
    assert {getattr(ours, f).device.type for f in FIELDS} == {"cpu"}


def relative_error(statistics: SufficientStatistics, truth: SufficientStatistics) -> float:
    """Largest error of the scatter, in units of the scales of its row and column."""
    scale = truth.scatter.diagonal().sqrt()
    error = (statistics.scatter.double() - truth.scatter) / (scale[:, None] * scale)
    return error.abs().max().item()


def two_pass(data: torch.Tensor) -> SufficientStatistics:
    """All the data at once, as a textbook has it."""
    mean = data.mean(dim=0)
    return SufficientStatistics(torch.tensor(len(data)), mean, (data - mean).mT @ (data - mean))


HARD = {
    "far from zero": lambda x: x + 3000,
    "sorted": lambda x: x.sort(dim=0).values,
    "drifting": lambda x: x + torch.linspace(0, 1e4, len(x)).double()[:, None],
    "a jump": lambda x: x + 1e6 * (torch.arange(len(x)) < len(x) // 2)[:, None],
    # Each chunk of 2^16 rows is centred on the mean of the one before, which is far away.
    "zigzag": lambda x: x + 1e6 * (torch.arange(len(x)) // 2**16 % 2)[:, None],
}


@pytest.mark.parametrize("case", HARD)
def test_float32_is_no_worse_than_two_passes(case):
    data = HARD[case](random_samples(300_000, 8)).float()
    truth = two_pass(data.double())
    ours = relative_error(SufficientStatistics.from_data(data), truth)
    assert ours <= relative_error(two_pass(data), truth)


@pytest.mark.usefixtures("_small_chunks")
def test_a_first_chunk_that_is_far_away_spoils_nothing():
    """Were all chunks centred on its mean, what it is away would enter each of them, squared."""
    data = random_samples(20_000, 3).float()
    data[:8] += 1000  # and the eight are a chunk
    truth = two_pass(data.double())
    assert relative_error(SufficientStatistics.from_data(data), truth) <= 4 * eps(torch.float32)


@pytest.mark.usefixtures("_small_chunks")
def test_gradients_reach_the_data_through_every_chunk():
    data = correlated_samples(40, 3).requires_grad_()
    statistics = SufficientStatistics.from_data(data)
    (ours,) = torch.autograd.grad(statistics.scatter.sum() + statistics.mean.sum(), data)
    whole = two_pass(data)
    (expected,) = torch.autograd.grad(whole.scatter.sum() + whole.mean.sum(), data)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)  # sums of 40 terms


@pytest.mark.parametrize("n", [16, 37, 48])
def test_products_in_blocks_are_the_product(n, monkeypatch):
    monkeypatch.setattr(statistics, "TALL", 0)
    data = correlated_samples(n, 3)
    ours = SufficientStatistics.from_data(data)
    assert relative_error(ours, two_pass(data)) <= 100 * eps(torch.float64)  # 48 roundings and more
    alone = torch.cov(data.T, correction=0) * n  # by one product
    assert not torch.equal(ours.scatter, alone)  # the blocks were there
    batched = SufficientStatistics.from_data(torch.stack([data, 2 * data]))
    torch.testing.assert_close(batched.scatter[1], 4 * alone, rtol=1e-12, atol=1e-12)


def test_wider_statistics_come_from_wider_chunks():
    data = (correlated_samples(200_000, 3) + 3000).float()
    ours = SufficientStatistics.from_data(data, dtype=torch.float64)
    assert ours.scatter.dtype == torch.float64
    assert relative_error(ours, two_pass(data.double())) <= 1e-12  # 200,000 roundings at random


@pytest.fixture
def large_file(tmp_path):
    """A file of 10 million rows, and what its statistics are."""
    path, rows = tmp_path / "samples.bin", 10_000_000
    file = np.memmap(path, np.float32, "w+", shape=(rows, 2))
    block = correlated_samples(100_000, 2).float() + 3000
    file[:] = np.tile(block.numpy(), (rows // len(block), 1))
    file.flush()
    truth = two_pass(block.double())
    del file
    yield (
        path,
        rows,
        SufficientStatistics(torch.tensor(rows), truth.mean, truth.scatter * (rows // len(block))),
    )
    path.unlink()


def test_a_file_is_read_in_chunks_and_never_whole(large_file):
    path, rows, truth = large_file
    file = np.memmap(path, np.float32, "r", shape=(rows, 2))
    tracemalloc.start()
    ours = SufficientStatistics.from_data(file)
    peak = tracemalloc.get_traced_memory()[1]  # of NumPy: a copy of the file would be 80 MB
    tracemalloc.stop()
    assert peak < 8e6
    assert ours.count == rows
    assert relative_error(ours, truth) <= 4 * 260_000**0.5 * eps(torch.float32)  # as above
    assert (
        ours.mean.double() - truth.mean
    ).abs().max() <= 2.0**-13  # half a unit in the last place


def test_memory_does_not_grow_with_the_samples():
    """Peak of a process of its own; torch's allocations are not Python's."""
    code = """
import resource, sys, torch
from helpers import SufficientStatistics
torch.set_num_threads(1)
data = torch.ones(int(sys.argv[1]), 8)
SufficientStatistics.from_data(data[:200_000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
SufficientStatistics.from_data(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = [sys.executable, "-c", code, "8000000"]  # 256 MB, in KB or bytes by system
    grown = int(subprocess.run(run, capture_output=True, check=True, text=True).stdout)
    assert grown * (1 if sys.platform == "darwin" else 1024) < 32e6


@pytest.mark.parametrize("how", [list, iter, lambda batches: DataLoader(Rows(batches), None)])
def test_batches_give_what_the_whole_gives(how):
    data = correlated_samples(50, 3)
    ours = SufficientStatistics.from_batches(how(list(data.split(7))))
    assert_same(ours, SufficientStatistics.from_data(data))


class Rows(Dataset):
    """Batches as a data set, which is what a DataLoader takes."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        return (self.batches[i],)


def test_batches_may_be_arrays_batched_and_of_another_dtype():
    data = random_samples(4, 50, 3)
    parts = [part.numpy() for part in data.float().split(20, dim=1)]
    ours = SufficientStatistics.from_batches(parts, dtype=torch.float64)
    assert ours.batch_shape == (4,)
    assert_same(ours, SufficientStatistics.from_data(data.float().double()))
    assert SufficientStatistics.from_batches(parts).mean.dtype == torch.float32


def with_bad(index, value=math.nan):
    data = correlated_samples(50, 3)
    data[index] = value
    return data


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("index", [(0, 0), (9, 1), (49, 2)])
def test_a_value_that_is_not_finite_is_found_where_it_is(index, value):
    data = with_bad(index, value)
    where = re.escape(f"got {value} at index {index}")
    for each in (data, data.numpy()):
        with pytest.raises(ValueError, match=f"data: .*{where}"):
            SufficientStatistics.from_data(each)
    batched = torch.stack([correlated_samples(50, 3), data])
    with pytest.raises(ValueError, match=re.escape(f"{value} at index {(1, *index)}")):
        SufficientStatistics.from_data(batched)
    row = index[0]
    with pytest.raises(ValueError, match=rf"batches\[{row // 10}\]: .*{value}"):
        SufficientStatistics.from_batches(data.split(10))


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        (None, TypeError, ["batches", "iterable", "NoneType"]),
        (correlated_samples(4, 2), TypeError, ["batches", "iterable", "Tensor"]),
        (pd.DataFrame({"height": [1.0]}), TypeError, ["batches", "iterable", "DataFrame"]),
        ([correlated_samples(4, 2) * 1e200], ValueError, ["batches[0]", "squares", "rescale"]),
        ([], ValueError, ["batches", "at least one", "none"]),
        ([[1.0, 2.0]], TypeError, ["batches[0]", "torch.Tensor", "list"]),
        (
            [correlated_samples(4, 2), correlated_samples(4, 3)],
            ValueError,
            ["batches[1]", "2", "(4, 3)"],
        ),
    ],
)
def test_bad_batches_are_named(batches, error, words):
    with pytest.raises(error) as caught:
        SufficientStatistics.from_batches(batches)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- the mean density of samples -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("of_data", "batch_shape"), [((), ()), ((2,), (2,)), ((), (4,))])
def test_the_mean_density_of_samples_has_the_gradient_of_their_densities(
    of_data, batch_shape, dtype, monkeypatch
):
    sizes, product = [], statistics.whiten_by_product

    def measured(*args):
        whitened = product(*args)
        sizes.append(whitened.numel())
        return whitened

    monkeypatch.setattr(statistics, "SMALL", 0)
    monkeypatch.setattr(statistics, "whiten_by_product", measured)
    monkeypatch.setattr(gaussian, "CHUNK", 60)
    data = random_samples(*of_data, 50, 3, seed=1, dtype=dtype) + 1
    results = []
    for loss in (mean_log_prob, lambda *a: log_prob(*a).mean(dim=-1)):
        loc, scale_tril = (p.requires_grad_() for p in random_gaussian(3, batch_shape, dtype=dtype))
        value = loss(data, loc, scale_tril)
        slopes = torch.autograd.grad(value.sum(), (loc, scale_tril))
        results.append((value, slopes[0], slopes[1].tril()))
    assert max(sizes) == 60
    for ours, expected in zip(*results, strict=True):
        assert ours.dtype == dtype
        # Sums of 50 x 3 terms of size ten.
        torch.testing.assert_close(ours, expected, rtol=200 * eps(dtype), atol=200 * eps(dtype))


def test_the_mean_density_of_samples_keeps_its_digits_at_condition_1e6():
    """Statistics of the raw samples in float32 would be off by 1e-2 here."""
    scale_tril = random_scale_tril(40, 1e3, 0)
    data = (random_samples(20_000, 40) @ scale_tril.mT * 1.1).float()
    loc, factor = torch.zeros(40), scale_tril.float().requires_grad_()
    exact = log_prob(data.double(), loc.double(), factor.detach().double()).mean().item()
    ours = mean_log_prob(data, loc, factor)
    assert ours.grad_fn is not None
    raw = mean_log_prob(SufficientStatistics.from_data(data), loc, factor).item()
    assert abs(raw - exact) > 1e-3
    # d eps cond(L), the bound of a triangular solve, with room: 1e-4 were seen.
    assert abs(ours.item() - exact) < 40 * eps(torch.float32) * 1e3


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_a_gradient_remembers_no_samples_unless_they_are_few(wanted, monkeypatch):
    """Only d x d matrices wait for the way back."""
    data, kept = correlated_samples(200, 3), []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    for small in (600, 599):
        kept.clear()
        monkeypatch.setattr(statistics, "SMALL", small)
        parameters = (p.requires_grad_(w) for p, w in zip(random_gaussian(3), wanted, strict=True))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            mean_log_prob(data, *parameters)
        assert max(kept) == (600 if small == 600 else 9)


def test_samples_that_want_a_gradient_get_it(monkeypatch):
    monkeypatch.setattr(statistics, "SMALL", 0)
    data = correlated_samples(20, 2).requires_grad_()
    loc, scale_tril = (p.requires_grad_() for p in random_gaussian(2))
    (ours,) = torch.autograd.grad(mean_log_prob(data, loc, scale_tril), data)
    (expected,) = torch.autograd.grad(log_prob(data, loc, scale_tril).mean(), data)
    assert torch.equal(ours, expected)
    assert ours.abs().max() > 0


X = torch.zeros(3, 2)
COUNT, MEAN, SCATTER = torch.tensor(3), torch.zeros(2), torch.eye(2)
GOOD = SufficientStatistics(COUNT, MEAN, SCATTER)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: SufficientStatistics.from_data(None), TypeError, ["data", "None"]),
        (
            lambda: SufficientStatistics.from_data(X[0]),
            ValueError,
            ["data", "(..., n, dim)", "(2,)"],
        ),
        (lambda: SufficientStatistics.from_data(X.int()), ValueError, ["data", "int32"]),
        (lambda: SufficientStatistics.from_data(X / 0), ValueError, ["data", "nan", "(0, 0)"]),
        (
            lambda: SufficientStatistics.from_data(torch.tensor([[1e30], [-1e30]])),
            ValueError,
            ["data: ", "squares float32", "too large", "rescale"],
        ),
        (lambda: GOOD.merge(X), TypeError, ["other", "SufficientStatistics", "Tensor"]),
        (
            lambda: GOOD.merge(SufficientStatistics.from_data(torch.zeros(3, 1))),
            ValueError,
            ["other", "(2,)", "(1,)"],
        ),
        (
            lambda: GOOD.merge(SufficientStatistics.from_data(torch.zeros(5, 3, 2))),
            ValueError,
            ["other", "(2,)", "(5, 2)"],
        ),
        (lambda: GOOD.merge(GOOD.to(torch.float64)), ValueError, ["other", "float32", "float64"]),
        (lambda: GOOD.covariance_matrix(-1), ValueError, ["correction", "at least 0", "-1"]),
        (lambda: GOOD.covariance_matrix(0.5), TypeError, ["correction", "whole", "0.5"]),
        (lambda: GOOD.covariance_matrix(3), ValueError, ["count", "more than 3", "got 3"]),
        (lambda: SufficientStatistics(3, MEAN, SCATTER), TypeError, ["count", "Tensor", "3"]),
        (lambda: SufficientStatistics(COUNT.float(), MEAN, SCATTER), TypeError, ["count", "int64"]),
        (
            lambda: SufficientStatistics(COUNT, MEAN, X),
            ValueError,
            ["scatter", "dim, dim)", "(3, 2)"],
        ),
        (
            lambda: SufficientStatistics(COUNT.expand(2), MEAN, SCATTER),
            ValueError,
            ["count", "()", "(2,)"],
        ),
        (
            lambda: SufficientStatistics(COUNT, MEAN.expand(4, 2), SCATTER.expand(4, 2, 2)),
            ValueError,
            ["count", "(4,)", "got ()"],
        ),
        (
            lambda: SufficientStatistics(COUNT.to("meta"), MEAN, SCATTER),
            ValueError,
            ["count", "device cpu", "got meta"],
        ),
        (
            lambda: SufficientStatistics(torch.tensor([3, -1]), X[:2], 0 * SCATTER.expand(2, 2, 2)),
            ValueError,
            ["count", "no negative", "got -1"],
        ),
        (
            lambda: SufficientStatistics(COUNT - 2, MEAN, SCATTER),
            ValueError,
            ["count", "at least 2", "fewer"],
        ),
        (
            lambda: SufficientStatistics(COUNT, MEAN[:1], SCATTER),
            ValueError,
            ["mean", "(2,) for that of scatter", "(1,)"],
        ),
        (
            lambda: SufficientStatistics(COUNT, MEAN / 0, SCATTER),
            ValueError,
            ["mean", "finite", "nan", "(0,)"],
        ),
        (
            lambda: SufficientStatistics(COUNT, MEAN, SCATTER.double()),
            ValueError,
            ["scatter", "float32", "float64"],
        ),
        (
            lambda: mean_log_prob(GOOD, torch.zeros(3), torch.eye(3)),
            ValueError,
            ["data.mean", "(..., 3)", "(2,)"],
        ),
        (
            lambda: mean_log_prob(GOOD, MEAN.double(), SCATTER.double()),
            ValueError,
            ["data", "float64", "float32"],
        ),
        (
            lambda: mean_log_prob(X.double(), MEAN, SCATTER),
            ValueError,
            ["data", "float32", "float64"],
        ),
        (lambda: mean_log_prob(X[:0], MEAN, SCATTER), ValueError, ["data", "at least one sample"]),
        (
            lambda: mean_log_prob(X.expand(4, 3, 2), MEAN, SCATTER),
            ValueError,
            ["data", "()", "(4,)"],
        ),
        (
            lambda: mean_log_prob(SufficientStatistics.from_data(X[:0]), MEAN, SCATTER),
            ValueError,
            ["data", "at least one sample", "none"],
        ),
        (
            lambda: mean_log_prob(SufficientStatistics.from_data(X.expand(4, 3, 2)), MEAN, SCATTER),
            ValueError,
            ["data", "()", "(4,)"],
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
