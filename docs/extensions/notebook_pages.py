"""What the page of a notebook has beyond its cells.

Pictures get their alternative text, their number and their caption from `docs/alt_text.toml`,
solutions are folded, and the notebook itself can be downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from workshop.captions import alt_texts, captions, figure_names, numbered_caption

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LOGGER = logging.getLogger(__name__)
_SUMMARY = '<summary aria-label="Toggle hidden content">'  # what myst-nb writes


def alt_text(name: str) -> str:
    """The alternative text of one figure; where there is none, a warning and the name."""
    if name not in alt_texts():
        LOGGER.warning("docs/alt_text.toml: expected a line for the figure %r", name)
    return alt_texts().get(name, name)


def is_notebook(docname: str) -> bool:
    """Whether a page is that of a notebook."""
    return docname.startswith("notebooks/")


class DescribePictures(SphinxTransform):
    """Give each picture below a cell the words of the figure that the cell saves."""

    default_priority = 400

    def apply(self) -> None:
        for cell in _cells(self.document):
            pictures = list(cell.findall(nodes.image))
            names = figure_names(_code(cell))
            if len(pictures) != len(names) and pictures:
                LOGGER.warning(
                    "expected a saved figure for each picture, got %d pictures and the names %s",
                    len(pictures),
                    names,
                    location=cell,
                )
            for picture, name in zip(pictures, names, strict=False):
                picture["alt"] = alt_text(name)
                if name in captions():
                    _frame(picture, *numbered_caption(name))
                else:
                    LOGGER.warning("docs/alt_text.toml: expected a caption for %r", name)


class FoldSolutions(SphinxTransform):
    """Fold what JupyterLab folds: the source of a cell that is marked `source_hidden`."""

    default_priority = 400

    def apply(self) -> None:
        for cell in _cells(self.document):
            if cell["cell_metadata"].get("jupyter", {}).get("source_hidden"):
                cell["hide_mode"] = "input"
                cell["prompt_show"] = "Show the solution"
                cell["prompt_hide"] = "Hide the solution"


class OfferDownload(SphinxTransform):
    """Put a link to the notebook itself below its title."""

    default_priority = 400

    def apply(self) -> None:
        docname = self.env.docname
        if not is_notebook(docname):
            return
        name = f"{docname.rpartition('/')[2]}.ipynb"
        link = addnodes.download_reference("", "", reftarget=f"/{docname}.ipynb", refdoc=docname)
        link += nodes.inline("", f"Download {name}")
        line = nodes.paragraph("", "", link, nodes.Text(", to run and change."))
        line["classes"] = ["notebook-download"]
        title = next(self.document.findall(nodes.title))
        title.parent.insert(title.parent.index(title) + 1, line)


def _name_summaries(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document
) -> None:
    """Let what is folded be called by the words that everybody sees."""
    if doctree is not None:
        context["body"] = context["body"].replace(_SUMMARY, "<summary>")


def _frame(picture: nodes.image, number: str, sentence: str) -> None:
    """Put a picture into a figure with its number and its caption."""
    inside = picture.parent
    place = inside.index(picture)
    picture["scale"] = 100  # with a size, Sphinx links it to its file: on a phone it is small
    words = nodes.caption("", "", nodes.strong("", f"{number}."), nodes.Text(f" {sentence}"))
    figure = nodes.figure("", picture.deepcopy(), words, ids=[nodes.make_id(number)])
    inside[place] = figure


def _cells(document: nodes.document) -> Iterator[nodes.container]:
    for container in document.findall(nodes.container):
        if container.get("nb_element") == "cell_code":
            yield container


def _code(cell: nodes.container) -> str:
    return next(cell.findall(nodes.literal_block)).astext()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for transform in (DescribePictures, FoldSolutions, OfferDownload):
        app.add_transform(transform)
    app.connect("html-page-context", _name_summaries)
    return {"parallel_read_safe": True}
