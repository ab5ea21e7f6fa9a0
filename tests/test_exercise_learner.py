"""What a learner calls: `check` prints a verdict, `hint` the next step."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from helpers import check, hint
from helpers.exercises import learner
from helpers.exercises.checking import Exercise

HINTS = ("Look at a.", "Look at b, " + "long " * 30 + "too.", "Is it c?")
VALUE = Exercise(solution=3.0, praise="three.", mistakes={"you are off by one.": 4.0}, hints=HINTS)
ROOT = Exercise(solution=torch.sqrt, praise="root.", cases=((torch.ones(2),),))


@pytest.fixture(autouse=True)
def _notebook_99(monkeypatch):
    module = ModuleType("helpers.exercises.notebook_99")
    module.EXERCISES = {"99.1": VALUE, "99.2": ROOT}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    learner._asked.clear()


def test_check_prints_one_line(capsys):
    check("99.1", 3)
    check("99.1", 4)
    assert capsys.readouterr().out == (
        "Exercise 99.1 passed: three.\nExercise 99.1 open: you are off by one.\n"
    )


def test_where_no_mistake_is_recognised_there_is_a_way_to_a_hint(capsys):
    check("99.1", 5)
    assert capsys.readouterr().out == (
        "Exercise 99.1 open: not yet: a number is right, its value is not.\n"
        'For a step further: hint("99.1")\n'
    )
    check("99.1", None)
    check("99.2", lambda x: 2 * x)  # has no hints
    assert "hint" not in capsys.readouterr().out


def too_long(x):
    return x @ torch.eye(3)


def test_what_is_said_about_an_error_keeps_its_lines(capsys):
    check("99.2", too_long)
    lines = capsys.readouterr().out.splitlines()
    number = too_long.__code__.co_firstlineno + 1
    place = lines.index(f"    line {number}: return x @ torch.eye(3)")
    assert " ".join(lines[:place]).endswith("cannot be multiplied (1x2 and 3x3)")
    assert lines[place + 1].startswith("In a product ")
    assert max(map(len, lines)) <= learner.LINE_LENGTH


def test_hints_come_one_by_one(capsys):
    said = []
    for _ in range(5):
        hint("99.1")
        said.append(" ".join(capsys.readouterr().out.split()))
    assert said[:3] == [
        f"Exercise 99.1, {which} hint: {text}"
        for which, text in zip(("first", "second", "third"), HINTS, strict=True)
    ]
    assert said[3] == said[4]
    assert said[3].startswith("Exercise 99.1: there are no more hints. A solution is in the ")
    assert said[3].endswith(
        "below the exercise, unless this is the copy of a workshop: then ask whoever leads it."
    )


def test_each_exercise_counts_its_own_hints(capsys):
    hint("99.1")
    hint("01.1")
    hint("99.1")
    out = capsys.readouterr().out
    assert out.count("first hint") == 2
    assert out.count("second hint") == 1


@pytest.mark.parametrize("number", ["99.3", "98.1", "", None, 99.2, [], "99.1.1", "..checking.1"])
@pytest.mark.parametrize("call", [lambda number: check(number, 3), hint])
def test_an_unknown_exercise_is_named(call, number):
    with pytest.raises(
        ValueError, match="number: expected that of an exercise, such as '01.1', got"
    ):
        call(number)


@pytest.mark.parametrize(("number", "quoted"), [(2.1, '"02.1"'), (12.3, '"12.3"')])
def test_a_number_without_quotes_is_told_to_have_them(number, quoted):
    with pytest.raises(ValueError, match=f"got {number}; put the number in quotes: {quoted}$"):
        hint(number)


@pytest.mark.parametrize(("number", "whole"), [("2.1", '"02.1"'), ("2.10", '"02.10"')])
def test_a_number_of_one_digit_is_told_to_have_two(number, whole):
    with pytest.raises(ValueError, match=f"got '{number}'; write two digits before .*: {whole}$"):
        hint(number)


def test_what_is_no_number_is_not_told_to_be_quoted():
    with pytest.raises(ValueError, match="got '1'$"):
        hint("1")
