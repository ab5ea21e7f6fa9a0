"""What every notebook must be before it is run: its form, its anatomy, its size and its prose.

Each rule is a function from a notebook to a list of sentences, empty when the rule is kept. The
second half of this file breaks each rule on purpose and sees it bite.
"""

from __future__ import annotations

import ast
import base64
import re
import statistics
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval_rules import WIDGET
from prose_numbers import MINUTES, number_of, output_text, prose_problems
from store_notebooks import IGNORED, KERNELSPEC, code_cells, images, tags

import helpers
from workshop.anatomy import LINK, count_words, lines_of_code, parts, prose, without_code
from workshop.plans import PLANS, minutes_to_read, part_minutes

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURES = ROOT / "figures"

TAGS = {
    "exercise",
    "solution",
    "nbval-ignore-output",
    "raises-exception",
    "setup",
    "answer",
    "check",
    "show",
    "core",
    "optional",
    "interactive",
    "shows-rounding",
}
# Outputs of timings and hardware, by the number of the notebook. Elsewhere there are none.
IGNORED_OUTPUTS = {"03": 1, "04": 5, "05": 1, "13": 1}
MAX_TRACEBACK_LINES = 30
MAX_CELL_LINES = 20
MEDIAN_CELL_LINES = (3, 7)
LESSON_CELLS = (20, 35)
MAX_CODE_CELLS = 41
WORDS = (1500, 2500)
# A picture to be moved is one call, and there is nothing in it to read.
NOT_LESSON = {"exercise", "solution", "interactive"}
INTERACTIVE = set(helpers._LAZY["interactive"])
EXERCISES = 3
MAX_PNG_BYTES = 2 * 1024**2
LAST_SECTIONS = ["Recap", "Exercises", "What next", "References"]
TABLE = ["you will", "you need", "it takes"]

MACHINE_PATH = re.compile(
    r"/home/|/root/|/Users/|/tmp/|[A-Z]:\\+Users|site-packages|dist-packages|ipykernel_\d+"
)
NETWORK = re.compile(
    r"^\s*(?:import|from)\s+(?:requests|urllib|httpx|http|aiohttp|socket|ftplib)\b"
    r"|^\s*!\s*(?:curl|wget|git)\b|\bfetch_openml\b|\bload_state_dict_from_url\b",
    re.MULTILINE,
)
INSTALL = re.compile(r"^\s*[!%]\s*(?:python\S*\s+-m\s+)?(?:pip|conda|mamba|uv)\b", re.MULTILINE)
FORBIDDEN = re.compile(r"\b(simply|just|obviously|easy|easily)\b", re.IGNORECASE)
EXCLAMATION = re.compile(r"\w[)\"*_]*!(?=\s|$)")
BRACKET = re.compile(r"(?<!\\)(?:\\\\)*\\[(\[].*")
SPAN = re.compile(r"`([^`]+)`")
CALL = re.compile(r"(?<![\w.])(\w+)\(")
HEADING = re.compile(r"^(#{1,6})\s+(.*\S)", re.MULTILINE)

