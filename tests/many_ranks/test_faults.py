"""Shards that are spoilt, disks that are full, peers that hang: every rank says what and where."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import CHANGES, Failed, Ranks, Said, fitted, fitted_after, together
from truth import write_shards

from reliability import launches, sharded
from reliability.sharded import Death, Plan

ROW, COLUMN = 17, 1
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
pytestmark = POSIX


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Five shards of forty rows, of which the fourth will be spoilt."""
    rows = np.random.default_rng(0).standard_normal((200, 3))
    return write_shards(tmp_path / "data", rows, [40, 80, 120, 160])


# Bad shards ---------------------------------------------------------------------------------------


class Dangerous:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def put(value: float) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        rows = np.load(path)
        rows[ROW, COLUMN] = value
        np.save(path, rows)

    return spoil


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, path.stat().st_size + size if size < 0 else size)


def pickled(path: Path) -> None:
    rows = np.array([[Dangerous(path.parent / "touched")]], dtype=object)
    np.save(path, rows, allow_pickle=True)


SPOILT = {
    "NaN": (put(np.nan), f"row {ROW}"),
    "infinity": (put(-np.inf), f"row {ROW}"),
    "truncated": (cut(-8 * 3 * 10 - 4), "row 29"),  # of 40 rows ten and a half number are gone
    "truncated in the header": (cut(20), "cut off in its header, after 20 bytes"),
    "nothing in it": (cut(0), "cut off in its header, after 0 bytes"),
    "another width": (lambda path: np.save(path, np.load(path)[:, :2]), "columns"),
    "another dtype": (lambda path: np.save(path, np.load(path).astype("f4")), "float32"),
    "integers": (lambda path: np.save(path, np.ones((40, 3), dtype=int)), "int64"),
    "no matrix": (lambda path: np.save(path, np.ones(40)), "(40,)"),
    "text": (lambda path: path.write_text("a,b,c\n1,2,3\n"), "npy"),
    "pickled objects": (pickled, "object"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ""),
    "a link to nothing": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "No such file"),
}


def refused(answers: list, path: Path) -> str:
    """The message that all ranks raise, which names the file."""
    for answer in answers:
        assert isinstance(answer, Failed), "no error"
        assert "ValueError" in answer.kinds or "OSError" in answer.kinds, answer
        assert answer.message == answers[0].message
        assert answer.kind == answers[0].kind
    assert str(path) in answers[0].message
    return answers[0].message


