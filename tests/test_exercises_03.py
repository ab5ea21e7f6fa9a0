"""Exercises of notebook 03: independent truth for the solutions."""

from __future__ import annotations

import numpy as np
import torch
from torch.distributions import MultivariateNormal

from helpers.exercises.notebook_03 import EXERCISES

ROUNDING = {"rtol": 1e-12, "atol": 1e-12}  # a few operations on numbers of order one in float64


def test_the_loss_is_that_of_torch():
    for x, loc, precision_tril in EXERCISES["03.1"].cases:
        gaussian = MultivariateNormal(loc, precision_matrix=precision_tril @ precision_tril.mT)
        expected = -gaussian.log_prob(x).mean()
        solved = EXERCISES["03.1"].solution(x, loc, precision_tril)
        torch.testing.assert_close(solved, expected, **ROUNDING)


def test_the_step_is_the_formula_entry_by_entry():
    for scale_tril, covariance in EXERCISES["03.2"].cases:
        inverse = np.linalg.inv(scale_tril.numpy())
        a = inverse @ covariance.numpy() @ inverse.T
        d = len(a)
        t = [[a[i, j] / a[j, j] ** 0.5 if i >= j else 0.0 for j in range(d)] for i in range(d)]
        expected = torch.from_numpy(scale_tril.numpy() @ np.array(t))
        solved = EXERCISES["03.2"].solution(scale_tril, covariance)
        torch.testing.assert_close(solved, expected, **ROUNDING)


def test_as_many_steps_as_variables_end_at_the_cholesky_factor_and_no_fewer():
    for scale_tril, covariance in EXERCISES["03.2"].cases:
        exact = torch.linalg.cholesky(covariance)
        for step in range(1, len(covariance) + 1):
            scale_tril = EXERCISES["03.2"].solution(scale_tril, covariance)
            torch.testing.assert_close(scale_tril[:, :step], exact[:, :step], **ROUNDING)
            arrived = torch.allclose(scale_tril, exact, rtol=0, atol=1e-3)
            assert arrived == (step == len(covariance))


def test_z_scores_have_a_standard_deviation_of_one_over_many_data_sets():
    (_, truth, _), *_ = EXERCISES["03.3"].cases
    repeats, n = 20_000, 100
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gaussian = MultivariateNormal(torch.zeros(2, dtype=truth.dtype), truth)
        x = gaussian.sample((repeats, n))  # (repeats, n, d)
    fitted = x.mT @ x / n  # about the known mean, for which the formula is exact
    z = EXERCISES["03.3"].solution(fitted, truth, n)  # (repeats, d, d)
    # Four standard errors: of a mean 1 / sqrt(repeats), of a standard deviation with excess
    # kurtosis 12 / n, the largest of the entries, sqrt((2 + 12 / n) / (4 repeats)).
    assert z.mean(dim=0).abs().max() < 4 / repeats**0.5
    assert (z.std(dim=0) - 1).abs().max() < 4 * ((2 + 12 / n) / (4 * repeats)) ** 0.5
