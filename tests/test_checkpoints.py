"""A fit that was interrupted goes on to the same bits; a file is whole, ours, and runs nothing."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from strategies import random_gaussian, random_samples

from helpers import (
    CovarianceLearner,
    GaussianLikelihood,
    SufficientStatistics,
    fit,
    load_checkpoint,
    save_checkpoint,
    training,
    two_correlated,
)
from helpers.optimizers import (
    AutogradNaturalGradient,
    GradientDescent,
    NaturalGradient,
    OnlineNaturalGradient,
)

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
    save_checkpoint(path, {k: v for k, v in state.items() if k != "format"})
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
    assert torch.equal(model.scale_tril, torch.eye(2).double())


def test_another_learning_rate_is_refused(tmp_path):
    path = tmp_path / "fit.pt"

    def train(rate):
        fitted(DATA, optimizer=partial(torch.optim.SGD, lr=rate), max_steps=3, checkpoint=path)

    train(0.1)
    with pytest.raises(ValueError, match=r"checkpoint: .*SGD.*'lr': 0.2.* got .*'lr': 0.1"):
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


def test_a_file_with_code_is_refused_and_the_code_is_not_run(tmp_path):
    target = tmp_path / "was run"
    path = tmp_path / "fit.pt"
    payload = {"format": "covariance-course fit 1", "model": Malicious(target)}
    torch.save(payload, path)
    torch.load(path, weights_only=False)
    assert target.exists()  # the trap works where nothing guards it
    target.unlink()
    for write in (
        lambda: torch.save(payload, path),
        lambda: path.write_bytes(pickle.dumps(payload, protocol=2)),
    ):
        write()
        with pytest.raises(ValueError, match=r"checkpoint: .*cannot be read"):
            load_checkpoint(path)
        with pytest.raises(ValueError, match=r"checkpoint: .*fit\.pt"):
            fitted(DATA, checkpoint=path)
    assert not target.exists()


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "fit.pt"
    _, history = fitted(DATA, checkpoint=path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    middle = len(whole) // 2
    damaged += [whole[:20] + b"\xff" * 40 + whole[60:], b"no checkpoint", b"\x80", b"PK\x03\x04"]
    damaged += [whole[:middle] + bytes(200) + whole[middle + 200 :]]
    number = whole.index(history.gap.numpy().tobytes())
    damaged += [whole[:number] + b"\x00" + whole[number + 1 :]]  # readable, but another number
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint: expected a file written by fit"):
            load_checkpoint(path)
    for foreign in ({"weight": torch.zeros(2)}, torch.zeros(2), {"format": "another 1"}):
        torch.save(foreign, path)
        with pytest.raises(ValueError, match="checkpoint: expected a file of format"):
            load_checkpoint(path)


def test_a_file_that_is_not_there_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    save_checkpoint(path, {"n": 1})
    before = path.read_bytes()

    def disk_full(state, file):
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(path, {"n": 2})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left over


def test_what_is_saved_is_what_is_read(tmp_path):
    path = tmp_path / "fit.pt"
    for n in (1, 2):  # the second replaces the first
        save_checkpoint(path, {"n": n, "part": [torch.arange(n)], "name": "a"})
    state = load_checkpoint(path)
    assert (state["n"], state["name"], state["part"][0].tolist()) == (2, "a", [0, 1])
    assert list(tmp_path.iterdir()) == [path]
