"""A reader of the course: opens a notebook in JupyterLab, runs cells, writes in them, looks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

WIDTH, HEIGHT = 1280, 1400
OPEN_MS = 60_000
RUN_SECONDS = 120  # of a whole notebook, on a busy machine

# Messages that are none of the course's doing, as (pattern, reason). So far JupyterLab gives none.
TOLERATED: tuple[tuple[str, str], ...] = ()

IS_READY = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  return panel?.context?.isReady && panel.sessionContext?.session?.kernel?.status === "idle";
}"""
# Cells carry their number in the page from here on.
NUMBER_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets.forEach(
  (cell, at) => { cell.node.dataset.at = at; })"""
# The end is noted, not awaited: a kernel that has died never comes to one.
START = """([command, clear]) => {
  const commands = jupyterapp.commands;
  window.hasEnded = false;
  (clear ? commands.execute("notebook:clear-all-cell-outputs") : Promise.resolve())
    .then(() => commands.execute(command))
    .catch(() => {})
    .then(() => {
      // A command ends at the first error. Where errors are meant, cells run on: they are in the
      // queue of the kernel, which answers another request when it comes to its end.
      const panel = jupyterapp.shell.currentWidget;
      const isMeant = cell => (cell.metadata.tags ?? []).includes("raises-exception");
      if (panel.content.model.toJSON().cells.some(isMeant))
        return panel.sessionContext.session.kernel.requestKernelInfo();
    })
    .finally(() => { window.hasEnded = true; });
}"""
CELLS = "() => jupyterapp.shell.currentWidget.content.model.toJSON().cells"
SELECT = """at => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = at;
  notebook.deselectAll();
}"""
SHUT_DOWN = "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()"
SCROLL_TO_PAGE = """number => {
  const outer = jupyterapp.shell.currentWidget.content.outerNode;
  const page = outer.clientHeight - 40;
  outer.scrollTop = number * page;
  // Below the last cell there is an empty page to scroll through.
  const last = jupyterapp.shell.currentWidget.content.widgets.at(-1).node;
  return last.getBoundingClientRect().bottom <= outer.getBoundingClientRect().bottom;
}"""


@dataclass
class Reader:
    """One notebook, open in one page.

    Attributes
    ----------
    page : Page
    name : str
        Of the file.
    complaints : list of str
        What the browser had to say so far: errors on its console, requests that failed, requests
        for something that is not on this machine.
    """

    page: Page
    name: str
    complaints: list[str] = field(default_factory=list)

    def complain(self, what: str) -> None:
        """Keep a complaint, unless it is tolerated."""
        if not any(re.search(pattern, what) for pattern, _ in TOLERATED):
            self.complaints.append(f"{self.name}: {what}")

    def run_all(self, *, seconds: float = RUN_SECONDS) -> None:
        """Clear the stored outputs, run every cell, and wait until that has ended."""
        self._run(["notebook:run-all-cells", True], seconds)

    def run_cell(self, at: int) -> None:
        """Run one cell, as Ctrl-Enter does."""
        self.page.evaluate(SELECT, at)
        self._run(["notebook:run-cell", False], RUN_SECONDS)

    def rewrite_cell(self, at: int, source: str) -> None:
        """Put the cursor in a cell, and write something else there."""
        self.page.evaluate(SELECT, at)
        self.cell(at).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source)

    def cells(self) -> list[dict[str, Any]]:
        """The cells as JupyterLab holds them now, in the format of notebook files."""
        return self.page.evaluate(CELLS)

    def cell(self, at: int) -> Locator:
        """A cell in the page."""
        return self.page.locator(f'.jp-Notebook [data-at="{at}"]')

    def photograph(self, folder: Path) -> None:
        """Take pictures of the notebook from top to bottom, to be looked at."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = Path(self.name).stem
        for old in folder.glob(f"{stem}-*.png"):
            old.unlink()
        number, at_the_end = 0, False
        while not at_the_end:
            at_the_end = self.page.evaluate(SCROLL_TO_PAGE, number)
            number += 1
            self.page.screenshot(path=folder / f"{stem}-{number:02}.png")

    def _run(self, command: list, seconds: float) -> None:
        from playwright.sync_api import TimeoutError as TookTooLong

        self.page.evaluate(START, command)
        try:
            self.page.wait_for_function("() => window.hasEnded", timeout=1000 * seconds)
        except TookTooLong:
            self.complain(f"still running after {seconds:g} s")


@contextmanager
def reading(browser: Browser, lab: Lab, notebook: Path) -> Iterator[Reader]:
    """Open a notebook of the copy; its kernel and its page end with the block."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    reader = Reader(context.new_page(), notebook.name)
    _stay_here(context, lab, reader)
    _listen(context, reader)
    try:
        reader.page.goto(lab.address(notebook), timeout=OPEN_MS)
        reader.page.wait_for_function(IS_READY, timeout=OPEN_MS)
        reader.page.evaluate(NUMBER_CELLS)
        yield reader
        reader.page.evaluate(SHUT_DOWN)
    finally:
        context.close()


def _stay_here(context: BrowserContext, lab: Lab, reader: Reader) -> None:
    """Let no request leave the machine."""
    elsewhere = re.compile(rf"^(?!{re.escape(lab.origin)}/|data:|blob:|about:)")
    socket = re.compile(rf"^(?!{re.escape(lab.origin.replace('http', 'ws', 1))}/)")

    def refuse(route: Any) -> None:
        reader.complain(f"asks for {route.request.url}, which is not on this machine")
        route.abort("blockedbyclient")

    context.route(elsewhere, refuse)
    # One that is not connected to anything is closed; nothing of it leaves.
    context.route_web_socket(
        socket, lambda route: reader.complain(f"asks for {route.url}, which is not on this machine")
    )


def _listen(context: BrowserContext, reader: Reader) -> None:
    """Note what browsers tell developers only; a failed request is told there, too."""

    def hear(message: Any) -> None:
        # What was refused has been noted already.
        if message.type == "error" and "ERR_BLOCKED_BY_CLIENT" not in message.text:
            said, *trace = message.text.splitlines() or [""]
            file = "" if trace else urlsplit(message.location["url"]).path
            reader.complain(f"on the console: {said} {file}".rstrip())

    context.on("console", hear)
    context.on("weberror", lambda error: reader.complain(f"in a script: {error.error}"))
