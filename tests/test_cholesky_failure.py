"""Why a matrix has no Cholesky factor: the report against torch's verdict and known causes."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, dims, eps, random_scale_tril, seeds
from torch import Tensor
from torch.distributions import MultivariateNormal

from helpers import cholesky_failure, explain_cholesky_failure, load_dataset, maximum_likelihood
from helpers.cholesky_failure import CholeskyFinding, cause_by_eigenvalues
from helpers.validation import try_cholesky

DOUBLE = torch.float64


def found(matrix: Tensor) -> CholeskyFinding:
    """What is said about one matrix."""
    (finding,) = explain_cholesky_failure(matrix).findings
    return finding


def rotated(eigenvalues: list[float], seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    """A symmetric matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    d = len(eigenvalues)
    q = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=DOUBLE)).Q
    matrix = (q * torch.tensor(eigenvalues, dtype=DOUBLE)) @ q.mT
    return ((matrix + matrix.mT) / 2).to(dtype)


def shrunk(matrix: Tensor, finding: CholeskyFinding) -> Tensor:
    """The matrix, mixed as the report says."""
    a, diagonal = finding.shrinkage, matrix.diagonal()
    target = diagonal if finding.keeps_variances else diagonal.mean().expand(len(matrix))
    return (1 - a) * matrix + a * target.diag()


def is_accepted(matrix: Tensor) -> bool:
    """Whether torch takes it for a covariance."""
    zeros = torch.zeros(matrix.shape[-1], dtype=matrix.dtype)
    try:
        MultivariateNormal(zeros, covariance_matrix=matrix)
    except ValueError:
        return False
    return True


