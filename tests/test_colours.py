"""Colours that stay apart under colour blindness, and words and lines that stand out.

Words need a contrast of 4.5:1 with what is behind them, or 3:1 if they are large; lines and marks
one of 3:1 with what is around them (WCAG 2.2, 1.4.3 and 1.4.11, level AA). Two things may be paler:
the single points of a cloud, which is read as a whole, and a filling within an outline.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import colour
import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgba

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.quiver import Quiver
from matplotlib.text import Text

from helpers import interactive, plotting
from helpers.crossover import Timing, plot_crossover
from helpers.history import History
from helpers.plotting.style import STYLE_PARAMS, linear_rgb, luminance, text_color

WORDS, LARGE_WORDS, MARKS = 4.5, 3.0, 3.0  # the contrasts that are asked for
LARGE = 18  # points
WHITE = (1.0, 1.0, 1.0)
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
WRITES = {"text", "annotate", "set_title", "set_xlabel", "set_ylabel", "suptitle"}
VISION = {
    "typical": np.eye(3),
    # Machado, Oliveira and Fernandes (2009), on linear RGB, at severity 1.
    **{
        name: colour.blindness.CVD_MATRICES_MACHADO2010[kind][1.0]
        for name, kind in (
            ("protanopia", "Protanomaly"),
            ("deuteranopia", "Deuteranomaly"),
            ("tritanopia", "Tritanomaly"),
        )
    },
}


def contrast(one, other) -> float:
    """Contrast ratio of WCAG 2.2."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def lab(color, vision: str) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    seen = np.clip(VISION[vision] @ linear_rgb(color), 0.0, 1.0)
    return colour.XYZ_to_Lab(colour.RGB_to_XYZ(seen, "sRGB"))


def distance(one, other, vision: str) -> float:
    """CIEDE2000."""
    return float(colour.delta_E(lab(one, vision), lab(other, vision), method="CIE 2000"))


def on_white(color, alpha: float | None = None) -> tuple[float, ...]:
    """What a colour that lets light through looks like."""
    *rgb, opacity = to_rgba(color, alpha)
    return tuple(opacity * channel + 1.0 - opacity for channel in rgb)


# The palette --------------------------------------------------------------------------------------


def test_the_luminance_is_that_of_the_standard():
    for color in plotting.COLORS.values():
        # WCAG rounds the coefficients to four decimals.
        expected = colour.RGB_to_XYZ(linear_rgb(color), "sRGB")[1]
        assert luminance(color) == pytest.approx(expected, abs=1e-4)
    assert contrast("black", "white") == pytest.approx(21.0)


def closest(colors: Iterable[str], vision: str) -> float:
    return min(distance(*pair, vision) for pair in itertools.combinations(set(colors), 2))


@pytest.mark.parametrize("vision", VISION)
def test_roles_stay_apart_under_colour_blindness(vision):
    # A distance of 1 is just noticeable side by side; thin lines and small points that lie apart
    # need several times that. The closest pair, data and start under protanopia, has 12.2. So no
    # two roles depend on their dashes, which differ wherever lines of methods do.
    assert closest(plotting.COLORS.values(), vision) >= 10.0


@pytest.mark.parametrize(
    ("vision", "pair"),
    [
        ("protanopia", ["tab:blue", "tab:purple"]),
        ("deuteranopia", ["tab:green", "tab:red"]),
        ("tritanopia", ["#00a0a0", "#0080c0"]),
    ],
)
def test_colours_that_only_some_can_tell_apart_are_noticed(vision, pair):
    assert closest(pair, "typical") > 20.0
    assert closest(pair, vision) < 10.0


def test_every_role_is_seen_on_white():
    assert min(contrast(color, WHITE) for color in plotting.COLORS.values()) >= MARKS


