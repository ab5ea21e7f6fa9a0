"""A fit that was interrupted goes on to the same bits; a file is whole, ours, and runs nothing."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import pickle
import random
import re
import signal
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import random_gaussian, random_samples

from helpers import (
    CovarianceLearner,
    GaussianLikelihood,
    SufficientStatistics,
    checkpoints,
    fit,
    load_checkpoint,
    save_checkpoint,
    training,
    two_correlated,
)
from helpers.checkpoints import FORMAT, require_writable
from helpers.optimizers import (
    AutogradNaturalGradient,
    GradientDescent,
    NaturalGradient,
    OnlineNaturalGradient,
)

pytestmark = pytest.mark.usefixtures("python_handles_ctrl_c")

DATA = two_correlated(50)
WIDE = random_samples(60, 5, seed=3) * torch.tensor([1.0, 10.0, 0.1, 1.0, 100.0]).double()
WIDE = WIDE @ random_gaussian(5).scale_tril
WAYS = {
    "natural": (NaturalGradient, WIDE, {}),
    "natural by autograd": (AutogradNaturalGradient, WIDE, {"optimizer": "natural-autograd"}),
    "online natural": (OnlineNaturalGradient, DATA, {"batch_size": 8, "max_steps": 17}),
    "adam": (GradientDescent, DATA, {"optimizer": "adam", "max_steps": 20}),
    "adam in mini-batches": (
        GradientDescent,
        DATA,
        {"optimizer": "adam", "batch_size": 8, "max_steps": 20},
    ),
    "lbfgs": (GradientDescent, DATA, {"optimizer": "lbfgs"}),
    "momentum": (
        GradientDescent,
        DATA,
        {"optimizer": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "max_steps": 20},
    ),
}


@pytest.fixture
def _always_saved(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)


def fitted(data, **options):
    model = GaussianLikelihood(data.shape[-1], dtype=torch.float64)
    return model, fit(model, data, **options)


def interrupt(monkeypatch, stepper, *, after: int):
    """Ctrl-C in the step after so many: the model has moved, the checkpoint has not seen it."""
    steps, step = 0, stepper.step

    def interrupted(self, batch):
        nonlocal steps
        step(self, batch)
        steps += 1
        if steps > after:
            raise KeyboardInterrupt

    monkeypatch.setattr(stepper, "step", interrupted)


@pytest.mark.usefixtures("_always_saved")
@pytest.mark.parametrize("after", [1, 2, 7, 11])
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_fit_ends_with_the_same_bits(way, after, tmp_path, monkeypatch):
    stepper, data, options = WAYS[way]
    expected, history = fitted(data, **options)
    after = min(after, history.n_steps - 1)
    path = tmp_path / "fit.pt"
    with monkeypatch.context() as patch:
        interrupt(patch, stepper, after=after)
        with pytest.raises(KeyboardInterrupt):
            fitted(data, checkpoint=path, **options)
    assert load_checkpoint(path)["n_steps"] == after
    torch.manual_seed(12345)  # whatever the new session does with the global seed
    resumed, rest = fitted(data, checkpoint=path, **options)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for name in ("step", "loss", "gap"):
        assert torch.equal(getattr(history, name), getattr(rest, name)), name
    assert rest.converged == history.converged
    assert (rest.time.diff() >= 0).all()


@pytest.mark.parametrize("way", WAYS)
def test_who_interrupts_keeps_what_was_learnt(way, monkeypatch):
    stepper, data, options = WAYS[way]
    model = GaussianLikelihood(data.shape[-1], dtype=torch.float64)
    interrupt(monkeypatch, stepper, after=1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, **options)
    assert not torch.equal(model.loc, torch.zeros_like(model.loc))
    assert not torch.equal(model.scale.log_diagonal, torch.zeros_like(model.loc))


@pytest.mark.usefixtures("_always_saved")
def test_a_finished_fit_is_not_repeated(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    expected, history = fitted(DATA, optimizer="adam", max_steps=5, checkpoint=path)

    def forbidden(self, batch):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(GradientDescent, "step", forbidden)
    model, again = fitted(DATA, optimizer="adam", max_steps=5, checkpoint=str(path))
    assert torch.equal(model.scale_tril, expected.scale_tril)
    assert torch.equal(history.gap, again.gap)


@pytest.mark.usefixtures("_always_saved")
def test_time_goes_on_where_it_was(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    options = {"optimizer": "adam", "batch_size": 8, "max_steps": 40}
    with monkeypatch.context() as patch:
        interrupt(patch, GradientDescent, after=31)  # the last record was after step 28
        with pytest.raises(KeyboardInterrupt):
            fitted(DATA, checkpoint=path, **options)
    state = load_checkpoint(path)
    state["elapsed"] = 1000.0
    save_checkpoint(path, state)
    _, history = fitted(DATA, checkpoint=path, **options)
    assert history.time[history.step <= 31].max() < 1000 < history.time[history.step > 31].min()


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (DATA + 1e-9, {}, ["checkpoint", "other data"]),
        (SufficientStatistics.from_data(DATA[:49]), {}, ["checkpoint", "other data"]),
        (DATA, {"optimizer": "lbfgs"}, ["checkpoint", "L-BFGS", "Adam"]),
        (DATA, {"max_steps": 6}, ["checkpoint", "max_steps=6", "max_steps=5"]),
        (DATA, {"tol": 1e-3}, ["checkpoint", "tol=0.001", "tol=1e-10"]),
        (DATA, {"seed": 1}, ["checkpoint", "seed=1", "seed=0"]),
        (DATA, {"batch_size": 8}, ["checkpoint", "batch_size=8", "batch_size=None"]),
    ],
)
def test_another_fit_is_refused(data, options, words, tmp_path):
    path = tmp_path / "fit.pt"
    settings = {"optimizer": "adam", "max_steps": 5, "checkpoint": path}
    fitted(DATA, **settings)
    model = GaussianLikelihood(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="checkpoint") as caught:
        fit(model, data, **{**settings, **options})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(caught.value).endswith("; name another file, or delete this one to start anew")
    assert torch.equal(model.scale_tril, torch.eye(2).double())


def test_another_learning_rate_is_refused(tmp_path):
    path = tmp_path / "fit.pt"

    def train(rate):
        fitted(DATA, optimizer=partial(torch.optim.SGD, lr=rate), max_steps=3, checkpoint=path)

    train(0.1)
    with pytest.raises(
        ValueError, match=r"checkpoint: .*SGD.*'lr': 0.2.* got .*'lr': 0.1.*; name another file"
    ):
        train(0.2)


@pytest.mark.parametrize(
    "model",
    [GaussianLikelihood(2), GaussianLikelihood(2, (3,), dtype=torch.float64)],
)
def test_another_kind_of_model_is_refused(model, tmp_path):
    path = tmp_path / "fit.pt"
    fitted(DATA, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint: expected one of a fit with model="):
        fit(model, DATA, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint: "):
        fit(CovarianceLearner(2), torch.eye(2), checkpoint=path)


class Malicious:
    """A pickle that would write a file when it is read."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_file_with_code_is_refused_and_the_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # which does not concern us
    target = tmp_path / "was run"
    path = tmp_path / "fit.pt"
    payload = {"format": FORMAT, "model": Malicious(target)}
    torch.save(payload, path)
    torch.load(path, weights_only=False)
    assert target.exists()  # the trap works where nothing guards it
    target.unlink()
    for write in (
        lambda: torch.save(payload, path),
        lambda: path.write_bytes(pickle.dumps(payload, protocol=2)),
    ):
        write()
        with pytest.raises(ValueError, match=r"checkpoint: .*is no checkpoint of this course"):
            load_checkpoint(path)
        with pytest.raises(ValueError, match=r"checkpoint: .*fit\.pt"):
            fitted(DATA, checkpoint=path)
    assert not target.exists()