CAUSES = {
    "fine": [[2.0, 0.5], [0.5, 1.0]],
    "fine, correlated downwards": [[2.0, -0.5], [-0.5, 1.0]],
    "fine, equal eigenvalues": [[3.0, 0.0], [0.0, 3.0]],
    "nan": [[2.0, math.nan], [0.5, 1.0]],
    "nan, infinite": [[2.0, 0.5], [0.5, -math.inf]],
    "nan, and asymmetric": [[1.0, 5.0], [0.0, math.nan]],
    "asymmetric": [[1.0, 99.0], [0.5, 1.0]],
    "asymmetric, by little": [[1.0, 0.5], [0.50002, 1.0]],
    "rank-deficient": [[1.0, 1.0], [1.0, 1.0]],
    "rank-deficient, downwards": [[1.0, -2.0], [-2.0, 4.0]],
    "rank-deficient, constant": [[1.0, 0.0], [0.0, 0.0]],
    "rank-deficient, nothing": [[0.0, 0.0], [0.0, 0.0]],
    "indefinite": [[1.0, 2.0], [2.0, 1.0]],
    "indefinite, downwards": [[1.0, -2.0], [-2.0, 1.0]],
    "indefinite, negative variance": [[1.0, 0.0], [0.0, -1e-3]],
    "indefinite, minus the identity": [[-1.0, 0.0], [0.0, -1.0]],
    "indefinite, no variance": [[0.0, 1.0], [1.0, 0.0]],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_named(name, dtype):
    matrix = torch.tensor(CAUSES[name], dtype=dtype)
    finding = found(matrix)
    assert finding.cause == name.partition(",")[0]
    assert finding.dtype == dtype
    assert str(finding).startswith(finding.cause)
    assert (finding.cause == "fine") == (not finding.advice)


@pytest.mark.parametrize(
    ("value", "cause", "advice"),
    [
        (4.0, "fine", ""),
        (0.0, "rank-deficient", "all samples are equal"),
        (-4.0, "indefinite", "learn the logarithm"),
    ],
)
def test_a_matrix_of_one_number(value, cause, advice):
    finding = found(torch.tensor([[value]]))
    assert finding.cause == cause
    said = "\n".join(finding.advice)
    assert advice in said
    for word in ("1 samples", "pairwise", "low rank", "shrink"):
        assert word not in said


def test_the_place_is_that_of_the_first_nan_or_of_the_largest_asymmetry():
    matrix = torch.eye(3)
    matrix[2, 0] = math.nan
    matrix[1, 2] = math.inf
    assert found(matrix).where == (1, 2)
    assert "first at (1, 2)" in str(found(matrix))
    matrix = torch.eye(3)
    matrix[0, 1], matrix[0, 2] = 0.5, -0.75
    finding = found(matrix)
    assert (finding.where, finding.asymmetry) == ((2, 0), 0.75)
    assert (finding.has_nan, finding.columns_not_finite) == (False, ())
    assert "entries (2, 0) and (0, 2) differ by 0.75" in str(finding)


def test_gaps_are_looked_for_in_the_columns_that_have_them():
    x = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
    x[3, 2] = math.nan
    finding = found(torch.cov(x.mT))
    assert (finding.cause, finding.columns_not_finite, finding.has_nan) == ("nan", (2,), True)
    assert str(finding).splitlines()[1:] == [
        "  not a number",
        "  columns whose variance is not finite: 2",
        "  - look for gaps in these columns of the data: x.isfinite().all(dim=0)",
        "  - in a training loop, stop at the first loss that is not finite",
    ]
    assert (~x.isfinite().all(dim=0)).nonzero().flatten().tolist() == [2]
    x[0, 1:] = math.nan
    assert "not finite: 1, 2, 3, 4, 5 and 3 more" in str(found(torch.cov(x.mT)))


def test_what_is_infinite_is_not_called_not_a_number():
    matrix = torch.tensor(CAUSES["nan, infinite"])
    assert str(found(matrix)).splitlines()[1] == "  infinite"
    matrix[0, 0] = math.nan
    assert str(found(matrix)).splitlines()[1] == "  not a number"


def test_what_an_asymmetric_matrix_needs_once_it_is_symmetric():
    beyond = "then, for the symmetric part:"
    triangle = torch.tensor([[2.0, 0.0], [1.0, 2.0]])
    finding = found(triangle)
    assert (finding.symmetrised, finding.advice[-1][:24]) == ("fine", "if one triangle was neve")
    mirrored = triangle.tril() + triangle.tril(-1).mT
    assert f"{mirrored.tolist()}" == "[[2.0, 1.0], [1.0, 2.0]]"
    assert is_accepted(mirrored)
    for matrix, alone in (
        (torch.tensor([[1.0, 2.001], [2.0, 1.0]]), "indefinite"),
        (torch.tensor([[1.0, 1.5], [0.5, 1.0]]), "rank-deficient"),
    ):
        finding = found(matrix)
        assert (finding.cause, finding.symmetrised) == ("asymmetric", alone)
        position = finding.advice.index(beyond)
        assert finding.advice[position + 1 :] == found((matrix + matrix.mT) / 2).advice


@pytest.mark.parametrize("cause", ["fine", "rank-deficient", "indefinite"])
@pytest.mark.parametrize("unfilled", ["upper", "lower"])
def test_of_a_triangle_that_was_never_filled_the_other_is_mirrored(unfilled, cause):
    """Averaged with its transpose it would have half of each covariance."""
    matrix = torch.tensor(CAUSES[cause])
    S, formula, factor = {
        "upper": (matrix.tril(), "S.tril() + S.tril(-1).mT", "L, pass it as scale_tril"),
        "lower": (matrix.triu(), "S.triu() + S.triu(1).mT", "R, as SciPy returns it, pass R.mT"),
    }[unfilled]
    finding, whole = found(S), found(matrix)
    assert (finding.cause, finding.unfilled) == ("asymmetric", unfilled)
    assert finding.symmetrised == cause
    assert finding.smallest_eigenvalue == whole.smallest_eigenvalue
    assert f"with the other triangle mirrored it is {cause}" in str(finding)
    assert torch.equal(eval(formula, {"S": S}), matrix)
    assert f"factor {factor}" in finding.advice[0]
    assert finding.advice[1].endswith(formula)
    beyond = ("then, for the mirrored matrix:", *whole.advice)
    assert finding.advice[2:] == (() if cause == "fine" else beyond)


def test_a_matrix_with_both_triangles_is_averaged_and_one_without_any_is_symmetric():
    finding = found(torch.tensor(CAUSES["asymmetric"]))
    assert finding.unfilled is None
    assert [line.partition(",")[0] for line in finding.advice[:3]] == [
        "symmetrise",
        "if it is more",
        "then",
    ]
    assert found(torch.diag(torch.tensor([1.0, 0.0]))).unfilled is None
    assert found(torch.tensor([[1.0, 1e-20], [0.0, 1.0]])).unfilled is None  # rounding


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_unlike_units_a_correlation_above_one_is_not_taken_for_rounding(dtype):
    """Beside the larger variance the negative eigenvalue is as small as a rounding."""
    sd = torch.tensor([1.0, 1e4], dtype=dtype)
    finding = found(sd[:, None] * torch.tensor([[1.0, 1.5], [1.5, 1.0]], dtype=dtype) * sd)
    assert finding.cause == "indefinite"
    assert not finding.is_barely_indefinite
    assert finding.smallest_at_one_scale == pytest.approx(-0.5)
    assert finding.largest_at_one_scale == pytest.approx(2.5)
    line = "  with all columns at one scale: smallest -0.5, largest 2.5"
    assert (line in str(finding).splitlines()) == (dtype == torch.float32)


def test_units_far_apart_are_no_failure_in_float32():
    """Their ratio is beyond float32, and none of them is."""
    matrix = torch.diag(torch.tensor([1e-30, 1.0, 1e30]))
    assert is_accepted(matrix)
    assert found(matrix).cause == "fine"


def test_a_variance_below_zero_is_named_and_a_difference_of_moments_suspected():
    # What E[xx] - mm gave in float32 for data with a mean of 3000.
    moments = torch.tensor([[16.0, -4.0], [-4.0, -17.0]])
    finding = found(moments)
    assert (finding.cause, finding.negative_variances) == ("indefinite", (1,))
    assert "columns whose variance is negative: 1" in str(finding)
    assert finding.advice[0].startswith("take the mean off before squares are summed")
    barely = found(torch.diag(torch.tensor([1.0, -1e-9])))
    assert barely.is_barely_indefinite
    assert barely.advice[0] == finding.advice[0]
    assert found(torch.tensor(CAUSES["rank-deficient, constant"])).negative_variances == ()


def test_squares_that_overflow_are_told_from_gaps():
    for dtype, size in ((torch.float32, 1e20), (DOUBLE, 1e160)):
        x = size * torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
        assert x.isfinite().all()
        finding = found(torch.cov(x.mT))
        assert (finding.cause, finding.has_infinite_variance) == ("nan", True)
        (line,) = (each for each in finding.advice if "squares have overflowed" in each)
        assert ("float64" in line) == (dtype == torch.float32)
        assert found(torch.cov((x / size).mT)).cause == "fine"
    assert found(torch.cov(1e20 * (x / size).mT)).cause == "fine"  # in float64
    for matrix in ([[math.nan]], [[1.0, math.inf], [math.inf, 1.0]]):
        assert not found(torch.tensor(matrix)).has_infinite_variance


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_too_small_for_their_dtype_are_not_shrunk(dtype):
    tiny = torch.finfo(dtype).tiny
    (line,) = found(torch.full((2, 2), tiny, dtype=dtype)).advice
    assert line.startswith("choose smaller units for the data")
    larger = torch.full((2, 2), 1e9 * tiny / eps(dtype), dtype=dtype)
    assert any("shrink" in line for line in found(larger).advice)
    assert found(torch.zeros(2, 2, dtype=dtype)).advice[0].startswith("drop the columns")


def test_an_asymmetric_matrix_may_be_barely_indefinite():
    matrix = rotated([-1e-12, 1.0, 2.0])
    matrix[1, 0] += 2e-5
    matrix[0, 1] -= 2e-5
    finding = found(matrix)
    assert (finding.cause, finding.symmetrised) == ("asymmetric", "indefinite")
    assert finding.is_barely_indefinite
    assert "sums over rows were rounded" in str(finding)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_asymmetry_of_a_few_roundings_is_none(dtype):
    for roundings, cause in ((20, "fine"), (200, "asymmetric")):
        matrix = torch.tensor([[1.0, 0.5], [0.5 + roundings * eps(dtype), 1.0]], dtype=dtype)
        assert found(matrix).cause == cause


def test_an_asymmetry_that_torch_minds_is_one_however_large_the_scales():
    matrix = torch.tensor([[1e4, 1.0], [1.001, 1e4]])
    assert not is_accepted(matrix)
    assert found(matrix).cause == "asymmetric"
    matrix[1, 0] = 1.0
    assert is_accepted(matrix)
    assert found(matrix).cause == "fine"


def test_eigenvalues_are_those_of_the_symmetric_part():
    finding = found(torch.tensor([[1.0, 4.5], [0.5, 1.0]], dtype=DOUBLE))
    assert finding.smallest_eigenvalue == pytest.approx(-1.5)
    assert finding.largest_eigenvalue == pytest.approx(3.5)
    assert finding.symmetrised == "indefinite"


def test_the_rounding_level_of_a_negative_matrix_is_not_negative():
    assert (
        found(torch.diag(torch.tensor([-4.0, -1.0]))).rounding_level == 2 * eps(torch.float32) * 4
    )


@given(
    seed=seeds,
    dim=dims,
    dtype=st.sampled_from(DTYPES),
    size=st.floats(-6, 6),
    log_condition=st.floats(0, 9),  # of the factor; the matrix has its square
)
def test_what_is_fine_torch_accepts(seed, dim, dtype, size, log_condition):
    factor = 10.0**size * random_scale_tril(dim, 10**log_condition, seed)
    matrix = (factor @ factor.mT).to(dtype)
    matrix = (matrix + matrix.mT) / 2
    finding = found(matrix)
    if finding.cause == "fine":
        assert is_accepted(matrix)
    eigenvalues = torch.linalg.eigvalsh(matrix.double())
    # Of a symmetric matrix an eigenvalue is off by some roundings of the largest.
    near = {"rel": 0, "abs": 100 * dim * eps(DOUBLE) * eigenvalues[-1].item()}
    assert finding.smallest_eigenvalue == pytest.approx(eigenvalues[0].item(), **near)
    assert finding.largest_eigenvalue == pytest.approx(eigenvalues[-1].item(), **near)
    level = dim * eps(dtype) * finding.largest_eigenvalue
    assert finding.rounding_level == pytest.approx(level, rel=1e-12)


@given(seed=seeds, dim=st.integers(2, 8), lowest=st.floats(-1.0, -1e-3))
def test_what_is_indefinite_torch_refuses(seed, dim, lowest):
    matrix = rotated([lowest, *torch.linspace(0.5, 2.0, dim - 1).tolist()], seed)
    assert found(matrix).cause == "indefinite"
    assert not is_accepted(matrix)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("levels", "cause"),
    [(3.0, "fine"), (0.3, "rank-deficient"), (-0.3, "rank-deficient"), (-3.0, "indefinite")],
)
def test_the_rounding_level_decides(levels, cause, dtype):
    d = 5
    lowest = levels * d * eps(dtype)
    eigenvalues = torch.ones(d, dtype=DOUBLE)
    eigenvalues[0] = lowest
    assert cause_by_eigenvalues(eigenvalues, eigenvalues, d * eps(dtype)) == cause


