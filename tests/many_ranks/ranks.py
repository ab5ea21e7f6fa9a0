"""Ranks that stay: processes in one group, which take case after case."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from helpers import SufficientStatistics
from helpers.distributed import fit_shards, fitting, reduce_statistics
from reliability import sharded

PATIENCE = 60  # seconds, for a machine that does much else
GROUPS: dict[str, Any] = {}  # of this process, by the name of the world


@dataclass(frozen=True)
class Failed:
    """What a rank raised, as it can be sent to another process."""

    kind: str
    message: str
    trace: str
    kinds: tuple[str, ...]  # its class and those above it

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}\n{self.trace}"


def server() -> Any:
    """What starts processes: it has imported already what they need, and forks."""
    context = multiprocessing.get_context("forkserver")
    # The folder of the tests is not on its path yet.
    context.set_forkserver_preload(["helpers.distributed.__main__", "torch._dynamo"])
    return context


class Ranks:
    """Processes with one gloo group, and a group of its own for each smaller world.

    A case costs milliseconds here, where starting the processes takes seconds.
    """

    def __init__(self, number: int):
        # It is kept here, as torchrun's agent keeps one, on a port that the system chooses.
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        context = server()
        self.processes, self.pipes = [], []
        for rank in range(number):
            here, there = context.Pipe()
            arguments = (rank, number, self.store.port, there)
            self.processes.append(context.Process(target=_serve, args=arguments, daemon=True))
            self.processes[-1].start()
            there.close()
            self.pipes.append(here)
        self.answers(range(number))

    def run(self, world: str, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What a function returns or raises on each rank of a world; `group` is handed to it."""
        members = MEMBERS[world]
        for rank in members:
            self.pipes[rank].send((world, function, arguments))
        return self.answers(members)

    def answers(self, members: Sequence[int]) -> list[Any]:
        """What each of them sends; an error if one does not in time, or is gone."""
        end = time.monotonic() + PATIENCE
        for rank in members:
            while not wait([self.pipes[rank]], timeout=0.5):
                alive = self.processes[rank].is_alive()
                if not alive or time.monotonic() > end:
                    raise RuntimeError(f"rank {rank}: no answer, {'alive' if alive else 'dead'}")
        return [self.pipes[rank].recv() for rank in members]

    def stop(self) -> None:
        """End them."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.kill()
            process.join()


# The worlds by name. In the last one no rank has the number that it has among all.
MEMBERS = {"1": (0,), "2": (0, 1), "4": (0, 1, 2, 3), "2, others": (2, 3)}


def _serve(rank: int, number: int, port: int, pipe: Connection) -> None:
    """Make the groups, and answer until nobody asks any more."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store, patience = dist.TCPStore("127.0.0.1", port), timedelta(seconds=PATIENCE)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=number, timeout=patience)
    for world, members in MEMBERS.items():  # every rank takes part in making each
        GROUPS[world] = dist.new_group(members)
    pipe.send("ready")
    with suppress(EOFError):
        while True:
            world, function, arguments = pipe.recv()
            pipe.send(_outcome(function, arguments, GROUPS[world]))


def _outcome(function: Callable[..., Any], arguments: Sequence[Any], group: Any) -> Any:
    try:
        return function(*arguments, group=group)
    except Exception as error:
        kinds = tuple(each.__name__ for each in type(error).__mro__)
        return Failed(type(error).__name__, str(error), traceback.format_exc(), kinds)


@contextmanager
def ranks(number: int = 4) -> Iterator[Ranks]:
    """Ranks that are ended with the block, whatever happens in it."""
    made = Ranks(number)
    try:
        yield made
    finally:
        made.stop()


# The command line, without torchrun ---------------------------------------------------------------


@dataclass
class Said:
    """What a process printed, and its exit code; -9 stands for one that was killed."""

    code: int | None
    out: str
    err: str


