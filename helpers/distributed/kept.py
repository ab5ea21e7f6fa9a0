"""Statistics of single shards: collected, seen from an origin of their own, and kept in files."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.checkpoints import (
    load_checkpoint,
    packed,
    require_entry,
    require_tensor_entry,
    sweep,
    write_files,
)
from helpers.distributed.shards import DOUBLE, Rows, Shard
from helpers.statistics import SufficientStatistics, refuse_large


@dataclass(frozen=True)
class Collected:
    """Statistics of samples seen from an origin, which may be far from zero.

    The mean of the samples is origin + statistics.mean. As one number it would lose the digits in
    which the means of two shards differ, where both are far from zero.

    Attributes
    ----------
    origin : Tensor, shape (d,), float64
    statistics : SufficientStatistics
        Of the samples minus the origin, in float64.
    """

    origin: Tensor
    statistics: SufficientStatistics

    def seen_from(self, origin: Tensor) -> SufficientStatistics:
        """Statistics of the samples minus another origin."""
        seen = self.statistics
        mean = seen.mean + (self.origin - origin) if int(seen.count) else seen.mean
        return SufficientStatistics._of(seen.count, mean, seen.scatter)


class _Sums:
    """Statistics of samples seen from an origin, which come chunk by chunk.

    As in `SufficientStatistics.from_data`, the first chunk is centred near its mean and each other
    one near that of the chunk before it: rows that drift away from the origin cost no digits.
    """

    def __init__(self, origin: Tensor) -> None:
        d = len(origin)
        self.origin = origin  # (d,)
        self.centre = origin
        self.count = 0
        self.mean = torch.zeros_like(origin)  # of the samples minus the origin
        self.scatter = origin.new_zeros(d, d)

    def add(self, chunk: Tensor) -> None:
        """Take in samples, (k, d), and write over them; ValueError if sums are not finite."""
        if not self.count:
            self.centre = self.origin + (chunk - self.origin).mean(dim=0)
        seen, k = chunk.sub_(self.centre), len(chunk)
        shift = seen.sum(dim=0) / k
        products = _products(seen)
        # A NaN or an infinity in any sample has reached the diagonal: no pass of its own.
        if not math.isfinite(products.trace()):
            refuse_large(products, "data")
        mean = self.centre - self.origin + shift
        apart, n = mean - self.mean, self.count + k
        self.scatter += products
        self.scatter.sub_(torch.outer(shift, shift), alpha=k)
        self.scatter.add_(torch.outer(apart, apart), alpha=self.count * k / n)
        self.mean += apart * (k / n)
        self.count, self.centre = n, self.centre + shift

    def statistics(self) -> SufficientStatistics:
        """What there is so far, on the CPU."""
        found = SufficientStatistics._of(torch.tensor(self.count), self.mean, self.scatter)
        return found.to("cpu")


def _products(seen: Tensor) -> Tensor:
    """X^T X of samples (k, d)."""
    if seen.device.type != "cpu":
        return seen.mT @ seen
    # Where both factors are one array, numpy computes half of the product and mirrors it (SYRK);
    # torch computes all of it, in twice the time.
    array = seen.numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # an error tells the row
        return torch.from_numpy(array.T @ array)


def collect(shard: Shard, device: torch.device, beat: Callable[[int], None]) -> Collected:
    """Read a shard once, chunk by chunk; `beat` is told how many rows were read."""
    if not shard.rows:
        nowhere = torch.zeros(shard.columns, dtype=DOUBLE)
        return Collected(nowhere, _Sums(nowhere).statistics())
    with Rows(shard) as rows:
        origin = rows.first()
        sums = _Sums(origin.to(device))
        for chunk in rows.chunks():
            try:
                sums.add(chunk.to(device))
            except ValueError as error:
                raise rows.refuse(sums.count, error) from None
            beat(len(chunk))
    return Collected(origin, sums.statistics())


class Kept:
    """A folder with the statistics of each shard that was read, or no folder.

    Ranks may share it, and so may hosts: each file is written whole or not at all, and holds which
    shard it speaks of.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)  # once: to look through a folder of thousands at each file takes long

    def load(self, shard: Shard) -> Collected | None:
        """What is kept of a shard; None if there is nothing, or only of an older state of it."""
        file = self._file(shard)
        if file is None or not file.exists():
            return None
        try:
            return _restored(load_checkpoint(file), shard)
        except (ValueError, TypeError) as error:
            reason = str(error).partition(": ")[2]
            warnings.warn(
                f"{file}: not used, {shard.path} is read again: {reason}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def knows(self, shard: Shard) -> bool:
        """Whether anything is kept of a shard, be it of an older state."""
        file = self._file(shard)
        return file is not None and file.exists()

    def save(self, shard: Shard, collected: Collected) -> None:
        """Keep the statistics of a shard."""
        if (file := self._file(shard)) is not None:
            seen = collected.statistics
            state = {
                "shard": shard.identity(),
                "origin": collected.origin,
                "count": seen.count,
                "mean": seen.mean,
                "scatter": seen.scatter,
            }
            write_files({file: packed(state)}, tidy=False)

    def _file(self, shard: Shard) -> Path | None:
        if self.folder is None:
            return None
        # Shards of one name may lie in several folders.
        place = hashlib.sha256(shard.path.encode(errors="surrogateescape")).hexdigest()[:16]
        name = re.sub(r"[^A-Za-z0-9._-]", "_", Path(shard.path).stem)[:100]
        return self.folder / f"{name}-{place}.pt"


def _restored(state: dict[str, Any], shard: Shard) -> Collected | None:
    """Statistics as they were kept; None if the shard has changed, ValueError if they are odd."""
    if require_entry(state, "shard", dict) != shard.identity():
        return None
    d = shard.columns
    count = require_tensor_entry(state, "count", (), (torch.int64,))
    if int(count) != shard.rows:
        raise ValueError(f"checkpoint: expected the {shard.rows} rows of the shard, got {count}")
    mean = require_tensor_entry(state, "mean", (d,), (DOUBLE,))
    scatter = require_tensor_entry(state, "scatter", (d, d), (DOUBLE,))
    origin = require_tensor_entry(state, "origin", (d,), (DOUBLE,))
    return Collected(origin, SufficientStatistics(count, mean, scatter))
