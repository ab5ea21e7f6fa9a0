"""The tables of the teacher's schedules, written from the notebooks."""

from __future__ import annotations

import re
from pathlib import Path

from nbformat import NotebookNode

from workshop.anatomy import parts
from workshop.notes import TEACHING
from workshop.plans import PLANS, Plan, Step, schedule

PAGE = TEACHING / "schedules.md"
ROW = "| {start} | {minutes} | {what} |"


def table(plan: Plan, notebooks: dict[str, NotebookNode]) -> str:
    """The schedule of a plan as a table of markdown; what takes no minute is not in it."""
    if plan.weekly:
        return _table_of_sessions(plan, notebooks)
    titles = {stem: parts(notebook)[0].heading for stem, notebook in notebooks.items()}
    steps = schedule(plan, notebooks)
    rows = ["| starts at minute | minutes | what |", "|---:|---:|---|"]
    seen = set()
    for step in steps:
        if step.part and step.stem not in seen:
            seen.add(step.stem)
            what = f"**{titles[step.stem]}**, opening"
        else:
            what = step.part.heading if step.part else "*break*"
        if step.minutes:
            rows.append(ROW.format(start=step.start, minutes=step.minutes, what=what))
    end = steps[-1].start + steps[-1].minutes
    rows.append(ROW.format(start=end, minutes="", what=f"the end; {plan.minutes - end} to spare"))
    return "\n".join(rows)


def _table_of_sessions(plan: Plan, notebooks: dict[str, NotebookNode]) -> str:
    """A row for each notebook, with its minutes."""
    rows = [
        "| session | notebook | sections (min) | exercises (min) | to spare (min) |",
        "|---:|---|---:|---:|---:|",
    ]
    steps = schedule(plan, notebooks)
    for session, stem in enumerate(filter(plan.takes, notebooks), start=1):
        of_it = [step for step in steps if step.stem == stem]
        exercises = _minutes([s for s in of_it if s.part.kind == "exercise"])
        whole = _minutes(of_it)
        title = parts(notebooks[stem])[0].heading
        spare = plan.minutes - whole
        rows.append(f"| {session} | {title} | {whole - exercises} | {exercises} | {spare} |")
    return "\n".join(rows)


def _minutes(steps: list[Step]) -> int:
    return sum(step.minutes for step in steps)


def with_tables(page: str, notebooks: dict[str, NotebookNode]) -> str:
    """The page with a table between the marks of each plan.

    Raises
    ------
    ValueError
        If the marks of a plan are not there once.
    """
    for plan in PLANS.values():
        start, end = (f"<!-- schedule {plan.name}: {side} -->" for side in ("start", "end"))
        between = re.compile(rf"{re.escape(start)}\n.*?{re.escape(end)}", re.DOTALL)
        if len(between.findall(page)) != 1:
            raise ValueError(f"page: expected '{start}' and '{end}' once, got {page.count(start)}")
        filled = f"{start}\n\n{table(plan, notebooks)}\n\n{end}"
        page = between.sub(lambda _, filled=filled: filled, page)
    return page


def update(notebooks: dict[str, NotebookNode], page: Path = PAGE) -> bool:
    """Write the tables into the page; whether it has changed."""
    old = page.read_text(encoding="utf-8")
    new = with_tables(old, notebooks)
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old