def test_units_of_the_columns_do_not_matter():
    """Cholesky does not care for them, so a tiny eigenvalue alone is no failure."""
    units = torch.tensor([1e-12, 1.0, 1e12], dtype=DOUBLE)
    for eigenvalues, cause in (([0.5, 1.0, 2.0], "fine"), ([-0.5, 1.0, 2.0], "indefinite")):
        matrix = units[:, None] * rotated(eigenvalues) * units
        matrix = (matrix + matrix.mT) / 2
        assert found(matrix).cause == cause
        assert torch.linalg.cholesky_ex(matrix).info.bool() == (cause != "fine")
    matrix = torch.tensor([[1e-18, 5e-10], [5.01e-10, 1.0]], dtype=DOUBLE)
    assert (found(matrix).cause, found(matrix).symmetrised) == ("asymmetric", "fine")
    assert "with all columns at one scale" in str(found(matrix))
    finding = found(torch.diag(units.square()))
    assert finding.rank == 3
    assert abs(finding.smallest_eigenvalue) < finding.rounding_level
    assert "with all columns at one scale" in str(finding)


def test_rank_and_constant_columns_of_digits_and_the_few_rows_of_a_table():
    digits = found(torch.cov(load_dataset("digits").data.mT))
    assert (digits.cause, digits.rank, digits.constant_columns) == (
        "rank-deficient",
        61,
        (0, 32, 39),
    )
    assert digits.rank == torch.linalg.matrix_rank(torch.cov(load_dataset("digits").data.mT))
    table = load_dataset("breast_cancer").data
    few = found(torch.cov(table[:20].mT))
    assert (few.cause, few.rank) == ("rank-deficient", 19)
    assert found(torch.cov(table.mT)).cause == "fine"


