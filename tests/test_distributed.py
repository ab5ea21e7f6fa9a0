"""The fit over shards, in one process: what needs several of them is in tests/many_ranks."""

from __future__ import annotations

import errno
import os
import pickle
import re
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import strategies  # noqa: F401 - settings of hypothesis
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from helpers import (
    GaussianLikelihood,
    SoftplusCholesky,
    SufficientStatistics,
    checkpoints,
    fit,
    fit_batches,
    fit_data_parallel,
    fit_shards,
    list_shards,
    maximum_likelihood,
    progress,
    reduce_statistics,
)
from helpers.checkpoints import load_checkpoint, save_checkpoint, write_files
from helpers.distributed import __main__ as command
from helpers.distributed import fitting, groups, kept, reduction, shards
from helpers.distributed.batches import part_of_model
from helpers.distributed.fitting import ShardFit
from helpers.distributed.groups import (
    Ranks,
    RanksMissingError,
    RollCall,
    StoppedElsewhere,
    find_ranks,
    portable,
    raise_first,
)
from helpers.distributed.parallel import LossHistory
from helpers.distributed.shards import Rows, Shard, share_out
from helpers.scaling import free_port

CPU = torch.device("cpu")
# Sums of a hundred numbers, each rounded once or twice.
RELATIVE = 1e-13


def rows_of(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    dice = np.random.default_rng(seed)
    return dice.standard_normal((n, d)) @ (np.eye(d) + 0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards with rows and one without."""
    data = tmp_path / "data"
    data.mkdir()
    rows = rows_of(100)
    for name, part in (
        ("part-1", rows[:60]),
        ("part-2", rows[60:60]),
        ("part-10", rows[60:97]),
        ("part-9", rows[97:]),
    ):
        np.save(data / f"{name}.npy", part)
    return data


def names(found: tuple[Shard, ...]) -> list[str]:
    return [Path(shard.path).stem for shard in found]


def truth(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter with digits to spare, in two passes."""
    wide = rows.astype(np.longdouble)
    mean = wide.mean(axis=0)
    return mean, (wide - mean).T @ (wide - mean)


def departure(found: SufficientStatistics, rows: np.ndarray) -> float:
    """How far a scatter is from the truth, in units of the scales."""
    _, scatter = truth(rows)
    scale = np.sqrt(np.diag(scatter))
    return float(np.abs((found.scatter.numpy() - scatter) / np.outer(scale, scale)).max())


# Which shards there are ---------------------------------------------------------------------------


def test_shards_come_in_natural_order_each_once(folder, monkeypatch):
    whole = list_shards(folder)
    assert names(whole) == ["part-1", "part-2", "part-9", "part-10"]
    assert [shard.rows for shard in whole] == [60, 0, 3, 37]
    assert {(shard.columns, shard.dtype) for shard in whole} == {(3, "float64")}
    (folder / "link.npy").symlink_to(folder / "part-1.npy")
    twice = [folder / "part-10.npy", str(folder), f"{folder}/*-[129]*.npy", f"{folder.parent}/**"]
    assert list_shards(twice) == whole
    monkeypatch.chdir(folder)
    assert list_shards("part-?.npy") == whole[:3]
    assert list_shards(Path("part-9.npy")) == whole[2:3]


def test_a_pattern_looks_into_folders_of_folders(folder):
    below = folder / "one" / "two"
    below.mkdir(parents=True)
    np.save(below / "part-3.npy", rows_of(4))
    assert names(list_shards(f"{folder}/**/part-3.npy")) == ["part-3"]


@pytest.mark.parametrize(
    ("paths", "error", "words"),
    [
        ([], ValueError, "paths: expected at least one file, folder or pattern, got none"),
        ([3], TypeError, "paths: expected names of files or folders, got int 3"),
        (3, TypeError, "paths: expected names of files or folders, got int 3"),
        ("", ValueError, "paths: expected"),
    ],
)
def test_paths_that_are_none_are_refused(paths, error, words):
    with pytest.raises(error, match=words):
        list_shards(paths)


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(ValueError, match="paths: expected a folder with .npy files, got .* with n"):
        list_shards(tmp_path)


def test_a_sign_of_life_is_given_for_each_header(folder):
    told = []
    assert shards.find_shards(folder, lambda: told.append("alive")) == list_shards(folder)
    assert told == ["alive"] * 4


def test_what_is_no_shard_is_left_out_of_a_folder(folder):
    (folder / ".part-3.npy").write_bytes(b"half written")
    (folder / "notes.txt").write_text("text")
    (folder / "below").mkdir()
    assert len(list_shards(folder)) == 4


def write_with_header(path: Path, version: tuple[int, int], padding: int = 0) -> None:
    """Write no rows behind a header of another version, or of another length, than is usual."""
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3)}".ljust(padding) + "\n"
    length = len(header).to_bytes(4, "little")
    path.write_bytes(np.lib.format.magic(*version) + length + header.encode())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda f: np.save(f, rows_of(5, 4)), "part-3.npy: expected 3 columns like .*part-1.npy"),
        (lambda f: np.save(f, rows_of(5).astype("f4")), "expected dtype float64 like .*part-1.npy"),
        (lambda f: np.save(f, rows_of(5).astype("f2")), "expected dtype float32 or float64, got f"),
        (lambda f: np.save(f, np.ones(5)), r"expected shape \(n, d\), .* got \(5,\)"),
        (lambda f: np.save(f, np.ones((5, 0))), r"expected shape \(n, d\), .* got \(5, 0\)"),
        (lambda f: f.write_bytes(b""), "got one that is cut off in its header, after 0 bytes"),
        (lambda f: f.write_text("1, 2\n" * 99), "expected a .npy file of numbers, got another"),
        (lambda f: write_with_header(f, (3, 0)), r"got another: version \(3, 0\) of the format$"),
        # NumPy says in two more lines how one may trust such a file all the same.
        (lambda f: write_with_header(f, (2, 0), 20_000), "got another: Header info .* is large .*"),
    ],
)
def test_a_file_that_is_no_shard_is_named(folder, write, words):
    write(folder / "part-3.npy")
    with pytest.raises(ValueError, match=words) as caught:
        list_shards(folder)
    assert str(folder / "part-3.npy") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_objects_is_not_unpickled(folder):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(folder / "sprung"),)

    np.save(folder / "part-3.npy", np.array([[Trap()]], dtype=object))
    with pytest.raises(ValueError, match="part-3.npy: expected dtype float32 or float64"):
        list_shards(folder)
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (-1, "part-9.npy: expected 3 rows, got a file that is cut off in row 2$"),
        (-48, "cut off in row 1$"),
        (-49, "cut off in row 0$"),
        (5, "part-9.npy: expected 3 rows of 24 bytes, got 5 bytes more"),
    ],
)
def test_a_file_of_another_length_is_named_with_its_row(folder, change, words):
    file = folder / "part-9.npy"
    os.truncate(file, file.stat().st_size + change)
    with pytest.raises(ValueError, match=words):
        list_shards(folder)


