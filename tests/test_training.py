"""`fit`: it reaches the exact answer, leaves alone what is not its own, and says what is wrong."""

from __future__ import annotations

import contextlib
import copy
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from strategies import correlated_samples, random_gaussian, random_samples, random_scale_tril
from torch.utils.data import DataLoader, TensorDataset

from helpers import (
    CovarianceLearner,
    GaussianLikelihood,
    SufficientStatistics,
    expected_gap,
    fit,
    kl_divergence,
    load_checkpoint,
    load_dataset,
    maximum_likelihood,
    minimum_nll,
    save_checkpoint,
    training,
    two_correlated,
)

DOUBLE = {"dtype": torch.float64}


def fitted(data, dim=2, **options):
    model = GaussianLikelihood(dim, **DOUBLE)
    return model, fit(model, data, **options)


# --- the data of the starting point --------------------------------------------------------------


def test_mean_squared_error_reaches_the_sample_covariance():
    target = torch.cov(two_correlated(1000).T)
    model = CovarianceLearner(2, **DOUBLE)
    history = fit(model, target)
    assert history.converged
    assert model(target).item() <= 1e-6  # what is promised
    # What quadratic convergence gives: a rounding or two of the entries, squared.
    assert model(target).item() <= 1e-28
    float32 = CovarianceLearner(2)
    assert fit(float32, target.float()).converged
    assert float32(target.float()).item() <= 1e-12  # a rounding of float32, 1e-7, squared


@pytest.mark.parametrize("optimizer", [None, "natural", "natural-autograd", "lbfgs", "adam"])
def test_likelihood_reaches_the_maximum(optimizer):
    data = two_correlated(100)
    model, history = fitted(data, optimizer=optimizer)
    assert history.converged
    assert history.gap[-1].item() <= 1e-10  # what is promised
    # A gap of 1e-10 is of second order: 2e-5 in relative terms.
    expected = torch.cov(data.T, correction=0)
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-4, atol=1e-4)
    loss = model(data) - minimum_nll(data)
    assert loss.item() == pytest.approx(history.gap[-1].item(), abs=1e-14)  # rounding of the losses


@pytest.mark.parametrize("optimizer", ["natural", "adam"])
def test_mini_batches_get_below_the_noise_floor(optimizer):
    data = two_correlated(1024)
    model, history = fitted(data, optimizer=optimizer, batch_size=32)
    assert history.gap[-1].item() <= 0.01 * expected_gap(2, 1024)
    assert history.verdict.negligible
    steps = 32 * (1 if optimizer == "natural" else 50)
    assert history.n_steps == steps
    if optimizer == "natural":  # one epoch of merges is the closed form
        expected = maximum_likelihood(data).covariance_matrix
        torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-13, atol=1e-13)


# --- real data, raw units ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("convert", [torch.Tensor.double, torch.Tensor.float, torch.Tensor.numpy])
def test_thirty_raw_columns_converge_by_default(convert, dtype):
    data = load_dataset("breast_cancer").data
    model = GaussianLikelihood(30, dtype=dtype)
    history = fit(model, convert(data))
    assert history.converged
    assert history.gap[-1].item() <= 1e-6
    assert model.loc.dtype == dtype


def test_iris_agrees_with_scikit_learn():
    data = load_dataset("iris").data.numpy()
    score = EmpiricalCovariance().fit(data).score(data)
    model, _ = fitted(data, dim=4)
    # The gap is below 1e-10; the score itself is rounded some hundred times.
    assert -model(data).item() == pytest.approx(score, abs=1e-10)
    assert -model(data).item() * 150 == pytest.approx(-379.9146301, abs=1e-6)  # published


@pytest.mark.parametrize("unit", [1e-6, 1e-2, 1e3])
def test_mean_squared_error_is_right_in_any_unit(unit):
    """A tolerance that forgot the units would call a wrong covariance of small numbers done."""
    target = unit**2 * torch.cov(two_correlated(1000).T)
    model = CovarianceLearner(2, **DOUBLE)
    assert fit(model, target).converged
    torch.testing.assert_close(model.covariance_matrix, target, rtol=1e-12, atol=0)


def test_data_far_from_zero_converge():
    data = two_correlated(200) * 1e-3 + 1e6
    model, history = fitted(data)
    assert history.converged
    # The data themselves are rounded to 1e-10 at this mean, that is to 1e-7 of a deviation.
    scaled = torch.cov(((data - 1e6) * 1e3).T, correction=0)
    torch.testing.assert_close(model.covariance_matrix * 1e6, scaled, rtol=1e-6, atol=1e-6)


# --- ways of calling -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam,
        lambda parameters: torch.optim.SGD(parameters, lr=0.3, momentum=0.5),
        lambda parameters: torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe"),
    ],
)
def test_optimizers_of_torch_are_used_as_they_are(optimizer):
    _, history = fitted(two_correlated(100), optimizer=optimizer, max_steps=3000)
    assert history.optimizer in ("Adam", "SGD", "LBFGS")
    assert history.gap[-1].item() < 1e-9
    model = GaussianLikelihood(2, **DOUBLE)
    made = optimizer(model.parameters())
    history = fit(model, two_correlated(100), optimizer=made, max_steps=2)
    assert history.gap[-1] < history.gap[0]


def test_statistics_serve_as_well_as_the_data():
    data = correlated_samples(50, 3)
    from_data, _ = fitted(data, 3)
    from_statistics, history = fitted(SufficientStatistics.from_data(data), 3)
    assert torch.equal(from_data.scale_tril, from_statistics.scale_tril)
    assert torch.equal(from_data.loc, from_statistics.loc)
    assert history.count == 50


