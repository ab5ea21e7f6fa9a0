"""The numbers of the exercises are those in tests/data/exercises.json, to a few digits.

As the stored outputs of a notebook, these say what was there before, not what is right: that the
solutions are right is in test_exercises_NN.py. Here a case, a solution or a mistake that changes
unseen is seen. A mistake that no longer is what its sentence says would else go on to agree with
itself. `python tests/store_exercises.py` writes the file again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from store_exercises import STORED, description, numbers_of_exercises

from helpers.exercises import find, notebook_03, notebook_04

STORE = json.loads(STORED.read_text(encoding="utf-8"))
AGAIN = "after a change on purpose: python tests/store_exercises.py"

# Half a unit of the last of seven digits, and as much again for another order of the operations.
# An exact zero may come out as a rounding error of float64, on numbers of order one.
TOLERANCE = {"rel_tol": 1e-6, "abs_tol": 1e-11}


def differences(stored: Any, made: Any, place: str) -> Iterator[str]:
    """Where two descriptions are not the same."""
    if _have_the_same_places(stored, made):
        for key in stored if isinstance(stored, dict) else range(len(stored)):
            yield from differences(stored[key], made[key], f"{place} / {key}")
    elif not _is_same(stored, made):
        yield f"{place}: expected {stored}, got {made}"


def _have_the_same_places(stored: Any, made: Any) -> bool:
    """Whether two dictionaries have the same keys in the same order, two lists the same length."""
    if isinstance(stored, dict) and isinstance(made, dict):
        return list(stored) == list(made)
    return isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made)


def _is_same(stored: Any, made: Any) -> bool:
    """Whether two numbers or names are the same; of what has parts, that has been asked before."""
    if isinstance(stored, float) and isinstance(made, float):
        return math.isclose(stored, made, **TOLERANCE)
    has_parts = isinstance(stored, (dict, list))
    return type(stored) is type(made) and not has_parts and stored == made


@pytest.mark.parametrize("number", numbers_of_exercises())
def test_cases_solution_and_mistakes_give_the_stored_numbers(number):
    found = list(differences(STORE.get(number), description(find(number)), number))
    assert found == [], AGAIN


@pytest.mark.parametrize("notebook", [notebook_03, notebook_04])
def test_cases_are_made_in_double_precision(notebook):
    assert notebook._tensor([1.0]).dtype == torch.float64


def test_nothing_is_stored_of_an_exercise_that_is_gone():
    assert list(STORE) == numbers_of_exercises(), AGAIN


@pytest.mark.parametrize(
    ("stored", "made"),
    [
        (1.0, 1.00001),
        (1.0, 1),
        (1, True),
        (0.0, 1e-9),
        ("nan", 0.0),
        ([1.0], [1.0, 1.0]),
        ([1.0], 1.0),
        ({"float64": 1.0}, {"float32": 1.0}),
        ({"a": 1, "b": 1}, {"b": 1, "a": 1}),
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        (None, {}),
    ],
)
def test_what_differs_is_said(stored, made):
    said = list(differences({"x": [stored]}, {"x": [made]}, "here"))
    assert said == [f"here / x / 0: expected {stored}, got {made}"]


def test_what_differs_by_rounding_is_the_same():
    assert not list(differences([0.1234567, 0.0, 5], [0.12345674, 1e-16, 5], "here"))
