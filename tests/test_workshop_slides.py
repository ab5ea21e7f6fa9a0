"""Slides: what stands on them by which rule, and pages that need nothing from the network."""

from __future__ import annotations

import base64
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workshop import html, slides
from workshop.anatomy import course_notebooks, is_code, parts, read_notebook, tags
from workshop.browser import find_chromium
from workshop.notes import Notes
from workshop.plans import PLANS

ROOT = Path(__file__).parents[1]
DAY, SHORT = PLANS["day"], PLANS["90min"]
NOTEBOOKS = {path.stem: read_notebook(path) for path in course_notebooks()}
ALT_TEXT_LENGTH = (120, 320)

# The smallest picture there is: one dot, 2 wide and 1 high by its header.
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x02\x00\x00\x00\x01"
).decode()


def output(text: str) -> dict:
    return new_output("stream", name="stdout", text=text)


def picture() -> dict:
    return new_output("display_data", data={"image/png": PNG})


def notebook_of(*section: dict):
    table = "| you will | you need | it takes |\n|---|---|---|\n| [a](b.ipynb) | c | d |"
    opening = "# 1 · Tiny\n\n*A promise.*\n\n" + table
    cells = [
        new_markdown_cell(opening),
        new_code_cell("import torch", metadata={"tags": ["setup"]}),
        *section,
        new_markdown_cell("## Recap\n\n- one\n- two"),
        new_markdown_cell("## Exercises"),
        new_markdown_cell("### Exercise 01.1 · a task\n\nDo *it*."),
        new_code_cell("answer = None", metadata={"tags": ["exercise"]}),
        new_code_cell("answer = 42", metadata={"tags": ["solution"]}),
        new_markdown_cell("## What next\n\nMore in [notebook 2](02.ipynb)."),
        new_markdown_cell("## References\n\nA book."),
    ]
    return new_notebook(cells=cells)


SECTION = [
    new_markdown_cell(
        "## 1 · Why?\n\nA lead.\n\n**Predict before you run.** What is $x$?\n\nThe idea."
    ),
    new_code_cell("x = 1\nprint(x)", outputs=[output("1\n")], metadata={"tags": ["answer"]}),
    new_code_cell("draw('01_dot')", outputs=[picture()]),
    new_markdown_cell("Look here, at [the dot](a.ipynb). Then there."),
    new_code_cell("assert x == 1\nprint('right')", outputs=[output("right\n")]),
    new_code_cell("y = 2"),
    new_markdown_cell("More.\n\n**Remember.** One dot."),
]


def kinds(found: list[slides.Slide]) -> list[str]:
    return [slide.kind for slide in found]


def section_of(*cells: dict):
    return parts(notebook_of(*cells))[1]


# What stands on the slides -----------------------------------------------------------------------


def test_a_notebook_becomes_slides_in_the_order_of_its_cells():
    found = slides.slides_of(notebook_of(*SECTION), DAY)
    in_section = ["question", "answer", "figure", "check", "remember"]
    assert kinds(found) == ["title", "overview", *in_section, "exercise", "list", "text"]
    title, overview, question, answer, figure, check, remember, exercise, recap, next_ = found
    assert (title.heading, title.text) == ("1 · Tiny", "A promise.")
    assert dict(title.columns)["you will"] == "a"
    assert dict(overview.columns) == {"questions": "1 · Why?", "exercises": "01.1 · a task"}
    assert (question.number, question.heading) == ("1", "Why?")
    assert (question.lead, question.text) == ("A lead.", "What is $x$?")
    assert (answer.code, answer.printed) == ("x = 1\nprint(x)", "1")
    assert (figure.figure.name, figure.text) == ("01_dot", "Look here, at the dot. Then there.")
    assert (check.code, check.printed) == ("assert x == 1\nprint('right')", "right")
    assert remember.text == "One dot."
    assert (exercise.number, exercise.heading, exercise.text) == (
        "Exercise 01.1",
        "a task",
        "Do *it*.",
    )
    assert recap.text == "- one\n- two"
    assert next_.text == "More in notebook 2."


