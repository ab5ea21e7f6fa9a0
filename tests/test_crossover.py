"""Timing a step over devices and sizes, and the record that a run leaves behind."""

from __future__ import annotations

import inspect
import json
import os
import platform
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from helpers import crossover
from helpers.crossover import (
    MAX_REPEATS,
    CrossoverRecord,
    Timing,
    load_record,
    main,
    make_record,
    measure_crossover,
    median_seconds,
    plot_crossover,
    save_record,
)

TIMINGS = (
    Timing("cpu", 1, 2, 1e-5),
    Timing("cpu", 1000, 2, 2e-3),
    Timing("cuda", 1, 2, 1e-4),
    Timing("cuda", 1000, 2, 1.5e-4),
    Timing("cuda", 1, 8, 2e-4),
)


def made_record() -> CrossoverRecord:
    return CrossoverRecord(
        date="2026-01-31",
        torch="2.13.0",
        python="3.11.7",
        platform="Linux x86_64",
        dtype="float32",
        devices={"cpu": "CPU x86_64, 8 threads", "cuda": "a GPU, driver 1.2.3, CUDA 12.8"},
        timings=TIMINGS,
    )


def forbidden() -> None:
    raise AssertionError("worked although it was set wrongly")


@pytest.fixture
def axes():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


# The stopwatch -------------------------------------------------------------------------------


def test_the_median_leaves_out_the_first_call(monkeypatch):
    """Calls of 9, 1, 2, 6 and 3 seconds: the first warms up, the median of the rest is 2.5."""
    durations = iter([9.0, 1.0, 2.0, 6.0, 3.0])
    now = [100.0]

    def work():
        now[0] += next(durations)

    monkeypatch.setattr(crossover.time, "perf_counter", lambda: now[0])
    assert median_seconds(work, "cpu", repeats=4) == pytest.approx(2.5)


def test_the_clock_is_read_only_when_the_device_has_finished(monkeypatch):
    """The order of events: wait, start, work, wait, stop, at each of the calls."""
    events = []
    monkeypatch.setattr(crossover, "synchronize", lambda device: events.append(f"wait {device}"))
    monkeypatch.setattr(
        crossover.time, "perf_counter", lambda: events.append("clock") or float(len(events))
    )
    median_seconds(lambda: events.append("work"), "cpu", repeats=2)
    assert events == 3 * ["wait cpu", "clock", "work", "wait cpu", "clock"]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"device": "tpu"}, ValueError, "device"),
        ({"repeats": 0}, ValueError, "repeats"),
        ({"repeats": 1.5}, TypeError, "repeats"),
        ({"repeats": MAX_REPEATS + 1}, ValueError, "repeats: .* 1000000"),
    ],
)
def test_a_stopwatch_that_is_set_wrongly_says_so(arguments, error, named):
    with pytest.raises(error, match=named):
        median_seconds(forbidden, **{"device": "cpu", **arguments})


# The measurement -----------------------------------------------------------------------------


def test_every_combination_is_timed_once_and_in_order():
    timings = measure_crossover(["cpu"], batch_sizes=(1, 3), dims=(2, 5), repeats=1)
    assert [timing[:3] for timing in timings] == [
        ("cpu", 1, 2),
        ("cpu", 3, 2),
        ("cpu", 1, 5),
        ("cpu", 3, 5),
    ]
    assert all(timing.seconds > 0 for timing in timings)


def test_what_is_timed_is_a_step_on_the_whole_batch(monkeypatch):
    met = []

    def step(scale_tril, covariance, *, validate_args):
        assert not validate_args  # a check would wait for the device in the middle of the step
        met.append((scale_tril, covariance))
        return scale_tril

    monkeypatch.setattr(crossover, "natural_step", step)
    measure_crossover(["cpu"], batch_sizes=(7,), dims=(3,), dtype=torch.float64, repeats=2)
    assert len(met) == 3  # two that are timed, and one before them
    for tensor in met[0]:
        assert tensor.shape == (7, 3, 3)
        assert tensor.dtype == torch.float64
        assert tensor.is_contiguous()
    # A covariance the step can work with: its Cholesky factor exists.
    torch.linalg.cholesky(met[0][1])


def test_combinations_that_would_not_fit_are_left_out():
    timings = measure_crossover(
        ["cpu"], batch_sizes=(1, 4, 5), dims=(2, 4), repeats=1, max_entries=16
    )
    assert [timing[1:3] for timing in timings] == [(1, 2), (4, 2), (1, 4)]


def test_the_entries_of_a_matrix_are_counted_by_the_square():
    sizes = {"batch_sizes": (1, 2), "dims": (3,), "repeats": 1}
    assert len(measure_crossover(["cpu"], **sizes, max_entries=17)) == 1  # 2 * 3^2 is 18
    assert len(measure_crossover(["cpu"], **sizes, max_entries=18)) == 2


