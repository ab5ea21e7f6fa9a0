"""Processes that stay and take one piece of work after another, each with one thread."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

# Nothing heavy here: a new process has to limit its threads before it imports what reads them.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PATIENCE = 20.0  # seconds to end in
State = dict[str, Any]
"""What a worker has at hand: its "number", "at_end" for what it must close, and what it keeps."""


class Workers:
    """Some processes; to be used as a context, at whose end they end.

    Parameters
    ----------
    number : int
    cores : sequence of int
        Where they may run; empty for everywhere.
    """

    def __init__(self, number: int, cores: Sequence[int] = ()) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes = []
        for place in range(number):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, place, tuple(cores)))
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def do(self, function: Callable[..., Any], *arguments: Any, of: int | None = None) -> list[Any]:
        """Let workers call a function, and wait for all of them.

        Parameters
        ----------
        function : function
            Of a module, called with the state of the worker and the arguments.
        *arguments
        of : int, optional
            The first so many workers; by default all.

        Returns
        -------
        list
            What it returned in each.

        Raises
        ------
        RuntimeError
            If it failed in a worker. The others are not waited for, as they may wait for that one;
            so the workers are good for nothing more.
        """
        pipes = self.pipes[:of]
        for pipe in pipes:
            with suppress(OSError):  # one that has ended; there will be no answer either
                pipe.send((function, arguments))
        answers: dict[Connection, Any] = {}
        while len(answers) < len(pipes):
            for pipe in wait([pipe for pipe in pipes if pipe not in answers]):
                answers[pipe] = _received(pipe, f"worker {self.pipes.index(pipe)}")
        return [answers[pipe] for pipe in pipes]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(PATIENCE)
            if process.is_alive():  # it waits for one that has failed
                process.kill()
                process.join()


def _received(pipe: Connection, name: str) -> Any:
    try:
        answer, failure = pipe.recv()
    except (EOFError, OSError):
        raise RuntimeError(f"{name}: ended before it answered") from None
    if failure:
        raise RuntimeError(f"{name}: {failure}")
    return answer


def _serve(pipe: Connection, number: int, cores: Sequence[int]) -> None:
    """Do what comes through the pipe until it is closed."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    if cores:
        os.sched_setaffinity(0, cores)
    with ExitStack() as at_end, suppress(EOFError, OSError):  # nobody asks any more, or listens
        state: State = {"number": number, "at_end": at_end}
        while True:
            function, arguments = pipe.recv()  # imports the module of the function
            pipe.send(_outcome(function, state, arguments))


def _outcome(function: Callable[..., Any], state: State, arguments: Sequence[Any]) -> Any:
    """What a function returned, and what it failed with."""
    try:
        return function(state, *arguments), ""
    except Exception:
        return None, traceback.format_exc()
