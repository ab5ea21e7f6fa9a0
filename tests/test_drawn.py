"""Every artist of every drawing function, held against a stored description.

`tests/data/drawn.json` holds what each case below has drawn (a line an artist, see `described.py`)
and what each wrong call is told. That is a regression test, in the spirit of the outputs that the
notebooks keep: it says that a figure has changed, not that it is right, which `test_plotting.py`
does. Where a change is meant, `.venv/bin/python tests/test_drawn.py` stores it; look at the
difference before you keep it.
"""

from __future__ import annotations

import copy
import functools
import math
import operator
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from described import describe, differences, read, write
from matplotlib.backend_bases import RendererBase
from matplotlib.path import Path as Outline
from matplotlib.transforms import IdentityTransform

mpl.use("Agg")
import matplotlib.pyplot as plt

from helpers import plotting
from helpers.crossover import Timing, plot_crossover
from helpers.plotting import style
from helpers.plotting.arrays import LARGEST_DRAWN, as_array
from helpers.plotting.matrices import SMALLEST_RANGE
from helpers.plotting.style import luminance, text_color

STORED = Path(__file__).parent / "data" / "drawn.json"
BLUE = plotting.COLORS["data"]
GREY = "#445566"  # no colour that matplotlib or the style would choose by itself
LOC, FACTOR = [1.0, -2.0], [[2.0, 0.0], [0.75, 0.5]]
COVARIANCE = [[4.0, 1.5], [1.5, 0.8125]]
POINTS = [[0.5, 1.0], [2.0, -3.0], [4.5, 2.5]]
PATH = [[0.0, 1.0], [0.5, 0.25], [2.0, 3.0]]


class OnGpu(torch.Tensor):
    """A tensor that, as one on a GPU, becomes an array only after it was brought to the CPU."""

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        moved = super().to(*args, **kwargs)
        return moved.as_subclass(torch.Tensor) if "cpu" in args else moved

    def numpy(self) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy


