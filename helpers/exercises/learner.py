"""What a learner calls: a check of an answer, and hints in steps."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

from helpers.exercises.catalogue import find
from helpers.exercises.comparing import ORDINALS
from helpers.exercises.passes import record

LINE_LENGTH = 95  # JupyterLab breaks longer lines in the middle of a word

# How often each exercise has been asked about. It is as short-lived as the kernel on purpose: who
# starts the notebook again may want to try again with fewer hints.
_asked: Counter[str] = Counter()


def check(number: str, answer: Any) -> None:
    """Check an answer to an exercise and print what is missing or wrong.

    An answer that passes is kept for `show_progress`.

    Parameters
    ----------
    number : str
        Of the notebook and the exercise, such as "01.2".
    answer : any
        A function or a value, as the task says.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    exercise = find(number)
    passed, told = exercise.diagnose(answer)
    if passed:
        record(number)
    _print_wrapped(f"Exercise {number} {'passed' if passed else 'open'}: {told}")
    is_known = told in exercise.mistakes or told.startswith("nothing to check yet")
    if not passed and not is_known and exercise.hints:
        print(f'For a step further: hint("{number}")')


def hint(number: str) -> None:
    """Print the next hint to an exercise: the first, the second, the third.

    Parameters
    ----------
    number : str
        Of the notebook and the exercise, such as "01.2".

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    hints = find(number).hints
    step = _asked[number]
    if step == len(hints):
        _print_wrapped(
            f"Exercise {number}: there are no more hints. A solution is in the collapsed cell "
            "below the exercise, unless this is the copy of a workshop: then ask whoever leads it."
        )
        return
    _asked[number] += 1
    _print_wrapped(f"Exercise {number}, {ORDINALS[step]} hint: {hints[step]}")


def _print_wrapped(text: str) -> None:
    """Print a text in lines that fit the output of a notebook; its own lines stay."""
    for line in text.splitlines():
        print(textwrap.fill(line, LINE_LENGTH))
