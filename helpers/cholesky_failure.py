"""Why a matrix has no Cholesky factor, and what to do: a report for one matrix or a batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helpers.validation import as_tensor

FINE, NAN, ASYMMETRIC = "fine", "nan", "asymmetric"
RANK_DEFICIENT, INDEFINITE = "rank-deficient", "indefinite"
MOST_SHOWN = 5  # failing elements on a page
# As torch compares a matrix with its transpose, and in units of the scales beside it.
TORCH_ATOL, TORCH_RTOL, ROUNDINGS = 1e-6, 1e-5, 64

_MEANING = {
    NAN: "not a number, or infinite",
    ASYMMETRIC: "not symmetric",
    RANK_DEFICIENT: "singular: some combination of the columns has no variance left",
    INDEFINITE: "not a covariance: some combination of the columns has a negative variance",
}
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
        The cause that is left once the matrix is averaged with its transpose.
    where : tuple of int or None
        Row and column of the first NaN or infinity, or of the largest asymmetry.
    asymmetry : float
        Largest difference between an entry and its mirror image.
    smallest_eigenvalue, largest_eigenvalue : float
        Of the symmetric part, in the units of the matrix; NaN if it is not finite.
    rounding_level : float
        d * eps * largest eigenvalue: below it, the dtype cannot tell an eigenvalue from zero.
    rank : int
        Eigenvalues above the rounding level, all columns brought to one scale.
    constant_columns : tuple of int
        Columns without any variance.
    shrinkage : float or None
        Smallest alpha for which (1 - alpha) S + alpha tr(S)/d I has no eigenvalue below
        sqrt(eps) times the largest one of S, which leaves half of the digits; 0 where S has
        none itself, None where no alpha below one does.
    dtype : torch.dtype
    dim : int
    """

    index: tuple[int, ...]
    cause: str
    symmetrised: str
    where: tuple[int, int] | None
    asymmetry: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    rounding_level: float
    rank: int
    constant_columns: tuple[int, ...]
    shrinkage: float | None
    dtype: torch.dtype
    dim: int

    @property
    def is_barely_indefinite(self) -> bool:
        """Whether rounding in the sums over many rows may be all that is below zero."""
        half_the_digits = math.sqrt(torch.finfo(self.dtype).eps) * self.largest_eigenvalue
        return self.cause == INDEFINITE and -self.smallest_eigenvalue < half_the_digits

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
        if self.ok:
            return f"{count} matrices, all fine"
        causes = Counter(each.cause for each in self.failing)
        listed = ", ".join(f"{number} {cause}" for cause, number in causes.items())
        lines = [f"{len(self.failing)} of {count} matrices fail: {listed}"]
        lines += [str(each) for each in self.failing[:MOST_SHOWN]]
        left = len(self.failing) - MOST_SHOWN
        return "\n".join([*lines, *([f"and {left} more"] if left > 0 else [])])


def explain_cholesky_failure(matrix: Tensor) -> CholeskyReport:
    r"""Which matrices have no Cholesky factor, why, and what to do.

    A matrix is taken for positive definite if its smallest eigenvalue exceeds the rounding level
    :math:`d\,\epsilon\,\lambda_{\max}` of its dtype, and for indefinite if it lies as far below
    zero; between the two, rounding decides whether a factorisation comes to an end. There the
    question is asked once more with all columns at one scale, as a Cholesky factorisation does not
    depend on the units of the columns. Eigenvalues are computed in float64.

    Parameters
    ----------
    matrix : Tensor or array, shape (*batch, d, d)
        Any square matrices of float32 or float64; NaN and infinity are part of what is explained.

    Returns
    -------
    CholeskyReport

    Raises
    ------
    TypeError, ValueError
        If `matrix` is no floating point tensor of square matrices.

    References
    ----------
    Higham (2002), Accuracy and Stability of Numerical Algorithms, second edition, section 10.1.
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    Journal of Multivariate Analysis 88, 365-411.
    """
    matrix = as_tensor(matrix, "matrix")
    if matrix.ndim < 2 or not matrix.shape[-1] == matrix.shape[-2] > 0:
        raise ValueError(f"matrix: expected shape (..., dim, dim), got {tuple(matrix.shape)}")
    batch_shape, dim = tuple(matrix.shape[:-2]), matrix.shape[-1]
    flat = matrix.detach().reshape(math.prod(batch_shape), dim, dim).cpu()
    places = _places(batch_shape)
    measured = zip(places, flat, *_spectra(flat.double(), flat.dtype), strict=True)
    return CholeskyReport(batch_shape, tuple(_finding(*each) for each in measured))


