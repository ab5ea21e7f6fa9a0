"""`torchrun -m helpers.bad_disk DATA... --out FILE`: `helpers.distributed` on a bad disk.

In its first life rank 1 hangs at its third shard, so that there is time to watch it, and to kill
it. Everything else is the command line of `helpers.distributed`.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Any

from helpers.distributed import fitting
from helpers.distributed.__main__ import leave, main

RANK, SHARD, MINUTES = 1, 3, 10  # the third shard of rank 1 hangs for ten minutes


def hang_once() -> None:
    """Let one read hang for minutes, in a process that leaves its number in the name of a file."""
    collect, seen = fitting.collect, []

    def collect_or_hang(shard: Any, *rest: Any) -> Any:
        seen.append(shard)
        here = int(os.environ["RANK"]) == RANK and len(seen) == SHARD
        if here and not list(Path().glob("pid-*")):
            Path(f"pid-{os.getpid()}").touch()
            Event().wait(MINUTES * 60)  # until it is killed; nobody is left waiting for ever
        return collect(shard, *rest)

    fitting.collect = collect_or_hang


if __name__ == "__main__":
    hang_once()
    leave(main())
