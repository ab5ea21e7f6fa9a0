"""Shared code of the course: learning a multivariate normal covariance with PyTorch.

Modules stand in floors; each imports only from the floors below it and from those to its left.

0. validation, devices
1. gaussian, statistics, estimators, uncertainty, diagnostics, shrinkage, low_rank,
   cholesky_failure: mathematics on tensors with batch dimensions
2. parametrizations, maps: from unconstrained parameters to `scale_tril`
3. models, checkpoints, interrupts, history, structured, structured_fit, progress, objectives,
   optimizers, training
4. distributed: the same over many files and processes
5. datasets, plotting, exercises, source, environment, crossover, scaling, parametrization_race,
   bad_disk, interactive:
   what serves the notebooks

Floor 5 needs matplotlib, scikit-learn or IPython. The names of floors 4 and 5 are imported when
they are first used, so that `import helpers` costs no more than `import torch`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from helpers.checkpoints import load_checkpoint, save_checkpoint
from helpers.cholesky_failure import explain_cholesky_failure
from helpers.devices import best_device, synchronize, widest_dtype
from helpers.diagnostics import (
    LeaveOneOut,
    Mardia,
    aic,
    bic,
    chi_squared_quantiles,
    distance_band,
    draw_estimates,
    expected_excess,
    leave_one_out,
    log_diagonal_standard_error,
    mardia,
    mean_confidence_radius,
)
from helpers.estimators import maximum_likelihood, minimum_nll
from helpers.gaussian import (
    Gaussian,
    condition,
    entropy,
    kl_divergence,
    log_det,
    log_prob,
    mahalanobis,
    marginal,
)
from helpers.history import History
from helpers.low_rank import LowRankCovariance, factor_analysis, probabilistic_pca
from helpers.maps import (
    ColumnScaledCholesky,
    CorrelationCholesky,
    ExpCholesky,
    MappedCholesky,
    MatrixExponential,
    PrecisionCholesky,
    ProductRoot,
    RowScaledCholesky,
    ScaleMap,
    SoftplusCholesky,
    Spectral,
    cholesky_of_root,
)
from helpers.models import CovarianceLearner, CovarianceModel, GaussianLikelihood
from helpers.optimizers import OnlineNaturalGradient, natural_step, natural_turn
from helpers.parametrizations import LogCholesky, log_cholesky, log_cholesky_inverse
from helpers.shrinkage import inverse_wishart_map, ledoit_wolf, oas, shrunk_covariance
from helpers.statistics import SufficientStatistics, mean_log_prob, whiten
from helpers.structured import DiagonalLikelihood, LowRankLikelihood, ShrinkageLikelihood
from helpers.training import fit
from helpers.uncertainty import (
    Verdict,
    covariance_standard_error,
    expected_gap,
    judge,
    mean_standard_error,
    n_free_parameters,
)

if TYPE_CHECKING:
    from helpers.crossover import load_record, measure_crossover, median_seconds, plot_crossover
    from helpers.datasets import Dataset, load_dataset, two_correlated
    from helpers.distributed import (
        fit_batches,
        fit_data_parallel,
        fit_shards,
        list_shards,
        reduce_statistics,
    )
    from helpers.environment import check_environment
    from helpers.exercises import check, hint, show_progress
    from helpers.interactive import (
        explore_ellipse,
        explore_likelihood_descent,
        explore_mse_descent,
        explore_noise_floor,
        explore_step,
    )
    from helpers.maps import SCALE_MAPS
    from helpers.plotting import (
        COLORS,
        WIDE,
        ellipse_points,
        plot_chi_squared,
        plot_ellipse,
        plot_gap,
        plot_loss_surface,
        plot_matrices,
        plot_matrix,
        plot_pairs,
        plot_path,
        plot_points,
        plot_principal_axes,
        principal_axes,
        save_figure,
        use_style,
    )
    from helpers.source import shorten_errors, show_source

_LAZY = {
    "crossover": ("load_record", "measure_crossover", "median_seconds", "plot_crossover"),
    "datasets": ("Dataset", "load_dataset", "two_correlated"),
    "distributed": (
        "fit_batches",
        "fit_data_parallel",
        "fit_shards",
        "list_shards",
        "reduce_statistics",
    ),
    "environment": ("check_environment",),
    "exercises": ("check", "hint", "show_progress"),
    "interactive": (
        "explore_ellipse",
        "explore_likelihood_descent",
        "explore_mse_descent",
        "explore_noise_floor",
        "explore_step",
    ),
    "maps": ("SCALE_MAPS",),
    "plotting": (
        "COLORS",
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
    ),
    "source": ("shorten_errors", "show_source"),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "COLORS",
    "SCALE_MAPS",
    "WIDE",
    "ColumnScaledCholesky",
    "CorrelationCholesky",
    "CovarianceLearner",
    "CovarianceModel",
    "Dataset",
    "DiagonalLikelihood",
    "ExpCholesky",
    "Gaussian",
    "GaussianLikelihood",
    "History",
    "LeaveOneOut",
    "LogCholesky",
    "LowRankCovariance",
    "LowRankLikelihood",
    "MappedCholesky",
    "Mardia",
    "MatrixExponential",
    "OnlineNaturalGradient",
    "PrecisionCholesky",
    "ProductRoot",
    "RowScaledCholesky",
    "ScaleMap",
    "ShrinkageLikelihood",
    "SoftplusCholesky",
    "Spectral",
    "SufficientStatistics",
    "Verdict",
    "aic",
    "best_device",
    "bic",
    "check",
    "check_environment",
    "chi_squared_quantiles",
    "cholesky_of_root",
    "condition",
    "covariance_standard_error",
    "distance_band",
    "draw_estimates",
    "ellipse_points",
    "entropy",
    "expected_excess",
    "expected_gap",
    "explain_cholesky_failure",
    "explore_ellipse",
    "explore_likelihood_descent",
    "explore_mse_descent",
    "explore_noise_floor",
    "explore_step",
    "factor_analysis",
    "fit",
    "fit_batches",
    "fit_data_parallel",
    "fit_shards",
    "hint",
    "inverse_wishart_map",
    "judge",
    "kl_divergence",
    "leave_one_out",
    "ledoit_wolf",
    "list_shards",
    "load_checkpoint",
    "load_dataset",
    "load_record",
    "log_cholesky",
    "log_cholesky_inverse",
    "log_det",
    "log_diagonal_standard_error",
    "log_prob",
    "mahalanobis",
    "mardia",
    "marginal",
    "maximum_likelihood",
    "mean_confidence_radius",
    "mean_log_prob",
    "mean_standard_error",
    "measure_crossover",
    "median_seconds",
    "minimum_nll",
    "n_free_parameters",
    "natural_step",
    "natural_turn",
    "oas",
    "plot_chi_squared",
    "plot_crossover",
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
    "probabilistic_pca",
    "reduce_statistics",
    "save_checkpoint",
    "save_figure",
    "shorten_errors",
    "show_progress",
    "show_source",
    "shrunk_covariance",
    "synchronize",
    "two_correlated",
    "use_style",
    "whiten",
    "widest_dtype",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'helpers' has no attribute {name!r}")
    value = getattr(import_module(f"helpers.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # the next look-up finds it at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
