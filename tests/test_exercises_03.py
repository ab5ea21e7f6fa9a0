"""Exercises of notebook 03: independent truth for the solutions."""

from __future__ import annotations

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


def test_the_gradient_is_that_of_autograd():
    for loc, scale_tril, mean in EXERCISES["03.2"].cases:
        # Samples whose mean is `mean`: a pair of points on both sides of it.
        x = torch.stack([mean + 1.5, mean - 1.5])
        free = loc.clone().requires_grad_()
        (-MultivariateNormal(free, scale_tril=scale_tril).log_prob(x).mean()).backward()
        solved = EXERCISES["03.2"].solution(loc, scale_tril, mean)
        torch.testing.assert_close(solved, free.grad, **ROUNDING)


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
