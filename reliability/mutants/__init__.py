"""Make small mistakes in the helpers, one at a time: which test or notebook notices each?"""

from __future__ import annotations

import argparse

from reliability import records

STAGES = ("tests", "nbval")


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line; what it says of itself needs nothing of what makes the mutants."""
    parser = records.parser("mutants", __doc__)
    parser.add_argument(
        "--module", action="append", default=[], help="one module, as gaussian or plotting/curves"
    )
    parser.add_argument("--workers", type=records.count(), default=2)
    parser.add_argument(
        "--notebooks-alone",
        type=records.count(),
        metavar="N",
        help="ask only the notebooks, about N mutants of the mathematics drawn at random",
    )
    parser.add_argument("--anew", action="store_true", help="forget the results of earlier runs")
    parser.add_argument(
        "--only", choices=STAGES, help="ask the tests or the notebooks, and not both"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    asked = parser.parse_args(arguments)
    if asked.record and (asked.module or asked.notebooks_alone):
        parser.error("--record: expected a run of all modules, without --module, --notebooks-alone")
    return asked


def main(arguments: list[str]) -> int:
    """Run `python -m reliability mutants`."""
    options = options_of(arguments)
    from reliability.mutants import run

    return run.main(options, records.command("mutants", arguments))
