"""Figures drawn again with one thing altered, to see which alterations the comparison notices.

A kernel that imports this module and calls `install` draws every figure of a notebook as ever, and
then once more for each alteration; the altered ones are written to a folder, named by figure, kind
and number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SHIFT = 0.01  # of the height of the axes
NOTHING = "nothing"  # altered: shows that the figure is drawn alike twice
NAME = "{figure}--{kind}--{number}.png"
# One alteration: its kind, what makes it, and what takes it back.
Alteration = tuple[str, Callable[[], None], Callable[[], None]]


def install(folder: Path) -> None:
    """Let `save_figure` draw the altered figures, too, into a folder."""
    from helpers.plotting import style

    as_ever, write = style._png_bytes, style._write_png

    def draw(fig: Figure) -> bytes:
        png = as_ever(fig)
        draw.altered = list(altered_figures(fig, as_ever))
        return png

    def keep(png: bytes, name: str) -> None:
        write(png, name)
        for number, (kind, other) in enumerate(draw.altered):
            file = NAME.format(figure=name, kind=kind, number=number)
            (folder / file).write_bytes(other)

    style._png_bytes, style._write_png = draw, keep


def altered_figures(
    fig: Figure, png_bytes: Callable[[Figure], bytes]
) -> Iterator[tuple[str, bytes]]:
    """The kind of each alteration of a figure, and the figure with it."""
    fig.set_layout_engine("none")  # what is not altered stays where it is
    for kind, make, take_back in alterations(fig):
        make()
        yield kind, png_bytes(fig)
        take_back()


def alterations(fig: Figure) -> Iterator[Alteration]:
    """Everything that is altered in a figure, one at a time."""
    yield NOTHING, lambda: None, lambda: None
    for ax in fig.axes:
        for line in ax.lines:
            yield from of_line(line, ax)
        for artist in [*ax.patches, *ax.collections]:
            yield moved(artist, ax)
            yield removed(artist)
        for collection in ax.collections:
            yield from of_points(collection)
        for image in ax.images:
            yield from of_image(image)
        yield from of_texts(ax)
    legends = [ax.get_legend() for ax in fig.axes] + list(fig.legends)
    for legend in filter(None, legends):
        for text in legend.get_texts():
            yield reworded(text, "a letter of a legend")


def of_line(line: Artist, ax: Axes) -> Iterator[Alteration]:
    """A line moved, gone, recoloured, dashed, and without one of its marks."""
    from helpers.plotting import COLORS

    is_drawn = line.get_linestyle() not in ("None", "", " ")
    yield moved(line, ax)
    yield removed(line)
    was = line.get_color()
    other = next(each for each in COLORS.values() if each != was)
    yield "a line of another colour", lambda: line.set_color(other), lambda: line.set_color(was)
    if is_drawn:
        style = line.get_linestyle()
        new = "--" if style == "-" else "-"
        make, back = (lambda: line.set_linestyle(new)), (lambda: line.set_linestyle(style))
        yield "a line dashed or not", make, back
    x, y = line.get_data()
    if line.get_marker() not in ("None", "", " ", None) and len(x) > 2:
        keep = [i for i in range(len(x)) if i != len(x) // 2]
        make = lambda: line.set_data([x[i] for i in keep], [y[i] for i in keep])  # noqa: E731
        yield "a mark gone", make, lambda: line.set_data(x, y)


def of_points(collection: Artist) -> Iterator[Alteration]:
    """A cloud of points without one of them."""
    offsets = collection.get_offsets()
    if len(offsets) > 2:
        middle = len(offsets) // 2
        fewer = [point for i, point in enumerate(offsets) if i != middle]
        make = lambda: collection.set_offsets(fewer)  # noqa: E731
        yield "a point of a cloud gone", make, lambda: collection.set_offsets(offsets)


def of_image(image: Artist) -> Iterator[Alteration]:
    """A matrix with one entry a tenth of the scale higher."""
    values = image.get_array()
    low, high = image.get_clim()
    other = values.copy()
    middle = tuple(length // 2 for length in values.shape)
    step = (high - low) / 10
    other[middle] += step if values[middle] < (low + high) / 2 else -step
    yield "an entry of a matrix", lambda: image.set_data(other), lambda: image.set_data(values)


def of_texts(ax: Axes) -> Iterator[Alteration]:
    """A letter of every title, label and note; a digit of every axis."""
    for text in [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]:
        if text.get_text().strip():
            yield reworded(text, "a letter of a text")
    for axis in (ax.xaxis, ax.yaxis):
        yield from of_ticks(axis)


def of_ticks(axis: Axis) -> Iterator[Alteration]:
    """The last digit beside the middle one of its ticks."""
    texts = [label.get_text() for label in axis.get_ticklabels() if label.get_visible()]
    numbers = [at for at, text in enumerate(texts) if set(text) & set("0123456789")]
    if not numbers:
        return
    ticks, limits = axis.get_ticklocs(), axis.get_view_interval().copy()
    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    middle = numbers[len(numbers) // 2]
    others = [another(text) if at == middle else text for at, text in enumerate(texts)]

    def make() -> None:
        axis.set_ticks(ticks, others)
        axis.set_view_interval(*limits, ignore=True)  # ticks outside would widen them

    def take_back() -> None:
        axis.set_major_locator(locator)
        axis.set_major_formatter(formatter)

    yield "a digit of an axis", make, take_back


def moved(artist: Artist, ax: Axes) -> Alteration:
    """An artist moved up by a hundredth of the height of its axes."""
    from matplotlib.artist import Artist
    from matplotlib.transforms import Affine2D

    was = Artist.get_transform(artist)  # of the artist; that of a patch has its shape in it
    up = Affine2D().translate(0, SHIFT * ax.bbox.height)
    if hasattr(artist, "get_offset_transform") and len(artist.get_offsets()) > 1:
        offset = artist.get_offset_transform()
        make = lambda: artist.set_offset_transform(offset + up)  # noqa: E731
        return "moved by 1 %", make, lambda: artist.set_offset_transform(offset)
    return "moved by 1 %", lambda: artist.set_transform(was + up), lambda: artist.set_transform(was)


def removed(artist: Artist) -> Alteration:
    """An artist that is not drawn."""
    make = lambda: artist.set_visible(False)  # noqa: E731
    return "an artist gone", make, lambda: artist.set_visible(True)


def reworded(text: Text, kind: str) -> Alteration:
    """A text with one letter or digit replaced."""
    was = text.get_text()
    return kind, lambda: text.set_text(another(was)), lambda: text.set_text(was)


def another(text: str) -> str:
    """A text with its last digit, or else its last letter, replaced by another."""
    digits = [i for i, letter in enumerate(text) if letter in "0123456789"]
    letters = [i for i, letter in enumerate(text) if letter.isalpha() and letter.isascii()]
    at = (digits or letters or [len(text) - 1])[-1]
    new = str((int(text[at]) + 1) % 10) if digits else ("o" if text[at] != "o" else "u")
    return text[:at] + new + text[at + 1 :]
