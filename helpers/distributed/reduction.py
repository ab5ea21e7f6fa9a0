"""One reduction: the statistics of all ranks, on every rank."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from helpers.distributed.groups import Ranks, agree, find_ranks
from helpers.statistics import SufficientStatistics, refuse_large

LARGEST_COUNT = 2**53  # up to here float64 holds every whole number


def reduce_statistics(statistics: SufficientStatistics, group: Any = None) -> SufficientStatistics:
    r"""Merge the statistics of all ranks, so that every rank has those of all samples.

    .. math::
        m = \frac{\sum_r n_r m_r}{\sum_r n_r}, \qquad
        C = \sum_r \left( C_r + n_r (m_r - m)(m_r - m)^\top \right)

    Parameters
    ----------
    statistics : SufficientStatistics
        Of the samples of this rank; a rank without samples hands in statistics of none. Shape and
        dtype are the same on every rank.
    group : ProcessGroup, optional
        By default all ranks; a single process where torch.distributed is not initialised.

    Returns
    -------
    SufficientStatistics
        The same bits on every rank, in the dtype and on the device of `statistics`. Without
        gradients.

    Raises
    ------
    TypeError, ValueError
        If what a rank hands in is no SufficientStatistics or not like that of the first rank:
        every rank raises the same error. If `group` is no group of this process.

    Notes
    -----
    Two calls of `all_reduce` add up 1 + d numbers and then d(d+1)/2, in float64. Every matrix that
    is added in the second one is positive semidefinite, so nothing cancels. Counts are exact up to
    2^53 samples.

    References
    ----------
    Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance.
    """
    ranks = find_ranks(group)
    _agree_on_form(statistics, ranks)
    merged = add_up(statistics, ranks)
    refuse_large(merged.scatter, "statistics")
    return merged.detach()


def _agree_on_form(statistics: Any, ranks: Ranks) -> None:
    """Raise the same error on every rank unless all statistics have one form."""
    error: Exception | None = None
    form = ()
    if not isinstance(statistics, SufficientStatistics):
        what = type(statistics).__name__
        error = TypeError(f"statistics: expected SufficientStatistics, got {what}")
    else:
        form = (tuple(statistics.mean.shape), str(statistics.mean.dtype).removeprefix("torch."))
    forms = ranks.gather(form)
    if error is None and form != forms[0] and forms[0]:
        error = ValueError(
            f"statistics: expected a mean of shape {forms[0][0]} and dtype {forms[0][1]} like "
            f"rank 0, got shape {form[0]} and dtype {form[1]} on rank {ranks.rank}"
        )
    agree(error, ranks)


def add_up(statistics: SufficientStatistics, ranks: Ranks) -> SufficientStatistics:
    """Merge statistics that have the same form on every rank."""
    if ranks.n_ranks == 1:
        return statistics
    mine = _moved(statistics.detach(), ranks.device, torch.float64)
    d = mine.dim
    weight = mine.count.to(torch.float64)[..., None]  # (*batch, 1)
    sums = _sum_over_ranks(torch.cat([weight, weight * mine.mean], dim=-1), ranks)
    count, total = sums[..., :1], sums[..., 1:]
    _require_countable(count)
    mean = total / count.clamp(min=1)  # (*batch, d)
    apart = mine.mean - mean
    around = mine.scatter + weight[..., None] * apart[..., :, None] * apart[..., None, :]
    row, column = torch.tril_indices(d, d, device=ranks.device)
    triangle = _sum_over_ranks(around[..., row, column], ranks)  # (*batch, d(d+1)/2)
    scatter = torch.empty_like(around)
    scatter[..., row, column] = triangle
    scatter[..., column, row] = triangle
    whole = SufficientStatistics._of(count[..., 0].to(torch.int64), mean, scatter)
    return _moved(whole, statistics.mean.device, statistics.mean.dtype)


def _moved(
    statistics: SufficientStatistics, device: torch.device, dtype: torch.dtype
) -> SufficientStatistics:
    """`SufficientStatistics.to` without its checks: an error of one rank would leave the others."""
    mean, scatter = (part.to(device, dtype) for part in (statistics.mean, statistics.scatter))
    return SufficientStatistics._of(statistics.count.to(device), mean, scatter)


def _sum_over_ranks(numbers: Tensor, ranks: Ranks) -> Tensor:
    """The sum over all ranks, the same bits on each."""
    numbers = numbers.contiguous()
    dist.all_reduce(numbers, group=ranks.group)
    return numbers


def _require_countable(count: Tensor) -> None:
    """Raise ValueError where float64 may have rounded a number of samples."""
    if count.numel() and count.max() >= LARGEST_COUNT:
        raise ValueError(
            f"statistics: expected fewer than 2^53 samples in all, got {count.max().item():.17g}"
        )
