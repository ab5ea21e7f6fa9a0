"""Fits of structured models: L-BFGS in coordinates that suit each structure, and the minimum."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helpers.devices import widest_dtype
from helpers.estimators import as_statistics, require_varying
from helpers.gaussian import LOG_2PI
from helpers.history import History, Recorder
from helpers.low_rank import FLOOR, factor_analysis, low_rank_nll
from helpers.statistics import SufficientStatistics
from helpers.structured import (
    DiagonalLikelihood,
    LowRankLikelihood,
    ShrinkageLikelihood,
    StructuredLikelihood,
    mean_squares,
    nll_of_variances,
    require_fitting,
    shrunk_variances,
)
from helpers.uncertainty import Verdict
from helpers.validation import as_device, as_tensor, require_count, require_finite, require_number

DEFAULT_TOLERANCE = 1e-10
MOST_STEPS = 1000
EM_STEPS = 10  # before L-BFGS: from anywhere to near a maximum
PATIENCE = 20  # steps without progress after which a fit ends
NO_PROGRESS = 1e-3  # of the tolerance
ROUNDINGS = 50  # of a gap: less is noise
FURTHEST_LOGIT = 50.0  # of a shrinkage; beyond, it is 0 or 1 to the last digit
POINTS = 1001


@dataclass(frozen=True, eq=False)
class StructuredHistory(History):
    """The course of a fit of a structured model, which has fewer parameters than others.

    Attributes
    ----------
    n_parameters : int
        Free parameters p of the structure.
    """

    n_parameters: int = 0

    @property
    def sampling_error(self) -> float | None:
        """p / 2n in nats: what the samples leave open."""
        return None if self.count is None else self.n_parameters / (2 * self.count)

    @property
    def verdict(self) -> Verdict | None:
        """The final gap, the worst of a batch, beside the sampling error."""
        if self.sampling_error is None:
            return None
        return Verdict(max(0.0, self.gap[-1].max().item()), self.sampling_error)


class _Problem:
    """A fit in coordinates of its own: what L-BFGS moves, and how far it is from the minimum."""

    def __init__(self, parameters: Sequence[Tensor], minimum: Tensor) -> None:
        self.parameters = [each.detach().requires_grad_() for each in parameters]
        self.minimum = minimum

    def prepare(self) -> None:
        """What comes before the first step: nothing, or a step that brings the scales right."""

    def require_minimum(self, dtype: torch.dtype) -> None:
        """Raise ValueError if there is none but for the rounding of a model in this dtype."""

    def gap(self) -> Tensor:
        """Loss above its minimum, with gradients, shape batch_shape."""
        raise NotImplementedError

    def values(self) -> dict[str, Tensor]:
        """The parameters of the model at this place, by name."""
        raise NotImplementedError


class _DiagonalProblem(_Problem):
    """In units of the sample's own means and standard deviations."""

    def __init__(self, model: DiagonalLikelihood, statistics: SufficientStatistics) -> None:
        self.centre, self.scale = statistics.mean, _standard_deviations(statistics)
        shift = (model.loc - self.centre) / self.scale
        log_ratio = model.log_scale - self.scale.log()
        minimum = 0.5 * model.dim * (LOG_2PI + 1) + self.scale.log().sum(dim=-1)
        super().__init__([shift, log_ratio], minimum)

    def gap(self) -> Tensor:
        shift, log_ratio = self.parameters
        spread = torch.expm1(-2 * log_ratio) + 2 * log_ratio  # no digits are lost at its minimum
        return 0.5 * (spread + shift.square() * (-2 * log_ratio).exp()).sum(dim=-1)

    def values(self) -> dict[str, Tensor]:
        shift, log_ratio = self.parameters
        return {"loc": self.centre + self.scale * shift, "log_scale": log_ratio + self.scale.log()}


