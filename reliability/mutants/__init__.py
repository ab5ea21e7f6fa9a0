"""Small mistakes in the helpers, one at a time, and which test or notebook notices each."""

from __future__ import annotations


def main(arguments: list[str]) -> int:
    """Run `python -m reliability mutants`."""
    from reliability.mutants import run

    return run.main(arguments)
