"""Statistics of single shards: collected, seen from an origin of their own, and kept in files."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.checkpoints import (
    load_checkpoint,
    require_entry,
    require_tensor_entry,
    save_checkpoint,
)
from helpers.distributed.shards import Rows, Shard
from helpers.statistics import SufficientStatistics

DOUBLE = torch.float64


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


def collect(shard: Shard, device: torch.device, beat: Callable[[int], None]) -> Collected:
    """Read a shard once, chunk by chunk; `beat` is told how many rows were read."""
    if not shard.rows:
        return Collected(torch.zeros(shard.columns, dtype=DOUBLE), _of_none(shard.columns))
    with Rows(shard) as rows:
        origin = rows.first()
        here, total, start = origin.to(device), _of_none(shard.columns, device), 0
        for chunk in rows.chunks():
            seen = torch.sub(chunk.to(device), here)  # float64, whatever the chunk is
            try:
                total = total._merge(SufficientStatistics.from_data(seen))
            except ValueError as error:
                raise rows.refuse(start, error) from None
            start += len(chunk)
            beat(len(chunk))
    return Collected(origin, total.to("cpu"))


def _of_none(d: int, device: torch.device | None = None) -> SufficientStatistics:
    """Statistics of no samples."""
    return SufficientStatistics.from_data(torch.empty(0, d, dtype=DOUBLE, device=device))


class Kept:
    """A folder with the statistics of each shard that was read, or no folder.

    Ranks may share it, and so may hosts: each file is written whole or not at all, and holds which
    shard it speaks of.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

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
            save_checkpoint(file, state)

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
