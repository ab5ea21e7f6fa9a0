"""Exercises of all notebooks: solutions pass, and every wrong answer is told what it is.

What holds for one exercise only stands in test_exercises_NN.py, such as the independent truth of
its solution.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbformat import NotebookNode
from store_notebooks import code_cells, tags
from torch import Tensor

import helpers.exercises
from helpers import check, hint
from helpers.exercises import Exercise, learner, notebooks
from helpers.exercises.comparing import ORDINALS

ROOT = Path(__file__).parents[1]
FOLDER = Path(helpers.exercises.__file__).parent
PER_NOTEBOOK = {
    path.stem[-2:]: import_module(f"helpers.exercises.{path.stem}").EXERCISES
    for path in sorted(FOLDER.glob("notebook_[0-9][0-9].py"))
}
EXERCISES: dict[str, Exercise] = {
    number: exercise
    for exercises in PER_NOTEBOOK.values()
    for number, exercise in exercises.items()
}
NOTEBOOKS = {
    path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
}
WIDTH = 95  # of an output in JupyterLab, which breaks longer lines in the middle of a word


def results(exercise: Exercise) -> list[Any]:
    """What the solution gives on each case."""
    solution, cases = exercise.solution, deepcopy(exercise.cases)
    return [solution(*case) for case in cases] if callable(solution) else [solution]


def leaves(value: Any) -> Iterator[Any]:
    """What is inside of tuples, lists and dictionaries."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        yield value
        return
    for part in value:
        yield from leaves(part)


def tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]


def is_number(value: Any) -> bool:
    return not isinstance(value, (bool, str))


def kind(value: Any) -> str:
    return type(value).__name__


def parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


FUNCTIONS = [number for number, exercise in EXERCISES.items() if callable(exercise.solution)]
OF_TENSORS = [number for number in FUNCTIONS if tensors(EXERCISES[number].cases)]
TUPLES = [n for n, exercise in EXERCISES.items() if isinstance(results(exercise)[0], tuple)]
NUMBERS = [n for n, exercise in EXERCISES.items() if all(map(is_number, leaves(results(exercise))))]
PARTS = [(n, part) for n in NUMBERS for part in range(len(parts(results(EXERCISES[n])[0])))]

