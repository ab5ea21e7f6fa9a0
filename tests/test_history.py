"""What a fit leaves behind, and the clock that stands still while it is written down."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
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
        ([1.0, 1e-12], {}, "Adam: 1 step, gap 1.00e-12 nats, stopped at the last step"),
        # Of no model at all the worst gap is none.
        ([[], []], {"converged": True}, "Adam: 1 step, gap below 1e-12 nats, converged"),
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


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"step": [0, 1]}, TypeError, "step: expected a Tensor of int64, got list"),
        ({"step": torch.arange(2.0)}, TypeError, "step: expected a Tensor of int64, got Tensor"),
        ({"step": torch.tensor(1)}, ValueError, r"step: expected shape \(k,\), k above 0, got "),
        ({"step": torch.arange(2)[:, None]}, ValueError, r"step: expected shape \(k,\)"),
        ({"step": torch.arange(0)}, ValueError, r"step: expected shape \(k,\), k above 0, got "),
        ({"step": torch.arange(2, device="meta")}, ValueError, r"step: expected shape \(k,\)"),
        ({"step": torch.arange(3)}, ValueError, r"loss: .* \(3, \.\.\.\) .* of step, got \(2,\)"),
        ({"loss": torch.ones(3)}, ValueError, r"loss: .* \(2, \.\.\.\) .* of step, got \(3,\)"),
        ({"gap": torch.ones(1, 2)}, ValueError, r"gap: .* \(2, \.\.\.\) .* got \(1, 2\)"),
        ({"time": torch.ones(())}, ValueError, r"time: .* \(2, \.\.\.\) .* got \(\)"),
        ({"gap": torch.tensor([1.0, torch.nan])}, ValueError, r"gap: .*finite.* nan at index \(1,"),
        ({"time": "now"}, TypeError, "time: expected .*, got str 'now'"),
        ({"optimizer": 3}, TypeError, "optimizer: expected .*, got int 3"),
        ({"device": None}, TypeError, "device: expected .*, got None"),
        ({"converged": 1}, TypeError, "converged: expected .*, got "),
        ({"dim": 0}, ValueError, "dim: expected .* at least 1, got 0"),
        ({"count": 0}, ValueError, "count: expected .* at least 1, got 0"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(changes, error, words):
    with pytest.raises(error, match=f"^{words}"):
        make_history([1.0, 0.5], **changes)


def test_a_last_gap_that_rounding_left_below_zero_has_a_verdict():
    assert make_history([1.0, -0.02]).verdict.gap == 0  # as much as float32 may leave


def test_a_history_stays_as_it_is_and_equals_no_other():
    one, other = make_history([1.0, 0.5]), make_history([1.0, 0.5])
    with pytest.raises(FrozenInstanceError):
        one.converged = True
    assert one != other  # comparing the tensors would give tensors
    assert len({one, other}) == 2


def test_arrays_are_parts_too():
    made = make_history([1.0, 0.5], loss=torch.ones(2).numpy())
    assert isinstance(made.loss, torch.Tensor)


def test_the_clock_runs_between_start_and_stop_only(monkeypatch):
    now = 100.0
    monkeypatch.setattr(history, "time", SimpleNamespace(perf_counter=lambda: now))

    def device_finishes(device):  # what it was asked to do in the step: counted
        nonlocal now
        now += 0.25

    monkeypatch.setattr(history, "synchronize", device_finishes)
    recorder = Recorder(torch.device("cpu"))
    gap = torch.zeros(())
    recorder.record(0, gap, gap)
    for step in (1, 2):
        now += 50.0  # recording, or waiting: not counted
        recorder.start()
        now += 1.5
        recorder.stop()
        recorder.record(step, gap, gap)
    assert recorder.state_dict()["time"].tolist() == [0.0, 1.75, 3.5]


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


@pytest.mark.parametrize("steps", [[], [1, 2], [-1, 0], [0, 0, 1], [0, 2, 2, 3], [0, 3, 2]])
def test_steps_that_do_not_rise_from_zero_are_refused(steps):
    recorder = Recorder(torch.device("cpu"))
    rows = torch.zeros(len(steps), dtype=torch.float64)
    state = {"step": torch.tensor(steps, dtype=torch.int64), "loss": rows, "gap": rows}
    with pytest.raises(ValueError, match="^checkpoint: expected steps from 0 upwards, got ") as no:
        recorder.load_state_dict({**state, "time": rows}, ())
    assert str(no.value).endswith(f"got {steps}")
    assert recorder.rows["step"] == []


def test_of_many_wrong_steps_the_first_are_told():
    state = {"step": torch.arange(1, 100)}
    with pytest.raises(ValueError, match=r"got \[1, 2, 3, 4, 5\]$"):
        Recorder(torch.device("cpu")).load_state_dict(state, ())


def test_one_record_is_enough_to_go_on_from():
    recorder = Recorder(torch.device("cpu"))
    recorder.record(0, torch.zeros(()), torch.zeros(()))
    other = Recorder(torch.device("cpu"))
    other.load_state_dict(recorder.state_dict(), ())
    assert other.rows["step"] == [0]


def test_records_come_back_as_wide_as_the_device_allows(monkeypatch):
    recorder = Recorder(torch.device("cpu"))
    recorder.record(0, torch.ones(2), torch.ones(2))
    for dtype in (torch.float64, torch.float32):
        monkeypatch.setattr(history, "widest_dtype", lambda device, dtype=dtype: dtype)
        other = Recorder(torch.device("cpu"))
        other.load_state_dict(recorder.state_dict(), (2,))
        assert [other.rows[name][0].dtype for name in ("loss", "gap")] == [dtype, dtype]


@pytest.mark.parametrize("name", ["loss", "gap"])
def test_records_are_brought_to_the_cpu(name):
    """From "meta", the one other device of every machine, they cannot be, and torch says so."""
    recorder = Recorder(torch.device("cpu"))
    row = {"loss": torch.zeros(()), "gap": torch.zeros(()), name: torch.zeros((), device="meta")}
    recorder.record(0, **row)
    with pytest.raises(NotImplementedError, match="meta"):
        recorder.state_dict()


def test_records_hold_no_graph():
    recorder = Recorder(torch.device("cpu"))
    loss = torch.ones((), requires_grad=True) * 2
    recorder.record(0, loss, loss)
    state = recorder.state_dict()
    assert not state["loss"].requires_grad
    assert not state["gap"].requires_grad