@contextmanager
def together(
    number: int,
    *arguments: str | Path,
    folder: Path,
    plan: Path | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Callable[[], list[Said]]]:
    """Run `python -m helpers.distributed` on so many ranks, as torchrun would.

    The processes come from a server that has imported torch, and find each other at a store in this
    process, as torchrun's agent holds one: it takes a tenth of the time. What the block gets waits
    for all ranks that are not stopped. As the agent does, it ends all when one of them was killed.

    Parameters
    ----------
    number : int
    *arguments : str or Path
        Of the command line.
    folder : Path
        Where the output goes.
    plan : Path, optional
        Of a `sharded.Plan`: watchmen obey it.
    prepare : callable, optional
        What each rank does first; it can be found by its name.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = server()
    processes = []
    for rank in range(number):
        place = (rank, number, store.port)
        options = (list(map(str, arguments)), folder, plan, prepare)
        processes.append(context.Process(target=_as_rank, args=(place, *options), daemon=True))
        processes[-1].start()

    def said() -> list[Said]:
        end = time.monotonic() + PATIENCE
        for process in itertools.cycle(processes):
            if not any(each.is_alive() and not _is_stopped(each.pid) for each in processes):
                return _read(folder, processes)
            if time.monotonic() > end:
                raise RuntimeError(f"not ended: {_read(folder, processes)}")
            process.join(0.02)
            if any(each.exitcode == -signal.SIGKILL for each in processes):
                for each in processes:
                    each.terminate()
        raise AssertionError("there is always a next one")

    try:
        yield said
    finally:
        for process in processes:
            process.kill()
            process.join()


def _is_stopped(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    return False


def _read(folder: Path, processes: Sequence[Any]) -> list[Said]:
    outputs = [
        [folder / f"{kind}-{rank}" for kind in ("out", "err")] for rank in range(len(processes))
    ]
    texts = [[path.read_text(encoding="utf-8") for path in each] for each in outputs]
    return [Said(process.exitcode, *each) for process, each in zip(processes, texts, strict=True)]


def _as_rank(
    place: tuple[int, int, int],
    arguments: list[str],
    folder: Path,
    plan: Path | None,
    prepare: Callable[[], None] | None,
) -> None:
    rank, number, port = place
    for handle, kind in ((1, "out"), (2, "err")):
        file = os.open(folder / f"{kind}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, handle)
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(number)}
    os.environ |= {"WORLD_SIZE": str(number), "GROUP_WORLD_SIZE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    if prepare is not None:
        prepare()
    if plan is not None:
        sharded.Watchman(sharded.Plan.read(plan)).watch()
    from helpers.distributed.__main__ import main

    sys.exit(main(arguments))


# What ranks are asked -----------------------------------------------------------------------------


def fitted(paths: Any, *, group: Any, **options: Any) -> dict[str, Any]:
    """`fit_shards`, in parts that can be sent to another process."""
    result = fit_shards(paths, group=group, progress=False, **options)
    model = {name: value.detach() for name, value in result.model.state_dict().items()}
    return {"model": model, "statistics": result.statistics, "gap": result.history.gap}


def reduced(samples: Sequence[Any], dtype: Any = torch.float64, *, group: Any) -> Any:
    """`reduce_statistics` of the samples of this rank, (*batch, n, d)."""
    mine = samples[dist.get_rank(group)]
    return reduce_statistics(SufficientStatistics.from_data(mine, dtype=dtype), group)


def reduced_parts(count: Any, mean: Any, scatter: Any, *, group: Any) -> Any:
    """`reduce_statistics` of statistics that are given to each rank."""
    rank = dist.get_rank(group)
    mine = SufficientStatistics(count[rank], mean[rank], scatter[rank])
    return reduce_statistics(mine, group)


def grown(paths: Any, *, group: Any) -> tuple[int, int]:
    """By how many bytes this process was larger at its largest while it fitted; and the rows."""
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is forgotten
    before = _memory("VmRSS")
    count = int(fitted(paths, group=group)["statistics"].count)
    return _memory("VmHWM") - before, count


def _memory(name: str) -> int:
    """Bytes in memory, those of mapped files among them."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def fitted_after(paths: Any, change: str, path: Path, *, group: Any) -> dict[str, Any]:
    """`fit_shards`, where something happens to a shard once every rank has listed it."""

    def planned(self: Any, *arguments: Any) -> Any:
        found = plan(self, *arguments)
        if self.ranks.is_first:
            CHANGES[change](path)
        dist.barrier(group)
        return found

    plan = fitting.ShardWork.plan
    fitting.ShardWork.plan = planned
    try:
        return fitted(paths, group=group)
    finally:
        fitting.ShardWork.plan = plan


CHANGES = {
    "gone": os.unlink,
    "shorter": lambda path: os.truncate(path, path.stat().st_size - 1000),
    "very short": lambda path: os.truncate(path, 60),
    "of another width": lambda path: np.save(path, np.zeros((40, 4))),
    "written again": lambda path: np.save(path, np.load(path) + 1),
}
