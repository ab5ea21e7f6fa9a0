"""`python -m benchmarks`: run the tables and print them; what is to be kept is kept and drawn."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.workers import THREAD_VARIABLES

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
    "ranks",
    "shards",
    "scaling",
    "rank_memory",
)
QUICK = tuple(name for name in TABLES if name not in ("growth", "memory"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    asked = _parse(arguments)
    cores = limit_threads(asked.threads)

    # After the limits, which libraries read when they are imported.
    import torch

    from benchmarks import report, tables, targets

    torch.set_num_threads(asked.threads)
    settings = report.Settings(quick=asked.quick, threads=asked.threads, cores=cores)
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
    elif asked.renew:
        renew(merged(report.read(), record))
    elif not asked.quick and not asked.only:
        renew(record)


def renew(record: dict[str, Any]) -> None:
    """Write the record, the table in the README and the figures."""
    from benchmarks import figures, report, tables

    report.write(report.RECORD, record)
    readme = tables.README.read_text(encoding="utf-8")
    tables.README.write_text(tables.with_results(readme, record), encoding="utf-8")
    figures.draw(record["rows"])


def merged(record: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A record in which some tables are those of a later run.

    Parameters
    ----------
    record : dict
        As it was kept. All but `renewed`, `targets` and the rows of these tables stays.
    part : dict
        The later run. What it was made with goes to `renewed`, under each of its tables.

    Returns
    -------
    dict
    """
    from benchmarks import targets

    later = dict.fromkeys(row["table"] for row in part["rows"])
    made_with = {
        name: value for name, value in part.items() if name not in ("renewed", "targets", "rows")
    }
    rows = [row for row in record["rows"] if row["table"] not in later] + part["rows"]
    rows.sort(key=lambda row: TABLES.index(row["table"]))
    renewed = {**record.get("renewed", {}), **dict.fromkeys(later, made_with)}
    return {**record, "renewed": renewed, "targets": targets.judge(rows), "rows": rows}


def limit_threads(threads: int) -> tuple[int, ...]:
    """Give every library the same number of threads; to be called before they are imported.

    The cores that there were before are returned, for processes with one thread each.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    if not hasattr(os, "sched_setaffinity"):
        return ()
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-threads:])  # JAX takes as many threads as it sees cores
    return tuple(allowed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="extend", nargs="+", choices=TABLES, metavar="TABLE", help="some of them"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, the slow left out")
    parser.add_argument("--threads", type=int, default=2, help="of every library (2)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--renew",
        action="store_true",
        help="put what --only names into results.json; the rest of it keeps its day",
    )
    where.add_argument(
        "--out",
        type=Path,
        help="write the record here; without it a whole run renews results.json and the figures",
    )
    asked = parser.parse_args(arguments)
    if asked.renew and (asked.quick or not asked.only):
        parser.error("--renew: expected --only with it, and not --quick")
    return asked


if __name__ == "__main__":
    sys.exit(main())
