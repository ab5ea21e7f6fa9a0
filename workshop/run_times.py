"""How long each notebook runs: measured once, kept as data, compared with a budget by a test."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from workshop.anatomy import is_code, read_notebook
from workshop.notes import TEACHING

RECORD = TEACHING / "run_times.json"
BUDGET_SECONDS = 20  # on two cores, kernel and imports included
PACKAGES = ("torch", "matplotlib", "numpy", "nbclient")
CELL_TIMEOUT_SECONDS = 120


def measure(path: Path) -> float:
    """Seconds that a notebook takes from the start of its kernel to its last output.

    Raises
    ------
    CellExecutionError
        If a cell fails.
    """
    from nbclient import NotebookClient

    notebook = read_notebook(path)
    for cell in filter(is_code, notebook.cells):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT_SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        # One thread, as everywhere in the course; figures and passes of a reader stay untouched.
        own = {
            "OMP_NUM_THREADS": "1",
            "COVARIANCE_FIGURES": folder,
            "COVARIANCE_PROGRESS": str(Path(folder) / "progress.json"),
        }
        start = perf_counter()
        client.execute(env={**os.environ, **own}, stderr=subprocess.DEVNULL)
        return perf_counter() - start


def record(notebooks: Sequence[Path]) -> dict[str, Any]:
    """Measure each notebook, one after the other, and describe where."""
    seconds = {}
    for path in notebooks:
        seconds[path.stem] = round(measure(path))
        print(f"{path.stem}: {seconds[path.stem]} s", flush=True)
    return {
        "budget_seconds": BUDGET_SECONDS,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name).partition("+")[0] for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def store(measured: dict[str, Any], file: Path = RECORD) -> None:
    """Write what was measured."""
    file.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def problems(measured: dict[str, Any], stems: Sequence[str]) -> list[str]:
    """How a record does not fit the notebooks there are, or their budget."""
    seconds = measured["seconds"]
    found = [f"{stem} was not measured" for stem in stems if stem not in seconds]
    found += [f"{stem} is no notebook" for stem in seconds if stem not in stems]
    for stem, taken in seconds.items():
        if taken > measured["budget_seconds"]:
            found.append(f"{stem} takes {taken} s, expected at most {measured['budget_seconds']}")
    return found
