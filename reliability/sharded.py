"""Fits of shards that are to be interrupted: what their ranks do is written down, and they can die.

``torchrun ... -m reliability.sharded PLAN ARGUMENTS`` is ``torchrun ... -m helpers.distributed
ARGUMENTS`` with a watchman in each rank, who obeys the `Plan` in the file PLAN.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

DIM = 6
ROWS = (700, 0, 1300, 41, 2200, 1, 999, 60, 1500, 333)  # of the shards
# Where a rank may be ended: what it comes to in this order, shard by shard and at the end.
STARTING = "before it joins the others"
CALLING = "before the ranks call each other"
BEFORE_READING = "before it reads a shard"
HALF_KEPT = "with half of a kept file"
UNNAMED_KEPT = "with a kept file that has not its name yet"
REDUCING = "in the reduction"
UNNAMED_MODEL = "with a model that has not its name yet"
UNNAMED_REPORT = "with a report that has not its name yet"
PLACES = (BEFORE_READING, HALF_KEPT, UNNAMED_KEPT, REDUCING, UNNAMED_MODEL, UNNAMED_REPORT)
OF_A_SHARD = (BEFORE_READING, HALF_KEPT, UNNAMED_KEPT)  # where it comes shard by shard
OF_RANK_0 = (UNNAMED_MODEL, UNNAMED_REPORT)


@dataclass(frozen=True)
class Death:
    """Which rank gets a signal at which place, when it comes there for so many times.

    It happens once: the rank that dies removes the file ``token`` first, and without it nobody
    dies.
    """

    rank: int
    place: str
    token: str
    count: int = 1
    how: int = signal.SIGKILL


@dataclass(frozen=True)
class Plan:
    """What the watchmen have to do.

    Attributes
    ----------
    shards, out : str
        The folder of the shards, and the file of the model.
    log : str
        Gets a line ``RANK START reads SHARD`` when a rank begins to read a shard; ``looks at``
        is the first rank, which does so before it knows what is kept; ``reads again`` is a rank
        that has the statistics of this shard already.
    deaths : list of Death
    pace : float
        Seconds that a rank rests before each shard, so that there is time to be killed in.
    """

    shards: str
    out: str
    log: str
    deaths: list[Death] = field(default_factory=list)
    pace: float = 0.0

    def write(self, path: Path) -> Path:
        """Put the plan into a file, and the tokens beside it."""
        for death in self.deaths:
            Path(death.token).touch()
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Plan:
        """What `write` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**told, "deaths": [Death(**each) for each in told["deaths"]]})


def make_shards(folder: Path, rows: Sequence[int] = ROWS, seed: int = 0) -> list[Path]:
    """Write shards of these lengths, and return their paths."""
    dice = np.random.default_rng(seed)
    mixing = np.tril(dice.standard_normal((DIM, DIM))) + 3 * np.eye(DIM)
    folder.mkdir(exist_ok=True)
    paths = []
    for number, n in enumerate(rows):
        data = dice.standard_normal((n, DIM)) @ mixing.T + 10.0
        paths.append(folder / f"shard-{number}.npy")
        np.save(paths[-1], data)
    return paths


class Watchman:
    """Sees every shard that this process reads and file that it renames, knows when to die."""

    def __init__(self, plan: Plan):
        self.plan, self.rank = plan, int(os.environ.get("RANK", 0))
        self.seen: Counter[str] = Counter()
        self.deaths = [death for death in plan.deaths if death.rank == self.rank]

    def watch(self) -> None:
        """Begin."""
        import torch.distributed

        from helpers.distributed.shards import Rows

        sys.addaudithook(self.heard)
        self._before(Rows, "__enter__", lambda rows: self.reads(Path(rows.shard.path)))
        self._before(os, "fsync", self.syncs)
        collectives = {"broadcast_object_list": CALLING, "all_reduce": REDUCING}
        for name, place in collectives.items():
            self._before(torch.distributed, name, lambda *_, at=place, **__: self.comes_to(at))
        self.comes_to(STARTING)

    def _before(self, owner: Any, name: str, look: Callable[..., None]) -> None:
        function = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            look(*arguments, **options)
            return function(*arguments, **options)

        setattr(owner, name, watched)

    def heard(self, event: str, arguments: tuple) -> None:
        """Take note of what Python is about to do."""
        if event == "os.rename":
            self.renames(Path(os.fsdecode(arguments[1])))

    def reads(self, path: Path) -> None:
        """A shard is opened for its rows."""
        looks = self.rank == 0 and not self.seen[BEFORE_READING]
        kept = any(Path(f"{self.plan.out}.parts").glob(f"{path.stem}-*.pt"))
        self.say(f"{'looks at' if looks else 'reads again' if kept else 'reads'} {path.name}")
        time.sleep(self.plan.pace)
        self.comes_to(BEFORE_READING)

    def renames(self, path: Path) -> None:
        """A file gets its name."""
        out = Path(self.plan.out)
        if path == out:
            self.comes_to(UNNAMED_MODEL)
        elif path.parent == out.parent:
            self.comes_to(UNNAMED_REPORT)
        else:
            self.comes_to(UNNAMED_KEPT)

    def syncs(self, handle: int) -> None:
        """The content of a file goes to the disk."""
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.parent != Path(self.plan.out).parent and path.is_file():
            self.comes_to(HALF_KEPT, lambda: os.ftruncate(handle, os.fstat(handle).st_size // 2))

    def comes_to(self, place: str, prepare: Callable[[], None] = lambda: None) -> None:
        """Die here if the plan says so."""
        self.seen[place] += 1
        for death in self.deaths:
            if (death.place, death.count) == (place, self.seen[place]):
                with suppress(FileNotFoundError):
                    os.unlink(death.token)
                    prepare()
                    self.say(f"dies {place}")
                    os.kill(os.getpid(), death.how)

    def say(self, what: str) -> None:
        """Write a line into the log, whole even where all ranks write."""
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        handle = os.open(self.plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{self.rank} {attempt} {what}\n".encode())
        os.close(handle)


def main(arguments: Sequence[str]) -> int:
    """Fit as `helpers.distributed` does, watched."""
    from helpers.distributed.__main__ import main as fit

    Watchman(Plan.read(Path(arguments[0]))).watch()
    return fit(list(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