@pytest.mark.parametrize("world", ["1", "2", "4"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_shard_is_named_on_every_rank(how, world, four: Ranks, shards, tmp_path):
    spoil, words = SPOILT[how]
    good = shards[3].read_bytes()
    spoil(shards[3])
    kept = tmp_path / "kept"
    message = refused(four.run(world, _fit, shards, kept), shards[3])
    assert words in message
    assert not (tmp_path / "data" / "touched").exists()
    assert leftovers(kept) == []
    # The ranks live, and what was read is of use.
    shards[3].rmdir() if shards[3].is_dir() else shards[3].unlink()
    shards[3].write_bytes(good)
    assert not any(isinstance(each, Failed) for each in four.run(world, _fit, shards, kept))


def _fit(paths, kept, *, group):
    return fitted(paths, kept=kept, group=group)


def leftovers(folder: Path) -> list[str]:
    """Files that a write has not finished."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part")]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("world", ["1", "2", "4"])
def test_a_shard_that_changes_once_it_was_listed_is_named(change, world, four: Ranks, shards):
    before = [path.read_bytes() for path in shards]
    message = refused(four.run(world, fitted_after, shards, change, shards[3]), shards[3])
    expected = {"gone": "No such file", "written again": "changed since"}
    assert expected.get(change, "") in message
    assert [path.read_bytes() for path in shards[:3]] == before[:3]


def as_nobody() -> None:
    """Give up the rights of root, for whom no file is unreadable."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may read and write, even nobody."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        os.chmod(name, 0o777)  # noqa: S103 - it is there for nobody
        yield Path(name)


def test_a_shard_that_may_not_be_read_is_named(open_folder: Path):
    rows = np.random.default_rng(0).standard_normal((200, 3))
    shards = write_shards(open_folder / "data", rows, [40, 80, 120, 160])
    shards[3].chmod(0)
    out = open_folder / "model.pt"
    options = {"folder": open_folder, "prepare": as_nobody}
    with together(2, open_folder / "data", "--out", out, **options) as said:
        fails(said(), "Permission denied", str(shards[3]))
    assert not out.exists()


def fails(ranks: list[Said], *words: str) -> None:
    """All ranks end with 1, and one of them says why, once and without a traceback."""
    assert [each.code for each in ranks] == [1] * len(ranks), ranks
    spoken = [each.err for each in ranks if each.err.strip()]
    assert len(spoken) == 1, spoken
    for word in words:
        assert word in spoken[0]
    assert "Traceback" not in spoken[0]


@pytest.mark.parametrize("how", ["NaN", "truncated", "another width"])
def test_the_command_line_leaves_no_model_behind_a_bad_shard(how, shards, tmp_path):
    spoil, words = SPOILT[how]
    spoil(shards[3])
    before = sorted(path.name for path in tmp_path.iterdir())
    said_here = tmp_path / "said"
    said_here.mkdir()
    with together(2, shards[0].parent, "--out", tmp_path / "model.pt", folder=said_here) as said:
        fails(said(), words, str(shards[3]))
    there = {path.name for path in tmp_path.iterdir()} - {"said", *before}
    assert there <= {"model.pt.parts"}
    assert leftovers(tmp_path) == []


# Disks --------------------------------------------------------------------------------------------


def small_files() -> None:
    """No file may be longer than this."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does in a program of its own
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))


def test_statistics_that_cannot_be_kept_end_the_fit(shards, tmp_path):
    out = tmp_path / "out" / "model.pt"
    out.parent.mkdir()
    with together(2, shards[0].parent, "--out", out, folder=tmp_path, prepare=small_files) as said:
        fails(said(), os.strerror(errno.EFBIG), "model.pt.parts")
    assert [path.name for path in out.parent.iterdir()] == ["model.pt.parts"]
    assert leftovers(tmp_path) == []


def own_mounts() -> list[str]:
    """How to start a program with mounts of its own; a skip where that is forbidden."""
    for way in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        if shutil.which("unshare") and not subprocess.run([*way, "true"], check=False).returncode:
            return way
    pytest.skip("this machine does not let us mount a small disk of our own")


def started_on(disk: Path, options: str, before: str, command: list[str | Path]) -> Any:
    """What a program says while a small disk is mounted in a folder, and what then lies there."""
    disk.mkdir()
    script = (
        f'mount -t tmpfs -o {options} tmpfs "$1"; cd "$1"; {before}; shift; "$@"; code=$?; ls -A'
    )
    words = ["sh", "-c", f"{script}; exit $code", "sh", disk]
    with launches.launch([*own_mounts(), *words, *command]) as launch:
        return launch.ended()


def test_a_full_disk_is_named_and_nothing_half_written_stays(shards, tmp_path):
    disk = tmp_path / "disk"
    rest = ["-m", "helpers.distributed", shards[0].parent, "--kept", tmp_path / "kept"]
    command = launches.torchrun(2, *rest, "--out", disk / "model.pt")
    done = started_on(disk, "size=8k", "head -c 8k /dev/zero > full", command)
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert os.strerror(errno.ENOSPC) in line
    assert str(disk / "model.pt") in line
    assert done.stdout.split() == ["full"]


def test_a_read_only_disk_is_named_before_the_shards_are_read(shards, tmp_path):
    disk, log = tmp_path / "disk", tmp_path / "log"
    plan = Plan(str(shards[0].parent), str(disk / "model.pt"), str(log)).write(tmp_path / "plan")
    rest = [shards[0].parent, "--kept", tmp_path / "kept", "--out", disk / "model.pt"]
    command = [sys.executable, "-m", "reliability.sharded", plan, *rest]
    done = started_on(disk, "ro", ":", command)
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert os.strerror(errno.EROFS) in line
    assert str(disk / "model.pt") in line
    # The first rows of the first shard tell what a job is.
    assert log.read_text().splitlines() == ["0 0 looks at 000.npy"]


# Peers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "late"),
    [
        *((sharded.STARTING, late) for late in ([0], [2, 3])),
        *((sharded.CALLING, late) for late in ([0], [1])),
        *((sharded.BEFORE_READING, late) for late in ([1], [2, 3])),
        (sharded.REDUCING, [1]),
    ],
)
def test_a_rank_that_hangs_is_named_in_time(place, late, shards, tmp_path):
    out, timeout = tmp_path / "model.pt", 2.0
    deaths = [
        Death(rank, place, str(tmp_path / f"token-{rank}"), how=signal.SIGSTOP) for rank in late
    ]
    plan = Plan(str(shards[0].parent), str(out), str(tmp_path / "log"), deaths).write(
        tmp_path / "plan"
    )
    rest = [shards[0].parent, "--out", out, "--timeout", str(timeout)]
    begun = time.monotonic()
    with together(4, *rest, folder=tmp_path, plan=plan, prepare=impatient) as said:
        ranks = said()
        took = time.monotonic() - begun
    assert [each.code for rank, each in enumerate(ranks) if rank not in late] == [1] * (
        4 - len(late)
    )
    spoken = [line for each in ranks for line in each.err.splitlines() if "error: " in line]
    named = f"rank{'s' * (len(late) > 1)} {', '.join(map(str, late))}"
    assert re.match(rf"error: {named} (did not arrive|broke off)\b", spoken[0]), spoken
    assert not out.exists()
    assert timeout <= took < timeout + 15  # seconds, most of them for a machine that does much else


def impatient() -> None:
    """Let the others start in a moment, or not at all."""
    from helpers.distributed import __main__ as command

    command.JOINING = 2.0


def test_a_rank_that_reads_for_long_is_waited_for(shards, tmp_path):
    # Signs of life count, not the time: the first rank is done long before the last one is.
    log = tmp_path / "log"
    plan = Plan(str(shards[0].parent), str(tmp_path / "model.pt"), str(log)).write(
        tmp_path / "plan"
    )
    rest = [shards[0].parent, "--out", tmp_path / "model.pt", "--timeout", "1.5"]
    with together(2, *rest, folder=tmp_path, plan=plan, prepare=slow_when_last) as said:
        ranks = said()
    assert [each.code for each in ranks] == [0, 0], ranks
    assert [each.err for each in ranks] == ["", ""]  # those who wait say nothing
    assert (tmp_path / "model.pt").exists()


def slow_when_last() -> None:
    """Let the last rank take three seconds for its shards, chunk by chunk."""
    if int(os.environ["RANK"]) == 1:
        from helpers.distributed import shards

        chunks = shards.Rows.chunks

        def slowly(self):
            for chunk in chunks(self):
                time.sleep(1.2)
                yield chunk

        shards.Rows.chunks = slowly
