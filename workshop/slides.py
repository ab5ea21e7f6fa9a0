"""Slides for a notebook: one HTML file of reveal.js, by rule from the cells of the notebook.

Every section gives its question with the prediction, the cell that answers it (tagged ``answer``,
unless a figure does), its figures, one check (the last short one, unless a cell is tagged
``check``) and what to remember. The tasks of the exercises follow.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from nbformat import NotebookNode

from workshop import html, notes
from workshop.anatomy import (
    PREDICT,
    REMEMBER,
    Part,
    is_code,
    lines_of_code,
    parts,
    read_notebook,
    remember,
)
from workshop.plans import Plan, part_minutes

ANSWER_TAG, CHECK_TAG = "answer", "check"
CLOSING = {"Recap": "list", "What next": "text"}

MAX_LEAD_WORDS = 60
MAX_CAPTION_WORDS = 45
MAX_CHECK_LINES = 14
WIDE_FIGURE = 1.75
"""From this ratio of width to height on, the words stand below the figure and not beside it."""

CODE_BOX = (1100, 450)
"""Pixels that code and what it prints may fill, of the 1280 by 720 of a slide."""
CODE_SIZES = (16, 26)
CHARACTER_WIDTH, LINE_HEIGHT = 0.61, 1.35
"""Of a monospaced letter, in units of the size of the font."""
BEGINNING_LEFT_OUT = "# ... (the beginning stands in the notebook)"
TEXT_SIZES = ((35, "huge"), (75, "large"), (110, "medium"))
"""How many words fit at which size; more are set in the smallest, ``small``."""

_ASSERTION = re.compile(r"^\s*(?:assert\b|torch\.testing\.assert_close\()", re.MULTILINE)
_FIGURE_NAME = re.compile(r"[\"'](\d\d_\w+)[\"']")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_STANZA_END = re.compile(r"\n{2,}(?=\S)")
_SENTENCE_END = re.compile(r"(?<=[.?:])\s+(?=[A-Z*`$])")


@dataclass(frozen=True)
class Figure:
    """A picture of a notebook, with its name and its size in pixels."""

    name: str
    png: bytes
    width: int
    height: int

    @property
    def alt(self) -> str:
        """What it shows, in words."""
        return html.alt_text(self.name)

    @property
    def is_wide(self) -> bool:
        """Whether words stand below it and not beside it."""
        return self.width / self.height >= WIDE_FIGURE


@dataclass(frozen=True)
class Slide:
    """What stands on a slide; its texts are markdown."""

    kind: str
    heading: str
    number: str = ""
    lead: str = ""
    text: str = ""
    code: str = ""
    printed: str = ""
    figure: Figure | None = None
    columns: tuple[tuple[str, str], ...] = ()
    notes: str = ""

    @property
    def text_size(self) -> str:
        """Fewer words are set larger."""
        words = len((self.lead + " " + self.text).split())
        return next((size for limit, size in TEXT_SIZES if words <= limit), "small")

    @property
    def code_size(self) -> int:
        """Of the font, in pixels."""
        return fitting_size(self.code, self.printed)


def build(plan: Plan, notebooks: Sequence[Path], out: Path) -> list[Path]:
    """Write a file of slides for each notebook of a plan, and beside them what they load.

    Parameters
    ----------
    plan : Plan
        Which notebooks, sections and exercises are shown.
    notebooks : sequence of Path
        With their outputs.
    out : Path
        A folder, created where it is missing. It can be moved anywhere as a whole.

    Returns
    -------
    list of Path
        The files of slides.
    """
    decks = {
        path.stem: with_notes(slides_of(read_notebook(path), plan), notes.read(path.stem))
        for path in plan.chosen(notebooks)
    }
    assets = out / "assets"
    _write_assets(assets, [slide for slides in decks.values() for slide in slides])
    return [_write_deck(slides, out / f"{stem}.html") for stem, slides in decks.items()]


def style_sheet() -> str:
    """The look of the slides, with the colours of the figures."""
    from helpers import COLORS

    return html.render("slides.css", colors=COLORS) + html.highlight_css() + "\n"


def slides_of(notebook: NotebookNode, plan: Plan) -> list[Slide]:
    """All slides of a notebook, without the speaker's notes."""
    opening, *following = [part for part in parts(notebook) if plan.keeps(part)]
    sections = [part for part in following if part.kind == "section"]
    exercises = [part for part in following if part.kind == "exercise"]
    closing = [part for part in following if part.heading in CLOSING]
    minutes = sum(map(part_minutes, (opening, *following)))
    return [
        title_slide(opening, minutes),
        overview_slide(sections, exercises),
        *(slide for section in sections for slide in section_slides(section)),
        *map(exercise_slide, exercises),
        *(Slide(CLOSING[p.heading], p.heading, text=_text(*_blocks(p))) for p in closing),
    ]


