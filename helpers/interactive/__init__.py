"""Pictures to be moved by hand: sliders in JupyterLab, and a sentence wherever there are none.

Each function returns an object that a cell shows. Beside every one of them stands a still figure.

`python -m helpers.interactive --time` measures how long a move takes.
"""

from helpers.interactive.ellipse import explore_ellipse
from helpers.interactive.engine import InteractivePicture
from helpers.interactive.likelihood_descent import explore_likelihood_descent
from helpers.interactive.mse_descent import explore_mse_descent
from helpers.interactive.noise_floor import explore_noise_floor
from helpers.interactive.steps import explore_step

__all__ = [
    "InteractivePicture",
    "explore_ellipse",
    "explore_likelihood_descent",
    "explore_mse_descent",
    "explore_noise_floor",
    "explore_step",
]