class _LowRankProblem(_Problem):
    """In units of the sample's own, where each variance is kept above the floor of the optimum.

    It is the floor and a square. Where the optimum is at the floor, a square comes to zero in few
    steps, while an exponential never arrives: a Heywood case took hundreds of steps.
    """

    def __init__(self, model: LowRankLikelihood, statistics: SufficientStatistics) -> None:
        self.centre, self.scale = statistics.mean, _standard_deviations(statistics)
        unit = self.scale[..., :, None] * self.scale[..., None, :]
        self.standardised = SufficientStatistics._of(
            statistics.count, torch.zeros_like(statistics.mean), statistics.scatter / unit
        )
        self.best = factor_analysis(self.standardised, model.rank)
        self.lowest = self._nll(self.best.loc, self.best.cov_factor, self.best.cov_diag)
        own = (model.log_cov_diag - 2 * self.scale.log()).exp().clamp(min=2 * FLOOR)
        start = [
            (model.loc - self.centre) / self.scale,
            model.cov_factor / self.scale[..., None],
            (own - FLOOR).sqrt(),
        ]
        super().__init__(start, self.lowest + self.scale.log().sum(dim=-1))
        size = (model.cov_diag + model.cov_factor.square().sum(dim=-1)).sqrt()  # (*batch, d)
        self.shape = model.cov_factor / size[..., None], model.cov_diag / size.square()

    def prepare(self) -> None:
        """Some steps of EM, from the correlations of the model: its scales may be far off.

        At a maximum the variances of the model are those of the sample, so that a fit which starts
        near one does not leave it.
        """
        _, factor, free = self.parameters
        loadings, own = self.shape
        with torch.no_grad():
            factor.copy_(loadings)
            free.copy_((own.clamp(min=2 * FLOOR) - FLOOR).sqrt())
            for _ in range(EM_STEPS):
                self._em_step()

    def _em_step(self) -> None:
        """A step of EM for factor analysis (Rubin and Thayer 1982)."""
        shift, factor, free = self.parameters
        own = FLOOR + free.square()
        sample = self.standardised.covariance_matrix()
        weighted = factor / own[..., None]  # psi^-1 Lambda
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        # Mean and second moment of the factors, given the samples.
        capacitance = torch.linalg.cholesky(identity + factor.mT @ weighted)
        scores = torch.cholesky_solve(weighted.mT, capacitance)  # (*batch, k, d)
        crossed = sample @ scores.mT
        second = torch.cholesky_inverse(capacitance) + scores @ crossed
        turned = torch.cholesky_solve(crossed.mT, torch.linalg.cholesky(second)).mT
        left = 1 - (turned * crossed).sum(dim=-1)
        shift.zero_()
        factor.copy_(turned)
        free.copy_(left.clamp(min=2 * FLOOR).sub(FLOOR).sqrt())

    def gap(self) -> Tensor:
        shift, factor, free = self.parameters
        return self._nll(shift, factor, FLOOR + free.square()) - self.lowest

    def values(self) -> dict[str, Tensor]:
        shift, factor, free = self.parameters
        return {
            "loc": self.centre + self.scale * shift,
            "cov_factor": factor * self.scale[..., None],
            "log_cov_diag": (FLOOR + free.square()).log() + 2 * self.scale.log(),
        }

    def _nll(self, shift: Tensor, factor: Tensor, own: Tensor) -> Tensor:
        return low_rank_nll(self.standardised, shift, factor, own)


class _ShrinkageProblem(_Problem):
    """One number, whose best value a search finds."""

    def __init__(self, model: ShrinkageLikelihood, statistics: SufficientStatistics) -> None:
        self.eigenvalues, self.seen = model.eigenvalues, mean_squares(model, statistics)
        variance = statistics.covariance_matrix().diagonal(dim1=-2, dim2=-1)
        square = variance + (statistics.mean - model.loc).square()
        # What would be seen along each axis if the columns were not correlated, (*batch, d).
        self.uncorrelated = (model.eigenvectors.square() * square[..., :, None]).sum(dim=-2)
        super().__init__([model.logit_shrinkage], self._minimum())

    def gap(self) -> Tensor:
        return self._nll(self.parameters[0]) - self.minimum

    def values(self) -> dict[str, Tensor]:
        return {"logit_shrinkage": self.parameters[0]}

    def _nll(self, logit: Tensor) -> Tensor:
        return nll_of_variances(shrunk_variances(self.eigenvalues, logit), self.seen)

    def prepare(self) -> None:
        """Go to the best point of the grid: there may be several minima, and plateaus."""
        with torch.no_grad():
            self.parameters[0].copy_(self.best_of_grid)

    def require_minimum(self, dtype: torch.dtype) -> None:
        """Raise ValueError where neither the covariance nor the data have variance.

        On the rows that a singular covariance was made from, rounding leaves a little variance, and
        the loss a minimum near no shrinkage that means nothing. Beside the scales of the columns it
        is small, as small eigenvalues of columns in unlike units need not be.
        """
        values = self.eigenvalues
        rounding = 4 * values.shape[-1] * torch.finfo(dtype).eps
        is_zero = values <= rounding * values[..., -1:]  # (*batch, d)
        seen, most = ((is_zero * each).sum(dim=-1) for each in (self.seen, self.uncorrelated))
        if bool((is_zero.any(dim=-1) & (seen <= rounding * most)).any()):
            raise ValueError(
                "data: expected rows with variance where covariance_matrix has none, got rows "
                "without, so that no shrinkage is the best; use other rows than it was made from"
            )

    def _minimum(self) -> Tensor:
        """The smallest loss: on a grid, and between its points."""
        values = self.eigenvalues
        grid = torch.linspace(
            -FURTHEST_LOGIT, FURTHEST_LOGIT, POINTS, dtype=values.dtype, device=values.device
        ).reshape(-1, *[1] * (values.ndim - 1))
        losses = self._nll(grid.expand(-1, *values.shape[:-1]))  # (points, *batch)
        best = losses.argmin(dim=0)
        self.best_of_grid = grid.flatten()[best]
        width = 2 * FURTHEST_LOGIT / (POINTS - 1)
        return self._nll(_golden_section(self._nll, self.best_of_grid, width))


