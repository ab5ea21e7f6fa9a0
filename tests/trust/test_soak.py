"""A short soak: memory stays flat over fits and moves, and all notebooks pass at once."""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from helpers import GaussianLikelihood, fit, two_correlated
from reliability import interrupted, soak


def test_memory_stays_flat_over_fits():
    part = soak.soak_fits(300, samples=20)
    assert part.passed, part.rows
    assert [row[2] for row in part.rows] == list(soak.COUNTS)
    assert part.summary["fits"] == 300
    assert part.summary["start_mib"] > 50  # torch alone takes more


def leaking(kept: list):
    """Fits that are kept, with something large beside each."""
    for number in itertools.count():
        model = GaussianLikelihood(2, dtype=torch.float64)
        history = fit(model, two_correlated(50))
        kept.append((model, history, torch.full((2**15,), float(number))))
        yield


def growth_of_a_leak():
    kept: list = []
    return soak.repeat(leaking(kept), 120, 20, samples=20)


def test_a_leak_is_seen():
    # A process of its own: memory that tests before this one have given back would be taken first.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        growth = fresh.submit(growth_of_a_leak).result()
    memory, objects, files, threads = growth
    assert not soak.is_flat(growth)
    # 128 KiB at each fit are 125 MiB for each 1,000; the allocator rounds.
    assert memory.slope == pytest.approx(125, rel=0.3)
    assert objects.slope > 1000
    assert (files.rise, threads.rise) == (0, 0)


def test_files_left_open_are_seen(tmp_path):
    def opening(kept):
        while True:
            kept.append((tmp_path / f"{len(kept)}").open("w"))
            yield

    kept: list = []
    growth = soak.repeat(opening(kept), 60, 10, samples=10)
    for file in kept:
        file.close()
    assert not soak.is_flat(growth)
    assert growth[2].slope == pytest.approx(1000)


def test_the_line_and_its_error_are_those_of_the_counts():
    dice = np.random.default_rng(0)
    at = np.arange(500, 10_000, 95)
    growth = soak.Growth.of(at, 300 + 0.002 * at + dice.normal(size=len(at)))
    # The textbook's error of a slope: sigma over the root of the sum of squares about the mean.
    error = 1 / np.sqrt(((at - at.mean()) ** 2).sum()) * 1000
    assert growth.error == pytest.approx(error, rel=0.2)  # sigma is estimated from 100 counts
    assert growth.slope == pytest.approx(2.0, abs=4 * error)
    assert growth.rise == pytest.approx(0.002 * 0.9 * (at[-1] - at[0]), rel=0.1)


def test_every_way_of_the_soak_is_reached(tmp_path):
    n = len(interrupted.WAYS)
    for _ in itertools.islice(soak.fits(tmp_path), n + 1):
        continue
    assert not (tmp_path / "fit.pt").exists()
    assert len(list(tmp_path.iterdir())) == len(
        {(way.data, way.dtype) for way in interrupted.WAYS.values()}
    )


def test_all_notebooks_pass_at_once_in_one_server():
    notebooks = len(list((soak.ROOT / "notebooks").glob("*.ipynb")))
    assert soak.options([]).openings == 2 * notebooks
    part = soak.soak_notebooks(openings=notebooks, at_once=notebooks)
    assert part.passed
    assert part.summary["kernels"] == notebooks
    assert part.summary["cells"] >= 30 * notebooks