@pytest.mark.parametrize("role", plotting.COLORS)
def test_words_in_the_colour_of_a_role_can_be_read_and_keep_its_hue(role):
    color = plotting.COLORS[role]
    words = text_color(color)
    assert contrast(words, WHITE) >= WORDS
    if contrast(color, WHITE) >= WORDS + 0.1:
        assert words == to_hex(color)
    else:
        light, dark = linear_rgb(color), linear_rgb(words)
        # Rounding to 1/255 moves a channel of linear light by at most 2.275 / 510 = 4.5e-3.
        assert dark == pytest.approx(light * luminance(words) / luminance(color), abs=0.01)


# Maps of colours ----------------------------------------------------------------------------------


def lightness(colors: Iterable, vision: str) -> np.ndarray:
    return np.array([lab(color, vision)[0] for color in colors])


@pytest.mark.parametrize("vision", VISION)
def test_the_map_of_matrices_is_lightest_in_the_middle_and_its_ends_differ(vision):
    colors = mpl.colormaps[STYLE_PARAMS["image.cmap"]](np.linspace(0, 1, 33))[:, :3]
    seen = lightness(colors, vision)
    assert np.all(np.diff(seen[:17]) > 0)
    assert np.all(np.diff(seen[16:]) < 0)
    # Equal distances below and above zero are told apart from a quarter of the scale on.
    for below, above in zip(colors[:12], colors[:-13:-1], strict=True):
        assert distance(below, above, vision) >= 10.0


@pytest.mark.parametrize("vision", VISION)
def test_a_loss_surface_is_lighter_the_higher_it_is(vision, ax):
    draw_surface(ax)
    (filled,) = (each for each in ax.collections if isinstance(each, ContourSet) and each.filled)
    seen = lightness(filled.get_facecolor()[:, :3], vision)
    assert len(seen) == 13
    assert np.all(np.diff(seen) > 0)


# What is drawn ------------------------------------------------------------------------------------


@pytest.fixture
def ax() -> Iterator[Axes]:
    with plt.style.context(plotting.STYLE):
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def hard_to_read(fig: Figure) -> list[str]:
    """Words with too little contrast to a colour that takes a tenth of the room behind them."""
    fig.canvas.draw()
    fig.set_layout_engine("none")
    words = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    inks = {text: on_white(text.get_color(), text.get_alpha()) for text in words}
    for text in words:
        text.set_alpha(0.0)
    fig.canvas.draw()
    picture = np.asarray(fig.canvas.buffer_rgba())[::-1, :, :3]
    found = []
    for text, ink in inks.items():
        behind = colors_within(picture, text.get_window_extent().extents)
        worst = min((contrast(ink, color) for color in behind), default=np.inf)
        if worst < (LARGE_WORDS if text.get_fontsize() >= LARGE else WORDS):
            found.append(f"{text.get_text()}: {worst:.1f}")
    return found


def colors_within(picture: np.ndarray, extents: np.ndarray) -> list[np.ndarray]:
    """Colours of at least a tenth of a rectangle in pixels."""
    left, bottom, right, top = np.clip(extents.round().astype(int), 0, None)
    pixels = picture[bottom:top, left:right].reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    return list(colors[counts >= 0.1 * len(pixels)] / 255.0)


def hard_to_see(fig: Figure) -> list[str]:
    """Lines, marks and bars with too little contrast to what is around them."""
    found = []
    for ax in fig.axes:
        shades = [WHITE, *surface_shades(ax)]
        found += [f"line {line.get_label()}" for line in ax.lines if not line_is_seen(line, shades)]
        for quiver in (each for each in ax.collections if isinstance(each, Quiver)):
            face, edge = quiver.get_facecolor()[0], quiver.get_edgecolor()
            found += ["arrows"] * (not stands_out(face, edge[0] if len(edge) else None, shades))
        for patch in ax.patches:
            within_outline = patch.get_linewidth() == 0.0
            edge, face = patch.get_edgecolor(), patch.get_facecolor()
            seen = within_outline or stands_out(face, None, shades) or least(edge, shades) >= MARKS
            found += ["bars"] * (not seen)
    return found


def surface_shades(ax: Axes) -> list[tuple[float, ...]]:
    filled = [each for each in ax.collections if isinstance(each, ContourSet) and each.filled]
    return [tuple(color[:3]) for each in filled for color in each.get_facecolor()]


