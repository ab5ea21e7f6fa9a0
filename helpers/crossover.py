"""When does a GPU pay? Times of one training step over devices, batch sizes and dimensions.

The step is `natural_step` on B covariances of d variables: two triangular solves and a matrix
product each, and nothing that waits for the device in between.

`python -m helpers.crossover --out FILE` measures the CPU and the GPU of this machine and writes a
record, which `load_record` reads; where there is no GPU it says so and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from helpers.devices import best_device, synchronize
from helpers.optimizers import natural_step
from helpers.validation import (
    as_device,
    as_dtype,
    as_file,
    require_callable,
    require_count,
    require_counts,
    require_flag,
    require_number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

RECORD = Path(__file__).with_name("records") / "gpu_crossover.json"
BATCH_SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
DIMS = (2, 8, 32, 128)
MAX_REPEATS = 1_000_000
MAX_ENTRIES = 2**26  # of one (B, d, d) tensor: a quarter of a GiB in float32, a step holds several


class Timing(NamedTuple):
    """The time of one step.

    Attributes
    ----------
    device : str
        Its kind: "cpu", "cuda" or "mps".
    batch : int
        Number of covariances B.
    dim : int
        Number of variables d.
    seconds : float
        For the whole batch.
    """

    device: str
    batch: int
    dim: int
    seconds: float


@dataclass(frozen=True)
class CrossoverRecord:
    """Timings, and what they were taken with.

    Attributes
    ----------
    date : str
        Day of the measurement, in UTC, as 2026-01-31.
    torch, python, platform : str
        Versions, and the operating system.
    dtype : str
        Such as "float32".
    devices : dict of str to str
        What each kind of device was: its model, and the versions of driver and CUDA.
    timings : tuple of Timing
    """

    date: str
    torch: str
    python: str
    platform: str
    dtype: str
    devices: dict[str, str]
    timings: tuple[Timing, ...]


def median_seconds(
    work: Callable[[], object], device: torch.device | str, *, repeats: int = 5
) -> float:
    """Time that some work takes on a device.

    Parameters
    ----------
    work : function without arguments
    device : torch.device or str
        Where it works.
    repeats : int
        How often it is timed, after one call that is not.

    Returns
    -------
    float
        Seconds, the median.

    Raises
    ------
    TypeError, ValueError
        If `work` is no function, the device is not there, or `repeats` is no positive whole number.
    """
    device = as_device(device)
    require_callable(work, "work")
    seconds = []
    for _ in range(require_count(repeats, "repeats", maximum=MAX_REPEATS) + 1):
        synchronize(device)  # nothing older is left on the clock
        start = time.perf_counter()
        work()
        synchronize(device)  # the work is done, not only ordered
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])  # the first call loads, allocates and tunes


def measure_crossover(
    devices: Sequence[torch.device | str] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    dims: Sequence[int] = DIMS,
    *,
    dtype: torch.dtype = torch.float32,
    repeats: int = 5,
    max_entries: int = MAX_ENTRIES,
) -> list[Timing]:
    """Time one natural-gradient step for each device, batch size and dimension.

    Parameters
    ----------
    devices : sequence of torch.device or str, optional
        By default the CPU, and the best other device of this machine if it has one.
    batch_sizes, dims : sequence of int
        Numbers of covariances B and of variables d.
    dtype : torch.dtype
        float32, which every device computes in, or float64.
    repeats : int
        Steps timed for each; the median counts.
    max_entries : int
        Combinations with B d^2 above it are left out, as they would not fit into memory.

    Returns
    -------
    list of Timing
        Sorted as the arguments are, batch sizes fastest.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a device is not there.
    """
    as_dtype(dtype)
    chosen = _default_devices() if devices is None else _as_devices(devices)
    batch_sizes = _at_least_one(require_counts(batch_sizes, "batch_sizes"), "batch_sizes")
    dims = _at_least_one(require_counts(dims, "dims"), "dims")
    require_count(max_entries, "max_entries")
    require_count(repeats, "repeats", maximum=MAX_REPEATS)
    return [
        Timing(device.type, batch, dim, _seconds_of_a_step(device, batch, dim, dtype, repeats))
        for device in chosen
        for dim in dims
        for batch in batch_sizes
        if batch * dim**2 <= max_entries
    ]


def make_record(timings: Sequence[Timing], dtype: torch.dtype = torch.float32) -> CrossoverRecord:
    """Put timings taken on this machine beside what it is.

    Parameters
    ----------
    timings : sequence of Timing
        Of `measure_crossover`.
    dtype : torch.dtype
        In which they were taken.

    Returns
    -------
    CrossoverRecord
    """
    kinds = sorted({timing.device for timing in timings})
    return CrossoverRecord(
        date=datetime.now(UTC).date().isoformat(),
        torch=torch.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        dtype=str(dtype).removeprefix("torch."),
        devices={kind: _describe_device(kind) for kind in kinds},
        timings=tuple(timings),
    )


def save_record(path: str | Path, record: CrossoverRecord) -> None:
    """Write a record as JSON; the folder is made where it is missing.

    Parameters
    ----------
    path : str or Path
    record : CrossoverRecord

    Raises
    ------
    TypeError
        If `record` is something else.
    """
    if not isinstance(record, CrossoverRecord):
        raise TypeError(f"record: expected a CrossoverRecord, got {type(record).__name__}")
    content = asdict(record) | {"timings": [timing._asdict() for timing in record.timings]}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_record(path: str | Path = RECORD) -> CrossoverRecord | None:
    """Read a record; None where there is no file.

    Parameters
    ----------
    path : str or Path
        By default the record that comes with the course.

    Returns
    -------
    CrossoverRecord or None

    Raises
    ------
    TypeError, ValueError
        If `path` is no name of a file, or the file holds something else.
    """
    path = as_file(path, "path")
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        timings = tuple(_as_timing(**row) for row in content.pop("timings"))
        record = CrossoverRecord(**content, timings=timings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        names = ", ".join(field.name for field in fields(CrossoverRecord))
        raise ValueError(
            f"path: expected a record with {names}, got {path.name}, which has not: {error}"
        ) from error
    return record


def plot_crossover(
    ax: Axes, runs: Mapping[str, Sequence[Timing]], dim: int, *, legend: bool = True
) -> list[Line2D]:
    """Draw time for a step against the batch size, one line for each run and device.

    Parameters
    ----------
    ax : Axes
    runs : mapping of str to sequence of Timing
        The keys say whose run it is.
    dim : int
        Number of variables d to draw.
    legend : bool
        Whether to draw a legend.

    Returns
    -------
    list of Line2D

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or no run has a timing of that dimension.
    """
    from helpers.plotting import COLORS  # matplotlib takes half a second, only plots need it
    from helpers.plotting.arrays import require_axes, require_mapping

    require_axes(ax)
    require_count(dim, "dim")
    require_flag(legend, "legend")
    runs = {name: _as_timings(run, name) for name, run in require_mapping(runs, "runs").items()}
    colors = {"cpu": COLORS["data"], "cuda": COLORS["estimate"], "mps": COLORS["gradient"]}
    dashes = ("-", "--", ":", "-.")
    lines = []
    for number, (name, timings) in enumerate(runs.items()):
        for device in sorted({timing.device for timing in timings}):
            chosen = [each for each in timings if (each.device, each.dim) == (device, dim)]
            if not chosen:
                continue
            lines += ax.loglog(
                [each.batch for each in chosen],
                [1e3 * each.seconds for each in chosen],
                color=colors.get(device, COLORS["reference"]),
                linestyle=dashes[number % len(dashes)],
                marker="o",
                markerfacecolor="white" if number else None,
                label=f"{device}, {name}",
            )
    if not lines:
        raise ValueError(f"runs: expected timings with dim {dim}, got none")
    ax.set(xlabel="batch size B", ylabel="milliseconds a step", title=f"d = {dim}")
    if legend:
        ax.legend()
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure this machine, print the times and write the record."""
    parser = argparse.ArgumentParser(prog="python -m helpers.crossover", description=main.__doc__)
    parser.add_argument("--out", required=True, help="file to write, such as gpu.json")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES, metavar="B")
    parser.add_argument("--dims", nargs="+", type=int, default=DIMS, metavar="D")
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args(arguments)
    if best_device().type == "cpu":
        parser.exit(
            1, f"expected a GPU to compare the CPU with, torch {torch.__version__} has none\n"
        )
    timings = measure_crossover(
        batch_sizes=options.batch_sizes, dims=options.dims, repeats=options.repeats
    )
    record = make_record(timings)
    for timing in timings:
        print(
            f"{timing.device:5s} d = {timing.dim:<4d} B = {timing.batch:<7d} "
            f"{1e3 * timing.seconds:10.4f} ms"
        )
    save_record(options.out, record)
    print(f"written to {options.out}: {', '.join(record.devices.values())}")