def test_files_that_cannot_be_read_are_named(folder):
    with pytest.raises(FileNotFoundError, match="expected a file, .* no such file: 'nothing.npy'"):
        list_shards([folder, "nothing.npy"])
    with pytest.raises(FileNotFoundError, match="no file matches the pattern"):
        list_shards(f"{folder}/*.none")
    (folder / "part-3.npy").symlink_to(folder / "gone")
    words = f"a shard cannot be read, {os.strerror(errno.ENOENT)}: .*part-3.npy"
    with pytest.raises(FileNotFoundError, match=words):
        list_shards(folder)
    with (
        pytest.raises(OSError, match="a shard cannot be read, no number: 'a.npy'"),
        shards._named_errors("a.npy"),
    ):
        raise OSError("no number")


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 8))
def test_ranks_share_out_all_shards_evenly(rows, n_ranks):
    some = [Shard(f"{i}.npy", n, 3, "float64", 0, 0) for i, n in enumerate(rows)]
    shares = share_out(some, n_ranks)
    assert sorted((shard for share in shares for shard in share), key=some.index) == some
    assert all(share == sorted(share, key=some.index) for share in shares)
    loads = [sum(shard.rows for shard in share) for share in shares]
    # The last shard that the fullest rank was given went to the emptiest one then.
    assert max(loads) - min(loads) <= max(rows, default=0)


@pytest.mark.parametrize(
    ("rows", "n_ranks", "loads"),
    [
        ([1, 1, 1, 3], 2, [3, 3]),  # the largest one comes first, wherever it stands
        ([9, *[1] * 9], 2, [9, 9]),  # rows are counted, not shards
        ([5, 0, 0], 3, [0, 0, 5]),
    ],
)
def test_ranks_have_as_many_rows_as_can_be(rows, n_ranks, loads):
    some = [Shard(f"{i}.npy", n, 3, "float64", 0, 0) for i, n in enumerate(rows)]
    shares = share_out(some, n_ranks)
    assert sorted(sum(shard.rows for shard in share) for share in shares) == loads
    assert all(shares)


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "columns"])
def test_rows_come_in_chunks_whatever_their_form(tmp_path, monkeypatch, kind):
    rows = rows_of(50)
    stored = np.asfortranarray(rows) if kind == "columns" else rows.astype(kind)
    np.save(tmp_path / "a.npy", stored)
    monkeypatch.setattr(shards, "CHUNK", 21)
    with Rows(shards.read_header(str(tmp_path / "a.npy"))) as opened:
        chunks = [chunk.clone() for chunk in opened.chunks()]
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    assert np.array_equal(torch.cat(chunks).numpy(), stored)


