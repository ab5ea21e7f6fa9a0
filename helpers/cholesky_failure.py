"""Why a matrix has no Cholesky factor, and what to do: a report for one matrix or a batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helpers.validation import as_tensor, require_count, rounding_of_sums, try_cholesky

FINE, NAN, ASYMMETRIC = "fine", "nan", "asymmetric"
RANK_DEFICIENT, INDEFINITE = "rank-deficient", "indefinite"
MOST_SHOWN = 5  # failing elements on a page, columns in a line
MANY_ROWS = 100_000  # whose sums a fine matrix may come from, where nothing is said of them
TAKES_PART = 0.1  # in a combination: the weight of a column beside the largest
# As torch compares a matrix with its transpose, and in units of the scales beside it.
TORCH_ATOL, TORCH_RTOL, ROUNDINGS = 1e-6, 1e-5, 64

_MEANING = {
    NAN: "not a number",
    ASYMMETRIC: "not symmetric",
    RANK_DEFICIENT: "singular: some combination of the columns has no variance left",
    INDEFINITE: "not a covariance: some combination of the columns has a negative variance",
}
_INFINITE = "infinite"
_BARELY = "barely below zero: perhaps a singular covariance whose sums over rows were rounded"


@dataclass(frozen=True)
class CholeskyFinding:
    """What is to be said about one matrix.

    Attributes
    ----------
    index : tuple of int
        Its place in the batch; empty for a single matrix.
    cause : {"fine", "nan", "asymmetric", "rank-deficient", "indefinite"}
        The first that holds, in the order nan, asymmetric, and then by the eigenvalues.
    symmetrised : str
        The cause that is left once the matrix is averaged with its transpose or, where a triangle
        was never filled, the other is mirrored.
    unfilled : {"upper", "lower"} or None
        The triangle that holds nothing but zeros, where the other holds more.
    where : tuple of int or None
        Row and column of the first NaN or infinity, or of the largest asymmetry.
    has_nan : bool
        Whether an entry is NaN; what is not finite without one is infinite.
    has_infinite_variance : bool
        Whether a variance is infinite, as where squares have overflowed.
    columns_not_finite : tuple of int
        Columns whose variance is NaN or infinite.
    asymmetry : float
        Largest difference between an entry and its mirror image.
    smallest_eigenvalue, largest_eigenvalue : float
        Of the symmetric part, in the units of the matrix; NaN if it is not finite. Of the mirrored
        triangle where the other was never filled.
    smallest_at_one_scale, largest_at_one_scale : float
        The same with all columns brought to one scale: of the correlations, that is, where all
        variances are above zero.
    rounding_level : float
        d * eps * largest eigenvalue, or 4 * eps * (d + sqrt(count)) * largest eigenvalue: below
        it, the dtype cannot tell an eigenvalue from zero.
    rank : int
        Eigenvalues above the rounding level, all columns brought to one scale.
    constant_columns : tuple of int
        Columns without any variance.
    negative_variances : tuple of int
        Columns whose variance is below zero.
    columns_at_fault : tuple of int
        Columns of which a combination has no variance, or a negative one; empty where they are
        more than five, or all there are.
    keeps_variances : bool
        Whether to shrink towards the diagonal of S, which keeps every variance whatever its
        units; else towards tr(S)/d I, as a variance on the diagonal is not above zero.
    shrinkage : float or None
        Smallest alpha, rounded up to two digits, for which (1 - alpha) S + alpha T has no
        eigenvalue below sqrt(eps) times the largest one of S, so that about half of the digits
        survive. T is the diagonal of S, and eigenvalues those with all columns at one scale; or
        T is tr(S)/d I, and they are taken as they are. 0 where S needs none, None where no alpha
        up to one is enough.
    dtype : torch.dtype
    dim : int
    count : int
        Rows that the matrix was said to be summed over; 0 if nothing was said.
    is_barely_fine : bool
        Whether nothing was said, and a fit would refuse it as the covariance of very many rows.
    """

    index: tuple[int, ...]
    cause: str
    symmetrised: str
    unfilled: str | None
    where: tuple[int, int] | None
    has_nan: bool
    has_infinite_variance: bool
    columns_not_finite: tuple[int, ...]
    asymmetry: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    smallest_at_one_scale: float
    largest_at_one_scale: float
    rounding_level: float
    rank: int
    constant_columns: tuple[int, ...]
    negative_variances: tuple[int, ...]
    columns_at_fault: tuple[int, ...]
    keeps_variances: bool
    shrinkage: float | None
    dtype: torch.dtype
    dim: int
    count: int
    is_barely_fine: bool

    @property
    def is_barely_indefinite(self) -> bool:
        """Whether rounding in the sums over many rows may be all that is below zero.

        Asked with all columns at one scale: beside the variance of a column in small units, a
        correlation far above one would look like rounding.
        """
        smallest, largest = self.smallest_eigenvalue, self.largest_eigenvalue
        if self.keeps_variances:
            smallest, largest = self.smallest_at_one_scale, self.largest_at_one_scale
        half_the_digits = math.sqrt(torch.finfo(self.dtype).eps) * largest
        return self.symmetrised == INDEFINITE and -smallest < half_the_digits

    @property
    def is_too_small(self) -> bool:
        """Whether the numbers lie so near the smallest of their dtype that digits are missing."""
        return 0 < self.largest_eigenvalue < _smallest_with_all_digits(self.dtype)

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do, the best first."""
        return tuple(_advice(self))

    def __str__(self) -> str:
        name = f"element {', '.join(map(str, self.index))}: " if self.index else ""
        facts = [f"{name}{self.cause}", *(f"  {line}" for line in _facts(self))]
        return "\n".join([*facts, *(f"  - {line}" for line in self.advice)])


