"""Sufficient statistics: all that a Gaussian likelihood ever asks of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.devices import widest_dtype
from helpers.gaussian import (
    CHUNK,
    LOG_2PI,
    inverse_factor,
    log_det,
    log_prob,
    rows_of_a_chunk,
    whiten_by_product,
)
from helpers.validation import (
    as_covariance,
    as_dtype,
    as_loc_and_scale_tril,
    as_samples,
    as_scale_tril,
    as_symmetric,
    as_tensor,
    as_unread_samples,
    common_batch_shape,
    refuse_overflow,
    require_answer,
    require_broadcastable,
    require_count,
    require_finite,
    require_same_kind,
    require_semidefinite,
    require_shape,
)

THIN, TALL = 32, 2**12  # columns and rows of samples whose products are summed in blocks
BLOCKS = 16
SMALL = 2**16  # numbers in the data; below, the density of each sample takes no more time or memory


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    r"""Count, mean and scatter of samples.

    .. math:: m = \frac1n \sum_k x_k, \qquad C = \sum_k (x_k - m)(x_k - m)^\top

    Attributes
    ----------
    count : Tensor of int64, shape (*batch,)
        Number of samples n.
    mean : Tensor, shape (*batch, d)
    scatter : Tensor, shape (*batch, d, d)
        About the mean, not divided by anything.
    """

    count: Tensor
    mean: Tensor
    scatter: Tensor

    def __post_init__(self) -> None:
        """Check that the three parts belong together; ValueError or TypeError if not."""
        mean, scatter = as_tensor(self.mean, "mean"), as_tensor(self.scatter, "scatter")
        require_finite(mean, "mean")
        require_semidefinite(as_covariance(scatter, "scatter"), "scatter")
        *batch, d = scatter.shape[:-1]
        if tuple(mean.shape) != (*batch, d):
            raise ValueError(
                f"mean: expected shape {(*batch, d)} for that of scatter, got {tuple(mean.shape)}"
            )
        require_same_kind(mean=mean, scatter=scatter)
        _require_counts_of(scatter, self.count)
        self.__dict__.update(mean=mean, scatter=scatter)  # arrays have become tensors

    @classmethod
    def _of(cls, count: Tensor, mean: Tensor, scatter: Tensor) -> SufficientStatistics:
        """Put parts together that fit: to look at them again would take longer than a step."""
        made = object.__new__(cls)
        made.__dict__.update(count=count, mean=mean, scatter=scatter)
        return made

    @classmethod
    def from_data(cls, data: Any, *, dtype: torch.dtype | None = None) -> SufficientStatistics:
        r"""Collect the statistics of samples in one pass, chunk by chunk.

        Parameters
        ----------
        data : Tensor or ndarray, shape (*batch, n, d)
            One row a sample; n may be 0, which gives the neutral element of `merge`. A
            `numpy.memmap` is read in chunks: the file may be larger than memory.
        dtype : torch.dtype, optional
            In which to compute; by default the dtype of `data`.

        Returns
        -------
        SufficientStatistics
            In `dtype`, on the device of `data`.

        Raises
        ------
        TypeError, ValueError
            If `data` is no float array of that shape, or holds a NaN or an infinity.

        Notes
        -----
        Centring first keeps the digits: :math:`E[x x^\top] - m m^\top` loses two of them for each
        power of ten between the mean and the standard deviation. The first chunk is centred on its
        own mean, each other one on that of the chunk before it, and what is left of its mean is
        taken off the products, as in the corrected two-pass algorithm of Chan, Golub and LeVeque
        (1983). What the centring leaves is at most a few times the scatter between the chunks, so
        its rounding is that of the result. Sums over chunks are in float64 where the device has it.
        """
        return _from_samples(as_unread_samples(data), "data", dtype)

    @classmethod
    def from_batches(
        cls, batches: Iterable[Any], *, dtype: torch.dtype | None = None
    ) -> SufficientStatistics:
        """Collect the statistics of samples that come one batch after another.

        Parameters
        ----------
        batches : iterable of Tensor or ndarray, shapes (n_i, d)
            A list, a `DataLoader`, a generator, slices of a `numpy.memmap`. A batch that is a
            tuple of one, as from a `TensorDataset`, counts as what is in it.
        dtype : torch.dtype, optional
            In which to compute; by default the dtype of the first batch.

        Returns
        -------
        SufficientStatistics
            In `dtype`, on the device of the first batch.

        Raises
        ------
        TypeError, ValueError
            If there is no batch, if one is no float array, does not match those before it, or
            holds a NaN or an infinity; the message counts batches from 0.
        """
        is_one = isinstance(batches, (str, Tensor, np.ndarray)) or hasattr(batches, "to_numpy")
        if is_one or not isinstance(batches, Iterable):
            raise TypeError(
                f"batches: expected an iterable of torch.Tensor or numpy.ndarray, "
                f"got {type(batches).__name__}"
            )
        return collect_batches(batches, "batches", dtype)

    @property
    def dim(self) -> int:
        """Number of variables d."""
        return self.mean.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch: one Gaussian an element."""
        return self.mean.shape[:-1]

    @cached_property
    def fewest(self) -> int | None:
        """Number of samples, of the batch element that has the fewest; None if there is none."""
        return int(self.count.min()) if self.count.numel() else None

    def merge(self, other: SufficientStatistics) -> SufficientStatistics:
        r"""Statistics of both sets of samples together.

        .. math::
            m = m_a + \frac{n_b}{n} \delta, \qquad
            C = C_a + C_b + \frac{n_a n_b}{n} \delta \delta^\top, \qquad \delta = m_b - m_a

        Parameters
        ----------
        other : SufficientStatistics
            Of the same dimension, batch shape, dtype and device.

        Returns
        -------
        SufficientStatistics

        Raises
        ------
        TypeError, ValueError
            If `other` is no SufficientStatistics, or does not match.

        Notes
        -----
        Both means were rounded to their dtype, so the scatter between them is off by about
        ``eps |m| / sigma``, relatively: far from zero, float32 parts keep fewer digits than
        `from_batches`, which merges in float64.

        References
        ----------
        Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance.
        """
        if not isinstance(other, SufficientStatistics):
            raise TypeError(f"other: expected SufficientStatistics, got {type(other).__name__}")
        if other.mean.shape != self.mean.shape:
            raise ValueError(
                f"other: expected a mean of shape {tuple(self.mean.shape)}, "
                f"got {tuple(other.mean.shape)}"
            )
        require_same_kind(self=self.mean, other=other.mean)
        merged = self._merge(other)
        require_answer(merged.scatter, "other", "scatter around the common mean")
        return merged

    def _merge(self, other: SufficientStatistics) -> SufficientStatistics:
        count = self.count + other.count  # (*batch,)
        # A quotient of integers would come in float32, whatever the dtype of the data.
        share = other.count.to(self.mean.dtype) / count.clamp(min=1)  # n_b / n
        delta = other.mean - self.mean  # (*batch, d)
        between = (self.count * share)[..., None, None] * _outer(delta)
        return SufficientStatistics._of(
            count,
            self.mean + share[..., None] * delta,
            self.scatter + other.scatter + between,
        )

    def covariance_matrix(self, correction: int = 0) -> Tensor:
        """Covariance of the samples.

        Parameters
        ----------
        correction : int
            0 divides by n, which is maximum likelihood; 1 by n - 1, which is `torch.cov`.

        Returns
        -------
        Tensor, shape (*batch, d, d)

        Raises
        ------
        ValueError
            If there are not more samples than `correction`.
        """
        correction = require_count(correction, "correction", minimum=0)
        if self.fewest is not None and self.fewest <= correction:
            raise ValueError(
                f"count: expected more than {correction} samples for correction={correction}, "
                f"got {self.fewest}"
            )
        divisor = self.count - correction if correction else self.count  # (*batch,)
        return self.scatter / divisor[..., None, None]

    def to(self, *args: Any, **kwargs: Any) -> SufficientStatistics:
        """The same statistics with mean and scatter in another dtype or on another device.

        Takes what `torch.Tensor.to` takes.
        """
        try:
            mean, scatter = self.mean.to(*args, **kwargs), self.scatter.to(*args, **kwargs)
        except (AssertionError, RuntimeError, TypeError) as error:
            asked = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
            raise ValueError(
                f"args, kwargs: expected what torch.Tensor.to takes, got ({asked})"
            ) from error
        as_tensor(mean, "args, kwargs")
        require_finite(scatter, "args, kwargs: scatter in another dtype")
        return SufficientStatistics._of(self.count.to(mean.device), mean, scatter)

    def _in(self, dtype: torch.dtype) -> SufficientStatistics:
        return SufficientStatistics._of(self.count, self.mean.to(dtype), self.scatter.to(dtype))

    def detach(self) -> SufficientStatistics:
        """The same statistics without their history of gradients."""
        return SufficientStatistics._of(self.count, self.mean.detach(), self.scatter.detach())


