"""Starting ranks from a notebook; what a message between them costs, and what more of them gain.

`torchrun --nproc-per-node 4 -m helpers.scaling --out FILE` measures groups of 1, 2 and 4 ranks and
writes a record, which `load_scaling` reads. The record of the course is
``helpers/records/scaling.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from helpers.distributed.fitting import fit_shards
from helpers.distributed.groups import find_ranks
from helpers.distributed.reduction import add_up
from helpers.models import GaussianLikelihood
from helpers.statistics import SufficientStatistics
from helpers.training import fit

COURSE = Path(__file__).parents[1]  # where `helpers` is imported from
RECORD = Path(__file__).with_name("records") / "scaling.json"
LENGTHS = tuple(4**k for k in range(11))  # numbers in a message, 8 bytes each
ROWS, COLUMNS = 2**20, 32
SHARDS = 8
WORK_REPEATS = 8
BATCH_SECONDS = 0.002  # a clock is read no more often, so that reading it does not count


def start_ranks(program: str, folder: Path, *, ranks: int = 2) -> list[subprocess.Popen]:
    """Start ranks of a program in a folder by hand: one process each, told who it is.

    Parameters
    ----------
    program : str
        A file or ``-m module``, and its arguments.
    folder : Path
        In which the ranks run.
    ranks : int

    Returns
    -------
    list of Popen
        Still running, the first rank first; `wait_for_ranks` waits for them.
    """
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": ranks}
    return [start_python(program, folder, **place, RANK=rank) for rank in range(ranks)]


def start_python(arguments: str, folder: Path, **variables: object) -> subprocess.Popen:
    """Start this Python with `helpers` at hand, in a folder, with variables of its environment.

    Parameters
    ----------
    arguments : str
    folder : Path
    **variables : object

    Returns
    -------
    Popen
        Still running; what it prints can be read when it has ended.
    """
    places = [str(COURSE), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    own |= {name: str(value) for name, value in variables.items()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, *shlex.split(arguments)]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, **pipes)


def free_port() -> int:
    """A port of this machine that no program listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(job: subprocess.Popen, timeout: float = 100) -> tuple[str, str]:
    """What a program has printed, and what was said about it, once it has ended.

    Parameters
    ----------
    job : Popen
    timeout : float
        Seconds.

    Returns
    -------
    said, log : str

    Raises
    ------
    RuntimeError
        If it has failed, with the end of the log.
    TimeoutExpired
        If it has not ended in time; then it is ended.
    """
    try:
        said, log = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        job.terminate()  # torchrun ends its ranks
        raise
    if job.returncode:
        raise RuntimeError(f"a process ended with {job.returncode}:\n{log[-2000:]}")
    return said, log


def wait_for_ranks(jobs: Sequence[subprocess.Popen], timeout: float = 100) -> str:
    """What the first rank has printed, once all ranks have ended.

    Parameters
    ----------
    jobs : sequence of Popen
        As `start_ranks` returns them.
    timeout : float
        Seconds.

    Returns
    -------
    str

    Raises
    ------
    RuntimeError
        If a rank has failed, with the end of its log; then the others, which may wait for it, are
        ended.
    TimeoutExpired
        If they have not ended in time; then they are ended.
    """
    with ThreadPoolExecutor(len(jobs)) as readers:
        waiting = [readers.submit(wait_for, job, timeout) for job in jobs]
        try:
            ended, _ = wait(waiting, return_when=FIRST_EXCEPTION)
        finally:
            for job in jobs:
                job.kill()  # does nothing to those that have ended
    for each in ended:
        each.result()
    said, _ = waiting[0].result()
    return said


def ring_terms(ranks: int, size: float) -> tuple[float, float]:
    """What latency and seconds a byte are multiplied with in an `all_reduce` over a ring.

    Parameters
    ----------
    ranks : int
    size : float
        Bytes of the message.

    Returns
    -------
    messages, bytes : float
        That one rank sends.
    """
    return 2 * (ranks - 1), 2 * (ranks - 1) / ranks * size


def fit_ring(measured: Iterable[Measured]) -> tuple[float, float]:
    """Latency and seconds a byte that fit measured messages best, by relative least squares.

    Parameters
    ----------
    measured : iterable of Measured

    Returns
    -------
    alpha, beta : float
        Seconds a message, and seconds a byte.
    """
    measured = list(measured)
    seconds = torch.tensor([[each.seconds] for each in measured], dtype=torch.float64)
    terms = [ring_terms(each.ranks, 8 * each.size) for each in measured]
    relative = torch.tensor(terms, dtype=torch.float64) / seconds
    alpha, beta = torch.linalg.lstsq(relative, torch.ones_like(seconds)).solution.flatten()
    return alpha.item(), beta.item()


@dataclass(frozen=True)
class Measured:
    """One time.

    Attributes
    ----------
    what : {"message", "fit alone", "whole fit", "from files", "step"}
        One `all_reduce`; the fit to statistics alone, which every rank does in full; a whole fit
        from rows in memory, and one from files by `fit_shards`; one full-batch step of
        DistributedDataParallel on the rows in memory.
    ranks : int
    size : int
        Numbers in the message, or rows on all ranks together.
    seconds : float
        Of the slowest rank, in the fastest of the repetitions: what the machine can do when nothing
        else asks for it.
    """

    what: str
    ranks: int
    size: int
    seconds: float


