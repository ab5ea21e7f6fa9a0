"""How an answer is checked: against the solution, and against the usual wrong answers.

An exercise knows its solution and, for each usual mistake, the formula that makes it. An answer
that gives the same values as a mistake gets the sentence that belongs to it. So a diagnosis is
never a guess, and a test can play every mistake and see its sentence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from helpers.exercises.comparing import agree, complaint, is_finite, is_nothing, kind_of, relation
from helpers.exercises.explaining import explain, explain_call, is_raised_by_call


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
    hints : sequence of str
        Three steps towards the answer, each of two sentences at most.
    errors : mapping of error type to str
        What such an error means in this exercise, where that is more than it means elsewhere.
    """

    solution: Any
    praise: str
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[tuple[Any, ...]] = ((),)
    hints: Sequence[str] = ()
    errors: Mapping[type[Exception], str] = field(default_factory=dict)

    def diagnose(self, answer: Any) -> tuple[bool, str]:
        """Whether the answer is right, and what to say about it."""
        if is_nothing(answer):
            return False, "nothing to check yet; replace the ... and run the cell again."
        if callable(self.solution) and not callable(answer):
            told = f"a function is asked for, this is a {kind_of(answer)}."
            return False, f"{told} Hand over its name, without calling it."
        expected = [_Call.of(self.solution, case).result for case in self.cases]
        calls: list[_Call] = []
        for case in self.cases:
            try:
                calls.append(_Call.of(answer, case))
            except Exception as error:  # whatever a reader's code raises, they see as sentences
                return False, self._explained(error, case, worked_before=bool(calls))
        given = [call.result for call in calls]
        if any(map(is_nothing, given)):
            return False, _about_nothing(answer, given)
        changed = list(dict.fromkeys(name for call in calls for name in call.changed))
        if agree(expected, given):
            return (False, _about_changed(changed)) if changed else (True, self._praised(given[0]))
        return False, self._recognised(given) or _unrecognised(expected, given, changed)

    def _praised(self, result: Any) -> str:
        """The praise, and a word about a result that is right and no tensor."""
        is_tensor = isinstance(_Call.of(self.solution, self.cases[0]).result, Tensor)
        if not is_tensor or isinstance(result, Tensor):
            return self.praise
        kind = kind_of(result)
        return f"{self.praise} As a {kind} it cuts off gradients; a tensor lets them through."

    def _recognised(self, given: list[Any]) -> str:
        """The sentence of the mistake that gives the same values; empty where there is none."""
        for sentence, mistake in self.mistakes.items():
            if agree([_Call.of(mistake, case).result for case in self.cases], given):
                return sentence
        return ""

    def _explained(self, error: Exception, case: tuple[Any, ...], worked_before: bool) -> str:
        if is_raised_by_call(error):
            return explain_call(error, _parameters(self.solution, len(case)))
        told = explain(error, self.errors)
        if worked_before:
            told += "\nFor the first arguments it ran; these are others, of other values or sizes."
        return told


@dataclass(frozen=True)
class _Call:
    """What an answer returned on a case, and which of its arguments it has changed."""

    result: Any
    changed: list[str]

    @classmethod
    def of(cls, answer: Any, case: tuple[Any, ...]) -> _Call:
        """Call an answer on clones, so that no answer can change the case for the next."""
        if not callable(answer):
            return cls(answer, [])
        clones = [part.clone() if isinstance(part, Tensor) else part for part in case]
        result = answer(*clones)
        changed = [
            name
            for name, part, clone in zip(_parameters(answer, len(case)), case, clones, strict=True)
            if isinstance(part, Tensor) and not torch.equal(part, clone)
        ]
        return cls(result, changed)


def _parameters(function: Callable[..., Any], count: int) -> list[str]:
    """The names of the first parameters of a function, or their numbers where it tells none."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a function written in C may tell nothing
        names = []
    return [*names[:count], *(f"argument {k + 1}" for k in range(len(names), count))]


def _about_nothing(answer: Any, given: list[Any]) -> str:
    if not all(map(is_nothing, given)):
        return "for some arguments your function returns nothing."
    code = getattr(answer, "__code__", None)
    if code and "print" in code.co_names:
        return (
            "nothing to check yet; your function prints and returns nothing. Let it `return` what "
            "it prints."
        )
    return "nothing to check yet; your function returns nothing."


def _about_changed(names: list[str]) -> str:
    return (
        f"the values are right, and your function changes {' and '.join(names)} in place: after "
        "the call its caller has other numbers. Write to a new tensor."
    )


def _unrecognised(expected: list[Any], given: list[Any], changed: list[str]) -> str:
    """What can be said about a wrong answer that is no mistake of the exercise."""
    wrong = map(complaint, expected, given)
    about_kind = next(filter(None, wrong), "")
    if agree(expected[:1], given[:1]):
        if about_kind and "the shape should be" not in about_kind:
            return f"right for the first arguments that were tried. For others {about_kind}"
        return (
            "right for the first arguments that were tried, wrong for others. Does a number, or a "
            f"size, of your own example stand in your function? {_again(about_kind)}"
        ).rstrip()
    if about_kind:
        return f"{about_kind} {relation(expected, given)}".rstrip()
    if not all(map(is_finite, expected, given)):
        return "your values are not finite."
    if changed:
        return (
            f"not yet, and your function changes {' and '.join(changed)} in place, perhaps before "
            "it has read all of it. Write to a new tensor."
        )
    if _is_constant(given) and not _is_constant(expected):
        return (
            "your function gives the same result for all arguments. Does it use them, or a "
            "variable of the notebook in their place?"
        )
    return f"not yet: {_wrong_in_value(expected[0])}"


def _wrong_in_value(expected: Any) -> str:
    """What is wrong with a value of the right kind and shape, in the words for its kind."""
    if isinstance(expected, (bool, str)):
        return "the answer is another."
    if isinstance(expected, tuple):
        return "the shapes are right, the values are not."
    if torch.as_tensor(expected).ndim == 0:
        return "a number is right, its value is not."
    return "the shape is right, the values are not."


def _is_constant(results: list[Any]) -> bool:
    return agree(results[:1] * len(results), results)


def _again(about_kind: str) -> str:
    return f"Here {about_kind}" if about_kind else ""