def bowl(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 5.0 + (x - 0.5) ** 2 + 4.0 * y**2


def half_a_bowl(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """On a GPU, in few digits, and infinite on the left."""
    heights = torch.where(x < 0, torch.inf, bowl(x, y))
    return heights.to(torch.bfloat16).as_subclass(OnGpu)


def history(at: list[float], gap: Any, **other: Any) -> SimpleNamespace:
    """What plot_gap needs of a history."""
    step, gap = torch.tensor(at), torch.tensor(gap, dtype=torch.float64)
    return SimpleNamespace(**({"step": step, "time": 0.01 * step, "gap": gap} | other))


def on_gpu(values: list[float]) -> torch.Tensor:
    """In few digits, and with a gradient."""
    return torch.tensor(values, dtype=torch.bfloat16, requires_grad=True).as_subclass(OnGpu)


SHORT = history([0, 1, 2, 3], [1.0, 0.2, 1e-12, 1e-15])  # 1e-12 is rounding, too
LONG = history([0, 4, 9], [2.0, 0.3, 0.07])
BATCH = history([0, 1, 2], [[1.0, 2.0], [0.4, 0.1], [0.01, 0.02]])
FAR = SimpleNamespace(time=on_gpu([0.0, 0.5, 0.75]), gap=on_gpu([1.0, 0.5, 0.25]))
TIMINGS = [
    Timing(device, batch, 2, seconds * batch)
    for device, seconds in (("cpu", 0.25), ("cuda", 0.5), ("mps", 2.0), ("xpu", 4.0))
    for batch in (1, 100)
]


def in_axes(draw: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    """A case that draws into the axes of a new figure."""

    def case() -> Any:
        fig, ax = plt.subplots()
        draw(ax, *arguments, **options)
        return fig

    return case


def surface(loss: Callable = bowl, n: int = 5, **options: Any) -> Callable[[], Any]:
    x, y = torch.linspace(-2, 3, 2 * n + 1), torch.linspace(-1, 1, n)
    return in_axes(
        plotting.plot_loss_surface, loss, x, y, **{"xlabel": "a", "ylabel": "b", **options}
    )


def gap(histories: dict[str, Any], **options: Any) -> Callable[[], Any]:
    return in_axes(plotting.plot_gap, histories, **options)


def reaching(*ends: float) -> dict[str, Any]:
    return {f"to {end}": history([1.0, end], [1.0, 0.1]) for end in ends}


def matrix(values: Any, **options: Any) -> Callable[[], Any]:
    return in_axes(plotting.plot_matrix, values, **options)


def matrices(*shapes: tuple[int, int], **options: Any) -> Callable[[], Any]:
    return lambda: plotting.plot_matrices({f"{n} x {m}": slope(n, m) for n, m in shapes}, **options)


def pairs(dim: int, labels: list[str] | None = None) -> Callable[[], Any]:
    factor = np.tril(np.full((dim, dim), -0.5)) + np.diag(np.arange(1.0, dim + 1.0))
    # Points on a lattice: as spread as numbers drawn at random, and the same everywhere.
    shares = (np.arange(1.0, 25.0)[:, None] * np.sqrt([2, 3, 5, 7, 11])[:dim]) % 1.0 - 0.5
    loc = np.arange(dim) - 1.0
    return lambda: plotting.plot_pairs(loc + 3.0 * shares @ factor.T, loc, factor, labels)


def slope(rows: int, columns: int) -> np.ndarray:
    return np.linspace(-2.0, 1.0, rows * columns).reshape(rows, columns)


def crossover(**options: Any) -> Callable[[], Any]:
    late = [Timing("cpu", 1, 8, 1.0), *TIMINGS]
    runs = {"one": TIMINGS[:2], "no": [Timing("a", 1, 4, 1.0), Timing("cpu", 1, 2, 2.0)]}
    runs |= {"all": late, "more": TIMINGS[:2], "last": TIMINGS[:2]}
    return in_axes(plot_crossover, runs, **{"dim": 2, **options})


DRAWN = {
    "points": in_axes(plotting.plot_points, POINTS, color=GREY),
    "points, otherwise": in_axes(
        plotting.plot_points, POINTS, color=BLUE, label="samples", size=0.5, alpha=1.0
    ),
    "chi-squared": in_axes(plotting.plot_chi_squared, torch.tensor([2.0, 0.5, 1.5, 4.0]), 2),
    "chi-squared, all set": in_axes(
        plotting.plot_chi_squared, on_gpu([2.0, 0.25, 0.75]), 1, color=GREY, label="a", mass=0.5
    ),
    "ellipse": in_axes(plotting.plot_ellipse, LOC, FACTOR, color=GREY),
    "ellipse, otherwise": in_axes(
        plotting.plot_ellipse,
        LOC,
        FACTOR,
        mass=0.5,
        color=GREY,
        label="truth",
        fill=True,
        linestyle="--",
    ),
    "ellipse of a radius": in_axes(plotting.plot_ellipse, LOC, FACTOR, radius=3.0, color=GREY),
    "principal axes": in_axes(plotting.plot_principal_axes, LOC, COVARIANCE, color=GREY),
    "principal axes, named": in_axes(
        plotting.plot_principal_axes, LOC, COVARIANCE, color=BLUE, label="axes"
    ),
    "surface": surface(n=9),
    "surface, white on the left": surface(half_a_bowl, levels=5),
    "surface of two levels": surface(levels=2),
    "surface of a grid of four points": in_axes(
        plotting.plot_loss_surface, bowl, [0.0, 1.0], [1.0, 2.0], xlabel="a", ylabel="b", levels=3
    ),
    "surface of two heights": surface(lambda x, y: (x > 0).double(), levels=3),
    "path": in_axes(plotting.plot_path, PATH, color=GREY),
    "path, otherwise": in_axes(plotting.plot_path, PATH, color=BLUE, label="steps", linestyle="--"),
    "gap": gap({"short": SHORT, "long": LONG}, sampling_error=0.05),
    "gap of a batch": gap({"batch": BATCH}, x="time"),
    "gap, named at the ends": gap({"short": SHORT, "long": LONG}, direct_labels=True),
    "gap on a GPU": gap({"far": FAR}, x="time"),
    "gap of six": gap(dict.fromkeys("abcdef", SHORT)),
    "gap of one step": gap({"one": history([7], [0.5])}),
    "gap, logarithmic": gap({"late": history([3, 9], [0.5, 0.1])}, log_x=True),
    "gap, logarithmic from nothing": gap({"start": history([0], [0.5])}, log_x=True),
    "gap, logarithmic from below": gap({"early": history([-2, 0.5, 8], 3 * [0.5])}, log_x=True),
    "gap, linear by wish": gap(reaching(1.0, 90.0), log_x=False),
    "gap, thirty times as long": gap(reaching(2.0, 60.0)),
    "gap, more than that": gap(reaching(2.0, 61.0)),
    "matrix": matrix(slope(2, 3)),
    "matrix, otherwise": matrix(
        slope(2, 2) + 7, labels=["abcd", "e"], title="S", fmt=".1f", center=6.0, vmax=6.5
    ),
    "matrix with short names": matrix(slope(2, 2), labels=["abc", "e"]),
    "matrix of zeros": matrix(np.zeros((2, 2))),
    "matrix of many": matrix(100 * slope(12, 12)),
    "matrix, long": matrix(slope(4, 9) / 3, fmt=".5f"),
    "matrix of more": matrix(slope(13, 3)),
    "matrix of one format": matrix([[-1.0, 22222.0]]),
    "one matrix": matrices((2, 2)),
    "two matrices": matrices((2, 2), (13, 1)),
    "three matrices": matrices((2, 2), (2, 2), (2, 2), labels=["a", "b"], fmt=".0f", vmax=3.0),
    "pairs of two": pairs(2),
    "pairs of three": pairs(3, ["height (cm)", "ash", "c"]),
    "pairs of four": pairs(4),  # as wide as the page
    "crossover": crossover(),
    "crossover without a legend": crossover(legend=False),
}

BAD_AX = np.array([None])
LONG_TEXT = 300 * "x"


def grid_of(x: list[float], y: list[float], **options: Any) -> Callable[[], Any]:
    options = {"xlabel": "a", "ylabel": "b", **options}
    return in_axes(plotting.plot_loss_surface, bowl, x, y, **options)


# What a wrong call is told: test_bad_input.py holds that it is told something, this the words.
TOLD = {
    "points, in no axes": lambda: plotting.plot_points(BAD_AX, POINTS, color=GREY),
    "points of a colour with numbers": in_axes(plotting.plot_points, POINTS, color=(0.0, 0.0, 1.0)),
    "points of no colour": in_axes(plotting.plot_points, POINTS, color="no colour"),
    "points with a number as label": in_axes(plotting.plot_points, POINTS, color=GREY, label=3),
    "points of size 0": in_axes(plotting.plot_points, POINTS, color=GREY, size=0.0),
    "points of alpha 0": in_axes(plotting.plot_points, POINTS, color=GREY, alpha=0.0),
    "points of alpha 1.5": in_axes(plotting.plot_points, POINTS, color=GREY, alpha=1.5),
    "points too far": in_axes(plotting.plot_points, [[1.0, -2e150], [1e150, 0.0]], color=GREY),
    "points of words": in_axes(plotting.plot_points, LONG_TEXT, color=GREY),
    "points of rows of different lengths": in_axes(
        plotting.plot_points, [[1.0, 2.0], [3.0]], color=GREY
    ),
    "chi-squared, in no axes": lambda: plotting.plot_chi_squared(BAD_AX, [1.0, 2.0, 3.0], 1),
    "chi-squared of no colour": in_axes(
        plotting.plot_chi_squared, [1.0, 2.0, 3.0], 1, color="no colour"
    ),
    "chi-squared of negative distances": in_axes(plotting.plot_chi_squared, [1.0, -2.0, 3.0], 1),
    "chi-squared of distances from another fit": in_axes(
        plotting.plot_chi_squared, [1.0, 2.0, 3.0], 1
    ),
    "chi-squared of two distances": in_axes(plotting.plot_chi_squared, [1.0, 2.0], 1),
    "ellipse, in no axes": lambda: plotting.plot_ellipse(BAD_AX, LOC, FACTOR, color=GREY),
    "ellipse of no colour": in_axes(plotting.plot_ellipse, LOC, FACTOR, color="no colour"),
    "ellipse with a number as linestyle": in_axes(
        plotting.plot_ellipse, LOC, FACTOR, color=GREY, linestyle=3
    ),
    "ellipse without a linestyle": in_axes(
        plotting.plot_ellipse, LOC, FACTOR, color=GREY, linestyle=None
    ),
    "ellipse of no linestyle": in_axes(
        plotting.plot_ellipse, LOC, FACTOR, color=GREY, linestyle="~"
    ),
    "ellipse filled with a word": in_axes(
        plotting.plot_ellipse, LOC, FACTOR, color=GREY, fill="yes"
    ),
    "ellipse of a covariance": lambda: plotting.ellipse_points(LOC, [[1.0, 0.5], [0.25, 2.0]]),
    "ellipse of too many points": lambda: plotting.ellipse_points(LOC, FACTOR, n_points=1_000_001),
    "ellipse beyond all numbers": lambda: plotting.ellipse_points(
        LOC, [[1e150, 0.0], [1e150, 1e150]], radius=1e300
    ),
    "axes of no covariance": lambda: plotting.principal_axes(
        [[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    ),
    "axes, in no axes": lambda: plotting.plot_principal_axes(BAD_AX, LOC, COVARIANCE, color=GREY),
    "axes of no colour": in_axes(plotting.plot_principal_axes, LOC, COVARIANCE, color="none such"),
    "axes of three variables": in_axes(plotting.plot_principal_axes, LOC, np.eye(3), color=GREY),
    "surface, in no axes": lambda: plotting.plot_loss_surface(
        BAD_AX, bowl, [0.0, 1.0], [0.0, 1.0], xlabel="a", ylabel="b"
    ),
    "surface of one level": grid_of([0.0, 1.0], [0.0, 1.0], levels=1),
    "surface of too many levels": grid_of([0.0, 1.0], [0.0, 1.0], levels=1001),
    "surface without a word below": grid_of([0.0, 1.0], [0.0, 1.0], xlabel=1),
    "surface without a word beside": grid_of([0.0, 1.0], [0.0, 1.0], ylabel=1),
    "surface over one value": grid_of([0.5], [0.0, 1.0]),
    "surface over a value twice": grid_of([0.5, 0.5], [0.0, 1.0]),
    "surface over falling values": grid_of([0.0, 1.0], [0.0, 1.0, 0.5, 2.0, 3.0, 4.0]),
    "surface of no tensor": surface(lambda x, y: LONG_TEXT),
    "surface of imaginary numbers": surface(lambda x, y: torch.complex(x, y)),
    "surface of one number": surface(lambda x, y: x.sum()),
    "surface of another call": surface(lambda x: x),
    "surface of one height": surface(lambda x, y: 0 * x),
    "surface without a height": surface(lambda x, y: x / 0 * 0),
    "path, in no axes": lambda: plotting.plot_path(BAD_AX, PATH, color=GREY),
    "path of no colour": in_axes(plotting.plot_path, PATH, color="no colour"),
    "path of no linestyle": in_axes(plotting.plot_path, PATH, color=GREY, linestyle="~"),
    "gap, in no axes": lambda: plotting.plot_gap(BAD_AX, {"a": LONG}),
    "gap of nothing": gap({}),
    "gap of seven": gap(dict.fromkeys("abcdefg", SHORT)),
    "gap against time without it": gap({"a": history([0, 1], [1.0, 0.1], time=None)}, x="time"),
    "gap without a gap": gap({"a": SimpleNamespace(step=torch.arange(2), gap=[1.0, 0.1])}),
    "gap over a table of steps": gap({"a": history([[0, 1], [2, 3]], [1.0, 0.1])}),
    "gap of one number": gap({"a": history([0], 1.0)}),
    "gap of other lengths": gap({"a": history([0, 1], [1.0, 0.5, 0.1])}),
    "gap of no steps": gap({"a": history([], [])}),
    "gap with a word for log_x": gap({"a": LONG}, log_x="yes"),
    "gap with a word for direct_labels": gap({"a": LONG}, direct_labels="yes"),
    "gap with a wide error": gap({"a": LONG}, sampling_error=LARGEST_DRAWN),
    "matrix, in no axes": lambda: plotting.plot_matrix(BAD_AX, np.eye(2)),
    "matrix with a number as title": matrix(np.eye(2), title=2),
    "matrix without a format": matrix(np.eye(13), fmt="no"),
    "matrix around a word": matrix(np.eye(2), center="0"),
    "matrix around no number": matrix(np.eye(2), center=math.nan, vmax=1.0),
    "matrix of a scale too short": matrix(np.eye(2), vmax=SMALLEST_RANGE),
    "matrix of a scale too long": matrix(np.eye(2), vmax=LARGEST_DRAWN),
    "matrix with names of columns": matrix(np.ones((2, 3)), labels=["a", "b"]),
    "matrices with too few names": matrices((2, 2), labels=["a"]),
    "matrices without a format": matrices((2, 2), fmt="no"),
    "no matrices": matrices(),
    "pairs of no factor": lambda: plotting.plot_pairs(np.eye(2), LOC, -np.eye(2)),
    "crossover, in no axes": lambda: plot_crossover(BAD_AX, {"a": TIMINGS}, 2),
    "crossover of half a variable": in_axes(plot_crossover, {"a": TIMINGS}, 0.5),
    "crossover of none": in_axes(plot_crossover, {"a": TIMINGS}, 64),
    "crossover of other rows": in_axes(plot_crossover, {"a": [*TIMINGS, (1, 2)]}, 2),
    "crossover of one timing": in_axes(plot_crossover, {"a": 3}, 2),
}


@pytest.fixture(autouse=True)
def _no_figure_is_left():
    yield
    plt.close("all")


def drawn(name: str) -> list[dict[str, Any]]:
    with plt.style.context(plotting.STYLE):
        return describe(DRAWN[name]())


def told(name: str) -> str:
    with pytest.raises((TypeError, ValueError)) as refused:
        TOLD[name]()
    return f"{refused.type.__name__}: {refused.value}"


@functools.cache
def stored() -> dict[str, Any]:
    return read(STORED)


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_is_what_is_stored(name):
    assert differences(stored()[name], drawn(name)) == []


@pytest.mark.parametrize("name", TOLD)
def test_a_wrong_call_is_told_what_is_stored(name):
    assert told(name) == stored()[name]


def test_every_case_is_stored_and_nothing_else():
    assert list(stored()) == [*DRAWN, *TOLD]


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The places of all words and numbers in a description."""
    if isinstance(value, (dict, list)):
        places = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in places:
            yield from leaves(part, (*path, key))
    else:
        yield path


def altered(rows: Any, path: tuple) -> Any:
    """A description with one word or number changed."""
    rows = copy.deepcopy(rows)
    *way, last = path
    part = functools.reduce(operator.getitem, way, rows)
    value = part[last]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # More than the tolerance; and what is no number becomes a word.
    part[last] = 1.002 * value + (value == 0) if is_number else f"{value} altered"
    return rows


@pytest.mark.parametrize("name", ["two matrices", "gap, named at the ends", "points, in no axes"])
def test_a_change_of_any_word_or_number_is_noticed(name):
    rows = stored()[name]
    if isinstance(rows, str):
        assert differences(rows, f"{rows}.")
        return
    assert all(len(differences(altered(rows, path), rows)) == 1 for path in leaves(rows))
    assert differences(rows, rows[:-1])
    assert differences(rows[:-1], rows)
    assert differences(rows, [*rows[:-1], rows[-1] | {"more": 1}])
    # What another machine may make of the same input, by far.
    assert not differences(1.0, 1.0 + 1e-4)
    assert not differences(0, 1e-13)


def test_an_artist_of_an_unknown_kind_is_no_silence():
    fig, ax = plt.subplots()
    ax.imshow([[1.0]])
    with pytest.raises(TypeError, match="artist: expected one of a known kind, got AxesImage"):
        describe(fig)


# What a description does not say ------------------------------------------------------------------


class Recorder(RendererBase):
    """Keeps the width and the filling of each path instead of drawing it."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[float, Any]] = []

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        self.drawn.append((gc.get_linewidth(), rgbFace))


def test_a_halo_is_drawn_under_a_line_and_not_around_a_marker():
    _, ax = plt.subplots()
    line, *_ = plotting.plot_path(ax, PATH, color=GREY)
    (halo,) = line.get_path_effects()
    for face, expected in ((None, [3.3, 1.0]), ((1.0, 0.0, 0.0), [1.0])):
        recorder = Recorder()
        halo.draw_path(recorder, recorder.new_gc(), Outline([[0, 0]]), IdentityTransform(), face)
        assert recorder.drawn == [(width, face) for width in expected]


def test_a_density_reaches_over_all_points_and_has_no_scale():
    far = [[-9.0, -8.0], [7.0, 6.0]]
    fig = plotting.plot_pairs(far, [0.0, 0.0], np.eye(2))
    assert type(fig.get_layout_engine()).__name__ == "ConstrainedLayoutEngine"  # in any style
    for ax, lowest, highest in ((fig.axes[0], -9.0, 7.0), (fig.axes[2], -8.0, 6.0)):
        (density,) = ax.lines
        assert density.get_xdata()[[0, -1]].tolist() == [lowest, highest]
        assert len(ax.get_yticks()) == 0


def test_a_matrix_is_drawn_over_what_is_there_and_in_a_part_of_a_figure():
    fig = plt.figure(figsize=(6, 3), layout="constrained")
    ax = fig.subfigures(ncols=2)[0].subplots()
    points = plotting.plot_points(ax, POINTS, color=GREY)
    mesh = plotting.plot_matrix(ax, slope(2, 3))
    assert mesh.norm.vmax == 2.0
    assert list(ax.collections) == [points, mesh]
    assert len(ax.texts) == 6


def test_a_refused_matrix_leaves_no_figure():
    before = plt.get_fignums()
    for options in ({"labels": ["a"]}, {"fmt": "no"}, {"vmax": -1.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            plotting.plot_matrices({"S": np.eye(2)}, **options)
    assert plt.get_fignums() == before


def test_the_first_large_component_of_a_direction_is_positive():
    rng = np.random.default_rng(0)
    for dim in (2, 3, 4, 5, 6, 7):
        factor = rng.normal(size=(dim, dim))
        _, directions = plotting.principal_axes(factor @ factor.T)
        for direction in directions.T:
            largest = max(abs(component) for component in direction)
            assert next(one for one in direction if abs(one) > 0.5 * largest) > 0


def test_what_is_as_large_as_it_may_be_is_drawn():
    largest = [LARGEST_DRAWN, -LARGEST_DRAWN]
    assert as_array(largest, "largest", (2,)).tolist() == largest
    filled = plotting.plot_loss_surface(
        plt.figure().add_subplot(), bowl, [0.0, 1.0], [0.0, 2.0], xlabel="", ylabel="b", levels=1000
    )
    assert len(filled.levels) == 1002


def test_overflow_is_no_warning_of_its_own():
    """Points at 1e150 are 1e155 standard deviations away, the square of which is no number."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plotting.plot_pairs([[0.0, 0.0], [1e150, 1e150]], [0.0, 0.0], 1e-5 * np.eye(2))
        told("ellipse beyond all numbers")


def test_a_surface_gives_no_warning():
    always = torch.is_warn_always_enabled()  # or torch would warn once a process
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            surface()()
    finally:
        torch.set_warn_always(always)


def test_dark_colours_are_on_the_straight_part_of_the_curve():
    """IEC 61966-2-1: up to 0.04045 a twelfth or so of the coded value, and back again."""
    for level in range(11):
        dark = f"#{level:02x}{level:02x}{level:02x}"
        assert luminance(dark) == pytest.approx(level / 255 / 12.92, rel=1e-12, abs=0)
        assert text_color(dark) == dark


def test_a_figure_is_a_png_whatever_the_settings_say():
    with plt.rc_context({"savefig.format": "svg"}):
        assert style._png_bytes(plt.figure(figsize=(1, 1))).startswith(b"\x89PNG")


def test_the_warning_of_an_unwritable_folder_points_at_the_cell(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("COVARIANCE_FIGURES", str(tmp_path / "file"))
    monkeypatch.setattr("IPython.display.display", lambda image: None)
    with pytest.warns(UserWarning, match="01_small is shown but not saved") as warned:
        plotting.save_figure(plt.figure(figsize=(1, 1)), "01_small")
    assert warned[0].filename == __file__


if __name__ == "__main__":
    made = {name: drawn(name) for name in DRAWN}
    write(STORED, made | {name: told(name) for name in TOLD})