@pytest.mark.parametrize("options", [{}, {"optimizer": "lbfgs"}, {"batch_size": 7}])
def test_a_batch_of_models_equals_a_loop(options):
    data = random_samples(3, 30, 2) * torch.tensor([1.0, 10.0]) + 5
    model = GaussianLikelihood(2, (3,), **DOUBLE)
    history = fit(model, data, **options)
    assert history.gap.shape == (len(history.step), 3)
    assert history.converged
    for i in range(3):
        expected = torch.cov(data[i].T, correction=0)
        # Gaps up to 1e-10 are 2e-5 in relative terms, of entries up to 100.
        torch.testing.assert_close(model.covariance_matrix[i], expected, rtol=1e-4, atol=1e-3)


def test_data_without_batch_serve_every_model():
    data = two_correlated(50)
    model = GaussianLikelihood(2, (2,), **DOUBLE)
    model.assign(*random_gaussian(2, (2,)))
    assert fit(model, data, optimizer="lbfgs").converged
    expected = torch.cov(data.T, correction=0).expand(2, 2, 2)
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-4, atol=1e-4)
    for options in ({}, {"batch_size": 10}):  # the online form has moments without a batch
        model = GaussianLikelihood(2, (2,), **DOUBLE)
        assert fit(model, data, **options).gap.shape[1:] == (2,)
        torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-12, atol=1e-12)
    targets = CovarianceLearner(2, (2,), **DOUBLE)
    assert fit(targets, expected[0]).converged
    torch.testing.assert_close(targets.covariance_matrix, expected, rtol=1e-12, atol=1e-12)


def test_an_empty_batch_is_done_at_once():
    history = fit(GaussianLikelihood(2, (0,)), torch.zeros(0, 9, 2))
    assert (history.n_steps, history.converged, history.verdict) == (0, True, None)
    assert "converged" in str(history)


def test_a_model_moves_only_where_it_must():
    """A processor by its number is another name, and so the one other device of every machine."""
    moves = []

    class Moved(GaussianLikelihood):
        def to(self, *where):
            moves.append(*where)
            return super().to(*where)

    data = two_correlated(50)
    fit(Moved(2, **DOUBLE), data)
    assert moves == []
    fit(Moved(2, **DOUBLE), data, device="cpu:0")
    assert moves == [torch.device("cpu:0")]
    with pytest.raises(ValueError, match="optimizer"):
        fit(Moved(2, **DOUBLE), data, device="cpu:0", optimizer="sgd")
    assert moves[1:] == [torch.device("cpu:0"), torch.device("cpu")]  # and home again


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("optimizer", ["natural", "adam"])
def test_a_fit_stays_where_its_model_is(optimizer, batch_size):
    """Whatever torch.set_default_device says: here it names one that holds no numbers."""
    model = GaussianLikelihood(2)
    data = random_samples(50, 2)
    with torch.device("meta"):
        history = fit(model, data, optimizer=optimizer, batch_size=batch_size, max_steps=5)
    assert {each.device.type for each in (history.step, history.gap, history.time)} == {"cpu"}


def test_a_device_may_be_named():
    model, history = fitted(two_correlated(50), device="cpu")
    assert (model.loc.device.type, history.device) == ("cpu", "cpu")


def test_limits_are_obeyed():
    data = two_correlated(100)
    _, history = fitted(data, optimizer="adam", max_steps=7)
    assert (history.n_steps, history.converged) == (7, False)
    assert history.step.tolist() == list(range(8))
    _, loose = fitted(data, optimizer="lbfgs", tol=1e-2)
    _, tight = fitted(data, optimizer="lbfgs", tol=1e-12)
    assert loose.n_steps < tight.n_steps
    assert loose.gap[-1] <= 1e-2 < loose.gap[-2]
    assert tight.gap[-1] <= 1e-12 < tight.gap[-2]
    again = fit(fitted(data)[0], data)
    assert again.n_steps == 0  # nothing is left to do


def test_a_gap_of_just_the_tolerance_is_enough():
    data = two_correlated(100)
    _, history = fitted(data, optimizer=torch.optim.Adam, max_steps=4)
    _, again = fitted(data, optimizer=torch.optim.Adam, tol=history.gap[3].item())
    assert (again.n_steps, again.converged) == (3, True)
    assert torch.equal(again.gap, history.gap[:4])


def test_a_fit_of_many_goes_on_until_the_last_has_arrived():
    data = two_correlated(100)
    for first in (0, 1):  # whichever of both starts at the optimum
        model = GaussianLikelihood(2, (2,), **DOUBLE)
        optimum = maximum_likelihood(data)
        loc, scale_tril = model.loc.detach().clone(), model.scale_tril.detach().clone()
        loc[first], scale_tril[first] = optimum.loc, optimum.scale_tril
        model.assign(loc, scale_tril)
        history = fit(model, data)
        assert history.gap[0].min() < 1e-10 < history.gap[0].max()
        assert history.gap[-1].max() <= 1e-10
        assert history.converged is True
        model.assign(loc, scale_tril)
        assert fit(model, data, optimizer=torch.optim.SGD, max_steps=1).converged is False


def test_mini_batches_record_at_powers_of_two_and_epochs():
    _, history = fitted(two_correlated(50), batch_size=20, optimizer="adam", max_steps=10)
    assert history.step.tolist() == [0, 1, 2, 3, 4, 6, 8, 9, 10]  # epochs have three batches


