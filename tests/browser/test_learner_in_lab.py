"""What a learner does in JupyterLab: answers an exercise, asks for hints, looks at progress."""

from __future__ import annotations

import json

import nbformat
import pytest
from lab import ROOT
from nbformat.v4 import new_code_cell
from reader import Reader, reading

FIRST = ROOT / "notebooks" / "01_cholesky_theory.ipynb"
SETUP, EXERCISE, SOLUTION, HINT, PROGRESS, HELPERS = range(6)


def tagged(tag: str) -> nbformat.NotebookNode:
    """The first cell of the first notebook that has a tag, as the course stores it."""
    cells = nbformat.read(FIRST, as_version=4).cells
    return next(cell for cell in cells if tag in cell.metadata.get("tags", []))


def printed(reader: Reader, at: int) -> str:
    """What a cell printed when it ran last."""
    outputs = reader.cells()[at]["outputs"]
    return "".join("".join(output.get("text", "")) for output in outputs)


@pytest.fixture
def learner(browser, lab, write_notebook):
    """A notebook with one exercise of the course, open, with its set-up run; nothing has passed."""
    lab.progress.unlink(missing_ok=True)
    path = write_notebook(
        lab.folder / "notebooks" / "learner.ipynb",
        tagged("setup"),
        tagged("exercise"),
        tagged("solution"),
        new_code_cell('hint("01.1")'),
        new_code_cell("show_progress()"),
        new_code_cell("import helpers\n\nprint(helpers.__file__)"),
    )
    with reading(browser, lab, path) as reader:
        reader.run_cell(SETUP)
        yield reader


def test_an_answer_counts_and_a_solution_that_was_run_does_not(learner, lab):
    learner.run_cell(EXERCISE)
    assert "nothing to check yet" in printed(learner, EXERCISE)
    learner.run_cell(SOLUTION)
    assert "01.1 passed" in printed(learner, SOLUTION)
    learner.run_cell(PROGRESS)
    assert "[ ] 01.1" in printed(learner, PROGRESS)
    assert not lab.progress.exists()

    learner.rewrite_cell(EXERCISE, tagged("solution").source)
    learner.run_cell(EXERCISE)
    assert "01.1 passed" in printed(learner, EXERCISE)
    learner.run_cell(PROGRESS)
    assert "[x] 01.1" in printed(learner, PROGRESS)
    assert json.loads(lab.progress.read_text(encoding="utf-8"))["passed"] == ["01.1"]


def test_hints_come_one_at_a_time_from_the_helpers_of_this_checkout(learner, lab):
    """They are a copy, so that what they write beside them stays out of the working tree."""
    for step in ("first hint", "second hint", "third hint", "no more hints"):
        learner.run_cell(HINT)
        assert step in printed(learner, HINT)
    learner.run_cell(HELPERS)
    assert printed(learner, HELPERS).strip() == str(lab.folder / "helpers" / "__init__.py")