@refuse_overflow("data, loc, scale_tril")
def mean_log_prob(
    data: Tensor | SufficientStatistics,
    loc: Tensor,
    scale_tril: Tensor,
    *,
    validate_args: bool = True,
) -> Tensor:
    r"""Mean log-density of samples, from their statistics alone.

    .. math::
        \frac1n \sum_k \log p(x_k) = -\tfrac12 \left( d \log 2\pi + \log\det\Sigma
            + \mathrm{tr}(\Sigma^{-1} S) \right), \qquad
        S = \frac{C}{n} + (m - \mu)(m - \mu)^\top

    Parameters
    ----------
    data : SufficientStatistics, batch shape (*batch,), or Tensor, shape (*batch, n, d)
        Samples are reduced to statistics chunk by chunk, so that value and gradient together
        need no more memory than a chunk and some d x d matrices.
    loc : Tensor, shape (*batch, d)
    scale_tril : Tensor, shape (*batch, d, d)
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch,)
        In nats.

    Raises
    ------
    ValueError
        If shapes or dtypes do not match, a value is not finite, or there are no samples.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 2.3.4.
    """
    if validate_args:
        data, loc, scale_tril = _as_fitting(data, loc, scale_tril)
    if isinstance(data, Tensor):
        return _mean_log_prob_of_samples(data, loc, scale_tril)
    d = loc.shape[-1]
    moment = data.covariance_matrix() + _outer(data.mean - loc)  # S, (*batch, d, d)
    whitened = whiten(moment, scale_tril, validate_args=False)  # A
    trace = whitened.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return -0.5 * (d * LOG_2PI + log_det(scale_tril, validate_args=False) + trace)