# Fetched together: less than a batch, which is then fetched whole; one batch; an epoch.
@pytest.mark.parametrize("numbers", [10, 50, 2**19])
def test_every_sample_counts_once_in_an_epoch(numbers, monkeypatch):
    from helpers.optimizers import OnlineNaturalGradient

    monkeypatch.setattr("helpers.gaussian.CHUNK", numbers)
    batches, step = [], OnlineNaturalGradient.step

    def spy(self, batch):
        batches.append(batch.clone())
        step(self, batch)

    monkeypatch.setattr(OnlineNaturalGradient, "step", spy)
    data = two_correlated(50)
    fitted(data, batch_size=20, max_steps=6)
    assert [len(batch) for batch in batches] == [20, 20, 10, 20, 20, 10]
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert not torch.equal(first, data)  # shuffled
    assert not torch.equal(first, second)  # and anew
    for epoch in (first, second):
        assert sorted(epoch.tolist()) == sorted(data.tolist())


def test_the_seed_decides_and_nothing_else():
    data = two_correlated(64)

    def run(seed):
        model, history = fitted(data, optimizer="adam", batch_size=8, max_steps=20, seed=seed)
        return model.scale_tril, history.gap

    state = torch.random.get_rng_state()
    first, other = run(0), run(1)
    torch.rand(3)
    again = run(0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    run(2**62)  # no seed is too large
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("options", [{}, {"batch_size": 8}, {"optimizer": "adam", "max_steps": 3}])
def test_nothing_else_is_touched(options):
    data, state = two_correlated(64), torch.random.get_rng_state()
    before = data.clone()
    fitted(data, **options)
    fitted(data.numpy(), **options)
    assert torch.equal(data, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    statistics = SufficientStatistics.from_data(data)
    scatter = statistics.scatter.clone()
    if "batch_size" not in options:
        fitted(statistics, **options)
    assert torch.equal(statistics.scatter, scatter)


def test_data_with_a_history_of_gradients_are_only_data():
    data = two_correlated(64).requires_grad_()
    for each in (data, SufficientStatistics.from_data(data)):
        assert fitted(each, optimizer="lbfgs")[1].converged
    assert data.grad is None
    target = torch.cov(data.T)
    assert fit(CovarianceLearner(2, **DOUBLE), target, optimizer="lbfgs").converged


def test_the_clock_never_goes_back():
    _, history = fitted(two_correlated(100), optimizer="lbfgs")
    assert history.time[0] == 0
    assert (history.time.diff() > 0).all()


@pytest.mark.parametrize("kind", ["likelihood", "mean squared error"])
def test_the_history_tells_the_loss(kind):
    data = two_correlated(100)
    if kind == "likelihood":
        model, target = GaussianLikelihood(2, **DOUBLE), data
        minimum = minimum_nll(data).item()
    else:
        model, target, minimum = CovarianceLearner(2, **DOUBLE), torch.cov(data.T), 0.0
    first = model(target).item()
    history = fit(model, target, optimizer="adam", max_steps=5)
    # The loss is a sum of some hundred terms of size one to ten.
    assert history.loss[0].item() == pytest.approx(first, rel=1e-13)
    assert history.loss[-1].item() == pytest.approx(model(target).item(), rel=1e-13)
    assert (history.loss - history.gap).tolist() == pytest.approx([minimum] * 6, abs=1e-14)
    assert history.loss.requires_grad is False


# --- the natural gradient ------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["natural", "natural-autograd"])
@pytest.mark.parametrize("log_condition", range(2, 9))
def test_conditioning_does_not_matter(log_condition, optimizer):
    scale_tril = random_scale_tril(8, 10 ** (log_condition / 2), seed=log_condition)
    data = random_samples(1000, 8) @ scale_tril.mT + 3
    model, history = fitted(data, 8, optimizer=optimizer)
    assert history.converged
    assert history.n_steps <= 8  # a column a step
    exact = maximum_likelihood(data)
    assert kl_divergence(exact, model).item() <= 1e-10


@pytest.mark.parametrize("batch_shape", [(), (3,)])
def test_both_natural_gradients_take_the_same_steps(batch_shape):
    data = random_samples(*batch_shape, 60, 4) @ random_gaussian(4).scale_tril.mT + 2
    runs = []
    for optimizer in ("natural", "natural-autograd"):
        model = GaussianLikelihood(4, batch_shape, **DOUBLE)
        history = fit(model, data, optimizer=optimizer)
        runs.append((model.loc, model.scale_tril, history.loss))
    for written_out, by_autograd in zip(*runs, strict=True):
        torch.testing.assert_close(written_out, by_autograd, rtol=1e-10, atol=1e-10)  # 4 steps


def test_the_history_says_which_way_was_chosen():
    names = {
        None: "natural gradient",
        "natural": "natural gradient",
        "natural-autograd": "natural gradient by autograd",
        "lbfgs": "L-BFGS",
        "adam": "Adam, cosine schedule",
    }
    for optimizer, name in names.items():
        assert fitted(two_correlated(50), optimizer=optimizer, max_steps=2)[1].optimizer == name
    assert fitted(two_correlated(50), batch_size=10)[1].optimizer == "online natural gradient"


# --- data that come in batches, or lie in a file -------------------------------------------------


def parts(kind, data):
    """The same 50 rows, ten at a time."""
    batches = data.split(10)
    return {
        "list": lambda: list(batches),
        "generator": lambda: (batch for batch in batches),
        "arrays": lambda: [batch.numpy() for batch in batches],
        "loader": lambda: DataLoader(TensorDataset(data), batch_size=10),
    }[kind]()


@pytest.mark.parametrize("optimizer", [None, "natural-autograd", "lbfgs"])
@pytest.mark.parametrize("kind", ["list", "generator", "arrays", "loader"])
def test_one_pass_over_batches_is_enough(kind, optimizer):
    data = correlated_samples(50, 2)
    expected, _ = fitted(data, optimizer=optimizer)
    model, history = fitted(parts(kind, data), optimizer=optimizer)
    assert history.converged
    assert history.count == 50
    # Gaps of up to 1e-10 are 2e-5 in relative terms, for L-BFGS.
    tolerance = 1e-4 if optimizer == "lbfgs" else 1e-12
    torch.testing.assert_close(
        model.covariance_matrix, expected.covariance_matrix, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("kind", ["list", "arrays", "loader"])
def test_adam_goes_from_batch_to_batch(kind):
    data = correlated_samples(50, 2)
    _, history = fitted(parts(kind, data), optimizer="adam")
    assert history.n_steps == 5 * 50  # fifty epochs
    assert history.step.tolist()[:7] == [0, 1, 2, 4, 5, 8, 10]
    assert history.gap[-1] < 0.01 * expected_gap(2, 50)
    # In the order in which they come: the same as by hand.
    model = GaussianLikelihood(2, **DOUBLE)
    adam = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in data.split(10):
        adam.zero_grad()
        model(batch).backward()
        adam.step()
    again, _ = fitted(
        parts(kind, data), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), max_steps=5
    )
    torch.testing.assert_close(again.scale_tril, model.scale_tril, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}])