def load_scaling(path: Path = RECORD) -> list[Measured]:
    """Read the times of a record.

    Parameters
    ----------
    path : Path
        By default the record that comes with the course.

    Returns
    -------
    list of Measured
    """
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Measured(*row) for row in rows]


def time_messages(
    lengths: Iterable[int] = LENGTHS, *, repeats: int = 20, group: Any = None
) -> list[Measured]:
    """Time `all_reduce` of messages of float64; every rank of the group calls this.

    Parameters
    ----------
    lengths : iterable of int
        Numbers in each message.
    repeats : int
    group : ProcessGroup, optional
        By default all ranks.

    Returns
    -------
    list of Measured
        The same on every rank.
    """
    measured = []
    for length in lengths:
        message = torch.zeros(length, dtype=torch.float64)
        seconds = _seconds(lambda m=message: dist.all_reduce(m, group=group), repeats, group)
        measured.append(Measured("message", find_ranks(group).n_ranks, length, seconds))
    return measured


def write_shards(folder: Path, rows: int, columns: int) -> None:
    """Write a table of float32 as files of about equal size."""
    generator = torch.Generator().manual_seed(0)
    for k, share in enumerate(torch.arange(rows).tensor_split(SHARDS)):
        shard = torch.randn(len(share), columns, generator=generator)
        np.save(folder / f"part-{k}.npy", shard.numpy())


def time_work(rows: int, columns: int, folder: Path, *, repeats: int, group: Any) -> list[Measured]:
    """Time fits of rows in memory and in the files of a folder, and a full-batch step of DDP."""
    ranks = find_ranks(group)
    share = torch.arange(rows).tensor_split(ranks.n_ranks)[ranks.rank]
    generator = torch.Generator().manual_seed(ranks.rank)
    own = torch.randn(len(share), columns, dtype=torch.float64, generator=generator)
    whole = SufficientStatistics.from_data(own[:1000])

    def fit_alone(statistics: SufficientStatistics = whole) -> None:
        fit(GaussianLikelihood(columns, dtype=torch.float64), statistics, progress=False)

    def fit_once() -> None:
        fit_alone(add_up(SufficientStatistics.from_data(own), ranks))

    def read_and_fit() -> None:
        fit_shards(folder, progress=False, group=group)

    model = GaussianLikelihood(columns, dtype=torch.float64)
    module = DistributedDataParallel(model, process_group=group)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step_once() -> None:
        optimizer.zero_grad()
        module(own, validate_args=False).backward()
        optimizer.step()

    works = {
        "fit alone": fit_alone,
        "whole fit": fit_once,
        "from files": read_and_fit,
        "step": step_once,
    }
    return [
        Measured(what, ranks.n_ranks, rows, _seconds(work, repeats, group))
        for what, work in works.items()
    ]


def _seconds(work: Callable[[], object], repeats: int, group: Any) -> float:
    """Shortest time of some work that ranks do together, on the slowest of them."""
    dist.barrier(group)
    work()
    start = time.perf_counter()
    work()
    one = _slowest(time.perf_counter() - start, group)
    calls = max(1, int(BATCH_SECONDS / one))  # the same on every rank
    times = []
    for _ in range(repeats):
        dist.barrier(group)
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append(_slowest((time.perf_counter() - start) / calls, group))
    return min(times)


def _slowest(seconds: float, group: Any) -> float:
    longest = torch.tensor(seconds, dtype=torch.float64)
    dist.all_reduce(longest, dist.ReduceOp.MAX, group=group)
    return longest.item()


def measure(repeats: int, folder: Path) -> list[Measured]:
    """Measure groups of 1, 2, 4, ... of the ranks there are; the others wait."""
    if dist.get_rank() == 0:
        write_shards(folder, ROWS, COLUMNS)
    dist.barrier()
    found = []
    n_ranks = 1
    while n_ranks <= dist.get_world_size():
        members = range(n_ranks)
        group = dist.new_group(members)
        if dist.get_rank() in members:
            if n_ranks > 1:
                found += time_messages(repeats=repeats, group=group)
            found += time_work(ROWS, COLUMNS, folder, repeats=WORK_REPEATS, group=group)
        dist.barrier()
        n_ranks *= 2
    return found


def make_record(measured: Sequence[Measured]) -> dict[str, Any]:
    """Times beside what they were taken with."""
    return {
        "command": "torchrun --nproc-per-node 4 -m helpers.scaling --out FILE",
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, one thread a rank, gloo on loopback",
        "files": f"{SHARDS} of float32, read before, so that the system had them in memory",
        "columns": COLUMNS,
        "rows": [list(asdict(each).values()) for each in measured],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the record on the first rank."""
    parser = argparse.ArgumentParser(prog="python -m helpers.scaling", description=main.__doc__)
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as own:
        folders = [own]  # of the first rank, for all
        dist.broadcast_object_list(folders, src=0)
        measured = measure(options.repeats, Path(folders[0]))
        dist.barrier()
    if dist.get_rank() == 0:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(as_text(make_record(measured)), encoding="utf-8")
    dist.destroy_process_group()


def as_text(record: dict[str, Any]) -> str:
    """JSON with a row a line."""
    rows = ",\n  ".join(json.dumps(row) for row in record["rows"])
    head = json.dumps({**record, "rows": []}, indent=1).removesuffix("[]\n}")
    return f"{head}[\n  {rows}\n ]\n}}\n"


if __name__ == "__main__":
    main()
