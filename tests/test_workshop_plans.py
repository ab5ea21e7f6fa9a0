"""The plans of a workshop: what each keeps, how its minutes are estimated, and that they fit."""

from __future__ import annotations

import json
import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from store_notebooks import tags

from workshop import run_times, schedules
from workshop.anatomy import ROOT, course_notebooks, parts, read_notebook, remember
from workshop.plans import (
    PLANS,
    drawing_lines,
    part_minutes,
    plan_named,
    schedule,
    solution_lines,
)

NOTEBOOKS = {path.stem: read_notebook(path) for path in course_notebooks()}
PLACES = {stem: place for place, stem in enumerate(NOTEBOOKS, start=1)}


def sittings(plan):
    """The steps of a workshop, or of each session of a term."""
    steps = schedule(plan, NOTEBOOKS)
    if not plan.weekly:
        return [steps]
    return [[s for s in steps if s.stem == stem] for stem in filter(plan.takes, NOTEBOOKS)]


def heading(text, *tagged):
    return new_markdown_cell(text, metadata={"tags": list(tagged)} if tagged else {})


def small_notebook():
    """Two sections, one of each kind, and two exercises: 130 words are one minute."""
    words = "word " * 127
    return new_notebook(
        cells=[
            heading("# 1 · Tiny"),
            new_code_cell("import math", metadata={"tags": ["setup"]}),
            heading(f"## 1 · First {words}", "core"),
            heading("**Predict before you run.**"),
            new_code_cell("\n".join(f"x = {i}" for i in range(10))),
            heading("text\n\n**Remember.** One.\n\nMore."),
            heading("## 2 · Second\n\ntext", "optional"),
            heading("## Recap"),
            heading("## Exercises"),
            heading(f"### Exercise 01.1 · one {words}", "core"),
            new_code_cell("f = ...", metadata={"tags": ["exercise"]}),
            new_code_cell(
                "import math\n\n\ndef f(x):\n    y = x\n    return y\n\n\ncheck(f)",
                metadata={"tags": ["solution"]},
            ),
            heading("### Exercise 01.2 · two", "optional"),
            heading("## What next\n\n" + "word " * 600),
            heading("## References\n\n" + "word " * 600),
        ]
    )


# The parts of a notebook -----------------------------------------------------------------------


def test_the_parts_of_a_notebook_hold_every_cell_in_order():
    for notebook in NOTEBOOKS.values():
        assert [cell for part in parts(notebook) for cell in part.cells] == notebook.cells


def test_parts_have_kinds_numbers_and_tags():
    found = parts(small_notebook())
    assert [part.kind for part in found] == [
        *["opening", "section", "section", "text", "text"],
        *["exercise", "exercise", "text", "text"],
    ]
    assert [part.number for part in found if part.number] == ["1", "2", "01.1", "01.2"]
    assert [part.is_core for part in found if part.kind in ("section", "exercise")] == [
        *[True, False, True, False]
    ]
    assert found[0].heading == "1 · Tiny"
    assert found[2].heading == "2 · Second"


def test_a_notebook_without_a_title_is_refused():
    with pytest.raises(ValueError, match="notebook: expected a title before the first section"):
        parts(new_notebook(cells=[heading("## 1 · First")]))


def test_what_to_remember_is_one_paragraph():
    first, second = parts(small_notebook())[1:3]
    assert remember(first) == "**Remember.** One."
    assert remember(second) == ""


# Minutes ---------------------------------------------------------------------------------------


def test_minutes_of_a_section_come_from_words_lines_and_predictions():
    """127 words and 3 in the heading; 4 in the prediction, 5 below the code; 10 lines."""
    first = parts(small_notebook())[1]
    words = 127 + 2 + 4 + 1 + 3  # a middle dot is no word
    assert part_minutes(first) == pytest.approx(words / 130 + 1 + 1)


def test_minutes_of_an_exercise_come_from_its_task_and_the_lines_to_write():
    exercise = next(part for part in parts(small_notebook()) if part.number == "01.1")
    assert solution_lines(exercise.cells) == 2
    assert part_minutes(exercise) == round(130 / 130 + 2 * 2 + 2)


def test_lines_that_draw_what_was_found_are_adapted_not_found():
    drawn = "\n\nfig, ax = plt.subplots()\nax.plot(\n    f(2),\n)\n# a comment is no line\n"
    solution = new_code_cell(
        f"def f(x):\n    return x\n\n\ncheck(f){drawn}", metadata={"tags": ["solution"]}
    )
    cells = [heading(f"### Exercise 01.1 · one {'word ' * 127}", "core"), solution]
    (exercise,) = parts(new_notebook(cells=[heading("# 1 · Tiny"), *cells]))[1:]
    assert (solution_lines(cells), drawing_lines(cells)) == (1, 4)
    assert part_minutes(exercise) == 130 / 130 + 1 * 2 + 4 / 2 + 2


def test_what_is_read_at_home_takes_no_minutes():
    assert [part_minutes(part) for part in parts(small_notebook())[-2:]] == [0, 0]


# Plans -----------------------------------------------------------------------------------------