def with_notes(slides: list[Slide], found: notes.Notes) -> list[Slide]:
    """Give each slide the notes of its section or exercise, so that they are always at hand."""
    title = "\n\n".join((found.introduction, found.objectives, found.prerequisites)).strip()
    by_heading = {slides[0].heading: title, "Recap": found.key_points}
    by_heading |= found.sections | found.exercises
    return [replace(slide, notes=by_heading.get(_full_heading(slide), "")) for slide in slides]


def title_slide(opening: Part, minutes: float) -> Slide:
    """The title, the promise, and what the learner will do, need and spend."""
    blocks = _blocks(opening)
    promise = next(block for block in blocks if block.startswith("*"))
    table = next(block for block in blocks if block.startswith("|")).splitlines()
    columns = dict(zip(_table_cells(table[0]), _table_cells(table[2]), strict=True))
    # The table speaks of the whole notebook, read alone; a plan may have cut it.
    columns["it takes"] = f"about {5 * round(minutes / 5)} minutes, exercises included"
    return Slide("title", opening.heading, text=promise.strip("*"), columns=_columns(columns))


def overview_slide(sections: list[Part], exercises: list[Part]) -> Slide:
    """The questions of the sections and the names of the exercises."""
    columns = {
        "questions": "\n\n".join(part.heading for part in sections),
        "exercises": "\n\n".join(part.heading.removeprefix("Exercise ") for part in exercises),
    }
    return Slide("overview", "What we will ask", columns=_columns(columns))


def section_slides(section: Part) -> Iterator[Slide]:
    """The question; in their order the answer, the figures and the check; what to remember."""
    blank = Slide("", _name(section), section.number)
    lead, predict = prediction(section)
    yield replace(blank, kind="question", lead=lead, text=predict)
    check = check_cell(section)
    for cell in filter(is_code, section.cells):
        answers = is_code(cell, ANSWER_TAG)
        if figure := figure_of(cell):
            said = printed(cell) if answers else ""
            caption = caption_after(section, cell)
            yield replace(blank, kind="figure", figure=figure, text=caption, printed=said)
        elif answers or cell is check:
            code = shortened(cell.source, printed(cell))
            said = clipped(code, printed(cell))
            yield replace(blank, kind="answer" if answers else "check", code=code, printed=said)
    yield replace(blank, kind="remember", text=_text(remember(section).removeprefix(REMEMBER)))


def exercise_slide(exercise: Part) -> Slide:
    """The task, and nothing that would give it away."""
    number = f"Exercise {exercise.number}"
    return Slide("exercise", _name(exercise), number, text=_text(*_blocks(exercise)))


def prediction(section: Part) -> tuple[str, str]:
    """The paragraph before the prediction, where it is short, and what is to be predicted."""
    before = ""
    for block in _blocks(section):
        if block.startswith(PREDICT):
            lead = before if len(before.split()) <= MAX_LEAD_WORDS else ""
            return _text(lead), _text(block.removeprefix(PREDICT))
        before = block
    return "", ""


def check_cell(section: Part) -> NotebookNode | None:
    """The last short cell that asserts something and prints a line; else the shortest."""
    if tagged := [cell for cell in section.cells if is_code(cell, CHECK_TAG)]:
        return tagged[0]
    checks = [c for c in section.cells if is_code(c) and _ASSERTION.search(c.source)]
    telling = [cell for cell in checks if printed(cell) and not figure_of(cell)] or checks
    short = [cell for cell in telling if lines_of_code(cell) <= MAX_CHECK_LINES]
    return short[-1] if short else min(telling, key=lines_of_code, default=None)


def printed(cell: NotebookNode) -> str:
    """What a cell prints."""
    texts = [output.text for output in cell.outputs if output.output_type == "stream"]
    return "".join(texts).rstrip()


