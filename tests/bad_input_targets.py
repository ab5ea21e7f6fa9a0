"""The functions of the table of bad input: good arguments of each, and the exact answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache, partial
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mpmath as mp
import numpy as np
import torch
from bad_inputs import (
    NOT_FINITE,
    OWN,
    REFUSED,
    RIGHT,
    SAME,
    Bad,
    Target,
    covariance,
    factor,
    folder_of_shards,
    gaussian,
    itself,
    learner,
    loc,
    model,
    numbers,
    on_meta,
    samples,
    statistics,
    with_entry,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import helpers
from helpers.crossover import Timing
from helpers.objectives import LikelihoodObjective

mp.mp.dps = 1300  # a sum of numbers between 1e-324 and 1e308, and their squares, loses no digit
LOG_2PI = mp.log(2 * mp.pi)


# Exact answers -------------------------------------------------------------------------------
# Each is the formula in the docstring, in numbers with more digits than any answer needs.


def exactly(tensor: Tensor | np.ndarray) -> mp.matrix:
    """A vector or a matrix without rounding."""
    return mp.matrix(torch.as_tensor(tensor).tolist())


def rows(matrix: mp.matrix) -> list[mp.matrix]:
    """Rows of a matrix as columns."""
    return [matrix[i, :].T for i in range(matrix.rows)]


def plain(values: Any) -> list[float]:
    """Numbers of one or more matrices, rounded once."""
    parts = values if isinstance(values, (list, tuple)) else [values]
    return [float(entry) for part in parts for entry in _entries(part)]


def _entries(part: Any) -> Iterator[Any]:
    if not isinstance(part, mp.matrix):
        return iter([part])
    return (part[i, j] for i in range(part.rows) for j in range(part.cols))


def solve(lower: mp.matrix, right: mp.matrix) -> mp.matrix:
    """L^-1 times a matrix, row by row."""
    solved = mp.matrix(right.rows, right.cols)
    for i in range(right.rows):
        for j in range(right.cols):
            known = mp.fsum(lower[i, k] * solved[k, j] for k in range(i))
            solved[i, j] = (right[i, j] - known) / lower[i, i]
    return solved


def cholesky(matrix: mp.matrix) -> mp.matrix:
    """The lower-triangular factor."""
    lower = mp.matrix(matrix.rows, matrix.cols)
    for i in range(matrix.rows):
        for j in range(i + 1):
            rest = matrix[i, j] - mp.fsum(lower[i, k] * lower[j, k] for k in range(j))
            lower[i, j] = mp.sqrt(rest) if i == j else rest / lower[j, j]
    return lower


def log_det(lower: mp.matrix) -> mp.mpf:
    """Log-determinant of the covariance."""
    return 2 * mp.fsum(mp.log(lower[i, i]) for i in range(lower.rows))


def squares(matrix: mp.matrix) -> mp.mpf:
    """Sum of the squares of all entries."""
    return mp.fsum(entry**2 for entry in _entries(matrix))


def distances(value: Tensor, loc: Tensor, scale_tril: Tensor) -> list[mp.mpf]:
    """Squared Mahalanobis distance of each sample."""
    lower, mean = exactly(scale_tril), exactly(loc)
    return [squares(solve(lower, row - mean)) for row in rows(exactly(value))]


def log_probs(value: Tensor, loc: Tensor, scale_tril: Tensor) -> list[mp.mpf]:
    """Log-density of each sample."""
    constant = loc.shape[-1] * LOG_2PI + log_det(exactly(scale_tril))
    return [-(constant + each) / 2 for each in distances(value, loc, scale_tril)]


def moments(data: Tensor) -> tuple[mp.matrix, mp.matrix]:
    """Mean and scatter of samples."""
    points = rows(exactly(data))
    mean = sum(points[1:], points[0]) / len(points)
    apart = [point - mean for point in points]
    products = [each * each.T for each in apart]
    return mean, sum(products[1:], products[0])


def divergence(p: Any, q: Any) -> mp.mpf:
    """Kullback-Leibler divergence from q to p."""
    p_lower, q_lower = exactly(p.scale_tril), exactly(q.scale_tril)
    turn = solve(q_lower, p_lower)
    shift = solve(q_lower, exactly(p.loc) - exactly(q.loc))
    return (squares(turn) - turn.rows + squares(shift)) / 2 - log_det(turn) / 2


def best_factor(data: Tensor) -> tuple[mp.matrix, mp.matrix]:
    """Mean and factor of the maximum likelihood estimate."""
    mean, scatter = moments(data)
    return mean, cholesky(scatter / len(data))


def whitened(covariance_matrix: Tensor, scale_tril: Tensor) -> mp.matrix:
    """The covariance in the coordinates of the factor."""
    lower = exactly(scale_tril)
    half = solve(lower, exactly(covariance_matrix))
    return solve(lower, half.T)


def turned(matrix: mp.matrix) -> mp.matrix:
    """The factor by which a natural-gradient step turns L."""
    turn = mp.matrix(matrix.rows, matrix.cols)
    for i in range(matrix.rows):
        for j in range(i + 1):
            turn[i, j] = matrix[i, j] / mp.sqrt(matrix[j, j])
    return turn


def unless_batched(exact: Callable[..., Any]) -> Callable[..., list[float]]:
    """The exact answer of one Gaussian; a batch of them has to be finite and no more."""

    def answer(**arguments: Any) -> list[float] | None:
        arguments.pop("validate_args", None)
        tensors = [value for value in arguments.values() if isinstance(value, (Tensor, np.ndarray))]
        if any(tensor.ndim > 2 or 0 in tensor.shape for tensor in tensors):
            return None
        if isinstance(arguments.get("data"), helpers.SufficientStatistics):
            return None
        return plain(exact(**arguments))

    return answer


def errors_of_covariance(covariance_matrix: Tensor, count: int) -> mp.matrix:
    """Standard error of each entry of a covariance."""
    s = exactly(covariance_matrix)
    errors = mp.matrix(s.rows, s.cols)
    for i in range(s.rows):
        for j in range(s.cols):
            errors[i, j] = mp.sqrt((s[i, i] * s[j, j] + s[i, j] ** 2) / count)
    return errors


def errors_of_mean(covariance_matrix: Tensor, count: int) -> list[mp.mpf]:
    """Standard error of each entry of a mean."""
    s = exactly(covariance_matrix)
    return [mp.sqrt(s[i, i] / count) for i in range(s.rows)]


def excess(dim: int, count: int) -> mp.mpf:
    """How much log-density a fit loses on new data, on average."""
    logs = [
        mp.digamma(mp.mpf(count - i) / 2) - mp.log(mp.mpf(count) / 2) for i in range(1, dim + 1)
    ]
    return mp.mpf(dim * (dim + 3)) / 2 / (count - dim - 2) + mp.fsum(logs) / 2


def free_numbers(scale_tril: Tensor) -> list[mp.mpf]:
    """The numbers that `log_cholesky` makes a factor of."""
    lower = exactly(scale_tril)
    diagonal = [mp.log(lower[i, i]) for i in range(lower.rows)]
    return diagonal + [lower[i, j] for i in range(lower.rows) for j in range(i)]


def from_free_numbers(log_diagonal: Tensor, below_diagonal: Tensor) -> mp.matrix:
    """The factor of such numbers."""
    a, below = exactly(log_diagonal), iter(below_diagonal.tolist())
    lower = mp.matrix(a.rows, a.rows)
    for i in range(a.rows):
        for j in range(i):
            lower[i, j] = next(below)
        lower[i, i] = mp.exp(a[i])
    return lower


def marginal_of(gaussian: Any, dims: list[int]) -> list[mp.matrix]:
    """Mean and factor of some of the variables."""
    lower, mean = exactly(gaussian.scale_tril), exactly(gaussian.loc)
    full = lower * lower.T
    kept = mp.matrix([[full[i, j] for j in dims] for i in dims])
    return [mp.matrix([mean[i] for i in dims]), cholesky(kept)]


def shrunk(covariance_matrix: Tensor, shrinkage: float) -> mp.matrix:
    """A covariance pulled towards the multiple of the identity."""
    return shrunk_exactly(exactly(covariance_matrix), mp.mpf(shrinkage))


def shrunk_exactly(matrix: mp.matrix, share: mp.mpf) -> mp.matrix:
    """The same of a matrix without rounding."""
    return (1 - share) * matrix + share * mean_variance(matrix) * mp.eye(matrix.rows)


def mean_variance(matrix: mp.matrix) -> mp.mpf:
    """Trace over dimension."""
    return mp.fsum(matrix[i, i] for i in range(matrix.rows)) / matrix.rows


def after_ledoit_and_wolf(data: Tensor) -> list[mp.matrix | mp.mpf]:
    """The shrunk covariance, and the shrinkage."""
    n = len(data)
    mean, scatter = moments(data)
    sample = scatter / n
    apart = [point - mean for point in rows(exactly(data))]
    variance = mp.fsum(squares(each * each.T - sample) for each in apart) / n**2
    share = min(mp.mpf(1), variance / squares(sample - mean_variance(sample) * mp.eye(sample.rows)))
    return [shrunk_exactly(sample, share), share]


def after_chen(data: Tensor) -> list[mp.matrix | mp.mpf]:
    """The same after Chen, Wiesel, Eldar and Hero."""
    n = len(data)
    sample = moments(data)[1] / n
    square, trace = squares(sample), mean_variance(sample) * sample.rows
    share = min(mp.mpf(1), (square + trace**2) / ((n + 1) * (square - trace**2 / sample.rows)))
    return [shrunk_exactly(sample, share), share]


def most_probable(data: Tensor, scale: Tensor, df: float) -> mp.matrix:
    """The mode of the inverse-Wishart posterior."""
    prior = exactly(scale)
    scatter = moments(data)[1] if len(data) else 0 * prior
    return (scatter + prior) / (len(data) + mp.mpf(df) + prior.rows + 1)


def low_rank_log_probs(
    loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, value: Tensor, **rest: Any
) -> list[mp.mpf]:
    """Log-density of each sample, from the covariance itself."""
    loadings, own = exactly(cov_factor), exactly(cov_diag)
    lower = cholesky(loadings * loadings.T + mp.diag(list(own)))
    constant = lower.rows * LOG_2PI + log_det(lower)
    apart = [row - exactly(loc) for row in rows(exactly(value))]
    return [-(constant + squares(solve(lower, each))) / 2 for each in apart]


# Ways to call --------------------------------------------------------------------------------


def quietly(function: Callable[..., Any]) -> Callable[..., str]:
    """A function that prints; what it printed is its answer."""

    def call(**arguments: Any) -> str:
        with redirect_stdout(StringIO()) as said:
            function(**arguments)
        return said.getvalue()

    return call


@cache
def axes() -> Axes:
    """Axes of a figure that pyplot does not know; whoever draws clears them."""
    return Figure().subplots()


def cleared(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that draws into axes, which are empty after it."""

    def call(**arguments: Any) -> list[Any]:
        drawn = numbers(function(**arguments))
        axes().clear()
        return drawn

    return call


