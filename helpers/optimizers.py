"""Ways down: the natural gradient, its online form, and torch.optim behind one interface."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from helpers.checkpoints import WAY_OUT, require_entry, require_tensor_entry
from helpers.gaussian import solve_for_inverse
from helpers.models import CovarianceModel, GaussianLikelihood, require_trainable
from helpers.objectives import LikelihoodObjective, Objective
from helpers.statistics import mean_log_prob, whiten
from helpers.validation import (
    as_covariance,
    as_samples,
    as_scale_tril,
    as_square,
    cholesky_factor,
    refuse_overflow,
    require_broadcastable,
    require_count,
    require_same_kind,
    require_variance,
    try_cholesky,
)

ADAM_LEARNING_RATE = 0.05
# They keep numbers for each element of a parameter; others keep flat or factored ones.
ELEMENTWISE = (torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad)


class Stepper:
    """One way of improving a model, a step at a time."""

    name: str

    def __init__(self, model: CovarianceModel, objective: Objective) -> None:
        self.model = model
        self.objective = objective

    def step(self, batch: Any) -> None:
        """Improve the model with a batch of data."""
        raise NotImplementedError

    @torch.no_grad()
    def gap(self) -> Tensor:
        """The model's loss above its minimum, shape batch_shape."""
        return self.objective.gap(self.model)

    def write(self) -> None:
        """Let the model have what was learnt; by default it has it already."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep besides the model; by default nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


@refuse_overflow("scale_tril, covariance_matrix")
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
    if validate_args:
        scale_tril, covariance_matrix = _as_fitting(scale_tril, covariance_matrix)
    whitened = whiten(covariance_matrix, scale_tril, validate_args=False)  # A
    if validate_args:
        require_variance(whitened.diagonal(dim1=-2, dim2=-1), "scale_tril, covariance_matrix")
    return scale_tril @ natural_turn(whitened, validate_args=False)  # L T


def natural_turn(whitened: Tensor, *, validate_args: bool = True) -> Tensor:
    r"""The factor by which a natural-gradient step turns L into L T.

    .. math:: T = \mathrm{tril}\!\left( A \, \mathrm{diag}(A)^{-1/2} \right)

    Parameters
    ----------
    whitened : Tensor, shape (*batch, d, d)
        A, positive on its diagonal; what is above the diagonal is not used.
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before. Where A
        is not positive on its diagonal, the answer is then NaN.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        Lower triangular, positive on the diagonal.

    Raises
    ------
    TypeError, ValueError
        If `whitened` is no finite matrix, or not positive on its diagonal.
    """
    if validate_args:
        whitened = as_square(whitened, "whitened")
        require_variance(whitened.diagonal(dim1=-2, dim2=-1), "whitened")
    scale = whitened.diagonal(dim1=-2, dim2=-1).sqrt()  # (*batch, d)
    return (whitened / scale.unsqueeze(-2)).tril_()


def _as_fitting(scale_tril: Tensor, covariance_matrix: Tensor) -> tuple[Tensor, Tensor]:
    scale_tril = as_scale_tril(scale_tril)
    covariance_matrix = as_covariance(
        covariance_matrix, "covariance_matrix", dim=scale_tril.shape[-1]
    )
    require_same_kind(scale_tril=scale_tril, covariance_matrix=covariance_matrix)
    cholesky_factor(covariance_matrix, "covariance_matrix")  # raises unless positive definite
    return scale_tril, covariance_matrix


class FactorStepper(Stepper):
    """Steps on a mean and a factor of its own, which the model is given when someone looks at it.

    They have the widest dtype. A model of a narrower one is given them at every step and read
    again, so that each record tells of the model as it is, rounded.
    """

    def __init__(self, model: CovarianceModel, objective: Objective) -> None:
        super().__init__(model, objective)
        self.dtype = objective.covariance_matrix.dtype
        self.rounds = model.scale.first_parameter.dtype != self.dtype
        self.is_ahead = False  # of the model
        self._read()

    def gap(self) -> Tensor:
        """Loss above its minimum, shape batch_shape."""
        return self.objective.gap(self, self.inverse)

    @property
    def inverse(self) -> Tensor:
        """L^-1, (*batch, d, d): solved for once, for the gap and for the step after it."""
        if self._inverse is None:
            self._inverse = solve_for_inverse(self.scale_tril)
        return self._inverse

    def write(self) -> None:
        """Let the model have the mean and the factor; one that learnt nothing is left alone."""
        if self.is_ahead:
            self._assign()

    def state_dict(self) -> dict[str, Any]:
        """Mean and factor, without the rounding of the model's parameters."""
        return {"loc": self.loc, "scale_tril": self.scale_tril}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take both up again; the model has them. ValueError if they do not fit the model."""
        if self.loc is not None:
            self.loc = _stored(state, "loc", self.loc)
        factor = _stored(state, "scale_tril", self.scale_tril)
        self.scale_tril, self._inverse = as_scale_tril(factor, "checkpoint: scale_tril"), None

    def _move(self, loc: Tensor | None, scale_tril: Tensor) -> None:
        self.loc, self.scale_tril, self._inverse = loc, scale_tril, None
        self.is_ahead = True
        if self.rounds:
            self._assign()
            self._read()

    def _assign(self) -> None:
        if isinstance(self.model, GaussianLikelihood):
            self.model.assign(self.loc, self.scale_tril, validate_args=False)
        else:
            self.model.scale.assign(self.scale_tril, validate_args=False)
        self.is_ahead = False

    def _read(self) -> None:
        loc = getattr(self.model, "loc", None)  # a CovarianceLearner has none
        self.loc = None if loc is None else loc.detach().to(self.dtype, copy=True)  # (*batch, d)
        self.scale_tril = self.model.scale_tril.detach().to(self.dtype)  # (*batch, d, d)
        self._inverse: Tensor | None = None


class NaturalGradient(FactorStepper):
    """Natural-gradient steps from all the data, or towards the target of a `CovarianceLearner`."""

    name = "natural gradient"

    def step(self, batch: Any) -> None:
        """The step of `natural_step`; for the mean, one of length one ends at the sample mean."""
        inverse = self.inverse
        whitened = inverse @ self.objective.covariance_matrix @ inverse.mT  # A
        self._move(
            self.objective.loc, self.scale_tril @ natural_turn(whitened, validate_args=False)
        )  # L T


class AutogradNaturalGradient(FactorStepper):
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
        self.statistics = objective.training_data(self.dtype)

    def step(self, batch: Any) -> None:
        """First the mean, whose Fisher information is that of L L^T, then the factor."""
        loc, scale_tril = self.loc, self.scale_tril  # (*batch, d), (*batch, d, d)
        slope, _ = self._gradient(loc, scale_tril)
        loc = loc - (scale_tril @ (scale_tril.mT @ slope[..., None]))[..., 0]
        _, gradient = self._gradient(loc, scale_tril)
        identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        whitened = identity - gradient  # A, in its lower triangle
        self._move(loc, scale_tril @ natural_turn(whitened, validate_args=False))

    def _gradient(self, loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the loss for loc, (*batch, d), and for T at the identity, (*batch, d, d)."""
        loc = loc.detach().requires_grad_()
        turn = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        turn = turn.repeat(*loc.shape[:-1], 1, 1).requires_grad_()  # T
        loss = -mean_log_prob(self.statistics, loc, scale_tril @ turn, validate_args=False)
        return torch.autograd.grad(loss.sum(), (loc, turn))


