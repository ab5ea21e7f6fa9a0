"""Mini-batches and batches of Gaussians over ranks: the same as in one process, on every rank."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from ranks import MEMBERS, Failed
from torch import Tensor, nn
from torch.utils.data import Dataset, DistributedSampler, TensorDataset

import helpers
from helpers.distributed.batches import fit_batches
from helpers.distributed.parallel import LossHistory, fit_data_parallel, shares_of_batches

# Sums over a batch are taken in another order on other numbers of ranks. Adam divides by the root
# of squared gradients and so hands a rounding on at its size; 25 steps add a few of them up.
RTOL = 1e-11
# Each Gaussian takes the same steps on its own, in batches of other sizes.
BATCHES_RTOL = 1e-12


def samples(n: int, d: int = 3, seed: int = 0) -> Tensor:
    """Correlated rows, (n, d)."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing + 2.0


class Network(nn.Module):
    """A network that predicts where y lies from x: no statistics of the rows stand for them."""

    def __init__(self, mean: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.hidden, self.out = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
        self.mean = mean
        with torch.no_grad():
            for each in self.parameters():
                each.copy_(torch.randn(each.shape, generator=generator, dtype=torch.float64) / 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        loss = (y - self.out(self.hidden(x).tanh())).square().sum(dim=-1)  # (k,)
        return loss.mean() if self.mean else loss


def gaussian() -> helpers.GaussianLikelihood:
    return helpers.GaussianLikelihood(3, dtype=torch.float64)


def pairs(n: int) -> TensorDataset:
    rows = samples(n, 5)
    return TensorDataset(rows[:, :3], rows[:, 3:])


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.02, momentum=0.5)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.02)


def numbers(model: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([each.detach().flatten() for each in model.parameters()])


# One process --------------------------------------------------------------------------------------


def by_hand(
    model: nn.Module, parts: tuple[Tensor, ...], batch_size: int, make: Any, n_steps: int, seed: int
) -> Tensor:
    """The same training as a plain loop, without any of the code that is tested."""
    optimizer = make(model.parameters())
    n, step, epoch = len(parts[0]), 0, 0
    while True:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch))
        for start in range(0, n, batch_size):
            index = order[start : start + batch_size]
            optimizer.zero_grad()
            model(*(part[index] for part in parts)).mean().backward()
            optimizer.step()
            step += 1
            if step == n_steps:
                return numbers(model)
        epoch += 1


# Rows and batch: divisible by every world and by none, fewer rows than ranks, fewer rows in a batch
# than ranks, a last batch of one row, everything in one batch.
SIZES = [(24, 8), (23, 5), (3, 2), (7, 1), (9, 4), (6, 6)]
N_STEPS = 25
WORLDS = sorted(MEMBERS)


def train_gaussian(n: int, batch_size: int, group: Any) -> Tensor:
    model = gaussian()
    how = {"batch_size": batch_size, "optimizer": adam, "max_steps": N_STEPS, "seed": 3}
    fit_data_parallel(model, samples(n), **how, group=group, progress=False)
    return numbers(model)


def train_network(n: int, batch_size: int, mean: bool, group: Any) -> Tensor:
    model = Network(mean)
    if group is not None and dist.get_rank(group):
        with torch.no_grad():
            model.out.bias += 1.0  # ranks start from what rank 0 has
    how = {"batch_size": batch_size, "optimizer": sgd, "max_steps": N_STEPS, "seed": 3}
    fit_data_parallel(model, pairs(n), **how, group=group, progress=False)
    return numbers(model)


def everything(sizes: list[tuple[int, int]], group: Any) -> list[Tensor]:
    found = [train_network(*size, mean, group) for size in sizes for mean in (False, True)]
    return found + [train_gaussian(*size, group) for size in sizes if size[0] > 3]


