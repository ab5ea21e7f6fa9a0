"""Interactive pictures: what they show is the helpers' mathematics, and every slider moves it."""

from __future__ import annotations

import io
import json
import math
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as widgets
import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from nbval_rules import WIDGET
from PIL import Image
from torch.distributions import MultivariateNormal

import helpers
from helpers import (
    COLORS,
    CovarianceLearner,
    GaussianLikelihood,
    ellipse_points,
    fit,
    maximum_likelihood,
    two_correlated,
)
from helpers.interactive import __main__ as command
from helpers.interactive import (
    descent,
    ellipse,
    engine,
    likelihood_descent,
    mse_descent,
    noise_floor,
    steps,
)
from helpers.interactive.engine import Camera, InteractivePicture, Scene
from helpers.interactive.steps import StepScene
from helpers.plotting import WIDE
from helpers.statistics import SufficientStatistics
from helpers.uncertainty import ROUNDING

ROOT = Path(__file__).parents[1]
PICTURES = command.PICTURES


def new(name: str) -> InteractivePicture:
    return getattr(helpers, name)()


shared = cache(new)  # for tests that do not move it


@cache
def opened(name: str) -> tuple[InteractivePicture, dict[str, object]]:
    picture = new(name)
    return picture, {key: control.value for key, control in picture.controls.items()}


def movable(name: str) -> InteractivePicture:
    """One picture for all tests that move it, each time as it opens."""
    picture, first = opened(name)
    picture.move(**first)
    return picture


@cache
def mse_scene() -> mse_descent.MseDescentScene:
    return mse_descent.MseDescentScene()


@cache
def likelihood_scene() -> likelihood_descent.LikelihoodDescentScene:
    return likelihood_descent.LikelihoodDescentScene()


