"""Slides: what stands on them by which rule, and pages that need nothing from the network."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workshop import __main__ as command
from workshop import captions, excerpts, html, notes, slides, welcome, wording
from workshop.anatomy import course_notebooks, is_code, parts, read_notebook, tags
from workshop.browser import find_chromium
from workshop.notes import Notes
from workshop.plans import PLANS, part_minutes, schedule

ROOT = Path(__file__).parents[1]
DAY, SHORT = PLANS["day"], PLANS["90min"]
NOTEBOOKS = {path.stem: read_notebook(path) for path in course_notebooks()}
ALT_TEXT_LENGTH = (120, 320)
MAX_WORDS_OF_NOTES = 160

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
        new_markdown_cell("## Recap\n\n- one"),
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
    assert kinds(found) == ["title", "overview", *in_section, "list", "exercise", "text"]
    title, overview, question, answer, figure, check, remember, recap, exercise, next_ = found
    assert (title.heading, title.text) == ("1 · Tiny", "A promise.")
    assert dict(title.columns)["you will"] == "a"
    assert dict(overview.columns) == {"questions": "1 · Why?", "exercises": "01.1 · a task"}
    assert (question.number, question.heading) == ("1", "Why?")
    assert (question.lead, question.text) == ("A lead.", "What is $x$?")
    assert (answer.excerpt.code, answer.excerpt.printed) == ("x = 1\nprint(x)", "1")
    assert (figure.figure.name, figure.text) == ("01_dot", "Look here, at the dot. Then there.")
    code = "assert x == 1\nprint('right')"
    assert (check.excerpt.code, check.excerpt.printed) == (code, "right")
    assert remember.text == "One dot."
    assert (exercise.number, exercise.heading, exercise.text) == (
        "Exercise 01.1",
        "a task",
        "Do *it*.",
    )
    assert exercise.lead == '2 minutes, in pairs. Stuck? `hint("01.1")`'
    assert recap.text == "- one"
    assert next_.text == "More in notebook 2."


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("short\n", [("figure", "short")]),
        ("one\ntwo\nthree\n", [("answer", "one\ntwo\nthree"), ("figure", None)]),
        ("word " * 30, [("answer", "word " * 29 + "word"), ("figure", None)]),
    ],
)
def test_what_an_answer_prints_stands_by_its_figure_where_there_is_room(said, expected):
    drawn = new_code_cell(
        "print(said)\ndraw('01_dot')",
        outputs=[output(said), picture()],
        metadata={"tags": ["answer"]},
    )
    found = list(slides.section_slides(section_of(SECTION[0], drawn, SECTION[3], SECTION[-1])))
    assert [
        (slide.kind, slide.excerpt.printed if slide.excerpt else None) for slide in found[1:-1]
    ] == expected
    assert not any(slide.excerpt and slide.excerpt.code for slide in found)


def test_what_to_remember_is_found_behind_a_line_too_many():
    cut = [*SECTION[:-1], new_markdown_cell("More.\n\n\n**Remember.** One dot.\n")]
    *_, last = slides.section_slides(section_of(*cut))
    assert (last.kind, last.text) == ("remember", "One dot.")


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_no_slide_of_a_section_is_without_words(stem):
    """Nor any notebook without what its sections ask to predict and to remember."""
    found = [part for part in parts(NOTEBOOKS[stem]) if part.kind == "section"]
    for section in found:
        first, *_, last = slides.section_slides(section)
        assert first.text, section.heading
        assert last.text, section.heading


@pytest.fixture
def tiny_recap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of the tiny recap sums up the one section."""
    monkeypatch.setitem(wording.RECAP_SECTIONS, "1", "1")


@pytest.mark.usefixtures("tiny_recap")
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


