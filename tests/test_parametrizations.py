"""The log-Cholesky map: as many numbers as it needs, and back again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BATCH_SHAPES, DTYPES, dims, eps, random_gaussian, random_samples, seeds

from helpers import LogCholesky, log_cholesky, log_cholesky_inverse


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_new_factor_is_the_identity_without_spare_parameters(dim, batch_shape, dtype):
    module = LogCholesky(dim, batch_shape, dtype=dtype)
    scale_tril = module()
    assert torch.equal(scale_tril, torch.eye(dim, dtype=dtype).expand(*batch_shape, dim, dim))
    elements = torch.Size(batch_shape).numel()
    assert sum(p.numel() for p in module.parameters()) == elements * dim * (dim + 1) // 2
    scale_tril.sum().backward()
    assert all((p.grad != 0).all() for p in module.parameters())  # none of them is dead


def test_the_map_by_hand():
    ours = log_cholesky(torch.tensor([0.0, 1.0, -1.0]), torch.tensor([2.0, 3.0, 4.0]))
    e = torch.tensor(1.0).exp()
    assert torch.equal(
        ours, torch.tensor([[1, 0, 0], [2, e, 0], [3, 4, (-torch.tensor(1.0)).exp()]])
    )


@given(dims, seeds, st.sampled_from(DTYPES), st.sampled_from(BATCH_SHAPES))
def test_there_and_back(dim, seed, dtype, batch_shape):
    log_diagonal = random_samples(*batch_shape, dim, seed=seed, dtype=dtype) * 5
    below = random_samples(*batch_shape, dim * (dim - 1) // 2, seed=seed + 1, dtype=dtype) * 100
    scale_tril = log_cholesky(log_diagonal, below)
    assert scale_tril.dtype == dtype
    assert (scale_tril.triu(1) == 0).all()
    back, same = log_cholesky_inverse(scale_tril)
    assert torch.equal(same, below)
    # One rounding of exp, relative, is one of its logarithm, absolute; and one of the logarithm.
    torch.testing.assert_close(back, log_diagonal, rtol=2 * eps(dtype), atol=2 * eps(dtype))


def test_the_jacobian():
    """dL_ii / da_i = L_ii, dL_ij / db_ij = 1, and nothing else."""
    a, b = random_samples(3, seed=1), random_samples(3, seed=2)
    of_a, of_b = torch.autograd.functional.jacobian(log_cholesky, (a, b))
    expected_a, expected_b = torch.zeros(3, 3, 3).double(), torch.zeros(3, 3, 3).double()
    for i in range(3):
        expected_a[i, i, i] = a[i].exp()
    for k, (i, j) in enumerate([(1, 0), (2, 0), (2, 1)]):
        expected_b[i, j, k] = 1
    assert torch.equal(of_a, expected_a)
    assert torch.equal(of_b, expected_b)
    assert torch.autograd.gradcheck(log_cholesky, (a.requires_grad_(), b.requires_grad_()))


def test_the_map_stays_on_the_device_of_its_numbers():
    """Whatever torch.set_default_device says: here it names one that holds no numbers."""
    log_diagonal, below = torch.zeros(2), torch.full((1,), 3.0)
    with torch.device("meta"):
        scale_tril = log_cholesky(log_diagonal, below)
        back = log_cholesky_inverse(scale_tril)
    assert scale_tril.tolist() == [[1, 0], [3, 1]]
    assert [part.tolist() for part in back] == [[0, 0], [3]]


@pytest.mark.parametrize(
    ("largest", "larger"), [((2**20,), (2**20 + 1,)), ((2, (2, 2**37)), (2, (2, 2**37 + 1)))]
)
def test_a_factor_has_as_many_numbers_as_a_tensor_may_have(largest, larger):
    with torch.device("meta"):  # which holds none of them
        assert LogCholesky(*largest).log_diagonal.shape[-1] == largest[0]
        with pytest.raises(ValueError, match="^dim, batch_shape: expected at most 1099511627776 "):
            LogCholesky(*larger)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_a_factor_can_be_assigned(batch_shape):
    scale_tril = random_gaussian(3, batch_shape).scale_tril
    module = LogCholesky(3, batch_shape, dtype=torch.float64)
    before = scale_tril.clone()
    module.assign(scale_tril)
    torch.testing.assert_close(
        module(), scale_tril, rtol=1e-15, atol=0
    )  # exp of log: two roundings
    assert torch.equal(scale_tril, before)
    assert all(p.requires_grad for p in module.parameters())
    module.assign(torch.eye(3).double())  # one for all
    assert torch.equal(module(), torch.eye(3).double().expand(*batch_shape, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: LogCholesky(0), ValueError, ["dim", "at least 1", "0"]),
        (lambda: LogCholesky(2.0), TypeError, ["dim", "whole number", "2.0"]),
        (lambda: LogCholesky(2, (-1,)), ValueError, ["batch_shape", "at least 0", "-1"]),
        (
            lambda: log_cholesky(torch.zeros(()), torch.zeros(0)),
            ValueError,
            ["log_diagonal", "(..., d)", "()"],
        ),
        (
            lambda: log_cholesky(torch.zeros(3), torch.zeros(2)),
            ValueError,
            ["below_diagonal", "(3,)", "(2,)"],
        ),
        (
            lambda: log_cholesky(torch.zeros(4, 2), torch.zeros(5, 1)),
            ValueError,
            ["below_diagonal", "(4, 1)", "(5, 1)"],
        ),
        (
            lambda: log_cholesky(torch.zeros(2), torch.zeros(1).double()),
            ValueError,
            ["below_diagonal", "float32", "float64"],
        ),
        (
            lambda: log_cholesky([0.0], torch.zeros(0)),
            TypeError,
            ["log_diagonal", "Tensor", "list"],
        ),
        (
            lambda: log_cholesky_inverse(torch.ones(2, 2)),
            ValueError,
            ["scale_tril", "lower-triangular"],
        ),
        (
            lambda: LogCholesky(2).assign(-torch.eye(2)),
            ValueError,
            ["scale_tril", "positive diagonal", "-1"],
        ),
        (
            lambda: LogCholesky(2).assign(torch.eye(3)),
            ValueError,
            ["scale_tril", "(..., 2, 2)", "(3, 3)"],
        ),
        (
            lambda: LogCholesky(2, (4,)).assign(torch.eye(2).expand(3, 2, 2)),
            ValueError,
            ["scale_tril", "(4,)", "(3,)"],
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_numbers_are_taken_though_the_sum_of_their_exponentials_is_too_large():
    log_diagonal = torch.full((2,), 709.7, dtype=torch.float64)  # exp(709.8) is infinite
    factor = log_cholesky(log_diagonal, torch.zeros(1, dtype=torch.float64))
    assert torch.equal(factor.diagonal(), log_diagonal.exp())