@contextmanager
def unusual_state() -> Iterator[torch.Tensor]:
    """A state of the global generator that nothing else has left, restored at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987654321)
        yield torch.get_rng_state()


def neighbour(control: widgets.ValueWidget) -> object:
    """The value that one press of an arrow key leads to."""
    values = command.places(control)
    nearest = min(range(len(values)), key=lambda place: values[place] != control.value)
    if isinstance(control.value, float) and not hasattr(control, "options"):
        nearest = round((control.value - control.min) / control.step)
    return values[nearest + 1]


# What all of them share ----------------------------------------------------------------------


def test_all_pictures_of_the_course_are_here():
    assert set(PICTURES) == set(helpers._LAZY["interactive"])
    assert len(PICTURES) == 5


@pytest.mark.parametrize("name", PICTURES)
def test_one_step_of_each_slider_changes_the_picture_and_its_words(name):
    picture = movable(name)
    for key, control in picture.controls.items():
        png, words = picture.image.value, picture.words
        picture.move(**{key: neighbour(control)})
        assert picture.image.value != png, key
        assert picture.words != words, key


@pytest.mark.parametrize("name", PICTURES)
def test_a_control_is_named_and_moves_the_picture_at_once(name):
    for control in shared(name).controls.values():
        assert len(control.description) > 4
        assert getattr(control, "continuous_update", True)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_and_said(name, tmp_path):
    picture = shared(name)
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/plain", WIDGET}
    (tmp_path / "shown.png").write_bytes(picture.image.value)
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.size == tuple(round(100 * side) for side in WIDE)
    assert picture.words[0].isupper()
    assert picture.words.endswith(".")
    # The browser shows a tooltip as the text alternative only beside an empty description.
    assert (picture.image.tooltip, picture.image.description) == (picture.words, "")
    assert "description" in picture.image.get_state()
    assert picture.words in picture.line.value
    assert 'role="status"' in picture.line.value


@pytest.mark.parametrize("name", PICTURES)
def test_what_stands_for_a_picture_on_paper_is_always_the_same(name):
    sentence = movable(name)._repr_mimebundle_()["text/plain"]
    assert sentence == shared(name)._repr_mimebundle_()["text/plain"]
    assert "JupyterLab" in sentence
    assert "figure above" in sentence


@pytest.mark.parametrize("name", PICTURES)
def test_every_notebook_sentence_is_the_one_of_today(name):
    stored = [
        "".join(output["data"]["text/plain"])
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
        if f"{name}()" in cell.source
        for output in cell.outputs
    ]
    assert stored == [shared(name).still]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_leaves_the_readers_settings_alone(name):
    params = dict(mpl.rcParams)
    with unusual_state() as state:
        picture = new(name)
        assert torch.equal(torch.get_rng_state(), state)
    assert dict(mpl.rcParams) == params
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if dtype == torch.float32 else torch.float32)
        look = {"axes.facecolor": "red", "font.size": 4, "lines.linewidth": 9}
        with mpl.rc_context({**look, "savefig.format": "pdf"}):
            elsewhere = new(name)
    finally:
        torch.set_default_dtype(dtype)
    assert (elsewhere.image.value, elsewhere.words) == (picture.image.value, picture.words)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"angle": 3}, ValueError, r"angle: expected one of length, correlation, got angle"),
        ({"correlation": 0.96}, ValueError, r"correlation: expected .* 0 to 0.95, got 0.96"),
        ({"correlation": -0.05}, ValueError, r"correlation: expected .* 0 to 0.95, got -0.05"),
        ({"correlation": "0.5"}, TypeError, r"correlation: expected a"),
        ({"length": 0.3}, ValueError, r"length: expected one of \[0.001, .*5.0\], got 0.3"),
    ],
)
def test_a_value_that_a_control_lacks_is_told_and_none_is_moved(values, error, words):
    picture = shared("explore_step")
    before = {key: control.value for key, control in picture.controls.items()}
    with pytest.raises(error, match=words):
        picture.move(**{"correlation": 0.5, "length": 1.0, **values})
    assert {key: control.value for key, control in picture.controls.items()} == before


def test_the_ends_of_a_slider_and_an_option_are_values_that_it_has():
    picture = movable("explore_step")
    for values in ({"correlation": 0.0, "length": 5.0}, {"correlation": 0.95, "length": 0.001}):
        picture.move(**values)
        assert {key: control.value for key, control in picture.controls.items()} == values


def test_the_words_beside_a_picture_follow_a_move():
    picture = movable("explore_step")
    words = picture.move(correlation=0.5)
    assert "correlation 0.50" in words
    assert picture.image.tooltip == picture.words == words
    assert words in picture.line.value


def test_words_are_escaped_for_the_browser():
    class Said(Scene):
        def __init__(self) -> None:
            super().__init__(1)

        def move(self, x: float) -> str:
            return f"{x} < 2 & so on."

    picture = InteractivePicture(Said, {"x": engine.slider("number", 1.0, 0.0, 2.0, 0.5)}, still="")
    assert picture.line.value == '<div role="status">1.0 &lt; 2 &amp; so on.</div>'
    assert picture.image.tooltip == "1.0 < 2 & so on."


def test_only_a_new_value_is_drawn(monkeypatch):
    picture = new("explore_step")
    drawn = []
    monkeypatch.setattr(picture.camera, "png", lambda: drawn.append(1) or b"")
    picture.controls["correlation"].disabled = True
    picture.controls["length"].description = "another name"
    assert drawn == []
    picture.controls["correlation"].value = 0.5
    assert drawn == [1]


@pytest.mark.parametrize(
    ("control", "kind", "values"),
    [
        (engine.slider("part", 0.3, -0.95, 0.95, 0.05), widgets.BoundedFloatText, (0.35, -0.95)),
        (engine.count_slider("steps", 3, 9), widgets.BoundedIntText, (4, 9)),
        (engine.choice_slider("rate", 0.1, (0.1, 1.0, 3.0)), widgets.Dropdown, (1.0, 3.0)),
    ],
)
def test_a_field_follows_its_slider_and_leads_it(control, kind, values):
    row = engine.with_field(control)
    slider, field = row.children
    assert (slider, type(field)) == (control, kind)
    assert field.value == control.value
    control.value = values[0]
    assert field.value == values[0]
    field.value = values[1]
    assert control.value == values[1]
    # What is no value says nothing to the other one.
    control.disabled, field.disabled = True, True
    control.disabled, field.disabled = False, False
    assert field.value == control.value == values[1]


def test_a_field_says_no_rounding_error_and_does_not_send_one_back():
    control = engine.slider("part", 0.3, -0.95, 0.95, 0.05)
    _, field = engine.with_field(control).children
    control.value = 0.35000000000000003
    assert field.value == 0.35
    assert control.value == 0.35000000000000003
    control.value = 0.350001  # six digits are all that a step may need
    assert field.value == 0.350001
    control.value = 0.3500004
    assert field.value == 0.35


def test_what_is_no_slider_has_no_field():
    names = engine.choice("optimiser", ["a", "b"])
    assert engine.with_field(names) is names
    assert names.value == "a"


def darkest(png: bytes, side: str) -> int:
    """Of the middle of a picture, of a part of it to the right, or of its upper edge."""
    with Image.open(io.BytesIO(png)) as opened:
        grey = np.asarray(opened.convert("L"))
    height, width = grey.shape
    middle = slice(height // 2 - 60, height // 2 + 60)
    rows, columns = {
        "left": (middle, slice(width // 2 - 20, width // 2 + 60)),
        "right": (middle, slice(3 * width // 4, width)),
        "top": (slice(0, height // 10), slice(0, width)),
    }[side]
    return int(grey[rows, columns].min())


def test_only_what_moves_is_drawn_again():
    class Dot(Scene):
        def __init__(self) -> None:
            super().__init__(1)
            self.axes.set(xlim=(0, 1), ylim=(0, 1))
            self.axes.set_axis_off()
            (self.dot,) = self.axes.plot([0.5], [0.5], "o", color="black")
            self.said = self.figure.text(0.5, 0.95, "here")
            self.moving = [self.dot]

    scene = Dot()
    camera = Camera(scene)
    first = camera.png()
    scene.said.set_text("not drawn again")
    assert camera.png() == first
    scene.dot.set_data([0.9], [0.5])
    moved = camera.png()
    assert tuple(scene.figure.get_size_inches()) == WIDE
    assert darkest(first, "left") < 50 < 240 < darkest(first, "right")
    assert darkest(first, "top") < 50  # what was said before the first picture
    assert darkest(moved, "right") < 50 < 240 < darkest(moved, "left")
    scene.dot.set_data([0.5], [0.5])
    assert camera.png() == first


def test_a_scene_says_what_it_lacks():
    with pytest.raises(NotImplementedError):
        Scene(1).move()
    with pytest.raises(NotImplementedError):
        descent.DescentScene(1, "height", "unit")


# The ellipse ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(1.0, 2.0, 0.35), (4.0, 0.1, -0.95), (0.1, 4.0, 0.95)])
def test_the_ellipse_its_box_and_the_numbers_are_those_of_the_factor(values):
    picture = movable("explore_ellipse")
    words = picture.move(**dict(zip(picture.controls, values, strict=True)))
    first, second, correlation = values
    off = correlation * math.sqrt(first * second)
    covariance = torch.tensor([[first, off], [off, second]], dtype=torch.float64)
    scale_tril = torch.linalg.cholesky(covariance)
    drawn = np.stack(picture.scene.ellipse.get_data(), axis=-1)
    np.testing.assert_allclose(drawn, ellipse_points(torch.zeros(2), scale_tril), atol=1e-6)
    low = picture.scene.axes[0].get_xlim()[0]
    assert low < drawn.min() < drawn.max() < -low
    width, height = picture.scene.box.get_width(), picture.scene.box.get_height()
    radius = math.sqrt(-2 * math.log(0.05))
    # The widest of the 200 points on the boundary may miss the box by a little.
    assert width == pytest.approx(2 * radius * math.sqrt(first), rel=1e-3)
    assert height == pytest.approx(2 * radius * math.sqrt(second), rel=1e-3)
    written = [float(text.get_text()) for text in picture.scene.factor_texts]
    np.testing.assert_allclose(written, scale_tril.flatten(), atol=0.00501)
    arrows = picture.scene.arrows
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V]), scale_tril, atol=1e-6)
    entries = [float(text.get_text()) for text in picture.scene.sigma_texts]
    np.testing.assert_allclose(entries, covariance.flatten(), atol=0.00501)
    # Without the noise itself: L takes its covariance to that of the points.
    points = torch.from_numpy(np.asarray(picture.scene.points.get_offsets()))
    noise = torch.cov(picture.scene.noise.mT)
    torch.testing.assert_close(torch.cov(points.mT), scale_tril @ noise @ scale_tril.mT)
    assert f"correlation {correlation:.2f}" in words
    assert f"L is [{written[0]:.2f}, 0.00; {written[2]:.2f}, {written[3]:.2f}]" in words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((1.0, 2.0, 0.5), "leans to the right"),
        ((1.0, 2.0, -0.05), "leans to the left"),
        ((1.0, 2.0, 0.0), "stands upright"),
        ((2.0, 1.0, 0.0), "lies flat"),
        ((1.0, 1.0, 0.0), "is a circle"),
    ],
)
def test_the_words_say_how_the_ellipse_lies(values, words):
    picture = movable("explore_ellipse")
    assert words in picture.move(**dict(zip(picture.controls, values, strict=True)))


def test_rounding_errors_are_not_seen_in_how_an_ellipse_lies():
    nearly = torch.tensor([[1.0, 1e-12], [1e-12, 1.0 + 1e-12]], dtype=torch.float64)
    assert ellipse.how_it_lies(nearly) == "the ellipse is a circle"
    assert ellipse.in_words(-nearly) == "[-1.00, 0.00; 0.00, -1.00]"
    nearly[0, 1] = 1e-9
    assert ellipse.how_it_lies(nearly) == "the ellipse is a circle"
    nearly[0, 1] = 1e-6
    assert ellipse.how_it_lies(nearly) == "the ellipse leans to the right"
    seen = torch.tensor([[1e-9, 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert ellipse.how_it_lies(seen) == "the ellipse lies flat"


def test_a_covariance_is_computed_in_float64():
    made = ellipse.covariance_from(0.3, 0.7, -0.1)
    off = -0.1 * math.sqrt(0.3 * 0.7)
    np.testing.assert_allclose(made, [[0.3, off], [off, 0.7]], rtol=1e-15)


def test_two_decimals_are_those_that_are_nearest():
    # Rounded to three first, this one would become 0.01.
    assert ellipse.in_words(torch.tensor([[0.00499, 2.675], [1.0, -0.004]]).double()) == (
        "[0.00, 2.67; 1.00, 0.00]"
    )


def test_the_plane_is_a_little_wider_than_the_numbers_beside_it():
    grid = ellipse.EllipseScene().axes[0].get_gridspec()
    assert grid.get_width_ratios() == (1.15, 1.0)


# A step --------------------------------------------------------------------------------------


def written_out(scale_tril: torch.Tensor, length: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Both steps with gradients by hand: the covariance after one, the factor after the other."""
    target, eye = torch.tensor([[1.0, 0.99], [0.99, 1.0]], dtype=torch.float64), torch.eye(2)
    precision = torch.cholesky_inverse(scale_tril)
    gradient = (precision - precision @ target @ precision) / 2
    inverse = scale_tril.inverse()
    slope = (inverse.mT @ (eye - inverse @ target @ inverse.mT)).tril()
    factor = scale_tril - length * slope  # below the diagonal
    diagonal = scale_tril.diagonal() * (-length * scale_tril.diagonal() * slope.diagonal()).exp()
    return scale_tril @ scale_tril.mT - length * gradient, factor.tril(-1) + diagonal.diag()


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("length", [0.01, 0.5, 5.0])
def test_both_steps_follow_the_gradient_written_out(correlation, length):
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    start = torch.linalg.cholesky(covariance)
    entries, factor = written_out(start, length)
    data = StepScene().statistics
    by_entries = steps.step_in_entries(start, data, length)
    by_factor = steps.step_in_factor(start, data, length)
    torch.testing.assert_close(by_entries.covariance_matrix, entries)
    torch.testing.assert_close(by_factor.scale_tril, factor)
    eigenvalues = torch.linalg.eigvalsh(entries)
    assert by_entries.smallest == pytest.approx(eigenvalues[0].item(), abs=1e-12)
    assert (by_entries.scale_tril is not None) == (eigenvalues[0] > 0)
    torch.testing.assert_close(by_factor.covariance_matrix, factor @ factor.mT)
    eigenvalues = torch.linalg.eigvalsh(factor @ factor.mT)
    assert by_factor.smallest == pytest.approx(eigenvalues[0].item(), abs=1e-12)
    for step in (by_entries, by_factor):
        assert isinstance(step.smallest, float)
        assert not step.covariance_matrix.requires_grad


