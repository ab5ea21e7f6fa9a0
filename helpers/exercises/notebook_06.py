"""Exercises of notebook 6: the way back of softplus, another Jacobian, and back to raw units."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "Parametrizations"  # of the notebook


def softplus_inverse(diagonal: Tensor) -> Tensor:
    """Free numbers whose softplus is a positive diagonal, without overflow."""
    return diagonal + torch.log(-torch.expm1(-diagonal))


def log_jacobian(scale_tril: Tensor) -> Tensor:
    """Log-determinant of the Jacobian of the row-scale map, from its numbers to the covariance."""
    d = len(scale_tril)
    return d * math.log(2) + (d + 1) * _log_diagonal(scale_tril).sum()


def to_raw_units(loc: Tensor, scale_tril: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance in raw units of a Gaussian fitted to (x - m) / s."""
    factor = s[:, None] * scale_tril
    return m + s * loc, factor @ factor.mT


def _log_diagonal(scale_tril: Tensor) -> Tensor:
    return scale_tril.diagonal().log()


def _places(scale_tril: Tensor) -> Tensor:
    """The numbers i of the rows, from 1."""
    return torch.arange(1, len(scale_tril) + 1, dtype=scale_tril.dtype)


def _of_covariance(scale_tril: Tensor) -> Tensor:
    """The part of the covariance: d Sigma / d L."""
    d = len(scale_tril)
    powers = d - _places(scale_tril) + 1
    return d * math.log(2) + (powers * _log_diagonal(scale_tril)).sum()


def _of_factor(scale_tril: Tensor) -> Tensor:
    """The part of the map: d L / d (a, b)."""
    return (_places(scale_tril) * _log_diagonal(scale_tril)).sum()


