"""What `make test` runs, on notebooks with something altered: it fails, there and nowhere else.

tests/test_stored_numbers.py asks the comparison about every number and figure. Here the whole of it
is at work: kernels, nbval, and pytest in a copy of the checkout.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import alterations
import nbformat
import pytest
from nbformat import NotebookNode
from store_notebooks import code_cells, images, tags

ROOT = Path(__file__).parents[2]
# It prints numbers of all sizes, draws seven figures, and ignores no output.
NAME = "02_mse_fitting.ipynb"
COPIED = ("helpers", "workshop", "tests", "notebooks", "figures", "docs", "README.md")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def one_printed_number(cell: NotebookNode) -> None:
    """The last printed number by the least that is noticed."""
    (_, last) = [(k, v) for k, v in enumerate(cell.outputs) if v.output_type == "stream"][-1]
    *_, (start, stop, _, steps) = alterations.printed_numbers(last.text)
    last.text = last.text[:start] + dict(steps).get("two units", steps[0][1]) + last.text[stop:]


def stripped(cell: NotebookNode) -> None:
    cell.outputs = []


def paint(change: Callable) -> Callable[[NotebookNode], None]:
    def altered(cell: NotebookNode) -> None:
        (output,) = [each for each in cell.outputs if alterations.is_picture(each)]
        png = output.data["image/png"]
        output.data["image/png"] = alterations.encoded(change(alterations.decoded(png)))

    return altered


def without_figure(cell: NotebookNode) -> None:
    cell.outputs = [output for output in cell.outputs if not alterations.is_picture(output)]


def in_the_place_of(cells: list[NotebookNode]) -> Callable[[NotebookNode], None]:
    """The figure of the first of these cells in the place of another."""
    (first,) = [each for each in cells[0].outputs if alterations.is_picture(each)]
    png = first.data["image/png"]

    def altered(cell: NotebookNode) -> None:
        (output,) = [each for each in cell.outputs if alterations.is_picture(each)]
        output.data["image/png"] = png

    return altered


def alter(notebook: NotebookNode) -> set[int]:
    """Alter as many cells as there are ways to; the numbers of these among the code cells."""
    cells = code_cells(notebook)
    drawn = [cell for cell in cells if images(cell)]
    printed = [c for c in cells if not images(c) and any(o.get("text") for o in c.outputs)]
    with_number = [c for c in printed if re.search(r"\d", c.outputs[-1].get("text", ""))]
    changes = dict.fromkeys(map(cells.index, with_number[::2]), one_printed_number)
    changes |= dict.fromkeys(map(cells.index, with_number[1::4]), stripped)
    painted = [*map(paint, alterations.PAINTED.values()), without_figure, in_the_place_of(drawn)]
    changes |= zip(map(cells.index, drawn[1:]), painted, strict=False)
    for place, change in changes.items():
        change(cells[place])
    return set(changes)


def test_nbval_fails_at_each_altered_cell_and_at_no_other(sandbox):
    notebook = read(ROOT / "notebooks" / NAME)
    altered = alter(notebook)
    assert len(altered) > 12
    path = sandbox.notebooks / NAME
    nbformat.write(notebook, path)
    said = sandbox.nbval([path], "-q", "-rA", f"--rootdir={sandbox.folder}")
    results = re.findall(r"^(PASSED|FAILED) .*::Cell (\d+)", said.stdout, re.MULTILINE)
    failed = {int(number) for outcome, number in results if outcome == "FAILED"}
    assert len(results) == len(code_cells(notebook)), said.stdout[-2000:]
    assert failed == altered
    assert said.returncode == 1


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what the static tests read."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "vendor")
    for name in (*COPIED, "pyproject.toml", "conftest.py"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def edit(path: Path, change: Callable[[NotebookNode], None]) -> None:
    notebook = read(path)
    change(notebook)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")


def strip(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None


def misstate(notebook: NotebookNode) -> None:
    """One number of the prose, a digit too high."""
    (cell,) = [cell for cell in notebook.cells if "printed above as 2.45." in cell.source]
    cell.source = cell.source.replace("printed above as 2.45.", "printed above as 2.46.")


def skip(notebook: NotebookNode) -> None:
    cell = code_cells(notebook)[5]
    cell.metadata["tags"] = [*tags(cell), "nbval-skip"]


def test_the_static_tests_fail_in_a_checkout_with_something_altered(checkout, sandbox):
    first, second, third, *_ = sorted((checkout / "notebooks").glob("*.ipynb"))
    edit(first, misstate)
    edit(second, strip)
    edit(third, skip)
    (checkout / "figures" / "04_digits.png").write_bytes(b"no picture")
    sandbox.folder = checkout
    how = ["-q", "-rf", "--color=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
    said = sandbox.python("-m", "pytest", *how, "tests/test_notebooks_static.py").stdout
    failed = set(re.findall(r"^FAILED .*?::(\S+)", said, re.MULTILINE))
    assert {
        f"test_notebook[{first.stem}-numbers_in_prose_come_from_cells]",
        f"test_notebook[{second.stem}-every_cell_was_run_in_order]",
        f"test_notebook[{third.stem}-tags_are_known]",
        "test_the_stored_figures_are_those_in_the_notebooks",
    } <= failed, said[-3000:]
    # The fourth notebook, those after it and the tests of the rules themselves are as they were.
    assert not any("04_batched" in name or "rule_bites" in name for name in failed)
