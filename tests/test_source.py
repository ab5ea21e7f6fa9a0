"""What a lesson shows is the source that runs."""

from __future__ import annotations

import ast
import inspect
from types import SimpleNamespace

import IPython
import pytest

from helpers import (
    GaussianLikelihood,
    log_prob,
    natural_step,
    shorten_errors,
    show_source,
    whiten,
)
from helpers.source import source_of


class Sample:
    """A docstring of the class."""

    number = 1

    @property
    def half(self) -> float:
        """A docstring
        of two lines.
        """
        return self.number / 2

    def text(self) -> str:
        """A docstring."""

        # a comment that stays
        return "one # two"  # a string that stays


EXPECTED = """class Sample:
    number = 1

    @property
    def half(self) -> float:
        return self.number / 2

    def text(self) -> str:
        # a comment that stays
        return "one # two"  # a string that stays"""


def nothing_else():
    """Only a docstring."""


def test_a_function_may_be_a_docstring_only():
    assert source_of(nothing_else) == "def nothing_else():"


def test_docstrings_go_and_code_stays():
    assert source_of(Sample) == EXPECTED


def test_docstrings_stay_when_asked_for():
    assert source_of(Sample, docstring=True) == inspect.getsource(Sample).rstrip()


def test_a_property_and_a_method_start_at_the_margin():
    assert source_of(Sample.half).startswith("@property\ndef half")
    assert source_of(Sample.text).startswith("def text")


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


@pytest.mark.parametrize("thing", [log_prob, natural_step, whiten, GaussianLikelihood])
def test_the_code_shown_is_the_code_that_runs(thing):
    shown = source_of(thing)
    assert '"""' not in shown
    assert ast.dump(ast.parse(shown)) == without_docstrings(inspect.getsource(thing))


def test_what_has_no_source_is_named():
    for thing in (len, eval("lambda: 0")):
        with pytest.raises(TypeError):
            source_of(thing)


def test_what_is_named_is_named_in_200_characters():
    with pytest.raises(
        TypeError, match="^things: expected functions or classes, got 'xxx"
    ) as error:
        source_of(300 * "x")
    assert len(str(error.value)) == 200


def test_display(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert show_source(whiten, Sample) is None
    assert shown[0].data == f"```python\n{source_of(whiten)}\n\n\n{source_of(Sample)}\n```"
    show_source(whiten, docstring=True)
    assert shown[1].data == f"```python\n{inspect.getsource(whiten).rstrip()}\n```"


def test_errors_are_shortened_in_a_notebook_and_nowhere_else(monkeypatch):
    modes = []
    shell = SimpleNamespace(InteractiveTB=SimpleNamespace(set_mode=modes.append))
    for found in (None, shell):
        monkeypatch.setattr(IPython, "get_ipython", lambda found=found: found)
        shorten_errors()
    assert modes == ["Minimal"]


def test_what_cannot_be_shown_is_named():
    with pytest.raises(TypeError, match="^things: expected at least one function or class, got"):
        show_source()
    with pytest.raises(TypeError, match="^docstring: expected True or False"):
        show_source(whiten, docstring="no")
