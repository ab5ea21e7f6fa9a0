"""What is said of each figure: its alternative text, its caption, and its number.

The words stand in ``docs/alt_text.toml``; the website, the slides and the copies for learners take
them from here. Figures are numbered by the notebook that draws them, in the order in which it does.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "docs" / "alt_text.toml"
_SAVED = re.compile(r"""["'](\d\d_\w+)["']""")


def figure_names(code: str) -> list[str]:
    """Names under which a cell saves its figures, in the order of the code."""
    return _SAVED.findall(code)


def alt_texts() -> dict[str, str]:
    """What each figure shows, in words for those who cannot see it, by its name."""
    return _tables()["figures"]


def captions() -> dict[str, str]:
    """The sentence below each figure, by the name of the figure."""
    return _tables()["captions"]


def alt_text(figure: str) -> str:
    """What a figure shows, in words for those who cannot see it.

    Raises
    ------
    ValueError
        If there are no words for it.
    """
    return _entry("figures", figure)


def numbered_caption(figure: str) -> tuple[str, str]:
    """The number of a figure of the notebooks, as ``"Figure 3.2"``, and the sentence below it.

    Raises
    ------
    ValueError
        If there is no sentence for it, or no notebook draws it.
    """
    sentence = _entry("captions", figure)
    if figure not in numbers():
        raise ValueError(f"figure: expected one that a notebook draws, got {figure!r}")
    return f"Figure {numbers()[figure]}", sentence


@cache
def numbers() -> dict[str, str]:
    """The number of each figure that a notebook draws, as ``"3.2"``, by its name."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        names = _drawn(json.loads(path.read_text(encoding="utf-8"))["cells"])
        found |= {name: f"{int(path.name[:2])}.{at}" for at, name in enumerate(names, 1)}
    return found


def _drawn(cells: list[dict]) -> list[str]:
    """The figures below the cells of a notebook, in their order."""
    return [
        name
        for cell in cells
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        for name in figure_names("".join(cell["source"]))
    ]


@cache
def _tables() -> dict[str, dict[str, str]]:
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


def _entry(table: str, figure: str) -> str:
    try:
        return _tables()[table][figure]
    except KeyError:
        place = f"[{table}] in docs/{WORDS.name}"
        raise ValueError(f"figure: expected a name of {place}, got {figure!r}") from None
