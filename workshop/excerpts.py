"""What of a cell is shown on a slide: the lines that fit, and nothing that gives an answer away."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CODE_BOX = (1100, 450)
"""Pixels that code and what it prints may fill, of the 1280 by 720 of a slide."""
CAPTION_HEIGHT = 170
"""Of these, what a few sentences below the output take."""
BLOCK_HEIGHT = 46
"""And what the edges of one more block of code take."""
CODE_SIZES = (20, 26)
"""Smaller letters cannot be read from the last row."""
PRINTED_SIZES = (20, 32)
"""Where the output stands alone."""
CHARACTER_WIDTH, LINE_HEIGHT = 0.603, 1.35
"""Of a monospaced letter, in units of the size of the font."""
MAX_LINES = 10
"""Of code, empty ones not counted."""
BEGINNING_LEFT_OUT = "# ... (the beginning stands in the notebook)"

_STANZA_END = re.compile(r"\n{2,}(?=\S)")
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Excerpt:
    """What is shown of a cell.

    Attributes
    ----------
    code : str
        Empty where no part of it fits: then the output stands alone.
    printed : str
        What the cell prints.
    asserted : str
        Code that waits until the output is seen.
    """

    code: str = ""
    printed: str = ""
    asserted: str = ""

    @property
    def size(self) -> int:
        """The largest size of the font, in pixels, at which all of it fits."""
        low, high = CODE_SIZES if self.code else PRINTED_SIZES
        return next((size for size in range(high, low, -1) if self._fits_at(size)), low)

    @property
    def fits(self) -> bool:
        """Whether it fits in letters that can be read from the last row."""
        return self._fits_at(CODE_SIZES[0])

    def _fits_at(self, size: int) -> bool:
        width, height = CODE_BOX
        if not self.code:
            height -= CAPTION_HEIGHT
        elif self.asserted:
            height -= BLOCK_HEIGHT
        columns = int(width / (CHARACTER_WIDTH * size))
        # Lines that are printed may wrap; lines of code may not.
        lengths = [len(line) for line in f"{self.code}\n{self.asserted}".strip().splitlines()]
        wrapped = sum(max(1, -(-len(line) // columns)) for line in self.printed.splitlines())
        is_low_enough = (len(lengths) + wrapped) * LINE_HEIGHT * size <= height
        return is_low_enough and max(lengths, default=0) <= columns


def excerpt(source: str, printed: str, *, holds_back: bool = False) -> Excerpt:
    """The lines of a cell for a slide, and what it prints.

    Parameters
    ----------
    source : str
        Its code. Imports stay in the notebook; so does the beginning, and at last all of the
        code, where it does not fit.
    printed : str
        Its output; if all would not fit, the last lines are left out.
    holds_back : bool, optional
        Whether assertions wait until the output is seen, and a line that prints all of it word
        for word is not shown as code.
    """
    source, _ = _taken_out(source, _stays_in_the_notebook)
    asserted = ""
    if holds_back:
        source, _ = _taken_out(source, lambda node: _says(node, printed))
        source, asserted = _taken_out(source, _asserts)
    whole = Excerpt(_narrowed(source), printed, _narrowed(asserted))
    return next(filter(lambda found: found.fits, _shorter_and_shorter(whole)), _clipped(printed))


def _shorter_and_shorter(whole: Excerpt) -> Iterator[Excerpt]:
    stanzas = [stanza for stanza in _STANZA_END.split(whole.code) if stanza.strip()]
    for first in range(len(stanzas)):
        kept = stanzas[first:]
        if sum(bool(line.strip()) for stanza in kept for line in stanza.splitlines()) > MAX_LINES:
            continue
        code = "\n\n".join([BEGINNING_LEFT_OUT, *kept] if first else kept)
        yield Excerpt(code, whole.printed, whole.asserted)
        yield Excerpt(code, whole.printed)


def _clipped(printed: str) -> Excerpt:
    lines = printed.splitlines()
    if Excerpt(printed=printed).fits:
        return Excerpt(printed=printed)
    while lines and not Excerpt(printed="\n".join([*lines, "..."])).fits:
        lines.pop()
    return Excerpt(printed="\n".join([*lines, "..."]))


def _narrowed(code: str) -> str:
    """Code whose lines lose their comment where they are too long with it."""
    columns = int(CODE_BOX[0] / (CHARACTER_WIDTH * CODE_SIZES[0]))
    lines = code.strip("\n").splitlines()
    return "\n".join(_COMMENT.sub("", line) if len(line) > columns else line for line in lines)


def _taken_out(source: str, is_meant: Callable[[ast.stmt], bool]) -> tuple[str, str]:
    """Code without some statements, and those statements."""
    found = list(_outermost(ast.parse(source).body, is_meant))
    lines = source.splitlines()
    taken = [range(node.lineno - 1, node.end_lineno) for node in found]
    gone = {number for numbers in taken for number in numbers}
    kept = [line for number, line in enumerate(lines) if number not in gone]
    out = [
        line[node.col_offset :]
        for node, numbers in zip(found, taken, strict=True)
        for line in lines[numbers.start : numbers.stop]
    ]
    return "\n".join(kept).strip("\n"), "\n".join(out)


def _outermost(body: list[ast.stmt], is_meant: Callable[[ast.stmt], bool]) -> Iterator[ast.stmt]:
    """The statements that are meant; a block of nothing else is taken as a whole."""
    for node in body:
        inner = getattr(node, "body", [])
        if is_meant(node):
            yield node
        elif inner and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            found = list(_outermost(inner, is_meant))
            yield from [node] if found == inner else found


def _called(node: ast.stmt) -> str:
    """The function that a statement calls, empty if it does something else."""
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return ast.unparse(node.value.func) if is_call else ""


def _stays_in_the_notebook(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom) or _called(node) == "show_source"


def _asserts(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assert) or _called(node) == "torch.testing.assert_close"


def _says(node: ast.stmt, printed: str) -> bool:
    if _called(node) != "print":
        return False
    arguments = node.value.args
    return len(arguments) == 1 and getattr(arguments[0], "value", None) == printed
