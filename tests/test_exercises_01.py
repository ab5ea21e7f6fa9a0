"""Exercises of notebook 01: independent truth for the solutions, and special wrong answers."""

from __future__ import annotations

import pytest
import torch

from helpers import log_cholesky, log_cholesky_inverse, log_det
from helpers.exercises.notebook_01 import EXERCISES, FACTOR_2, FACTOR_4


@pytest.mark.parametrize(
    ("number", "answer", "part"),
    [
        ("01.1", lambda scale_tril: scale_tril.diagonal().log(), "shape should be ()"),
        ("01.1", lambda scale_tril: torch.zeros(()), "the same result for all"),
        ("01.1", lambda scale_tril: 2 * scale_tril.log().sum(), "values are not"),
        ("01.2", lambda z, loc, scale_tril: scale_tril @ z.mT, "shape should be (3, 4)"),
        ("01.2", lambda z, loc, scale_tril: loc + scale_tril @ z, "your code raises RuntimeError"),
        ("01.3", lambda covariance: log_cholesky_inverse(covariance), "your code raises Value"),
        ("01.3", torch.linalg.cholesky, "a tuple of 2 is asked for, this is a Tensor"),
        (
            "01.3",
            lambda covariance: EXERCISES["01.3"].solution(covariance)[::-1],
            "yours is (6,). Each part is right; they are in the wrong order.",
        ),
    ],
)
def test_other_answers_get_a_friendly_line(number, answer, part):
    passed, sentence = EXERCISES[number].diagnose(answer)
    assert not passed
    assert part in sentence


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


def test_samples_that_are_called_valid_have_the_covariance():
    exercise = EXERCISES["01.2"]
    called_valid = [
        mistake
        for sentence, mistake in exercise.mistakes.items()
        if sentence.startswith("valid samples")
    ]
    assert len(called_valid) == 3
    for factor in (FACTOR_2, FACTOR_4):
        unit_vectors, loc = torch.eye(len(factor), dtype=factor.dtype), torch.zeros(len(factor))
        for mistake in called_valid:
            # What the unit vectors go to are the columns of the root, one a row.
            columns = mistake(unit_vectors, loc, factor)
            assert torch.allclose(columns.mT @ columns, factor @ factor.mT)
            assert not torch.allclose(columns, factor.mT)


def test_the_principal_axes_are_recognised_as_a_learner_writes_them():
    # Its numbers are not stored: the signs of eigenvectors differ from machine to machine.
    def answer(z, loc, scale_tril):
        eigenvalues, eigenvectors = torch.linalg.eigh(scale_tril @ scale_tril.mT)
        return loc + (eigenvectors @ torch.diag(eigenvalues.sqrt()) @ z.mT).mT

    (sentence,) = (one for one in EXERCISES["01.2"].mistakes if "principal axes" in one)
    assert EXERCISES["01.2"].diagnose(answer) == (False, sentence)