def _default_devices() -> list[torch.device]:
    cpu, best = torch.device("cpu"), best_device()
    return [cpu] if best == cpu else [cpu, best]


def _as_devices(devices: Any) -> list[torch.device]:
    if isinstance(devices, str) or not isinstance(devices, Iterable):
        raise TypeError(f"devices: expected a sequence of devices, got {devices!r}")
    return _at_least_one([as_device(each, "devices") for each in devices], "devices")


def _at_least_one(values: list[Any], name: str) -> list[Any]:
    if not values:
        raise ValueError(f"{name}: expected at least one, got none")
    return values


def _seconds_of_a_step(
    device: torch.device, batch: int, dim: int, dtype: torch.dtype, repeats: int
) -> float:
    scale_tril, covariance = _problem(device, batch, dim, dtype)
    with torch.no_grad():
        # Checks would wait for the device in the middle of the step.
        return median_seconds(
            lambda: natural_step(scale_tril, covariance, validate_args=False),
            device,
            repeats=repeats,
        )


def _problem(
    device: torch.device, batch: int, dim: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The standard normal and equally correlated variables; times do not depend on the values."""
    eye = torch.eye(dim, dtype=dtype, device=device)
    covariance = 0.5 * (eye + 1)
    shape = (batch, dim, dim)
    # Cloned, as an expanded tensor would hold one matrix only.
    return eye.expand(shape).clone(), covariance.expand(shape).clone()


def _describe_device(kind: str) -> str:
    if kind == "cuda":
        return f"{torch.cuda.get_device_name()}, driver {_driver()}, CUDA {torch.version.cuda}"
    if kind == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"CPU {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"


def _driver() -> str:
    """Version of the NVIDIA driver, which torch does not tell."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown"
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return answer.stdout.partition("\n")[0].strip() or "unknown"


def _as_timings(run: Any, name: str) -> list[Timing]:
    if isinstance(run, str) or not isinstance(run, Iterable):
        raise TypeError(f"runs[{name!r}]: expected a sequence of Timing, got {type(run).__name__}")
    timings = list(run)
    if not all(isinstance(each, Timing) for each in timings):
        raise TypeError(f"runs[{name!r}]: expected a sequence of Timing, got {timings!r}"[:200])
    return timings


def _as_timing(device: Any, batch: Any, dim: Any, seconds: Any) -> Timing:
    if not isinstance(device, str):
        raise TypeError(f"device: expected a string, got {device!r}")
    return Timing(
        device,
        require_count(batch, "batch"),
        require_count(dim, "dim"),
        require_number(seconds, "seconds", above=0.0),
    )


if __name__ == "__main__":
    main()
