"""Drawn geometry against eigenvectors, drawn numbers against their source, saved bytes."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

mpl.use("Agg")
import matplotlib.pyplot as plt

from helpers import plotting
from helpers.plotting.style import text_color

N_POINTS = 200  # points of a drawn ellipse

COVARIANCES = {
    "positive correlation": [[2.0, 1.2], [1.2, 1.0]],
    "negative correlation": [[2.0, -1.2], [-1.2, 1.0]],
    "second variable longer": [[0.5, -0.6], [-0.6, 3.0]],
    "no correlation": [[0.3, 0.0], [0.0, 4.0]],
    "equal eigenvalues": [[1.7, 0.0], [0.0, 1.7]],
    "nearly singular": [[1.0, 1.0 - 1e-9], [1.0 - 1e-9, 1.0]],
    "units far apart": [[1e-8, 3e-3], [3e-3, 1e6]],
}


@pytest.fixture
def ax():
    with plt.style.context(plotting.STYLE):
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def make_history(step, gap):
    step = torch.as_tensor(step)
    return History(step=step, gap=torch.as_tensor(gap, dtype=torch.float64), time=0.01 * step)


@dataclass
class History:
    """What plot_gap needs of a history."""

    step: torch.Tensor
    gap: torch.Tensor
    time: torch.Tensor


# Ellipses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=COVARIANCES.keys())
@pytest.mark.parametrize("mass", [0.5, 0.95])
def test_drawn_ellipse_has_the_eigenvectors_as_axes(ax, covariance, mass):
    covariance = np.array(covariance)
    loc = np.array([3.0, -1.0])
    line = plotting.plot_ellipse(ax, loc, np.linalg.cholesky(covariance), mass=mass, color="black")
    from_center = line.get_xydata() - loc  # (n_points, 2)

    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    r = math.sqrt(scipy.stats.chi2(df=2).ppf(mass))
    along = from_center @ eigenvectors  # (n_points, 2), along each principal axis
    # In the coordinates of the axes the curve is (r sqrt(l1) cos t, r sqrt(l2) sin t). The drawn
    # points are 2 pi / 199 apart in t, so the nearest one to an end misses it by at most
    # 1 - cos(pi / 199) = 1.3e-4 of the half-length.
    half_lengths = r * np.sqrt(eigenvalues)
    step = math.pi / (N_POINTS - 1)
    # cov - L L^T is of the order of eps times the largest eigenvalue: so is the smallest one.
    rounding = r * math.sqrt(8 * np.finfo(float).eps * eigenvalues[-1])
    assert np.all(along.max(axis=0) <= half_lengths * (1 + 1e-12) + rounding)
    assert np.all(along.max(axis=0) >= half_lengths * math.cos(step) - rounding)
    assert np.all(along.min(axis=0) <= -half_lengths * math.cos(step) + rounding)


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=COVARIANCES.keys())
def test_the_farthest_drawn_point_lies_along_the_first_eigenvector(ax, covariance):
    covariance = np.array(covariance)
    line = plotting.plot_ellipse(ax, [0.0, 0.0], np.linalg.cholesky(covariance), color="black")
    points = line.get_xydata()  # (n_points, 2)
    farthest = points[np.linalg.norm(points, axis=1).argmax()]

    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    across, along = np.abs(farthest @ eigenvectors)  # by rising eigenvalue
    # One step of t away from the end, the point is off the axis by sin(step) half-widths. A circle
    # has no first axis, and there the bound is the radius.
    step = 2 * math.pi / (N_POINTS - 1)
    isotropic = eigenvalues[0] == eigenvalues[1]
    r = math.sqrt(-2 * math.log(0.05))
    rounding = r * math.sqrt(8 * np.finfo(float).eps * eigenvalues[1])
    bound = 1.0 if isotropic else math.sin(step)
    assert across <= bound * r * math.sqrt(eigenvalues[0]) + rounding
    if not isotropic:
        assert along >= math.cos(step) * r * math.sqrt(eigenvalues[1])


entries = st.floats(-10, 10)
scales = st.floats(0.01, 10)


@given(l11=scales, l21=entries, l22=scales, mu=st.tuples(entries, entries), mass=st.floats(0.01, 1))
def test_every_point_is_at_the_mahalanobis_distance_of_the_quantile(l11, l21, l22, mu, mass):
    mass = min(mass, 0.999)
    factor = np.array([[l11, 0.0], [l21, l22]])
    points = plotting.ellipse_points(mu, factor, mass=mass, n_points=37)
    standardised = scipy.linalg.solve_triangular(factor, (points - mu).T, lower=True)  # (2, 37)
    r2 = scipy.stats.chi2(df=2).ppf(mass)
    # Taking mu away again loses eps |mu|, which the solve magnifies by up to
    # |L| / (l11 l22) <= 2e5 for these ranges; 2e5 * 10 * 2e-16 relative to r >= 0.14 is 3e-9.
    np.testing.assert_allclose((standardised**2).sum(axis=0), r2, rtol=1e-7)


@given(l11=scales, l21=entries, l22=scales)
def test_a_random_ellipse_is_as_long_as_the_singular_values_say(l11, l21, l22):
    factor = np.array([[l11, 0.0], [l21, l22]])
    points = plotting.ellipse_points([0.0, 0.0], factor, radius=1.0, n_points=2001)
    distances = np.linalg.norm(points, axis=1)
    longest, shortest = np.linalg.svd(factor, compute_uv=False)
    # The nearest point is within pi / 2000 in t of either end: for the long one a relative error
    # of (pi / 2000)^2 / 2 = 1.3e-6; across the short one the long one leaks in, see below.
    assert longest * (1 - 2e-6) <= distances.max() <= longest * (1 + 1e-12)
    leak = longest * math.sin(math.pi / 2000)
    assert shortest * (1 - 1e-9) <= distances.min() <= math.hypot(shortest, leak)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.95])
def test_the_share_of_samples_inside_is_the_mass(mass):
    torch.manual_seed(1)
    n = 100_000
    loc = torch.tensor([1.0, -2.0], dtype=torch.float64)
    factor = torch.tensor([[2.0, 0.0], [-1.5, 0.5]], dtype=torch.float64)
    gaussian = torch.distributions.MultivariateNormal(loc, scale_tril=factor)
    samples = gaussian.sample((n,)).numpy()  # (n, 2)
    boundary = mpl.path.Path(plotting.ellipse_points(loc, factor, mass=mass, n_points=2000))
    share = boundary.contains_points(samples).mean()
    # Binomial; a polygon with 2000 corners misses 2e-6 of the area, which is nothing beside it.
    assert abs(share - mass) < 4 * math.sqrt(mass * (1 - mass) / n)


def test_a_singular_factor_gives_a_segment():
    points = plotting.ellipse_points([1.0, 1.0], [[2.0, 0.0], [1.0, 0.0]], radius=1.0)
    # Adding loc and taking it away again rounds.
    np.testing.assert_allclose(points[:, 0] - 1.0, 2.0 * (points[:, 1] - 1.0), rtol=0, atol=1e-15)
    # The first point is at t = 0, the end of the segment, exactly.
    assert points[:, 0].max() == 3.0


def test_no_mass_means_radius_one():
    factor = [[2.0, 0.0], [1.0, 3.0]]
    np.testing.assert_array_equal(
        plotting.ellipse_points([0.0, 0.0], factor, mass=None),
        plotting.ellipse_points([0.0, 0.0], factor, radius=1.0),
    )


def test_the_curve_is_closed_and_has_the_number_of_points_asked_for():
    points = plotting.ellipse_points([0.3, 0.1], [[2.0, 0.0], [1.0, 3.0]], n_points=11)
    assert points.shape == (11, 2)
    np.testing.assert_array_equal(points[0], points[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_with_gradients_are_drawn_and_left_as_they_were(ax, dtype):
    loc = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    factor = torch.tensor([[1.5, 0.0], [0.5, 0.25]], dtype=dtype, requires_grad=True)
    before = loc.detach().clone(), factor.detach().clone()
    drawn = plotting.plot_ellipse(ax, loc, factor, color="black", fill=True).get_xydata()
    # All these numbers are exact in either precision, and the arithmetic is in float64.
    expected = plotting.ellipse_points([1.0, 2.0], [[1.5, 0.0], [0.5, 0.25]])
    np.testing.assert_array_equal(drawn, expected)
    assert torch.equal(loc, before[0])
    assert torch.equal(factor, before[1])
    assert loc.requires_grad
    assert len(ax.patches) == 1


FACTOR = [[1.0, 0.0], [0.5, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], FACTOR), r"loc: expected shape \(2\), got \(1,\)"),
        (([0.0, math.nan], FACTOR), r"loc: expected finite .* index \(1,\)"),
        (([0.0, 0.0], np.eye(3)), r"scale_tril: expected shape \(2, 2\), got \(3, 3\)"),
        (([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]), "scale_tril: .*is it the covariance"),
    ],
)
def test_bad_ellipses_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.ellipse_points(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mass": 0.0}, "mass: expected a finite number between 0 and 1, got 0.0"),
        ({"mass": 1.0}, "mass: expected a finite number between 0 and 1, got 1.0"),
        ({"mass": math.nan}, "mass"),
        ({"radius": 0.0}, "radius: expected a finite number above 0"),
        ({"n_points": 3}, "n_points: expected a whole number at least 4, got 3"),
    ],
)
def test_bad_options_of_an_ellipse_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plotting.ellipse_points([0.0, 0.0], FACTOR, **options)


# Principal axes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=COVARIANCES.keys())
def test_principal_axes_rebuild_the_covariance(covariance):
    lengths, directions = plotting.principal_axes(torch.tensor(covariance, dtype=torch.float64))
    rebuilt = directions @ np.diag(lengths**2) @ directions.T
    # eigh is backward stable: a few eps of the largest eigenvalue.
    np.testing.assert_allclose(rebuilt, covariance, rtol=0, atol=1e-14 * np.max(covariance))
    np.testing.assert_allclose(directions.T @ directions, np.eye(2), rtol=0, atol=1e-14)
    assert lengths[0] >= lengths[1] >= 0.0


def test_the_sign_of_a_direction_does_not_hang_on_rounding():
    for off in (-1e-13, 0.0, 1e-13):
        _, directions = plotting.principal_axes([[1.0 + off, -0.5], [-0.5, 1.0]])
        # The directions turn with the perturbation, by 1e-13 / 4 and rounding.
        expected = np.array([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)
        np.testing.assert_allclose(directions, expected, rtol=0, atol=1e-13)


def test_a_rank_one_matrix_has_an_axis_of_length_zero():
    lengths, _ = plotting.principal_axes(torch.tensor([[4.0, 2.0], [2.0, 1.0]]))
    # The eigenvalue 0 comes out within eps of 5, and its root within sqrt of that.
    np.testing.assert_allclose(lengths, [math.sqrt(5), 0.0], atol=1e-7)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "no negative eigenvalue, got -1 as the smallest"),
        ([[1.0, 1.0 + 1e-6], [1.0 + 1e-6, 1.0]], "no negative eigenvalue, got -1e-06"),
        ([[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        ([[1.0, math.inf], [math.inf, 1.0]], "finite"),
        ([[1.0, 0.0]], "shape"),
    ],
)
def test_bad_covariances_have_no_axes(matrix, message):
    with pytest.raises(ValueError, match=f"covariance_matrix: .*{message}"):
        plotting.principal_axes(matrix)


def test_rounding_in_float32_is_no_error(ax):
    third = torch.tensor(1 / 3)
    covariance = torch.stack([third, third, torch.nextafter(third, torch.tensor(1.0)), third])
    lengths, _ = plotting.principal_axes(covariance.view(2, 2))
    quiver = plotting.plot_principal_axes(ax, [0.0, 0.0], covariance.view(2, 2), color="black")
    # float32 eps is 1.2e-7; the root of a rounded 0 is up to 2e-4.
    np.testing.assert_allclose(lengths, [math.sqrt(2 / 3), 0.0], atol=3e-4)
    np.testing.assert_allclose(np.hypot(quiver.U, quiver.V), lengths, rtol=1e-12)


def test_arrows_are_drawn_in_the_plane_only(ax):
    with pytest.raises(ValueError, match=r"covariance_matrix: expected shape \(2, 2\), got \(3, 3"):
        plotting.plot_principal_axes(ax, [0.0, 0.0], np.eye(3), color="black")


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=COVARIANCES.keys())
def test_arrows_end_on_the_ellipse_of_radius_one_and_inside_the_picture(ax, covariance):
    loc = np.array([5.0, 7.0])
    quiver = plotting.plot_principal_axes(ax, loc, covariance, color="black")
    arrows = np.stack([quiver.U, quiver.V], axis=-1)  # (2, 2)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    for arrow, eigenvalue, vector in zip(arrows[::-1], eigenvalues, eigenvectors.T, strict=True):
        # For equal eigenvalues both libraries return the axes of the coordinates.
        expected = math.sqrt(eigenvalue)
        assert abs(abs(arrow @ vector) - expected) <= 1e-12 * max(1.0, math.sqrt(eigenvalues[-1]))
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for x, y in [loc, *(loc + arrows)]:
        assert left <= x <= right
        assert bottom <= y <= top


# Points and paths ---------------------------------------------------------------------------------


def test_points_are_drawn_where_they_are(ax):
    points = torch.tensor([[1.0, 2.0], [3.0, -4.0]], requires_grad=True)
    drawn = plotting.plot_points(ax, points, color=plotting.COLORS["data"], label="samples")
    np.testing.assert_array_equal(drawn.get_offsets(), [[1.0, 2.0], [3.0, -4.0]])
    assert to_hex(drawn.get_facecolor()[0]) == plotting.COLORS["data"].lower()
    assert drawn.get_label() == "samples"


@pytest.mark.parametrize("points", [np.zeros((3, 3)), np.zeros(2), np.zeros((0, 2))])
def test_points_of_another_shape_are_refused(ax, points):
    with pytest.raises(ValueError, match=r"points: expected shape \(any, 2\), got"):
        plotting.plot_points(ax, points, color="black")


def test_a_path_has_a_hollow_start_and_a_filled_end(ax):
    path = torch.tensor([[0.0, 1.0], [0.5, 0.5], [2.0, 3.0]])
    line, start, end = plotting.plot_path(ax, path, color="#009E73", label="steps")
    np.testing.assert_array_equal(line.get_xydata(), path)
    np.testing.assert_array_equal(start.get_xydata(), path[:1])
    np.testing.assert_array_equal(end.get_xydata(), path[-1:])
    assert start.get_markerfacecolor() == "white"
    assert end.get_markerfacecolor() == "#009E73"
    assert ax.get_legend_handles_labels()[1] == ["steps"]


# Matrices -----------------------------------------------------------------------------------------


def drawn_numbers(ax, shape):
    return np.array([text.get_text() for text in ax.texts]).reshape(shape)


def test_the_text_of_a_heat_map_is_its_numbers(ax):
    matrix = torch.tensor([[1.234, -0.5], [-0.001, 20.0], [3.0, 0.046]])
    plotting.plot_matrix(ax, matrix, title="factor")
    expected = [["1.23", "-0.50"], ["0.00", "20.00"], ["3.00", "0.05"]]
    np.testing.assert_array_equal(drawn_numbers(ax, (3, 2)), expected)
    for text, (row, column) in zip(ax.texts, np.ndindex(3, 2), strict=True):
        assert text.get_position() == (column + 0.5, row + 0.5)
    # Row 0 is at the top, as in print.
    assert ax.get_ylim() == (3.0, 0.0)
    assert ax.get_title() == "factor"


def test_the_colour_scale_is_symmetric_about_the_centre(ax):
    mesh = plotting.plot_matrix(ax, [[1.0, -4.0], [0.0, 2.0]])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-4.0, 4.0)
    np.testing.assert_array_equal(mesh.get_array(), [[1.0, -4.0], [0.0, 2.0]])
    mesh = plotting.plot_matrix(ax.figure.add_subplot(), [[2.0, 1.5]], center=1.0)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0.0, 2.0)
    mesh = plotting.plot_matrix(ax.figure.add_subplot(), [[2.0, 1.5]], vmax=3.0)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-3.0, 3.0)


def test_a_matrix_of_zeros_is_drawn(ax):
    mesh = plotting.plot_matrix(ax, np.zeros((2, 2)))
    assert mesh.norm.vmin < 0.0 < mesh.norm.vmax


def test_cells_are_square_and_their_numbers_fit(ax):
    plotting.plot_matrix(ax, -np.ones((12, 12)))
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    # Half a pixel of rounding in the layout.
    assert abs(box.width - box.height) < 0.5
    assert all(text.get_window_extent().width < box.width / 12 for text in ax.texts)


@pytest.mark.parametrize(("dim", "annotated"), [(12, True), (13, False)])
def test_numbers_give_way_to_a_colour_bar_above_twelve(ax, dim, annotated):
    plotting.plot_matrix(ax, np.eye(dim))
    assert len(ax.texts) == (dim * dim if annotated else 0)
    assert len(ax.figure.axes) == (1 if annotated else 2)


def test_labels_name_rows_and_columns(ax):
    plotting.plot_matrix(ax, np.eye(2), labels=["petal length", "ash"])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["petal length", "ash"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["petal length", "ash"]


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (np.zeros(3), {}, r"matrix: expected shape \(any, any\), got \(3,\)"),
        ([[math.nan]], {}, "matrix: expected finite"),
        (np.eye(2), {"labels": ["a"]}, "labels: .* got 1 labels"),
        (np.ones((2, 3)), {"labels": ["a", "b"]}, "labels"),
        (np.eye(2), {"vmax": 0.0}, "vmax: expected a finite number above 0"),
    ],
)
def test_bad_matrices_are_refused(ax, matrix, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.plot_matrix(ax, matrix, **options)


def test_matrices_share_one_scale_and_one_colour_bar():
    small, large = torch.eye(2), torch.tensor([[1.0, -3.0], [-3.0, 2.0]])
    with plt.style.context(plotting.STYLE):
        fig = plotting.plot_matrices({"small": small, "large": large}, labels=["a", "b"])
    *panels, bar = fig.axes
    limits = [panel.collections[0].get_clim() for panel in panels]
    plt.close(fig)
    assert [panel.get_title() for panel in panels] == ["small", "large"]
    assert limits == [(-3.0, 3.0), (-3.0, 3.0)]
    assert bar.get_label() == "<colorbar>"
    assert drawn_numbers(panels[1], (2, 2)).tolist() == [["1.00", "-3.00"], ["-3.00", "2.00"]]


def test_no_matrices_are_refused():
    with pytest.raises(ValueError, match="matrices: expected at least one"):
        plotting.plot_matrices({})


# Loss surfaces ------------------------------------------------------------------------------------


def bowl(x, y):
    return 5.0 + x**2 + 4.0 * y**2


def test_a_loss_surface_is_the_loss_on_the_right_axes(ax):
    x, y = torch.linspace(-2, 2, 81), torch.linspace(-1, 1, 61)
    filled = plotting.plot_loss_surface(ax, bowl, x, y, xlabel="a", ylabel="b", levels=8)
    contours = ax.collections[-1]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert len(contours.levels) == 8
    drawn = 0
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        # Linear interpolation on cells of side h is off by at most h^2 / 8 times the curvature:
        # 0.05^2 / 8 * 2 + (1/30)^2 / 8 * 8 = 1.8e-3.
        np.testing.assert_allclose(bowl(*path.vertices.T), level, rtol=0, atol=1.8e-3)
        drawn += len(path.vertices)
    assert drawn > 100
    # The grid is float32: its centre misses 0 by 1e-7, and the minimum by the square of that.
    np.testing.assert_allclose(filled.levels[[0, -1]], [5.0, 13.0], rtol=0, atol=1e-12)


def test_levels_are_even_in_the_logarithm_of_the_height_above_the_minimum(ax):
    x = torch.linspace(-1, 1, 101)
    filled = plotting.plot_loss_surface(ax, bowl, x, x, xlabel="a", ylabel="b", levels=6)
    ratios = np.diff(np.log(filled.levels[1:] - 5.0))
    assert ratios[0] > 0.1
    # Taking the 5 away again costs eps * 5 / (lowest height, above 0.01).
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)


def test_where_the_loss_is_not_finite_nothing_is_drawn(ax):
    x = torch.linspace(-1, 1, 41)
    plotting.plot_loss_surface(
        ax, lambda x, y: -torch.log(x) + y**2, x, x, xlabel="variance", ylabel="b"
    )
    corners = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    assert corners[:, 0].min() > 0.0
    assert ax.get_xlim() == (-1.0, 1.0)


def test_a_path_that_leaves_the_picture_does_not_move_its_limits(ax):
    x, y = torch.linspace(-1, 2, 5), torch.linspace(0, 1, 5)
    plotting.plot_loss_surface(ax, bowl, x, y, xlabel="a", ylabel="b")
    plotting.plot_path(ax, [[0.0, 0.5], [30.0, -40.0]], color="black")
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1.0, 2.0), (0.0, 1.0))


def test_the_loss_is_called_without_gradients(ax):
    seen = []
    weight = torch.tensor(2.0, requires_grad=True, dtype=torch.float64)

    def loss(x, y):
        value = weight * (x**2 + y**2)
        seen.append(value.requires_grad)
        return value

    x = torch.linspace(-1, 1, 11)
    plotting.plot_loss_surface(ax, loss, x, x, xlabel="a", ylabel="b")
    assert seen == [False]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x, y: 0 * x, "loss: expected finite values that differ"),
        (lambda x, y: x / 0 * 0, "loss: expected finite values that differ"),
        (lambda x, y: x.sum(), r"loss: .*shape \(5, 7\).* got \(\)"),
    ],
)
def test_bad_losses_are_refused(ax, loss, message):
    with pytest.raises(ValueError, match=message):
        plotting.plot_loss_surface(
            ax, loss, torch.linspace(0, 1, 7), torch.linspace(0, 1, 5), xlabel="a", ylabel="b"
        )


# Training curves ----------------------------------------------------------------------------------


def test_the_gap_is_drawn_on_a_log_axis_with_the_sampling_error(ax):
    history = make_history([0, 1, 2], [1.0, 0.1, 0.001])
    (line,) = plotting.plot_gap(ax, {"Adam": history}, sampling_error=0.05)
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1.0], [1, 0.1], [2, 0.001]])
    reference = ax.lines[-1]
    assert set(reference.get_ydata()) == {0.05}
    assert reference.get_linestyle() == "--"
    assert ax.get_yscale() == "log"
    assert ax.get_legend_handles_labels()[1] == ["Adam", "sampling error p/2N"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "gap to the exact optimum (nats)")


def test_of_a_batch_the_worst_gap_is_drawn(ax):
    gap = [[[1.0, 2.0]], [[0.3, 0.1]], [[0.01, 0.02]]]  # (k, 1, 2)
    (line,) = plotting.plot_gap(ax, {"batch": make_history([0, 1, 2], gap)})
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 0.3, 0.02])


def test_a_gap_of_rounding_is_hidden_and_marked(ax):
    history = make_history([0, 5, 6, 7], [1.0, 1e-9, 0.0, -1e-17])
    (line,) = plotting.plot_gap(ax, {"Newton": history})
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 1e-9, np.nan, np.nan])
    mark = next(line for line in ax.lines if line.get_marker() == "v")
    assert mark.get_xdata() == [6]
    assert "below 1e-12" in ax.get_legend_handles_labels()[1]


def test_no_mark_where_no_gap_vanishes(ax):
    plotting.plot_gap(ax, {"Adam": make_history([0, 1], [1.0, 1e-11])})
    assert len(ax.lines) == 1


def test_methods_differ_in_colour_and_in_dashes(ax):
    histories = {name: make_history([0, 1], [1.0, 0.1]) for name in "abcdef"}
    lines = plotting.plot_gap(ax, histories)
    assert len({to_hex(line.get_color()) for line in lines}) == 6
    # The dash pattern is what a grey print keeps; matplotlib has no public getter for it.
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 6


def test_time_is_in_milliseconds(ax):
    (line,) = plotting.plot_gap(ax, {"Adam": make_history([0, 1], [1.0, 0.1])}, x="time")
    # float32 0.01 s.
    np.testing.assert_allclose(line.get_xdata(), [0.0, 10.0], rtol=1e-7)
    assert ax.get_xlabel() == "time (ms)"


def test_direct_labels_stand_at_the_end_of_a_line_or_at_its_triangle(ax):
    histories = {
        "vanishes": make_history([0, 1, 2], [1.0, 0.1, 1e-15]),
        "ends": make_history([0, 5], [1.0, 0.01]),
    }
    lines = plotting.plot_gap(ax, histories, sampling_error=0.1, direct_labels=True)
    written = {text.get_text(): text for text in ax.texts}
    assert written["vanishes"].xy == (2.0, 0.03)  # a share of the axes
    assert written["ends"].xy == (5.0, pytest.approx(0.01))  # nats
    tones = [text_color(line.get_color()) for line in lines]
    assert [written[name].get_color() for name in histories] == tones
    in_legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert in_legend == ["below 1e-12", "sampling error p/2N"]


@pytest.mark.parametrize(("last", "scale"), [(20, "linear"), (2000, "symlog")])
def test_the_step_axis_turns_logarithmic_when_methods_differ_by_decades(ax, last, scale):
    short = make_history([0, 1, 10], [1.0, 0.1, 0.01])
    long = make_history([0, 1, last], [1.0, 0.1, 0.01])
    plotting.plot_gap(ax, {"short": short, "long": long})
    assert ax.get_xscale() == scale
    if scale == "symlog":
        assert ax.get_xlim()[0] == 0.0


def test_log_x_overrides_the_choice(ax):
    plotting.plot_gap(ax, {"Adam": make_history([0, 1, 10], [1.0, 0.1, 0.01])}, log_x=True)
    assert ax.get_xscale() == "symlog"


GOOD = make_history([0, 1], [1.0, 0.1])


@pytest.mark.parametrize(
    ("histories", "options", "message"),
    [
        ({}, {}, "histories: expected 1 to 6 methods"),
        (dict.fromkeys("abcdefg", GOOD), {}, "histories: .* got 7"),
        ({"a": make_history([0, 1], [1.0, 0.5, 0.1])}, {}, r"\(2,\) and \(3,\)"),
        ({"a": GOOD}, {"x": "epoch"}, "x: expected one of step, time, got 'epoch'"),
        (
            {"a": GOOD},
            {"sampling_error": 0.0},
            "sampling_error: expected .* between 0",
        ),
    ],
)
def test_bad_histories_are_refused(ax, histories, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.plot_gap(ax, histories, **options)


# Pairs --------------------------------------------------------------------------------------------


def test_pairs_show_the_marginals():
    torch.manual_seed(0)
    factor = torch.tensor([[1.0, 0.0, 0.0], [-0.8, 0.5, 0.0], [2.0, 1.0, 3.0]]).double()
    loc = torch.tensor([1.0, 2.0, 3.0]).double()
    points = loc + torch.randn(50, 3).double() @ factor.T
    with plt.style.context(plotting.STYLE):
        fig = plotting.plot_pairs(points, loc, factor, ["a", "b", "c"])
    plt.close(fig)
    assert len(fig.axes) == 6
    covariance = (factor @ factor.T).numpy()
    panels = dict(zip(zip(*np.tril_indices(3), strict=True), fig.axes, strict=True))
    for (row, column), panel in panels.items():
        pair = [column, row]
        drawn = panel.lines[0].get_xydata()
        if row == column:
            scale = math.sqrt(covariance[row, row])
            density = scipy.stats.norm(loc[row].item(), scale).pdf(drawn[:, 0])
            np.testing.assert_allclose(drawn[:, 1], density, rtol=1e-12)
        else:
            np.testing.assert_array_equal(panel.collections[0].get_offsets(), points[:, pair])
            offset = drawn - loc[pair].numpy()
            marginal = covariance[np.ix_(pair, pair)]
            r2 = (offset * np.linalg.solve(marginal, offset.T).T).sum(axis=1)
            # A well-conditioned 2 x 2 system: rounding only.
            np.testing.assert_allclose(r2, scipy.stats.chi2(df=2).ppf(0.95), rtol=1e-12)
    assert panels[2, 1].get_shared_y_axes().joined(panels[2, 0], panels[2, 1])
    assert panels[0, 0].get_xlim() == panels[1, 0].get_xlim() == panels[2, 0].get_xlim()
    assert [panels[2, column].get_xlabel() for column in range(3)] == ["a", "b", "c"]
    assert [panels[row, 0].get_ylabel() for row in range(3)] == ["density", "b", "c"]


@pytest.mark.parametrize("dim", [1, 6])
def test_pairs_of_one_or_of_many_variables_are_refused(dim):
    with pytest.raises(ValueError, match=f"columns of points: .*from 2 to 5, got {dim}"):
        plotting.plot_pairs(np.zeros((4, dim)), np.zeros(dim), np.eye(dim))


def test_pairs_need_a_label_for_each_variable():
    with pytest.raises(ValueError, match="labels: expected 2 labels, got 1"):
        plotting.plot_pairs(np.zeros((4, 2)), np.zeros(2), np.eye(2), ["a"])


# Style --------------------------------------------------------------------------------------------


def test_the_roles_are_those_the_notebooks_use():
    expected = {"data", "truth", "estimate", "start", "gradient", "reference", "warning"}
    assert set(plotting.COLORS) == expected | {"step"}
    assert len(set(plotting.COLORS.values())) == len(expected)
    assert plotting.COLORS["step"] == plotting.COLORS["gradient"]


def test_the_style_sets_nothing_but_what_its_file_says():
    with plt.rc_context():
        plt.rcdefaults()
        before = dict(mpl.rcParams)
        plotting.use_style()
        changed = {key for key in before if mpl.rcParams[key] != before[key]}
    written = set(mpl.rc_params_from_file(plotting.STYLE, use_default_template=False))
    assert changed <= written
    assert {"axes.prop_cycle", "axes.spines.top", "font.size"} <= changed


# Saving -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "drawn" / "here"
    monkeypatch.setenv("COVARIANCE_FIGURES", str(folder))
    return folder


@pytest.fixture
def shown(monkeypatch):
    images = []
    monkeypatch.setattr("IPython.display.display", images.append)
    return images


def draw_figure():
    with plt.style.context(plotting.STYLE):
        fig, ax = plt.subplots()
        plotting.plot_points(ax, [[0.0, 1.0], [2.0, 3.0]], color="black", label="points")
        ax.legend()
    return fig


def test_a_figure_is_saved_closed_and_shown_as_saved(folder, shown):
    fig = draw_figure()
    assert plotting.save_figure(fig, "01_two_points") is None
    written = (folder / "01_two_points.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert [image.data for image in shown] == [written]
    assert not plt.fignum_exists(fig.number)


def test_the_same_figure_gives_the_same_bytes(folder, shown):
    for name in ("01_first", "01_second"):
        plotting.save_figure(draw_figure(), name)
    digests = {hashlib.sha256(image.data).hexdigest() for image in shown}
    assert len(shown) == 2
    assert len(digests) == 1
    assert b"Software" not in shown[0].data
    assert len(list(folder.iterdir())) == 2


def test_without_the_variable_figures_go_beside_the_package(monkeypatch):
    monkeypatch.delenv("COVARIANCE_FIGURES", raising=False)
    package = plotting.STYLE.parents[1]
    assert plotting.style._figures_folder() == package.parent / "figures"


@pytest.mark.parametrize(
    "name",
    ["ellipse", "1_ellipse", "01", "01_", "01_Ellipse", "01_a.png", "../01_a", "01_a__b", "01_a\n"],
)
def test_other_names_are_refused(folder, shown, name):
    fig = draw_figure()
    with pytest.raises(ValueError, match=re.escape(f"got {name!r}")):
        plotting.save_figure(fig, name)
    plt.close(fig)
    assert not folder.exists()
    assert not shown


def test_a_folder_that_cannot_be_written_warns_and_shows(tmp_path, monkeypatch, shown):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("COVARIANCE_FIGURES", str(blocked))
    with pytest.warns(UserWarning, match="01_ellipse is shown but not saved"):
        plotting.save_figure(draw_figure(), "01_ellipse")
    assert len(shown) == 1
    assert blocked.read_text() == "not a folder"