def test_the_minutes_on_the_title_are_those_of_the_plan():
    long = new_markdown_cell("word " * 2600)
    whole = notebook_of(SECTION[0], long, *SECTION[1:])
    whole.cells[2].metadata["tags"] = ["optional"]
    whole.cells.insert(2, new_markdown_cell("word " * 1300))
    minutes = {
        plan.name: dict(slides.slides_of(whole, plan)[0].columns)["it takes"]
        for plan in (DAY, SHORT)
    }
    assert minutes["day"] == "about 35 minutes, exercises included"
    assert minutes["90min"] == "about 10 minutes, exercises included"


def test_what_a_plan_leaves_out_is_on_no_slide():
    cut = notebook_of(*SECTION)
    cut.cells[2].metadata["tags"] = ["optional"]
    found = slides.slides_of(cut, SHORT)
    assert kinds(found) == ["title", "overview", "exercise", "list", "text"]


def test_a_long_lead_is_left_to_the_notebook():
    text = "word " * (slides.MAX_LEAD_WORDS + 1) + "\n\n**Predict before you run.** What?"
    section = section_of(new_markdown_cell("## 1 · Why?\n\n" + text))
    assert slides.prediction(section) == ("", "What?")


def test_a_figure_that_answers_shows_what_its_cell_prints():
    cell = new_code_cell(
        "draw('01_dot')", outputs=[picture(), output("1\n")], metadata={"tags": ["answer"]}
    )
    found = list(slides.section_slides(section_of(SECTION[0], cell, *SECTION[3:])))
    assert kinds(found) == ["question", "figure", "check", "remember"]
    assert found[1].printed == "1"


def test_the_check_is_the_last_short_one_unless_another_is_tagged():
    first = new_code_cell("assert 1\nprint(1)", outputs=[output("1\n")])
    silent = new_code_cell("assert 2")
    drawn = new_code_cell("assert 3\nprint('01_dot')", outputs=[output("3\n"), picture()])
    long_code = "assert 4\n" + "print(4)\n" * slides.MAX_CHECK_LINES
    long = new_code_cell(long_code, outputs=[output("4\n")])
    cells = [SECTION[0], first, silent, drawn, long, SECTION[-1]]
    assert slides.check_cell(section_of(*cells)) is first
    assert slides.check_cell(section_of(SECTION[0], long, SECTION[-1])) is long
    assert slides.check_cell(section_of(SECTION[0], silent, SECTION[-1])) is silent
    assert slides.check_cell(section_of(SECTION[0], SECTION[-1])) is None
    silent.metadata["tags"] = ["check"]
    assert slides.check_cell(section_of(*cells)) is silent