@dataclass(frozen=True)
class CholeskyReport:
    """What is to be said about each matrix of a batch; `print` it for the page.

    Attributes
    ----------
    batch_shape : tuple of int
        Empty for a single matrix.
    findings : tuple of CholeskyFinding
        One for each matrix, in order.
    """

    batch_shape: tuple[int, ...]
    findings: tuple[CholeskyFinding, ...]

    @property
    def failing(self) -> tuple[CholeskyFinding, ...]:
        """Those that are not fine."""
        return tuple(each for each in self.findings if each.cause != FINE)

    @property
    def ok(self) -> bool:
        """Whether all of them are fine."""
        return not self.failing

    @property
    def cause(self) -> str:
        """The cause of the first that fails; "fine" where none does."""
        return self.failing[0].cause if self.failing else FINE

    def __str__(self) -> str:
        if not self.batch_shape:
            return str(self.findings[0])
        count = len(self.findings)
        if not count:
            return "no matrices"
        if self.ok:
            return f"{count} matrices, all fine"
        causes = Counter(each.cause for each in self.failing)
        listed = ", ".join(f"{number} {cause}" for cause, number in causes.items())
        lines = [f"{len(self.failing)} of {count} matrices fail: {listed}"]
        lines += [str(each) for each in self.failing[:MOST_SHOWN]]
        left = len(self.failing) - MOST_SHOWN
        return "\n".join([*lines, *([f"and {left} more"] if left > 0 else [])])


