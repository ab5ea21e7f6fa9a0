"""Ranks started from a notebook, the record of their times, and the model that is fitted to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from helpers import bad_disk, scaling
from helpers.scaling import (
    Measured,
    fit_ring,
    free_port,
    load_scaling,
    ring_terms,
    start_python,
    start_ranks,
    wait_for,
    wait_for_ranks,
)


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def python(code: str) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-S", "-c", code], **pipes)


# The model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ranks", "expected"), [(1, (0, 0)), (2, (2, 800)), (4, (6, 1200))])
def test_a_ring_sends_each_piece_round_twice(ranks, expected):
    assert ring_terms(ranks, 800) == expected


def test_the_constants_of_a_ring_are_found_again():
    alpha, beta = 3e-5, 2e-9
    measured = [
        Measured("message", ranks, size, a * alpha + b * beta)
        for ranks in (2, 4)
        for size in (1, 1000, 10**6)
        for a, b in [ring_terms(ranks, 8 * size)]
    ]
    assert fit_ring(measured) == pytest.approx((alpha, beta), rel=1e-9)
    assert fit_ring(iter(measured)) == pytest.approx((alpha, beta), rel=1e-9)


def test_errors_are_relative_so_that_short_messages_count():
    measured = [Measured("message", 2, size, 1e-4 + 1.6e-8 * size) for size in (1, 10, 10**7)]
    measured.append(Measured("message", 2, 10**7, 0.2))  # a long one that took longer
    alpha, _ = fit_ring(measured)
    assert alpha == pytest.approx(5e-5, rel=1e-3)


# The record --------------------------------------------------------------------------------------


def test_the_record_of_the_course_holds_what_the_notebook_needs():
    record = load_scaling()
    ranks = {(one.what, one.ranks) for one in record}
    assert ranks == {("message", 2), ("message", 4)} | {
        (what, n) for what in ("fit alone", "whole fit", "from files", "step") for n in (1, 2, 4)
    }
    assert [one.size for one in record if one.what == "message"] == [*scaling.LENGTHS] * 2
    assert all(0 < one.seconds < 60 for one in record)
    assert all(load > 0 for load in fit_ring([x for x in record if x.what == "message"]))


def test_a_record_is_read_as_it_was_written(tmp_path):
    measured = [Measured("message", 2, 1, 0.25), Measured("step", 1, 10, 1.5)]
    path = tmp_path / "scaling.json"
    path.write_text(scaling.as_text(scaling.make_record(measured)), encoding="utf-8")
    assert load_scaling(path) == measured
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["command"].startswith("torchrun --nproc-per-node 4 -m helpers.scaling")
    assert {"date", "torch", "python", "machine", "columns"} <= set(written)
    assert os.uname().nodename not in path.read_text() if hasattr(os, "uname") else True


def test_messages_and_work_are_timed_in_a_group(group, tmp_path):
    scaling.write_shards(tmp_path, 64, 2)
    messages = scaling.time_messages([1, 8], repeats=2)
    work = scaling.time_work(64, 2, tmp_path, repeats=1, group=None)
    assert [(one.what, one.ranks, one.size) for one in messages + work] == [
        ("message", 1, 1),
        ("message", 1, 8),
        ("fit alone", 1, 64),
        ("whole fit", 1, 64),
        ("from files", 1, 64),
        ("step", 1, 64),
    ]
    assert all(0 < one.seconds < 10 for one in messages + work)


# Starting ranks ----------------------------------------------------------------------------------


def test_a_program_is_started_where_it_finds_the_course(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: (command, how))
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    command, how = start_python("-m some.module 'a file'\n  --out b", tmp_path, OWN=1)
    assert command == [sys.executable, "-m", "some.module", "a file", "--out", "b"]
    assert how["cwd"] == tmp_path
    root = str(Path(scaling.__file__).parents[1])
    assert how["env"]["PYTHONPATH"] == f"{root}{os.pathsep}elsewhere"
    assert how["env"]["OMP_NUM_THREADS"] == how["env"]["OWN"] == "1"
    assert how["env"].items() >= os.environ.items() - {("PYTHONPATH", "elsewhere")}


def test_ranks_are_told_their_number_how_many_there_are_and_where_to_meet(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: (command, how))
    started = start_ranks("fit.py --out 'a file'", tmp_path, ranks=3)
    assert [command for command, _ in started] == [
        [sys.executable, "fit.py", "--out", "a file"]
    ] * 3
    told = [how["env"] for _, how in started]
    assert [each["RANK"] for each in told] == ["0", "1", "2"]
    assert {each["WORLD_SIZE"] for each in told} == {"3"}
    assert {each["MASTER_ADDR"] for each in told} == {"127.0.0.1"}
    (port,) = {each["MASTER_PORT"] for each in told}
    assert 1024 < int(port) < 65536
    assert all(how["cwd"] == tmp_path for _, how in started)
    assert told[0]["OMP_NUM_THREADS"] == "1"
    assert told[0]["PYTHONPATH"].startswith(str(Path(scaling.__file__).parents[1]))


def test_nobody_listens_at_a_free_port():
    port = free_port()
    with socket.socket() as caller:
        assert caller.connect_ex(("127.0.0.1", port)) != 0
    with socket.create_server(("127.0.0.1", port)):
        assert free_port() != port


def test_what_the_first_rank_said_is_returned_once_all_have_ended():
    jobs = [python("print('a')"), python("import time; time.sleep(0.2); print('b')")]
    assert wait_for_ranks(jobs) == "a\n"
    assert all(job.returncode == 0 for job in jobs)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_fails_raises_at_once_and_nobody_is_left_waiting(failing):
    jobs = [python("import time; time.sleep(60)") for _ in range(2)]
    jobs.insert(failing, python("import sys; sys.stderr.write('why'); sys.exit(3)"))
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"ended with 3:\nwhy$"):
        wait_for_ranks(jobs)
    assert time.monotonic() - start < 30
    assert all(job.poll() for job in jobs)


def test_ranks_that_do_not_end_are_ended():
    jobs = [python("import time; time.sleep(60)") for _ in range(2)]
    with pytest.raises(subprocess.TimeoutExpired):
        wait_for_ranks(jobs, timeout=0.2)
    for job in jobs:
        assert job.wait(10) != 0
        job.stdout.close()
        job.stderr.close()


def test_what_a_program_said_is_returned():
    assert wait_for(python("import sys; print('a'); print('b', file=sys.stderr)")) == ("a\n", "b\n")


def test_a_program_that_fails_raises_with_the_end_of_its_log():
    with pytest.raises(RuntimeError, match=r"a process ended with 3:\n(?s:.*)why$"):
        wait_for(python("import sys; sys.stderr.write('why'); sys.exit(3)"))


def test_a_program_that_does_not_end_is_ended():
    job = python("import time; time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        wait_for(job, timeout=0.2)
    assert job.wait(10) != 0
    job.stdout.close()
    job.stderr.close()


# The disk that hangs -----------------------------------------------------------------------------


def test_only_the_third_shard_of_rank_1_in_its_first_life_hangs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bad_disk, "MINUTES", 0)  # so that it goes on
    for rank, left_behind in (("0", 0), ("1", 1), ("1", 1)):
        monkeypatch.setenv("RANK", rank)
        read = []
        monkeypatch.setattr(
            bad_disk.fitting, "collect", lambda shard, *_, read=read: read.append(shard)
        )
        bad_disk.hang_once()
        for shard in range(4):
            bad_disk.fitting.collect(shard, torch.device("cpu"), None)
        assert read == [0, 1, 2, 3]
        assert len(list(tmp_path.glob("pid-*"))) == left_behind
    assert (tmp_path / f"pid-{os.getpid()}").exists()