def _places(batch_shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every index into a batch, in order; the empty one for a single matrix."""
    for number in range(math.prod(batch_shape)):
        place = []
        for length in reversed(batch_shape):
            number, digit = divmod(number, length)
            place.insert(0, digit)
        yield tuple(place)


def _spectra(matrix: Tensor, dtype: torch.dtype) -> tuple[Any, ...]:
    """Of each matrix (n, d, d) its unit (n,), and eigenvalues (n, d) in it and at one scale.

    The unit keeps sums of numbers near the largest that float64 holds from overflowing.
    """
    finite = matrix.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
    unit = torch.where(finite, matrix, 1.0).abs().amax(dim=(-2, -1))  # (n,)
    unit = torch.where(unit > 0, unit, 1.0)
    sound = torch.where(finite, matrix, 0.0) / unit[:, None, None]
    symmetric = sound / 2 + sound.mT / 2
    variance = symmetric.diagonal(dim1=-2, dim2=-1)  # (n, d)
    scale = torch.where(variance.abs() > torch.finfo(dtype).tiny, variance.abs().sqrt(), 1.0)
    one_scale = symmetric / scale[:, :, None] / scale[:, None, :]
    return unit.tolist(), torch.linalg.eigvalsh(symmetric), torch.linalg.eigvalsh(one_scale)


def _finding(
    index: tuple[int, ...], matrix: Tensor, unit: float, own: Tensor, one_scale: Tensor
) -> CholeskyFinding:
    dim, eps = len(own), torch.finfo(matrix.dtype).eps
    bad = (~matrix.isfinite()).nonzero().tolist()
    smallest, largest = (math.nan, math.nan) if bad else (own[0].item(), own[-1].item())
    apart, where = _asymmetry(matrix)
    symmetrised = NAN if bad else cause_by_eigenvalues(own, one_scale, dim * eps)
    diagonal = matrix.diagonal()
    return CholeskyFinding(
        index=index,
        cause=ASYMMETRIC if where and not bad else symmetrised,
        symmetrised=symmetrised,
        where=tuple(bad[0]) if bad else where,
        asymmetry=apart,
        smallest_eigenvalue=smallest * unit,
        largest_eigenvalue=largest * unit,
        rounding_level=dim * eps * max(abs(smallest), abs(largest)) * unit,
        rank=0 if bad else int((one_scale > dim * eps * one_scale.abs().max()).sum()),
        constant_columns=tuple((diagonal == 0).nonzero().flatten().tolist()),
        shrinkage=None if bad else _shrinkage(own, math.sqrt(eps)),
        dtype=matrix.dtype,
        dim=dim,
    )


def _asymmetry(matrix: Tensor) -> tuple[float, tuple[int, int] | None]:
    """Largest difference from the mirror image, and where, if rounding or torch minds it."""
    apart = torch.nan_to_num(matrix.double() - matrix.mT.double(), posinf=math.inf).abs()
    scale = matrix.diagonal().double().abs().sqrt()
    allowed = ROUNDINGS * torch.finfo(matrix.dtype).eps * scale[:, None] * scale
    minded = (apart > allowed) | (apart > TORCH_ATOL + TORCH_RTOL * matrix.double().abs())
    column, row = divmod(int(apart.argmax()), len(matrix))  # as it stands in the lower triangle
    return apart.max().item(), (row, column) if bool(minded.any()) else None


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
    """Smallest alpha that lifts the smallest eigenvalue to a share of the largest."""
    smallest, mean = eigenvalues[0].item(), eigenvalues.mean().item()
    wanted = share * eigenvalues.abs().max().item()
    if smallest >= wanted > 0:
        return 0.0
    return (wanted - smallest) / (mean - smallest) if mean > wanted else None


def _facts(found: CholeskyFinding) -> Iterator[str]:
    """What was measured, in lines; what is rounding noise is called zero."""
    if found.cause in _MEANING:
        yield _BARELY if found.is_barely_indefinite else _MEANING[found.cause]
    if found.cause == NAN:
        yield f"first at {found.where}"
        return
    if found.cause == ASYMMETRIC:
        yield f"entries {found.where} and {found.where[::-1]} differ by {found.asymmetry:.2g}"
        yield f"its symmetric part is {found.symmetrised}"
    is_zero = abs(found.smallest_eigenvalue) <= found.rounding_level
    smallest = "zero to rounding" if is_zero else f"{found.smallest_eigenvalue:.3g}"
    name = str(found.dtype).removeprefix("torch.")
    yield f"smallest eigenvalue {smallest}, largest {found.largest_eigenvalue:.3g}"
    yield f"rounding level of {name}: {found.rounding_level:.1g}"
    if is_zero and found.cause == FINE:
        yield "with all columns at one scale it stands above rounding"
    if found.cause == RANK_DEFICIENT:
        yield f"rank {found.rank} of {found.dim}"


def _advice(found: CholeskyFinding) -> Iterator[str]:
    if found.cause == NAN:
        yield "look at the data, or at the step before: this matrix is not where it began"
    elif found.cause == ASYMMETRIC:
        yield "symmetrise, (S + S.mT) / 2, if the difference is rounding"
        yield "if it is not, one triangle was never filled: torch factorises the lower one"
    elif found.cause == RANK_DEFICIENT or found.is_barely_indefinite:
        yield from _advice_for_singular(found)
    elif found.cause == INDEFINITE:
        yield "change the model: build the matrix from a factor, S = L @ L.mT, as a fit does"
        yield "estimate it from rows without gaps; pairwise estimates need not be a covariance"
        yield from _advice_to_shrink(found)


def _advice_for_singular(found: CholeskyFinding) -> Iterator[str]:
    if found.constant_columns:
        columns = ", ".join(map(str, found.constant_columns[:MOST_SHOWN]))
        yield f"drop the columns that never vary: {columns}"
    yield f"collect more than {found.dim} samples, or drop columns that repeat others"
    if found.dtype == torch.float32:
        yield "compute it in float64 from the data: the digits may be lost, not the variance"
    yield from _advice_to_shrink(found)
    yield "change the model: low rank plus diagonal needs fewer samples"


def _advice_to_shrink(found: CholeskyFinding) -> Iterator[str]:
    if found.shrinkage:
        # Rounded up, so that what is advised is enough.
        exponent = math.floor(math.log10(found.shrinkage)) - 1
        alpha = math.ceil(found.shrinkage / 10**exponent) * 10**exponent
        yield f"shrink, (1 - a) S + a tr(S)/d I, by a = {alpha:.2g} or more"
