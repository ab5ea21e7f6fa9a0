"""Exercises of notebook 3: the loss, its gradient, and errors in standard errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

LOG_2PI = math.log(2 * math.pi)


def _log_det(precision_tril: Tensor) -> Tensor:
    """Log-determinant of the covariance, the inverse of the precision."""
    return -2 * precision_tril.diagonal().log().sum()


def _distance(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    """Mean squared Mahalanobis distance."""
    return ((x - loc) @ precision_tril).square().sum(dim=-1).mean()


def _mean_nll(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    constant = len(loc) * LOG_2PI
    return 0.5 * (constant + _log_det(precision_tril) + _distance(x, loc, precision_tril))


def _nll_from(distance: Tensor, precision_tril: Tensor) -> Tensor:
    """What the mean NLL would be if `distance` were the mean squared distance."""
    return 0.5 * (len(precision_tril) * LOG_2PI + _log_det(precision_tril) + distance)


def _transposed(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    return _nll_from(_distance(x, loc, precision_tril.mT), precision_tril)


def _solved(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    whitened = torch.linalg.solve_triangular(precision_tril, (x - loc).mT, upper=False)
    return _nll_from(whitened.square().sum(dim=0).mean(), precision_tril)


def _not_squared(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    lengths = ((x - loc) @ precision_tril).norm(dim=-1)
    return _nll_from(lengths.mean(), precision_tril)


def _gradient_of_loc(loc: Tensor, scale_tril: Tensor, mean: Tensor) -> Tensor:
    return torch.cholesky_solve((loc - mean)[:, None], scale_tril)[:, 0]


def _once_solved(loc: Tensor, scale_tril: Tensor, mean: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(scale_tril, (loc - mean)[:, None], upper=False)[:, 0]


def _standard_error(truth: Tensor, n: int) -> Tensor:
    variance = truth.diagonal()
    return ((variance[:, None] * variance + truth.square()) / n).sqrt()


def _z_scores(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    return (fitted - truth) / _standard_error(truth, n)


def _without_covariance(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    variance = truth.diagonal()
    return (fitted - truth) / (variance[:, None] * variance / n).sqrt()


def _as_on_the_diagonal(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    return (fitted - truth) / (2 * truth.square() / n).sqrt()


def _not_squared_covariance(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    variance = truth.diagonal()
    return (fitted - truth) / ((variance[:, None] * variance + truth.abs()) / n).sqrt()


def _tensor(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


NLL_CASES = (
    (
        _tensor([0.4, -1.0], [1.3, 0.2], [-0.6, 2.1]),
        _tensor(0.5, -0.3),
        _tensor([0.7, 0.0], [-0.9, 1.6]),
    ),
    (
        _tensor([2.0, 0.1, -0.4], [0.3, 1.5, 0.8], [1.1, -0.7, 0.2], [0.6, 0.9, -1.2]),
        _tensor(1.0, 0.5, -0.2),
        _tensor([1.4, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.8, 0.3, 2.0]),
    ),
)
GRADIENT_CASES = (
    (_tensor(0.5, -0.3), _tensor([0.7, 0.0], [-0.9, 1.6]), _tensor(1.2, 0.4)),
    (
        _tensor(1.0, 0.5, -0.2),
        _tensor([1.4, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.8, 0.3, 2.0]),
        _tensor(0.1, 0.7, 0.4),
    ),
)
Z_CASES = (
    (_tensor([1.2, 0.4], [0.4, 1.7]), _tensor([1.0, 0.5], [0.5, 2.0]), 100),
    (
        _tensor([0.6, -0.1, 0.3], [-0.1, 2.5, 0.9], [0.3, 0.9, 3.3]),
        _tensor([0.5, -0.2, 0.1], [-0.2, 3.0, 1.1], [0.1, 1.1, 2.8]),
        40,
    ),
)

EXERCISES: dict[str, Exercise] = {
    "03.1": Exercise(
        solution=_mean_nll,
        praise="and no system was solved. That is why some models learn a precision.",
        cases=NLL_CASES,
        mistakes={
            "this is the mean log-probability; a loss has the opposite sign.": lambda x, m, p: (
                -_mean_nll(x, m, p)
            ),
            "the log-determinant has the wrong sign: a large precision is a small spread.": (
                lambda x, m, p: _mean_nll(x, m, p) - _log_det(p)
            ),
            "half of the log-determinant is missing.": (
                lambda x, m, p: _mean_nll(x, m, p) - 0.25 * _log_det(p)
            ),
            "you are off by exactly half the log-determinant: too much of it is there.": (
                lambda x, m, p: _mean_nll(x, m, p) + 0.5 * _log_det(p)
            ),
            "the log-determinant is missing: without it, the smaller the precision the better.": (
                lambda x, m, p: _mean_nll(x, m, p) - 0.5 * _log_det(p)
            ),
            "you are off by a constant that depends on d alone.": lambda x, m, p: (
                _mean_nll(x, m, p) - 0.5 * len(m) * LOG_2PI
            ),
            "the constant counts one variable; here there are d of them.": lambda x, m, p: (
                _mean_nll(x, m, p) - 0.5 * (len(m) - 1) * LOG_2PI
            ),
            "this is the sum over the samples; the mean is asked for.": lambda x, m, p: (
                len(x) * _mean_nll(x, m, p)
            ),
            "the constant and the log-determinant are per sample, the distances are summed.": (
                lambda x, m, p: _nll_from(len(x) * _distance(x, m, p), p)
            ),
            "everything is right except for one factor, in front of the whole.": lambda x, m, p: (
                2 * _mean_nll(x, m, p)
            ),
            "the distances are from the origin, not from loc.": lambda x, m, p: _mean_nll(
                x, torch.zeros_like(m), p
            ),
            "the factor meets the samples on the wrong side: compare P with its transpose.": (
                _transposed
            ),
            "you solve with P as if it were the factor of the covariance.": _solved,
            "the distances are not squared.": _not_squared,
        },
    ),
    "03.2": Exercise(
        solution=_gradient_of_loc,
        praise="it vanishes at the sample mean, whatever the covariance is.",
        cases=GRADIENT_CASES,
        mistakes={
            "this points downhill; the gradient points uphill.": lambda m, s, mean: (
                -_gradient_of_loc(m, s, mean)
            ),
            "you are off by a factor: the derivative of a square cancels the half before it.": (
                lambda m, s, mean: 0.5 * _gradient_of_loc(m, s, mean)
            ),
            "you are off by a factor: the loss has a half before the square.": (
                lambda m, s, mean: 2 * _gradient_of_loc(m, s, mean)
            ),
            "you multiply by the covariance; the units of the result should be one over x.": (
                lambda m, s, mean: s @ s.mT @ (m - mean)
            ),
            "one triangular solve is done; the covariance has two factors.": _once_solved,
            "the covariance is missing: this is the gradient for a standard normal only.": (
                lambda m, s, mean: m - mean
            ),
            "the two solves are in the wrong order, as if the covariance were L transpose L.": (
                lambda m, s, mean: torch.linalg.solve(s.mT @ s, m - mean)
            ),
            "the sample mean is missing: loc itself is not an error.": lambda m, s, mean: (
                _gradient_of_loc(m, s, torch.zeros_like(mean))
            ),
        },
    ),
    "03.3": Exercise(
        solution=_z_scores,
        praise=(
            "entries between -2 and 2 agree with the claim. Among many entries, one beyond that is "
            "no surprise."
        ),
        cases=Z_CASES,
        mistakes={
            "the sign is reversed: a fitted entry above the claimed one counts as positive.": (
                lambda f, t, n: -_z_scores(f, t, n)
            ),
            "you divide by the variance of an entry; a standard error is its square root.": (
                lambda f, t, n: (f - t) / _standard_error(t, n).square()
            ),
            "the number of samples is missing: this is the spread of one sample's product.": (
                lambda f, t, n: _z_scores(f, t, 1)
            ),
            "n is inside no root: errors shrink with the square root of n.": lambda f, t, n: (
                _z_scores(f, t, n**2)
            ),
            "this is right where the covariance is zero; one term of the root is missing.": (
                _without_covariance
            ),
            "this is right on the diagonal; off it, two different variances take part.": (
                _as_on_the_diagonal
            ),
            "a covariance is added to a product of variances: the units do not match.": (
                _not_squared_covariance
            ),
            "the standard errors are those of the fit; the claim has its own.": lambda f, t, n: (
                (f - t) / _standard_error(f, n)
            ),
            "this is the error as it stands, in the units of the data.": lambda f, t, n: f - t,
            "this is the error relative to the entry, which says nothing about chance.": (
                lambda f, t, n: (f - t) / t
            ),
        },
    ),
}
