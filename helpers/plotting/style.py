"""One look for all figures, and one way to save them."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import ColorType
    from numpy.typing import NDArray

STYLE = Path(__file__).with_name("course.mplstyle")
STYLE_PARAMS = mpl.rc_params_from_file(STYLE, use_default_template=False)
WIDE = (9.0, 3.8)
"""Size in inches of a figure with two or three panels side by side; one panel needs no size."""

_ROLES = ("data", "truth", "estimate", "start", "gradient", "reference", "warning")
_CYCLE = STYLE_PARAMS["axes.prop_cycle"].by_key()["color"]
COLORS = MappingProxyType(
    dict(zip(_ROLES, _CYCLE, strict=True)) | {"step": _CYCLE[_ROLES.index("gradient")]}
)
"""Colour of each role; ``"step"`` is the colour of ``"gradient"``."""
_WORDS_LUMINANCE = 1.05 / 4.6 - 0.05
"""Of words that have a contrast of 4.6:1 with white; WCAG 2.2 asks for 4.5:1 (level AA)."""
_FIGURE_NAME = re.compile(r"\d\d(_[a-z0-9]+)+")


def use_style() -> None:
    """Apply the look of the course to every figure drawn from now on."""
    plt.style.use(STYLE)


def text_color(color: ColorType) -> str:
    """The colour for words about what is drawn in a colour: of its hue, dark enough to read.

    Parameters
    ----------
    color : color
        One of :data:`COLORS`.

    Returns
    -------
    str
        The same, or as much darker as a contrast of 4.5:1 with white needs.
    """
    linear = linear_rgb(color)
    scaled = linear * (_WORDS_LUMINANCE / max(luminance(color), _WORDS_LUMINANCE))
    return to_hex(
        np.where(scaled <= 0.0031308, 12.92 * scaled, 1.055 * scaled ** (1 / 2.4) - 0.055)
    )


def luminance(color: ColorType) -> float:
    """Relative luminance of WCAG 2.2, from 0 for black to 1 for white."""
    return float(linear_rgb(color) @ (0.2126, 0.7152, 0.0722))


def linear_rgb(color: ColorType) -> NDArray[np.float64]:
    """Shares of red, green and blue light, shape (3,), of sRGB (IEC 61966-2-1)."""
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def save_figure(fig: Figure, name: str) -> None:
    """Write a figure to ``figures/NAME.png``, close it and show the very bytes that were written.

    The folder is ``figures`` beside the package, or the one that the environment variable
    ``COVARIANCE_FIGURES`` names; it is created where it is missing. The same figure gives the same
    bytes. If the folder cannot be written, a warning says so and the figure is shown all the same.

    Parameters
    ----------
    fig : Figure
        Closed afterwards, so that the notebook shows it once.
    name : str
        ``NN_words_in_snake_case``, with the number of the notebook and without an ending.

    Raises
    ------
    TypeError, ValueError
        If `fig` is no figure, or the name has another form.
    """
    if not isinstance(fig, Figure):
        raise TypeError(f"fig: expected a matplotlib Figure, got {type(fig).__name__}")
    if not isinstance(name, str) or not _FIGURE_NAME.fullmatch(name):
        raise ValueError(
            f"name: expected two digits and words in snake_case, such as '01_ellipse', got {name!r}"
        )
    from IPython.display import Image, display

    png = _png_bytes(fig)
    plt.close(fig)
    try:
        _write_png(png, name)
    except OSError as error:
        remedy = "name a folder of yours in the environment variable COVARIANCE_FIGURES"
        warnings.warn(f"the figure {name} is shown but not saved ({remedy}): {error}", stacklevel=2)
    display(Image(data=png))


def save_benchmark_figure(fig: Figure, name: str) -> None:
    """Write a figure of the benchmarks to ``figures/bench_NAME.png`` and close it."""
    png = _png_bytes(fig)
    plt.close(fig)
    _write_png(png, f"bench_{name}")


def _write_png(png: bytes, name: str) -> None:
    folder = _figures_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(png)


def _figures_folder() -> Path:
    folder = os.environ.get("COVARIANCE_FIGURES")
    return Path(folder) if folder else Path(__file__).parents[2] / "figures"


def _png_bytes(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    # The version of matplotlib in the metadata would change the bytes and not the picture.
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