def test_the_problem_lies_on_the_device_it_is_for():
    """Equally correlated variables, by one half, and the standard normal."""
    for tensor in crossover._problem(torch.device("meta"), 2, 3, torch.float32):
        assert tensor.is_meta
    start, covariance = crossover._problem(torch.device("cpu"), 2, 3, torch.float64)
    assert start.tolist() == 2 * [torch.eye(3).tolist()]
    assert covariance.tolist() == 2 * [[[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]]


def test_the_limits_and_defaults_are_those_that_were_chosen():
    assert (MAX_REPEATS, crossover.MAX_ENTRIES) == (1_000_000, 67_108_864)
    for function in (median_seconds, measure_crossover):
        assert inspect.signature(function).parameters["repeats"].default == 5
    with pytest.raises(FrozenInstanceError):
        made_record().date = "another day"


def test_the_default_devices_are_the_cpu_and_the_best(monkeypatch):
    monkeypatch.setattr(crossover, "best_device", lambda: torch.device("cuda"))
    assert [device.type for device in crossover._default_devices()] == ["cpu", "cuda"]
    monkeypatch.setattr(crossover, "best_device", lambda: torch.device("cpu"))
    assert [device.type for device in crossover._default_devices()] == ["cpu"]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"devices": ["tpu"]}, ValueError, "device"),
        ({"batch_sizes": (0,)}, ValueError, "batch_sizes"),
        ({"batch_sizes": (1.0,)}, TypeError, "batch_sizes"),
        ({"dims": (-1,)}, ValueError, "dims"),
        ({"dtype": torch.float16}, ValueError, "dtype"),
        ({"repeats": 0}, ValueError, "repeats"),
        ({"max_entries": 0}, ValueError, "max_entries"),
        # Refused before the first step, where none would fit, too.
        ({"repeats": MAX_REPEATS + 1, "dims": (9,), "max_entries": 1}, ValueError, "repeats"),
    ],
)
def test_a_measurement_that_makes_no_sense_is_refused(arguments, error, named):
    with pytest.raises(error, match=named):
        measure_crossover(**{"batch_sizes": (1,), "dims": (1,), "repeats": 1, **arguments})


# The record ----------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    path = tmp_path / "new" / "folder" / "record.json"
    save_record(path, made_record())
    assert load_record(path) == made_record()


def test_a_record_can_be_read_by_people(tmp_path):
    save_record(tmp_path / "record.json", made_record())
    lines = (tmp_path / "record.json").read_text(encoding="utf-8").split("\n")
    assert lines[:2] == ["{", ' "date": "2026-01-31",']
    assert lines[-2:] == ["}", ""]


def test_a_record_is_utf_8_on_every_machine(tmp_path, monkeypatch):
    asked = []

    def listen(name: str) -> None:
        original = getattr(Path, name)

        def listening(path: Path, *values: str, **options: str) -> str:
            asked.append(options)
            return original(path, *values, **options)

        monkeypatch.setattr(Path, name, listening)

    listen("write_text")
    listen("read_text")
    save_record(tmp_path / "record.json", made_record())
    load_record(tmp_path / "record.json")
    assert asked == [{"encoding": "utf-8"}, {"encoding": "utf-8"}]


def test_without_a_file_there_is_no_record(tmp_path):
    assert load_record(tmp_path / "missing.json") is None


def test_the_record_of_the_course_can_be_read():
    record = load_record()
    assert record is None or isinstance(record, CrossoverRecord)
    assert (record is None) == (not crossover.RECORD.exists())


def test_a_new_record_says_what_it_was_taken_with():
    record = make_record(TIMINGS[:2], torch.float64)
    assert record.date == datetime.now(UTC).date().isoformat()
    assert record.torch == torch.__version__
    assert record.platform == f"{platform.system()} {platform.machine()}"
    assert record.dtype == "float64"
    assert record.timings == TIMINGS[:2]
    assert list(record.devices) == ["cpu"]
    assert record.devices["cpu"].startswith("CPU")


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread"), (2, "2 threads")])
def test_a_cpu_is_described_by_its_kind_and_threads(monkeypatch, threads, said):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert crossover._describe_device("cpu") == f"CPU {platform.machine()}, {said}"


def test_a_gpu_is_described_by_model_driver_and_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Model X")
    monkeypatch.setattr(crossover, "_driver", lambda: "123.45")
    record = make_record(TIMINGS)
    assert record.devices["cuda"] == f"Model X, driver 123.45, CUDA {torch.version.cuda}"


def test_without_the_tool_the_driver_is_unknown(monkeypatch):
    monkeypatch.setattr(crossover.shutil, "which", lambda name: None)
    assert crossover._driver() == "unknown"


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for the tool is a shell script")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo ' 580.65.06 '; echo 'of the second GPU'", "580.65.06"),
        ("echo 'no devices were found' >&2; exit 6", "unknown"),
        ('[ "$*" = "--query-gpu=driver_version --format=csv,noheader" ] && echo 1', "1"),
    ],
)
def test_the_driver_is_the_first_line_that_the_tool_says(tmp_path, monkeypatch, script, expected):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setattr(crossover.shutil, "which", {"nvidia-smi": str(tool)}.get)
    assert crossover._driver() == expected


