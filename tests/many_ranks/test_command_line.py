"""`torchrun -m helpers.distributed DATA... --out FILE`, as the help tells it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import Said, together
from truth import apart, one_process, write_shards

from reliability import launches
from reliability.sharded import Plan

pytestmark = pytest.mark.skipif(os.name != "posix", reason="torchrun is told of on POSIX only")
RELATIVE = 1e-12
NAMELESS = "nobody-knows-this-host"
# A machine with a name, on which no port is taken.
ALONE = 'hostname "$0"; ip link set lo up; exec "$@"'


@pytest.fixture
def data() -> np.ndarray:
    """Some rows."""
    dice = np.random.default_rng(2)
    return dice.standard_normal((300, 3)) @ dice.standard_normal((3, 3)) + 5.0


@pytest.fixture
def shards(data: np.ndarray, tmp_path: Path) -> list[Path]:
    """The rows in five shards."""
    return write_shards(tmp_path / "data", data, [100, 100, 180, 250])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file of the model."""
    (tmp_path / "result").mkdir()
    return tmp_path / "result" / "model.pt"


def run(shards: list[Path], out: Path, *rest: str, ranks: int = 2, **options: Any) -> list[Said]:
    """The command line with the folder of the shards."""
    folder = shards[0].parent
    with together(ranks, folder, "--out", out, *rest, folder=out.parents[1], **options) as said:
        return said()


def done(ranks: list[Said]) -> str:
    """What the first rank prints where all went well and no other says anything."""
    assert [each.code for each in ranks] == [0] * len(ranks), ranks
    assert [each.out + each.err for each in ranks[1:]] == [""] * (len(ranks) - 1)
    return ranks[0].out


