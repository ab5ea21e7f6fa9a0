"""Ranks that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ranks import Ranks, ranks


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    """Four processes, in groups of 1, 2 and 4."""
    with ranks(4) as started:
        yield started