def test_batches_serve_a_batch_of_models(options):
    data = random_samples(3, 40, 2)
    model = GaussianLikelihood(2, (3,), **DOUBLE)
    assert fit(model, list(data.split(10, dim=1)), **options).gap[-1].max() < 1e-3
    expected = torch.stack([torch.cov(each.T, correction=0) for each in data])
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 10}, {"batch_size": 10, "optimizer": "adam"}]
)
def test_a_file_is_as_good_as_a_tensor(options, tmp_path):
    data = correlated_samples(50, 2)
    file = np.memmap(tmp_path / "data.bin", np.float64, "w+", shape=(50, 2))
    file[:] = data.numpy()
    file.flush()
    read_only = np.memmap(tmp_path / "data.bin", np.float64, "r", shape=(50, 2))
    expected, _ = fitted(data, **options)
    model, _ = fitted(read_only, **options)
    torch.testing.assert_close(model.scale_tril, expected.scale_tril, rtol=1e-12, atol=1e-12)


class Watched(GaussianLikelihood):
    """Keeps the batches that it is given."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.batches = []

    def forward(self, x, **options):
        self.batches.append(x)
        return super().forward(x, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_are_taken_in_the_dtype_of_the_model(dtype, tmp_path):
    other = torch.float64 if dtype == torch.float32 else torch.float32
    samples = two_correlated(40).to(other)
    file = np.memmap(tmp_path / "data.bin", samples.numpy().dtype, "w+", shape=(40, 2))
    file[:] = samples.numpy()
    for data, batch_size in ((samples, 10), (file, 10), (samples.split(10), None)):
        model = Watched(2, dtype=dtype)
        fit(model, data, optimizer=torch.optim.SGD, batch_size=batch_size, max_steps=2)
        assert [batch.dtype for batch in model.batches] == [dtype, dtype]


# --- the order of the samples --------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3, 2**62])
def test_the_order_is_that_of_the_checkpoints_already_written(seed):
    """A fit that was interrupted under an older version must meet the same batches."""
    data, model = two_correlated(12), Watched(2, **DOUBLE)
    options = {"seed": seed} if seed else {}  # which is zero unless said otherwise
    fit(model, data, optimizer=torch.optim.SGD, batch_size=6, max_steps=4, **options)
    for epoch in (0, 1):
        number = (seed * 1_000_003 + epoch) & (2**63 - 1)
        order = torch.randperm(12, generator=torch.Generator().manual_seed(number))
        assert torch.equal(torch.cat(model.batches[2 * epoch : 2 * epoch + 2]), data[order])


# --- what a checkpoint holds, and when it is written ---------------------------------------------


class Interrupting(torch.optim.SGD):
    """Ctrl-C in one of its steps."""

    after = math.inf

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        if self.steps > self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("optimizer", "batch_size", "max_steps"),
    [
        (None, None, 100),
        ("natural-autograd", None, 100),
        ("lbfgs", None, 1000),
        ("adam", None, 2000),
        (torch.optim.SGD, None, 2000),
        (None, 20, 3),  # one epoch
        ("adam", 20, 150),  # fifty
        (torch.optim.SGD, 20, 150),
    ],
)
def test_the_number_of_steps_is_the_one_that_is_promised(
    optimizer, batch_size, max_steps, monkeypatch
):
    class Told(Exception):
        pass

    def tell(total, show, *, done):
        raise Told(total, done)

    monkeypatch.setattr(training, "ProgressBar", tell)
    with pytest.raises(Told) as told:
        fitted(two_correlated(50), optimizer=optimizer, batch_size=batch_size)
    assert told.value.args == (max_steps, 0)


@pytest.mark.parametrize(("max_steps", "written"), [(7, [0, 3, 6, 7]), (6, [0, 3, 6])])
def test_a_checkpoint_is_written_about_once_a_second(max_steps, written, tmp_path, monkeypatch):
    now, steps = 100.0, []

    class HalfASecond(Interrupting):
        def step(self, closure=None):
            nonlocal now
            super().step(closure)
            now += 0.5  # so the second step ends after just a second, the third after more

    def spy(path, state):
        steps.append(state["n_steps"])
        save_checkpoint(path, state)

    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(training, "save_checkpoint", spy)
    options = {"optimizer": HalfASecond, "max_steps": max_steps, "checkpoint": tmp_path / "fit.pt"}
    fitted(two_correlated(20), **options)
    assert steps == written
    assert load_checkpoint(tmp_path / "fit.pt")["n_steps"] == max_steps
    fitted(two_correlated(20), **options)  # nothing is left to do, and nothing to write
    assert steps == written


def test_a_fit_interrupted_in_its_first_step_has_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(Interrupting, "after", 0)
    with pytest.raises(KeyboardInterrupt):
        fitted(two_correlated(20), optimizer=Interrupting, checkpoint=tmp_path / "fit.pt")
    state = load_checkpoint(tmp_path / "fit.pt")
    assert (state["n_steps"], state["model"]["loc"].tolist()) == (0, [0.0, 0.0])
    assert state["settings"]["tol"] == 1e-10  # what is promised


def test_the_bar_goes_on_where_the_fit_does(tmp_path, monkeypatch):
    bars, bar_of = [], training.ProgressBar

    def kept(*arguments, **options):
        bars.append(bar_of(*arguments, **options))
        return bars[-1]

    monkeypatch.setattr(training, "ProgressBar", kept)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)  # at every step
    options = {"optimizer": Interrupting, "max_steps": 9, "checkpoint": tmp_path / "fit.pt"}
    with monkeypatch.context() as patch:
        patch.setattr(Interrupting, "after", 4)
        with pytest.raises(KeyboardInterrupt):
            fitted(two_correlated(20), **options)
    assert (bars[0].total, bars[0].done) == (9, 4)
    monkeypatch.setattr(bar_of, "advance", lambda self: None)
    fitted(two_correlated(20), **options)
    assert (bars[1].total, bars[1].done) == (9, 4)


@pytest.mark.parametrize("optimizer", ["natural", "natural-autograd"])
def test_a_fit_that_converged_is_not_gone_on_with(optimizer, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)  # the last is from within the loop
    data, path = random_samples(3, 30, 2) * torch.tensor([1.0, 10.0]) + 5, tmp_path / "fit.pt"
    runs = []
    for _ in range(2):
        model = GaussianLikelihood(2, (3,), **DOUBLE)
        runs.append((model, fit(model, data, optimizer=optimizer, checkpoint=path)))
    (first, history), (second, again) = runs
    assert again.n_steps == history.n_steps > 1
    assert again.converged is True
    assert torch.equal(first.scale_tril, second.scale_tril)
    assert torch.equal(first.loc, second.loc)
    assert torch.equal(load_checkpoint(path)["model"]["loc"], first.loc)


def test_a_fit_of_many_is_converged_when_the_last_is(tmp_path):
    """Also one that is taken up again, with no step left."""
    data = two_correlated(100)
    optimum = maximum_likelihood(data)
    for there in (0, 1):
        options = {
            "optimizer": Interrupting,
            "max_steps": 3,
            "checkpoint": tmp_path / f"{there}.pt",
        }
        for _ in range(2):
            model = GaussianLikelihood(2, (2,), **DOUBLE)
            loc, scale_tril = model.loc.detach().clone(), model.scale_tril.detach().clone()
            loc[there], scale_tril[there] = optimum.loc, optimum.scale_tril
            model.assign(loc, scale_tril)
            assert fit(model, data, **options).converged is False


def test_an_empty_batch_is_still_done_when_it_is_taken_up_again(tmp_path):
    for _ in range(2):
        model = GaussianLikelihood(2, (0,))
        history = fit(model, torch.zeros(0, 9, 2), checkpoint=tmp_path / "fit.pt")
        assert (history.n_steps, history.converged) == (0, True)


@pytest.mark.parametrize(
    ("options", "n_steps", "last"),
    [({}, 4, 5), ({}, 6, 5), ({"batch_size": 5}, 3, 4), ({"batch_size": 5}, -1, 4)],
)
def test_steps_of_a_checkpoint_lie_between_its_records_and_the_end(
    options, n_steps, last, tmp_path, monkeypatch
):
    """Batches record the steps 0, 1, 2 and 4; a fifth step is the end of both."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    options = {**options, "optimizer": Interrupting, "max_steps": 5, "checkpoint": tmp_path / "a"}
    with monkeypatch.context() as patch:
        patch.setattr(Interrupting, "after", last)
        with pytest.raises(KeyboardInterrupt) if last == 4 else contextlib.nullcontext():
            fitted(DATA, **options)
    state = load_checkpoint(tmp_path / "a")
    assert state["n_steps"] == last
    save_checkpoint(tmp_path / "a", {**state, "n_steps": n_steps})
    words = f"checkpoint: expected n_steps from {last} to 5, got {n_steps}"
    fails(GaussianLikelihood(2, **DOUBLE), DATA, options, ValueError, [words])


