"""Bad input to every public function: what is refused by name, and what is answered right.

The table of bad values is that of `tests/test_bad_input.py`, which runs with the other tests; this
counts it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import helpers
from reliability import records

TESTS = Path(__file__).parents[1] / "tests"
COLUMNS = ["module", "functions", "parameters", "calls", "refused", "answered", "wrong"]


def try_all() -> list[Any]:
    """Every cell of the table, tried."""
    import matplotlib as mpl
    import torch

    mpl.use("agg")
    torch.set_num_threads(1)
    sys.path.insert(0, str(TESTS))
    from bad_input_targets import TARGETS
    from bad_inputs import try_target

    return list(chain.from_iterable(try_target(name, each) for name, each in TARGETS.items()))


def name_of(function: str) -> str:
    """The public name that a target stands for, without its variant."""
    return function.partition("/")[0]


def module_of(function: str) -> str:
    """Where a public name is written: `gaussian` for `helpers.gaussian`."""
    first = name_of(function).partition(".")[0]
    value = getattr(helpers, first, helpers.explore_ellipse)  # what it returns has no name there
    return value.__module__.split(".")[1]


def counts(results: Iterable[Any]) -> list[int]:
    """Functions, parameters, calls, refused, answered, wrong; "(all tensors)" is no parameter."""
    results = list(results)
    functions = {name_of(each.function) for each in results}
    parameters = {(name_of(r.function), r.parameter) for r in results if "(" not in r.parameter}
    wrong = sum(bool(each.problem) for each in results)
    refused = sum(each.refused for each in results if not each.problem)
    return [
        len(functions),
        len(parameters),
        len(results),
        refused,
        len(results) - wrong - refused,
        wrong,
    ]


def record_of(results: list[Any], command: str) -> dict[str, Any]:
    """The record: a row for each module, and the sums."""
    by_module = defaultdict(list)
    for result in results:
        by_module[module_of(result.function)].append(result)
    rows = [[module, *counts(own)] for module, own in sorted(by_module.items())]
    summary = dict(zip(COLUMNS[1:], counts(results), strict=True))
    summary["values"] = len({each.value for each in results})
    return {
        "command": command,
        "columns": COLUMNS,
        "rows": rows,
        "summary": summary,
    }


def main(arguments: list[str]) -> int:
    """Try everything and print what is wrong; 1 if anything is."""
    asked = records.parser("inputs", __doc__).parse_args(arguments)
    results = try_all()
    wrong = [each for each in results if each.problem]
    for each in wrong:
        print(f"{each.function}, {each.parameter}, {each.value}: {each.problem}")
    record = record_of(results, records.command("inputs", arguments))
    print(", ".join(f"{number} {name}" for name, number in record["summary"].items()))
    records.keep("inputs", record, asked.record)
    return 1 if wrong else 0