@given(
    seed=seeds,
    dim=st.integers(2, 8),
    dtype=st.sampled_from(DTYPES),
    lowest=st.sampled_from([0.0, -0.05]),
    size=st.floats(0, 6),
)
def test_the_advice_to_shrink_is_enough_and_keeps_every_variance(seed, dim, dtype, lowest, size):
    """Whatever the units: a share of tr(S)/d I would be all that is left of a small variance."""
    generator = torch.Generator().manual_seed(seed)
    units = 10 ** (size * (2 * torch.rand(dim, generator=generator, dtype=DOUBLE) - 1))
    plain = rotated([lowest, *torch.linspace(0.5, 2.0, dim - 1).tolist()], seed)
    if plain.diagonal().min() < 0.01:
        return
    units = units / plain.diagonal().sqrt()
    matrix = units[:, None] * plain * units
    matrix = ((matrix + matrix.mT) / 2).to(dtype)
    finding = found(matrix)
    assert finding.keeps_variances
    (line,) = (each for each in finding.advice if "shrink" in each)
    assert "towards the diagonal, (1 - a) S + a diag(S), by a" in line
    assert line.endswith("or more; choose a on held-out rows")
    assert re.findall(r"a = (\S+)", line) == [f"{finding.shrinkage:.2g}"]
    assert float(f"{finding.shrinkage:.2g}") == finding.shrinkage  # all that is printed
    better = shrunk(matrix, finding)
    assert torch.allclose(better.diagonal(), matrix.diagonal(), rtol=4 * eps(dtype), atol=0)
    assert explain_cholesky_failure(better).ok
    torch.linalg.cholesky(better)
    assert is_accepted(better)
    scale = matrix.double().diagonal().sqrt()
    before, after = (
        torch.linalg.eigvalsh(each.double() / scale[:, None] / scale) for each in (matrix, better)
    )
    wanted = math.sqrt(eps(dtype)) * before[-1].item()
    # Enough, and the tenth more at most by which it is rounded up.
    assert after[0].item() > wanted - 20 * dim * eps(dtype)
    assert finding.shrinkage <= 1.1 * (wanted - before[0].item()) / (1 - before[0].item())


