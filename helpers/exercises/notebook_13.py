"""Exercises of notebook 13: any number of parts, what DDP averages, ring against doubling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.exercises.checking import Exercise

TITLE = "Scaling out"  # of the notebook


# 13.1: any number of ranks ---------------------------------------------------------------------


def merged_scatter(counts: Tensor, means: Tensor, scatters: Tensor) -> Tensor:
    """Scatter (d, d) of all rows about their common mean, from W parts."""
    apart = means - _common_mean(counts, means)
    return scatters.sum(dim=0) + apart.mT @ (counts[:, None] * apart)


def _common_mean(counts: Tensor, means: Tensor) -> Tensor:
    return (counts[:, None] * means).sum(dim=0) / counts.sum()


def _from(mean_of: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The right sum, about another mean."""

    def answer(counts: Tensor, means: Tensor, scatters: Tensor) -> Tensor:
        apart = means - mean_of(counts, means)
        return scatters.sum(dim=0) + apart.mT @ (counts[:, None] * apart)

    return answer


def _with_between(between: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The right sum within the parts, and this of counts and ways to the common mean."""

    def answer(counts: Tensor, means: Tensor, scatters: Tensor) -> Tensor:
        return scatters.sum(dim=0) + between(counts, means - _common_mean(counts, means))

    return answer


def _covariances_added(counts: Tensor, means: Tensor, scatters: Tensor) -> Tensor:
    within = (counts[:, None, None] * scatters).sum(dim=0)
    return within + merged_scatter(counts, means, 0 * scatters)


def _scatters_averaged(counts: Tensor, means: Tensor, scatters: Tensor) -> Tensor:
    return scatters.mean(dim=0) + merged_scatter(counts, means, 0 * scatters)


# 13.2: what DDP averages -----------------------------------------------------------------------


def loss_factors(counts: Tensor) -> Tensor:
    """Factors (W,) that turn an average over ranks into the mean over all rows."""
    return len(counts) * counts / counts.sum()


# 13.3: ring against doubling -------------------------------------------------------------------


def break_even_bytes(ranks: int, alpha: float, beta: float) -> float:
    """Message size at which a ring and recursive doubling take the same time."""
    return _break_even(2 * (ranks - 1), 2 * (ranks - 1) / ranks, math.log2(ranks), alpha, beta)


def _break_even(messages: float, share: float, rounds: float, alpha: float, beta: float) -> float:
    """For a ring with so many messages and so many times the bytes."""
    return (messages - rounds) * alpha / ((rounds - share) * beta)


def _tensor(entries: list[Any]) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# Sizes that differ, a rank that has seen nothing, and no number that is another's square or half.
_COUNTS = _tensor([30.0, 10.0, 0.0, 5.0])
_MEANS = _tensor([[1.0, -2.0, 0.5], [0.5, 1.0, -0.8], [0.0, 0.0, 0.0], [2.0, 0.4, 1.7]])
_SCATTERS = _tensor(
    [
        [[20.0, 3.0, -4.0], [3.0, 10.0, 2.0], [-4.0, 2.0, 15.0]],
        [[5.0, -2.0, 1.0], [-2.0, 30.0, 6.0], [1.0, 6.0, 9.0]],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [[1.2, -0.5, 0.3], [-0.5, 0.7, 0.1], [0.3, 0.1, 2.2]],
    ]
)
_TWO = (
    _tensor([7.0, 20.0]),
    _tensor([[2.0, 0.4], [-0.6, 1.3]]),
    _tensor([[[6.0, -2.5], [-2.5, 3.5]], [[8.0, 2.0], [2.0, 44.0]]]),
)

EXERCISES: dict[str, Exercise] = {
    "13.1": Exercise(
        solution=merged_scatter,
        praise="this is all that happens between the ranks, however many there are.",
        cases=((_COUNTS, _MEANS, _SCATTERS), _TWO),
        mistakes={
            "the spread within the parts is right, and it is all that you have counted. Their "
            "means lie apart as well.": lambda counts, means, scatters: scatters.sum(dim=0),
            "the common mean is the plain average of the means in your formula. A rank with more "
            "rows should pull it further, and one without rows not at all.": _from(
                lambda counts, means: means.mean(dim=0)
            ),
            "each rank's way to the common mean counts once. It should count once for each of its "
            "rows.": _with_between(lambda counts, apart: apart.mT @ apart),
            "the ways to the common mean count with the share of the rows, and the scatters with "
            "the rows themselves. Both should be sums over rows.": _with_between(
                lambda counts, apart: apart.mT @ (counts[:, None] * apart) / counts.sum()
            ),
            "one sign is wrong: means that lie apart make the scatter smaller in your formula.": (
                _with_between(lambda counts, apart: -apart.mT @ (counts[:, None] * apart))
            ),
            "the diagonal is right. The means differ in all variables at once, and that adds to "
            "what lies beside it.": _with_between(
                lambda counts, apart: (counts[:, None] * apart.square()).sum(dim=0).diag()
            ),
            "the way from zero to each mean has been added, not that from the common mean.": _from(
                lambda counts, means: torch.zeros_like(means[0])
            ),
            "every scatter has been multiplied by its rows. It is a sum over them already.": (
                _covariances_added
            ),
            "the scatters have been averaged over the ranks. They are sums, so they add up.": (
                _scatters_averaged
            ),
            "the counts enter squared: each way to the common mean has been weighted before and "
            "after the outer product.": _with_between(
                lambda counts, apart: (counts[:, None] * apart).mT @ (counts[:, None] * apart)
            ),
            "this is the covariance: the scatter is the sum, before it is divided by the number "
            "of rows.": lambda counts, means, scatters: (
                merged_scatter(counts, means, scatters) / counts.sum()
            ),
            "this is the covariance with N - 1 below: the scatter is asked for, before anything "
            "is divided.": lambda counts, means, scatters: (
                merged_scatter(counts, means, scatters) / (counts.sum() - 1)
            ),
        },
        hints=(
            "Find the mean of all rows first. Which weight does the mean of each rank have in it?",
            "About the common mean, the rows of one rank spread by their own scatter, and by the "
            "way from the rank's mean to the common one, once for each row.",
            "With the ways as rows of a matrix A of shape (W, d), the sum of weighted outer "
            "products is one matrix product: A^T times A with its rows weighted.",
        ),
    ),
    "13.2": Exercise(
        solution=loss_factors,
        praise="a rank without rows takes part with a weight of zero, so that no other waits.",
        cases=((_tensor([63.0, 62.0, 0.0]),), (_tensor([10.0, 30.0, 25.0, 35.0]),)),
        mistakes={
            "these are the shares of the rows, right for a sum over the ranks. DDP also divides "
            "by the number of ranks, and that has to be undone.": (
                lambda counts: counts / counts.sum()
            ),
            "the average would be the sum over the rows divided by the number of ranks: the "
            "number of all rows is missing.": lambda counts: counts,
            "all ranks weigh the same, which is what DDP does anyway. Some have more rows.": (
                torch.ones_like
            ),
            "these would make a sum over the ranks of an average over them. The rows of each rank "
            "do not enter.": lambda counts: torch.full_like(counts, len(counts)),
            "the number of ranks has been divided by twice: DDP does it already, and you should "
            "multiply.": lambda counts: counts / counts.sum() / len(counts),
            "this is the sum of the gradients of all rows, not their mean.": (
                lambda counts: len(counts) * counts
            ),
            "a rank counts more where it has fewer rows. A mean over few rows is to weigh less.": (
                lambda counts: counts.sum() / (len(counts) * counts)
            ),
            "only ranks with rows have been counted. DDP divides by all of them, also by those "
            "that have nothing.": lambda counts: (counts > 0).sum() * counts / counts.sum(),
            "the weights are relative to the largest share. What counts is the share of the "
            "whole.": lambda counts: counts / counts.max(),
        },
        hints=(
            "Write the mean over all rows as a weighted sum of the ranks' means. What are the "
            "weights?",
            "DDP computes the sum of the ranks' gradients divided by W. Which factor makes a "
            "weighted sum of it?",
            "For equal shares nothing needs to be corrected, so then every factor is one.",
        ),
    ),
    "13.3": Exercise(
        solution=break_even_bytes,
        praise="below that size the fewer rounds win, above it the fewer bytes.",
        # In microseconds: in seconds the product of the two is nothing beside a tolerance.
        cases=((4, 50.0, 1e-3), (64, 20.0, 8e-4), (1024, 5.0, 1e-4)),
        mistakes={
            "you have counted the ring's first way round only: the pieces go round twice.": (
                lambda ranks, alpha, beta: _break_even(
                    ranks - 1, (ranks - 1) / ranks, math.log2(ranks), alpha, beta
                )
            ),
            "the ring's latencies are right. Of its bytes you have counted half: the pieces go "
            "round twice.": lambda ranks, alpha, beta: _break_even(
                2 * (ranks - 1), (ranks - 1) / ranks, math.log2(ranks), alpha, beta
            ),
            "each message of the ring carries one piece, a W-th of the vector. In your formula "
            "the ring sends exactly two whole vectors.": lambda ranks, alpha, beta: (
                _break_even(2 * (ranks - 1), 2, math.log2(ranks), alpha, beta)
                if ranks > 4
                else math.inf
            ),
            "the ring has two times W - 1 steps in your bytes and two times W in your latencies: "
            "after W - 1 steps a piece has been everywhere.": lambda ranks, alpha, beta: (
                _break_even(2 * ranks, 2 * (ranks - 1) / ranks, math.log2(ranks), alpha, beta)
            ),
            "the logarithm is to the base e. Each round doubles what a rank knows.": (
                lambda ranks, alpha, beta: _break_even(
                    2 * (ranks - 1), 2 * (ranks - 1) / ranks, math.log(ranks), alpha, beta
                )
            ),
            "the logarithm is to the base 10. Each round doubles what a rank knows.": (
                lambda ranks, alpha, beta: _break_even(
                    2 * (ranks - 1), 2 * (ranks - 1) / ranks, math.log10(ranks), alpha, beta
                )
            ),
            "latency and bandwidth have changed places.": lambda ranks, alpha, beta: (
                break_even_bytes(ranks, beta, alpha)
            ),
            "beta stands above the line in your formula. The two times are equal where the bytes "
            "times beta are the latencies times alpha: divide by beta.": (
                lambda ranks, alpha, beta: break_even_bytes(ranks, alpha, 1 / beta)
            ),
            "this is where one message takes as long for its bytes as for its latency. Count how "
            "many messages, and how many bytes, each of the two sends.": (
                lambda ranks, alpha, beta: alpha / beta
            ),
            "you have left out the bytes of the ring: it sends nearly two vectors.": (
                lambda ranks, alpha, beta: _break_even(
                    2 * (ranks - 1), 0, math.log2(ranks), alpha, beta
                )
            ),
            "you have left out the latencies of doubling: it has one in each round.": (
                lambda ranks, alpha, beta: (
                    2 * (ranks - 1) * alpha / ((math.log2(ranks) - 2 * (ranks - 1) / ranks) * beta)
                )
            ),
            "one over what is asked for: the bytes saved stand above, and the latencies saved "
            "below.": lambda ranks, alpha, beta: 1 / break_even_bytes(ranks, alpha, beta),
            "doubling has a round of one latency in your formula, whatever the number of ranks.": (
                lambda ranks, alpha, beta: (
                    (2 * (ranks - 1) - 1)
                    * alpha
                    / ((math.log2(ranks) - 2 * (ranks - 1) / ranks) * beta)
                )
            ),
            "this counts numbers of eight bytes. The size in bytes is asked for.": (
                lambda ranks, alpha, beta: break_even_bytes(ranks, alpha, beta) / 8
            ),
            "the sign is wrong: the ring pays more latencies, and doubling more bytes.": (
                lambda ranks, alpha, beta: -break_even_bytes(ranks, alpha, beta)
            ),
        },
        hints=(
            "Write down both times. Each is a number of latencies times alpha, and a number of "
            "bytes times beta.",
            "The ring has 2 (W - 1) latencies and 2 (W - 1) / W vectors. How many of each does "
            "doubling have?",
            "Set the two times equal and solve for m: the latencies that doubling saves, over the "
            "bytes that the ring saves.",
        ),
    ),
}