every_exercise = pytest.mark.parametrize("number", EXERCISES)
every_function = pytest.mark.parametrize("number", FUNCTIONS)
every_answer_of_numbers = pytest.mark.parametrize("number", NUMBERS)
every_part = pytest.mark.parametrize(("number", "part"), PARTS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def changed(exercise: Exercise, change: Callable[[Any], Any]) -> Any:
    """The solution, with its result changed: a function again if it is one."""
    solution = exercise.solution
    if not callable(solution):
        return change(solution)
    return lambda *case: change(solution(*case))


def on_parts(change: Callable[[Tensor], Any], only: int | None = None) -> Callable[[Any], Any]:
    """Change every number or tensor of a tuple, or only one; what is no tuple is one part."""

    def change_all(value: Any) -> Any:
        new = tuple(
            change(torch.as_tensor(part)) if only in (None, index) else part
            for index, part in enumerate(parts(value))
        )
        return new if isinstance(value, tuple) else new[0]

    return change_all


def place(number: str, part: int) -> str:
    """How a complaint about a part of a tuple begins."""
    return f"the {ORDINALS[part]} part: " if number in TUPLES else ""


def assert_open(number: str, answer: Any, part: str) -> None:
    """The answer does not pass, and what is said about it begins with this."""
    passed, sentence = EXERCISES[number].diagnose(answer)
    assert not passed
    assert sentence.startswith(part)


# The exercises -------------------------------------------------------------------------------


def test_the_catalogue_names_the_notebooks_as_they_name_themselves():
    said = {
        notebook: nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
        for notebook, path in NOTEBOOKS.items()
    }
    assert {n: f"# {int(n)} · {title}" for n, (title, _) in notebooks().items()} == said
    assert {n: numbers for n, (_, numbers) in notebooks().items()} == {
        n: list(exercises) for n, exercises in PER_NOTEBOOK.items()
    }


def test_every_notebook_has_its_exercises():
    assert PER_NOTEBOOK, "no exercises were found"
    assert list(PER_NOTEBOOK) == list(NOTEBOOKS)
    for notebook, exercises in PER_NOTEBOOK.items():
        assert list(exercises) == [f"{notebook}.{k}" for k in range(1, len(exercises) + 1)]


@every_exercise
def test_the_solution_passes(number):
    exercise = EXERCISES[number]
    assert exercise.diagnose(exercise.solution) == (True, exercise.praise)


@every_exercise
def test_each_mistake_gets_its_own_sentence(number):
    # Its own: the first sentence that fits is given, so a mistake that looks like another fails.
    exercise = EXERCISES[number]
    for sentence, mistake in exercise.mistakes.items():
        assert exercise.diagnose(mistake) == (False, sentence)


@every_exercise
def test_there_are_enough_mistakes(number):
    assert len(EXERCISES[number].mistakes) >= 4


@every_exercise
def test_what_is_said_ends_as_a_sentence(number):
    exercise = EXERCISES[number]
    said = [exercise.praise, *exercise.mistakes]
    # A hint may be a question.
    assert [sentence for sentence in said if not sentence.endswith((".", "?"))] == []


def test_no_sentence_is_said_twice():
    said = Counter(
        sentence for one in EXERCISES.values() for sentence in (one.praise, *one.mistakes)
    )
    assert [sentence for sentence, count in said.items() if count > 1] == []


@every_exercise
def test_nothing_in_a_case_or_a_result_is_nan(number):
    # A result that is not a number agrees with nothing, not even with itself.
    exercise = EXERCISES[number]
    inside = leaves([*exercise.cases, *results(exercise)])
    reals = [torch.as_tensor(each) for each in inside if isinstance(each, (float, Tensor))]
    assert not any(each.isnan().any() for each in reals)


# Hints ---------------------------------------------------------------------------------------


@every_exercise
def test_there_are_three_hints_of_at_most_two_sentences(number):
    hints = EXERCISES[number].hints
    assert len(hints) == 3
    assert len(set(hints)) == 3
    for text in hints:
        assert text.endswith((".", "?"))
        assert 1 <= len(re.findall(r"[.?!](?= [A-Z]|$)", text)) <= 2


def steps(source: str) -> list[str]:
    """What a solution computes in each line of its function: right of `=` or behind `return`."""
    tree = ast.parse(source)
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return [ast.unparse(line.value) for line in function.body]


@every_exercise
def test_no_hint_gives_a_line_of_the_solution(number):
    notebook, _, position = number.partition(".")
    cell = tagged(notebook, "solution")[int(position) - 1]
    lines = steps(cell.source)
    assert lines
    for text in EXERCISES[number].hints:
        assert [line for line in lines if words(line) in words(text)] == []


@every_exercise
def test_hint_prints_the_three_and_no_more(number, capsys, monkeypatch):
    monkeypatch.setattr(learner, "_asked", Counter())
    for which, text in zip(ORDINALS[:3], EXERCISES[number].hints, strict=True):
        hint(number)
        assert_printed(capsys.readouterr().out, f"Exercise {number}, {which} hint: {text}")
    hint(number)
    assert "no more hints" in capsys.readouterr().out


# Right answers in other guises ---------------------------------------------------------------


@pytest.mark.parametrize("number", OF_TENSORS)
@every_dtype
def test_an_answer_computed_in_another_dtype_passes(number, dtype):
    exercise = EXERCISES[number]

    def cast(value: Any) -> Any:
        is_real = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if is_real else value

    def answer(*case):
        return exercise.solution(*map(cast, case))

    assert exercise.diagnose(answer) == (True, exercise.praise)


@every_answer_of_numbers
@pytest.mark.parametrize("guise", [Tensor.float, Tensor.double, Tensor.tolist, np.asarray])
def test_an_answer_in_another_guise_passes(number, guise):
    exercise = EXERCISES[number]
    answer = changed(exercise, on_parts(guise))
    passed, said = exercise.diagnose(answer)
    assert passed
    # A list or an array passes with a word about gradients, where the solution is one tensor.
    is_noticed = guise in (Tensor.tolist, np.asarray) and isinstance(results(exercise)[0], Tensor)
    remark = r" As a (list|float|ndarray) it cuts off gradients; .*" if is_noticed else ""
    assert re.fullmatch(re.escape(exercise.praise) + remark, said)


@pytest.mark.parametrize("number", OF_TENSORS)
def test_an_answer_does_not_change_the_cases(number):
    # On copies, so that a failure here is not a failure of all tests that follow.
    exercise = replace(EXERCISES[number], cases=deepcopy(EXERCISES[number].cases))

    def careless(*case):
        result = deepcopy(exercise.solution(*case))
        for tensor in tensors(case):
            tensor.zero_()
        return result

    passed, said = exercise.diagnose(careless)
    assert not passed
    assert re.match(r"the values are right, and your function changes .+ in place: ", said)
    before, after = tensors(EXERCISES[number].cases), tensors(exercise.cases)
    assert all(map(torch.equal, before, after))


# Other wrong answers -------------------------------------------------------------------------


@every_exercise
@pytest.mark.parametrize("nothing", [None, ..., lambda *_: None, lambda *_: ...])
def test_an_empty_answer_is_open(number, nothing):
    assert_open(number, nothing, "nothing to check yet")


@every_function
def test_what_is_learnt_by_heart_is_told_from_the_solution(number):
    first = results(EXERCISES[number])[0]
    assert_open(number, lambda *_: first, "right for the first arguments that were tried, wrong ")


@every_function
def test_a_result_that_is_printed_and_not_returned_is_noticed(number, capsys):
    assert_open(
        number,
        lambda *case: print(EXERCISES[number].solution(*case)),
        "nothing to check yet; your function prints and returns nothing.",
    )
    assert capsys.readouterr().out.strip()


@every_function
def test_a_method_without_its_parentheses_is_noticed(number):
    for answer in (changed(EXERCISES[number], lambda _: torch.eye(2).sum), lambda *_: [].copy):
        passed, sentence = EXERCISES[number].diagnose(answer)
        assert not passed
        assert number in TUPLES or "Are the parentheses of a call missing" in sentence


@every_part
def test_an_axis_of_length_one_too_many_is_all_that_is_wrong(number, part):
    answer = changed(EXERCISES[number], on_parts(lambda x: x[None], only=part))
    _, sentence = EXERCISES[number].diagnose(answer)
    assert number in TUPLES or "The numbers are right: only axes of length one" in sentence


def raises_its_own(*_):
    raise KeyError("mine")


def multiplies_what_does_not_fit(*_):
    return torch.ones(2, 2) @ torch.ones(7, 7)


@every_function
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (raises_its_own, "your code raises KeyError: 'mine'"),
        (multiplies_what_does_not_fit, "your code raises RuntimeError: mat1 and mat2 shapes"),
        (lambda: 0, "your code raises TypeError: "),  # takes no arguments
    ],
)
def test_an_answer_that_raises_is_explained(number, answer, part):
    assert_open(number, answer, part)


