"""Every figure and every integer of the prose, replaced: the rules of `make test` notice."""

from __future__ import annotations

import alterations
from nbval_rules import ROUNDING
from store_notebooks import images, tags
from test_stored_numbers import every_notebook, read, unnoticed

MIN_REPLACEMENTS = 100  # a notebook


@every_notebook
def test_an_integer_in_the_prose_cannot_be_another_of_its_section(path):
    """None of some 1,200 replacements passes; without ties of integers one in five does."""
    trials = list(alterations.replacement_trials(read(path)))
    assert len(trials) > MIN_REPLACEMENTS
    assert unnoticed(trials) == []


@every_notebook
def test_a_figure_cannot_be_altered(path):
    notebook = read(path)
    trials = list(alterations.picture_trials(notebook))
    assert len(trials) >= 4 * 5
    loose = {trial.place for trial in unnoticed(trials)}
    blind = {
        f"cell {place}"
        for place, cell in alterations.code_cells(notebook)
        if ROUNDING in tags(cell) or all(map(alterations.is_grey, images(cell)))
    }
    assert loose <= blind, unnoticed(trials)
