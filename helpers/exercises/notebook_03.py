"""Exercises of notebook 3: the loss, a natural step, and errors in standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "Likelihood fitting"  # of the notebook

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


def _mean_over_all(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    return _nll_from(((x - loc) @ precision_tril).square().mean(), precision_tril)


def _transposed(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    return _nll_from(_distance(x, loc, precision_tril.mT), precision_tril)


def _solved(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    whitened = torch.linalg.solve_triangular(precision_tril, (x - loc).mT, upper=False)
    return _nll_from(whitened.square().sum(dim=0).mean(), precision_tril)


def _not_squared(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    lengths = ((x - loc) @ precision_tril).norm(dim=-1)
    return _nll_from(lengths.mean(), precision_tril)


def _taken_for_scale_tril(x: Tensor, loc: Tensor, precision_tril: Tensor) -> Tensor:
    return _solved(x, loc, precision_tril) - _log_det(precision_tril)


def _whitened(scale_tril: Tensor, covariance: Tensor) -> Tensor:
    half = torch.linalg.solve_triangular(scale_tril, covariance, upper=False)  # L^-1 S
    return torch.linalg.solve_triangular(scale_tril, half.mT, upper=False)


def _whitened_once(scale_tril: Tensor, covariance: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(scale_tril, covariance, upper=False)


def _whitened_without_transpose(scale_tril: Tensor, covariance: Tensor) -> Tensor:
    half = _whitened_once(scale_tril, covariance)
    return torch.linalg.solve_triangular(scale_tril, half, upper=False, left=False)  # L^-1 S L^-1


def _whitened_by_transposes(scale_tril: Tensor, covariance: Tensor) -> Tensor:
    half = torch.linalg.solve_triangular(scale_tril.mT, covariance, upper=True)  # L^-T S
    return torch.linalg.solve_triangular(scale_tril.mT, half.mT, upper=True)


def _columns_scaled(a: Tensor) -> Tensor:
    return a / a.diagonal().sqrt()


def _rows_scaled(a: Tensor) -> Tensor:
    return a / a.diagonal().sqrt()[:, None]


def _next_factor(scale_tril: Tensor, covariance: Tensor) -> Tensor:
    return scale_tril @ _columns_scaled(_whitened(scale_tril, covariance)).tril()


def _step(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The next factor if A had given another T."""

    def next_factor(scale_tril: Tensor, covariance: Tensor) -> Tensor:
        return scale_tril @ change(_whitened(scale_tril, covariance))

    return next_factor


def _first_order(a: Tensor) -> Tensor:
    return a.tril(-1) + (1 + 0.5 * (a.diagonal() - 1)).diag()


def _exponential(a: Tensor) -> Tensor:
    return a.tril(-1) + (0.5 * (a.diagonal() - 1)).exp().diag()


def _half_everywhere(a: Tensor) -> Tensor:
    identity = torch.eye(len(a), dtype=a.dtype)
    return identity + 0.5 * (a - identity).tril()


def _plain_gradient_step(scale_tril: Tensor, covariance: Tensor) -> Tensor:
    a = _whitened(scale_tril, covariance)
    excess = torch.eye(len(a), dtype=a.dtype) - a
    return scale_tril - torch.linalg.solve_triangular(scale_tril.mT, excess, upper=True).tril()


def _covariance_of(factor: Tensor) -> Tensor:
    return factor @ factor.mT


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


