"""The teacher's notes: complete, in the words of the notebooks, and true to them.

Each rule is a function from a page to a list of sentences, empty when the rule is kept. The end of
this file breaks each rule on purpose and sees it bite.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat import NotebookNode
from prose_numbers import output_text
from test_notebooks_static import (
    EXCLAMATION,
    FORBIDDEN,
    LINK,
    MACHINE_PATH,
    NOTEBOOKS,
    ROOT,
    headings,
    numbered,
    prose,
    without_code,
)

import helpers
from helpers.exercises import find
from workshop.anatomy import parts
from workshop.notes import Notes, parse
from workshop.plans import PLANS, part_minutes

TEACHING = ROOT / "docs" / "teaching"
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w]|\.\d)")
PAGES = sorted(TEACHING.glob("*.md"))
OPENING = ["Objectives", "Prerequisites", "Key points"]
MIN_POINTS = 4
MIN_WRONG_ANSWERS = 4
SAID_BEFORE = 20  # words that introduce a section or an exercise, at the least
VAGUE = {"understand", "know", "learn", "appreciate", "see"}  # nobody can watch it being done

HEADING_2 = re.compile(r"^## (.+)$", re.MULTILINE)
ITEM = re.compile(r"^- (.+)$", re.MULTILINE)
WRONG_ANSWER = re.compile(r'^- "([^"]+)":(.*)$', re.MULTILINE)
EXERCISE = re.compile(r"^Exercise (\d\d\.\d) · ")
MAKE_VERB = re.compile(r"`(?:\w+=\S+ )*make ([a-z-]+)")
CALL = re.compile(r"`(\w+)\([^`]*\)`")


@dataclass(frozen=True)
class Page:
    """The notes on one notebook, beside it."""

    text: str
    notebook: NotebookNode

    @property
    def notes(self) -> Notes:
        return parse(self.text)

    @property
    def exercises(self) -> dict[str, str]:
        """The text on each exercise, by its number."""
        found = {EXERCISE.match(title): body for title, body in self.notes.exercises.items()}
        return {match[1]: body for match, body in found.items() if match}


Rule = Callable[[Page], list[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def paragraph(body: str, label: str) -> str:
    """The paragraph that begins with a label in bold, without it; empty if there is none."""
    found = re.findall(rf"^\*\*{label}\.\*\* (.+)$", body, re.MULTILINE)
    return found[0].strip() if len(found) == 1 else ""


def introduction(body: str) -> str:
    """What is said before the first label or list."""
    return re.split(r"^(?:\*\*|- )", body, flags=re.MULTILINE)[0]


@rule
def headings_are_those_of_the_notebook(page: Page) -> list[str]:
    """In its order, after the three that open each page."""
    (title, *_), levels = re.findall(r"^# (.+)$", page.text, re.MULTILINE), headings(page.notebook)
    expected = [heading for level, heading in levels if level == 1] + OPENING
    expected += [heading for level, heading in levels if level == 2 and heading[0].isdigit()]
    expected += [heading for _, heading in levels if EXERCISE.match(heading)]
    found = [title, *HEADING_2.findall(page.text)]
    missing = [f"there is no '{heading}'" for heading in expected if heading not in found]
    unknown = [
        f"'{heading}' is not in the notebook" for heading in found if heading not in expected
    ]
    return missing + unknown or ["the order is another"] * (found != expected)


@rule
def objectives_and_key_points_are_there(page: Page) -> list[str]:
    objectives = ITEM.findall(page.notes.objectives)
    key_points = ITEM.findall(page.notes.key_points)
    found = [
        f"fewer than {MIN_POINTS} {title}"
        for title, points in [("objectives", objectives), ("key points", key_points)]
        if len(points) < MIN_POINTS
    ]
    found += [f"nobody sees it: '{one}'" for one in objectives if one.split()[0] in VAGUE]
    return found + ["no prerequisites"] * (not page.notes.prerequisites)


@rule
def every_section_can_be_taught(page: Page) -> list[str]:
    """Introduced; with a question and its answer, a misconception, and a sentence to say."""
    found = []
    for title, body in page.notes.sections.items():
        if len(prose(introduction(body)).split()) < SAID_BEFORE:
            found.append(f"{title}: nothing is said before the first question")
        if not re.search(r"\? \(.+\)$", paragraph(body, "Ask")):
            found.append(f"{title}: no question with its answer in brackets")
        if not paragraph(body, "Watch for"):
            found.append(f"{title}: nothing to watch for")
        if not re.fullmatch(r'".+"', paragraph(body, "Say")):
            found.append(f"{title}: nothing to say, in quotation marks")
    return found


@rule
def every_exercise_has_its_wrong_answers(page: Page) -> list[str]:
    """Quoted from the check that recognises them, each with a question for who made it."""
    found = []
    for number, body in page.exercises.items():
        answers = dict(WRONG_ANSWER.findall(body))
        if len(answers) < MIN_WRONG_ANSWERS or len(answers) < len(ITEM.findall(body)):
            found.append(f"{number}: {len(answers)} wrong answers of {MIN_WRONG_ANSWERS} or more")
        if len(prose(introduction(body)).split()) < SAID_BEFORE:
            found.append(f"{number}: it is not introduced")
        sentences = list(find(number).mistakes)
        meant = [[one for one in sentences if one.startswith(quote)] for quote in answers]
        for quote, hits in zip(answers, meant, strict=True):
            if len(hits) != 1:
                found.append(f"{number}: '{quote}' begins {len(hits)} sentences of the check")
        if len({hits[0] for hits in meant if hits}) < len([hits for hits in meant if hits]):
            found.append(f"{number}: two quotations are of the same sentence")
        silent = [quote for quote, note in answers.items() if not re.search(r'Ask: ".+\?"', note)]
        found += [f"{number}: no question after '{quote}'" for quote in silent]
    return found


@rule
def minutes_are_those_of_the_plan(page: Page) -> list[str]:
    """To a minute: a change of a few words in a task need not change the note at once."""
    found = []
    for part in parts(page.notebook):
        if part.kind != "exercise":
            continue
        stated = re.findall(
            r"^Allow (\d+) minutes\.", page.exercises.get(part.number, ""), re.MULTILINE
        )
        expected = part_minutes(part)
        if len(stated) != 1 or abs(int(stated[0]) - expected) > 1:
            found.append(f"{part.number}: {stated} minutes, not {expected:.0f}")
    return found


@rule
def decimals_occur_in_the_notebook(page: Page) -> list[str]:
    """A number with decimals stands in a cell's code or output, there perhaps longer."""
    shown = "\n".join(cell.source + "\n" + output_text(cell) for _, cell in numbered(page.notebook))
    known = [float(number) for number in NUMBER.findall(shown)]
    text = re.sub(r"[Ee]xercise \d\d\.\d", "", page.text)  # a name, not a number
    claims = [number for number in NUMBER.findall(text) if "." in number]
    return [
        f"{claim} is not in the notebook"
        for claim in claims
        if not any(is_rounded(claim, number) for number in known)
    ]


