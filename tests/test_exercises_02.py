"""Exercises of notebook 02: the solutions are right, and every mistake gets its own sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from torch.distributions.transforms import LowerCholeskyTransform

from helpers.exercises.notebook_02 import EXERCISES

NUMBERS = list(EXERCISES)
MISTAKES = [(number, sentence) for number in NUMBERS for sentence in EXERCISES[number].mistakes]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_passes(number):
    exercise = EXERCISES[number]
    assert exercise.diagnose(exercise.solution) == (True, exercise.praise)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_passes_in_float32(number):
    exercise = EXERCISES[number]

    def in_float32(*case):
        return exercise.solution(*(x.float() if isinstance(x, torch.Tensor) else x for x in case))

    assert exercise.diagnose(in_float32) == (True, exercise.praise)


@pytest.mark.parametrize("number", NUMBERS)
def test_there_are_at_least_four_mistakes(number):
    assert len(EXERCISES[number].mistakes) >= 4


@pytest.mark.parametrize(("number", "sentence"), MISTAKES)
def test_a_mistake_gets_its_own_sentence(number, sentence):
    exercise = EXERCISES[number]
    assert exercise.diagnose(exercise.mistakes[sentence]) == (False, sentence)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (None, "nothing to check yet"),
        (..., "nothing to check yet"),
        (lambda *case: None, "nothing to check yet"),
        (lambda *case: ..., "nothing to check yet"),
        (torch.eye(2), "a function is asked for"),
        (lambda *case: case[0] @ torch.ones(7, 7), "your code raises RuntimeError"),
        (lambda: 0, "your code raises TypeError"),
        (lambda *case: case[0].diagonal(), "the shape should be (2, 2), yours is (2,)"),
        (lambda *case: "a matrix", "numbers are asked for"),
        (lambda *case: case[0] + 17.0, "not yet"),
    ],
)
def test_an_answer_of_another_kind_gets_a_friendly_line(number, answer, part):
    passed, sentence = EXERCISES[number].diagnose(answer)
    assert not passed
    assert part in sentence


def test_an_answer_that_changes_the_case_does_no_harm():
    before = [raw.clone() for (raw,) in EXERCISES["02.1"].cases]
    EXERCISES["02.1"].diagnose(lambda raw: raw.zero_())
    assert all(
        torch.equal(a, raw) for a, (raw,) in zip(before, EXERCISES["02.1"].cases, strict=True)
    )


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
