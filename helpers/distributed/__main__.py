"""`torchrun -m helpers.distributed DATA... --out FILE`: fit a Gaussian to shards."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from helpers.checkpoints import as_checkpoint_path
from helpers.distributed.fitting import TIMEOUT, Plan, ShardFit, ShardWork
from helpers.distributed.groups import (
    NAMESPACE,
    Ranks,
    RanksMissingError,
    RollCall,
    find_ranks,
    local_rank,
)
from helpers.distributed.report import is_finished, job_of, report_of, require_free, write_result

DONE, FAULT, USAGE = 0, 1, 2
JOINING = 60.0  # seconds; processes start and find each other in less, if they do at all
DTYPES = {"float32": torch.float32, "float64": torch.float64}

DESCRIPTION = """\
Fit a Gaussian by maximum likelihood to the rows of many .npy files.

Each rank reads its share of the files once and keeps count, mean and scatter of each. One
reduction adds them up, d(d+1)/2 + d + 1 numbers for d columns in two calls of all_reduce, and every
rank fits the same model with the natural gradient. The result is that of one process, up to a few
roundings.
"""

EPILOG = """\
examples:
  one process:
    python -m helpers.distributed data/ --out model.pt
  two processes on this machine, begun again up to three times when one of them dies:
    torchrun --nproc-per-node 2 --max-restarts 3 -m helpers.distributed data/ --out model.pt
  two machines that see the same files; the same lines on both, where `first` is one of them, and
  the variable lets torchrun begin again on both. Each waits ten minutes for the other:
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nnodes 2 --nproc-per-node 4 --max-restarts 3 --rdzv-backend c10d \\
      --rdzv-endpoint first:29400 --rdzv-conf read_timeout=600 \\
      -m helpers.distributed '/data/part-*.npy' --out /data/model.pt

data:
  Arrays of shape (n, d), float32 or float64, all of one width and one dtype. Sizes may differ, and
  files may be empty. A rank reads whole files, the largest first, so that a job needs several
  times as many files as ranks for the ranks to end together. Every rank has to see the same files
  under the same names. Rows are read in pieces of about 2 MiB: the memory that a rank needs does
  not grow with the data.

what is written:
  FILE          the model: its state dict, which loads with torch.load(FILE, weights_only=True)
  FILE.md       a page about it, with the verdict on the fit and the lines that load it
  FILE.parts/   the statistics of each file of data, as soon as it has been read

  Each file is written whole or not at all, in a folder that is made if it is not there. A start
  after a fault takes up from FILE.parts what was read before, and ends with the same bits; a file
  of data that has changed since, by its size or its time, is read again. A start after the end says
  so and does nothing; where the data have changed since, it names a file that did, and fits again
  if --overwrite is given.

faults:
  What is wrong with one file ends the work on every rank, with a message that names file and row:
  the first line with `error:`, above what torchrun has to say. torchrun cannot tell one fault from
  another, and with --max-restarts it starts again after faults of the data too.
  SECONDS of --timeout count from the last sign of life of a rank while others wait for it; a rank
  that reads gives one with every piece. Processes have at least a minute to find each other.

exit code:
  0  done, or done before
  1  a fault: in the data, of a rank, of a disk
  2  options that do not fit, or a FILE that is the result of something else
"""


class Parser(argparse.ArgumentParser):
    """Of which the first rank alone says what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say so and end."""
        if own_rank() == 0:
            super().error(message)
        sys.exit(USAGE)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = Parser(
        prog="python -m helpers.distributed",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", nargs="+", help="a .npy file, a folder of them, or a pattern")
    parser.add_argument(
        "--out", required=True, type=model_file, metavar="FILE", help="where the model goes"
    )
    parser.add_argument(
        "--kept", metavar="FOLDER", help="where statistics of single files go (FILE.parts)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long to wait for a rank that gives no sign of life (%(default)g)",
    )
    parser.add_argument(
        "--backend",
        choices=("gloo", "nccl"),
        help="what carries the numbers (nccl where each rank has a GPU, else gloo)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float64", help="of the model (%(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails")
    parser.add_argument(
        "--overwrite", action="store_true", help="write FILE even where it is something else"
    )
    return parser


def seconds(text: str) -> float:
    """A positive number of seconds."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def model_file(name: str) -> str:
    """The name of a file that no later start takes for data."""
    if name.endswith(".npy"):
        raise argparse.ArgumentTypeError(
            f"expected a name for a model, such as model.pt, got {name!r}, the name of a shard"
        )
    return name