def test_other_data_are_noticed_in_a_single_column(tmp_path):
    path, data = tmp_path / "fit.pt", two_correlated(50)
    fitted(data, checkpoint=path)
    for column in (0, 1):
        other = data.clone()
        other[:, column] += 1e-3  # the mean alone tells
        with pytest.raises(ValueError, match="checkpoint: .*other data"):
            fitted(other, checkpoint=path)


@pytest.mark.parametrize("kind", ["likelihood", "mean squared error"])
def test_what_another_machine_may_make_of_the_data(kind, tmp_path):
    """A thousand roundings of each entry's own scale: half of it fits, and twice of it does not."""
    units = np.array([[1.0, 1e-3, 1e4], [1e2, 1.0, 1e-2]])  # of two models, in three columns
    data = random_samples(2, 30, 3) * torch.from_numpy(units)[:, None] - 2
    target = torch.stack([torch.cov(each.T) for each in data])
    if kind == "likelihood":
        model, given, name = GaussianLikelihood(3, (2,), **DOUBLE), data, "scatter"
    else:
        model, given, name = CovarianceLearner(3, (2,), **DOUBLE), target, "target"
    path, start = tmp_path / "fit.pt", copy.deepcopy(model.state_dict())
    fit(model, given, checkpoint=path)
    state = load_checkpoint(path)
    matrix = state["data"][name].numpy()
    deviation = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    rounding = 1000 * 2.0**-52
    allowed = {name: rounding * deviation[:, :, None] * deviation[:, None, :]}
    if kind == "likelihood":
        mean = state["data"]["mean"].numpy()
        allowed["mean"] = rounding * (np.abs(mean) + deviation)

    def try_with(part, change):
        there = {**state["data"], part: state["data"][part] + torch.from_numpy(change)}
        save_checkpoint(path, {**state, "data": there})
        model.load_state_dict(start)
        fit(model, given, checkpoint=path)

    for part, limits in allowed.items():
        try_with(part, limits / 2)
        try_with(part, -limits / 2)
        for index in np.ndindex(limits.shape):
            one = np.zeros_like(limits)
            one[index] = 2 * limits[index]
            with pytest.raises(ValueError, match="checkpoint: .*other data"):
                try_with(part, one)