@pytest.mark.usefixtures("tiny_recap")
def test_what_a_plan_leaves_out_is_on_no_slide():
    cut = notebook_of(*SECTION)
    cut.cells[2].metadata["tags"] = ["optional"]
    found = slides.slides_of(cut, SHORT)
    assert kinds(found) == ["title", "overview", "list", "exercise", "text"]
    assert found[2].text == f"- {wording.AT_HOME} one"


def test_a_long_lead_is_left_to_the_notebook():
    text = "word " * (slides.MAX_LEAD_WORDS + 1) + "\n\n**Predict before you run.** What?"
    section = section_of(new_markdown_cell("## 1 · Why?\n\n" + text))
    assert slides.prediction(section) == ("", "What?")


def test_the_last_formula_before_a_prediction_comes_along_with_what_refers_to_it():
    text = "A root.\n\n$$a = 1$$\n\n$$b = 2$$\n\nIt has one.\n\n**Predict before you run.** What?"
    section = section_of(new_markdown_cell("## 1 · Why?\n\n" + text))
    assert slides.prediction(section) == ("$$b = 2$$\n\nIt has one.", "What?")


def test_before_the_answer_only_what_is_tagged_is_shown():
    figure, check = SECTION[2], SECTION[4]
    shown = new_code_cell("2", outputs=[output("2")], metadata={"tags": ["show"]})
    last = new_code_cell("3", outputs=[output("3")], metadata={"tags": ["answer"]})
    cells = [SECTION[0], check, figure, SECTION[1], shown, last, SECTION[-1]]
    found = list(slides.section_slides(section_of(*cells)))
    assert kinds(found) == ["question", "answer", "show", "answer", "check", "figure", "remember"]


def test_an_exercise_shows_the_picture_that_its_solution_draws():
    notebook = notebook_of(*SECTION)
    (solution,) = [cell for cell in notebook.cells if is_code(cell, "solution")]
    solution.source, solution.outputs = "draw('01_dot')", [picture()]
    (exercise,) = [s for s in slides.slides_of(notebook, DAY) if s.kind == "exercise"]
    assert exercise.figure.name == "01_dot"


def test_a_figure_that_answers_shows_what_its_cell_prints():
    cell = new_code_cell(
        "draw('01_dot')", outputs=[picture(), output("1\n")], metadata={"tags": ["answer"]}
    )
    found = list(slides.section_slides(section_of(SECTION[0], cell, *SECTION[3:])))
    assert kinds(found) == ["question", "figure", "check", "remember"]
    assert found[1].excerpt.printed == "1"


def test_the_check_is_the_last_short_one_unless_another_is_tagged():
    first = new_code_cell("assert 1\nprint(1)", outputs=[output("1\n")])
    silent = new_code_cell("assert 2")
    drawn = new_code_cell("assert 3\nprint('01_dot')", outputs=[output("3\n"), picture()])
    long_code = "assert 4\n" + "print(4)\n" * slides.MAX_CHECK_LINES
    long = new_code_cell(long_code, outputs=[output("4\n")])
    answers = new_code_cell(
        "assert 5\nprint(5)", outputs=[output("5\n")], metadata={"tags": ["answer"]}
    )
    cells = [SECTION[0], first, silent, drawn, long, answers, SECTION[-1]]
    assert slides.check_cell(section_of(*cells)) is first
    assert slides.check_cell(section_of(SECTION[0], long, SECTION[-1])) is long
    assert slides.check_cell(section_of(SECTION[0], silent, SECTION[-1])) is None
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
    with pytest.raises(ValueError, match=r"\[figures\] in docs/alt_text.toml, got '01_dot'"):
        _ = slides.figure_of(SECTION[2]).alt


# What fits ---------------------------------------------------------------------------------------


def test_code_is_as_large_as_fits():
    low, high = excerpts.CODE_SIZES
    assert excerpts.Excerpt("x = 1").size == high
    wide = excerpts.Excerpt("x" * 85)
    assert low < wide.size < high
    assert 85 * excerpts.CHARACTER_WIDTH * wide.size <= excerpts.CODE_BOX[0]
    assert not excerpts.Excerpt("x\n" * 40).fits
    assert not excerpts.Excerpt("x" * 100).fits
    assert excerpts.Excerpt("x\n" * 14, "1").fits
    assert not excerpts.Excerpt("x\n" * 14, "1", "assert x").fits


