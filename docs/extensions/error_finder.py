"""Labels for the code on the page "find your error message": what fails, and what works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.transforms import SphinxTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LABELS = {"bad": "Goes wrong", "good": "Works"}


class LabelCode(SphinxTransform):
    """Put a label above both blocks of code of each entry, and mark the entries for the search."""

    default_priority = 400

    def apply(self) -> None:
        if self.env.docname != "errors":
            return
        for entry in entries(self.document):
            entry["classes"].append("error-entry")
            blocks = [node for node in entry.children if isinstance(node, nodes.literal_block)]
            code = [block for block in blocks if block.get("language") != "text"]
            for block, (kind, words) in zip(code, LABELS.items(), strict=True):
                label = nodes.paragraph("", words, classes=["code-label", kind])
                entry.insert(entry.index(block), label)


def entries(document: nodes.document) -> Iterator[nodes.section]:
    """The sections of the third level."""
    for section in document.findall(nodes.section):
        if isinstance(section.parent.parent, nodes.section):
            yield section


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(LabelCode)
    return {"parallel_read_safe": True}