def least(color, shades: Iterable) -> float:
    return min(contrast(on_white(color), shade) for shade in shades)


def stands_out(face, edge, shades: Iterable) -> bool:
    """Against the shades, or against an edge of its own."""
    own = 0.0 if edge is None else contrast(on_white(face), on_white(edge))
    return max(own, least(face, shades)) >= MARKS


def line_is_seen(line: Line2D, shades: Iterable) -> bool:
    around = [WHITE] if any(isinstance(e, withStroke) for e in line.get_path_effects()) else shades
    if line.get_linestyle() not in ("None", "none", ""):
        return least(to_rgba(line.get_color(), line.get_alpha()), around) >= MARKS
    face, edge = line.get_markerfacecolor(), line.get_markeredgecolor()
    return stands_out(face, edge, around) or least(edge, around) >= MARKS


def a_history(*gap: float) -> History:
    gaps = torch.tensor(gap, dtype=torch.float64)
    steps = torch.arange(len(gap))
    return History(steps, gaps, gaps, steps.double(), "Adam", "cpu", True, 2, 100)


def draw_surface(ax: Axes) -> None:
    grid = torch.linspace(-2, 2, 60)
    plotting.plot_loss_surface(
        ax, lambda x, y: x.square() + 2 * y.square(), grid, grid, xlabel="a", ylabel="b"
    )


def draw_paths(ax: Axes) -> None:
    draw_surface(ax)
    for place, (role, color) in enumerate(plotting.COLORS.items()):
        plotting.plot_path(ax, [[place / 4, 2.0], [0.1, 0.1], [0.0, 0.0]], color=color, label=role)
    ax.legend()


def draw_geometry(ax: Axes) -> None:
    plotting.plot_points(ax, np.eye(2), color=plotting.COLORS["data"], label="points")
    for role, color in plotting.COLORS.items():
        plotting.plot_ellipse(ax, [0, 0], np.eye(2), color=color, label=role, fill=True)
        plotting.plot_principal_axes(ax, [0, 0], np.diag([1.0, 2.0]), color=color)
    ax.legend()


def draw_gaps(ax: Axes) -> None:
    names = ["one", "two", "three", "four", "five", "vanishes"]
    ends = [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 0.0]
    histories = {name: a_history(1.0, 0.5, end) for name, end in zip(names, ends, strict=True)}
    plotting.plot_gap(ax, histories, sampling_error=3e-5, direct_labels=True)


def draw_crossover(ax: Axes) -> None:
    timings = [Timing(kind, b, 2, 1e-3 * b) for kind in ("cpu", "cuda", "mps") for b in (1, 10)]
    plot_crossover(ax, {"here": timings, "there": timings}, 2)


def draw_matrix(ax: Axes) -> None:
    plotting.plot_matrix(ax, np.linspace(-1, 1, 144).reshape(12, 12), title="shades")