def test_a_chunk_has_as_many_rows_as_columns(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", rows_of(7, 5))
    monkeypatch.setattr(shards, "CHUNK", 1)
    with Rows(shards.read_header(str(tmp_path / "a.npy"))) as opened:
        assert [len(chunk) for chunk in opened.chunks()] == [5, 2]


@pytest.mark.parametrize(("row", "value"), [(0, np.nan), (30, np.inf), (59, -np.inf)])
def test_a_bad_number_is_named_with_file_and_row(folder, monkeypatch, row, value):
    monkeypatch.setattr(shards, "CHUNK", 21)
    monkeypatch.setattr(shards, "FIRST", 4)
    rows = rows_of(60)
    rows[row, 1] = value
    np.save(folder / "part-1.npy", rows)
    words = f"part-1.npy: expected finite values, got {value} in row {row}, column 1"
    with pytest.raises(ValueError, match=words):
        fit_shards(folder)


def test_infinities_of_both_signs_give_one_error_and_no_warning(folder, monkeypatch):
    monkeypatch.setattr(shards, "CHUNK", 21)
    monkeypatch.setattr(shards, "FIRST", 4)
    rows = rows_of(60)
    rows[30:33, 1] = np.inf, -np.inf, np.inf
    np.save(folder / "part-1.npy", rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="got inf in row 30, column 1"):
            fit_shards(folder)


def test_numbers_whose_squares_are_too_large_are_named(folder):
    np.save(folder / "part-1.npy", rows_of(60) * 1e200)
    with pytest.raises(ValueError, match="part-1.npy: from row 0: .* too large for float64"):
        fit_shards(folder)


def test_a_shard_that_changes_after_it_was_listed_is_refused(folder):
    (shard,) = list_shards(folder / "part-1.npy")
    os.utime(shard.path, ns=(1, 1))
    with (
        pytest.raises(ValueError, match="part-1.npy: expected the file as it was listed"),
        Rows(shard),
    ):
        pass
    (shard,) = list_shards(folder / "part-1.npy")
    with Rows(shard) as opened:
        os.truncate(shard.path, 800)  # to read beyond it would end the process
        with pytest.raises(ValueError, match=r"part-1.npy: .* cut off in row 28$"):
            opened.first()
        os.truncate(shard.path, 60)  # in its header
        with pytest.raises(ValueError, match=r"part-1.npy: .* cut off in row 0$"):
            opened.first()
    np.save(shard.path, rows_of(60))
    (shard,) = list_shards(shard.path)
    with Rows(shard) as opened:
        chunks = opened.chunks()
        next(chunks)
        os.utime(shard.path, ns=(1, 1))
        with pytest.raises(ValueError, match="part-1.npy: .* changed since"):
            next(chunks)
    os.unlink(shard.path)
    with (
        pytest.raises(FileNotFoundError, match="a shard cannot be read, .*part-1.npy"),
        Rows(shard),
    ):
        pass


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_a_shard_that_is_cut_while_it_is_read_is_named(tmp_path, monkeypatch, order, kind):
    np.save(tmp_path / "a.npy", rows_of(9000).astype(kind, order=order))
    (shard,) = list_shards(tmp_path)
    monkeypatch.setattr(shards, "CHUNK", 9000)
    stat = os.fstat

    def cut(handle):
        found = stat(handle)
        os.truncate(shard.path, 20_000)  # just after it was seen to be whole
        return found

    with Rows(shard) as opened:
        chunks = opened.chunks()
        next(chunks)
        monkeypatch.setattr(os, "fstat", cut)
        with pytest.raises(ValueError, match=r"a.npy: expected 9000 rows, got a file that is cut"):
            list(chunks)


def test_a_disk_that_cannot_be_read_is_named(folder, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Rows, "_fill", broken)
    words = f"a shard cannot be read, {os.strerror(errno.EIO)}: .*part-1.npy"
    with pytest.raises(OSError, match=words) as caught:
        fit_shards(folder)
    assert caught.value.errno == errno.EIO


def test_the_first_rows_are_looked_at(folder):
    rows = rows_of(60)
    rows[2, 1] = np.nan
    np.save(folder / "part-1.npy", rows)
    with (
        Rows(shards.read_header(str(folder / "part-1.npy"))) as opened,
        pytest.raises(ValueError, match="part-1.npy: .* got nan in row 2, column 1"),
    ):
        opened.first()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files on Linux alone")
def test_no_shard_stays_open(folder):
    def opened() -> list[str]:
        handles = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return [place for place in map(os.readlink, handles) if place.startswith(str(folder))]

    with Rows(shards.read_header(str(folder / "part-1.npy"))) as rows:
        assert opened()
    assert not opened()
    rows.shard = list_shards(folder / "part-9.npy")[0]
    os.utime(rows.shard.path, ns=(1, 1))
    with pytest.raises(ValueError, match="changed since"):
        rows.__enter__()
    assert not opened()


# Fitting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("away", [0.0, 1e6])
def test_the_result_is_that_of_all_rows_together(tmp_path, monkeypatch, kind, away):
    """Also a million standard deviations away, where means differ in their last digits alone."""
    monkeypatch.setattr(shards, "CHUNK", 21)
    monkeypatch.setattr(shards, "FIRST", 4)
    rows = (rows_of(100) + np.linspace(0, 5, 100)[:, None] + away).astype(kind)
    for i, part in enumerate(np.split(rows, [7, 7, 50, 51])):
        np.save(tmp_path / f"{i}.npy", part)
    result = fit_shards(tmp_path)
    assert int(result.statistics.count) == 100
    assert departure(result.statistics, rows) <= RELATIVE
    mean, _ = truth(rows)
    # One rounding of the mean itself.
    assert np.allclose(result.statistics.mean.numpy(), mean.astype(float), rtol=3e-16, atol=1e-15)
    assert result.history.converged
    assert result.history.verdict.negligible
    assert result.model.loc.dtype == result.statistics.mean.dtype == torch.float64
    covariance = result.statistics.covariance_matrix()
    # A factor and its product: some roundings.
    assert torch.allclose(result.model.covariance_matrix, covariance, rtol=1e-14, atol=1e-14)
    assert (result.n_ranks, result.n_kept, len(result.shards)) == (1, 0, 5)


def test_rows_that_leave_the_first_one_behind_keep_their_digits(tmp_path, monkeypatch):
    """Seen from the first row alone, the others would lose an order of magnitude."""
    monkeypatch.setattr(shards, "CHUNK", 2100)
    monkeypatch.setattr(shards, "FIRST", 1)
    rows = rows_of(200_000)
    rows[1:] += [1e8, -1e8, 0]
    np.save(tmp_path / "0.npy", rows)
    assert departure(fit_shards(tmp_path).statistics, rows) <= RELATIVE


def test_the_model_is_exact_where_a_gap_shows_no_difference(tmp_path):
    np.save(tmp_path / "0.npy", rows_of(500, 16))
    result = fit_shards(tmp_path)
    before = GaussianLikelihood(16, dtype=torch.float64)
    history = fit(before, result.statistics)
    covariance = result.statistics.covariance_matrix()
    wrong = [(model.covariance_matrix - covariance).abs().max() for model in (before, result.model)]
    assert wrong[0] > 1e-10, "a fit that needs no last steps shows nothing here"
    assert wrong[1] <= 1e-14  # a factor and its product: some roundings of numbers of order one
    settled = result.history
    assert settled.step.tolist() == [*history.step.tolist(), history.n_steps + fitting.SETTLING]
    assert settled.gap[-1].abs() <= 1e-14  # likewise
    assert settled.loss[-1] == pytest.approx(result.model(result.statistics).item(), rel=1e-14)
    assert settled.time[-1] > settled.time[-2]


def test_the_order_of_the_paths_changes_no_bit(folder):
    files = sorted(folder.glob("*.npy"))
    one, other = fit_shards(files), fit_shards(files[::-1])
    assert torch.equal(one.statistics.scatter, other.statistics.scatter)
    assert torch.equal(one.model.scale_tril, other.model.scale_tril)


def test_the_model_is_of_the_dtype_asked_for(folder):
    result = fit_shards(folder, dtype=torch.float32)
    assert result.model.loc.dtype == torch.float32
    assert result.statistics.mean.dtype == torch.float64


def test_the_bar_counts_the_rows(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)  # a bar of the fit would be seen
    for _ in range(2):  # read, and taken from what was kept
        fit_shards(folder, progress=True, kept=tmp_path / "kept")
        assert "read" in (said := capsys.readouterr().err)
        assert "60/100 " in said  # as it is first shown
        assert "row/s" in said
    fit_shards(folder, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("option", "value", "error", "words"),
    [
        ("progress", "loud", TypeError, "progress: expected"),
        ("timeout", 0, ValueError, "timeout: expected"),
        ("kept", 3, TypeError, "kept: expected the name of a folder, got int"),
        ("kept", b"kept", TypeError, "kept: expected the name of a folder, got bytes"),
        ("kept", "", ValueError, "kept: expected the name of a folder, got ''"),
    ],
)
def test_options_that_do_not_fit_are_named_before_anything_is_read(option, value, error, words):
    with pytest.raises(error, match=words):
        fit_shards("no such folder", **{option: value})


def test_a_device_has_to_know_float64(folder, monkeypatch):
    monkeypatch.setattr(fitting, "widest_dtype", lambda device: torch.float32)
    words = "device: expected one that computes in float64, got 'cpu'"
    with pytest.raises(ValueError, match=words):
        fit_shards(folder, device="cpu")


def test_half_a_second_of_patience_is_enough_for_one(folder):
    assert fit_shards(folder, timeout=0.5).history.converged


def test_the_last_steps_are_told_as_they_are():
    """After a fit that broke off early, where the gap is large enough to be seen."""
    statistics = SufficientStatistics.from_data(torch.from_numpy(rows_of(500, 4)))
    model = GaussianLikelihood(4, dtype=torch.float64)
    history = fit(model, statistics, max_steps=2)
    assert history.gap[-1] > 1e-6
    history = replace(history, time=torch.arange(len(history.time)).double() * 1e6)
    start = time.perf_counter()
    settled = fitting.settle(model, statistics, history)
    took = time.perf_counter() - start
    assert settled.loss[-1] == pytest.approx(model(statistics).item(), rel=1e-14)
    assert settled.loss[-1] - settled.gap[-1] == pytest.approx(history.loss[-1] - history.gap[-1])
    assert 0 < settled.time[-1] - history.time[-1] <= took + 1e-6
    assert settled.step[-1] == 2 + fitting.SETTLING


def test_what_is_returned_cannot_be_altered(folder):
    result = fit_shards(folder)
    (shard, *_) = result.shards
    for one, name in ((result, "model"), (shard, "rows"), (fitting.Plan.make(folder), "origin")):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, None)
    with pytest.raises(FrozenInstanceError):
        kept.collect(shard, CPU, lambda _: None).origin = None
    assert hash(result) != hash(fit_shards(folder))  # each is one of its own, as its model is


