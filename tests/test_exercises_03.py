"""Exercises of notebook 03: solutions pass, and every usual mistake gets its own sentence."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from helpers.exercises.notebook_03 import EXERCISES

PAIRS = [(number, sentence) for number, one in EXERCISES.items() for sentence in one.mistakes]
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}  # a few operations on numbers of order one in float64


def raising(*_):
    raise RuntimeError("shapes do not match")


@pytest.mark.parametrize("number", EXERCISES)
def test_the_solution_passes(number):
    exercise = EXERCISES[number]
    assert exercise.diagnose(exercise.solution) == (True, exercise.praise)
    assert len(exercise.mistakes) >= 4


@pytest.mark.parametrize(("number", "sentence"), PAIRS)
def test_a_mistake_gets_its_own_sentence(number, sentence):
    exercise = EXERCISES[number]
    assert exercise.diagnose(exercise.mistakes[sentence]) == (False, sentence)


@pytest.mark.parametrize("number", EXERCISES)
def test_an_answer_in_float32_passes(number):
    exercise = EXERCISES[number]
    assert exercise.diagnose(lambda *case: exercise.solution(*case).float())[0]


@pytest.mark.parametrize("number", EXERCISES)
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "nothing to check yet"),
        (..., "nothing to check yet"),
        (lambda *_: None, "nothing to check yet"),
        (lambda *_: ..., "nothing to check yet"),
        (raising, "your code raises RuntimeError: shapes do not match"),
        (lambda *_: torch.zeros(2, 7, 1), "yours is (2, 7, 1)"),
        (lambda *_: "large", "numbers are asked for"),
        (3.0, "a function is asked for"),
    ],
)
def test_an_answer_of_the_wrong_kind_gets_a_friendly_line(number, answer, told):
    passed, sentence = EXERCISES[number].diagnose(answer)
    assert not passed
    assert told in sentence


@pytest.mark.parametrize("number", EXERCISES)
def test_other_values_are_not_diagnosed_by_guessing(number):
    exercise = EXERCISES[number]
    passed, sentence = exercise.diagnose(lambda *case: 1.234 * exercise.solution(*case) + 5.678)
    assert not passed
    assert sentence not in exercise.mistakes


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
