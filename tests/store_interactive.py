"""What each interactive picture shows at some settings of its controls, and where it is stored.

    python tests/store_interactive.py

writes tests/data/interactive.json again. Look at the difference before you keep it: a row that
changes is a picture that changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
from described import Row, describe, describe_artist, read, write
from nbval_rules import WIDGET

import helpers
from helpers.interactive import InteractivePicture
from helpers.interactive.__main__ import PICTURES
from helpers.plotting.style import STYLE_PARAMS

STORED = Path(__file__).with_name("data") / "interactive.json"
GRADIENT_DESCENT, ADAM, NATURAL = "gradient descent", "Adam", "natural gradient"

# Both ends of each slider, and something between. In none of them is a number said that is a
# rounding error, such as an eigenvalue of zero: it would be another one on another machine.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "explore_ellipse": [
        {"variance_1": 4.0, "variance_2": 0.1, "correlation": -0.95},
        {"variance_1": 0.1, "variance_2": 4.0, "correlation": 0.95},
        {"variance_1": 1.5, "variance_2": 1.5, "correlation": 0.0},
    ],
    "explore_step": [
        {"length": 0.001, "correlation": 0.95},
        {"length": 5.0, "correlation": 0.3},
    ],
    "explore_mse_descent": [
        {"start": -4.5, "method": ADAM, "rate": 0.5, "steps": 100},
        {"start": 1.0, "method": GRADIENT_DESCENT, "rate": 0.5, "steps": 100},
        {"start": 0.3, "method": ADAM, "rate": 0.01, "steps": 0},
    ],
    "explore_likelihood_descent": [
        {"method": GRADIENT_DESCENT, "rate": 1.0, "unit": 10.0, "steps": 60},
        {"method": ADAM, "rate": 0.01, "unit": 0.1, "steps": 7},
        {"method": NATURAL, "rate": 0.1, "unit": 2.0, "steps": 2},
    ],
    "explore_noise_floor": [
        {"rate": 0.001, "batch_size": 512},
        {"rate": 0.1, "batch_size": 8},
    ],
}
# Of a widget, what is seen or felt.
FELT = (
    "description",
    "tooltip",
    "value",
    "min",
    "max",
    "step",
    "options",
    "readout",
    "continuous_update",
)
# Its ends are those of an eigenvector, whose sign is another one on another machine.
WITHOUT_SIGN = "negative variance"


def rows(name: str) -> list[Row]:
    """A picture as it opens, and what moves at each setting."""
    picture = getattr(helpers, name)()
    # What matplotlib makes when it is looked for has the look of the course too.
    with mpl.rc_context(STYLE_PARAMS):
        return [
            *widget_rows(picture),
            {"words": picture.words},
            *describe(picture.scene.figure),
            *(row for setting in SETTINGS[name] for row in moved(picture, setting)),
        ]


def moved(picture: InteractivePicture, setting: dict[str, Any]) -> Iterator[Row]:
    """The words at a setting, and the artists that may have moved."""
    yield {"to": setting, "words": picture.move(**setting)}
    for artist in picture.scene.moving:
        if artist.get_label() != WITHOUT_SIGN:
            yield describe_artist(artist)


def widget_rows(picture: InteractivePicture) -> Iterator[Row]:
    """All that a cell shows, from the outermost box inwards, with the depth."""
    shown = picture._repr_mimebundle_()[WIDGET]["model_id"]
    waiting = [(0, widgets.widget._instances[shown])]
    while waiting:
        depth, widget = waiting.pop(0)
        yield {"depth": depth, "widget": type(widget).__name__, **_felt(widget)}
        waiting = [*((depth + 1, child) for child in getattr(widget, "children", ())), *waiting]


def _felt(widget: widgets.DOMWidget) -> Row:
    said = {key: getattr(widget, key) for key in FELT if hasattr(widget, key)}
    layout = {"width": widget.layout.width, "max_width": widget.layout.max_width}
    style = {"label": getattr(getattr(widget, "style", None), "description_width", None)}
    if isinstance(widget, widgets.Image):
        said["value"] = widget.format  # the picture is described by its artists
    return {key: value for key, value in {**said, **layout, **style}.items() if value is not None}


def main() -> None:
    """Write the file."""
    write(STORED, {name: rows(name) for name in PICTURES})
    print(f"tests/data/{STORED.name}: {len(read(STORED))} pictures")


if __name__ == "__main__":
    main()
