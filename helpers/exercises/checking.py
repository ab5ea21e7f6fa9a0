"""How an answer is checked: against the solution, and against the usual wrong answers.

An exercise knows its solution and, for each usual mistake, the formula that makes it. An answer
that gives the same values as a mistake gets the sentence that belongs to it. So a diagnosis is
never a guess, and a test can play every mistake and see its sentence.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

ORDINALS = ("first", "second", "third", "fourth")
LINE_LENGTH = 95  # JupyterLab breaks longer lines in the middle of a word
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}  # an answer may be computed another way, or in float32


@dataclass(frozen=True)
class Exercise:
    """A task whose answer can be checked.

    Attributes
    ----------
    solution : function or value
        The right answer. A function is compared on `cases`, anything else as it is.
    praise : str
        What an answer that is right is worth knowing.
    mistakes : mapping of str to function or value
        A sentence that says what is wrong, and the answer that earns it.
    cases : sequence of tuples
        Arguments on which functions are compared; each should tell every mistake from the rest.
    """

    solution: Any
    praise: str
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[tuple[Any, ...]] = ((),)

    def diagnose(self, answer: Any) -> tuple[bool, str]:
        """Whether the answer is right, and what to say about it."""
        if answer is None or answer is Ellipsis:
            return False, "nothing to check yet; replace the ... and run the cell again."
        if callable(self.solution) and not callable(answer):
            return False, f"a function is asked for, this is a {type(answer).__name__}."
        expected = [_values(self.solution, case) for case in self.cases]
        try:
            given = [_values(answer, case) for case in self.cases]
        except Exception as error:  # whatever a reader's code raises, they see as a sentence
            return False, f"your code raises {type(error).__name__}: {error}"
        empty = [value is None or value is Ellipsis for value in given]
        if all(empty):
            return False, "nothing to check yet; your function returns nothing."
        if any(empty):
            return False, "for some arguments your function returns nothing."
        for wanted, value in zip(expected, given, strict=True):
            complaint = _kind_of_difference(wanted, value)
            if complaint:
                return False, complaint
        if _agree(expected, given):
            return True, self.praise
        for sentence, mistake in self.mistakes.items():
            if _agree([_values(mistake, case) for case in self.cases], given):
                return False, sentence
        if not all(map(_is_finite, expected, given)):
            return False, "your values are not finite."
        return False, "not yet: the shape is right, the values are not."


def check(number: str, answer: Any) -> None:
    """Check an answer to an exercise and print what is missing or wrong.

    Parameters
    ----------
    number : str
        Of the notebook and the exercise, such as "01.2".
    answer : any
        A function or a value, as the task says.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    passed, sentence = find(number).diagnose(answer)
    line = f"Exercise {number} {'passed' if passed else 'open'}: {sentence}"
    print(textwrap.fill(line, LINE_LENGTH))


def find(number: str) -> Exercise:
    """The exercise of that number."""
    notebook, _, _ = str(number).partition(".")
    try:
        return import_module(f"helpers.exercises.notebook_{notebook}").EXERCISES[number]
    except (ImportError, KeyError):
        raise ValueError(
            f"number: expected that of an exercise, such as '01.1', got {number!r}"
        ) from None


def _values(answer: Any, case: tuple[Any, ...]) -> Any:
    """The answer on a case; on clones, so that no answer can change the case for the next."""
    if not callable(answer):
        return answer
    return answer(*(part.clone() if isinstance(part, Tensor) else part for part in case))


def _kind_of_difference(wanted: Any, value: Any) -> str:
    if isinstance(wanted, tuple):
        if not isinstance(value, (tuple, list)):
            return f"a tuple of {len(wanted)} is asked for, this is a {type(value).__name__}."
        if len(value) != len(wanted):
            kind = type(value).__name__
            return f"a tuple of {len(wanted)} is asked for, this is a {kind} of {len(value)}."
        complaints = map(_kind_of_difference, wanted, value)
        named = zip(ORDINALS, complaints, strict=False)
        return next((f"the {which} part: {told}" for which, told in named if told), "")
    if isinstance(wanted, (bool, str)):
        kind = type(wanted).__name__
        return "" if isinstance(value, type(wanted)) else f"a {kind} is asked for, got {value!r}."
    try:
        shape = tuple(torch.as_tensor(value).shape)
    except (TypeError, ValueError, RuntimeError):
        return f"numbers are asked for, this is a {type(value).__name__}."
    asked = tuple(torch.as_tensor(wanted).shape)
    return "" if shape == asked else f"the shape should be {asked}, yours is {shape}."


def _agree(expected: list[Any], given: list[Any]) -> bool:
    return all(_equal(wanted, value) for wanted, value in zip(expected, given, strict=True))


def _is_finite(wanted: Any, value: Any) -> bool:
    """False where the answer holds a NaN, or an infinity that the solution has not."""
    if isinstance(wanted, tuple):
        return all(map(_is_finite, wanted, value))
    if isinstance(wanted, (bool, str)):
        return True
    wanted, value = (torch.as_tensor(part).detach() for part in (wanted, value))
    return bool((torch.isfinite(value) | (wanted == value)).all())


def _equal(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, tuple):
        return len(wanted) == len(value) and all(map(_equal, wanted, value))
    if isinstance(wanted, (bool, str)):
        return wanted == value
    wanted, value = (
        torch.as_tensor(part).detach().to("cpu", torch.float64) for part in (wanted, value)
    )
    return wanted.shape == value.shape and torch.allclose(wanted, value, **TOLERANCE)
