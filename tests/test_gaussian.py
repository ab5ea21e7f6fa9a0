"""Densities, divergences, marginals and conditionals against independent truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats
from strategies import (
    BATCH_SHAPES,
    DTYPES,
    dims,
    elements,
    eps,
    exact_log_det,
    exact_mahalanobis,
    random_gaussian,
    random_samples,
    random_scale_tril,
    seeds,
)
from torch.distributions import MultivariateNormal

from helpers import (
    Gaussian,
    GaussianLikelihood,
    condition,
    entropy,
    kl_divergence,
    log_det,
    log_prob,
    mahalanobis,
    marginal,
    maximum_likelihood,
    minimum_nll,
)
from helpers import gaussian as gaussian_module
from helpers.gaussian import inverse_factor, solve_for_inverse

log_conditions = st.floats(0, 8)
FULL_BATCH_SHAPES = [shape for shape in BATCH_SHAPES if 0 not in shape]  # torch fails on the others


def close(actual: torch.Tensor, expected, factor: float = 50.0) -> None:
    """Equal up to some tens of roundings: sums of at most 20 well-conditioned terms."""
    tolerance = factor * eps(actual.dtype)
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", FULL_BATCH_SHAPES)
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_densities_agree_with_torch_distributions(dim, batch_shape, dtype):
    gaussian = random_gaussian(dim, batch_shape, dtype=dtype)
    value = random_samples(*batch_shape, 7, dim, seed=1, dtype=dtype)
    peer = MultivariateNormal(
        gaussian.loc[..., None, :], scale_tril=gaussian.scale_tril[..., None, :, :]
    )
    ours = log_prob(value, *gaussian)
    assert ours.shape == (*batch_shape, 7)
    assert ours.dtype == dtype
    close(ours, peer.log_prob(value))
    close(entropy(gaussian.scale_tril), peer.entropy()[..., 0])
    distance = mahalanobis(value, *gaussian)
    constant = dim * math.log(2 * math.pi) + log_det(gaussian.scale_tril)[..., None]
    close(distance, -2 * peer.log_prob(value) - constant)


@pytest.mark.parametrize("dim", [1, 3])
def test_densities_agree_with_scipy(dim):
    loc, scale_tril = random_gaussian(dim, seed=2)
    value = random_samples(9, dim, seed=3)
    peer = stats.multivariate_normal(loc.numpy(), (scale_tril @ scale_tril.mT).numpy())
    close(log_prob(value, loc, scale_tril), peer.logpdf(value.numpy()))
    close(entropy(scale_tril), peer.entropy())


def test_one_dimension_is_the_normal_density():
    value = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)
    ours = log_prob(value, torch.tensor([0.5], dtype=torch.float64), torch.tensor([[2.0]]).double())
    close(ours, stats.norm(0.5, 2.0).logpdf(value[:, 0].numpy()))


@given(dims, log_conditions, seeds)
def test_distance_and_density_are_exact_up_to_the_condition(dim, log_condition, seed):
    """The truth is computed in fractions, so that no rounding of its own hides ours."""
    scale_tril = random_scale_tril(dim, 10**log_condition, seed)
    loc, value = random_samples(2, dim, seed=seed % 1000)
    exact = exact_mahalanobis(value, loc, scale_tril)
    ours = mahalanobis(value[None], loc, scale_tril)[0].item()
    # Forward substitution: relative error of L^-1 x up to d eps cond(L) (Higham, theorem 8.5, and
    # its condition number is at most d times the one in the 2-norm); twice that for the square,
    # and as much again for the difference x - mu.
    bound = 4 * dim**2 * np.finfo(float).eps * np.linalg.cond(scale_tril.numpy()) * exact
    assert abs(ours - exact) <= bound
    truth = -0.5 * (dim * math.log(2 * math.pi) + exact_log_det(scale_tril) + exact)
    density = log_prob(value[None], loc, scale_tril)[0].item()
    magnitude = dim * math.log(2 * math.pi) + abs(exact_log_det(scale_tril)) + exact
    assert abs(density - truth) <= bound + 4 * dim * np.finfo(float).eps * magnitude


@pytest.mark.parametrize("log_condition", [0, 3, 6])
def test_the_product_is_as_accurate_as_solving(log_condition):
    """L^-1 and one product against a triangular system for each sample, both against float64."""
    dtype = torch.float32
    scale_tril = random_scale_tril(16, 10 ** (log_condition / 2), seed=1, dtype=dtype)
    loc = random_samples(16, seed=2, dtype=dtype) + 100
    value = random_samples(4000, 16, seed=3, dtype=dtype) @ scale_tril.mT + loc
    centred = (value.double() - loc.double()).numpy()
    exact = linalg.solve_triangular(scale_tril.double().numpy(), centred.T, lower=True)
    truth = torch.as_tensor((exact**2).sum(axis=0))
    solved = torch.linalg.solve_triangular(scale_tril, (value - loc).mT, upper=False)
    solving = (solved.square().sum(dim=0).double() - truth).norm()
    ours = (mahalanobis(value, loc, scale_tril).double() - truth).norm()
    # With L^-1 in float32 it would be 2.0 to 4.5 times the error at condition 1e6.
    assert ours <= 1.5 * solving


@pytest.mark.parametrize(
    ("shape", "batch_shape", "numbers"),
    [
        ((50, 3), (4,), 60),
        ((4, 50, 3), (4,), 60),
        ((9, 50, 3), (9,), 9 * 3 * 3),  # as few rows as variables
    ],
)
def test_chunks_change_no_density(shape, batch_shape, numbers, monkeypatch):
    loc, scale_tril = random_gaussian(3, batch_shape)
    value = random_samples(*shape, seed=1)
    whole = log_prob(value, loc, scale_tril)
    sizes, product = [], gaussian_module.whiten_by_product

    def measured(*args):
        whitened = product(*args)
        sizes.append(whitened.numel())
        return whitened

    monkeypatch.setattr(gaussian_module, "CHUNK", 60)
    monkeypatch.setattr(gaussian_module, "whiten_by_product", measured)
    close(log_prob(value, loc, scale_tril), whole)
    assert max(sizes) == numbers
    monkeypatch.setattr(gaussian_module, "LARGEST_INVERSE", 0)  # triangular systems
    close(log_prob(value, loc, scale_tril), whole)


@pytest.mark.parametrize(("n", "largest", "expected"), [(3, 3, False), (4, 3, True), (4, 2, False)])
def test_more_samples_than_variables_share_an_inverse(n, largest, expected, monkeypatch):
    """A triangular system for each is for few samples, or for many variables."""
    loc, scale_tril = random_gaussian(3, (7, 5))
    asked = []
    monkeypatch.setattr(gaussian_module, "LARGEST_INVERSE", largest)
    monkeypatch.setattr(
        gaussian_module, "inverse_factor", lambda it: asked.append(it) or inverse_factor(it)
    )
    mahalanobis(random_samples(7, 5, n, 3), loc, scale_tril)
    assert bool(asked) == expected


def test_log_det_where_the_determinant_underflows():
    scale_tril = math.sqrt(1e-3) * torch.eye(20)
    assert torch.det(scale_tril @ scale_tril.mT) == 0  # the trap: 1e-60 is no float32
    # -138.155 to the six digits that are published; float32 keeps seven.
    assert log_det(scale_tril).item() == pytest.approx(-138.155, abs=1e-3)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_a_batch_is_its_elements(batch_shape):
    gaussian = random_gaussian(3, batch_shape, seed=4)
    value = random_samples(*batch_shape, 5, 3, seed=5)
    together = log_prob(value, *gaussian)
    assert together.shape == (*batch_shape, 5)
    for index, one, loc, scale_tril in elements(value, *gaussian, batch_shape=batch_shape):
        close(together[index], log_prob(one, loc, scale_tril))


def test_an_empty_batch_gives_empty_answers():
    gaussian = random_gaussian(3, (0,))
    value = random_samples(0, 5, 3)
    assert mahalanobis(value, *gaussian).shape == (0, 5)
    assert kl_divergence(gaussian, gaussian).shape == (0,)
    assert entropy(gaussian.scale_tril).shape == log_det(gaussian.scale_tril).shape == (0,)


def test_one_set_of_samples_serves_a_batch_of_gaussians():
    gaussian = random_gaussian(2, (4,), seed=6)
    value = random_samples(5, 2, seed=7)
    expected = torch.stack([log_prob(value, *each) for each in zip(*gaussian, strict=True)])
    close(log_prob(value, *gaussian), expected)


def test_no_samples_give_no_densities():
    assert log_prob(torch.zeros(0, 2), torch.zeros(2), torch.eye(2)).shape == (0,)


@given(dims, seeds)
def test_translation_changes_nothing(dim, seed):
    loc, scale_tril = random_gaussian(dim, seed=seed)
    value, shift = random_samples(4, dim, seed=seed), random_samples(dim, seed=seed + 1)
    # The shift is rounded once in the sample and once in the mean, then divided by L.
    close(log_prob(value + shift, loc + shift, scale_tril), log_prob(value, loc, scale_tril), 1e3)


@given(dims, seeds)
def test_an_affine_map_shifts_densities_by_its_determinant_and_keeps_divergences(dim, seed):
    p, q = random_gaussian(dim, seed=seed), random_gaussian(dim, seed=seed + 1)
    a = random_gaussian(dim, seed=seed + 2).scale_tril
    value = random_samples(4, dim, seed=seed)

    def mapped(gaussian):
        return Gaussian(a @ gaussian.loc, a @ gaussian.scale_tril)

    expected = log_prob(value, *p) - 0.5 * log_det(a)
    close(log_prob(value @ a.mT, *mapped(p)), expected, 1e4)  # two solves more, conditions near 10
    close(kl_divergence(mapped(p), mapped(q)), kl_divergence(p, q), 1e4)


@given(st.integers(2, 6), seeds, st.data())
def test_the_order_of_the_variables_does_not_matter(dim, seed, data):
    order = data.draw(st.permutations(range(dim)))
    p, q = random_gaussian(dim, seed=seed), random_gaussian(dim, seed=seed + 1)
    value = random_samples(4, dim, seed=seed)
    close(log_prob(value[:, order], *marginal(p, order)), log_prob(value, *p), 1e3)
    close(kl_divergence(marginal(p, order), marginal(q, order)), kl_divergence(p, q), 1e3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", FULL_BATCH_SHAPES)
@pytest.mark.parametrize("dim", [1, 4])
def test_divergence_agrees_with_torch_distributions(dim, batch_shape, dtype):
    p, q = (random_gaussian(dim, batch_shape, seed=s, dtype=dtype) for s in (8, 9))
    peers = [MultivariateNormal(g.loc, scale_tril=g.scale_tril) for g in (p, q)]
    ours = kl_divergence(p, q)
    assert ours.dtype == dtype
    close(ours, torch.distributions.kl_divergence(*peers), 200)
    close(kl_divergence(*peers), ours)  # it takes their objects too


def test_divergence_in_one_dimension():
    p = Gaussian(torch.tensor([1.0]).double(), torch.tensor([[0.5]]).double())
    q = Gaussian(torch.tensor([-1.0]).double(), torch.tensor([[3.0]]).double())
    close(kl_divergence(p, q), math.log(3.0 / 0.5) + (0.5**2 + 2.0**2) / (2 * 3.0**2) - 0.5)
    close(kl_divergence(q, p), math.log(0.5 / 3.0) + (3.0**2 + 2.0**2) / (2 * 0.5**2) - 0.5)


@given(dims, st.floats(0, 4), seeds)
def test_divergence_is_never_negative_and_zero_only_at_equality(dim, log_condition, seed):
    scale_tril = random_scale_tril(dim, 10**log_condition, seed)
    p = Gaussian(random_samples(dim, seed=seed), scale_tril)
    # L^-1 L is the identity up to d eps cond(L) in each entry; its square sums d^2 of them.
    rounding = dim**2 * np.finfo(float).eps * np.linalg.cond(scale_tril.numpy())
    assert abs(kl_divergence(p, p).item()) <= rounding
    q = Gaussian(p.loc + 0.1 * scale_tril[:, 0], scale_tril * 1.01)
    # Closed form: the whitened factor is I / 1.01, the whitened shift is e_1 / 10.1.
    expected = 0.5 * (dim * (1.01**-2 - 1 + 2 * math.log(1.01)) + 10.1**-2)
    assert kl_divergence(p, q).item() == pytest.approx(expected, abs=4 * rounding)
    assert kl_divergence(p, random_gaussian(dim, seed=seed)).item() >= -rounding


@given(st.integers(1, 4), seeds)
def test_the_gap_in_likelihood_is_the_divergence_from_the_optimum(dim, seed):
    data = random_samples(20, dim, seed=seed)
    model = random_gaussian(dim, seed=seed)
    difference = -log_prob(data, *model).mean() - minimum_nll(data)
    # Both sides are sums of 20 squared distances, up to some hundreds where a sample lies far out.
    close(kl_divergence(maximum_likelihood(data), model), difference, 2e3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("kept", [[0], [2, 0], [3, 1, 2], [0, 1, 2, 3]])
def test_a_marginal_picks_entries(kept, batch_shape, dtype):
    gaussian = random_gaussian(4, batch_shape, seed=10, dtype=dtype)
    ours = marginal(gaussian, kept)
    assert ours.scale_tril.dtype == dtype
    close(ours.loc, gaussian.loc[..., kept])
    close(ours.covariance_matrix, gaussian.covariance_matrix[..., kept, :][..., kept])
    assert (ours.scale_tril.triu(1) == 0).all()
    assert (ours.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("known", [[0], [2, 0], [3, 1, 2]])
def test_a_conditional_is_the_schur_complement(known, batch_shape):
    gaussian = random_gaussian(4, batch_shape, seed=11)
    value = random_samples(*batch_shape, len(known), seed=12)
    ours = condition(gaussian, known, value)
    rest = [i for i in range(4) if i not in known]
    assert ours.loc.shape == (*batch_shape, len(rest))
    for index, x, mu, sigma in elements(
        value, gaussian.loc, gaussian.covariance_matrix, batch_shape=batch_shape
    ):
        x, mu, sigma = x.numpy(), mu.numpy(), sigma.numpy()
        weights = sigma[np.ix_(rest, known)] @ np.linalg.inv(sigma[np.ix_(known, known)])
        close(ours.loc[index], mu[rest] + weights @ (x - mu[known]), 500)
        expected = sigma[np.ix_(rest, rest)] - weights @ sigma[np.ix_(known, rest)]
        close(ours.covariance_matrix[index], expected, 500)


@given(st.integers(2, 5), seeds, st.data())
def test_marginal_times_conditional_is_the_joint_density(dim, seed, data):
    order = data.draw(st.permutations(range(dim)))
    known = order[: data.draw(st.integers(1, dim - 1))]
    rest = [i for i in range(dim) if i not in known]
    gaussian, value = random_gaussian(dim, seed=seed), random_samples(dim, seed=seed + 1)
    first = log_prob(value[None, known], *marginal(gaussian, known))
    second = log_prob(value[None, rest], *condition(gaussian, known, value[known]))
    close(first + second, log_prob(value[None], *gaussian), 1e3)


def test_one_gaussian_is_conditioned_on_many_values():
    gaussian, values = random_gaussian(3, seed=13), random_samples(5, 1, seed=14)
    ours = condition(gaussian, [1], values)
    expected = torch.stack([condition(gaussian, [1], value).loc for value in values])
    close(ours.loc, expected)


def test_gradients_agree_with_finite_differences():
    loc, scale_tril = random_gaussian(3, seed=15)
    value = random_samples(4, 3, seed=16)

    def of_parameters(loc, below):
        gaussian = Gaussian(loc, below.tril())
        rest = condition(gaussian, [1], value[0, :1])
        return (
            log_prob(value, *gaussian),
            kl_divergence(gaussian, random_gaussian(3, seed=17)),
            marginal(gaussian, [2, 0]).scale_tril,
            rest.loc,
            rest.scale_tril,
        )

    inputs = (loc.requires_grad_(), scale_tril.requires_grad_())
    assert torch.autograd.gradcheck(of_parameters, inputs)


def test_inputs_are_left_as_they_were():
    gaussian, value = random_gaussian(3, seed=18), random_samples(4, 3, seed=19)
    before = [t.clone() for t in (*gaussian, value)]
    log_prob(value, *gaussian)
    marginal(gaussian, [1])
    condition(gaussian, [1], value[0, :1])
    kl_divergence(gaussian, gaussian)
    assert all(torch.equal(a, b) for a, b in zip(before, (*gaussian, value), strict=True))


def test_a_model_counts_as_a_gaussian():
    model = GaussianLikelihood(2, dtype=torch.float64)
    standard = Gaussian(torch.zeros(2).double(), torch.eye(2).double())
    assert kl_divergence(model, standard).item() == 0
    assert torch.equal(standard.covariance_matrix, torch.eye(2).double())


EYE, ZERO, X = torch.eye(2), torch.zeros(2), torch.zeros(3, 2)
UPPER = torch.tensor([[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 6])
def test_inverses_of_many_small_factors_agree_with_a_solver(dim, dtype, monkeypatch):
    factors = random_gaussian(dim, (30 * dim**2, 2), dtype=dtype).scale_tril  # as few as are many
    calls = []
    solver = torch.linalg.solve_triangular
    monkeypatch.setattr(
        torch.linalg, "solve_triangular", lambda *a, **k: calls.append(a) or solver(*a, **k)
    )
    ours = solve_for_inverse(factors)
    with torch.no_grad():
        solve_for_inverse(factors.clone().requires_grad_())
    assert len(calls) == (2 if dim == 6 else 0)  # of which there are never too many
    solve_for_inverse(factors.flatten(0, 1)[1:])
    assert len(calls) == (3 if dim == 6 else 1)
    monkeypatch.setattr(gaussian_module, "MANY", math.inf)
    expected = solve_for_inverse(factors)
    # Backward stable both; the factors have conditions of some hundred.
    torch.testing.assert_close(ours, expected, rtol=1e3 * eps(dtype), atol=1e2 * eps(dtype))


def hilbert_factor(dim: int) -> torch.Tensor:
    """The Cholesky factor of the Hilbert matrix 1 / (i + j + 1), in closed form."""
    fact = math.factorial
    rows = [
        [fact(i) ** 2 / (fact(i - j) * fact(i + j + 1)) if j <= i else 0.0 for j in range(dim)]
        for i in range(dim)
    ]
    return torch.tensor(rows).double() * (2 * torch.arange(dim) + 1).double().sqrt()


def test_each_way_to_an_inverse_keeps_its_own_side():
    """X from X L = I leaves X L near I, but not L X; and the other way round."""
    factor = hilbert_factor(20)
    identity = torch.eye(20).double()

    def error(a: torch.Tensor, b: torch.Tensor) -> float:
        """Of A B from I, in units of the bound d eps |A| |B| (Higham 2002, theorem 8.5)."""
        bound = 20 * eps(torch.float64) * (a.abs() @ b.abs()).tril()
        return ((a @ b - identity).abs().tril() / bound.clamp(min=1e-300)).max().item()

    rows, columns = solve_for_inverse(factor, left=False), solve_for_inverse(factor)
    assert error(rows, factor) < 1 < error(factor, rows)
    assert error(factor, columns) < 1 < error(columns, factor)
    assert torch.equal(inverse_factor(factor), rows)


def test_the_defaults_of_torch_change_no_inverse(monkeypatch):
    """A solver may take an identity of another kind without a word, and answer nonsense."""
    factor, asked = random_gaussian(3, dtype=torch.float64).scale_tril, []
    solver = torch.linalg.solve_triangular
    monkeypatch.setattr(
        torch.linalg, "solve_triangular", lambda a, b, **k: asked.append(b) or solver(a, b, **k)
    )
    with torch.device("meta"):  # and float32, what torch would otherwise take
        solve_for_inverse(factor)
    assert [(it.device, it.dtype) for it in asked] == [(factor.device, factor.dtype)]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: log_prob(X, ZERO, UPPER), ValueError, ["scale_tril", "lower-triangular"]),
        (lambda: log_prob(X, ZERO, -EYE), ValueError, ["scale_tril", "positive diagonal", "-1"]),
        (lambda: log_prob(X, ZERO, 0 * EYE), ValueError, ["scale_tril", "positive diagonal", "0"]),
        (lambda: log_det(EYE * math.inf), ValueError, ["scale_tril", "finite", "inf"]),
        (lambda: entropy([[1.0]]), TypeError, ["scale_tril", "Tensor", "list"]),
        (lambda: log_prob(X, torch.zeros(3), EYE), ValueError, ["loc", "(..., 2)", "(3,)"]),
        (lambda: log_prob(X[:, :1], ZERO, EYE), ValueError, ["value", "2", "(3, 1)"]),
        (lambda: log_prob(X[0], ZERO, EYE), ValueError, ["value", "(..., n, 2)", "(2,)"]),
        (lambda: log_prob(X.double(), ZERO, EYE), ValueError, ["value", "float32", "float64"]),
        (lambda: log_prob(X, ZERO.double(), EYE), ValueError, ["loc", "float32", "float64"]),
        (lambda: log_prob(X.long(), ZERO, EYE), ValueError, ["value", "float32", "int64"]),
        (lambda: mahalanobis(X / 0, ZERO, EYE), ValueError, ["value", "finite", "nan", "(0, 0)"]),
        (
            lambda: log_prob(X, torch.zeros(3, 2), EYE.expand(4, 2, 2)),
            ValueError,
            ["loc", "(4,)", "(3,)"],
        ),
        (
            lambda: mahalanobis(X.expand(5, 3, 2), torch.zeros(4, 2), EYE.expand(4, 2, 2)),
            ValueError,
            ["value: ", "(4,) of loc, (4,) of scale_tril", "got (5,)"],
        ),
        (lambda: kl_divergence(EYE, Gaussian(ZERO, EYE)), TypeError, ["p", "loc and scale_tril"]),
        (
            lambda: kl_divergence(Gaussian(ZERO, EYE), Gaussian(torch.zeros(3), torch.eye(3))),
            ValueError,
            ["q.loc", "(..., 2)", "(3,)"],
        ),
        (
            lambda: kl_divergence(random_gaussian(2, (3,)), random_gaussian(2, (4,))),
            ValueError,
            ["q: ", "(3,) of p_loc, (3,) of p_scale_tril, (4,) of q_loc", "got (4,)"],
        ),
        (
            lambda: kl_divergence(Gaussian(ZERO, EYE), random_gaussian(2)),
            ValueError,
            ["q", "float32", "float64"],
        ),
        (lambda: marginal(Gaussian(ZERO, EYE), [2]), ValueError, ["dims", "0 to 1", "2"]),
        (lambda: marginal(Gaussian(ZERO, EYE), [-1]), ValueError, ["dims", "0 to 1", "-1"]),
        (lambda: marginal(Gaussian(ZERO, EYE), [0, 0]), ValueError, ["dims", "different"]),
        (lambda: marginal(Gaussian(ZERO, EYE), []), ValueError, ["dims", "at least one"]),
        (lambda: marginal(Gaussian(ZERO, EYE), 1), TypeError, ["dims", "sequence", "1"]),
        (lambda: marginal(Gaussian(ZERO, EYE), [0.5]), TypeError, ["dims", "whole", "0.5"]),
        (lambda: condition(Gaussian(ZERO, EYE), [0, 1], ZERO), ValueError, ["dims", "left out"]),
        (lambda: condition(Gaussian(ZERO, EYE), [0], ZERO), ValueError, ["value", "1", "(2,)"]),
        (
            lambda: condition(Gaussian(ZERO, EYE), [0], ZERO[:1] / 0),
            ValueError,
            ["value", "finite", "nan"],
        ),
        (
            lambda: condition(random_gaussian(2, (3,)), [0], torch.zeros(4, 1).double()),
            ValueError,
            ["value: ", "(3,) of loc, (3,) of scale_tril", "got (4,)"],
        ),
        (
            lambda: condition(Gaussian(ZERO, EYE), [0], ZERO[:1].double()),
            ValueError,
            ["value: ", "float32 like loc", "got float64"],
        ),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
