"""Small translations between the docstrings of `helpers` and reStructuredText.

A shape such as ``(*batch, d)`` would begin an emphasis, and a name between single backticks is
code, with a link to its description where it is a public name of the package.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import helpers

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LITERAL = re.compile(r"(``.+?``)")
_TUPLE = r"\((?:[^()]|\([^()]*\))*\)"
_SHAPE = re.compile(rf"(?<=shape ){_TUPLE}|(?<![\w`])(?=\([^()]*\*\w){_TUPLE}")
_NAME = re.compile(r"(?<![`:\w])`(\w+)(\(\))?`(?!`)")


def translate(line: str) -> str:
    """One line of a docstring as reStructuredText; what is literal already stays."""
    pieces = _LITERAL.split(line)
    pieces[::2] = [_NAME.sub(_link, _SHAPE.sub(r"``\g<0>``", piece)) for piece in pieces[::2]]
    return "".join(pieces)


def _link(name: re.Match) -> str:
    if name[1] in helpers.__all__:
        return f":py:obj:`~helpers.{name[1]}`"
    return f"``{name[1]}{name[2] or ''}``"


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]):
    lines[:] = map(translate, lines)
    if what == "property":
        # Napoleon takes what stands before a colon on the first line for a type. So the first line
        # is an empty comment.
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    # Before napoleon, which takes the sections of a docstring apart at priority 500.
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True}
