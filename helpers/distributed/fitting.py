"""`fit_shards`: from files to the maximum likelihood Gaussian, on every rank."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.devices import widest_dtype
from helpers.distributed.groups import (
    Ranks,
    RollCall,
    find_ranks,
    portable,
    raise_first,
)
from helpers.distributed.kept import Kept, collect
from helpers.distributed.reduction import add_up
from helpers.distributed.shards import Rows, Shard, find_shards, share_out
from helpers.estimators import maximum_likelihood
from helpers.gaussian import Gaussian, kl_divergence
from helpers.history import History
from helpers.models import GaussianLikelihood
from helpers.optimizers import natural_step
from helpers.progress import ProgressBar
from helpers.statistics import SufficientStatistics, refuse_large
from helpers.training import fit
from helpers.validation import as_device, as_dtype, require_number

TIMEOUT = 1800.0  # seconds
SETTLING = 2  # steps, from an error of 1e-5 to rounding


@dataclass(frozen=True, eq=False)
class ShardFit:
    """What `fit_shards` returns, the same on every rank but for the seconds.

    Attributes
    ----------
    model : GaussianLikelihood
        On the CPU.
    history : History
        Of the fit, with its verdict.
    statistics : SufficientStatistics
        Of the rows of all shards, in float64.
    shards : tuple of Shard
    n_ranks : int
    n_kept : int
        Shards whose statistics were there already, from a run before.
    seconds : dict of str to float
        "reading", "waiting", "reducing" and "fitting", of this rank; "slowest" is the reading of
        the rank that took longest.
    """

    model: GaussianLikelihood
    history: History
    statistics: SufficientStatistics
    shards: tuple[Shard, ...]
    n_ranks: int
    n_kept: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """What is to be done, as the first rank sees it."""

    shards: tuple[Shard, ...]
    origin: Tensor  # (d,), float64, near the rows

    @classmethod
    def make(cls, paths: Any, beat: Callable[[], None] = lambda: None) -> Plan:
        """List the shards, and look at the first rows of the first one that has any."""
        shards = find_shards(paths, beat)
        with Rows(next(shard for shard in shards if shard.rows)) as rows:
            return cls(shards, rows.first())

    @property
    def dim(self) -> int:
        """Number of columns."""
        return len(self.origin)

    def identity(self, **settings: Any) -> str:
        """What tells this job from others: its shards as they are now, and its settings."""
        described = [[shard.identity() for shard in self.shards], settings]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


@dataclass
class _Share:
    """What one rank has read."""

    statistics: SufficientStatistics  # of rows minus the origin of the plan
    n_kept: int = 0  # shards that a run before had read


def fit_shards(
    paths: Any,
    *,
    kept: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    timeout: float = TIMEOUT,
    progress: bool | None = None,
    group: Any = None,
) -> ShardFit:
    """Fit a Gaussian to the rows of many files, which the ranks of a group share out.

    Every rank of the group calls this with the same arguments. Each reads its share of the shards
    once, one reduction makes the statistics of all rows from those of each rank, and every rank
    fits the same model to them.

    Parameters
    ----------
    paths : str, Path or iterable of them
        `.npy` files of shape (n, d), folders of them and patterns, which every rank sees under the
        same names; the first rank lists them. Sizes may differ, and shards may be empty.
    kept : str or Path, optional
        A folder for the statistics of each shard, one small file a shard. A run that was stopped
        takes them up again, to the same bits; a shard that has changed is read again.
    dtype : torch.dtype, optional
        Of the model, by default float64. Statistics are float64, whatever the shards are.
    device : torch.device or str, optional
        Where the rows are summed up. By default where the collectives of the group work: a GPU for
        NCCL, else the CPU.
    timeout : float
        Seconds without a sign of life after which a rank is missed by those that wait for it. A
        rank that is reading gives one with each chunk.
    progress : bool, optional
        Show a progress bar on the first rank; by default only when reading takes over two seconds.
    group : ProcessGroup, optional
        By default all ranks; a single process where torch.distributed is not initialised.

    Returns
    -------
    ShardFit
        With `model`, `history`, `statistics`, `shards`, `n_ranks` and `n_kept`, the number of
        shards that were not read again, the same bits on every rank; and with `seconds`, of this
        rank.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a shard is damaged: NaN or infinity, cut off, with other
        columns or another dtype than the first. The message names file and row, on every rank.
    OSError
        If a shard is gone or cannot be read, or statistics cannot be kept; on every rank.
    RuntimeError
        If a rank does not arrive in time, or breaks off; the message says which.

    Notes
    -----
    The result does not depend on the number of ranks or the order of the shards, up to a few
    roundings: each shard is seen from an origin near its rows, so that no digits are lost where
    the mean is far from zero. Two natural-gradient steps follow those of `fit`, so that mean and
    covariance of a float64 model are those of the statistics up to a few roundings too.
    """
    ranks = find_ranks(group)
    work = ShardWork(
        ranks, kept=kept, dtype=dtype, device=device, timeout=timeout, progress=progress
    )
    return work.run(work.plan(paths))


class ShardWork:
    """One run over shards, seen from one rank."""

    def __init__(
        self,
        ranks: Ranks,
        *,
        kept: Any = None,
        dtype: Any = None,
        device: Any = None,
        timeout: Any = TIMEOUT,
        progress: bool | None = None,
    ) -> None:
        self.ranks = ranks
        self.kept = None if kept is None else as_folder(kept, "kept")
        self.dtype = torch.float64 if dtype is None else as_dtype(dtype)
        self.device = ranks.device if device is None else as_device(device)
        if widest_dtype(self.device) != torch.float64:
            raise ValueError(
                f"device: expected one that computes in float64, got {str(self.device)!r}"
            )
        self.show = progress if ranks.is_first else False
        ProgressBar(1, progress)  # raises if it is none of its three values
        self.roll_call = RollCall(ranks, require_number(timeout, "timeout", above=0))
        self.seconds: dict[str, float] = {}

    def plan(self, paths: Any) -> Plan:
        """What is to be done."""
        return self.by_first("listed", lambda: Plan.make(paths, self.roll_call.beat))

    def by_first(self, stage: str, make: Callable[[], Any]) -> Any:
        """What the first rank makes, on every rank; or its error, on every rank."""
        made, error = None, None
        if self.ranks.is_first:
            try:
                made = make()
            except Exception as found:
                error = found
        with self.roll_call.together(stage):
            told = None if error is None else portable(error)
            made, told = self.ranks.from_first((made, told))
            # The first rank may keep the store that others still ask: it must not leave before.
            self.ranks.gather(None)
        raise_first([told], error)
        return made

    def run(self, plan: Plan) -> ShardFit:
        """Read, reduce and fit."""
        share, own = _Share(_of_none(plan.dim)), None
        with self._timed("reading"):
            try:
                self._read(share_out(plan.shards, self.ranks.n_ranks)[self.ranks.rank], plan, share)
            except Exception as error:
                own = error
                self.roll_call.fail()
        error = None if own is None else portable(own)
        with self._timed("waiting"), self.roll_call.together("read"):
            told = self.ranks.gather((error, share.n_kept, self.seconds["reading"]))
        raise_first((each[0] for each in told), own)
        with self._timed("reducing"), self.roll_call.together("summed up"):
            statistics = self._reduce(share.statistics, plan)
        with self._timed("fitting"):
            model = GaussianLikelihood(plan.dim, dtype=self.dtype)
            history = settle(model, statistics, fit(model, statistics, progress=False))
        self.seconds["slowest"] = max(each[2] for each in told)
        n_kept = sum(each[1] for each in told)
        return ShardFit(
            model, history, statistics, plan.shards, self.ranks.n_ranks, n_kept, self.seconds
        )

    def _read(self, shards: list[Shard], plan: Plan, share: _Share) -> None:
        """Collect the statistics of this rank's shards, from the shards or from what was kept."""
        kept = Kept(self.kept)
        n_rows = sum(shard.rows for shard in shards)
        with ProgressBar(n_rows, self.show, name="read", unit="row") as bar:

            def beat(n: int) -> None:
                self.roll_call.beat()
                bar.advance(n)

            for shard in shards:
                collected = kept.load(shard)
                if collected is None:
                    collected = collect(shard, self.device, beat)
                    kept.save(shard, collected)
                else:
                    share.n_kept += 1
                    beat(shard.rows)
                share.statistics = share.statistics._merge(collected.seen_from(plan.origin))

    def _reduce(self, own: SufficientStatistics, plan: Plan) -> SufficientStatistics:
        """Statistics of all rows, on every rank."""
        seen = add_up(own, self.ranks)
        refuse_large(seen.scatter, "paths")
        return SufficientStatistics._of(seen.count, plan.origin + seen.mean, seen.scatter)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = time.perf_counter() - start


