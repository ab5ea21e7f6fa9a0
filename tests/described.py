"""What stands in a figure, said in words and numbers, and compared with what is stored.

`describe` turns a figure into rows: one for the figure, one for each axes, one for each artist,
with what a viewer would notice and where in the source it was asked for: coordinates, colours,
widths, order, texts, limits, scales, legends. No pixel is looked at and nothing is rendered, so
that it takes milliseconds and says the same on every machine.

A test module keeps its rows in a JSON file under `tests/data`, read by `read` and written by
`write`; `differences` holds the two together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.quiver import Quiver
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

WHOLE = 12  # rows of an array that are all written down; of a longer one, some of them
PICKED = 5
# Stored numbers have five digits. What is drawn from the same input differs between machines by
# rounding, and where the layout has a say by a hair's breadth of a font: both are far below one
# part in a thousand, and every change of a constant in the source is far above.
DIGITS = 5
RELATIVE = 1e-3
ABSOLUTE = 1e-12  # what is left where numbers of the size of a figure's cancel

Row = dict[str, Any]


def describe(figure: Figure) -> list[Row]:
    """Rows for a figure, its axes and their artists, ready for JSON.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    list of dict
        The first is the figure; `"in"` is the number of the axes that an artist stands in.
    """
    rows: list[Row] = [_figure(figure)]
    rows += [{"in": "figure", **row} for row in _artists(_own(figure))]
    for number, ax in enumerate(figure.axes):
        rows.append({"axes": number, **describe_axes(ax)})
        rows += [{"in": number, **row} for row in _artists(_own(ax))]
    return rows


def describe_axes(ax: Axes) -> Row:
    """Scales, limits, words and ticks of an axes, without what is drawn in it."""
    slot = ax.get_subplotspec()
    spines = [side for side, spine in ax.spines.items() if spine.get_visible()]
    return _said(
        slot=None if slot is None else [slot.rowspan.start, slot.colspan.start],
        title=ax.get_title(),
        aspect=ax.get_aspect(),
        off=not ax.axison,
        spines=" ".join(spines),
        colorbar=_colorbar(ax),
        **{f"x_{key}": value for key, value in _axis(ax, "x").items()},
        **{f"y_{key}": value for key, value in _axis(ax, "y").items()},
    )


def describe_artist(artist: Artist) -> Row:
    """What is seen of one artist; a kind that is not known here is an error."""
    for kind, says in _KINDS.items():
        if isinstance(artist, kind):
            return _said(
                kind=type(artist).__name__,
                **says(artist),
                label=_label(artist),
                zorder=artist.get_zorder(),
                alpha=artist.get_alpha() if np.ndim(artist.get_alpha()) == 0 else "each its own",
                hidden=not artist.get_visible(),
                unclipped=not isinstance(artist, Text) and not artist.get_clip_on(),
                effects=[_effect(effect) for effect in artist.get_path_effects() or ()],
            )
    raise TypeError(f"artist: expected one of a known kind, got {type(artist).__name__}")


def numbers(values: Any) -> Any:
    """Numbers with five digits; of a long array, the number of rows, some of them and the mean."""
    array = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    if array.ndim == 0:
        return _digits(array.item())
    if len(array) <= WHOLE:
        return [numbers(row) for row in array]
    picked = np.linspace(0, len(array) - 1, PICKED).round().astype(int)
    finite = array[np.isfinite(array)]
    mean = float(finite.mean()) if finite.size else math.nan
    return {
        "rows": len(array),
        "some": [numbers(array[place]) for place in picked],
        "mean": _digits(mean),
        "spread": _digits(float(finite.std()) if finite.size else math.nan),
    }


def differences(stored: Any, made: Any, at: str = "") -> list[str]:
    """Where two descriptions differ; numbers may do so by one part in a thousand.

    Parameters
    ----------
    stored, made : dict, list, str, number, bool or None
    at : str
        Where in the description they stand.

    Returns
    -------
    list of str
        Empty if they are the same.
    """
    if isinstance(stored, Mapping) and isinstance(made, Mapping):
        keys = [*stored, *(key for key in made if key not in stored)]
        nothing = "(nothing)"
        return _all(
            differences(stored.get(key, nothing), made.get(key, nothing), f"{at}.{key}")
            for key in keys
        )
    if isinstance(stored, list) and isinstance(made, (list, tuple)):
        found = [] if len(stored) == len(made) else [f"{at}: {len(stored)} became {len(made)}"]
        pairs = zip(stored, made, strict=False)
        return found + _all(differences(*pair, f"{at}[{i}]") for i, pair in enumerate(pairs))
    if _is_number(stored) and _is_number(made):
        same = math.isclose(stored, made, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    else:
        same = type(stored) is type(made) and stored == made
    return [] if same else [f"{at}: {stored!r} became {made!r}"]


def read(path: Path) -> dict[str, Any]:
    """The stored descriptions by name; none if there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, entries: Mapping[str, Any]) -> None:
    """Store descriptions by name, one row a line."""
    path.write_text("{\n" + ",\n".join(_entries(entries)) + "\n}\n", encoding="utf-8")


