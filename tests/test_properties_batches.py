"""A batch is its elements, for every function and every pair of shapes that go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from strategies import DTYPES, eps, random_gaussian, random_samples, seeds
from torch import Tensor

from helpers import (
    CovarianceLearner,
    Gaussian,
    GaussianLikelihood,
    SufficientStatistics,
    condition,
    covariance_standard_error,
    entropy,
    kl_divergence,
    log_cholesky,
    log_cholesky_inverse,
    log_det,
    log_prob,
    mahalanobis,
    marginal,
    maximum_likelihood,
    mean_log_prob,
    mean_standard_error,
    minimum_nll,
    natural_step,
    natural_turn,
    whiten,
)

# Batches and elements are computed by other kernels, which add up in another order: sums of at
# most 3 + 9 terms, of matrices whose condition is below 100.
ROUNDINGS = 1e4


@dataclass(frozen=True)
class Batched:
    """A function of tensors, each made for a batch shape: `m`ean, `f`actor, `s`amples, ..."""

    call: Callable[..., Tensor | tuple[Tensor, ...]]
    kinds: str
    one_shape: bool = False  # whether the arguments must share one batch shape


def make(kind: str, batch: tuple[int, ...], seed: int, dtype: torch.dtype, dim: int) -> Tensor:
    """An argument of a kind for a batch."""
    gaussian = random_gaussian(dim, batch, seed=seed, dtype=dtype)
    if kind == "m":
        return gaussian.loc
    if kind == "f":
        return gaussian.scale_tril
    if kind == "c":
        return gaussian.covariance_matrix
    if kind == "b":  # below the diagonal
        return random_samples(*batch, dim * (dim - 1) // 2, seed=seed, dtype=dtype)
    rows = {"s": dim + 9, "t": 1, "z": 0}[kind]
    return random_samples(*batch, rows, dim, seed=seed, dtype=dtype)


def of_statistics(data: Tensor) -> tuple[Tensor, ...]:
    statistics = SufficientStatistics.from_data(data)
    return statistics.count, statistics.mean, statistics.scatter


def of_halves(data: Tensor) -> tuple[Tensor, ...]:
    first, second = data.tensor_split([4], dim=-2)
    both = SufficientStatistics.from_data(first).merge(SufficientStatistics.from_data(second))
    return both.count, both.mean, both.scatter, both.covariance_matrix(correction=1)


def likelihood_of(loc: Tensor, scale_tril: Tensor, data: Tensor) -> tuple[Tensor, ...]:
    model = GaussianLikelihood(loc.shape[-1], loc.shape[:-1], dtype=loc.dtype)
    model.assign(loc, scale_tril)
    return model(data), model.log_prob(data), model.covariance_matrix


def error_of(scale_tril: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    model = CovarianceLearner(scale_tril.shape[-1], scale_tril.shape[:-2], dtype=scale_tril.dtype)
    model.scale.assign(scale_tril)
    return model(target), model.scale_tril


FUNCTIONS = {
    "log_det": Batched(log_det, "f"),
    "entropy": Batched(entropy, "f"),
    "mahalanobis": Batched(mahalanobis, "smf"),
    "mahalanobis of one": Batched(mahalanobis, "tmf"),
    "log_prob": Batched(log_prob, "smf"),
    "log_prob of none": Batched(log_prob, "zmf"),
    "kl_divergence": Batched(
        lambda m, f, n, g: kl_divergence(Gaussian(m, f), Gaussian(n, g)), "mfmf"
    ),
    "marginal": Batched(lambda m, f: tuple(marginal(Gaussian(m, f), [1, 0])), "mf"),
    "condition": Batched(
        lambda m, f, v: tuple(condition(Gaussian(m, f), [2, 0], v[..., :2])), "mfm"
    ),
    "mean_log_prob": Batched(mean_log_prob, "smf", one_shape=True),
    "mean_log_prob of statistics": Batched(
        lambda s, m, f: mean_log_prob(SufficientStatistics.from_data(s), m, f), "smf", True
    ),
    "whiten": Batched(whiten, "cf"),
    "natural_step": Batched(natural_step, "fc"),
    "natural_turn": Batched(natural_turn, "c"),
    "log_cholesky": Batched(log_cholesky, "mb", one_shape=True),
    "log_cholesky_inverse": Batched(log_cholesky_inverse, "f"),
    "SufficientStatistics": Batched(of_statistics, "s"),
    "SufficientStatistics of none": Batched(of_statistics, "z"),
    "SufficientStatistics.merge": Batched(of_halves, "s"),
    "maximum_likelihood": Batched(lambda s: tuple(maximum_likelihood(s)), "s"),
    "minimum_nll": Batched(minimum_nll, "s"),
    "mean_standard_error": Batched(lambda c: mean_standard_error(c, 7), "c"),
    "covariance_standard_error": Batched(lambda c: covariance_standard_error(c, 7), "c"),
    "GaussianLikelihood": Batched(likelihood_of, "mfs", one_shape=True),
    "CovarianceLearner": Batched(error_of, "fc", one_shape=True),
}
TRAILING = {"m": 1, "f": 2, "c": 2, "b": 1, "s": 2, "t": 2, "z": 2}


def as_tuple(answer: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def assert_is_its_elements(function: Batched, arguments: list[Tensor]) -> None:
    """The whole batch in one call, and every element in a call of its own."""
    answers = as_tuple(function.call(*arguments))
    trailing = [
        x.shape[x.dim() - TRAILING[k] :] for k, x in zip(function.kinds, arguments, strict=True)
    ]
    batch = torch.broadcast_shapes(
        *(x.shape[: x.dim() - len(own)] for own, x in zip(trailing, arguments, strict=True))
    )
    expanded = [x.broadcast_to(*batch, *own) for own, x in zip(trailing, arguments, strict=True)]
    for index in np.ndindex(*batch):
        alone = as_tuple(function.call(*(x[index] for x in expanded)))
        for answer, expected in zip(answers, alone, strict=True):
            # What does not depend on an argument need not have its batch shape.
            ours = torch.broadcast_to(answer, (*batch, *expected.shape))[index]
            assert ours.dtype == expected.dtype
            tolerance = ROUNDINGS * eps(expected.dtype) if expected.is_floating_point() else 0
            torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def shapes_for(function: Batched) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    """Batch shapes that go together, of up to two dimensions with sides from 0 to 3."""
    number = len(function.kinds)
    if function.one_shape:
        sides = st.lists(st.integers(0, 3), max_size=2).map(tuple)
        return sides.map(lambda shape: (shape,) * number)
    return mutually_broadcastable_shapes(num_shapes=number, max_dims=2, min_side=0, max_side=3).map(
        lambda found: found.input_shapes
    )


@pytest.mark.parametrize("name", FUNCTIONS)
@given(data=st.data(), seed=seeds, dtype=st.sampled_from(DTYPES))
@settings(max_examples=max(10, settings().max_examples // 3))
def test_a_batch_is_its_elements(name, data, seed, dtype):
    function = FUNCTIONS[name]
    shapes = data.draw(shapes_for(function))
    arguments = [
        make(kind, shape, seed + i, dtype, dim=3)
        for i, (kind, shape) in enumerate(zip(function.kinds, shapes, strict=True))
    ]
    assert_is_its_elements(function, arguments)


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"marginal", "condition"}))
@pytest.mark.parametrize(("dim", "batch"), [(1, 61), (2, 241)])
def test_many_small_ones_are_each_its_own(name, dim, batch):
    """Enough elements for the ways that only many of them take; a few are looked at."""
    function = FUNCTIONS[name]
    arguments = [
        make(kind, (batch,), i, torch.float64, dim) for i, kind in enumerate(function.kinds)
    ]
    answers = as_tuple(function.call(*arguments))
    for index in (0, batch // 2, batch - 1):
        alone = as_tuple(function.call(*(x[index] for x in arguments)))
        for answer, expected in zip(answers, alone, strict=True):
            tolerance = ROUNDINGS * eps(torch.float64)
            torch.testing.assert_close(answer[index], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["mean_log_prob", "GaussianLikelihood", "CovarianceLearner"])
@given(st.lists(st.integers(1, 2), max_size=2), st.integers(0, 2), seeds)
@settings(max_examples=max(10, settings().max_examples // 3))
def test_data_without_a_batch_serve_every_model(name, batch, dropped, seed):
    function = FUNCTIONS[name]
    data_kind = "c" if name == "CovarianceLearner" else "s"
    arguments = [
        make(k, tuple(batch[dropped:] if k == data_kind else batch), seed + i, torch.float64, 3)
        for i, k in enumerate(function.kinds)
    ]
    assert_is_its_elements(function, arguments)
