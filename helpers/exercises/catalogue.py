"""Which exercises there are."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from helpers.exercises.checking import Exercise

# The copy made for a workshop brings this list of the exercises that it holds.
KEPT = Path(__file__).with_name("kept.json")


def find(number: str) -> Exercise:
    """The exercise of that number.

    Parameters
    ----------
    number : str
        Of the notebook and the exercise, such as "01.2".

    Returns
    -------
    Exercise
        With its solution, its mistakes and its hints.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    notebook, _, _ = str(number).partition(".")
    try:
        return import_module(f"helpers.exercises.notebook_{notebook}").EXERCISES[number]
    except (ImportError, KeyError, TypeError):
        raise ValueError(
            f"number: expected that of an exercise, such as '01.1', got {number!r}{_mend(number)}"
        ) from None


def _mend(number: object) -> str:
    """What to write in place of a number without quotes; 02.1 is 2.1 before we see it."""
    if isinstance(number, float):
        return f'; put the number in quotes: "{number:04.1f}"'
    is_short = isinstance(number, str) and re.fullmatch(r"\d\.\d+", number)
    return f'; write two digits before the point: "0{number}"' if is_short else ""


def notebooks() -> dict[str, tuple[str, list[str]]]:
    """The title and the numbers of the exercises of each notebook, by its number.

    Exercises that the copy of a workshop leaves out, and notebooks without any, are not among them.
    """
    names = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    found = {}
    for name in sorted(names):
        if match := re.fullmatch(r"notebook_(\d\d)", name):
            module = import_module(f"helpers.exercises.{name}")
            found[match[1]] = (module.TITLE, _kept(module.EXERCISES))
    return {notebook: entry for notebook, entry in found.items() if entry[1]}


def _kept(numbers: Iterable[str]) -> list[str]:
    """Those of the exercises that are in this copy of the course."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else None
    return [number for number in numbers if kept is None or number in kept]