def test_the_left_step_leaves_the_cone_and_the_right_one_never():
    scene = StepScene()
    left, right = scene.panels
    for correlation in (0.0, 0.5, 0.95):
        outside = []
        for length in steps._LENGTHS:
            words = scene.move(correlation=correlation, length=length)
            outside.append("In Σ: outside the cone" in words)
            assert "In L: a covariance" in words
            assert bool(len(left.negative.get_xdata())) == outside[-1]
            assert bool(len(left.end.get_xdata())) != outside[-1]
            assert len(right.end.get_xdata()) > 100
        assert outside == sorted(outside)  # once it has left, it does not come back
        assert outside[-1]
        assert not outside[0]


def test_a_negative_variance_is_drawn_along_its_eigenvector():
    picture = movable("explore_step")
    picture.move(length=5.0, correlation=0.3)
    start = torch.linalg.cholesky(torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64))
    covariance, _ = written_out(start, 5.0)
    first, second = np.stack(picture.scene.panels[0].negative.get_data(), axis=-1)
    np.testing.assert_allclose(first, -second)
    assert np.linalg.norm(first) == pytest.approx(3.5)  # the panel reaches to 5
    smallest = torch.linalg.eigvalsh(covariance)[0].item()
    assert smallest < 0
    np.testing.assert_allclose(covariance.numpy() @ first, smallest * first, atol=1e-6)
    assert picture.scene.panels[0].negative.get_linestyle() == "--"
    assert picture.scene.panels[0].said.get_text() == f"smallest eigenvalue {smallest:.3g}"
    assert picture.scene.panels[0].said.get_color() == COLORS["warning"]
    assert picture.scene.panels[1].said.get_color() == "black"


