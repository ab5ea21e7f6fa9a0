"""Which files of the repository become pages of the site, and links between them.

In the repository the pages lie in `docs/`, the notebooks beside it, and a link follows the folders.
On the site the pages of `docs/` lie on top. So each link is led to the place of its target there; a
link to a job file downloads it, and one to a file that the site does not have becomes plain text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PATTERNS = ("docs/*.md", "docs/teaching/*.md", "notebooks/[0-9]*.ipynb")
DOWNLOADS = ("docs/jobs/*",)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def place_on_site(file: PurePosixPath) -> PurePosixPath | None:
    """Where a file of the repository lies among the sources of the site, if it is one of them."""
    if not any(
        file.match(pattern) and len(file.parts) == pattern.count("/") + 1
        for pattern in (*PATTERNS, *DOWNLOADS)
    ):
        return None
    if file.parts[0] != "docs":
        return file
    inside = file.relative_to("docs")
    return inside.with_name("index.md") if inside.name == "README.md" else inside


def sources(root: Path = ROOT) -> dict[PurePosixPath, Path]:
    """Every file that becomes a page, by its place among the sources of the site."""
    return _found(PATTERNS, root)


def downloads(root: Path = ROOT) -> dict[PurePosixPath, Path]:
    """Every other file that the pages lead to, by its place there."""
    return _found(DOWNLOADS, root)


def _found(patterns: tuple[str, ...], root: Path) -> dict[PurePosixPath, Path]:
    found = sorted(file for pattern in patterns for file in root.glob(pattern))
    return {place_on_site(PurePosixPath(file.relative_to(root).as_posix())): file for file in found}


def follow_links(text: str, file: PurePosixPath, exists: Callable[[PurePosixPath], bool]) -> str:
    """Markdown of a file of the repository with its links as the site needs them.

    Parameters
    ----------
    text : str
    file : PurePosixPath
        Where the text stands, seen from the root of the repository.
    exists : function
        Whether there is such a file in the repository.

    Raises
    ------
    ValueError
        If a link leads to a file that is not there.
    """
    here = place_on_site(file).parent

    def follow(link: re.Match) -> str:
        mark, words, target, anchor = link.groups()
        if _ELSEWHERE.match(target):
            return link[0]
        wanted = PurePosixPath(os.path.normpath(file.parent / target))
        if not exists(wanted):
            raise ValueError(f"{file}: expected a file of the repository in the link, got {target}")
        place = place_on_site(wanted)
        if place is None:
            return words
        return f"{mark}[{words}]({PurePosixPath(os.path.relpath(place, here))}{anchor or ''})"

    pieces, end = [], 0
    for block in _FENCED.finditer(text):
        pieces += [_LINK.sub(follow, text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*pieces, _LINK.sub(follow, text[end:])])


def follow_links_of_notebook(
    text: str, file: PurePosixPath, exists: Callable[[PurePosixPath], bool]
) -> str:
    """`follow_links` in the cells of text of a notebook, given and returned as JSON."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = follow_links("".join(cell["source"]), file, exists)
    return json.dumps(notebook)


def _rewrite(app: Sphinx, docname: str, content: list[str]) -> None:
    ways = {".md": follow_links, ".ipynb": follow_links_of_notebook}
    for suffix, follow in ways.items():
        file = sources().get(PurePosixPath(f"{docname}{suffix}"))
        if file is not None:
            inside = PurePosixPath(file.relative_to(ROOT).as_posix())
            content[0] = follow(content[0], inside, lambda wanted: (ROOT / wanted).exists())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _rewrite)
    return {"parallel_read_safe": True}