def test_a_job_is_known_by_its_settings_in_any_order(folder):
    plan = fitting.Plan.make(folder)
    assert plan.identity(a=1, b=2) == plan.identity(b=2, a=1) != plan.identity(a=1, b=3)


# What is kept -------------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The names of shards, as they are read."""
    told = []

    def collect(shard, *more):
        told.append(Path(shard.path).stem)
        return kept.collect(shard, *more)

    monkeypatch.setattr(fitting, "collect", collect)
    return told


def test_what_was_read_is_not_read_again_and_gives_the_same_bits(folder, tmp_path, read):
    first = fit_shards(folder, kept=tmp_path / "kept")
    assert read == ["part-1", "part-2", "part-9", "part-10"]
    again = fit_shards(folder, kept=str(tmp_path / "kept"))
    assert len(read) == 4
    assert again.n_kept == 4
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    np.save(folder / "part-9.npy", rows_of(3, seed=1))  # of the same size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_shards(folder, kept=tmp_path / "kept").n_kept == 3
    assert read[4:] == ["part-9"]
    np.save(folder / "part-11.npy", rows_of(5, seed=2))
    assert fit_shards(folder, kept=tmp_path / "kept").n_kept == 4


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    numbers = load_checkpoint(file)["scatter"].numpy().tobytes()
    content[content.index(numbers)] ^= 1
    file.write_bytes(content)


