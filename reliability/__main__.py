"""`python -m reliability VERB`: hand the rest of the line to the module that does it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "mutants": "change the helpers in small ways and see which changes the tests notice",
    "bites": "alter stored numbers and pictures and see which changes the comparison notices",
    "stands": "run every notebook in many environments and compare all outputs",
    "inputs": "give bad input to every public function",
    "errors": "compare float32 and float64 with exact answers as the condition grows",
    "kills": "interrupt fits at random moments and resume them",
    "rank_kills": "kill ranks of a fit of shards at random moments, under torchrun",
    "soak": "fit thousands of times, and run all notebooks in one server at once",
    "audit": "look up the pinned versions in a database of known vulnerabilities",
    "report": "put the records' tables and numbers into docs/reliability.md",
}

RECORDS = """With --record, what a verb finds is written to reliability/records/VERB.json, from
which `report` takes the tables of the page; else it is printed only. `VERB --help` says more."""


def usage() -> str:
    """The verbs, one to a line."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {told}" for verb, told in VERBS.items()]
    head = ["usage: python -m reliability VERB [options]", "", RECORDS, ""]
    return "\n".join([*head, *lines])


def main(arguments: Sequence[str]) -> int:
    """Run a verb; the exit code is 2 where there is no such verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"expected a verb, got {verb!r}\n\n{usage()}", file=sys.stderr)
        return 2
    return import_module(f"reliability.{verb}").main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