def test_a_thousand_roundings_are_allowed_and_no_more(tmp_path):
    """Of a mean of zero, so that the number itself is not rounded."""
    data = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]]).double()  # a scatter of 4 I
    path = tmp_path / "fit.pt"
    fitted(data, checkpoint=path)
    state = load_checkpoint(path)

    def try_with(share):
        mean = torch.full((2,), share * 1000 * 2.0**-52 * 2, dtype=torch.float64)
        save_checkpoint(path, {**state, "data": {**state["data"], "mean": mean}})
        fitted(data, checkpoint=path)

    try_with(0.9995)
    with pytest.raises(ValueError, match="checkpoint: .*other data"):
        try_with(1.0005)


# --- what is wrong -------------------------------------------------------------------------------

DATA = two_correlated(20)
CONSTANT, REPEATED, WITH_NAN, WITH_INF = (DATA.clone() for _ in range(4))
CONSTANT[:, 1] = 0.1
REPEATED[:, 1] = REPEATED[:, 0]
WITH_NAN[4, 1] = math.nan
WITH_INF[0, 0] = math.inf
STATISTICS = SufficientStatistics.from_data(DATA)
NAN_STATISTICS = SufficientStatistics.from_data(DATA)
NAN_STATISTICS.mean.fill_(math.nan)  # after they were made, or they would have been refused

