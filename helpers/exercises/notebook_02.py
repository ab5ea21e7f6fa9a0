"""Exercises of notebook 02: out of raw parameters, out of N - 1, out of standard units."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "MSE fitting"  # of the notebook

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
_DEVIATIONS = (
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


def _entry_by_entry(raw: Tensor) -> Tensor:
    return _factor(raw) * _factor(raw).mT


def _diagonal_twice(raw: Tensor) -> Tensor:
    scale_tril = raw.tril() + raw.diagonal().exp().diag()
    return scale_tril @ scale_tril.mT


def _vector_as_diagonal(raw: Tensor) -> Tensor:
    broadcast = raw.tril(-1) + raw.diagonal().exp()
    return broadcast @ broadcast.mT


def _exponential_before_the_mask(raw: Tensor) -> Tensor:
    return raw.exp() @ raw.exp().mT


def _exponential_of_the_zeros(raw: Tensor) -> Tensor:
    return raw.tril().exp() @ raw.tril().exp().mT


def _exponential_of_the_diagonal_matrix(raw: Tensor) -> Tensor:
    scale_tril = raw.tril(-1) + raw.diagonal().diag().exp()
    return scale_tril @ scale_tril.mT


def _variances_on_the_diagonal(raw: Tensor) -> Tensor:
    scale_tril = raw.tril(-1) + (2 * raw.diagonal()).exp().diag()
    return scale_tril @ scale_tril.mT


def _log_of_the_diagonal(raw: Tensor) -> Tensor:
    scale_tril = raw.tril(-1) + raw.diagonal().abs().log().diag()
    return scale_tril @ scale_tril.mT


def _softplus(raw: Tensor) -> Tensor:
    scale_tril = raw.tril(-1) + torch.nn.functional.softplus(raw.diagonal()).diag()
    return scale_tril @ scale_tril.mT


def _on_the_diagonal(matrix: Tensor, factor: Tensor | float) -> Tensor:
    """The matrix, with its diagonal multiplied by something."""
    return matrix - matrix.diagonal().diag() + (factor * matrix.diagonal()).diag()


EXERCISES = {
    "02.1": Exercise(
        solution=_covariance_from_raw,
        praise="right; it is what .covariance_matrix returns.",
        cases=[(raw,) for raw in _RAW],
        mistakes={
            "these are the raw parameters as they came.": lambda raw: raw,
            "this multiplies the raw parameters with each other; they are no factor yet.": (
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
            "* multiplies entry by entry, so all that was below the diagonal is lost.": (
                _entry_by_entry
            ),
            "this is the Cholesky factor; a covariance takes one more step.": _factor,
            "the diagonal is in your factor twice: as logarithms and as their exponentials.": (
                _diagonal_twice
            ),
            "a vector added to a matrix is added to every row; a diagonal is asked for.": (
                _vector_as_diagonal
            ),
            "you took the exponential of every entry, the rubbish above the diagonal too.": (
                _exponential_before_the_mask
            ),
            "the exponential came after the mask and turned its zeros into ones.": (
                _exponential_of_the_zeros
            ),
            "the exponential of a diagonal matrix has ones beside the diagonal: take .exp() "
            "first, .diag() after.": _exponential_of_the_diagonal_matrix,
            "the exponential of twice the logarithm is a variance; L holds standard deviations.": (
                _variances_on_the_diagonal
            ),
            "the diagonal of raw holds logarithms already; you took another one.": (
                _log_of_the_diagonal
            ),
            "you kept the rubbish above the diagonal and dropped what is below it.": (
                lambda raw: _covariance_from_raw(raw.mT)
            ),
            "the diagonal went through softplus; this learner uses the exponential.": _softplus,
        },
        hints=(
            "Go the way of section 2 again: from `raw` to a factor, and from the factor to the "
            "covariance.",
            "The factor has three parts: nothing above the diagonal, exponentials on it, and "
            "below it the entries of `raw` as they are.",
            "`raw.tril(-1)` keeps what is below the diagonal, and `.diag()` turns a vector into "
            "a diagonal matrix. With the factor complete, one product is left, with the "
            "transpose on the right side of it.",
        ),
    ),
    "02.2": Exercise(
        solution=lambda covariance_matrix, n: covariance_matrix * (n - 1) / n,
        praise="right; scikit-learn would return the same matrix.",
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
            "* and / come before -: n - 1 needs brackets.": (
                lambda covariance_matrix, n: covariance_matrix * n - 1 / n
            ),
            "that would be right for standard deviations; a covariance is a square.": (
                lambda covariance_matrix, n: covariance_matrix * ((n - 1) / n) ** 0.5
            ),
            "a covariance is a square of the data, but its divisor is not to be squared.": (
                lambda covariance_matrix, n: covariance_matrix * ((n - 1) / n) ** 2
            ),
            "only the variances have changed; every entry has the same divisor.": (
                lambda covariance_matrix, n: _on_the_diagonal(covariance_matrix, (n - 1) / n)
            ),
            "what came in was divided by n - 1 already, and you did it again.": (
                lambda covariance_matrix, n: covariance_matrix / (n - 1)
            ),
            "you multiplied by n, but it was n - 1 that divided what came in.": (
                lambda covariance_matrix, n: covariance_matrix * n
            ),
            "the right direction, but one is taken from n, not added to it.": (
                lambda covariance_matrix, n: covariance_matrix * n / (n + 1)
            ),
            "you added one to n where torch.cov takes it away, and the ratio is upside down.": (
                lambda covariance_matrix, n: covariance_matrix * (n + 1) / n
            ),
            "the number of samples is n; you used the number of variables.": (
                lambda covariance_matrix, n: (
                    covariance_matrix * (len(covariance_matrix) - 1) / len(covariance_matrix)
                )
            ),
        },
        hints=(
            "Both estimates divide the same sum of squares about the mean. By which number does "
            "`torch.cov` divide, and by which does maximum likelihood?",
            "Undo the division that was made, then make the one that is asked for.",
            "Try n = 2 on paper: the result should be half of what came in. For large n it "
            "hardly changes.",
        ),
    ),
    "02.3": Exercise(
        solution=lambda standardised, std: std[:, None] * standardised * std,
        praise="right; the correlations have not moved.",
        cases=list(zip(_CORRELATIONS, _DEVIATIONS, strict=True)),
        mistakes={
            "nothing has changed: these are still standard units.": (
                lambda standardised, std: standardised
            ),
            "you scaled the rows; an entry belongs to two variables.": (
                lambda standardised, std: std[:, None] * standardised
            ),
            "you scaled the columns; an entry belongs to two variables.": (
                lambda standardised, std: standardised * std
            ),
            "this goes the wrong way: it standardises once more.": (
                lambda standardised, std: standardised / (std[:, None] * std)
            ),
            "you used variances on both sides; the diagonal is off by a factor of a variance.": (
                lambda standardised, std: std[:, None] ** 2 * standardised * std**2
            ),
            "you used variances on one side only; the result is not symmetric.": (
                lambda standardised, std: std[:, None] ** 2 * standardised
            ),
            "the diagonal is right, the entries beside it are still correlations.": (
                lambda standardised, std: (
                    standardised - standardised.diagonal().diag() + std.square().diag()
                )
            ),
            "you used variances on the columns only; the result is not symmetric.": (
                lambda standardised, std: standardised * std**2
            ),
            "each side needs the standard deviations themselves, not their roots.": (
                lambda standardised, std: std.sqrt()[:, None] * standardised * std.sqrt()
            ),
            "one side multiplies and the other divides, so the units cancel on the diagonal.": (
                lambda standardised, std: std[:, None] * standardised / std
            ),
            "the other way round: rows were divided and columns multiplied.": (
                lambda standardised, std: standardised * std / std[:, None]
            ),
            "what came in is a covariance already, not its factor; it enters once.": (
                lambda standardised, std: std[:, None] * standardised @ standardised.mT * std
            ),
            "* with a diagonal matrix wipes out every entry beside the diagonal.": (
                lambda standardised, std: std.diag() * standardised * std.diag()
            ),
            "only the diagonal has changed, and there a variance is asked for.": (
                lambda standardised, std: _on_the_diagonal(standardised, std)
            ),
            "these are the products of the standard deviations; the correlations are gone.": (
                lambda standardised, std: std[:, None] * std
            ),
            "of a vector, a matrix and a vector, @ makes one number; a matrix is asked for.": (
                lambda standardised, std: std @ standardised @ std
            ),
            "@ with a vector adds up over the variables; each entry is to be scaled by itself.": (
                lambda standardised, std: standardised @ std
            ),
        },
        hints=(
            "Take one entry, the covariance of variables i and j. Which two units does it have, "
            "and what turns standard units into them?",
            "Entry (i, j) needs the standard deviation of i and that of j, each once.",
            "A vector of shape (d,) meets the columns of a matrix. With an axis added, in shape "
            "(d, 1), it meets the rows.",
        ),
    ),
}
