"""The yardstick of a fit: what data become, how fine it measures, and in which shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from strategies import random_gaussian, random_samples

from helpers import (
    CovarianceLearner,
    GaussianLikelihood,
    SufficientStatistics,
    fit,
    kl_divergence,
    maximum_likelihood,
    objectives,
)
from helpers.gaussian import solve_for_inverse
from helpers.objectives import LikelihoodObjective, MeanSquaredErrorObjective, make_objective

CPU = torch.device("cpu")
SINGLE = random_samples(40, 2, seed=1).float()


def on_disk(folder):
    file = np.memmap(folder / "data.bin", np.float32, "w+", shape=tuple(SINGLE.shape))
    file[:] = SINGLE.numpy()
    return file


KINDS = {
    "a tensor": lambda folder: SINGLE,
    "an array": lambda folder: SINGLE.numpy(),
    "statistics": lambda folder: SufficientStatistics.from_data(SINGLE, dtype=torch.float32),
    "batches": lambda folder: list(SINGLE.split(10)),
    "a file": on_disk,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_yardstick_is_as_fine_as_the_device_allows(kind, tmp_path, monkeypatch):
    """Also where data and model have float32, and also where the device has nothing wider."""
    data = KINDS[kind](tmp_path)
    fine = LikelihoodObjective(GaussianLikelihood(2), data, CPU)
    assert {each.dtype for each in (fine.statistics.mean, fine.minimum)} == {torch.float64}
    if kind != "statistics":  # which were rounded before
        wide = SINGLE.double()
        exact = (wide - wide.mean(dim=0)).T @ (wide - wide.mean(dim=0))
        # Forty products in float64; sums in float32 are wrong from the eighth digit on.
        torch.testing.assert_close(fine.statistics.scatter, exact, rtol=1e-13, atol=1e-13)
    monkeypatch.setattr(objectives, "widest_dtype", lambda device: torch.float32)
    coarse = LikelihoodObjective(GaussianLikelihood(2), data, CPU)
    assert coarse.statistics.mean.dtype == torch.float32


@pytest.mark.parametrize("kind", ["statistics", "batches", "a file"])
def test_statistics_are_put_on_the_device(kind, tmp_path, monkeypatch):
    devices, move = [], SufficientStatistics.to

    def spy(self, *arguments, **options):
        devices.append(options.get("device"))
        return move(self, *arguments, **options)

    monkeypatch.setattr(SufficientStatistics, "to", spy)
    device = torch.device("cpu:0")
    LikelihoodObjective(GaussianLikelihood(2), KINDS[kind](tmp_path), device)
    assert devices == [device]


def test_the_data_leave_no_graph_in_the_yardstick():
    for data in (SINGLE.clone().requires_grad_(), [SINGLE.clone().requires_grad_()]):
        objective = LikelihoodObjective(GaussianLikelihood(2), data, CPU)
        assert not any(part.requires_grad for part in objective.fingerprint().values())
        assert not objective.minimum.requires_grad


def test_a_scatter_that_is_no_number_is_named():
    statistics = SufficientStatistics.from_data(SINGLE)
    statistics.scatter[0, 1] = math.nan  # after they were made, or they would have been refused
    with pytest.raises(ValueError, match=r"^data\.scatter: .*finite.*nan"):
        LikelihoodObjective(GaussianLikelihood(2), statistics, CPU)


@pytest.mark.parametrize("batch_shape", [(), (3,)])
def test_the_gap_is_a_divergence_whichever_way_it_is_computed(batch_shape):
    data = random_samples(*batch_shape, 40, 2, seed=2) + 1
    model = GaussianLikelihood(2, batch_shape, dtype=torch.float64)
    objective = LikelihoodObjective(model, data, CPU)
    optimum = maximum_likelihood(data)
    for loc in (model.loc.detach() - 3, objective.loc):  # far from the mean, and arrived there
        model.assign(loc, random_gaussian(2).scale_tril.expand(*batch_shape, 2, 2))
        expected = kl_divergence(optimum, model.distribution)
        inverse = solve_for_inverse(model.scale_tril)
        for found in (objective.gap(model), objective.gap(model, inverse)):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert fit(model, data).gap[0].shape == batch_shape


def test_the_first_gap_of_a_natural_fit_knows_the_mean():
    data = random_samples(40, 2, seed=2) + 5
    model = GaussianLikelihood(2, dtype=torch.float64)
    expected = kl_divergence(maximum_likelihood(data), model.distribution)
    assert expected > 10  # with a mean of five standard deviations
    torch.testing.assert_close(fit(model, data).gap[0], expected.detach(), rtol=1e-12, atol=0)


def test_each_target_of_a_batch_has_its_own_gap():
    target = torch.stack([scale * random_gaussian(2).covariance_matrix for scale in (1, 9, 4)])
    model = CovarianceLearner(2, (3,), dtype=torch.float64)
    objective = MeanSquaredErrorObjective(model, target, CPU)
    expected = [np.mean((each.numpy() - np.eye(2)) ** 2) for each in target]
    assert objective.gap(model).tolist() == pytest.approx(expected, rel=1e-13)
    assert objective.minimum.tolist() == [0.0, 0.0, 0.0]
    # A tenth of a billionth of the smallest variance squared is what a fit leaves.
    smallest = min(each[i, i].item() for each in target for i in range(2))
    assert type(objective.unit) is float
    assert objective.unit == pytest.approx(smallest**2, rel=1e-15)


def test_no_target_has_a_unit_all_the_same():
    model = CovarianceLearner(2, (0,), dtype=torch.float64)
    assert MeanSquaredErrorObjective(model, torch.zeros(0, 2, 2).double(), CPU).unit == 1.0


def test_an_objective_is_that_of_a_model():
    with pytest.raises(TypeError, match="model: expected a CovarianceLearner or a .*, got Linear"):
        make_objective(torch.nn.Linear(2, 2), SINGLE, CPU)
