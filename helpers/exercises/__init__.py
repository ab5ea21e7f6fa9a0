"""Exercises: `check("01.1", answer)` says what is wrong, `hint("01.1")` helps a step further."""

from helpers.exercises.catalogue import find, notebooks
from helpers.exercises.checking import Exercise
from helpers.exercises.learner import check, hint
from helpers.exercises.passes import show_progress

__all__ = ["Exercise", "check", "find", "hint", "notebooks", "show_progress"]
