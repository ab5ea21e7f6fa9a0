"""The data sets are what they say, and drawing them changes nothing else."""

from __future__ import annotations

import pytest
import torch
from sklearn import datasets

import helpers.datasets
from helpers import covariance_standard_error, load_dataset, mean_standard_error, two_correlated

SHAPES = {
    "breast_cancer": (569, 30),
    "diabetes": (442, 10),
    "digits": (1797, 64),
    "iris": (150, 4),
    "linnerud": (20, 3),
    "wine": (178, 13),
}


@pytest.mark.parametrize("name", SHAPES)
def test_real_data_are_those_of_scikit_learn(name):
    loaded = load_dataset(name)
    peer = getattr(datasets, f"load_{name}")()
    assert loaded.data.shape == SHAPES[name]
    assert loaded.data.dtype == torch.float64
    assert loaded.data.tolist() == peer.data.tolist()
    assert loaded.target.tolist() == peer.target.tolist()
    assert loaded.columns == list(peer.feature_names)
    loaded.data.zero_()  # a reader's own copy
    assert load_dataset(name).data.abs().sum() > 0


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"name: expected one of breast_cancer, .*wine, got 'irs'"):
        load_dataset("irs")


def test_the_draws_are_those_of_the_starting_point():
    torch.manual_seed(42)
    truth = torch.distributions.MultivariateNormal(
        torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.5], [0.5, 2.0]])
    )
    data = truth.sample((1000,))
    assert torch.equal(two_correlated(1000, dtype=torch.float32), data)
    assert torch.equal(two_correlated(1000), data.double())
    assert not torch.equal(two_correlated(1000, seed=1), data.double())


def test_drawing_leaves_the_global_seed_and_obeys_no_default(monkeypatch):
    state = torch.random.get_rng_state()
    first = two_correlated(5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(two_correlated(5), first)
    finally:
        torch.set_default_dtype(torch.float32)
    assert two_correlated(5, dtype=torch.float32).dtype == torch.float32


def test_the_truth_is_the_truth():
    data = two_correlated(100_000)
    loc, covariance = torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.5], [0.5, 2.0]])
    # Five standard errors: none of five numbers exceeds them by chance, once in a million draws.
    assert ((data.mean(0) - loc).abs() < 5 * mean_standard_error(covariance, 100_000)).all()
    error = (torch.cov(data.T) - covariance).abs()
    assert (error < 5 * covariance_standard_error(covariance, 100_000)).all()


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (2.5, TypeError), (None, TypeError)])
def test_the_number_of_samples_is_checked(n, error):
    with pytest.raises(error, match="n: expected a whole number"):
        two_correlated(n)


def test_the_largest_number_of_samples_is_that_of_a_tensor_of_two_columns(monkeypatch):
    monkeypatch.setattr(helpers.datasets, "LARGEST_SIZE", 11)
    assert two_correlated(5).shape == (5, 2)
    with pytest.raises(ValueError, match=r"n: expected a whole number from 1 to 5, got 6$"):
        two_correlated(6)


def test_every_seed_from_zero_draws_its_own():
    assert not torch.equal(two_correlated(3, seed=0), two_correlated(3, seed=1))
    with pytest.raises(ValueError, match=r"seed: expected a whole number at least 0, got -1"):
        two_correlated(3, seed=-1)


def test_drawing_asks_for_no_gpu(monkeypatch):
    def asked() -> int:
        raise AssertionError("a GPU was asked for")

    monkeypatch.setattr(torch.cuda, "device_count", asked)
    assert two_correlated(3).shape == (3, 2)