Rule = Callable[[NotebookNode], list[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def markdown(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in tags(cell)]


def numbered(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """The code cells, each with the name by which a complaint calls it."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        yield f"code cell {number}", cell


def headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    found = HEADING.findall("\n\n".join(map(without_code, markdown(notebook))))
    return [(len(marks), title) for marks, title in found]


def outside(name: str, value: float, limits: tuple[float, float]) -> list[str]:
    low, high = limits
    return [] if low <= value <= high else [f"{value} {name}, expected {low} to {high}"]


# Form ----------------------------------------------------------------------------------------


@rule
def is_valid(notebook: NotebookNode) -> list[str]:
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [str(error).splitlines()[0]]
    return []


@rule
def metadata_are_minimal(notebook: NotebookNode) -> list[str]:
    """No versions, no widget state, no timings: nothing that differs from machine to machine."""
    expected = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    found = [] if notebook.metadata == expected else ["notebook metadata are not the common ones"]
    for name, cell in numbered(notebook):
        if extra := set(cell.metadata) - {"tags", "jupyter"}:
            found.append(f"{name} has metadata {sorted(extra)}")
    return found


@rule
def every_cell_was_run_in_order(notebook: NotebookNode) -> list[str]:
    """nbval passes a cell that was never run without looking at it."""
    return [
        f"code cell {number} has execution count {cell.execution_count}"
        for number, cell in enumerate(code_cells(notebook), start=1)
        if cell.execution_count != number
    ]


@rule
def tags_are_known(notebook: NotebookNode) -> list[str]:
    """nbval ignores a misspelt tag, and obeys comments that no list of tags would show."""
    found = [
        f"unknown tags {sorted(unknown)}"
        for cell in notebook.cells
        if (unknown := set(tags(cell)) - TAGS)
    ]
    commented = [name for name, cell in numbered(notebook) if "NBVAL_" in cell.source]
    return found + [f"{name} has a comment for nbval: use a tag" for name in commented]


@rule
def few_outputs_are_ignored(notebook: NotebookNode) -> list[str]:
    """Those of times and hardware. They are stored all the same, for those who read only."""
    ignored = tagged(notebook, IGNORED)
    expected = IGNORED_OUTPUTS.get(number_of(notebook), 0)
    found = outside(f"cells tagged {IGNORED}", len(ignored), (expected, expected))
    return found + ["an output that is not compared is not stored"] * any(
        not cell.outputs for cell in ignored
    )


@rule
def errors_are_declared(notebook: NotebookNode) -> list[str]:
    found = []
    for name, cell in numbered(notebook):
        errors = [output for output in cell.outputs if output.output_type == "error"]
        declared = "raises-exception" in tags(cell)
        if errors and not declared:
            found.append(f"{name} fails with {errors[0].ename}")
        if declared and not errors:
            found.append(f"{name} is tagged raises-exception and raises none")
        if any(len("\n".join(e.traceback).splitlines()) > MAX_TRACEBACK_LINES for e in errors):
            found.append(f"{name} shows a traceback of more than {MAX_TRACEBACK_LINES} lines")
    return found


@rule
def names_no_machine(notebook: NotebookNode) -> list[str]:
    places = [("markdown", text) for text in markdown(notebook)]
    places += [(name, cell.source + "\n" + output_text(cell)) for name, cell in numbered(notebook)]
    return [f"{place}: {hit[0]}" for place, text in places if (hit := MACHINE_PATH.search(text))]


@rule
def needs_no_network_and_no_waiting(notebook: NotebookNode) -> list[str]:
    patterns = {"the network": NETWORK, "an installer": INSTALL, "sleep": re.compile(r"\bsleep\(")}
    return [
        f"{name} uses {what}"
        for name, cell in numbered(notebook)
        for what, pattern in patterns.items()
        if pattern.search(cell.source)
    ]


@rule
def images_are_small(notebook: NotebookNode) -> list[str]:
    size = sum(len(png) for cell in code_cells(notebook) for png in images(cell))
    return outside("bytes of images", size, (0, MAX_PNG_BYTES))


@rule
def links_lead_somewhere(notebook: NotebookNode) -> list[str]:
    """Relative links name files that exist; images are local and have a text in their place."""
    found = []
    for mark, label, target in LINK.findall("\n".join(markdown(notebook))):
        remote = target.startswith(("http://", "https://", "mailto:"))
        path, _, anchor = target.partition("#")
        if mark and remote:
            found.append(f"image from the network: {target}")
        if mark and not label.strip():
            found.append(f"image without a text: {target}")
        if not remote and anchor:
            found.append(f"headings have different names elsewhere, link to the file: {target}")
        # An output image that is pasted into a cell is an attachment.
        if not remote and not (ROOT / "notebooks" / unquote(path)).resolve().exists():
            found.append(f"no such file: {target}")
    if re.search(r"<img\b", "\n".join(markdown(notebook)), re.IGNORECASE):
        found.append("an HTML image: write ![text](file)")
    return found


def names_given(notebook: NotebookNode) -> set[str]:
    """What the code cells import, define or assign, so that a cell after them can use it."""
    found = set()
    for cell in code_cells(notebook):
        for statement in ast.parse(cell.source).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                found |= {each.asname or each.name for each in statement.names}
            elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
                found.add(statement.name)
            elif isinstance(statement, ast.Assign):
                found |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return found


@rule
def calls_in_prose_can_be_made(notebook: NotebookNode) -> list[str]:
    """A reader who types `hint("01.1")` as the text says is to get a hint and no NameError."""
    spans = [span for text in markdown(notebook) for span in SPAN.findall(text)]
    called = {name for span in spans for name in CALL.findall(span)}
    missing = (called & set(helpers.__all__)) - names_given(notebook)
    return [f"the prose calls {name}(), which no code cell imports" for name in sorted(missing)]


# Anatomy -------------------------------------------------------------------------------------


@rule
def begins_with_title_table_and_setup(notebook: NotebookNode) -> list[str]:
    found = []
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        found.append("the first cell is not the title")
    before = notebook.cells[: notebook.cells.index(code_cells(notebook)[0])]
    opening = "\n".join(cell.source for cell in before).lower()
    found += [f"no table row '{row}' before the first code" for row in TABLE if row not in opening]
    if "|" not in opening:
        found.append("no table before the first code")
    setup = tagged(notebook, "setup")
    if len(setup) != 1 or setup[0] is not code_cells(notebook)[0]:
        found.append("the first code cell, and no other, is to be tagged setup")
    return found


@rule
def headings_are_in_order(notebook: NotebookNode) -> list[str]:
    levels = headings(notebook)
    found = [] if [level for level, _ in levels].count(1) == 1 else ["not one title, but more"]
    found += [
        f"heading '{title}' skips a level"
        for (above, _), (level, title) in pairwise(levels)
        if level > above + 1
    ]
    return found


@rule
def ends_with_the_common_sections(notebook: NotebookNode) -> list[str]:
    titles = [title for level, title in headings(notebook) if level == 2]
    last = [next((t for t in titles if name.lower() in t.lower()), None) for name in LAST_SECTIONS]
    found = [f"no section '{name}'" for name, t in zip(LAST_SECTIONS, last, strict=True) if not t]
    if not found and titles[-len(last) :] != last:
        found.append(f"the last sections are {titles[-len(last) :]}, not {LAST_SECTIONS}")
    return found


@rule
def exercises_have_solutions(notebook: NotebookNode) -> list[str]:
    found = outside("exercises", len(tagged(notebook, "exercise")), (EXERCISES, EXERCISES))
    cells = code_cells(notebook)
    for (name, cell), following in zip(numbered(notebook), [*cells[1:], None], strict=True):
        if "exercise" in tags(cell) and (following is None or "solution" not in tags(following)):
            found.append(f"{name} is an exercise without a solution after it")
    if len(tagged(notebook, "solution")) != len(tagged(notebook, "exercise")):
        found.append("not as many solutions as exercises")
    hidden = {"source_hidden": True}
    for name, cell in numbered(notebook):
        if ("solution" in tags(cell)) != (cell.metadata.get("jupyter") == hidden):
            found.append(f"{name}: solutions are collapsed, and nothing else")
    return found


@rule
def every_section_and_exercise_is_core_or_optional(notebook: NotebookNode) -> list[str]:
    """By this a workshop is cut to its length; the tag stands on the cell with the heading."""
    found = []
    for part in parts(notebook):
        marks = [set(tags(cell)) & {"core", "optional"} for cell in part.cells]
        is_cut_point = part.kind in ("section", "exercise")
        if len(marks[0]) != is_cut_point or any(marks[1:]):
            found.append(f"'{part.heading}' is tagged {[sorted(mark) for mark in marks if mark]}")
        if any("exercise" in tags(cell) for cell in part.cells) != (part.kind == "exercise"):
            found.append(f"'{part.heading}': an exercise has a heading '### Exercise NN.k · name'")
    return found


def is_picture_alone(source: str) -> bool:
    """Whether a cell imports an interactive picture, shows it, and does nothing else."""
    *before, last = ast.parse(source).body
    call = last.value if isinstance(last, ast.Expr) else None
    return (
        all(isinstance(statement, ast.ImportFrom) for statement in before)
        and isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in INTERACTIVE
        and not (call.args or call.keywords)
    )


@rule
def interactive_pictures_have_a_question_and_a_still_figure(notebook: NotebookNode) -> list[str]:
    """Print, GitHub and a website show the still one; no widget is stored, as its name changes."""
    found = [
        f"{name} shows an interactive picture and is not tagged so"
        for name, cell in numbered(notebook)
        if any(f"{picture}(" in cell.source for picture in INTERACTIVE)
        and "interactive" not in tags(cell)
    ]
    for part in parts(notebook):
        for place, cell in enumerate(part.cells):
            if "interactive" not in tags(cell):
                continue
            where = f"the interactive cell of '{part.heading}'"
            if not is_picture_alone(cell.source):
                found.append(f"{where} is to call one picture of helpers.interactive, no more")
            drawn = [c for c in part.cells[:place] if c.cell_type == "code" and images(c)]
            if not drawn:
                found.append(f"{where} has no still figure before it")
            if not part.cells[place - 1].source.rstrip().endswith("?"):
                found.append(f"{where} has no question before it")
            if [sorted(output.get("data", {})) for output in cell.outputs] != [["text/plain"]]:
                found.append(f"{where} is to store a sentence and nothing else")
    return found


# Size ----------------------------------------------------------------------------------------


@rule
def cells_are_short(notebook: NotebookNode) -> list[str]:
    lines = {name: lines_of_code(cell) for name, cell in numbered(notebook)}
    found = [f"{name} has {n} lines" for name, n in lines.items() if n > MAX_CELL_LINES]
    lesson = [
        n
        for n, c in zip(lines.values(), code_cells(notebook), strict=True)
        if not NOT_LESSON & set(tags(c))
    ]
    found += outside("code cells in the lesson", len(lesson), LESSON_CELLS)
    to_read = len(lines) - len(tagged(notebook, "interactive"))
    found += outside("code cells in all", to_read, (0, MAX_CODE_CELLS))
    if lesson:
        found += outside("lines in the median cell", statistics.median(lesson), MEDIAN_CELL_LINES)
    return found


@rule
def the_text_has_its_length(notebook: NotebookNode) -> list[str]:
    return outside("words", count_words(notebook.cells), WORDS)


@rule
def the_minutes_are_estimated_alike(notebook: NotebookNode) -> list[str]:
    stated = MINUTES.findall("\n".join(markdown(notebook)))
    if len(stated) != 1:
        return ["it does not say once 'about N minutes to read and run, N more for the exercises'"]
    exercises = [part for part in parts(notebook) if part.kind == "exercise"]
    expected = [minutes_to_read(notebook.cells), sum(map(part_minutes, exercises))]
    # Rounded to five minutes, and a change of a few words need not change it at once.
    return [
        f"{said} minutes, not {minutes:.0f}"
        for said, minutes in zip(stated[0], expected, strict=True)
        if abs(int(said) - minutes) > 4
    ]


# Prose ---------------------------------------------------------------------------------------


@rule
def the_voice_is_ours(notebook: NotebookNode) -> list[str]:
    texts = [prose(text) for text in markdown(notebook)]
    found = [f"the word '{hit[0]}'" for text in texts for hit in FORBIDDEN.finditer(text)]
    shouts = [hit for text in texts for hit in EXCLAMATION.finditer(text)]
    return found + ["a sentence ends with an exclamation mark"] * len(shouts)


@rule
def formulas_stand_between_dollars(notebook: NotebookNode) -> list[str]:
    r"""JupyterLab shows \( and \[ as plain brackets; a line of a matrix may end with \\[."""
    found = [BRACKET.search(without_code(text)) for text in markdown(notebook)]
    return [f"a formula in brackets: {match[0]}" for match in found if match]


@rule
def numbers_in_prose_come_from_cells(notebook: NotebookNode) -> list[str]:
    """What kinds of numbers there are, and what holds each: tests/prose_numbers.py says it."""
    return prose_problems(notebook)


# The notebooks of the course -----------------------------------------------------------------


def test_the_core_notebooks_are_numbered_from_one():
    """The others stand on them alone, and each has the number that the curriculum gives it."""
    numbers = [path.name[:3] for path in NOTEBOOKS]
    core = len(PLANS["day"].notebooks)
    assert numbers[:core] == [f"{number:02d}_" for number in range(1, core + 1)]
    assert all(re.fullmatch(r"\d\d_", number) for number in numbers)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, check):
    problems = check(nbformat.read(path, as_version=nbformat.NO_CONVERT))
    assert not problems, "\n".join([path.name, *problems])


def test_links_of_the_readme_lead_somewhere():
    links = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    local = [target for _, _, target in links if not target.startswith(("http", "#"))]
    assert [target for target in local if not (ROOT / unquote(target)).exists()] == []


def figure_problems(drawn: dict[str, list[bytes]], stored: dict[str, bytes]) -> list[str]:
    """How stored figures (by file name) and drawn ones (by notebook name) do not match."""
    found = []
    for name, content in stored.items():
        owners = [notebook for notebook, all_ in drawn.items() if content in all_]
        if [owner[:3] for owner in owners] != [name[:3]]:
            found.append(f"{name} is drawn by {owners or 'no notebook'}")
    for notebook, all_ in drawn.items():
        missing = sum(content not in stored.values() for content in all_)
        found += [f"{notebook} shows {missing} figures that are not stored"] * bool(missing)
    return found


def drawn_figures() -> dict[str, list[bytes]]:
    """The pictures in each notebook, by its file name."""
    notebooks = {path.name: nbformat.read(path, nbformat.NO_CONVERT) for path in NOTEBOOKS}
    return {
        name: [png for cell in code_cells(notebook) for png in images(cell)]
        for name, notebook in notebooks.items()
    }


def stored_figures(folder: Path = FIGURES) -> dict[str, bytes]:
    """The files of the notebooks' figures, by name."""
    stored = {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}
    # Others are drawn elsewhere: test_readme_pictures.py and trust/test_benchmarks_at_work.py.
    return {name: png for name, png in stored.items() if not name.startswith(("bench_", "fit."))}


def test_the_stored_figures_are_those_in_the_notebooks():
    assert figure_problems(drawn_figures(), stored_figures()) == []


# The rules bite ------------------------------------------------------------------------------


def exercise_pair(number: int) -> list[NotebookNode]:
    heading = f"### Exercise 99.{number} · a task\n\nDo it."
    hidden = {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    return [
        new_markdown_cell(heading, metadata={"tags": ["core"]}),
        new_code_cell("answer = None", metadata={"tags": ["exercise"]}),
        new_code_cell("answer = 1", metadata=hidden),
    ]


def interactive_pair() -> list[NotebookNode]:
    """A still figure, a question, and the picture that answers it."""
    sentence = new_output("execute_result", data={"text/plain": "Run it."}, execution_count=1)
    return [
        new_code_cell("a = 1\nb = 2\nc = 3\nd = 4", outputs=[picture(8)]),
        new_markdown_cell("Which way does it lean?"),
        new_code_cell(
            "from helpers import explore_ellipse\n\nexplore_ellipse()",
            metadata={"tags": ["interactive"]},
            outputs=[sentence],
        ),
    ]


def good_notebook() -> NotebookNode:
    """A notebook that keeps every rule, of words that mean nothing."""
    cells = [
        new_markdown_cell(
            "# 99 · Tiny\n\nA promise.\n\n| You will | learn |\n|---|---|\n"
            "| You need | time |\n"
            "| It takes | about 20 minutes to read and run, 5 more for the exercises |"
        ),
        new_code_cell("import torch\n\ntorch.set_num_threads(1)", metadata={"tags": ["setup"]}),
        new_markdown_cell(
            "## 1 · A section\n\n" + "word " * 1600 + "and $x = 0.333$ with `n!`.",
            metadata={"tags": ["optional"]},
        ),
    ]
    cells += [
        new_code_cell(
            "x = 1 / 3\ny = x\nprint(y)\nz = y",
            outputs=[new_output("stream", name="stdout", text="0.33333\n")],
        )
        for _ in range(24)
    ]
    cells += interactive_pair()
    cells.append(new_markdown_cell("## Recap\n\nSee [this file](../pyproject.toml)."))
    cells.append(new_markdown_cell("## Exercises"))
    for number in range(1, EXERCISES + 1):
        cells += exercise_pair(number)
    cells.append(new_markdown_cell("## What next\n\nMore."))
    cells.append(new_markdown_cell("## References\n\narXiv:1312.6114"))
    notebook = new_notebook(cells=cells)
    notebook.metadata.update(kernelspec=KERNELSPEC, language_info={"name": "python"})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    for count, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = count
    return notebook


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=["one", "two"])


def add_words(words: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[2].source += "\n\n" + words

    return change


def set_source(source: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[3].source = source

    return change


def set_outputs(*outputs: dict, tag: str | None = None) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[3].outputs = [deepcopy(output) for output in outputs]
        notebook.cells[3].metadata["tags"] = [tag] if tag else []

    return change


def tag_cells(tag: str, count: int = 1) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        for cell in notebook.cells[3 : 3 + count]:
            cell.metadata["tags"] = [tag]

    return change


def remove(title: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells = [cell for cell in notebook.cells if title not in cell.source]

    return change


def never_run(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        cell.execution_count, cell.outputs = None, []


def two_titles(notebook: NotebookNode) -> None:
    notebook.cells[2].source = "# Again\n\n" + notebook.cells[2].source


def skipped_level(notebook: NotebookNode) -> None:
    notebook.cells[2].source += "\n\n#### Deep"


def sections_swapped(notebook: NotebookNode) -> None:
    notebook.cells[-1].source = "## References\n\nA book.\n\n## What next\n\nMore."


def seven_minutes(notebook: NotebookNode) -> None:
    notebook.cells[0].source = notebook.cells[0].source.replace("5 more", "7 more")


def no_cut_point(notebook: NotebookNode) -> None:
    notebook.cells[2].metadata = {}


def two_cut_points(notebook: NotebookNode) -> None:
    notebook.cells[2].metadata["tags"] = ["core", "optional"]


def nameless_exercise(notebook: NotebookNode) -> None:
    (tagged(notebook, "core")[0]).source = "### A task"


def open_solution(notebook: NotebookNode) -> None:
    del tagged(notebook, "solution")[0].metadata["jupyter"]


def long_solutions(notebook: NotebookNode) -> None:
    for cell in tagged(notebook, "solution"):
        cell.source = "def f(x):\n    x = -x\n    return x"


def solution_before(notebook: NotebookNode) -> None:
    at = notebook.cells.index(tagged(notebook, "solution")[-1])
    notebook.cells.insert(at - 1, notebook.cells.pop(at))


def fewer_cells(notebook: NotebookNode) -> None:
    del notebook.cells[3:13]


def long_cells(notebook: NotebookNode) -> None:
    for cell in notebook.cells[3:27]:
        cell.source = "\n".join(["x = 1"] * 9)


def interactive_source(source: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        tagged(notebook, "interactive")[0].source = source

    return change


def no_still_figure(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if output.output_type != "display_data"]


def stored_widget(notebook: NotebookNode) -> None:
    tagged(notebook, "interactive")[0].outputs[0].data[WIDGET] = {"model_id": "1"}


def untagged_picture(notebook: NotebookNode) -> None:
    tagged(notebook, "interactive")[0].metadata = {}


def timed_cell(notebook: NotebookNode) -> None:
    notebook.cells[3].metadata["execution"] = {"iopub.status.busy": "2026-01-01"}


def python_version(notebook: NotebookNode) -> None:
    notebook.metadata["language_info"]["version"] = "3.11.7"


def imported_out_of_reach(notebook: NotebookNode) -> None:
    add_words('Call `hint("99.1")`.')(notebook)
    set_source("def stuck():\n    from helpers import hint\n\n    return hint")(notebook)


def duplicate_id(notebook: NotebookNode) -> None:
    notebook.cells[1]["id"] = "not a valid id"


def picture(size: int) -> dict:
    return new_output("display_data", data={"image/png": base64.b64encode(bytes(size)).decode()})


LONG_ERROR = deepcopy(ERROR)
LONG_ERROR.traceback = ["line"] * 40
PRINTED_PATH = new_output("stream", name="stdout", text="/home/me/x.py")

BREAKS = [
    (duplicate_id, is_valid),
    (timed_cell, metadata_are_minimal),
    (python_version, metadata_are_minimal),
    (never_run, every_cell_was_run_in_order),
    (tag_cells("nbval-ignore-outputs"), tags_are_known),
    (set_source("a = 1\nb = 2\n# NBVAL_SKIP\nc = 3"), tags_are_known),
    (tag_cells("nbval-ignore-output"), few_outputs_are_ignored),
    (set_outputs(tag="nbval-ignore-output"), few_outputs_are_ignored),
    (set_outputs(ERROR), errors_are_declared),
    (set_outputs(tag="raises-exception"), errors_are_declared),
    (set_outputs(LONG_ERROR, tag="raises-exception"), errors_are_declared),
    (set_outputs(PRINTED_PATH), names_no_machine),
    (set_source("a = 1\nb = open('/tmp/x')\nc = 1"), names_no_machine),
    (add_words("See /Users/me/notes."), names_no_machine),
    (set_source("import urllib.request\na = 1\nb = 2"), needs_no_network_and_no_waiting),
    (set_source("a = 1\n%pip install torch\nb = 2"), needs_no_network_and_no_waiting),
    (set_source("import time\ntime.sleep(1)\nb = 2"), needs_no_network_and_no_waiting),
    (set_outputs(picture(MAX_PNG_BYTES + 1)), images_are_small),
    (add_words("[gone](02_gone.ipynb)"), links_lead_somewhere),
    (add_words("![](../pyproject.toml)"), links_lead_somewhere),
    (add_words("![a](https://example.org/a.png)"), links_lead_somewhere),
    (add_words("[part](../pyproject.toml#part)"), links_lead_somewhere),
    (add_words('<img src="https://example.org/a.png">'), links_lead_somewhere),
    (add_words('Call `hint("99.1")`.'), calls_in_prose_can_be_made),
    (add_words("Try `print(explain_cholesky_failure(S))`."), calls_in_prose_can_be_made),
    (imported_out_of_reach, calls_in_prose_can_be_made),
    (remove("It takes"), begins_with_title_table_and_setup),
    (remove("import torch"), begins_with_title_table_and_setup),
    (two_titles, headings_are_in_order),
    (skipped_level, headings_are_in_order),
    (remove("## Recap"), ends_with_the_common_sections),
    (sections_swapped, ends_with_the_common_sections),
    (remove("answer = 1"), exercises_have_solutions),
    (remove("answer ="), exercises_have_solutions),
    (open_solution, exercises_have_solutions),
    (solution_before, exercises_have_solutions),
    (no_cut_point, every_section_and_exercise_is_core_or_optional),
    (two_cut_points, every_section_and_exercise_is_core_or_optional),
    (tag_cells("core"), every_section_and_exercise_is_core_or_optional),
    (nameless_exercise, every_section_and_exercise_is_core_or_optional),
    (
        interactive_source("explore_ellipse()\nx = 1"),
        interactive_pictures_have_a_question_and_a_still_figure,
    ),
    (
        interactive_source("import os\nexplore_ellipse()"),
        interactive_pictures_have_a_question_and_a_still_figure,
    ),
    (
        interactive_source("explore_ellipse(3)"),
        interactive_pictures_have_a_question_and_a_still_figure,
    ),
    (interactive_source("print()"), interactive_pictures_have_a_question_and_a_still_figure),
    (remove("Which way"), interactive_pictures_have_a_question_and_a_still_figure),
    (no_still_figure, interactive_pictures_have_a_question_and_a_still_figure),
    (stored_widget, interactive_pictures_have_a_question_and_a_still_figure),
    (untagged_picture, interactive_pictures_have_a_question_and_a_still_figure),
    (set_source("\n".join(["x = 1"] * 21)), cells_are_short),
    (fewer_cells, cells_are_short),
    (long_cells, cells_are_short),
    (add_words("word " * 1000), the_text_has_its_length),
    (remove("word word"), the_text_has_its_length),
    (add_words("**Predict before you run.** " * 5), the_minutes_are_estimated_alike),
    (remove("It takes"), the_minutes_are_estimated_alike),
    (long_solutions, the_minutes_are_estimated_alike),
    (add_words("It is Just so."), the_voice_is_ours),
    (add_words("What a result!"), the_voice_is_ours),
    (add_words("The gap is 0.127 nats."), numbers_in_prose_come_from_cells),
    (add_words("It takes 8 steps."), numbers_in_prose_come_from_cells),
    (add_words("Of the rows, 12 % are lost."), numbers_in_prose_come_from_cells),
    (add_words("There are $10^4$ rows."), numbers_in_prose_come_from_cells),
    (add_words("Here $d = 7$."), numbers_in_prose_come_from_cells),
    (add_words("As section 2 says."), numbers_in_prose_come_from_cells),
    (add_words("As notebook 98 says."), numbers_in_prose_come_from_cells),
    (add_words("See [notebook 2](03_likelihood_fitting.ipynb)."), numbers_in_prose_come_from_cells),
    (add_words('Call `hint("99.2")`.'), numbers_in_prose_come_from_cells),
    (add_words("As float31 has it."), numbers_in_prose_come_from_cells),
    (add_words("As they say (1995)."), numbers_in_prose_come_from_cells),
    (add_words("## 3 · Where is the second?"), numbers_in_prose_come_from_cells),
    (seven_minutes, numbers_in_prose_come_from_cells),
    (add_words(r"The factor \(L\) is triangular."), formulas_stand_between_dollars),
    (add_words("So\n\n\\[ L L^\\top \\]\n\nholds."), formulas_stand_between_dollars),
]


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_a_good_notebook_keeps_the_rule(check):
    assert check(good_notebook()) == []


@pytest.mark.parametrize(("change", "check"), BREAKS)
def test_the_rule_bites(change, check):
    notebook = good_notebook()
    change(notebook)
    assert check(notebook), f"{check.__name__} did not notice"


def test_every_rule_is_seen_to_bite():
    assert {check for _, check in BREAKS} == set(RULES)


def test_a_declared_error_is_no_problem():
    notebook = good_notebook()
    set_outputs(ERROR, tag="raises-exception")(notebook)
    assert errors_are_declared(notebook) == []


@pytest.mark.parametrize(
    "source", ["from helpers import hint", "def hint(number):\n    return number", "hint = print"]
)
def test_a_call_that_can_be_made_is_no_problem(source):
    notebook = good_notebook()
    add_words('Call `hint("99.1")`; there are `hint` and `x.fit()` too.')(notebook)
    set_source(source)(notebook)
    assert calls_in_prose_can_be_made(notebook) == []


def test_words_in_code_and_formulas_are_not_prose():
    text = "It holds.\n\n```\njust = 1\n```\n\nAs `just` says, $n!$ is n! for $$\nsimply\n$$ all"
    assert FORBIDDEN.search(prose(text)) is None
    assert prose(text).split() == [
        "It",
        "holds.",
        "As",
        "x",
        "says,",
        "x",
        "is",
        "n!",
        "for",
        "x",
        "all",
    ]


@pytest.mark.parametrize(
    ("drawn", "stored", "problem"),
    [
        ({"01_a.ipynb": [b"1"]}, {"01_a.png": b"1"}, None),
        ({"01_a.ipynb": [b"1"]}, {}, "01_a.ipynb shows 1 figures"),
        ({"01_a.ipynb": []}, {"01_a.png": b"1"}, "01_a.png is drawn by no notebook"),
        ({"01_a.ipynb": [b"1"]}, {"01_a.png": b"2"}, "01_a.png is drawn by no notebook"),
        ({"02_b.ipynb": [b"1"]}, {"01_a.png": b"1"}, "01_a.png is drawn by ['02_b.ipynb']"),
        ({"01_a.ipynb": [b"1"], "02_b.ipynb": [b"1"]}, {"01_a.png": b"1"}, "'02_b.ipynb'"),
    ],
)
def test_the_figure_check_bites(drawn, stored, problem):
    problems = figure_problems(drawn, stored)
    assert problems == [] if problem is None else problem in problems[0]