def test_shrinking_a_raw_table_towards_its_diagonal_predicts_and_to_one_variance_does_not():
    table = load_dataset("breast_cancer").data
    matrix = torch.cov(table[:20].mT)
    assert found(matrix).keeps_variances
    losses = []
    for target in (matrix.diagonal(), matrix.diagonal().mean().expand(30)):
        mixed = 0.7 * matrix + 0.3 * target.diag()
        gaussian = MultivariateNormal(table[:20].mean(dim=0), mixed)
        losses.append(-gaussian.log_prob(table[20:]).mean().item())
    assert losses[0] < losses[1] - 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [0.0, -0.3])
def test_where_a_variance_is_not_above_zero_another_target_is_advised(last, dtype):
    matrix = torch.diag(torch.tensor([5.0, 2.0, 1.0, last], dtype=dtype))
    finding = found(matrix)
    assert not finding.keeps_variances
    (line,) = (each for each in finding.advice if "shrink" in each)
    assert "tr(S)/d I, as a variance on the diagonal is not above zero, by a = " in line
    better = shrunk(matrix, finding)
    assert is_accepted(better)
    wanted = math.sqrt(eps(dtype)) * 5.0
    assert wanted - 20 * eps(dtype) <= better[3, 3].item()
    assert finding.shrinkage <= 1.1 * (wanted - last) / (matrix.diagonal().mean().item() - last)


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_that_repeat_each_other_are_named_and_dropping_any_of_them_helps(dtype):
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    x[:, 4] = 1e3 * x[:, 1] - 1e3 * x[:, 3]  # whatever the units
    matrix = torch.cov(x.mT).to(dtype)
    finding = found(matrix)
    assert finding.columns_at_fault == (1, 3, 4)
    assert finding.advice[0] == "drop one of the columns 1, 3, 4: it is known from the others"
    assert not any("collect more" in line for line in finding.advice)
    for dropped in finding.columns_at_fault:
        kept = [column for column in range(6) if column != dropped]
        assert found(matrix[kept][:, kept]).cause == "fine"


def test_columns_that_contradict_each_other_are_named():
    matrix = torch.eye(5)
    matrix[1, 3] = matrix[3, 1] = 1.5
    finding = found(matrix)
    assert finding.columns_at_fault == (1, 3)
    assert "  columns that contradict each other: 1, 3" in str(finding).splitlines()
    matrix[1, 3] = matrix[3, 1] = 1.0
    assert found(matrix).columns_at_fault == (1, 3)
    assert "contradict" not in str(found(matrix))


def test_columns_are_not_named_where_many_or_all_take_part():
    generator = torch.Generator().manual_seed(0)
    few_rows = torch.cov(torch.randn(5, 9, generator=generator, dtype=DOUBLE).mT)
    x = torch.randn(50, 6, generator=generator, dtype=DOUBLE)
    sum_of_six = torch.cov(torch.cat([x, x.sum(dim=1, keepdim=True), x[:, :1].cos()], dim=1).mT)
    constant = torch.tensor(CAUSES["rank-deficient, constant"])  # has a line of its own
    for matrix in (few_rows, sum_of_six, torch.ones(2, 2), torch.zeros(2, 2), constant):
        assert found(matrix).columns_at_fault == ()
    assert found(torch.block_diag(torch.ones(2, 2), torch.eye(1))).columns_at_fault == (0, 1)
    assert any("collect more than 9 samples" in line for line in found(few_rows).advice)


def test_rounding_in_long_sums_is_not_taken_for_a_wrong_model():
    """Over many rows more is rounded than the level says, which knows nothing of rows."""
    x = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x.sum(dim=1, keepdim=True)], dim=1)
    below = torch.cov(x.mT) - 20 * eps(torch.float32) * torch.eye(3)
    finding = found((below + below.mT) / 2)
    assert finding.cause == "indefinite"
    assert finding.is_barely_indefinite
    assert "sums over rows were rounded" in str(finding)
    assert any("collect more" in line for line in finding.advice)
    assert not found(torch.tensor(CAUSES["indefinite"])).is_barely_indefinite
    assert not found(torch.ones(2, 2)).is_barely_indefinite