def without_figure(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a figure in pyplot, which is closed again."""

    def call(**arguments: Any) -> list[Any]:
        import matplotlib.pyplot as plt

        figure = function(**arguments)
        plt.close(figure)
        return figure

    return call


def arrows(quiver: Any) -> list[Any]:
    """Where arrows start and how long they are."""
    return [quiver.get_offsets(), quiver.U, quiver.V]


def method(name: str) -> Callable[..., Any]:
    """Call a method of the argument `self`."""

    def call(self: Any, **arguments: Any) -> Any:
        answer = getattr(self, name)(**arguments)
        return (answer, self) if name == "assign" else answer

    return call


def fitted(model: Any, data: Any, **how: Any) -> list[Any]:
    """What a fit leaves behind: gaps, and the Gaussian."""
    history = helpers.fit(model, data, **how)
    return [getattr(model, "loc", None), model.covariance_matrix, history.gap[-1:] * 0]


def fitted_together(
    function: Callable[..., helpers.History], model: Any, data: Any, **how: Any
) -> list[Any]:
    """What a fit on the ranks of a group leaves behind; here the group is this process alone."""
    history = function(model, data, **how)
    return [model.loc, model.covariance_matrix, history.gap[-1:] * 0]


def low_rank() -> dict[str, Tensor]:
    """Mean, loadings of two factors, and own variances."""
    return {"loc": loc(), "cov_factor": factor()[:, :2].clone(), "cov_diag": loc() + 1.0}


def low_rank_log_prob(value: Tensor, **parts: Any) -> Tensor:
    """Log-density of samples under a covariance that is put together from parts."""
    return helpers.LowRankCovariance(**parts).log_prob(value)


def factors(found: helpers.LowRankCovariance) -> list[Tensor]:
    """What factor analysis says of the covariance, whatever the rotation of the factors."""
    return [found.loc, found.covariance_matrix, found.cov_diag]


def structured_models() -> dict[str, Callable[[], Any]]:
    """One model of each structure."""
    return {
        "DiagonalLikelihood": lambda: helpers.DiagonalLikelihood(3, dtype=torch.float64),
        "LowRankLikelihood": lambda: helpers.LowRankLikelihood(3, 2, dtype=torch.float64),
        "ShrinkageLikelihood": lambda: helpers.ShrinkageLikelihood(covariance(), loc()),
    }


def shards_folder() -> str:
    """Two shards of the samples."""
    folder = Path(folder_of_shards().name) / "good"
    if not folder.exists():
        folder.mkdir()
        for i, part in enumerate(samples().split(5)):
            np.save(folder / f"part-{i}.npy", part)
    return str(folder)


def described(paths: Any) -> list[Any]:
    """What is found of shards, without the names that depend on the folder."""
    return [(each.rows, each.columns, each.dtype) for each in helpers.list_shards(paths)]


def fitted_to_shards(paths: Any, **how: Any) -> list[Any]:
    """What a fit to shards leaves behind."""
    found = helpers.fit_shards(paths, **how)
    return [found.model.loc, found.model.covariance_matrix]


def plain_fit() -> dict[str, Any]:
    return {
        "model": model(),
        "data": samples(),
        "optimizer": "natural",
        "batch_size": None,
        "device": torch.device("cpu"),
        "tol": 1e-10,
        "max_steps": 30,
        "seed": 0,
        "progress": False,
        "checkpoint": None,
    }


FIT_KINDS = {
    "model": "model",
    "data": "samples or statistics",
    "optimizer": "optimizer",
    "batch_size": "count or None",
    "device": "device",
    "max_steps": "count or None",
    "seed": "from zero",
    "progress": "flag or None",
    "checkpoint": "path or None",
}
OVER_N = {"over n": Bad(lambda good: 9, REFUSED)}


class Fickle:
    """Batches that hold a NaN when they are gone through again."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches = batches
        self.passes = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.passes += 1
        spoilt = [with_entry(float("nan"))(each) for each in self.batches]
        return iter(self.batches if self.passes == 1 else spoilt)


def adam_fit() -> dict[str, Any]:
    return {**plain_fit(), "optimizer": "adam", "max_steps": 3}


def mini_batch_fit() -> dict[str, Any]:
    return {**plain_fit(), "batch_size": 4, "max_steps": 2}


def batches_fit() -> dict[str, Any]:
    return {**plain_fit(), "data": list(samples().split(4))}


def batch_fit() -> dict[str, Any]:
    two = helpers.GaussianLikelihood(3, (2,), dtype=torch.float64)
    return {**plain_fit(), "model": two, "data": torch.stack([samples(), samples() + 1])}


def batches_together() -> dict[str, Any]:
    kept = ("model", "data", "optimizer", "device", "tol", "max_steps", "progress")
    return {**{name: batch_fit()[name] for name in kept}, "group": None}


def mse_fit() -> dict[str, Any]:
    return {**plain_fit(), "model": learner(), "data": covariance()}


def online() -> helpers.OnlineNaturalGradient:
    """The stepper of a fit in mini-batches."""
    made = model()
    objective = LikelihoodObjective(made, samples(), torch.device("cpu"))
    return helpers.OnlineNaturalGradient(made, objective)


def history() -> helpers.History:
    """What a fit returns."""
    k = torch.arange(3)
    gap = torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64)
    return helpers.History(k, gap + 2, gap, k * 0.1, "natural", "cpu", True, 3, 8)


