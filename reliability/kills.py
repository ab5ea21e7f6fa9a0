"""`python -m reliability kills`: interrupt fits at random moments and resume them.

Each fit is killed with SIGKILL several times, at a random moment or at a chosen place within the
writing of its checkpoint, and started again until it ends. The result must equal that of a fit
which nobody interrupted, bit for bit, and no file may be left over.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from helpers import load_checkpoint
from reliability import interrupted, records

KILLS = 100
KILLS_OF_A_FIT = 3
AT_ANY_MOMENT = "at any moment"
COLUMNS = ["way", "fits", "kills", "within a write", "restarts", "equal bit for bit", "left over"]


@dataclass
class Row:
    """What came out for a way."""

    way: str
    fits: int = 0
    kills: int = 0
    within_a_write: int = 0
    restarts: int = 0
    equal: int = 0
    left_over: int = 0  # files

    def passed(self) -> bool:
        """Whether nothing was lost and nothing left behind."""
        return self.equal == self.fits and self.left_over == 0


def interrupt(row: Row, folder: Path, expected: dict[str, Any], dice: random.Random) -> None:
    """Run one fit of a way in an empty folder, kill it some times, and compare its result."""
    row.fits += 1
    at_least = -1
    for _ in range(KILLS_OF_A_FIT):
        process = _killed(row.way, folder, expected, dice)
        if process.exitcode == 0:
            break
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{row.way}: expected a kill, got exit code {process.exitcode}")
        row.kills += 1
        row.within_a_write += any(folder.glob(".fit.pt.*"))
        at_least = _require_progress(folder / "fit.pt", at_least)
        row.restarts += 1
    else:
        interrupted.started(row.way, folder).join()
    row.equal += interrupted.same_bits(interrupted.result_in(folder), expected)
    known = {"fit.pt", "result.pt", "data.npy", "data.new.npy"}
    row.left_over += sum(path.name not in known for path in folder.iterdir())


def _killed(way: str, folder: Path, expected: dict[str, Any], dice: random.Random) -> Any:
    """A process that was killed, or that ended before it could be."""
    moment = dice.choice((AT_ANY_MOMENT, *interrupted.PLACES))
    if moment != AT_ANY_MOMENT:
        saves = int(expected["step"][-1])
        process = interrupted.started(way, folder, moment, dice.randint(1, max(1, saves // 2)))
    else:
        process = interrupted.started(way, folder)
        time.sleep(dice.uniform(0.0, expected["seconds"]))
        process.kill()
    process.join()
    return process


def _require_progress(checkpoint: Path, at_least: int) -> int:
    """The steps in a checkpoint, which must be whole and no older than the one before."""
    if not checkpoint.exists():
        if at_least >= 0:
            raise RuntimeError("expected the older checkpoint to stay, got none")
        return -1
    steps = load_checkpoint(checkpoint)["n_steps"]
    if steps < at_least:
        raise RuntimeError(f"expected a checkpoint of {at_least} steps or more, got {steps}")
    return steps


def measure(way: str, kills: int, seed: int) -> Row:
    """Interrupt fits of a way until so many processes were killed."""
    dice, row = random.Random(seed), Row(way)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        (Path(folder) / "whole").mkdir()
        expected = interrupted.undisturbed(way, Path(folder) / "whole")
        while row.kills < kills:
            place = Path(folder) / str(row.fits)
            place.mkdir()
            interrupt(row, place, expected, dice)
    return row


def main(arguments: Sequence[str]) -> int:
    """Interrupt fits in every way; 1 where a result differs."""
    parser = records.parser("kills", __doc__)
    parser.add_argument(
        "kills",
        nargs="?",
        type=records.count(),
        default=KILLS,
        help=f"at least so many in all ({KILLS})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = parser.parse_args(arguments)
    of_a_way = -(-chosen.kills // len(interrupted.WAYS))
    rows = []
    for number, way in enumerate(interrupted.WAYS):
        rows.append(measure(way, of_a_way, chosen.seed * 1000 + number))
        print(*astuple(rows[-1]), sep=" | ", flush=True)
    counts = [name for name in vars(rows[0]) if name != "way"]
    totals = {"ways": len(rows)}
    totals |= {name: sum(getattr(row, name) for row in rows) for name in counts}
    totals["failures"] = totals["fits"] - totals["equal"] + totals["left_over"]
    record = {
        "command": records.command("kills", arguments),
        "columns": COLUMNS,
        "rows": [list(astuple(row)) for row in rows],
        "summary": totals,
    }
    print(", ".join(f"{number} {name}" for name, number in totals.items()))
    records.keep("kills", record, chosen.record)
    return 0 if all(row.passed() for row in rows) else 1
