"""Every message names the argument, what was expected and what came."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import two_correlated
from helpers.validation import (
    as_covariance,
    as_device,
    as_dtype,
    as_file,
    as_free_numbers,
    as_gaussian,
    as_loc_and_scale_tril,
    as_samples,
    as_scale_tril,
    as_square,
    as_symmetric,
    as_tensor,
    as_unread_samples,
    cholesky_factor,
    common_batch_shape,
    refuse_overflow,
    require_answer,
    require_broadcastable,
    require_callable,
    require_choice,
    require_count,
    require_counts,
    require_finite,
    require_flag,
    require_number,
    require_same_kind,
    require_semidefinite,
    require_shape,
    require_text,
    require_variance,
    try_cholesky,
)

EYE = torch.eye(2)


def with_value(value: float, index: tuple[int, ...]) -> torch.Tensor:
    tensor = torch.zeros(2, 3, 4)
    tensor[index] = value
    return tensor


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: as_tensor(None, "a"), TypeError, ["a:", "torch.Tensor or numpy.ndarray", "None"]),
        (lambda: as_tensor([1.0], "a"), TypeError, ["a:", "torch.Tensor", "list of numbers"]),
        (lambda: as_tensor("x", "a"), TypeError, ["a:", "torch.Tensor", "str 'x'"]),
        (lambda: as_tensor(EYE.half(), "a"), ValueError, ["a:", "float32 or float64", "float16"]),
        (lambda: as_tensor(EYE.bfloat16(), "a"), ValueError, ["a:", "float64", "bfloat16"]),
        (lambda: as_tensor(EYE.int(), "a"), ValueError, ["a:", "float64", "int32", ".double()"]),
        (
            lambda: as_tensor(EYE.cfloat(), "a"),
            ValueError,
            ["a:", "float64", "complex64; pass its .real"],
        ),
        (lambda: as_tensor(EYE > 0, "a"), ValueError, ["a:", "float64", "bool"]),
        (lambda: as_tensor(np.ones(2, int), "a"), ValueError, ["a:", "float64", "int", "astype"]),
        (
            lambda: as_tensor(np.ones(2, complex), "a"),
            ValueError,
            ["a:", "float64", "complex128; pass its .real"],
        ),
        (lambda: as_tensor(np.array([1, "b"], object), "a"), ValueError, ["a:", "64", "object"]),
        (
            lambda: require_finite(with_value(math.nan, (1, 2, 0)), "a"),
            ValueError,
            ["a:", "nan", "(1, 2, 0)"],
        ),
        (
            lambda: require_finite(with_value(-math.inf, (0, 0, 3)), "a"),
            ValueError,
            ["a:", "-inf", "(0, 0, 3)", "1 such"],
        ),
        (
            lambda: require_finite(torch.full((5,), math.inf), "a"),
            ValueError,
            ["a:", "(0,)", "5 such"],
        ),
        (
            lambda: require_shape(EYE, "a", (3,), "(..., 3)"),
            ValueError,
            ["a:", "(..., 3)", "(2, 2)"],
        ),
        (
            lambda: require_same_kind(a=EYE, b=EYE.double()),
            ValueError,
            ["b:", "float32 like a", "float64"],
        ),
        (
            lambda: require_same_kind(a=EYE, b=EYE.to("meta")),
            ValueError,
            ["b:", "device cpu like a", "meta"],
        ),
        (
            lambda: require_broadcastable(torch.Size([3]), "a", torch.Size([2])),
            ValueError,
            ["a:", "(3,)", "(2,)"],
        ),
        (
            lambda: require_broadcastable(torch.Size([]), "a", torch.Size([2])),
            ValueError,
            ["a:", "()", "(2,)"],
        ),
        (
            lambda: common_batch_shape(a=torch.Size([3]), b=torch.Size([2])),
            ValueError,
            ["b:", "(3,) of a", "(2,)"],
        ),
        (lambda: as_samples(torch.zeros(3), "a"), ValueError, ["a:", "(..., n, dim)", "(3,)"]),
        (
            lambda: as_samples(torch.zeros(3, 0), "a"),
            ValueError,
            ["a:", "at least one column", "(3, 0)"],
        ),
        (
            lambda: as_samples(torch.zeros(3, 4), "a", dim=2),
            ValueError,
            ["a:", "(..., n, 2)", "(3, 4)"],
        ),
        (
            lambda: as_square(torch.zeros(2, 3), "a"),
            ValueError,
            ["a:", "(..., dim, dim)", "(2, 3)"],
        ),
        (
            lambda: as_square(torch.zeros(0, 0), "a"),
            ValueError,
            ["a:", "(..., dim, dim)", "(0, 0)"],
        ),
        (lambda: as_square(EYE, "a", dim=3), ValueError, ["a:", "(..., 3, 3)", "(2, 2)"]),
        (lambda: as_square(EYE / 0, "a"), ValueError, ["a:", "finite", "inf", "(0, 0)"]),
        (
            lambda: as_scale_tril(EYE.flip(0)),
            ValueError,
            ["scale_tril:", "lower-triangular", "above"],
        ),
        (
            lambda: as_scale_tril(EYE * 0.0),
            ValueError,
            ["scale_tril:", "positive diagonal", "got 0"],
        ),
        (lambda: as_gaussian(3, "p"), TypeError, ["p:", "loc and scale_tril", "int 3"]),
        (
            lambda: as_covariance(EYE + EYE.flip(0).triu(), "a"),
            ValueError,
            ["a:", "symmetric", "up to 1"],
        ),
        (lambda: as_covariance(-EYE, "a"), ValueError, ["a:", "variances", "-1"]),
        (lambda: as_device("cuda:99"), ValueError, ["device:", "is there", "cpu", "cuda:99"]),
        (lambda: as_device("abacus"), ValueError, ["device:", "'cpu', 'cuda' or 'mps'", "abacus"]),
        (lambda: as_device([]), ValueError, ["device:", "'cpu'", "[]"]),
        (lambda: as_device("meta"), ValueError, ["device:", "is there", "meta"]),
        (lambda: require_count(1.0, "n"), TypeError, ["n:", "whole number", "float 1.0"]),
        (lambda: require_count(True, "n"), TypeError, ["n:", "whole number", "bool True"]),
        (lambda: require_count(0, "n"), ValueError, ["n:", "at least 1", "got 0"]),
        (lambda: require_count(5, "n", maximum=4), ValueError, ["n:", "from 1 to 4", "got 5"]),
        (lambda: require_count(0, "n", maximum=4), ValueError, ["n:", "from 1 to 4", "got 0"]),
        (lambda: require_count(0, "n", maximum=10**6), ValueError, ["n:", "at least 1, got 0"]),
        (
            lambda: as_tensor(pd.DataFrame({"height": [1.0]}), "x"),
            TypeError,
            ["x:", "got a DataFrame; convert it, for example with .to_numpy()"],
        ),
        (
            lambda: as_tensor([[1.0, 2.0]], "x"),
            TypeError,
            ["x:", "got a list of lists; convert it, for example with torch.tensor(...)"],
        ),
        (lambda: as_tensor((1, 2), "x"), TypeError, ["x:", "got a list of numbers; convert it"]),
        (lambda: as_tensor([], "x"), TypeError, ["x:", "got list []"]),
        (lambda: require_number("1", "x"), TypeError, ["x:", "a number", "str '1'"]),
        (lambda: require_number(True, "x"), TypeError, ["x:", "a number", "bool True"]),
        (lambda: require_number(math.nan, "x"), ValueError, ["x:", "finite number", "nan"]),
        (lambda: require_number(0, "x", above=0), ValueError, ["x:", "above 0", "got 0"]),
        (lambda: require_number(2, "x", above=0, below=1), ValueError, ["x:", "0 and 1", "got 2"]),
        (lambda: require_number(10**400, "x"), ValueError, ["x:", "finite", "got inf"]),
        (lambda: require_count(2**63, "n"), ValueError, ["n:", f"to {2**63 - 1}", f"got {2**63}"]),
        (lambda: require_counts(3, "n"), TypeError, ["n:", "sequence", "int 3"]),
        (lambda: require_counts("12", "n"), TypeError, ["n:", "sequence", "str '12'"]),
        (lambda: require_counts([1, 0], "n"), ValueError, ["n:", "at least 1", "got 0"]),
        (lambda: require_flag(1, "x"), TypeError, ["x:", "True or False", "int 1"]),
        (lambda: require_text(b"a", "x"), TypeError, ["x:", "a string", "bytes b'a'"]),
        (lambda: require_choice("c", "x", ("a", "b")), ValueError, ["x:", "a, b", "'c'"]),
        (lambda: require_callable(3, "x"), TypeError, ["x:", "a function", "int 3"]),
        (lambda: as_file(3, "x"), TypeError, ["x:", "name of a file", "int 3"]),
        (lambda: as_file("", "x"), ValueError, ["x:", "name of a file", "''"]),
        (lambda: as_file(".", "x"), ValueError, ["x:", "name of a file", "'.'"]),
        (lambda: as_dtype(torch.half), ValueError, ["dtype:", "float32 or", "torch.float16"]),
        (lambda: as_dtype("float64"), ValueError, ["dtype:", "torch.float64", "'float64'"]),
        (lambda: as_tensor(EYE.to("meta"), "a"), ValueError, ["a:", "holds", "device meta"]),
        (lambda: as_tensor(EYE.to_sparse(), "a"), ValueError, ["a:", "dense", "sparse_coo"]),
        (lambda: as_tensor(np.ma.ones(2), "a"), TypeError, ["a:", "without a mask", "Masked"]),
        (
            lambda: require_answer(torch.tensor([1.0, math.inf]), "x, y", "sum"),
            ValueError,
            ["x, y:", "whose sum float32 can hold", "got inf"],
        ),
        (
            lambda: require_semidefinite(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "a"),
            ValueError,
            ["a:", "a covariance", "eigenvalue -1"],
        ),
        (
            lambda: as_free_numbers(torch.tensor([800.0]), torch.zeros(0)),
            ValueError,
            ["log_diagonal:", "float32 can hold", "got 800"],
        ),
        (
            lambda: as_free_numbers(torch.tensor([-800.0]), torch.zeros(0)),
            ValueError,
            ["log_diagonal:", "float32 can hold", "got -800"],
        ),
        (
            lambda: as_free_numbers(torch.tensor([[0.0, -800.0], [1.0, 2.0]]), torch.zeros(2, 1)),
            ValueError,
            ["log_diagonal:", "float32 can hold", "got -800"],
        ),
        (
            lambda: as_free_numbers(torch.tensor([0.0, math.nan]), torch.zeros(1)),
            ValueError,
            ["log_diagonal:", "finite values", "nan at index (1,)"],
        ),
        (
            lambda: as_free_numbers(torch.zeros(0), torch.zeros(0)),
            ValueError,
            ["below_diagonal:", "0 variables", "(0,)"],
        ),
        (
            lambda: as_unread_samples(np.ones((3, 2), int), "a"),
            ValueError,
            ["a:", "float32 or float64", "int64"],
        ),
        (
            lambda: as_scale_tril(torch.diag(torch.tensor([3.0, -2.0]))),
            ValueError,
            ["scale_tril:", "positive diagonal", "got -2"],
        ),
        (
            lambda: as_gaussian(SimpleNamespace(loc=EYE[0]), "p"),
            TypeError,
            ["p:", "loc and scale_tril", "namespace(loc="],
        ),
        (
            lambda: as_loc_and_scale_tril(torch.zeros(3, 2), EYE.expand(2, 2, 2)),
            ValueError,
            ["loc:", "(2,) of scale_tril", "got (3,)"],
        ),
        (
            lambda: as_covariance(torch.diag(torch.tensor([3.0, -2.0])), "a"),
            ValueError,
            ["a:", "variances", "got -2"],
        ),
        (
            lambda: as_symmetric(torch.tensor([[-1.0, 0.5], [0.0, -1.0]]), "a"),
            ValueError,
            ["a:", "symmetric", "up to 0.5"],
        ),
        (
            lambda: require_answer(torch.tensor([1.0, -math.inf, math.inf]), "x", "sum"),
            ValueError,
            ["x:", "got -inf"],
        ),
        (
            lambda: require_semidefinite(torch.tensor([[[1.0]], [[-2.0]], [[-1.0]]]), "a"),
            ValueError,
            ["a:", "eigenvalue -2,"],
        ),
        (
            # A constant column stays in its own units: the eigenvalue is (1 - sqrt(5)) / 2.
            lambda: require_semidefinite(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), "a"),
            ValueError,
            ["a:", "eigenvalue -0.618,"],
        ),
        (
            lambda: require_variance(torch.tensor([1.0, -2.0, 3.0]), "a"),
            ValueError,
            ["a:", "positive definite", "variance -2 in"],
        ),
        (
            lambda: two_correlated(2**39 + 1),
            ValueError,
            ["n:", f"from 1 to {2**39}", f"got {2**39 + 1}"],
        ),
        (lambda: require_number(math.inf, "x"), ValueError, ["x:", "a finite number, got inf"]),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_arrays_are_taken_as_they_are():
    array = np.arange(6.0).reshape(3, 2)
    assert as_tensor(array, "a").data_ptr() == array.ctypes.data  # no copy


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", ">f4"])
def test_arrays_of_every_layout_are_read_right(dtype):
    array = np.arange(6, dtype=dtype).reshape(3, 2)
    frozen = array.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for each in (array, array[::-1], array.T, array[:, ::-1], frozen):
            tensor = as_tensor(each, "a")
            assert tensor.tolist() == each.tolist()
            assert str(tensor.dtype) == f"torch.{array.dtype.name}"


def test_large_numbers_whose_sum_overflows_are_finite():
    largest = torch.full((4,), torch.finfo(torch.float32).max)
    require_finite(largest, "a")  # the short cut through the sum must not decide this


def test_what_fits_is_returned():
    assert as_device("cpu") == torch.device("cpu")
    assert as_device("cpu:0").type == "cpu"
    assert require_count(np.int64(3), "n") == 3
    assert require_number(np.float32(0.5), "x") == 0.5
    assert require_number(2, "x") == 2.0
    assert common_batch_shape(a=torch.Size([3, 1]), b=torch.Size([2])) == (3, 2)
    require_broadcastable(torch.Size([3, 2]), "a", torch.Size([2]))
    empty = torch.zeros(0, 2, 2)
    assert as_scale_tril(empty).shape == (0, 2, 2)
    assert cholesky_factor(empty, "a").shape == (0, 2, 2)


def test_rounding_is_no_asymmetry():
    matrix = torch.tensor([[4.0, 1.0], [1.0, 9.0]])
    matrix[0, 1] += 1e-6  # two units in the last place of 6, the product of the scales
    assert as_covariance(matrix, "a") is matrix
    with pytest.raises(ValueError, match="symmetric"):
        as_covariance(matrix + torch.tensor([[0.0, 1e-4], [0.0, 0.0]]), "a")


@pytest.mark.parametrize(
    ("matrix", "column"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], 1),  # indefinite
        ([[1.0, 1.0], [1.0, 1.0]], 1),  # the second repeats the first
        ([[0.0, 0.0], [0.0, 1.0]], 0),  # the first is constant
        ([[2.0, 1.0, 3.0], [1.0, 1.0, 2.0], [3.0, 2.0, 5.0]], 2),  # the third is the sum
    ],
)
def test_the_column_that_fails_is_named(matrix, column):
    matrix = torch.tensor(matrix)
    with pytest.raises(ValueError, match=f"target: .*column {column} has no variance left"):
        cholesky_factor(matrix, "target")
    batch = torch.eye(len(matrix)).repeat(2, 3, 1, 1)
    batch[1, 2] = matrix
    with pytest.raises(ValueError, match=rf"batch element \(1, 2\): column {column}"):
        cholesky_factor(batch, "target")
    _, failed = try_cholesky(batch)
    assert failed.nonzero().tolist() == [[1, 2]]


def test_units_do_not_make_a_matrix_singular():
    correlation = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    units = torch.tensor([1e-80, 1e80], dtype=torch.float64)
    factor = cholesky_factor(correlation * units[:, None] * units, "target")
    expected = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(0.19)]], dtype=torch.float64)
    torch.testing.assert_close(factor / units[:, None], expected, rtol=1e-14, atol=1e-14)


def test_an_answer_that_overflows_is_refused_unless_told_otherwise():
    @refuse_overflow("x")
    def square(x, *, validate_args=True):
        return x.square()

    large = torch.tensor([1.0, 1e30])
    with pytest.raises(ValueError, match="x: expected numbers whose square float32 can hold"):
        square(large)
    assert square(large, validate_args=False).tolist() == [1.0, math.inf]
    assert square(large.double()).isfinite().all()
    assert square.__name__ == "square"
    # The sum overflows, and none of its terms does.
    assert square(torch.full((4,), 1.8e19)).isfinite().all()


def test_a_singular_matrix_in_any_units_is_a_covariance():
    singular = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).double()
    units = torch.tensor([1e-80, 1e80, 1.0], dtype=torch.float64)
    matrix = singular * units[:, None] * units
    assert require_semidefinite(matrix, "a") is matrix
    # A negative eigenvalue that is small beside the largest variance, and large beside its own.
    hidden = torch.block_diag(torch.tensor([[1e30]]), torch.tensor([[1.0, 1.5], [1.5, 1.0]]))
    with pytest.raises(ValueError, match="eigenvalue -0.5"):
        require_semidefinite(hidden, "a")


def test_a_long_value_is_cut():
    with pytest.raises(TypeError) as caught:
        as_tensor("b" * 90, "a")
    assert str(caught.value).partition(", got ")[2] == "str '" + "b" * 75


def test_the_largest_asymmetry_is_64_units_in_the_last_place():
    eps = torch.finfo(torch.float32).eps

    def matrix(units):
        return torch.tensor([[1.0, units * eps], [0.0, 1.0]])

    as_symmetric(matrix(64), "a")
    with pytest.raises(ValueError, match="symmetric"):
        as_symmetric(matrix(65), "a")
    as_symmetric(-EYE, "a")  # variances only where they are asked for


def test_the_most_negative_eigenvalue_is_64_units_in_the_last_place():
    eps = torch.finfo(torch.float32).eps
    one = torch.ones(3, 5, 1, 1)  # the batch does not count, the single column does
    require_semidefinite(one * (-64 * eps), "a")
    with pytest.raises(ValueError, match="eigenvalue"):
        require_semidefinite(one * (-65 * eps), "a")
    # A small variance hides nothing either.
    with pytest.raises(ValueError, match=r"eigenvalue -0\.5"):
        require_semidefinite(torch.tensor([[1.0, 1.5], [1.5, 1.0]]) * 1e-20, "a")


def nearly_dependent(units: float, scale: float = 1.0) -> torch.Tensor:
    """Two columns, the second of which has `units` of its last places left beyond the first."""
    eps = torch.finfo(torch.float64).eps
    return torch.tensor([[1.0, 1.0], [1.0, 1.0 + units * eps]], dtype=torch.float64) * scale


@pytest.mark.parametrize("scale", [1.0, 2.0**-40, 2.0**40])
@pytest.mark.parametrize(("count", "limit"), [(0, 16), (9, 40)])
def test_how_much_must_be_left_of_a_column(count, limit, scale):
    # L^-1 diag(sigma) has the squared row 2 / (units eps), and rounding is 4 eps (2 + sqrt(count)):
    # the second column counts as dependent up to 8 (2 + sqrt(count)) units.
    assert not try_cholesky(nearly_dependent(limit + 1, scale), count)[1]
    assert try_cholesky(nearly_dependent(limit - 1, scale), count)[1]


def test_without_a_count_only_the_columns_round():
    assert not try_cholesky(nearly_dependent(17))[1]
    cholesky_factor(nearly_dependent(17), "a")
    # Neither of these numbers of elements says how many columns a matrix has.
    assert not try_cholesky(nearly_dependent(17).expand(5, 5, 2, 2))[1].any()
    assert try_cholesky(nearly_dependent(15).expand(1, 1, 2, 2))[1].all()


def test_dependence_builds_up_over_columns():
    # About 1e-9 is left to each of the last columns; one such column alone would do no harm.
    small = 2.0**-15  # its square is the share
    factor = torch.tensor([[1.0, 0.0, 0.0], [1.0, small, 0.0], [0.0, 1.0, small]]).double()
    matrix = factor @ factor.mT
    assert not try_cholesky(matrix[:2, :2])[1]
    for batch in (matrix, matrix[None], torch.stack([torch.eye(3).double(), matrix])):
        with pytest.raises(ValueError, match="column 2 has no variance left"):
            cholesky_factor(batch, "a")


def test_the_first_element_that_fails_is_named():
    batch = torch.stack([EYE, torch.ones(2, 2), -EYE])
    with pytest.raises(ValueError, match=r"batch element \(1,\): column 1"):
        cholesky_factor(batch, "a")
    with pytest.raises(ValueError, match=r"batch element \(0,\): column 0"):
        cholesky_factor(batch.flip(0), "a")


@pytest.mark.parametrize(
    ("device", "is_there"),
    [("cuda", True), ("cuda:1", True), ("cuda:2", False), ("mps", True), ("mps:0", True)],
)
def test_every_device_that_is_there_is_taken(monkeypatch, device, is_there):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    if is_there:
        assert as_device(device) == torch.device(device)
    else:
        with pytest.raises(ValueError, match=r"there \(cpu, cuda:0, cuda:1, mps\), got 'cuda:2'"):
            as_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps", "mps:0"])
def test_a_device_that_is_not_there_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=rf"is there \(cpu\), got '{device}'"):
        as_device(device)


def test_small_positive_numbers_are_no_reason_to_refuse():
    small = torch.tensor([[0.5, 0.0], [0.25, 0.5]])
    assert as_scale_tril(small) is small
    assert as_covariance(torch.diag(torch.tensor([0.0, 0.5])), "a") is not None
    assert require_variance(torch.tensor([0.5]), "a") == 0.5
    for variance in (0.0, -0.5, math.nan):
        with pytest.raises(ValueError, match=f"variance {variance:.3g} in"):
            require_variance(torch.tensor([1.0, variance]), "a")
    # Each exponential is held, down to 3e-39 and up to 3e38, though their sum is not.
    for log_diagonal in (torch.full((2,), -88.0), torch.full((2,), 88.5)):
        assert as_free_numbers(log_diagonal, torch.zeros(1))[0] is log_diagonal


def test_tensors_of_a_graph_are_checked_without_a_warning():
    numbers = torch.ones(2, 2, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_finite(numbers, "a")
        assert require_answer(numbers, "a", "sum") is numbers


def test_whether_a_matrix_failed_is_true_or_false():
    for matrix in (EYE, EYE.expand(3, 2, 2), torch.ones(2, 2)):
        assert try_cholesky(matrix)[1].dtype == torch.bool


@pytest.mark.parametrize("count", [0, 10**6, torch.tensor(10**6)])
def test_one_matrix_is_judged_as_it_is_in_a_batch(count):
    # Shares of the last column from far below the limit, near 1e-12, to far above it.
    shares = torch.logspace(-17, -6, 56, dtype=torch.float64)
    correlation = (1 - shares).sqrt()
    batch = torch.stack([torch.ones_like(correlation), correlation], -1)
    batch = torch.stack([batch, batch.flip(-1)], -1)
    counts = count if isinstance(count, int) else count.expand(len(batch))
    factors, failed = try_cholesky(batch, counts)
    assert 0 < failed.sum() < len(batch)
    for matrix, factor, fails in zip(batch, factors, failed, strict=True):
        alone, fails_alone = try_cholesky(matrix, count)
        assert torch.equal(alone, factor)
        assert bool(fails_alone) == bool(fails)
