"""The cheat sheet and the notation table say what is true, and fit on their sheets of paper."""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from sklearn.covariance import shrunk_covariance
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import LowerCholeskyTransform, MultivariateNormal

import helpers
from workshop import sheets

ROOT = Path(__file__).parents[1]
CHEAT_SHEET = (ROOT / "docs" / "cheat_sheet.md").read_text(encoding="utf-8")
NOTATION = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8")
ROUNDING = {"rtol": 1e-9, "atol": 1e-12}  # float64, a few dozen operations on numbers near one


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text.replace("\n---\n", "\n"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = sections(CHEAT_SHEET)


def rows(text: str) -> list[list[str]]:
    """Cells of the tables in a markdown text, without their heads."""
    tables = re.findall(r"^\|.+\n\|[-|]+\n((?:\|.+\n)+)", text, re.MULTILINE)
    lines = "".join(tables).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# Shapes ---------------------------------------------------------------------------------------


def shapes(batch: tuple[int, ...], n: int, d: int) -> dict[str, tuple[int, ...]]:
    """The shapes that things really have, by their names on the sheet."""
    model = helpers.GaussianLikelihood(d, batch)
    x = torch.randn(*batch, n, d)
    gaussian = MultivariateNormal(torch.zeros(*batch, d), scale_tril=model.scale_tril.detach())
    tensors = {
        "samples `x`": x,
        "mean `loc`": model.loc,
        "factor `scale_tril`": model.scale_tril,
        "`covariance_matrix`": model.covariance_matrix,
        "`log_diagonal`": model.scale.log_diagonal,
        "`below_diagonal`": model.scale.below_diagonal,
        "`log_prob(x)` of the helpers": helpers.log_prob(x, model.loc, model.scale_tril),
        "loss of a model": model(x),
        "`sample((N,))` of PyTorch": gaussian.sample((n,)),
    }
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_the_shapes_are_those_of_the_tensors():
    sizes = {"B": 7, "N": 5, "d": 4, "k": 6}  # all different, k = d (d - 1) / 2
    one, many = (shapes(batch, sizes["N"], sizes["d"]) for batch in ((), (sizes["B"],)))
    table = {
        name: [eval(cell.strip("`"), {}, sizes) for cell in cells]
        for name, *cells in rows(SECTIONS["Shapes"])
    }
    assert table == {name: [one[name], many[name]] for name in one}


# Formulas -------------------------------------------------------------------------------------

CHECKS: dict[str, tuple[tuple[str, ...], Callable[[], None]]] = {}


def formula(name: str, *latex: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a check of the formulas that stand under a name on the sheet."""

    def register(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS[name] = latex, check
        return check

    return register


def formulas(text: str) -> dict[str, tuple[str, ...]]:
    """Displayed formulas of a markdown text, by the words in bold before them."""
    parts = re.split(r"^\*\*(.+?)\*\*", text, flags=re.MULTILINE)
    return {
        name: tuple(re.findall(r"\$\$(.+?)\$\$", part))
        for name, part in zip(parts[1::2], parts[2::2], strict=True)
    }


def a_gaussian(d: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A mean (d,) and a Cholesky factor (d, d) with nothing special about them."""
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(d, d + 1, generator=generator, dtype=torch.float64)
    return free[:, 0], free[:, 1:].tril(-1) + (free.diagonal(1) / 2).exp().diag()


def some_samples(n: int = 40, d: int = 3) -> Tensor:
    loc, scale_tril = a_gaussian(d, seed=1)
    generator = torch.Generator().manual_seed(2)
    return loc + torch.randn(n, d, generator=generator, dtype=torch.float64) @ scale_tril.mT


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(dim=0), torch.cov(x.mT, correction=0)


def whitened(x: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    """The A of the sheet, written as it stands there."""
    mean, covariance = moments(x)
    about_loc = covariance + torch.outer(mean - loc, mean - loc)
    inverse = scale_tril.inverse()
    return inverse @ about_loc @ inverse.mT


def mean_nll(x: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    return -MultivariateNormal(loc, scale_tril=scale_tril).log_prob(x).mean()


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, **ROUNDING)


@formula(
    "Log-density",
    r"\log p(x) = -\tfrac12 \left( d \log 2\pi + \log\det\Sigma + r^2 \right)",
)
def log_density() -> None:
    x, (loc, scale_tril) = some_samples(), a_gaussian()
    radius_2 = (scale_tril.inverse() @ (x - loc).mT).square().sum(dim=0)
    log_det = torch.linalg.slogdet(scale_tril @ scale_tril.mT).logabsdet
    expected = MultivariateNormal(loc, scale_tril=scale_tril).log_prob(x)
    assert_equal(-0.5 * (3 * math.log(2 * math.pi) + log_det + radius_2), expected)


@formula(
    "Log-determinant",
    r"\log\det\Sigma = 2 \sum_i \log L_{ii} = 2 \sum_i a_i",
)
def log_determinant() -> None:
    free = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale_tril = LowerCholeskyTransform()(free)
    expected = torch.linalg.slogdet(scale_tril @ scale_tril.mT).logabsdet
    assert_equal(2 * scale_tril.diagonal().log().sum(), expected)
    assert_equal(2 * free.diagonal().sum(), expected)


@formula("Sample", r"x = \mu + L z")
def sample() -> None:
    loc, scale_tril = a_gaussian()
    torch.manual_seed(0)
    expected = MultivariateNormal(loc, scale_tril=scale_tril).sample()
    torch.manual_seed(0)
    assert_equal(loc + scale_tril @ torch.randn(3, dtype=torch.float64), expected)


@formula("Ellipse", r"r = \sqrt{-2 \log (1 - q)}")
def ellipse() -> None:
    share = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64)
    radius = (-2 * torch.log(1 - share)).sqrt()
    chi_squared = torch.distributions.Chi2(torch.tensor(2.0, dtype=torch.float64))
    # The distribution of r^2 in two dimensions, whose PyTorch version computes in float64.
    torch.testing.assert_close(chi_squared.cdf(radius.square()), share, rtol=1e-6, atol=0)


@formula(
    "Mean NLL",
    r"\mathrm{NLL} = \tfrac12 \left( d \log 2\pi + \log\det\Sigma + \mathrm{tr}\,A \right)",
    r"A = L^{-1} S_\mu L^{-\top}, \quad S_\mu = S + (m - \mu)(m - \mu)^\top",
)
def nll_from_moments() -> None:
    x, (loc, scale_tril) = some_samples(), a_gaussian()
    log_det = torch.linalg.slogdet(scale_tril @ scale_tril.mT).logabsdet
    trace = whitened(x, loc, scale_tril).trace()
    found = 0.5 * (3 * math.log(2 * math.pi) + log_det + trace)
    assert_equal(found, mean_nll(x, loc, scale_tril))


@formula(
    "Its minimum",
    r"\mathrm{NLL}_{\min} = \tfrac12 \left( d \log 2\pi + \log\det S + d \right)",
)
def minimum() -> None:
    x = some_samples()
    mean, covariance = moments(x)
    found = 0.5 * (3 * math.log(2 * math.pi) + torch.logdet(covariance) + 3)
    assert_equal(found, mean_nll(x, mean, torch.linalg.cholesky(covariance)))
    unbiased = torch.linalg.cholesky(torch.cov(x.mT))
    assert found < mean_nll(x, mean, unbiased)


@formula(
    "Gradients",
    r"\frac{\partial\,\mathrm{NLL}}{\partial \mu} = \Sigma^{-1} (\mu - m), \quad"
    r" \frac{\partial\,\mathrm{NLL}}{\partial L} ="
    r" \mathrm{tril}\!\left( L^{-\top} (I - A) \right)",
)
def gradients() -> None:
    x, (loc, scale_tril) = some_samples(), a_gaussian()
    loc.requires_grad_(), scale_tril.requires_grad_()
    by_loc, by_factor = torch.autograd.grad(mean_nll(x, loc, scale_tril), (loc, scale_tril))
    loc, scale_tril = loc.detach(), scale_tril.detach()
    inverse = scale_tril.inverse()
    assert_equal(by_loc, inverse.mT @ inverse @ (loc - x.mean(dim=0)))
    identity = torch.eye(3, dtype=torch.float64)
    assert_equal(by_factor.tril(), (inverse.mT @ (identity - whitened(x, loc, scale_tril))).tril())


@formula(
    "Natural step",
    r"\mu \leftarrow m, \quad L \leftarrow L \, \mathrm{tril}\!\left( A \,"
    r" \mathrm{diag}(A)^{-1/2} \right)",
)
def natural_step() -> None:
    x, (_, scale_tril) = some_samples(), a_gaussian()
    mean, covariance = moments(x)
    ways = [scale_tril]
    for _ in range(3):
        a = whitened(x, mean, ways[-1])
        ways.append(ways[-1] @ (a @ a.diagonal().rsqrt().diag()).tril())
    best = torch.linalg.cholesky(covariance)
    assert_equal(ways[1], helpers.natural_step(scale_tril, covariance))
    assert_equal(ways[3], best)
    assert not torch.allclose(ways[2], best, rtol=1e-3)  # three variables need three steps


@formula(
    "KL divergence",
    r"\mathrm{KL}(p \Vert q) = \tfrac12 \Big( \sum_i (r_i - 1 - \log r_i)"
    r" + \lVert L_q^{-1} (\mu_p - \mu_q) \rVert^2 \Big)",
)
def kl_divergence() -> None:
    (loc_p, factor_p), (loc_q, factor_q) = a_gaussian(seed=0), a_gaussian(seed=3)
    inverse = factor_q.inverse()
    ratios = torch.linalg.eigvalsh(inverse @ factor_p @ factor_p.mT @ inverse.mT)
    distance = (inverse @ (loc_p - loc_q)).square().sum()
    p, q = (
        MultivariateNormal(loc, scale_tril=factor)
        for loc, factor in ((loc_p, factor_p), (loc_q, factor_q))
    )
    found = 0.5 * ((ratios - 1 - ratios.log()).sum() + distance)
    assert_equal(found, torch.distributions.kl_divergence(p, q))


FITS, DRAWN = 20_000, 100


def many_fits() -> tuple[Tensor, Tensor, Tensor]:
    """Data (fits, n, d) of a standard normal, and the mean and covariance of each set."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(FITS, DRAWN, 2, generator=generator, dtype=torch.float64)
    mean = x.mean(dim=1)
    centred = x - mean[:, None]
    return x, mean, centred.mT @ centred / DRAWN


def assert_mean(values: Tensor, expected: float, extra: float = 0.0) -> None:
    """The mean is as expected, within four standard errors and what is left out of the formula."""
    error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item() - expected) < 4 * error + extra


@formula("Sampling error", r"\frac{p}{2N} \quad \text{with} \quad p = \tfrac12 d (d + 3)")
def sampling_error() -> None:
    _, mean, covariance = many_fits()
    expected = 0.5 * 2 * (2 + 3) / (2 * DRAWN)
    truth = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    fitted = MultivariateNormal(mean, covariance)
    gap = torch.distributions.kl_divergence(fitted, truth)
    assert_mean(gap, expected, extra=3 * expected / DRAWN)  # the next term of a series in 1/N
    assert helpers.expected_gap(2, DRAWN) == pytest.approx(expected)


@formula("New data", r"\frac{p}{N - d - 2}")
def new_data() -> None:
    x, mean, covariance = many_fits()
    fitted = MultivariateNormal(mean[:, None], covariance[:, None])
    others = x.roll(1, dims=0)  # each fit meets the data of its neighbour
    cost = (fitted.log_prob(x) - fitted.log_prob(others)).mean(dim=1)
    assert_mean(cost, 5 / (DRAWN - 2 - 2))


@formula(
    "Standard errors",
    r"\sqrt{\sigma_{ii} / N}, \quad \sqrt{(\sigma_{ii} \sigma_{jj} + \sigma_{ij}^2) / N},"
    r" \quad 1 / \sqrt{2N}",
)
def standard_errors() -> None:
    x, _, _ = many_fits()
    _, scale_tril = a_gaussian(2)
    x = x @ scale_tril.mT
    sigma = scale_tril @ scale_tril.mT
    centred = x - x.mean(dim=1, keepdim=True)
    covariance = centred.mT @ centred / DRAWN
    variances = sigma.diagonal()
    # A standard deviation over 20,000 fits is known to half a per cent, and the formula to 1/N.
    torch.testing.assert_close(
        x.mean(dim=1).std(dim=0), (variances / DRAWN).sqrt(), rtol=0.03, atol=0
    )
    expected = ((torch.outer(variances, variances) + sigma**2) / DRAWN).sqrt()
    torch.testing.assert_close(covariance.std(dim=0), expected, rtol=0.03, atol=0)
    relative = covariance.diagonal(dim1=-2, dim2=-1).sqrt().std(dim=0) / variances.sqrt()
    assert (relative * math.sqrt(2 * DRAWN) - 1).abs().max() < 0.03


@formula("Noise", r"\sqrt{d / 2b}")
def noise_of_a_batch() -> None:
    x, _, _ = many_fits()
    truth = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    losses = -truth.log_prob(x).mean(dim=1)
    assert losses.std().item() == pytest.approx(math.sqrt(2 / (2 * DRAWN)), rel=0.03)


@formula(
    "Merge",
    r"m = m_a + \tfrac{n_b}{n} \delta, \quad C = C_a + C_b + \tfrac{n_a n_b}{n} \delta \delta^\top",
)
def merge() -> None:
    x = some_samples()
    parts = [x[:15], x[15:]]
    (mean_a, cov_a), (mean_b, cov_b) = map(moments, parts)
    delta, (n_a, n_b), n = mean_b - mean_a, map(len, parts), len(x)
    mean, covariance = moments(x)
    assert_equal(mean_a + n_b / n * delta, mean)
    scatter = n_a * cov_a + n_b * cov_b + n_a * n_b / n * torch.outer(delta, delta)
    assert_equal(scatter, n * covariance)


@formula(
    "Units",
    r"\mu = c + D \mu_z, \quad \Sigma = D \, \Sigma_z D, \quad L = D L_z",
)
def units() -> None:
    x = some_samples()
    c, stretch = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([1e3, 1.0, 1e-3]).double()
    z = (x - c) / stretch
    (mean, covariance), (mean_z, covariance_z) = moments(x), moments(z)
    assert_equal(c + stretch * mean_z, mean)
    assert_equal(stretch.diag() @ covariance_z @ stretch.diag(), covariance)
    factor_z = torch.linalg.cholesky(covariance_z)
    assert_equal(stretch.diag() @ factor_z, torch.linalg.cholesky(covariance))


@formula(
    "Criteria",
    r"\mathrm{AIC} = 2 N \ell + 2 p, \quad \mathrm{BIC} = 2 N \ell + p \log N",
)
def criteria() -> None:
    x = some_samples()
    least, n, p = mean_nll(x, x.mean(dim=0), torch.linalg.cholesky(moments(x)[1])).item(), 40, 9
    theirs = GaussianMixture(1, reg_covar=0).fit(x)
    assert 2 * n * least + 2 * p == pytest.approx(theirs.aic(x), rel=1e-9)
    assert 2 * n * least + p * math.log(n) == pytest.approx(theirs.bic(x), rel=1e-9)


def squared_distances(x: Tensor, fitted_to: Tensor) -> Tensor:
    mean, covariance = moments(fitted_to)
    centred = x - mean
    return (centred @ covariance.inverse() * centred).sum(dim=-1)


@formula("Leave a row out", r"N r^2 / (N - 1 - r^2)")
def leave_a_row_out() -> None:
    x = some_samples()
    radius_2, n = squared_distances(x, x), len(x)
    others = [torch.cat([x[:k], x[k + 1 :]]) for k in range(n)]
    refitted = [squared_distances(x[k], others[k]) for k in range(n)]
    assert_equal(n * radius_2 / (n - 1 - radius_2), torch.stack(refitted))


@formula("Shrinkage", r"(1 - \alpha) \, S + \alpha \, (\mathrm{tr}\,S / d) \, I")
def shrinkage() -> None:
    _, covariance = moments(some_samples())
    found = 0.7 * covariance + 0.3 * covariance.trace() / 3 * torch.eye(3).double()
    assert_equal(found, torch.as_tensor(shrunk_covariance(covariance.numpy(), shrinkage=0.3)))


def test_every_formula_on_the_sheet_is_one_that_is_checked():
    found = formulas(SECTIONS["Formulas"]) | formulas(SECTIONS["Formulas: choose and shrink"])
    assert found == {name: latex for name, (latex, _) in CHECKS.items()}


@pytest.mark.parametrize("name", CHECKS)
def test_a_formula_is_right(name):
    CHECKS[name][1]()


# Recipes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> dict[str, Any]:
    """The names that the recipes leave behind, run one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", CHEAT_SHEET, re.DOTALL)
    assert len(blocks) == 9
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    said = io.StringIO()
    with contextlib.chdir(tmp_path_factory.mktemp("recipes")), contextlib.redirect_stdout(said):
        for block in blocks:
            exec(block, names)
    return {**names, "said": said.getvalue()}


def test_what_the_recipes_learn_is_the_exact_answer(recipes):
    x = recipes["x"]
    assert x.dtype == torch.float64
    expected = torch.cov(x.mT, correction=0)
    # L-BFGS stops at gradients below 1e-7, that is, at relative errors of this size.
    torch.testing.assert_close(recipes["covariance"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(recipes["correlation"], torch.corrcoef(x.mT), rtol=1e-4, atol=1e-5)


def test_the_yardstick_of_the_check_is_the_exact_optimum(recipes):
    x = recipes["x"]
    best = helpers.maximum_likelihood(x)
    for name in ("S", "streamed"):
        torch.testing.assert_close(recipes[name], best.covariance_matrix, rtol=1e-10, atol=1e-12)
    assert recipes["lost"].mean() > -1e-12  # nothing is better than the best, but for rounding
    assert recipes["error"] == pytest.approx(helpers.expected_gap(2, len(x)))


def test_the_check_on_the_sheet_would_notice_a_model_that_was_not_trained(recipes):
    (check,) = re.findall(r"\*\*Check\*\*.*?```python\n(.*?)```", CHEAT_SHEET, re.DOTALL)
    with pytest.raises(AssertionError):
        exec(check, {**recipes, "model": recipes["Gaussian"](2)})


@pytest.mark.parametrize("standardised", [True, False])
def test_it_arrives_on_real_columns_once_they_are_standardised(recipes, standardised):
    x = torch.as_tensor(load_breast_cancer().data[:, :5])  # their units differ by thousands
    if standardised:
        x = (x - x.mean(dim=0)) / x.std(dim=0)
    learn, check = re.findall(
        r"\*\*(?:Learn|Check)\b.*?```python\n(.*?)```", CHEAT_SHEET, re.DOTALL
    )
    names = {**recipes, "x": x}
    exec(learn.replace("Gaussian(2)", "Gaussian(5)"), names)
    with contextlib.nullcontext() if standardised else pytest.raises(AssertionError):
        exec(check, names)


def test_the_batch_on_the_sheet_has_one_loss_for_each_gaussian(recipes):
    assert recipes["loss"].shape == (100,)
    assert recipes["loc"].grad.shape == (100, 2)
    many = recipes["many"]
    alone = [mean_nll(x, torch.zeros(2), torch.eye(2)) for x in many]
    torch.testing.assert_close(recipes["loss"].detach(), torch.stack(alone))


def test_what_is_loaded_is_what_was_saved(recipes):
    assert set(recipes["state"]) == {"loc", "a", "b"}
    for name, value in recipes["model"].state_dict().items():
        assert torch.equal(recipes["state"][name], value)


def test_the_helpers_on_the_sheet_arrive(recipes):
    assert "the optimiser is not what limits you" in recipes["said"]


# Messages -------------------------------------------------------------------------------------


def leaf() -> Tensor:
    return torch.eye(2, requires_grad=True)


def through_the_same_graph_twice() -> None:
    gaussian = MultivariateNormal(torch.zeros(2), scale_tril=leaf().exp().tril())
    for _ in range(2):
        gaussian.log_prob(torch.ones(2)).backward()


def set_an_entry() -> None:
    leaf()[0, 0] = 2.0


def load_a_pickled_model() -> None:
    file = io.BytesIO()
    torch.save(nn.Linear(2, 2), file)
    file.seek(0)
    torch.load(file, weights_only=True)


INDEFINITE = torch.tensor([[1.0, 1.2], [1.2, 1.0]])
STANDARD = MultivariateNormal(torch.zeros(2), torch.eye(2))
NAN = torch.full((2,), math.nan)
PROVOKED: dict[str, Callable[[], Any]] = {
    "Expected parameter covariance_matrix ... to satisfy the constraint PositiveDefinite()": (
        lambda: MultivariateNormal(torch.zeros(2), covariance_matrix=INDEFINITE)
    ),
    "linalg.cholesky: The factorization could not be completed because the input is not"
    " positive-definite": lambda: torch.linalg.cholesky(torch.cov(torch.eye(3)[:, :2])),
    "Expected parameter scale_tril ... to satisfy the constraint LowerCholesky()": (
        lambda: MultivariateNormal(torch.zeros(2), scale_tril=torch.ones(2, 2))
    ),
    "Expected parameter loc ... IndependentConstraint(Real(), 1), but found invalid values": (
        lambda: MultivariateNormal(NAN, torch.eye(2))
    ),
    "Expected value argument ... to be within the support": lambda: STANDARD.log_prob(NAN),
    "The right-most size of value must match event_shape": (
        lambda: STANDARD.log_prob(torch.zeros(2, 5))
    ),
    "Value is not broadcastable with batch_shape+event_shape": (
        lambda: MultivariateNormal(torch.zeros(4, 2), torch.eye(2)).log_prob(torch.zeros(4, 5, 2))
    ),
    "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.": (
        lambda: MultivariateNormal(torch.zeros(2), torch.eye(2), scale_tril=torch.eye(2))
    ),
    "linalg.cholesky: Expected a floating point or complex tensor as input. Got Long": (
        lambda: torch.linalg.cholesky(torch.tensor([[2, 1], [1, 2]]))
    ),
    "'numpy.ndarray' object has no attribute 'dim'": (
        lambda: MultivariateNormal(torch.zeros(2), np.eye(2))
    ),
    "expected m1 and m2 to have the same dtype, but got: double != float": (
        lambda: torch.as_tensor(np.eye(2)) @ torch.eye(2)
    ),
    "grad can be implicitly created only for scalar outputs": (
        lambda: (
            MultivariateNormal(torch.zeros(2), scale_tril=leaf())
            .log_prob(torch.zeros(5, 2))
            .backward()
        )
    ),
    "Trying to backward through the graph a second time": through_the_same_graph_twice,
    "element 0 of tensors does not require grad and does not have a grad_fn": (
        lambda: MultivariateNormal(torch.zeros(2), scale_tril=leaf()).sample().sum().backward()
    ),
    "can't optimize a non-leaf Tensor": lambda: torch.optim.Adam([leaf().exp()]),
    "a view of a leaf Variable that requires grad is being used in an in-place operation.": (
        set_an_entry
    ),
    "Can't call numpy() on Tensor that requires grad.": lambda: leaf().numpy(),
    "Weights only load failed.": load_a_pickled_model,
}


def messages() -> list[str]:
    return re.findall(r"^`(.+)`$", SECTIONS["Messages"], re.MULTILINE)


def test_every_message_on_the_sheet_is_one_that_is_provoked():
    assert messages() == list(PROVOKED)


@pytest.mark.parametrize("message", PROVOKED)
def test_torch_says_so(message):
    pattern = ".*".join(map(re.escape, message.split("...")))
    with pytest.raises(Exception, match=f"(?s)^{pattern}"):
        PROVOKED[message]()


def test_the_cures_of_the_shapes_work():
    """Those of the sheet that are one expression."""
    many = MultivariateNormal(torch.zeros(4, 1, 2), scale_tril=torch.eye(2).expand(4, 1, 2, 2))
    assert many.log_prob(torch.zeros(4, 5, 2)).shape == (4, 5)
    x = torch.tensor([[1.0, math.nan], [2.0, 3.0]])
    assert x.isfinite().all(0).tolist() == [True, False]
    wrong = MultivariateNormal(torch.zeros(4, 2), torch.eye(2)).log_prob(torch.zeros(4, 4, 2))
    assert wrong.shape == (4, 4)  # no message


# Notation -------------------------------------------------------------------------------------


def notebook_cells(kind: str, number: str = "") -> Iterator[str]:
    for path in sorted((ROOT / "notebooks").glob(f"{number}*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == kind:
                yield cell.source


def without_spaces(text: str) -> str:
    return re.sub(r"\s|\\,|\\!", "", text)


def formulas_of(number: str = "") -> set[str]:
    """All that stands between dollars in the notebooks, or in one of them."""
    text = "\n".join(notebook_cells("markdown", number))
    return set(re.findall(r"\$+([^$]+)\$+", text))


def used_names() -> set[str]:
    """Names in the code of helpers and notebooks."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "helpers").rglob("*.py")]
    found = set()
    for source in [*sources, *notebook_cells("code")]:
        for node in ast.walk(ast.parse(source)):
            for field in ("id", "attr", "arg", "name"):
                found.add(getattr(node, field, None))
    return found


def occurs(symbol: str, texts: set[str]) -> bool:
    """Whether a formula has the symbol, and not as a part of another name."""
    bare = re.escape(without_spaces(symbol))
    ending = "" if symbol.endswith("}") else r"(?![a-zA-Z])"
    pattern = re.compile(rf"(?<![a-zA-Z\\]){bare}{ending}")
    return any(pattern.search(text) for text in texts)


TABLE = rows(NOTATION)


@pytest.fixture(scope="module")
def in_notebooks() -> set[str]:
    return set(map(without_spaces, formulas_of()))


@pytest.fixture(scope="module")
def in_code() -> set[str]:
    return used_names()


@pytest.mark.parametrize("symbol", [row[0].strip("$") for row in TABLE])
def test_a_symbol_is_used_in_the_notebooks(symbol, in_notebooks):
    assert occurs(symbol, in_notebooks)


@pytest.mark.parametrize("name", re.findall(r"`(\w+)", "\n".join(row[3] for row in TABLE)))
def test_a_name_is_used_in_the_code(name, in_code):
    assert name in in_code


def test_what_is_not_used_would_be_noticed(in_notebooks, in_code):
    assert not occurs(r"\Omega", in_notebooks)
    assert not occurs(r"\top p", in_notebooks)
    assert not occurs("H", in_notebooks)
    assert "scale_trill" not in in_code


# But for pi, which is a number.
GREEK = re.compile(
    r"\\(?:var)?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho"
    r"|sigma|tau|upsilon|phi|chi|psi|omega)(?![a-z])",
    re.IGNORECASE,
)


def test_every_greek_letter_of_the_notebooks_stands_in_the_table():
    used = set(GREEK.findall(" ".join(formulas_of())))
    assert len(used) > 10
    assert used == set(GREEK.findall(" ".join(row[0] for row in TABLE)))


def places() -> list[tuple[str, str]]:
    """The letters that the table places in a notebook, each with the number of one."""
    found = []
    for symbol, meaning, *_ in TABLE:
        letter = symbol.strip("$").partition("_")[0]
        for first, second in re.findall(r"notebooks? (\d+)(?: and (\d+))?", meaning):
            found += [(letter, f"{int(number):02d}") for number in (first, second) if number]
    return found


def test_a_letter_is_used_in_the_notebooks_where_the_table_places_it():
    here = {number: formulas_of(number) for _, number in places()}
    assert len(places()) > 40
    assert [place for place in places() if not occurs(place[0], here[place[1]])] == []
    assert not occurs(r"\kappa", here["08"])


def test_no_symbol_stands_twice():
    symbols = [row[0] for row in TABLE]
    assert len(symbols) == len(set(symbols))


# What is built --------------------------------------------------------------------------------


def test_without_a_browser_there_are_pages_and_no_pdf(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "find_chromium", lambda: None)
    out = tmp_path / "not there yet"
    names = {path.relative_to(out).as_posix() for path in sheets.build(out)}
    assets = {"assets/mathjax/tex-svg.js", "assets/mathjax/LICENSE"}
    assert names == {"cheat_sheet.html", "notation.html", "recipe.html"} | assets
    assert all((out / name).stat().st_size for name in names)


def test_the_pages_ask_for_nothing_that_is_not_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "find_chromium", lambda: None)
    for page in sheets.build(tmp_path):
        if page.suffix == ".html":
            html = page.read_text(encoding="utf-8")
            addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"|url\(([^)]+)\)", html)
            assert addresses
            for address in filter(None, (part for pair in addresses for part in pair)):
                assert (tmp_path / address).is_file()
