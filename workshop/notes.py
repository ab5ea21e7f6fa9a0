"""The teacher's notes on a notebook, from their page in ``docs/teaching``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from workshop.anatomy import ROOT

TEACHING = ROOT / "docs" / "teaching"

_HEADING = re.compile(r"^## (.*\S)\s*$", re.MULTILINE)
_EXERCISE = "Exercise "
_MARK = re.compile(r"^(?=\*\*(?:Ask|Watch for|Say)\.\*\*)", re.MULTILINE)
_NAME = re.compile(r"\*\*(Ask|Watch for|Say)\.\*\*")


@dataclass(frozen=True)
class Notes:
    """What a teacher needs to know about a notebook; all texts are markdown.

    Attributes
    ----------
    introduction, objectives, prerequisites, key_points : str
        Empty where the page does not have them.
    sections, exercises : dict of str to str
        By heading, which is the same as in the notebook.
    """

    introduction: str = ""
    objectives: str = ""
    prerequisites: str = ""
    key_points: str = ""
    sections: dict[str, str] = field(default_factory=dict)
    exercises: dict[str, str] = field(default_factory=dict)


def read(stem: str, folder: Path = TEACHING) -> Notes:
    """The notes on a notebook.

    Parameters
    ----------
    stem : str
        File name of the notebook without its ending, as ``"01_cholesky_theory"``.
    folder : Path, optional
        Where the pages are.

    Returns
    -------
    Notes
        Empty if there is no page.
    """
    page = folder / f"{stem}.md"
    return parse(page.read_text(encoding="utf-8")) if page.is_file() else Notes()


def parse(text: str) -> Notes:
    """The notes in the text of a page."""
    introduction, *pieces = _HEADING.split(text)
    found = dict(_pairs(pieces))
    opening = {name: found.pop(name, "") for name in ("Objectives", "Prerequisites", "Key points")}
    return Notes(
        introduction=re.sub(r"^# .*\n?", "", introduction).strip(),
        objectives=opening["Objectives"],
        prerequisites=opening["Prerequisites"],
        key_points=opening["Key points"],
        sections={title: body for title, body in found.items() if not title.startswith(_EXERCISE)},
        exercises={title: body for title, body in found.items() if title.startswith(_EXERCISE)},
    )


def pieces(note: str) -> dict[str, str]:
    """The note of a section, cut where its marks stand; each piece keeps its mark.

    Returns
    -------
    dict of str to str
        ``"prose"`` is what comes before the first mark; ``"Ask"``, ``"Watch for"`` and ``"Say"``
        are there if the note has them.
    """
    prose, *marked = _MARK.split(note)
    return {"prose": prose.strip()} | {_NAME.match(text)[1]: text.strip() for text in marked}


def _pairs(pieces: list[str]) -> Iterator[tuple[str, str]]:
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        yield title, body.strip()
