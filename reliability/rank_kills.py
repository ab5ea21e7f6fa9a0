"""`python -m reliability rank_kills`: kill ranks of a fit of shards, under torchrun.

Each fit is started by torchrun, which starts all ranks again when one of them dies. Ranks are
killed with SIGKILL several times, at a random moment or at a chosen place: before a shard is read,
with half of a kept file, in the reduction, before model or report have their names. In one way
torchrun itself is killed too, with all its ranks, and the same command given again. The model and
the statistics of each shard must equal those of a fit that nobody disturbed, bit for bit. No shard
may be read whose statistics were kept, no row may be missing or count twice, and no file may be
left over.
"""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path

import psutil

from reliability import launches, records, sharded
from reliability.sharded import Death, Plan

KILLS = 50
KILLS_OF_A_FIT = 3
PACE = 0.2  # seconds before each shard
IMPORTING = 2.0  # seconds, about
WAYS = {"one rank": 1, "two ranks": 2, "four ranks": 4, "two ranks and torchrun": 2}
COLUMNS = [
    "way",
    "fits",
    "kills",
    "at work",
    "at a place",
    "shards read",
    "read again",
    "rows missing or twice",
    "equal bit for bit",
    "left over",
]


@dataclass
class Row:
    """What came out for a way."""

    way: str
    fits: int = 0
    kills: int = 0
    at_work: int = 0  # a rank had come to its first shard
    at_a_place: int = 0
    reads: int = 0  # of shards
    again: int = 0  # of shards whose statistics were there
    wrong_rows: int = 0
    equal: int = 0
    left_over: int = 0  # files

    def passed(self) -> bool:
        """Whether nothing was lost, doubled, read in vain or left behind."""
        return self.equal == self.fits and not (self.again + self.wrong_rows + self.left_over)


@dataclass
class Job:
    """One fit of the shards in a folder, whose results and log lie in another."""

    data: Path
    folder: Path
    ranks: int
    deaths: list[Death] = field(default_factory=list)
    pace: float = PACE

    def __post_init__(self) -> None:
        """Make the folder, and write the plan for the watchmen."""
        (self.folder / "result").mkdir(parents=True)
        self.log.touch()
        self.plan.write(self.folder / "plan.json")

    @property
    def out(self) -> Path:
        """The file of the model."""
        return self.folder / "result" / "model.pt"

    @property
    def log(self) -> Path:
        """What the watchmen write."""
        return self.folder / "log"

    @property
    def plan(self) -> Plan:
        """What the watchmen do."""
        return Plan(str(self.data), str(self.out), str(self.log), self.deaths, self.pace)

    def launch(self) -> launches.Launch:
        """Start it."""
        rest = ["-m", "reliability.sharded", self.folder / "plan.json"]
        rest += [self.data, "--out", self.out, "--quiet"]
        return launches.launch(launches.torchrun(self.ranks, *rest, restarts=KILLS_OF_A_FIT + 1))

    def run(self) -> None:
        """Run it to its end; RuntimeError if that is not a good one."""
        with self.launch() as launch:
            _require_good(launch.ended())

    def said(self, what: str) -> list[str]:
        """The shards of which a watchman says so."""
        return re.findall(rf"^\d+ \d+ {what} (.+)$", self.log.read_text(), re.MULTILINE)

    def files(self) -> dict[str, bytes]:
        """Everything in the folder of the results, but for the report, which holds times."""
        paths = [path for path in self.out.parent.rglob("*") if path.is_file()]
        found = {str(path.relative_to(self.out.parent)): path.read_bytes() for path in paths}
        found.pop("model.pt.md", None)
        return found

    def rows(self) -> int:
        """Of how many rows the report speaks."""
        report = self.out.with_name("model.pt.md").read_text(encoding="utf-8")
        return int(re.search(r"^\| rows \| ([\d,]+) \|$", report, re.MULTILINE)[1].replace(",", ""))


def _require_good(ended: subprocess.CompletedProcess[str]) -> None:
    if ended.returncode != 0:
        raise RuntimeError(f"expected the fit to end, got {ended.returncode}: {ended.stderr}")


