"""Copies for learners and teachers: what is gone, what stays, what is added, and the zips."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from store_notebooks import code_cells, images, tags

from workshop import __main__ as command
from workshop import copies, notes, sheets, wording
from workshop.anatomy import course_notebooks, is_code, parts, read_notebook, remember
from workshop.archive import pack
from workshop.captions import alt_text, captions
from workshop.carry import undefined_names
from workshop.plans import PLANS, part_minutes, schedule

ROOT = Path(__file__).parents[1]
PATHS = {path.stem: path for path in course_notebooks()}
SOURCES = {stem: read_notebook(path) for stem, path in PATHS.items()}
# Of a term, whose copies are those of the other plans, one test below speaks.
AT_ONCE = {name: plan for name, plan in PLANS.items() if not plan.weekly}
TAKEN = [(name, stem) for name, plan in AT_ONCE.items() for stem in SOURCES if plan.takes(stem)]


class Copies(Mapping):
    """Copies by plan and notebook, each made when it is first asked for: not on import."""

    def __init__(self, make):
        self.make = cache(make)

    def __getitem__(self, key):
        return self.make(*key)

    def __iter__(self):
        return iter(TAKEN)

    def __len__(self):
        return len(TAKEN)


def instructor_copy(name, stem):
    plan = PLANS[name]
    steps = [step for step in schedule(plan, SOURCES) if step.stem == stem]
    return copies.instructor_copy(SOURCES[stem], plan, notes.read(stem), steps)


STUDENT = Copies(lambda name, stem: copies.student_copy(SOURCES[stem], PLANS[name]))
INSTRUCTOR = Copies(instructor_copy)
every_copy = pytest.mark.parametrize(("name", "stem"), TAKEN)


def kept_parts(name, stem, kind=None):
    found = [part for part in parts(SOURCES[stem]) if PLANS[name].keeps(part)]
    return [part for part in found if kind in (None, part.kind)]


def left_out_parts(name, stem):
    return [part for part in parts(SOURCES[stem]) if not PLANS[name].keeps(part)]


def text_below(notebook, heading):
    (text,) = (cell.source for cell in notebook.cells if cell.source.startswith(heading))
    return text


def by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


# Both kinds ------------------------------------------------------------------------------------


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_a_copy_is_a_valid_notebook_with_its_own_ids_and_no_undefined_name(made, name, stem):
    copied = made[name, stem]
    nbformat.validate(copied)
    assert len(by_id(copied)) == len(copied.cells)
    assert undefined_names(copied) == []


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_the_code_that_is_kept_is_the_code_of_the_course(made, name, stem):
    found = by_id(made[name, stem])
    for part in kept_parts(name, stem):
        for cell in filter(is_code, part.cells):
            if made is INSTRUCTOR or not is_code(cell, "solution"):
                assert found[cell.id].source == cell.source


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_what_is_left_out_leaves_its_heading_and_what_to_remember(made, name, stem):
    copied = made[name, stem]
    for part in left_out_parts(name, stem):
        left = by_id(copied)[part.cells[0].id].source
        assert left.startswith(part.cells[0].source.partition("\n")[0] + "\n\n*This ")
        assert "is left out of this copy.*" in left
        assert left.endswith(remember(part))
        assert not {cell.id for cell in part.cells[1:]} & set(by_id(copied))


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_links_lead_to_what_travels_along(made, name, stem):
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(c.source for c in made[name, stem].cells))
    local = [target for target in links if target.endswith(".ipynb")]
    assert [target for target in local if not PLANS[name].takes(target)] == []
    if name == "day":
        assert local or stem[:2] not in ("01", "02", "03")


@pytest.mark.parametrize("name", ["second-half-day", "scaling-out"])
def test_the_pages_that_a_copy_links_to_are_in_its_folder(name, tmp_path):
    """With their code as it is, and without links to what did not come along."""
    folder = copies.build_student(PLANS[name], course_notebooks(), tmp_path / "student")
    written = {
        path.relative_to(folder).as_posix()
        for path in (folder / "docs").rglob("*")
        if path.is_file() and path.name != "recipe.md"
    }
    jobs = {f"docs/jobs/{each}" for each in ("kubernetes.yaml", "slurm.sh", "two_hosts.sh")}
    expected = {"second-half-day": {"docs/errors.md"}, "scaling-out": {"docs/scaling_out.md"}}
    assert written == expected[name] | (jobs if name == "scaling-out" else set())
    notebooks = [(path, by_id(read_notebook(path))) for path in (folder / "notebooks").iterdir()]
    texts = [(path, cell.source) for path, cells in notebooks for cell in cells.values()]
    texts += [(path, path.read_text(encoding="utf-8")) for path in folder.rglob("docs/*.md")]
    found = 0
    for path, text in texts:
        for target in re.findall(r"\]\((\.\./[^)#]+|jobs/[^)]+)\)", text):
            found += 1
            assert (path.parent / target).is_file(), f"{path.name}: {target}"
    assert found > 3
    fenced = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    for page in expected[name]:
        copied, source = ((place / page).read_text(encoding="utf-8") for place in (folder, ROOT))
        assert fenced.findall(copied) == fenced.findall(source) != []
        assert f"]({page})" in (folder / "README.md").read_text(encoding="utf-8")


@every_copy
def test_the_minutes_at_the_top_are_those_of_the_copy(name, stem):
    kept = kept_parts(name, stem)
    exercises = sum(part_minutes(part) for part in kept if part.kind == "exercise")
    reading = sum(part_minutes(part) for part in kept if part.kind != "exercise")
    expected = f"| about {reading:.0f} minutes to read and run"
    expected += f", {exercises:.0f} more for the exercises |" if exercises else " |"
    for made in (STUDENT, INSTRUCTOR):
        assert expected in "\n".join(cell.source for cell in made[name, stem].cells[:3])


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_a_copy_names_under_its_table_what_it_leaves_out(made, name, stem):
    opening = "\n".join(cell.source for cell in made[name, stem].cells[:3])
    told = "".join(re.findall(r"^This copy leaves out (.*?)\. ", opening, re.MULTILINE))
    assert bool(told) == bool(left_out_parts(name, stem))
    named = re.findall(r"\d\d\.\d|\d", told)
    assert named == [part.number for part in left_out_parts(name, stem)]


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_lines_of_the_recap_that_sum_up_what_is_left_out_are_marked(made, name, stem):
    """The lines and their sections come in the same order."""
    lines = text_below(made[name, stem], "## Recap").splitlines()
    bullets = [line for line in lines if line.startswith("- ")]
    left_out = {part.number for part in left_out_parts(name, stem) if part.kind == "section"}
    sections = wording.RECAP_SECTIONS[str(int(stem[:2]))]
    marked = [line.startswith(f"- {wording.AT_HOME} ") for line in bullets]
    assert marked == [number in left_out for number in sections]


LEFT_FOR_HOME = {
    "half-day": [
        *["A symmetric matrix", "The positive definite ones", "$L$ gives"],
        *["`torch.cov` divides", "Under the MSE small", "MSE depends"],
        *["`scale_tril=` needs", "Count, mean", "The natural gradient", "The data leave"],
        *["A `DataLoader`", "The loss of a batch", "Time with a clock"],
    ],
    "second-half-day": [
        *["Seven are one-to-one", "The Jacobian matters", "Near zero variance", "The loss is"],
        "A row is judged",
        *["A prior is", "Factors save"],
    ],
}


@pytest.mark.parametrize("plan", LEFT_FOR_HOME)
def test_what_half_a_day_leaves_for_home_in_the_recaps_is_what_its_sections_say(plan):
    marked = [
        line.removeprefix(f"- {wording.AT_HOME} ")
        for (name, _), copied in STUDENT.items()
        if name == plan
        for line in text_below(copied, "## Recap").splitlines()
        if wording.AT_HOME in line
    ]
    begin = LEFT_FOR_HOME[plan]
    assert len(marked) == len(begin)
    assert all(line.startswith(words) for line, words in zip(marked, begin, strict=True))


def test_the_recap_of_every_notebook_says_which_section_each_line_sums_up():
    assert set(wording.RECAP_SECTIONS) == {str(int(stem[:2])) for stem in SOURCES}
    for stem, notebook in SOURCES.items():
        sections = wording.RECAP_SECTIONS[str(int(stem[:2]))]
        lines = text_below(notebook, "## Recap").splitlines()
        assert len(sections) == sum(line.startswith("- ") for line in lines)
        assert list(sections) == sorted(sections)
        assert set(sections) <= {part.number for part in parts(notebook)}


@every_copy
def test_the_help_that_is_named_is_for_an_exercise_that_is_there(name, stem):
    kept = [part.number for part in kept_parts(name, stem, "exercise")]
    said = text_below(STUDENT[name, stem], "## Exercises")
    assert re.findall(r'hint\("(.*?)"\)', said) == kept[:1]
    assert (wording.NO_EXERCISES in said) == (not kept)


@every_copy
@pytest.mark.parametrize("made", [STUDENT, INSTRUCTOR], ids=["student", "instructor"])
def test_what_comes_next_is_there_or_said_to_be_elsewhere(made, name, stem):
    named = re.findall(r"\((\d\d_\w+\.ipynb)\)", text_below(SOURCES[stem], "## What next"))
    said = text_below(made[name, stem], "## What next")
    assert said.endswith(wording.THE_REST) == (not all(map(PLANS[name].takes, named)))
    last = [taken for plan, taken in TAKEN if plan == name][-1]
    if name in ("90min", "half-day", "day"):  # their notebooks lead from one to the next
        assert said.endswith(wording.THE_REST) == (bool(named) and stem == last)


def test_the_shortest_copies_are_those_of_half_a_day_less_exercises():
    """So executing the copies of half a day shows that the shortest ones run."""
    for stem in filter(PLANS["90min"].takes, SOURCES):
        exercises = {
            cell.id
            for part in parts(SOURCES[stem])
            if part.kind == "exercise"
            for cell in part.cells
        }
        short, long = (
            [c.source for c in STUDENT[name, stem].cells if is_code(c) and c.id not in exercises]
            for name in ("90min", "half-day")
        )
        assert short == long
        assert short


@pytest.mark.parametrize("stem", SOURCES)
def test_the_copies_of_a_term_are_whole_and_count_from_the_beginning_of_each(stem):
    """So executing those of the other whole plans shows that these run."""
    term = PLANS["term"]
    whole = [n for n, s in TAKEN if s == stem and not left_out_parts(n, s)]
    copied = copies.student_copy(SOURCES[stem], term)
    code = [cell for cell in copied.cells if is_code(cell)]
    assert code == [cell for cell in STUDENT[whole[0], stem].cells if is_code(cell)]
    steps = schedule(term, {stem: SOURCES[stem]})
    assert steps == [step for step in schedule(term, SOURCES) if step.stem == stem]
    told = copies.instructor_copy(SOURCES[stem], term, notes.read(stem), steps)
    first = next(part for part in parts(SOURCES[stem]) if part.kind == "section")
    place = [cell.id for cell in told.cells].index(first.cells[0].id)
    assert f"minutes so far: {steps[0].minutes} ·" in told.cells[place + 1].source


def test_code_that_is_carried_is_collapsed_where_its_section_stood():
    carried = [
        (before, cell)
        for copied in STUDENT.values()
        for before, cell in zip(copied.cells, copied.cells[1:], strict=False)
        if "carried" in tags(cell)
    ]
    assert carried
    for before, cell in carried:
        assert cell.metadata["jupyter"] == {"source_hidden": True}
        assert before.source.startswith("## ")
        assert copies.LEFT_OUT in before.source


# A planted notebook ------------------------------------------------------------------------------


def planted(picture: bytes | None = None):
    """A notebook whose last section needs what an optional one has made."""
    outputs = [new_output("stream", text="Exercise 01.1 passed: good.")]
    if picture:
        encoded = base64.b64encode(picture).decode()
        outputs.append(new_output("display_data", data={"image/png": encoded}))
    printed = [new_output("execute_result", data={"text/plain": "3"}, execution_count=9)]
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# 1 · Planted\n\nSee [next](02_b.ipynb) and [far](09_c.ipynb)."),
            new_code_cell("from helpers import check", metadata={"tags": ["setup"]}),
            new_markdown_cell("## 1 · Why?\n\nText.", metadata={"tags": ["optional"]}),
            new_code_cell("import math\na = math.sqrt(4)\nprint(a)", execution_count=2),
            new_markdown_cell("So.\n\n**Remember.** Two."),
            new_markdown_cell("## 2 · How?", metadata={"tags": ["core"]}),
            new_code_cell("a + 1", execution_count=3, outputs=printed),
            new_markdown_cell("## Exercises\n\nAsk. The collapsed cells hold solutions. Try."),
            new_markdown_cell(
                "### Exercise 01.1 · f\n\nWrite f. It should look like the solution. Yes.",
                metadata={"tags": ["core"]},
            ),
            new_code_cell("f = ...\ncheck(f)", metadata={"tags": ["exercise"]}, execution_count=4),
            new_code_cell(
                "f = abs\ncheck(f)",
                metadata={"tags": ["solution"], "jupyter": {"source_hidden": True}},
                outputs=outputs,
                execution_count=5,
            ),
        ]
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return notebook


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def test_a_student_copy_of_a_planted_notebook_is_as_expected():
    copied = copies.student_copy(planted(), PLANS["half-day"])
    assert sources(copied) == [
        "# 1 · Planted\n\nSee [next](02_b.ipynb) and far.",
        "from helpers import check",
        f"## 1 · Why?\n\n{copies.LEFT_OUT}\n\n**Remember.** Two.",
        f"{copies.CARRIED}\nimport math\na = math.sqrt(4)",
        "## 2 · How?",
        "a + 1",
        "## Exercises\n\nAsk. Try.",
        "### Exercise 01.1 · f\n\nWrite f. Yes.",
        "f = ...\ncheck(f)",
    ]
    assert [cell.outputs for cell in code_cells(copied)] == [[]] * 4
    assert [cell.execution_count for cell in code_cells(copied)] == [None] * 4


def test_an_instructor_copy_of_a_planted_notebook_is_as_expected():
    told = notes.parse(
        "# 1 · Planted\n\nFirst.\n\n## Objectives\n\n- one\n\n## 2 · How?\n\n**Ask.** What?\n\n"
        "## Exercise 01.1 · f\n\nTell."
    )
    plan = PLANS["half-day"]
    steps = schedule(plan, {"01_planted": planted()})
    copied = copies.instructor_copy(planted(), plan, told, steps)
    added = [cell.source for cell in copied.cells if "teacher" in tags(cell)]
    assert len(added) == 3
    for source, words in zip(added, ["First.", "**Ask.** What?", "Tell."], strict=True):
        assert source.startswith('<div class="alert alert-info">\n\n**For the teacher** · minutes')
        assert words in source
    assert "**Objectives.**\n\n- one" in added[0]
    solution = copied.cells[-1]
    assert "jupyter" not in solution.metadata
    assert solution.outputs
    assert [cell.execution_count for cell in code_cells(copied)] == [1, 2, 3, 4, 5]
    result = next(cell for cell in code_cells(copied) if cell.source == "a + 1").outputs[0]
    assert result.execution_count == 3


def test_a_picture_of_a_solution_stands_beside_the_task():
    figure = ROOT / "figures" / "01_three_roots.png"
    copied = copies.student_copy(planted(figure.read_bytes()), PLANS["day"])
    task = next(cell for cell in copied.cells if cell.source.startswith("### "))
    expected = f"![{alt_text('01_three_roots')}](attachment:01_three_roots.png)\n\n"
    expected += f"*Figure 1.3.* {captions()['01_three_roots']}"
    assert task.source.endswith(f"Write f. Yes.\n\n{copies.PICTURE}\n\n{expected}")
    kept = base64.b64decode(task.attachments["01_three_roots.png"]["image/png"])
    assert kept == figure.read_bytes()
    nbformat.validate(copied)


def test_a_picture_that_is_no_figure_of_the_course_is_refused():
    with pytest.raises(ValueError, match="expected the picture of a solution among figures/"):
        copies.student_copy(planted(b"another"), PLANS["day"])


def test_a_recap_whose_lines_are_not_assigned_is_refused():
    notebook = planted()
    notebook.cells.insert(-3, new_markdown_cell("## Recap\n\n- one\n- two"))
    with pytest.raises(ValueError, match="RECAP_SECTIONS: expected a section for each of the 2 li"):
        copies.student_copy(notebook, PLANS["90min"])
    assert copies.student_copy(notebook, PLANS["day"])


def test_the_notebook_that_is_copied_stays_as_it_is():
    before, after = planted(), planted()
    copies.student_copy(after, PLANS["90min"])
    copies.instructor_copy(
        after, PLANS["90min"], notes.Notes(), schedule(PLANS["90min"], {"01_planted": planted()})
    )
    assert after == before


# Student copies --------------------------------------------------------------------------------


@every_copy
def test_a_student_copy_has_no_solutions_outputs_or_counts(name, stem):
    copied = STUDENT[name, stem]
    for cell in code_cells(copied):
        assert "solution" not in tags(cell)
        assert (cell.outputs, cell.execution_count) == ([], None)
    stubs = [part.cells[1].id for part in kept_parts(name, stem, "exercise")]
    assert [cell.id for cell in code_cells(copied) if "exercise" in tags(cell)] == stubs


@every_copy
def test_a_student_copy_speaks_of_no_solution_in_its_exercises(name, stem):
    copied = STUDENT[name, stem]
    first = next(i for i, cell in enumerate(copied.cells) if cell.source.startswith("## Exercises"))
    last = next(i for i, cell in enumerate(copied.cells) if cell.source.startswith("## What next"))
    told = "\n".join(cell.source for cell in copied.cells[first:last] if not is_code(cell))
    assert re.findall(r"\w*solution\w*|collapsed|folded", told) == []


def test_every_picture_that_a_solution_draws_is_in_the_student_copy():
    drawn = {
        png
        for notebook in SOURCES.values()
        for cell in code_cells(notebook)
        if "solution" in tags(cell)
        for png in images(cell)
    }
    kept = {
        base64.b64decode(data["image/png"])
        for (name, _), copied in STUDENT.items()
        if name in ("day", "second-day", "scaling-out")  # which hold every exercise
        for cell in copied.cells
        for data in cell.get("attachments", {}).values()
    }
    assert drawn == kept
    assert drawn


# Instructor copies -----------------------------------------------------------------------------


@every_copy
def test_an_instructor_copy_holds_the_notes_after_each_heading(name, stem):
    copied, told = INSTRUCTOR[name, stem], notes.read(stem)
    cells = {cell.id: place for place, cell in enumerate(copied.cells)}
    steps = {s.part.heading: s for s in schedule(PLANS[name], SOURCES) if s.stem == stem}
    for part in kept_parts(name, stem):
        if part.kind not in ("section", "exercise"):
            continue
        note = copied.cells[cells[part.cells[0].id] + 1].source
        assert f"minutes so far: {steps[part.heading].start} ·" in note
        assert (told.sections | told.exercises)[part.heading] in note
    opening = copied.cells[1].source
    for text in (told.objectives, told.prerequisites, told.key_points):
        assert text
        assert text in opening


@every_copy
def test_an_instructor_copy_keeps_outputs_and_opens_solutions(name, stem):
    copied = by_id(INSTRUCTOR[name, stem])
    for part in kept_parts(name, stem):
        for cell in filter(is_code, part.cells):
            assert "source_hidden" not in copied[cell.id].metadata.get("jupyter", {})
            assert len(copied[cell.id].outputs) == len(cell.outputs)


def test_notes_on_a_notebook_without_a_page_are_empty():
    assert notes.read("99_new") == notes.Notes()


# Zips --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student_zip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "student"
    built = copies.build_student(PLANS["day"], course_notebooks(), folder)
    return pack(built, folder.with_suffix(".zip"))


def test_the_student_zip_holds_what_a_learner_needs(student_zip):
    with ZipFile(student_zip) as packed:
        names = packed.namelist()
        readme = packed.read("student/README.md").decode()
    expected = {"README.md", "pyproject.toml", "constraints.txt", "environment.yml", "figures/"}
    expected |= {"docs/recipe.md", "helpers/exercises/kept.json"}
    expected |= {f"notebooks/{path.name}" for path in PLANS["day"].chosen(PATHS.values())}
    expected |= {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "helpers").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"student/{name}" for name in expected} <= set(names)
    assert [name for name in names if name.startswith("student/figures/")] == ["student/figures/"]
    assert f"jupyter lab notebooks/{next(iter(PATHS))}.ipynb" in readme
    assert "$" not in readme
    assert "environment.yml" in readme


def test_what_python_and_jupyter_leave_behind_is_not_packed(tmp_path, monkeypatch):
    root = tmp_path / "root"
    for name in ("__pycache__/a.pyc", ".ipynb_checkpoints/a.py", "exercises/a.py"):
        (root / "helpers" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "helpers" / name).touch()
    for name in copies.SUPPORT:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    monkeypatch.setattr(copies, "ROOT", root)
    built = copies.build_student(PLANS["90min"], course_notebooks(), tmp_path / "student")
    found = {path.name for path in (built / "helpers").rglob("*") if path.is_file()}
    assert found == {"a.py", "kept.json"}


def test_conda_installs_what_the_notebooks_need_and_nothing_else(student_zip):
    with ZipFile(student_zip) as packed:
        made = yaml.safe_load(packed.read("student/environment.yml"))
    course = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [re.sub(r"^torch\b", "pytorch", line) for line in project["dependencies"]]
    python, by_pip = course["dependencies"][0], course["dependencies"][-1]
    assert made == course | {"dependencies": [python, "pip", *sorted(needed), by_pip]}
    assert len(made["dependencies"]) < len(course["dependencies"])


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_copy_knows_which_exercises_are_in_it(name, kept_exercises):
    copied = {each.name: STUDENT[name, each.stem] for each in PLANS[name].chosen(PATHS.values())}
    assert copies._exercises(copied) == kept_exercises(name)


@pytest.fixture
def kept_exercises():
    def numbers(name):
        stems = filter(PLANS[name].takes, SOURCES)
        return [part.number for stem in stems for part in kept_parts(name, stem, "exercise")]

    return numbers


def test_progress_counts_the_exercises_that_are_in_the_copy(tmp_path, kept_exercises):
    """Two of the first three notebooks have one, out of three each."""
    kept = kept_exercises("90min")
    folder = copies.build_student(PLANS["90min"], course_notebooks(), tmp_path / "student")
    assert json.loads((folder / copies.KEPT).read_text(encoding="utf-8")) == kept
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment["COVARIANCE_PROGRESS"] = str(tmp_path / "progress.json")
    code = "from helpers import check, show_progress; show_progress()"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"\[ \] (\d\d\.\d)", run.stdout) == kept
    # A notebook without an exercise has no line.
    assert re.findall(r"^\d\d", run.stdout, re.MULTILINE) == sorted({each[:2] for each in kept})
    assert run.stdout.endswith(f"0 of {len(kept)} exercises have passed.\n")


@pytest.mark.parametrize("plan", ["day", "second-day", "scaling-out"])
def test_no_solution_is_in_a_student_copy(plan):
    """A line of a solution may stand there as often as the lesson shows it, and not once more."""
    for stem in filter(PLANS[plan].takes, SOURCES):
        given = "\n".join(cell.source for cell in STUDENT[plan, stem].cells)
        notebook = SOURCES[stem]
        lesson = "\n".join(c.source for c in notebook.cells if not is_code(c, "solution"))
        solutions = [cell for cell in code_cells(notebook) if "solution" in tags(cell)]
        assert len(solutions) == 3
        for cell in solutions:
            lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
            assert any(line not in lesson for line in lines)
            assert [line for line in lines if given.count(line) > lesson.count(line)] == []


def test_the_notebooks_of_the_zip_are_the_student_copies(student_zip):
    with ZipFile(student_zip) as packed:
        names = [name for name in packed.namelist() if name.endswith(".ipynb")]
        found = {Path(name).stem: nbformat.reads(packed.read(name), 4) for name in names}
    assert found == {stem: copied for (plan, stem), copied in STUDENT.items() if plan == "day"}


def test_two_builds_give_the_same_bytes(tmp_path):
    archives = []
    for place, umask in (("a", 0o022), ("b", 0o077)):
        before = os.umask(umask)
        try:
            folder = copies.build_instructor(
                PLANS["90min"], course_notebooks(), tmp_path / place / "instructor"
            )
        finally:
            os.umask(before)
        for path in folder.rglob("*"):
            os.utime(path, (1e9, 1e9) if place == "a" else (1.5e9, 1.5e9))
        archives.append(pack(folder, tmp_path / f"{place}.zip").read_bytes())
    assert archives[0] == archives[1]


def test_a_changed_byte_changes_the_zip(tmp_path):
    folder = tmp_path / "folder"
    (folder / "empty").mkdir(parents=True)
    (folder / "file").write_text("a")
    first = pack(folder, tmp_path / "a.zip").read_bytes()
    (folder / "file").write_text("b")
    assert pack(folder, tmp_path / "b.zip").read_bytes() != first


def test_only_a_folder_can_be_packed(tmp_path):
    with pytest.raises(ValueError, match="folder: expected one that exists, got"):
        pack(tmp_path / "nowhere", tmp_path / "a.zip")


# The command -------------------------------------------------------------------------------------


def test_an_unknown_plan_is_told_in_one_line_and_nothing_is_written(tmp_path, capsys):
    assert command.main(["--plan", "week"], tmp_path / "out") == 2
    said = capsys.readouterr()
    assert said.err == f"PLAN: expected one of {', '.join(PLANS)}, got 'week'\n"
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_a_workshop_is_built_without_a_browser_and_says_what_it_left_out(
    tmp_path, capsys, monkeypatch
):
    for module in (command, sheets):
        monkeypatch.setattr(module, "find_chromium", lambda: None)
    out = tmp_path / "workshop"
    (out / "student").mkdir(parents=True)
    (out / "student" / "of an earlier build").touch()
    (out / "mine.txt").touch()
    assert command.main(["--plan", "90min"], out) == 0
    said = capsys.readouterr().out
    assert "left out, as there is no Chromium here: cheat_sheet.pdf" in said
    expected = ["student.zip", "instructor.zip", "slides.zip"]
    expected += [f"{sheet.name}.html" for sheet in sheets.SHEETS]
    for name in expected:
        assert (out / name).is_file()
        assert f"  {name}\n" in said
    for name in ("student", "instructor", "slides"):
        assert (out / name).is_dir()
        with ZipFile(out / f"{name}.zip") as packed:
            assert {each.partition("/")[0] for each in packed.namelist()} == {name}
    assert not (out / "student" / "of an earlier build").exists()
    assert (out / "mine.txt").exists()
    teaching = {path.name for path in (out / "instructor" / "teaching").iterdir()}
    assert teaching == {path.name for path in notes.TEACHING.glob("*.md")}


def test_the_pages_for_teachers_link_to_what_travels_along(tmp_path):
    folder = copies.build_instructor(PLANS["90min"], course_notebooks(), tmp_path / "instructor")
    found = 0
    for page in (folder / "teaching").iterdir():
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            found += 1
            assert "://" in target or (page.parent / target).exists()
    assert found
    shutil.rmtree(folder)
