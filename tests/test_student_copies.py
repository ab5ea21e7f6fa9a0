"""Student copies, executed: checks answer, solutions pass, outputs agree.

The copies of the plans that are not here hold the same code: tests/test_workshop_copies.py.
"""

from __future__ import annotations

import pytest
from student_runs import SOURCES, problems, run, unpacked_student_zip

from workshop.plans import PLANS

EXECUTED = ("half-day", "day", "second-half-day", "second-day", "scaling-out")
COPIES = [(name, stem) for name in EXECUTED for stem in filter(PLANS[name].takes, SOURCES)]


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    return unpacked_student_zip(PLANS[request.param], tmp_path_factory.mktemp("a learner"))


@pytest.mark.parametrize(("folder", "stem"), COPIES, indirect=["folder"])
def test_a_student_copy_runs_with_stubs_and_with_solutions(folder, stem):
    assert problems(run(folder, stem), stem) == []
