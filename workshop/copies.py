"""Copies of the notebooks for learners and for teachers, and the folders they travel in."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from string import Template

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from workshop.anatomy import (
    LINK,
    NOTEBOOKS,
    ROOT,
    Part,
    is_code,
    parts,
    read_notebook,
    remember,
    tags,
)
from workshop.captions import alt_text, numbered_caption
from workshop.carry import carried
from workshop.notes import TEACHING, Notes, read
from workshop.plans import Plan, Step, schedule
from workshop.wording import reworded

DOCS = ROOT / "docs"
FIGURES = ROOT / "figures"
TEMPLATES = Path(__file__).with_name("templates")
SUPPORT = ("pyproject.toml", "constraints.txt", "docs/recipe.md")
KEPT = "helpers/exercises/kept.json"  # which exercises a learner's progress counts
CONDA_NAMES = {"torch": "pytorch"}  # where conda-forge has another name than PyPI
LEFT_OUT = "*This section is left out of this copy.*"
EXERCISE_LEFT_OUT = "*This exercise is left out of this copy.*"
CARRIED = "# From the section that is left out: what later cells need."
PICTURE = "Your picture should look like this:"

_SENTENCE = re.compile(r"(?<=[.?:])\s+(?=[A-Z`*])")
_NAMES_SOLUTION = re.compile(r"\bsolutions?\b", re.IGNORECASE)

CopyPart = Callable[[Part], list[NotebookNode]]


def student_copy(notebook: NotebookNode, plan: Plan) -> NotebookNode:
    """A notebook without solutions and outputs, cut to a plan.

    Parameters
    ----------
    notebook : NotebookNode
        With its outputs: pictures of solutions are shown beside the task.
    plan : Plan

    Returns
    -------
    NotebookNode
    """
    return _cut(notebook, plan, _student_part)


def instructor_copy(
    notebook: NotebookNode, plan: Plan, notes: Notes, steps: Sequence[Step]
) -> NotebookNode:
    """A notebook with solutions open, the teacher's notes and the minutes so far, cut to a plan.

    Parameters
    ----------
    notebook : NotebookNode
    plan : Plan
    notes : Notes
        For this notebook.
    steps : sequence of Step
        Those of the schedule that belong to this notebook.

    Returns
    -------
    NotebookNode
    """
    clock = {step.part.heading: step for step in steps if step.part}

    def copy_part(part: Part) -> list[NotebookNode]:
        return _instructor_part(part, notes, clock[part.heading])

    return _cut(notebook, plan, copy_part)


def build_student(plan: Plan, notebooks: Sequence[Path], out: Path) -> Path:
    """Write the learners' folder: notebooks, helpers and how to install them."""
    copies = {path.name: student_copy(read_notebook(path), plan) for path in plan.chosen(notebooks)}
    return _write_folder(plan, copies, out, audience="student")


def build_instructor(plan: Plan, notebooks: Sequence[Path], out: Path) -> Path:
    """Write the teacher's folder: as the learners', with solutions, notes and the guide."""
    by_stem = {path.stem: read_notebook(path) for path in plan.chosen(notebooks)}
    steps = schedule(plan, by_stem)
    copies = {
        f"{stem}.ipynb": instructor_copy(
            notebook, plan, read(stem), [step for step in steps if step.stem == stem]
        )
        for stem, notebook in by_stem.items()
    }
    folder = _write_folder(plan, copies, out, audience="instructor")
    _copy_guide(out / "teaching")
    return folder


# Cutting ---------------------------------------------------------------------------------------


def _cut(notebook: NotebookNode, plan: Plan, copy_part: CopyPart) -> NotebookNode:
    """Copy the parts that are kept; of the others leave what later ones refer to or need."""
    found = reworded(parts(notebook), plan)
    needed = _carried_by_part(notebook, found, plan)
    cells: list[NotebookNode] = []
    for place, part in enumerate(found):
        cells += copy_part(part) if plan.keeps(part) else _remains(part, needed.get(place, ""))
    result = deepcopy(notebook)
    result.cells = cells
    _unlink(result, plan)
    _number(result)
    return result


def _carried_by_part(notebook: NotebookNode, found: list[Part], plan: Plan) -> dict[int, str]:
    """What is needed of left-out sections, by the place of the section.

    Exercises count as kept: so copies that differ in their exercises carry the same.
    """
    left_out: dict[int, int] = {}
    first = 0
    for place, part in enumerate(found):
        if part.kind == "section" and not plan.keeps(part):
            left_out |= dict.fromkeys(range(first, first + len(part.cells)), place)
        first += len(part.cells)
    needed: dict[int, list[str]] = {}
    for cell, source in carried(notebook, list(left_out)).items():
        needed.setdefault(left_out[cell], []).append(source)
    return {place: "\n\n".join(sources) for place, sources in needed.items()}