def explain_cholesky_failure(matrix: Tensor, *, count: int = 0) -> CholeskyReport:
    r"""Which matrices have no Cholesky factor, why, and what to do.

    A matrix is taken for positive definite if its smallest eigenvalue exceeds the rounding level
    :math:`d\,\epsilon\,\lambda_{\max}` of its dtype, and for indefinite if it lies as far below
    zero; between the two, rounding decides whether a factorisation comes to an end. There the
    question is asked once more with all columns at one scale, as a Cholesky factorisation does not
    depend on the units of the columns. Eigenvalues are computed in float64.

    Sums over n rows are rounded by more, about :math:`\epsilon \sqrt n`. With `count`, the answer
    is "fine" where `maximum_likelihood` and `fit` accept the covariance of so many rows, and
    nowhere else.

    Parameters
    ----------
    matrix : Tensor or array, shape (*batch, d, d)
        Any square matrices of float32 or float64; NaN and infinity are part of what is explained.
    count : int
        Number of samples n that a covariance was computed from; 0 if that is not known.

    Returns
    -------
    CholeskyReport
        `print` it for the page. `ok` says whether all matrices are fine, `cause` why the first that
        is not fails: "nan", "asymmetric", "rank-deficient" or "indefinite". `findings` has one
        finding for each matrix of a batch of shape `batch_shape`, in order, and `failing` those
        that are not fine. Of a finding, `index` is its place in the batch and `advice` what to do,
        the best first; `smallest_eigenvalue`, `largest_eigenvalue`, `rounding_level`, `rank`,
        `constant_columns`, `negative_variances` and `columns_at_fault` are what was measured, and
        `shrinkage` is the smallest that mends it.

    Raises
    ------
    TypeError, ValueError
        If `matrix` is no floating point tensor of square matrices, or `count` no whole number.

    References
    ----------
    Higham (2002), Accuracy and Stability of Numerical Algorithms, second edition, section 10.1.
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    Journal of Multivariate Analysis 88, 365-411.
    Schäfer and Strimmer (2005), A shrinkage approach to large-scale covariance matrix estimation.
    Statistical Applications in Genetics and Molecular Biology 4, 32 (target D, the diagonal).
    """
    matrix = as_tensor(matrix, "matrix")
    if matrix.ndim < 2 or not matrix.shape[-1] == matrix.shape[-2] > 0:
        raise ValueError(
            f"matrix: expected shape (..., dim, dim) and a dim above 0, got {tuple(matrix.shape)}"
        )
    count = require_count(count, "count", minimum=0)
    batch_shape, dim = tuple(matrix.shape[:-2]), matrix.shape[-1]
    flat = matrix.detach().reshape(math.prod(batch_shape), dim, dim).cpu()
    measured = zip(_places(batch_shape), flat, *_measured(flat, count), strict=True)
    return CholeskyReport(batch_shape, tuple(_finding(count, *each) for each in measured))


