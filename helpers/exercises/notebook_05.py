"""Exercises of notebook 5: covariances of a batch, how much to shrink, the nearest covariance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "Error clinic"  # of the notebook


# 05.1: the covariance that takes a batch -------------------------------------------------------


def batch_covariance(x: Tensor) -> Tensor:
    """Maximum likelihood covariances (..., d, d) of data (..., n, d)."""
    return _scatter(x) / x.shape[-2]


def _scatter(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-2, keepdim=True)
    return centred.mT @ centred


def _about(mean_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Second moments about another place than the mean."""

    def answer(x: Tensor) -> Tensor:
        away = x - mean_of(x)
        return away.mT @ away / x.shape[-2]

    return answer


def _between_rows(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-2, keepdim=True)
    return centred @ centred.mT / x.shape[-2]


def _correlation(x: Tensor) -> Tensor:
    covariance = batch_covariance(x)
    scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    return covariance / scale[..., :, None] / scale[..., None, :]


# 05.2: shrink by how much ----------------------------------------------------------------------


def shrinkage_for(S: Tensor, level: float) -> Tensor:
    """The share of tr(S)/d I that lifts the smallest eigenvalue to `level`."""
    smallest, mean = _smallest_and_mean(S)
    return (level - smallest) / (mean - smallest)


def _smallest_and_mean(S: Tensor) -> tuple[Tensor, Tensor]:
    return torch.linalg.eigvalsh(S)[0], S.diagonal().mean()