def _remains(part: Part, needed: str) -> list[NotebookNode]:
    """What stays of a part that is left out."""
    heading = part.cells[0].source.partition("\n")[0]
    said = LEFT_OUT if part.kind == "section" else EXERCISE_LEFT_OUT
    text = "\n\n".join(filter(None, [heading, said, remember(part)]))
    cells = [_markdown(text, part.cells[0].id, tags(part.cells[0]))]
    if needed:
        cell = new_code_cell(f"{CARRIED}\n{needed}", id=f"carried-{part.cells[0].id}"[:64])
        cell.metadata = NotebookNode(tags=["carried"], jupyter={"source_hidden": True})
        cells.append(cell)
    return cells


def _unlink(copied: NotebookNode, plan: Plan) -> None:
    """Keep only the words of links to files that do not travel along."""
    for cell in copied.cells:
        if not is_code(cell):
            cell.source = _linked_to(cell.source, lambda target: _travels(target, plan))


def _travels(target: str, plan: Plan) -> bool:
    """Whether what a notebook links to is in the folder of its copy."""
    return plan.takes(Path(target).name) if target.endswith(".ipynb") else _page(target) is not None


def _page(target: str, place: Path = NOTEBOOKS) -> Path | None:
    """The file among the docs to which a link leads from a place; None if it leads elsewhere."""
    found = Path(os.path.normpath(place / target.partition("#")[0]))
    return found if found.is_relative_to(DOCS) and found.is_file() else None


def _linked_to(text: str, travels: Callable[[str], bool]) -> str:
    """Markdown whose links to other files are words; the network's and pictures stay."""

    def keep_or_unlink(match: re.Match) -> str:
        image, words, target = match.groups()
        return match[0] if image or "://" in target or travels(target) else words

    return LINK.sub(keep_or_unlink, text)


def _number(copied: NotebookNode) -> None:
    """Number the cells that have been run from one on, as if the copy had been run."""
    was_run = any(cell.execution_count for cell in copied.cells if is_code(cell))
    code = [cell for cell in copied.cells if is_code(cell)]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number if was_run else None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count


# Student copies --------------------------------------------------------------------------------


def _student_part(part: Part) -> list[NotebookNode]:
    cells = [deepcopy(cell) for cell in part.cells if not is_code(cell, "solution")]
    for cell in cells:
        if is_code(cell):
            cell.outputs, cell.execution_count = [], None
    if part.kind == "exercise":
        cells[0].source = _without_solutions(cells[0].source)
        _show_pictures(cells[0], _pictures(part))
    elif part.heading == "Exercises":
        cells[0].source = _without_solutions(cells[0].source)
    return cells


