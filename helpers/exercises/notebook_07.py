"""Exercises of notebook 7: errors of standard deviations, kurtosis, AIC of full and diagonal."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "How good is the fit?"  # of the notebook


# 07.1: an error bar for each standard deviation ------------------------------------------------


def sd_errors(scale_tril: Tensor, n: int) -> Tensor:
    """Standard error (d,) of each standard deviation of a fit to n rows."""
    return _standard_deviations(scale_tril) / math.sqrt(2 * n)


def _standard_deviations(scale_tril: Tensor) -> Tensor:
    return scale_tril.norm(dim=-1)


# 07.2: kurtosis in standard errors -------------------------------------------------------------


def kurtosis_z_score(x: Tensor) -> Tensor:
    """Standard errors by which Mardia's kurtosis of x, (n, d), is above its Gaussian value."""
    return _z_score(_squared_distances(x), x)


def _squared_distances(x: Tensor, correction: int = 0) -> Tensor:
    """Squared Mahalanobis distances (n,) of the rows from their fit."""
    return _whitened(x, correction).square().sum(dim=0)


def _whitened(x: Tensor, correction: int = 0) -> Tensor:
    """Rows of x as columns, (d, n), centred and of unit covariance."""
    scale_tril = torch.linalg.cholesky(torch.cov(x.mT, correction=correction))
    return torch.linalg.solve_triangular(scale_tril, (x - x.mean(dim=0)).mT, upper=False)


def _z_score(squared: Tensor, x: Tensor) -> Tensor:
    n, d = x.shape
    return (squared.square().mean() - d * (d + 2)) / math.sqrt(8 * d * (d + 2) / n)


def _exact_statistic(x: Tensor) -> Tensor:
    """The kurtosis scaled by the exact moments of Gaussian rows, as Mardia gave them in 1974."""
    n, d = x.shape
    mean = d * (d + 2) * (n - 1) / (n + 1)
    variance = 8 * d * (d + 2) * (n - 3) * (n - d - 1) * (n - d + 1)
    variance /= (n + 1) ** 2 * (n + 3) * (n + 5)
    return (_squared_distances(x).square().mean() - mean) / math.sqrt(variance)


def _kurtosis_above(x: Tensor) -> Tensor:
    d = x.shape[-1]
    return _squared_distances(x).square().mean() - d * (d + 2)


# 07.3: full or diagonal ------------------------------------------------------------------------


def aic_in_favour_of_full(x: Tensor) -> Tensor:
    """AIC of the diagonal Gaussian minus that of the full one, both fitted to x, (n, d)."""
    d = x.shape[-1]
    return len(x) * _log_det_saved(x) - d * (d - 1)


def _log_det_saved(x: Tensor) -> Tensor:
    """Log-determinant of the diagonal covariance minus that of the full one."""
    covariance = torch.cov(x.mT, correction=0)
    return covariance.diagonal().log().sum() - torch.logdet(covariance)


def _with_price(price: Callable[[int, int], float]) -> Callable[[Tensor], Tensor]:
    """The right gain, less this price of n and d."""
    return lambda x: len(x) * _log_det_saved(x) - price(*x.shape)


def _tensor(entries: list[list[float]]) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _rows(n: int, turn: list[list[float]], bend: float) -> Tensor:
    """Rows (n, d) that look random and are the same on every machine."""
    factor = _tensor(turn)
    steps = torch.tensor([math.sqrt(2), math.sqrt(3), math.sqrt(5)], dtype=torch.float64)
    shares = (torch.arange(1.0, n + 1, dtype=torch.float64)[:, None] * steps[: len(factor)]) % 1.0
    centred = 2 * shares - 1
    return 3.0 + (centred + bend * centred**3) @ factor.mT


# Standard deviations that are not 1, and a mean that is not 0.
_THREE = _rows(40, [[2.0, 0.0, 0.0], [-1.5, 0.7, 0.0], [0.4, 0.3, 1.2]], 3.0)
_TWO = _rows(25, [[0.5, 0.0], [0.3, 1.5]], 0.0)
_FACTOR = _tensor([[2.0, 0.0, 0.0], [-1.5, 0.7, 0.0], [0.4, 0.3, 1.2]])