def _columns_scaled(loc: Tensor, scale_tril: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    factor = scale_tril * s
    return m + s * loc, factor @ factor.mT


def _divided(loc: Tensor, scale_tril: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    factor = scale_tril / s[:, None]
    return m + s * loc, factor @ factor.mT


def _scaled_once(loc: Tensor, scale_tril: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return m + s * loc, s[:, None] * (scale_tril @ scale_tril.mT)


def _by_squares(loc: Tensor, scale_tril: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    factor = s.square()[:, None] * scale_tril
    return m + s * loc, factor @ factor.mT


def _tensor(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


SOFTPLUS_CASES = (
    (_tensor(0.5, 1.0, 2.5),),
    (_tensor(0.001, 0.3, 20.0, 1000.0),),
)
JACOBIAN_CASES = (
    (_tensor([0.7, 0.0], [-0.9, 1.6]),),
    (_tensor([1.4, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.8, 0.3, 2.0]),),
)
UNIT_CASES = (
    (
        _tensor(0.1, -0.2),
        _tensor([0.9, 0.0], [-0.4, 0.8]),
        _tensor(746.9, 13.0),
        _tensor(314.0, 0.8),
    ),
    (
        _tensor(0.3, 0.0, -0.5),
        _tensor([1.1, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.8, 0.3, 0.7]),
        _tensor(-2.0, 5.0, 0.4),
        _tensor(3.0, 0.5, 20.0),
    ),
)

EXERCISES: dict[str, Exercise] = {
    "06.1": Exercise(
        solution=softplus_inverse,
        praise="small numbers and large ones lead back, and nothing overflows like e to the x.",
        cases=SOFTPLUS_CASES,
        mistakes={
            "this is the map itself; its way back is asked for.": lambda y: torch.logaddexp(
                y, torch.zeros_like(y)
            ),
            "this undoes the exponential; the softplus adds one before the logarithm.": torch.log,
            "the formula is right, and e to the 1000 is more than float64 holds.": lambda y: (
                torch.log(torch.expm1(y))
            ),
            "a term is missing: for large numbers the answer should be the number itself.": (
                lambda y: torch.log(-torch.expm1(-y))
            ),
            "the logarithm is subtracted; small numbers should have large negative a.": (
                lambda y: y - torch.log(-torch.expm1(-y))
            ),
            "the logarithm is missing: this is e to the a, not a.": lambda y: torch.expm1(y),
            "the one is subtracted after the logarithm, which leaves x - 1.": lambda y: y - 1,
        },
        hints=(
            "Solve y = log(1 + e^a) for a on paper first. The answer holds e^y, which overflows.",
            "Take e^y out of the bracket: log(e^y - 1) = y + log(1 - e^(-y)). "
            "Nothing overflows now.",
            "1 - e^(-y) loses digits for small y. `torch.expm1(x)` is e^x - 1 without that loss.",
        ),
    ),
    "06.2": Exercise(
        solution=log_jacobian,
        praise="it depends on the determinant of the covariance alone, and so in any order of the "
        "variables it is the same.",
        cases=JACOBIAN_CASES,
        mistakes={
            "this is the part of the covariance; that of the map from a and b is missing.": (
                _of_covariance
            ),
            "this is the part of the map; that of the covariance, which is given, is missing.": (
                _of_factor
            ),
            "this is the Jacobian of exp-Cholesky: here the b of a row are scaled too.": lambda t: (
                _of_covariance(t) + _log_diagonal(t).sum()
            ),
            "the map scales all rows alike here; row i holds i numbers, not d.": lambda t: (
                _of_covariance(t) + len(t) * _log_diagonal(t).sum()
            ),
            "row i holds i numbers: its b and its a, and a counts as well.": lambda t: (
                log_jacobian(t) - _log_diagonal(t).sum()
            ),
            "this is the column scale; here a scales its row, which holds i numbers.": lambda t: (
                2 * _of_covariance(t) - len(t) * math.log(2)
            ),
            "the factor 2 to the d is missing.": lambda t: log_jacobian(t) - len(t) * math.log(2),
            "one factor of 2 is there; each diagonal entry brings one.": lambda t: (
                log_jacobian(t) - (len(t) - 1) * math.log(2)
            ),
            "this is the determinant; its logarithm is asked for.": lambda t: log_jacobian(t).exp(),
            "the log-determinant of the covariance is taken for that of L: twice too much.": (
                lambda t: log_jacobian(t) + (len(t) + 1) * _log_diagonal(t).sum()
            ),
            "the sign is wrong: this is the way from the covariance to the numbers.": lambda t: (
                -log_jacobian(t)
            ),
        },
        hints=(
            "Two maps follow each other: from a and b to L, and from L to the covariance. "
            "Determinants multiply, logarithms add.",
            "Each entry of L depends on one number of its own and on the a of its row. "
            "Sorted by rows, that Jacobian is a triangle, and its diagonal is all you need.",
            "The diagonal holds e^(a_i) for every entry of row i, and row i has i entries. "
            "Add i log L_ii to (d - i + 1) log L_ii.",
        ),
    ),
    "06.3": Exercise(
        solution=to_raw_units,
        praise="the gap is the same in both units, so the verdict on the fit travels with it.",
        cases=UNIT_CASES,
        mistakes={
            "the mean is still in standard units.": lambda z, t, m, s: (
                z,
                to_raw_units(z, t, m, s)[1],
            ),
            "the mean is that of the data: what the fit says of it is lost.": lambda z, t, m, s: (
                m,
                to_raw_units(z, t, m, s)[1],
            ),
            "the mean was shifted and not scaled.": lambda z, t, m, s: (
                m + z,
                to_raw_units(z, t, m, s)[1],
            ),
            "the mean was scaled after it was shifted; it was shifted last, so undo that first.": (
                lambda z, t, m, s: (s * (m + z), to_raw_units(z, t, m, s)[1])
            ),
            "the covariance is still in standard units.": lambda z, t, m, s: (
                m + s * z,
                t @ t.mT,
            ),
            "the columns of the factor were scaled: a variable is a row of it.": _columns_scaled,
            "the factor was divided by the scales, which standardises once more.": _divided,
            "the covariance was scaled from one side only; both of its indices have units.": (
                _scaled_once
            ),
            "the scales are squared in the factor already; the product squares them again.": (
                _by_squares
            ),
            "this is the factor; its product with its transpose is asked for.": (
                lambda z, t, m, s: (m + s * z, s[:, None] * t)
            ),
            "the pair stands in the wrong order: the mean comes first.": lambda z, t, m, s: (
                to_raw_units(z, t, m, s)[::-1]
            ),
        },
        hints=(
            "Write x in terms of z. Then take the mean of both sides.",
            "x = m + s z, column by column. A factor of x is what turns standard normal draws "
            "into x - m, so its rows carry the units.",
            "Every row of `scale_tril` is multiplied by its own scale. The covariance is the "
            "product of that factor with its transpose.",
        ),
    ),
}
