"""The checks of notebook 01 recognise the right answers, and each mistake as what it is."""

from __future__ import annotations

import pytest
import torch

from helpers import log_cholesky, log_cholesky_inverse, log_det
from helpers.exercises.checking import check
from helpers.exercises.notebook_01 import EXERCISES, FACTOR_2, FACTOR_4

MISTAKES = [
    pytest.param(number, sentence, mistake, id=f"{number}-{index}")
    for number, exercise in EXERCISES.items()
    for index, (sentence, mistake) in enumerate(exercise.mistakes.items())
]
numbers = pytest.mark.parametrize("number", EXERCISES)


@numbers
def test_the_solution_passes(number):
    exercise = EXERCISES[number]
    assert exercise.diagnose(exercise.solution) == (True, exercise.praise)


@pytest.mark.parametrize(("number", "sentence", "mistake"), MISTAKES)
def test_each_mistake_gets_its_own_sentence(number, sentence, mistake):
    # Its own: the first sentence that fits is given, so a mistake that looks like another fails.
    assert EXERCISES[number].diagnose(mistake) == (False, sentence)


@numbers
def test_there_are_enough_mistakes_and_all_are_sentences(number):
    mistakes = EXERCISES[number].mistakes
    assert len(mistakes) >= 4
    assert all(sentence.endswith(".") for sentence in mistakes)


@numbers
@pytest.mark.parametrize("nothing", [None, ..., lambda *_: None, lambda *_: ...])
def test_an_empty_answer_is_open(number, nothing):
    passed, sentence = EXERCISES[number].diagnose(nothing)
    assert not passed
    assert "nothing to check yet" in sentence


def raises(*_):
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("number", "answer", "part"),
    [
        ("01.1", raises, "your code raises KeyError"),
        ("01.1", 3.0, "a function is asked for, this is a float"),
        ("01.1", lambda scale_tril: scale_tril.diagonal().log(), "shape should be ()"),
        ("01.1", lambda scale_tril: "text", "numbers are asked for, this is a str"),
        ("01.1", lambda scale_tril: torch.zeros(()), "values are not"),
        ("01.2", raises, "your code raises KeyError"),
        ("01.2", lambda z, loc, scale_tril: scale_tril @ z.mT, "shape should be (3, 4)"),
        ("01.2", lambda z, loc, scale_tril: loc + scale_tril @ z, "your code raises RuntimeError"),
        ("01.3", lambda covariance: log_cholesky_inverse(covariance), "your code raises Value"),
        ("01.3", torch.linalg.cholesky, "a tuple of 2 is asked for, this is a Tensor"),
        (
            "01.3",
            lambda covariance: EXERCISES["01.3"].solution(covariance)[::-1],
            "shape should be (4,), yours is (6,)",
        ),
    ],
)
def test_other_answers_get_a_friendly_line(number, answer, part):
    passed, sentence = EXERCISES[number].diagnose(answer)
    assert not passed
    assert part in sentence


@numbers
def test_an_answer_in_float32_passes(number):
    solution = EXERCISES[number].solution

    def in_float32(*arguments):
        return solution(*(argument.float() for argument in arguments))

    assert EXERCISES[number].diagnose(in_float32)[0]


def test_the_solutions_agree_with_the_helpers_and_with_torch():
    normal = torch.distributions.MultivariateNormal
    for factor in (FACTOR_2, FACTOR_4):
        loc = torch.arange(len(factor), dtype=factor.dtype)
        covariance = factor @ factor.mT
        assert torch.allclose(EXERCISES["01.1"].solution(factor), torch.logdet(covariance))
        assert torch.allclose(EXERCISES["01.1"].solution(factor), log_det(factor))
        assert torch.allclose(log_cholesky(*EXERCISES["01.3"].solution(covariance)), factor)
        # The same noise through torch's own sampler gives the same samples.
        torch.manual_seed(0)
        expected = normal(loc, scale_tril=factor).sample((5,))
        torch.manual_seed(0)
        noise = torch.randn(5, len(factor), dtype=factor.dtype)
        assert torch.allclose(EXERCISES["01.2"].solution(noise, loc, factor), expected)


def test_check_prints_one_line(capsys):
    check("01.1", lambda scale_tril: scale_tril.diagonal().log().sum())
    assert capsys.readouterr().out == (
        "Exercise 01.1 open: you are off by exactly half the log-determinant: this is that of L, "
        "and the covariance is L times its transpose.\n"
    )
