"""Every public function that draws against the table of bad input, as tests/test_bad_input.py."""

from __future__ import annotations

import pytest
from test_bad_input import FIGURES, problems_with, told


@pytest.mark.parametrize("name", FIGURES)
def test_bad_input_is_refused_by_name_or_drawn_right(name):
    problems = problems_with(name)
    assert not problems, told(problems)


def test_functions_that_draw_are_tried():
    assert {"plot_pairs", "plot_matrix", "plot_ellipse"} <= set(FIGURES)
