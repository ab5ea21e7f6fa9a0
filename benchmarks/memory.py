"""Largest extra memory of a fit, n = 1e5 and d = 32 in float64: each in a process of its own.

The peak of the resident memory counts, since no allocator's own book has the libraries side by
side. A small fit before it brings in what a first use loads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import peers, textbook
from benchmarks.one_fit import closed_form
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, rounded
from helpers import GaussianLikelihood, fit

SIZE = (100_000, 32)
SMALL = 200
MIB = 2**20
# Freed memory goes back at once; else glibc would keep some and hide what the next work takes.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def _helpers(optimizer: str) -> Callable[[Tensor], None]:
    def work(data: Tensor) -> None:
        model = GaussianLikelihood(data.shape[-1], dtype=data.dtype)
        fit(model, data, optimizer=optimizer, progress=False)

    return work


def _textbook(data: Tensor) -> None:
    model = textbook.TextbookGaussian(data.shape[-1], data.dtype)
    textbook.fit_by_likelihood(model, data, n_steps=5)


CONTESTANTS: dict[str, tuple[Callable[[Tensor], object], str | None]] = {
    "textbook": (_textbook, None),
    "helpers, gradient written out": (_helpers("natural"), None),
    "helpers, autograd": (_helpers("natural-autograd"), None),
    "closed form": (lambda data: closed_form(data)(None), None),
    "scikit-learn, EmpiricalCovariance": (
        lambda data: peers.sklearn_covariance(data)(None),
        "scikit-learn",
    ),
    "numpy, closed form": (lambda data: peers.numpy_fit(data)(None), "numpy"),
    "scipy, multivariate_normal.fit": (lambda data: peers.scipy_fit(data)(None), "scipy"),
    "JAX, closed form": (lambda data: peers.jax_fit(data)(None), "JAX"),
}


def rows(settings: Settings) -> list[Row]:
    """Peak of each contestant."""
    n, d = SIZE
    found: list[Row] = []
    for name, (_, peer) in CONTESTANTS.items():
        row: Row = {"table": "memory", "case": f"n={n}, d={d}", "contestant": name}
        if peer is not None and peer not in peers.versions():
            found.append({**row, "contestant": peer, "skipped": "not installed"})
            continue
        found.append({**row, "mebibytes": rounded(in_a_process(name, n, d, settings) / MIB)})
    return found


def in_a_process(name: str, n: int, d: int, settings: Settings) -> int:
    """Extra bytes of one contestant, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", name, str(n), str(d)]
    root = Path(__file__).parents[1]
    threads = str(settings.threads)
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": threads}
    said = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True)
    return json.loads(said.stdout.splitlines()[-1])


def extra_bytes(name: str, n: int, d: int) -> int:
    """Peak of the resident memory during the work, above what there was before it."""
    work = CONTESTANTS[name][0]
    work(samples(SMALL, d))
    data = samples(n, d)
    before = start_of_peak()
    work(data)
    return peak() - before


def start_of_peak() -> int:
    """Forget the peak so far where the system can (Linux), and return the level to count from."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return peak()


def peak() -> int:
    """Largest resident memory in bytes since `start_of_peak`, or of the process."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(json.dumps(extra_bytes(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