def broken(**changes) -> str:
    content = vars(made_record()) | {"timings": [timing._asdict() for timing in TIMINGS]}
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        json.dumps({"timings": []}),
        broken(more="than expected"),
        broken(timings=[{"device": "cpu", "batch": 1, "dim": 2}]),
        broken(timings=[{"device": "cpu", "batch": 1, "dim": 2, "seconds": -1.0}]),
        broken(timings=[{"device": "cpu", "batch": 1, "dim": 2, "seconds": 0.0}]),
        broken(timings=[{"device": "cpu", "batch": 0, "dim": 2, "seconds": 1.0}]),
        broken(timings=[{"device": 1, "batch": 1, "dim": 2, "seconds": 1.0}]),
    ],
)
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"path: .*odd\.json"):
        load_record(path)


def test_only_a_record_is_saved(tmp_path):
    with pytest.raises(TypeError, match="record"):
        save_record(tmp_path / "x.json", {"date": "today"})
    assert not list(tmp_path.iterdir())


def test_the_command_stops_where_there_is_no_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(crossover, "best_device", lambda: torch.device("cpu"))
    path = tmp_path / "run.json"
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(path), "--batch-sizes", "1", "--dims", "2", "--repeats", "1"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("expected a GPU")
    assert not path.exists()


def test_the_command_measures_prints_and_writes(tmp_path, capsys, monkeypatch):
    # As on a machine with a GPU, which the machine of this test need not have.
    monkeypatch.setattr(crossover, "best_device", lambda: torch.device("cuda"))
    on_cpu = partial(measure_crossover, devices=["cpu"])
    monkeypatch.setattr(crossover, "measure_crossover", on_cpu)
    path = tmp_path / "run.json"
    main(["--out", str(path), "--batch-sizes", "1", "10", "--dims", "2", "--repeats", "1"])
    record = load_record(path)
    assert {timing[1:3] for timing in record.timings} == {(1, 2), (10, 2)}
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(record.timings) + 1
    assert str(path) in printed[-1]


def test_the_command_says_what_it_has_measured(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(crossover, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(crossover, "make_record", lambda timings: made_record())
    monkeypatch.setattr(
        crossover, "measure_crossover", lambda **options: asked.append(options) or TIMINGS
    )
    path = str(tmp_path / "run.json")
    main(["--out", path])
    main(["--out", path, "--batch-sizes", "3", "--dims", "4", "5", "--repeats", "6"])
    assert asked == [
        {
            "batch_sizes": (1, 10, 100, 1_000, 10_000, 100_000),
            "dims": (2, 8, 32, 128),
            "repeats": 21,
        },
        {"batch_sizes": [3], "dims": [4, 5], "repeats": 6},
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "cpu   d = 2    B = 1000        2.0000 ms"
    assert printed[4] == "cuda  d = 8    B = 1           0.2000 ms"
    what = "CPU x86_64, 8 threads, a GPU, driver 1.2.3, CUDA 12.8"
    assert printed[5] == f"written to {path}: {what}"


def test_the_command_helps(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "python -m helpers.crossover" in said
    assert "Measure this machine, print the times and write the record." in said
    assert "file to write, such as gpu.json" in said
    assert "--batch-sizes B [B ...]" in said
    assert "--dims D [D ...]" in said


def test_the_command_needs_a_file_to_write_to(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "--out" in capsys.readouterr().err


# The figure ----------------------------------------------------------------------------------


def test_each_run_and_device_is_a_line_of_milliseconds(axes):
    lines = plot_crossover(axes, {"yours": TIMINGS[:2], "recorded": TIMINGS}, dim=2)
    assert [line.get_label() for line in lines] == ["cpu, yours", "cpu, recorded", "cuda, recorded"]
    assert lines[2].get_xdata().tolist() == [1, 1000]
    assert lines[2].get_ydata().tolist() == pytest.approx([0.1, 0.15])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_legend() is not None


def test_devices_differ_in_colour_and_runs_in_dashes(axes):
    yours, cpu, cuda = plot_crossover(axes, {"yours": TIMINGS[:2], "recorded": TIMINGS}, dim=2)
    assert yours.get_color() == cpu.get_color() != cuda.get_color()
    assert yours.get_linestyle() != cpu.get_linestyle() == cuda.get_linestyle()
    assert yours.get_markerfacecolor() != "white" == cpu.get_markerfacecolor()


def test_a_figure_may_go_without_a_legend(axes):
    plot_crossover(axes, {"yours": TIMINGS}, dim=2, legend=False)
    assert axes.get_legend() is None


def test_a_dimension_that_nobody_timed_is_refused(axes):
    with pytest.raises(ValueError, match="dim 64"):
        plot_crossover(axes, {"yours": TIMINGS}, dim=64)
