"""What the solution and each mistake of each exercise give on its cases, and where it is stored.

    python tests/store_exercises.py

writes tests/data/exercises.json again. Look at the difference before you keep it: a number that
moves is another case, another solution or another mistake than before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from helpers.exercises import Exercise, find, notebooks

STORED = Path(__file__).with_name("data") / "exercises.json"
DIGITS = 7
NEGLIGIBLE = 1e-12  # the rounding errors of a few operations on numbers of order one in float64

# The columns of this root have the signs that LAPACK gives to eigenvectors, another on other
# machines. test_exercises_01.py says what it is.
WITHOUT_SIGNS = ("valid samples, but not those of L z: this uses the principal axes as the root.",)


def described(value: Any) -> Any:
    """A value as JSON can hold it: a tensor with its dtype, a tuple with its name."""
    if isinstance(value, Tensor):
        return {str(value.dtype).removeprefix("torch."): described(value.tolist())}
    if isinstance(value, tuple):
        return {"tuple": [described(part) for part in value]}
    if isinstance(value, list):
        return [described(part) for part in value]
    return _rounded(value) if isinstance(value, float) else value


def _rounded(number: float) -> float | str:
    """A number with a few digits; one that is not finite by its name, since JSON has none."""
    if not math.isfinite(number):
        return str(number)
    return 0.0 if abs(number) < NEGLIGIBLE else float(f"{number:.{DIGITS}g}")


def given_by(answer: Any, cases: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What an answer gives on each case."""
    if not callable(answer):
        return [described(answer)]
    return [described(answer(*case)) for case in deepcopy(list(cases))]


def description(exercise: Exercise) -> dict[str, Any]:
    """The cases of an exercise, and what its solution and each of its mistakes give on them."""
    mistakes = {
        sentence: given_by(mistake, exercise.cases)
        for sentence, mistake in exercise.mistakes.items()
        if sentence not in WITHOUT_SIGNS
    }
    return {
        "cases": [described(list(case)) for case in exercise.cases],
        "solution": given_by(exercise.solution, exercise.cases),
        "mistakes": mistakes,
    }


def numbers_of_exercises() -> list[str]:
    """The numbers of all exercises, such as "01.1"."""
    return [number for _, numbers in notebooks().values() for number in numbers]


def _lines(value: Any, depth: int = 0) -> Iterator[str]:
    """JSON with one line for each result, which is what a list of results consists of."""
    indent = " " * depth
    if isinstance(value, dict):
        yield "{"
        for place, (key, content) in enumerate(value.items(), start=1):
            first, *rest = _lines(content, depth + 1)
            yield f"{indent} {json.dumps(key, ensure_ascii=False)}: {first}"
            yield from rest[:-1]
            yield f"{rest[-1]}{',' if place < len(value) else ''}"
        yield f"{indent}}}"
    else:
        yield "["
        yield ",\n".join(f"{indent} {json.dumps(each)}" for each in value)
        yield f"{indent}]"


def main() -> None:
    """Write the file."""
    everything = {number: description(find(number)) for number in numbers_of_exercises()}
    STORED.write_text("\n".join(_lines(everything)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