def _golden_section(loss: Callable[[Tensor], Tensor], centre: Tensor, width: float) -> Tensor:
    """Where a function of numbers (*batch,) is smallest, between centre - width and + width."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = centre - width, centre + width
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        is_left = loss(left) < loss(right)
        low, high = torch.where(is_left, low, left), torch.where(is_left, right, high)
    return (low + high) / 2


_PROBLEMS: dict[type[StructuredLikelihood], Callable[..., _Problem]] = {
    DiagonalLikelihood: _DiagonalProblem,
    LowRankLikelihood: _LowRankProblem,
    ShrinkageLikelihood: _ShrinkageProblem,
}


def _problem_of(model: StructuredLikelihood, statistics: SufficientStatistics) -> _Problem:
    """What there is to minimise for a model, which is left alone."""
    make = next(made for kind, made in _PROBLEMS.items() if isinstance(model, kind))
    problem = make(copy.deepcopy(model).to(statistics.mean.dtype), statistics)
    problem.require_minimum(model.loc.dtype)
    return problem


def fit_structured(
    model: StructuredLikelihood,
    data: Any,
    *,
    optimizer: Any = None,
    batch_size: Any = None,
    device: Any = None,
    tol: float | None = None,
    max_steps: int | None = None,
    checkpoint: Any = None,
) -> StructuredHistory:
    """Train a structured model in place, from where it is, by L-BFGS in float64.

    What `helpers.fit` does with such a model. A `LowRankLikelihood` goes on from its correlations,
    and takes its scales from the data. A `ShrinkageLikelihood` goes to the best of many shrinkages
    first.

    The gap is that to the minimum of the structure: a closed form, the end of a search along the
    one number, or for a `LowRankLikelihood` the best that the many starts of `factor_analysis`
    found. A fit ends at a gap of `tol`, or where no gap has changed by more than a thousandth of
    that in 20 steps. Where a variance goes to its floor, the last digits come slowly, and another
    local maximum may be reached: see `converged`.

    Parameters
    ----------
    model : DiagonalLikelihood, LowRankLikelihood or ShrinkageLikelihood
    data : Tensor or ndarray, shape (..., n, dim), or SufficientStatistics
    optimizer : {None, "lbfgs"}
    batch_size, checkpoint : None
    device : torch.device or str, optional
        Where the model is: structured models are small.
    tol : float, optional
        Gap at which the fit ends; by default 1e-10 nats.
    max_steps : int, optional
        By default 1,000.

    Returns
    -------
    StructuredHistory

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. The model is left as it was.
    FloatingPointError
        If training leaves the finite numbers. The model is left as it was.
    """
    _require_plain(optimizer, batch_size, checkpoint)
    _require_trainable(model)
    home = model.loc.device
    if device is not None and as_device(device).type != home.type:
        raise ValueError(f"device: expected that of the model, {home}, got {device!r}")
    tol = DEFAULT_TOLERANCE if tol is None else require_number(tol, "tol", above=0)
    max_steps = MOST_STEPS if max_steps is None else require_count(max_steps, "max_steps")
    statistics = _as_wide(model, data)
    with torch.no_grad():
        problem = _problem_of(model, statistics)
    recorder = Recorder(home)
    try:
        converged = _descend(problem, recorder, tol, max_steps)
    except KeyboardInterrupt:
        _write(problem, model)  # who interrupts keeps what was learnt
        raise
    _write(problem, model)
    return StructuredHistory(
        **recorder.state_dict(),
        optimizer="L-BFGS",
        device=str(home),
        converged=converged,
        dim=model.dim,
        count=statistics.fewest,
        n_parameters=model.n_free_parameters,
    )


def _descend(problem: _Problem, recorder: Recorder, tol: float, max_steps: int) -> bool:
    """L-BFGS until every gap is small enough or none gets smaller, or the steps are used up."""
    lbfgs = torch.optim.LBFGS(
        problem.parameters,
        max_iter=1,  # one iteration a step, so that each is recorded
        max_eval=25,
        history_size=50,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        lbfgs.zero_grad()
        total = problem.gap().sum()
        total.backward()
        return total

    worst = _record(problem, recorder, 0)
    for step in range(1, max_steps + 1):
        if worst <= tol or _is_stuck(recorder.rows["gap"], tol):
            break
        recorder.start()
        if step == 1:
            problem.prepare()
        lbfgs.step(closure)
        recorder.stop()
        worst = _record(problem, recorder, step)
    return worst <= tol


def _is_stuck(gaps: list[Tensor], tol: float) -> bool:
    """Whether no gap of a batch has changed to speak of in the last steps."""
    if len(gaps) <= PATIENCE:
        return False
    change = (gaps[-1] - gaps[-1 - PATIENCE]).abs().max().item()
    return change <= max(NO_PROGRESS * tol, ROUNDINGS * torch.finfo(gaps[-1].dtype).eps)


def _record(problem: _Problem, recorder: Recorder, step: int) -> float:
    """Add a row; the largest gap."""
    with torch.no_grad():
        gap = problem.gap()
    worst = gap.max().item() if gap.numel() else 0.0
    if not math.isfinite(worst):
        if step == 0:
            raise ValueError(
                f"model, data: expected numbers for which the loss is finite, got a gap of "
                f"{worst} before the first step"
            )
        raise FloatingPointError(f"fit: L-BFGS left the finite numbers by step {step}")
    recorder.record(step, problem.minimum + gap, gap)
    return worst


@torch.no_grad()
def _write(problem: _Problem, model: StructuredLikelihood) -> None:
    """Set the model's parameters to where the problem is."""
    for name, value in problem.values().items():
        getattr(model, name).copy_(value)