def test_imports_and_then_the_beginning_of_long_code_stay_in_the_notebook():
    code = "x = 1\n\n\ndef f():\n    y = 2\n\n    return y\n\n\nshow_source(f)\nprint(f())"
    found = excerpts.excerpt("import torch\nfrom a import b\n\n" + code, "2")
    assert found.code == code.replace("\n\n\n", "\n\n").replace("show_source(f)\n", "")
    long = "x = 1\n" * excerpts.MAX_LINES + "\nprint(x)"
    found = excerpts.excerpt(long, "1")
    assert found == excerpts.Excerpt(excerpts.BEGINNING_LEFT_OUT + "\n\nprint(x)", "1")


def test_code_that_would_be_small_is_not_shown():
    assert excerpts.excerpt("x = " + "1" * 100 + "\nprint(1)", "1") == excerpts.Excerpt(printed="1")
    narrow = excerpts.excerpt("x = 1  # " + "why " * 30, "1")
    assert narrow.code == "x = 1"


def test_what_would_give_an_answer_away_waits_for_the_output():
    code = "for x in y:\n    assert x\n    z = x\nfor x in y:\n    assert x > 1\nprint('right')"
    found = excerpts.excerpt(code, "right", holds_back=True)
    assert found.code == "for x in y:\n    z = x"
    assert found.asserted == "assert x\nfor x in y:\n    assert x > 1"
    assert excerpts.excerpt(code, "right").code == code


def test_what_is_printed_is_cut_where_the_slide_ends():
    many = "\n".join(map(str, range(40)))
    cut = excerpts.excerpt("print(x)", many)
    assert cut.code == ""
    assert cut.fits
    assert cut.printed.splitlines()[:3] == ["0", "1", "2"]
    assert cut.printed.endswith("\n...")
    assert len(cut.printed.splitlines()) > 5


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
def test_tags_for_slides_stand_on_cells_of_a_section_with_an_output(stem):
    for part in parts(NOTEBOOKS[stem]):
        for tag in (slides.ANSWER_TAG, slides.CHECK_TAG, slides.SHOW_TAG):
            tagged = [cell for cell in part.cells if tag in tags(cell)]
            assert part.kind == "section" or not tagged, part.heading
            assert tag != slides.CHECK_TAG or len(tagged) <= 1, part.heading
            for cell in tagged:
                assert is_code(cell), part.heading
                assert slides.printed(cell) or slides.figure_of(cell), part.heading


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_no_slide_has_more_code_than_can_be_read(stem):
    shown = [slide.excerpt for slide in slides.slides_of(NOTEBOOKS[stem], DAY) if slide.excerpt]
    assert sum(bool(found.code) for found in shown) >= len(shown) / 2
    for found in shown:
        assert found.fits, found.code
        assert found.printed
        assert not found.printed.endswith("..."), found.printed
    by_section = [
        s
        for part in parts(NOTEBOOKS[stem])
        if part.kind == "section"
        for s in slides.section_slides(part)
    ]
    for slide in by_section:
        if slide.kind == "check":
            lines = [line for line in slide.excerpt.code.splitlines() if line.strip()]
            assert len(lines) <= excerpts.MAX_LINES, slide.heading


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_the_code_before_an_answer_does_not_hold_it(stem):
    found = slides.slides_of(NOTEBOOKS[stem], DAY)
    answers = [slide.excerpt for slide in found if slide.kind == "answer"]
    assert [e.code for e in answers if re.search("^ *assert|assert_close", e.code, re.M)] == []
    assert [e.code for e in answers if e.printed in e.code and e.code] == []
    assert any(found.asserted for found in answers)