def sum_of_two(seed: int, n: int, dtype: torch.dtype) -> Tensor:
    """Two columns and their sum, (n, 3)."""
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    x = x * torch.tensor([1.0, 2.0]) + torch.tensor([5.0, 3.0])
    return torch.cat([x, x.sum(dim=1, keepdim=True)], dim=1).to(dtype)


NEAR = "near the rounding of sums over many rows: fit may refuse it (count=n tells)"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1000, 10_000])
def test_told_how_many_rows_there_were_it_refuses_what_a_fit_refuses(n, dtype):
    for seed in range(20):
        x = sum_of_two(seed, n, dtype)
        with pytest.raises(ValueError, match="no variance left beyond"):
            maximum_likelihood(x)
        matrix = torch.cov(x.mT)
        (finding,) = explain_cholesky_failure(matrix, count=n).findings
        assert (finding.cause, finding.rank) == ("rank-deficient", 2)
        assert finding.columns_at_fault == ()  # all of them
        assert f"rounding level of {str(dtype)[6:]} over {n} rows: " in str(finding)
        assert NEAR not in str(finding)
        unsaid = found(matrix)
        assert unsaid.is_barely_fine == (unsaid.cause == "fine") == (NEAR in str(unsaid))
        assert explain_cholesky_failure(torch.cov(x[:, :2].mT), count=n).ok


@given(
    seed=seeds,
    dim=st.integers(2, 8),
    dtype=st.sampled_from(DTYPES),
    levels=st.floats(-3, 3),
    count=st.sampled_from([1, 100, 10**6, 10**10]),
    size=st.floats(0, 6),
)
def test_two_judges_of_one_covariance_never_disagree(seed, dim, dtype, levels, count, size):
    """Around the rounding level and in any units, where eigenvalues alone would often differ."""
    lowest = 10**levels * 4 * eps(dtype) * (dim + count**0.5)
    plain = rotated([min(lowest, 0.4), *torch.linspace(0.5, 2.0, dim - 1).tolist()], seed)
    units = 10 ** (size * torch.linspace(-1, 1, dim, dtype=DOUBLE))
    matrix = (units[:, None] * plain * units).to(dtype)
    matrix = (matrix + matrix.mT) / 2
    report = explain_cholesky_failure(torch.stack([matrix, 2 * matrix]), count=count)
    failed = bool(try_cholesky(matrix, count)[1])
    assert [each.cause for each in report.findings] == 2 * ["rank-deficient" if failed else "fine"]
    assert all((each.rank == dim) != failed for each in report.findings)


def test_told_how_many_rows_there_were_it_asks_about_the_symmetric_part():
    matrix = torch.tensor([[1.0, 1.5], [0.5, 1.0]])  # of which either triangle alone is judged else
    for each in (matrix, matrix.mT):
        (finding,) = explain_cholesky_failure(each, count=100).findings
        assert (finding.cause, finding.symmetrised) == ("asymmetric", "rank-deficient")
    (finding,) = explain_cholesky_failure(matrix.tril(), count=100).findings
    assert (finding.cause, finding.symmetrised, finding.count) == ("asymmetric", "fine", 100)


def test_told_how_many_rows_there_were_it_still_tells_indefinite_from_singular():
    for lowest, cause in ((-1.0, "indefinite"), (0.0, "rank-deficient"), (1.0, "fine")):
        matrix = torch.tensor([[2.0, 2 - lowest], [2 - lowest, 2.0]])
        assert explain_cholesky_failure(matrix, count=100).cause == cause


def test_where_digits_are_lost_it_refuses_what_a_factorisation_refuses():
    """In multiples of the smallest float32 of all, where 2^2 / 7 is one and leaves no variance."""
    matrix = torch.tensor([[7.0, 2.0], [2.0, 1.0]]) * 2.0**-149
    assert try_cholesky(matrix, 100)[1]
    assert found(matrix).cause == "fine"  # by its eigenvalues
    (finding,) = explain_cholesky_failure(matrix, count=100).findings
    assert (finding.cause, finding.rank) == ("rank-deficient", 1)
    assert finding.advice[0].startswith("choose smaller units")


@pytest.mark.parametrize("count", [-1, 2.5, "100"])
def test_a_number_of_rows_that_cannot_be_is_named(count):
    with pytest.raises((TypeError, ValueError), match="^count: expected"):
        explain_cholesky_failure(torch.eye(2), count=count)


def test_a_matrix_near_the_rounding_of_many_rows_is_pointed_out_and_another_is_not():
    for lowest, is_near in ((1e-13, True), (1e-12, False)):
        finding = found(torch.tensor([[1.0, 1 - lowest], [1 - lowest, 1.0]], dtype=DOUBLE))
        assert finding.cause == "fine"
        assert finding.is_barely_fine == is_near
        assert (NEAR in str(finding)) == is_near
    assert not found(torch.ones(2, 2)).is_barely_fine