@pytest.fixture(scope="module")
def one_process() -> list[Tensor]:
    """What plain loops learn, in the order of `everything`."""
    found = []
    for n, batch_size in SIZES:
        expected = by_hand(Network(), pairs(n).tensors, batch_size, sgd, N_STEPS, seed=3)
        found += [expected, expected]
    for n, batch_size in SIZES:
        if n > 3:
            found.append(by_hand(gaussian(), (samples(n),), batch_size, adam, N_STEPS, seed=3))
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_mini_batches_are_those_of_one_process_with_the_global_batch(four, one_process, world):
    outcomes = four.run(world, everything, SIZES)
    for outcome in outcomes:
        assert not isinstance(outcome, Failed), outcome
        for found, first, expected in zip(outcome, outcomes[0], one_process, strict=True):
            assert torch.equal(found, first)  # no rank goes its own way
            torch.testing.assert_close(found, expected, rtol=RTOL, atol=RTOL)


def test_without_a_process_group_it_is_a_plain_loop(one_process):
    for found, expected in zip(everything(SIZES, None), one_process, strict=True):
        torch.testing.assert_close(found, expected, rtol=RTOL, atol=RTOL)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 45), st.integers(0, 5), st.booleans())
def test_every_row_is_in_one_batch_of_one_rank(n, size, batch_size, epoch, shuffle):
    """The batches of the ranks together are those that one process cuts from the same order."""
    batch_size = min(batch_size, n)
    ways = []
    for rank in range(size):
        sampler = DistributedSampler(range(n), size, rank, shuffle=shuffle, seed=4)
        sampler.set_epoch(epoch)
        ways.append(shares_of_batches(sampler, n, batch_size))
    order = torch.arange(n)
    if shuffle:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(4 + epoch))
    for i, batch in enumerate(order.split(batch_size)):
        shared = [row for shares in ways for row in shares[i]]
        assert sorted(shared) == sorted(batch.tolist())
    assert {len(shares) for shares in ways} == {math.ceil(n / batch_size)}


# What comes back ----------------------------------------------------------------------------------


def histories(group: Any) -> list[Any]:
    how = {"batch_size": 8, "max_steps": 12, "group": group, "progress": False}
    return [
        fit_data_parallel(gaussian(), samples(30), **how),
        fit_data_parallel(Network(), pairs(30), **how),
    ]


def test_the_history_tells_of_all_the_data(four):
    outcomes = four.run("4", histories)
    exact, unknown = outcomes[0]
    for history in (exact, unknown):
        assert history.step.tolist() == [0, 1, 2, 4, 8, 12]  # four batches in an epoch
        assert history.count == 30
        assert history.time.diff().min() > 0
        assert "Adam" in str(history)
    assert isinstance(exact, helpers.History)
    torch.testing.assert_close(exact.loss[0], gaussian()(samples(30)).detach())
    gap = exact.loss - helpers.minimum_nll(samples(30))
    torch.testing.assert_close(exact.gap, gap, rtol=0, atol=1e-12)
    assert exact.verdict is not None
    assert isinstance(unknown, LossHistory)
    start = Network()(*pairs(30).tensors).mean().detach()
    torch.testing.assert_close(unknown.loss[0], start)
    assert unknown.loss[-1] < unknown.loss[0]
    assert f"{unknown.loss[-1]:.6g}" in str(unknown)
    for other in outcomes[1:]:
        assert all(torch.equal(a.loss, b.loss) for a, b in zip(other, outcomes[0], strict=True))


def ways_to_hold_data(folder: str, group: Any) -> list[Tensor]:
    rows = samples(20)
    mapped = np.memmap(Path(folder) / "rows", dtype=np.float64, mode="r", shape=(20, 3))
    found = []
    for data in (rows, rows.numpy(), mapped, TensorDataset(rows), rows.float()):
        model = gaussian()
        how = {"batch_size": 6, "optimizer": adam, "max_steps": 9}
        fit_data_parallel(model, data, **how, group=group, progress=False)
        found.append(numbers(model))
    return found


def test_data_may_be_a_tensor_an_array_a_file_or_a_dataset(four, tmp_path):
    samples(20).numpy().tofile(tmp_path / "rows")
    first, *same, narrow = four.run("2", ways_to_hold_data, str(tmp_path))[0]
    assert all(torch.equal(each, first) for each in same)
    torch.testing.assert_close(narrow, first, rtol=1e-4, atol=1e-5)  # rounded to float32
    assert not torch.equal(narrow, first)


