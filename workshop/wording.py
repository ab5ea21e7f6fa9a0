"""What a copy says about what is not in it: in its table, its recap, its exercises, at its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

from workshop.anatomy import LINK, Part, is_code
from workshop.plans import Plan, part_minutes

AT_HOME = "*(at home)*"
NO_EXERCISES = "This copy holds none of the exercises of this notebook; they are in the course."
THE_REST = "The rest of the course is in its repository."
# By the number of the notebook: the section that each line of its recap sums up.
RECAP_SECTIONS = {
    "1": "122345",
    "2": "123456",
    "3": "123456",
    "4": "112235",
    "5": "11135",
    "6": "122346",
    "7": "12456",
    "8": "123456",
    "13": "123456",
}

_STATED = re.compile(r"about \d+ minutes to read and run(, \d+ more for the exercises)?")
_HINT = re.compile(r'hint\("\d\d\.\d"\)')
_BULLET = re.compile(r"^- ", re.MULTILINE)

Change = Callable[[str, Sequence[Part], Plan], str]


def reworded(found: Sequence[Part], plan: Plan) -> list[Part]:
    """The parts of a notebook, with words that are right in a copy cut to a plan.

    Parameters
    ----------
    found : sequence of Part
        All parts of the notebook; they stay as they are.
    plan : Plan

    Returns
    -------
    list of Part
        As many, with the same code.

    Raises
    ------
    ValueError
        If sections are left out and the recap has lines of which `RECAP_SECTIONS` does not say
        what they sum up.
    """
    return [_changed(part, _change_of(part), found, plan) for part in found]


def _change_of(part: Part) -> Change | None:
    if part.kind == "opening":
        return _opening
    changes = {"Recap": _recap, "Exercises": _exercises, "What next": _what_next}
    return changes.get(part.heading) if part.kind == "text" else None


def _changed(part: Part, change: Change | None, found: Sequence[Part], plan: Plan) -> Part:
    if change is None:
        return part
    cells = deepcopy(part.cells)
    for cell in cells:
        if not is_code(cell):
            cell.source = change(cell.source, found, plan)
    return replace(part, cells=cells)


def _opening(text: str, found: Sequence[Part], plan: Plan) -> str:
    """State the minutes of what is kept, and name what is not."""
    if not _STATED.search(text):
        return text
    told = [_STATED.sub(_minutes(found, plan), text), _left_out(found, plan)]
    return "\n\n".join(filter(None, told))


def _minutes(found: Sequence[Part], plan: Plan) -> str:
    kept = [part for part in found if plan.keeps(part)]
    exercises = [part_minutes(part) for part in kept if part.kind == "exercise"]
    reading = sum(part_minutes(part) for part in kept if part.kind != "exercise")
    more = f", {sum(exercises):.0f} more for the exercises" if exercises else ""
    return f"about {reading:.0f} minutes to read and run{more}"


def _left_out(found: Sequence[Part], plan: Plan) -> str:
    sections, exercises = (
        [part.number for part in found if part.kind == kind and not plan.keeps(part)]
        for kind in ("section", "exercise")
    )
    if not sections and not exercises:
        return ""
    named = [_counted("section", sections), _counted("exercise", exercises)]
    told = [f"This copy leaves out {', and '.join(filter(None, named))}."]
    if sections:
        told.append("What the sections ask to remember is here;")
        told.append(f"the recap marks with {AT_HOME} what sums them up.")
    return " ".join([*told, "The whole notebook is in the course."])


def _counted(noun: str, numbers: Sequence[str]) -> str:
    """The noun and its numbers: "section 2", "sections 2, 4 and 6"; empty for none."""
    *others, last = numbers or [""]
    listed = " and ".join(filter(None, [", ".join(others), last]))
    return f"{noun}{'s' if others else ''} {listed}" if listed else ""


def _recap(text: str, found: Sequence[Part], plan: Plan) -> str:
    """Mark the lines that sum up sections which are left out."""
    left_out = {part.number for part in found if part.kind == "section" and not plan.keeps(part)}
    if not left_out:
        return text
    number = found[0].heading.partition(" · ")[0]
    sections = RECAP_SECTIONS.get(number, "")
    count = len(_BULLET.findall(text))
    if len(sections) != count:
        raise ValueError(
            f"RECAP_SECTIONS: expected a section for each of the {count} lines in the recap of "
            f"notebook {number}, got {sections!r}"
        )
    following = iter(sections)
    return _BULLET.sub(lambda _: f"- {AT_HOME} " if next(following) in left_out else "- ", text)


def _exercises(text: str, found: Sequence[Part], plan: Plan) -> str:
    """Name an exercise that is there."""
    kept = [part.number for part in found if part.kind == "exercise" and plan.keeps(part)]
    if not kept:
        heading = text.partition("\n")[0]
        return f"{heading}\n\n{NO_EXERCISES}"
    return _HINT.sub(f'hint("{kept[0]}")', text)


def _what_next(text: str, found: Sequence[Part], plan: Plan) -> str:
    """Say where a notebook is that does not travel along."""
    linked = [target for _, _, target in LINK.findall(text) if target.endswith(".ipynb")]
    return text if all(map(plan.takes, linked)) else f"{text}\n\n{THE_REST}"