def figure_of(cell: NotebookNode) -> Figure | None:
    """The last picture below a cell, under the name by which the cell saves it.

    Raises
    ------
    ValueError
        If there is a picture, and no name of one in the code.
    """
    images = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
    if not images:
        return None
    names = _FIGURE_NAME.findall(cell.source)
    if not names:
        raise ValueError(f"cell: expected the name of its figure in the code, got {cell.source!r}")
    png = base64.b64decode(images[-1])
    # The header of a PNG holds its size at a fixed place.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Figure(names[-1], png, width, height)


def caption_after(section: Part, cell: NotebookNode) -> str:
    """The first sentences of the paragraph after a figure, which say what to see."""
    after = section.cells[section.cells.index(cell) + 1 :]
    prose = next((later.source for later in after if not is_code(later)), "")
    paragraph = next(iter(_paragraphs(prose)), "")
    if paragraph.startswith("**"):
        return ""
    sentences = _SENTENCE_END.split(html.without_links(paragraph))
    counts = [len(" ".join(sentences[:n]).split()) for n in range(1, len(sentences) + 1)]
    fitting = len(list(takewhile(lambda count: count <= MAX_CAPTION_WORDS, counts)))
    return " ".join(sentences[: max(fitting, 1)])


def fitting_size(code: str, printed: str = "") -> int:
    """The largest size of the font, in pixels, at which both fit on a slide.

    Lines that are printed may wrap; lines of code may not.
    """
    low, high = CODE_SIZES
    return next((size for size in range(high, low, -1) if _fits(code, printed, size)), low)


def shortened(code: str, printed: str) -> str:
    """Code without its imports, and without its first stanzas if all would not fit on a slide."""
    stanzas = [s for s in _STANZA_END.split(code) if not s.startswith(("import ", "from "))]
    short = "\n\n".join(stanzas)
    while len(stanzas) > 1 and not _fits(short, printed, CODE_SIZES[0]):
        del stanzas[0]
        short = "\n\n".join([BEGINNING_LEFT_OUT, *stanzas])
    return short


def clipped(code: str, printed: str) -> str:
    """What is printed, less the last lines if all would not fit below the code."""
    smallest = CODE_SIZES[0]
    if _fits(code, printed, smallest):
        return printed
    lines = printed.splitlines()
    while lines and not _fits(code, "\n".join([*lines, "..."]), smallest):
        lines.pop()
    return "\n".join([*lines, "..."])


def _fits(code: str, printed: str, size: int) -> bool:
    width, height = CODE_BOX
    columns = int(width / (CHARACTER_WIDTH * size))
    lengths = [len(line) for line in code.splitlines()]
    wrapped = sum(max(1, -(-len(line) // columns)) for line in printed.splitlines())
    is_low_enough = (len(lengths) + wrapped) * LINE_HEIGHT * size <= height
    return is_low_enough and max(lengths, default=0) <= columns


def _write_assets(assets: Path, slides: list[Slide]) -> None:
    """Pictures, style sheet and libraries, which all files of slides share."""
    (assets / "figures").mkdir(parents=True, exist_ok=True)
    for figure in filter(None, (slide.figure for slide in slides)):
        (assets / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    (assets / "slides.css").write_text(style_sheet(), encoding="utf-8")
    for library in ("reveal", "mathjax"):
        html.copy_vendored(library, assets)


def _write_deck(slides: list[Slide], file: Path) -> Path:
    title = slides[0].heading
    page = html.render("slides.html", title=title, slides=slides, assets="assets")
    file.write_text(page, encoding="utf-8")
    return file


def _full_heading(slide: Slide) -> str:
    return f"{slide.number} · {slide.heading}" if slide.number else slide.heading


def _paragraphs(source: str) -> list[str]:
    """Paragraphs of markdown, without headings; a list or a formula is one of them."""
    found = [block.strip() for block in _PARAGRAPH_END.split(source)]
    return [block for block in found if block and not block.startswith("#")]


def _blocks(part: Part) -> list[str]:
    return [b for cell in part.cells if not is_code(cell) for b in _paragraphs(cell.source)]


def _name(part: Part) -> str:
    return part.heading.partition(" · ")[2]


def _text(*blocks: str) -> str:
    return html.without_links("\n\n".join(blocks)).strip()


def _columns(texts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, html.without_links(text)) for name, text in texts.items())


def _table_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