def _mean_log_prob_of_samples(data: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    """Mean log-density of samples (*batch, n, d), with d x d state where a gradient is wanted.

    Seen from coordinates in which the present Gaussian is the standard normal, the statistics lose
    no digits to a covariance that is nearly singular. The gradient passes through the two small
    solves that move the Gaussian away from there.
    """
    differentiated = torch.is_grad_enabled() and (loc.requires_grad or scale_tril.requires_grad)
    if not differentiated or data.requires_grad or data.numel() <= SMALL:
        return log_prob(data, loc, scale_tril, validate_args=False).mean(dim=-1)
    here, factor = loc.detach(), scale_tril.detach()
    inverse = inverse_factor(factor)
    chunks = data.split(rows_of_a_chunk(data, scale_tril.shape[:-2]), dim=-2)
    seen = collect_batches((whiten_by_product(x, here, inverse) for x in chunks), "data", None)
    moved = torch.linalg.solve_triangular(factor, (loc - here)[..., None], upper=False)[..., 0]
    turned = torch.linalg.solve_triangular(factor, scale_tril, upper=False)
    inner = mean_log_prob(seen, moved, turned, validate_args=False)
    return inner - 0.5 * log_det(factor, validate_args=False)


def _as_fitting(
    data: Any, loc: Tensor, scale_tril: Tensor
) -> tuple[Tensor | SufficientStatistics, Tensor, Tensor]:
    loc, scale_tril = as_loc_and_scale_tril(loc, scale_tril)
    d = loc.shape[-1]
    batch_shape = common_batch_shape(loc=loc.shape[:-1], scale_tril=scale_tril.shape[:-2])
    if isinstance(data, SufficientStatistics):
        require_shape(data.mean, "data.mean", (d,), f"(..., {d})")
        require_same_kind(scale_tril=scale_tril, data=data.mean)
        require_broadcastable(batch_shape, "data", data.batch_shape)
        if data.fewest is not None and data.fewest == 0:
            raise ValueError("data: expected at least one sample, got statistics of none")
        return data, loc, scale_tril
    data = as_samples(data, dim=d)
    require_same_kind(scale_tril=scale_tril, data=data)
    require_broadcastable(batch_shape, "data", data.shape[:-2])
    if data.shape[-2] == 0:
        raise ValueError(f"data: expected at least one sample, got shape {tuple(data.shape)}")
    return data, loc, scale_tril


@refuse_overflow("covariance_matrix, scale_tril")
def whiten(covariance_matrix: Tensor, scale_tril: Tensor, *, validate_args: bool = True) -> Tensor:
    r"""A covariance seen from coordinates in which `scale_tril` would be the identity.

    .. math:: A = L^{-1} S L^{-\top}

    Parameters
    ----------
    covariance_matrix : Tensor, shape (*batch, d, d)
        Symmetric: S.
    scale_tril : Tensor, shape (*batch, d, d)
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        The identity exactly where :math:`L L^\top = S`.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes do not match, a value is not finite, or `scale_tril` is no Cholesky
        factor.
    """
    if validate_args:
        scale_tril = as_scale_tril(scale_tril)
        dim = scale_tril.shape[-1]
        covariance_matrix = as_symmetric(covariance_matrix, "covariance_matrix", dim=dim)
        require_same_kind(scale_tril=scale_tril, covariance_matrix=covariance_matrix)
    half = torch.linalg.solve_triangular(scale_tril, covariance_matrix, upper=False)  # L^-1 S
    return torch.linalg.solve_triangular(scale_tril, half.mT, upper=False)  # L^-1 (L^-1 S)^T


def _from_samples(data: Any, name: str, dtype: torch.dtype | None) -> SufficientStatistics:
    """Statistics of samples (*batch, n, d) of checked shape, the batch a few elements at a time."""
    dtype = None if dtype is None else as_dtype(dtype)
    *batch, n, d = data.shape
    together = max(1, CHUNK // max(1, n * d))  # elements of the batch that one chunk holds
    desk = _Desk()
    if math.prod(batch) <= together:
        statistics = _from_chunks(data, dtype, desk)
    else:
        flat = data.reshape(math.prod(batch), n, d)  # -1 means nothing where n is 0
        starts = range(0, len(flat), together)
        parts = [_from_chunks(flat[i : i + together], dtype, desk) for i in starts]
        statistics = SufficientStatistics._of(
            torch.cat([part.count for part in parts]).reshape(*batch),
            torch.cat([part.mean for part in parts]).reshape(*batch, d),
            torch.cat([part.scatter for part in parts]).reshape(*batch, d, d),
        )
    # A NaN or an infinity anywhere in the data has reached the scatter: no pass of its own.
    if not math.isfinite(statistics.scatter.detach().sum()):
        _require_finite_samples(data, name)
        refuse_large(statistics.scatter, name)
    return statistics


class _Desk:
    """Room for one chunk of centred samples, which all chunks of the same size use in turn."""

    def __init__(self) -> None:
        self.centred: Tensor | None = None

    def centre(self, chunk: Tensor, origin: Tensor) -> Tensor:
        """The samples of a chunk (*batch, n, d) seen from an origin (*batch, d)."""
        origin = origin.unsqueeze(-2)
        if chunk.requires_grad:  # its gradient would need what is written over
            return chunk - origin
        if self.centred is None or self.centred.shape != chunk.shape:
            self.centred = torch.empty_like(chunk)
        return torch.sub(chunk, origin, out=self.centred)


def _from_chunks(data: Any, dtype: torch.dtype | None, desk: _Desk) -> SufficientStatistics:
    """Statistics of samples (*batch, n, d), some rows of every batch element at a time."""
    first, *rest = _row_slices(data)
    chunk = _chunk(data, first, dtype)
    dtype, batch = chunk.dtype, chunk.shape[:-2]
    origin = chunk.sum(dim=-2) / max(1, chunk.shape[-2])  # (*batch, d)
    n, shift, scatter = _moments(chunk, origin, desk)
    if not rest:
        count = torch.full(batch, n, dtype=torch.int64, device=chunk.device)
        return SufficientStatistics._of(count, origin + shift, scatter - n * _outer(shift))
    scatter = scatter.to(widest_dtype(chunk.device))
    counts, origins, shifts = [n], [origin], [shift]
    for rows in rest:
        origin = origin + shift  # the mean of the chunk before is near, and known
        n, shift, products = _moments(_chunk(data, rows, dtype), origin, desk)
        scatter = scatter + products
        counts.append(n)
        origins.append(origin)
        shifts.append(shift)
    together = _around_one_mean(counts, torch.stack(origins, -2), torch.stack(shifts, -2), scatter)
    return together._in(dtype)


def _moments(chunk: Tensor, origin: Tensor, desk: _Desk) -> tuple[int, Tensor, Tensor]:
    """Count of samples (*batch, n, d), their mean (*batch, d) and products seen from `origin`."""
    n = chunk.shape[-2]
    centred = desk.centre(chunk, origin)
    return n, centred.sum(dim=-2) / max(1, n), _products(centred)


def _products(centred: Tensor) -> Tensor:
    """X^T X of samples (*batch, n, d): in blocks of rows, where one product keeps one core busy."""
    n, d = centred.shape[-2:]
    if centred.dim() > 2 or d > THIN or n < TALL:
        return centred.mT @ centred
    whole = n - n % BLOCKS
    blocks = centred[:whole].view(BLOCKS, -1, d)
    rest = centred[whole:]
    return (blocks.mT @ blocks).sum(dim=0) + rest.mT @ rest


def _around_one_mean(
    counts: Sequence[int], origins: Tensor, shifts: Tensor, scatter: Tensor
) -> SufficientStatistics:
    """Statistics of k chunks with means origin + shift, (*batch, k, d), and products from there."""
    wide = {"dtype": scatter.dtype, "device": scatter.device}
    n, weight = sum(counts), torch.tensor(counts, **wide)[:, None]  # (k, 1)
    shifts = shifts.to(**wide)
    means = origins.to(**wide) + shifts
    mean = (weight * means).sum(dim=-2) / n  # (*batch, d)
    apart = means - mean.unsqueeze(-2)
    between = apart.mT @ (weight * apart) - shifts.mT @ (weight * shifts)
    count = torch.full(mean.shape[:-1], n, dtype=torch.int64, device=mean.device)
    return SufficientStatistics._of(count, mean, scatter + between)


def collect_batches(
    batches: Iterable[Any], name: str, dtype: torch.dtype | None
) -> SufficientStatistics:
    """`SufficientStatistics.from_batches`; messages speak of `name`."""
    total: SufficientStatistics | None = None
    for i, batch in enumerate(batches):
        samples = as_unread_samples(unwrap(batch), f"{name}[{i}]")
        if total is None:
            total = _from_samples(samples, f"{name}[{i}]", dtype)
            dtype, wide = total.mean.dtype, widest_dtype(total.mean.device)
            total = total._in(wide)
            continue
        shape = (*total.batch_shape, samples.shape[-2], total.dim)
        if tuple(samples.shape) != shape:
            raise ValueError(
                f"{name}[{i}]: expected shape {(*total.batch_shape, 'n', total.dim)} like the "
                f"batches before it, got {tuple(samples.shape)}"
            )
        total = total._merge(_from_samples(samples, f"{name}[{i}]", dtype)._in(wide))
    if total is None:
        raise ValueError(f"{name}: expected at least one batch, got none")
    narrow = total._in(dtype)
    refuse_large(narrow.scatter, name)
    return narrow


def _require_counts_of(scatter: Tensor, count: Any) -> None:
    """Raise an error unless `count`, (*batch,), goes with scatter, (*batch, d, d)."""
    if not isinstance(count, Tensor) or count.dtype != torch.int64:
        raise TypeError(f"count: expected a Tensor of int64, got {count!r}")
    if count.shape != scatter.shape[:-2]:
        raise ValueError(
            f"count: expected shape {tuple(scatter.shape[:-2])}, got {tuple(count.shape)}"
        )
    if count.device != scatter.device:
        raise ValueError(f"count: expected device {scatter.device}, got {count.device}")
    if bool((count < 0).any()):
        raise ValueError(f"count: expected no negative number, got {count.min()}")
    spread = (scatter != 0).flatten(-2).any(dim=-1)  # (*batch,)
    if bool((spread & (count < 2)).any()):
        raise ValueError("count: expected at least 2 where there is a scatter, got fewer")


def unwrap(batch: Any) -> Any:
    """The samples in a batch of a `DataLoader`, which hands out tuples even of one tensor."""
    return batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 1 else batch


def _row_slices(data: Any) -> list[slice]:
    """Slices of the rows of `data`, (*batch, n, d), that hold about CHUNK numbers each."""
    *batch, n, d = data.shape
    rows = max(1, CHUNK // (math.prod(batch) * d or 1))
    return [slice(i, i + rows) for i in range(0, max(n, 1), rows)]


def _chunk(data: Any, rows: slice, dtype: torch.dtype | None) -> Tensor:
    return as_tensor(data[..., rows, :], "data").to(dtype)


def _require_finite_samples(data: Any, name: str) -> None:
    """Raise ValueError at the first NaN or infinity, with its index in all the data."""
    for rows in _row_slices(data):
        bad = (~torch.isfinite(_chunk(data, rows, None))).nonzero()
        if len(bad):
            *element, row, column = bad[0].tolist()
            index = (*element, rows.start + row, column)
            raise ValueError(f"{name}: expected finite values, got {data[index]} at index {index}")


def refuse_large(scatter: Tensor, name: str) -> None:
    """Raise ValueError if finite samples have left a scatter that is not."""
    if not bool(torch.isfinite(scatter.detach()).all()):
        dtype = str(scatter.dtype).removeprefix("torch.")
        raise ValueError(
            f"{name}: expected numbers whose squares {dtype} can hold, got some that are too large "
            f"for {dtype}: rescale them, for example by other units"
        )


def _outer(vector: Tensor) -> Tensor:
    return vector.unsqueeze(-1) * vector.unsqueeze(-2)