def _places(batch_shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every index into a batch, in order; the empty one for a single matrix."""
    for number in range(math.prod(batch_shape)):
        place = []
        for length in reversed(batch_shape):
            number, digit = divmod(number, length)
            place.insert(0, digit)
        yield tuple(place)


def _measured(matrix: Tensor, count: int) -> Iterator[Any]:
    """What is asked of all matrices (n, d, d) at once: for each quantity its n values."""
    level = _rounding_of(matrix, count)
    largest, where, is_asymmetric = _asymmetry(matrix, ROUNDINGS * torch.finfo(matrix.dtype).eps)
    no_upper, no_lower = _unfilled(matrix, is_asymmetric)
    mirrored = _mirrored(matrix, no_upper, no_lower)
    unit, own, scaled, positive = _spectra(mirrored, matrix.dtype)
    one_scale = torch.linalg.eigvalsh(scaled)
    is_fine = own[:, 0] > level * own.abs().amax(dim=1)
    rank = (one_scale > level * one_scale.abs().amax(dim=1)[:, None]).sum(1)
    if count:
        is_fine = _is_accepted(mirrored.to(matrix.dtype), count)
        rank = torch.where(is_fine, own.shape[1], rank.clamp(max=own.shape[1] - 1))
    yield matrix.isfinite().flatten(1).all(dim=1).tolist()
    yield from (largest.tolist(), where.tolist(), is_asymmetric.tolist())
    yield from (no_upper.tolist(), no_lower.tolist())
    yield unit.tolist()
    yield from (own, own[:, 0].tolist(), own[:, -1].tolist(), one_scale, scaled)
    yield from (is_fine.tolist(), rank.tolist(), positive.tolist())


def _rounding_of(matrix: Tensor, count: int) -> float:
    """What rounding may move the eigenvalues of (*batch, d, d) by, relatively to the largest."""
    own = matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    return rounding_of_sums(matrix, count) if count else own


def _is_accepted(matrix: Tensor, count: int) -> Tensor:
    """Which matrices, (n,), a fit takes for covariances of so many rows."""
    symmetric = matrix / 2 + matrix.mT / 2
    return ~try_cholesky(symmetric, count)[1]


def _spectra(matrix: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each matrix (n, d, d) its unit (n,), eigenvalues (n, d) in it, and itself at one scale.

    The unit keeps sums of numbers near the largest that float64 holds from overflowing. The last
    that is returned (n,) tells whether all variances are above zero.
    """
    finite = matrix.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
    unit = torch.where(finite, matrix, 1.0).abs().amax(dim=(-2, -1))  # (n,)
    unit = torch.where(unit > 0, unit, 1.0)
    sound = torch.where(finite, matrix, 0.0) / unit[:, None, None]
    symmetric = sound / 2 + sound.mT / 2
    variance = symmetric.diagonal(dim1=-2, dim2=-1)  # (n, d)
    counts = (variance * unit[:, None]).abs() > torch.finfo(dtype).tiny  # else it is taken for 0
    scale = torch.where(counts, variance.abs().sqrt(), 1.0)
    scaled = symmetric / scale[:, :, None] / scale[:, None, :]
    positive = (counts & (variance > 0)).all(dim=-1)
    return unit, torch.linalg.eigvalsh(symmetric), scaled, positive


def _unfilled(matrix: Tensor, is_asymmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Which matrices (n, d, d) have nothing above, and which nothing below the diagonal."""
    above = matrix.triu(1).count_nonzero(dim=(-2, -1)) == 0
    below = matrix.tril(-1).count_nonzero(dim=(-2, -1)) == 0
    return is_asymmetric & above & ~below, is_asymmetric & below & ~above


def _mirrored(matrix: Tensor, no_upper: Tensor, no_lower: Tensor) -> Tensor:
    """In float64, with a triangle that was never filled taken from the other."""
    double, missing = matrix.double(), (no_upper | no_lower)[:, None, None]
    beside = double - torch.diag_embed(double.diagonal(dim1=-2, dim2=-1))
    return torch.where(missing, double + beside.mT, double)


def _asymmetry(matrix: Tensor, roundings: float) -> tuple[Tensor, Tensor, Tensor]:
    """Largest difference from the mirror image, where, and if rounding or torch minds any."""
    matrix = matrix.double()
    apart = torch.nan_to_num(matrix - matrix.mT, posinf=math.inf).abs()
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().sqrt()
    allowed = roundings * scale[:, :, None] * scale[:, None, :]
    minded = (apart > allowed) | (apart > TORCH_ATOL + TORCH_RTOL * matrix.abs())
    largest, where = apart.flatten(1).max(dim=1)
    return largest, where, minded.flatten(1).any(dim=1)


def _finding(
    count: int,
    index: tuple[int, ...],
    matrix: Tensor,
    is_finite: bool,
    asymmetry: float,
    place: int,
    is_asymmetric: bool,
    has_no_upper: bool,
    has_no_lower: bool,
    unit: float,
    own: Tensor,
    smallest: float,
    largest: float,
    one_scale: Tensor,
    scaled: Tensor,
    is_fine: bool,
    rank: int,
    has_variances: bool,
) -> CholeskyFinding:
    """What was measured, as a finding; only a matrix that is not fine is looked at again."""
    dim, cause, where = len(matrix), FINE, None
    eps, level = torch.finfo(matrix.dtype).eps, _rounding_of(matrix, count)
    if is_finite and is_asymmetric:
        column, row = divmod(place, dim)  # as it stands in the lower triangle
        where = (row, column)
    if not is_finite:
        smallest = largest = math.nan
        cause, rank = NAN, 0
        first_row, first_column = (~matrix.isfinite()).nonzero()[0].tolist()
        where = (first_row, first_column)
    elif not is_fine:
        cause = cause_by_eigenvalues(own, one_scale, level)
        if count and cause == FINE:  # in its own units, or by so little that a fit refuses it
            cause = RANK_DEFICIENT
    sound = is_fine and is_finite
    diagonal = None if sound else matrix.diagonal()
    shrunk = one_scale if has_variances else own
    is_at_fault = has_variances and cause in (RANK_DEFICIENT, INDEFINITE)
    return CholeskyFinding(
        index=index,
        cause=ASYMMETRIC if is_finite and is_asymmetric else cause,
        symmetrised=cause,
        unfilled="upper" if has_no_upper else "lower" if has_no_lower else None,
        where=where,
        has_nan=not is_finite and bool(matrix.isnan().any()),
        has_infinite_variance=not is_finite and bool(matrix.diagonal().isinf().any()),
        columns_not_finite=() if is_finite else _columns(~matrix.diagonal().isfinite()),
        asymmetry=asymmetry,
        smallest_eigenvalue=smallest * unit,
        largest_eigenvalue=largest * unit,
        smallest_at_one_scale=one_scale[0].item() if is_finite else math.nan,
        largest_at_one_scale=one_scale[-1].item() if is_finite else math.nan,
        rounding_level=level * max(abs(smallest), abs(largest)) * unit,
        rank=rank,
        constant_columns=() if diagonal is None else _columns(diagonal == 0),
        negative_variances=() if diagonal is None else _columns(diagonal < 0),
        columns_at_fault=_at_fault(scaled, level) if is_at_fault else (),
        keeps_variances=has_variances,
        shrinkage=_shrinkage(shrunk, math.sqrt(eps)) if is_finite else None,
        dtype=matrix.dtype,
        dim=dim,
        count=count,
        is_barely_fine=not count
        and cause == FINE
        and one_scale[0].item() <= rounding_of_sums(matrix, MANY_ROWS),
    )


def _columns(chosen: Tensor) -> tuple[int, ...]:
    return tuple(chosen.nonzero().flatten().tolist())


def _at_fault(scaled: Tensor, rounding: float) -> tuple[int, ...]:
    """Columns that take part in combinations without positive variance, if few of them do."""
    values, vectors = torch.linalg.eigh(scaled)
    part = vectors[:, values <= rounding * values.abs().max()].square().sum(dim=1).sqrt()  # (d,)
    found = _columns(part > TAKES_PART * part.max())
    return found if len(found) <= min(MOST_SHOWN, len(scaled) - 1) else ()


def _smallest_with_all_digits(dtype: torch.dtype) -> float:
    """Below it, a rounding of the number is no number of full precision any more."""
    return torch.finfo(dtype).tiny / torch.finfo(dtype).eps


def cause_by_eigenvalues(own: Tensor, one_scale: Tensor, rounding: float) -> str:
    """The cause from the eigenvalues, in the matrix's own units and then at one scale."""
    for eigenvalues in (own, one_scale):
        level = rounding * eigenvalues.abs().max()
        if eigenvalues[0] < -level:
            return INDEFINITE
        if eigenvalues[0] > level:
            return FINE
    return RANK_DEFICIENT


def _shrinkage(eigenvalues: Tensor, share: float) -> float | None:
    """Smallest alpha that lifts the smallest eigenvalue to a share of the largest, rounded up."""
    values = eigenvalues.tolist()
    smallest, mean = values[0], sum(values) / len(values)
    wanted = share * max(abs(smallest), abs(values[-1]))
    if smallest >= wanted > 0:
        return 0.0
    if mean <= wanted:
        return None
    alpha = (wanted - smallest) / (mean - smallest)
    digit = 10.0 ** (math.floor(math.log10(alpha)) - 1)
    return float(f"{math.ceil(alpha / digit) * digit:.2g}")


def _facts(found: CholeskyFinding) -> Iterator[str]:
    """What was measured, in lines; what is rounding noise is called zero."""
    if found.cause == NAN:
        yield _MEANING[NAN] if found.has_nan else _INFINITE
        columns = found.columns_not_finite
        at = f"columns whose variance is not finite: {_listed(columns)}"
        yield at if columns else f"first at {found.where}"
        return
    if found.cause == ASYMMETRIC:
        yield _MEANING[ASYMMETRIC]
        yield f"entries {found.where} and {found.where[::-1]} differ by {found.asymmetry:.2g}"
        named = "with the other triangle mirrored it" if found.unfilled else "its symmetric part"
        yield f"{named} is {found.symmetrised}"
    if found.is_barely_indefinite:
        yield _BARELY
    elif found.cause in (RANK_DEFICIENT, INDEFINITE):
        yield _MEANING[found.cause]
    if found.negative_variances:
        yield f"columns whose variance is negative: {_listed(found.negative_variances)}"
    if found.columns_at_fault and not _may_be_singular(found):
        yield f"columns that contradict each other: {_listed(found.columns_at_fault)}"
    is_zero = abs(found.smallest_eigenvalue) <= found.rounding_level
    smallest = "zero to rounding" if is_zero else f"{found.smallest_eigenvalue:.3g}"
    name = str(found.dtype).removeprefix("torch.")
    yield f"smallest eigenvalue {smallest}, largest {found.largest_eigenvalue:.3g}"
    summed = f" over {found.count} rows" if found.count else ""
    yield f"rounding level of {name}{summed}: {found.rounding_level:.1g}"
    if is_zero and found.symmetrised == FINE:
        yield "with all columns at one scale it stands above rounding"
    elif is_zero and found.symmetrised == INDEFINITE:
        one_scale = f"{found.smallest_at_one_scale:.3g}, largest {found.largest_at_one_scale:.3g}"
        yield f"with all columns at one scale: smallest {one_scale}"
    if found.is_barely_fine:
        yield "near the rounding of sums over many rows: fit may refuse it (count=n tells)"
    if found.symmetrised == RANK_DEFICIENT:
        yield f"rank {found.rank} of {found.dim}"


def _listed(columns: tuple[int, ...]) -> str:
    left = len(columns) - MOST_SHOWN
    shown = ", ".join(map(str, columns[:MOST_SHOWN]))
    return f"{shown} and {left} more" if left > 0 else shown


def _advice(found: CholeskyFinding) -> Iterator[str]:
    if found.cause == NAN:
        columns = "these columns of the data" if found.columns_not_finite else "the data"
        yield f"look for gaps in {columns}: x.isfinite().all(dim=0)"
        if found.has_infinite_variance:
            wider = "compute it in float64, or " if found.dtype == torch.float32 else ""
            yield f"if there are none, squares have overflowed: {wider}choose larger units"
        yield "in a training loop, stop at the first loss that is not finite"
        return
    if found.cause == ASYMMETRIC:
        yield from _advice_for_asymmetric(found)
        if found.symmetrised != FINE:
            yield f"then, for the {'mirrored matrix' if found.unfilled else 'symmetric part'}:"
    if _may_be_singular(found):
        yield from _advice_for_singular(found)
    elif found.symmetrised == INDEFINITE:
        yield from _advice_for_indefinite(found)


def _may_be_singular(found: CholeskyFinding) -> bool:
    return found.symmetrised == RANK_DEFICIENT or found.is_barely_indefinite


def _advice_for_asymmetric(found: CholeskyFinding) -> Iterator[str]:
    if found.unfilled == "upper":
        yield "if it is a Cholesky factor L, pass it as scale_tril, or the product L @ L.mT"
        yield "if one triangle was never filled, mirror the other: S.tril() + S.tril(-1).mT"
    elif found.unfilled == "lower":
        yield "if it is an upper Cholesky factor R, as SciPy returns it, pass R.mT as scale_tril"
        yield "if one triangle was never filled, mirror the other: S.triu() + S.triu(1).mT"
    else:
        yield "symmetrise, (S + S.mT) / 2, if the difference is rounding"
        yield "if it is more, one of the two is wrong; a factorisation reads the lower triangle"


def _advice_for_singular(found: CholeskyFinding) -> Iterator[str]:
    if found.dim == 1:
        yield "look at the data: all samples are equal, or there is one only"
        return
    if found.is_too_small:
        yield "choose smaller units for the data: numbers this small have lost digits"
        return
    yield from _advice_for_negative_variances(found)
    if found.constant_columns:
        yield f"drop the columns that never vary: {_listed(found.constant_columns)}"
    if found.columns_at_fault:
        columns = _listed(found.columns_at_fault)
        yield f"drop one of the columns {columns}: it is known from the others"
    else:
        yield f"collect more than {found.dim} samples, or drop columns that repeat others"
    if found.dtype == torch.float32:
        yield "compute it in float64 from the data: the digits may be lost, not the variance"
    yield from _advice_to_shrink(found)
    yield "change the model: low rank plus diagonal needs fewer samples"


def _advice_for_indefinite(found: CholeskyFinding) -> Iterator[str]:
    if found.dim == 1:
        yield "change the model: learn the logarithm of a variance"
        yield "estimate it as the mean of squares after the mean has been taken off"
        return
    yield from _advice_for_negative_variances(found)
    yield "change the model: build the matrix from a factor, S = L @ L.mT, as a fit does"
    yield "estimate it from rows without gaps; pairwise estimates need not be a covariance"
    yield from _advice_to_shrink(found)


def _advice_for_negative_variances(found: CholeskyFinding) -> Iterator[str]:
    if found.negative_variances:
        yield "take the mean off before squares are summed: a difference of moments loses digits"


def _advice_to_shrink(found: CholeskyFinding) -> Iterator[str]:
    if found.shrinkage:
        target = "towards the diagonal, (1 - a) S + a diag(S)"
        if not found.keeps_variances:
            target = "(1 - a) S + a tr(S)/d I, as a variance on the diagonal is not above zero"
        enough = f"by a = {found.shrinkage:.2g} or more; choose a on held-out rows"
        yield f"shrink {target}, {enough}"
