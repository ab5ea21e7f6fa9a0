"""Figures of the course: points, ellipses, matrices, loss surfaces and training curves.

Colours, sizes and fonts are in ``course.mplstyle``; :func:`use_style` applies it. Every function
draws into the axes it is given and returns what it drew. Tensors on any device, with or without
gradients, and arrays are accepted alike; nothing that is passed in is changed.
"""

from helpers.plotting.curves import plot_gap, plot_loss_surface, plot_path
from helpers.plotting.distances import plot_chi_squared
from helpers.plotting.ellipses import (
    ellipse_points,
    plot_ellipse,
    plot_points,
    plot_principal_axes,
    principal_axes,
)
from helpers.plotting.matrices import plot_matrices, plot_matrix
from helpers.plotting.pairs import plot_pairs
from helpers.plotting.style import COLORS, STYLE, WIDE, save_figure, use_style

__all__ = [
    "COLORS",
    "STYLE",
    "WIDE",
    "ellipse_points",
    "plot_chi_squared",
    "plot_ellipse",
    "plot_gap",
    "plot_loss_surface",
    "plot_matrices",
    "plot_matrix",
    "plot_pairs",
    "plot_path",
    "plot_points",
    "plot_principal_axes",
    "principal_axes",
    "save_figure",
    "use_style",
]
