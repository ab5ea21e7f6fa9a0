"""What is projected before the first section, and in the breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from nbformat import NotebookNode

from workshop import notes
from workshop.anatomy import parts
from workshop.plans import Plan, Step, schedule

STEM = "00_welcome"
START = "9:00"
TITLE = "Learning a multivariate normal covariance matrix with PyTorch"
ADDRESSES = (
    ("if something fails", "The address of the fallback stands on the board."),
    ("questions and links", "The address of the shared page stands on the board."),
)
HOW_A_SECTION_RUNS = """\
1. **Predict.** Write down an answer before the cell runs: one number, or one word.
2. **Run.** Run the cell on your machine, while we run it here.
3. **Explain.** Why was another answer reasonable, and what happens instead?
4. **Check.** Compare with an exact or an independent answer."""
TEACHERS_PAGE, TEACHERS_HEADING = "README", "Ten minutes before"

_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)")


@dataclass(frozen=True)
class Break:
    """A pause of some minutes, and what to say about it."""

    minutes: int
    text: str


@dataclass(frozen=True)
class Day:
    """The times of a workshop on the clock.

    Attributes
    ----------
    plan : Plan
    notebooks : dict of str to NotebookNode
        Those that the plan takes, by file name without ending.
    start : str
        When it begins, as ``"9:00"``.
    """

    plan: Plan
    notebooks: Mapping[str, NotebookNode]
    start: str = START

    def overview(self) -> dict[str, str]:
        """What the title says: the notebooks, and how long it takes."""
        count = len(self.plan.breaks)
        pauses = f", with {count} break{'s' * (count > 1)}" if count else ", without a break"
        if self.plan.weekly:
            return {"it takes": f"{len(self.notebooks)} sessions of {self.plan.minutes} minutes"}
        return {
            "notebooks": "\n\n".join(map(self._title, self.notebooks)),
            "it takes": f"{self.plan.minutes} minutes{pauses}",
        }

    @property
    def heading(self) -> str:
        """What stands above the table."""
        return "The sessions" if self.plan.weekly else "Today"

    def table(self) -> str:
        """From when to when each notebook and each break goes, as a table of markdown."""
        if self.plan.weekly:
            sessions = enumerate(map(self._title, self.notebooks), start=1)
            rows = [f"| {number} | {title} |" for number, title in sessions]
            return "\n".join(["| session | what |", "|---|---|", *rows])
        rows = [
            f"| {self._clock(start)}–{self._clock(end)} | {self._title(stem)} |"
            for stem, start, end in self._blocks
        ]
        end = self._blocks[-1][2]
        if end < self.plan.minutes:
            until = self._clock(self.plan.minutes)
            rows.append(f"| {self._clock(end)}–{until} | questions |")
        return "\n".join(["| time | what |", "|---|---|", *rows])

    def first_steps(self) -> str:
        """What everybody does on arrival."""
        first = next(iter(self.notebooks))
        return (
            f"1. Open `notebooks/{first}.ipynb` in JupyterLab.\n"
            "2. Run the first cell with code: Shift+Enter. It prints nothing; so it should be.\n"
            "3. You see an error? Go to the fallback now, or raise your hand."
        )

    def help(self) -> str:
        """What to do in an exercise."""
        exercises = [p for n in self.notebooks.values() for p in parts(n) if p.kind == "exercise"]
        number = next(part.number for part in exercises if self.plan.keeps(part))
        return (
            "- Exercises are done in pairs, on one keyboard. Change over at each exercise.\n"
            "- The `check` in the cell says what is wrong, if it recognises the mistake.\n"
            f'- `hint("{number}")` gives a first hint and, called again, the next.\n'
            "- `show_progress()` lists what you have passed. It stays on your machine."
        )

    def breaks(self, stem: str) -> Iterator[Break]:
        """The breaks that follow a notebook, at once."""
        after = [place for place, (name, _, _) in enumerate(self._blocks) if name == stem]
        for name, start, end in self._blocks[after[-1] + 1 :]:
            if name:
                return
            yield Break(end - start, f"By the plan we go on at {self._clock(end)}.")

    def _title(self, stem: str) -> str:
        return parts(self.notebooks[stem])[0].heading if stem else "*break*"

    @cached_property
    def _blocks(self) -> list[tuple[str, int, int]]:
        """Notebooks by their name, and breaks by an empty one, from minute to minute."""
        steps = schedule(self.plan, dict(self.notebooks))
        first = [b for a, b in pairwise([Step("-", None, 0, 0), *steps]) if _begins(a, b)]
        ends = [step.start for step in first[1:]] + [steps[-1].start + steps[-1].minutes]
        return [(step.stem, step.start, end) for step, end in zip(first, ends, strict=True)]

    def _clock(self, minutes: int) -> str:
        hours, past = divmod(minutes_past_midnight(self.start) + minutes, 60)
        return f"{hours % 24}:{past:02}"


def minutes_past_midnight(time: str) -> int:
    """The minutes of a time such as ``"9:00"``.

    Raises
    ------
    ValueError
        If it is no time of a day.
    """
    found = _CLOCK.fullmatch(time)
    if not found or int(found[1]) > 23:
        raise ValueError(f"start: expected a time such as {START}, got {time!r}")
    return 60 * int(found[1]) + int(found[2])


def speaker_notes() -> str:
    """What the teacher does before it begins, from the guide."""
    return notes.read(TEACHERS_PAGE).sections[TEACHERS_HEADING]


def _begins(before: Step, step: Step) -> bool:
    return not step.stem or step.stem != before.stem