def _as_wide(model: StructuredLikelihood, data: Any) -> SufficientStatistics:
    """Statistics of the data on the model's device, one set for each Gaussian, in float64."""
    dtype = widest_dtype(model.loc.device)
    statistics = as_statistics(data).to(device=model.loc.device, dtype=dtype).detach()
    require_fitting(model, statistics)
    batch, d = model.batch_shape, model.dim
    return SufficientStatistics._of(
        statistics.count.expand(batch),
        statistics.mean.expand(*batch, d),
        statistics.scatter.expand(*batch, d, d),
    )


def _require_plain(optimizer: Any, batch_size: Any, checkpoint: Any) -> None:
    """Raise ValueError unless a fit is asked for that structured models have."""
    if optimizer is not None and not (isinstance(optimizer, str) and optimizer == "lbfgs"):
        raise ValueError(
            f"optimizer: expected None or 'lbfgs' for a structured model, got {optimizer!r}"
        )
    for name, value in (("batch_size", batch_size), ("checkpoint", checkpoint)):
        if value is not None:
            raise ValueError(f"{name}: expected None for a structured model, got {value!r}")


def _require_trainable(model: Any) -> None:
    """Raise an error unless a structured model has finite parameters that may be moved."""
    if not isinstance(model, tuple(_PROBLEMS)):
        names = ", ".join(kind.__name__ for kind in _PROBLEMS)
        raise TypeError(f"model: expected one of {names}, got {type(model).__name__}")
    for name, parameter in model.named_parameters():
        require_finite(as_tensor(parameter, f"model: {name}"), f"model: {name}")
        if not parameter.requires_grad:
            raise ValueError(
                f"model: expected parameters that require gradients, as all of them are fitted, "
                f"got {name} without"
            )


def _standard_deviations(statistics: SufficientStatistics) -> Tensor:
    """Of the samples, (*batch, d), divided by n; ValueError at a constant column."""
    variance = statistics.covariance_matrix().diagonal(dim1=-2, dim2=-1)
    require_varying(variance)
    return variance.sqrt()
