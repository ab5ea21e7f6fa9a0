"""Every statement of every notebook, altered: a test fails.

The first half alters what is stored, one number or output at a time, and asks the rules by which
`make test` compares; tests/trust/test_statements_bite.py does so with the pictures, and with every
integer of a section in the place of another. What they let pass is listed by rule and counted. The
second half alters the notebooks as wholes: stripped, out of order, with a tag too many or a letter
too few.
"""

from __future__ import annotations

import inspect
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from functools import cache
from pathlib import Path

import alterations
import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from alterations import Trial
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbval_rules import output_differences
from prose_numbers import Evidence, Tie, number_of, prose_problems, ties, unheld_in
from store_notebooks import IGNORED, code_cells, tags
from test_notebooks_static import (
    NOTEBOOKS,
    RULES,
    drawn_figures,
    figure_problems,
    is_valid,
    numbers_in_prose_come_from_cells,
    stored_figures,
)

from reliability import redraw
from workshop.anatomy import parts
from workshop.captions import alt_texts

ROOT = Path(__file__).parents[1]

# Nothing that is computed says which place or which formula is meant, so a slip passes.
UNHELD_KINDS = {"formula", "reference"}
MAX_UNHELD_REFERENCES = 8  # a notebook; the headings they lead to must exist
# Small alterations that a printed decimal may hide, and what is the least that is seen.
STEPS = {"one unit", "two units", "the tolerance"}
MAX_NOT_COMPARED = 40  # numbers a notebook, all of them times, speeds and names of devices


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def read(path: Path) -> NotebookNode:
    """A notebook that may be altered."""
    return nbformat.reads(text_of(path), as_version=nbformat.NO_CONVERT)


def unnoticed(trials: list[Trial]) -> list[Trial]:
    return [trial for trial in trials if not trial.noticed]


# Their words give numbers that are written in the figure and printed nowhere.
READ_FROM_THE_FIGURE = {"01_iris_matrices", "01_iris_shares"}

# Without these a rule for the form is broken; without another the outputs are compared.
HELD_TAGS = {"setup", "exercise", "solution", "interactive", "raises-exception", IGNORED}

Change = Callable[[NotebookNode], None]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# One statement at a time --------------------------------------------------------------------------


@every_notebook
def test_a_number_in_the_prose_cannot_be_altered(path):
    notebook = read(path)
    assert prose_problems(notebook) == []  # so that what is seen below is the alteration
    trials = list(alterations.prose_trials(notebook))
    assert sum(trial.kind == "claim" for trial in trials) > 5
    loose = unnoticed(trials)
    assert {trial.kind for trial in loose} <= UNHELD_KINDS, loose
    assert sum(trial.kind == "reference" for trial in loose) <= MAX_UNHELD_REFERENCES


@pytest.mark.parametrize(
    ("number", "words", "others"),
    [
        ("02", "is five standard errors off", "is six standard errors off"),
        ("02", "almost fourteen decades", "almost fifteen decades"),
        ("02", "a hundred million nats", "a hundred thousand nats"),
        ("03", "Draw a thousand new data sets", "Draw a hundred new data sets"),
        ("04", "With three points the gap is twice", "With four points the gap is twice"),
    ],
)
def test_other_number_words_are_noticed(number, words, others):
    (path,) = (path for path in NOTEBOOKS if path.name.startswith(number))
    notebook = read(path)
    (cell,) = (cell for cell in notebook.cells if words in cell.source)
    cell.source = cell.source.replace(words, others)
    assert prose_problems(notebook) != []


def test_a_tie_holds_whole_numbers_and_only_those_in_its_line():
    tie = Tie("99", "from step 2", "2 steps")
    assert unheld_in("from step 2.", frozenset(), [tie]) == ([], {tie})
    for other in ("from step 20.", "from step 2.5.", "from step 2,000."):
        loose, used = unheld_in(other, frozenset(), [tie])
        assert loose
        assert not used
    away = Tie("99", "from step 2", "3 steps")  # another cell of the part shows the value
    assert unheld_in("from step 2.", frozenset({Decimal(2)}), [away])[0]
    assert unheld_in("from step 2.", frozenset({Decimal(2)}), [])[0] == []


@every_notebook
def test_a_printed_number_cannot_be_altered(path):
    trials = list(alterations.number_trials(read(path)))
    counts = Counter(trial.kind for trial in trials)
    assert min(counts["integer"], counts["decimal"]) > 20
    assert counts["not compared"] <= MAX_NOT_COMPARED
    assert [t for t in unnoticed(trials) if t.kind != "not compared"] == []
    assert {t.noticed for t in trials if t.kind == "decimal"} <= STEPS


@every_notebook
def test_an_output_can_neither_be_removed_nor_be_doubled(path):
    trials = list(alterations.output_trials(read(path)))
    assert any("figure" in trial.kind for trial in trials)
    assert unnoticed(trials) == []