def test_no_shrinkage_where_none_is_needed_or_none_helps():
    assert found(torch.eye(3)).shrinkage == 0.0
    assert found(-torch.eye(3)).shrinkage is None
    assert found(torch.zeros(3, 3)).shrinkage is None
    assert found(torch.full((2, 2), math.nan)).shrinkage is None


def test_a_batch_names_each_element_that_fails():
    batch = torch.stack([torch.tensor(each) for each in CAUSES.values()]).unflatten(0, (1, -1))
    report = explain_cholesky_failure(batch)
    assert report.batch_shape == (1, len(CAUSES))
    assert [each.index for each in report.findings] == [(0, k) for k in range(len(CAUSES))]
    causes = [name.partition(",")[0] for name in CAUSES]
    assert [each.cause for each in report.findings] == causes
    for each, matrix in zip(report.findings, CAUSES.values(), strict=True):
        alone = found(torch.tensor(matrix))
        assert (each.cause, each.rank, each.advice) == (alone.cause, alone.rank, alone.advice)
    failing = len(causes) - causes.count("fine")
    assert len(report.failing) == failing
    assert not report.ok
    assert report.cause == "nan"
    page = str(report)
    assert page.startswith(f"{failing} of {len(causes)} matrices fail: 3 nan, 2 asymmetric")
    assert "element 0, 3: nan" in page
    assert page.endswith(f"and {failing - 5} more")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "no matrices"), (1, "1 matrices, all fine"), (3, "3 matrices, all fine")],
)
def test_batches_without_a_failure(count, said, dtype):
    report = explain_cholesky_failure(torch.eye(2, dtype=dtype).expand(count, 2, 2))
    assert report.ok
    assert report.cause == "fine"
    assert str(report) == said


def test_only_matrices_that_are_not_fine_are_looked_at_alone(monkeypatch):
    """Thousands of them would take seconds one by one."""
    asked = []

    def counted(own: Tensor, one_scale: Tensor, rounding: float) -> str:
        asked.append(own)
        return cause_by_eigenvalues(own, one_scale, rounding)

    monkeypatch.setattr(cholesky_failure, "cause_by_eigenvalues", counted)
    batch = torch.eye(2).repeat(1000, 1, 1)
    batch[7] = 1.0
    report = explain_cholesky_failure(batch)
    assert [each.index for each in report.failing] == [(7,)]
    assert len(asked) == 1


def test_float32_is_told_to_compute_in_float64():
    singular = torch.ones(2, 2)
    assert any("float64" in line for line in found(singular).advice)
    assert not any("float64" in line for line in found(singular.double()).advice)


def test_an_inverse_in_float32_is_asymmetric_and_its_symmetric_part_fine():
    table = load_dataset("breast_cancer").data
    x = (table - table.mean(dim=0)) / table.std(dim=0)
    finding = found(torch.linalg.inv(torch.cov(x.mT).float()))
    assert (finding.cause, finding.symmetrised) == ("asymmetric", "fine")
    assert not is_accepted(torch.linalg.inv(torch.cov(x.mT).float()))


