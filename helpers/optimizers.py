"""Ways down: the natural gradient, its online form, and torch.optim behind one interface."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.models import CovarianceModel, GaussianLikelihood
from helpers.objectives import Objective
from helpers.statistics import SufficientStatistics, mean_log_prob, whiten
from helpers.validation import require_variance, try_cholesky

ADAM_LEARNING_RATE = 0.05


class Stepper:
    """One way of improving a model, a step at a time."""

    name: str

    def __init__(self, model: CovarianceModel, objective: Objective) -> None:
        self.model = model
        self.objective = objective

    def step(self, batch: Any) -> None:
        """Improve the model with a batch of data."""
        raise NotImplementedError

    def gap(self) -> Tensor:
        """The model's loss above its minimum, shape batch_shape."""
        return self.objective.gap(self.model)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep besides the model; by default nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


def natural_step(
    scale_tril: Tensor, covariance_matrix: Tensor, *, validate_args: bool = True
) -> Tensor:
    r"""One natural-gradient step of a Cholesky factor towards a covariance.

    .. math:: A = L^{-1} S L^{-\top}, \qquad
        L \leftarrow L \, \mathrm{tril}\!\left( A \, \mathrm{diag}(A)^{-1/2} \right)

    Parameters
    ----------
    scale_tril : Tensor, shape (*batch, d, d)
        Where the step starts: L.
    covariance_matrix : Tensor, shape (*batch, d, d)
        Where the gradient vanishes: S, the second moment of the data about the mean.
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        The next factor, lower triangular with a positive diagonal.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `covariance_matrix` is not positive definite.

    Notes
    -----
    Write the next factor as L T. At T = I, in the coordinates log T_ii and T_ij, the gradient of
    the negative log-likelihood is the lower triangle of I - A, and the Fisher information is
    diagonal: 2 for a diagonal entry, 1 below it. So the natural gradient asks for
    T_ii = 1 + (A_ii - 1) / 2 and T_ij = A_ij, to first order. The lower triangle of
    A diag(A)^(-1/2) agrees with this, and its first column is that of the Cholesky factor of A.
    Each step therefore settles at least one more column: far from the optimum it cannot run away,
    near it the error is squared at each step, and after d steps it is done in exact arithmetic.
    Units and conditioning do not enter.

    To first order this is also the Gauss-Newton step for a mean squared error to S.

    References
    ----------
    Amari (1998), Natural gradient works efficiently in learning. Neural Computation 10, 251-276.
    """
    whitened = whiten(covariance_matrix, scale_tril, validate_args=validate_args)  # A
    if validate_args:
        require_variance(whitened.diagonal(dim1=-2, dim2=-1), "covariance_matrix")
    return scale_tril @ natural_turn(whitened)  # L T


def natural_turn(whitened: Tensor) -> Tensor:
    r"""The factor by which a natural-gradient step turns L into L T.

    .. math:: T = \mathrm{tril}\!\left( A \, \mathrm{diag}(A)^{-1/2} \right)

    Parameters
    ----------
    whitened : Tensor, shape (*batch, d, d)
        A, positive on its diagonal; what is above the diagonal is not used.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        Lower triangular, positive on the diagonal; NaN where A is not.
    """
    scale = whitened.diagonal(dim1=-2, dim2=-1).sqrt()  # (*batch, d)
    return (whitened / scale[..., None, :]).tril()


class NaturalGradient(Stepper):
    """Natural-gradient steps from all the data, or towards the target of a `CovarianceLearner`."""

    name = "natural gradient"

    @torch.no_grad()
    def step(self, batch: Any) -> None:
        """For the mean, a natural-gradient step of length one ends at the sample mean."""
        target = self.objective.covariance_matrix
        current = self.model.scale_tril.to(target.dtype)
        following = natural_step(current, target, validate_args=False)
        if isinstance(self.model, GaussianLikelihood):
            self.model.loc.copy_(self.objective.loc)
        self.model.scale.assign(following, validate_args=False)