def shown_in(stem: str, number: str) -> list[tuple[str, str]]:
    """Kind of each slide of a section, with its figure or what it prints."""
    (section,) = [p for p in parts(NOTEBOOKS[stem]) if (p.kind, p.number) == ("section", number)]
    return [
        (slide.kind, slide.figure.name if slide.figure else slide.excerpt.printed)
        for slide in slides.section_slides(section)
        if slide.figure or slide.excerpt
    ]


@pytest.mark.parametrize(
    ("stem", "number", "expected"),
    [
        ("01_cholesky_theory", "6", ["answer", "01_iris_matrices", "01_iris_shares", "check"]),
        ("02_mse_fitting", "1", ["answer", "5.039", "02_textbook_ellipse"]),
        ("02_mse_fitting", "2", ["answer", "textbook: gap", "02_routes"]),
        ("03_likelihood_fitting", "1", ["03_candidates", "3.080", "3.018", "check"]),
        ("03_likelihood_fitting", "2", ["0.00969", "03_gradient_field", "check"]),
        ("03_likelihood_fitting", "5", ["03_ways_down", "natural steps", "03_ways_in_time"]),
        (
            "04_batched_gpu_training",
            "3",
            ["(B, n, d)", "mixed up (5, 5)", "2.008 p/2n", "check", "04_ten_thousand_gaps"],
        ),
    ],
)
def test_the_slides_of_a_section_tell_its_story_in_this_order(stem, number, expected):
    found = [" ".join(slide) for slide in shown_in(stem, number)]
    assert len(found) == len(expected)
    assert [w for w, told in zip(expected, found, strict=True) if w not in told] == []


def test_a_prediction_that_speaks_of_equations_shows_them():
    (section,) = [p for p in parts(NOTEBOOKS["01_cholesky_theory"]) if p.heading.startswith("3 · ")]
    lead, _ = slides.prediction(section)
    assert "Each equation" in lead
    assert "$$L_{11}" in lead


def test_the_picture_to_reproduce_is_on_the_slide_of_its_exercise():
    found = slides.slides_of(NOTEBOOKS["01_cholesky_theory"], DAY)
    pictures = {slide.number: slide.figure.name for slide in found if slide.figure}
    assert pictures["Exercise 01.2"] == "01_your_samples"


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_no_solution_is_on_a_slide(stem):
    shown = "\n".join(
        slide.text + slide.excerpt.code + slide.excerpt.asserted if slide.excerpt else slide.text
        for slide in slides.slides_of(NOTEBOOKS[stem], DAY)
    )
    solutions = [cell for cell in NOTEBOOKS[stem].cells if is_code(cell, "solution")]
    assert solutions
    for cell in solutions:
        lines = [line.strip() for line in cell.source.splitlines() if "return" in line]
        assert lines
        assert not [line for line in lines if line in shown]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_word_of_the_teachers_notes_is_on_one_slide(stem):
    page = notes.read(stem)
    found = slides.with_notes(slides.slides_of(NOTEBOOKS[stem], DAY), page)
    for heading, note in (page.sections | page.exercises).items():
        told = " ".join(s.notes for s in found if f"{s.number} · {s.heading}" == heading)
        assert sorted(told.split()) == sorted(note.split()), heading
    questions = [slide for slide in found if slide.kind in ("question", "exercise", "remember")]
    assert [slide.heading for slide in questions if not slide.notes] == []


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_the_notes_of_a_slide_fit_the_speakers_window(stem):
    found = slides.with_notes(slides.slides_of(NOTEBOOKS[stem], DAY), notes.read(stem))
    in_sections = [slide for slide in found if slide.kind in ("question", "answer", "remember")]
    assert in_sections
    too_long = [s.notes for s in in_sections if len(s.notes.split()) > MAX_WORDS_OF_NOTES]
    assert too_long == []