def _of_standard_deviations(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    deviation = truth.diagonal().sqrt()
    return (fitted - truth) / ((deviation[:, None] * deviation + truth.square()) / n).sqrt()


def _with_a_minus(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    variance = truth.diagonal()
    return (fitted - truth) / ((variance[:, None] * variance - truth.square()) / n).sqrt()


def _matrix_product(fitted: Tensor, truth: Tensor, n: int) -> Tensor:
    variance = truth.diagonal()
    return (fitted - truth) / ((variance[:, None] * variance + truth @ truth) / n).sqrt()


def _tensor(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


NLL_CASES = (
    (
        _tensor([0.4, -1.0], [1.3, 0.2], [-0.6, 2.1]),
        _tensor(0.5, -0.3),
        _tensor([0.7, 0.0], [-0.9, 1.6]),
    ),
    (
        _tensor(
            [2.0, 0.1, -0.4], [0.3, 1.5, 0.8], [1.1, -0.7, 0.2], [0.6, 0.9, -1.2], [0.2, 0.4, 1.3]
        ),
        _tensor(1.0, 0.5, -0.2),
        _tensor([1.4, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.8, 0.3, 2.0]),
    ),
)
STEP_CASES = (
    (_tensor([0.7, 0.0], [-0.9, 1.6]), _tensor([2.0, 0.6], [0.6, 1.3])),
    (
        _tensor([1.4, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.8, 0.3, 2.0]),
        _tensor([1.1, -0.2, 0.4], [-0.2, 2.5, 0.9], [0.4, 0.9, 3.3]),
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
        praise="some models learn a precision because its density needs no triangular solve.",
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
            "P is the factor of the precision; you use it as that of the covariance throughout.": (
                _taken_for_scale_tril
            ),
            "the distances are averaged over the variables too; within a sample they add up.": (
                _mean_over_all
            ),
            "the half is missing from the constant and the log-determinant.": lambda x, m, p: (
                _mean_nll(x, m, p) + 0.5 * (len(m) * LOG_2PI + _log_det(p))
            ),
            "the half is missing from the distances.": lambda x, m, p: (
                _mean_nll(x, m, p) + 0.5 * _distance(x, m, p)
            ),
            "the constant counts the samples; it should count the variables.": lambda x, m, p: (
                _mean_nll(x, m, p) + 0.5 * (len(x) - len(m)) * LOG_2PI
            ),
            "the distances are from the mean of the samples, not from loc.": lambda x, m, p: (
                _mean_nll(x, x.mean(dim=0), p)
            ),
            "the distances are not squared.": _not_squared,
            "the distances have the wrong sign: a far point should cost more.": lambda x, m, p: (
                _mean_nll(x, m, p) - _distance(x, m, p)
            ),
            "the half is missing from the constant.": lambda x, m, p: (
                _mean_nll(x, m, p) + 0.5 * len(m) * LOG_2PI
            ),
            "the distances are divided by n - 1; a mean over samples divides by n.": (
                lambda x, m, p: _nll_from(len(x) / (len(x) - 1) * _distance(x, m, p), p)
            ),
        },
        hints=(
            "Write the mean NLL with the covariance first: a constant, a log-determinant and a "
            "distance, with one half in front of all three. Then replace what P knows.",
            "The log-determinant of an inverse has the opposite sign. That of a factor times "
            "its transpose is twice that of the factor.",
            "The squared distance is the squared length of P^T (x - mu), summed over the "
            "variables and then averaged over the samples. With samples in rows, which side "
            "does P stand on, and with or without the transpose?",
        ),
    ),
    "03.2": Exercise(
        solution=_next_factor,
        praise="after d such steps nothing is left but the Cholesky factor of S.",
        cases=STEP_CASES,
        mistakes={
            "a square root is missing: the columns are divided by variances.": _step(
                lambda a: (a / a.diagonal()).tril()
            ),
            "the columns are multiplied where they should be divided.": _step(
                lambda a: (a * a.diagonal().sqrt()).tril()
            ),
            "the rows are scaled; the formula scales the columns.": _step(
                lambda a: _rows_scaled(a).tril()
            ),
            "rows and columns are both scaled, which makes a correlation matrix of A.": _step(
                lambda a: _rows_scaled(_columns_scaled(a)).tril()
            ),
            "A is not scaled at all: the diagonal of T would be variances.": _step(torch.tril),
            "T is a full matrix: the product with L is no Cholesky factor.": _step(_columns_scaled),
            "T is upper triangular: the product with L is no Cholesky factor.": _step(
                lambda a: _columns_scaled(a).triu()
            ),
            "T is transposed.": _step(lambda a: _columns_scaled(a).tril().mT),
            "the triangle is taken after the product with L, not before.": lambda s, c: (
                s @ _columns_scaled(_whitened(s, c))
            ).tril(),
            "T and L are in the wrong order.": lambda s, c: (
                _columns_scaled(_whitened(s, c)).tril() @ s
            ),
            "this is T alone: the step is relative to the factor where it starts.": lambda s, c: (
                _columns_scaled(_whitened(s, c)).tril()
            ),
            "S is not whitened: A is the covariance as the model sees it.": lambda s, c: (
                s @ _columns_scaled(c).tril()
            ),
            "S is whitened from one side only.": lambda s, c: (
                s @ _columns_scaled(_whitened_once(s, c)).tril()
            ),
            "a transpose is missing between the two solves: A should be symmetric.": lambda s, c: (
                s @ _columns_scaled(_whitened_once(s, _whitened_once(s, c))).tril()
            ),
            "L is inverted twice, never its transpose: A should be symmetric.": lambda s, c: (
                s @ _columns_scaled(_whitened_without_transpose(s, c)).tril()
            ),
            "S is solved with the covariance, not with the factor: A should be symmetric.": (
                lambda s, c: s @ _columns_scaled(torch.cholesky_solve(c, s)).tril()
            ),
            "S is whitened with the transposes: compare the order of L and its transpose.": (
                lambda s, c: s @ _columns_scaled(_whitened_by_transposes(s, c)).tril()
            ),
            "S is multiplied by the factor where it should be solved with it.": lambda s, c: (
                s @ _columns_scaled(s @ c @ s.mT).tril()
            ),
            "this T is the one to first order; for long steps the course uses another.": (
                _step(_first_order)
            ),
            "the exponential on the diagonal of T is right to first order, and no further.": (
                _step(_exponential)
            ),
            "the half is for the diagonal of A - I alone, and only to first order.": (
                _step(_half_everywhere)
            ),
            "this is a plain gradient step, which depends on the units of the data.": (
                _plain_gradient_step
            ),
            "this is where the last step ends; one step is asked for.": lambda s, c: (
                torch.linalg.cholesky(c)
            ),
            "this is the covariance after the step; its factor is asked for.": lambda s, c: (
                _covariance_of(_next_factor(s, c))
            ),
            "this is the factor where the step begins.": lambda s, c: s,
            "the step is from the identity to S; it should begin at the factor given.": (
                lambda s, c: _columns_scaled(c).tril()
            ),
        },
        hints=(
            "Two matrices are needed: A, which is S seen from where the model is the identity, "
            "and T, which is made from A. The task has both.",
            "A is S between two inverses, that of L and that of its transpose. Solve with L, "
            "transpose what comes out, and solve with L again.",
            "In T every column of A is divided by the square root of its own diagonal entry, "
            "and what lies above the diagonal is dropped. The step multiplies the old factor by "
            "T, from one side.",
        ),
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
            "fit and claim have changed places, in the error and in the standard errors.": (
                lambda f, t, n: _z_scores(t, f, n)
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
            "the product of variances needs two axes: yours has the same variance twice.": (
                lambda f, t, n: (f - t) / ((t.diagonal().square() + t.square()) / n).sqrt()
            ),
            "the product is that of standard deviations; it should be of variances.": (
                _of_standard_deviations
            ),
            "this is the standard error of a mean, not of a covariance.": lambda f, t, n: (
                (f - t) / (t.diagonal() / n).sqrt()
            ),
            "one sign in the root is wrong: on the diagonal nothing is left of it.": _with_a_minus,
            "the sign is lost: an entry below the claimed one counts as negative.": (
                lambda f, t, n: _z_scores(f, t, n).abs()
            ),
            "a product of matrices stands where each entry should be squared.": _matrix_product,
            "n - 1 stands where n should be.": lambda f, t, n: _z_scores(f, t, n - 1),
            "this is the error as it stands, in the units of the data.": lambda f, t, n: f - t,
            "this is the error relative to the entry, which says nothing about chance.": (
                lambda f, t, n: (f - t) / t
            ),
        },
        hints=(
            "A z-score is an error over its standard error. The task has the formula of the "
            "standard error of one entry.",
            "The formula needs two variances for each entry, that of its row and that of its "
            "column. Both come from the claim, since the question is whether the claim can be "
            "true.",
            "Take the diagonal of `truth` as a vector. In shape (d, 1) and in shape (d,) it "
            "broadcasts to a matrix of products; all the rest is entry by entry.",
        ),
    ),
}
