"""One JupyterLab and one browser, shared by the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from lab import Lab, running_lab

from workshop.browser import find_chromium, launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = find_chromium()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with launched(CHROMIUM) as started:
        yield started


@pytest.fixture(scope="session")
def lab(browser: Browser) -> Iterator[Lab]:
    """JupyterLab on a copy of the course; started only where there is a browser to look at it."""
    with running_lab() as started:
        yield started