@every_function
@pytest.mark.parametrize("value", [3.0, torch.eye(2), "text", [1.0]], ids=kind)
def test_a_value_is_no_function(number, value):
    assert_open(number, value, f"a function is asked for, this is a {kind(value)}.")


@every_part
@pytest.mark.parametrize(
    "reshape",
    [
        lambda x: x[None],
        lambda x: x[..., None],
        lambda x: x[0] if x.ndim else x.expand(2),
        lambda x: torch.zeros(2, 7, 1),
    ],
)
def test_a_wrong_shape_is_named(number, part, reshape):
    exercise = EXERCISES[number]
    wanted = torch.as_tensor(parts(results(exercise)[0])[part])
    asked, given = tuple(wanted.shape), tuple(reshape(wanted).shape)
    answer = changed(exercise, on_parts(reshape, only=part))
    sentence = f"the shape should be {asked}, yours is {given}."
    assert_open(number, answer, place(number, part) + sentence)


@every_part
@pytest.mark.parametrize("wrong", ["text", ["a", "b"], [[1.0], [1.0, 2.0]], {}], ids=kind)
def test_what_is_no_numbers_is_named(number, part, wrong):
    answer = changed(EXERCISES[number], on_parts(lambda _: wrong, only=part))
    sentence = f"numbers are asked for, this is a {kind(wrong)}."
    assert_open(number, answer, place(number, part) + sentence)