def test_a_caption_ends_with_a_sentence_before_it_gets_long():
    sentence = "Here are some ten words that say what to see. "
    section = section_of(SECTION[0], SECTION[2], new_markdown_cell(sentence * 9), SECTION[-1])
    caption = slides.caption_after(section, SECTION[2])
    assert caption == " ".join([sentence.strip()] * (slides.MAX_CAPTION_WORDS // 10))


def test_a_figure_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r"cell: expected the name of its figure .* 'draw\(\)'"):
        slides.figure_of(new_code_cell("draw()", outputs=[picture()]))


def test_a_figure_without_words_for_it_is_refused():
    with pytest.raises(ValueError, match=r"expected a name in docs/alt_text.toml, got '01_dot'"):
        _ = slides.figure_of(SECTION[2]).alt


# What fits ---------------------------------------------------------------------------------------


def test_code_is_as_large_as_fits():
    low, high = slides.CODE_SIZES
    assert slides.fitting_size("x = 1") == high
    wide = slides.fitting_size("x" * 100)
    assert low < wide < high
    assert 100 * slides.CHARACTER_WIDTH * wide <= slides.CODE_BOX[0]
    assert slides.fitting_size("x\n" * 40) == low


def test_imports_and_then_the_beginning_of_long_code_stay_in_the_notebook():
    code = "import torch\n\nx = 1\n\n\ndef f():\n    y = 2\n\n    return y\n\n\nprint(f())"
    assert slides.shortened(code, "") == code[14:].replace("\n\n\n", "\n\n")
    long = "import torch\n\n" + "x = 1\n" * 30 + "\nprint(x)"
    assert slides.shortened(long, "") == slides.BEGINNING_LEFT_OUT + "\n\nprint(x)"


def test_what_is_printed_is_cut_where_the_slide_ends():
    code = "print(x)\n" * 10
    assert slides.clipped(code, "1\n2") == "1\n2"
    cut = slides.clipped(code, "\n".join(map(str, range(40)))).splitlines()
    assert cut[:3] == ["0", "1", "2"]
    assert cut[-1] == "..."
    assert (10 + len(cut)) * slides.LINE_HEIGHT * slides.CODE_SIZES[0] <= slides.CODE_BOX[1]


def test_fewer_words_are_larger():
    sizes = [slides.Slide("text", "", text="word " * n).text_size for n in (10, 60, 100, 200)]
    assert sizes == ["huge", "large", "medium", "small"]


# The notebooks of the course ---------------------------------------------------------------------


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_prediction_is_answered_on_a_slide(stem):
    for part in parts(NOTEBOOKS[stem]):
        if part.kind == "section":
            found = kinds(list(slides.section_slides(part)))
            assert found[0] == "question", part.heading
            assert slides.prediction(part)[1], part.heading
            assert {"answer", "figure"} & set(found), part.heading
            assert {"answer", "check"} & set(found), part.heading
            assert found[-1] == "remember"


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_tags_for_slides_stand_once_a_section_on_cells_with_an_output(stem):
    for part in parts(NOTEBOOKS[stem]):
        for tag in (slides.ANSWER_TAG, slides.CHECK_TAG):
            tagged = [cell for cell in part.cells if tag in tags(cell)]
            assert len(tagged) <= (part.kind == "section"), part.heading
            assert all(is_code(cell) and slides.printed(cell) for cell in tagged), part.heading


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_no_solution_is_on_a_slide(stem):
    shown = "\n".join(
        slide.text + slide.code + slide.printed for slide in slides.slides_of(NOTEBOOKS[stem], DAY)
    )
    solutions = [cell for cell in NOTEBOOKS[stem].cells if is_code(cell, "solution")]
    assert solutions
    for cell in solutions:
        lines = [line.strip() for line in cell.source.splitlines() if "return" in line]
        assert lines
        assert not [line for line in lines if line in shown]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_slide_of_a_section_or_exercise_has_the_teachers_notes(stem):
    from workshop import notes

    found = slides.with_notes(slides.slides_of(NOTEBOOKS[stem], DAY), notes.read(stem))
    without = [slide.heading for slide in found if not slide.notes]
    assert without == ["What we will ask", "What next"]


def test_notes_go_to_the_slides_of_their_heading():
    page = Notes(
        introduction="Hello.",
        key_points="- key",
        sections={"1 · Why?": "Ask."},
        exercises={"Exercise 01.1 · a task": "Wait."},
    )
    found = slides.with_notes(slides.slides_of(notebook_of(*SECTION), DAY), page)
    by_kind = {slide.kind: slide.notes for slide in found}
    assert by_kind["title"] == "Hello."
    assert by_kind["question"] == by_kind["remember"] == "Ask."
    assert by_kind["exercise"] == "Wait."
    assert by_kind["list"] == "- key"
    assert by_kind["text"] == by_kind["overview"] == ""


# The files ---------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects what a page loads or leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href")]


def links(page: Path) -> list[str]:
    parser = Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return slides.build(SHORT, course_notebooks(), tmp_path_factory.mktemp("slides"))


def test_the_decks_are_those_of_the_plan(built):
    assert [path.stem for path in built] == [s for s in NOTEBOOKS if SHORT.takes(s)]


def test_a_deck_loads_only_files_that_lie_beside_it(built):
    for deck in built:
        assert links(deck)
        assert [link for link in links(deck) if not (deck.parent / link).is_file()] == []
    css = (built[0].parent / "assets" / "slides.css").read_text(encoding="utf-8")
    assert "url(" not in css
    assert "@import" not in css


def test_no_file_is_written_that_no_deck_loads(built):
    folder = built[0].parent / "assets"
    written = {path for path in folder.rglob("*") if path.is_file() and path.name != "LICENSE"}
    assert written == {deck.parent / link for deck in built for link in links(deck)}


def test_two_builds_are_equal_byte_by_byte(built, tmp_path):
    again = slides.build(SHORT, course_notebooks(), tmp_path)
    for first, second in zip(built, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_style_sheet_has_the_colours_of_the_figures():
    from helpers import COLORS

    assert f"--data: {COLORS['data']};" in slides.style_sheet()


# Pages -------------------------------------------------------------------------------------------


def test_formulas_reach_mathjax_and_nothing_else_is_taken_for_one():
    page = html.markdown("If $a<b$ costs 5 \\$ or `$x$`:\n\n$$\\frac12$$")
    assert '<span class="math inline">\\(a&lt;b\\)</span>' in page
    assert "costs 5 $ or <code>$x$</code>" in page
    assert "\\[\\frac12\\]" in page


def test_markdown_has_tables_and_highlighted_code():
    page = html.markdown("| a |\n|---|\n| 1 |\n\n```python\nx = None\n```")
    assert "<td>1</td>" in page
    assert '<span class="kc">None</span>' in page
    assert ".highlight .kc" in html.highlight_css()


def test_links_lose_their_address_and_keep_their_words():
    assert html.without_links("see [notebook 2](02.ipynb) and ![a](b.png)") == (
        "see notebook 2 and ![a](b.png)"
    )


def contrast(color: str) -> float:
    """Of a colour on the background of code, by the formula of WCAG 2."""

    def luminance(rgb: str) -> float:
        parts = [int(rgb[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    background = luminance(html.CourseStyle.background_color)
    return (background + 0.05) / (luminance(color) + 0.05)


def test_the_colours_of_code_can_be_told_from_the_background():
    colors = re.findall(r"#[0-9a-f]{6}", " ".join(html.CourseStyle.styles.values()))
    assert colors
    assert [color for color in colors if contrast(color) < 4.5] == []
    assert contrast("#a0a0a0") < 4.5


# Alternative texts -------------------------------------------------------------------------------


def alt_problems(texts: dict[str, str], figures: set[str]) -> list[str]:
    found = [f"{name}: no words" for name in sorted(figures - set(texts))]
    found += [f"{name}: no figure" for name in sorted(set(texts) - figures)]
    low, high = ALT_TEXT_LENGTH
    for name, text in texts.items():
        if not low <= len(text) <= high:
            found.append(f"{name}: {len(text)} characters")
        if re.match(r"(an? )?(image|picture|figure|plot) (of|that|show)", text, re.IGNORECASE):
            found.append(f"{name}: says that it is a picture")
        if not text.endswith(".") or text != " ".join(text.split()):
            found.append(f"{name}: is not made of sentences")
    return found


def test_every_figure_has_words_for_those_who_cannot_see_it():
    figures = {path.stem for path in (ROOT / "figures").glob("*.png")}
    assert alt_problems(html.alt_texts(), figures) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("01_b", "A line. " * 20, "01_a: no words"),
        ("01_b", "A line. " * 20, "01_b: no figure"),
        ("01_a", "A line.", "01_a: 7 characters"),
        ("01_a", "Image of a line. " * 10 + "x.", "01_a: says that it is a picture"),
        ("01_a", "A line " * 30, "01_a: is not made of sentences"),
    ],
)
def test_a_missing_or_poor_text_is_noticed(name, text, problem):
    assert problem in alt_problems({name: text}, {"01_a"})


def test_no_two_figures_have_the_same_words():
    assert len(set(html.alt_texts().values())) == len(html.alt_texts())


def test_alt_texts_are_toml_with_one_table():
    assert set(tomllib.loads(html.ALT_TEXT.read_text(encoding="utf-8"))) == {"figures"}


# The browser -------------------------------------------------------------------------------------


def test_the_browser_that_is_named_is_taken(monkeypatch, tmp_path):
    program = tmp_path / "my browser"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(program))
    assert find_chromium() == program


def test_a_named_browser_that_is_missing_is_an_error(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "browser-of-nowhere")
    with pytest.raises(ValueError, match="CHROMIUM: expected the path of a browser, got 'browser-"):
        find_chromium()


def test_without_a_browser_there_is_none(monkeypatch, tmp_path):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium() is None