def settle(
    model: GaussianLikelihood, statistics: SufficientStatistics, history: History
) -> History:
    """Take the last natural-gradient steps, after those of `fit`; the history with their record.

    A gap is the square of an error, so that errors below 1e-8 vanish in its rounding: no tolerance
    asks for them. Each step squares the error instead, which is 1e-5 at most where `fit` ends.
    """
    start = time.perf_counter()
    covariance = statistics.covariance_matrix()
    factor = model.scale_tril.detach().to(covariance.dtype)
    for _ in range(SETTLING):
        factor = natural_step(factor, covariance, validate_args=False)
    model.assign(statistics.mean, factor, validate_args=False)
    seconds = time.perf_counter() - start
    optimum = maximum_likelihood(statistics)
    with torch.no_grad():
        reached = Gaussian(model.loc.to(covariance.dtype), model.scale_tril.to(covariance.dtype))
        gap = kl_divergence(optimum, reached, validate_args=False)
    minimum = history.loss[-1] - history.gap[-1]
    return replace(
        history,
        step=_and(history.step, history.n_steps + SETTLING),
        loss=_and(history.loss, minimum + gap),
        gap=_and(history.gap, gap),
        time=_and(history.time, history.time[-1] + seconds),
    )


def _and(records: Tensor, last: Any) -> Tensor:
    """Records, (k,), and one more."""
    return torch.cat([records, torch.as_tensor(last, dtype=records.dtype)[None]])


def _of_none(d: int) -> SufficientStatistics:
    return SufficientStatistics.from_data(torch.empty(0, d, dtype=torch.float64))


def as_folder(folder: Any, name: str) -> Path:
    """Return the absolute path of a folder that is there or could be."""
    text = os.fspath(folder) if isinstance(folder, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected the name of a folder, got {type(folder).__name__}")
    if not text or "\0" in text:
        raise ValueError(f"{name}: expected the name of a folder, got {text!r}")
    place = Path(os.path.realpath(text))
    if place.exists() and not place.is_dir():
        raise ValueError(f"{name}: expected the name of a folder, got {text!r}, which is a file")
    return place
