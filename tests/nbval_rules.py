"""How a newly computed notebook output may differ from the stored one: the two rules, and why.

Rule 1, text. Printed text, results and tables must be equal once every decimal number is taken
out, and each number must agree with the stored one. A decimal number has digits on both sides of
a point, or an exponent; integers, versions and everything else are text and must be equal.
Numbers may differ by ``RELATIVE_TOLERANCE``: the same arithmetic on another processor differs by
3e-7 in float32 and by up to 5e-5 after some thousand steps of training. A rounded number may
also fall on the other side of a rounding edge, so one unit in its last printed place is allowed
where that unit is at most ``COARSEST_UNIT`` of the value, and where the value is zero to the
printed digits. A number with one or two digits seldom meets an edge, and one unit of it would
hide a real change. On the machine that stored them, outputs are equal to the last digit.

Rule 2, figures. Both pictures are turned grey, reduced to ``THUMBNAIL`` pixels, and compared by
the root mean square of their differences on a scale of 0 to 255, which must stay below
``IMAGE_RMS``. Anti-aliasing differs between platforms by much less than that; a curve or an
ellipse that moves gives more. A figure that is missing, or is there too much, is a difference.
A letter, a mark or a thin line is too small for a mean over the figure. So no tile of ``TILE`` by
``TILE`` pixels may differ by ``TILE_LEVELS`` in any of its three colours: twice what was seen
without AVX, and little enough for nearly everything that ``python -m reliability bites`` alters.
This rests where letters are not drawn by the ``FREETYPE`` that matplotlib's wheels bring along.
A cell tagged ``ROUNDING`` draws rounding errors themselves, in float32. They are what they are on
one processor, and a third larger or smaller without AVX, where sums are taken in another order:
such a figure may differ by ``IMAGE_RMS_OF_ROUNDING``, half again as much as was seen, wherever it
does.

Left out of the comparison is what depends on the machine alone: a progress bar, which appears only
where it is slow, and what matplotlib says of its own cache where no home folder can be written.
"""

from __future__ import annotations

import base64
import io
import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache, lru_cache

import numpy as np
from PIL import Image

# Is told of every comparison: number or figure, the difference, its share of what is allowed.
LOG = logging.getLogger(__name__)
MEASURED = "%s %.3e %.3e"

RELATIVE_TOLERANCE = 1e-4
COARSEST_UNIT = 1e-2
THUMBNAIL = (160, 120)
IMAGE_RMS = 4.0
TILE = 3
TILE_LEVELS = 20.0
FREETYPE = "2.14.3"
ROUNDING = "shows-rounding"
IMAGE_RMS_OF_ROUNDING = 9.0

# Two points make a version, not a number; a point without a digit behind it ends a sentence, or
# is torch's way to print a float that is an integer exactly. The blanks before a number go with
# it, as they give way to its sign.
DECIMAL = re.compile(
    r"[ \t]*(?<![\w.])[-+]?(?:\d+\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?!\d|\.\d|[eE][-+]?\d)"
)
BLANKS = re.compile(r"[ \t]+")
TEXT_TYPES = ("stdout", "stderr", "evalue")
IMAGE_TYPES = ("image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_COMPARED = {"metadata", "traceback", "output_type", "name", "execution_count", WIDGET}
# tqdm writes `42%|####  | 42/100 [00:01<00:02]`, or `7it [00:03]` where it knows no total, and as
# a widget it has the same text, in older versions the repr of its box.
PROGRESS_LINE = re.compile(r"[^\r\n]*(?:\d+%\|.*\||\d+it) ?[^\r\n]*\[[^\r\n]*\][^\r\n]*[\r\n]*")
CACHE_LINE = re.compile(
    r"(?:mkdir -p failed for path|Matplotlib created a temporary cache directory at) [^\n]*\n?"
)
PROGRESS_BOX = re.compile(r"HBox\(children=\(HTML\(.*(?:Float|Int)Progress\(.*", re.DOTALL)


def unit_in_last_place(number: str) -> float:
    """What one more in the last printed digit adds: 0.01 for ``3.14``, 1e-7 for ``2.5e-6``."""
    mantissa, _, exponent = number.strip().lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals)


def relative(difference: float, size: float) -> float:
    """A difference as a part of a size; none is none, whatever the size."""
    return difference / size if difference else 0.0


def number_difference(computed: str, stored: str) -> str | None:
    """A sentence when two printed numbers disagree, else None."""
    a, b = float(computed), float(stored)
    unit = max(unit_in_last_place(computed), unit_in_last_place(stored))
    size = max(abs(a), abs(b))
    is_zero = min(abs(a), abs(b)) == 0.0
    allowed = RELATIVE_TOLERANCE * size
    if is_zero or unit <= COARSEST_UNIT * size:
        # A little more than one unit, since 0.3 - 0.2 is not 0.1 in binary.
        allowed = max(allowed, unit * (1 + 1e-6))
    LOG.debug(MEASURED, "number", relative(abs(a - b), size), relative(abs(a - b), allowed))
    if abs(a - b) <= allowed:
        return None
    return f"{computed.strip()} is not {stored.strip()} (allowed difference {allowed:.2g})"


def skeleton(text: str) -> list[str]:
    """The lines of a text without its decimal numbers, and with single blanks."""
    return [BLANKS.sub(" ", line).strip() for line in DECIMAL.sub(" #.# ", text).splitlines()]


