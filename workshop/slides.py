"""Slides for a notebook: one HTML file of reveal.js, by rule from the cells of the notebook.

Every section gives its question with the prediction; the cells that answer it (tagged ``answer``,
unless a figure does) and what is tagged ``show`` on the way there; then its other figures and one
check (the last short one, unless a cell is tagged ``check``); and what to remember. Recap and
exercises stand where they do in the notebook.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from pathlib import Path

from nbformat import NotebookNode

from workshop import captions, html, notes, welcome
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
from workshop.excerpts import Excerpt, excerpt
from workshop.plans import Plan, part_minutes
from workshop.wording import reworded

ANSWER_TAG, CHECK_TAG, SHOW_TAG = "answer", "check", "show"
CLOSING = {"Recap": "list", "What next": "text"}

MAX_LEAD_WORDS = 60
MAX_CAPTION_WORDS = 45
MAX_CHECK_LINES = 8
MAX_PRINTED_BY_A_FIGURE = 120
"""How many characters a cell may print, in two lines, to be shown with its figure."""
WIDE_FIGURE = 1.75
"""From this ratio of width to height on, the words stand below the figure and not beside it."""
TEXT_SIZES = ((35, "huge"), (75, "large"), (110, "medium"))
"""How many words fit at which size; more are set in the smallest, ``small``."""

_ASSERTION = re.compile(r"^\s*(?:assert\b|torch\.testing\.assert_close\()", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n\s*\n")
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
        return captions.alt_text(self.name)

    @property
    def caption(self) -> tuple[str, str]:
        """Its number, and the sentence below it."""
        return captions.numbered_caption(self.name)

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
    excerpt: Excerpt | None = None
    figure: Figure | None = None
    columns: tuple[tuple[str, str], ...] = ()
    notes: str = ""

    @property
    def text_size(self) -> str:
        """Fewer words are set larger."""
        words = len((self.lead + " " + self.text).split())
        return next((size for limit, size in TEXT_SIZES if words <= limit), "small")


def build(
    plan: Plan, notebooks: Sequence[Path], out: Path, start: str = welcome.START
) -> list[Path]:
    """Write a file of slides for each notebook of a plan, and beside them what they load.

    Parameters
    ----------
    plan : Plan
        Which notebooks, sections and exercises are shown.
    notebooks : sequence of Path
        With their outputs.
    out : Path
        A folder, created where it is missing. It can be moved anywhere as a whole.
    start : str, optional
        When the workshop begins, as ``"9:00"``.

    Returns
    -------
    list of Path
        The files of slides, first the one to welcome people with.
    """
    sources = {path.stem: read_notebook(path) for path in plan.chosen(notebooks)}
    day = welcome.Day(plan, sources, start)
    decks = {welcome.STEM: welcome_slides(day)}
    for stem, notebook in sources.items():
        noted = with_notes(slides_of(notebook, plan), notes.read(stem))
        decks[stem] = noted + break_slides(day, stem)
    assets = out / "assets"
    _write_assets(assets, [slide for slides in decks.values() for slide in slides])
    return [_write_deck(slides, out / f"{stem}.html") for stem, slides in decks.items()]


def style_sheet() -> str:
    """The look of the slides, with the colours of the figures."""
    from helpers import COLORS

    return html.render("slides.css", colors=COLORS) + html.highlight_css() + "\n"


def welcome_slides(day: welcome.Day) -> list[Slide]:
    """What is shown while people arrive, and how the workshop runs."""
    return [
        Slide(
            "title",
            welcome.TITLE,
            text=day.plan.promise,
            columns=_columns(day.overview()),
            notes=welcome.speaker_notes(),
        ),
        Slide("schedule", day.heading, text=day.table()),
        Slide("steps", "Before we start", text=day.first_steps(), columns=welcome.ADDRESSES),
        Slide("steps", "How a section runs", text=welcome.HOW_A_SECTION_RUNS),
        Slide("steps", "When you are stuck", text=day.help()),
    ]


def break_slides(day: welcome.Day, stem: str) -> list[Slide]:
    """The breaks that follow a notebook."""
    return [Slide("break", f"Break: {b.minutes} minutes", text=b.text) for b in day.breaks(stem)]


def slides_of(notebook: NotebookNode, plan: Plan) -> list[Slide]:
    """All slides of a notebook, without the speaker's notes."""
    kept = [part for part in reworded(parts(notebook), plan) if plan.keeps(part)]
    opening, *following = kept
    return [
        title_slide(opening, sum(map(part_minutes, kept))),
        overview_slide(following),
        *(slide for part in following for slide in _part_slides(part)),
    ]