def alone_afterwards(group: Any) -> Tensor | None:
    model = Network()
    fit_data_parallel(model, pairs(12), batch_size=4, max_steps=3, group=group, progress=False)
    if dist.get_rank(group):
        return None  # and never meets the others again
    model(*pairs(5).tensors).mean().backward()
    return numbers(model)


def test_afterwards_the_model_is_a_plain_one_again(four):
    """A hook of DistributedDataParallel left behind would wait for ranks that do other things."""
    found, other = four.run("2", alone_afterwards)
    assert isinstance(found, Tensor)
    assert other is None


class Idle(Network):
    """A network with a parameter that its loss does not ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))


def train_idle(group: Any) -> Tensor:
    model = Idle()
    how = {"batch_size": 5, "optimizer": sgd, "max_steps": N_STEPS, "seed": 3}
    fit_data_parallel(model, pairs(12), **how, group=group, progress=False)
    return numbers(model)


def test_a_parameter_that_the_loss_does_not_ask_for_stays_as_it_is(four):
    expected = by_hand(Idle(), pairs(12).tensors, 5, sgd, N_STEPS, seed=3)
    for found in four.run("2", train_idle):
        torch.testing.assert_close(found, expected, rtol=RTOL, atol=RTOL)


class Moody(Network):
    """A network whose parts are in modes of their own, with a layer that acts in one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.hidden.eval()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(self.drop(x), y)


def test_the_loss_of_a_record_is_that_of_evaluation_and_modes_stay_as_they_were():
    model = Moody()
    before = [part.training for part in model.modules()]
    expected = Network()(*pairs(12).tensors).mean().item()  # which drops nothing
    history = fit_data_parallel(model, pairs(12), batch_size=4, max_steps=2)
    assert history.loss[0].item() == pytest.approx(expected, rel=1e-12)
    assert [part.training for part in model.modules()] == before


# Refusals: on every rank, and none waits --------------------------------------------------------


class Fails(nn.Module):
    """A loss of a shape that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Constant(Fails):
    """A loss that no parameter changes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=-1)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self) -> Any:
        return iter([])


class Words(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> str:
        return "word"


def diverging(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e200)


SPOILT = samples(20).clone()
SPOILT[17, 1] = math.nan
# What only one rank is given, and what every rank says.
REFUSALS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "batch": (ValueError, "batch_size: expected a whole number from 1 to 20", {"batch_size": 21}),
    "other batch": (ValueError, "batch_size: expected the same on every rank", {"batch_size": 5}),
    "other seed": (ValueError, "seed: expected the same on every rank, got 0", {"seed": 9}),
    "other rows": (ValueError, "data: .* 20 rows on rank 0 and 19 rows", {"data": samples(19)}),
    "nan": (
        ValueError,
        r"data: expected finite values, got nan at index \(17, 1\)",
        {"data": SPOILT},
    ),
    "shape": (ValueError, r"data: expected shape \(n, d\)", {"data": samples(20)[None]}),
    "width": (ValueError, "data: expected shape", {"data": samples(20, 4)}),
    "endless": (TypeError, "data: expected a Dataset that has a length", {"data": Endless()}),
    "words": (TypeError, "data: expected items that are tensors", {"data": Words()}),
    "loss": (ValueError, r"model: expected a loss of shape \(\) or \(2,\)", {"model": Fails()}),
    "constant": (
        ValueError,
        "model: expected a loss that depends on parameters",
        {"model": Constant()},
    ),
    "arguments": (
        ValueError,
        "model, data: expected a model that can be called with rows .* Network, which says",
        {"model": Network()},
    ),
    "frozen": (
        ValueError,
        "model: expected parameters that require gradients",
        {"model": Fails().requires_grad_(False)},
    ),
    "learner": (
        TypeError,
        "model: expected one that maps rows to a loss, got CovarianceLearner",
        {"model": helpers.CovarianceLearner(3)},
    ),
    "batch of models": (
        ValueError,
        r"model: expected batch shape \(\), got \(2,\); fit_batches",
        {"model": helpers.GaussianLikelihood(3, (2,))},
    ),
    "natural": (ValueError, "optimizer: expected 'adam'", {"optimizer": "natural"}),
    "progress": (TypeError, "progress: expected True, False or None", {"progress": "yes"}),
}


