"""Exercises of notebook 5: independent truth for the solutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from helpers.exercises.notebook_05 import EXERCISES, batch_covariance, repaired, shrinkage_for


@pytest.mark.parametrize("shape", [(9, 3), (2, 9, 3), (2, 4, 9, 3)])
def test_each_covariance_of_a_batch_is_that_of_numpy(shape):
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 2
    found = batch_covariance(x).reshape(-1, 3, 3)
    for own, table in zip(found, x.reshape(-1, 9, 3), strict=True):
        np.testing.assert_allclose(own, np.cov(table.T, bias=True), rtol=1e-12, atol=1e-14)


def test_the_shrinkage_is_the_root_of_what_it_is_to_solve():
    for S, level in EXERCISES["05.2"].cases:
        mean = S.diagonal().mean() * torch.eye(len(S), dtype=S.dtype)

        def excess(a, S=S, mean=mean, level=level):
            return torch.linalg.eigvalsh((1 - a) * S + a * mean)[0].item() - level

        root = brentq(excess, 0, 1, xtol=1e-14)
        assert shrinkage_for(S, level).item() == pytest.approx(root, abs=1e-12)


def test_no_covariance_with_that_floor_is_nearer():
    generator = torch.Generator().manual_seed(0)
    for S, floor in EXERCISES["05.3"].cases:
        nearest = repaired(S, floor)
        assert torch.linalg.eigvalsh(nearest)[0].item() == pytest.approx(floor, abs=1e-12)
        distance = torch.linalg.norm(nearest - S)
        for size in (0.01, 0.1, 1.0):
            for _ in range(50):
                noise = torch.randn(S.shape, dtype=S.dtype, generator=generator)
                other = repaired(nearest + size * (noise + noise.mT), floor)
                assert torch.linalg.norm(other - S) >= distance - 1e-12


def test_a_loop_over_the_batch_is_a_right_answer():
    def answer(x):
        if x.ndim == 2:
            return torch.cov(x.mT, correction=0)
        return torch.stack([answer(each) for each in x])

    passed, _ = EXERCISES["05.1"].diagnose(answer)
    assert passed
