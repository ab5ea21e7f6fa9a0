"""Structured models: their densities, their gradients, and fits down to the minimum."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft, optimize, stats
from sklearn.covariance import ShrunkCovariance
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.preprocessing import scale
from strategies import DTYPES, correlated_samples, eps, random_gaussian, random_samples, seeds
from torch import Tensor

from helpers import (
    DiagonalLikelihood,
    GaussianLikelihood,
    LowRankLikelihood,
    ShrinkageLikelihood,
    SufficientStatistics,
    factor_analysis,
    fit,
    ledoit_wolf,
    log_prob,
    n_free_parameters,
    shrunk_covariance,
)
from helpers import structured_fit as module
from helpers.low_rank import FLOOR
from helpers.structured import StructuredLikelihood


def diagonal(batch_shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64):
    """A Gaussian without correlations that is no standard normal."""
    model = DiagonalLikelihood(4, batch_shape, dtype=dtype)
    with torch.no_grad():
        model.loc.copy_(random_samples(*batch_shape, 4, seed=1))
        model.log_scale.copy_(random_samples(*batch_shape, 4, seed=2))
    return model


def low_rank(batch_shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64):
    """Two strong factors in four variables."""
    model = LowRankLikelihood(4, 2, batch_shape, dtype=dtype)
    with torch.no_grad():
        model.loc.copy_(random_samples(*batch_shape, 4, seed=1))
        model.cov_factor.copy_(random_samples(*batch_shape, 4, 2, seed=2))
        model.log_cov_diag.copy_(random_samples(*batch_shape, 4, seed=3))
    return model


def shrunk(batch_shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64):
    """A singular covariance, shrunk by a quarter."""
    rows = random_samples(*batch_shape, 3, 4, seed=4)
    sample = SufficientStatistics.from_data(rows).covariance_matrix().to(dtype)
    model = ShrinkageLikelihood(sample, rows.mean(dim=-2).to(dtype))
    with torch.no_grad():
        model.logit_shrinkage.fill_(math.log(0.25 / 0.75))
    return model


MODELS = {"diagonal": diagonal, "low rank": low_rank, "shrinkage": shrunk}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


# What they are -----------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", [(), (1,), (0,), (3, 2)])
def test_density_loss_and_factor_are_those_of_the_covariance(make, batch_shape, dtype):
    model = make(batch_shape, dtype)
    value = random_samples(*batch_shape, 7, 4, seed=5, dtype=dtype)
    tolerance = 2e-4 if dtype == torch.float32 else 1e-11  # of densities up to some hundred nats
    kind = {"rtol": tolerance, "atol": tolerance}
    factor = torch.linalg.cholesky(model.covariance_matrix)
    torch.testing.assert_close(model.scale_tril, factor, **kind)
    expected = log_prob(value, model.loc, factor)
    torch.testing.assert_close(model.log_prob(value), expected, **kind)
    torch.testing.assert_close(model(value), -expected.mean(dim=-1), **kind)
    statistics = SufficientStatistics.from_data(value)
    torch.testing.assert_close(model(statistics), model(value), **kind)
    assert model(value).shape == model.batch_shape == batch_shape
    assert model(value).dtype == model.loc.dtype == dtype
    if not batch_shape:  # torch counts batches from the other end
        torch.testing.assert_close(model.distribution.log_prob(value), expected, **kind)


@every_model
def test_gradients_are_those_of_finite_differences(make):
    model = make()
    data = correlated_samples(10, 4)
    names, parameters = zip(*model.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (data,))

    start = [each.detach().clone().requires_grad_() for each in parameters]
    assert torch.autograd.gradcheck(loss, start)


def test_new_models_are_where_they_say():
    assert torch.equal(DiagonalLikelihood(3).covariance_matrix, torch.eye(3))
    new = LowRankLikelihood(6, 3, (2,), dtype=torch.float64)
    variances = new.covariance_matrix.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(variances, torch.ones(2, 6).double())
    assert torch.linalg.matrix_rank(new.cov_factor).tolist() == [3, 3]
    assert torch.equal(new.loc, torch.zeros(2, 6).double())
    assert LowRankLikelihood(400, 399).covariance_matrix.isfinite().all()
    assert shrunk().shrinkage.item() == pytest.approx(0.25)
    assert ShrinkageLikelihood(torch.eye(3)).shrinkage.item() == 0.5


@given(seed=seeds, share=st.floats(0.01, 0.99))
def test_the_shrinkage_is_that_of_the_closed_form(seed, share):
    sample = torch.cov(random_samples(4, 5, seed=seed).T)
    model = ShrinkageLikelihood(sample)
    with torch.no_grad():
        model.logit_shrinkage.fill_(math.log(share / (1 - share)))
    torch.testing.assert_close(
        model.covariance_matrix, shrunk_covariance(sample, share), rtol=1e-12, atol=1e-12
    )


def test_a_new_model_has_factors_of_different_shape():
    """Cosines of rising frequency, the basis of the discrete cosine transform."""
    new = LowRankLikelihood(6, 4, dtype=torch.float64)
    cosines = fft.idct(np.eye(6), type=2, axis=0, norm="ortho")[:, :4]
    expected = cosines * np.sqrt([6, 3, 3, 3]) * math.sqrt(0.02 / 4)
    np.testing.assert_allclose(new.cov_factor.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("largest", "larger", "beyond"),
    [
        ((DiagonalLikelihood, 2**39), (DiagonalLikelihood, 2**39 + 1), 2),
        ((LowRankLikelihood, 4, 2, (2**36,)), (LowRankLikelihood, 4, 2, (2**36 + 1,)), 16),
        ((LowRankLikelihood, 4, 2, (4, 2**34)), (LowRankLikelihood, 2**38 + 1, 2), 4),
    ],
)
def test_a_model_has_as_many_numbers_as_a_tensor_may_have(largest, larger, beyond):
    with torch.device("meta"):  # which holds none of them
        kind, *sizes = largest
        assert kind(*sizes).loc.device.type == "meta"
        kind, *sizes = larger
        words = f"at most {2**40} parameters, got {2**40 + beyond}$"
        with pytest.raises(ValueError, match=f"^dim, batch_shape: expected {words}"):
            kind(*sizes)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LowRankLikelihood(3, 3), "rank: expected a whole number from 1 to 2, got 3"),
        (lambda: LowRankLikelihood(1, 1), "dim: expected a whole number at least 2, got 1"),
        (lambda: DiagonalLikelihood(0), "dim: expected a whole number at least 1, got 0"),
        (lambda: DiagonalLikelihood(2, (-1,)), "batch_shape: expected a whole number at least 0"),
        (lambda: ShrinkageLikelihood(torch.zeros(2, 2)), "covariance_matrix: expected a variance"),
        (
            lambda: ShrinkageLikelihood(torch.stack([torch.eye(2), torch.zeros(2, 2)])),
            "covariance_matrix: expected a variance above zero, got none",
        ),
        (
            lambda: ShrinkageLikelihood(torch.full((2, 2), 1e308, dtype=torch.float64)),
            "covariance_matrix: expected numbers whose eigenvalues float64 can hold",
        ),
        (
            lambda: ShrinkageLikelihood(torch.eye(2), torch.zeros(3)),
            r"loc: expected shape \(..., 2\), got \(3,\)",
        ),
        (
            lambda: ShrinkageLikelihood(torch.eye(2), torch.tensor([0.0, math.inf])),
            "loc: expected finite values",
        ),
        (
            lambda: ShrinkageLikelihood(torch.eye(2), torch.zeros(2).double()),
            "loc: expected dtype float32 like covariance_matrix",
        ),
        (
            lambda: ShrinkageLikelihood(torch.eye(2).expand(3, 2, 2), torch.zeros(2, 2)),
            r"loc: expected batch shape \(3,\) or one that",
        ),
    ],
)
def test_what_makes_no_model_is_named(call, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def test_one_mean_serves_a_batch_and_is_a_copy():
    mean = torch.tensor([1.0, 2.0], requires_grad=True)
    sample = torch.eye(2).repeat(3, 1, 1).requires_grad_()
    model = ShrinkageLikelihood(sample, mean)
    assert model.loc.tolist() == [[1.0, 2.0]] * 3
    assert not any(buffer.requires_grad for buffer in model.buffers())
    model.loc[0, 0] = 7.0
    assert mean.tolist() == [1.0, 2.0]
    assert [name for name, _ in model.named_parameters()] == ["logit_shrinkage"]
    assert set(model.state_dict()) == {"loc", "eigenvalues", "eigenvectors", "logit_shrinkage"}


@every_model
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (random_samples(5, 3), r"value: expected shape \(..., n, 4\)"),
        (random_samples(5, 4, dtype=torch.float32), "value: expected dtype float64 like model"),
        (random_samples(2, 5, 4), r"value: expected batch shape \(3,\) or one that"),
        (
            torch.full((5, 4), 1e300, dtype=torch.float64),
            "value, and the model's parameters: expected",
        ),
    ],
)
def test_samples_that_do_not_fit_are_named(make, value, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        make((3,)).log_prob(value)


@every_model
def test_a_loss_beyond_the_dtype_is_refused_unless_nothing_is_checked(make):
    statistics = SufficientStatistics.from_data(1e150 * random_samples(5, 4))
    model = make()
    with torch.no_grad():
        if make is shrunk:
            model.eigenvalues.mul_(1e-200)
        elif make is diagonal:
            model.log_scale.sub_(300)
        else:
            model.cov_factor.mul_(1e-100)
            model.log_cov_diag.sub_(460)
    with pytest.raises(ValueError, match="^data, and the model's parameters: expected .* loss"):
        model(statistics)
    assert not model(statistics, validate_args=False).isfinite()


def test_parameters_are_counted():
    assert DiagonalLikelihood(5).n_free_parameters == 10
    assert LowRankLikelihood(8, 2).n_free_parameters == 8 + 16 - 1 + 8
    assert LowRankLikelihood(4, 3).n_free_parameters == n_free_parameters(4)
    assert ShrinkageLikelihood(torch.eye(5)).n_free_parameters == 1


def test_what_all_have_in_common_says_nothing_of_a_structure():
    bare = StructuredLikelihood(3, (2,))
    assert (bare.dim, bare.batch_shape) == (3, (2,))
    for name in ("covariance_matrix", "scale_tril", "n_free_parameters"):
        with pytest.raises(NotImplementedError):
            getattr(bare, name)
    bare.loc = torch.zeros(2, 3)
    for call in (bare, bare.log_prob):
        with pytest.raises(NotImplementedError):
            call(torch.zeros(5, 3))


# Fits --------------------------------------------------------------------------------------------


def test_a_diagonal_fit_ends_at_means_and_variances():
    data = torch.as_tensor(load_wine().data)  # columns from 0.1 to 1,700 in size
    model = DiagonalLikelihood(13, dtype=torch.float64)
    history = fit(model, data)
    assert history.converged
    # A gap of 1e-10 nats is 1e-5 standard deviations.
    deviation = data.std(dim=0, correction=0)
    assert ((model.loc - data.mean(0)) / deviation).abs().max().item() < 2e-5
    assert (model.log_scale.exp() / deviation - 1).abs().max().item() < 2e-5
    assert history.gap[0] > 1000
    assert history.sampling_error == 26 / (2 * 178)
    assert history.verdict.negligible


@pytest.mark.parametrize(("data", "rank"), [("wine", 2), ("raw wine", 3), ("digits", 4)])
def test_a_low_rank_fit_ends_at_the_maximum_of_factor_analysis(data, rank):
    digits = load_digits().data
    rows = {
        "wine": scale(load_wine().data),
        "raw wine": load_wine().data,
        "digits": digits[:, np.ptp(digits, axis=0) > 0],
    }[data]
    model = LowRankLikelihood(rows.shape[1], rank)  # float32: trained in float64
    history = fit(model, rows)
    assert history.converged
    assert history.dim == rows.shape[1]
    assert history.count == len(rows)
    best = factor_analysis(rows, rank)
    score = best.log_prob(torch.as_tensor(rows)).mean().item()
    assert -history.loss[-1].item() == pytest.approx(score, abs=2e-10)
    # Parameters in float32 have seven digits.
    reached = model.double().log_prob(torch.as_tensor(rows)).mean().item()
    assert reached == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 2, 11, 16, 20, 21])
def test_a_heywood_case_is_reached_in_few_steps(seed):
    """In twelve rows of noise the likelihood leaves a variable or two to the factors entirely."""
    data = random_samples(12, 6, seed=seed)
    model = LowRankLikelihood(6, 2, dtype=torch.float64)
    history = fit(model, data)
    # At most 57; with an exponential in place of the square, hundreds.
    assert history.n_steps <= 120
    share = model.cov_diag / data.var(dim=0, correction=0)
    assert share.min().item() == pytest.approx(FLOOR, rel=0.01)
    if not history.converged:  # it is at a lower maximum: far from the best, and all is still
        assert history.gap[-1].item() > 1e-3
        assert (history.gap[-1] - history.gap[-21]).abs().item() <= 1e-13


def test_a_fit_is_stuck_when_no_element_of_its_batch_moves():
    steps = torch.arange(1, 200, dtype=torch.float64)
    gaps = list(torch.stack([torch.ones_like(steps), 1e-9 / steps], dim=1))
    # In twenty steps 1e-9 / s changes by 2e-8 / s(s + 20): by 1e-13 and less from s = 437 on.
    assert not any(module._is_stuck(gaps[:k], tol=1e-10) for k in range(1, 200))
    still = [gap[:1] for gap in gaps]
    assert not module._is_stuck(still[:20], tol=1e-10)
    assert module._is_stuck(still[:21], tol=1e-10)
    assert module._is_stuck(gaps, tol=1e-5)
    moved = [*still[:25], still[0] + 1]
    assert not module._is_stuck(moved, tol=1e-10)


def test_the_gap_tells_a_local_maximum_from_the_best():
    """On iris with two factors the likelihood has several; this start leads to a lower one."""
    data = load_iris().data
    history = fit(LowRankLikelihood(4, 2), data, max_steps=200)
    theirs = FactorAnalysis(2, tol=1e-6, max_iter=20_000, svd_method="lapack").fit(data)
    best = -(history.loss[-1] - history.gap[-1]).item()
    assert not history.converged
    assert best > theirs.score(data)
    assert history.gap[-1].item() == pytest.approx(best + history.loss[-1].item(), abs=1e-12)


@pytest.mark.parametrize("n", [6, 40])
def test_the_learnt_shrinkage_is_the_best_for_the_rows_held_out(n):
    gaussian = random_gaussian(8, seed=1)
    rows = random_samples(n + 30, 8, seed=2) @ gaussian.scale_tril.mT
    train, held_out = rows[:n], rows[n:]
    sample = torch.cov(train.T, correction=0)
    model = ShrinkageLikelihood(sample, train.mean(0))
    history = fit(model, held_out)
    assert history.converged

    def loss(share: float) -> float:
        fitted = ShrunkCovariance(shrinkage=share).fit(train.numpy())
        return -fitted.score(held_out.numpy())

    found = optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    assert model.shrinkage.item() == pytest.approx(found.x, abs=1e-3)
    assert history.loss[-1].item() == pytest.approx(found.fun, abs=1e-9)
    assert history.loss[-1].item() <= loss(ledoit_wolf(train)[1].item()) + 1e-10


def test_on_the_rows_it_was_made_from_a_covariance_is_not_shrunk():
    data = correlated_samples(50, 3)
    model = ShrinkageLikelihood(torch.cov(data.T, correction=0), data.mean(0))
    history = fit(model, data)
    assert history.converged
    assert model.shrinkage.item() < 1e-5
    few = random_samples(3, 5)
    singular = ShrinkageLikelihood(torch.cov(few.T, correction=0), few.mean(0))
    with pytest.raises(ValueError, match="data: expected rows with variance where"):
        fit(singular, few)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [15, 20])
def test_the_rows_of_a_singular_covariance_are_refused_and_others_are_not(n, dtype):
    """Rounding leaves their likelihood a maximum at a shrinkage that is only noise."""
    for seed in range(4):
        own, others = ((random_samples(n, 20, seed=each) + 5).to(dtype) for each in (seed, -1))
        model = ShrinkageLikelihood(torch.cov(own.T, correction=0), own.mean(0))
        before = model.logit_shrinkage.clone()
        with pytest.raises(ValueError, match="^data: expected rows with variance where"):
            fit(model, own)
        assert torch.equal(model.logit_shrinkage, before)
        assert fit(model, others).converged
        assert model.shrinkage.item() > 0.01


@pytest.mark.parametrize("origin", [0.0, 1e7])
@pytest.mark.parametrize("shift", [-30.0, 30.0])
def test_rows_in_the_plane_of_a_singular_covariance_are_refused_and_rows_beside_it_are_not(
    shift, origin
):
    """On either side of its mean, and wherever zero is."""
    own, others = random_samples(2, 9, 2).unbind()
    plane = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    rows, along = (own + origin) @ plane, (others + origin + shift) @ plane
    model = ShrinkageLikelihood(torch.cov(rows.T, correction=0), rows.mean(0))
    with pytest.raises(ValueError, match="^data: expected rows with variance where"):
        fit(model, along)
    assert fit(model, along + 0.1).converged


def test_a_batch_is_refused_where_one_of_its_elements_is():
    rows = random_samples(3, 4)
    sample = torch.cov(rows.T, correction=0).expand(2, 4, 4)
    model = ShrinkageLikelihood(sample, rows.mean(0).expand(2, 4))
    assert fit(model, torch.stack([rows - 1, rows + 1])).converged
    for held_out in ([rows, rows + 1], [rows + 1, rows]):
        with pytest.raises(ValueError, match="^data: expected rows with variance where"):
            fit(model, torch.stack(held_out))
    regular = sample + torch.stack([torch.zeros(4, 4), torch.eye(4)]).double()
    assert fit(ShrinkageLikelihood(regular), torch.stack([rows + 1, rows])).converged


def test_columns_in_unlike_units_are_not_taken_for_singular():
    """The smallest variance of wine is 1e-7 of the largest: a rounding of float32, and data."""
    rows = torch.as_tensor(load_wine().data)[
        torch.randperm(178, generator=torch.Generator().manual_seed(0))
    ]
    found = []
    for dtype in DTYPES:
        half, others = rows.to(dtype).split(89)
        model = ShrinkageLikelihood(torch.cov(half.T, correction=0), half.mean(0))
        assert fit(model, others).converged
        found.append(model.shrinkage.item())
    assert found[0] == pytest.approx(found[1], rel=0.05)
    assert 1e-7 < found[1] < 1e-5


def test_a_little_variance_is_seen_beside_a_column_of_much():
    """Two columns repeat each other, the rows held out not quite: their own scale tells."""
    own, others = random_samples(2, 9, 2).unbind()
    columns = torch.tensor([[1e6, 0.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
    rows, held_out = own @ columns, others @ columns
    model = ShrinkageLikelihood(torch.cov(rows.T, correction=0), rows.mean(0))
    with pytest.raises(ValueError, match="^data: expected rows with variance where"):
        fit(model, held_out)
    held_out[:, 2] += 0.01
    assert fit(model, held_out).converged


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e12, 1e30])
def test_a_low_rank_fit_takes_as_many_steps_in_any_unit(unit):
    rows = random_samples(200, 2, seed=0) @ random_samples(2, 6, seed=1)
    rows = rows + 0.5 * random_samples(200, 6, seed=2)
    models = [LowRankLikelihood(6, 2, dtype=torch.float64) for _ in range(2)]
    plain, scaled = (fit(m, u * rows) for m, u in zip(models, (1.0, unit), strict=True))
    assert plain.converged
    assert scaled.converged
    assert plain.n_steps == scaled.n_steps < 100
    loadings = [model.cov_factor.detach() for model in models]
    torch.testing.assert_close(loadings[1] / unit, loadings[0], rtol=1e-5, atol=1e-6)
    assert fit(models[1], unit * rows).n_steps == 0  # where it is already


def test_a_low_rank_fit_that_starts_near_its_end_starts_from_there():
    data = correlated_samples(60, 6)
    model = LowRankLikelihood(6, 2, dtype=torch.float64)
    first = fit(model, data)
    with torch.no_grad():
        model.cov_factor.mul_(1.001)
    again = fit(model, data)
    assert 0 < again.gap[1] < again.gap[0] < 1e-4 < first.gap[1]
    assert again.n_steps < first.n_steps


@settings(max_examples=4)
@given(seed=seeds, rank=st.integers(1, 2))
def test_units_do_not_hinder_a_fit(seed, rank):
    factor = random_samples(6, rank, seed=seed)
    rows = random_samples(200, rank, seed=seed + 1) @ factor.mT
    rows = rows + random_samples(200, 6, seed=seed + 2)
    units = torch.tensor([1e-5, 1.0, 1e4, -1e2, 1e-2, 1e6], dtype=torch.float64)
    data = rows * units + 3 * units
    for start in (LowRankLikelihood(6, rank).double(), DiagonalLikelihood(6).double()):
        for x in (rows, data):
            model = copy.deepcopy(start)
            history = fit(model, x)
            gap = history.gap[-1].item()
            assert history.converged == (gap <= 1e-10)
            # The low rank may end in a local maximum, another for other units, and says so. A
            # gradient is about the root of a gap, here at one scale: at most 2e-5 in 400 fits.
            model(x).backward()
            assert all(grad.abs().max() < 1e-4 for grad in _slopes_at_one_scale(model, x))
            assert history.converged or isinstance(model, LowRankLikelihood)


def _slopes_at_one_scale(model, data):
    """Gradients by what a change of units leaves alone: every length is one in deviations."""
    scale = data.std(dim=0)
    yield model.loc.grad * scale
    if isinstance(model, LowRankLikelihood):
        yield model.cov_factor.grad * scale[:, None]
        yield model.log_cov_diag.grad
    else:
        yield model.log_scale.grad


@pytest.mark.parametrize("batch_shape", [(1,), (0,), (3,)])
@every_model
def test_a_batch_is_fitted_together(make, batch_shape):
    data = random_samples(*batch_shape, 30, 4, seed=7)
    model = make(batch_shape)
    history = fit(model, data, max_steps=100)
    assert history.gap.shape == (len(history.step), *batch_shape)
    if not math.prod(batch_shape):
        return
    assert history.gap[-1].min().item() > -1e-9
    together = model(data)
    torch.testing.assert_close(together, history.loss[-1], rtol=1e-9, atol=1e-9)
    if make is not low_rank:  # whose starts and maxima are other ones alone
        assert history.converged


def test_one_set_of_rows_serves_a_batch():
    data = correlated_samples(30, 4)
    model = DiagonalLikelihood(4, (2,), dtype=torch.float64)
    assert fit(model, data).converged
    torch.testing.assert_close(model.loc[1], data.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.loc[0], model.loc[1])


@pytest.mark.parametrize("unit", [1.0, 1e-3])
@every_model
def test_the_first_row_of_a_history_is_the_model_as_it_came(make, unit):
    """Each problem has coordinates of its own, and the loss is that of the model in all of them."""
    data = unit * correlated_samples(30, 4) + unit
    model = make((2,))
    with torch.no_grad():
        if make is shrunk:
            model.eigenvalues.mul_(unit * unit)
            model.loc.mul_(unit)
        elif make is diagonal:
            model.log_scale.add_(math.log(unit))
        else:
            model.cov_factor.mul_(unit)
            model.log_cov_diag.add_(2 * math.log(unit))
    before = model(data).detach()
    history = fit(model, data, max_steps=1)
    torch.testing.assert_close(history.loss[0], before, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(history.loss[-1], model(data).detach(), rtol=1e-9, atol=1e-9)
    assert history.step.tolist() == [0, 1]


@every_model
def test_coordinates_of_a_problem_lead_back_to_the_model(make):
    """Before a step is made; a loss alone could not tell a mean from its mirror image."""
    model = make((2,))
    statistics = module._as_wide(model, 3.0 + correlated_samples(30, 4))
    with torch.no_grad():
        values = module._problem_of(model, statistics).values()
    for name, value in values.items():
        torch.testing.assert_close(value, getattr(model, name).detach(), rtol=1e-6, atol=1e-9)


def test_a_fit_goes_on_until_the_last_of_a_batch_has_arrived():
    data = correlated_samples(30, 4)
    model = DiagonalLikelihood(4, (2,), dtype=torch.float64)
    with torch.no_grad():
        model.loc[0] = data.mean(0)
        model.log_scale[0] = data.std(0, correction=0).log()
    history = fit(model, data)
    assert history.gap[0].min() < 1e-12
    assert history.gap[-1].max() <= 1e-10


def test_each_iteration_is_a_row_and_takes_its_time(monkeypatch):
    made, kind = [], torch.optim.LBFGS

    def remembered(*args, **kwargs):
        made.append(kind(*args, **kwargs))
        return made[0]

    monkeypatch.setattr(torch.optim, "LBFGS", remembered)
    model = low_rank()
    history = fit(model, correlated_samples(30, 4), max_steps=30)
    (state,) = made[0].state.values()
    assert state["n_iter"] == history.n_steps > 5
    assert (history.time.diff() > 0).all()


def test_a_loss_that_is_not_finite_at_the_start_is_told():
    model = diagonal()
    with torch.no_grad():
        model.log_scale.fill_(-400.0)
    with pytest.raises(ValueError, match="^model, data: .* got a gap of inf before the first step"):
        fit(model, correlated_samples(30, 4))


def test_a_fit_stays_where_the_model_is(monkeypatch):
    model, data = diagonal(), correlated_samples(30, 4)
    assert fit(model, data, device="cpu").device == "cpu"
    monkeypatch.setattr(module, "as_device", lambda device: torch.device("cuda", 0))
    with pytest.raises(ValueError, match="^device: expected that of the model, cpu, got 'cuda'"):
        fit(model, data, device="cuda")


@pytest.mark.parametrize(("roundings", "is_refused"), [(38, True), (42, False)])
def test_a_covariance_is_singular_to_four_roundings_a_variable(roundings, is_refused):
    """Of five variables and a largest eigenvalue of 2: below 40 eps nothing is left of one."""
    model = ShrinkageLikelihood(torch.eye(5, dtype=torch.float64).expand(2, 5, 5))
    variances = torch.tensor([roundings * eps(torch.float64), 1.0, 1.0, 1.0, 2.0]).double()
    model.eigenvalues.copy_(variances)
    scatter = torch.diag(torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0]).double())
    data = SufficientStatistics(torch.tensor(9), torch.zeros(5).double(), 9 * scatter)
    if not is_refused:
        assert fit(model, data).gap[-1].max() < 1e-6
        return
    with pytest.raises(ValueError, match="^data: expected rows with variance where"):
        fit(model, data)


@pytest.mark.parametrize(("roundings", "is_refused"), [(10, True), (14, False)])
def test_data_have_no_variance_up_to_four_roundings_a_variable(roundings, is_refused):
    """Four variables of variance 3/4, in numbers without rounding: nothing is left below 12 eps."""
    axes = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).double() / 2
    model = ShrinkageLikelihood(torch.eye(4, dtype=torch.float64))
    model.eigenvectors.copy_(axes)
    model.eigenvalues.copy_(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    variances = torch.tensor([roundings * eps(torch.float64), 1.0, 1.0, 1.0]).double()
    scatter = axes * variances @ axes.T
    data = SufficientStatistics(torch.tensor(8), torch.zeros(4).double(), 8 * scatter)
    if not is_refused:
        assert fit(model, data).gap[-1] < 1e-6
        return
    with pytest.raises(ValueError, match="^data: expected rows with variance where"):
        fit(model, data)


@every_model
def test_a_fit_is_in_float64_and_leaves_the_data_alone(make):
    model = make((), torch.float32)
    data = correlated_samples(30, 4).float().requires_grad_()
    history = fit(model, data, max_steps=50)
    assert history.gap.dtype == torch.float64
    assert model.loc.dtype == torch.float32
    assert data.grad is None


@every_model
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (random_samples(9, 3), r"data.mean: expected shape \(..., 4\)"),
        (random_samples(3, 9, 4), r"data: expected batch shape \(2,\)"),
        (SufficientStatistics.from_data(torch.zeros(0, 4)), "data: expected at least one sample"),
    ],
)
def test_data_that_do_not_fit_the_model_are_named(make, data, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        fit(make((2,)), data)


def test_a_verdict_is_of_the_worst_of_a_batch_at_the_end():
    history = fit(diagonal((2,)), correlated_samples(30, 4), max_steps=1)
    gap = torch.tensor([[7.0, 8.0], [0.25, 0.5]]).double()
    assert replace(history, gap=gap).verdict.gap == 0.5
    assert replace(history, gap=gap - 0.5 - 1e-13).verdict.gap == 0.0  # but for rounding
    assert replace(history, count=None).verdict is None
    assert replace(history, count=None).sampling_error is None


def test_a_problem_without_coordinates_says_nothing():
    bare = module._Problem([torch.zeros(2)], torch.zeros(()))
    for asked in (bare.gap, bare.values):
        with pytest.raises(NotImplementedError):
            asked()


@every_model
def test_statistics_that_are_not_finite_are_refused(make):
    fine = SufficientStatistics.from_data(correlated_samples(9, 4))
    for name in ("mean", "scatter"):
        parts = {"count": fine.count, "mean": fine.mean.clone(), "scatter": fine.scatter.clone()}
        parts[name].view(-1)[0] = math.nan
        with pytest.raises(ValueError, match=f"^data.{name}: expected finite values"):
            make()(SufficientStatistics._of(**parts))


def test_the_minimum_of_a_diagonal_model_is_its_closed_form():
    data = correlated_samples(30, 4)
    history = fit(diagonal((2,)), data)
    normal = stats.norm(data.mean(0).numpy(), data.std(0, correction=0).numpy())
    expected = -normal.logpdf(data.numpy()).sum(axis=1).mean()
    for loss, gap in zip(history.loss[-1], history.gap[-1], strict=True):
        assert (loss - gap).item() == pytest.approx(expected, rel=1e-12)


def test_a_step_of_em_never_raises_the_loss():
    """Rubin and Thayer 1982; and at the maximum it stays."""
    data = torch.as_tensor(scale(load_wine().data))
    model = LowRankLikelihood(13, 2, dtype=torch.float64)
    with torch.no_grad():
        model.loc.add_(0.5)
    statistics = SufficientStatistics.from_data(data)
    problem = module._LowRankProblem(model, statistics)
    with torch.no_grad():
        gaps = [problem.gap().item()]
        for _ in range(300):
            problem._em_step()
            gaps.append(problem.gap().item())
    assert all(after <= before + 1e-13 for before, after in pairwise(gaps))
    assert gaps[1] < gaps[0] - 0.1
    assert abs(gaps[-1]) < 1e-9
    best = [each.clone() for each in problem.parameters]
    with torch.no_grad():
        problem._em_step()
    torch.testing.assert_close(best, list(problem.parameters), rtol=1e-4, atol=1e-5)


def test_the_end_of_a_search_is_the_minimum():
    places = torch.tensor([0.3, -1.7, 2.0], dtype=torch.float64)
    centre = torch.tensor([0.0, -1.0, 2.5], dtype=torch.float64)
    found = module._golden_section(lambda x: (x - places).abs(), centre, 1.0)
    torch.testing.assert_close(found, places, rtol=0, atol=1e-11)
    # Beyond the ends it is the nearer end.
    found = module._golden_section(lambda x: x - places, centre, 1.0)
    torch.testing.assert_close(found, centre - 1, rtol=0, atol=1e-11)


def test_a_fit_ends_where_it_is_told():
    data = correlated_samples(30, 4)
    history = fit(diagonal(), data, tol=1e-3)
    assert history.converged
    assert (history.gap[:-1] > 1e-3).all()
    assert history.gap[-1] <= 1e-3
    model = diagonal()
    assert fit(model, data).converged
    assert fit(model, data).n_steps == 0  # where it is already
    short = fit(diagonal(), data, max_steps=2)
    assert (short.n_steps, short.converged) == (2, False)
    assert short.optimizer == "L-BFGS"
    assert short.device == "cpu"


@every_model
def test_statistics_are_enough(make):
    data = correlated_samples(30, 4)
    one, other = make(), make()
    fit(one, data)
    fit(other, SufficientStatistics.from_data(data))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


@every_model
def test_a_fit_goes_on_from_where_the_model_is(make):
    data = correlated_samples(30, 4)
    model = make()
    first = fit(model, data, max_steps=3)
    assert first.n_steps <= 3
    second = fit(model, data)
    torch.testing.assert_close(second.loss[0], first.loss[-1], rtol=1e-9, atol=1e-9)
    assert second.loss[-1] <= second.loss[0] + 1e-12


# What goes wrong -------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"optimizer": "adam"}, "optimizer: expected None or 'lbfgs'"),
        ({"optimizer": "natural"}, "optimizer: expected None or 'lbfgs'"),
        ({"batch_size": 4}, "batch_size: expected None"),
        ({"checkpoint": "a.pt"}, "checkpoint: expected None"),
        ({"tol": -0.5}, "tol: expected"),
        ({"tol": 0.0}, "tol: expected"),
        ({"device": "cuda:99"}, "device: expected"),
    ],
)
def test_what_structured_models_have_not_is_refused(make, how, words):
    model = make()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=words):
        fit(model, correlated_samples(30, 4), **how)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@every_model
def test_frozen_and_spoilt_models_are_refused(make):
    data = correlated_samples(30, 4)
    frozen = make().requires_grad_(False)
    with pytest.raises(ValueError, match="model: expected parameters that require gradients"):
        fit(frozen, data)
    spoilt = make()
    with torch.no_grad():
        next(spoilt.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="model: .*: expected finite values"):
        fit(spoilt, data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (random_samples(5, 3), r"data.mean: expected shape \(..., 4\)"),
        (random_samples(0, 4), "data: expected at least one sample"),
        (random_samples(2, 5, 4), "data: expected batch shape"),
        (random_samples(5, 4, dtype=torch.float32), "data: expected dtype float64"),
    ],
)
@every_model
def test_losses_of_data_that_do_not_fit_are_refused(make, data, words):
    with pytest.raises(ValueError, match=words):
        make()(data)


def test_constant_columns_have_no_variance_to_learn():
    data = correlated_samples(9, 4)
    data[:, 2] = 1.5
    for model in (diagonal(), low_rank()):
        with pytest.raises(ValueError, match="constant column 2"):
            fit(model, data)


def test_an_interrupt_keeps_what_was_learnt(monkeypatch):
    data = correlated_samples(30, 4)
    model = diagonal()
    before = model(data).item()
    recorded = []

    def interrupted(problem, recorder, step):
        recorded.append(step)
        if step == 3:
            raise KeyboardInterrupt
        return record(problem, recorder, step)

    record = module._record
    monkeypatch.setattr(module, "_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data)
    assert recorded == [0, 1, 2, 3]
    assert model(data).item() < before


def test_a_fit_that_leaves_the_numbers_leaves_the_model(monkeypatch):
    model = diagonal()
    before = copy.deepcopy(model.state_dict())
    monkeypatch.setattr(
        torch.optim.LBFGS,
        "step",
        lambda self, closure: [
            p.data.fill_(math.nan) for g in self.param_groups for p in g["params"]
        ],
    )
    with pytest.raises(FloatingPointError, match="left the finite numbers by step 1"):
        fit(model, correlated_samples(30, 4))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_other_models_are_fitted_as_before():
    history = fit(GaussianLikelihood(4, dtype=torch.float64), correlated_samples(30, 4))
    assert history.optimizer != "L-BFGS"
    assert history.converged
    with pytest.raises(TypeError, match="model: expected one of DiagonalLikelihood"):
        module.fit_structured(torch.nn.Linear(3, 3), correlated_samples(30, 4))
