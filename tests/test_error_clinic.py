"""Notebook 5: its table leads to what it names, and its errors are the same on every machine."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbformat import NotebookNode
from prose_numbers import ANSI, output_text
from store_notebooks import code_cells, tags
from test_error_finder import ENTRIES
from test_notebooks_static import NOTEBOOKS

from workshop.anatomy import parts

RAISES = "raises-exception"
ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| (\w+) \|$", re.MULTILINE)
(PATH,) = (path for path in NOTEBOOKS if path.stem == "05_error_clinic")
SAME_NAN = (
    "| the same, before any step | NaN in the data | `x[x.isfinite().all(dim=1)]` | training |"
)
MIN_ERRORS = 13  # the other messages are caught and printed, or there is none


def read() -> NotebookNode:
    return nbformat.read(PATH, as_version=nbformat.NO_CONVERT)


def sections(notebook: NotebookNode) -> dict[str, str]:
    """What the cells of each section say below them, by the first word of its heading."""
    return {
        part.heading.split(" · ")[1].split(":")[0].lower(): " ".join(
            " ".join(output_text(cell) for cell in part.cells if cell.cell_type == "code").split()
        )
        for part in parts(notebook)
        if part.kind == "section"
    }


def rows(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Each row of the table: the message or what is seen, and the section."""
    return [
        (row[0], row[3]) for row in ROW.findall(notebook.cells[1].source) if row[3] != "section"
    ]


def pieces(message: str) -> list[str]:
    """What a message says around its dots; nothing if the row has none."""
    quoted = re.fullmatch(r"`(.+)`", message)
    return [piece.strip() for piece in quoted[1].split("...") if piece.strip()] if quoted else []


def problems(notebook: NotebookNode) -> list[str]:
    """Rows whose section is not there, or does not show the message that they stand for."""
    said, found, quoted = sections(notebook), [], ""
    for message, section in rows(notebook):
        same = message.startswith("the same")
        quoted = quoted if same else message
        if section not in said:
            found.append(f"there is no section '{section}'")
        elif not re.search(".*?".join(map(re.escape, pieces(quoted))), said[section]):
            found.append(f"'{section}' does not show {message}{same * f', as {quoted}'}")
    led_to = {section for _, section in rows(notebook)}
    return found + [f"nothing leads to '{each}'" for each in said.keys() - led_to]


def raising(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code_cells(notebook) if RAISES in tags(cell)]


def test_each_row_of_the_table_leads_to_a_section_that_shows_its_message():
    notebook = read()
    assert len(rows(notebook)) > 25
    assert problems(notebook) == []


@pytest.mark.parametrize(
    ("section", "lines"),
    [
        (  # not square; not symmetric, or the product of a random factor
            "matrices",
            [
                "covariance_matrix (Tensor of shape (2, 3)) .* PositiveDefinite()",
                "covariance_matrix (Tensor of shape (2, 2)) .* PositiveDefinite()",
                "covariance_matrix (Tensor of shape (32, 32)) .* PositiveDefinite()",
                "scale_tril (Tensor of shape (2, 2)) .* LowerCholesky()",
            ],
        ),
        ("factors", ["covariance_matrix (Tensor of shape (3, 3)) .* PositiveDefinite()"]),
        ("training", ["loc (Tensor of shape (3,)) .* IndependentConstraint"]),
    ],
)
def test_messages_that_are_caught_are_printed(section, lines):
    """What a row about the same message leads to: each cause by itself, not the first of them."""
    (part,) = (part for part in parts(read()) if f" {section.capitalize()}: " in part.heading)
    printed = [
        line
        for cell in part.cells
        for output in cell.get("outputs", [])
        for line in output.get("text", "").splitlines()
    ]
    for each in lines:
        pattern = re.escape("Expected parameter " + each).replace(re.escape(".*"), ".*")
        assert any(re.match(pattern, line) for line in printed), each


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("`explain_cholesky_failure` | factors |", "it | shapes |", "'shapes' does not show"),
        ("`var is of incorrect size`", "`var is of wrong size`", "does not show `var is of wrong"),
        (
            SAME_NAN,
            SAME_NAN.replace("training", "shapes"),
            "the same, before any step, as `Expected",
        ),
        ("| models |", "| silence |", "nothing leads to 'models'"),
        ("| models |", "| mixtures |", "there is no section 'mixtures'"),
    ],
)
def test_a_row_that_leads_nowhere_is_noticed(old, new, problem):
    notebook = read()
    table = notebook.cells[1]
    assert old in table.source
    table.source = table.source.replace(old, new)
    assert any(problem in each for each in problems(notebook))


def test_every_error_is_shown_by_its_type_and_message_alone():
    """A way through files and lines is another on each machine, and nbval does not compare it."""
    cells = raising(read())
    assert len(cells) >= MIN_ERRORS
    for cell in cells:
        (error,) = cell.outputs
        shown = ANSI.sub("", "\n".join(error.traceback)).strip()
        assert shown == f"{error.ename}: {error.evalue}"


def test_the_page_of_errors_has_every_message_of_the_clinic():
    known = [re.split(r"\.\.\.", entry.message.partition(": ")[2]) for entry in ENTRIES]
    patterns = [".*?".join(re.escape(piece.strip()) for piece in each) for each in known]
    patterns = [pattern for pattern in patterns if pattern]
    for cell in raising(read()):
        said = " ".join(cell.outputs[0].evalue.split())
        # The number of the batch element and of the minor are those of the case.
        said = re.sub(r"leading minor of order \d", "leading minor of order 2", said)
        assert any(re.match(pattern, said) for pattern in patterns), said
