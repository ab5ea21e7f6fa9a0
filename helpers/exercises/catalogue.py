"""Which exercises there are."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

from helpers.exercises.checking import Exercise


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
            f"number: expected that of an exercise, such as '01.1', got {number!r}"
        ) from None


def notebooks() -> dict[str, tuple[str, list[str]]]:
    """The title and the numbers of the exercises of each notebook, by its number."""
    names = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    found = {}
    for name in sorted(names):
        if match := re.fullmatch(r"notebook_(\d\d)", name):
            module = import_module(f"helpers.exercises.{name}")
            found[match[1]] = (module.TITLE, list(module.EXERCISES))
    return found