def shorter(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def of_other_shape(file: Path) -> None:
    state = {**load_checkpoint(file), "mean": torch.zeros(4, dtype=torch.float64)}
    save_checkpoint(file, {k: v for k, v in state.items() if k != "format"})


def of_another_count(file: Path) -> None:
    state = {**load_checkpoint(file), "count": torch.tensor(59)}
    save_checkpoint(file, {k: v for k, v in state.items() if k != "format"})


def no_covariance(file: Path) -> None:
    state = {**load_checkpoint(file), "scatter": -torch.eye(3, dtype=torch.float64)}
    save_checkpoint(file, {k: v for k, v in state.items() if k != "format"})


def foreign(file: Path) -> None:
    torch.save({"a": torch.ones(2)}, file)


@pytest.mark.parametrize(
    "spoil", [damaged, shorter, of_other_shape, of_another_count, no_covariance, foreign]
)
def test_kept_statistics_that_are_odd_are_not_trusted(folder, tmp_path, read, spoil):
    first = fit_shards(folder, kept=tmp_path)
    read.clear()
    (file,) = tmp_path.glob("part-1-*.pt")
    spoil(file)
    with pytest.warns(RuntimeWarning, match=r"part-1-.*not used, .*part-1.npy is read again: \w"):
        again = fit_shards(folder, kept=tmp_path)
    assert read == ["part-1"]
    assert torch.equal(first.statistics.scatter, again.statistics.scatter)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_shards(folder, kept=tmp_path)


def test_an_empty_shard_adds_nothing(folder):
    (empty, *_) = [shard for shard in list_shards(folder) if not shard.rows]
    found = kept.collect(empty, CPU, lambda _: None)
    assert not found.origin.any()
    assert not found.statistics.mean.any()
    assert not found.statistics.scatter.any()
    assert found.statistics.count == 0


def test_products_are_those_of_columns_on_any_device():
    """A device without memory tells the shape alone; numpy cannot read from it."""
    assert kept._products(torch.empty(5, 3, device="meta")).shape == (3, 3)


@pytest.mark.parametrize("name", ["part-1", "a b, c", "part\udce9", "n" * 251])
def test_any_name_of_a_shard_can_be_kept(folder, tmp_path, name):
    """A name that is no text too, and the longest that there can be."""
    (shard,) = list_shards(folder / "part-1.npy")
    shard = replace(shard, path=f"/data/{name}.npy")
    collected = kept.collect(list_shards(folder / "part-1.npy")[0], CPU, lambda _: None)
    for place in (None, tmp_path / "one" / "two"):  # folders that are not there yet
        folder_of_parts = kept.Kept(place)
        assert folder_of_parts.knows(shard) is False
        assert folder_of_parts.load(shard) is None
        folder_of_parts.save(shard, collected)
        assert folder_of_parts.knows(shard) is (place is not None)
    found = folder_of_parts.load(shard)
    assert torch.equal(found.statistics.scatter, collected.statistics.scatter)


def test_a_folder_of_kept_files_is_looked_through_once(folder, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    left, alive, others = (
        tmp_path / name
        for name in (".a-1.pt.abcdef_9.part", ".b-2.pt.12345678.part", ".notes.abcdefgh.part")
    )
    for part in (left, alive, others):
        part.touch()
    looked, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda place: looked.append(place) or listdir(place))
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as another rank that writes
        place = kept.Kept(tmp_path)
        for shard in list_shards(sorted(folder.glob("*.npy"))):
            place.save(shard, kept.collect(shard, CPU, lambda _: None))
    assert looked == [tmp_path]
    assert {*tmp_path.glob(".*")} == {alive, others}
    assert len([*tmp_path.glob("part-*.pt")]) == 4


def test_shards_of_one_name_are_kept_apart(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "part-1.npy", rows_of(7, seed=3))
    result = fit_shards([folder, other], kept=tmp_path / "kept")
    assert int(result.statistics.count) == 107
    assert fit_shards([folder, other], kept=tmp_path / "kept").n_kept == 5


# Ranks --------------------------------------------------------------------------------------------


class Imagined(Ranks):
    """Ranks whose other members are threads."""

    def from_first(self, value):
        return "call"


def imagined(n_ranks: int) -> list[Ranks]:
    store = dist.HashStore()
    group = SimpleNamespace(get_group_store=lambda: store)
    return [Imagined(rank, n_ranks, group, CPU) for rank in range(n_ranks)]


def test_the_missing_ranks_are_named():
    calls = [RollCall(ranks, 0.2) for ranks in imagined(4)]
    calls[1].beat()  # and never again
    came = threading.Thread(target=suppressed, args=(calls[0].wait_for_all, "read"))
    came.start()
    with pytest.raises(RanksMissingError, match="ranks 1, 3 did not arrive: .* 0.2 s") as caught:
        calls[2].wait_for_all("read")
    came.join()
    assert caught.value.missing == [1, 3]


def suppressed(function, *arguments):
    with suppress(RuntimeError):
        function(*arguments)


def test_a_rank_that_gives_signs_of_life_is_waited_for(monkeypatch):
    monkeypatch.setattr(groups, "BEAT", 0.0)
    first, second = (RollCall(ranks, 0.2) for ranks in imagined(2))

    def slowly() -> None:
        for _ in range(10):
            time.sleep(0.06)
            second.beat()
        second.wait_for_all("read")

    slow = threading.Thread(target=slowly)
    slow.start()
    first.wait_for_all("read")
    slow.join()


def test_a_rank_that_fails_stops_the_others(monkeypatch):
    first, second = (RollCall(ranks, 1.0) for ranks in imagined(2))
    first.beat()
    second.fail()
    first.beat()  # within a second of the last one nothing is looked up
    monkeypatch.setattr(groups, "BEAT", 0.0)
    with pytest.raises(StoppedElsewhere):
        first.beat()


def test_a_collective_that_breaks_names_who_broke_off(monkeypatch):
    monkeypatch.setattr(groups, "LAST_WORDS", 0.1)
    calls = [RollCall(ranks, 1.0) for ranks in imagined(2)]
    other = threading.Thread(target=calls[1].wait_for_all, args=("read",))
    other.start()
    words = "rank 1 broke off .*: Connection reset"
    with pytest.raises(RanksMissingError, match=words) as caught, calls[0].together("read"):
        raise RuntimeError("Connection reset\nby peer")
    other.join()
    assert caught.value.missing == [1]


@pytest.fixture
def orphan(monkeypatch) -> RollCall:
    """The roll call of rank 1, after the process is gone that kept the store: rank 0."""
    monkeypatch.setattr(groups, "BEAT", 0.0)
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = dist.TCPStore("127.0.0.1", server.port)
    group = SimpleNamespace(get_group_store=lambda: client)
    call = RollCall(Imagined(1, 2, group, CPU), 1.0)
    call.beat()
    del server
    return call


def broken_off(call: RollCall) -> None:
    """A collective that has failed while the store was there."""
    call.wait_for_all = lambda stage: None
    with call.together("read"):
        raise RuntimeError("Connection reset by peer")


@pytest.mark.parametrize("ask", [RollCall.beat, lambda call: call.wait_for_all("read"), broken_off])
def test_who_loses_the_first_rank_and_its_store_says_so(ask, orphan, monkeypatch, capfd):
    orphan.fail()  # nobody hears of it, and the error of this rank is not lost
    with pytest.raises(RanksMissingError, match="keeps the ranks together is gone") as caught:
        ask(orphan)
    capfd.readouterr()  # what torch says about it
    monkeypatch.setenv("RANK", "1")
    command.say(caught.value, 1)
    assert capfd.readouterr().err == f"error: {caught.value}\n"


def test_the_first_error_is_raised_and_who_was_stopped_comes_last():
    raise_first([None, None])
    with pytest.raises(ValueError, match="b"):
        raise_first([StoppedElsewhere(), None, ValueError("b"), ValueError("c")])
    with pytest.raises(RuntimeError, match="does not say why"):
        raise_first([None, StoppedElsewhere()])


def test_errors_travel_in_types_that_every_rank_knows():
    class Own(ValueError):
        def __init__(self):
            super().__init__("what it was")

    assert repr(portable(Own())) == "ValueError('what it was')"
    gone = portable(PermissionError(errno.EACCES, "why", "a.npy"))
    assert isinstance(gone, PermissionError)
    assert gone.filename == "a.npy"
    assert repr(portable(KeyError("x"))) == "RuntimeError(\"KeyError: 'x'\")"
    assert isinstance(portable(StoppedElsewhere()), StoppedElsewhere)


@pytest.fixture
def group():
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_the_group_is_found(group):
    assert find_ranks() == find_ranks(group) == Ranks(0, 1, group, CPU)
    with pytest.raises(ValueError, match="group: expected a group that this process belongs to"):
        find_ranks(dist.GroupMember.NON_GROUP_MEMBER)


def test_a_process_alone_needs_no_group(folder):
    assert find_ranks() == Ranks(0, 1, None, CPU)
    with pytest.raises(TypeError, match="group: expected a group of torch.distributed or None"):
        fit_shards(folder, group="gloo")


def test_a_group_of_one_gives_the_same_bits(folder, group):
    statistics = SufficientStatistics.from_data(torch.from_numpy(rows_of(9)))
    assert torch.equal(reduce_statistics(statistics, group).scatter, statistics.scatter)
    alone = fit_shards(folder)
    assert torch.equal(fit_shards(folder, group=group).model.loc, alone.model.loc)


# Several ranks, as threads ------------------------------------------------------------------------


class Seat:
    """The group of a rank that is a thread, as far as the collectives ask for one."""

    def __init__(self, store: Any, rank: int, n_ranks: int):
        self.store, self.rank, self.n_ranks, self.calls = store, rank, n_ranks, 0

    def get_group_store(self) -> Any:
        return self.store

    def gather(self, value: Any) -> list[Any]:
        """What each rank hands in, which has to be such that it can be sent."""
        self.calls += 1
        self.store.set(f"{self.calls}/{self.rank}", pickle.dumps(value))
        said = [self.store.get(f"{self.calls}/{rank}") for rank in range(self.n_ranks)]
        return [pickle.loads(each) for each in said]  # noqa: S301 - from these threads alone

    def allreduce(self, tensors: list[torch.Tensor], _: Any) -> None:
        for numbers in tensors:
            numbers.copy_(sum(self.gather(numbers)))


class Thread(Ranks):
    """A rank that is a thread."""

    def gather(self, value):
        return self.group.gather(value)

    def from_first(self, value):
        return self.gather(value)[0]


@pytest.fixture
def on_threads(monkeypatch) -> Callable[[int, Callable[[Ranks], Any]], list[Any]]:
    """Runs a function of its rank on so many threads; what each returns, or its error."""
    for module in (reduction, fitting):
        monkeypatch.setattr(module, "find_ranks", lambda group=None: group or find_ranks())

    def run(n_ranks: int, function: Callable[[Ranks], Any]) -> list[Any]:
        store = dist.HashStore()
        store.set_timeout(timedelta(seconds=10))  # for those who wait for one that has failed

        def one(rank: int) -> Any:
            try:
                return function(Thread(rank, n_ranks, Seat(store, rank, n_ranks), CPU))
            except Exception as error:
                return error

        with ThreadPoolExecutor(n_ranks) as threads:
            return list(threads.map(one, range(n_ranks)))

    return run


def the_same(answers: list[Any]) -> Any:
    """What all ranks answer, errors by kind and message; statistics have to be the same bits."""
    for answer in answers:
        if isinstance(answer, Exception):
            assert repr(answer) == repr(answers[0])
        else:
            assert torch.equal(answer.count, answers[0].count)
            assert torch.equal(answer.mean, answers[0].mean)
            assert torch.equal(answer.scatter, answers[0].scatter)
    return answers[0]


def statistics_of(rows: list[np.ndarray], shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    """Statistics of a batch of the given shape, each element with rows of its own."""
    parts = [SufficientStatistics.from_data(torch.from_numpy(each)) for each in rows]
    count, mean, scatter = (
        torch.stack([getattr(part, name) for part in parts])
        for name in ("count", "mean", "scatter")
    )
    return SufficientStatistics(
        count.reshape(shape),
        mean.reshape(*shape, *mean.shape[1:]).to(dtype),
        scatter.reshape(*shape, *scatter.shape[1:]).to(dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(), (6,), (3, 2)])
def test_ranks_have_the_statistics_of_all_samples(on_threads, shape, dtype):
    """Each element of a batch has counts of its own, and none on some ranks."""
    counts = [[7, 3, 1], [1, 0, 0], [0, 1, 1], [5, 0, 4], [0, 0, 0], [40, 20, 30]]  # (batch, ranks)
    by_rank = [
        statistics_of(
            [rows_of(n, 4, seed=i) + rank for i, n in enumerate(each[: 6 if shape else 1])],
            shape,
            dtype,
        )
        for rank, each in enumerate(zip(*counts, strict=True))
    ]
    found = the_same(on_threads(3, lambda group: reduce_statistics(by_rank[group.rank], group)))
    wide = [part.to(dtype=torch.float64) for part in by_rank]
    whole = wide[0].merge(wide[1]).merge(wide[2])
    assert torch.equal(found.count, whole.count)
    # Sums are in float64: float32 is rounded to once.
    rounded = {"rtol": RELATIVE if dtype == torch.float64 else 2.0**-24, "atol": RELATIVE}
    torch.testing.assert_close(found.mean.double(), whole.mean, **rounded)
    torch.testing.assert_close(found.scatter.double(), whole.scatter, **rounded)
    assert found.mean.dtype == found.scatter.dtype == dtype


def test_a_batch_of_no_gaussians_is_reduced_to_one(on_threads):
    none = SufficientStatistics.from_data(torch.ones(0, 5, 3))
    found = the_same(on_threads(2, lambda group: reduce_statistics(none, group)))
    assert found.mean.shape == (0, 3)


def test_reduced_statistics_have_no_gradients(on_threads):
    mine = SufficientStatistics.from_data(torch.from_numpy(rows_of(9)).requires_grad_())
    assert mine.scatter.requires_grad
    found = the_same(on_threads(2, lambda group: reduce_statistics(mine, group)))
    for each in (found, reduce_statistics(mine)):  # of two ranks, and of a process alone
        assert not each.mean.requires_grad
        assert not each.scatter.requires_grad


@pytest.mark.parametrize("beside", [[], [1]])
def test_counts_are_exact_or_refused(on_threads, beside):
    """Also where only one element of a batch has too many."""

    def reduced(group: Ranks, counts: list[int]) -> SufficientStatistics:
        count = torch.tensor([*beside, counts[group.rank]])
        zeros = torch.zeros(len(count), 2, 2, dtype=torch.float64)
        return reduce_statistics(SufficientStatistics(count, zeros[:, 0], zeros), group)

    found = the_same(on_threads(2, lambda group: reduced(group, [2**52, 2**52 - 1])))
    assert found.count[-1] == 2**53 - 1
    error = the_same(on_threads(2, lambda group: reduced(group, [2**52, 2**52])))
    assert repr(error) == repr(
        ValueError(f"statistics: expected fewer than 2^53 samples in all, got {2**53}")
    )


def test_statistics_of_another_form_are_refused_on_every_rank(on_threads):
    plain = SufficientStatistics.from_data(torch.ones(5, 3).double())
    batch = SufficientStatistics.from_data(torch.ones(2, 5, 3))
    for given_in, words in {
        (plain, batch, batch): "shape (2, 3) and dtype float32 on rank 1",
        (plain, plain, plain.to(torch.float32)): "shape (3,) and dtype float32 on rank 2",
        (plain, batch.to(torch.float64), plain): "shape (2, 3) and dtype float64 on rank 1",
    }.items():
        handed = [*given_in]
        error = the_same(
            on_threads(3, lambda group, h=handed: reduce_statistics(h[group.rank], group))
        )
        assert repr(error) == repr(
            ValueError(
                "statistics: expected a mean of shape (3,) and dtype float64 like rank 0, "
                f"got {words}"
            )
        )


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_no_statistics_is_refused_on_every_rank(on_threads, rank):
    handed = [SufficientStatistics.from_data(torch.ones(5, 3))] * 2
    handed[rank] = torch.ones(5, 3)
    error = the_same(on_threads(2, lambda group: reduce_statistics(handed[group.rank], group)))
    assert repr(error) == repr(TypeError("statistics: expected SufficientStatistics, got Tensor"))


def test_means_too_far_apart_are_refused_on_every_rank(on_threads):
    rows = torch.tensor([[[-1e200]], [[1e200]]], dtype=torch.float64)
    handed = [SufficientStatistics.from_data(each) for each in rows]
    error = the_same(on_threads(2, lambda group: reduce_statistics(handed[group.rank], group)))
    assert str(error).startswith("statistics: expected numbers whose squares float64 can hold")


def test_shards_too_far_apart_are_refused_on_every_rank(tmp_path, on_threads):
    for i, number in enumerate((1e200, -1e200)):
        np.save(tmp_path / f"{i}.npy", np.full((4, 2), number))
    error = the_same(on_threads(2, lambda group: fit_shards(tmp_path, group=group)))
    assert str(error).startswith("paths: expected numbers whose squares float64 can hold")


def test_ranks_fit_what_one_process_fits(folder, tmp_path, on_threads):
    alone = fit_shards(folder)
    for n_kept in (0, 4):
        start = time.perf_counter()
        results = on_threads(2, lambda g: fit_shards(folder, group=g, kept=tmp_path / "kept"))
        took = time.perf_counter() - start
        found = the_same([result.statistics for result in results])
        assert torch.equal(found.count, alone.statistics.count)
        for name in ("mean", "scatter"):
            one, other = getattr(found, name), getattr(alone.statistics, name)
            torch.testing.assert_close(one, other, rtol=RELATIVE, atol=RELATIVE)
        for result in results:
            assert torch.equal(result.model.scale_tril, results[0].model.scale_tril)
            assert (result.n_ranks, result.n_kept) == (2, n_kept)
            seconds = dict(result.seconds)
            assert seconds.pop("slowest") == max(each.seconds["reading"] for each in results)
            assert seconds.keys() == {"reading", "waiting", "reducing", "fitting"}
            assert 0 < sum(seconds.values()) <= took


@pytest.mark.parametrize("made", ["a plan", None])
def test_the_first_rank_does_not_leave_while_others_ask_its_store(made, on_threads, monkeypatch):
    """Neither with what it has made, nor with an error."""
    told, comes = [], RollCall._comes

    def late(self, *arguments):
        found = comes(self, *arguments)
        if not self.ranks.is_first:
            time.sleep(0.2)
            told.append("the last question")
        return found

    def broadcast(self, value):
        """As a collective does it, the first rank waits for nobody."""
        if self.is_first:
            self.group.store.set("made", pickle.dumps(value))
        return pickle.loads(self.group.store.get("made"))  # noqa: S301 - from these threads alone

    def make() -> str:
        if made is None:
            raise ValueError("spoilt")
        return made

    def work(ranks: Ranks) -> str:
        work = fitting.ShardWork(ranks)
        monkeypatch.setattr(Thread, "from_first", broadcast)
        try:
            return work.by_first("listed", make)
        finally:
            told.append("left")

    monkeypatch.setattr(RollCall, "_comes", late)
    answers = on_threads(2, work)
    assert told == ["the last question", "left", "left"]
    assert [str(each) for each in answers] == [made or "spoilt"] * 2


def test_the_bar_is_that_of_the_first_rank(folder, on_threads, capsys):
    on_threads(2, lambda group: fit_shards(folder, group=group, progress=True))
    said = capsys.readouterr().err
    assert "60/60 " in said  # the first rank has the largest shard
    assert "/40 " not in said


def test_who_still_reads_stops_when_another_rank_fails(folder, on_threads, monkeypatch):
    monkeypatch.setattr(groups, "BEAT", 0.0)

    def collect(shard: Shard, device: torch.device, beat: Callable[[int], None]) -> Any:
        if shard.rows < 60:
            raise ValueError(f"{Path(shard.path).name}: spoilt")
        for _ in range(1000):
            beat(0)
            time.sleep(0.002)
        raise AssertionError("nobody said that there is no use in reading on")

    monkeypatch.setattr(fitting, "collect", collect)
    error = the_same(on_threads(2, lambda group: fit_shards(folder, group=group)))
    assert repr(error) == repr(ValueError("part-2.npy: spoilt"))


# The command --------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> int:
    return command.main(list(map(str, arguments)))


def test_the_command_writes_a_model_and_a_page_and_then_nothing(folder, tmp_path, capsys):
    out = tmp_path / "model.pt"
    assert run(folder, "--out", out) == 0
    said = capsys.readouterr()
    assert "100 rows of 3 columns in 4 files, on 1 rank\n" in said.out
    assert said.err == ""
    assert {each.name for each in tmp_path.iterdir()} == {
        "data",
        "model.pt",
        "model.pt.md",
        "model.pt.parts",
    }
    before = {
        each: (each.stat().st_mtime_ns, each.read_bytes())
        for each in tmp_path.glob("*.*t*")
        if each.is_file()
    }
    assert run(folder, "--out", out) == 0
    assert "finished before" in capsys.readouterr().out
    assert before == {each: (each.stat().st_mtime_ns, each.read_bytes()) for each in before}


def test_the_page_loads_the_model(folder, tmp_path, monkeypatch):
    out = tmp_path / "model.pt"
    run(folder, "--out", out, "--quiet")
    page = (tmp_path / "model.pt.md").read_text()
    result = fit_shards(folder)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, GaussianLikelihood] = {}
    exec(code, names)
    assert torch.equal(names["model"].scale_tril, result.model.scale_tril)
    assert torch.equal(names["model"].loc, result.model.loc)
    assert "| rows | 100 |" in page
    assert "| shards | 4, 1 of them empty |" in page
    assert f"{result.history.verdict.meaning}." in page
    scales = result.statistics.covariance_matrix().diagonal().sqrt().tolist()
    stated = re.findall(r"^\| \d \| \S+ \| (\S+) \|$", page, re.MULTILINE)
    assert list(map(float, stated)) == pytest.approx(scales, rel=1e-5)
    assert str(tmp_path) not in page


def test_a_page_shows_no_more_columns_than_fit_on_it(tmp_path):
    np.save(tmp_path / "wide.npy", rows_of(200, 50))
    run(tmp_path, "--out", tmp_path / "model.pt", "--quiet")
    page = (tmp_path / "model.pt.md").read_text()
    assert len(re.findall(r"^\| \d+ \|", page, re.MULTILINE)) == 40
    assert "and 10 more columns" in page


def test_another_job_takes_no_file_unless_told_to(folder, tmp_path, capsys):
    out = tmp_path / "model.pt"
    run(folder, "--out", out, "--quiet")
    before = out.read_bytes()
    for other in (["--dtype", "float32"], []):
        if not other:
            np.save(folder / "part-9.npy", rows_of(5))
        assert run(folder, "--out", out, *other) == 2
        assert (
            f"error: {out}: expected a new file or the result of this job"
            in capsys.readouterr().err
        )
        assert out.read_bytes() == before
    assert run(folder, "--out", out, "--quiet", "--overwrite") == 0
    assert out.read_bytes() != before
    out.write_bytes(before)  # a model that is not that of its page
    assert run(folder, "--out", out) == 2


def test_a_kill_while_a_model_is_overwritten_leaves_no_model_of_another_job(
    folder, tmp_path, monkeypatch
):
    out, renamed, replace = tmp_path / "model.pt", [], os.replace
    run(folder, "--out", out, "--quiet")
    before = out.read_bytes()
    np.save(folder / "part-9.npy", rows_of(5))

    def killed(source, target):
        if target == out:
            raise KeyboardInterrupt
        renamed.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(folder, "--out", out, "--quiet", "--overwrite")
    assert renamed[-1] == tmp_path / "model.pt.md"  # it is the new one
    assert not out.exists()
    assert run(folder, "--out", out, "--quiet") == 0  # as after any kill
    assert out.read_bytes() != before


def test_a_disk_that_is_full_leaves_the_model_that_was_to_be_overwritten(
    folder, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "model.pt"
    run(folder, "--out", out, "--quiet")
    before = {each: each.read_bytes() for each in (out, tmp_path / "model.pt.md")}

    def full(file, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "_write_all", full)
    assert run(folder, "--out", out, "--overwrite") == 1
    assert os.strerror(errno.ENOSPC) in capsys.readouterr().err
    assert {each: each.read_bytes() for each in before} == before


def test_faults_end_with_a_message_and_write_nothing(folder, tmp_path, capsys):
    out = tmp_path / "model.pt"
    rows = rows_of(60)
    rows[5, 2] = np.nan
    np.save(folder / "part-10.npy", rows)
    assert run(folder, "--out", out, "--quiet") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"error: .*part-10.npy: .* nan in row 5, column 2\n", said.err)
    assert not out.exists()
    assert not (tmp_path / "model.pt.md").exists()
    assert run(folder / "gone", "--out", out) == 1
    assert f"error: {folder / 'gone'}: expected a file, " in capsys.readouterr().err
    place = folder / "part-10.npy" / "results"
    assert run(folder / "part-1.npy", "--out", place / "a.pt") == 1
    words = "the folder of the result cannot be made"
    assert f"error: {place}: {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["data"],
        ["--out", "a"],
        ["data", "--out", "a", "--timeout", "0"],
        ["data", "--out", "a", "--timeout", "inf"],
        ["data", "--out", "a", "--timeout", "soon"],
        ["data", "--out", "a", "--dtype", "float16"],
        ["data", "--out", "a", "--backend", "mpi"],
    ],
)
def test_options_that_do_not_fit_are_for_the_first_rank_to_tell(arguments, monkeypatch, capsys):
    for rank, is_told in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2
        assert bool(capsys.readouterr().err) == is_told


