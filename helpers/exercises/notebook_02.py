"""Exercises of notebook 02: out of raw parameters, out of N - 1, out of standard units."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

_RAW = (
    torch.tensor([[0.2, 0.7], [-0.5, -0.3]], dtype=torch.float64),
    torch.tensor([[-0.4, 0.9, 0.1], [0.3, 0.5, -0.8], [-1.1, 0.6, 0.25]], dtype=torch.float64),
)
_COVARIANCES = (
    torch.tensor([[2.0, -0.6], [-0.6, 1.5]], dtype=torch.float64),
    torch.tensor([[4.0, 1.0, 0.5], [1.0, 3.0, -0.7], [0.5, -0.7, 0.9]], dtype=torch.float64),
)
_CORRELATIONS = (
    torch.tensor([[1.0, -0.4], [-0.4, 1.0]], dtype=torch.float64),
    torch.tensor([[1.0, 0.5, 0.2], [0.5, 1.0, -0.3], [0.2, -0.3, 1.0]], dtype=torch.float64),
)
_SCALES = (
    torch.tensor([3.0, 0.5], dtype=torch.float64),
    torch.tensor([0.2, 1.5, 40.0], dtype=torch.float64),
)


def _factor(raw: Tensor) -> Tensor:
    return raw.tril(-1) + raw.diagonal().exp().diag()


def _covariance_from_raw(raw: Tensor) -> Tensor:
    scale_tril = _factor(raw)
    return scale_tril @ scale_tril.mT


def _without_exponential(raw: Tensor) -> Tensor:
    return raw.tril() @ raw.tril().mT


def _exponential_everywhere(raw: Tensor) -> Tensor:
    return raw.exp().tril() @ raw.exp().tril().mT


def _without_mask(raw: Tensor) -> Tensor:
    full = raw - raw.diagonal().diag() + raw.diagonal().exp().diag()
    return full @ full.mT


def _transposed(raw: Tensor) -> Tensor:
    return _factor(raw).mT @ _factor(raw)


def _squared(raw: Tensor) -> Tensor:
    return _factor(raw) @ _factor(raw)


EXERCISES = {
    "02.1": Exercise(
        solution=_covariance_from_raw,
        praise="right; it is what .covariance_matrix returns.",
        cases=[(raw,) for raw in _RAW],
        mistakes={
            "this multiplies the raw parameters, as the textbook does; they are no factor yet.": (
                lambda raw: raw @ raw.mT
            ),
            "the triangle is right, but its diagonal still holds logarithms.": _without_exponential,
            "the entries below the diagonal are no logarithms; leave them as they are.": (
                _exponential_everywhere
            ),
            "the rubbish above the diagonal found its way into your factor.": _without_mask,
            "your factor is right; the transpose stands on the wrong side of the product.": (
                _transposed
            ),
            "your factor is right, but its plain square is not symmetric.": _squared,
            "this is the Cholesky factor; a covariance takes one more step.": _factor,
        },
    ),
    "02.2": Exercise(
        solution=lambda covariance_matrix, n: covariance_matrix * (n - 1) / n,
        praise="right; the sum of squares is the same, only its divisor has changed.",
        cases=[(_COVARIANCES[0], 5), (_COVARIANCES[1], 40)],
        mistakes={
            "the ratio is upside down: the larger divisor gives the smaller variance.": (
                lambda covariance_matrix, n: covariance_matrix * n / (n - 1)
            ),
            "this is the sum of squares about the mean; it still has to be divided.": (
                lambda covariance_matrix, n: covariance_matrix * (n - 1)
            ),
            "you divided twice: what came in is not a sum any more.": (
                lambda covariance_matrix, n: covariance_matrix / n
            ),
            "nothing has changed: what came in was divided by n - 1.": (
                lambda covariance_matrix, n: covariance_matrix
            ),
            "one too many: one is taken from n, not two.": (
                lambda covariance_matrix, n: covariance_matrix * (n - 2) / (n - 1)
            ),
            "a difference of divisors scales every entry; it does not shift it.": (
                lambda covariance_matrix, n: covariance_matrix - 1 / n
            ),
            "that would be right for standard deviations; a covariance is a square.": (
                lambda covariance_matrix, n: covariance_matrix * ((n - 1) / n) ** 0.5
            ),
        },
    ),
    "02.3": Exercise(
        solution=lambda standardised, scale: scale[:, None] * standardised * scale,
        praise="right; the correlations have not moved.",
        cases=list(zip(_CORRELATIONS, _SCALES, strict=True)),
        mistakes={
            "nothing has changed: these are still standard units.": (
                lambda standardised, scale: standardised
            ),
            "you scaled the rows; an entry belongs to two variables.": (
                lambda standardised, scale: scale[:, None] * standardised
            ),
            "you scaled the columns; an entry belongs to two variables.": (
                lambda standardised, scale: standardised * scale
            ),
            "this goes the wrong way: it standardises once more.": (
                lambda standardised, scale: standardised / (scale[:, None] * scale)
            ),
            "you used variances on both sides; the diagonal is off by a factor of a variance.": (
                lambda standardised, scale: scale[:, None] ** 2 * standardised * scale**2
            ),
            "you used variances on one side only; the result is not symmetric.": (
                lambda standardised, scale: scale[:, None] ** 2 * standardised
            ),
            "the diagonal is right, the entries beside it are still correlations.": (
                lambda standardised, scale: (
                    standardised - standardised.diagonal().diag() + scale.square().diag()
                )
            ),
        },
    ),
}