def test_the_matrix_and_its_gradient_are_left_alone():
    matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], requires_grad=True)
    before = matrix.detach().clone()
    assert explain_cholesky_failure(matrix).cause == "indefinite"
    assert torch.equal(matrix, before)
    assert matrix.grad is None


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e150, 1e307])
def test_huge_and_tiny_numbers(size):
    for name in ("fine", "rank-deficient", "indefinite"):
        matrix = size * torch.tensor(CAUSES[name], dtype=DOUBLE)
        assert found(matrix).cause == name


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (torch.ones(3), "matrix: expected shape (..., dim, dim) and a dim above 0, got (3,)"),
        (torch.ones(2, 3), "(..., dim, dim) and a dim above 0, got (2, 3)"),
        (torch.ones(3, 0, 0), "(..., dim, dim) and a dim above 0, got (3, 0, 0)"),
        (torch.ones(2, 2, dtype=torch.int64), "matrix: expected dtype float32 or float64"),
    ],
)
def test_what_is_no_matrix_is_refused(matrix, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        explain_cholesky_failure(matrix)


# At the limits -----------------------------------------------------------------------------------


def test_a_finding_holds_numbers_of_python():
    for name in ("fine", "nan", "asymmetric", "rank-deficient", "indefinite"):
        finding = found(torch.tensor(CAUSES[name]))
        values = list(vars(finding).values())
        values += [each for value in values if isinstance(value, tuple) for each in value]
        assert {type(value) for value in values} <= {
            *(int, float, bool, str, tuple, type(None), torch.dtype),
        }
        assert type(finding.keeps_variances) is bool
        assert type(finding.rank) is int


@pytest.mark.parametrize(("failing", "end"), [(5, "a negative variance"), (6, "and 1 more")])
def test_five_matrices_are_shown_and_the_rest_counted(failing, end):
    page = str(explain_cholesky_failure(-torch.eye(1).expand(failing, 1, 1)))
    assert page.count("element") == 5
    assert ("more" in page.splitlines()[-1]) == (end == "and 1 more")
    assert end in page


@pytest.mark.parametrize(
    ("gaps", "listed"), [(5, "0, 1, 2, 3, 4"), (6, "0, 1, 2, 3, 4 and 1 more")]
)
def test_five_columns_are_listed_and_the_rest_counted(gaps, listed):
    matrix = torch.eye(7)
    matrix[range(gaps), range(gaps)] = math.nan
    line = f"  columns whose variance is not finite: {listed}"
    assert line in str(found(matrix)).splitlines()


def test_places_in_a_batch_of_three_dimensions_are_in_order():
    report = explain_cholesky_failure(torch.eye(2).expand(2, 3, 4, 2, 2))
    expected = [(i, j, k) for i in range(2) for j in range(3) for k in range(4)]
    assert [each.index for each in report.findings] == expected


@pytest.mark.parametrize(("level", "cause"), [(0.5, "rank-deficient"), (2.0, "fine")])
def test_the_level_grows_with_the_size_of_the_matrix(level, cause):
    """Of equal correlations r the eigenvalues are 1 - r, and 1 + (d - 1) r once."""
    d = 20
    r = 1 - round(level * d * d) * eps(torch.float32)
    matrix = torch.full((d, d), r).fill_diagonal_(1.0)
    finding = found(matrix)
    assert (finding.cause, finding.rank) == (cause, 1 if cause == "rank-deficient" else d)
    assert (4e5 * found(4e-5 * matrix).smallest_eigenvalue) == pytest.approx(
        16 * finding.smallest_eigenvalue, rel=1e-3
    )


@pytest.mark.parametrize("size", [1e-300, 1e307, 8e307])
def test_huge_and_tiny_numbers_below_zero(size):
    for name in ("fine", "rank-deficient", "indefinite"):
        assert found(-size * torch.tensor(CAUSES[name], dtype=DOUBLE)).cause == "indefinite"


def test_without_a_variance_the_other_entries_are_taken_as_they_are():
    finding = found(torch.tensor(CAUSES["indefinite, no variance"]))
    assert finding.smallest_at_one_scale == pytest.approx(-1)
    assert finding.largest_at_one_scale == pytest.approx(1)


def test_in_a_batch_each_matrix_has_its_own_triangle():
    whole = torch.tensor(CAUSES["asymmetric"])
    batch = torch.stack([whole, whole.tril(), whole.triu()])
    findings = explain_cholesky_failure(batch).findings
    assert [each.unfilled for each in findings] == [None, "upper", "lower"]


def test_differences_are_taken_in_float64():
    assert found(torch.tensor([[1.0, 1e8], [1.0, 1.0]])).asymmetry == 1e8 - 1
    assert found(torch.tensor([[1.0, math.inf], [0.0, 1.0]])).asymmetry == math.inf
    assert found(torch.tensor([[1.0, -math.inf], [0.0, 1.0]])).asymmetry == math.inf


def test_an_asymmetry_beside_a_negative_variance_is_seen():
    matrix = torch.tensor([[-1.0, 0.5], [0.5 + 1e-12, 1.0]], dtype=DOUBLE)
    assert found(matrix).cause == "asymmetric"


def test_torch_minds_an_asymmetry_in_units_of_the_entry():
    matrix = torch.tensor([[1e8, 100.0], [100.0005, 1e8]])
    assert is_accepted(matrix)
    assert found(matrix).cause == "fine"


def test_what_is_not_asked_of_a_matrix_is_empty():
    finding = found(torch.eye(3))
    assert (finding.where, finding.columns_not_finite, finding.constant_columns) == (None, (), ())
    assert found(torch.tensor(CAUSES["nan"])).rank == 0
    one = torch.diag(torch.tensor([math.inf, 1.0]))
    assert found(one).has_infinite_variance


def test_what_is_zero_to_rounding_is_called_so_and_a_rank_is_of_the_singular():
    singular, fine = str(found(torch.ones(2, 2))), str(found(torch.tensor(CAUSES["fine"])))
    assert "smallest eigenvalue zero to rounding, largest 2" in singular
    assert "rank 1 of 2" in singular
    assert "smallest eigenvalue zero to rounding" in str(found(torch.zeros(2, 2)))
    assert "smallest eigenvalue 0.793, largest 2.21" in fine
    assert "rank" not in fine
    assert "rank" not in str(found(torch.tensor(CAUSES["indefinite"])))
