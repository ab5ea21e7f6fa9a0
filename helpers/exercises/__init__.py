"""Answer checks of the exercises: `check("01.1", answer)` says what is missing or wrong."""

from helpers.exercises.checking import Exercise, check

__all__ = ["Exercise", "check"]