def with_notes(slides: list[Slide], found: notes.Notes) -> list[Slide]:
    """Give each slide the notes that belong to it."""
    title = "\n\n".join((found.introduction, found.objectives, found.prerequisites)).strip()
    whole = {slides[0].heading: title, "Recap": found.key_points} | found.exercises
    noted = []
    for heading, neighbours in groupby(slides, key=_full_heading):
        group = list(neighbours)
        if heading in found.sections:
            texts = _shared_out(found.sections[heading], [slide.kind for slide in group])
        else:
            texts = [whole.get(heading, "")] * len(group)
        noted += [replace(s, notes=text) for s, text in zip(group, texts, strict=True)]
    return noted


def _shared_out(note: str, kinds: list[str]) -> list[str]:
    """The pieces of a note, each on the slide where it is needed; the window shows no more."""
    pieces = notes.pieces(note)
    between = range(1, len(kinds) - 1)
    answers = [i for i in between if kinds[i] == "answer"] or [
        i for i in between if kinds[i] == "figure"
    ]
    asks = (answers or [0])[0]
    watches = next((i for i in between if kinds[i] == "figure" and i != asks), max(between))
    texts: list[list[str]] = [[] for _ in kinds]
    places = (0, "prose"), (asks, "Ask"), (watches, "Watch for"), (len(kinds) - 1, "Say")
    for at, name in places:
        texts[at].append(pieces.get(name, ""))
    return ["\n\n".join(filter(None, text)) for text in texts]


def title_slide(opening: Part, minutes: float) -> Slide:
    """The title, the promise, and what the learner will do, need and spend."""
    blocks = _blocks(opening)
    promise = next(block for block in blocks if block.startswith("*"))
    table = next(block for block in blocks if block.startswith("|")).splitlines()
    columns = dict(zip(_table_cells(table[0]), _table_cells(table[2]), strict=True))
    # The table speaks of the whole notebook, read alone; a plan may have cut it.
    columns["it takes"] = f"about {5 * round(minutes / 5)} minutes, exercises included"
    return Slide("title", opening.heading, text=promise.strip("*"), columns=_columns(columns))


def overview_slide(following: list[Part]) -> Slide:
    """The questions of the sections and the names of the exercises."""
    sections = [part.heading for part in following if part.kind == "section"]
    exercises = [p.heading.removeprefix("Exercise ") for p in following if p.kind == "exercise"]
    columns = {"questions": "\n\n".join(sections), "exercises": "\n\n".join(exercises)}
    return Slide("overview", "What we will ask", columns=_columns(columns))


def section_slides(section: Part) -> Iterator[Slide]:
    """The question; the answer, the figures and the check; what to remember."""
    blank = Slide("", _name(section), section.number)
    lead, predict = prediction(section)
    yield replace(blank, kind="question", lead=lead, text=predict)
    for cell in shown_cells(section):
        answers = is_code(cell, ANSWER_TAG)
        if figure := figure_of(cell):
            said = printed(cell) if answers else ""
            if not _fits_by_a_figure(said):
                yield replace(blank, kind=ANSWER_TAG, excerpt=excerpt("", said))
                said = ""
            beside = Excerpt(printed=said) if said else None
            caption = caption_after(section, cell)
            yield replace(blank, kind="figure", figure=figure, text=caption, excerpt=beside)
        else:
            kind = ANSWER_TAG if answers else SHOW_TAG if is_code(cell, SHOW_TAG) else CHECK_TAG
            taken = excerpt(cell.source, printed(cell), holds_back=answers)
            # Below a check the text has often gone on to the next thing.
            needs_words = not taken.code and kind != CHECK_TAG
            text = caption_right_after(section, cell) if needs_words else ""
            yield replace(blank, kind=kind, excerpt=taken, text=text)
    yield replace(blank, kind="remember", text=_text(remember(section).removeprefix(REMEMBER)))


def _fits_by_a_figure(said: str) -> bool:
    return len(said) <= MAX_PRINTED_BY_A_FIGURE and len(said.splitlines()) <= 2


