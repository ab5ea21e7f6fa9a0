"""The parts of a notebook: its opening, its sections, its exercises and what stands between."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"

PREDICT = "**Predict before you run.**"
REMEMBER = "**Remember.**"
SECTION = re.compile(r"## (?P<heading>(?P<number>\d+) · .*\S)")
EXERCISE = re.compile(r"### (?P<heading>Exercise (?P<number>\d\d\.\d) · .*\S)")
OTHER = re.compile(r"## (?P<heading>(?P<number>).*\S)")
KINDS = {"section": SECTION, "exercise": EXERCISE, "text": OTHER}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(<?([^)\s>]+)>?[^)]*\)")


@dataclass(frozen=True)
class Part:
    """Neighbouring cells of a notebook that are kept or left out together.

    Attributes
    ----------
    kind : str
        ``"opening"`` (title, table, set-up), ``"section"`` (a numbered one), ``"exercise"``, or
        ``"text"`` (recap, the exercises' summary, what next, references).
    heading : str
        Without its marks, as ``"1 · What does a covariance matrix look like?"``.
    number : str
        Of a section (``"1"``) or of an exercise (``"01.2"``), else empty.
    cells : tuple of NotebookNode
        The first one holds the heading.
    """

    kind: str
    heading: str
    number: str
    cells: tuple[NotebookNode, ...]

    @property
    def is_core(self) -> bool:
        """Whether the part belongs to the shortest workshop; what has no tag always does."""
        return "optional" not in tags(self.cells[0])


def read_notebook(path: Path) -> NotebookNode:
    """The notebook in a file, in the format of nbformat 4."""
    return nbformat.read(path, as_version=4)


def course_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks of the course in their order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def parts(notebook: NotebookNode) -> list[Part]:
    """Cut a notebook into its parts; together they hold every cell, in order.

    Raises
    ------
    ValueError
        If the notebook has no cell before its first section, where its title belongs.
    """
    if not notebook.cells or _kind_and_match(notebook.cells[0]):
        raise ValueError("notebook: expected a title before the first section, got none")
    starts = [0] + [i for i, cell in enumerate(notebook.cells) if _kind_and_match(cell)]
    ends = [*starts[1:], len(notebook.cells)]
    return [_part(notebook.cells[i:j]) for i, j in zip(starts, ends, strict=True)]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def is_code(cell: NotebookNode, *tagged: str) -> bool:
    """Whether it is a code cell, and has one of the tags if any are given."""
    return cell.cell_type == "code" and (not tagged or bool(set(tagged) & set(tags(cell))))


def without_code(text: str) -> str:
    """Markdown without its fenced blocks; a span of code or a formula counts as the word `x`."""
    text = re.sub(r"^(```|~~~).*?^\1", " ", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`+[^`]+`+", " x ", text)
    text = re.sub(r"\$\$.+?\$\$", " x ", text, flags=re.DOTALL)
    text = re.sub(r"(?<![\\$])\$[^$\n]+\$", " x ", text)
    return re.sub(r"<[^>]+>", " ", text)


def prose(text: str) -> str:
    """The words of markdown that a reader reads: no code, no formulas, no addresses."""
    return LINK.sub(r"\2", without_code(text))


def count_words(cells: list[NotebookNode] | tuple[NotebookNode, ...]) -> int:
    """Words of prose in the markdown cells; a formula or a span of code is one word."""
    texts = [prose(cell.source) for cell in cells if cell.cell_type == "markdown"]
    return sum(len(re.findall(r"\w[\w'’-]*", text)) for text in texts)


def lines_of_code(cell: NotebookNode) -> int:
    """Lines of a cell that are not empty."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def remember(part: Part) -> str:
    """What a section asks to remember: the paragraph with that mark, empty if there is none."""
    texts = [cell.source for cell in part.cells if cell.cell_type == "markdown"]
    paragraphs = [paragraph.strip() for text in texts for paragraph in text.split("\n\n")]
    return next((p for p in paragraphs if p.startswith(REMEMBER)), "")


def _kind_and_match(cell: NotebookNode) -> tuple[str, re.Match] | None:
    if cell.cell_type != "markdown" or not cell.source.startswith("#"):
        return None
    matches = ((kind, pattern.match(cell.source)) for kind, pattern in KINDS.items())
    return next(((kind, match) for kind, match in matches if match), None)


def _part(cells: list[NotebookNode]) -> Part:
    found = _kind_and_match(cells[0])
    if found is None:
        title = cells[0].source.partition("\n")[0].removeprefix("# ").strip()
        return Part("opening", title, "", tuple(cells))
    kind, match = found
    return Part(kind, match["heading"], match["number"], tuple(cells))