@pytest.mark.parametrize(
    ("written", "one", "two", "beyond"),
    [
        ("2.45", "2.46", "2.47", "2.47"),
        ("-0.999", "-1.000", "-1.001", "-1.001"),
        ("1e-06", "2e-06", "3e-06", "3e-06"),
        ("9.99e+02", "10.00e+02", "10.01e+02", "10.01e+02"),
        ("3.549485", "3.549486", "3.549487", "3.549845"),
    ],
)
def test_the_steps_of_a_decimal(written, one, two, beyond):
    steps = dict(alterations.decimal_steps(written))
    assert steps == {"one unit": one, "two units": two, "the tolerance": beyond}


def test_the_alterations_alter():
    """A judge that always complains would pass the tests above; so would one alteration of none."""
    for path in NOTEBOOKS:
        for _, cell in alterations.code_cells(read(path)):
            assert alterations.judged(0, cell, "as it is", cell.outputs).noticed == ""
    for place, stop, _, steps in alterations.printed_numbers("a 12 of 3.50, 1e-3\n"):
        assert all(other != "a 12 of 3.50, 1e-3\n"[place:stop] for _, other in steps)


# Words for figures --------------------------------------------------------------------------------


def loose_words(notebook: NotebookNode, words: dict[str, str]) -> list[str]:
    """Numbers in the words for the figures of a notebook that no cell holds."""
    own = [tie for tie in ties("figures") if tie.notebook == number_of(notebook)]
    evidence = Evidence.of(notebook)
    standing = [tie for tie in own if evidence.has_line(tie)]
    found, useful = [], set()
    for part in parts(notebook):
        cells = [cell for cell in part.cells if cell.cell_type == "code"]
        drawn = [name for name in words if any(f'"{name}"' in cell.source for cell in cells)]
        for name in set(drawn) - READ_FROM_THE_FIGURE:
            loose, used = unheld_in(words[name], evidence.for_part(part), standing)
            found += loose
            useful |= used
    return found + [f"'{tie.prose}' cannot be tied to '{tie.line}'" for tie in set(own) - useful]


@every_notebook
def test_numbers_in_the_words_for_a_figure_come_from_its_section(path):
    assert loose_words(read(path), alt_texts()) == []


def test_other_words_for_a_figure_are_noticed():
    words = {"03_gap_of_the_truth": "in 1,000 data sets, 0.025 nats, in the right tail at 0.062."}
    notebook = read(NOTEBOOKS[2])
    assert loose_words(notebook, words) == []
    for right, wrong in (("1,000", "1,001"), ("0.025", "0.026"), ("0.062", "0.063")):
        other = {name: text.replace(right, wrong) for name, text in words.items()}
        assert loose_words(notebook, other) != []


# Notebooks as wholes ------------------------------------------------------------------------------


# Those that look at single numbers, or at the whole file, are slow and have their own tests.
QUICK_RULES = [rule for rule in RULES if rule not in (is_valid, numbers_in_prose_come_from_cells)]


def is_noticed(notebook: NotebookNode) -> bool:
    """Whether a rule for the form of a notebook is broken."""
    return any(rule(notebook) for rule in QUICK_RULES)


def is_noticed_in_cell(notebook: NotebookNode, cell: NotebookNode, change: Change) -> bool:
    """Whether a rule is broken while one cell is altered."""
    before = dict(cell)
    cell.metadata = deepcopy(cell.metadata)
    change(cell)
    noticed = is_noticed(notebook)
    cell.update(before)
    return noticed


def stripped(cell: NotebookNode) -> None:
    """As an editor's command leaves it."""
    cell.outputs, cell.execution_count = [], None


def never_run(cell: NotebookNode) -> None:
    cell.execution_count = None


def run_twice(cell: NotebookNode) -> None:
    cell.execution_count += 1


def tagged_with(tag: str) -> Change:
    def change(cell: NotebookNode) -> None:
        cell.metadata["tags"] = [*tags(cell), tag]

    return change


def retagged(tag: str, *others: str) -> Change:
    def change(cell: NotebookNode) -> None:
        kept = [each for each in tags(cell) if each != tag]
        cell.metadata["tags"] = [*kept, *others]

    return change


def with_comment(cell: NotebookNode) -> None:
    cell.source = f"# NBVAL_IGNORE_OUTPUT\n{cell.source}"


CHANGES = {
    "stripped": stripped,
    "without a count": never_run,
    "with another count": run_twice,
    "skipped": tagged_with("nbval-skip"),
    "not compared": tagged_with(IGNORED),
    "not compared by a comment": with_comment,
    "said to fail": tagged_with("raises-exception"),
}
# These change nothing where the tag is there; that it cannot be lost is tested below.
TAGGED_ALREADY = {"not compared": IGNORED, "said to fail": "raises-exception"}


