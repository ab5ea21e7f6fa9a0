"""Exercises of notebook 04: merging statistics, shapes of a batch, and when a GPU pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from helpers.exercises.checking import Exercise

TITLE = "Batched GPU training"  # of the notebook

Set = tuple[int, Tensor, Tensor]  # number of samples, mean (d,), covariance (d, d) divided by it


# 04.1: two sets of samples ---------------------------------------------------------------------


def _within(n_a: int, cov_a: Tensor, n_b: int, cov_b: Tensor) -> Tensor:
    return (n_a * cov_a + n_b * cov_b) / (n_a + n_b)


def _share(n_a: int, n_b: int) -> float:
    return n_a * n_b / (n_a + n_b) ** 2


def merged_covariance(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    """Covariance (d, d) of two sets of samples together, divided by the number of samples."""
    delta = mean_b - mean_a
    return _within(n_a, cov_a, n_b, cov_b) + _share(n_a, n_b) * torch.outer(delta, delta)


def _with_between(between: Callable[[Tensor, int, int], Tensor]) -> Callable[..., Tensor]:
    """The right spread within the sets, and this of the difference of the means between them."""

    def answer(
        n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
    ) -> Tensor:
        return _within(n_a, cov_a, n_b, cov_b) + between(mean_b - mean_a, n_a, n_b)

    return answer


def _sizes_ignored(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return merged_covariance(1, mean_a, cov_a, 1, mean_b, cov_b)


def _weights_swapped(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return merged_covariance(n_b, mean_a, cov_a, n_a, mean_b, cov_b)


def _unbiased(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    n = n_a + n_b
    return merged_covariance(n_a, mean_a, cov_a, n_b, mean_b, cov_b) * n / (n - 1)


def _second_moment(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    square_a, square_b = torch.outer(mean_a, mean_a), torch.outer(mean_b, mean_b)
    return _within(n_a, cov_a + square_a, n_b, cov_b + square_b)


def _mean_unweighted(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    mean = (mean_a + mean_b) / 2
    moment = _second_moment(n_a, mean_a, cov_a, n_b, mean_b, cov_b)
    return moment - torch.outer(mean, mean)


def _mean_squared_as_a_vector(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    mean = (n_a * mean_a + n_b * mean_b) / (n_a + n_b)
    return _second_moment(n_a, mean_a, cov_a, n_b, mean_b, cov_b) - mean**2


def _second_moment_unweighted(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    mean = (n_a * mean_a + n_b * mean_b) / (n_a + n_b)
    squares = torch.outer(mean_a, mean_a) + torch.outer(mean_b, mean_b)
    return _within(n_a, cov_a, n_b, cov_b) + squares - torch.outer(mean, mean)


def _pooled(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return ((n_a - 1) * cov_a + (n_b - 1) * cov_b) / (n_a + n_b - 2)


def _taken_for_unbiased(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    n, delta = n_a + n_b, mean_b - mean_a
    scatter = (n_a - 1) * cov_a + (n_b - 1) * cov_b
    return (scatter + n_a * n_b / n * torch.outer(delta, delta)) / (n - 1)


def _scatter(
    n_a: int, mean_a: Tensor, cov_a: Tensor, n_b: int, mean_b: Tensor, cov_b: Tensor
) -> Tensor:
    return (n_a + n_b) * merged_covariance(n_a, mean_a, cov_a, n_b, mean_b, cov_b)


# 04.2: distances in a batch --------------------------------------------------------------------


def squared_distances(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    """Squared Mahalanobis distances (B, n) of samples (B, n, d), each from its own Gaussian."""
    return _whitened(value - loc[:, None, :], scale_tril).square().sum(dim=-2)


def _whitened(deviation: Tensor, scale_tril: Tensor) -> Tensor:
    """(B, n, d) to (B, d, n): one column a sample."""
    return torch.linalg.solve_triangular(scale_tril, deviation.mT, upper=False)


def _factors_of_others(deviation: Tensor, scale_tril: Tensor) -> Tensor:
    """Squared lengths (B, n); with a vector each, the factors fall on the axis of the samples."""
    columns = deviation[..., None]  # (B, n, d, 1)
    return torch.linalg.solve_triangular(scale_tril, columns, upper=False).square().sum((-2, -1))


def _means_of_others(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _whitened(value - loc, scale_tril).square().sum(dim=-2)


def _means_and_factors_of_others(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _factors_of_others(value - loc, scale_tril)


def _only_factors_of_others(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _factors_of_others(value - loc[:, None, :], scale_tril)


def _mean_ignored(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _whitened(value, scale_tril).square().sum(dim=-2)


def _multiplied(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return (scale_tril @ (value - loc[:, None, :]).mT).square().sum(dim=-2)


def _multiplied_from_the_right(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return ((value - loc[:, None, :]) @ scale_tril).square().sum(dim=-1)


def _transposed(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    deviation = (value - loc[:, None, :]).mT
    return torch.linalg.solve_triangular(scale_tril.mT, deviation, upper=True).square().sum(dim=-2)


def _solved_twice(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return torch.cholesky_solve((value - loc[:, None, :]).mT, scale_tril).square().sum(dim=-2)


def _diagonal_of_the_factor(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    scale = scale_tril.diagonal(dim1=-2, dim2=-1)  # (B, d)
    return ((value - loc[:, None, :]) / scale[:, None, :]).square().sum(dim=-1)


def _variances_only(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    variance = scale_tril.square().sum(dim=-1)  # (B, d)
    return ((value - loc[:, None, :]).square() / variance[:, None, :]).sum(dim=-1)


def _twice_the_loss(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return -2 * MultivariateNormal(loc[:, None], scale_tril=scale_tril[:, None]).log_prob(value)


def _log_density(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _twice_the_loss(value, loc, scale_tril) / -2


def _log_density_of_others(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return _twice_the_loss_of_others(value, loc, scale_tril) / -2


def _twice_the_loss_of_others(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return -2 * MultivariateNormal(loc, scale_tril=scale_tril).log_prob(value)


# 04.3: when the GPU pays -----------------------------------------------------------------------


def break_even(
    cpu_call: float, cpu_each: float, gpu_call: float, gpu_each: float, transfer_each: float
) -> float:
    """Number of matrices from which the GPU is faster, infinite where there is none."""
    return _if_saved(gpu_call - cpu_call, cpu_each - gpu_each - transfer_each)


def _if_saved(late: float, saved: float, otherwise: float = math.inf) -> float:
    return late / saved if saved > 0 else otherwise


def _never_as_a_negative_number(
    cpu_call: float, cpu_each: float, gpu_call: float, gpu_each: float, transfer_each: float
) -> float:
    saved = cpu_each - gpu_each - transfer_each
    return math.inf if saved == 0 else (gpu_call - cpu_call) / saved


def _rounded(
    rounding: Callable[[float], int],
) -> Callable[[float, float, float, float, float], float]:
    def answer(
        cpu_call: float, cpu_each: float, gpu_call: float, gpu_each: float, transfer_each: float
    ) -> float:
        number = break_even(cpu_call, cpu_each, gpu_call, gpu_each, transfer_each)
        return rounding(number) if math.isfinite(number) else number

    return answer


def _tensor(entries: list[Any]) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# Three variables, two sizes that differ, and no number that is another's square or half.
_A: Set = (
    30,
    _tensor([1.0, -2.0, 0.5]),
    _tensor([[2.0, 0.3, -0.4], [0.3, 1.0, 0.2], [-0.4, 0.2, 1.5]]),
)
_B: Set = (
    10,
    _tensor([0.5, 1.0, -0.8]),
    _tensor([[0.5, -0.2, 0.1], [-0.2, 3.0, 0.6], [0.1, 0.6, 0.9]]),
)

# Two variables, and the larger set second.
_C: Set = (5, _tensor([2.0, 0.4]), _tensor([[1.2, -0.5], [-0.5, 0.7]]))
_D: Set = (20, _tensor([-0.6, 1.3]), _tensor([[0.4, 0.1], [0.1, 2.2]]))

# As many samples as Gaussians: here what is broadcast along the wrong axis fits in shape. Another
# number of variables: a mean over them is no half of the sum.
_VALUE = _tensor(
    [
        [[1.0, 2.0, 0.3], [-1.0, 0.5, 1.2], [0.0, 3.0, -0.7], [0.8, -0.6, 2.0]],
        [[2.0, -1.0, 0.4], [0.3, 0.4, -1.5], [-2.0, 1.0, 0.6], [1.1, 0.2, -0.9]],
        [[0.5, 0.5, 1.0], [1.5, -0.5, 0.2], [3.0, 2.0, -1.0], [-0.4, 1.3, 0.7]],
        [[-1.2, 0.9, 0.1], [0.6, 2.2, -0.3], [1.7, -1.4, 0.5], [0.2, 0.8, 1.9]],
    ]
)  # (4, 4, 3)
_LOC = _tensor([[0.5, -0.5, 0.2], [1.0, 2.0, -1.0], [-1.0, 0.0, 0.4], [0.3, -0.7, 1.1]])  # (4, 3)
_SCALE_TRIL = _tensor(
    [
        [[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.4, 0.8]],
        [[0.7, 0.0, 0.0], [-0.3, 1.2, 0.0], [0.6, 0.1, 1.5]],
        [[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.2, -0.4, 1.1]],
        [[1.3, 0.0, 0.0], [-0.8, 0.9, 0.0], [0.5, 0.3, 0.6]],
    ]
)  # (4, 3, 3)

EXERCISES: dict[str, Exercise] = {
    "04.1": Exercise(
        solution=merged_covariance,
        praise="no sample had to travel from one machine to the other.",
        cases=((*_A, *_B), (*_C, *_D)),
        mistakes={
            "the plain average of two matrices: the sets have different sizes, and their means lie "
            "apart. Neither shows in it.": lambda n_a, m_a, c_a, n_b, m_b, c_b: (c_a + c_b) / 2,
            "the sum of two covariances is that of a sum of two variables. Here the samples lie "
            "side by side, and more of them do not spread further.": (
                lambda n_a, m_a, c_a, n_b, m_b, c_b: c_a + c_b
            ),
            "both sets count the same in it, although one of them brings more samples than the "
            "other.": _sizes_ignored,
            "the spread within the sets is right, and it is all that you have counted. The two "
            "means differ as well.": _with_between(lambda delta, n_a, n_b: 0 * delta),
            "each covariance has the weight of the other set.": _weights_swapped,
            "the distance between the means enters in full. It should not if one of the sets held "
            "a single sample among thousands.": _with_between(
                lambda delta, n_a, n_b: torch.outer(delta, delta)
            ),
            "you have added a scatter to a covariance: one term is divided by the number of "
            "samples once less than the other.": _with_between(
                lambda delta, n_a, n_b: (n_a + n_b) * _share(n_a, n_b) * torch.outer(delta, delta)
            ),
            "the diagonal is right. The means differ in all variables at once, and that adds to "
            "what lies off the diagonal.": _with_between(
                lambda delta, n_a, n_b: _share(n_a, n_b) * delta.square().diag()
            ),
            "what you have added for the means is one number, the same for all entries: of two "
            "vectors, `@` makes a scalar.": _with_between(
                lambda delta, n_a, n_b: _share(n_a, n_b) * (delta @ delta)
            ),
            "what you have added for the means is a vector, the same for all rows, so the result "
            "is not symmetric: of two vectors, `*` makes a vector.": _with_between(
                lambda delta, n_a, n_b: _share(n_a, n_b) * delta.square()
            ),
            "one sign is wrong: means that lie apart make the spread of the whole smaller in your "
            "formula.": _with_between(
                lambda delta, n_a, n_b: -_share(n_a, n_b) * torch.outer(delta, delta)
            ),
            "this is the mean of x x^T, the second moment about zero. A covariance is taken about "
            "the mean.": _second_moment,
            "the second moments are right, and the mean that you take off is halfway between the "
            "two. The larger set should pull it to its side.": _mean_unweighted,
            "the second moments are right, and what you take off for the common mean is a vector, "
            "the same for all rows: of a vector, `**` makes a vector.": _mean_squared_as_a_vector,
            "the two ways from a set's mean to the common one are there, and both count in full. "
            "The more samples a set has, the more its own way counts.": _with_between(
                lambda delta, n_a, n_b: (
                    (n_a**2 + n_b**2) / (n_a + n_b) ** 2 * torch.outer(delta, delta)
                )
            ),
            "the outer products of both means are added in full: each belongs to its own set, and "
            "counts as much as that set does.": _second_moment_unweighted,
            "this is the pooled covariance of two groups: it takes their means for different on "
            "purpose, and its weights n - 1 belong to covariances divided by n - 1.": _pooled,
            "you have multiplied the covariances by n - 1. Those given here are divided by n, and "
            "so should the answer be.": _taken_for_unbiased,
            "these are sums over all the samples: what is left is to divide by their number.": (
                _scatter
            ),
            "the spreads within the sets are right, and those of the means are taken from halfway "
            "between the two. The larger set should pull the common mean to its side.": (
                _with_between(lambda delta, n_a, n_b: torch.outer(delta, delta) / 4)
            ),
            "off by the factor N / (N - 1): this is what `torch.cov` gives, and maximum "
            "likelihood is asked for.": _unbiased,
        },
        hints=(
            "Two things spread the samples of both machines together: the spread within each "
            "set, and the way from one mean to the other.",
            "Within the sets it is an average of the two covariances, with the numbers of "
            "samples as weights. On its own it is right only where the means are equal.",
            "Between the sets, think of two points with weights that add up to one: their "
            "variance is the product of the weights times the squared distance. For vectors the "
            "square is an outer product.",
        ),
    ),
    "04.2": Exercise(
        solution=squared_distances,
        praise="with B equal to n, no error message would have warned you of a wrong axis.",
        # The second pairs the samples with other Gaussians: no number can be learnt by heart.
        cases=((_VALUE, _LOC, _SCALE_TRIL), (_VALUE.flip(1), _LOC.flip(0), _SCALE_TRIL)),
        mistakes={
            "sample k of every Gaussian was compared with the mean of Gaussian k. Shapes are "
            "matched from the right, and `loc` misses an axis of length one. That there was no "
            "error is an accident, n equals B here.": _means_of_others,
            "sample k of every Gaussian was measured with the factor of Gaussian k; the means are "
            "right. Shapes are matched from the right, and `scale_tril` misses an axis of length "
            "one.": _only_factors_of_others,
            "sample k of every Gaussian was measured with the mean and the factor of Gaussian k. "
            "Shapes are matched from the right, and both miss an axis of length one.": (
                _means_and_factors_of_others
            ),
            "the means have not been taken off.": _mean_ignored,
            "you have multiplied by the factor. The distance shrinks where the spread is large, so "
            "it is a system of equations that has to be solved.": _multiplied,
            "this is the quadratic form of the covariance itself. The distance shrinks where the "
            "spread is large, so the form of its inverse is asked for.": _multiplied_from_the_right,
            "you have solved with the transpose of the factor.": _transposed,
            "the covariance has been undone twice: solving with all of it is one half too many "
            "before you square.": _solved_twice,
            "only the diagonal of the factor has been used. What lies below it makes the "
            "correlations.": _diagonal_of_the_factor,
            "each variable was divided by its own variance, as if there were no correlations.": (
                _variances_only
            ),
            "this is -2 times the log-density. It holds two terms besides the distance, and one of "
            "them differs from Gaussian to Gaussian.": _twice_the_loss,
            "this is -2 times the log-density, which holds more than the distance. And sample k of "
            "every Gaussian was measured by Gaussian k.": _twice_the_loss_of_others,
            "this is the log-density. The squared distance is one of three terms in it, with a "
            "minus and a half in front.": _log_density,
            "this is the log-density, of which the squared distance is one term. And sample k of "
            "every Gaussian was measured by Gaussian k.": _log_density_of_others,
            "this is the distance; its square is asked for.": lambda value, loc, scale_tril: (
                squared_distances(value, loc, scale_tril).sqrt()
            ),
            "off by a factor of two: the one half of the exponent is not part of the distance.": (
                lambda value, loc, scale_tril: squared_distances(value, loc, scale_tril) / 2
            ),
            "off by the factor d: you have averaged over the variables.": (
                lambda value, loc, scale_tril: (
                    squared_distances(value, loc, scale_tril) / value.shape[-1]
                )
            ),
            "the values are right and lie in the wrong place: a row is to hold the samples of one "
            "Gaussian. That the shape fits is an accident, n equals B here.": (
                lambda value, loc, scale_tril: squared_distances(value, loc, scale_tril).mT
            ),
            "this is the distance in a straight line; `scale_tril` has not been used.": (
                lambda value, loc, scale_tril: (value - loc[:, None, :]).square().sum(dim=-1)
            ),
            "the sum runs over the samples: the solve has put them last, and the variables before "
            "them.": lambda value, loc, scale_tril: (
                _whitened(value - loc[:, None, :], scale_tril).square().sum(dim=-1)
            ),
        },
        hints=(
            "For one Gaussian: take off the mean, solve with the factor, and add up squares "
            "over the variables. Now every tensor has an axis more, in front.",
            "Shapes are matched from the right. Write (B, n, d) and (B, d) below each other so "
            "that B meets B: where is an axis of length one missing?",
            "`torch.linalg.solve_triangular` wants each right-hand side as a column, so n comes "
            "last. Afterwards the squares are added up over the axis that holds the variables.",
        ),
    ),
    "04.3": Exercise(
        solution=break_even,
        praise="below that number of matrices the CPU is the faster machine.",
        # Numbers that are exact in binary, and an answer that is not whole. In the second case the
        # way to the GPU costs more than its speed saves, in the third exactly as much.
        cases=(
            (10.0, 0.75, 45.0, 0.25, 0.125),
            (10.0, 0.75, 45.0, 0.25, 1.0),
            (10.0, 0.75, 45.0, 0.25, 0.5),
        ),
        mistakes={
            "the matrices are not on the GPU yet, and the way there is not in your count.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    gpu_call - cpu_call, cpu_each - gpu_each
                )
            ),
            "you have sent one matrix. Each of them has to be sent.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    gpu_call + transfer_each - cpu_call, cpu_each - gpu_each
                )
            ),
            "the CPU's own call is not free either.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    0.0, cpu_each, gpu_call, gpu_each, transfer_each
                )
            ),
            "you have added the two calls. Only one of the machines makes the step, so it matters "
            "how much later the GPU starts.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    -cpu_call, cpu_each, gpu_call, gpu_each, transfer_each
                )
            ),
            "right where the lines cross. Where the GPU never catches up your number is negative; "
            "`math.inf` would say it.": _never_as_a_negative_number,
            "right where the lines cross. Where the GPU never catches up you return zero, and that "
            "says that it always pays.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    gpu_call - cpu_call, cpu_each - gpu_each - transfer_each, otherwise=0.0
                )
            ),
            "right where the lines cross; never is `math.inf`, not -1.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    gpu_call - cpu_call, cpu_each - gpu_each - transfer_each, otherwise=-1.0
                )
            ),
            "right where the lines cross; never is `math.inf`, not a NaN.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    gpu_call - cpu_call, cpu_each - gpu_each - transfer_each, otherwise=math.nan
                )
            ),
            "a number of matrices cannot be negative: one of the two differences is the wrong way "
            "round.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    cpu_call - gpu_call, cpu_each - gpu_each - transfer_each
                )
            ),
            "you say never where the GPU pays, and give a number where it does not: what a matrix "
            "saves is the wrong way round.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: _if_saved(
                    gpu_call - cpu_call, gpu_each + transfer_each - cpu_each
                )
            ),
            "this compares the calls alone. What each further matrix costs decides how fast the "
            "GPU makes up for its late start.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: gpu_call / cpu_call
            ),
            "this compares the matrices alone. The calls decide how much the GPU has to make up "
            "for.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: (
                    cpu_each / (gpu_each + transfer_each)
                )
            ),
            "the transfer makes the GPU slower, and in your formula it makes it faster.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    cpu_call, cpu_each, gpu_call, gpu_each, -transfer_each
                )
            ),
            "you have rounded up. Where the lines cross is asked for, as a real number.": (
                _rounded(math.ceil)
            ),
            "you have rounded. Where the lines cross is asked for, as a real number.": (
                _rounded(round)
            ),
            "the way there is counted twice. Nothing is sent back.": (
                lambda cpu_call, cpu_each, gpu_call, gpu_each, transfer_each: break_even(
                    cpu_call, cpu_each, gpu_call, gpu_each, 2 * transfer_each
                )
            ),
        },
        hints=(
            "Write down both times as functions of B, with the transfer in one of them, and set "
            "them equal.",
            "The GPU starts late, by the difference of the two calls. How much of that does "
            "each further matrix win back?",
            "If a further matrix wins back nothing, or loses more, no B is large enough. Find "
            "out about that before you divide.",
        ),
        errors={
            ZeroDivisionError: (
                "For some arguments a further matrix costs the same on both machines. The GPU "
                "never makes up for its late start then, and you divide by zero: see to this case "
                "before you divide."
            )
        },
    ),
}
