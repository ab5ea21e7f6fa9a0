"""What a fit leaves behind, and the clock that stands still while it is written down."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from helpers import History, history
from helpers.history import Recorder


def make_history(gaps, **changes):
    k = len(gaps)
    fields = {
        "step": torch.arange(k),
        "loss": torch.tensor(gaps) + 1,
        "gap": torch.tensor(gaps, dtype=torch.float64),
        "time": torch.arange(k).double(),
        "optimizer": "Adam",
        "device": "cpu",
        "converged": False,
        "dim": 2,
        "count": 100,
    }
    return History(**{**fields, **changes})


@pytest.mark.parametrize(
    ("gaps", "changes", "line"),
    [
        ([1.0, 0.5], {}, "Adam: 1 step, gap 5.00e-01 nats, stopped at the last step"),
        ([1.0, 0.5, 1e-13], {"converged": True}, "Adam: 2 steps, gap below 1e-12 nats, converged"),
        (
            [[1.0, 2.0], [3e-5, 2e-5]],
            {},
            "Adam: 1 step, gap 3.00e-05 nats, stopped at the last step",
        ),
        ([1.0, 0.5], {"count": None}, "Adam: 1 step, MSE 5.00e-01, stopped at the last step"),
    ],
)
def test_one_line_says_how_it_went(gaps, changes, line):
    assert str(make_history(gaps, **changes)) == line


def test_the_verdict_is_on_the_last_and_worst_gap():
    one = make_history([[1.0, 2.0], [0.3, 0.1]])
    assert one.n_steps == 1
    assert one.sampling_error == 5 / 200
    assert one.verdict.gap == pytest.approx(0.3, rel=1e-15)
    assert one.verdict.sampling_error == 5 / 200
    target_only = make_history([1.0], count=None)
    assert target_only.sampling_error is None
    assert target_only.verdict is None


def test_the_clock_runs_between_start_and_stop_only(monkeypatch):
    now = 100.0
    monkeypatch.setattr(history, "time", SimpleNamespace(perf_counter=lambda: now))
    recorder = Recorder(torch.device("cpu"))
    gap = torch.zeros(())
    recorder.record(0, gap, gap)
    for step in (1, 2):
        now += 50.0  # recording, or waiting: not counted
        recorder.start()
        now += 1.5
        recorder.stop()
        recorder.record(step, gap, gap)
    assert recorder.state_dict()["time"].tolist() == [0.0, 1.5, 3.0]


def test_records_make_a_round_trip():
    recorder = Recorder(torch.device("cpu"))
    for step in (0, 1, 4):
        recorder.record(step, torch.full((2,), step + 0.5), torch.tensor([1.0, step]))
    state = recorder.state_dict()
    other = Recorder(torch.device("cpu"))
    other.load_state_dict(state, (2,))
    other.record(8, torch.zeros(2), torch.zeros(2))
    again = other.state_dict()
    assert again["step"].tolist() == [0, 1, 4, 8]
    assert again["step"].dtype == torch.int64
    for name in ("loss", "gap", "time"):
        assert torch.equal(again[name][:3], state[name])


def test_records_hold_no_graph():
    recorder = Recorder(torch.device("cpu"))
    loss = torch.ones((), requires_grad=True) * 2
    recorder.record(0, loss, loss)
    assert not recorder.state_dict()["loss"].requires_grad
