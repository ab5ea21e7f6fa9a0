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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
_FIGURE_NAME = re.compile(r"\d\d(_[a-z0-9]+)+")


def use_style() -> None:
    """Apply the look of the course to every figure drawn from now on."""
    plt.style.use(STYLE)


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
    ValueError
        If the name has another form.
    """
    if not _FIGURE_NAME.fullmatch(name):
        raise ValueError(
            f"name: expected two digits and words in snake_case, such as '01_ellipse', got {name!r}"
        )
    from IPython.display import Image, display

    png = _png_bytes(fig)
    plt.close(fig)
    try:
        _write_png(png, name)
    except OSError as error:
        warnings.warn(f"the figure {name} is shown but not saved: {error}", stacklevel=2)
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
    return Path(folder) if folder else Path(__file__).resolve().parents[2] / "figures"


def _png_bytes(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    # The version of matplotlib in the metadata would change the bytes and not the picture.
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
