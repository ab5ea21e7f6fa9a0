"""Exercises of notebook 8: enough shrinkage, what a prior leaves, a determinant of low rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "Small samples"  # of the notebook


# 08.1: as much as it takes ---------------------------------------------------------------------


def share_for(S: Tensor, limit: float) -> Tensor:
    """Smallest share of shrinkage that brings the condition number down to a limit."""
    values = torch.linalg.eigvalsh(S)  # rising
    return _share(values[0], values[-1], values.mean(), limit)


def _share(low: Tensor, high: Tensor, mean: Tensor, limit: float) -> Tensor:
    too_much = high - limit * low
    return (too_much / (too_much + (limit - 1) * mean)).clamp(min=0)


def _with_values(answer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An answer from the smallest, the largest and the mean eigenvalue."""

    def of_matrix(S: Tensor, limit: float) -> Tensor:
        values = torch.linalg.eigvalsh(S)
        return answer(values[0], values[-1], values.mean(), limit)

    return of_matrix


def _without_clamp(low: Tensor, high: Tensor, mean: Tensor, limit: float) -> Tensor:
    too_much = high - limit * low
    return too_much / (too_much + (limit - 1) * mean)


def _by_variances(S: Tensor, limit: float) -> Tensor:
    variances = S.diagonal()
    return _share(variances.min(), variances.max(), variances.mean(), limit)


# 08.2: what a prior leaves of the data ---------------------------------------------------------


def most_probable(x: Tensor, scale: Tensor, df: float) -> Tensor:
    """Covariance (d, d) of the most probable mean and covariance, with an inverse Wishart prior."""
    return (_scatter(x) + scale) / _weight(x, df)


def _scatter(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=0)
    return centred.mT @ centred


def _weight(x: Tensor, df: float) -> float:
    return len(x) + df + x.shape[-1] + 1


def _average_of_both(x: Tensor, scale: Tensor, df: float) -> Tensor:
    prior = scale / (df + x.shape[-1] + 1)
    return 0.5 * (_scatter(x) / len(x) + prior)


# 08.3: the determinant of many variables -------------------------------------------------------


def low_rank_log_det(cov_factor: Tensor, cov_diag: Tensor) -> Tensor:
    """Log-determinant of low rank plus diagonal, by the determinant lemma."""
    return cov_diag.log().sum() + _small(cov_factor, cov_diag).logdet()


def _small(cov_factor: Tensor, cov_diag: Tensor) -> Tensor:
    identity = torch.eye(cov_factor.shape[-1], dtype=cov_factor.dtype)
    return identity + cov_factor.mT @ (cov_factor / cov_diag[:, None])


def _tensor(entries: list[Any]) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# One that is ill-conditioned, one of rank one, one that is good enough as it is.
_MATRICES = (
    (_tensor([[4.0, 1.5, 0.3], [1.5, 1.0, -0.2], [0.3, -0.2, 0.4]]), 8.0),
    (_tensor([[1.0, 2.0], [2.0, 4.0]]), 50.0),
    (_tensor([[2.0, 0.5], [0.5, 1.0]]), 10.0),
)
_ROWS = _tensor(
    [[0.5, -1.0, 2.0], [1.5, 0.3, -0.7], [-0.6, 2.2, 0.9], [3.0, 1.1, 0.2], [0.4, -2.0, 1.6]]
)
_SCALE = _tensor([[5.0, 0.6, -0.4], [0.6, 3.0, 0.9], [-0.4, 0.9, 7.0]])
_FACTORS = (
    (_tensor([[1.2, 0.0], [-0.7, 0.9], [0.4, 1.5], [2.0, -0.3]]), _tensor([0.3, 1.7, 0.8, 2.4])),
    (_tensor([[0.9], [-1.4], [0.6]]), _tensor([0.5, 0.2, 1.9])),
)