BAD_DATA = {
    "None": (None, TypeError, ["data", "torch.Tensor or numpy.ndarray", "None"]),
    "list": ([[1.0, 2.0]], TypeError, ["data", "torch.Tensor", "list"]),
    "str": ("data.csv", TypeError, ["data", "torch.Tensor", "str 'data.csv'"]),
    "nan": (WITH_NAN, ValueError, ["data", "finite", "nan", "(4, 1)"]),
    "nan in an array": (WITH_NAN.numpy(), ValueError, ["data", "finite", "nan", "(4, 1)"]),
    "inf": (WITH_INF, ValueError, ["data", "finite", "inf", "(0, 0)"]),
    "width": (DATA[:, :1], ValueError, ["data", "(..., n, 2)", "(20, 1)"]),
    "transposed": (DATA.T, ValueError, ["data", "(..., n, 2)", "(2, 20)"]),
    "one row": (DATA[0], ValueError, ["data", "(..., n, 2)", "(2,)"]),
    "few": (DATA[:2], ValueError, ["data", "more samples than the 2 variables", "got 2"]),
    "none": (DATA[:0], ValueError, ["data", "more samples than the 2 variables", "got 0"]),
    "constant": (CONSTANT, ValueError, ["data", "vary", "constant column 1"]),
    "repeated": (REPEATED, ValueError, ["data", "positive definite", "column 1"]),
    "integers": (DATA.long(), ValueError, ["data", "float32 or float64", "int64"]),
    "half": (DATA.half(), ValueError, ["data", "float32 or float64", "float16"]),
    "complex": (DATA + 0j, ValueError, ["data", "float32 or float64", "complex128"]),
    "complex array": (DATA.numpy() + 0j, ValueError, ["data", "float32 or float64", "complex128"]),
    "batch": (DATA.expand(3, 20, 2), ValueError, ["data", "batch shape ()", "(3,)"]),
    "statistics": (
        SufficientStatistics.from_data(DATA[:, :1]),
        ValueError,
        ["data.mean", "(..., 2)", "(1,)"],
    ),
    "few in statistics": (
        SufficientStatistics.from_data(DATA[:2]),
        ValueError,
        ["data", "more samples", "got 2"],
    ),
    "nan in statistics": (NAN_STATISTICS, ValueError, ["data.mean", "finite", "nan"]),
}
BAD_DATA |= {
    "DataFrame": (
        pd.DataFrame(DATA.numpy(), columns=["height", "weight"]),
        TypeError,
        ["data: expected", "got a DataFrame; convert it, for example with .to_numpy()"],
    ),
    "lists": (DATA.tolist(), TypeError, ["data: expected", "a list of lists", "torch.tensor("]),
    "numbers": ([1.0, 2.0], TypeError, ["data: expected", "a list of numbers; convert it"]),
    "too large": (DATA * 1e200, ValueError, ["data: ", "squares float64", "too large", "rescale"]),
    "too large in a batch": ([DATA, DATA * 1e200], ValueError, ["data[1]: ", "squares", "rescale"]),
    "no batches": ([], ValueError, ["data", "at least one batch", "none"]),
    "nan in a batch": ([DATA, WITH_NAN], ValueError, ["data[1]", "finite", "nan", "(4, 1)"]),
    "width of a batch": ([DATA, DATA[:, :1]], ValueError, ["data[1]", "(..., n, 2)", "(20, 1)"]),
    "few in batches": ([DATA[:1], DATA[1:2]], ValueError, ["data", "more samples", "got 2"]),
}
BAD_OPTIONS = {
    "device": ({"device": "cuda:77"}, ValueError, ["device", "is there", "cuda:77"]),
    "device's name": ({"device": "gpu"}, ValueError, ["device", "'cuda'", "gpu"]),
    "batch 0": ({"batch_size": 0}, ValueError, ["batch_size", "at least 1", "0"]),
    "batch over n": ({"batch_size": 21}, ValueError, ["batch_size", "from 1 to 20", "21"]),
    "batch float": ({"batch_size": 2.0}, TypeError, ["batch_size", "whole number", "2.0"]),
    "tol": ({"tol": -1e-3}, ValueError, ["tol", "above 0", "-0.001"]),
    "tol nan": ({"tol": math.nan}, ValueError, ["tol", "finite", "nan"]),
    "tol str": ({"tol": "low"}, TypeError, ["tol", "number", "low"]),
    "steps": ({"max_steps": 0}, ValueError, ["max_steps", "at least 1", "0"]),
    "steps float": ({"max_steps": 10.0}, TypeError, ["max_steps", "whole number", "10.0"]),
    "seed": ({"seed": -1}, ValueError, ["seed", "at least 0", "-1"]),
    "seed None": ({"seed": None}, TypeError, ["seed", "whole number", "None"]),
    "progress": ({"progress": "yes"}, TypeError, ["progress", "True, False or None", "yes"]),
    "optimizer": (
        {"optimizer": "sgd"},
        ValueError,
        ["optimizer", "'natural', 'natural-autograd', 'lbfgs', 'adam'", "sgd"],
    ),
    "optimizer online": (
        {"optimizer": "lbfgs", "batch_size": 5},
        ValueError,
        ["optimizer", "'natural', 'adam'", "lbfgs"],
    ),
    "optimizer's type": ({"optimizer": lambda _: 3}, ValueError, ["optimizer", "torch.optim"]),
    "others' parameters": (
        {"optimizer": torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])},
        ValueError,
        ["optimizer", "this model's parameters", "others"],
    ),
}