def is_rounded(claim: str, number: float) -> bool:
    """Whether a number, to the decimals of the claim, is the claim."""
    mantissa, _, exponent = claim.lower().partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(number - float(claim)) <= 0.5001 * unit


def page_of(path: Path) -> Page:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    return Page((TEACHING / f"{path.stem}.md").read_text(encoding="utf-8"), notebook)


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notes(path, check):
    problems = check(page_of(path))
    assert not problems, "\n".join([path.stem, *problems])


# All pages ------------------------------------------------------------------------------------


def words_that_are_not_ours(text: str) -> list[str]:
    said = prose(text)
    found = [f"the word '{hit[0]}'" for hit in FORBIDDEN.finditer(said)]
    found += [f"an exclamation: '{hit[0]}'" for hit in EXCLAMATION.finditer(said)]
    return found + [f"a machine's path: '{hit[0]}'" for hit in MACHINE_PATH.finditer(text)]


def links_to_nowhere(text: str) -> list[str]:
    targets = [target for _, _, target in LINK.findall(text)]
    local = [target for target in targets if not target.startswith(("http://", "https://", "#"))]
    return [f"no such file: {one}" for one in local if not (TEACHING / unquote(one)).exists()]


def open_formulas(text: str) -> list[str]:
    """Dollar signs that no formula has taken."""
    return [line for line in without_code(text).splitlines() if "$" in line]


