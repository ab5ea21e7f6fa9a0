"""A progress bar for those who wait, and none for those who do not."""

from __future__ import annotations

import time
from typing import Any

PATIENCE = 2.0  # seconds
MANY = 1_000_000  # steps; their number is shortened then, to 1.23M


class ProgressBar:
    """A tqdm bar that appears only once the work has taken two seconds.

    Parameters
    ----------
    total : int
        Steps to do.
    show : bool or None
        None waits two seconds; True shows the bar at once; False never.
    done : int
        Steps done before, by a fit that is resumed.
    name, unit : str
        Of the work, and of what `total` counts.
    """

    def __init__(
        self,
        total: int,
        show: bool | None = None,
        done: int = 0,
        *,
        name: str = "fit",
        unit: str = "step",
    ) -> None:
        if show is not None and not isinstance(show, bool):
            raise TypeError(f"progress: expected True, False or None, got {show!r}")
        self.total = total
        self.done = done
        self.name = name
        self.unit = unit
        patience = {None: PATIENCE, True: 0.0, False: float("inf")}[show]
        self._due = time.monotonic() + patience
        self._bar: Any = None

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif time.monotonic() >= self._due:
            from tqdm.auto import tqdm  # only those who wait pay for the import

            self._bar = tqdm(
                total=self.total,
                initial=self.done,
                desc=self.name,
                unit=self.unit,
                unit_scale=self.total >= MANY,
                leave=False,
            )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