def text_difference(computed: str, stored: str) -> str | None:
    """A sentence when two texts differ by more than rule 1 allows, else None."""
    here, there = skeleton(computed), skeleton(stored)
    for number, (new, old) in enumerate(zip(here, there, strict=False), start=1):
        if new != old:
            return f"line {number} reads {new!r}, stored was {old!r}"
    if len(here) != len(there):
        return f"{len(here)} lines of text, stored were {len(there)}"
    pairs = zip(DECIMAL.findall(computed), DECIMAL.findall(stored), strict=True)
    return next(filter(None, (number_difference(new, old) for new, old in pairs)), None)


@lru_cache(maxsize=2)  # the stored picture is often compared with one after the other
def pixels_of(png: str) -> Image.Image:
    """A base64 image in red, green and blue."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        # Transparent pixels are shown on white.
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


def grey_thumbnail(image: Image.Image) -> np.ndarray:
    """Pixels from 0 to 255, grey and small: (height, width)."""
    return np.asarray(image.convert("L").resize(THUMBNAIL, Image.Resampling.BOX), dtype=float)


def root_mean_square(new: Image.Image, old: Image.Image) -> float:
    """Grey levels by which two images differ on the whole."""
    return math.sqrt(((grey_thumbnail(new) - grey_thumbnail(old)) ** 2).mean())


def largest_tile(new: Image.Image, old: Image.Image) -> float:
    """Levels by which two images differ in the tile and colour in which they differ most."""
    if new.size != old.size:
        return 255.0
    tiles = [np.asarray(image.reduce(TILE), dtype=float) for image in (new, old)]
    return float(np.abs(tiles[0] - tiles[1]).max())


@cache
def draws_letters_alike() -> bool:
    """Whether letters are drawn here as where the figures were stored."""
    from matplotlib.ft2font import __freetype_version__

    return __freetype_version__ == FREETYPE


def image_difference(computed: str, stored: str, shows_rounding: bool = False) -> str | None:
    """A sentence when two base64 images differ by more than rule 2 allows, else None."""
    allowed = IMAGE_RMS_OF_ROUNDING if shows_rounding else IMAGE_RMS
    rms = tile = 0.0
    if computed.strip() != stored.strip():
        new, old = pixels_of(computed), pixels_of(stored)
        rms = root_mean_square(new, old)
        if not shows_rounding and draws_letters_alike():
            tile = largest_tile(new, old)
    LOG.debug(MEASURED, "figure", rms, max(rms / allowed, tile / TILE_LEVELS))
    if rms >= allowed:
        return (
            f"the figure differs from the stored one by {rms:.1f} grey levels (allowed {allowed})"
        )
    if tile >= TILE_LEVELS:
        return f"a place of the figure differs by {tile:.0f} levels (allowed {TILE_LEVELS:.0f})"
    return None


def is_progress_widget(output: dict) -> bool:
    data = output.get("data", {})
    text = data.get("text/plain", "")
    return WIDGET in data and bool(PROGRESS_LINE.fullmatch(text) or PROGRESS_BOX.fullmatch(text))


def without_machine(outputs: Iterable[dict]) -> Iterable[dict]:
    """The outputs less what depends on the machine: a progress bar, a word on a cache."""
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] == "stderr":
            text = CACHE_LINE.sub("", PROGRESS_LINE.sub("", output["text"]))
            if text.strip():
                yield {**output, "text": text}
        elif not is_progress_widget(output):
            yield output


def by_kind(outputs: Iterable[dict]) -> dict[str, list]:
    """What is compared, under its stream's name, MIME type, or field of an error.

    A stream is one text: where a progress bar stood between two pieces, nothing is left of it.
    """
    kinds = defaultdict(list)
    for output in without_machine(outputs):
        if output["output_type"] == "stream":
            said = "".join([*kinds[output["name"]], output["text"]])
            kinds[output["name"]] = [said]
            continue
        for key, value in {**output, **output.get("data", {})}.items():
            if key not in NOT_COMPARED and key != "data":
                kinds[key].append(value)
    return kinds


def difference(kind: str, computed: object, stored: object, shows_rounding: bool) -> str | None:
    """A sentence when two values of one kind of output differ, else None."""
    if kind in IMAGE_TYPES:
        return image_difference(computed, stored, shows_rounding)
    if kind in TEXT_TYPES or (kind.startswith("text/") and isinstance(computed, str)):
        return text_difference(computed, stored)
    return None if computed == stored else f"{computed!r} is not {stored!r}"


def output_differences(
    computed: Iterable[dict], stored: Iterable[dict], tags: Iterable[str] = ()
) -> list[str]:
    """Every difference between the outputs of a cell, a sentence each.

    Parameters
    ----------
    computed, stored : iterables of outputs
        As in a notebook file, the streams of one name merged into one.
    tags : iterable of str, optional
        Of the cell.

    Returns
    -------
    list of str
        Empty when the outputs agree.
    """
    shows_rounding = ROUNDING in tags
    here, there = by_kind(computed), by_kind(stored)
    sentences = []
    for kind in sorted(here | there):
        new, old = here.get(kind, []), there.get(kind, [])
        if len(new) != len(old):
            sentences.append(f"{kind}: {len(new)} outputs, stored were {len(old)}")
        pairs = zip(new, old, strict=False)
        told = [difference(kind, a, b, shows_rounding) for a, b in pairs]
        sentences += [f"{kind}: {sentence}" for sentence in told if sentence]
    return sentences