def own_rank() -> int:
    """Number of this process among those that torchrun has started."""
    return int(os.environ.get("RANK", "0"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for; the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        with process_group(options.backend, options.timeout) as group:
            return run(options, group)
    except FileExistsError as error:
        return say(error, USAGE)
    except (TypeError, ValueError, OSError, RuntimeError, ArithmeticError) as error:
        get_error_handler().record_exception(error)  # for the report of torchrun
        return say(error, FAULT)


def say(error: Exception, code: int) -> int:
    """Print an error on the first rank that can, and return the exit code."""
    missing = error.missing if isinstance(error, RanksMissingError) else []
    if all(rank in missing for rank in range(own_rank())) and own_rank() not in missing:
        print(f"error: {worded(error)}", file=sys.stderr, flush=True)
    return code


def worded(error: Exception) -> str:
    """An error in words, which begin with the file that it is about."""
    if isinstance(error, OSError) and error.filename is not None:
        words = re.sub(r"^\w+: ", "", error.strerror)  # an argument of a function
        return f"{error.filename}: {words}"
    return str(error)


def run(options: argparse.Namespace, group: Any = None) -> int:
    """The work of one rank."""
    ranks = find_ranks(group)
    out = as_checkpoint_path(options.out, "out")
    work = ShardWork(
        ranks,
        kept=options.kept or f"{out}.parts",
        dtype=DTYPES[options.dtype],
        timeout=options.timeout,
        progress=False if options.quiet else None,
    )
    plan = work.plan(options.data)
    job = job_of(plan, work.dtype)
    tell = print if ranks.is_first and not options.quiet else lambda _: None
    if work.by_first("looked for", lambda: prepare(out, job, plan, work.kept, options.overwrite)):
        tell(f"finished before: {out} is the result of these files, nothing to do")
        return DONE
    result = work.run(plan)
    work.by_first("fitted", lambda: write_result(out, result, plan, job))
    tell(summary(result, out))
    return DONE


def prepare(out: Path, job: str, plan: Plan, kept: Path, overwrite: bool) -> bool:
    """Whether the job is done; if not, whether its result can be written, or an error."""
    if not overwrite and is_finished(out, job):
        return True
    require_free(out, plan, kept, overwrite)
    return False


def summary(result: ShardFit, out: Path) -> str:
    """What was done, in three lines."""
    rows, shards = int(result.statistics.count), len(result.shards)
    again = f", {result.n_kept} of them read before" if result.n_kept else ""
    return (
        f"{rows:,} rows of {result.model.dim} columns in {shards} files{again}, "
        f"on {result.n_ranks} {'rank' if result.n_ranks == 1 else 'ranks'}\n"
        f"{result.history.verdict}\n"
        f"written: {out} and {report_of(out).name}"
    )


@contextmanager
def process_group(backend: str | None, timeout: float) -> Iterator[Any]:
    """The group of the processes that torchrun has started; None for a process on its own."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield None
        return
    backend = backend or usual_backend()
    if backend == "nccl":
        torch.cuda.set_device(local_rank())
    joining = max(timeout, JOINING)
    place = meeting_place(joining)
    dist.init_process_group(backend, timeout=timedelta(seconds=joining), **place)
    try:
        # Collectives are as patient as the reader wants, and no more.
        yield dist.new_group(timeout=timedelta(seconds=timeout))
    except RanksMissingError:
        raise  # to take leave of them could take for ever
    except BaseException:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def meeting_place(patience: float) -> dict[str, Any]:
    """Where the ranks of this attempt meet, once all of them are there.

    torch.distributed alone would miss a rank that hangs as it starts, but could not say which.

    torchrun may keep its store when it starts killed workers again, and with it the addresses of
    those that are gone. On one machine all ranks know which attempt this is, and meet elsewhere
    each time. On several machines their numbers differ: there the environment variable
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes torchrun open a new store.
    """
    known = os.environ
    is_shared = known.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if "MASTER_ADDR" not in known or "MASTER_PORT" not in known:
        return {}  # torch.distributed says which variable is missing
    if is_shared and known.get("GROUP_WORLD_SIZE") != "1":
        return {}
    rank, n_ranks = own_rank(), int(known["WORLD_SIZE"])
    store = open_store(is_master=rank == 0 and not is_shared, patience=patience)
    if is_shared:
        attempt = known.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"attempt {attempt}", store)
    ranks = Ranks(rank, n_ranks, None, torch.device("cpu"))
    RollCall(ranks, patience, dist.PrefixStore(NAMESPACE, store)).wait_for_all("started")
    return {"store": store, "rank": rank, "world_size": n_ranks}


def open_store(*, is_master: bool, patience: float) -> dist.Store:
    """The store at the address that the launcher gives, which the first rank or torchrun keeps."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    waiting = timedelta(seconds=patience)
    try:
        return dist.TCPStore(
            host, port, is_master=is_master, timeout=waiting, wait_for_workers=False
        )
    except dist.DistNetworkError as error:
        if is_master:
            raise  # the port is in use, or not allowed
        raise RanksMissingError(
            f"rank 0 did not arrive: nobody answered at {host}:{port} for {patience:g} s", [0]
        ) from error


def usual_backend() -> str:
    """NCCL where every rank of this machine has a GPU and knows which, else gloo."""
    known = os.environ
    # A launcher that does not say how many ranks are here may have started all of them here, and
    # one that does not number them leaves nobody to tell which GPU is whose.
    n_ranks_here = int(known.get("LOCAL_WORLD_SIZE", known.get("WORLD_SIZE", "1")))
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= n_ranks_here
    numbered = n_ranks_here == 1 or "LOCAL_RANK" in known
    return "nccl" if enough and numbered and dist.is_nccl_available() else "gloo"


def leave(code: int) -> NoReturn:
    """End this process at once: all is written, and threads may wait for ranks that are gone.

    Python would take torch apart first, module by module, for half a second.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    get_error_handler().initialize()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    leave(main())