DRAWN: dict[str, Callable[[Axes], None]] = {
    "paths on a surface": draw_paths,
    "ellipses, axes and points": draw_geometry,
    "gaps": draw_gaps,
    "crossover": draw_crossover,
    "a matrix": draw_matrix,
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_words_can_be_read_and_lines_seen(draw, ax):
    draw(ax)
    assert hard_to_see(ax.figure) == []
    assert hard_to_read(ax.figure) == []


def test_words_can_be_read_and_lines_seen_in_figures_of_several_panels():
    with plt.style.context(plotting.STYLE):
        figures = [
            plotting.plot_matrices({"a": np.eye(3), "b": -np.eye(3)}),
            plotting.plot_pairs(np.random.default_rng(0).normal(size=(60, 2)), [0, 0], np.eye(2)),
        ]
    for fig in figures:
        assert hard_to_see(fig) == []
        assert hard_to_read(fig) == []
        plt.close(fig)


@pytest.mark.parametrize(
    "name", [name for name in interactive.__all__ if name.startswith("explore_")]
)
def test_words_can_be_read_and_lines_seen_in_interactive_pictures(name):
    fig = getattr(interactive, name)().scene.figure
    assert hard_to_see(fig) == []
    assert hard_to_read(fig) == []


# What notebooks draw themselves -------------------------------------------------------------------


def pale_words(source: str) -> list[str]:
    """Roles too pale for the words of a cell, which are in their colours, or in white on them.

    Nothing is drawn, so where the colour is looked up, or white, any role that the cell names may
    be meant.
    """
    nodes = list(ast.walk(ast.parse(source)))
    strings = {each.value for each in nodes if isinstance(each, ast.Constant)}
    named = strings & set(plotting.COLORS)
    writing = [
        each
        for each in nodes
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr in WRITES
    ]
    meant: set[str] = set()
    for ink in (each.value for call in writing for each in call.keywords if each.arg == "color"):
        match ink:
            case ast.Constant("white"):
                meant |= named
            case ast.Subscript(ast.Name("COLORS"), ast.Constant(role)):
                meant.add(role)
            case ast.Subscript(ast.Name("COLORS")):
                meant |= named
    return sorted(role for role in meant if contrast(plotting.COLORS[role], WHITE) < WORDS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_words_in_the_figures_of_notebooks_can_be_read(path):
    cells = nbformat.read(path, as_version=4).cells
    found = [pale_words(cell.source) for cell in cells if cell.cell_type == "code"]
    assert [roles for roles in found if roles] == []


# The checks bite ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('ax.text(0, 0, "a", color=COLORS["estimate"])', ["estimate"]),
        ('ax.set_title("a", color=COLORS["warning"])', []),
        (
            'for role in ("data", "start"):\n    ax.annotate("a", (0, 0), color=COLORS[role])',
            ["start"],
        ),
        ('ax.bar(0, 1, color=COLORS["gradient"])\nax.text(0, 0, "a", color="white")', ["gradient"]),
        ('ax.bar(0, 1, color=COLORS["data"])\nax.text(0, 0, "a", color="white")', []),
        ('ax.plot(x, color=COLORS["start"])\nax.text(0, 0, "a")', []),
        ('ax.text(0, 0, "a", color=text_color(COLORS["start"]))', []),
    ],
)
def test_pale_words_of_a_cell_are_noticed(source, expected):
    assert pale_words(source) == expected


@pytest.mark.parametrize("role", ["estimate", "start", "gradient"])
def test_words_in_a_role_s_own_colour_are_noticed(role, ax):
    ax.text(0.5, 0.5, "pale", color=plotting.COLORS[role])
    assert [each.split(":")[0] for each in hard_to_read(ax.figure)] == ["pale"]


def test_large_words_may_be_paler_than_small_ones_but_not_by_much(ax):
    ax.text(0.5, 0.5, "large", color=plotting.COLORS["estimate"], fontsize=LARGE)
    ax.text(0.1, 0.1, "pale", color="#a0a0a0", fontsize=LARGE)
    assert [each.split(":")[0] for each in hard_to_read(ax.figure)] == ["pale"]


def test_words_on_a_dark_ground_are_noticed(ax):
    ax.axvspan(0.4, 0.9, color=plotting.COLORS["data"])
    ax.text(0.5, 0.5, "black on blue", color="#202020")
    assert [each.split(":")[0] for each in hard_to_read(ax.figure)] == ["black on blue"]


def test_a_pale_line_is_noticed(ax):
    ax.plot([0, 1], [0, 1], color=plotting.COLORS["data"], alpha=0.3, label="pale")
    assert hard_to_see(ax.figure) == ["line pale"]


def test_a_line_without_an_edge_on_a_surface_is_noticed(ax):
    draw_surface(ax)
    ax.plot([0, 1], [0, 1], color=plotting.COLORS["estimate"], label="bare")
    ax.quiver([0], [0], [1], [1], color=plotting.COLORS["gradient"])
    assert hard_to_see(ax.figure) == ["line bare", "arrows"]


def test_pale_bars_are_noticed(ax):
    ax.hist([1.0, 1.0, 2.0], color=plotting.COLORS["data"], alpha=0.45, bins=2)
    assert hard_to_see(ax.figure) == ["bars", "bars"]
