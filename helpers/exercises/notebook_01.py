"""Exercises of notebook 01: log-determinant, sampling, and the free numbers of a covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "Cholesky theory"  # of the notebook


def _log_det(scale_tril: Tensor) -> Tensor:
    return 2 * scale_tril.diagonal().log().sum()


def _samples(z: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return loc + z @ scale_tril.mT


def _below(matrix: Tensor) -> Tensor:
    """Entries below the diagonal, row by row."""
    rows, columns = torch.tril_indices(*matrix.shape, offset=-1)
    return matrix[rows, columns]


def _lower(matrix: Tensor) -> Tensor:
    """Entries below the diagonal and on it, row by row."""
    rows, columns = torch.tril_indices(*matrix.shape)
    return matrix[rows, columns]


def _with_unit_diagonal(scale_tril: Tensor) -> Tensor:
    return scale_tril / scale_tril.diagonal()


def _free_numbers(covariance_matrix: Tensor) -> tuple[Tensor, Tensor]:
    scale_tril = torch.linalg.cholesky(covariance_matrix)
    return scale_tril.diagonal().log(), _below(scale_tril)


def _column_by_column(covariance_matrix: Tensor) -> tuple[Tensor, Tensor]:
    upper = torch.linalg.cholesky(covariance_matrix).mT
    rows, columns = torch.triu_indices(*upper.shape, offset=1)
    return upper.diagonal().log(), upper[rows, columns]


def _principal_axes(scale_tril: Tensor) -> Tensor:
    """Eigenvectors as columns, as long as the square roots of the eigenvalues."""
    eigenvalues, eigenvectors = torch.linalg.eigh(scale_tril @ scale_tril.mT)
    return eigenvectors * eigenvalues.sqrt()


def _symmetric_root(scale_tril: Tensor) -> Tensor:
    eigenvalues, eigenvectors = torch.linalg.eigh(scale_tril @ scale_tril.mT)
    return eigenvectors * eigenvalues.sqrt() @ eigenvectors.mT


# Four variables, so that the order of the entries below the diagonal shows; no diagonal entry is 1,
# whose logarithm would hide, and no two determinants are alike.
FACTOR_4 = torch.tensor(
    [
        [2.0, 0.0, 0.0, 0.0],
        [0.6, 0.7, 0.0, 0.0],
        [-0.9, 0.4, 1.5, 0.0],
        [0.3, -0.8, 0.2, 0.4],
    ],
    dtype=torch.float64,
)
FACTOR_2 = torch.tensor([[0.5, 0.0], [1.2, 3.0]], dtype=torch.float64)
POSITIVE_4 = FACTOR_4.abs()  # so that a logarithm too many is a number, and recognised
NOISE = torch.tensor(
    [[0.4, -1.3, 0.8, 2.0], [1.1, 0.2, -0.7, 0.5], [-0.6, 0.9, 1.7, -1.4]], dtype=torch.float64
)
MEAN = torch.tensor([3.0, -2.0, 0.5, 10.0], dtype=torch.float64)

EXERCISES = {
    "01.1": Exercise(
        solution=_log_det,
        praise="with this and the squared distance you have the log-density.",
        mistakes={
            "you are off by exactly half the log-determinant: this is that of L, and the "
            "covariance is L times its transpose.": lambda scale_tril: (
                scale_tril.diagonal().log().sum()
            ),
            "the sign is wrong: this is the log-determinant of the inverse, the precision.": (
                lambda scale_tril: -_log_det(scale_tril)
            ),
            "this is the determinant itself; its logarithm is asked for.": lambda scale_tril: (
                scale_tril.diagonal().prod().square()
            ),
            "this is the logarithm of a sum; the determinant is a product, and its logarithm a sum "
            "of logarithms.": lambda scale_tril: 2 * scale_tril.diagonal().sum().log(),
            "this uses the variances, the diagonal of the covariance; that is right only if "
            "nothing is correlated.": lambda scale_tril: (
                (scale_tril @ scale_tril.mT).diagonal().log().sum()
            ),
            "no logarithm is taken; the determinant is a product, and its logarithm a sum of "
            "logarithms.": lambda scale_tril: 2 * scale_tril.diagonal().sum(),
            "this is the determinant of L; the logarithm of that of the covariance is asked for.": (
                lambda scale_tril: scale_tril.diagonal().prod()
            ),
            "the diagonal is exponentiated; scale_tril holds the factor itself, not its free "
            "numbers.": lambda scale_tril: 2 * scale_tril.diagonal().exp().sum(),
            "the logarithm is squared; a square under a logarithm comes out as a factor.": (
                lambda scale_tril: scale_tril.diagonal().log().sum().square()
            ),
            "this is the mean of the logarithms where their sum is needed.": lambda scale_tril: (
                2 * scale_tril.diagonal().log().mean()
            ),
            "this is a logarithm to base 10; nats are to base e.": lambda scale_tril: (
                2 * scale_tril.diagonal().log10().sum()
            ),
            "this is a logarithm to base 2; nats are to base e.": lambda scale_tril: (
                2 * scale_tril.diagonal().log2().sum()
            ),
            "you are off by a factor of two: the covariance holds L two times, not four.": (
                lambda scale_tril: 4 * scale_tril.diagonal().log().sum()
            ),
            "each logarithm is squared; a square under a logarithm comes out as a factor two.": (
                lambda scale_tril: scale_tril.diagonal().log().square().sum()
            ),
            "half of it is there, with the wrong sign: this is the log-determinant of the inverse "
            "of L.": lambda scale_tril: -scale_tril.diagonal().log().sum(),
        },
        hints=(
            "What is the determinant of a product, and which two factors make the covariance?",
            "The determinant of a triangular matrix is the product of its diagonal. That of its "
            "transpose is the same.",
            "The logarithm turns this product into a sum over the diagonal of L. Count how "
            "often the sum occurs.",
        ),
        cases=[(FACTOR_4,), (FACTOR_2,)],
    ),
    "01.2": Exercise(
        solution=_samples,
        praise="for standard normal z these samples have the mean and the covariance asked for.",
        mistakes={
            "the spread is right, the place is not: the mean is missing.": (
                lambda z, loc, scale_tril: z @ scale_tril.mT
            ),
            "one transpose is missing: with rows for samples, each row must come out as L times "
            "that row of z.": lambda z, loc, scale_tril: loc + z @ scale_tril,
            "the noise is multiplied by the covariance; the samples would have its square as "
            "their covariance.": lambda z, loc, scale_tril: loc + z @ (scale_tril @ scale_tril.mT),
            "only the diagonal of L is used, so the variables come out uncorrelated.": (
                lambda z, loc, scale_tril: loc + z * scale_tril.diagonal()
            ),
            "the variances are right and the correlations are gone: each variable is scaled by "
            "itself.": lambda z, loc, scale_tril: loc + z * scale_tril.norm(dim=-1),
            "the mean goes through L, too; it is to be added afterwards.": (
                lambda z, loc, scale_tril: (z + loc) @ scale_tril.mT
            ),
            "the place is right, the shape is not: scale_tril is not used.": (
                lambda z, loc, scale_tril: loc + z
            ),
            "this scales each variable by its variance, which has the wrong unit, and loses the "
            "correlations.": lambda z, loc, scale_tril: loc + z * scale_tril.square().sum(dim=-1),
            "valid samples, but not those of L z: this uses the symmetric root of the "
            "covariance.": lambda z, loc, scale_tril: loc + z @ _symmetric_root(scale_tril),
            "valid samples, but not those of L z: this uses the principal axes as the root.": (
                lambda z, loc, scale_tril: loc + z @ _principal_axes(scale_tril).mT
            ),
            "this is the way back, which turns samples into noise: it divides by L.": (
                lambda z, loc, scale_tril: (
                    torch.linalg.solve_triangular(scale_tril, (z - loc).mT, upper=False).mT
                )
            ),
            "valid samples, mirrored about the mean: the noise is to be added, not taken off.": (
                lambda z, loc, scale_tril: loc - z @ scale_tril.mT
            ),
            "noise and mean have changed places: L multiplies the mean here.": (
                lambda z, loc, scale_tril: z + loc @ scale_tril.mT
            ),
            "right so far, and turned: each row should be a sample, here it is a column.": (
                lambda z, loc, scale_tril: (loc + z @ scale_tril.mT).mT
            ),
        },
        hints=(
            "For one draw z, written as a column, L z has the covariance that is asked for. "
            "What gives it the mean as well?",
            "Here every draw is a row. Transpose the product L z as a whole, and see on which "
            "side L ends up.",
            "Check with shapes: (n, d) times (d, d) gives (n, d), and `loc` is added to each "
            "row. Two products have that shape, so look at the transpose as well.",
        ),
        cases=[
            (NOISE, MEAN, FACTOR_4),
            (NOISE[:, :2], MEAN[:2], FACTOR_2),
        ],
    ),
    "01.3": Exercise(
        solution=_free_numbers,
        praise="log_cholesky would bring these numbers back to the covariance you started from.",
        mistakes={
            "the diagonal of L is there, its logarithm is not.": lambda covariance_matrix: (
                _free_numbers(covariance_matrix)[0].exp(),
                _free_numbers(covariance_matrix)[1],
            ),
            "these are the entries of the covariance; those of its factor are asked for.": (
                lambda covariance_matrix: (
                    covariance_matrix.diagonal().log(),
                    _below(covariance_matrix),
                )
            ),
            "the first part is the logarithm of the standard deviations, which is more than the "
            "earlier variables leave over.": lambda covariance_matrix: (
                0.5 * covariance_matrix.diagonal().log(),
                _free_numbers(covariance_matrix)[1],
            ),
            "the first part is twice too large, as if it were meant for a variance.": (
                lambda covariance_matrix: (
                    2 * _free_numbers(covariance_matrix)[0],
                    _free_numbers(covariance_matrix)[1],
                )
            ),
            "the second part is right; the first takes the logarithm of the variances.": (
                lambda covariance_matrix: (
                    covariance_matrix.diagonal().log(),
                    _free_numbers(covariance_matrix)[1],
                )
            ),
            "the second part is right; the first is the diagonal of the covariance.": (
                lambda covariance_matrix: (
                    covariance_matrix.diagonal(),
                    _free_numbers(covariance_matrix)[1],
                )
            ),
            "these are entries of the covariance as they are; those of its factor are asked for, "
            "with a logarithm on the diagonal.": lambda covariance_matrix: (
                covariance_matrix.diagonal(),
                _below(covariance_matrix),
            ),
            "the logarithm belongs to the diagonal only; entries below it may have any sign.": (
                lambda covariance_matrix: (
                    _free_numbers(covariance_matrix)[0],
                    _free_numbers(covariance_matrix)[1].log(),
                )
            ),
            "the first part is right, the second comes from the covariance.": (
                lambda covariance_matrix: (
                    _free_numbers(covariance_matrix)[0],
                    _below(covariance_matrix),
                )
            ),
            "the numbers are right, the order is not: you went column by column.": (
                _column_by_column
            ),
            "the second part is zero throughout: the entries above the diagonal of L say "
            "nothing.": lambda covariance_matrix: (
                _free_numbers(covariance_matrix)[0],
                torch.zeros_like(_below(covariance_matrix)),
            ),
            "the second part holds the diagonal as well; `offset=-1` leaves it out.": (
                lambda covariance_matrix: (
                    _free_numbers(covariance_matrix)[0],
                    _lower(torch.linalg.cholesky(covariance_matrix)),
                )
            ),
            "the second part is a whole matrix; pick its entries with the indices, as a vector.": (
                lambda covariance_matrix: (
                    _free_numbers(covariance_matrix)[0],
                    torch.linalg.cholesky(covariance_matrix).tril(-1),
                )
            ),
            "the second part is divided by the diagonal, as in a factor with ones on it.": (
                lambda covariance_matrix: (
                    _free_numbers(covariance_matrix)[0],
                    _below(_with_unit_diagonal(torch.linalg.cholesky(covariance_matrix))),
                )
            ),
            "this is the factor of the inverse covariance, the precision.": (
                lambda covariance_matrix: _free_numbers(torch.linalg.inv(covariance_matrix))
            ),
        },
        hints=(
            "The free numbers describe L, so L comes first. Section 3 shows which function of "
            "`torch.linalg` makes it from a covariance.",
            "The diagonal of L is positive: which function lets it take any sign? The entries "
            "below may have any sign as they are.",
            "`torch.tril_indices` returns two rows, one of row numbers and one of column "
            "numbers. Both together index L; return the two parts in the order of the task.",
        ),
        cases=[(POSITIVE_4 @ POSITIVE_4.mT,), (FACTOR_2 @ FACTOR_2.mT,)],
    ),
}