class AutogradNaturalGradient(Stepper):
    """The same steps, with the gradient by autograd from the model's own loss.

    The next factor is L T. At T = I the gradient for log T_ii and T_ij is the lower triangle of
    I - A, and this triangle is all that `natural_step` asks of A.
    """

    name = "natural gradient by autograd"

    def __init__(self, model: CovarianceModel, objective: Objective) -> None:
        if not isinstance(model, GaussianLikelihood):
            raise ValueError(
                "optimizer: expected 'natural', 'lbfgs' or 'adam' for a CovarianceLearner, whose "
                "loss is no likelihood and has no Fisher information, got 'natural-autograd'"
            )
        super().__init__(model, objective)
        self.dtype = objective.loc.dtype
        self.statistics = objective.training_data(self.dtype)

    def step(self, batch: Any) -> None:
        """First the mean, whose Fisher information is that of L L^T, then the factor."""
        loc = self.model.loc.detach().to(self.dtype)  # (*batch, d)
        scale_tril = self.model.scale_tril.detach().to(self.dtype)  # (*batch, d, d)
        slope, _ = self._gradient(loc, scale_tril)
        loc = loc - (scale_tril @ (scale_tril.mT @ slope[..., None]))[..., 0]
        _, gradient = self._gradient(loc, scale_tril)
        identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        whitened = identity - gradient  # the lower triangle of A
        following = scale_tril @ natural_turn(whitened)
        self.model.assign(loc, following, validate_args=False)

    def _gradient(self, loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the loss for loc, (*batch, d), and for T at the identity, (*batch, d, d)."""
        loc = loc.detach().requires_grad_()
        turn = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        turn = turn.repeat(*loc.shape[:-1], 1, 1).requires_grad_()  # T
        loss = -mean_log_prob(self.statistics, loc, scale_tril @ turn, validate_args=False)
        slope, gradient = torch.autograd.grad(loss.sum(), (loc, turn))
        return slope, gradient.tril()


class OnlineNaturalGradient(Stepper):
    """Natural-gradient steps in expectation parameters, from one batch after another.

    In the coordinates E[x] and E[x x^T] the step of rate n_batch / n_seen is the weighted mean of
    the statistics so far and those of the batch: a merge. One epoch ends at the optimum.
    """

    name = "online natural gradient"

    def __init__(self, model: GaussianLikelihood, objective: Objective) -> None:
        super().__init__(model, objective)
        self.dtype = objective.covariance_matrix.dtype
        self.statistics: SufficientStatistics | None = None

    @torch.no_grad()
    def step(self, batch: Tensor) -> None:
        """Merge the batch; the model follows once there are enough samples for a covariance."""
        seen = SufficientStatistics.from_data(batch, dtype=self.dtype)
        self.statistics = seen if self.statistics is None else self.statistics.merge(seen)
        covariance = self.statistics.covariance_matrix(correction=0)
        scale_tril, failed = try_cholesky(covariance, self.statistics.count)
        if not bool(failed.any()):
            self.model.assign(self.statistics.mean, scale_tril, validate_args=False)

    def state_dict(self) -> dict[str, Any]:
        """The statistics of what was seen."""
        seen = self.statistics
        return {} if seen is None else {"seen": [seen.count, seen.mean, seen.scatter]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the statistics up again."""
        if "seen" in state:
            device = self.model.loc.device
            self.statistics = SufficientStatistics(*(part.to(device) for part in state["seen"]))


class GradientDescent(Stepper):
    """Any optimiser of torch.optim on the model's own parameters, with or without a schedule."""

    def __init__(
        self,
        model: CovarianceModel,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        name: str,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    ) -> None:
        super().__init__(model, objective)
        self.optimizer = optimizer
        self.name = name
        self.scheduler = scheduler

    def step(self, batch: Any) -> None:
        """One step on the loss of the batch, summed over a batch of models."""

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.model(batch, validate_args=False).sum()
            if not math.isfinite(loss.item()):
                raise ValueError(f"loss: expected a finite value, got {loss.item()}")
            loss.backward()
            return loss

        self.optimizer.step(closure)
        if self.scheduler is not None:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State of optimiser and schedule."""
        schedule = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "hyperparameters": repr(self.optimizer.defaults),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": schedule,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take both up again; ValueError if the optimiser had other hyperparameters."""
        expected, actual = repr(self.optimizer.defaults), state["hyperparameters"]
        if actual != expected:
            raise ValueError(
                f"checkpoint: expected one of a fit with {self.name}({expected}), got {actual}"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])


def make_stepper(
    optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None,
    model: CovarianceModel,
    objective: Objective,
    *,
    online: bool,
    max_steps: int,
) -> Stepper:
    """The stepper that `fit` was asked for; None is the natural gradient."""
    if optimizer in (None, "natural"):
        return (OnlineNaturalGradient if online else NaturalGradient)(model, objective)
    if optimizer == "natural-autograd" and not online:
        return AutogradNaturalGradient(model, objective)
    parameters = list(model.parameters())
    if optimizer == "adam":
        fused = parameters[0].device.type in ("cpu", "cuda")  # one kernel for all that Adam does
        adam = torch.optim.Adam(parameters, lr=ADAM_LEARNING_RATE, fused=fused)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=max_steps)
        return GradientDescent(model, objective, adam, "Adam, cosine schedule", cosine)
    if optimizer == "lbfgs" and not online:
        # One iteration a step, so that each is recorded; fit's own tolerance ends it. The line
        # search needs evaluations of its own: the default max_eval would leave it one.
        lbfgs = torch.optim.LBFGS(
            parameters,
            max_iter=1,
            max_eval=25,
            history_size=20,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        return GradientDescent(model, objective, lbfgs, "L-BFGS")
    made = optimizer
    if not isinstance(made, torch.optim.Optimizer) and callable(made):
        made = made(parameters)
    if isinstance(made, torch.optim.Optimizer):
        own = {id(p) for p in parameters}
        if not all(id(p) in own for group in made.param_groups for p in group["params"]):
            raise ValueError(
                "optimizer: expected one over this model's parameters, got one over others"
            )
        return GradientDescent(model, objective, made, type(made).__name__)
    choices = "'natural', 'adam'" if online else "'natural', 'natural-autograd', 'lbfgs', 'adam'"
    raise ValueError(
        f"optimizer: expected {choices}, a torch.optim.Optimizer or a function that makes one "
        f"from parameters, got {optimizer!r}"
    )
