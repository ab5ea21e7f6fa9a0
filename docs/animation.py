"""Draw the moving picture of the README, `figures/fit.gif`: ``python docs/animation.py``.

Two fits to the hundred points of notebook 3 start from the standard normal and end at the mean and
covariance of the sample, the natural gradient in two steps and Adam in some two hundred. With the
versions in constraints.txt the file comes out the same, byte for byte.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from helpers import (
    COLORS,
    Gaussian,
    GaussianLikelihood,
    ellipse_points,
    expected_gap,
    fit,
    maximum_likelihood,
    plot_ellipse,
    plot_points,
    two_correlated,
)
from helpers.plotting.style import STYLE, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from torch import Tensor

TARGET = Path(__file__).parents[1] / "figures" / "fit.gif"
LEARNING_RATE = 0.05  # of notebook 3
LOWEST_GAP = 1e-10  # nats, where a fit ends
FLOOR = 2e-11  # nats, the lower edge of the picture: a line that leaves it goes on to 0
SHADES = 8  # of each colour towards white, for the edges of lines and letters
RESULT_MS, START_MS, EARLY_MS, LATER_MS = 3000, 1200, 600, 120
NAME_PLACES = (2.4, 1e-6), (28, 1e-9)  # beside the curves, step and nats
N_LATER = 40  # frames for the other steps, evenly spaced on the axis
N_EARLY = 4  # steps that are shown one by one, slowly enough to follow


@dataclass(frozen=True)
class Course:
    """A fit and every model on its way.

    Attributes
    ----------
    name : str
    role : str
        Of its colour.
    linestyle : str
    models : list of Gaussian
        Before the first step and after each.
    gap : Tensor, shape (k,)
        In nats, for each model.
    """

    name: str
    role: str
    linestyle: str
    models: list[Gaussian]
    gap: Tensor

    @property
    def n_steps(self) -> int:
        """Steps until the fit ended."""
        return len(self.models) - 1

    def at(self, step: int) -> int:
        """Which model there is at a step; the last one stays."""
        return min(step, self.n_steps)


def natural_course(data: Tensor) -> Course:
    """Fit by the natural gradient, one step a call."""
    model = GaussianLikelihood(data.shape[-1]).double()
    models, gaps = [_snapshot(model)], []
    while not gaps or gaps[-1] > LOWEST_GAP:
        before, after = fit(model, data, max_steps=1).gap.tolist()
        gaps += [after] if gaps else [before, after]
        models.append(_snapshot(model))
    return Course("natural gradient", "estimate", "-", models, torch.tensor(gaps))


def adam_course(data: Tensor) -> Course:
    """Fit by Adam, which tells of every step."""
    model = GaussianLikelihood(data.shape[-1]).double()
    models = [_snapshot(model)]

    def adam(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        optimizer.register_step_post_hook(lambda *_: models.append(_snapshot(model)))
        return optimizer

    history = fit(model, data, optimizer=adam, tol=LOWEST_GAP, progress=False)
    return Course("Adam", "gradient", "--", models, history.gap)


def _snapshot(model: GaussianLikelihood) -> Gaussian:
    return Gaussian(model.loc.detach().clone(), model.scale_tril.detach().clone())


class Picture:
    """The figure, whose lines are moved from frame to frame."""

    def __init__(self, data: Tensor, courses: Sequence[Course]) -> None:
        self.courses = courses
        self.fig, (plane, curve) = plt.subplots(ncols=2, figsize=(8.4, 3.6), width_ratios=(1, 1.5))
        FigureCanvasAgg(self.fig)
        self.title = plane.set_title("")
        self.ellipses = _draw_plane(plane, data, courses)
        self.curves, self.names = _draw_curve(curve, courses, expected_gap(2, len(data)))
        self.show(self.last)
        self.fig.draw_without_rendering()
        self.fig.set_layout_engine("none")  # nothing moves but the lines

    @property
    def last(self) -> int:
        """The step at which the slowest fit ends."""
        return max(course.n_steps for course in self.courses)

    def show(self, step: int) -> None:
        """Move the lines to where the fits are after so many steps."""
        self.title.set_text(f"after {step} step" + "s" * (step != 1))
        parts = zip(self.courses, self.ellipses, self.curves, self.names, strict=True)
        for course, ellipse, curve, name in parts:
            now = course.at(step)
            ellipse.set_data(*ellipse_points(*course.models[now]).T)
            curve.set_data(range(now + 1), course.gap[: now + 1].clamp(min=FLOOR))
            arrived = now == course.n_steps
            name.set_text(f"{course.name}\n{now} steps" if arrived else f"{course.name}\n")

    def pixels(self) -> Image.Image:
        """The picture as it is."""
        self.fig.canvas.draw()
        return Image.fromarray(np.asarray(self.fig.canvas.buffer_rgba())).convert("RGB")


def _draw_plane(ax: Axes, data: Tensor, courses: Sequence[Course]) -> list[Line2D]:
    """The data, the ellipse where both fits end, and theirs."""
    plot_points(ax, data, color=COLORS["reference"], alpha=0.4)
    plot_ellipse(ax, *maximum_likelihood(data), color=COLORS["truth"], linestyle=":")
    moving = []
    for course in courses:
        look = {"color": COLORS[course.role], "linestyle": course.linestyle}
        moving.append(plot_ellipse(ax, *course.models[0], **look))
        for model in course.models:
            ax.update_datalim(ellipse_points(*model))  # room for the whole way
    ax.autoscale_view()
    ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    return moving


def _draw_curve(
    ax: Axes, courses: Sequence[Course], sampling_error: float
) -> tuple[list[Line2D], list[Text]]:
    """The gap of each fit, with its name beside it."""
    ax.axhline(sampling_error, color=COLORS["reference"], linestyle="--", linewidth=1.2)
    ax.text(1.4, 0.6 * sampling_error, "sampling error p/2N", color=COLORS["reference"], va="top")
    lines, names = [], []
    for course, (x, y) in zip(courses, NAME_PLACES, strict=True):
        color = COLORS[course.role]
        look = {"linestyle": course.linestyle, "marker": "o", "markevery": [-1], "clip_on": False}
        lines += ax.plot([], [], color=color, **look)
        names.append(ax.text(x, y, "", color=text_color(color), va="center"))
    ax.set_xscale("symlog", linthresh=1)
    ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="gap to the exact optimum (nats)")
    ax.set(xlim=(0, 1.3 * max(course.n_steps for course in courses)), ylim=(FLOOR, 3))
    return lines, names


def schedule(last: int) -> list[tuple[int, int]]:
    """Which step each frame shows and for how many milliseconds: the result, then the way to it.

    The result comes first, for those who see one frame only, and once more at the end.
    """
    early = [(step, EARLY_MS) for step in range(1, N_EARLY + 1)]
    later = sorted({round(step) for step in np.geomspace(N_EARLY + 1, last, N_LATER)})
    frames = [(last, RESULT_MS), (0, START_MS), *early, *((step, LATER_MS) for step in later)]
    return [*frames[:-1], (last, RESULT_MS)]


def frames() -> tuple[list[Image.Image], list[int]]:
    """All pictures, and their durations in milliseconds."""
    data = two_correlated(100)
    with mpl.rc_context(), plt.style.context(STYLE):
        picture = Picture(data, [natural_course(data), adam_course(data)])
        steps, durations = zip(*schedule(picture.last), strict=True)
        images = []
        for step in steps:
            picture.show(step)
            images.append(picture.pixels())
        plt.close(picture.fig)
    return images, list(durations)


def encode(images: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    """A GIF that starts again at its end, all frames in one palette, so that none flickers."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=list(durations), loop=0)
    return buffer.getvalue()


def _palette() -> list[int]:
    """The colours of the lines and words exactly, white, and shades between."""
    roles = [COLORS[role] for role in ("truth", "estimate", "gradient", "reference")]
    colors = np.array([to_rgb(color) for color in (*roles, *map(text_color, roles))])
    share = np.linspace(0.0, 1.0, SHADES)[:, None, None]  # of white
    blends = (1.0 - share) * colors + share  # (shades, colours, 3)
    return np.unique((255.0 * blends).round().astype(int).reshape(-1, 3), axis=0).ravel().tolist()


def main() -> None:
    """Write the file."""
    TARGET.write_bytes(encode(*frames()))
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
