"""Checks of answers: right ones pass in any guise, wrong ones get the sentence they earn."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch

from helpers.exercises import checking
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
SWAPPED = Exercise(solution=lambda x: (x.sum(), x), praise="", cases=CASES)
TURNED = Exercise(solution=lambda x: x.expand(3, 2), praise="", cases=CASES)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (ROOTS, torch.sqrt),
        (ROOTS, lambda x: x.double() ** 0.5),
        (ROOTS, lambda x: x.sqrt().requires_grad_()),
        (ROOTS, lambda x: x.clone().sqrt_()),
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
    assert exercise.diagnose(answer) == (True, exercise.praise)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda x: np.sqrt(x.numpy()), "ndarray"),
        (lambda x: x.sqrt().tolist(), "list"),
    ],
)
def test_what_is_no_tensor_passes_with_a_word_about_gradients(answer, kind):
    told = f"well rooted. As a {kind} it cuts off gradients; a tensor lets them through."
    assert ROOTS.diagnose(answer) == (True, told)


def adds_in_place(x, y):
    y += x
    return y


def test_an_argument_changed_in_place_is_named_and_the_case_is_as_it_was():
    case = (torch.tensor([1.0, 2.0]), torch.tensor([5.0, 3.0]))
    exercise = Exercise(solution=torch.add, praise="", cases=(case,))
    told = "the values are right, and your function changes y in place: "
    passed, said = exercise.diagnose(adds_in_place)
    assert (passed, said[: len(told)]) == (False, told)
    passed, said = exercise.diagnose(lambda first, y: 3 * adds_in_place(first.neg_(), y))
    assert (passed, said[:59]) == (
        False,
        "not yet, and your function changes first and y in place, pe",
    )
    assert torch.equal(case[1], torch.tensor([5.0, 3.0]))


def test_an_argument_that_a_function_in_c_changes_is_counted():
    exercise = Exercise(solution=torch.neg, praise="", cases=CASES)
    passed, said = exercise.diagnose(torch.neg_)
    assert not passed
    assert "your function changes argument 1 in place" in said


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
        (ROOTS, torch.ones(2), "a function is asked for, this is a Tensor. Hand over its name"),
        (ROOTS, [2.0, 3.0], "a function is asked for, this is a list."),
        (
            ROOTS,
            lambda x: print(x.sqrt(), end=""),
            "nothing to check yet; your function prints and returns nothing. Let it `return`",
        ),
        (
            ROOTS,
            lambda x: x.sqrt,
            "numbers are asked for, this is a builtin_function_or_method. Are the parentheses",
        ),
        (ROOTS, lambda x: (x.sqrt(),), "one result is asked for, this is a tuple of 1."),
        (
            ROOTS,
            lambda x: [root[None] for root in x.sqrt().expand(2, 2)],
            "one tensor is asked for, this is a list of 2; `torch.stack` makes one of them.",
        ),
        (ROOTS, lambda x: x * 1j, "real numbers are asked for, yours are complex."),
        (
            ROOTS,
            lambda x: x.sqrt()[None],
            "the shape should be (2,), yours is (1, 2). The numbers are right: only axes of length",
        ),
        (
            ROOTS,
            lambda x: x.sqrt().expand(2, 2) / 2,
            "the shape should be (2,), yours is (2, 2). The numbers are right so far: over one "
            "axis they are still to be added up.",
        ),
        (
            ROOTS,
            lambda x: x.sqrt().expand(3, 2),
            "the shape should be (2,), yours is (3, 2). The numbers are right so far: over one "
            "axis their mean is still missing.",
        ),
        (
            ROOTS,
            lambda x: torch.tensor([2.0, 3.0]),
            "right for the first arguments that were tried, wrong for others. Does a number",
        ),
        (
            ROOTS,
            lambda x: x.sqrt() if x[0] == 4 else x[0],
            "right for the first arguments that were tried, wrong for others. Does a number, or a "
            "size, of your own example stand in your function? Here the shape should be (2,), ",
        ),
        (ROOTS, lambda x: torch.ones(2), "your function gives the same result for all arguments."),
        (ROOTS, lambda x: x.sum(), "the shape should be (2,), yours is ()."),
        (ROOTS, lambda x: "root", "numbers are asked for, this is a str."),
        (ROOTS, lambda x: x.nothing, "your code raises AttributeError: "),
        (ROOTS, lambda: 0, "your code raises TypeError: "),
        (VALUE, 4, "you are off by one."),
        (VALUE, 3.01, "not yet: a number is right, its value is not."),
        (VALUE, [3.0], "the shape should be (), yours is (1,)."),
        (PAIR, lambda x: (x.prod(), x.sum()), "the other way round."),
        (PAIR, lambda x: x, "a tuple of 2 is asked for, this is a Tensor."),
        (PAIR, lambda x: [x.sum()], "a tuple of 2 is asked for, this is a list of 1."),
        (
            PAIR,
            lambda x: (x.sum(), None),
            "the second part: numbers are asked for, this is a NoneType.",
        ),
        (
            SWAPPED,
            lambda x: (x, x.sum()),
            "the first part: the shape should be (), yours is (2,). "
            "Each part is right; they are in the wrong order.",
        ),
        (
            SWAPPED,
            lambda x: (x, x[0]),
            "the first part: the shape should be (), yours is (2,).",
        ),
        (PAIR, lambda x: (x.sum(), x), "the second part: the shape should be (), yours is (2,)."),
        (
            TURNED,
            lambda x: x.expand(3, 2).mT,
            "the shape should be (3, 2), yours is (2, 3). The numbers are right: this is the",
        ),
        (Exercise(solution=True, praise=""), 1, "a bool is asked for, got 1."),
        (Exercise(solution="left", praise=""), "right", "not yet: the answer is another."),
        (PAIR, lambda x: (x.sum(), x.sum()), "not yet: the shapes are right, the values are not."),
        (
            ROOTS,
            lambda x: x.sqrt() if x[0] == 4 else "never",
            "right for the first arguments that were tried. For others numbers are asked for, this "
            "is a str.",
        ),
    ],
)
def test_wrong_answers_get_their_sentence(exercise, answer, sentence):
    passed, said = exercise.diagnose(answer)
    assert not passed
    assert said.startswith(sentence)


def test_a_mistake_may_have_another_shape():
    mistakes = {"not added up.": torch.sqrt}
    exercise = Exercise(lambda x: x.sqrt().sum(), "", mistakes=mistakes, cases=CASES)
    assert exercise.diagnose(lambda x: x**0.5) == (False, "not added up.")


def test_an_answer_that_is_the_same_in_all_cases_may_be_so_by_right():
    exercise = Exercise(lambda x: x.sum() * 0 + 2, "", cases=CASES)
    assert exercise.diagnose(lambda x: torch.tensor(3.0)) == (
        False,
        "not yet: a number is right, its value is not.",
    )


def test_nothing_for_some_arguments_is_told_from_nothing_at_all():
    sentence = "for some arguments your function returns nothing."
    assert ROOTS.diagnose(lambda x: x.sqrt() if x[0] == 4 else None) == (False, sentence)
    assert ROOTS.diagnose(lambda x: x.sqrt() if x[0] == 1 else ...) == (False, sentence)


@pytest.mark.parametrize(
    ("exercise", "answer", "sentence"),
    [
        (
            ROOTS,
            lambda x: torch.tensor([2.0, 3.0]),
            "right for the first arguments that were tried, wrong for others. Does a number, or a "
            "size, of your own example stand in your function?",
        ),
        # One value that is not finite is enough, in one case, or in one part of a tuple.
        (ROOTS, lambda x: x if x[0] == 4 else x * math.nan, "your values are not finite."),
        (ROOTS, lambda x: x * torch.tensor([1.0, math.nan]), "your values are not finite."),
        (PAIR, lambda x: (x.sum(), x.prod() * math.nan), "your values are not finite."),
        (
            ROOTS,
            lambda x: [x.sqrt(), "text"],
            "one tensor is asked for, this is a list of 2; `torch.stack` makes one of them.",
        ),
        # What a shape has to do with the right one is said where it holds in every case.
        (ROOTS, lambda x: torch.ones(3), "the shape should be (2,), yours is (3,)."),
        (
            ROOTS,
            lambda x: x.sqrt()[None] if x[0] == 4 else 7 * x[None],
            "the shape should be (2,), yours is (1, 2).",
        ),
        (
            ROOTS,
            lambda x: x.sqrt()[None] if x[0] == 4 else "never",
            "the shape should be (2,), yours is (1, 2).",
        ),
        (
            Exercise(lambda x: torch.ones(1), "", cases=CASES),
            lambda x: True,
            "the shape should be (1,), yours is ().",
        ),
        # The first case says of which kind the result is.
        (
            Exercise(torch.squeeze, "", cases=((torch.ones(1),), (torch.ones(2),))),
            lambda x: -2 * x.squeeze(),
            "not yet: a number is right, its value is not.",
        ),
    ],
)
def test_no_more_is_said_than_this(exercise, answer, sentence):
    assert exercise.diagnose(answer) == (False, sentence)


def test_the_word_about_gradients_is_about_the_first_result():
    told = "well rooted. As a list it cuts off gradients; a tensor lets them through."
    assert ROOTS.diagnose(lambda x: x.sqrt().tolist() if x[0] == 4 else x.sqrt()) == (True, told)


def test_the_order_is_blamed_only_where_it_is_all_that_is_wrong():
    _, said = SWAPPED.diagnose(lambda x: (x, x[0]))
    assert said == "the first part: the shape should be (), yours is (2,)."


def test_a_list_is_as_good_as_a_tuple():
    assert PAIR.diagnose(lambda x: list(PAIR.solution(x)))[0]


def test_an_infinity_is_right_where_the_solution_has_one():
    endless = Exercise(solution=math.inf, praise="yes.", mistakes={"minus.": -math.inf})
    assert endless.diagnose(math.inf) == (True, "yes.")
    assert endless.diagnose(-math.inf) == (False, "minus.")
    assert endless.diagnose(1.0) == (False, "not yet: a number is right, its value is not.")
    assert endless.diagnose(math.nan) == (False, "your values are not finite.")


def test_a_nan_is_recognised_where_a_mistake_has_one():
    undefined = Exercise(
        lambda x: x, "", mistakes={"no NaN.": lambda x: x + math.nan}, cases=((0.0,),)
    )
    assert undefined.diagnose(lambda x: math.nan) == (False, "no NaN.")


def test_a_mistake_must_match_in_every_case():
    only_once = Exercise(solution=torch.sqrt, praise="", mistakes={"no.": lambda x: x}, cases=CASES)
    passed, said = only_once.diagnose(lambda x: x if x[0] == 4 else x / 2)
    assert (passed, said[:8]) == (False, "not yet:")


@pytest.mark.parametrize("frozen", [VALUE, checking._Call(3.0, [])])
def test_nobody_changes_an_exercise_or_a_call(frozen):
    (name, *_) = (field.name for field in fields(frozen))
    with pytest.raises(FrozenInstanceError):
        setattr(frozen, name, 4.0)
