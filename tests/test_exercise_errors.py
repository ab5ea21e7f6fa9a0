"""An answer that raises gets its error explained, at the place in the learner's own code."""

from __future__ import annotations

import linecache
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import helpers
from helpers.exercises.checking import Exercise
from helpers.exercises.explaining import LONGEST_LINE, LONGEST_MESSAGE, explain
from helpers.exercises.notebook_04 import EXERCISES as EXERCISES_04

CASE = (
    torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]], dtype=torch.float64),
    torch.eye(3, dtype=torch.float64),
)
EXERCISE = Exercise(solution=lambda x, L: x @ L, praise="", cases=(CASE,))


def defined_in_a_cell(source: str, name: str = "answer") -> Callable[..., Any]:
    """A function as a notebook defines it: its source is in linecache, in no file."""
    filename = f"/tmp/ipykernel_1/{abs(hash(source))}.py"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"torch": torch, "np": np, "math": math, "helpers": helpers}
    exec(compile(source, filename, "exec"), namespace)
    return namespace[name]


def said_about(expression: str) -> list[str]:
    """The lines that are said about a function that returns an expression of `x` and `L`."""
    passed, said = EXERCISE.diagnose(
        defined_in_a_cell(f"def answer(x, L):\n    return {expression}\n")
    )
    assert not passed
    return said.splitlines()


@pytest.mark.parametrize(
    ("expression", "error", "meaning"),
    [
        ("1 / 0", "ZeroDivisionError", "For some arguments the divisor is zero."),
        ("y", "NameError", "Python knows no `y`: look for a typing error"),
        ("answer(x, L)", "RecursionError", "Your function calls itself without end."),
        # What is no tensor
        ("... * x", "TypeError", "A `...` is still standing"),
        ("x * None", "TypeError", "One of the values is None"),
        ("2 * x.sum", "TypeError", "A function stands where its result is needed"),
        ("math.log(x.sum)", "TypeError", "A function stands where its result is needed"),
        ("np.eye(2) @ x", "TypeError", "An array of numpy meets a tensor."),
        ("torch.log(np.ones(2))", "TypeError", "An array of numpy meets a tensor."),
        ("torch.log(2.0)", "TypeError", "A function of torch got a plain number"),
        ("torch.sqrt(2)", "TypeError", "A function of torch got a plain number"),
        ("x(2)", "TypeError", "A tensor stands in front of parentheses"),
        ("x @ torch.linalg.eigh(L)", "TypeError", "A function has returned several results"),
        ("torch.cov(x, ddof=1)", "TypeError", "`ddof` is numpy's name."),
        ("torch.linalg.solve_triangular(L, x.mT)", "TypeError", "`solve_triangular` must be told"),
        ("[1, 2] @ x", "TypeError", "A list or a text meets a tensor."),
        ("x @ 3", "TypeError", "The two sides of this sign do not go together"),
        ("math.log(x)", "ValueError", "Many numbers stand where one is needed. .* Here `x` is of "),
        ("x.item()", "RuntimeError", "Many numbers stand where one is needed."),
        ("x if x > 0 else L", "RuntimeError", "A condition has to be one truth value"),
        # Names
        ("x.copy()", "AttributeError", "`copy` is numpy's; with tensors it is `.clone\\(\\)`."),
        ("L.inv()", "AttributeError", "`inv` is numpy's; with tensors it is `torch.linalg.inv`."),
        ("L.diagonal.log()", "AttributeError", "The parentheses of a call are missing"),
        ("x.numpy().log()", "AttributeError", "An array of numpy has no `log`."),
        ("(2.0).sqrt()", "AttributeError", "A plain number has no `.sqrt`"),
        ("print(end='').T", "AttributeError", "Something is None here"),
        ("torch.linalg.eigh(L).sqrt()", "AttributeError", "This is several results in one."),
        ("torch.inv(L)", "AttributeError", "`torch` has no `inv`. Most of linear algebra"),
        ("x.summ()", "AttributeError", "Tensors have no `summ`: look for a typing error"),
        # Decompositions
        ("torch.linalg.cholesky(-L)", "LinAlgError", "Only a positive definite .* Here `L` is of "),
        ("torch.linalg.inv(0 * L)", "LinAlgError", "This matrix has no inverse"),
        # Precision, devices, gradients
        (
            "x @ torch.eye(3, dtype=torch.float32)",
            "RuntimeError",
            "These tensors differ in precision, .* Here `x` is float64.",
        ),
        ("torch.ones(2, dtype=int).mean()", "RuntimeError", "These tensors differ in precision"),
        ("x.requires_grad_().add_(1)", "RuntimeError", "A tensor that takes part in a gradient"),
        ("x[0].expand(2, 3).add_(1)", "RuntimeError", "This tensor shows the same memory"),
        ("x.requires_grad_().numpy()", "RuntimeError", "Numpy knows no gradients."),
        ("x.sum().backward()", "RuntimeError", "Nothing in this needs a gradient"),
        # Shapes
        (
            "L @ x",
            "RuntimeError",
            r"In a product .* Here `L` is of shape \(3, 3\) and `x` is of shape \(2, 3\).",
        ),
        ("torch.linalg.solve(L, x)", "RuntimeError", "In a product .* a system of equations"),
        ("torch.bmm(x[None], x[None])", "RuntimeError", "In a product"),
        ("x + torch.ones(2)", "RuntimeError", r"Shapes are matched from the right.* \(2, 3\)."),
        ("torch.linalg.cholesky(x)", "RuntimeError", "This needs a square matrix."),
        ("x.reshape(5)", "RuntimeError", "These shapes do not go together. Here `x` is of shape"),
        ("torch.outer(x, x)", "RuntimeError", "These shapes do not go together."),
        ("torch.stack([x, L])", "RuntimeError", "These shapes do not go together."),
        ("torch.dot(x[0], x[:, 0])", "RuntimeError", "These shapes do not go together."),
        ("x[0].mT", "RuntimeError", "A vector has no transpose."),
        ("x.sum(dim=2)", "IndexError", r"This tensor has fewer axes .* Here `x` is of shape \(2, "),
        ("x[0, 0, 0]", "IndexError", "This tensor has fewer axes"),
        ("x[7]", "IndexError", "You count further than there are entries."),
        ("[1][2]", "IndexError", "You count further than there are entries."),
        ("x[0.5]", "IndexError", "An index has to be an integer."),
    ],
)
def test_common_errors_are_explained_where_they_happen(expression, error, meaning):
    first, place, *rest = said_about(expression)
    assert re.fullmatch(rf"your code raises {error}: .+", first)
    assert place == f"    line 2: return {expression}"
    assert re.match(meaning, " ".join(rest))


