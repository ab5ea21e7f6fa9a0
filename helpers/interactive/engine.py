"""What the interactive pictures share: sliders, a picture that follows them, and its words.

A move of a slider draws only what moves, over a background that was drawn once, and hands the
browser a new PNG for the same image: nothing flickers, and no figure is opened or kept.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import matplotlib as mpl
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from traitlets import Unicode

from helpers.plotting.style import STYLE_PARAMS, WIDE
from helpers.validation import require_number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_LABEL = {"description_width": "13rem"}
_WIDTH = widgets.Layout(width="34rem", max_width="100%")
_SLIDER_WIDTH = widgets.Layout(width="29rem", max_width="100%")
_DECIMALS = 6
# "still" is the wording of what stands where there are no sliders: GitHub, print, a website.
_STILL = "Run this cell in JupyterLab to move the sliders. {still}"


class Scene:
    """A figure, and how it follows the sliders; each picture is a subclass.

    Parameters
    ----------
    ncols : int
        Number of panels side by side.
    **how
        As for `Figure.subplots`, such as `width_ratios`.

    Attributes
    ----------
    figure : Figure
        Not known to pyplot, so that nothing has to be closed.
    axes : sequence of Axes
    moving : list of Artist
        What a move may change; everything else is drawn once.
    """

    def __init__(self, ncols: int, **how: Any) -> None:
        self.figure = Figure(figsize=WIDE)
        self.axes: Sequence[Axes] = self.figure.subplots(ncols=ncols, **how)
        self.moving: list[Artist] = []

    def move(self, **values: Any) -> str:
        """Let the moving artists follow the sliders, and say in words what is seen now."""
        raise NotImplementedError


class Camera:
    """Pictures of a scene, as PNG.

    Parameters
    ----------
    scene : Scene
        Its layout is settled here, once.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        for artist in scene.moving:
            artist.set_animated(True)  # left out of the background
        self.canvas = FigureCanvasAgg(scene.figure)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(scene.figure.bbox)

    def png(self) -> bytes:
        """The scene as it is now."""
        self.canvas.restore_region(self.background)
        for artist in sorted(self.scene.moving, key=lambda each: each.get_zorder()):
            artist.axes.draw_artist(artist)
        buffer = io.BytesIO()
        image.imsave(buffer, self.canvas.buffer_rgba(), format="png")
        return buffer.getvalue()


class DescribedImage(widgets.Image):
    """An image whose tooltip is its text alternative.

    The browser's part of ipywidgets shows a tooltip only where it finds an empty description, which
    its own image lacks.
    """

    description = Unicode("").tag(sync=True)


class InteractivePicture:
    """Sliders with a picture below them, and a line that says in words what the picture shows.

    Where no sliders can be shown, a sentence stands for it.

    Parameters
    ----------
    scene : type of Scene
        Made here, in the look of the course.
    controls : mapping of str to widget
        Each with a description; the keys are the arguments of `Scene.move`. They are reached by the
        keyboard in this order.
    still : str
        What shows the same in a still picture, as a sentence.
    """

    def __init__(
        self, scene: type[Scene], controls: Mapping[str, widgets.ValueWidget], *, still: str
    ) -> None:
        with mpl.rc_context(STYLE_PARAMS):
            self.scene = scene()
            self.camera = Camera(self.scene)
        self.controls = dict(controls)
        self.still = _STILL.format(still=still)
        self.image = DescribedImage(layout=widgets.Layout(max_width="100%"))
        self.line = widgets.HTML()
        self._show()
        for control in self.controls.values():
            control.observe(self._show, names="value")

    def move(self, **values: Any) -> str:
        """Set sliders, as a hand would, and return the words below the picture.

        Parameters
        ----------
        **values
            Values by the names of the controls.

        Returns
        -------
        str

        Raises
        ------
        TypeError, ValueError
            If there is no control of that name, or it has no such value; none is then moved.
        """
        for name, value in values.items():
            if name not in self.controls:
                raise ValueError(f"{name}: expected one of {', '.join(self.controls)}, got {name}")
            _require_value(self.controls[name], name, value)
        for name, value in values.items():
            self.controls[name].value = value
        return self.words

    def _show(self, change: object = None) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        self.words = self.scene.move(**values)
        self.image.value = self.camera.png()
        self.image.tooltip = self.words
        # A status is read out by a screen reader when it changes, without losing the slider.
        self.line.value = f'<div role="status">{html.escape(self.words)}</div>'

    def _repr_mimebundle_(self, **how: Any) -> dict[str, Any]:
        rows = [with_field(control) for control in self.controls.values()]
        box = widgets.VBox([*rows, self.image, self.line])
        return {**box._repr_mimebundle_(**how), "text/plain": self.still}


