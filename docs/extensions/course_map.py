"""The directive `course-map`: the notebooks of the course, each with a picture of it.

Titles, promises and minutes are read from the notebooks, so that the map cannot contradict them.
The body of the directive chooses a figure for each: ``01_cholesky_theory: 01_three_ellipses``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from docutils import nodes
from notebook_pages import alt_text
from repository_links import ROOT
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

THUMBNAIL_WIDTH = 640  # pixels, twice the width on the page


@dataclass(frozen=True)
class Stop:
    """One notebook on the map."""

    name: str
    title: str
    promise: str
    minutes: str


def read_stop(notebook: Path) -> Stop:
    """What the map says of a notebook, from the notebook's first cells.

    Raises
    ------
    ValueError
        If its first cell is not a title and a sentence in italics, or no minutes are named.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    opening = re.match(r"# (.+\S)\s+\*([^*]+)\*\s", text)
    minutes = re.search(r"about \d+ minutes[^|\n]*", text)
    if not opening or not minutes:
        raise ValueError(f"{notebook.name}: expected a title, a promise in italics and minutes")
    return Stop(notebook.stem, opening[1], " ".join(opening[2].split()), minutes[0].strip())


def choices(lines: list[str]) -> dict[str, str]:
    """The figure that stands for each notebook, from the body of the directive."""
    pairs = (line.partition(":") for line in lines if line.strip())
    return {notebook.strip(): figure.strip() for notebook, _, figure in pairs}


def write_thumbnail(picture: Path, target: Path, width: int = THUMBNAIL_WIDTH) -> None:
    """Write a small copy of a picture."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((width, image.height), Image.Resampling.LANCZOS)
        small.save(target, optimize=True)


class CourseMap(SphinxDirective):
    """The map as a list: a picture, the title as a link, the promise, the minutes."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        figures = choices(list(self.content))
        notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
        if (named := sorted(figures)) != (there := [path.stem for path in notebooks]):
            raise self.error(f"course-map: expected a figure for each of {there}, got {named}")
        listing = nodes.enumerated_list(classes=["course-map"])
        for path in notebooks:
            self.env.note_dependency(str(path))
            listing += self._item(read_stop(path), figures[path.stem])
        return [listing]

    def _item(self, stop: Stop, figure: str) -> nodes.list_item:
        thumbnail = Path(self.env.srcdir) / "thumbnails" / f"{figure}.png"
        write_thumbnail(ROOT / "figures" / f"{figure}.png", thumbnail)
        picture = nodes.image(uri=f"/thumbnails/{figure}.png", alt=alt_text(figure))
        page = self.parse_inline(f"[{stop.title}](/notebooks/{stop.name}.ipynb)")[0]
        title = nodes.paragraph("", "", *page, classes=["course-map-title"])
        promise = nodes.paragraph("", stop.promise)
        minutes = nodes.paragraph("", f"It takes {stop.minutes}.", classes=["course-map-minutes"])
        words = nodes.container("", title, promise, minutes, classes=["course-map-words"])
        return nodes.list_item("", picture, words)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("course-map", CourseMap)
    return {"parallel_read_safe": True}