NOTE = "Prose.\n\n**Ask.** One?\n\n**Watch for.** Two.\n\nStill.\n\n**Say.** Three."


def test_notes_go_to_the_slides_of_their_heading():
    page = Notes(
        introduction="Hello.",
        key_points="- key",
        sections={"1 · Why?": NOTE},
        exercises={"Exercise 01.1 · a task": "Wait."},
    )
    found = slides.with_notes(slides.slides_of(notebook_of(*SECTION), DAY), page)
    assert {slide.kind: slide.notes for slide in found} == {
        "title": "Hello.",
        "overview": "",
        "question": "Prose.",
        "answer": "**Ask.** One?",
        "figure": "**Watch for.** Two.\n\nStill.",
        "check": "",
        "remember": "**Say.** Three.",
        "list": "- key",
        "exercise": "Wait.",
        "text": "",
    }


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([2, 3, 4], ["figure: One? ", "check: Two. "]),
        ([2, 3], ["figure: One? Two. "]),
        ([1, 3], ["answer: One? Two. "]),
    ],
)
def test_a_section_with_fewer_slides_loses_no_note(cells, expected):
    page = Notes(sections={"1 · Why?": NOTE})
    section = [SECTION[0], *(SECTION[at] for at in cells), SECTION[-1]]
    found = slides.with_notes(slides.slides_of(notebook_of(*section), DAY), page)
    words = ("One?", "Two.")
    told = [f"{s.kind}: " + "".join(f"{word} " for word in words if word in s.notes) for s in found]
    assert [line for line in told if line.split(": ")[1]] == expected


# Before and between -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, plan in PLANS.items() if not plan.weekly])
def test_the_welcome_states_the_times_of_the_plan(name):
    plan = PLANS[name]
    taken = {stem: book for stem, book in NOTEBOOKS.items() if plan.takes(stem)}
    found = slides.welcome_slides(welcome.Day(plan, taken, "13:30"))
    table = next(slide.text for slide in found if slide.heading == "Today")
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    times = [time.split("–") for time, _ in rows]
    assert times[0][0] == "13:30"
    assert [end for _, end in times[:-1]] == [start for start, _ in times[1:]]
    hours, minutes = times[-1][1].split(":")
    assert 60 * int(hours) + int(minutes) - 13 * 60 - 30 == plan.minutes
    names = [name for _, name in rows]
    assert names.count("*break*") == len(plan.breaks)
    titles = [parts(book)[0].heading for book in taken.values()]
    assert [name for name in names if name in titles] == titles


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_welcome_promises_what_the_plan_does_and_its_first_steps_are_right(plan):
    taken = {stem: book for stem, book in NOTEBOOKS.items() if plan.takes(stem)}
    title, _, steps, _, _ = slides.welcome_slides(welcome.Day(plan, taken))
    assert title.text == plan.promise
    assert f"{next(iter(taken))}.ipynb" in steps.text
    assert "prints nothing" in steps.text
    setup = next(filter(is_code, next(iter(taken.values())).cells))
    assert setup.outputs == []


def test_the_welcome_to_a_term_lists_its_sessions():
    found = slides.welcome_slides(welcome.Day(PLANS["term"], NOTEBOOKS))
    assert dict(found[0].columns) == {"it takes": f"{len(NOTEBOOKS)} sessions of 90 minutes"}
    table = next(slide.text for slide in found if slide.heading == "The sessions")
    titles = [parts(book)[0].heading for book in NOTEBOOKS.values()]
    rows = [f"| {number} | {title} |" for number, title in enumerate(titles, start=1)]
    assert table.splitlines()[2:] == rows


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_the_slides_of_a_term_are_those_of_the_other_whole_plans(stem):
    whole = next(PLANS[n] for n in ("day", "second-day", "scaling-out") if PLANS[n].takes(stem))
    of_term, others = (
        [slide for slide in slides.slides_of(NOTEBOOKS[stem], plan) if slide.heading != "What next"]
        for plan in (PLANS["term"], whole)
    )
    assert of_term == others


