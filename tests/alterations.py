"""Statements of a notebook altered one at a time, to see whether the tests would notice.

Two judges are asked: `prose_numbers.prose_problems` about numbers in the prose, and
`nbval_rules.output_differences` about what is stored below the cells, with the stored outputs in
the place of newly computed ones. No kernel is started.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from nbformat import NotebookNode
from nbval_rules import DECIMAL, RELATIVE_TOLERANCE, output_differences, unit_in_last_place
from PIL import Image
from prose_numbers import (
    LEFT_OUT,
    Evidence,
    ProseNumber,
    altered,
    prose_numbers,
    prose_problems,
    unit_of,
    value_of,
)

from workshop.anatomy import is_code, parts, tags

IGNORED = "nbval-ignore-output"
INTEGER = re.compile(r"\d+")
PATCH = 1 / 40  # of the width of a figure
LONGEST = 10_000_000  # prose has no longer integers


@dataclass(frozen=True)
class Trial:
    """One alteration.

    Attributes
    ----------
    place : str
        The cell.
    kind : str
        What was altered: a kind of number, of output, or of change to a picture.
    what : str
        The statement, and what became of it.
    noticed : str
        What it took: ``"one unit"``, ``"two units"`` and the like; empty if nothing was noticed.
    """

    place: str
    kind: str
    what: str
    noticed: str


# Prose -------------------------------------------------------------------------------------------


def prose_trials(notebook: NotebookNode) -> Iterator[Trial]:
    """Each number in the prose, its last digit one higher and one lower; both are to be noticed."""
    evidence = Evidence.of(notebook)
    for place, cell in enumerate(notebook.cells):
        source = cell.source
        if cell.cell_type != "markdown" or source.startswith(tuple(f"## {x}" for x in LEFT_OUT)):
            continue
        for found in prose_numbers(source):
            noticed = all(
                is_noticed_in_prose(notebook, evidence, cell, found, other)
                for other in altered(found.text)
            )
            words = source[max(0, found.start - 30) : found.stop + 20]
            yield Trial(f"cell {place}", found.kind, words, "one unit" if noticed else "")


def replacement_trials(notebook: NotebookNode) -> Iterator[Trial]:
    """Each integer that the prose claims, with every other integer of its part in its place.

    The part is that of `Evidence.for_part`: a number that another cell of it shows is the slip that
    a look for the value alone would let pass.
    """
    evidence = Evidence.of(notebook)
    for part in parts(notebook):
        others = integers_among(evidence.for_part(part))
        for cell in part.cells:
            if cell.cell_type != "markdown" or part.heading in LEFT_OUT:
                continue
            for found in filter(is_integer_claim, prose_numbers(cell.source)):
                for other in others - {int(value_of(found.text))}:
                    noticed = is_noticed_in_prose(notebook, evidence, cell, found, str(other))
                    words = cell.source[max(0, found.start - 30) : found.stop + 20]
                    what = f"{words}: {other}"
                    yield Trial(part.heading, "replacement", what, "yes" if noticed else "")


def integers_among(values: frozenset[Decimal]) -> set[int]:
    """Those of some numbers that prose would write in digits."""
    whole = {int(each) for each in values if each == each.to_integral_value()}
    return {each for each in whole if 0 <= each < LONGEST}


def is_integer_claim(found: ProseNumber) -> bool:
    """Whether a number in the prose is a claim without decimals."""
    return found.kind == "claim" and found.text[-1].isdigit() and unit_of(found.text) == 1


def is_noticed_in_prose(
    notebook: NotebookNode, evidence: Evidence, cell: NotebookNode, found: ProseNumber, other: str
) -> bool:
    """Whether the check of the prose complains of another number in the place of one."""
    source = cell.source
    cell.source = source[: found.start] + other + source[found.stop :]
    try:
        return bool(prose_problems(notebook, evidence))
    finally:
        cell.source = source


# Printed numbers ---------------------------------------------------------------------------------


def printed_texts(cell: NotebookNode) -> Iterator[tuple[dict, str]]:
    """Where texts stand in the outputs of a cell: what holds each, and under which name."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output, "text"
        elif output.output_type == "error":
            yield output, "evalue"
        else:
            for kind, text in output.data.items():
                if kind.startswith("text/") and isinstance(text, str):
                    yield output.data, kind


def number_trials(notebook: NotebookNode) -> Iterator[Trial]:
    """Each number that is printed: an integer one more, a decimal by a growing step."""
    for place, cell in code_cells(notebook):
        stored = deepcopy(cell.outputs)
        for holder, name in printed_texts(cell):
            text = holder[name]
            for start, stop, kind, steps in printed_numbers(text):
                noticed = ""
                if IGNORED in tags(cell):
                    kind = "not compared"
                    steps = ()
                for step, other in steps:
                    holder[name] = text[:start] + other + text[stop:]
                    if output_differences(cell.outputs, stored, tags(cell)):
                        noticed = step
                        break
                holder[name] = text
                yield Trial(f"cell {place}", kind, text[max(0, start - 20) : stop + 20], noticed)


def code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """The code cells, each with its number among all cells."""
    return [(place, cell) for place, cell in enumerate(notebook.cells) if is_code(cell)]


Steps = tuple[tuple[str, str], ...]


