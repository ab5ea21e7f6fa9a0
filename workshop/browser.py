"""The browser: where it is, a page of a local file in it, and printing that page.

Nothing here lets a request leave the machine: pages of the course need none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ProxySettings, Request, Route

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have too little of it
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCAL_SCHEMES = ("file:", "data:", "blob:", "about:")
# Nothing listens there, so that every request ends on this machine, except to the machine itself.
NO_WAY_OUT: ProxySettings = {"server": "http://127.0.0.1:9", "bypass": "127.0.0.1"}
MATHEMATICS_IS_READY = "() => !window.MathJax || window.MathJax.startup.promise.then(() => true)"


@dataclass
class LocalPage:
    """A page of a file on this machine, and what went wrong on it."""

    page: Page
    left_the_machine: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, file: Path) -> None:
        """Load a file and wait until its formulas are set."""
        self.page.goto(file.resolve().as_uri(), wait_until="load")
        self.page.wait_for_function(MATHEMATICS_IS_READY)


def find_chromium() -> Path | None:
    """A Chromium or Chrome on this machine, or None.

    Raises
    ------
    ValueError
        If the environment variable ``CHROMIUM`` names a program that is not there.
    """
    if named := os.environ.get("CHROMIUM"):
        found = shutil.which(named)
        if found is None:
            raise ValueError(f"CHROMIUM: expected the path of a browser, got {named!r}")
        return Path(found)
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


@contextmanager
def launched(chromium: Path) -> Iterator[Browser]:
    """Start a browser without a window; it ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def new_page(
    browser: Browser, *, width: int = 1280, height: int = 720, site: str | None = None
) -> LocalPage:
    """An empty page in a profile of its own, from which nothing leaves the machine.

    Parameters
    ----------
    browser : Browser
    width, height : int
        Of the window, in pixels.
    site : str, optional
        The address of a server on this machine, as ``"http://127.0.0.1:8000"``. Its pages can be
        opened, and files cannot. The browser keeps what it has read, as a reader's does.
    """
    # New windows of the page, such as the speaker's view, belong to the same context.
    context = browser.new_context(
        viewport={"width": width, "height": height}, proxy=None if site is None else NO_WAY_OUT
    )
    local = LocalPage(context.new_page())
    if site is None:
        _ask_for_each_request(local)
    else:
        context.on("request", lambda request: _note_foreign(local, request.url, f"{site}/"))
    context.on("weberror", lambda error: local.complaints.append(str(error.error)))
    context.on("console", lambda said: _note_complaint(local, said.type, said.text))
    context.on("requestfailed", lambda request: local.complaints.append(f"failed: {request.url}"))
    return local


def print_to_pdf(page: Path, pdf: Path, *, chromium: Path | None = None) -> Path:
    """Print a page, with its formulas, on paper of the size that its style sheet names.

    Parameters
    ----------
    page : Path
        A file of HTML.
    pdf : Path
        Written; its folder exists.
    chromium : Path, optional
        What `find_chromium` finds unless given.

    Raises
    ------
    RuntimeError
        If there is no browser, or the page asked for something that is not on this machine.
    """
    chromium = chromium or find_chromium()
    if chromium is None:
        raise RuntimeError(f"no browser found: install one of {', '.join(NAMES)}, or set CHROMIUM")
    with launched(chromium) as browser:
        local = new_page(browser)
        local.open(page)
        if problems := local.left_the_machine + local.complaints:
            raise RuntimeError(f"{page.name}: {problems[0]}")
        local.page.pdf(path=pdf, prefer_css_page_size=True, print_background=True)
    return pdf


def _note_complaint(local: LocalPage, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        local.complaints.append(text)


def _ask_for_each_request(local: LocalPage) -> None:
    """Let pages load what is on this machine, and nothing else."""

    def stay_here(route: Route, request: Request) -> None:
        if request.url.startswith(LOCAL_SCHEMES):
            route.continue_()
        else:
            local.left_the_machine.append(request.url)
            route.abort()

    local.page.context.route("**/*", stay_here)


def _note_foreign(local: LocalPage, url: str, site: str) -> None:
    if not url.startswith((site, *LOCAL_SCHEMES)):
        local.left_the_machine.append(url)
