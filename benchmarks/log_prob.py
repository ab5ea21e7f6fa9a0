"""The log-density of n = 1e5 samples in float32: alone, and the mean with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from benchmarks import peers
from benchmarks.peers import Entry
from benchmarks.problems import samples
from benchmarks.report import Row, Settings, timed
from benchmarks.timing import Contestant
from helpers import Gaussian, GaussianLikelihood, log_prob, maximum_likelihood, mean_log_prob

N = 100_000
DIMS = (8, 32, 128)
Gradient = tuple[Tensor, Tensor]
"""Of the mean negative log-likelihood with respect to loc (d,) and scale_tril (d, d)."""


def rows(settings: Settings) -> list[Row]:
    """Forward, then forward and backward, at each dimension."""
    found: list[Row] = []
    for d in (32,) if settings.quick else DIMS:
        data = samples(N, d, dtype=torch.float32)
        gaussian = away_from_the_optimum(data)
        for kind, entries in (("forward", forward), ("with backward", with_backward)):
            case = f"{kind}, d={d}"
            contestants = entries(data, gaussian)
            found += timed("log_prob", case, contestants, settings, error_is="relative error")
    return found


def away_from_the_optimum(data: Tensor) -> Gaussian:
    """A Gaussian near the data at which the gradient is not zero."""
    loc, scale_tril = maximum_likelihood(data)
    return Gaussian(loc + 0.1, 1.1 * scale_tril)


def forward(data: Tensor, gaussian: Gaussian) -> list[Entry]:
    """Contestants that return log p(x) of each sample, (n,)."""
    loc, scale_tril = gaussian
    exact = log_prob(data.double(), loc.double(), scale_tril.double())

    def error(answer: Any) -> float:
        answer = torch.as_tensor(answer).double()
        return ((answer - exact) / exact).abs().max().item()

    def contestant(name: str, work: Callable[[Any], Any]) -> Contestant:
        return Contestant(name, work, error=error)

    def from_covariance(_: Any) -> Tensor:
        return MultivariateNormal(loc, scale_tril @ scale_tril.mT).log_prob(data)

    def from_factor(_: Any) -> Tensor:
        normal = MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)
        return normal.log_prob(data)

    return [
        Entry(lambda: contestant("textbook", from_covariance)),
        Entry(lambda: contestant("helpers, log_prob", lambda _: log_prob(data, loc, scale_tril))),
        Entry(lambda: contestant("torch.distributions, scale_tril", from_factor)),
        *(
            Entry(lambda n=name, m=make: contestant(n, m(data, gaussian)), peer)
            for peer, name, make in (
                ("scikit-learn", "scikit-learn, GaussianMixture", peers.sklearn_log_prob),
                ("scipy", "scipy, multivariate_normal", peers.scipy_log_prob),
                ("GPyTorch", "GPyTorch, inv_quad_logdet", peers.gpytorch_log_prob),
                ("Pyro", "Pyro, MultivariateNormal", peers.pyro_log_prob),
                ("JAX", "JAX, inverse of the factor", peers.jax_log_prob),
                ("NumPyro", "NumPyro, MultivariateNormal", peers.numpyro_log_prob),
            )
        ),
    ]


def with_backward(data: Tensor, gaussian: Gaussian) -> list[Entry]:
    """Contestants that return the gradient of the mean negative log-likelihood."""
    exact = exact_gradient(data.double(), Gaussian(*(part.double() for part in gaussian)))
    size = max(part.abs().max() for part in exact)

    def error(answer: Gradient) -> float:
        pairs = zip(answer, exact, strict=True)
        worst = max(
            (got.double().tril() - part.tril()).abs().max()
            if part.dim() > 1
            else (got.double() - part).abs().max()
            for got, part in pairs
        )
        return (worst / size).item()

    def contestant(name: str, work: Callable[[Any], Gradient]) -> Contestant:
        return Contestant(name, work, error=error)

    def by_autograd(nll: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any], Gradient]:
        def work(_: Any) -> Gradient:
            parameters = [part.detach().requires_grad_() for part in gaussian]
            return torch.autograd.grad(nll(*parameters), parameters)

        return work

    def from_covariance(loc: Tensor, scale_tril: Tensor) -> Tensor:
        return -MultivariateNormal(loc, scale_tril @ scale_tril.mT).log_prob(data).mean()

    def from_factor(loc: Tensor, scale_tril: Tensor) -> Tensor:
        normal = MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)
        return -normal.log_prob(data).mean()

    def from_samples(loc: Tensor, scale_tril: Tensor) -> Tensor:
        return -log_prob(data, loc, scale_tril).mean()

    def from_statistics(loc: Tensor, scale_tril: Tensor) -> Tensor:
        return -mean_log_prob(data, loc, scale_tril)

    return [
        Entry(lambda: contestant("textbook", by_autograd(from_covariance))),
        Entry(lambda: contestant("helpers, mean_log_prob", by_autograd(from_statistics))),
        Entry(lambda: contestant("helpers, model", _model(data, gaussian))),
        Entry(lambda: contestant("helpers, log_prob", by_autograd(from_samples))),
        Entry(lambda: contestant("torch.distributions, scale_tril", by_autograd(from_factor))),
        Entry(
            lambda: contestant("GPyTorch, inv_quad_logdet", by_autograd(peers.gpytorch_nll(data))),
            "GPyTorch",
        ),
        Entry(
            lambda: contestant("Pyro, MultivariateNormal", by_autograd(peers.pyro_nll(data))),
            "Pyro",
        ),
        Entry(
            lambda: contestant("JAX, inverse of the factor", peers.jax_gradient(data, gaussian)),
            "JAX",
        ),
        Entry(
            lambda: contestant(
                "NumPyro, MultivariateNormal", peers.numpyro_gradient(data, gaussian)
            ),
            "NumPyro",
        ),
    ]


def exact_gradient(data: Tensor, gaussian: Gaussian) -> Gradient:
    r"""The gradient in closed form.

    .. math:: -\Sigma^{-1} (m - \mu), \qquad \mathrm{tril}(L^{-\top} - \Sigma^{-1} S L^{-\top})

    with m the sample mean and S the second moment about :math:`\mu`.
    """
    loc, scale_tril = gaussian
    centred = data - loc  # (n, d)
    moment = centred.mT @ centred / len(data)  # (d, d)
    inverse = torch.linalg.solve_triangular(
        scale_tril, torch.eye(len(loc), dtype=data.dtype), upper=False
    )
    precision = inverse.mT @ inverse
    by_factor = inverse.mT - precision @ moment @ inverse.mT
    return -precision @ centred.mean(dim=0), by_factor.tril()


def _model(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Gradient]:
    """The model's own loss; its log-Cholesky gradient is carried over to the factor."""
    d = len(gaussian.loc)
    model = GaussianLikelihood(d, dtype=data.dtype)
    model.assign(*gaussian)
    below = torch.tril_indices(d, d, offset=-1)

    def work(_: Any) -> Gradient:
        model.zero_grad()
        model(data).backward()
        by_factor = torch.diag(model.scale.log_diagonal.grad / gaussian.scale_tril.diagonal())
        by_factor[below[0], below[1]] = model.scale.below_diagonal.grad
        return model.loc.grad, by_factor

    return work