def load(path: Path) -> dict[str, torch.Tensor]:
    """The state in a file."""
    return torch.load(path, weights_only=True)


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Each file below a folder: its bytes and when they were written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def alone(name: str) -> list[str]:
    """How to start a program on a machine of its own; a skip where that cannot be."""
    way = ["unshare", "--net", "--uts", "sh", "-c", ALONE, name]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("this machine has no unshare or no ip")
    if subprocess.run([*way, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets us make no network of our own")
    return way


@pytest.mark.parametrize(
    ("name", "options"), [("localhost", []), (NAMELESS, ["--local-addr", "127.0.0.1"])]
)
def test_torchrun_as_the_reader_starts_it(name, options, data, shards, out):
    command = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2", *options]
    rest = ["-m", "helpers.distributed", shards[0].parent, "--out", out]
    with launches.launch([*alone(name), *command, *rest]) as launch:
        ended = launch.ended()
        assert launch.everyone() == []
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "300 rows of 3 columns in 5 files, on 2 ranks" in ended.stdout
    assert ended.stdout.count("written: ") == 1
    assert apart(load(out), one_process(data)) <= RELATIVE
    files = sorted(path.name for path in out.parent.iterdir())
    assert files == ["model.pt", "model.pt.md", "model.pt.parts"]
    assert NAMELESS not in (out.parent / "model.pt.md").read_text()


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_same_model_on_any_number_of_ranks(ranks, data, shards, out):
    said = done(run(shards, out, ranks=ranks))
    assert f"on {ranks} rank" in said
    assert apart(load(out), one_process(data)) <= RELATIVE


def test_one_process_needs_no_torchrun(data, shards, out):
    command = [sys.executable, "-m", "helpers.distributed", *shards, "--out", out]
    with launches.launch(command) as launch:
        ended = launch.ended()
    assert ended.returncode == 0, ended.stderr
    assert "300 rows of 3 columns in 5 files, on 1 rank\n" in ended.stdout
    assert apart(load(out), one_process(data)) <= RELATIVE


def test_the_report_says_what_was_done_and_how_to_load_it(data, shards, out, monkeypatch):
    done(run(shards, out))
    report = out.with_name("model.pt.md").read_text(encoding="utf-8")
    for line in ("| rows | 300 |", "| columns | 3 |", "| shards | 5, 1 of them empty |"):
        assert line in report
    for part in ("| ranks | 2 |", "| seconds to read |", "| condition number |"):
        assert part in report
    for mean, deviation in zip(data.mean(0), data.std(0), strict=True):
        assert re.search(
            rf"\| {re.escape(f'{mean:.8g}')} \| {re.escape(f'{deviation:.6g}')} \|", report
        )
    monkeypatch.chdir(out.parent)
    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", report, re.DOTALL)[1], names)
    assert apart(names["model"].state_dict(), one_process(data)) <= RELATIVE
    assert len(report.splitlines()) < 60  # a page


def test_a_second_start_says_so_and_does_nothing(shards, out, tmp_path):
    done(run(shards, out))
    before = state_of(out.parent)
    log = tmp_path / "log"
    plan = Plan(str(shards[0].parent), str(out), str(log)).write(tmp_path / "plan")
    for ranks in (2, 1, 4):
        said = done(run(shards, out, ranks=ranks, plan=plan))
        assert said.startswith("finished before: ")
        assert str(out) in said
        assert state_of(out.parent) == before
    assert set(log.read_text().splitlines()) == {"0 0 looks at 000.npy"}


def change(shards: list[Path]) -> None:
    np.save(shards[2], np.load(shards[2]) + 1.0)


def add(shards: list[Path]) -> None:
    np.save(shards[0].with_name("new.npy"), np.load(shards[0]))


def touch(shards: list[Path]) -> None:
    os.utime(shards[2], ns=(0, 0))


def remove(shards: list[Path]) -> None:
    shards[4].unlink()


OF_OTHERS = {
    change: "002.npy has changed since; --overwrite fits again",
    touch: "002.npy has changed since; --overwrite fits again",
    add: "new.npy is new; --overwrite fits again",
    remove: "it had other shards, or another --dtype; --overwrite fits again",
}


@pytest.mark.parametrize("how", OF_OTHERS)
def test_other_shards_are_another_job(how, shards, out, tmp_path):
    done(run(shards, out))
    before = state_of(out.parent)
    how(shards)
    refused = run(shards, out)
    assert [each.code for each in refused] == [2, 2]
    assert refused[0].err.startswith(f"error: {out}: expected a new file or the result of this job")
    assert OF_OTHERS[how] in refused[0].err
    assert refused[1].err == ""
    assert state_of(out.parent) == before
    log = tmp_path / "log"
    plan = Plan(str(shards[0].parent), str(out), str(log)).write(tmp_path / "plan")
    done(run(shards, out, "--overwrite", plan=plan))
    now = [np.load(path) for path in sorted(shards[0].parent.glob("*.npy"))]
    assert apart(load(out), one_process(np.concatenate(now))) <= RELATIVE
    # What has not changed is not read again; of what has changed, older statistics are there.
    read = re.findall(r"reads (?:again )?(\S+)", log.read_text())
    expected = {change: ["002.npy"], touch: ["002.npy"], add: ["new.npy"]}
    assert read == expected.get(how, [])


def test_nothing_is_said_of_shards_where_nothing_was_kept(shards, out):
    done(run(shards, out))
    shutil.rmtree(out.with_name("model.pt.parts"))
    change(shards)
    before = state_of(out.parent)
    refused = run(shards, out, ranks=1)
    assert refused[0].code == 2
    assert OF_OTHERS[remove] in refused[0].err
    assert state_of(out.parent) == before
    assert not out.with_name("model.pt.parts").exists()


def test_the_folder_of_the_result_is_made(data, shards, tmp_path):
    out = tmp_path / "results" / "today" / "model.pt"
    command = [shards[0].parent, "--out", out]
    with together(2, *command, folder=tmp_path) as said:
        done(said())
    assert apart(load(out), one_process(data)) <= RELATIVE


def test_a_shard_is_no_place_for_the_result(shards, tmp_path):
    place = shards[0].with_suffix("")  # a shard by any other name
    shards[0].rename(place)
    for rest in ([], ["--overwrite"]):
        with together(2, place, shards[1], "--out", place, *rest, folder=tmp_path) as said:
            refused = said()
        assert [each.code for each in refused] == [2, 2]
        assert f"error: {place}: expected a file that is none of the shards" in refused[0].err
        assert np.load(place.open("rb")).shape == (100, 3)


def test_a_file_that_is_not_ours_stays(shards, out):
    out.write_text("a letter\n")
    before = state_of(out.parent)
    for rest in ([], ["--quiet"]):
        refused = run(shards, out, *rest)
        assert [each.code for each in refused] == [2, 2]
        assert f"error: {out}: " in refused[0].err
        assert "got another file; name another one or say --overwrite" in refused[0].err
        assert state_of(out.parent) == before


def test_a_model_that_was_damaged_is_not_taken_for_the_result(shards, out):
    done(run(shards, out))
    good = out.read_bytes()
    out.write_bytes(good[:-1])
    assert [each.code for each in run(shards, out)] == [2, 2]
    out.unlink()
    done(run(shards, out))
    assert out.read_bytes() == good


def test_a_kept_file_that_was_damaged_is_read_again(shards, out):
    done(run(shards, out))
    good = out.read_bytes()
    parts = sorted(out.with_name("model.pt.parts").iterdir())
    assert len(parts) == len(shards)
    out.unlink()
    parts[0].write_bytes(parts[0].read_bytes()[:-50])
    shutil.copy(parts[3], parts[2])  # of another shard
    ranks = run(shards, out)
    assert [each.code for each in ranks] == [0, 0], ranks
    assert out.read_bytes() == good
    said = "".join(each.err for each in ranks)
    assert str(parts[0]) in said
    assert "Traceback" not in said


def test_quiet_says_nothing_and_the_other_options_do_as_they_say(shards, out, tmp_path):
    rest = ["--quiet", "--dtype", "float32", "--kept", str(tmp_path / "kept"), "--backend", "gloo"]
    assert done(run(shards, out, *rest)) == ""
    assert {value.dtype for value in load(out).values()} == {torch.float32}
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.pt", "model.pt.md"]
    assert any((tmp_path / "kept").iterdir())


def test_the_first_rank_alone_shows_how_far_it_is(shards, out, tmp_path):
    plan = Plan(str(shards[0].parent), str(out), str(tmp_path / "log"), pace=1.2)
    ranks = run(shards, out, plan=plan.write(tmp_path / "plan"))
    assert [each.code for each in ranks] == [0, 0], ranks
    assert re.search(r"read:? .*row", ranks[0].err)
    assert ranks[1].err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: data, --out"),
        (["DATA", "--out", "model.pt", "--timeout", "-1"], "--timeout"),
        (["DATA", "--out", "model.npy"], "--out: expected a name for a model, such as model.pt"),
        (["DATA", "--out", "model.pt", "--dtype", "int8"], "float32"),
        (["DATA", "--out", "model.pt", "--colour"], "--colour"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_the_first_rank(arguments, words, tmp_path):
    with together(2, *arguments, folder=tmp_path) as said:
        ranks = said()
    assert [each.code for each in ranks] == [2, 2]
    assert words in ranks[0].err
    assert ranks[1].err == ""


def test_the_help_names_every_option_and_example(tmp_path):
    with together(1, "--help", folder=tmp_path) as said:
        (rank,) = said()
    assert rank.code == 0
    for option in (
        "--out",
        "--kept",
        "--timeout",
        "--backend",
        "--dtype",
        "--quiet",
        "--overwrite",
    ):
        assert f"\n  {option}" in rank.out
    for words in ("torchrun --nproc-per-node 2", "--max-restarts", "--nnodes 2", "exit code"):
        assert words in rank.out
    for words in ("export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1", "first:29400", "read_timeout=600"):
        assert words in rank.out
    assert max(map(len, rank.out.splitlines())) <= 100
