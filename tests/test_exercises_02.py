"""Exercises of notebook 02: independent truth for the solutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from torch.distributions.transforms import LowerCholeskyTransform

from helpers.exercises.notebook_02 import EXERCISES

# Independent truth; the defaults of assert_close (1e-7 in float64) allow for rounding only.


def test_reading_back_agrees_with_torch():
    for (raw,) in EXERCISES["02.1"].cases:
        scale_tril = LowerCholeskyTransform()(raw)
        torch.testing.assert_close(EXERCISES["02.1"].solution(raw), scale_tril @ scale_tril.mT)


@pytest.mark.parametrize("n", [2, 5, 100])
def test_the_ratio_agrees_with_numpy_and_scikit_learn(n):
    data = np.random.default_rng(n).normal(size=(n, 3))
    biased = np.asarray(EXERCISES["02.2"].solution(torch.as_tensor(np.cov(data.T)), n))
    np.testing.assert_allclose(biased, EmpiricalCovariance().fit(data).covariance_, atol=1e-14)


def test_raw_units_agree_with_numpy():
    data = np.random.default_rng(0).normal(size=(50, 4)) * [1e-2, 1.0, 30.0, 1e3]
    standardised, scale = torch.as_tensor(np.corrcoef(data.T)), torch.as_tensor(data.std(0, ddof=1))
    back = np.asarray(EXERCISES["02.3"].solution(standardised, scale))
    np.testing.assert_allclose(back, np.cov(data.T), rtol=1e-10)