def test_the_shortest_plan_keeps_what_is_core():
    numbers = [p.number for p in parts(small_notebook()) if PLANS["90min"].keeps(p) and p.number]
    assert numbers == ["1", "01.1"]


def test_half_a_day_keeps_every_exercise():
    numbers = [p.number for p in parts(small_notebook()) if PLANS["half-day"].keeps(p) and p.number]
    assert numbers == ["1", "01.1", "01.2"]


def test_a_day_keeps_all_of_the_four_core_notebooks():
    assert all(map(PLANS["day"].keeps, parts(small_notebook())))
    assert [stem[:2] for stem in NOTEBOOKS if PLANS["day"].takes(stem)] == ["01", "02", "03", "04"]
    assert not PLANS["day"].takes("05_later")


def test_each_plan_takes_the_notebooks_that_it_names():
    taken = {name: [s[:2] for s in NOTEBOOKS if plan.takes(s)] for name, plan in PLANS.items()}
    assert taken["90min"] == ["01", "02", "03"]
    assert taken["half-day"] == ["01", "02", "03", "04"]
    assert taken["second-day"] == taken["second-half-day"] == ["05", "06", "07", "08"]
    assert taken["scaling-out"] == ["13"]
    assert taken["term"] == [stem[:2] for stem in NOTEBOOKS]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_notebook_is_taught_in_full_by_a_plan(stem):
    """A notebook in no plan would have no copies, no slides and no notes on the clock."""
    found = parts(NOTEBOOKS[stem])
    whole = [p.name for p in PLANS.values() if p.takes(stem) and all(map(p.keeps, found))]
    assert whole, "give it to a plan in workshop/plans.py"


def test_every_notebook_has_core_sections():
    for stem, notebook in NOTEBOOKS.items():
        core = [part for part in parts(notebook) if "core" in tags(part.cells[0])]
        assert any(part.kind == "section" for part in core), stem


def test_the_shortest_plan_has_two_exercises_and_time_for_questions():
    """The exercise of notebook 3 would leave no minute, so it is done at home."""
    steps = schedule(PLANS["90min"], NOTEBOOKS)
    kept = [step.part.number for step in steps if step.part.kind == "exercise"]
    assert kept == ["01.2", "02.1"]
    assert sum(step.minutes for step in steps) <= 90 - 5


def test_the_second_half_day_has_an_exercise_of_each_notebook_and_time_for_a_section():
    """Its chapter offers a section for what is left."""
    steps = schedule(PLANS["second-half-day"], NOTEBOOKS)
    kept = [s.part.number for s in steps if s.part and s.part.kind == "exercise"]
    assert kept == ["05.1", "06.3", "07.1", "08.1"]
    offered = parts(NOTEBOOKS["07_how_good_is_the_fit"])[5]
    assert offered.number == "5"
    assert sum(step.minutes for step in steps) + part_minutes(offered) <= 210
    assert sum(step.minutes for step in steps) + 10 < 210  # what is told at the board


@pytest.mark.parametrize("name", PLANS)
def test_a_few_minutes_of_each_plan_are_left_for_questions(name):
    for steps in sittings(PLANS[name]):
        assert sum(step.minutes for step in steps) <= PLANS[name].minutes - 5


@pytest.mark.parametrize("name", ["week", "", "Day"])
def test_an_unknown_plan_is_named_beside_those_there_are(name):
    known = "90min, half-day, day, second-half-day, second-day, scaling-out, term"
    with pytest.raises(ValueError, match=f"PLAN: expected one of {known}, got '{name}'"):
        plan_named(name)


@pytest.mark.parametrize("name", PLANS)
def test_the_steps_of_a_plan_fill_its_time_without_a_gap_and_fit(name):
    plan = plan_named(name)
    for steps in sittings(plan):
        clock = 0
        for step in steps:
            assert step.start == clock
            clock += step.minutes
        assert clock <= plan.minutes
        assert [step.minutes for step in steps if step.part is None] == list(plan.breaks)
        exact = sum(part_minutes(step.part) for step in steps if step.part) + sum(plan.breaks)
        # A recap at the very end has its whole minute, which nothing after it lends.
        assert clock - round(exact) in (0, 1)


@pytest.mark.parametrize("name", PLANS)
def test_every_notebook_has_its_opening_and_its_recap_in_the_schedule(name):
    plan = plan_named(name)
    rows = [
        (step.stem, step.part.heading == "Recap")
        for step in schedule(plan, NOTEBOOKS)
        if step.part and (step.part.kind == "opening" or step.part.heading == "Recap")
        if step.minutes
    ]
    assert rows == [(s, is_recap) for s in NOTEBOOKS if plan.takes(s) for is_recap in (False, True)]
    table = schedules.table(plan, NOTEBOOKS)
    for stem in filter(plan.takes, NOTEBOOKS):
        title = parts(NOTEBOOKS[stem])[0].heading
        row = f"| {PLACES[stem]} | {title} |" if plan.weekly else f" | **{title}**, opening |"
        assert table.count(row) == 1


