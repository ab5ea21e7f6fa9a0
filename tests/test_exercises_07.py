"""Exercises of notebook 7: independent truth for the solutions."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.mixture import GaussianMixture

from helpers import Gaussian, aic, draw_estimates, mardia, minimum_nll
from helpers.exercises.notebook_07 import (
    EXERCISES,
    aic_in_favour_of_full,
    kurtosis_z_score,
    sd_errors,
)


def test_the_errors_are_the_spread_of_drawn_estimates():
    for factor, _ in EXERCISES["07.1"].cases:
        truth = Gaussian(torch.zeros(len(factor), dtype=torch.float64), factor)
        drawn = draw_estimates(truth, 2000, 10_000).covariance_matrix
        found = drawn.diagonal(dim1=-2, dim2=-1).sqrt().std(dim=0)
        # 10,000 standard deviations are known to 0.7 %.
        torch.testing.assert_close(sd_errors(factor, 2000), found, rtol=0.03, atol=0)


def test_the_kurtosis_is_that_of_the_helper():
    for (x,) in EXERCISES["07.2"].cases:
        n, d = x.shape
        expected = (mardia(x).kurtosis - d * (d + 2)) / math.sqrt(8 * d * (d + 2) / n)
        torch.testing.assert_close(kurtosis_z_score(x), expected, rtol=1e-10, atol=0)


def test_the_difference_of_aic_is_that_of_scikit_learn_and_of_the_helper():
    for (x,) in EXERCISES["07.3"].cases:
        theirs = [
            GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(x).aic(x.numpy())
            for kind in ("diag", "full")
        ]
        ours = aic_in_favour_of_full(x).item()
        assert ours == pytest.approx(theirs[0] - theirs[1], rel=1e-9)
        n, d = x.shape
        alone = sum(minimum_nll(x[:, k : k + 1]) for k in range(d))
        full = aic(minimum_nll(x), d * (d + 3) // 2, n)
        assert ours == pytest.approx((aic(alone, 2 * d, n) - full).item(), rel=1e-9)


def test_an_answer_from_the_covariance_is_right_too():
    def answer(scale_tril, n):
        return (scale_tril @ scale_tril.mT).diagonal().sqrt() * (0.5 / n) ** 0.5

    passed, _ = EXERCISES["07.1"].diagnose(answer)
    assert passed


def test_an_answer_with_an_inverse_is_right_too():
    def answer(x):
        centred = x - x.mean(dim=0)
        inverse = torch.linalg.inv(centred.mT @ centred / len(x))
        squared = torch.einsum("ni,ij,nj->n", centred, inverse, centred)
        d = x.shape[1]
        return ((squared**2).mean() - d * (d + 2)) * (len(x) / (8 * d * (d + 2))) ** 0.5

    passed, _ = EXERCISES["07.2"].diagnose(answer)
    assert passed