@pytest.mark.parametrize(
    ("rank", "missing", "told"), [(0, [2], True), (1, [2], False), (1, [0], True), (3, [0], False)]
)
def test_the_first_rank_that_is_there_tells_the_error(rank, missing, told, monkeypatch, capsys):
    monkeypatch.setenv("RANK", str(rank))
    assert command.say(RanksMissingError("late", missing), 1) == 1
    assert capsys.readouterr().err == ("error: late\n" if told else "")


def test_the_help_tells_what_every_option_is(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    said = capsys.readouterr().out
    for word in ("FILE.parts", "torchrun --nproc-per-node 2", "exit code", "(1800)", "--kept"):
        assert word in said


WORLD = {"RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("known", "n_gpus", "expected"),
    [
        (WORLD | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 2, "nccl"),
        (WORLD | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 1, "gloo"),
        (WORLD | {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}, 1, "nccl"),
        (WORLD | {"LOCAL_WORLD_SIZE": "1"}, 1, "nccl"),
        (WORLD | {"LOCAL_RANK": "1"}, 2, "nccl"),
        # Started by hand: both may be here, and nobody says which GPU is whose.
        (WORLD, 1, "gloo"),
        (WORLD, 2, "gloo"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 1, "nccl"),
        ({}, 0, "gloo"),
    ],
)
def test_nccl_is_taken_where_each_rank_knows_a_gpu_of_its_own(known, n_gpus, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(command.os, "environ", known)
    assert command.usual_backend() == expected


SHARED, ONE_HOST = {"TORCHELASTIC_USE_AGENT_STORE": "True"}, {"GROUP_WORLD_SIZE": "1"}


def meeting_place(known: dict[str, str], monkeypatch, patience: float = 30.0) -> dict:
    monkeypatch.setattr(command.os, "environ", {"RANK": "0", "WORLD_SIZE": "1", **known})
    return command.meeting_place(patience)


def test_attempts_on_one_machine_meet_in_places_of_their_own(monkeypatch):
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port), **SHARED, **ONE_HOST}
    one, two = (
        meeting_place({**known, "TORCHELASTIC_RESTART_COUNT": attempt}, monkeypatch)
        for attempt in "01"
    )
    one["store"].set("address", "gone")
    assert not two["store"].check(["address"])
    assert (two["rank"], two["world_size"]) == (0, 1)


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"MASTER_ADDR": "127.0.0.1"},
        {"MASTER_PORT": "1"},
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", **SHARED, "GROUP_WORLD_SIZE": "2"},
    ],
)
def test_what_is_no_place_to_meet_is_left_to_torch(known, monkeypatch):
    assert meeting_place(known, monkeypatch) == {}