def test_what_no_rule_knows_is_given_as_it_is():
    assert said_about("{}['mine']") == [
        "your code raises KeyError: 'mine'",
        "    line 2: return {}['mine']",
    ]


def test_the_place_is_the_innermost_line_of_the_learner():
    source = "def inner(L):\n    L = L + 0\n    return helpers.log_det(L[0])\n\n"
    source += "def answer(x, L):\n    return inner(L)\n"
    _, said = EXERCISE.diagnose(defined_in_a_cell(source))
    lines = said.splitlines()
    assert lines[0].startswith("your code raises ValueError: scale_tril: expected ")
    assert lines[1] == "    line 3: return helpers.log_det(L[0])"


def test_a_use_before_the_value_is_told():
    source = "def answer(x, L):\n    y += 1\n    return y\n"
    _, said = EXERCISE.diagnose(defined_in_a_cell(source))
    assert said.splitlines()[1:] == [
        "    line 2: y += 1",
        "`y` is used in your function before it gets a value there.",
    ]


def test_a_long_message_and_a_long_line_are_cut():
    source = "def answer(x, L):\n"
    source += f"    raise ValueError(('long ' * 99) + '\\\\nsecond')  # {'and on ' * 20}\n"
    _, said = EXERCISE.diagnose(defined_in_a_cell(source))
    first, place = said.splitlines()
    assert first.endswith("long ...")
    assert len(first) < LONGEST_MESSAGE + 40
    assert "second" not in first
    assert place.startswith("    line 2: raise ValueError(('long ' * 99)")
    assert place.endswith(" ...")
    assert len(place) < LONGEST_LINE + 20


