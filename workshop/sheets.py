"""Cheat sheet, notation table and recipe: pages to read, to print, to pin up or to copy from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from workshop.browser import find_chromium, print_to_pdf
from workshop.html import ROOT, copy_vendored, highlight_css, markdown, render

# Where the sheets keep what they load, beside them.
ASSETS = "assets"

_PAGE_BREAK = re.compile(r"^---$", re.MULTILINE)
_SECTION = re.compile(r"^(?=## )", re.MULTILINE)


@dataclass(frozen=True)
class Sheet:
    """A page of ``docs/`` that is printed.

    Attributes
    ----------
    name : str
        Of the markdown file and of what is made of it, without the ending.
    columns : int
        Side by side on a sheet of A4.
    pdf : bool
        Whether it is printed to a file, too.
    """

    name: str
    columns: int
    pdf: bool

    @property
    def source(self) -> Path:
        """The markdown it is made from."""
        return ROOT / "docs" / f"{self.name}.md"


SHEETS = (
    Sheet("cheat_sheet", columns=2, pdf=True),
    Sheet("notation", columns=1, pdf=False),
    Sheet("recipe", columns=1, pdf=False),
)


def build(out: Path) -> list[Path]:
    """Write the cheat sheet, the notation table and the recipe.

    Parameters
    ----------
    out : Path
        A folder; it is created where it is missing.

    Returns
    -------
    list of Path
        The pages, the PDF of the cheat sheet where a browser is found, and what they load.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = copy_vendored("mathjax", out / ASSETS)
    chromium = find_chromium()
    for sheet in SHEETS:
        page = out / f"{sheet.name}.html"
        page.write_text(page_of(sheet), encoding="utf-8")
        written.append(page)
        if sheet.pdf and chromium is not None:
            written.append(print_to_pdf(page, page.with_suffix(".pdf"), chromium=chromium))
    return written


def page_of(sheet: Sheet) -> str:
    """HTML of a sheet; a line of three dashes in its markdown begins a new side of paper."""
    heading, _, body = sheet.source.read_text(encoding="utf-8").partition("\n")
    first, *others = _PAGE_BREAK.split(body)
    introduction, *sections = _SECTION.split(first)
    # A table without sections stands where the sections would.
    start, sides = (introduction, sections) if sections else ("", [introduction])
    return render(
        "sheet.html",
        title=heading.removeprefix("# "),
        introduction=markdown(start),
        sides=[_in_sections(sides), *(_in_sections(_SECTION.split(side)) for side in others)],
        columns=sheet.columns,
        name=sheet.name,
        highlight_css=Markup(highlight_css()),
        assets=ASSETS,
    )


def _in_sections(parts: list[str]) -> list[dict[str, str]]:
    """The sections of a side, each with the first word of its heading as its class."""
    return [
        {"kind": "".join(re.findall(r"\A## (\w+)", part)).lower(), "html": markdown(part)}
        for part in parts
        if part.strip()
    ]