EXERCISES: dict[str, Exercise] = {
    "08.1": Exercise(
        solution=share_for,
        praise="it works for a singular matrix too, for which only a share above zero will do.",
        cases=_MATRICES,
        mistakes={
            "the target is the mean variance times the identity. You have its trace, which is "
            "larger by the number of variables.": lambda S, limit: (
                _with_values(lambda low, high, mean, limit: _share(low, high, mean * len(S), limit))
            )(S, limit),
            "you add the target and keep all of S. Shrinking takes from S what it gives to the "
            "target.": _with_values(
                lambda low, high, mean, limit: ((high - limit * low) / ((limit - 1) * mean)).clamp(
                    min=0
                )
            ),
            "this is a variance to add to the diagonal, in the units of S. A share is asked for, "
            "which has no unit.": _with_values(
                lambda low, high, mean, limit: ((high - limit * low) / (limit - 1)).clamp(min=0)
            ),
            "for a matrix that is good enough already your share is negative: then none is "
            "needed.": _with_values(_without_clamp),
            "this is the share of S that stays. The share that goes to the target is asked for.": (
                lambda S, limit: 1 - share_for(S, limit)
            ),
            "these are the variances on the diagonal. The condition number belongs to the "
            "eigenvalues, and correlations push those further apart.": _by_variances,
            "your limit holds for the Cholesky factor, whose condition number is the root of that "
            "of the covariance.": lambda S, limit: share_for(S, limit**2),
            "you lift the smallest eigenvalue and leave the largest where it was. Shrinking moves "
            "it as well, down to the mean.": _with_values(
                lambda low, high, mean, limit: ((high / limit - low) / (mean - low)).clamp(min=0)
            ),
            "the two ends are exchanged in your formula: it asks the smallest eigenvalue to be "
            "the larger one.": _with_values(
                lambda low, high, mean, limit: _without_clamp(high, low, mean, limit)
            ),
        },
        hints=(
            "How does shrinking by a share move one eigenvalue? Write it down for the smallest "
            "and for the largest.",
            "The mean eigenvalue stays where it is. Set the largest equal to the limit times the "
            "smallest, both after shrinking.",
            "This is a linear equation in the share; solve it. And what if S keeps to the limit "
            "as it is?",
        ),
    ),
    "08.2": Exercise(
        solution=most_probable,
        praise="the prior counts as df + d + 1 more rows, and no n is too small for it.",
        cases=((_ROWS, _SCALE, 6.0), (_ROWS[:2], 2 * _SCALE, 3.5)),
        mistakes={
            "you add the covariance to the scale. Both are to be sums over rows: take the "
            "scatter.": lambda x, scale, df: (_scatter(x) / len(x) + scale) / _weight(x, df),
            "the mean has not been taken off: these are products of the raw rows.": (
                lambda x, scale, df: (x.mT @ x + scale) / _weight(x, df)
            ),
            "the scatter has been divided by n - 1 and multiplied by n. It is the plain sum over "
            "the rows.": lambda x, scale, df: (
                (_scatter(x) * len(x) / (len(x) - 1) + scale) / _weight(x, df)
            ),
            "this is the mean of an inverse Wishart, which divides by another number. The most "
            "probable matrix is asked for.": lambda x, scale, df: (
                (_scatter(x) + scale) / (len(x) + df - x.shape[-1] - 1)
            ),
            "the rows and the degrees of freedom are counted. The exponent of the determinant in "
            "the prior has more: look at the formula of its logarithm.": lambda x, scale, df: (
                (_scatter(x) + scale) / (len(x) + df)
            ),
            "you have integrated over the mean, which costs a row. Here mean and covariance are "
            "to be most probable together.": lambda x, scale, df: (
                (_scatter(x) + scale) / (_weight(x, df) - 1)
            ),
            "the prior pulls towards zero in your formula: its scale is missing.": (
                lambda x, scale, df: _scatter(x) / _weight(x, df)
            ),
            "the scale has been multiplied by the degrees of freedom. It is a scatter already.": (
                lambda x, scale, df: (_scatter(x) + df * scale) / _weight(x, df)
            ),
            "this is the prior's guess alone, and the data do not enter.": (
                lambda x, scale, df: scale / (df + x.shape[-1] + 1)
            ),
            "this is what the data say alone. The prior does not enter.": (
                lambda x, scale, df: _scatter(x) / len(x)
            ),
            "the data's covariance and the prior's guess have the same weight in your formula, "
            "however many rows there are.": _average_of_both,
            "this is a scatter: the division is missing.": lambda x, scale, df: _scatter(x) + scale,
        },
        hints=(
            "Add the negative log-likelihood of all rows to the penalty. Both have a "
            "log-determinant and a trace.",
            "Collect the factors of the log-determinant, and the matrices inside of the traces. "
            "What is the minimum of such a sum?",
            "For the data alone the factors are n and the scatter, and their quotient is S. The "
            "prior adds to each of the two.",
        ),
    ),
    "08.3": Exercise(
        solution=low_rank_log_det,
        praise="the value is right. Through a (k, k) matrix the cost grows with d k^2, through the "
        "whole one with d^3.",
        cases=_FACTORS,
        mistakes={
            "the small determinant is right. The product of the own variances is missing.": (
                lambda cov_factor, cov_diag: _small(cov_factor, cov_diag).logdet()
            ),
            "this is the log-determinant of the diagonal alone: the factors do not enter.": (
                lambda cov_factor, cov_diag: cov_diag.log().sum()
            ),
            "the logarithms of the own variances count twice. They are variances, not standard "
            "deviations.": lambda cov_factor, cov_diag: (
                low_rank_log_det(cov_factor, cov_diag) + cov_diag.log().sum()
            ),
            "the identity inside of the small determinant is missing.": (
                lambda cov_factor, cov_diag: (
                    cov_diag.log().sum()
                    + (cov_factor.mT @ (cov_factor / cov_diag[:, None])).logdet()
                )
            ),
            "you are off by exactly half: the loss has half of it, the log-determinant has all.": (
                lambda cov_factor, cov_diag: 0.5 * low_rank_log_det(cov_factor, cov_diag)
            ),
            "the sign of the own variances is wrong: this would be that of the precision.": (
                lambda cov_factor, cov_diag: (
                    _small(cov_factor, cov_diag).logdet() - cov_diag.log().sum()
                )
            ),
            "you multiply the loadings by the own variances. The lemma divides by them.": (
                lambda cov_factor, cov_diag: (
                    cov_diag.log().sum() + _small(cov_factor, 1 / cov_diag).logdet()
                )
            ),
            "the loadings are divided by standard deviations, once. Two of them meet in the "
            "product, so divide by the variance.": lambda cov_factor, cov_diag: (
                cov_diag.log().sum() + _small(cov_factor, cov_diag.sqrt()).logdet()
            ),
            "the own variances are missing inside of the small determinant.": (
                lambda cov_factor, cov_diag: (
                    cov_diag.log().sum() + _small(cov_factor, torch.ones_like(cov_diag)).logdet()
                )
            ),
            "a Cholesky factor's diagonal gives half of a log-determinant: for the small matrix "
            "the two is missing.": lambda cov_factor, cov_diag: (
                cov_diag.log().sum() + 0.5 * _small(cov_factor, cov_diag).logdet()
            ),
            "this is the determinant: take its logarithm, and for many variables do so before "
            "you multiply.": lambda cov_factor, cov_diag: low_rank_log_det(
                cov_factor, cov_diag
            ).exp(),
        },
        hints=(
            "The logarithm turns the product of the two determinants into a sum. One part is a "
            "sum over variables.",
            "Divide each row of the loadings by its own variance, and multiply by the transposed "
            "loadings from the left. What shape is that?",
            "Add an identity of that shape. Its log-determinant comes from a Cholesky factor, as "
            "in notebook 1.",
        ),
    ),
}