def _from_ends(formula: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """A formula of the smallest eigenvalue, the mean of all and the level."""

    def answer(S: Tensor, level: float) -> Tensor:
        return formula(*_smallest_and_mean(S), level)

    return answer


def _with_largest(S: Tensor, level: float) -> Tensor:
    largest = torch.linalg.eigvalsh(S)[-1]
    return (level - largest) / (S.diagonal().mean() - largest)


def _with_diagonal(S: Tensor, level: float) -> Tensor:
    smallest, mean = S.diagonal().min(), S.diagonal().mean()
    return (level - smallest) / (mean - smallest)


def _with_mean_of_entries(S: Tensor, level: float) -> Tensor:
    smallest, _ = _smallest_and_mean(S)
    return (level - smallest) / (S.mean() - smallest)


def _with_singular_values(S: Tensor, level: float) -> Tensor:
    smallest = torch.linalg.svdvals(S)[-1]
    return (level - smallest) / (S.diagonal().mean() - smallest)


# 05.3: the nearest covariance ------------------------------------------------------------------


def repaired(S: Tensor, floor: float) -> Tensor:
    """The nearest symmetric matrix whose eigenvalues are `floor` or larger."""
    return _with_values(lambda values, floor: values.clamp(min=floor))(S, floor)


def _with_values(change: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    """The matrix with other eigenvalues and the same eigenvectors."""

    def answer(S: Tensor, floor: float) -> Tensor:
        values, vectors = torch.linalg.eigh(S)
        return (vectors * change(values, floor)) @ vectors.mT

    return answer


def _from_rows(S: Tensor, floor: float) -> Tensor:
    values, vectors = torch.linalg.eigh(S)
    return (vectors.mT * values.clamp(min=floor)) @ vectors


def _without_vectors(S: Tensor, floor: float) -> Tensor:
    return torch.linalg.eigvalsh(S).clamp(min=floor).diag()


def _from_singular_values(S: Tensor, floor: float) -> Tensor:
    left, values, right = torch.linalg.svd(S)
    return (left * values.clamp(min=floor)) @ right


def _only_smallest(values: Tensor, floor: float) -> Tensor:
    return torch.cat([values[:1].clamp(min=floor), values[1:]])


def _on_diagonal(S: Tensor, floor: float) -> Tensor:
    return S - S.diagonal().diag() + S.diagonal().clamp(min=floor).diag()


def _entries(S: Tensor, floor: float) -> Tensor:
    return S.clamp(min=floor)


def _tensor(entries: list[Any]) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# Means that differ between the tables and are not zero; as many rows as columns in none of them.
_TABLES = _tensor(
    [
        [[1.0, 2.0, 0.5], [3.0, -1.0, 1.5], [2.0, 0.5, -1.0], [0.0, 4.0, 2.0], [1.5, 1.0, 0.3]],
        [[-2.0, 1.0, 5.0], [0.5, 3.0, 4.0], [-1.0, 2.5, 7.0], [-3.0, 0.2, 4.5], [-0.7, 1.1, 6.0]],
    ]
)
_TABLE = _tensor([[2.0, 1.0], [4.0, -1.0], [1.0, 3.5], [0.5, 0.5]])
# Eigenvalues of either sign, two of them below the floor and one between zero and the floor.
_BASIS = torch.linalg.qr(
    _tensor(
        [
            [1.0, 0.3, -0.5, 0.2],
            [0.2, 1.0, 0.4, -0.6],
            [-0.7, 0.1, 1.0, 0.3],
            [0.4, -0.2, 0.6, 1.0],
        ]
    )
).Q
_INDEFINITE = (_BASIS * _tensor([-0.7, -0.2, 0.15, 2.5])) @ _BASIS.mT
_INDEFINITE = (_INDEFINITE + _INDEFINITE.mT) / 2
_SINGULAR = _tensor([[4.0, -2.0], [-2.0, 1.0]])
_DEFINITE = _tensor([[2.0, 0.9, 0.1], [0.9, 1.0, -0.3], [0.1, -0.3, 0.5]])

EXERCISES: dict[str, Exercise] = {
    "05.1": Exercise(
        solution=batch_covariance,
        praise="any number of axes in front, and the estimate that maximum likelihood gives.",
        cases=((_TABLES,), (_TABLE,)),
        mistakes={
            "you are off by the factor n/(n-1): this is what `torch.cov` gives. Maximum likelihood "
            "divides by the number of samples.": lambda x: _scatter(x) / (x.shape[-2] - 1),
            "these are second moments about zero. The mean of each table has to come off "
            "first.": _about(lambda x: torch.zeros_like(x)),
            "all tables share one mean in your formula. Each has its own.": _about(
                lambda x: x.flatten(0, -2).mean(dim=0)
            ),
            "your mean runs over axis 0. In a batch the samples stand further back.": _about(
                lambda x: x.mean(dim=0)
            ),
            "you have taken off the mean of each row. A mean is taken over the samples, which "
            "stand in rows.": _about(lambda x: x.mean(dim=-1, keepdim=True)),
            "these are products between samples, n by n. The factors stand in the wrong "
            "order.": _between_rows,
            "this is the scatter, a sum over samples. A covariance is a mean.": _scatter,
            "you have divided by the number of variables. The mean is one over samples.": (
                lambda x: _scatter(x) / x.shape[-1]
            ),
            "you have divided by the length of axis 0. In a batch that is the number of tables.": (
                lambda x: _scatter(x) / len(x)
            ),
            "these are correlations: the scales are gone. The covariance keeps them.": _correlation,
        },
        hints=(
            "Count axes from the end: samples are axis -2, whatever stands before.",
            "Take off the mean with `keepdim=True`. Then a product of two matrices sums over "
            "samples.",
            "`.mT` exchanges the last two axes and leaves the batch alone. Which factor of the "
            "product needs it, so that n disappears?",
        ),
    ),
    "05.2": Exercise(
        solution=shrinkage_for,
        praise="the eigenvectors stay, and every eigenvalue moves the same share of its way to the "
        "mean.",
        cases=((_INDEFINITE, 0.05), (_DEFINITE, 0.6), (_SINGULAR, 0.5)),
        mistakes={
            "you mix in the whole trace. Its share for each variable is tr(S)/d.": (
                lambda S, level: (
                    (level - _smallest_and_mean(S)[0])
                    / (S.diagonal().sum() - _smallest_and_mean(S)[0])
                )
            ),
            "the smallest eigenvalue shrinks too, by the factor 1 - a, while the identity comes "
            "in. You have left that out.": _from_ends(
                lambda smallest, mean, level: (level - smallest) / mean
            ),
            "this lifts the smallest eigenvalue to zero, and not to the level.": _from_ends(
                lambda smallest, mean, level: -smallest / (mean - smallest)
            ),
            "this would be right if the smallest eigenvalue were zero.": _from_ends(
                lambda smallest, mean, level: level / mean
            ),
            "a sign is wrong: the smallest eigenvalue is taken from the level.": _from_ends(
                lambda smallest, mean, level: (level + smallest) / (mean - smallest)
            ),
            "this brings the largest eigenvalue to the level. The smallest is the one that "
            "fails.": _with_largest,
            "this lifts the smallest entry of the diagonal. The smallest eigenvalue may lie far "
            "below it.": _with_diagonal,
            "this is how far the smallest eigenvalue has to rise. The share is that over the whole "
            "way to the mean.": _from_ends(lambda smallest, mean, level: level - smallest),
            "you have taken the mean of all entries. The trace holds those of the diagonal only.": (
                _with_mean_of_entries
            ),
            "the smallest singular value is a size, without a sign. The smallest eigenvalue may be "
            "negative.": _with_singular_values,
            "your target is the identity. Here it has the mean of the variances on its diagonal.": (
                lambda S, level: (level - _smallest_and_mean(S)[0]) / (1 - _smallest_and_mean(S)[0])
            ),
            "this is the share that S keeps. The share of the identity is asked for.": _from_ends(
                lambda smallest, mean, level: 1 - (level - smallest) / (mean - smallest)
            ),
            "one over what is asked for: the way to go stands below the line.": _from_ends(
                lambda smallest, mean, level: (mean - smallest) / (level - smallest)
            ),
        },
        hints=(
            "The mixture has the eigenvectors of S. What are its eigenvalues?",
            "Each eigenvalue v becomes (1 - a) v + a t, with t the mean of all of them. The "
            "smallest one stays the smallest.",
            "Set (1 - a) v + a t equal to the level for the smallest v, and solve for a. "
            "`torch.linalg.eigvalsh` sorts from small to large.",
        ),
    ),
    "05.3": Exercise(
        solution=repaired,
        praise="the directions that were sound have kept their variance.",
        cases=((_INDEFINITE, 0.3), (_SINGULAR, 0.01)),
        mistakes={
            "you have raised the eigenvalues to zero. That is singular still; the floor is above "
            "zero.": _with_values(lambda values, floor: values.clamp(min=0)),
            "you have taken absolute values: a direction with a negative variance gets a large "
            "one.": _with_values(lambda values, floor: values.abs()),
            "you have taken absolute values before the floor. A negative eigenvalue should become "
            "the floor, not its mirror image.": _with_values(
                lambda values, floor: values.abs().clamp(min=floor)
            ),
            "you have added the floor to all eigenvalues. Good ones should stay, bad ones should "
            "end at the floor.": _with_values(lambda values, floor: values + floor),
            "the smallest eigenvalue is at the floor now, and all others have been lifted with "
            "it.": _with_values(lambda values, floor: values + floor - values[0]),
            "you have raised one eigenvalue only. There may be more below the floor.": _with_values(
                _only_smallest
            ),
            "you have set small eigenvalues to zero in place of the floor.": _with_values(
                lambda values, floor: torch.where(values < floor, 0.0, values)
            ),
            "the eigenvectors stand in columns, and your product takes them from the rows.": (
                _from_rows
            ),
            "you have raised negative eigenvalues only. A small positive one lies below the floor "
            "too.": _with_values(lambda values, floor: torch.where(values < 0, floor, values)),
            "this is diagonal: the eigenvalues are right, and the eigenvectors are gone.": (
                _without_vectors
            ),
            "singular values carry no sign, so a negative direction has stayed negative. "
            "Eigenvalues have one.": _from_singular_values,
            "the floor has become a ceiling: large eigenvalues are cut, small ones left.": (
                _with_values(lambda values, floor: values.clamp(max=floor))
            ),
            "the floor is applied to the diagonal. Its entries may all be fine while an eigenvalue "
            "is negative.": _on_diagonal,
            "the floor is applied to the entries. It belongs to the eigenvalues.": _entries,
        },
        hints=(
            "`torch.linalg.eigh` returns eigenvalues and, in columns, eigenvectors.",
            "`values.clamp(min=floor)` raises what is below. Then put the matrix together again.",
            "V diag(v) V^T is `(vectors * values) @ vectors.mT`: the product scales the columns.",
        ),
    ),
}
