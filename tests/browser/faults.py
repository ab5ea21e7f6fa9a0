"""What a reader would find wrong with a notebook that has run in JupyterLab.

Every fault is a sentence that says in which notebook and in which cell. Cells are counted from 1,
those with prose too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reader import Reader

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SETTLE_SECONDS = 5  # what formulas, widgets and moved pictures are given to appear
POLL_MS = 50

# What looks wrong on the page, as pairs of a cell and a sentence. Prose is read where a reader sees
# it; code and formulas may hold any sign.
LOOKS_WRONG = r"""() => {
  const faults = new Map();  // a formula in the page has copies of what it says
  const raw = [
    /\$/, /\*\*/, /`/, /:::/, /\[![A-Z]+\]/, /\[\^/, /\]\(/, /\\[([\])]/, /\\[a-zA-Z]{2,}/,
    /<\/?[a-zA-Z]+[^<>]*>/, /^\s*#{1,6}(\s|\w)/, /\|\s*:?-{3,}/, /\{[a-z:-]+\}\s*$/,
  ];
  const shown = el => el.getClientRects().length > 0;
  jupyterapp.shell.currentWidget.content.widgets.forEach((cell, at) => {
    const say = what => faults.set(`${at} ${what}`, [at, what]);
    cell.node.querySelectorAll(".jp-RenderedHTMLCommon").forEach(text => {
      const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const node = walker.currentNode;
        if (node.parentElement.closest("pre, code, script, style, mjx-container")) continue;
        const words = node.data.trim().replace(/\s+/g, " ");
        if (raw.some(sign => sign.test(node.data))) say(`raw markup: ${words}`);
      }
    });
    cell.node.querySelectorAll("mjx-merror, [data-mjx-error]").forEach(formula =>
      say(`a formula with an error: ${formula.dataset.mjxError || formula.textContent}`));
    cell.node.querySelectorAll('mjx-container [style*="color: red"]').forEach(part =>
      say(`a formula with an unknown command: ${part.closest("mjx-container").textContent}`));
    cell.node.querySelectorAll("img").forEach(img => {
      const from = img.src.split("?")[0].replace(location.origin, "");
      if (!img.complete || !img.naturalWidth) say(`a picture that is not shown: ${from}`);
    });
    cell.node.querySelectorAll(".jp-OutputArea-output").forEach(output => {
      const words = output.textContent.trim();
      if (/^(Loading|Error displaying) widget/.test(words)) say(`a widget not shown: ${words}`);
    });
    const tags = cell.model.getMetadata("tags") ?? [];
    const editor = cell.node.querySelector(".jp-InputArea-editor");
    if (tags.includes("solution") && editor && shown(editor)) say("a solution that is not folded");
  });
  return [...faults.values()];
}"""
# A sum over the pixels of each picture in the output of a cell, other for other pictures.
PICTURES = """async output => {
  const sums = [];
  for (const picture of output.querySelectorAll("img, canvas")) {
    if (picture.getClientRects().length === 0) continue;
    if (picture.decode) await picture.decode().catch(() => null);
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth || picture.width;
    canvas.height = picture.naturalHeight || picture.height;
    if (canvas.width * canvas.height === 0) continue;
    const ink = canvas.getContext("2d");
    ink.drawImage(picture, 0, 0);
    const pixels = ink.getImageData(0, 0, canvas.width, canvas.height).data;
    sums.push(new Uint32Array(pixels.buffer).reduce((sum, pixel) => (31 * sum + pixel) >>> 0, 7));
  }
  return sums;
}"""
# A slider; its number stands at its end or in a field beside it, and is `null` where there is none.
SLIDER = """handle => {
  const box = handle.closest(".widget-inline-hbox, .widget-inline-vbox");
  const readout = box?.querySelector(".widget-readout");
  const field = box?.closest(".widget-hbox")?.querySelector("input[type=number], select");
  return {
    label: box?.querySelector(".widget-label")?.textContent.trim(),
    readout: readout?.getClientRects().length ? readout.textContent : field?.value ?? null,
    isAtItsEnd: handle.getAttribute("aria-valuenow") === handle.getAttribute("aria-valuemax"),
    isReachedByTab: handle.tabIndex >= 0,
  };
}"""


def faults(reader: Reader) -> list[str]:
    """All faults of a notebook that has run; sliders are moved on the way."""
    _wait(reader, lambda: not list(_in_looks(reader)))
    return [
        *_in_outputs(reader),
        *_in_looks(reader),
        *_of_sliders(reader),
        *reader.complaints,  # last, as moving may add to them
    ]


def _place(reader: Reader, at: int, cell: Mapping[str, Any]) -> str:
    """A cell in words: the notebook, the number of the cell, and how it begins."""
    first = next(iter("".join(cell["source"]).strip().splitlines()), "empty")
    return f"{reader.name}, cell {at + 1} ({first[:60]})"


def _in_outputs(reader: Reader) -> Iterator[str]:
    """Errors, and cells that did not run or ran in another order."""
    expected = 0
    for at, cell in enumerate(reader.cells()):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        expected += 1
        if cell["execution_count"] is None:
            yield f"{_place(reader, at, cell)}: did not run"
        elif cell["execution_count"] != expected:
            yield f"{_place(reader, at, cell)}: ran as number {cell['execution_count']}"
        errors = [each for each in cell["outputs"] if each["output_type"] == "error"]
        if "raises-exception" in cell["metadata"].get("tags", ()):
            if not errors:
                yield f"{_place(reader, at, cell)}: is to raise an error and raised none"
            continue
        for error in errors:
            yield f"{_place(reader, at, cell)}: {error['ename']}: {error['evalue']}"


def _in_looks(reader: Reader) -> Iterator[str]:
    """What is wrong with the page as it is now: formulas and widgets take a moment to appear."""
    cells = reader.cells()
    for at, what in reader.page.evaluate(LOOKS_WRONG):
        yield f"{_place(reader, at, cells[at])}: {what}"


def _of_sliders(reader: Reader) -> Iterator[str]:
    """Move each slider by the keyboard; its number and a picture beside it must follow."""
    for at, cell in enumerate(reader.cells()):
        output = reader.cell(at).locator(".jp-Cell-outputArea")
        for handle in output.locator('[role="slider"], input[type="range"]').all():
            for what in _of_a_slider(reader, output, handle):
                yield f"{_place(reader, at, cell)}: {what}"


def _of_a_slider(reader: Reader, output: Locator, handle: Locator) -> Iterator[str]:
    before, pictures = handle.evaluate(SLIDER), output.evaluate(PICTURES)
    name = f"the slider “{before['label']}”" if before["label"] else "the slider without a label"
    if not before["isReachedByTab"]:
        yield f"{name} is not reached by the keyboard"
    if not pictures:
        yield f"{name} has no picture beside it"
    handle.focus()
    reader.page.keyboard.press("ArrowLeft" if before["isAtItsEnd"] else "ArrowRight")
    if before["readout"] is None:
        yield f"{name} shows no number"
    elif not _wait(reader, lambda: handle.evaluate(SLIDER)["readout"] != before["readout"]):
        yield f"{name} stays at {before['readout']} when an arrow key is pressed"
    if pictures and not _wait(reader, lambda: output.evaluate(PICTURES) != pictures):
        yield f"{name} moves no picture"


def _wait(reader: Reader, is_so: Callable[[], bool]) -> bool:
    """Whether something becomes true in the time that the page is given to settle."""
    patience = time.monotonic() + SETTLE_SECONDS
    while not is_so():
        if time.monotonic() > patience:
            return False
        reader.page.wait_for_timeout(POLL_MS)
    return True
