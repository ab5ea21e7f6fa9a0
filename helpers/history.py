"""What a fit leaves behind: the loss and its gap to the exact optimum, step by step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from helpers.checkpoints import require_entry, require_tensor_entry
from helpers.devices import synchronize, widest_dtype
from helpers.uncertainty import ROUNDING, Verdict, expected_gap, judge
from helpers.validation import (
    as_tensor,
    require_count,
    require_finite,
    require_flag,
    require_text,
)


@dataclass(frozen=True, eq=False)
class History:
    """The course of a fit.

    Attributes
    ----------
    step : Tensor of int64, shape (k,)
        Steps taken before each record. Full-batch fits record every step; mini-batch fits record
        after 1, 2, 4, 8, ... steps and at the end of every epoch.
    loss : Tensor, shape (k, *batch_shape)
        Loss on all the data, never on one batch: nats per sample, or the MSE.
    gap : Tensor, shape (k, *batch_shape)
        Loss above its exact minimum. For a likelihood it is computed as the divergence
        KL(optimum || model), which keeps its digits where a difference of losses loses them.
    time : Tensor, shape (k,)
        Seconds of training until each record, without the recording.
    optimizer : str
        What did the work.
    device : str
        Where.
    converged : bool
        Whether every gap came down to the tolerance.
    dim : int
        Number of variables.
    count : int or None
        Number of samples (the fewest of a batch); None if only a target covariance was given.
    """

    step: Tensor
    loss: Tensor
    gap: Tensor
    time: Tensor
    optimizer: str
    device: str
    converged: bool
    dim: int
    count: int | None

    def __post_init__(self) -> None:
        """Check that the records belong together; ValueError or TypeError if not."""
        if not isinstance(self.step, Tensor) or self.step.dtype != torch.int64:
            raise TypeError(f"step: expected a Tensor of int64, got {type(self.step).__name__}")
        if self.step.ndim != 1 or not len(self.step) or self.step.is_meta:
            raise ValueError(f"step: expected shape (k,), k above 0, got {self.step}")
        for name in ("loss", "gap", "time"):
            rows = as_tensor(getattr(self, name), name)
            if rows.shape[:1] != self.step.shape:
                raise ValueError(
                    f"{name}: expected shape ({len(self.step)}, ...) for that of step, "
                    f"got {tuple(rows.shape)}"
                )
            require_finite(rows, name)
            object.__setattr__(self, name, rows)
        require_text(self.optimizer, "optimizer")
        require_text(self.device, "device")
        require_flag(self.converged, "converged")
        require_count(self.dim, "dim")
        if self.count is not None:
            require_count(self.count, "count")

    @property
    def n_steps(self) -> int:
        """Steps taken in all."""
        return int(self.step[-1])

    @property
    def sampling_error(self) -> float | None:
        """p / 2n in nats: what the samples leave open. None if their number is unknown."""
        return None if self.count is None else expected_gap(self.dim, self.count)

    @property
    def verdict(self) -> Verdict | None:
        """The final gap, the worst of a batch, beside the sampling error."""
        if self.count is None:
            return None
        # Rounding may leave it below zero, in float32 by more than `judge` lets pass.
        return judge(self.gap[-1].clamp(min=0), self.dim, self.count)

    def __str__(self) -> str:
        worst = self.gap[-1].max().item() if self.gap[-1].numel() else 0.0
        size = f"below {ROUNDING:.0e}" if worst < ROUNDING else f"{worst:.2e}"
        # A mean squared error has the units of a variance squared, and its minimum is zero.
        gap = f"MSE {size}" if self.count is None else f"gap {size} nats"
        end = "converged" if self.converged else "stopped at the last step"
        steps = "1 step" if self.n_steps == 1 else f"{self.n_steps} steps"
        return f"{self.optimizer}: {steps}, {gap}, {end}"


@dataclass
class Recorder:
    """Collects records while a fit runs; the clock stands still while it does."""

    device: torch.device
    elapsed: float = 0.0
    rows: dict[str, list[Any]] = field(
        default_factory=lambda: {"step": [], "loss": [], "gap": [], "time": []}
    )

    def start(self) -> None:
        """Let the clock run."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock once the device has finished its work."""
        synchronize(self.device)
        self.elapsed += time.perf_counter() - self._since

    def record(self, step: int, loss: Tensor, gap: Tensor) -> None:
        """Add a row; the clock must be stopped."""
        row = {"step": step, "loss": loss.detach(), "gap": gap.detach(), "time": self.elapsed}
        for name, value in row.items():
            self.rows[name].append(value)

    def state_dict(self) -> dict[str, Any]:
        """All rows as tensors on the CPU."""
        return {
            "step": torch.tensor(self.rows["step"], dtype=torch.int64, device="cpu"),
            "loss": torch.stack(self.rows["loss"]).cpu(),
            "gap": torch.stack(self.rows["gap"]).cpu(),
            "time": torch.tensor(self.rows["time"], dtype=torch.float64, device="cpu"),
        }

    def history(self, **about: Any) -> History:
        """The rows with what a fit says about itself, which checked each of them as it came."""
        made = object.__new__(History)  # to look at all of them again takes microseconds
        made.__dict__.update(self.state_dict(), **about)
        return made

    def load_state_dict(self, state: dict[str, Any], batch_shape: Sequence[int]) -> None:
        """Go on from rows that `state_dict` returned; ValueError if they are none."""
        k = require_entry(state, "step", Tensor).numel()
        step = require_tensor_entry(state, "step", (k,), (torch.int64,))
        if k == 0 or step[0] != 0 or bool((step.diff() <= 0).any()):
            raise ValueError(f"checkpoint: expected steps from 0 upwards, got {step.tolist()[:5]}")
        # A device may compute in float32 at most.
        like = {"device": self.device, "dtype": widest_dtype(self.device)}
        rows = (k, *batch_shape)
        self.rows = {
            "step": step.tolist(),
            "loss": list(require_tensor_entry(state, "loss", rows).to(**like)),
            "gap": list(require_tensor_entry(state, "gap", rows).to(**like)),
            "time": require_tensor_entry(state, "time", (k,), (torch.float64,)).tolist(),
        }
