"""The clock: contestants take turns in one process, so that a busy machine slows all alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

MIN_SECONDS = 0.004  # shorter work is repeated until the clock's own cost no longer counts
REST_SECONDS = 0.01  # lets the waiting threads of the contestant before go to sleep
LONG_SECONDS = 0.3  # work that is longer does not notice who worked before it


class Contestant(NamedTuple):
    """Some work under a name.

    Attributes
    ----------
    name : str
        How the row is called.
    work : function of one argument
        What is timed; it is given what `prepare` returned.
    prepare : function without arguments, optional
        Makes what the work uses up, off the clock.
    error : function, optional
        From what the work returned to its gap or its relative error; off the clock.
    scale : float
        The time stated is that of the work times `scale`: a part stands for the whole.
    note : str
        What the reader must know, such as which part was timed.
    """

    name: str
    work: Callable[[Any], Any]
    prepare: Callable[[], Any] | None = None
    error: Callable[[Any], float] | None = None
    scale: float = 1.0
    note: str = ""


class Timing(NamedTuple):
    """Seconds of one contestant over the rounds, and how wrong its answer was."""

    name: str
    seconds: float
    lower: float
    upper: float
    rounds: int
    error: float | None
    note: str


def measure(
    contestants: Sequence[Contestant],
    *,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
    rest: Callable[[float], None] = time.sleep,
) -> list[Timing]:
    """Time contestants in turns.

    Parameters
    ----------
    contestants : sequence of Contestant
        With different names.
    rounds : int
        In each, every contestant has one turn; each round starts with another contestant. Short
        work is done once off the clock before each turn: threads that still wait for work of the
        contestant before, and its data in the caches, would else slow the next one.
    clock : function
        Seconds since some moment.
    rest : function
        Called with some seconds before each turn.

    Returns
    -------
    list of Timing
        In the order of the contestants: medians and quartiles over the rounds.

    Raises
    ------
    ValueError
        If two contestants share a name.
    """
    if len({each.name for each in contestants}) != len(contestants):
        raise ValueError(
            f"contestants: expected different names, got {[each.name for each in contestants]}"
        )
    errors, repeats, is_short = [], [], []
    for each in contestants:
        result = _turn(each, 1, clock)[1]  # loads, compiles and allocates
        errors.append(None if each.error is None else float(each.error(result)))
        del result
        first = _turn(each, 1, clock)[0]
        repeats.append(_n_repeats(first))
        is_short.append(first < LONG_SECONDS)
    seconds: list[list[float]] = [[] for _ in contestants]
    gc.collect()
    gc.freeze()  # else each collection looks at all the modules of all the libraries
    try:
        for turn in range(rounds):
            for place in range(len(contestants)):
                index = (place + turn) % len(contestants)
                rest(REST_SECONDS)
                each = contestants[index]
                if is_short[index]:
                    _turn(each, 1, clock)
                seconds[index].append(each.scale * _turn(each, repeats[index], clock)[0])
    finally:
        gc.unfreeze()
    return [
        Timing(each.name, *_quartiles(taken), rounds, error, each.note)
        for each, taken, error in zip(contestants, seconds, errors, strict=True)
    ]


def _turn(contestant: Contestant, repeats: int, clock: Callable[[], float]) -> tuple[float, Any]:
    """Seconds of one piece of work, and what the last one returned."""
    prepare = contestant.prepare or (lambda: None)
    given = [prepare() for _ in range(repeats)]
    work = contestant.work
    result = None
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for each in given:
            result = work(each)
        taken = clock() - start
    finally:
        if collects:
            gc.enable()
    return taken / repeats, result


def _n_repeats(seconds: float) -> int:
    return max(1, min(200, math.ceil(MIN_SECONDS / max(seconds, 1e-9))))


def _quartiles(seconds: list[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    if len(seconds) == 1:
        return (seconds[0],) * 3
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return median, lower, upper