def fails(model, data, options, error, words):
    """The message says it, and the model is bit for bit what it was, where it was."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error) as caught:
        fit(model, data, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(before[name].device == after[name].device for name in before)


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_named(case):
    data, error, words = BAD_DATA[case]
    model = GaussianLikelihood(2, **DOUBLE)
    model.assign(*random_gaussian(2))
    fails(model, data, {}, error, words)


def test_data_that_the_dtype_of_the_model_cannot_hold_are_named():
    words = ["data: expected", "squares float32", "too large for float32: rescale"]
    fails(GaussianLikelihood(2), DATA * 1e25, {}, ValueError, words)


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_named(case):
    options, error, words = BAD_OPTIONS[case]
    model = GaussianLikelihood(2, **DOUBLE)
    model.assign(*random_gaussian(2))
    fails(model, DATA, options, error, words)


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.Adam])
def test_a_generator_is_gone_through_once(optimizer):
    words = ["data", "gone through again", "list or a DataLoader", "generator", "one pass"]
    model = GaussianLikelihood(2, **DOUBLE)
    fails(model, (x for x in DATA.split(5)), {"optimizer": optimizer}, ValueError, words)


def test_batches_that_run_dry_are_noticed():
    class Dry:
        """Looks as if it could be gone through again, but is one generator."""

        def __init__(self):
            self.batches = (x for x in DATA.split(5))

        def __iter__(self):
            return self.batches

    words = ["data", "4 batches at every epoch", "got 0"]
    fails(GaussianLikelihood(2, **DOUBLE), Dry(), {"optimizer": "adam"}, ValueError, words)


class Shorter:
    """Four batches, and from a certain pass on three."""

    def __init__(self, passes):
        self.passes = passes

    def __iter__(self):
        self.passes -= 1
        return iter(DATA.split(5)[: 4 if self.passes >= 0 else 3])


@pytest.mark.parametrize("passes", [1, 2, 3])  # the first is that for the exact optimum
def test_batches_that_become_fewer_are_noticed(passes):
    words = ["data: expected 4 batches at every epoch, as in the first pass, got 3"]
    model = GaussianLikelihood(2, **DOUBLE)
    fails(model, Shorter(passes), {"optimizer": "adam"}, ValueError, words)


def test_batches_may_be_gone_on_with_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    options = {"optimizer": Interrupting, "max_steps": 9}
    expected, _ = fitted(DATA.split(5), **options)
    with monkeypatch.context() as patch:
        patch.setattr(Interrupting, "after", 6)
        with pytest.raises(KeyboardInterrupt):
            fitted(DATA.split(5), checkpoint=tmp_path / "fit.pt", **options)
    resumed, _ = fitted(DATA.split(5), checkpoint=tmp_path / "fit.pt", **options)
    assert torch.equal(resumed.scale_tril, expected.scale_tril)
    # The rest of an epoch is counted together with what was had of it before.
    with monkeypatch.context() as patch:
        patch.setattr(Interrupting, "after", 6)
        with pytest.raises(KeyboardInterrupt):
            fitted(DATA.split(5), checkpoint=tmp_path / "other.pt", **options)
    words = ["data: expected 4 batches at every epoch, as in the first pass, got 3"]
    options["checkpoint"] = tmp_path / "other.pt"
    fails(GaussianLikelihood(2, **DOUBLE), Shorter(1), options, ValueError, words)


def test_batches_have_a_size_already():
    words = ["batch_size", "None", "come in batches", "got 5"]
    fails(GaussianLikelihood(2, **DOUBLE), [DATA], {"batch_size": 5}, ValueError, words)


def test_the_autograd_form_is_one_of_a_likelihood():
    words = ["optimizer", "CovarianceLearner", "natural-autograd"]
    options = {"optimizer": "natural-autograd"}
    fails(CovarianceLearner(2, **DOUBLE), torch.eye(2).double(), options, ValueError, words)


def test_statistics_cannot_be_split_into_batches():
    options = {"batch_size": 5}
    words = ["data", "samples to draw batches from", "SufficientStatistics"]
    fails(GaussianLikelihood(2, **DOUBLE), STATISTICS, options, ValueError, words)


ASYMMETRIC = torch.tensor([[2.0, 1.0], [0.0, 2.0]]).double()
INDEFINITE = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).double()


@pytest.mark.parametrize(
    ("target", "options", "error", "words"),
    [
        (ASYMMETRIC, {}, ValueError, ["data", "symmetric", "up to 1"]),
        (INDEFINITE, {}, ValueError, ["data", "positive definite", "column 1"]),
        (-INDEFINITE, {}, ValueError, ["data", "variances", "-1"]),
        (DATA, {}, ValueError, ["data", "(..., 2, 2)", "(20, 2)"]),
        (STATISTICS, {}, TypeError, ["data", "Tensor", "SufficientStatistics"]),
        (INDEFINITE / 0, {}, ValueError, ["data", "finite", "inf"]),
        (torch.eye(2).expand(3, 2, 2), {}, ValueError, ["data", "batch shape ()", "(3,)"]),
        (torch.eye(2), {"batch_size": 1}, ValueError, ["batch_size", "None", "got 1"]),
    ],
)
def test_bad_targets_are_named(target, options, error, words):
    model = CovarianceLearner(2, **DOUBLE)
    model.scale.assign(random_gaussian(2).scale_tril)
    fails(model, target, options, error, words)


def test_a_model_is_asked_for():
    with pytest.raises(TypeError, match="model: expected a CovarianceLearner .* got Linear"):
        fit(torch.nn.Linear(2, 2), DATA)


@pytest.mark.parametrize("batch_size", [None, 7, 20])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_learning_rate_that_diverges_is_reported(kind, batch_size):
    options = {"optimizer": lambda p: kind(p, lr=1e3), "batch_size": batch_size}
    words = ["fit:", kind.__name__, "left the finite numbers by step", "learning rate"]
    fails(GaussianLikelihood(2, **DOUBLE), DATA, options, FloatingPointError, words)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e4, -1e4])
def test_divergence_between_two_records_is_reported_too(value):
    """Step 3 is not recorded in mini-batches: the loss of step 4 is the first to see it."""

    class Dying(torch.optim.SGD):
        steps = 0

        def step(self, closure=None):
            super().step(closure)
            self.steps += 1
            if self.steps == 3:
                self.param_groups[0]["params"][0].data.fill_(value)

    model = GaussianLikelihood(2, **DOUBLE)
    options = {"optimizer": Dying([model.scale.log_diagonal], lr=0.0), "batch_size": 2}
    words = ["fit: Dying left the finite numbers by step 3"]
    fails(model, DATA, options, FloatingPointError, words)


def test_an_error_of_an_optimizer_stays_what_it_is():
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            raise ValueError("broken")

    model = GaussianLikelihood(2, **DOUBLE)
    fails(model, DATA, {"optimizer": Broken}, ValueError, ["broken"])


def test_a_loss_that_is_not_finite_before_the_first_step_is_told():
    model = GaussianLikelihood(2, dtype=torch.float64)
    with torch.no_grad():
        model.scale.log_diagonal.fill_(-700.0)
    with pytest.raises(ValueError, match="^model, data: .* got a gap of inf before the first step"):
        fit(model, two_correlated(20).double(), optimizer="adam")


def test_a_batch_of_no_rows_at_a_later_epoch_is_named():
    class Batches:
        n_passes = 0

        def __iter__(self):
            self.n_passes += 1
            data = two_correlated(20).double()
            return iter([data, data if self.n_passes == 1 else data[:0]])

    model = GaussianLikelihood(2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^number of rows of data\[1\]: expected a whole number"):
        fit(model, Batches(), optimizer="adam", max_steps=9)


def test_a_model_is_not_fitted_in_float64_where_the_device_has_none(monkeypatch):
    monkeypatch.setattr(training, "widest_dtype", lambda device: torch.float32)
    with pytest.raises(ValueError, match="^device: expected one that computes in float64"):
        fit(GaussianLikelihood(2, dtype=torch.float64), two_correlated(20).double())
    fit(GaussianLikelihood(2, dtype=torch.float32), two_correlated(20).float(), max_steps=1)