class Moments(NamedTuple):
    """Means over the samples seen, taken from an origin that is near them.

    Attributes
    ----------
    seen : int
        Samples.
    origin, mean : Tensor, shape (*batch, d)
        A point, and the mean of x - origin.
    second : Tensor, shape (*batch, d, d)
        The mean of (x - origin)(x - origin)^T.
    """

    seen: int
    origin: Tensor
    mean: Tensor
    second: Tensor


class OnlineNaturalGradient(FactorStepper):
    """Natural-gradient steps in the coordinates E[x] and E[x x^T], from one batch after another.

    A step goes from the moments so far to those of the batch, a part of the way. With the batch's
    share of all that was seen it is a running mean, and one epoch ends at the optimum.
    """

    name = "online natural gradient"

    def __init__(self, model: GaussianLikelihood, objective: Objective) -> None:
        require_trainable(model)
        if not isinstance(model, GaussianLikelihood):
            raise TypeError(f"model: expected a GaussianLikelihood, got {type(model).__name__}")
        if not isinstance(objective, LikelihoodObjective):
            raise TypeError(
                f"objective: expected that of a likelihood, got {type(objective).__name__}"
            )
        require_broadcastable(
            model.loc.shape, "objective: mean of the samples", objective.loc.shape
        )
        super().__init__(model, objective)
        nothing = torch.zeros_like(objective.loc)
        self.n_factorised = 0  # samples seen when mean and factor were last computed
        self.moments = Moments(0, nothing, nothing, torch.zeros_like(objective.covariance_matrix))

    def step(self, batch: Tensor) -> None:
        """Move the moments; the factor is computed when someone asks for the model."""
        seen, origin, mean, second = self.moments
        batch = as_samples(batch, "batch", dim=self.model.dim).to(self.dtype)  # (*batch, n, d)
        n = require_count(batch.shape[-2], "number of rows of batch")
        if seen == 0:
            origin = batch.mean(dim=-2)  # near the data, so that no digits are lost
        centred = batch - origin.unsqueeze(-2)
        rate = n / (seen + n)
        mean = mean.lerp(centred.mean(dim=-2), rate)  # of x - origin
        second = second.lerp(centred.mT @ centred / n, rate)
        self.moments = Moments(seen + n, origin, mean, second)

    def gap(self) -> Tensor:
        """Loss above its minimum, shape batch_shape."""
        self._factorise()
        return super().gap()

    def write(self) -> None:
        """Let the model have mean and factor, once there are enough samples for a covariance."""
        self._factorise()
        super().write()

    def state_dict(self) -> dict[str, Any]:
        """The moments besides mean and factor."""
        return {**super().state_dict(), "moments": self.moments._asdict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take all of them up again; the factor is that of these moments."""
        super().load_state_dict(state)
        moments = require_entry(state, "moments", dict)
        seen = require_entry(moments, "seen", int)
        _, *empty = self.moments._asdict().items()
        self.moments = Moments(seen, *(_stored(moments, name, like) for name, like in empty))
        self.n_factorised = seen

    def _factorise(self) -> None:
        seen, origin, mean, second = self.moments
        if seen == self.n_factorised:
            return
        self.n_factorised = seen
        covariance = second - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        scale_tril, failed = try_cholesky(covariance, seen)
        if not bool(failed.any()):
            # Data without a batch serve every model of one.
            self._move(origin + mean, scale_tril.expand_as(self.scale_tril))


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
        # Before any state is loaded, as torch then adds defaults of its own.
        self.hyperparameters = repr(optimizer.defaults)

    def step(self, batch: Any) -> None:
        """One step on the loss of the batch, summed over a batch of models."""

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.model(batch, validate_args=False)
            loss = loss.sum() if loss.dim() else loss
            value = loss.item()
            if not math.isfinite(value):
                raise ValueError(f"loss: expected a finite value, got {value}")
            loss.backward()
            return loss

        self.optimizer.step(closure)
        if self.scheduler is not None:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """State of optimiser and schedule."""
        schedule = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "hyperparameters": self.hyperparameters,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": schedule,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take both up again; ValueError if the optimiser was another."""
        expected, actual = self.hyperparameters, require_entry(state, "hyperparameters", str)
        if actual != expected:
            raise ValueError(
                f"checkpoint: expected one of a fit with {self.name}({expected}), got {actual}; "
                f"{WAY_OUT}"
            )
        optimizer = require_entry(state, "optimizer", dict)
        try:
            self.optimizer.load_state_dict(optimizer)
        except Exception as error:  # torch trusts what it is given: damage shows in many types
            raise ValueError(
                f"checkpoint: expected the state of {self.name} over these parameters, "
                f"got another ({error})"
            ) from error
        if self.scheduler is not None:
            self.scheduler.load_state_dict(require_entry(state, "scheduler", dict))
        self._require_own_shapes()

    def _require_own_shapes(self) -> None:
        """ValueError unless what is kept for a parameter is finite and, mostly, of its shape."""
        elementwise = isinstance(self.optimizer, ELEMENTWISE)
        for parameter, kept in self.optimizer.state.items():
            for name, value in kept.items():
                if not isinstance(value, Tensor):
                    continue
                shape = parameter.shape if elementwise and value.ndim else value.shape
                require_tensor_entry(kept, name, shape, (value.dtype,))


def _stored(state: dict[str, Any], name: str, like: Tensor) -> Tensor:
    """A tensor of a checkpoint, of the shape, dtype and device of another."""
    return require_tensor_entry(state, name, like.shape).to(like)


def make_stepper(
    optimizer: str | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None,
    model: CovarianceModel,
    objective: Objective,
    *,
    online: bool,
    max_steps: int,
) -> Stepper:
    """The stepper that `fit` was asked for; None is the natural gradient."""
    named = optimizer if isinstance(optimizer, str) else ""  # comparing an array gives an array
    if optimizer is None or named == "natural":
        return (OnlineNaturalGradient if online else NaturalGradient)(model, objective)
    if named == "natural-autograd" and not online:
        return AutogradNaturalGradient(model, objective)
    parameters = list(model.parameters())
    if named == "adam":
        fused = parameters[0].device.type in ("cpu", "cuda")  # one kernel for all that Adam does
        adam = torch.optim.Adam(parameters, lr=ADAM_LEARNING_RATE, fused=fused)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=max_steps)
        return GradientDescent(model, objective, adam, "Adam, cosine schedule", cosine)
    if named == "lbfgs" and not online:
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
        try:
            made = made(parameters)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"optimizer: expected a function that makes a torch.optim.Optimizer from "
                f"parameters, got {optimizer!r}, which says: {error}"
            ) from error
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