def test_the_welcome_names_what_is_there():
    day = welcome.Day(SHORT, {s: n for s, n in NOTEBOOKS.items() if SHORT.takes(s)})
    found = slides.welcome_slides(day)
    told = "\n".join(slide.text for slide in found)
    assert f"notebooks/{next(iter(NOTEBOOKS))}.ipynb" in told
    first = next(
        part.number
        for part in parts(NOTEBOOKS["01_cholesky_theory"])
        if part.kind == "exercise" and SHORT.keeps(part)
    )
    assert f'hint("{first}")' in told
    assert all(f"**{step}.**" in told for step in ("Predict", "Run", "Explain", "Check"))
    assert "on the board" in found[0].notes


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_each_break_is_a_slide_at_the_end_of_the_notebook_before_it(plan):
    taken = {stem: book for stem, book in NOTEBOOKS.items() if plan.takes(stem)}
    day = welcome.Day(plan, taken)
    found = {stem: [b.minutes for b in day.breaks(stem)] for stem in taken}
    expected: dict[str, list[int]] = {stem: [] for stem in taken}
    before = ""
    for step in schedule(plan, taken):
        if step.part is None:
            expected[before].append(step.minutes)
        before = step.stem or before
    assert found == expected
    assert sum(map(len, found.values())) == len(plan.breaks)
    for stem in taken:
        slide = [s.heading for s in slides.break_slides(day, stem)]
        assert slide == [f"Break: {minutes} minutes" for minutes in expected[stem]]


def test_a_break_ends_the_deck_of_the_notebook_before_it(tmp_path):
    plan = PLANS["half-day"]
    decks = slides.build(plan, course_notebooks(), tmp_path, "9:30")
    sections = [re.findall(r'<section class="(\w+)"', deck.read_text("utf-8")) for deck in decks]
    assert [kinds.count("break") for kinds in sections] == [0, 0, 1, 0, 0]
    assert sections[2][-1] == "break"
    assert "9:30" in decks[0].read_text("utf-8")


@pytest.mark.parametrize("start", ["9", "24:00", "9:60", "nine", ""])
def test_a_start_that_is_no_time_is_refused(start):
    with pytest.raises(ValueError, match=rf"start: expected a time such as 9:00, got '{start}'"):
        welcome.minutes_past_midnight(start)


def test_the_start_reaches_the_slides(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(command.copies, "build_student", lambda *_: None)
    monkeypatch.setattr(command.copies, "build_instructor", lambda *_: None)
    monkeypatch.setattr(command, "pack", lambda *_: tmp_path / "a.zip")
    monkeypatch.setattr("workshop.sheets.build", lambda *_: [])
    monkeypatch.setattr(slides, "build", lambda *given: asked.append(given[-1]))
    assert command.main(["--start", "13:30"], tmp_path) == 0
    assert asked == ["13:30"]
    capsys.readouterr()
    assert command.main(["--start", "nine"], tmp_path) == 2
    assert capsys.readouterr().err == "start: expected a time such as 9:00, got 'nine'\n"
    assert asked == ["13:30"]


def test_minutes_of_an_exercise_are_those_of_the_plan():
    book = NOTEBOOKS["02_mse_fitting"]
    (exercise,) = [p for p in parts(book) if p.number == "02.1"]
    about = slides.exercise_slide(exercise).lead
    assert about.startswith(f"{part_minutes(exercise):.0f} minutes, in pairs")


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
    assert [path.stem for path in built] == [
        "00_welcome",
        *(stem for stem in NOTEBOOKS if SHORT.takes(stem)),
    ]


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
    figures = {path.stem for path in (ROOT / "figures").iterdir()}
    assert alt_problems(captions.alt_texts(), figures) == []


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
    assert len(set(captions.alt_texts().values())) == len(captions.alt_texts())


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