def test_the_table_of_a_term_adds_up():
    plan = PLANS["term"]
    rows = re.findall(r"(\d+) \| (\d+) \| (\d+) \|$", schedules.table(plan, NOTEBOOKS), re.M)
    found = [tuple(map(int, row)) for row in rows]
    assert len(found) == len(NOTEBOOKS)
    for (sections, exercises, spare), steps in zip(found, sittings(plan), strict=True):
        assert sections + exercises + spare == plan.minutes
        of_exercises = [s.minutes for s in steps if s.part.kind == "exercise"]
        assert exercises == sum(of_exercises) > 0


def test_a_minute_that_rounding_does_not_leave_is_lent():
    """Half a minute of opening, then four of reading; the end is where it would be without."""
    notebook = new_notebook(
        cells=[
            heading("# 1 · " + "word " * 50),
            heading("## 1 · First " + "word " * 512, "core"),
            heading("## Recap\n\n" + "word " * 10),
        ]
    )
    steps = schedule(plan_named("day"), {"01_tiny": notebook})
    assert [(step.start, step.minutes) for step in steps[:3]] == [(0, 1), (1, 3), (4, 1)]


@pytest.mark.parametrize("name", [name for name, plan in PLANS.items() if plan.breaks])
def test_a_break_stands_between_notebooks(name):
    steps = schedule(plan_named(name), NOTEBOOKS)
    for before, step, after in zip(steps, steps[1:], steps[2:], strict=False):
        if step.part is None:
            assert before.stem < after.stem


# Schedules and run times -----------------------------------------------------------------------


def test_the_tables_of_the_schedules_are_up_to_date():
    page = schedules.PAGE.read_text(encoding="utf-8")
    assert schedules.with_tables(page, NOTEBOOKS) == page, "run: python -m workshop schedules"


def test_a_schedule_whose_minutes_changed_is_noticed_and_written(tmp_path):
    page = tmp_path / "schedules.md"
    text = schedules.PAGE.read_text(encoding="utf-8")
    changed = text.replace("| 0 | 1 |", "| 0 | 2 |")
    assert changed != text
    page.write_text(changed, encoding="utf-8")
    assert schedules.update(NOTEBOOKS, page)
    assert page.read_text(encoding="utf-8") == text
    assert not schedules.update(NOTEBOOKS, page)


def test_a_page_of_schedules_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="page: expected '<!-- schedule 90min: start -->'"):
        schedules.with_tables("no marks", NOTEBOOKS)


def test_every_notebook_was_measured_and_keeps_its_budget():
    measured = json.loads(run_times.RECORD.read_text(encoding="utf-8"))
    assert run_times.problems(measured, list(NOTEBOOKS)) == []
    assert measured["budget_seconds"] == run_times.BUDGET_SECONDS
    assert set(measured) >= {"cores", "threads", "packages", "python", "date"}


@pytest.mark.parametrize(
    ("seconds", "problem"),
    [
        ({"01_a": 5}, "02_b was not measured"),
        ({"01_a": 5, "02_b": 21}, "02_b takes 21 s, expected at most 20"),
        ({"01_a": 5, "02_b": 5, "03_c": 1}, "03_c is no notebook"),
    ],
)
def test_a_record_that_does_not_fit_is_noticed(seconds, problem):
    record = {"seconds": seconds, "budget_seconds": 20}
    assert run_times.problems(record, ["01_a", "02_b"]) == [problem]


# What is said of the plans -----------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANS)
def test_each_plan_is_named_where_people_look_for_it(name):
    """The line of `make help`, the schedules and the guide."""
    verbs = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = re.findall(r"^workshop:.*## (.+)$", verbs, re.MULTILINE)
    assert name in re.split(r"[ ,=()]+", line)
    page = schedules.PAGE.read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `PLAN={name}` \| (\d+) \|", page, re.MULTILINE)
    assert int(row) == PLANS[name].minutes
    guide = (schedules.PAGE.with_name("README.md")).read_text(encoding="utf-8")
    assert f"`PLAN={name}`" in guide or name == "day"  # which is what `make workshop` makes


def test_what_the_second_half_day_leaves_out_is_told_at_the_board():
    """Each section with its number, in the order of the notebooks, and no other."""
    page = schedules.PAGE.read_text(encoding="utf-8")
    (chapter,) = re.findall(r"^## A second half day\n(.+?)^## ", page, re.DOTALL | re.MULTILINE)
    told = re.findall(r"^- \*\*Section (\d) of notebook (\d+)\*\*", chapter, re.MULTILINE)
    left_out = [
        (part.number, str(int(stem[:2])))
        for stem, notebook in NOTEBOOKS.items()
        if PLANS["second-half-day"].takes(stem)
        for part in parts(notebook)
        if part.kind == "section" and not PLANS["second-half-day"].keeps(part)
    ]
    assert told == left_out
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert f"{words[len(left_out) - 1].capitalize()} sections are left out" in chapter


def test_no_page_says_that_a_notebook_is_in_no_schedule():
    pages = schedules.PAGE.parent.glob("*.md")
    assert [p.name for p in pages if "none of the schedules" in p.read_text("utf-8")] == []
