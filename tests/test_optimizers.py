"""The natural step: where it goes, how fast, and that it is what its name says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, correlated_samples, eps, random_gaussian, random_scale_tril, seeds

from helpers import (
    CovarianceLearner,
    Gaussian,
    GaussianLikelihood,
    SufficientStatistics,
    kl_divergence,
    log_cholesky,
    natural_step,
)
from helpers.objectives import make_objective
from helpers.optimizers import (
    GradientDescent,
    NaturalGradient,
    OnlineNaturalGradient,
    Stepper,
    make_stepper,
    natural_turn,
)

CPU = torch.device("cpu")


def random_covariance(dim: int, condition: float, seed: int) -> torch.Tensor:
    factor = random_scale_tril(dim, math.sqrt(condition), seed)
    return factor @ factor.mT


@given(st.integers(1, 16), st.floats(2, 10), seeds)
def test_d_steps_are_enough_at_any_condition(dim, log_condition, seed):
    covariance = random_covariance(dim, 10**log_condition, seed)
    scale_tril = torch.eye(dim, dtype=torch.float64)
    for _ in range(dim):
        scale_tril = natural_step(scale_tril, covariance)
    exact = Gaussian(torch.zeros(dim).double(), torch.linalg.cholesky(covariance))
    gap = kl_divergence(exact, Gaussian(exact.loc, scale_tril)).item()
    # Both factors are right up to d eps cond(Sigma), relative in the whitened coordinates; the gap
    # is of its square, and is itself measured with d eps cond(L).
    rounding = dim * np.finfo(float).eps
    assert abs(gap) <= (rounding * 10**log_condition) ** 2 + 10 * rounding * 10 ** (
        log_condition / 2
    )


@given(st.integers(1, 8), seeds)
def test_every_step_settles_a_column(dim, seed):
    covariance = random_covariance(dim, 100.0, seed)
    exact = torch.linalg.cholesky(covariance)
    scale_tril = random_gaussian(dim, seed=seed).scale_tril
    for settled in range(1, dim + 1):
        scale_tril = natural_step(scale_tril, covariance)
        # The condition of both is below 1e4: a million roundings leave room.
        torch.testing.assert_close(
            scale_tril[:, :settled], exact[:, :settled], rtol=1e6 * eps(torch.float64), atol=1e-10
        )


def local_coordinates(dim: int) -> torch.Tensor:
    return torch.zeros(dim * (dim + 1) // 2, dtype=torch.float64)


def moved(scale_tril: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """The factor L T, with T log-Cholesky in `step`: first the diagonal, then what is below it."""
    dim = scale_tril.shape[-1]
    return scale_tril @ log_cholesky(step[:dim], step[dim:])


def negative_log_likelihood(step, scale_tril, covariance):
    factor = moved(scale_tril, step)
    whitened = torch.linalg.solve_triangular(factor, covariance, upper=False)
    trace = torch.linalg.solve_triangular(factor, whitened.mT, upper=False).trace()
    return factor.diagonal().log().sum() + 0.5 * trace


@given(st.integers(1, 5), seeds)
def test_near_the_optimum_the_step_is_the_natural_gradient(dim, seed):
    """It equals -F^-1 grad to first order, with F by autograd: the Hessian of the expected loss."""
    scale_tril = random_gaussian(dim, seed=seed).scale_tril
    start = local_coordinates(dim)
    # The Fisher information is the Hessian of the loss on data from the model itself.
    fisher = torch.autograd.functional.hessian(
        lambda step: negative_log_likelihood(step, scale_tril, scale_tril @ scale_tril.mT), start
    )
    expected_fisher = torch.diag(torch.cat([torch.full((dim,), 2.0), torch.ones(len(start) - dim)]))
    torch.testing.assert_close(
        fisher, expected_fisher.double(), rtol=0, atol=1e-9
    )  # second derivatives

    distance = 1e-4
    direction = random_gaussian(dim, seed=seed + 1).scale_tril
    nearby = scale_tril @ (torch.eye(dim) + distance * direction)
    covariance = nearby @ nearby.mT
    gradient = torch.autograd.functional.jacobian(
        lambda step: negative_log_likelihood(step, scale_tril, covariance), start
    )
    natural = moved(scale_tril, -torch.linalg.solve(fisher, gradient))
    ours = natural_step(scale_tril, covariance)
    # Equal to first order, so what differs is of second order in the distance.
    size = max(1.0, direction.norm().item() ** 2) * scale_tril.norm().item()
    assert (ours - natural).norm() <= 20 * distance**2 * size
    assert (ours - scale_tril).norm() >= 0.1 * distance  # and it is no standing still


@given(st.integers(1, 5), seeds)
def test_near_the_optimum_the_step_is_gauss_newton_for_the_mean_squared_error(dim, seed):
    scale_tril = random_gaussian(dim, seed=seed).scale_tril
    distance = 1e-4
    nearby = scale_tril @ (
        torch.eye(dim) + distance * random_gaussian(dim, seed=seed + 1).scale_tril
    )
    covariance = nearby @ nearby.mT

    def residuals(step):
        factor = moved(scale_tril, step)
        return (factor @ factor.mT - covariance).flatten()

    start = local_coordinates(dim)
    jacobian = torch.autograd.functional.jacobian(residuals, start)
    step = torch.linalg.lstsq(jacobian, -residuals(start)[:, None]).solution[:, 0]
    difference = natural_step(scale_tril, covariance) - moved(scale_tril, step)
    assert difference.norm() <= 100 * distance**2  # second order; factors here are of size one


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", [(4,), (0,), (2, 2)])
def test_a_batch_is_its_elements(batch_shape, dtype):
    scale_tril = random_gaussian(3, batch_shape, seed=1, dtype=dtype).scale_tril
    covariance = random_gaussian(3, batch_shape, seed=2, dtype=dtype).covariance_matrix
    together = natural_step(scale_tril, covariance)
    assert (together.shape, together.dtype) == ((*batch_shape, 3, 3), dtype)
    for index in np.ndindex(*batch_shape):
        alone = natural_step(scale_tril[index], covariance[index])
        # Batched kernels may add in another order: some tens of roundings.
        torch.testing.assert_close(
            together[index], alone, rtol=50 * eps(dtype), atol=50 * eps(dtype)
        )


def test_the_optimum_is_a_fixed_point():
    scale_tril = random_gaussian(4).scale_tril
    stepped = natural_step(scale_tril, scale_tril @ scale_tril.mT)
    torch.testing.assert_close(stepped, scale_tril, rtol=1e-13, atol=1e-13)  # conditions near 100


def test_one_step_leaves_its_arguments_alone():
    scale_tril, covariance = torch.eye(2).double(), random_covariance(2, 10.0, 0)
    before = covariance.clone()
    natural_step(scale_tril, covariance)
    assert torch.equal(scale_tril, torch.eye(2).double())
    assert torch.equal(covariance, before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: natural_step(torch.ones(2, 2), torch.eye(2)), ["scale_tril", "lower-triangular"]),
        (
            lambda: natural_step(torch.eye(2), torch.eye(3)),
            ["covariance_matrix", "(..., 2, 2)", "(3, 3)"],
        ),
        (
            lambda: natural_step(torch.eye(2), -torch.eye(2)),
            ["covariance_matrix", "variances on the diagonal", "-1"],
        ),
        (
            lambda: natural_step(torch.eye(2), torch.eye(2).double()),
            ["covariance_matrix", "float32", "float64"],
        ),
        (
            lambda: natural_step(torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            ["covariance_matrix", "positive definite"],
        ),
        (
            lambda: natural_step(1e30 * torch.eye(2), 1e-30 * torch.eye(2)),
            ["scale_tril, covariance_matrix", "variance 0 in some direction"],
        ),
        (
            lambda: natural_step(torch.eye(2), torch.eye(2) / 0),
            ["covariance_matrix", "finite", "inf"],
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words[0]) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_the_online_form_waits_for_a_covariance_and_then_has_the_exact_one(batch_size):
    data = correlated_samples(40, 3)
    model = GaussianLikelihood(3, dtype=torch.float64)
    stepper = OnlineNaturalGradient(model, make_objective(model, data, CPU))
    for seen, batch in enumerate(data.split(batch_size), start=1):
        stepper.step(batch)
        stepper.write()
        n = min(seen * batch_size, 40)
        if n <= 3:
            assert torch.equal(model.scale_tril, torch.eye(3).double())
        else:
            expected = torch.cov(data[:n].T, correction=0)
            # A merge of up to 40 batches; the factor of the first four samples is ill-conditioned.
            torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-10, atol=1e-10)


def test_the_online_form_waits_where_the_first_samples_repeat():
    data = correlated_samples(40, 2)
    data[:10] = data[0]
    model = GaussianLikelihood(2, dtype=torch.float64)
    stepper = OnlineNaturalGradient(model, make_objective(model, data, CPU))
    for batch in data.split(5):
        stepper.step(batch)
        stepper.write()
    expected = torch.cov(data.T, correction=0)
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-12, atol=1e-12)


def test_the_online_form_waits_for_every_model_of_a_batch():
    data = torch.stack([correlated_samples(40, 2), correlated_samples(40, 2, seed=1)])
    data[1, :10] = data[1, 0]
    model = GaussianLikelihood(2, (2,), dtype=torch.float64)
    stepper = OnlineNaturalGradient(model, make_objective(model, data, CPU))
    stepper.step(data[:, :10])
    stepper.write()
    assert torch.equal(model.scale_tril, torch.eye(2).double().expand(2, 2, 2))
    stepper.step(data[:, 10:])
    stepper.write()
    expected = torch.stack([torch.cov(each.T, correction=0) for each in data])
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-12, atol=1e-12)


def test_the_online_form_is_for_a_likelihood_of_these_data():
    data, model = correlated_samples(40, 2), GaussianLikelihood(2, dtype=torch.float64)
    learner = CovarianceLearner(2, dtype=torch.float64)
    objective = make_objective(model, data, CPU)
    with pytest.raises(TypeError, match=r"^model: expected a .* got CovarianceLearner$"):
        OnlineNaturalGradient(learner, objective)
    with pytest.raises(TypeError, match=r"^objective: .* got MeanSquaredErrorObjective$"):
        OnlineNaturalGradient(model, make_objective(learner, torch.eye(2).double(), CPU))
    several = GaussianLikelihood(2, (3,), dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^objective: mean of the samples: .* got \(3, 2\)$"):
        OnlineNaturalGradient(model, make_objective(several, data.expand(3, 40, 2), CPU))
    with pytest.raises(ValueError, match=r"^batch: .* \(\.\.\., n, 2\), got \(5, 3\)$"):
        OnlineNaturalGradient(model, objective).step(torch.zeros(5, 3))
    model.loc.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^model: expected parameters that require gradients"):
        OnlineNaturalGradient(model, objective)


def test_the_online_form_takes_up_again_what_it_had():
    data = correlated_samples(40, 2)
    before, after = (made_with("natural", online=True) for _ in range(2))
    before.step(data[:20])
    before.write()
    after.load_state_dict(before.state_dict())
    assert torch.equal(after.scale_tril, before.scale_tril)
    for stepper in (before, after):
        stepper.step(data[20:])
    assert torch.equal(after.gap(), before.gap())


def test_the_online_form_keeps_its_digits_far_from_zero():
    data = correlated_samples(4000, 2) + 1e6
    model = GaussianLikelihood(2, dtype=torch.float64)
    stepper = OnlineNaturalGradient(model, make_objective(model, data, CPU))
    for batch in data.split(8):
        stepper.step(batch)
    stepper.write()
    # The data have lost six digits at their distance, E[x x^T] about zero would lose twelve.
    expected = torch.cov(data.T, correction=0)
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("way", ["natural", "natural-autograd"])
def test_the_model_follows_when_someone_looks(way):
    data = correlated_samples(40, 2)
    model = GaussianLikelihood(2, (50,), dtype=torch.float64)
    with torch.no_grad():
        model.scale.log_diagonal.copy_(torch.linspace(-1, 1, 100).double().reshape(50, 2))
    before = [parameter.clone() for parameter in model.parameters()]
    stepper = make_stepper(way, model, make_objective(model, data, CPU), online=False, max_steps=5)
    stepper.write()  # nothing was learnt: not even a rounding of exp and log
    assert all(map(torch.equal, before, model.parameters()))
    stepper.step(None)
    assert all(map(torch.equal, before, model.parameters()))
    gap = stepper.gap()
    stepper.write()
    assert not any(map(torch.equal, before, model.parameters()))
    torch.testing.assert_close(stepper.objective.gap(model), gap, rtol=1e-12, atol=1e-15)


def stepper_from_anywhere(way, **kind):
    """A stepper of two models whose factors are no identities, and its data."""
    data = correlated_samples(40, 3)
    model = GaussianLikelihood(3, (2,), **kind)
    model.assign(*random_gaussian(3, (2,), seed=5, dtype=model.loc.dtype))
    objective = make_objective(model, data, CPU)
    return make_stepper(way, model, objective, online=False, max_steps=5), data


def test_the_gradient_by_autograd_goes_the_same_way():
    steppers = [
        stepper_from_anywhere(way, dtype=torch.float64)[0]
        for way in ("natural", "natural-autograd")
    ]
    for _ in range(2):
        for stepper in steppers:
            stepper.step(None)
        ours, by_autograd = steppers
        # Sums of forty terms in another order; the mean is reached in one step.
        torch.testing.assert_close(by_autograd.loc, ours.loc.expand(2, 3), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(by_autograd.scale_tril, ours.scale_tril, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("way", ["natural", "natural-autograd"])
def test_a_step_is_taken_on_the_device_of_the_model(way):
    """Whatever torch.set_default_device says: here it names one that holds no numbers."""
    stepper, data = stepper_from_anywhere(way, dtype=torch.float64)
    with torch.device("meta"):
        stepper.step(None)
    expected = data.mean(dim=0).expand(2, 3)
    torch.testing.assert_close(stepper.loc.expand(2, 3), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("way", ["natural", "natural-autograd"])
def test_steps_carry_no_gradient_and_have_numbers_of_their_own(way):
    stepper, _ = stepper_from_anywhere(way, dtype=torch.float64)
    before = stepper.loc.clone()
    with torch.no_grad():
        stepper.model.loc.fill_(7.0)
    assert torch.equal(stepper.loc, before)
    assert not stepper.gap().requires_grad
    stepper.step(None)
    assert not stepper.gap().requires_grad


def test_a_narrower_model_is_not_rounded_twice():
    stepper, _ = stepper_from_anywhere("natural", dtype=torch.float32)
    stepper.step(None)
    before = [parameter.clone() for parameter in stepper.model.parameters()]
    stepper.write()
    assert all(map(torch.equal, before, stepper.model.parameters()))


@pytest.mark.parametrize("online", [True, False])
def test_a_record_tells_of_a_narrower_model_as_it_is(online):
    data = correlated_samples(40, 2)
    model = GaussianLikelihood(2)  # in float32
    objective = make_objective(model, data, CPU)
    stepper = make_stepper(None, model, objective, online=online, max_steps=5)
    for _ in range(2):
        stepper.step(data)
    gap = stepper.gap().item()
    assert 1e-17 < gap < 1e-12  # the square of a rounding
    assert objective.gap(model).item() == pytest.approx(gap, rel=1e-2, abs=1e-15)


@pytest.mark.parametrize("choice", [None, "natural"])
def test_what_is_made_by_default(choice):
    data = correlated_samples(40, 2)
    model = GaussianLikelihood(2)
    objective = make_objective(model, data, CPU)
    made = make_stepper(choice, model, objective, online=False, max_steps=5)
    assert isinstance(made, NaturalGradient)
    made = make_stepper(choice, model, objective, online=True, max_steps=5)
    assert isinstance(made, OnlineNaturalGradient)


def test_the_cosine_schedule_ends_at_zero():
    data = correlated_samples(40, 2)
    model = GaussianLikelihood(2)
    stepper = make_stepper(
        "adam", model, make_objective(model, data, CPU), online=True, max_steps=7
    )
    assert isinstance(stepper, GradientDescent)
    rates = []
    for _ in range(7):
        rates.append(stepper.optimizer.param_groups[0]["lr"])
        stepper.step(data.float())
    expected = [0.05 * (1 + math.cos(math.pi * k / 7)) / 2 for k in range(7)]
    assert rates == pytest.approx(expected, rel=1e-6)
    assert stepper.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def made_with(optimizer, *, batch_shape=(), online=False):
    model = GaussianLikelihood(2, batch_shape, dtype=torch.float64)
    objective = make_objective(model, correlated_samples(40, 2), CPU)
    chosen = optimizer(model) if callable(optimizer) else optimizer
    return make_stepper(chosen, model, objective, online=online, max_steps=5)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("adam", {"lr": 0.05, "fused": True}),
        (
            "lbfgs",
            {
                "max_iter": 1,
                "max_eval": 25,
                "history_size": 20,
                "tolerance_grad": 0,
                "tolerance_change": 0,
                "line_search_fn": "strong_wolfe",
            },
        ),
    ],
)
def test_the_hyperparameters_stay_so_that_checkpoints_fit(way, expected):
    """A checkpoint keeps them all, and one with others is refused."""
    stepper = made_with(way)
    assert stepper.optimizer.defaults.items() >= expected.items()
    assert stepper.state_dict()["hyperparameters"] == repr(stepper.optimizer.defaults)


def test_each_model_of_a_batch_goes_down_as_if_alone():
    data, steppers = correlated_samples(40, 2), []
    for batch_shape in ((), (3,)):
        stepper = made_with(
            lambda model: torch.optim.SGD(model.parameters(), lr=0.1), batch_shape=batch_shape
        )
        stepper.step(data)
        assert not stepper.gap().requires_grad
        steppers.append(stepper)
    alone, together = (stepper.model.scale_tril for stepper in steppers)
    assert (alone - torch.eye(2)).abs().max() > 0.01
    torch.testing.assert_close(together, alone.expand(3, 2, 2), rtol=1e-14, atol=1e-14)


def test_a_loss_that_is_not_finite_is_told_of_as_a_number():
    stepper = made_with("adam")
    with pytest.raises(ValueError, match=r"^loss: expected a finite value, got nan$"):
        stepper.step(torch.full((5, 2), torch.nan).double())


@pytest.mark.filterwarnings("error")
def test_a_step_warns_of_nothing():
    stepper = made_with("adam")
    torch.set_warn_always(True)  # else torch gives most warnings once in a process
    try:
        stepper.step(correlated_samples(40, 2))
    finally:
        torch.set_warn_always(False)


def test_an_optimizer_over_other_parameters_too_is_refused():
    other = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="optimizer: expected one over this model's parameters"):
        made_with(lambda model: torch.optim.SGD([*model.parameters(), other], lr=0.1))


@pytest.mark.parametrize("online", [True, False])
def test_what_is_no_optimizer_is_refused(online):
    with pytest.raises(ValueError, match=r"^optimizer: expected 'natural', .* got 3$"):
        made_with(3, online=online)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: None, "takes 0 positional arguments but 1 was given"),
        (lambda parameters: torch.optim.SGD(parameters, lr=-1.0), "Invalid learning rate: -1.0"),
    ],
)
def test_what_a_function_says_that_makes_no_optimizer_is_passed_on(function, words):
    with pytest.raises(ValueError, match=f"^optimizer: expected a function .* says: .*{words}"):
        made_with(lambda model: function)


def test_a_way_down_has_a_step():
    with pytest.raises(NotImplementedError):
        Stepper(GaussianLikelihood(2), None).step(None)


def test_the_smallest_loss_is_where_the_objective_says():
    data = correlated_samples(40, 2)
    model = GaussianLikelihood(2, dtype=torch.float64)
    objective = make_objective(model, data, CPU)
    model.assign(objective.loc, objective.optimum.scale_tril)
    statistics = SufficientStatistics.from_data(data)
    assert model(statistics).item() == pytest.approx(objective.minimum.item(), rel=1e-14)
    assert abs(objective.gap(model).item()) < 1e-15 * 4  # four roundings of one
    learner = CovarianceLearner(2, dtype=torch.float64)
    target = torch.eye(2).double() * 3
    assert make_objective(learner, target, CPU).gap(learner).item() == 2.0  # (4 + 0 + 0 + 4) / 4


def test_a_turn_is_of_a_matrix_with_a_positive_diagonal():
    whitened = torch.tensor([[4.0, 7.0], [-1.0, 9.0]])  # 7 is not looked at
    turn = torch.tensor([[2.0, 0.0], [-0.5, 3.0]])
    assert torch.equal(natural_turn(whitened), turn)
    assert torch.equal(natural_turn(whitened.expand(3, 2, 2)), turn.expand(3, 2, 2))
    assert whitened[0, 1] == 7
    with pytest.raises(ValueError, match="^whitened: .* variance 0 in some direction"):
        natural_turn(torch.tensor([[1.0, 1.0], [1.0, 0.0]]).expand(3, 2, 2))
    with pytest.raises(ValueError, match=r"^whitened: .* \(2, 3\)"):
        natural_turn(torch.ones(2, 3))
    assert natural_turn(-torch.eye(2), validate_args=False).isnan().any()


def test_without_checks_a_step_waits_for_nothing_and_an_indefinite_target_gives_nan():
    scale_tril = torch.eye(2, dtype=torch.float64)
    indefinite = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match="covariance_matrix: expected variances"):
        natural_step(scale_tril, indefinite)
    assert natural_step(scale_tril, indefinite, validate_args=False).isnan().any()