def some_deaths(number: int, ranks: int, folder: Path, dice: random.Random) -> list[Death]:
    """Deaths at random places."""
    found = []
    for i in range(number):
        place = dice.choice(sharded.PLACES)
        rank = 0 if place in sharded.OF_RANK_0 else dice.randrange(ranks)
        shard_by_shard = place in sharded.OF_A_SHARD
        count = dice.randint(1, len(sharded.ROWS) // ranks) if shard_by_shard else 1
        found.append(Death(rank, place, str(folder / f"token-{i}"), count))
    return found


def kill_at_random_moments(row: Row, job: Job, kills: int, dice: random.Random) -> None:
    """Run a job to its end, and kill a rank after so many of its starts."""
    left = kills
    with job.launch() as launch:
        known: set[int] = set()
        while left and launch.process.poll() is None:
            workers = launch.workers()
            pids = {each.pid for each in workers.values()}
            if len(workers) == job.ranks and not known & pids:
                known = pids
                at_work = wait_a_while(job, launch, dice)
                with suppress(psutil.NoSuchProcess):
                    workers[dice.randrange(job.ranks)].kill()
                    left -= 1
                    row.kills += 1
                    row.at_work += at_work
            time.sleep(0.02)
        _require_good(launch.ended())


def wait_a_while(job: Job, launch: launches.Launch, dice: random.Random) -> bool:
    """Let a start get on for a random time; whether a rank comes to a shard within it.

    Half of the times begin with the processes, which first import torch, and half with the work.
    """
    before = job.log.stat().st_size
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0.0, IMPORTING))
    else:
        while job.log.stat().st_size == before and launch.process.poll() is None:
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, len(sharded.ROWS) * job.pace / job.ranks))
    return job.log.stat().st_size > before


def kill_everything(row: Row, job: Job, dice: random.Random) -> None:
    """Start a job, and kill torchrun and its ranks together."""
    with job.launch() as launch:
        while len(launch.workers()) < job.ranks and launch.process.poll() is None:
            time.sleep(0.02)
        at_work = wait_a_while(job, launch, dice)
        lived = launch.process.poll() is None
    row.kills += lived  # whoever leaves the block leaves nobody alive
    row.at_work += lived and at_work


def disturb(
    row: Row,
    data: Path,
    folder: Path,
    unharmed: Job,
    dice: random.Random,
    kills: int = KILLS_OF_A_FIT,
) -> None:
    """Run one fit, kill so many of its ranks, and compare its results with the unharmed ones."""
    row.fits += 1
    at_places = dice.randint(0, kills)
    deaths = some_deaths(at_places, unharmed.ranks, folder, dice)
    job = Job(data, folder, unharmed.ranks, deaths)
    if "torchrun" in row.way:
        kill_everything(row, job, dice)
    kill_at_random_moments(row, job, kills - at_places, dice)
    died = len(job.said("dies"))
    row.kills += died
    row.at_work += died
    row.at_a_place += died
    compare(row, job, unharmed)


def compare(row: Row, job: Job, unharmed: Job) -> None:
    """Add to a row what came out of a job."""
    found, expected = job.files(), unharmed.files()
    row.equal += all(found.get(name) == content for name, content in expected.items())
    row.left_over += len(found.keys() - expected.keys())
    row.reads += len(job.said("reads")) + len(job.said("reads again"))
    row.again += len(job.said("reads again"))
    row.wrong_rows += abs(job.rows() - sum(sharded.ROWS))


def measure(way: str, kills: int, seed: int) -> Row:
    """Disturb fits of a way until so many ranks were killed."""
    dice, row = random.Random(seed), Row(way)
    with tempfile.TemporaryDirectory(prefix="rank-kills-") as name:
        folder = Path(name).resolve()
        sharded.make_shards(folder / "data")
        unharmed = Job(folder / "data", folder / "unharmed", WAYS[way])
        unharmed.run()
        while row.kills < kills:
            disturb(row, folder / "data", folder / str(row.fits), unharmed, dice)
    return row


def main(arguments: Sequence[str]) -> int:
    """Kill ranks in every way; 1 where a result differs."""
    parser = records.parser("rank_kills", __doc__)
    parser.add_argument(
        "kills",
        nargs="?",
        type=records.count(),
        default=KILLS,
        help=f"at least so many in all ({KILLS})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = parser.parse_args(arguments)
    of_a_way = -(-chosen.kills // len(WAYS))
    rows = []
    for number, way in enumerate(WAYS):
        rows.append(measure(way, of_a_way, chosen.seed * 1000 + number))
        print(*astuple(rows[-1]), sep=" | ", flush=True)
    counts = [name for name in vars(rows[0]) if name != "way"]
    totals = {name: sum(getattr(row, name) for row in rows) for name in counts}
    totals |= {"shards": len(sharded.ROWS), "rows": sum(sharded.ROWS)}
    totals["failures"] = sum(not row.passed() for row in rows)
    record = {
        "command": records.command("rank_kills", arguments),
        "columns": COLUMNS,
        "rows": [list(astuple(row)) for row in rows],
        "summary": totals,
    }
    print(", ".join(f"{number} {name}" for name, number in totals.items()))
    records.keep("rank_kills", record, chosen.record)
    return 0 if all(row.passed() for row in rows) else 1