def test_a_damaged_file_is_refused_or_read_as_it_was(tmp_path):
    path = tmp_path / "fit.pt"
    _, history = fitted(DATA, optimizer="adam", max_steps=3, checkpoint=path)
    whole, state = path.read_bytes(), repr(load_checkpoint(path))
    middle = len(whole) // 2
    damaged = [whole[:n] for n in range(0, len(whole), 61)]
    damaged += [whole[:20] + b"\xff" * 40 + whole[60:], b"no checkpoint", b"\x80", b"PK\x03\x04"]
    damaged += [whole[:middle] + bytes(200) + whole[middle + 200 :]]
    number = whole.index(history.gap.numpy().tobytes())
    damaged += [whole[:number] + b"\x00" + whole[number + 1 :]]  # readable, but another number
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint: expected a file written by fit"):
            load_checkpoint(path)
    # A third of the file is padding and dates, where a flipped bit changes nothing that is read.
    dice, n_refused = random.Random(0), 0
    for _ in range(300):
        content, bit = bytearray(whole), dice.randrange(8 * len(whole))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = repr(load_checkpoint(path))
        except ValueError:
            n_refused += 1
        else:
            assert found == state, bit
    assert n_refused > 100


def archive(content: dict, *, compressed: str | None = None) -> bytes:
    """A checkpoint packed once more, with some of its members compressed."""
    written, packed = io.BytesIO(), io.BytesIO()
    torch.save(content, written)
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            is_compressed = compressed is not None and compressed in name
            how = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
            new.writestr(name, old.read(name), how)
    return packed.getvalue()