def _without_solutions(text: str) -> str:
    """Markdown without the sentences that speak of a solution."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        told = [s for s in _SENTENCE.split(paragraph) if not _NAMES_SOLUTION.search(s)]
        paragraphs.append(" ".join(told) if _NAMES_SOLUTION.search(paragraph) else paragraph)
    return "\n\n".join(filter(None, paragraphs))


def _pictures(part: Part) -> list[str]:
    """The images that solutions draw, in base64."""
    outputs = [o for cell in part.cells if is_code(cell, "solution") for o in cell.outputs]
    return [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]


def _show_pictures(task: NotebookNode, pictures: list[str]) -> None:
    """Put the pictures under the task, inside of its cell."""
    if not pictures:
        return
    task.attachments = NotebookNode()
    shown = [PICTURE]
    for picture in pictures:
        name = _figure_name(base64.b64decode(picture))
        task.attachments[f"{name}.png"] = {"image/png": picture}
        number, sentence = numbered_caption(name)
        shown.append(f"![{alt_text(name)}](attachment:{name}.png)\n\n*{number}.* {sentence}")
    task.source = "\n\n".join([task.source, *shown])


def _figure_name(png: bytes) -> str:
    """Under which name a picture is stored among the figures.

    Raises
    ------
    ValueError
        If it is not.
    """
    for path in sorted(FIGURES.glob("*.png")):
        if path.read_bytes() == png:
            return path.stem
    raise ValueError("notebook: expected the picture of a solution among figures/, got none such")


# Instructor copies -----------------------------------------------------------------------------


def _instructor_part(part: Part, notes: Notes, step: Step) -> list[NotebookNode]:
    cells = [deepcopy(cell) for cell in part.cells]
    for cell in cells:
        if is_code(cell, "solution"):
            cell.metadata.pop("jupyter", None)
    if part.heading == "Exercises":
        cells[0].source = _without_solutions(cells[0].source)
    note = _note_on(part, notes)
    if note or part.kind in ("section", "exercise"):
        clock = f"**For the teacher** · minutes so far: {step.start} · here: {step.minutes}"
        text = f'<div class="alert alert-info">\n\n{clock}\n\n{note}\n\n</div>'
        cells.insert(1, _markdown(text, f"note-{part.cells[0].id}", ["teacher"]))
    return cells


def _note_on(part: Part, notes: Notes) -> str:
    if part.kind != "opening":
        return (notes.sections | notes.exercises).get(part.heading, "")
    named = {
        "Objectives": notes.objectives,
        "Prerequisites": notes.prerequisites,
        "Key points": notes.key_points,
    }
    told = [notes.introduction, *(f"**{name}.**\n\n{text}" for name, text in named.items() if text)]
    return "\n\n".join(filter(None, told))


# Folders ---------------------------------------------------------------------------------------


def _write_folder(plan: Plan, copies: dict[str, NotebookNode], out: Path, *, audience: str) -> Path:
    (out / "notebooks").mkdir(parents=True)
    (out / "figures").mkdir()
    for name, notebook in copies.items():
        nbformat.validate(notebook)
        text = nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"
        (out / "notebooks" / name).write_text(text, encoding="utf-8", newline="\n")
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    shutil.copytree(ROOT / "helpers", out / "helpers", ignore=ignored)
    for name in SUPPORT:
        (out / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, out / name)
    pages = _pages(copies)
    for page in pages:
        _copy_page(page, out, plan)
    for name, text in {
        "README.md": _readme(plan, copies, pages, audience),
        "environment.yml": _environment(),
        KEPT: json.dumps(_exercises(copies)) + "\n",
    }.items():
        (out / name).write_text(text, encoding="utf-8", newline="\n")
    return out


def _pages(copies: dict[str, NotebookNode]) -> list[Path]:
    """The files among the docs that the copies link to, and those that these link to."""
    texts = [c.source for copied in copies.values() for c in copied.cells if not is_code(c)]
    found: set[Path] = set()
    waiting = _linked_pages("\n".join(texts), NOTEBOOKS)
    while waiting:
        page = waiting.pop()
        if page not in found:
            found.add(page)
            if page.suffix == ".md":
                waiting |= _linked_pages(page.read_text(encoding="utf-8"), page.parent)
    return sorted(found)


def _linked_pages(text: str, place: Path) -> set[Path]:
    targets = (target for _, _, target in LINK.findall(text) if "://" not in target)
    return {page for page in (_page(target, place) for target in targets) if page}


def _copy_page(page: Path, out: Path, plan: Plan) -> None:
    """Copy a file of the docs to where it stands in the course, without links that lead nowhere."""
    place = out / "docs" / page.relative_to(DOCS)
    place.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":

        def leads_somewhere(target: str) -> bool:
            if target.endswith(".ipynb"):
                return plan.takes(Path(target).name)
            return target.startswith("#") or _page(target, page.parent) is not None

        text = _linked_to(text, leads_somewhere)
    place.write_text(text, encoding="utf-8", newline="\n")


def _exercises(copies: dict[str, NotebookNode]) -> list[str]:
    """The numbers of the exercises that are in the copies to be solved."""
    found = [part for copied in copies.values() for part in parts(copied)]
    return [part.number for part in found if any(is_code(cell, "exercise") for cell in part.cells)]


def _environment() -> str:
    """What conda installs to run the notebooks; tests and tools are the course's own business."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    lines = [
        f"  - {CONDA_NAMES.get(name, name)}{line.removeprefix(name)}"
        for name, line in zip(names, project["dependencies"], strict=True)
    ]
    template = Template((TEMPLATES / "environment.yml").read_text(encoding="utf-8"))
    return template.substitute(packages="\n".join(sorted(lines)))


def _readme(
    plan: Plan, copies: dict[str, NotebookNode], pages: Sequence[Path], audience: str
) -> str:
    lines = ["## What is in it", ""]
    lines += [f"- [{parts(each)[0].heading}](notebooks/{name})" for name, each in copies.items()]
    lines += [
        f"- [{_title(page)}](docs/{page.relative_to(DOCS).as_posix()})"
        for page in pages
        if page.suffix == ".md"
    ]
    lines += ["- [A Gaussian of your own data](docs/recipe.md): a page that needs none of the rest"]
    template = Template((TEMPLATES / "readme.md").read_text(encoding="utf-8"))
    return template.substitute(
        audience=audience, plan=plan.name, first=next(iter(copies)), contents="\n".join(lines)
    )


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _copy_guide(out: Path) -> None:
    """The pages for teachers, linked to each other."""
    out.mkdir()
    pages = {page.name: page.read_text(encoding="utf-8") for page in sorted(TEACHING.glob("*.md"))}
    for name, text in pages.items():
        (out / name).write_text(
            _linked_to(text, pages.__contains__), encoding="utf-8", newline="\n"
        )


def _markdown(text: str, cell_id: str, tagged: Sequence[str]) -> NotebookNode:
    cell = new_markdown_cell(text, id=cell_id[:64])
    if tagged:
        cell.metadata["tags"] = list(tagged)
    return cell