def test_the_first_rank_keeps_the_store_where_the_launcher_does_not(monkeypatch):
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for torchrun in ({}, {"TORCHELASTIC_USE_AGENT_STORE": "False", "GROUP_WORLD_SIZE": "2"}):
        place = meeting_place({**known, **torchrun}, monkeypatch)
        place["store"].set("address", "here")
        client = dist.TCPStore("127.0.0.1", int(known["MASTER_PORT"]), is_master=False)
        assert client.get("address") == b"here"
        del place, client


def test_a_first_rank_that_does_not_start_is_named(monkeypatch):
    port = free_port()
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "1", "WORLD_SIZE": "2"}
    words = f"rank 0 did not arrive: nobody answered at 127.0.0.1:{port} for 0.5 s"
    with pytest.raises(RanksMissingError, match=words) as raised:
        meeting_place(known, monkeypatch, patience=0.5)
    assert raised.value.missing == [0]


def test_a_port_that_is_in_use_is_not_taken_for_a_missing_rank(monkeypatch):
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port)}
    with pytest.raises(dist.DistNetworkError, match="in use"):
        meeting_place(known, monkeypatch)


@pytest.mark.parametrize(
    ("function", "returned"),
    [(fit_shards, ShardFit), (list_shards, Shard), (fit_data_parallel, LossHistory)],
)
def test_what_is_returned_is_described_field_by_field(function, returned):
    said = function.__doc__.partition("Returns")[2].partition("Raises")[0]
    for field in fields(returned):
        assert f"`{field.name}`" in said


# Files --------------------------------------------------------------------------------------------


def test_files_are_written_all_or_none(tmp_path):
    one, two = tmp_path / "one", tmp_path / "none" / "two"
    with pytest.raises(OSError, match="out: cannot be written, No such file"):
        write_files({one: b"1", two: b"2"}, "out")
    assert not list(tmp_path.iterdir())
    two.parent.mkdir()
    write_files({one: b"1", two: b"2"}, "out")
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    assert one.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_a_batch_behind_another_map_is_shared_out_as_it_is():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(3, 50, 2, generator=generator, dtype=torch.float64)
    model = GaussianLikelihood(
        2, (3,), parametrization=SoftplusCholesky(), dtype=torch.float64, device="cpu"
    )
    part = part_of_model(model, slice(1, 3))
    assert isinstance(part.scale.scale_map, SoftplusCholesky)
    assert part.batch_shape == (2,)
    fit_batches(model, data)
    exact = maximum_likelihood(data)
    # The natural gradient arrives up to rounding.
    assert torch.allclose(model.covariance_matrix, exact.covariance_matrix, rtol=0, atol=1e-12)
