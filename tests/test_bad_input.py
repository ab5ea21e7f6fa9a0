"""Every public function against the table of bad input: refused by name, or answered right."""

from __future__ import annotations

import math

import pytest
import torch
from bad_input_targets import HELD, TARGETS
from bad_inputs import (
    REFUSED,
    RIGHT,
    SAME,
    Bad,
    Target,
    is_own_method,
    itself,
    surface,
    try_target,
)
from torch import Tensor

from helpers.interactive import InteractivePicture


def told(problems: list[str]) -> str:
    return "\n".join(["", *problems])


# Each takes a new figure for every value, so tests/trust/test_bad_input_to_figures.py has them.
FIGURES = [name for name in TARGETS if name.startswith("plot_")]


def problems_with(name: str) -> list[str]:
    """What is wrong with the answers of a function to its bad input."""
    return [
        f"{result.parameter}, {result.value}: {result.problem}"
        for result in try_target(name, TARGETS[name])
        if result.problem
    ]


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in FIGURES])
def test_bad_input_is_refused_by_name_or_answered_right(name):
    problems = problems_with(name)
    assert not problems, told(problems)


def test_the_table_holds_every_public_function_and_every_parameter():
    """A new function, method or parameter needs a row."""
    tried: dict[str, set[str]] = {}
    for name, target in TARGETS.items():
        tried.setdefault(name.partition("/")[0], set()).update(target.kinds)
    missing = [
        f"{name}: {parameter}"
        for name, parameters in surface().items()
        for parameter in parameters or [""]
        if name not in HELD and (name not in tried or (parameter and parameter not in tried[name]))
    ]
    assert not missing, told(missing)
    unknown = set(tried) - set(surface()) - {"InteractivePicture.move"}
    assert not unknown
    assert is_own_method("move", InteractivePicture.move)


def test_good_arguments_are_answered():
    for name, target in TARGETS.items():
        target.call(**target.good())  # an error here would make every refusal look right
        assert set(target.kinds) <= set(target.good()), name


# The table itself can fail -----------------------------------------------------------------------


def log(x: Tensor) -> Tensor:
    """A function that checks its argument, to be broken in one place or another."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a Tensor, got {x!r}")
    if not bool((x > 0).all()):
        raise ValueError(f"x: expected positive numbers, got {x.min().item()}")
    return x.log()


def changes_its_input(x: Tensor) -> Tensor:
    return log(x.mul_(2))


def changes_the_world(x: Tensor) -> Tensor:
    return log(x + 0 * torch.rand(()))


def returns_nan(x: Tensor) -> Tensor:
    return log(x) if x is None else torch.as_tensor(x).log()


def names_nothing(x: Tensor) -> Tensor:
    if x is None:
        raise ValueError("bad input")
    return log(x)


def crashes(x: Tensor) -> Tensor:
    return x.log()


def loses_digits(x: Tensor) -> Tensor:
    return log(x).float().double()


def depends_on_storage(x: Tensor) -> Tensor:
    return log(x) + (0.0 if x.is_contiguous() else 1.0)


def warns(x: Tensor) -> Tensor:
    torch.warnings.warn("careful", stacklevel=1)
    return log(x)


def refuses_everything(x: Tensor) -> Tensor:
    raise ValueError(f"x: expected something else, got {x}")


VALUES = {
    "None": Bad(lambda good: None, REFUSED),
    "negative": Bad(lambda good: -good, REFUSED),
    "large": Bad(lambda good: good * 1e9, RIGHT),
    "non-contiguous": Bad(lambda good: torch.stack([good, good], -1)[:, 0], SAME, itself),
}


def problems_of(function) -> list[str]:
    def good() -> dict[str, Tensor]:
        return {"x": torch.tensor([1.0, 2.0], dtype=torch.float64)}

    target = Target(
        function,
        good,
        {"x": "no values"},
        exact=lambda x: [math.log(each) for each in x.tolist()],
        extra={"x": VALUES},
    )
    return [r.problem for r in try_target("f", target) if r.problem and r.parameter == "x"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (changes_its_input, "changes x"),
        (changes_the_world, "changes the global state"),
        (returns_nan, "nan"),
        (names_nothing, "says ValueError: bad input"),
        (crashes, "AttributeError"),
        (loses_digits, "expected"),
        (depends_on_storage, "answers"),
        (warns, "warns: careful"),
        (refuses_everything, "refuses what is good"),
    ],
)
def test_a_function_that_breaks_a_promise_is_noticed(function, words, monkeypatch):
    monkeypatch.setitem(__import__("bad_inputs").KINDS, "no values", {})
    assert not problems_of(log)
    assert any(words in problem for problem in problems_of(function)), problems_of(function)