@every_notebook
def test_no_cell_can_be_taken_out_of_the_comparison(path):
    """One cell in three: a rule that sees one sees its neighbours."""
    notebook = read(path)
    assert not is_noticed(notebook)
    for name, change in CHANGES.items():
        for cell in code_cells(notebook)[::3]:
            if TAGGED_ALREADY.get(name) in tags(cell):
                continue
            assert is_noticed_in_cell(notebook, cell, change), f"{name}: {cell.source[:60]}"


@every_notebook
def test_no_tag_can_be_misspelt_or_lost(path):
    notebook = read(path)
    for cell in code_cells(notebook):
        for tag in tags(cell):
            assert is_noticed_in_cell(notebook, cell, retagged(tag, f"{tag}s")), tag
            if tag in HELD_TAGS:
                assert is_noticed_in_cell(notebook, cell, retagged(tag)), tag


@every_notebook
def test_without_stored_outputs_each_cell_fails(path):
    """What nbval compares, if only the outputs are gone and the counts are not."""
    cells = [cell for _, cell in alterations.code_cells(read(path)) if IGNORED not in tags(cell)]
    for cell in filter(lambda cell: cell.outputs, cells):
        assert output_differences(cell.outputs, [], tags(cell))


def test_a_stripped_notebook_breaks_the_rules():
    for path in NOTEBOOKS:
        notebook = read(path)
        for cell in code_cells(notebook):
            stripped(cell)
        assert is_noticed(notebook)


def test_a_figure_file_altered_missing_or_too_many_is_noticed():
    drawn, stored = drawn_figures(), stored_figures()
    assert figure_problems(drawn, stored) == []
    for name, png in stored.items():
        altered = png[:-1] + bytes([png[-1] ^ 1])
        assert figure_problems(drawn, {**stored, name: altered})
        assert figure_problems(drawn, {key: value for key, value in stored.items() if key != name})
        assert figure_problems(drawn, {**stored, f"{name[:2]}_another.png": altered})
        assert figure_problems(drawn, {**stored, f"98_{name}": png})


# Figures drawn again with one thing altered -------------------------------------------------------


@pytest.fixture
def figure() -> Iterator[Figure]:
    """A figure with one of everything."""
    fig, ax = plt.subplots(figsize=(3, 2), layout="constrained")
    ax.plot([0, 1, 2], [0, 1, 0], "o-", label="line")
    ax.scatter([0, 1, 2], [1, 0, 1])
    ax.imshow([[0.0, 1.0], [1.0, 0.0]])
    ax.bar([0], [1])
    ax.set(title="title", xlabel="below")
    ax.legend()
    yield fig
    plt.close(fig)


def png_bytes(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=40, metadata={"Software": None})
    return buffer.getvalue()


def test_each_thing_in_a_figure_is_altered_alone(figure):
    as_it_is = png_bytes(figure)
    altered = list(redraw.altered_figures(figure, png_bytes))
    assert {kind for kind, png in altered if png == as_it_is} == {"nothing"}
    assert {kind for kind, _ in altered} == {
        "nothing",
        "moved by 1 %",
        "an artist gone",
        "a line of another colour",
        "a line dashed or not",
        "a mark gone",
        "a point of a cloud gone",
        "an entry of a matrix",
        "a letter of a text",
        "a digit of an axis",
        "a letter of a legend",
    }
    assert png_bytes(figure) == as_it_is  # all of it is taken back


@pytest.mark.parametrize(
    ("text", "other"), [("ab", "ao"), ("so", "su"), ("N = 12", "N = 13"), ("9", "0"), ("σ²", "σo")]
)
def test_a_text_has_one_other_letter(text, other):
    assert redraw.another(text) == other


# Other pages --------------------------------------------------------------------------------------


def smallest_infinite_exponential() -> int:
    """The smallest integer whose exponential float32 cannot hold."""
    powers = torch.arange(200, dtype=torch.float32)
    return int(powers[powers.exp().isinf()][0])


def tolerance_of_lbfgs() -> float:
    """The largest entry of the gradient at which it stops."""
    return inspect.signature(torch.optim.LBFGS).parameters["tolerance_grad"].default


OTHER_PAGES = {
    ("recipe.md", r"no entry of the gradient exceeds (\S+)\.\s"): tolerance_of_lbfgs,
    ("errors.md", r"In float32 the exponential of (\d+) is"): smallest_infinite_exponential,
}


@pytest.mark.parametrize(("page", "sentence"), OTHER_PAGES)
def test_a_number_that_a_page_states_is_what_torch_has(page, sentence):
    """Other numbers of these pages are in their code, which their own tests run."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (stated,) = re.findall(sentence, f"{text} ")
    assert float(stated) == OTHER_PAGES[page, sentence]()
