"""Student copies of `second-day`, executed: checks answer, solutions pass, outputs agree."""

from __future__ import annotations

import pytest
from student_runs import SOURCES, problems, run, unpacked_student_zip

from workshop.plans import PLANS

PLAN = PLANS["second-day"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return unpacked_student_zip(PLAN, tmp_path_factory.mktemp("a learner"))


@pytest.mark.parametrize("stem", list(filter(PLAN.takes, SOURCES)))
def test_a_student_copy_runs_with_stubs_and_with_solutions(folder, stem):
    assert problems(run(folder, stem), stem) == []
