"""The nine maps: there and back, unique or not, registered with torch, and each of them fitted."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BATCH_SHAPES, DTYPES, dims, eps, random_gaussian, random_samples, seeds
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.distributions.transforms import CorrCholeskyTransform
from torch.nn.utils import parametrize

from helpers import (
    SCALE_MAPS,
    CorrelationCholesky,
    ExpCholesky,
    GaussianLikelihood,
    MappedCholesky,
    ProductRoot,
    ScaleMap,
    SoftplusCholesky,
    Spectral,
    cholesky_of_root,
    fit,
    log_cholesky,
    maximum_likelihood,
    natural_step,
)
from helpers.maps import _turning_signs

MAPS = pytest.mark.parametrize(
    "scale_map", [made() for made in SCALE_MAPS.values()], ids=SCALE_MAPS
)
TRIANGULAR = [made() for name, made in SCALE_MAPS.items() if name != "product"]
maps = st.sampled_from([made() for made in SCALE_MAPS.values()])


def covariance_of(scale_map: ScaleMap, free: Tensor) -> Tensor:
    scale_tril = scale_map(free)
    return scale_tril @ scale_tril.mT


def by_hand(name: str, free: np.ndarray, d: int) -> np.ndarray:
    """The covariance of free numbers by NumPy and SciPy, from the formula of each docstring."""
    if name == "product":
        root = free.reshape(d, d)
        return root @ root.T
    a, below = free[:d], np.zeros((d, d))
    below[np.tril_indices(d, -1)] = free[d:]
    unit = below + np.eye(d)
    if name == "matrix exponential":
        return scipy.linalg.expm(np.diag(a) + below + below.T)
    if name == "spectral":
        skew = below - below.T
        axes = (np.eye(d) - skew) @ np.linalg.inv(np.eye(d) + skew)
        return axes @ np.diag(np.exp(2 * a)) @ axes.T
    if name == "precision":
        factor = below + np.diag(np.exp(a))
        return np.linalg.inv(factor @ factor.T)
    if name == "correlation":
        unit = np.zeros((d, d))
        for i in range(d):
            left = 1.0
            for j in range(i):
                unit[i, j] = np.tanh(below[i, j]) * math.sqrt(left)
                left -= unit[i, j] ** 2
            unit[i, i] = math.sqrt(left)
    root = {
        "exp-Cholesky": below + np.diag(np.exp(a)),
        "softplus": below + np.diag(np.log1p(np.exp(a))),
        "row scale": np.exp(a)[:, None] * unit,
        "column scale": unit * np.exp(a),
        "correlation": np.exp(a)[:, None] * unit,
    }[name]
    return root @ root.T


@pytest.mark.parametrize("name", SCALE_MAPS)
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_the_formula(name, dim):
    scale_map = SCALE_MAPS[name]()
    free = random_samples(scale_map.n_parameters(dim), seed=3)
    expected = torch.from_numpy(by_hand(name, free.numpy(), dim))
    # A well-conditioned chain of a few products.
    torch.testing.assert_close(covariance_of(scale_map, free), expected, rtol=1e-11, atol=1e-12)


@MAPS
def test_as_many_numbers_as_a_covariance_has(scale_map):
    counts = [scale_map.n_parameters(d) for d in (1, 2, 3, 13)]
    expected = [1, 4, 9, 169] if isinstance(scale_map, ProductRoot) else [1, 3, 6, 91]
    assert counts == expected
    large = scale_map.right_inverse(torch.eye(40).double())
    torch.testing.assert_close(scale_map(large), torch.eye(40).double())


@given(maps, dims, seeds, st.sampled_from(DTYPES), st.sampled_from(BATCH_SHAPES))
def test_there_and_back(scale_map, dim, seed, dtype, batch_shape):
    scale_tril = random_gaussian(dim, batch_shape, seed=seed, dtype=dtype).scale_tril
    before = scale_tril.clone()
    free = scale_map.right_inverse(scale_tril)
    assert free.shape == (*batch_shape, scale_map.n_parameters(dim))
    assert free.dtype == dtype
    assert torch.equal(scale_tril, before)
    again = scale_map(free)
    assert again.shape == scale_tril.shape
    assert torch.equal(again, again.tril())
    # Some roundings, amplified by condition numbers of the factor of up to a few hundred.
    torch.testing.assert_close(again, scale_tril, rtol=0, atol=3000 * eps(dtype))


@given(maps, dims, seeds)
def test_any_numbers_make_a_factor(scale_map, dim, seed):
    free = 2 * random_samples(3, scale_map.n_parameters(dim), seed=seed)
    before = free.clone()
    scale_tril = scale_map(free)
    assert torch.equal(free, before)
    assert torch.equal(scale_tril, scale_tril.tril())
    assert bool((scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all())
    for one, alone in zip(scale_tril, free, strict=True):  # a batch is its elements
        torch.testing.assert_close(one, scale_map(alone), rtol=1e-9, atol=1e-12)


@given(st.sampled_from(TRIANGULAR), dims, seeds)
def test_unique_maps_bring_the_numbers_back(scale_map, dim, seed):
    """All but the product and the axes are one-to-one."""
    free = random_samples(scale_map.n_parameters(dim), seed=seed)
    back = scale_map.right_inverse(scale_map(free))
    if isinstance(scale_map, Spectral) and dim > 1:
        torch.testing.assert_close(
            covariance_of(scale_map, back), covariance_of(scale_map, free), rtol=1e-8, atol=1e-10
        )
    else:
        torch.testing.assert_close(back, free, rtol=1e-7, atol=1e-8)  # e^3 squared, conditioned


def test_two_maps_are_redundant():
    """Other numbers, the same covariance: a rotation of A, and axes in another order."""
    root = random_samples(3, 3, seed=1)
    turn = torch.linalg.qr(random_samples(3, 3, seed=2)).Q
    product = ProductRoot()
    torch.testing.assert_close(product((root @ turn).flatten()), product(root.flatten()))
    spectral = Spectral()
    free = torch.tensor([0.3, 0.3, -0.5, 0.0, 0.0, 0.0]).double()  # two equal variances
    turned = free + torch.tensor([0.0, 0.0, 0.0, 0.7, 0.0, 0.0]).double()
    torch.testing.assert_close(spectral(turned), spectral(free))


def test_two_maps_keep_the_unit_of_any_variable_in_one_number():
    """As a teacher asks in section 1 of notebook 6, with its factor and another unit of row 2."""
    scale_tril = torch.tensor([[3.0, 0.0], [-1.0, 2.0]]).double()
    other_unit = torch.tensor([[1.0], [10.0]]).double() * scale_tril
    changed = {}
    for name, make in SCALE_MAPS.items():
        before, after = (make().right_inverse(each) for each in (scale_tril, other_unit))
        changed[name] = int((~torch.isclose(before, after)).sum())
    assert all(changed.values())
    assert [name for name, many in changed.items() if many == 1] == ["row scale", "correlation"]


@MAPS
def test_gradients(scale_map):
    for dim in (1, 3):
        free = random_samples(2, scale_map.n_parameters(dim), seed=5).requires_grad_()
        assert torch.autograd.gradcheck(scale_map, (free,))


@MAPS
def test_gradients_of_the_way_back(scale_map):
    for dim in (1, 3):
        scale_tril = random_gaussian(dim, (2,), seed=5).scale_tril.requires_grad_()

        def way_back(factor: Tensor) -> Tensor:
            return scale_map.right_inverse(factor.tril())

        assert torch.autograd.gradcheck(way_back, (scale_tril,))


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_the_jacobian_of_the_exponential_map(dim):
    """|d Sigma / d free| = 2^d prod L_ii^(d - i + 2), with i from 1."""
    free = random_samples(dim * (dim + 1) // 2, seed=dim)
    rows, columns = torch.tril_indices(dim, dim)

    def half(numbers: Tensor) -> Tensor:
        return covariance_of(ExpCholesky(), numbers)[rows, columns]

    jacobian = torch.autograd.functional.jacobian(half, free)
    powers = torch.arange(dim + 1, 1, -1)  # d - i + 2
    expected = dim * math.log(2) + (powers * free[:dim]).sum()
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@MAPS
def test_equal_and_far_apart_variances(scale_map, dtype):
    """The identity has no axes of its own; scales of a thousand have a condition of 10^6."""
    for variances in ([1.0, 1.0, 1.0], [1000.0, 1.0, 0.01], [0.01, 1.0, 1000.0]):
        scale_tril = torch.tensor(variances, dtype=dtype).diag()
        again = scale_map(scale_map.right_inverse(scale_tril))
        torch.testing.assert_close(again, scale_tril, rtol=3e5 * eps(dtype), atol=1e-3)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@MAPS
def test_nearly_singular(scale_map, sign):
    """A correlation of 1 - 5e-9, of either sign; L itself has a condition of 10^4 only."""
    scale_tril = torch.tensor([[1.0, 0.0], [sign, 1e-4]]).double()
    again = scale_map(scale_map.right_inverse(scale_tril))
    # Some roundings, times the condition and, in the matrix exponential, times its logarithm.
    torch.testing.assert_close(again, scale_tril, rtol=1e-10, atol=0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("left", [1e-4, 1e-9, 1e-12, 1e-150])
def test_a_correlation_near_one_keeps_all_digits(left, sign):
    scale_tril = torch.tensor([[2.0, 0.0], [sign, left]], dtype=torch.float64)
    correlation = CorrelationCholesky()
    again = correlation(correlation.right_inverse(scale_tril))
    torch.testing.assert_close(again, scale_tril, rtol=2e-14, atol=0)


@given(dims, seeds, st.sampled_from(BATCH_SHAPES))
def test_the_correlations_are_those_of_torch(dim, seed, batch_shape):
    below = random_samples(*batch_shape, dim * (dim - 1) // 2, seed=seed)
    free = torch.cat([below.new_zeros(*batch_shape, dim), below], dim=-1)
    expected = CorrCholeskyTransform()(below) if dim > 1 else torch.ones_like(free).unsqueeze(-1)
    torch.testing.assert_close(CorrelationCholesky()(free), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["matrix exponential", "spectral"])
@pytest.mark.parametrize(("dtype", "far"), [(torch.float64, 1e8), (torch.float32, 1e4)])
def test_scales_too_far_apart_are_refused_rather_than_lost(name, dtype, far):
    scale_map = SCALE_MAPS[name]()
    unit = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.3, -0.4, 0.7]], dtype=dtype)
    scale_tril = torch.tensor([1 / far, 1.0, far], dtype=dtype).unsqueeze(-1) * unit
    free = scale_map.right_inverse(scale_tril, validate_args=False)
    lost = (scale_map(free) - scale_tril).abs() / scale_tril.abs().sum(dim=-1, keepdim=True)
    assert lost.max() > 0.1
    with pytest.raises(ValueError, match="^scale_tril: .* scales are too far apart"):
        scale_map.right_inverse(scale_tril)
    with pytest.raises(ValueError, match="^scale_tril: .* scales are too far apart"):
        MappedCholesky(scale_map, 3, dtype=dtype).assign(scale_tril)
    kept = CorrelationCholesky().right_inverse(scale_tril)
    torch.testing.assert_close(CorrelationCholesky()(kept), scale_tril)


@pytest.mark.parametrize(
    ("share", "is_refused"), [(1.0, False), (-1.0, False), (1.1, True), (-1.1, True)]
)
def test_the_way_back_may_lose_half_of_the_digits_of_a_row(share, is_refused):
    scale_map, scale_tril = ExpCholesky(), torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]).double())
    scale_tril[3, 0] = -5.0
    scale_tril = scale_tril.repeat(2, 1, 1)
    free = scale_map.right_inverse(scale_tril)
    free[1, -1] = share * 9 * 2.0**-26  # L_43, in a row whose sizes sum to 9
    if not is_refused:
        scale_map._require_way_back(scale_tril, free)
        return
    with pytest.raises(ValueError, match="^scale_tril: .* scales are too far apart"):
        scale_map._require_way_back(scale_tril, free)


@MAPS
def test_a_large_float32_factor_is_not_taken_for_an_overflow(scale_map):
    """Two entries of 3e38 add up to more than float32 holds, and each is a number."""
    scale_tril = torch.tensor([3e38, 3e38], dtype=torch.float32).diag()
    free = scale_map.right_inverse(scale_tril)
    torch.testing.assert_close(scale_map(free), scale_tril, rtol=1e-4, atol=1e34)


@pytest.mark.parametrize("flips", [[1, 1, 1], [-1, 1, 1], [1, -1, -1], [-1, -1, -1]])
def test_axes_that_cayley_cannot_reach_are_turned(flips):
    """Half turns have no Cayley numbers; other signs of the axes have, none of them large."""
    axes = torch.linalg.qr(random_samples(3, 3, seed=4)).Q * torch.tensor(flips).double()
    root = axes * torch.tensor([3.0, 2.0, 1.0]).double()
    free = Spectral().right_inverse(cholesky_of_root(root))
    # Far below what a nearly half turn would have.
    assert free[3:].abs().max() < 10
    torch.testing.assert_close(covariance_of(Spectral(), free), root @ root.mT)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_signs_of_axes_keep_every_pivot_of_cayley_at_one_or_more(dim):
    """A pivot of I + V D is the ratio of two leading minors, each of them a determinant."""
    axes = torch.linalg.qr(random_samples(20, 2, dim, dim, seed=6)).Q
    signs = _turning_signs(axes)
    assert set(signs.unique().tolist()) <= {-1.0, 1.0}
    turned = torch.eye(dim).double() + axes * signs.unsqueeze(-2)
    minors = [torch.linalg.det(turned[..., :k, :k]) for k in range(dim + 1)]
    for before, after in pairwise(minors):
        assert (after / before).min() > 1 - 1e-10


@MAPS
def test_a_batch_of_two_dimensions_is_its_elements(scale_map):
    scale_tril = random_gaussian(4, (3, 2), seed=15).scale_tril
    free = scale_map.right_inverse(scale_tril)
    again = scale_map(free)
    for index in np.ndindex(3, 2):
        alone = scale_map.right_inverse(scale_tril[index])
        torch.testing.assert_close(free[index], alone, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(again[index], scale_map(alone), rtol=1e-9, atol=1e-10)


@given(dims, seeds, st.sampled_from(BATCH_SHAPES))
def test_a_factor_from_any_root(dim, seed, batch_shape):
    root = random_samples(*batch_shape, dim, dim, seed=seed)
    scale_tril = cholesky_of_root(root)
    assert bool((scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all())
    torch.testing.assert_close(scale_tril @ scale_tril.mT, root @ root.mT, rtol=1e-9, atol=1e-12)


def test_a_root_keeps_digits_that_its_product_has_lost():
    """Scales of 1 and 1e-9: their squares are further apart than float64 has digits."""
    root = torch.tensor([[1.0, 0.0], [1.0, 1e-9]]).double()
    torch.testing.assert_close(cholesky_of_root(root), root, rtol=1e-6, atol=0)
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.cholesky(root @ root.mT)


def test_softplus_keeps_its_digits_where_it_is_nearly_a_line():
    for value in (1e-12, 1.0, 21.0, 1e6):
        scale_tril = torch.tensor([[value]]).double()
        again = SoftplusCholesky()(SoftplusCholesky().right_inverse(scale_tril))
        torch.testing.assert_close(again, scale_tril, rtol=1e-14, atol=0)


@MAPS
def test_free_numbers_are_no_window_on_the_factor(scale_map):
    scale_tril = random_gaussian(2).scale_tril
    before = scale_tril.clone()
    scale_map.right_inverse(scale_tril).zero_()
    assert torch.equal(scale_tril, before)


# Registered with torch ---------------------------------------------------------------------------


class Plain(nn.Module):
    """A module with a factor and nothing to keep it one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale_tril = nn.Parameter(2 * torch.eye(dim, dtype=torch.float64))


