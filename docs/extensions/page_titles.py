"""Titles that say on the site what a file's place says in the repository.

The teacher's notes bear the name of their notebook, and the cheat sheet that of the course.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.transforms import SphinxTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FIRST_WORDS = {r"teaching/\d\d_": "Teaching ", "cheat_sheet$": "Cheat sheet · "}


def first_words(docname: str) -> str:
    """What the title of a page begins with, besides what its file says."""
    found = (words for pattern, words in _FIRST_WORDS.items() if re.match(pattern, docname))
    return next(found, "")


class CompleteTitles(SphinxTransform):
    """Put the first words before the title of a page."""

    default_priority = 100

    def apply(self) -> None:
        if words := first_words(self.env.docname):
            next(self.document.findall(nodes.title)).insert(0, nodes.Text(words))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(CompleteTitles)
    return {"parallel_read_safe": True}
