"""The rules of nbval_rules are in force where nbval runs, in a copy of what `make test` runs."""

from __future__ import annotations

import re

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from PIL import Image
from test_error_clinic import RAISES
from test_nbval_rules import as_base64, display, result, stream


def test_pytest_compares_by_these_rules(sandbox, write_notebook):
    """The rules are in force where nbval runs: near numbers pass, far ones and no figure fail."""
    image = as_base64(Image.new("L", (64, 48), 9))
    draw = f"from IPython.display import display\ndisplay({{'image/png': '{image}'}}, raw=True)"
    cells = [
        new_code_cell("x = 1.23456789\nx", outputs=[result("1.23456780")]),
        new_code_cell("x;"),
        new_code_cell(draw, outputs=[display(image_png=image)]),
        new_code_cell("print(x)", outputs=[stream("1.23556789\n")]),
        new_code_cell("pass", outputs=[display(image_png=image)]),
    ]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    path = write_notebook(sandbox.notebooks / "00_tiny.ipynb", *cells)
    said = sandbox.nbval([path], "-rA").stdout
    results = re.findall(r"^(PASSED|FAILED) .*::Cell (\d)", said, re.MULTILINE)
    passed = [number for outcome, number in results if outcome == "PASSED"]
    failed = [number for outcome, number in results if outcome == "FAILED"]
    assert (passed, failed) == (["0", "1", "2"], ["3", "4"]), said
    assert "1.23456789 is not 1.23556789" in said
    assert "image/png: 0 outputs, stored were 1" in said


def failing(said: str) -> NotebookNode:
    """A cell that raises, stored as if it had said so."""
    trace = f"\x1b[31mValueError\x1b[39m: {said}"
    error = new_output("error", ename="ValueError", evalue=said, traceback=[trace])
    return new_code_cell(
        "raise ValueError('no factor')", metadata={"tags": [RAISES]}, outputs=[error]
    )


def test_a_declared_error_is_compared_and_the_cells_after_it_run(sandbox, write_notebook):
    sandbox.copy_helpers()
    cells = [
        new_code_cell("from helpers import shorten_errors\n\nshorten_errors()"),
        failing("no factor"),
        failing("another message"),
        new_code_cell("1 / 1", metadata={"tags": [RAISES]}, outputs=failing("no factor").outputs),
        new_code_cell("print(1)", outputs=[new_output("stream", name="stdout", text="1\n")]),
    ]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    path = write_notebook(sandbox.notebooks / "00_tiny.ipynb", *cells)
    said = sandbox.nbval([path], "-rA").stdout
    results = re.findall(r"^(PASSED|FAILED) .*::Cell (\d)", said, re.MULTILINE)
    assert [number for outcome, number in results if outcome == "FAILED"] == ["2", "3"], said
    assert "'no factor', stored was 'another message'" in said