@MAPS
def test_torch_registers_the_map(scale_map):
    module = Plain(3)
    parametrize.register_parametrization(module, "scale_tril", scale_map)
    torch.testing.assert_close(module.scale_tril, 2 * torch.eye(3).double())
    (free,) = module.parameters()
    assert free.shape == (scale_map.n_parameters(3),)
    assigned = random_gaussian(3).scale_tril
    module.scale_tril = assigned
    torch.testing.assert_close(module.scale_tril, assigned)
    x = random_samples(50, 3, seed=7)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        normal = MultivariateNormal(x.mean(dim=0), scale_tril=module.scale_tril)
        (-normal.log_prob(x).mean()).backward()
        optimizer.step()
    fitted = (module.scale_tril @ module.scale_tril.mT).detach()
    # After 300 steps of Adam the precision map, the slowest, has three digits.
    torch.testing.assert_close(fitted, torch.cov(x.T, correction=0), rtol=0, atol=5e-3)


# In the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@MAPS
def test_a_new_model_is_the_standard_normal(scale_map, batch_shape, dtype):
    model = GaussianLikelihood(3, batch_shape, parametrization=scale_map, dtype=dtype)
    identity = torch.eye(3, dtype=dtype).expand(*batch_shape, 3, 3)
    torch.testing.assert_close(model.scale_tril, identity)
    assert model.batch_shape == torch.Size(batch_shape)
    assert set(model.state_dict()) == {"loc", "scale.free", "scale._extra_state"}


