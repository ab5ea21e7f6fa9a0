"""The sheets as a browser shows and prints them: legible, whole, and on their paper."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pypdf
import pytest
from PIL import Image
from test_sheets import ROOT, SECTIONS, sections

from workshop import sheets
from workshop.browser import LocalPage, find_chromium, launched, new_page, print_to_pdf

needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium on this machine (apt-get install chromium)"
)

# On paper: A4 at 96 pixels an inch, as browsers count.
PIXELS_PER_POINT = 96 / 72
SMALLEST = 8.5  # points: legible at arm's length

OVERFLOWING = """() => {
  const found = [];
  for (const side of document.querySelectorAll(".side")) {
    const paper = side.getBoundingClientRect();
    const columns = side.querySelector(".columns");
    if (columns.scrollWidth > columns.clientWidth + 1) found.push("more columns than fit");
    for (const each of side.querySelectorAll("p, pre, table, code, h1, h2, mjx-container > svg")) {
      if (each.closest("mjx-assistive-mml")) continue;
      for (const box of each.getClientRects()) {
        if (box.right > paper.right - 15 || box.bottom > paper.bottom - 15)
          found.push("off the paper: " + each.textContent.slice(0, 60));
      }
      const section = each.closest("section");
      if (!section) continue;
      for (const box of each.getClientRects()) {
        const own = [...section.getClientRects()].find(
          (column) => box.left >= column.left - 1 && box.left < column.right);
        if (!own || box.right > own.right + 1)
          found.push("into the margin: " + each.textContent.slice(0, 60));
      }
      if (each.tagName === "PRE" && each.scrollWidth > each.clientWidth)
        found.push("cut off: " + each.textContent.slice(0, 60));
    }
  }
  return found;
}"""
SMALLEST_TEXT = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let smallest = Infinity;
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || parent.closest("mjx-container, script")) continue;
    smallest = Math.min(smallest, parseFloat(getComputedStyle(parent).fontSize));
  }
  return smallest;
}"""
SMALLEST_FORMULA = """() => Math.min(...[...document.querySelectorAll("mjx-container")].map(
  (each) => parseFloat(getComputedStyle(each).fontSize)))"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sheets")
    sheets.build(out)
    # Before `browser` starts: one process can hold one Playwright at a time.
    for name in ("notation", "recipe"):
        print_to_pdf(out / f"{name}.html", out / f"{name}.pdf")
    return out


@pytest.fixture(scope="module")
def browser(built):
    with launched(find_chromium()) as browser:
        yield browser


@pytest.fixture(params=["cheat_sheet", "notation"])
def printed(request, built, browser) -> Iterator[LocalPage]:
    """A sheet in the browser, as it goes to the printer."""
    local = new_page(browser, width=794, height=1123)
    local.page.emulate_media(media="print")
    local.open(built / f"{request.param}.html")
    yield local
    local.page.context.close()


@needs_chromium
def test_a_sheet_is_legible_and_nothing_sticks_out(printed):
    assert printed.page.evaluate(OVERFLOWING) == []
    for smallest in (SMALLEST_TEXT, SMALLEST_FORMULA):
        assert printed.page.evaluate(smallest) >= SMALLEST * PIXELS_PER_POINT - 0.01


def code_cut_off(local: LocalPage, style: str) -> list[str]:
    """What of the code cannot be seen where it has this style besides its own."""
    tag = local.page.add_style_tag(content=f"pre {{ {style} }}")
    found = [each for each in local.page.evaluate(OVERFLOWING) if "off the paper" not in each]
    tag.evaluate("(style) => style.remove()")
    return [each for each in found if "more columns" not in each]


@needs_chromium
def test_code_is_seen_whole_in_another_font(built, browser):
    """The widest font that the sheet names is DejaVu Sans Mono; it may be another that is there."""
    local = new_page(browser, width=794, height=1123)
    local.page.emulate_media(media="print")
    local.open(built / "cheat_sheet.html")
    # Half a per cent wider: each line has its place. A quarter wider: it goes on below.
    assert code_cut_off(local, "letter-spacing: 0.003em; white-space: pre !important") == []
    assert code_cut_off(local, "letter-spacing: 0.15em; white-space: pre !important")
    assert code_cut_off(local, "letter-spacing: 0.15em") == []
    local.page.context.close()


@needs_chromium
def test_the_formulas_of_a_sheet_are_set(printed):
    page = printed.page
    asked_for = page.locator(".math").count()
    assert asked_for > 30
    assert page.locator(".math mjx-container svg").count() == asked_for
    assert page.locator("[data-mml-node=merror]").count() == 0
    assert not re.search(r"\\[(\[a-zA-Z]", page.locator("body").inner_text())
    assert printed.left_the_machine == []
    assert printed.complaints == []


@needs_chromium
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            "const code = document.querySelector('pre'); code.style.whiteSpace = 'pre';"
            "code.textContent = 'x'.repeat(60)",
            "cut off",
        ),
        ("document.querySelector('section').innerHTML += '<p>more</p>'.repeat(90)", "more columns"),
        ("document.querySelector('table').style.width = '120%'", "into the margin"),
        ("document.querySelector('.block mjx-container').style.scale = '2'", "into the margin"),
    ],
)
def test_what_sticks_out_is_noticed(built, browser, spoil, words):
    local = new_page(browser, width=794, height=1123)
    local.open(built / "cheat_sheet.html")
    local.page.evaluate(f"() => {{ {spoil} }}")
    assert any(words in found for found in local.page.evaluate(OVERFLOWING))
    local.page.context.close()


@needs_chromium
def test_the_cheat_sheet_and_the_notation_are_printed_on_two_sides_each(built):
    for name in ("cheat_sheet", "notation"):
        sides = pypdf.PdfReader(built / f"{name}.pdf").pages
        assert len(sides) == 2
        for side in sides:
            size = [float(length) / 72 * 25.4 for length in side.mediabox[2:]]
            assert size == pytest.approx([210, 297], abs=0.5)
    words = "".join(
        side.extract_text() for side in pypdf.PdfReader(built / "cheat_sheet.pdf").pages
    )
    for heading in SECTIONS:
        assert heading in words


@needs_chromium
def test_the_recipe_is_printed_whole_and_can_be_copied_from(built, browser):
    sides = pypdf.PdfReader(built / "recipe.pdf").pages
    assert 2 <= len(sides) <= 4
    printed = re.sub(r"\s", "", "".join(side.extract_text() for side in sides))
    source = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", source, re.DOTALL)
    for line in [*block.splitlines(), *sections(source)]:
        assert re.sub(r"\s", "", line) in printed
    local = new_page(browser, width=794, height=1123)
    local.open(built / "recipe.html")
    assert block in [
        text + "\n" for text in map(str.rstrip, local.page.locator("pre").all_inner_texts())
    ]
    local.page.context.close()


@needs_chromium
def test_each_column_of_the_picture_is_used_and_its_margin_is_white(built, browser):
    """The page as one sees it: ink in both columns of both sides, none where printers fail."""
    local = new_page(browser, width=794, height=1123)
    local.page.emulate_media(media="print")
    local.open(built / "cheat_sheet.html")
    for side in local.page.locator(".side").all():
        picture = Image.open(io.BytesIO(side.screenshot())).convert("L")
        ink = np.asarray(picture) < 200
        height, width = ink.shape
        margin = round(5 / 210 * width)  # 5 mm
        inner = np.s_[margin : height - margin, margin : width - margin]
        assert ink.sum() == ink[inner].sum()
        for half in (ink[:, : width // 2 - 10], ink[:, width // 2 + 10 :]):
            last = np.flatnonzero(half.any(axis=1))[-1]
            assert 0.8 < last / height < 0.98
            assert 0.03 < half.mean() < 0.25  # neither empty nor a blot
    local.page.context.close()
