"""Ranks that are killed: the next start takes up what was done, and ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from ranks import Said, together

from reliability import rank_kills, sharded
from reliability.rank_kills import Job, Row
from reliability.sharded import Death

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
RANKS = 2
ROWS = sum(sharded.ROWS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards."""
    folder = tmp_path_factory.mktemp("shards").resolve()
    sharded.make_shards(folder)
    return folder


@pytest.fixture(scope="module")
def unharmed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that nobody disturbs."""
    job = Job(data, tmp_path_factory.mktemp("job") / "unharmed", RANKS, pace=0.0)
    assert [each.code for each in start(job)] == [0] * RANKS
    return job


def start(job: Job) -> list[Said]:
    """Run a job once, without torchrun; nobody starts it again."""
    rest = [job.data, "--out", job.out, "--quiet"]
    options = {"folder": job.folder, "plan": job.folder / "plan.json"}
    with together(job.ranks, *rest, **options) as said:
        return said()


def compared(job: Job, unharmed: Job) -> Row:
    """What a finished job is in comparison with the unharmed one."""
    row = Row("", fits=1)
    rank_kills.compare(row, job, unharmed)
    return row


EVERY_DEATH = [
    *((place, 0, 1) for place in sharded.PLACES),
    *((place, 1, 3) for place in sharded.OF_A_SHARD),
    (sharded.REDUCING, 1, 1),
    (sharded.REDUCING, 0, 2),
]


@pytest.mark.parametrize(("place", "rank", "count"), EVERY_DEATH)
def test_after_a_kill_at_a_place_nothing_is_lost(place, rank, count, data, unharmed, tmp_path):
    death = Death(rank, place, str(tmp_path / "token"), count)
    job = Job(data, tmp_path / "job", RANKS, [death], pace=0.0)
    first = start(job)
    assert first[rank].code == -signal.SIGKILL
    assert job.said("dies") == [place]
    assert first[1 - rank].code != 0, first
    assert not job.out.exists()
    kept = [name for name in job.files() if name.endswith(".pt")]
    assert all(job.files()[name] == unharmed.files()[name] for name in kept)
    second = start(job)
    assert [each.code for each in second] == [0] * RANKS, second
    row = compared(job, unharmed)
    assert row.passed(), row
    # What the first start kept, nobody has read again; what it had not kept, it may have read.
    assert len(sharded.ROWS) - 1 <= row.reads <= len(sharded.ROWS) + RANKS


def test_torchrun_starts_again_and_the_result_is_the_same(data, unharmed, tmp_path):
    deaths = [
        Death(1, sharded.HALF_KEPT, str(tmp_path / "one"), 2),
        Death(0, sharded.UNNAMED_MODEL, str(tmp_path / "two")),
    ]
    job = Job(data, tmp_path / "job", RANKS, deaths, pace=0.0)
    job.run()
    assert job.said("dies") == [deaths[0].place, deaths[1].place]
    assert compared(job, unharmed).passed()


def test_ranks_killed_at_random_moments_lose_nothing(data, unharmed, tmp_path):
    row = Row("two ranks and torchrun")
    rank_kills.disturb(row, data, tmp_path / "job", unharmed, random.Random(3), kills=1)
    assert row.passed(), row
    assert row.kills >= 2


def test_what_differs_is_told_apart(data, unharmed, tmp_path):
    job = Job(data, tmp_path / "job", RANKS, pace=0.0)
    start(job)
    assert compared(job, unharmed).passed()
    parts = sorted((job.folder / "result" / "model.pt.parts").iterdir())
    bits = bytearray(parts[0].read_bytes())
    bits[len(bits) // 2] ^= 1
    parts[0].write_bytes(bits)
    assert compared(job, unharmed).equal == 0
    parts[0].rename(parts[0].with_suffix(".other"))
    assert compared(job, unharmed).left_over == 1
    with job.log.open("a") as log:
        log.write("1 0 reads again shard-3.npy\n")
    assert compared(job, unharmed).again == 1
    report = job.out.with_name("model.pt.md")
    report.write_text(
        report.read_text().replace(f"| rows | {ROWS:,} |", f"| rows | {ROWS - 2:,} |")
    )
    assert compared(job, unharmed).wrong_rows == 2
    for wrong in ("again", "wrong_rows", "left_over"):
        assert not replace(Row("", fits=1, equal=1), **{wrong: 1}).passed()
    assert not Row("", fits=1).passed()


def test_chosen_deaths_are_of_ranks_that_come_there():
    dice = random.Random(0)
    for ranks in (1, 2, 4):
        for death in rank_kills.some_deaths(100, ranks, Path("folder"), dice):
            assert 0 <= death.rank < ranks
            assert death.rank == 0 or death.place not in sharded.OF_RANK_0