def shown_cells(section: Part) -> list[NotebookNode]:
    """The cells that get a slide: up to the answer only those with a tag, then the others.

    A figure or a check before the answer would give it away.
    """
    check = check_cell(section)
    cells = [
        cell
        for cell in filter(is_code, section.cells)
        if is_code(cell, ANSWER_TAG, SHOW_TAG) or cell is check or figure_of(cell)
    ]
    answers = [i for i, cell in enumerate(cells) if is_code(cell, ANSWER_TAG)]
    end = answers[-1] + 1 if answers else 0
    first = [cell for cell in cells[:end] if is_code(cell, ANSWER_TAG, SHOW_TAG)]
    return first + [cell for cell in cells if not any(cell is one for one in first)]


def exercise_slide(exercise: Part) -> Slide:
    """The task with its minutes, a picture to reproduce, and nothing that would give it away."""
    about = f'{part_minutes(exercise):.0f} minutes, in pairs. Stuck? `hint("{exercise.number}")`'
    pictures = map(figure_of, filter(is_code, exercise.cells))
    return Slide(
        "exercise",
        _name(exercise),
        f"Exercise {exercise.number}",
        lead=about,
        text=_text(*_blocks(exercise)),
        figure=next(filter(None, pictures), None),
    )


def prediction(section: Part) -> tuple[str, str]:
    """What stands before the prediction, where it is short, and what is to be predicted."""
    before: list[str] = []
    for block in _blocks(section):
        if block.startswith(PREDICT):
            return _text(*_lead(before)), _text(block.removeprefix(PREDICT))
        before.append(block)
    return "", ""


def _lead(before: list[str]) -> list[str]:
    """The last paragraph, with the last formula before it, to which it may refer."""
    if not before or len(before[-1].split()) > MAX_LEAD_WORDS:
        return []
    formulas = [block for block in before[:-1] if block.startswith("$$")]
    return [*formulas[-1:], before[-1]]


def check_cell(section: Part) -> NotebookNode | None:
    """The last short cell that asserts something and prints a line; else the shortest."""
    code = [cell for cell in section.cells if is_code(cell)]
    if tagged := [cell for cell in code if is_code(cell, CHECK_TAG)]:
        return tagged[0]
    others = [cell for cell in code if not is_code(cell, ANSWER_TAG, SHOW_TAG)]
    checks = [c for c in others if _ASSERTION.search(c.source) and printed(c) and not figure_of(c)]
    short = [cell for cell in checks if lines_of_code(cell) <= MAX_CHECK_LINES]
    return short[-1] if short else min(checks, key=lines_of_code, default=None)


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
    names = captions.figure_names(cell.source)
    if not names:
        raise ValueError(f"cell: expected the name of its figure in the code, got {cell.source!r}")
    png = base64.b64decode(images[-1])
    # The header of a PNG holds its size at a fixed place.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Figure(names[-1], png, width, height)


def caption_after(section: Part, cell: NotebookNode) -> str:
    """The first sentences of the paragraph after a figure, which say what to see."""
    after = section.cells[section.cells.index(cell) + 1 :]
    return _beginning(next((later.source for later in after if not is_code(later)), ""))


def caption_right_after(section: Part, cell: NotebookNode) -> str:
    """The first sentences below a cell, empty if another cell with code follows at once."""
    later = section.cells[section.cells.index(cell) + 1]
    return "" if is_code(later) else _beginning(later.source)


def _beginning(prose: str) -> str:
    paragraph = next(iter(_paragraphs(prose)), "")
    if paragraph.startswith("**"):
        return ""
    sentences = _SENTENCE_END.split(html.without_links(paragraph))
    counts = [len(" ".join(sentences[:n]).split()) for n in range(1, len(sentences) + 1)]
    fitting = len(list(takewhile(lambda count: count <= MAX_CAPTION_WORDS, counts)))
    return " ".join(sentences[: max(fitting, 1)])


def _part_slides(part: Part) -> Iterator[Slide]:
    if part.kind == "section":
        yield from section_slides(part)
    elif part.kind == "exercise":
        yield exercise_slide(part)
    elif part.heading in CLOSING:
        yield Slide(CLOSING[part.heading], part.heading, text=_text(*_blocks(part)))


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
