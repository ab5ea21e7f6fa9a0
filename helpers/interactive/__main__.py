"""`python -m helpers.interactive`: time a move of each picture, or record the runs behind one."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ipywidgets as widgets
import torch

import helpers.interactive as interactive
from helpers.interactive import noise_floor

PICTURES = tuple(name for name in interactive.__all__ if name.startswith("explore_"))
N_MOVES = 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m helpers.interactive", description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--time", action="store_true", help="time a move of each picture")
    asked.add_argument("--record", action="store_true", help="train the models of the noise floor")
    if parser.parse_args(arguments).record:
        noise_floor.record()
    else:
        print_times()


def print_times() -> None:
    """Print milliseconds a move on one core, the first showing included under "to open"."""
    torch.set_num_threads(1)
    print(f"{'picture':28}{'to open':>9}{'median':>9}{'longest':>9}   ms, {N_MOVES} moves")
    for name in PICTURES:
        opened = time.perf_counter()
        picture = getattr(interactive, name)()
        opened = time.perf_counter() - opened
        taken = [seconds(move) for move in random_moves(picture, N_MOVES)]
        shown = (opened, statistics.median(taken), max(taken))
        print(f"{name:28}" + "".join(f"{1000 * each:9.0f}" for each in shown))


def random_moves(
    picture: interactive.InteractivePicture, n_moves: int
) -> Iterator[Callable[[], Any]]:
    """Moves of one control at a time to another place, as functions that make them."""
    draw = random.Random(0)
    for _ in range(n_moves):
        name = draw.choice(list(picture.controls))
        others = [
            value
            for value in places(picture.controls[name])
            if value != picture.controls[name].value
        ]
        value = draw.choice(others)
        yield lambda name=name, value=value: picture.move(**{name: value})


def places(control: widgets.ValueWidget) -> list[Any]:
    """All values that a control can be moved to."""
    if hasattr(control, "options"):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    low, high, step = control.min, control.max, control.step
    kind, n_steps = type(control.value), round((high - low) / step)
    # Rounding must not lead past the end.
    return [kind(min(low + step * i, high)) for i in range(n_steps + 1)]


def seconds(action: Callable[[], Any]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