def saved(write, *arguments) -> bytes:
    content = io.BytesIO()
    write(*arguments, content)
    return content.getvalue()


NOT_OURS = "which is no checkpoint of this course; name another file$"  # and delete nothing
FAR, LIST, LOOP = torch.zeros(1).expand(10**12), [1], []
LOOP.append(LOOP)
FOREIGN = {
    "weights": (saved(torch.save, {"weight": torch.zeros(2)}), NOT_OURS),
    "one tensor": (saved(torch.save, torch.zeros(2)), NOT_OURS),
    "another program's format": (saved(torch.save, {"format": "onnx 3"}), NOT_OURS),
    "an older format": (
        saved(torch.save, {"format": "covariance-course fit 1"}),
        r"which is of format 'covariance-course fit 1'; name another file, or delete this one",
    ),
    "NumPy": (saved(lambda file: np.save(file, np.zeros(3))), NOT_OURS),
    "NumPy archive": (saved(lambda file: np.savez(file, x=np.zeros(3))), NOT_OURS),
    "text": (b"step,loss\n0,1.0\n", NOT_OURS),
    "nothing": (b"", NOT_OURS),
    "the beginning of one": (
        saved(torch.save, {"format": FORMAT})[:300],
        "cannot be read; name another file, or delete this one to start anew$",
    ),
    "a bomb": (
        archive({"format": FORMAT, "x": torch.zeros(10_000)}, compressed=""),
        "cannot be read",
    ),
    "half a bomb": (
        archive({"format": FORMAT, "x": torch.zeros(10_000)}, compressed="/data/0"),
        "cannot be read",
    ),
    "more numbers than it holds": (
        saved(torch.save, {"format": FORMAT, "x": FAR}),
        "cannot be read",
    ),
    "numbers that are nowhere": (
        saved(torch.save, {"format": FORMAT, "x": torch.zeros(3, device="meta")}),
        "cannot be read",
    ),
    "more numbers than it holds in a list, before one list twice": (
        saved(torch.save, {"format": FORMAT, "x": [FAR], "y": [LIST] * 2}),
        "cannot be read",
    ),
    "a list that holds itself": (saved(torch.save, {"format": FORMAT, "x": LOOP}), None),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused(kind, tmp_path):
    content, words = FOREIGN[kind]
    path, model = tmp_path / "fit.pt", GaussianLikelihood(2, dtype=torch.float64)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"checkpoint: .*{words or 'expected an entry'}"):
        fit(model, DATA, checkpoint=path)
    assert torch.equal(model.scale_tril, torch.eye(2).double())
    assert path.read_bytes() == content