def printed_numbers(text: str) -> Iterator[tuple[int, int, str, Steps]]:
    """Each number of a printed text: where it stands, its kind, and ever larger alterations."""
    end = 0
    for match in DECIMAL.finditer(text):
        yield from integers(text, end, match.start())
        written = match[0].strip()
        start = match.end() - len(written)
        yield start, match.end(), "decimal", decimal_steps(written)
        end = match.end()
    yield from integers(text, end, len(text))


def integers(text: str, start: int, stop: int) -> Iterator[tuple[int, int, str, Steps]]:
    """The integers in a stretch of text, each to be one more."""
    for match in INTEGER.finditer(text, start, stop):
        yield (*match.span(), "integer", (("one unit", str(int(match[0]) + 1)),))


def decimal_steps(written: str) -> Steps:
    """A decimal number one and two units away, and by just more than the relative tolerance."""
    unit, value = unit_in_last_place(written), abs(float(written))
    beyond = int(1.01 * RELATIVE_TOLERANCE * value / unit) + 2
    steps = {"one unit": 1, "two units": 2, "the tolerance": beyond}
    return tuple((name, moved(written, units)) for name, units in steps.items())


def moved(written: str, units: int) -> str:
    """A decimal number with its mantissa some units of its last place farther from zero."""
    mantissa, mark, exponent = re.fullmatch(r"([-+]?[\d.]+)([eE]?)(.*)", written).groups()
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("+-")
    decimals = len(digits.partition(".")[2])
    value = int(digits.replace(".", "")) + units
    padded = str(value).zfill(decimals + 1)
    body = f"{padded[:-decimals]}.{padded[-decimals:]}" if decimals else padded
    return f"{sign}{body}{mark}{exponent}"


# Outputs and pictures ----------------------------------------------------------------------------


def output_trials(notebook: NotebookNode) -> Iterator[Trial]:
    """Each output removed, and given twice."""
    for place, cell in code_cells(notebook):
        if IGNORED in tags(cell):
            continue
        for number, output in enumerate(cell.outputs):
            less = cell.outputs[:number] + cell.outputs[number + 1 :]
            kind = "figure" if is_picture(output) else "printed output"
            yield judged(place, cell, f"a {kind} removed", less)
            if output.output_type != "stream":  # two pieces of one stream are one
                yield judged(place, cell, f"a {kind} twice", [*cell.outputs, output])


def is_picture(output: NotebookNode) -> bool:
    """Whether an output is a picture."""
    return "image/png" in output.get("data", {})


def judged(place: int, cell: NotebookNode, kind: str, outputs: list[NotebookNode]) -> Trial:
    """The trial of other outputs in the place of those that are stored."""
    told = output_differences(outputs, cell.outputs, tags(cell))
    return Trial(f"cell {place}", kind, cell.source[:60], "yes" if told else "")


def picture_trials(notebook: NotebookNode) -> Iterator[Trial]:
    """Each picture in the place of the next, with a patch painted over it, and moved."""
    cells = [
        (place, cell, number)
        for place, cell in code_cells(notebook)
        if IGNORED not in tags(cell)
        for number, output in enumerate(cell.outputs)
        if is_picture(output)
    ]
    pictures = [cell.outputs[number].data["image/png"] for _, cell, number in cells]
    for at, (place, cell, number) in enumerate(cells):
        others = {"a figure in the place of another": pictures[at - 1]}
        pixels = decoded(pictures[at])
        others |= {kind: encoded(change(pixels)) for kind, change in PAINTED.items()}
        for kind, other in others.items():
            outputs = deepcopy(cell.outputs)
            outputs[number].data["image/png"] = other
            yield judged(place, cell, kind, outputs)


def decoded(png: str) -> np.ndarray:
    """The pixels of a picture in base64: (height, width, 3)."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image.convert("RGB"))


def encoded(pixels: np.ndarray) -> str:
    """A picture in base64."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=0)  # it is only compared
    return base64.b64encode(buffer.getvalue()).decode()


def wiped(pixels: np.ndarray) -> np.ndarray:
    """With a white patch over its fullest place."""
    side = max(4, int(pixels.shape[1] * PATCH))
    ink = 255.0 - pixels.mean(axis=-1)
    height, width = (length // side for length in ink.shape)
    tiles = ink[: height * side, : width * side].reshape(height, side, width, side).sum((1, 3))
    row, column = np.unravel_index(tiles.argmax(), tiles.shape)
    other = pixels.copy()
    other[row * side : (row + 1) * side, column * side : (column + 1) * side] = 255
    return other


def shifted(pixels: np.ndarray) -> np.ndarray:
    """Moved to the right by a hundredth of its width."""
    return np.roll(pixels, max(1, pixels.shape[1] // 100), axis=1)


def is_grey(png: bytes) -> bool:
    """Whether a picture has no colours that could be taken away."""
    pixels = decoded(base64.b64encode(png).decode())
    return bool((np.ptp(pixels, axis=-1) == 0).all())


def bleached(pixels: np.ndarray) -> np.ndarray:
    """In grey."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)


PAINTED = {
    "a patch of a fortieth of its width wiped": wiped,
    "moved by 1 % of its width": shifted,
    "without its colours": bleached,
}
