"""Interactive pictures: what they show is the helpers' mathematics, and every slider moves it."""

from __future__ import annotations

import gc
import io
import json
import math
from functools import cache
from pathlib import Path

import ipywidgets as widgets
import matplotlib as mpl
import matplotlib.pyplot as plt
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
from helpers.interactive import descent, likelihood_descent, mse_descent, noise_floor, steps
from helpers.interactive.engine import Camera, InteractivePicture, Scene
from helpers.interactive.steps import StepScene
from helpers.plotting import WIDE

ROOT = Path(__file__).parents[1]
PICTURES = command.PICTURES


def new(name: str) -> InteractivePicture:
    return getattr(helpers, name)()


shared = cache(new)  # for tests that do not move it


@cache
def mse_scene() -> mse_descent.MseDescentScene:
    return mse_descent.MseDescentScene()


@cache
def likelihood_scene() -> likelihood_descent.LikelihoodDescentScene:
    return likelihood_descent.LikelihoodDescentScene()


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
    picture = new(name)
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
    sentence = new(name)._repr_mimebundle_()["text/plain"]
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
def test_moves_there_and_back_leave_the_same_picture_and_keep_nothing(name):
    picture, figures = new(name), plt.get_fignums()
    png, words = picture.image.value, picture.words
    first = {key: control.value for key, control in picture.controls.items()}
    moves = list(command.random_moves(picture, 10))
    for move in moves:  # what is computed once is computed now
        move()
    gc.collect()
    objects = len(gc.get_objects())
    for move in moves:
        move()
    gc.collect()
    assert len(gc.get_objects()) < objects + len(moves)  # less than one a move
    picture.move(**first)
    assert (picture.image.value, picture.words) == (png, words)
    assert plt.get_fignums() == figures


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_leaves_the_readers_settings_alone(name):
    params, state = dict(mpl.rcParams), torch.get_rng_state()
    picture = new(name)
    assert dict(mpl.rcParams) == params
    assert torch.equal(torch.get_rng_state(), state)
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if dtype == torch.float32 else torch.float32)
        with mpl.rc_context({"axes.facecolor": "red", "font.size": 4, "lines.linewidth": 9}):
            elsewhere = new(name)
    finally:
        torch.set_default_dtype(dtype)
    assert (elsewhere.image.value, elsewhere.words) == (picture.image.value, picture.words)


def test_an_unknown_control_is_told():
    with pytest.raises(ValueError, match=r"angle: expected one of variance_1, variance_2, corr"):
        helpers.explore_ellipse().move(angle=3)


def darkest(png: bytes, side: str) -> int:
    """Of the middle of a picture, or of a part of it to the right."""
    with Image.open(io.BytesIO(png)) as opened:
        grey = np.asarray(opened.convert("L"))
    height, width = grey.shape
    columns = (
        slice(width // 2 - 20, width // 2 + 60) if side == "left" else slice(3 * width // 4, width)
    )
    return int(grey[height // 2 - 60 : height // 2 + 60, columns].min())


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
    assert darkest(first, "left") < 50 < 240 < darkest(first, "right")
    assert darkest(moved, "right") < 50 < 240 < darkest(moved, "left")
    scene.dot.set_data([0.5], [0.5])
    assert camera.png() == first


# The ellipse ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(1.0, 2.0, 0.35), (4.0, 0.1, -0.95), (0.1, 4.0, 0.95)])
def test_the_ellipse_its_box_and_the_numbers_are_those_of_the_factor(values):
    picture = helpers.explore_ellipse()
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
    picture = helpers.explore_ellipse()
    assert words in picture.move(**dict(zip(picture.controls, values, strict=True)))


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


def test_the_left_step_leaves_the_cone_and_the_right_one_never():
    picture = helpers.explore_step()
    left, right = picture.scene.panels
    for correlation in (0.0, 0.5, 0.95):
        outside = []
        for length in steps._LENGTHS:
            words = picture.move(correlation=correlation, length=length)
            outside.append("In Σ: outside the cone" in words)
            assert "In L: a covariance" in words
            assert bool(len(left.negative.get_xdata())) == outside[-1]
            assert bool(len(left.end.get_xdata())) != outside[-1]
            assert len(right.end.get_xdata()) > 100
        assert outside == sorted(outside)  # once it has left, it does not come back
        assert outside[-1]
        assert not outside[0]


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
    for _ in range(40):
        optimizer.zero_grad()
        slice_loss(*at, b, target).backward()
        optimizer.step()
    words = scene.move(start, method, rate, 40)
    np.testing.assert_allclose(np.ravel(scene.end.get_data()), at.detach(), rtol=1e-9)
    assert len(scene.line.get_xdata()) == 41
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
    assert len(scene.line.get_xdata()) == len(scene.curve.get_xdata()) == 3
    infinite = descent.Path(points[:2], torch.tensor([1.0, math.inf]))
    assert scene.follow(infinite, 1) == "run away, with no finite loss after step 0"


def test_a_height_of_zero_is_drawn_on_the_edge_and_said():
    scene = mse_scene()
    path = descent.Path(torch.zeros(2, 2), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert scene.follow(path, 1) == "MSE below 1e-12"
    assert scene.curve.get_ydata()[-1] == 1e-12


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


def test_a_recorded_run_can_be_made_again():
    (recorded,) = (run for run in noise_floor.load_runs() if run[:2] == (0.1, 256))
    again = noise_floor.make_run(0.1, 256)
    # Written with three digits; on another processor training may end in another fifth one.
    assert again.gap == pytest.approx(recorded.gap, rel=0.01)
    assert again.level == pytest.approx(recorded.level, rel=0.01)
    assert again.step == recorded.step


def test_the_picture_shows_the_run_that_is_chosen():
    picture = helpers.explore_noise_floor()
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
    picture = helpers.explore_noise_floor()
    assert "is still falling, at 1.6" in picture.move(rate=0.001)
    words = picture.move(rate=0.1)
    assert "stays at about 7.5 sampling errors" in words
    assert "50 epochs" in words
    chosen = np.ravel(picture.scene.chosen.get_data())
    assert chosen.tolist() == [32, 7.49]


# The command ---------------------------------------------------------------------------------


def test_the_command_times_every_picture(capsys, monkeypatch):
    monkeypatch.setattr(command, "N_MOVES", 2)
    threads = torch.get_num_threads()
    command.main(["--time"])
    torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(PICTURES)
    assert all(len(line.split()) == 4 for line in lines[1:])


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
    scene = helpers.explore_ellipse().scene
    assert scene.ellipse.get_color() == COLORS["truth"]
    assert scene.factor_texts[0].get_color() == COLORS["estimate"]