def test_the_smallest_eigenvalue_is_not_lost_beside_a_large_one():
    factor = torch.tensor([[1e6, 0.0], [1e6, 1e-6]], dtype=torch.float64)
    data = SufficientStatistics(torch.tensor(9), torch.zeros(2).double(), 9 * factor @ factor.mT)
    step = steps.step_in_factor(factor, data, 0.0)
    # det = 1 and trace = 2e12, so that the eigenvalues are 2e12 and 0.5e-12.
    assert step.smallest == pytest.approx(0.5e-12, rel=1e-6)


# The paths -----------------------------------------------------------------------------------


def slice_loss(a1, a2, b, target):
    """The mean squared error as notebook 2 writes it out."""
    error_11 = (2 * a1).exp() - target[0, 0]
    error_21 = b * a1.exp() - target[1, 0]
    error_22 = b**2 + (2 * a2).exp() - target[1, 1]
    return (error_11**2 + 2 * error_21**2 + error_22**2) / 4


@pytest.mark.parametrize(("method", "rate"), [("gradient descent", 0.1), ("Adam", 0.03)])
@pytest.mark.parametrize("start", [-4.0, 0.3])
def test_a_path_on_the_mse_is_that_of_the_optimiser(method, rate, start):
    scene = mse_scene()
    target = torch.cov(two_correlated(1000).mT)
    b = torch.linalg.cholesky(target)[1, 0]
    at = torch.full((2,), start, dtype=torch.float64, requires_grad=True)
    optimizer = descent.METHODS[method]([at], lr=rate)
    places = [at.detach().clone()]
    for _ in range(40):
        optimizer.zero_grad()
        slice_loss(*at, b, target).backward()
        optimizer.step()
        places.append(at.detach().clone())
    words = scene.move(start, method, rate, 40)
    drawn = np.stack(scene.line.get_data(), axis=-1)
    np.testing.assert_allclose(drawn, torch.stack(places), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(np.ravel(scene.start.get_data()), drawn[0])
    np.testing.assert_array_equal(np.ravel(scene.end.get_data()), drawn[-1])
    np.testing.assert_array_equal(np.ravel(scene.now.get_data()), [40, scene.curve.get_ydata()[40]])
    assert f"MSE {slice_loss(*at, b, target):.3g}" in words


def test_the_surfaces_are_the_losses_of_the_models():
    scene = mse_scene()
    model = CovarianceLearner(2, dtype=torch.float64)
    model.scale.assign(torch.tensor([[0.5, 0.0], [0.0, 2.0]], dtype=torch.float64))
    with torch.no_grad():
        model.scale.below_diagonal.copy_(scene.below_diagonal)
    at = model.scale.log_diagonal.detach()
    torch.testing.assert_close(scene.loss(at), model(scene.target).detach())

    scene = likelihood_scene()
    data = two_correlated(100)
    best = maximum_likelihood(data)
    column = torch.tensor([1.3, -0.2], dtype=torch.float64)
    factor = torch.stack([column, torch.tensor([0.0, best.scale_tril[1, 1]])], dim=-1)
    theirs, lowest = (
        -MultivariateNormal(best.loc, scale_tril=scale_tril).log_prob(data).mean()
        for scale_tril in (factor, best.scale_tril)
    )
    torch.testing.assert_close(scene.gap(column), theirs - lowest)


@pytest.mark.parametrize("unit", likelihood_descent.UNITS)
@pytest.mark.parametrize(("method", "rate"), [("gradient descent", 0.03), ("Adam", 0.1)])
def test_a_path_on_the_likelihood_is_that_of_the_optimiser_in_its_unit(method, rate, unit):
    """By torch.distributions, in the numbers log L11 and L21, on data in the new unit."""
    scale = torch.tensor([1.0, unit], dtype=torch.float64)
    data = two_correlated(100) * scale
    best = maximum_likelihood(data)
    l11, l21 = torch.tensor(likelihood_descent.START, dtype=torch.float64) * scale
    free = torch.stack([l11.log(), l21]).requires_grad_()
    optimizer = descent.METHODS[method]([free], lr=rate)
    zero = torch.zeros((), dtype=torch.float64)
    for _ in range(15):
        entries = torch.stack([free[0].exp(), zero, free[1], best.scale_tril[1, 1]])
        model = MultivariateNormal(best.loc, scale_tril=entries.reshape(2, 2))
        optimizer.zero_grad()
        (-model.log_prob(data).mean()).backward()
        optimizer.step()
    scene = likelihood_scene()
    scene.move(method, rate, unit, 15)
    reached = torch.stack([free[0].exp(), free[1] / unit]).detach()
    np.testing.assert_allclose(np.ravel(scene.end.get_data()), reached, rtol=1e-8)


def test_the_natural_gradient_notices_no_unit_and_the_others_do():
    scene = likelihood_scene()
    spread = {
        method: scene.paths(method, 0.1).points[5].std(dim=0).max().item()
        for method in (*descent.METHODS, likelihood_descent.NATURAL)
    }
    assert spread.pop(likelihood_descent.NATURAL) < 1e-12
    assert min(spread.values()) > 0.05
    assert scene.move(likelihood_descent.NATURAL, 0.1, 5.0, 1).endswith("gap below 1e-12.")


def test_natural_steps_of_the_picture_are_those_of_fit():
    scene = likelihood_scene()
    model = GaussianLikelihood(2, dtype=torch.float64)
    column = torch.tensor(likelihood_descent.START, dtype=torch.float64)
    model.assign(scene.best.loc, scene.factor(column))
    fit(model, two_correlated(100), max_steps=1)
    points = scene.paths(likelihood_descent.NATURAL, 0.1).points
    torch.testing.assert_close(points[1, 3], model.scale_tril.detach()[:, 0])


def test_an_optimiser_that_runs_away_is_drawn_as_far_as_it_is_finite():
    scene = mse_scene()
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1e9, 0.0], [math.nan, 0.0], [0.0, 0.0]])
    path = descent.Path(points, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert scene.follow(path, 1) == "MSE 2"
    assert scene.follow(path, 2) == "MSE 3, outside the picture at (1e+09, 0)"
    assert scene.follow(path, 4) == "run away, with no finite loss after step 2"
    drawn = (scene.line.get_data(), scene.curve.get_data())
    assert [len(values) for pair in drawn for values in pair] == [3, 3, 3, 3]
    infinite = descent.Path(points[:2], torch.tensor([1.0, math.inf]))
    assert scene.follow(infinite, 1) == "run away, with no finite loss after step 0"


def test_a_height_of_zero_is_drawn_on_the_edge_and_said():
    scene = mse_scene()
    path = descent.Path(torch.zeros(2, 2), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert scene.follow(path, 1) == "MSE below 1e-12"
    assert scene.curve.get_ydata()[-1] == 1e-12


def test_a_height_that_is_just_seen_is_said():
    scene = mse_scene()
    heights = torch.tensor([1.0, ROUNDING], dtype=torch.float64)
    assert scene.follow(descent.Path(torch.zeros(2, 2), heights), 1) == "MSE 1e-12"


def test_the_curve_reaches_down_to_what_counts_as_zero():
    curve = mse_descent.MseDescentScene().axes[1]
    assert curve.get_ylim() == (ROUNDING, 1e3)
    assert curve.get_xlim() == (0, mse_descent.N_STEPS)


def test_a_place_on_the_edge_is_in_the_picture():
    scene = mse_scene()
    low, high = scene.x_limits
    assert (low, high) == scene.y_limits == (-5.0, 1.3)
    beyond = 1e-6
    for x, y in ((low, high), (high, low)):
        assert said_at(scene, x, y) == "MSE 2"
    for x, y in ((low - beyond, 0), (high + beyond, 0), (0, low - beyond), (0, high + beyond)):
        assert "outside the picture" in said_at(scene, x, y)


def said_at(scene: descent.DescentScene, x: float, y: float) -> str:
    points = torch.tensor([[0.0, 0.0], [x, y]], dtype=torch.float64)
    return scene.follow(descent.Path(points, torch.tensor([1.0, 2.0])), 1)


def test_a_path_far_away_is_drawn_where_a_renderer_can_take_it():
    scene = mse_scene()
    said_at(scene, -1e9, 1e9)
    assert np.ravel(scene.end.get_data()).tolist() == [-1000, 1000]


# The noise floor -----------------------------------------------------------------------------


def test_the_record_holds_every_pair_once():
    pairs = [(run.rate, run.batch_size) for run in noise_floor.load_runs()]
    assert pairs == [(rate, size) for rate in noise_floor.RATES for size in noise_floor.BATCH_SIZES]
    for run in noise_floor.load_runs():
        assert run.step == noise_floor.log_spaced(noise_floor.N_STEPS)
        assert len(run.gap) == len(run.step)
        assert run.step[-1] == noise_floor.N_STEPS


def test_the_levels_are_those_that_notebook_4_prints():
    notebook = nbformat.read(next((ROOT / "notebooks").glob("04_*")), nbformat.NO_CONVERT)
    printed = next(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "mean gap in p/2N" in output.get("text", "")
    )
    rows = [line.replace(",", "").split() for line in printed.splitlines()[1:]]
    levels = {(run.rate, run.batch_size): run.level for run in noise_floor.load_runs()}
    assert len(rows) == 4
    for _, rate, _, size, level, _ in rows:
        assert round(levels[float(rate), int(size)], 2) == pytest.approx(float(level), abs=0.0051)


def test_the_batch_sizes_are_the_only_ticks_of_their_axis():
    levels = noise_floor.NoiseFloorScene().axes[1]
    assert levels.get_xticks().tolist() == list(noise_floor.BATCH_SIZES)
    assert levels.get_xticks(minor=True).size == 0


def test_the_picture_shows_the_run_that_is_chosen():
    picture = movable("explore_noise_floor")
    words = picture.move(rate=0.03, batch_size=128)
    (run,) = (run for run in noise_floor.load_runs() if run[:2] == (0.03, 128))
    assert list(picture.scene.curve.get_ydata()) == run.gap
    assert picture.scene.chosen_rate.get_ydata()[4] == run.level
    assert f"{run.level:.2g} sampling errors" in words


def test_a_gap_that_falls_is_told_from_one_that_stays():
    slow = noise_floor.make_run(0.001, 512, n_steps=1)
    assert slow.falling
    assert slow.gap[0] > slow.level
    falling = {run[:2] for run in noise_floor.load_runs() if run.falling}
    assert falling == {(0.001, size) for size in noise_floor.BATCH_SIZES}


def test_a_run_that_is_still_falling_is_not_called_a_floor():
    picture = movable("explore_noise_floor")
    assert "is still falling, at 1.6" in picture.move(rate=0.001)
    words = picture.move(rate=0.1)
    assert "stays at about 7.5 sampling errors" in words
    assert "50 epochs" in words
    chosen = np.ravel(picture.scene.chosen.get_data())
    assert chosen.tolist() == [32, 7.49]


# The command ---------------------------------------------------------------------------------


def test_the_command_times_every_picture(capsys, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(command, "N_MOVES", 1)
    command.main(["--time"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(PICTURES)
    assert all(len(line.split()) == 4 for line in lines[1:])
    assert threads == [1]


def test_the_times_are_those_of_the_clock(capsys, monkeypatch):
    class Nothing:
        def __init__(self) -> None:
            self.controls = {"x": engine.slider("number", 1.0, 0.0, 2.0, 0.5)}

        def move(self, x: float) -> None:
            pass

    # Opening takes 0.9994 s, the moves 5.6, 1 and 2 ms: 0.999 and 1.001 are told from 1.
    ticks = iter([7, 7.9994, 8, 8.0056, 9, 9.001, 10, 10.002])
    monkeypatch.setattr(command, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(command, "N_MOVES", 3)
    monkeypatch.setattr(command, "PICTURES", ("nothing",))
    monkeypatch.setattr(command.interactive, "nothing", Nothing, raising=False)
    command.main(["--time"])
    assert capsys.readouterr().out.splitlines() == [
        "picture                       to open   median  longest   ms, 3 moves",
        "nothing                           999        2        6",
    ]


def test_a_move_is_made_while_it_is_timed():
    made = []
    assert command.seconds(lambda: made.append(1)) < 5
    assert made == [1]


def test_the_places_of_a_control_are_all_it_has():
    assert command.places(engine.slider("part", 0.0, -0.95, 0.95, 0.05))[::19] == pytest.approx(
        [-0.95, 0.0, 0.95]
    )
    assert max(command.places(engine.slider("part", 0.0, -0.95, 0.95, 0.05))) == 0.95
    assert command.places(engine.count_slider("steps", 2, 4)) == [0, 1, 2, 3, 4]
    assert command.places(engine.choice_slider("rate", 0.1, (0.1, 1.0))) == [0.1, 1.0]
    assert command.places(engine.choice("name", ["a", "b"])) == ["a", "b"]


def test_the_command_is_run_by_its_name(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["python", "--help"])
    monkeypatch.delitem(sys.modules, command.__name__)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("helpers.interactive", run_name="__main__")
    assert ended.value.code == 0
    assert "usage: python -m helpers.interactive" in capsys.readouterr().out


def test_the_command_asks_for_one_of_two_things(capsys, monkeypatch):
    recorded = []
    monkeypatch.setattr(noise_floor, "record", lambda: recorded.append(1))
    command.main(["--record"])
    assert recorded == [1]
    for wrong in ([], ["--time", "--record"]):
        with pytest.raises(SystemExit):
            command.main(wrong)
        assert "--record" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("usage: python -m helpers.interactive [-h] (--time | --record)")
    assert " ".join(command.__doc__.split()) in told
    assert "--time time a move of each picture" in told
    assert "--record train the models of the noise floor" in told


def test_the_command_records_every_run(monkeypatch, tmp_path):
    path = tmp_path / "runs.json"
    runs = []

    def made(rate, size):
        runs.append((rate, size))
        return noise_floor.Run(rate, size, [1], [1.0], 1.0, False)

    monkeypatch.setattr(noise_floor, "make_run", made)
    noise_floor.record(path)
    assert [(run["rate"], run["batch_size"]) for run in json.loads(path.read_text())] == runs
    assert len(runs) == len(noise_floor.RATES) * len(noise_floor.BATCH_SIZES)
    assert len(noise_floor.load_runs(path)) == len(runs)


def test_the_colours_are_those_of_the_figures():
    scene = shared("explore_ellipse").scene
    assert scene.ellipse.get_color() == COLORS["truth"]
    assert scene.factor_texts[0].get_color() == COLORS["estimate"]