def refused(case: str, guilty: int, group: Any) -> Tensor:
    """Call with what is bad on one rank; the error, or what the model is after it."""
    arguments = {"model": gaussian(), "data": samples(20), "batch_size": 8, "progress": False}
    if dist.get_rank(group) == guilty:
        arguments.update(REFUSALS[case][2])
    before = numbers(arguments["model"])
    try:
        fit_data_parallel(**arguments, max_steps=2, group=group)
    finally:
        assert torch.equal(numbers(arguments["model"]), before)
    return before


@pytest.mark.parametrize("case", REFUSALS)
def test_what_one_rank_refuses_every_rank_refuses(four, case):
    kind, message, _ = REFUSALS[case]
    for failed in four.run("2", refused, case, 1):
        assert isinstance(failed, Failed), case
        assert failed.kind == kind.__name__, failed
        assert re.search(message, failed.message), failed


def diverge(group: Any) -> None:
    model = gaussian()
    before = numbers(model)
    try:
        fit_data_parallel(
            model, samples(20), batch_size=8, optimizer=diverging, group=group, progress=False
        )
    finally:
        assert torch.equal(numbers(model), before)


def test_training_that_leaves_the_finite_numbers_ends_on_every_rank(four):
    for failed in four.run("4", diverge):
        assert failed.kind == "FloatingPointError", failed
        assert "SGD left the finite numbers by step" in failed.message


def test_an_optimiser_that_calls_a_closure_is_refused():
    with pytest.raises(ValueError, match="optimizer: expected one that asks for one gradient"):
        fit_data_parallel(gaussian(), samples(20), batch_size=8, optimizer=torch.optim.LBFGS)


# Batches of Gaussians ----------------------------------------------------------------------------


def batch(n_gaussians: int, n: int = 12) -> Tensor:
    """Samples of several Gaussians, (B, n, 3), some of them much larger than others."""
    sizes = torch.logspace(-3, 3, n_gaussians, dtype=torch.float64)
    return torch.stack([size * samples(n, seed=i) for i, size in enumerate(sizes)])


def many(*batch_shape: int, dtype: torch.dtype = torch.float64) -> helpers.GaussianLikelihood:
    return helpers.GaussianLikelihood(3, batch_shape, dtype=dtype)


def cases(folder: str) -> dict[str, tuple[helpers.GaussianLikelihood, Any, dict[str, Any]]]:
    """Models, data and how to fit, by name."""
    mapped = np.memmap(Path(folder) / "rows", dtype=np.float64, mode="r", shape=(7, 12, 3))
    statistics = helpers.SufficientStatistics.from_data(batch(6))
    two = batch(6).reshape(3, 2, 12, 3)
    return {
        "even": (many(8), batch(8), {}),
        "uneven": (many(7), batch(7), {}),
        "fewer than ranks": (many(3), batch(3), {}),
        "one": (many(1), batch(1), {}),
        "statistics": (many(6), statistics, {}),
        "array": (many(6), batch(6).numpy(), {}),
        "file": (many(7), mapped, {}),
        "two dimensions": (many(3, 2), two, {}),
        "one set for all": (many(5), samples(12), {}),
        "one set of each row": (many(3, 2), two[0], {}),
        "autograd": (many(5), batch(5), {"optimizer": "natural-autograd"}),
        "adam": (many(5), batch(5), {"optimizer": "adam", "max_steps": 40}),
        "stopped": (many(5), batch(5), {"max_steps": 1}),
    }


def fit_all(folder: str, group: Any) -> dict[str, tuple[Tensor, helpers.History]]:
    found = {}
    for name, (model, data, how) in cases(folder).items():
        history = fit_batches(model, data, **how, group=group, progress=False)
        found[name] = (numbers(model), history)
    return found


@pytest.fixture
def with_rows(tmp_path) -> str:
    batch(7).numpy().tofile(tmp_path / "rows")
    return str(tmp_path)


