"""Exercises of notebook 04: merging statistics, shapes of a batch, and when a GPU pays."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

Set = tuple[int, Tensor, Tensor]  # number of samples, mean (d,), covariance (d, d) divided by it


def _between(mean_a: Tensor, mean_b: Tensor) -> Tensor:
    return torch.outer(mean_b - mean_a, mean_b - mean_a)


def _within(n_a: int, cov_a: Tensor, n_b: int, cov_b: Tensor) -> Tensor:
    return (n_a * cov_a + n_b * cov_b) / (n_a + n_b)


def merged_covariance(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    """Covariance (d, d) of two sets of samples together, divided by the number of samples."""
    share = n_a * n_b / (n_a + n_b) ** 2
    return _within(n_a, cov_a, n_b, cov_b) + share * _between(mean_a, mean_b)


def _sizes_ignored(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return merged_covariance(1, mean_a, cov_a, 1, mean_b, cov_b)


def _weights_swapped(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return merged_covariance(n_b, mean_a, cov_a, n_a, mean_b, cov_b)


def _too_much_between(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return _within(n_a, cov_a, n_b, cov_b) + _between(mean_a, mean_b)


def _scatter_added(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    scatter = n_a * n_b / (n_a + n_b) * _between(mean_a, mean_b)
    return _within(n_a, cov_a, n_b, cov_b) + scatter


def _diagonal_between(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    share = n_a * n_b / (n_a + n_b) ** 2
    return _within(n_a, cov_a, n_b, cov_b) + share * (mean_b - mean_a).square().diag()


def _unbiased(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    n = n_a + n_b
    return merged_covariance(n_a, mean_a, cov_a, n_b, mean_b, cov_b) * n / (n - 1)


def squared_distances(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    """Squared Mahalanobis distances (B, n) of samples (B, n, d), each from its own Gaussian."""
    return _whitened(value - loc[:, None, :], scale_tril).square().sum(dim=-2)


def _whitened(deviation: Tensor, scale_tril: Tensor) -> Tensor:
    """(B, n, d) to (B, d, n): one column a sample."""
    return torch.linalg.solve_triangular(scale_tril, deviation.mT, upper=False)


def _means_of_others(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _whitened(value - loc, scale_tril).square().sum(dim=-2)


def _mean_ignored(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _whitened(value, scale_tril).square().sum(dim=-2)


def _multiplied(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return (scale_tril @ (value - loc[:, None, :]).mT).square().sum(dim=-2)


def _transposed(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    deviation = (value - loc[:, None, :]).mT
    return torch.linalg.solve_triangular(scale_tril.mT, deviation, upper=True).square().sum(dim=-2)


def _solved_twice(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return torch.cholesky_solve((value - loc[:, None, :]).mT, scale_tril).square().sum(dim=-2)


def break_even(
    cpu_call: float, cpu_each: float, gpu_call: float, gpu_each: float, transfer_each: float
) -> float:
    """Number of matrices from which the GPU is faster, infinite where there is none."""
    saved = cpu_each - gpu_each - transfer_each
    return (gpu_call - cpu_call) / saved if saved > 0 else math.inf


_A: Set = (30, torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 0.3], [0.3, 1.0]]))
_B: Set = (10, torch.tensor([0.5, 1.0]), torch.tensor([[0.5, -0.2], [-0.2, 3.0]]))

# As many samples as Gaussians: here a mean that is broadcast along the wrong axis fits in shape.
_VALUE = torch.tensor(
    [
        [[1.0, 2.0], [-1.0, 0.5], [0.0, 3.0]],
        [[2.0, -1.0], [0.3, 0.4], [-2.0, 1.0]],
        [[0.5, 0.5], [1.5, -0.5], [3.0, 2.0]],
    ]
)  # (3, 3, 2)
_LOC = torch.tensor([[0.5, -0.5], [1.0, 2.0], [-1.0, 0.0]])  # (3, 2)
_SCALE_TRIL = torch.tensor(
    [[[1.0, 0.0], [0.5, 2.0]], [[0.7, 0.0], [-0.3, 1.2]], [[2.0, 0.0], [1.0, 0.5]]]
)  # (3, 2, 2)

EXERCISES: dict[str, Exercise] = {
    "04.1": Exercise(
        solution=merged_covariance,
        praise="spread within the sets and between them: all that two machines need to exchange.",
        cases=((*_A, *_B), (*_B, *_A)),
        mistakes={
            "the plain average of two matrices: the sets have different sizes, and their means lie "
            "apart. Neither shows in it.": lambda n_a, m_a, c_a, n_b, m_b, c_b: (c_a + c_b) / 2,
            "both sets count the same in it. How many samples does each of them bring?": (
                _sizes_ignored
            ),
            "the spread within the sets is right, and it is all that you have counted. The two "
            "means differ as well.": lambda n_a, m_a, c_a, n_b, m_b, c_b: _within(
                n_a, c_a, n_b, c_b
            ),
            "each covariance has the weight of the other set.": _weights_swapped,
            "the distance between the means enters in full. If one of the sets held a single "
            "sample among thousands, should it?": _too_much_between,
            "you have added a scatter to a covariance: one term is divided by the number of "
            "samples once less than the other.": _scatter_added,
            "the diagonal is right. The means differ in both variables at once, and that adds to "
            "what lies off the diagonal.": _diagonal_between,
            "off by the factor N / (N - 1): this is what `torch.cov` gives, and maximum "
            "likelihood is asked for.": _unbiased,
        },
    ),
    "04.2": Exercise(
        solution=squared_distances,
        praise="each sample was measured from its own mean, with its own factor.",
        cases=((_VALUE, _LOC, _SCALE_TRIL),),
        mistakes={
            "sample k of every Gaussian was compared with the mean of Gaussian k. Shapes are "
            "matched from the right: where does `loc` need an axis of length one? That there was "
            "no error is an accident, n equals B here.": _means_of_others,
            "the means have not been taken off.": _mean_ignored,
            "you have multiplied by the factor. The distance shrinks where the spread is large, so "
            "it is a system of equations that has to be solved.": _multiplied,
            "you have solved with the transpose of the factor.": _transposed,
            "the covariance has been undone twice: solving with all of it is one half too many "
            "before you square.": _solved_twice,
            "this is the distance; its square is asked for.": lambda value, loc, scale_tril: (
                squared_distances(value, loc, scale_tril).sqrt()
            ),
            "off by a factor of two: the one half of the exponent is not part of the distance.": (
                lambda value, loc, scale_tril: squared_distances(value, loc, scale_tril) / 2
            ),
            "this is the distance in a straight line; `scale_tril` has not been used.": (
                lambda value, loc, scale_tril: (value - loc[:, None, :]).square().sum(dim=-1)
            ),
        },
    ),
    "04.3": Exercise(
        solution=break_even,
        praise="and below that number of matrices the CPU is the faster machine.",
        # The second is one where the way to the GPU costs more than its speed saves.
        cases=((10.0, 0.2, 150.0, 0.01, 0.05), (10.0, 0.2, 150.0, 0.01, 0.3)),
        mistakes={
            "the matrices are not on the GPU yet, and the way there is not in your count.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    cpu_call, cpu_each, gpu_call, gpu_each, 0.0
                )
            ),
            "the CPU's own call is not free either.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    0.0, cpu_each, gpu_call, gpu_each, transfer_each
                )
            ),
            "right where the lines cross. Where the GPU never catches up your number is negative; "
            "`math.inf` would say it.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: (
                    (gpu_call - cpu_call) / (cpu_each - gpu_each - transfer_each)
                )
            ),
            "a number of matrices cannot be negative: one of the two differences is the wrong way "
            "round.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: (
                    -break_even(cpu_call, cpu_each, gpu_call, gpu_each, transfer_each)
                )
            ),
            "this compares the calls alone. What each further matrix costs decides how fast the "
            "GPU makes up for its late start.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: gpu_call / cpu_call
            ),
            "the transfer makes the GPU slower, and in your formula it makes it faster.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    cpu_call, cpu_each, gpu_call, gpu_each, -transfer_each
                )
            ),
        },
    ),
}