def test_an_error_without_a_message():
    assert said_about("exec('raise ValueError')")[0] == "your code raises ValueError: "


def test_nothing_of_the_checker_is_shown():
    for expression in ("1 / 0", "L @ x", "torch.linalg.cholesky(-L)"):
        said = "\n".join(said_about(expression))
        assert "Traceback" not in said
        assert "helpers" not in said
        assert "File" not in said


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: x, "The check calls it with 2: x, L."),
        (lambda x, L, d: x, "The check calls it with 2: x, L."),
        (lambda: 0, "The check calls it with 2: x, L."),
        (torch.sqrt, "The check calls it with 2: x, L."),
        (torch.Tensor.sqrt, "The check calls it with 2: x, L."),
    ],
)
def test_a_wrong_number_of_arguments_is_told(answer, told):
    passed, said = EXERCISE.diagnose(answer)
    first, *rest = said.splitlines()
    assert not passed
    assert first.startswith("your code raises TypeError: ")
    assert rest == [told]


def test_a_method_is_no_function():
    class Mine:
        def answer(self, x, L):
            return x @ L

    _, said = EXERCISE.diagnose(Mine.answer)
    assert "'L'" in said  # Python takes x for self, and misses the last
    assert said.endswith("x, L.")
    assert EXERCISE.diagnose(Mine().answer)[0]

    exercise = Exercise(solution=torch.sqrt, praise="", cases=((CASE[0],),))
    _, said = exercise.diagnose(Mine.answer)
    assert said.splitlines()[-1].startswith("The check calls it with 1: argument 1.")


class Constant:
    def answer(self):
        return 3.0


@pytest.mark.parametrize("method", [Constant.answer, torch.Tensor.numel])
def test_a_method_without_its_object_is_told_to_be_a_plain_function(method):
    exercise = Exercise(solution=lambda: 3.0, praise="")
    _, said = exercise.diagnose(method)
    assert said.endswith(" A method of a class does not do; write a plain function.")


@pytest.mark.parametrize(("function", "error"), [(operator.neg, "TypeError"), (int, "ValueError")])
def test_an_error_inside_a_function_in_c_is_not_taken_for_one_of_the_call(function, error):
    exercise = Exercise(solution=lambda text: 0.0, praise="", cases=(("text",),))
    _, said = exercise.diagnose(function)
    assert said.startswith(f"your code raises {error}: ")
    assert "The check calls it" not in said


def test_a_wrong_call_inside_is_not_taken_for_one_of_the_check():
    lines = said_about("torch.outer(x)")
    assert lines[1] == "    line 2: return torch.outer(x)"
    assert "The check calls it" not in " ".join(lines)


def test_an_error_after_the_first_case_says_so():
    exercise = Exercise(lambda x: x.sum(), "", cases=((torch.ones(2),), (torch.ones(3),)))
    _, said = exercise.diagnose(lambda x: x @ torch.ones(2))
    assert said.splitlines()[-1].startswith("For the first arguments it ran; these are others")
    _, said = exercise.diagnose(lambda x: x @ torch.ones(3))
    assert "For the first arguments" not in said


def test_an_exercise_may_know_more_about_an_error():
    error = ZeroDivisionError("division by zero")
    assert explain(error, {ArithmeticError: "Mine."}).splitlines()[-1] == "Mine."
    assert explain(error, {TypeError: "Mine."}).splitlines()[-1] != "Mine."


def test_the_plain_division_of_04_3_is_told_what_it_means():
    def answer(cpu_call, cpu_each, gpu_call, gpu_each, transfer_each):
        return (gpu_call - cpu_call) / (cpu_each - gpu_each - transfer_each)

    _, said = EXERCISES_04["04.3"].diagnose(answer)
    assert "float division by zero" in said
    assert "For some arguments a further matrix costs the same on both machines." in said


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_who_stops_is_not_held_up(stop):
    def answer(x, L):
        raise stop

    with pytest.raises(stop):
        EXERCISE.diagnose(answer)


def test_the_message_of_two_devices_is_known():
    # No machine has two devices for certain; the message is that of torch.
    error = RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 "
        "and cpu!"
    )
    assert explain(error).splitlines()[-1].startswith("These tensors are on different devices.")
