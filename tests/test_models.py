"""The two models: where they start, what they return, and their gradients."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import stats
from strategies import (
    BATCH_SHAPES,
    DTYPES,
    correlated_samples,
    dims,
    eps,
    random_gaussian,
    random_samples,
    seeds,
)

from helpers import (
    CovarianceLearner,
    GaussianLikelihood,
    SoftplusCholesky,
    SufficientStatistics,
    log_prob,
)
from helpers.models import require_trainable

DOUBLE = {"dtype": torch.float64}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("kind", [CovarianceLearner, GaussianLikelihood])
def test_a_new_model_starts_at_the_identity(kind, batch_shape, dtype):
    model = kind(3, batch_shape, dtype=dtype)
    identity = torch.eye(3, dtype=dtype).expand(*batch_shape, 3, 3)
    assert torch.equal(model.scale_tril, identity)
    assert torch.equal(model.covariance_matrix, identity)
    assert (model.dim, model.batch_shape) == (3, torch.Size(batch_shape))


def test_a_new_model_is_the_standard_normal_exactly():
    model = GaussianLikelihood(3, **DOUBLE)
    value = random_samples(5, 3)
    by_hand = -0.5 * (3 * math.log(2 * math.pi) + (value**2).sum(dim=1))
    assert torch.equal(model.log_prob(value), by_hand)
    # scipy adds in another order: a few roundings of numbers below 16.
    assert model.log_prob(value).tolist() == pytest.approx(
        stats.multivariate_normal(np.zeros(3)).logpdf(value.numpy()).tolist(), rel=1e-15 * 4
    )


def test_the_covariance_is_the_product_of_the_factor():
    model = GaussianLikelihood(2, **DOUBLE)
    scale_tril = torch.tensor([[2.0, 0.0], [-1.0, 3.0]]).double()
    model.assign(torch.tensor([1.0, 2.0]).double(), scale_tril)
    expected = torch.tensor([[4.0, -2.0], [-2.0, 10.0]]).double()
    torch.testing.assert_close(model.covariance_matrix, expected, rtol=4e-16, atol=0)  # exp of log


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_mean_squared_error_agrees_with_numpy(batch_shape, dtype):
    model = CovarianceLearner(3, batch_shape, dtype=dtype)
    model.scale.assign(random_gaussian(3, batch_shape, dtype=dtype).scale_tril)
    target = random_samples(*batch_shape, 3, 3, dtype=dtype)
    ours = model(target)
    assert (ours.shape, ours.dtype) == (batch_shape, dtype)
    difference = model.covariance_matrix.detach().numpy() - target.numpy()
    expected = torch.as_tensor(np.square(difference).mean(axis=(-2, -1)))
    torch.testing.assert_close(ours.detach(), expected, rtol=20 * eps(dtype), atol=0)  # nine terms
    shared = model(target.reshape(-1, 3, 3)[0]) if target.numel() else ours
    assert shared.shape == batch_shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_the_likelihood_of_data_and_of_statistics(batch_shape, dtype):
    model = GaussianLikelihood(2, batch_shape, dtype=dtype)
    model.assign(*random_gaussian(2, batch_shape, dtype=dtype))
    data = random_samples(*batch_shape, 20, 2, seed=1, dtype=dtype)
    from_data, from_statistics = model(data), model(SufficientStatistics.from_data(data))
    assert (from_data.shape, from_data.dtype) == (batch_shape, dtype)
    tolerance = {"rtol": 100 * eps(dtype), "atol": 100 * eps(dtype)}  # sums of 40 squares
    torch.testing.assert_close(from_data, -model.log_prob(data).mean(dim=-1), **tolerance)
    torch.testing.assert_close(from_data, from_statistics, **tolerance)
    for index in np.ndindex(*batch_shape):
        peer = model.distribution.log_prob(data.movedim(-2, 0)).mean(dim=0)[index]
        torch.testing.assert_close(from_data[index], -peer, **tolerance)


def test_data_without_batch_serve_every_model():
    model = GaussianLikelihood(2, (3,), **DOUBLE)
    model.assign(*random_gaussian(2, (3,)))
    data = correlated_samples(9, 2)
    assert model(data).shape == (3,)
    torch.testing.assert_close(model(data), model(data.expand(3, 9, 2)), rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(  # sums of 18 squares
        model(SufficientStatistics.from_data(data)), model(data), rtol=1e-13, atol=1e-13
    )
    assert model(data.numpy()).shape == (3,)


@given(dims, seeds)
def test_gradients_agree_with_the_formulas(dim, seed):
    """dNLL/dL = tril(L^-T (I - L^-1 S L^-T)), with the diagonal times L_ii for the logarithm."""
    model = GaussianLikelihood(dim, **DOUBLE)
    loc, scale_tril = random_gaussian(dim, seed=seed)
    model.assign(loc, scale_tril)
    data = correlated_samples(15, dim, seed)
    model(data).backward()

    lower, x = scale_tril.numpy(), data.numpy() - loc.numpy()
    second_moment = x.T @ x / 15  # about the model's mean
    inverse = np.linalg.inv(lower)
    of_factor = np.tril(inverse.T @ (np.eye(dim) - inverse @ second_moment @ inverse.T))
    of_sigma = 0.5 * (inverse.T @ inverse @ (lower @ lower.T - second_moment) @ inverse.T @ inverse)
    # The chain rule Sigma = L L^T turns one into the other: an identity of the two formulas.
    np.testing.assert_allclose(np.tril(2 * of_sigma @ lower), of_factor, rtol=1e-9, atol=1e-9)
    # Inverses of factors whose condition is up to 100: 1e-9 leaves room for its square.
    within = {"rtol": 1e-9, "atol": 1e-9}
    rows, columns = np.tril_indices(dim, -1)
    grad_a, grad_b = (
        p.grad.numpy() for p in (model.scale.log_diagonal, model.scale.below_diagonal)
    )
    np.testing.assert_allclose(grad_a, np.diag(of_factor) * np.diag(lower), **within)
    np.testing.assert_allclose(grad_b, of_factor[rows, columns], **within)
    of_mean = -inverse.T @ inverse @ x.mean(axis=0)
    np.testing.assert_allclose(model.loc.grad.numpy(), of_mean, **within)


def test_the_gradient_vanishes_at_the_sample_covariance():
    data = correlated_samples(50, 3)
    model = GaussianLikelihood(3, **DOUBLE)
    statistics = SufficientStatistics.from_data(data)
    model.assign(statistics.mean, torch.linalg.cholesky(statistics.covariance_matrix()))
    model(data).backward()
    # Averages of 50 terms of size one that cancel.
    assert max(p.grad.abs().max() for p in model.parameters()) < 1e-14
    model.assign(statistics.mean, torch.linalg.cholesky(statistics.covariance_matrix(1)))
    model.zero_grad()
    model(data).backward()
    # With N - 1 the whitened second moment is (N - 1) / N on the diagonal: the gradient is 1 / N.
    expected = torch.full((3,), 1 / 50, **DOUBLE)
    torch.testing.assert_close(model.scale.log_diagonal.grad, expected, rtol=0, atol=1e-14)


def test_samples_carry_gradients():
    model = GaussianLikelihood(2, (3,), **DOUBLE)
    distribution = model.distribution
    assert (distribution.batch_shape, distribution.event_shape) == ((3,), (2,))
    torch.manual_seed(0)
    distribution.rsample((5,)).sum().backward()
    assert torch.equal(model.loc.grad, torch.full((3, 2), 5.0, **DOUBLE))  # d(mu + L z) / d mu = 1
    assert (model.scale.below_diagonal.grad != 0).all()


def test_a_state_dict_makes_a_round_trip():
    model = GaussianLikelihood(3, (2,))
    model.assign(*random_gaussian(3, (2,), dtype=torch.float32))
    assert set(model.state_dict()) == {"loc", "scale.log_diagonal", "scale.below_diagonal"}
    other = GaussianLikelihood(3, (2,))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.scale_tril, model.scale_tril)
    assert torch.equal(other.loc, model.loc)
    assert model.double().covariance_matrix.dtype == torch.float64


@pytest.mark.parametrize(
    "kind",
    [
        CovarianceLearner,
        GaussianLikelihood,
        partial(GaussianLikelihood, parametrization=SoftplusCholesky()),
    ],
    ids=["mse", "likelihood", "mapped"],
)
def test_a_model_is_made_where_it_is_asked_for(kind):
    """And not where torch.set_default_device says: here it names one that holds no numbers."""
    with torch.device("meta"):
        model = kind(2, device="cpu")
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_without_checks_what_is_not_finite_goes_through():
    model = GaussianLikelihood(2)
    assert model(torch.full((5, 2), torch.nan), validate_args=False).isnan()
    model.assign(torch.zeros(2), -torch.eye(2), validate_args=False)
    assert model.scale.log_diagonal.isnan().all()  # the logarithm of -1


def test_a_loss_beyond_the_dtype_is_refused():
    target = torch.full((2, 2), 1e30)  # the square is beyond float32
    with pytest.raises(ValueError, match="^data or target, and the model's parameters: .* loss"):
        LEARNER(target)
    assert LEARNER(target, validate_args=False) == math.inf


def trainable(model) -> bool:
    try:
        require_trainable(model)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_factor_is_trainable_as_long_as_its_diagonal_has_all_its_digits(dtype):
    limits = torch.tensor([torch.finfo(dtype).smallest_normal, torch.finfo(dtype).max], **DOUBLE)
    for limit in limits.log().to(dtype):
        model = GaussianLikelihood(2, dtype=dtype)
        assert trainable(model)
        with torch.no_grad():
            model.scale.log_diagonal[1] = limit  # in float32 rounded to beyond it
            assert not trainable(model)
            model.scale.log_diagonal[1] = limit.nextafter(torch.zeros((), dtype=dtype))
        assert trainable(model)
    with torch.no_grad():
        model.scale.log_diagonal[0] = torch.nan
    assert not trainable(model)
    assert trainable(GaussianLikelihood(2, (0,), dtype=dtype))


def test_what_cannot_be_trained_is_named():
    model = GaussianLikelihood(2)
    with torch.no_grad():
        model.scale.log_diagonal.copy_(torch.tensor([-100.0, 3.0]))
    with pytest.raises(
        ValueError, match=r"between -87\.34 and 88\.72, got numbers from -100 to 3$"
    ):
        require_trainable(model)
    model.loc.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^model: .* require gradients, .* got loc without$"):
        require_trainable(model)
    with pytest.raises(TypeError, match=r"^model: expected a CovarianceLearner .* got Linear$"):
        require_trainable(torch.nn.Linear(2, 2))
    for scale_map, name in ((None, "log_diagonal"), (SoftplusCholesky(), "free")):
        model = GaussianLikelihood(2, parametrization=scale_map).half()
        with pytest.raises(ValueError, match=f"^model: {name}: expected dtype float32 or"):
            require_trainable(model)


def test_a_failed_assignment_changes_nothing():
    model = GaussianLikelihood(2)
    for loc, scale_tril in (
        (torch.zeros(3), 2 * torch.eye(2)),
        (torch.tensor([math.nan, 0.0]), 2 * torch.eye(2)),
        (torch.ones(2), -torch.eye(2)),
        (torch.ones(2), torch.eye(3)),
        (torch.ones(4, 2), 2 * torch.eye(2)),
    ):
        with pytest.raises(ValueError, match=r"loc|scale_tril"):
            model.assign(loc, scale_tril)
        assert torch.equal(model.scale_tril, torch.eye(2))
        assert torch.equal(model.loc, torch.zeros(2))


LEARNER, MODEL = CovarianceLearner(2), GaussianLikelihood(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: LEARNER(None), TypeError, ["target", "Tensor", "None"]),
        (lambda: LEARNER(torch.eye(3)), ValueError, ["target", "(..., 2, 2)", "(3, 3)"]),
        (lambda: LEARNER(torch.eye(2).double()), ValueError, ["target", "float32", "float64"]),
        (lambda: LEARNER(torch.eye(2) / 0), ValueError, ["target", "finite", "inf"]),
        (lambda: LEARNER(torch.zeros(5, 2, 2)), ValueError, ["target", "()", "(5,)"]),
        (lambda: MODEL(torch.zeros(5, 3)), ValueError, ["data", "(..., n, 2)", "(5, 3)"]),
        (lambda: MODEL(torch.zeros(0, 2)), ValueError, ["data", "at least one sample", "(0, 2)"]),
        (lambda: MODEL(torch.zeros(4, 5, 2)), ValueError, ["data", "()", "(4,)"]),
        (lambda: MODEL(torch.zeros(5, 2).double()), ValueError, ["data", "float32", "float64"]),
        (lambda: MODEL(torch.zeros(5, 2) / 0), ValueError, ["data", "finite", "nan", "(0, 0)"]),
        (lambda: MODEL.log_prob([0.0, 0.0]), TypeError, ["value", "Tensor", "list"]),
        (lambda: MODEL.log_prob(torch.zeros(2)), ValueError, ["value", "(..., n, 2)", "(2,)"]),
        (lambda: MODEL.log_prob(torch.zeros(4, 5, 2)), ValueError, ["value", "()", "(4,)"]),
        (
            lambda: MODEL.log_prob(torch.zeros(5, 2).double()),
            ValueError,
            ["value", "float32 like model", "float64"],
        ),
        (
            lambda: MODEL(SufficientStatistics.from_data(torch.zeros(5, 2).double())),
            ValueError,
            ["data", "float32", "float64"],
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_log_prob_is_that_of_the_functions():
    model = GaussianLikelihood(2, **DOUBLE)
    gaussian = random_gaussian(2, seed=4)
    model.assign(*gaussian)
    value = random_samples(3, 2)
    # The logarithm and exponential of the diagonal are rounded once each.
    torch.testing.assert_close(
        model.log_prob(value), log_prob(value, *gaussian), rtol=1e-14, atol=1e-14
    )


@pytest.mark.parametrize("parametrization", ["softplus", SoftplusCholesky])
def test_a_parametrization_is_a_map(parametrization):
    with pytest.raises(TypeError, match="^parametrization: expected a ScaleMap"):
        GaussianLikelihood(2, parametrization=parametrization)
