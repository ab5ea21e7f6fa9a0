"""Checks of answers: right ones pass in any guise, wrong ones get the sentence they earn."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from helpers import check
from helpers.exercises.checking import Exercise

CASES = ((torch.tensor([4.0, 9.0]),), (torch.tensor([1.0, 16.0]),))
ROOTS = Exercise(
    solution=torch.sqrt,
    praise="well rooted.",
    mistakes={"you squared.": torch.square, "you halved.": lambda x: x / 2},
    cases=CASES,
)
VALUE = Exercise(solution=3.0, praise="three.", mistakes={"you are off by one.": 4.0})
PAIR = Exercise(
    solution=lambda x: (x.sum(), x.prod()),
    praise="both.",
    mistakes={"the other way round.": lambda x: (x.prod(), x.sum())},
    cases=CASES,
)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ROOTS, torch.sqrt),
        (ROOTS, lambda x: x.double() ** 0.5),
        (ROOTS, lambda x: np.sqrt(x.numpy())),
        (ROOTS, lambda x: x.sqrt().tolist()),
        (ROOTS, lambda x: x.sqrt().requires_grad_()),
        (ROOTS, lambda x: x.sqrt_()),  # changes its argument, which is a clone
        (VALUE, 3),
        (VALUE, 3.0 + 1e-5),
        (VALUE, np.float64(3)),
        (VALUE, torch.tensor(3.0)),
        (PAIR, lambda x: (sum(x), x[0] * x[1])),
        (Exercise(solution=True, praise="yes."), True),
        (Exercise(solution="left", praise="yes."), "left"),
    ],
)
def test_right_answers_pass(exercise, answer):
    before = [case[0].clone() for case in CASES]
    assert exercise.diagnose(answer) == (True, exercise.praise)
    assert all(torch.equal(a, b[0]) for a, b in zip(before, CASES, strict=True))


@pytest.mark.parametrize(
    ("exercise", "answer", "sentence"),
    [
        (ROOTS, lambda x: x * x, "you squared."),
        (ROOTS, lambda x: 0.5 * x, "you halved."),
        (ROOTS, lambda x: x, "not yet: the shape is right, the values are not."),
        (ROOTS, lambda x: x * torch.nan, "your values are not finite."),
        (ROOTS, None, "nothing to check yet; replace the ... and run the cell again."),
        (ROOTS, ..., "nothing to check yet; replace the ... and run the cell again."),
        (ROOTS, lambda x: None, "nothing to check yet; your function returns nothing."),
        (ROOTS, torch.ones(2), "a function is asked for, this is a Tensor."),
        (ROOTS, lambda x: x.sum(), "the shape should be (2,), yours is ()."),
        (ROOTS, lambda x: "root", "numbers are asked for, this is a str."),
        (ROOTS, lambda x: x.nothing, "your code raises AttributeError: "),
        (ROOTS, lambda: 0, "your code raises TypeError: "),
        (VALUE, 4, "you are off by one."),
        (VALUE, 3.01, "not yet: the shape is right, the values are not."),
        (VALUE, [3.0], "the shape should be (), yours is (1,)."),
        (PAIR, lambda x: (x.prod(), x.sum()), "the other way round."),
        (PAIR, lambda x: x, "a tuple of 2 is asked for, this is a Tensor."),
        (PAIR, lambda x: [x.sum()], "a tuple of 2 is asked for, this is a list of 1."),
        (
            PAIR,
            lambda x: (x.sum(), None),
            "the second part: numbers are asked for, this is a NoneType.",
        ),
        (PAIR, lambda x: (x.sum(), x), "the second part: the shape should be (), yours is (2,)."),
        (Exercise(solution=True, praise=""), 1, "a bool is asked for, got 1."),
        (Exercise(solution="left", praise=""), "right", "not yet: the shape is right, the values"),
    ],
)
def test_wrong_answers_get_their_sentence(exercise, answer, sentence):
    passed, said = exercise.diagnose(answer)
    assert not passed
    assert said.startswith(sentence)


def test_nothing_for_some_arguments_is_told_from_nothing_at_all():
    sentence = "for some arguments your function returns nothing."
    assert ROOTS.diagnose(lambda x: x.sqrt() if x[0] == 4 else None) == (False, sentence)
    assert ROOTS.diagnose(lambda x: x.sqrt() if x[0] == 1 else ...) == (False, sentence)


def test_a_list_is_as_good_as_a_tuple():
    assert PAIR.diagnose(lambda x: list(PAIR.solution(x)))[0]


def test_an_infinity_is_right_where_the_solution_has_one():
    endless = Exercise(solution=math.inf, praise="yes.", mistakes={"minus.": -math.inf})
    assert endless.diagnose(math.inf) == (True, "yes.")
    assert endless.diagnose(-math.inf) == (False, "minus.")
    assert endless.diagnose(1.0) == (False, "not yet: the shape is right, the values are not.")
    assert endless.diagnose(math.nan) == (False, "your values are not finite.")


def test_a_mistake_must_match_in_every_case():
    only_once = Exercise(solution=torch.sqrt, praise="", mistakes={"no.": lambda x: x}, cases=CASES)
    passed, said = only_once.diagnose(lambda x: x if x[0] == 4 else x / 2)
    assert (passed, said[:8]) == (False, "not yet:")


@pytest.fixture
def _notebook_99(monkeypatch):
    module = ModuleType("helpers.exercises.notebook_99")
    module.EXERCISES = {"99.1": VALUE}
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("_notebook_99")
def test_check_prints_one_line(capsys):
    check("99.1", 3)
    check("99.1", 4)
    assert capsys.readouterr().out == (
        "Exercise 99.1 passed: three.\nExercise 99.1 open: you are off by one.\n"
    )


@pytest.mark.usefixtures("_notebook_99")
@pytest.mark.parametrize("number", ["99.2", "98.1", "", None, 99.2])
def test_an_unknown_exercise_is_named(number):
    with pytest.raises(
        ValueError, match="number: expected that of an exercise, such as '01.1', got"
    ):
        check(number, 3)