def same_as_fit(found: dict[str, tuple[Tensor, helpers.History]], folder: str) -> None:
    """Compare with one process that fits the whole batch."""
    for name, (model, data, how) in cases(folder).items():
        expected = helpers.fit(model, data, **how)
        learnt, history = found[name]
        torch.testing.assert_close(
            learnt,
            numbers(model),
            rtol=BATCHES_RTOL,
            atol=BATCHES_RTOL,
            msg=lambda m, n=name: n + m,
        )
        for part in ("step", "loss"):
            torch.testing.assert_close(getattr(history, part), getattr(expected, part))
        torch.testing.assert_close(history.gap, expected.gap, rtol=1e-6, atol=1e-12)
        for part in ("optimizer", "device", "converged", "dim", "count"):
            assert getattr(history, part) == getattr(expected, part), name


@pytest.mark.parametrize("world", WORLDS)
def test_batches_over_ranks_are_what_one_process_learns(four, with_rows, world):
    outcomes = four.run(world, fit_all, with_rows)
    for outcome in outcomes:
        assert not isinstance(outcome, Failed), outcome
        same_as_fit(outcome, with_rows)
        for name, (learnt, history) in outcome.items():
            first, first_history = outcomes[0][name]
            assert torch.equal(learnt, first)
            for part in ("step", "loss", "gap", "time"):
                assert torch.equal(getattr(history, part), getattr(first_history, part))


def test_without_a_process_group_batches_are_fitted_here(with_rows):
    same_as_fit(fit_all(with_rows, None), with_rows)


def narrow_batch(group: Any) -> Tensor:
    model = many(5, dtype=torch.float32)
    fit_batches(model, batch(5), group=group, progress=False)
    return numbers(model)


def test_a_model_in_float32_stays_one(four):
    model = many(5, dtype=torch.float32)
    helpers.fit(model, batch(5))
    for learnt in four.run("4", narrow_batch):
        # The yardstick is in float64; the parameters are rounded to float32 at every step.
        torch.testing.assert_close(learnt, numbers(model), rtol=1e-6, atol=1e-6)


BAD = batch(6)
BAD[4, 7, 2] = math.inf
CONSTANT = batch(6)
CONSTANT[5, :, 1] = 3.0
REFUSED_BATCHES: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "inf": (
        ValueError,
        r"data: .*inf at index \(1, 7, 2\).*rank 1.* number 3 of the batch",
        {"data": BAD},
    ),
    "constant": (ValueError, "column 1.*on rank 1", {"data": CONSTANT}),
    "shape": (ValueError, "data: expected batch shape", {"data": batch(5)}),
    "other shape": (ValueError, "data: expected the same on every rank", {"data": batch(6, 11)}),
    "batches": (TypeError, "data: expected a Tensor, an array or Suff", {"data": list(batch(6))}),
    "single": (ValueError, r"model: .* got batch shape \(\); fit_shards", {"model": gaussian()}),
    "learner": (
        TypeError,
        "model: expected a GaussianLikelihood, got CovarianceLearner",
        {"model": helpers.CovarianceLearner(3, (6,))},
    ),
    "other model": (
        ValueError,
        "model: expected the same on every rank",
        {"model": many(6).float()},
    ),
    "tol": (ValueError, "tol: expected a finite number above 0", {"tol": 0.0}),
    "lbfgs": (ValueError, "optimizer: expected one of natural, natural-a", {"optimizer": "lbfgs"}),
}


def refused_batch(case: str, guilty: int, group: Any) -> None:
    arguments = {"model": many(6), "data": batch(6), "progress": False}
    if dist.get_rank(group) == guilty:
        arguments.update(REFUSED_BATCHES[case][2])
    before = numbers(arguments["model"])
    try:
        fit_batches(**arguments, group=group)
    finally:
        assert torch.equal(numbers(arguments["model"]), before)


@pytest.mark.parametrize("case", REFUSED_BATCHES)
def test_what_one_rank_refuses_of_a_batch_every_rank_refuses(four, case):
    kind, message, _ = REFUSED_BATCHES[case]
    for failed in four.run("2", refused_batch, case, 1):
        assert isinstance(failed, Failed), case
        assert failed.kind == kind.__name__, failed
        assert re.search(message, failed.message), failed
