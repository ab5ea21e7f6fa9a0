"""The workshops: which parts of which notebooks each keeps, and how long they take.

Minutes of reading and of exercises are estimates by one rule, from words, lines of code,
predictions and the lines of a solution. Run times are measured instead, by `workshop.run_times`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from workshop.anatomy import PREDICT, Part, count_words, is_code, lines_of_code, parts

WORDS_A_MINUTE = 130  # of prose with formulas, slower than a novel's 240
LINES_A_MINUTE = 10  # of code that is to be understood
MINUTES_A_PREDICTION = 1
MINUTES_A_SOLUTION_LINE = 2  # of code that is to be found and written
MINUTES_A_DRAWING_LINE = 0.5  # of code that the lesson shows, to be found again and adapted
MINUTES_A_CHECK = 2  # to run it, read what it says and mend the answer
AFTERWARDS = ("What next", "References")  # what is read at home, if at all


@dataclass(frozen=True)
class Plan:
    """A workshop of a certain length.

    Attributes
    ----------
    name : str
        As it is given to ``make workshop PLAN=``.
    minutes : int
        From the first word to the last, breaks included.
    notebooks : tuple of int
        The numbers of the notebooks that are taken.
    promise : str
        What people go home with, for the first slide.
    breaks : tuple of int
        Minutes of each break, spread over the gaps between the notebooks.
    optional_sections, optional_exercises : bool
        Whether sections and exercises tagged ``optional`` are kept.
    weekly : bool
        Whether each notebook has a session of its own, of so many minutes, without a break.
    """

    name: str
    minutes: int
    notebooks: tuple[int, ...]
    promise: str
    breaks: tuple[int, ...] = ()
    optional_sections: bool = True
    optional_exercises: bool = True
    weekly: bool = False

    def takes(self, stem: str) -> bool:
        """Whether the notebook of that file name is part of the workshop."""
        return int(stem[:2]) in self.notebooks

    def keeps(self, part: Part) -> bool:
        """Whether a part of a notebook that is taken is kept in the copies."""
        if part.kind == "section":
            return self.optional_sections or part.is_core
        if part.kind == "exercise":
            return self.optional_exercises or part.is_core
        return True

    def chosen(self, notebooks: Iterable[Path]) -> list[Path]:
        """Those of the notebooks that are taken."""
        return [path for path in notebooks if self.takes(path.stem)]


CORE = (1, 2, 3, 4)
PART_TWO = (5, 6, 7, 8)
LEARN = (
    "You will learn covariance matrices from data, and be able to say how far each result is "
    "from the exact answer."
)
TRUST = (
    "You will be able to say what went wrong when a covariance cannot be learnt, how good it is "
    "when it can, and what to do when rows are few."
)
SCALE = (
    "You will fit one Gaussian with several processes, kill one of them and get the same bits, "
    "and say what more machines would gain."
)

PLANS = {
    plan.name: plan
    for plan in (
        Plan("90min", 90, CORE[:3], LEARN, optional_sections=False, optional_exercises=False),
        Plan("half-day", 210, CORE, LEARN, breaks=(15,), optional_sections=False),
        Plan("day", 390, CORE, LEARN, breaks=(15, 45, 15)),
        Plan(
            "second-half-day",
            210,
            PART_TWO,
            TRUST,
            breaks=(15,),
            optional_sections=False,
            optional_exercises=False,
        ),
        Plan("second-day", 405, PART_TWO, TRUST, breaks=(15, 45, 15)),
        Plan("scaling-out", 90, (13,), SCALE),
        Plan("term", 90, tuple(range(1, 14)), LEARN, weekly=True),
    )
}


def plan_named(name: str) -> Plan:
    """The plan of that name.

    Raises
    ------
    ValueError
        If there is none; the message names those there are.
    """
    try:
        return PLANS[name]
    except KeyError:
        raise ValueError(f"PLAN: expected one of {', '.join(PLANS)}, got {name!r}") from None


def minutes_to_read(cells: Sequence[NotebookNode]) -> float:
    """An estimate: words, lines of code that are read, and a minute for each prediction."""
    exempt = ("setup", "exercise", "solution")
    lessons = [cell for cell in cells if is_code(cell) and not is_code(cell, *exempt)]
    lines = sum(map(lines_of_code, lessons))
    predictions = sum(cell.source.count(PREDICT) for cell in cells if not is_code(cell))
    words = count_words(cells)
    return words / WORDS_A_MINUTE + lines / LINES_A_MINUTE + predictions * MINUTES_A_PREDICTION


def solution_lines(cells: Sequence[NotebookNode]) -> int:
    """Lines a learner has to write: those inside of the functions that the solutions define."""
    functions = [
        node
        for cell in cells
        if is_code(cell, "solution")
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.FunctionDef)
    ]
    return sum(f.end_lineno - f.body[0].lineno + 1 for f in functions)


def drawing_lines(cells: Sequence[NotebookNode]) -> int:
    """Lines below the check of a solution: they draw what has been found."""
    lines = 0
    for cell in cells:
        if is_code(cell, "solution"):
            statements = ast.parse(cell.source).body
            checks = [place for place, node in enumerate(statements) if _is_check(node)]
            below = statements[checks[-1] + 1 :] if checks else []
            lines += sum(node.end_lineno - node.lineno + 1 for node in below)
    return lines


def _is_check(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "check"


def part_minutes(part: Part) -> float:
    """How long a part takes, by the rule of this module; nothing for what is read afterwards."""
    if part.kind == "text" and part.heading in AFTERWARDS:
        return 0.0
    reading = minutes_to_read(part.cells)
    if part.kind != "exercise":
        return reading
    writing = MINUTES_A_SOLUTION_LINE * solution_lines(part.cells)
    drawing = MINUTES_A_DRAWING_LINE * drawing_lines(part.cells)
    return round(reading + writing + drawing + MINUTES_A_CHECK)


@dataclass(frozen=True)
class Step:
    """A row of a schedule.

    Attributes
    ----------
    stem : str
        File name of the notebook, empty in a break.
    part : Part or None
        What is done, None in a break.
    start, minutes : int
        Since the workshop or its session began, and until the next step.
    """

    stem: str
    part: Part | None
    start: int
    minutes: int


def schedule(plan: Plan, notebooks: dict[str, NotebookNode]) -> list[Step]:
    """What is done when, in a workshop.

    Parameters
    ----------
    plan : Plan
    notebooks : dict of str to NotebookNode
        By file name without ending, in their order; those the plan does not take are left out.

    Returns
    -------
    list of Step
        Starts are rounded, and each step ends where the next begins: minutes add up. An opening
        and a recap take a minute at least; where rounding leaves none, the next step lends it.
    """
    taken = {stem: notebook for stem, notebook in notebooks.items() if plan.takes(stem)}
    sittings = [{stem: notebook} for stem, notebook in taken.items()] if plan.weekly else [taken]
    return [step for sitting in sittings for step in _steps(plan, sitting)]


def _steps(plan: Plan, notebooks: dict[str, NotebookNode]) -> list[Step]:
    """What is done when, in one sitting."""
    timed = _timed(plan, notebooks)
    ends, total = [0], 0.0
    for _, part, minutes in timed:
        total += minutes
        ends.append(max(round(total), ends[-1] + _has_its_minute(part)))
    return [
        Step(stem, part, start, end - start)
        for (stem, part, _), start, end in zip(timed, ends[:-1], ends[1:], strict=True)
    ]


def _has_its_minute(part: Part | None) -> bool:
    return part is not None and (part.kind == "opening" or part.heading == "Recap")


def _timed(plan: Plan, notebooks: dict[str, NotebookNode]) -> list[tuple[str, Part | None, float]]:
    pauses = _breaks_after(plan.breaks, len(notebooks))
    timed: list[tuple[str, Part | None, float]] = []
    for number, (stem, notebook) in enumerate(notebooks.items(), start=1):
        kept = [part for part in parts(notebook) if plan.keeps(part)]
        timed += [(stem, part, part_minutes(part)) for part in kept]
        timed += [("", None, minutes) for minutes in pauses.get(number, [])]
    return timed


def _breaks_after(breaks: Sequence[int], count: int) -> dict[int, list[int]]:
    """The breaks by the number of the notebook that each follows, spread evenly."""
    after: dict[int, list[int]] = {}
    for place, minutes in enumerate(breaks, start=1):
        after.setdefault(round(place * count / (len(breaks) + 1)), []).append(minutes)
    return after