def unknown_commands(text: str) -> list[str]:
    """Verbs of make and functions of helpers that a page names and that are not there."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    calls = [name for name in CALL.findall(text) if name in HELPERS_NAMED]
    found = [f"make has no verb {verb}" for verb in MAKE_VERB.findall(text) if verb not in verbs]
    return found + [f"helpers has no {name}" for name in calls if not hasattr(helpers, name)]


# What a teacher is told to call; other calls in the notes are of PyTorch.
HELPERS_NAMED = {"check", "check_environment", "fit", "hint", "show_progress"}
COMMON_RULES = [words_that_are_not_ours, links_to_nowhere, open_formulas, unknown_commands]


@pytest.mark.parametrize("check", COMMON_RULES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path, check):
    problems = check(path.read_text(encoding="utf-8"))
    assert not problems, "\n".join([path.name, *problems])


def test_the_guide_leads_to_every_page():
    guide = (TEACHING / "README.md").read_text(encoding="utf-8")
    linked = {target for _, _, target in LINK.findall(guide)}
    assert {path.name for path in PAGES} - {"README.md"} <= linked


def test_what_half_a_day_leaves_out_is_what_the_notes_say():
    left_out = {
        path.stem: [
            int(part.heading[0])
            for part in parts(nbformat.read(path, as_version=nbformat.NO_CONVERT))
            if part.kind == "section" and not PLANS["half-day"].keeps(part)
        ]
        for path in NOTEBOOKS
    }
    said = page_of(NOTEBOOKS[3]).notes.prerequisites
    assert left_out["03_likelihood_fitting"] == [3, 4, 5, 6]
    assert "Half a day leaves out sections 3 to 6 of notebook 3" in said
    schedules = (TEACHING / "schedules.md").read_text(encoding="utf-8")
    assert 2 in left_out["01_cholesky_theory"]
    (half_day,) = re.findall(r"^## Half a day\n(.+?)^## ", schedules, re.DOTALL | re.MULTILINE)
    assert "Section 2 of notebook 1 is left out here too" in half_day


def test_the_answers_of_the_self_test_are_right():
    page = (TEACHING / "learners.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.+?)^```", page, re.DOTALL | re.MULTILINE)
    assert code.count("assert") >= 7
    exec(compile(code, "learners.md", "exec"), {})


# The rules bite -------------------------------------------------------------------------------


@cache
def good_page() -> Page:
    return page_of(NOTEBOOKS[0])


def change(old: str, new: str) -> Callable[[str], str]:
    """Another text, in place of the first match of a pattern."""

    def changed(text: str) -> str:
        result, count = re.subn(old, new, text, count=1, flags=re.MULTILINE | re.DOTALL)
        assert count == 1, f"nothing to break: {old}"
        return result

    return changed


BREAKS = [
    (change(r"^## 2 · ", "## 2: "), headings_are_those_of_the_notebook),
    (change(r"^(## 1 · .+?)(^## 2 · .+?)(^## 3)", r"\2\1\3"), headings_are_those_of_the_notebook),
    (change(r"^## Exercise 01\.3.*", ""), headings_are_those_of_the_notebook),
    (change(r"^## Key points", "## Points"), headings_are_those_of_the_notebook),
    (
        change(r"^## Key points\n.+?^## 1", "## Key points\n\n## 1"),
        objectives_and_key_points_are_there,
    ),
    (change(r"^- draw ", "- understand "), objectives_and_key_points_are_there),
    (change(r"(^## Prerequisites\n).+?(^## )", r"\1\2"), objectives_and_key_points_are_there),
    (change(r"^(## 1 · [^\n]+\n).+?(?=\*\*Ask)", r"\1\n"), every_section_can_be_taught),
    (change(r"\*\*Ask\.\*\*", "**Asked.**"), every_section_can_be_taught),
    (change(r"^(\*\*Ask\.\*\*[^\n]+?\?) \([^\n]+$", r"\1"), every_section_can_be_taught),
    (change(r"^\*\*Watch for\.\*\*[^\n]+", ""), every_section_can_be_taught),
    (change(r'^(\*\*Say\.\*\*) "', r"\1 "), every_section_can_be_taught),
    (change(r'^- "you are off by', '- "you were off by'), every_exercise_has_its_wrong_answers),
    (
        change(r'^- "this is the determinant itself', '- "this'),
        every_exercise_has_its_wrong_answers,
    ),
    (
        change(r'^- "this is the determinant itself', '- "you are off by exactly'),
        every_exercise_has_its_wrong_answers,
    ),
    (change(r' Ask: "What is the determinant', ' "What is'), every_exercise_has_its_wrong_answers),
    (change(r'^(- "[^\n]+\n){3}', ""), every_exercise_has_its_wrong_answers),
    (change(r"^Allow \d+ minutes[^\n]+", ""), every_exercise_has_its_wrong_answers),
    (change(r"^Allow \d+ minutes\. ", ""), minutes_are_those_of_the_plan),
    (change(r"^Allow \d+ minutes", "Allow 20 minutes"), minutes_are_those_of_the_plan),
    (change(r"\Z", " It is 0.7654321."), decimals_occur_in_the_notebook),
]


@pytest.mark.parametrize(("breaking", "check"), BREAKS)
def test_the_rule_bites(breaking, check):
    assert check(good_page()) == []
    assert check(replace(good_page(), text=breaking(good_page().text)))


def test_every_rule_is_seen_to_bite():
    assert {check for _, check in BREAKS} == set(RULES)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("It is Simply so.", words_that_are_not_ours),
        ("What a room!", words_that_are_not_ours),
        ("Open `/home/me/course`.", words_that_are_not_ours),
        ("See [gone](05_gone.md).", links_to_nowhere),
        ("The formula $x^2 is open.", open_formulas),
        ("Run `make worksop`.", unknown_commands),
    ],
)
def test_the_common_rule_bites(text, check):
    assert check(text)


def test_a_missing_helper_is_noticed(monkeypatch):
    monkeypatch.setitem(globals(), "HELPERS_NAMED", {"hints"})
    assert unknown_commands('Try `hints("01.1")`.')