def test_the_same_content_packed_by_hand_is_read(tmp_path):
    """So that what is refused above is refused for what is said."""
    path = tmp_path / "fit.pt"
    path.write_bytes(archive({"format": FORMAT, "x": torch.zeros(10_000)}))
    assert load_checkpoint(path)["x"].shape == (10_000,)


def changed(state, keys, value):
    """Set, or take away, what lies at the end of a path of keys."""
    *way, last = keys
    for key in way:
        state = state[key]
    if value is None:
        del state[last]
    else:
        state[last] = value


NAN = torch.full((2,), torch.nan, dtype=torch.float64)
ADAM, EXP_AVG = {"optimizer": "adam", "max_steps": 5}, ("stepper", "optimizer", "state", 0)
ONLINE = {"batch_size": 8}


@pytest.mark.parametrize(
    ("options", "keys", "value", "words"),
    [
        *((ADAM, (name,), None, ["expected an entry", name]) for name in ("settings", "data")),
        *((ADAM, (name,), None, [name]) for name in ("model", "stepper", "records")),
        *((ADAM, (name,), None, [name]) for name in ("n_steps", "elapsed")),
        (ADAM, ("model",), 3, ["model", "dict", "int"]),
        (ADAM, ("model",), torch.zeros(2), ["model", "dict", "Tensor"]),
        (ADAM, ("settings", "seed"), None, ["seed=0", "seed=None"]),
        (ADAM, ("settings", "seed"), torch.zeros(2), ["seed=0"]),
        (ADAM, ("data", "mean"), None, ["mean"]),
        (ADAM, ("data", "mean"), NAN, ["other data"]),
        (ADAM, ("data", "mean"), torch.zeros(3), ["other data"]),
        (ADAM, ("model", "loc"), None, ["'loc'"]),
        (ADAM, ("model", "loc"), NAN, ["'loc'", "NaN"]),
        (ADAM, ("model", "loc"), torch.zeros(3).double(), ["'loc'", "(2,)", "(3,)"]),
        (ADAM, ("model", "loc"), torch.zeros(2), ["'loc'", "float64", "float32"]),
        (ADAM, ("n_steps",), 6, ["n_steps", "from 5 to 5", "6"]),
        (ADAM, ("n_steps",), True, ["n_steps", "int", "bool"]),
        (ADAM, ("records", "step"), torch.zeros(0).long(), ["steps"]),
        (ADAM, ("records", "step"), torch.zeros(6).long(), ["steps"]),
        (ADAM, ("records", "gap"), None, ["'gap'"]),
        (ADAM, ("records", "gap"), torch.zeros(5), ["'gap'", "(6,)", "(5,)"]),
        (ADAM, ("records", "loss"), torch.full((6,), torch.inf), ["'loss'", "infinity"]),
        (ADAM, ("stepper", "optimizer"), {}, ["Adam"]),
        (ADAM, ("stepper", "optimizer", "param_groups"), [], ["Adam"]),
        (ADAM, (*EXP_AVG, "exp_avg"), torch.zeros(3), ["'exp_avg'", "(2,)", "(3,)"]),
        (ADAM, (*EXP_AVG, "exp_avg"), NAN, ["'exp_avg'", "NaN"]),
        ({"optimizer": "lbfgs"}, (*EXP_AVG, "d"), NAN, ["'d'", "NaN"]),
        (ADAM, ("stepper", "scheduler"), None, ["scheduler"]),
        ({}, ("stepper", "scale_tril"), torch.eye(3).double(), ["'scale_tril'", "(2, 2)"]),
        ({}, ("stepper", "loc"), NAN, ["'loc'", "NaN"]),
        (ONLINE, ("stepper", "moments"), None, ["'moments'"]),
        (ONLINE, ("stepper", "moments", "second"), torch.eye(2).long(), ["'second'", "int64"]),
        (ONLINE, ("stepper", "moments", "seen"), 0.5, ["'seen'", "float"]),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(options, keys, value, words, tmp_path):
    path = tmp_path / "fit.pt"
    fitted(DATA, checkpoint=path, **options)
    state = load_checkpoint(path)
    changed(state, keys, value)
    save_checkpoint(path, state)
    model = GaussianLikelihood(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="^checkpoint: ") as caught:
        fit(model, DATA, checkpoint=path, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert torch.equal(model.scale_tril, torch.eye(2).double())
    assert torch.equal(model.loc, torch.zeros(2).double())


def test_a_file_that_is_not_there_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    save_checkpoint(path, {"n": 1})
    before = path.read_bytes()

    def disk_full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match=r"checkpoint: cannot be written, No space .*fit\.pt") as full:
        save_checkpoint(path, {"n": 2})
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left over


@pytest.mark.usefixtures("_always_saved")
def test_a_full_disk_does_not_undo_the_training(tmp_path, monkeypatch):
    options = {"optimizer": "adam", "max_steps": 20, "checkpoint": tmp_path / "fit.pt"}
    n_left, replace = 8, os.replace

    def soon_full(*names):
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*names)

    model = GaussianLikelihood(2, dtype=torch.float64)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", soon_full)
        with pytest.raises(OSError, match="checkpoint: cannot be written"):
            fit(model, DATA, **options)
    assert load_checkpoint(tmp_path / "fit.pt")["n_steps"] == 7
    eight, _ = fitted(DATA, optimizer=partial(torch.optim.Adam, lr=0.05), max_steps=8)
    # Nearly: our Adam has a schedule, whose rate after 8 of 20 steps is two thirds of the first.
    assert (model.loc - eight.loc).abs().max() < 0.2 * eight.loc.abs().max()
    expected, _ = fitted(DATA, optimizer="adam", max_steps=20)
    again = GaussianLikelihood(2, dtype=torch.float64)
    fit(again, DATA, **options)
    assert torch.equal(again.scale_tril, expected.scale_tril)


@pytest.mark.usefixtures("_always_saved")
@pytest.mark.parametrize("way", WAYS)
def test_a_fit_interrupted_at_every_step_ends_with_the_same_bits(way, tmp_path, monkeypatch):
    stepper, data, options = WAYS[way]
    expected, history = fitted(data, **options)
    path = tmp_path / "fit.pt"
    for steps in range(history.n_steps - 1):
        with monkeypatch.context() as patch:
            interrupt(patch, stepper, after=1)
            with pytest.raises(KeyboardInterrupt):
                fitted(data, checkpoint=path, **options)
        assert load_checkpoint(path)["n_steps"] == steps + 1
    resumed, rest = fitted(data, checkpoint=path, **options)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert torch.equal(history.gap, rest.gap)


def test_a_fit_interrupted_at_once_begins_where_it_began(tmp_path, monkeypatch):
    """A second has not passed, but the model has moved."""
    options = {"optimizer": "adam", "max_steps": 20, "checkpoint": tmp_path / "fit.pt"}
    expected, _ = fitted(DATA, optimizer="adam", max_steps=20)
    model = GaussianLikelihood(2, dtype=torch.float64)
    with monkeypatch.context() as patch:
        interrupt(patch, GradientDescent, after=3)
        with pytest.raises(KeyboardInterrupt):
            fit(model, DATA, **options)
    fit(model, DATA, **options)
    assert torch.equal(model.scale_tril, expected.scale_tril)


def with_ctrl_c(monkeypatch, owner, name, *, at: int, times: int = 1, late: bool = False):
    """Real interrupts in the call of that number, before its work or after it."""
    calls, method = 0, getattr(owner, name)

    def pressed(*arguments):
        nonlocal calls
        calls += 1
        if late:
            method(*arguments)
        for _ in range(times if calls == at else 0):
            signal.raise_signal(signal.SIGINT)
        return None if late else method(*arguments)

    monkeypatch.setattr(owner, name, pressed)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_within_a_step_waits_for_its_end_and_the_file_is_as_the_model(
    way, late, tmp_path, monkeypatch
):
    stepper, data, options = WAYS[way]
    expected, history = fitted(data, **options)
    at, path = min(4, history.n_steps), tmp_path / "fit.pt"
    model = GaussianLikelihood(data.shape[-1], dtype=torch.float64)
    with monkeypatch.context() as patch:
        with_ctrl_c(patch, stepper, "step", at=at, late=late)
        with pytest.raises(KeyboardInterrupt):
            fit(model, data, checkpoint=path, **options)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    state = load_checkpoint(path)
    assert state["n_steps"] == at  # a second has not passed: this was written on Ctrl-C
    for name, value in model.state_dict().items():
        assert torch.equal(value, state["model"][name]), name
    rest = fit(model, data, checkpoint=path, **options)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert torch.equal(history.gap, rest.gap)


def test_a_second_ctrl_c_does_not_wait_and_leaves_the_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    with_ctrl_c(monkeypatch, GradientDescent, "step", at=3, times=2)
    with pytest.raises(KeyboardInterrupt):
        fitted(DATA, optimizer="adam", checkpoint=path)
    assert load_checkpoint(path)["n_steps"] == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_it_is_saved_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    with_ctrl_c(monkeypatch, GradientDescent, "step", at=3)
    with_ctrl_c(monkeypatch, os, "fsync", at=2)  # the first is of the file at the start
    with pytest.raises(KeyboardInterrupt):
        fitted(DATA, optimizer="adam", checkpoint=path)
    assert load_checkpoint(path)["n_steps"] == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_does_not_hide_ctrl_c(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"

    def full(*names):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupted(self, batch):
        monkeypatch.setattr(os, "replace", full)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(GradientDescent, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(DATA, optimizer="adam", checkpoint=path)
    assert load_checkpoint(path)["n_steps"] == 0


@pytest.mark.parametrize("late", [False, True])
def test_ctrl_c_between_two_steps_is_saved_too(late, tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    with_ctrl_c(monkeypatch, training.ProgressBar, "advance", at=3, late=late)
    with pytest.raises(KeyboardInterrupt):
        fitted(DATA, optimizer="adam", checkpoint=path)
    assert load_checkpoint(path)["n_steps"] == 3


def test_without_a_checkpoint_or_with_a_handler_of_ones_own_nothing_waits(tmp_path, monkeypatch):
    seen = []

    def stops(number, frame):
        seen.append(number)
        raise KeyboardInterrupt

    with_ctrl_c(monkeypatch, GradientDescent, "step", at=1, late=True)
    model = GaussianLikelihood(2, dtype=torch.float64)
    with pytest.raises(KeyboardInterrupt):
        fit(model, DATA, optimizer="adam")
    with monkeypatch.context() as patch:
        with_ctrl_c(patch, GradientDescent, "step", at=1)
        before = signal.signal(signal.SIGINT, stops)
        try:
            with pytest.raises(KeyboardInterrupt):
                fitted(DATA, optimizer="adam", checkpoint=tmp_path / "fit.pt")
            assert signal.getsignal(signal.SIGINT) is stops
        finally:
            signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
    assert load_checkpoint(tmp_path / "fit.pt")["n_steps"] == 0


def test_a_thread_takes_checkpoints_too(tmp_path):
    path, ends = tmp_path / "fit.pt", []
    work = threading.Thread(target=lambda: ends.append(fitted(DATA, checkpoint=path)))
    work.start()
    work.join()
    assert ends[0][1].n_steps == load_checkpoint(path)["n_steps"]


def unread():
    raise AssertionError("the data were read")
    yield


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        (b"fit.pt", TypeError, "bytes b'fit.pt'"),
        (3, TypeError, "int 3"),
        (True, TypeError, "bool True"),
        ("", ValueError, "got ''"),
        ("fit\0.pt", ValueError, "got 'fit"),
        (".", ValueError, "got '.', which is a folder"),
        (os.devnull, ValueError, "which is no ordinary file"),
    ],
)
def test_a_path_that_names_no_file_is_refused_at_once(path, error, words):
    with pytest.raises(error, match=rf"^checkpoint: expected the name of a file, .*{words}"):
        fit(GaussianLikelihood(2), unread(), checkpoint=path)
    for function, arguments in ((save_checkpoint, ({},)), (load_checkpoint, ())):
        with pytest.raises(error, match=rf"^path: expected the name of a file, .*{words}"):
            function(path, *arguments)
    for function, arguments in ((save_checkpoint, ({},)), (load_checkpoint, ())):
        with pytest.raises(TypeError, match=r"^path: expected the name of a file, got NoneType"):
            function(None, *arguments)


@pytest.mark.parametrize(
    ("place", "error"),
    [("nowhere/fit.pt", FileNotFoundError), ("file/fit.pt", NotADirectoryError)],
)
def test_a_folder_that_is_not_there_is_told_of_before_the_data_are_read(place, error, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(error, match="checkpoint: cannot be written, No") as caught:
        fit(GaussianLikelihood(2), unread(), checkpoint=tmp_path / place)
    assert caught.value.filename == str(tmp_path / place)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "fit.pt"
    link.symlink_to(tmp_path / "far" / "fit.pt")
    save_checkpoint(link, {"n": 1})
    assert link.is_symlink()
    assert load_checkpoint(tmp_path / "far" / "fit.pt")["n"] == 1


def test_what_could_not_be_read_is_not_written(tmp_path):
    path = tmp_path / "fit.pt"
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\]: expected tensors, .* got builtin"):
        save_checkpoint(path, {"a": [1, len]})
    with pytest.raises(TypeError, match="state: expected a dict, got list"):
        save_checkpoint(path, [])
    assert list(tmp_path.iterdir()) == []
    numbers = torch.zeros(9, requires_grad=True)
    parts = {"part": numbers[::2], "beginning": numbers[:5]}
    save_checkpoint(path, {"rate": np.float64(0.1), "pair": (1, 2), **parts})
    state = load_checkpoint(path)
    assert (state["rate"], type(state["rate"]), state["pair"]) == (0.1, float, (1, 2))
    for name in parts:
        assert not state[name].requires_grad
        assert state[name].untyped_storage().nbytes() == 5 * 4  # and not what it is a part of


def test_whole_numbers_of_numpy_are_numbers(tmp_path):
    options = {"batch_size": 8, "seed": 3}
    fitted(DATA, checkpoint=tmp_path / "fit.pt", **options)
    options = {name: np.int64(value) for name, value in options.items()}
    fitted(DATA, checkpoint=tmp_path / "fit.pt", **options)
    fitted(DATA, checkpoint=tmp_path / "other.pt", **options)
    assert load_checkpoint(tmp_path / "other.pt")["settings"]["seed"] == 3


def test_a_machine_that_rounds_otherwise_may_go_on(tmp_path):
    path, data = tmp_path / "fit.pt", DATA * torch.tensor([1e-6, 1e6]).double() + 1
    fitted(data, checkpoint=path)
    state = load_checkpoint(path)
    mean, scatter = state["data"]["mean"], state["data"]["scatter"]
    for change, fits in ((1e-15, True), (1e-9, False)):
        for name, value in (("mean", mean), ("scatter", scatter)):
            data_there = {**state["data"], name: value * (1 + change)}
            save_checkpoint(path, {**state, "data": data_there})
            if fits:
                fitted(data, checkpoint=path)
                continue
            with pytest.raises(ValueError, match="checkpoint: .*other data"):
                fitted(data, checkpoint=path)


def test_a_file_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    path, flock, swept, handles = tmp_path / "fit.pt", fcntl.flock, [], []

    def late(handle, operation):
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
            handles.append(handle)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    save_checkpoint(path, {"n": 1})
    assert swept[0].name.endswith(".part")
    assert load_checkpoint(path)["n"] == 1
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="Bad file descriptor"):  # it was closed
        os.fstat(handles[0])


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    left, alive, other = (
        tmp_path / name
        for name in (".fit.pt.abcdef_9.part", ".fit.pt.12345678.part", ".fit.pt.mine.part")
    )
    for part in (left, alive, other):
        part.touch()
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        save_checkpoint(tmp_path / "fit.pt", {"n": 1})
    assert sorted(tmp_path.iterdir()) == sorted([alive, other, tmp_path / "fit.pt"])


def test_the_content_is_on_the_disk_and_locked_before_the_file_has_its_name(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    sizes, fsync, replace = [], os.fsync, os.replace

    def synced(file):
        fsync(file)
        sizes.append(os.fstat(file).st_size)

    def checked(old, new):
        with open(old, "rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        replace(old, new)
        sizes.append(new.stat().st_size)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", checked)
    save_checkpoint(tmp_path / "fit.pt", {"n": 1})
    assert sizes[0] == sizes[1] == len((tmp_path / "fit.pt").read_bytes())


def test_an_interrupt_just_after_the_file_has_its_name_is_not_hidden(tmp_path, monkeypatch):
    path, replace = tmp_path / "fit.pt", os.replace

    def interrupted(*names):
        replace(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"n": 1})
    assert load_checkpoint(path)["n"] == 1


def test_without_locks_files_are_written_and_none_is_swept(tmp_path, monkeypatch):
    path, part = tmp_path / "fit.pt", tmp_path / ".fit.pt.abcdefgh.part"
    part.touch()
    monkeypatch.setattr(checkpoints, "fcntl", None)
    opened, fdopen = [], os.fdopen

    def remembered(*arguments):
        opened.append(fdopen(*arguments))
        return opened[-1]

    monkeypatch.setattr(os, "fdopen", remembered)
    for change in ("replace", "unlink"):  # Windows does neither to a file that is open
        monkeypatch.setattr(os, change, if_closed(getattr(os, change), opened))
    save_checkpoint(path, {"n": 1})
    require_writable(path)
    assert load_checkpoint(path)["n"] == 1
    assert sorted(tmp_path.iterdir()) == [part, path]


def if_closed(change, opened):
    def changed(*names):
        assert opened[-1].closed
        change(*names)

    return changed


def test_a_machine_without_locks_is_told_by_the_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("windows", checkpoints.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.fcntl is None


def test_no_file_of_the_course_is_loaded_with_code():
    """Outside the tests, and the message that the error finder explains."""
    root = Path(__file__).parents[1]
    folders = ("helpers", "notebooks", "docs", "workshop", "benchmarks", "reliability")
    files = [path for folder in folders for path in (root / folder).rglob("*.*")]
    calls = {
        (path.relative_to(root).as_posix(), "weights_only=True" in call)
        for path in files
        if path.suffix in (".py", ".md", ".ipynb", ".html")
        for call in re.findall(r"torch\.load\(.*", path.read_text(encoding="utf-8"))
    }
    assert {name for name, is_safe in calls if not is_safe} <= {"docs/errors.md"}
    assert ("helpers/checkpoints.py", True) in calls


def test_what_is_saved_is_what_is_read(tmp_path):
    path = tmp_path / "fit.pt"
    for n in (1, 2):  # the second replaces the first
        save_checkpoint(path, {"n": n, "part": [torch.arange(n)], "name": "a"})
    state = load_checkpoint(path)
    assert (state["n"], state["name"], state["part"][0].tolist()) == (2, "a", [0, 1])
    assert list(tmp_path.iterdir()) == [path]
