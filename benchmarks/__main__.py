"""`python -m benchmarks`: run the tables and print them; a whole run is kept and drawn."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

TABLES = (
    "one_fit",
    "mini_batches",
    "many_fits",
    "log_prob",
    "data_pass",
    "memory",
    "growth",
    "conditioning",
    "startup",
)
QUICK = tuple(name for name in TABLES if name not in ("growth", "memory"))
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    asked = _parse(arguments)
    limit_threads(asked.threads)

    # After the limits, which libraries read when they are imported.
    import torch

    from benchmarks import report, tables, targets

    torch.set_num_threads(asked.threads)
    settings = report.Settings(quick=asked.quick, threads=asked.threads)
    record = report.environment(settings)
    print(", ".join(f"{name}: {value}" for name, value in record.items()))
    rows: list[report.Row] = []
    for name in asked.only or (QUICK if asked.quick else TABLES):
        start = time.perf_counter()
        rows += import_module(f"benchmarks.{name}").rows(settings)
        print(tables.text(name, rows, targets.judge(rows)))
        print(f"   ({time.perf_counter() - start:.0f} s)\n", flush=True)
    record.update(targets=targets.judge(rows), rows=rows)
    if asked.out is not None:
        report.write(asked.out, record)
    elif not asked.quick and not asked.only:
        renew(record)


def renew(record: dict[str, Any]) -> None:
    """Write the record of a whole run, the table in the README and the figures."""
    from benchmarks import figures, report, tables

    report.write(report.RECORD, record)
    readme = tables.README.read_text(encoding="utf-8")
    tables.README.write_text(tables.with_results(readme, record), encoding="utf-8")
    figures.draw(record["rows"])


def limit_threads(threads: int) -> None:
    """Give every library the same number of threads; to be called before they are imported."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):  # JAX takes as many threads as it sees cores
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=TABLES, help="a table; may come twice")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, the slow left out")
    parser.add_argument("--threads", type=int, default=2, help="of every library (2)")
    parser.add_argument(
        "--out",
        type=Path,
        help="write the record here; without it a whole run renews results.json and the figures",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