EXERCISES: dict[str, Exercise] = {
    "07.1": Exercise(
        solution=sd_errors,
        praise="the correlations have dropped out: an error bar for one variable needs no other.",
        cases=((_FACTOR, 50), (_tensor([[0.1, 0.0], [30.0, 4.0]]), 800)),
        mistakes={
            "these are the diagonal entries of L over sqrt(2n). The first is a standard deviation; "
            "the others are what is left of theirs after the variables before them.": (
                lambda scale_tril, n: scale_tril.diagonal() / math.sqrt(2 * n)
            ),
            "this is the standard error of the mean. That of the standard deviation is smaller by "
            "a root of two.": lambda scale_tril, n: _standard_deviations(scale_tril) / math.sqrt(n),
            "you have used n - 1 where section 2 has n: the relative error is one over the root of "
            "2n.": lambda scale_tril, n: _standard_deviations(scale_tril) / math.sqrt(2 * (n - 1)),
            "this is the standard error of each variance. A standard deviation has half the "
            "relative error of its square, and other units.": lambda scale_tril, n: (
                _standard_deviations(scale_tril).square() * math.sqrt(2 / n)
            ),
            "these are variances times the relative error. Take their roots first.": (
                lambda scale_tril, n: _standard_deviations(scale_tril).square() / math.sqrt(2 * n)
            ),
            "this is the relative error, without units. How large is it in the units of each "
            "variable?": lambda scale_tril, n: torch.full_like(scale_tril[:, 0], (2 * n) ** -0.5),
            "these are the standard deviations themselves. How sure is each of them?": (
                lambda scale_tril, n: _standard_deviations(scale_tril)
            ),
            "the root of 2n is missing: errors fall with the root of the number of rows.": (
                lambda scale_tril, n: _standard_deviations(scale_tril) / (2 * n)
            ),
            "this is the root of the standard error of each variance. That of a root is another "
            "number: its relative error is half that of the variance.": lambda scale_tril, n: (
                _standard_deviations(scale_tril) * (2 / n) ** 0.25
            ),
            "these are too small by a root of two: divide by the root of 2n, not by twice the root "
            "of n.": lambda scale_tril, n: _standard_deviations(scale_tril) / (2 * math.sqrt(n)),
            "you have taken columns of L where rows are needed: row i of L makes variable i.": (
                lambda scale_tril, n: scale_tril.norm(dim=-2) / math.sqrt(2 * n)
            ),
            "you have used the relative error of a variance. That of a standard deviation is half "
            "of it.": lambda scale_tril, n: _standard_deviations(scale_tril) * math.sqrt(2 / n),
        },
        hints=(
            "The relative error is the same for all variables. What do you multiply it by?",
            "The variances stand on the diagonal of L L^T. You need their roots.",
            "Entry i of that diagonal is the sum of the squares in row i of L.",
        ),
    ),
    "07.2": Exercise(
        solution=kurtosis_z_score,
        praise="no inverse was needed, and any linear map of the rows gives the same number.",
        cases=((_THREE,), (_TWO,)),
        mistakes={
            "your distances are measured with N - 1 in the covariance, as torch.cov does unless "
            "told otherwise.": lambda x: _z_score(_squared_distances(x, correction=1), x),
            "this is the statistic of `mardia`, with the exact mean and variance for so many rows. "
            "It is the better one; the task asks for the limit for many rows.": (_exact_statistic),
            "this has the exact mean for this number of rows with the standard error for many. The "
            "task asks for d (d + 2).": lambda x: (
                (
                    _squared_distances(x).square().mean()
                    - x.shape[1] * (x.shape[1] + 2) * (len(x) - 1) / (len(x) + 1)
                )
                / math.sqrt(8 * x.shape[1] * (x.shape[1] + 2) / len(x))
            ),
            "the distances enter squared once too little: this is the mean of the squared "
            "distances, which is d in any data. Kurtosis takes their squares.": lambda x: _z_score(
                _squared_distances(x).sqrt(), x
            ),
            "you have taken fourth powers of the coordinates and added them up. Add up their "
            "squares first, then square the sum.": lambda x: (
                (_whitened(x).pow(4).sum(dim=0).mean() - x.shape[1] * (x.shape[1] + 2))
                / math.sqrt(8 * x.shape[1] * (x.shape[1] + 2) / len(x))
            ),
            "the kurtosis is the mean over the rows; you have their sum.": lambda x: (
                (_squared_distances(x).square().sum() - x.shape[1] * (x.shape[1] + 2))
                / math.sqrt(8 * x.shape[1] * (x.shape[1] + 2) / len(x))
            ),
            "the squared distances have been squared once too often.": lambda x: _z_score(
                _squared_distances(x).square(), x
            ),
            "this is the kurtosis itself. By how many standard errors is it above its Gaussian "
            "value?": lambda x: _squared_distances(x).square().mean(),
            "this is the difference from the Gaussian value. Divide it by its standard error.": (
                _kurtosis_above
            ),
            "the difference has been divided by the variance of the kurtosis. Its root is the "
            "standard error.": lambda x: (
                _kurtosis_above(x) / (8 * x.shape[1] * (x.shape[1] + 2) / len(x))
            ),
            "the sign is wrong: a kurtosis above the Gaussian value should give a positive "
            "number.": lambda x: -kurtosis_z_score(x),
            "your standard error does not shrink with the number of rows.": lambda x: (
                _kurtosis_above(x) / math.sqrt(8 * x.shape[1] * (x.shape[1] + 2))
            ),
            "d (d + 2) is the value for all variables together; you have compared with 3, which "
            "is that of one variable.": lambda x: (
                (_squared_distances(x).square().mean() - 3)
                / math.sqrt(8 * x.shape[1] * (x.shape[1] + 2) / len(x))
            ),
            "each variable has been standardised by itself. The Mahalanobis distance takes the "
            "correlations away as well.": lambda x: _z_score(
                ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).square().sum(dim=1), x
            ),
            "the rows have not been centred: subtract the mean before you measure distances.": (
                lambda x: _z_score(
                    torch.linalg.solve_triangular(
                        torch.linalg.cholesky(torch.cov(x.mT, correction=0)), x.mT, upper=False
                    )
                    .square()
                    .sum(dim=0),
                    x,
                )
            ),
        },
        hints=(
            "First the squared distance of each row: centre, divide by the Cholesky factor, and "
            "add up the squares.",
            "The kurtosis is the mean of the squares of these squared distances.",
            "Subtract d (d + 2), and divide by the standard error in the task.",
        ),
    ),
    "07.3": Exercise(
        solution=aic_in_favour_of_full,
        praise="what it gains grows with the rows, what it pays does not: with enough rows the "
        "full model wins wherever there is any correlation. The N - 1 of torch.cov would do no "
        "harm here: it cancels.",
        cases=((_THREE,), (_TWO,)),
        mistakes={
            "this is what BIC says: each parameter has cost log N. In AIC it costs two.": (
                _with_price(lambda n, d: math.log(n) * d * (d - 1) / 2)
            ),
            "the full model has not paid for its parameters.": _with_price(lambda n, d: 0.0),
            "each parameter has cost one. In AIC it costs two.": _with_price(
                lambda n, d: d * (d - 1) / 2
            ),
            "the full model has paid for all its parameters, the diagonal one for none. Both have "
            "the means, and both have the variances.": _with_price(lambda n, d: d * (d + 3)),
            "the diagonal model has d parameters too few: it has d means and d variances.": (
                _with_price(lambda n, d: d * (d + 1))
            ),
            "the means have been counted as parameters of the diagonal model only. The full one "
            "has them too.": _with_price(lambda n, d: d * (d - 3)),
            "the entries of the covariance have been counted twice, above and below the diagonal. "
            "Each pair is one parameter.": _with_price(lambda n, d: 2 * d * (d - 1)),
            "the sign is wrong: as it is, a positive number is in favour of the diagonal model.": (
                lambda x: -aic_in_favour_of_full(x)
            ),
            "what is gained stands for one row. AIC takes the loss of all of them.": lambda x: (
                _log_det_saved(x) - x.shape[1] * (x.shape[1] - 1)
            ),
            "the gain is half of what it should be: AIC takes twice the loss, and the loss is half "
            "of the log-determinant.": lambda x: (
                len(x) * _log_det_saved(x) / 2 - x.shape[1] * (x.shape[1] - 1)
            ),
            "the gain is twice what it should be: the loss is half of the log-determinant.": (
                lambda x: 2 * len(x) * _log_det_saved(x) - x.shape[1] * (x.shape[1] - 1)
            ),
            "the losses have changed places, the prices have not: the full model has the smaller "
            "loss.": lambda x: -len(x) * _log_det_saved(x) - x.shape[1] * (x.shape[1] - 1),
            "the full model has been paid for its parameters. More of them should make it less "
            "attractive.": _with_price(lambda n, d: -d * (d - 1)),
            "this is AIC over 2N, an estimate of the loss for one row. AIC itself is asked for.": (
                lambda x: aic_in_favour_of_full(x) / (2 * len(x))
            ),
        },
        hints=(
            "Write down the minimum of the mean NLL of both models. What is left when you "
            "subtract one from the other?",
            "Which parameters has the full model that the diagonal one has not? There is one for "
            "each pair of variables.",
            "The log-determinant of a diagonal covariance is the sum of the logarithms of the "
            "variances.",
        ),
    ),
}