def _require_value(control: widgets.ValueWidget, name: str, value: Any) -> None:
    """Raise an error unless a control has this value: a slider would take the nearest it has."""
    if hasattr(control, "options"):
        if not any(value is each or value == each for each in _options(control)):
            raise ValueError(f"{name}: expected one of {_options(control)}, got {value!r}")
        return
    number = require_number(value, name)
    if not control.min <= number <= control.max:
        raise ValueError(
            f"{name}: expected a number from {control.min:g} to {control.max:g}, got {number:g}"
        )


def _options(control: widgets.ValueWidget) -> list[Any]:
    """The values that can be chosen; an option is one, or a pair of its name and its value."""
    return [each[1] if isinstance(each, tuple) else each for each in control.options]


def slider(label: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    """A slider over evenly spaced numbers."""
    return widgets.FloatSlider(value, min=low, max=high, step=step, **_look(label))


def count_slider(label: str, value: int, high: int) -> widgets.IntSlider:
    """A slider over whole numbers from 0."""
    return widgets.IntSlider(value, min=0, max=high, **_look(label))


def choice_slider(label: str, value: Any, options: Sequence[Any]) -> widgets.SelectionSlider:
    """A slider over a few values that are not evenly spaced, such as learning rates."""
    named = [(f"{option:g}", option) for option in options]
    return widgets.SelectionSlider(value=value, options=named, **_look(label))


def with_field(control: widgets.ValueWidget) -> widgets.Widget:
    """A slider with a field beside it that shows its value and can be written in.

    The handle of an ipywidgets slider has no name that a screen reader could say, and Python cannot
    give it one. The field has the slider's label, and moves the slider. What is no slider has a
    name, and stays alone.
    """
    if not hasattr(control, "readout"):
        return control
    look = {
        "description": control.description,
        "tooltip": control.description,
        "style": {"description_width": "0"},  # it is read out; to be seen, it is at the slider
        "layout": widgets.Layout(width="5rem"),
    }
    if isinstance(control, widgets.SelectionSlider):
        field = widgets.Dropdown(options=control.options, **look)
        widgets.link((control, "value"), (field, "value"))
    else:
        field = _number_field(control, look)
    return widgets.HBox([control, field], layout=widgets.Layout(max_width="100%"))


def _number_field(
    control: widgets.FloatSlider | widgets.IntSlider, look: Mapping[str, Any]
) -> widgets.BoundedFloatText | widgets.BoundedIntText:
    """A field for numbers that follows a slider and leads it."""
    whole = isinstance(control, widgets.IntSlider)
    kind = widgets.BoundedIntText if whole else widgets.BoundedFloatText
    field = kind(control.value, min=control.min, max=control.max, step=control.step, **look)

    def follow(change: Mapping[str, Any]) -> None:
        field.value = round(change["new"], _DECIMALS)  # sliders say 0.35000000000000003

    def lead(change: Mapping[str, Any]) -> None:
        if round(control.value, _DECIMALS) != change["new"]:
            control.value = change["new"]

    control.observe(follow, names="value")
    field.observe(lead, names="value")
    return field


def _look(label: str) -> dict[str, Any]:
    """What all sliders have in common; their value is shown in the field beside them."""
    return {
        "description": label,
        "tooltip": label,
        "style": _LABEL,
        "layout": _SLIDER_WIDTH,
        "readout": False,
    }


def choice(label: str, options: Sequence[str]) -> widgets.Dropdown:
    """A list to choose from; the first is chosen."""
    return widgets.Dropdown(options=options, description=label, style=_LABEL, layout=_WIDTH)