@cache
def picture() -> Any:
    """A picture whose words tell where all its sliders are."""
    return helpers.explore_ellipse()


def moved(**values: Any) -> str:
    """Move all sliders of a picture; those of a picture that refuses have not moved."""
    before = picture().words
    try:
        return picture().move(**values)
    except (TypeError, ValueError):
        assert picture().words == before
        raise


def saved(fig: Any, name: Any) -> None:
    """Save a figure into a folder of its own, and show nothing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict("os.environ", COVARIANCE_FIGURES=folder),
        patch("IPython.display.display"),
    ):
        helpers.save_figure(fig, name)


@cache
def _folder() -> tempfile.TemporaryDirectory:
    """A folder that is removed when Python ends."""
    return tempfile.TemporaryDirectory()


def checkpoint_path() -> str:
    """A path that can be written."""
    return str(Path(_folder().name) / "a.pt")


def saved_checkpoint() -> str:
    """A path that holds a checkpoint."""
    helpers.save_checkpoint(checkpoint_path(), {"n_steps": 1})
    return checkpoint_path()


LABELS = ["a", "b", "c"]
X = torch.linspace(-1, 1, 5, dtype=torch.float64)
BOWL = {
    "returns None": Bad(lambda good: lambda x, y: None, REFUSED),
    "returns a text": Bad(lambda good: lambda x, y: "low", REFUSED),
    "returns a number": Bad(lambda good: lambda x, y: 1.0, REFUSED),
    "returns another shape": Bad(lambda good: lambda x, y: x[0], REFUSED),
    "returns nan": Bad(lambda good: lambda x, y: x * float("nan"), REFUSED),
    "returns a constant": Bad(lambda good: lambda x, y: 0 * x, REFUSED),
    "returns complex numbers": Bad(lambda good: lambda x, y: (x + y).cfloat(), REFUSED),
    "takes one argument": Bad(lambda good: lambda x: x, REFUSED),
}
WIDE = {"too wide": Bad(lambda good: torch.cat([good, good[:, :1]], -1), RIGHT)}
UNIT = {"above one": Bad(lambda good: 1.5, REFUSED)}
MODEL_SHAPE = {
    "dim": "count",
    "batch_shape": "sizes",
    "dtype": "dtype",
    "device": "device",
}


def model_arguments() -> dict[str, Any]:
    return {"dim": 3, "batch_shape": (2,), "dtype": torch.float64, "device": torch.device("cpu")}


def _mean_and_spread(**arguments: Any) -> list[float] | None:
    data = arguments["data"]
    if not isinstance(data, (Tensor, np.ndarray)) or data.ndim > 2 or not len(data):
        return None
    mean, lower = best_factor(data)
    return plain([mean, lower * lower.T, mp.mpf(0)])


def _target(
    call: Callable[..., Any],
    good: Callable[[], dict[str, Any]],
    kinds: dict[str, str],
    exact: Callable[..., Any] | None = None,
    **more: Any,
) -> Target:
    return Target(call, good, kinds, None if exact is None else unless_batched(exact), **more)


def _fixed(**values: Any) -> Callable[[], dict[str, Any]]:
    """Good arguments: functions are called for a fresh value each time."""
    return lambda: {name: value() if callable(value) else value for name, value in values.items()}


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value


def mapped() -> helpers.MappedCholesky:
    """A factor behind a map, that is not the identity."""
    made = helpers.MappedCholesky(helpers.SoftplusCholesky(), 3, dtype=torch.float64)
    made.assign(factor())
    return made


def _targets_of_maps() -> dict[str, Target]:
    """The methods of every map; the base class has those of one of them."""
    maps = {"ScaleMap": helpers.ExpCholesky}
    maps |= {each.__name__: each for each in helpers.SCALE_MAPS.values()}
    found = {}
    for name, made in maps.items():
        found[name] = _target(lambda made=made: made().n_parameters(3), dict, {})
        found[f"{name}.n_parameters"] = _target(
            method("n_parameters"), _fixed(self=made, dim=3), {"dim": "count"}
        )
        found[f"{name}.forward"] = _target(
            method("forward"),
            _fixed(
                self=made,
                free=lambda made=made: made().right_inverse(factor()),
                validate_args=True,
            ),
            {"free": "vector", "validate_args": "switch"},
        )
        found[f"{name}.right_inverse"] = _target(
            method("right_inverse"),
            _fixed(self=made, scale_tril=factor, validate_args=True),
            {"scale_tril": "scale_tril", "validate_args": "switch"},
        )
    return found


GAUSSIAN_KINDS = {"value": "samples", "loc": "vector", "scale_tril": "scale_tril"}
TARGETS: dict[str, Target] = {
    # floor 0
    "best_device": _target(helpers.best_device, dict, {}),
    "synchronize": _target(
        helpers.synchronize, _fixed(device=_always(torch.device("cpu"))), {"device": "device"}
    ),
    "widest_dtype": _target(
        helpers.widest_dtype,
        _fixed(device=_always(torch.device("cpu"))),
        {"device": "kind of device"},
    ),
    # floor 1
    "Gaussian": _target(
        # It holds what it is given, and whatever uses it looks at it first.
        lambda loc, scale_tril: helpers.log_prob(samples(), *helpers.Gaussian(loc, scale_tril)),
        _fixed(loc=lambda: -loc(), scale_tril=factor),
        {"loc": "vector", "scale_tril": "scale_tril"},
    ),
    "log_det": _target(
        helpers.log_det,
        _fixed(scale_tril=factor, validate_args=True),
        {"scale_tril": "scale_tril", "validate_args": "switch"},
        lambda scale_tril: log_det(exactly(scale_tril)),
    ),
    "entropy": _target(
        helpers.entropy,
        _fixed(scale_tril=factor, validate_args=True),
        {"scale_tril": "scale_tril", "validate_args": "switch"},
        lambda scale_tril: (
            (scale_tril.shape[-1] * (LOG_2PI + 1) + log_det(exactly(scale_tril))) / 2
        ),
    ),
    "mahalanobis": _target(
        helpers.mahalanobis,
        _fixed(value=samples, loc=loc, scale_tril=factor),
        GAUSSIAN_KINDS,
        distances,
    ),
    "mahalanobis/few": _target(  # which solves instead of multiplying
        helpers.mahalanobis,
        _fixed(value=lambda: samples(2), loc=loc, scale_tril=factor),
        {"loc": "vector", "scale_tril": "scale_tril"},
        distances,
    ),
    "log_prob": _target(
        helpers.log_prob,
        _fixed(value=samples, loc=loc, scale_tril=factor, validate_args=True),
        {**GAUSSIAN_KINDS, "validate_args": "switch"},
        log_probs,
    ),
    "kl_divergence": _target(
        helpers.kl_divergence,
        _fixed(
            p=gaussian, q=lambda: helpers.Gaussian(loc() * 2, factor() * 1.5), validate_args=True
        ),
        {"p": "gaussian", "q": "gaussian", "validate_args": "switch"},
        divergence,
    ),
    "marginal": _target(
        helpers.marginal,
        _fixed(gaussian=gaussian, dims=lambda: [2, 0]),
        {"gaussian": "gaussian", "dims": "dims"},
        marginal_of,
    ),
    "condition": _target(
        helpers.condition,
        _fixed(gaussian=gaussian, dims=lambda: [0, 1], value=lambda: loc(2)),
        {"gaussian": "gaussian", "dims": "dims", "value": "vector"},
        extra={"dims": {"all": Bad(lambda good: [0, 1, 2], REFUSED)}},
    ),
    "SufficientStatistics": _target(
        helpers.SufficientStatistics,
        lambda: {name: getattr(statistics(), name) for name in ("count", "mean", "scatter")},
        {"mean": "vector", "scatter": "covariance", "count": "tensor of counts"},
    ),
    "SufficientStatistics.from_data": _target(
        helpers.SufficientStatistics.from_data,
        _fixed(data=samples, dtype=_always(torch.float64)),
        {"data": "samples", "dtype": "dtype"},
        lambda data, dtype: [mp.mpf(len(data)), *moments(data)],
        extra={"data": WIDE},
    ),
    "SufficientStatistics.from_batches": _target(
        helpers.SufficientStatistics.from_batches,
        _fixed(batches=lambda: list(samples().split(4)), dtype=_always(torch.float64)),
        {"batches": "batches", "dtype": "dtype"},
    ),
    "SufficientStatistics.merge": _target(
        method("merge"),
        _fixed(self=statistics, other=statistics),
        {"other": "other statistics"},
    ),
    "SufficientStatistics.covariance_matrix": _target(
        method("covariance_matrix"),
        _fixed(self=statistics, correction=1),
        {"correction": "from zero"},
        extra={"correction": {"as many as samples": Bad(lambda good: 8, REFUSED)}},
    ),
    "SufficientStatistics.to": _target(
        lambda self, args, kwargs: self.to(*args, **kwargs),
        _fixed(self=statistics, args=lambda: (torch.float32,), kwargs=dict),
        {"args": "what to() takes", "kwargs": "names that to() takes"},
    ),
    "SufficientStatistics.detach": _target(method("detach"), _fixed(self=statistics), {}),
    "mean_log_prob": _target(
        helpers.mean_log_prob,
        _fixed(data=samples, loc=loc, scale_tril=factor, validate_args=True),
        {
            "data": "samples or statistics",
            "loc": "vector",
            "scale_tril": "scale_tril",
            "validate_args": "switch",
        },
        lambda data, loc, scale_tril: mp.fsum(log_probs(data, loc, scale_tril)) / len(data),
    ),
    "mean_log_prob/statistics": _target(
        helpers.mean_log_prob,
        _fixed(data=statistics, loc=loc, scale_tril=factor),
        {"loc": "vector", "scale_tril": "scale_tril"},
    ),
    "whiten": _target(
        helpers.whiten,
        _fixed(covariance_matrix=covariance, scale_tril=factor, validate_args=True),
        {
            "covariance_matrix": "symmetric",
            "scale_tril": "scale_tril",
            "validate_args": "switch",
        },
        whitened,
    ),
    "maximum_likelihood": _target(
        helpers.maximum_likelihood,
        _fixed(data=samples),
        {"data": "samples or statistics"},
        lambda data: list(best_factor(data)),
    ),
    "minimum_nll": _target(
        helpers.minimum_nll,
        _fixed(data=samples),
        {"data": "samples or statistics"},
        lambda data: (data.shape[-1] * (LOG_2PI + 1) + log_det(best_factor(data)[1])) / 2,
    ),
    "n_free_parameters": _target(
        helpers.n_free_parameters,
        _fixed(dim=3),
        {"dim": "count"},
        lambda dim: mp.mpf(dim) * (dim + 3) / 2,
    ),
    "expected_gap": _target(
        helpers.expected_gap,
        _fixed(dim=3, count=8),
        {"dim": "count", "count": "count"},
        lambda dim, count: mp.mpf(dim) * (dim + 3) / 4 / count,
    ),
    "mean_standard_error": _target(
        helpers.mean_standard_error,
        _fixed(covariance_matrix=covariance, count=8),
        {"covariance_matrix": "covariance", "count": "count"},
        errors_of_mean,
    ),
    "covariance_standard_error": _target(
        helpers.covariance_standard_error,
        _fixed(covariance_matrix=covariance, count=8),
        {"covariance_matrix": "covariance", "count": "count"},
        errors_of_covariance,
    ),
    "explain_cholesky_failure": _target(
        lambda matrix, count: [
            (each.cause, each.rank)
            for each in helpers.explain_cholesky_failure(matrix, count=count).findings
        ],
        _fixed(matrix=covariance, count=8),
        {"matrix": "square", "count": "from zero"},
        extra={"matrix": {name: Bad(bad.make, RIGHT) for name, bad in NOT_FINITE.items()}},
    ),
    "Verdict": _target(
        lambda gap, sampling_error: _verdict(helpers.Verdict(gap, sampling_error)),
        _fixed(gap=0.5, sampling_error=0.25),
        {"gap": "number", "sampling_error": "positive"},
    ),
    "judge": _target(
        lambda gap, dim, count: _verdict(helpers.judge(gap, dim, count)),
        _fixed(gap=0.5, dim=3, count=8),
        {"gap": "number", "dim": "count", "count": "count"},
        extra={
            "gap": {
                "empty tensor": Bad(lambda good: torch.ones(0), REFUSED),
                "nan in a tensor": Bad(lambda good: torch.tensor([0.1, float("nan")]), REFUSED),
                "nan first": Bad(lambda good: torch.tensor([float("nan"), 0.1]), REFUSED),
                "integers": Bad(lambda good: torch.tensor([1, 2]), REFUSED),
                "complex tensor": Bad(lambda good: torch.tensor([1j]), REFUSED),
                "meta device": Bad(lambda good: on_meta(torch.tensor([0.5])), REFUSED),
                "requires grad": Bad(
                    lambda good: torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
                    SAME,
                    itself,
                ),
            }
        },
    ),
    "mardia": _target(
        helpers.mardia, _fixed(data=samples), {"data": "samples"}, extra={"data": WIDE}
    ),
    "leave_one_out": _target(
        helpers.leave_one_out, _fixed(data=samples), {"data": "samples"}, extra={"data": WIDE}
    ),
    "chi_squared_quantiles": _target(
        helpers.chi_squared_quantiles, _fixed(n=8, dim=3), {"n": "size", "dim": "size"}
    ),
    "distance_band": _target(
        helpers.distance_band,
        _fixed(n=8, dim=2, mass=0.9, repeats=20, seed=1),
        {"n": "size", "dim": "size", "mass": "positive", "repeats": "size", "seed": "from zero"},
        extra={
            "mass": {**UNIT, "nearly one": Bad(lambda good: 1 - 1e-9, REFUSED)},
            "dim": {"n - 1": Bad(lambda good: 7, REFUSED)},
            "repeats": {"too few": Bad(lambda good: 19, REFUSED)},
        },
    ),
    "log_diagonal_standard_error": _target(
        helpers.log_diagonal_standard_error,
        _fixed(count=8),
        {"count": "count"},
        lambda count: 1 / mp.sqrt(2 * count),
    ),
    "expected_excess": _target(
        helpers.expected_excess,
        _fixed(dim=3, count=8),
        {"dim": "size", "count": "count"},
        excess,
        extra={"count": {"d + 2": Bad(lambda good: 5, REFUSED)}},
    ),
    "draw_estimates": _target(
        helpers.draw_estimates,
        _fixed(gaussian=gaussian, count=8, repeats=4, seed=1),
        {"gaussian": "gaussian", "count": "count", "repeats": "size", "seed": "from zero"},
        extra={"count": {"d": Bad(lambda good: 3, REFUSED)}},
    ),
    "mean_confidence_radius": _target(
        helpers.mean_confidence_radius,
        _fixed(dim=3, count=8, mass=0.9),
        {"dim": "size", "count": "count", "mass": "positive"},
        extra={"mass": UNIT, "count": {"d": Bad(lambda good: 3, REFUSED)}},
    ),
    **{
        name: _target(
            lambda function=function, **how: torch.as_tensor(function(**how), dtype=torch.float64),
            _fixed(mean_nll=1.5, n_parameters=5, count=8),
            {"mean_nll": "number", "n_parameters": "from zero", "count": "count"},
            lambda mean_nll, n_parameters, count, price=price: (
                2 * mp.mpf(count) * mp.mpf(mean_nll) + price(count) * mp.mpf(n_parameters)
            ),
            extra={
                "mean_nll": {
                    "nan in a tensor": Bad(lambda good: torch.tensor([0.1, float("nan")]), REFUSED),
                    "integers": Bad(lambda good: torch.tensor([1, 2]), REFUSED),
                    "meta device": Bad(lambda good: on_meta(torch.tensor([0.5])), REFUSED),
                    "tensor": Bad(
                        lambda good: torch.tensor(1.5, dtype=torch.float64), SAME, itself
                    ),
                }
            },
        )
        for name, function, price in (
            ("aic", helpers.aic, lambda count: 2),
            ("bic", helpers.bic, mp.log),
        )
    },
    "shrunk_covariance": _target(
        helpers.shrunk_covariance,
        _fixed(covariance_matrix=covariance, shrinkage=0.25),
        {"covariance_matrix": "covariance", "shrinkage": "number"},
        shrunk,
        extra={
            "shrinkage": {
                **UNIT,
                "huge": Bad(lambda good: 1e300, REFUSED),
                "negative": Bad(lambda good: -0.1, REFUSED),
                "nan in a tensor": Bad(lambda good: torch.full((), float("nan")).double(), REFUSED),
                "tensor": Bad(lambda good: torch.tensor(good).double(), SAME, itself),
                "of other dtype": Bad(lambda good: torch.tensor(good), REFUSED),
                "batch": Bad(lambda good: torch.full((2,), good).double(), REFUSED),
            }
        },
    ),
    "ledoit_wolf": _target(
        helpers.ledoit_wolf,
        _fixed(data=samples),
        {"data": "samples"},
        after_ledoit_and_wolf,
        extra={"data": WIDE},
    ),
    "oas": _target(
        helpers.oas, _fixed(data=samples), {"data": "samples"}, after_chen, extra={"data": WIDE}
    ),
    "inverse_wishart_map": _target(
        helpers.inverse_wishart_map,
        _fixed(data=samples, scale=covariance, df=5.0),
        {"data": "samples or statistics", "scale": "covariance", "df": "number"},
        most_probable,
        extra={
            "data": {
                "statistics of nothing": Bad(
                    lambda good: helpers.SufficientStatistics.from_data(good[:0]), RIGHT
                )
            },
            "df": {
                "d - 1": Bad(lambda good: 2.0, REFUSED),
                "tiny": Bad(lambda good: 5e-324, REFUSED),
            },
        },
    ),
    "LowRankCovariance": _target(
        low_rank_log_prob,
        lambda: {
            **low_rank(),
            "is_heywood": torch.zeros(3, dtype=torch.bool),
            "is_isotropic": False,
            "value": samples(),
        },
        {
            "loc": "vector",
            "cov_factor": "vector",
            "cov_diag": "vector",
            "is_heywood": "truths",
            "is_isotropic": "flag",
            "value": "samples",
        },
        low_rank_log_probs,
        extra={
            "cov_factor": WIDE,
            "cov_diag": {
                "negative": Bad(lambda good: -good, REFUSED),
                "zeros": Bad(lambda good: 0 * good, REFUSED),
            },
        },
    ),
    "LowRankCovariance.log_prob": _target(
        method("log_prob"),
        _fixed(self=lambda: helpers.LowRankCovariance(**low_rank()), value=samples),
        {"value": "samples"},
        lambda self, value: low_rank_log_probs(self.loc, self.cov_factor, self.cov_diag, value),
    ),
    "factor_analysis": _target(
        lambda **how: factors(helpers.factor_analysis(**how)),
        _fixed(data=samples, rank=1, n_starts=3),
        {"data": "samples or statistics", "rank": "count", "n_starts": "count"},
        extra={"data": WIDE, "rank": {"as many as columns": Bad(lambda good: 3, REFUSED)}},
    ),
    "probabilistic_pca": _target(
        lambda **how: factors(helpers.probabilistic_pca(**how)),
        _fixed(data=samples, rank=1),
        {"data": "samples or statistics", "rank": "count"},
        extra={"data": WIDE, "rank": {"as many as columns": Bad(lambda good: 3, REFUSED)}},
    ),
    # floor 2
    "log_cholesky": _target(
        helpers.log_cholesky,
        _fixed(log_diagonal=loc, below_diagonal=loc, validate_args=True),
        {"log_diagonal": "vector", "below_diagonal": "vector", "validate_args": "switch"},
        from_free_numbers,
    ),
    "log_cholesky_inverse": _target(
        helpers.log_cholesky_inverse,
        _fixed(scale_tril=factor, validate_args=True),
        {"scale_tril": "scale_tril", "validate_args": "switch"},
        free_numbers,
    ),
    "LogCholesky": _target(helpers.LogCholesky, model_arguments, MODEL_SHAPE),
    "LogCholesky.forward": _target(lambda self: self(), lambda: {"self": model().scale}, {}),
    "LogCholesky.assign": _target(
        method("assign"),
        lambda: {"self": model().scale, "scale_tril": 2 * factor(), "validate_args": True},
        {"scale_tril": "scale_tril", "validate_args": "switch"},
        changes=("self",),
    ),
    **_targets_of_maps(),
    "cholesky_of_root": _target(
        helpers.cholesky_of_root,
        _fixed(root=factor, validate_args=True),
        {"root": "square", "validate_args": "switch"},
    ),
    "MappedCholesky": _target(
        helpers.MappedCholesky,
        _fixed(scale_map=helpers.SoftplusCholesky, **model_arguments()),
        {"scale_map": "scale map", **MODEL_SHAPE},
    ),
    "MappedCholesky.forward": _target(lambda self: self(), lambda: {"self": mapped()}, {}),
    "MappedCholesky.assign": _target(
        method("assign"),
        lambda: {"self": mapped(), "scale_tril": 2 * factor(), "validate_args": True},
        {"scale_tril": "scale_tril", "validate_args": "switch"},
        changes=("self",),
    ),
    # floor 3
    "CovarianceModel": _target(helpers.CovarianceModel, model_arguments, MODEL_SHAPE),
    "CovarianceLearner": _target(helpers.CovarianceLearner, model_arguments, MODEL_SHAPE),
    "CovarianceLearner.forward": _target(
        lambda self, target, validate_args: self(target, validate_args=validate_args),
        _fixed(self=learner, target=lambda: 2 * covariance(), validate_args=True),
        {"self": "own model", "target": "square", "validate_args": "switch"},
        lambda self, target: (
            squares(exactly(self.scale_tril) * exactly(self.scale_tril).T - exactly(target))
            / target.numel()
        ),
        # Its covariance is singular then, and its distance from the target is what it is.
        extra={"self": {"no variance left": OWN["no variance left"]._replace(expected=RIGHT)}},
    ),
    "GaussianLikelihood": _target(
        helpers.GaussianLikelihood,
        lambda: {**model_arguments(), "parametrization": None},
        {**MODEL_SHAPE, "parametrization": "scale map or None"},
    ),
    "GaussianLikelihood.log_prob": _target(
        method("log_prob"),
        _fixed(self=model, value=samples),
        {"self": "own model", "value": "samples"},
        lambda self, value: log_probs(value, self.loc, self.scale_tril),
    ),
    "GaussianLikelihood.forward": _target(
        lambda self, data, validate_args: self(data, validate_args=validate_args),
        _fixed(self=model, data=samples, validate_args=True),
        {"self": "own model", "data": "samples or statistics", "validate_args": "switch"},
        lambda self, data: -mp.fsum(log_probs(data, self.loc, self.scale_tril)) / len(data),
    ),
    "GaussianLikelihood.assign": _target(
        method("assign"),
        _fixed(self=model, loc=lambda: -loc(), scale_tril=lambda: 2 * factor(), validate_args=True),
        {"loc": "vector", "scale_tril": "scale_tril", "validate_args": "switch"},
        changes=("self",),
    ),
    "DiagonalLikelihood": _target(helpers.DiagonalLikelihood, model_arguments, MODEL_SHAPE),
    "LowRankLikelihood": _target(
        helpers.LowRankLikelihood,
        lambda: {**model_arguments(), "rank": 2},
        {**MODEL_SHAPE, "rank": "count"},
        extra={"rank": {"as many as columns": Bad(lambda good: 3, REFUSED)}},
    ),
    "ShrinkageLikelihood": _target(
        lambda **parts: helpers.ShrinkageLikelihood(**parts).covariance_matrix,
        _fixed(covariance_matrix=covariance, loc=loc),
        {"covariance_matrix": "covariance", "loc": "vector or None"},
    ),
    **{
        f"{name}.log_prob": _target(
            method("log_prob"), _fixed(self=make, value=samples), {"value": "samples"}
        )
        for name, make in structured_models().items()
    },
    **{
        f"{name}.forward": _target(
            lambda self, data, validate_args: self(data, validate_args=validate_args),
            _fixed(self=make, data=samples, validate_args=True),
            {"data": "samples or statistics", "validate_args": "switch"},
        )
        for name, make in structured_models().items()
    },
    **{
        f"fit/{name}": _target(
            fitted,
            _fixed(
                model=make,
                data=samples,
                optimizer="lbfgs",
                batch_size=None,
                device=_always(torch.device("cpu")),
                tol=1e-8,
                max_steps=30,
                checkpoint=None,
            ),
            {"data": "samples or statistics", "max_steps": "count or None", "device": "device"},
            changes=("model",),
            extra={
                "optimizer": {
                    "adam": Bad(lambda good: "adam", REFUSED),
                    "int": Bad(lambda good: 3, REFUSED),
                },
            },
        )
        for name, make in structured_models().items()
    },
    "History": _target(
        lambda **parts: str(helpers.History(**parts)),
        lambda: dict(vars(history())),
        {
            "step": "steps",
            "loss": "records",
            "gap": "records",
            "time": "records",
            "optimizer": "text",
            "device": "text",
            "converged": "flag",
            "dim": "count",
            "count": "count or None",
        },
    ),
    "OnlineNaturalGradient": _target(
        helpers.OnlineNaturalGradient,
        lambda: {"model": (made := online()).model, "objective": made.objective},
        {"model": "model of a stepper", "objective": "objective"},
    ),
    "OnlineNaturalGradient.gap": _target(method("gap"), _fixed(self=online), {}),
    "OnlineNaturalGradient.write": _target(method("write"), _fixed(self=online), {}),
    "OnlineNaturalGradient.state_dict": _target(method("state_dict"), _fixed(self=online), {}),
    "OnlineNaturalGradient.load_state_dict": _target(
        method("load_state_dict"),
        _fixed(self=online, state=lambda: online().state_dict()),
        {"state": "state"},
    ),
    "OnlineNaturalGradient.step": _target(
        method("step"), _fixed(self=online, batch=samples), {"batch": "samples"}
    ),
    "natural_step": _target(
        helpers.natural_step,
        _fixed(scale_tril=factor, covariance_matrix=lambda: 2 * covariance(), validate_args=True),
        {
            "scale_tril": "scale_tril",
            "covariance_matrix": "covariance",
            "validate_args": "switch",
        },
        lambda scale_tril, covariance_matrix: (
            exactly(scale_tril) * turned(whitened(covariance_matrix, scale_tril))
        ),
    ),
    "natural_turn": _target(
        helpers.natural_turn,
        _fixed(whitened=covariance, validate_args=True),
        {"whitened": "square", "validate_args": "switch"},
        lambda whitened: turned(exactly(whitened)),
        extra={"whitened": {"negative variance": Bad(with_entry(-1.0), REFUSED)}},
    ),
    "fit": Target(
        fitted,
        plain_fit,
        FIT_KINDS,
        _mean_and_spread,
        changes=("model",),
        gives_up=(FloatingPointError,),
    ),
    "fit/adam": Target(
        fitted,
        adam_fit,
        {"model": "model", "data": "samples or statistics", "device": "device"},
        changes=("model",),
    ),
    "fit/mini-batches": Target(
        fitted,
        mini_batch_fit,
        {"model": "model", "data": "samples", "batch_size": "count or None", "seed": "from zero"},
        _mean_and_spread,
        changes=("model",),
        extra={"batch_size": OVER_N},
    ),
    "fit/tolerance": Target(fitted, plain_fit, {"tol": "positive or None"}, changes=("model",)),
    "fit/batches": Target(fitted, batches_fit, {"data": "batches of a fit"}, changes=("model",)),
    "fit/batches by adam": Target(
        fitted,
        lambda: {**batches_fit(), "optimizer": "adam", "max_steps": 3},
        {"data": "batches of a fit"},
        changes=("model",),
        extra={
            "data": {
                # The exact minimum has taken their one pass.
                "generator": Bad(lambda good: (each for each in good), REFUSED),
                "batch without rows": Bad(lambda good: [*good, good[0][:0]], REFUSED),
                "nan at the second pass": Bad(lambda good: Fickle(good), REFUSED),
            }
        },
    ),
    "fit/a batch of models": Target(
        fitted, batch_fit, {"data": "batch of samples"}, changes=("model",)
    ),
    "fit/mse": Target(
        fitted, mse_fit, {"model": "model", "data": "covariance"}, changes=("model",)
    ),
    "save_checkpoint": _target(
        helpers.save_checkpoint,
        _fixed(path=checkpoint_path, state=lambda: {"n_steps": 1}),
        {"path": "path", "state": "saved state"},
    ),
    "load_checkpoint": _target(
        helpers.load_checkpoint, _fixed(path=saved_checkpoint), {"path": "path"}
    ),
    # floor 4
    "list_shards": Target(
        described,
        _fixed(paths=shards_folder),
        {"paths": "headers of shards"},
        gives_up=(OSError,),
    ),
    "fit_shards": Target(
        fitted_to_shards,
        _fixed(
            paths=shards_folder,
            kept=None,
            dtype=_always(torch.float64),
            device=_always(torch.device("cpu")),
            timeout=60.0,
            progress=False,
            group=None,
        ),
        {
            "paths": "shards",
            "kept": "folder or None",
            "dtype": "dtype",
            "device": "device",
            "timeout": "positive",
            "progress": "flag or None",
            "group": "group or None",
        },
        gives_up=(OSError,),
    ),
    "reduce_statistics": Target(
        helpers.reduce_statistics,
        _fixed(statistics=statistics, group=None),
        {"statistics": "statistics alone", "group": "group or None"},
    ),
    "fit_data_parallel": Target(
        partial(fitted_together, helpers.fit_data_parallel),
        lambda: {
            "model": model(),
            "data": samples(),
            "batch_size": 4,
            "optimizer": "adam",
            "max_steps": 3,
            "seed": 0,
            "device": torch.device("cpu"),
            "group": None,
            "progress": False,
        },
        {
            "model": "model",
            "data": "samples",
            "batch_size": "count",
            "optimizer": "optimizer",
            "max_steps": "count or None",
            "seed": "from zero",
            "device": "device",
            "group": "group or None",
            "progress": "flag or None",
        },
        changes=("model",),
        extra={"batch_size": OVER_N},
        gives_up=(FloatingPointError,),
    ),
    "fit_batches": Target(
        partial(fitted_together, helpers.fit_batches),
        batches_together,
        {
            "model": "model",
            "data": "batch of samples",
            "optimizer": "optimizer",
            "device": "device",
            "tol": "positive or None",
            "max_steps": "count or None",
            "group": "group or None",
            "progress": "flag or None",
        },
        changes=("model",),
        gives_up=(FloatingPointError,),
    ),
    # floor 5
    "load_dataset": _target(helpers.load_dataset, _fixed(name="iris"), {"name": "choice"}),
    "two_correlated": _target(
        helpers.two_correlated,
        _fixed(n=5, seed=42, dtype=_always(torch.float64)),
        {"n": "size", "seed": "from zero", "dtype": "dtype"},
    ),
    "check_environment": _target(quietly(helpers.check_environment), dict, {}),
    "check": _target(
        quietly(helpers.check),
        _fixed(number="01.1", answer=None),
        {"number": "choice", "answer": "answer"},
    ),
    "hint": _target(quietly(helpers.hint), _fixed(number="01.1"), {"number": "choice"}),
    "show_progress": _target(quietly(helpers.show_progress), dict, {}),
    "shorten_errors": _target(helpers.shorten_errors, dict, {}),
    "show_source": _target(
        lambda things, docstring: helpers.show_source(*things, docstring=docstring),
        _fixed(things=lambda: (helpers.log_det,), docstring=False),
        {"things": "things", "docstring": "flag"},
    ),
    "load_record": _target(helpers.load_record, _fixed(path="no such file"), {"path": "path"}),
    "measure_crossover": _target(
        lambda **how: [each[:3] for each in helpers.measure_crossover(**how)],
        lambda: {
            "devices": ["cpu"],
            "batch_sizes": [1],
            "dims": [2],
            "dtype": torch.float64,
            "repeats": 1,
            "max_entries": 100,
        },
        {
            "devices": "devices",
            "batch_sizes": "counts",
            "dims": "counts",
            "dtype": "dtype",
            "repeats": "repeats",
            "max_entries": "count",
        },
    ),
    "median_seconds": _target(
        lambda work, device, repeats: helpers.median_seconds(work, device, repeats=repeats) * 0,
        lambda: {"work": dict, "device": torch.device("cpu"), "repeats": 1},
        {"work": "callable", "device": "device", "repeats": "repeats"},
    ),
    "plot_crossover": _target(
        cleared(helpers.plot_crossover),
        _fixed(ax=axes, runs=lambda: {"here": [Timing("cpu", 1, 2, 0.1)]}, dim=2, legend=True),
        {"ax": "axes", "runs": "mapping", "dim": "count", "legend": "flag"},
        changes=("ax",),
    ),
    "use_style": _target(helpers.use_style, dict, {}),
    "save_figure": _target(
        saved, lambda: {"fig": axes().figure, "name": "01_a"}, {"fig": "figure", "name": "choice"}
    ),
    "ellipse_points": _target(
        helpers.ellipse_points,
        _fixed(loc=lambda: loc(2), scale_tril=lambda: factor(2), mass=0.5, radius=None, n_points=9),
        {
            "loc": "drawn vector",
            "scale_tril": "drawn factor",
            "mass": "positive or None",
            "radius": "positive or None",
            "n_points": "size",
        },
        extra={"mass": UNIT},
    ),
    "plot_ellipse": _target(
        cleared(helpers.plot_ellipse),
        _fixed(
            ax=axes,
            loc=lambda: loc(2),
            scale_tril=lambda: factor(2),
            mass=0.5,
            radius=None,
            color="red",
            label="a",
            fill=True,
            linestyle="-",
        ),
        {
            "ax": "axes",
            "loc": "drawn vector",
            "scale_tril": "drawn factor",
            "mass": "positive or None",
            "radius": "positive or None",
            "color": "color",
            "label": "label",
            "fill": "flag",
            "linestyle": "linestyle",
        },
        extra={"mass": UNIT},
    ),
    "plot_chi_squared": _target(
        cleared(helpers.plot_chi_squared),
        _fixed(
            ax=axes,
            distances=lambda: torch.tensor([0.0, 1, 2, 3, 3, 4, 5, 6], dtype=torch.float64),
            dim=3,
            color="red",
            label="a",
            mass=0.9,
        ),
        {
            "ax": "axes",
            "distances": "drawn vector",
            "dim": "size",
            "color": "color",
            "label": "label",
            "mass": "positive",
        },
        extra={
            "mass": UNIT,
            "dim": {"n - 1": Bad(lambda good: 7, REFUSED)},
            # One distance less, or more, is another sample.
            "distances": {
                "too short": Bad(lambda good: good[:-1], RIGHT),
                "too wide": Bad(lambda good: torch.cat([good, good[:1]]), RIGHT),
            },
        },
    ),
    "plot_points": _target(
        cleared(helpers.plot_points),
        _fixed(ax=axes, points=lambda: samples(8, 2), color="red", label="a", size=14.0, alpha=0.5),
        {
            "ax": "axes",
            "points": "drawn points",
            "color": "color",
            "label": "label",
            "size": "positive",
            "alpha": "positive",
        },
        extra={"alpha": UNIT},
    ),
    "principal_axes": _target(
        helpers.principal_axes,
        _fixed(covariance_matrix=covariance),
        {"covariance_matrix": "drawn covariance"},
    ),
    "plot_principal_axes": _target(
        cleared(lambda **how: arrows(helpers.plot_principal_axes(**how))),
        _fixed(
            ax=axes,
            loc=lambda: loc(2),
            covariance_matrix=lambda: covariance(2),
            color="red",
            label="a",
        ),
        {
            "ax": "axes",
            "loc": "drawn vector",
            "covariance_matrix": "drawn covariance",
            "color": "color",
            "label": "label",
        },
    ),
    "plot_path": _target(
        cleared(helpers.plot_path),
        _fixed(ax=axes, path=lambda: samples(8, 2), color="red", label="a", linestyle="-"),
        {
            "ax": "axes",
            "path": "drawn points",
            "color": "color",
            "label": "label",
            "linestyle": "linestyle",
        },
    ),
    "plot_loss_surface": _target(
        cleared(helpers.plot_loss_surface),
        lambda: {
            "ax": axes(),
            "loss": lambda x, y: x**2 + y**2,
            "x": X.clone(),
            "y": X.clone(),
            "xlabel": "a",
            "ylabel": "b",
            "levels": 4,
        },
        {
            "ax": "axes",
            "loss": "callable",
            "x": "grid",
            "y": "grid",
            "xlabel": "text",
            "ylabel": "text",
            "levels": "size",
        },
        extra={"loss": BOWL},
    ),
    "plot_gap": _target(
        cleared(helpers.plot_gap),
        _fixed(
            ax=axes,
            histories=lambda: {"a": history()},
            sampling_error=0.1,
            x="step",
            log_x=False,
            direct_labels=True,
        ),
        {
            "ax": "axes",
            "histories": "mapping",
            "sampling_error": "positive or None",
            "x": "choice",
            "log_x": "flag or None",
            "direct_labels": "flag",
        },
        extra={
            "histories": {"seven": Bad(lambda good: {str(i): history() for i in range(7)}, REFUSED)}
        },
    ),
    "plot_matrix": _target(
        cleared(helpers.plot_matrix),
        _fixed(
            ax=axes,
            matrix=covariance,
            labels=_always(LABELS),
            title="a",
            fmt=".2f",
            center=0.0,
            vmax=9.0,
        ),
        {
            "ax": "axes",
            "matrix": "drawn matrix",
            "labels": "labels",
            "title": "label",
            "fmt": "format",
            "center": "number",
            "vmax": "positive or None",
        },
        extra={"center": {"huge": Bad(lambda good: 1e300, REFUSED, blamed="vmax")}},
    ),
    "plot_matrices": _target(
        without_figure(helpers.plot_matrices),
        _fixed(
            matrices=lambda: {"a": covariance()},
            labels=_always(LABELS),
            fmt=".2f",
            center=0.0,
            vmax=9.0,
        ),
        {
            "matrices": "mapping",
            "labels": "labels",
            "fmt": "format",
            "center": "number",
            "vmax": "positive or None",
        },
        extra={"center": {"huge": Bad(lambda good: 1e300, REFUSED, blamed="vmax")}},
    ),
    "plot_pairs": _target(
        without_figure(helpers.plot_pairs),
        _fixed(
            points=lambda: samples(8, 2),
            loc=lambda: loc(2),
            scale_tril=lambda: factor(2),
            labels=lambda: ["a", "b"],
        ),
        {
            "points": "drawn points",
            "loc": "drawn vector",
            "scale_tril": "drawn scale_tril",
            "labels": "labels",
        },
        extra={
            # Two columns have become three, which the mean does not fit.
            "points": {
                "too wide": Bad(lambda good: good[:, [0, 1, 0]], REFUSED, blamed="loc"),
                "duplicated column": Bad(lambda good: good[:, [0, 0]], RIGHT),
            }
        },
    ),
    **{
        name: _target(lambda name=name: getattr(helpers, name)().words, dict, {})
        for name in helpers.__all__
        if name.startswith("explore_")
    },
    "InteractivePicture.move": _target(
        moved,
        _fixed(variance_1=2.0, variance_2=1.0, correlation=0.5),
        {"variance_1": "slider", "variance_2": "slider", "correlation": "slider"},
    ),
}


def _verdict(verdict: helpers.Verdict) -> list[Any]:
    return [verdict.ratio, verdict.meaning]


HELD = {
    "Dataset": "a container that `load_dataset` fills; whatever uses its data looks at them",
    "MappedCholesky.get_extra_state": "torch calls it in `state_dict`",
    "MappedCholesky.set_extra_state": "torch calls it in `load_state_dict`, with nothing to set",
    "LeaveOneOut": "a container that `leave_one_out` fills",
    "Mardia": "a container that `mardia` fills",
}