@pytest.mark.parametrize("optimizer", [None, "natural-autograd", "lbfgs"])
@MAPS
def test_fit_reaches_the_closed_form(scale_map, optimizer):
    x = random_samples(40, 3, seed=8) @ random_gaussian(3, seed=9).scale_tril.mT + 1.0
    model = GaussianLikelihood(3, parametrization=scale_map, dtype=torch.float64)
    history = fit(model, x, optimizer=optimizer)
    assert history.converged
    best = maximum_likelihood(x)
    torch.testing.assert_close(model.loc.detach(), best.loc, rtol=0, atol=1e-4)
    # A gap of 1e-10 nats leaves the square root of it in the entries.
    torch.testing.assert_close(
        model.covariance_matrix.detach(), best.covariance_matrix, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("how", [{"optimizer": "adam"}, {"batch_size": 10}])
@MAPS
def test_fit_with_adam_and_in_mini_batches(scale_map, how):
    x = random_samples(2, 40, 2, seed=10)
    model = GaussianLikelihood(2, (2,), parametrization=scale_map, dtype=torch.float64)
    history = fit(model, x, **how)
    assert history.gap[-1].max() < 1e-3 * history.sampling_error


def test_float32_is_fitted_as_well_as_it_can_be():
    x = random_samples(50, 3, seed=11, dtype=torch.float32)
    for scale_map in (SoftplusCholesky(), Spectral()):
        model = GaussianLikelihood(3, parametrization=scale_map, dtype=torch.float32)
        history = fit(model, x, tol=1e-9)
        assert model.scale_tril.dtype == torch.float32
        assert history.converged


def test_a_checkpoint_is_of_one_map(tmp_path):
    x = random_samples(20, 2, seed=12)
    path = tmp_path / "fit.pt"
    fit(GaussianLikelihood(2, parametrization=ExpCholesky()).double(), x, checkpoint=path)
    other = GaussianLikelihood(2, parametrization=SoftplusCholesky()).double()
    with pytest.raises(ValueError, match="model=.*SoftplusCholesky"):
        fit(other, x, checkpoint=path)


def test_free_numbers_are_loaded_into_the_same_map_only(tmp_path):
    ours = GaussianLikelihood(2, parametrization=ExpCholesky())
    ours.assign(torch.zeros(2), torch.tensor([[2.0, 0.0], [0.5, 1.0]]))
    torch.save(ours.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["scale._extra_state"].dtype == torch.uint8
    with torch.device("meta"):  # the state of a model on the CPU stays loadable there
        assert ours.state_dict()["scale._extra_state"].device.type == "cpu"
    same = GaussianLikelihood(2, parametrization=ExpCholesky())
    same.load_state_dict(state)
    assert torch.equal(same.scale_tril, ours.scale_tril)
    other = GaussianLikelihood(2, parametrization=SoftplusCholesky())
    with pytest.raises(ValueError, match="expected .* SoftplusCholesky, got those of ExpCholesky"):
        other.load_state_dict(state)
    assert torch.equal(other.scale_tril, torch.eye(2))
    spoilt = {**state, "scale._extra_state": torch.tensor([255, 254], dtype=torch.uint8)}
    with pytest.raises(ValueError, match="^state_dict: .* ExpCholesky, got those of \ufffd"):
        same.load_state_dict(spoilt)
    del state["scale._extra_state"]  # of which map, nobody can tell
    with pytest.raises(RuntimeError, match="Missing key"):
        same.load_state_dict(state)


def test_a_checkpoint_holds_the_free_numbers_of_a_map(tmp_path):
    x, path = random_samples(20, 2, seed=12), tmp_path / "fit.pt"
    how = {"optimizer": "adam", "checkpoint": path}
    first = GaussianLikelihood(2, parametrization=SoftplusCholesky(), dtype=torch.float64)
    fit(first, x, max_steps=20, **how)
    second = GaussianLikelihood(2, parametrization=SoftplusCholesky(), dtype=torch.float64)
    fit(second, x, max_steps=20, **how)  # which has nothing left to do
    assert torch.equal(second.scale_tril, first.scale_tril)


@pytest.mark.parametrize("scale_map", [None, ExpCholesky()], ids=["default", "mapped"])
def test_what_is_assigned_is_checked_in_the_dtype_of_the_model(scale_map):
    model = GaussianLikelihood(2, parametrization=scale_map, dtype=torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    zero, one = torch.zeros(2).double(), torch.eye(2).double()
    for loc, scale_tril in ((zero, 1e300 * one), (zero, 1e-300 * one), (zero + 1e300, one)):
        with pytest.raises(ValueError, match="^(loc|scale_tril): expected (finite|a positive)"):
            model.assign(loc, scale_tril)
        assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    model.assign(zero, 2 * one)
    assert torch.equal(model.scale_tril, 2 * torch.eye(2, dtype=torch.float32))


def test_the_default_is_the_exponential_map():
    """The same numbers in one vector or in two: the same gradients, and the same steps."""
    x = random_samples(30, 3, seed=13)
    ours = GaussianLikelihood(3, parametrization=ExpCholesky(), dtype=torch.float64)
    default = GaussianLikelihood(3, dtype=torch.float64)
    for model in (ours, default):
        fit(model, x, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), max_steps=50)
    torch.testing.assert_close(ours.scale_tril, default.scale_tril, rtol=1e-13, atol=1e-14)
    free = ours.scale.free.detach()
    assert torch.equal(ours.scale_tril, log_cholesky(free[:3], free[3:]))


def test_without_checks_what_is_no_factor_is_assigned():
    scale = MappedCholesky(ExpCholesky(), 2)
    scale.assign(-torch.eye(2), validate_args=False)
    assert scale.free[:2].isnan().all()  # the logarithm of -1


@MAPS
def test_what_is_assigned_is_there(scale_map):
    target = random_gaussian(3, seed=14)
    model = GaussianLikelihood(3, (2,), parametrization=scale_map, dtype=torch.float64)
    model.assign(*target)
    torch.testing.assert_close(model.scale_tril, target.scale_tril.expand(2, 3, 3))
    step = natural_step(model.scale_tril.detach(), torch.eye(3).double())
    model.scale.assign(step)
    torch.testing.assert_close(model.scale_tril, step)


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: ExpCholesky()(torch.zeros(4)),
            ValueError,
            ["free", "(..., 3) for 2 variables or (..., 6) for 3", "(4,)"],
        ),
        (lambda: ProductRoot()(torch.zeros(5)), ValueError, ["free", "(..., 4)", "(..., 9)"]),
        (lambda: ExpCholesky()(torch.zeros(5)), ValueError, ["(..., 3) for 2", "(5,)"]),
        (lambda: ExpCholesky()(torch.zeros(())), ValueError, ["(..., 1) for 1", "for 2", "()"]),
        (lambda: ExpCholesky()(torch.tensor([800.0])), ValueError, ["free", "float32", "positive"]),
        (lambda: ProductRoot()(torch.zeros(4)), ValueError, ["free", "got 0"]),
        (lambda: cholesky_of_root(torch.zeros(2, 2)), ValueError, ["root", "full rank"]),
        (lambda: cholesky_of_root(torch.ones(2, 2)), ValueError, ["root", "full rank"]),
        (lambda: cholesky_of_root(torch.zeros(2, 3)), ValueError, ["root", "(2, 3)"]),
        (  # whose first row is longer than any number of float32
            lambda: cholesky_of_root(torch.tensor([[3e38, 3e38], [3e38, -3e38]])),
            ValueError,
            ["root", "float32 can hold", "nan"],
        ),
        (lambda: MappedCholesky("softplus", 2), TypeError, ["scale_map", "SoftplusCholesky()"]),
        (
            lambda: GaussianLikelihood(2, parametrization=SoftplusCholesky),
            TypeError,
            ["parametrization", "SoftplusCholesky()"],
        ),
        (lambda: MappedCholesky(ExpCholesky(), 2**21), ValueError, ["dim", "1099511627776"]),
        (lambda: SoftplusCholesky().right_inverse(-torch.eye(2)), ValueError, ["scale_tril"]),
        (
            lambda: CorrelationCholesky().right_inverse(torch.tensor([[1.0, 0.0], [1.0, 1e-30]])),
            ValueError,
            ["scale_tril", "singular to its last digit"],
        ),
        (
            lambda: MappedCholesky(ExpCholesky(), 2, (2,)).assign(torch.eye(2).expand(5, 2, 2)),
            ValueError,
            ["scale_tril", "batch shape (2,)", "(5,)"],
        ),
        (
            lambda: MappedCholesky(ExpCholesky(), 2).assign(torch.eye(3)),
            ValueError,
            ["scale_tril", "(..., 2, 2)", "(3, 3)"],
        ),
        (lambda: ScaleMap()(torch.zeros(3)), NotImplementedError, ["ScaleMap"]),
        (lambda: ScaleMap().right_inverse(torch.eye(2)), NotImplementedError, ["ScaleMap"]),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_model_whose_numbers_make_no_factor_is_not_fitted():
    model = GaussianLikelihood(2, parametrization=ExpCholesky(), dtype=torch.float64)
    with torch.no_grad():
        model.scale.free[0] = torch.nan
    with pytest.raises(ValueError, match="^model: free: expected finite"):
        fit(model, random_samples(20, 2))