def _entries(entries: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        if isinstance(entry, list):
            rows = ",\n".join(f"  {_line(row)}" for row in entry)
            yield f" {_line(name)}: [\n{rows}\n ]"
        elif isinstance(entry, Mapping):
            rows = ",\n".join(f"  {_line(key)}: {_line(row)}" for key, row in entry.items())
            yield f" {_line(name)}: {{\n{rows}\n }}"
        else:
            yield f" {_line(name)}: {_line(entry)}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _all(found: Iterable[list[str]]) -> list[str]:
    return [one for each in found for one in each]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _digits(value: float) -> float | int | str | None:
    """With five digits; nothing for NaN, a word for infinity, and a rounded zero is zero."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return str(value)
    rounded = float(f"{value:.{DIGITS}g}") if abs(value) > ABSOLUTE else 0.0
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded


def _said(**facts: Any) -> Row:
    """Facts that say something: not None, False, an empty text or an empty list."""
    return {
        key: value
        for key, value in facts.items()
        if value is not None and value is not False and value != "" and value != []
    }


# Figure and axes ----------------------------------------------------------------------------------


def _figure(figure: Figure) -> Row:
    engine = figure.get_layout_engine()
    shared = [
        [figure.axes.index(one), figure.axes.index(other), side]
        for side, siblings in _shared(figure)
        for one, other in siblings
    ]
    return _said(
        figure=numbers(figure.get_size_inches()),
        layout=None if engine is None else _layout(engine),
        axes=len(figure.axes),
        title=figure.get_suptitle(),
        aligned=_aligned(figure),
        shared=shared,
    )


def _aligned(figure: Figure) -> str:
    """Whether the words on the left ends and below stand in line with those of other axes."""
    groups = figure._align_label_groups
    return " ".join(
        side for side in "xy" if any(len(groups[side].get_siblings(ax)) > 1 for ax in figure.axes)
    )


def _layout(engine: Any) -> str:
    compressed = " compressed" if getattr(engine, "_compress", False) else ""
    return f"{type(engine).__name__}{compressed}"


def _shared(figure: Figure) -> Iterator[tuple[str, list[tuple[Axes, Axes]]]]:
    """Each axes with the first one it shares a scale with."""
    for side in "xy":
        pairs = []
        for ax in figure.axes:
            group = getattr(ax, f"get_shared_{side}_axes")()
            joined = [one for one in figure.axes if group.joined(one, ax)]
            if joined and joined[0] is not ax:
                pairs.append((ax, joined[0]))
        yield side, pairs


def _axis(ax: Axes, name: str) -> Row:
    axis = getattr(ax, f"{name}axis")
    ticks = axis.get_tick_params()
    texts = axis.get_ticklabels()
    # Where matplotlib chooses the ticks, they say no more than the limits do.
    fixed = isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter))
    chosen = [text.get_text() for text in texts] if fixed else []
    return _said(
        label=axis.get_label_text(),
        scale=axis.get_scale(),
        threshold=_digits(float(getattr(axis.get_transform(), "linthresh", math.nan))),
        limits=numbers(getattr(ax, f"get_{name}lim")()),
        ticks=numbers(axis.get_majorticklocs()) if chosen else None,
        tick_labels=chosen,
        tick_words=_word_look(texts[0]) if any(chosen) else None,
        tick_length=axis.get_major_ticks(1)[0].tick1line.get_markersize(),
        numbered=bool(ticks.get("labelleft", True) and ticks.get("labelbottom", True)),
        grid=bool(ticks.get("gridOn")),
    )


def _colorbar(ax: Axes) -> Row | None:
    bar = getattr(ax, "_colorbar", None)
    if bar is None:
        return None
    info = getattr(ax, "_colorbar_info", {})
    return _said(
        of=type(bar.mappable).__name__,
        limits=numbers([bar.vmin, bar.vmax]),
        location=info.get("location"),
        shrink=info.get("shrink"),
        parents=len(info.get("parents", ())),
    )


def _own(parent: Figure | Axes) -> list[Artist]:
    """What was drawn, in order, without what every figure or axes has."""
    if isinstance(parent, Figure):
        kept = [*parent.lines, *parent.patches, *parent.texts, *parent.legends, *parent.images]
        title = getattr(parent, "_suptitle", None)
        return [artist for artist in kept if artist is not title]
    if hasattr(parent, "_colorbar"):
        return []
    legend = parent.get_legend()
    return [*parent._children, *([] if legend is None else [legend]), *parent.child_axes]


def _artists(artists: Iterable[Artist]) -> Iterator[Row]:
    return (describe_artist(artist) for artist in artists)


# Artists ------------------------------------------------------------------------------------------


def _line2d(line: Line2D) -> Row:
    has_marker = line.get_marker() not in ("None", None, "", " ")
    return {
        "x": numbers(line.get_xdata(orig=False)),
        "y": numbers(line.get_ydata(orig=False)),
        "color": _color(line.get_color()),
        "style": line.get_linestyle(),
        "dashes": _dashes(line._unscaled_dash_pattern),
        "width": _digits(line.get_linewidth()),
        "drawn_as": None if line.get_drawstyle() == "default" else line.get_drawstyle(),
        "marker": str(line.get_marker()) if has_marker else None,
        "marker_size": _digits(line.get_markersize()) if has_marker else None,
        "marker_face": _color(line.get_markerfacecolor()) if has_marker else None,
        "marker_edge": _color(line.get_markeredgecolor()) if has_marker else None,
        "units": _units(line),
    }


def _text(text: Text) -> Row:
    return {
        "text": text.get_text(),
        "at": numbers(text.get_position()),
        **_word_look(text),
        "units": _units(text),
        "boxed": text.get_bbox_patch() is not None,
    }


def _annotation(note: Annotation) -> Row:
    coordinates = note.xycoords
    if not isinstance(coordinates, (str, tuple)):
        coordinates = _named(coordinates, note.axes)
    return {
        "text": note.get_text(),
        "to": numbers(note.xy),
        "to_units": coordinates,
        "at": numbers(note.xyann),
        "units": note.anncoords
        if isinstance(note.anncoords, str)
        else _named(note.anncoords, None),
        **_word_look(note),
        "arrow": None if note.arrow_patch is None else _patch_look(note.arrow_patch),
        "boxed": note.get_bbox_patch() is not None,
    }


def _word_look(text: Text) -> Row:
    """Of words, without what they say; the usual is left out."""
    usual = {"ha": "left", "va": "baseline", "weight": "normal", "slant": "normal"}
    look = {
        "color": _color(text.get_color()),
        "size": _digits(text.get_fontsize()),
        "ha": text.get_ha(),
        "va": text.get_va(),
        "rotation": _digits(text.get_rotation()) or None,
        "anchored": text.get_rotation_mode() == "anchor",
        "weight": text.get_weight(),
        "slant": text.get_style(),
    }
    return _said(**{key: value for key, value in look.items() if usual.get(key) != value})


def _legend(legend: Legend) -> Row:
    return {
        "texts": [text.get_text() for text in legend.get_texts()],
        "handles": [type(handle).__name__ for handle in legend.legend_handles],
        "title": None
        if legend.get_title().get_text() in ("", "None")
        else _text(legend.get_title()),
        "location": legend._loc,
        "outside": getattr(legend, "_outside_loc", None),
        "columns": legend._ncols,
        "frame": legend.get_frame_on(),
    }


def _scatter(points: PathCollection) -> Row:
    return {"at": numbers(points.get_offsets()), "sizes": numbers(points.get_sizes())} | _look(
        points
    )


def _mesh(mesh: QuadMesh) -> Row:
    values = mesh.get_array()
    return {
        "shape": list(np.shape(values)),
        "values": numbers(np.ma.ravel(values)),
        "corners": numbers(mesh.get_coordinates().reshape(-1, 2)[[0, -1]]),
        "map": mesh.get_cmap().name,
        "limits": numbers(mesh.get_clim()),
        "edges": [] if not len(mesh.get_edgecolors()) else _colors(mesh.get_edgecolors()),
    }


def _contours(contours: ContourSet) -> Row:
    box = [path.get_extents().extents for path in contours.get_paths() if len(path.vertices)]
    return {
        "filled": contours.filled,
        "levels": numbers(contours.levels),
        "boxes": numbers(box),
    } | _look(contours)


def _quiver(quiver: Quiver) -> Row:
    return {
        "from": numbers(np.stack([quiver.X, quiver.Y], axis=-1)),
        "along": numbers(np.stack([quiver.U, quiver.V], axis=-1)),
        "angles": str(quiver.angles),
        "scale": [_digits(quiver.scale or math.nan), quiver.scale_units],
        "shaft": [_digits(quiver.width or math.nan), quiver.units],
    } | _look(quiver)


def _line_collection(lines: LineCollection) -> Row:
    return {"segments": [numbers(segment) for segment in lines.get_segments()]} | _look(lines)


def _collection(collection: Collection) -> Row:
    return {"paths": [numbers(path.vertices) for path in collection.get_paths()]} | _look(
        collection
    )


def _patch(patch: Patch) -> Row:
    corners = patch.get_patch_transform().transform(patch.get_path().vertices)
    return {"corners": numbers(corners), **_patch_look(patch), "units": _units(patch)}


def _patch_look(patch: Patch) -> Row:
    return _said(
        face=_color(patch.get_facecolor()),
        edge=_color(patch.get_edgecolor()),
        width=_digits(patch.get_linewidth()),
        style=patch.get_linestyle(),
        unfilled=not patch.get_fill(),
        hatch=patch.get_hatch(),
    )


def _look(collection: Collection) -> Row:
    return {
        "faces": _colors(collection.get_facecolor()),
        "edges": _colors(collection.get_edgecolor()),
        "widths": numbers(collection.get_linewidth()),
        "dashes": [_dashes(each) for each in collection.get_linestyle() if each[1] is not None],
    }


def _nested(ax: Axes) -> Row:
    return {"inset": describe_axes(ax), "artists": list(_artists(_own(ax)))}


_KINDS = {  # the first that fits
    Annotation: _annotation,
    Text: _text,
    Line2D: _line2d,
    Legend: _legend,
    ContourSet: _contours,
    Quiver: _quiver,
    PathCollection: _scatter,
    QuadMesh: _mesh,
    LineCollection: _line_collection,
    Collection: _collection,
    Patch: _patch,
    Axes: _nested,
}


def _label(artist: Artist) -> str | None:
    """A label that a legend shows."""
    label = str(artist.get_label() or "")
    return None if label.startswith(("_child", "<")) else label


def _color(color: Any) -> str:
    """#rrggbb, and the opacity of what lets light through."""
    if isinstance(color, str) and color == "none":
        return color
    return to_hex(color, keep_alpha=to_rgba(color)[3] < 1)


def _colors(colors: Any) -> list[str]:
    """Each colour, or one if all are the same."""
    names = [_color(color) for color in np.atleast_2d(colors)] if len(colors) else []
    return names[:1] if len(set(names)) == 1 else names


def _dashes(pattern: tuple[float, Any]) -> list[Any] | None:
    offset, lengths = pattern
    return None if lengths is None else [_digits(float(offset)), numbers(lengths)]


def _effect(effect: Any) -> Row:
    look = getattr(effect, "_gc", {})
    return {"kind": type(effect).__name__, **{key: look[key] for key in sorted(look)}}


def _units(artist: Artist) -> str | None:
    """What the coordinates are counted in; nothing for those of the data."""
    ax = artist.axes
    transform = artist.get_transform()
    if isinstance(artist, Patch):
        transform = artist.get_data_transform()
    name = _named(transform, ax)
    return None if name == "data" else name


def _named(transform: Any, ax: Axes | None) -> str:
    known = {}
    if ax is not None:
        known = {
            "data": ax.transData,
            "axes": ax.transAxes,
            "data, axes": ax.get_xaxis_transform(),
            "axes, data": ax.get_yaxis_transform(),
            "figure": ax.figure.transFigure,
        }
    return next((name for name, one in known.items() if one == transform), "other")