@pytest.mark.parametrize("number", TUPLES)
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1],
        lambda value: (*value, value[0]),
        lambda value: (),
        lambda value: list(value[1:]),
        lambda value: value[0],
        lambda value: "text",
    ],
)
def test_what_is_no_such_tuple_is_named(number, change):
    wanted = results(EXERCISES[number])[0]
    given = change(wanted)
    length = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
    sentence = f"a tuple of {len(wanted)} is asked for, this is a {kind(given)}{length}."
    assert_open(number, changed(EXERCISES[number], change), sentence)


def of_its_kind(result: Any) -> str:
    """What is said to other values, in the words for this kind of result."""
    if isinstance(result, tuple):
        return "not yet: the shapes are right, the values are not."
    if torch.as_tensor(result).ndim == 0:
        return "not yet: a number is right, its value is not."
    return "not yet: the shape is right, the values are not."


@every_answer_of_numbers
def test_other_values_are_not_diagnosed_by_guessing(number):
    exercise = EXERCISES[number]
    answer = changed(exercise, on_parts(lambda x: 1.234 * x + 5.678))
    assert_open(number, answer, of_its_kind(results(exercise)[0]))
    answer = changed(exercise, on_parts(lambda x: x * math.nan))
    assert_open(number, answer, "your values are not finite.")


# What is printed, and what stands in the notebooks -------------------------------------------


def words(text: str) -> str:
    """The text without white space: a long line may be broken after a hyphen, too."""
    return "".join(text.split())


def assert_printed(text: str, expected: str) -> None:
    assert words(text) == words(expected)
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) <= WIDTH


@every_exercise
def test_check_prints_that_the_solution_passed(number, capsys):
    exercise = EXERCISES[number]
    check(number, exercise.solution)
    assert_printed(capsys.readouterr().out, f"Exercise {number} passed: {exercise.praise}")


@every_exercise
def test_check_prints_what_is_wrong(number, capsys):
    for sentence, mistake in EXERCISES[number].mistakes.items():
        check(number, mistake)
        assert_printed(capsys.readouterr().out, f"Exercise {number} open: {sentence}")


def checked_numbers(cell: NotebookNode) -> list[str]:
    """The first argument of each call of `check` in a cell."""
    calls = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call))
    return [ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "check"]


def tagged(notebook: str, tag: str) -> list[NotebookNode]:
    content = nbformat.read(NOTEBOOKS[notebook], as_version=nbformat.NO_CONVERT)
    return [cell for cell in code_cells(content) if tag in tags(cell)]


def printed(cell: NotebookNode) -> str:
    """What a cell has printed; it may show a picture besides."""
    (output,) = (output for output in cell.outputs if output.output_type == "stream")
    assert output.name == "stdout"
    return output.text


@pytest.mark.parametrize("notebook", PER_NOTEBOOK)
@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_the_cells_check_each_exercise_in_order(notebook, tag):
    found = [checked_numbers(cell) for cell in tagged(notebook, tag)]
    assert found == [[number] for number in PER_NOTEBOOK[notebook]]


@pytest.mark.parametrize("notebook", PER_NOTEBOOK)
def test_the_stubs_are_open(notebook):
    for number, cell in zip(PER_NOTEBOOK[notebook], tagged(notebook, "exercise"), strict=True):
        opening = words(f"Exercise {number} open: nothing to check yet")
        assert words(printed(cell)).startswith(opening)


@pytest.mark.parametrize("notebook", PER_NOTEBOOK)
def test_the_solutions_of_the_notebook_have_passed(notebook):
    cells = tagged(notebook, "solution")
    for (number, exercise), cell in zip(PER_NOTEBOOK[notebook].items(), cells, strict=True):
        assert_printed(printed(cell), f"Exercise {number} passed: {exercise.praise}")
