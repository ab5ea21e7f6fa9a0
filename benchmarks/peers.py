"""Other libraries: each imported when it is timed, and named in the report where it is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.timing import Contestant
from helpers import Gaussian

MODULES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "GPyTorch": "gpytorch",
    "Pyro": "pyro",
    "JAX": "jax",
    "NumPyro": "numpyro",
    "dask": "dask",
    "distributed": "distributed",
}
DISTRIBUTIONS = {"GPyTorch": "gpytorch", "Pyro": "pyro-ppl", "JAX": "jax", "NumPyro": "numpyro"}
LEARNING_RATE = 0.01
LOG_2PI = math.log(2 * math.pi)
STEPS_TIMED = 20


class Entry(NamedTuple):
    """How to make a contestant, and the library that it needs, if any."""

    make: Callable[[], Contestant]
    peer: str | None = None


def find_module(name: str) -> Any:
    """The spec of a module, or None if it is missing; a mere folder of that name is none."""
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else spec


def gather(
    entries: Iterable[Entry], *, find: Callable[[str], Any] = find_module
) -> tuple[list[Contestant], list[str]]:
    """The contestants whose libraries are here, and the names of the libraries that are not.

    Parameters
    ----------
    entries : iterable of Entry
    find : function
        From the name of a module to something, or None where it is missing.

    Returns
    -------
    list of Contestant
        Made, so that their libraries are imported.
    list of str
        Peers that were skipped, each once.
    """
    found, missing = [], []
    for entry in entries:
        if entry.peer is None or find(MODULES[entry.peer]) is not None:
            found.append(entry.make())
        elif entry.peer not in missing:
            missing.append(entry.peer)
    return found, missing


def versions() -> dict[str, str]:
    """Version of each peer that is installed."""
    return {
        peer: metadata.version(DISTRIBUTIONS.get(peer, peer))
        for peer, module in MODULES.items()
        if find_module(module) is not None
    }


def jax() -> Any:
    """JAX with float64 switched on; without it every array would come out in float32."""
    module = import_module("jax")
    module.config.update("jax_enable_x64", True)
    return module


# One Gaussian -----------------------------------------------------------------------------------


def sklearn_covariance(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """`EmpiricalCovariance().fit`, which also computes the precision."""
    covariance = import_module("sklearn.covariance")
    array = data.numpy()

    def work(_: Any) -> tuple[Tensor, Tensor]:
        fitted = covariance.EmpiricalCovariance().fit(array)
        return torch.from_numpy(fitted.location_), torch.from_numpy(fitted.covariance_)

    return work


def numpy_fit(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """Mean, covariance and Cholesky factor."""
    np = import_module("numpy")
    array = data.numpy()

    def work(_: Any) -> tuple[Tensor, Tensor]:
        factor = np.linalg.cholesky(np.cov(array, rowvar=False, bias=True))
        return torch.from_numpy(array.mean(axis=0)), torch.from_numpy(factor)

    return work


def scipy_fit(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """`multivariate_normal.fit`."""
    stats = import_module("scipy.stats")
    array = data.numpy()

    def work(_: Any) -> tuple[Tensor, Tensor]:
        loc, covariance = stats.multivariate_normal.fit(array)
        return torch.from_numpy(loc), torch.from_numpy(covariance)

    return work


def numpy_batched(data: Tensor) -> Callable[[Any], tuple[Any, Any]]:
    """Means, covariances and Cholesky factors of a batch (B, n, d)."""
    np = import_module("numpy")
    array = data.numpy()

    def work(_: Any) -> tuple[Any, Any]:
        loc = array.mean(axis=-2)
        centred = array - loc[..., None, :]
        scatter = np.swapaxes(centred, -1, -2) @ centred
        return loc, np.linalg.cholesky(scatter / array.shape[-2])

    return work


def jax_fit(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """Mean, covariance and Cholesky factor, compiled; batches too."""
    xla = jax()
    jnp = xla.numpy

    @xla.jit
    def closed_form(x: Any) -> tuple[Any, Any]:
        loc = x.mean(axis=-2)
        centred = x - loc[..., None, :]
        scatter = jnp.swapaxes(centred, -1, -2) @ centred
        return loc, jnp.linalg.cholesky(scatter / x.shape[-2])

    array = jnp.asarray(data.numpy())

    def work(_: Any) -> tuple[Any, Any]:
        return xla.block_until_ready(closed_form(array))

    return work


def from_jax(array: Any) -> Tensor:
    """A copy as a tensor."""
    return torch.from_numpy(import_module("numpy").array(array))


def gpytorch_steps(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """Some steps of Adam from the standard normal, through GPyTorch's linear operators."""
    to_linear_operator = import_module("linear_operator").to_linear_operator
    n, d = data.shape

    def work(_: Any) -> tuple[Tensor, Tensor]:
        loc = torch.zeros(d, dtype=data.dtype, requires_grad=True)
        lower = torch.zeros(d, d, dtype=data.dtype, requires_grad=True)
        optimizer = torch.optim.Adam([loc, lower], lr=LEARNING_RATE)
        for _step in range(STEPS_TIMED):
            optimizer.zero_grad()
            scale_tril = lower.tril(-1) + lower.diagonal().exp().diag_embed()
            covariance = to_linear_operator(scale_tril @ scale_tril.mT)
            inv_quad, log_det = covariance.inv_quad_logdet((data - loc).mT, logdet=True)
            loss = 0.5 * (inv_quad / n + log_det)
            loss.backward()
            optimizer.step()
        return loc.detach(), (lower.tril(-1) + lower.diagonal().exp().diag_embed()).detach()

    return work


def pyro_steps(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """Some steps of Pyro's SVI with Adam; parameters are points, so the guide is empty."""
    pyro = import_module("pyro")
    infer = import_module("pyro.infer")
    distributions = import_module("pyro.distributions")
    d = data.shape[-1]
    positive = distributions.constraints.lower_cholesky

    def model() -> None:
        loc = pyro.param("loc", lambda: torch.zeros(d, dtype=data.dtype))
        scale_tril = pyro.param("L", lambda: torch.eye(d, dtype=data.dtype), constraint=positive)
        with pyro.plate("n", len(data)):
            pyro.sample("x", distributions.MultivariateNormal(loc, scale_tril=scale_tril), obs=data)

    def work(_: Any) -> tuple[Tensor, Tensor]:
        pyro.clear_param_store()
        adam = pyro.optim.Adam({"lr": LEARNING_RATE})
        svi = infer.SVI(model, lambda: None, adam, infer.Trace_ELBO())
        for _step in range(STEPS_TIMED):
            svi.step()
        return pyro.param("loc").detach(), pyro.param("L").detach()

    return work


def numpyro_steps(data: Tensor) -> Callable[[Any], tuple[Tensor, Tensor]]:
    """Some compiled steps of NumPyro's SVI with Adam."""
    xla = jax()
    numpyro = import_module("numpyro")
    infer = import_module("numpyro.infer")
    distributions = import_module("numpyro.distributions")
    array = xla.numpy.asarray(data.numpy())
    d = data.shape[-1]
    positive = distributions.constraints.lower_cholesky

    def model() -> None:
        loc = numpyro.param("loc", xla.numpy.zeros(d))
        scale_tril = numpyro.param("L", xla.numpy.eye(d), constraint=positive)
        with numpyro.plate("n", len(array)):
            normal = distributions.MultivariateNormal(loc, scale_tril=scale_tril)
            numpyro.sample("x", normal, obs=array)

    adam = numpyro.optim.Adam(LEARNING_RATE)
    svi = infer.SVI(model, lambda: None, adam, infer.Trace_ELBO())
    start = svi.init(xla.random.PRNGKey(0))
    update = xla.jit(lambda state: svi.update(state)[0])

    def work(_: Any) -> tuple[Tensor, Tensor]:
        state = start
        for _step in range(STEPS_TIMED):
            state = update(state)
        parameters = svi.get_params(state)
        return from_jax(parameters["loc"]), from_jax(parameters["L"])

    return work


# The log-density of samples ---------------------------------------------------------------------


def sklearn_log_prob(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Any]:
    """`GaussianMixture.score_samples` of a mixture with one component."""
    np = import_module("numpy")
    mixture = import_module("sklearn.mixture").GaussianMixture(1)
    identity = torch.eye(data.shape[-1], dtype=data.dtype)
    inverse = torch.linalg.solve_triangular(gaussian.scale_tril, identity, upper=False)
    mixture.weights_ = np.ones(1, dtype=data.numpy().dtype)
    mixture.means_ = gaussian.loc[None].numpy()
    mixture.precisions_cholesky_ = inverse.mT[None].numpy().copy()
    mixture.covariances_ = gaussian.covariance_matrix[None].numpy()
    array = data.numpy()
    return lambda _: mixture.score_samples(array)


def scipy_log_prob(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Any]:
    """`multivariate_normal.logpdf`, which computes in float64."""
    stats = import_module("scipy.stats")
    loc, covariance = gaussian.loc.numpy(), gaussian.covariance_matrix.numpy()
    array = data.numpy()
    return lambda _: stats.multivariate_normal.logpdf(array, loc, covariance)


def gpytorch_log_prob(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Tensor]:
    """As GPyTorch computes it, but with all samples as right-hand sides of one matrix.

    Its `MultivariateNormal.log_prob` repeats the covariance for each sample.
    """
    to_linear_operator = import_module("linear_operator").to_linear_operator
    loc, scale_tril = gaussian

    def work(_: Any) -> Tensor:
        covariance = to_linear_operator(scale_tril @ scale_tril.mT)
        distance, log_det = covariance.inv_quad_logdet(
            (data - loc).mT, logdet=True, reduce_inv_quad=False
        )
        return -0.5 * (len(loc) * LOG_2PI + log_det + distance)

    return work


def gpytorch_nll(data: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean negative log-likelihood of loc and scale_tril."""
    to_linear_operator = import_module("linear_operator").to_linear_operator

    def nll(loc: Tensor, scale_tril: Tensor) -> Tensor:
        covariance = to_linear_operator(scale_tril @ scale_tril.mT)
        distance, log_det = covariance.inv_quad_logdet((data - loc).mT, logdet=True)
        return 0.5 * (len(loc) * LOG_2PI + log_det + distance / len(data))

    return nll


def pyro_log_prob(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Tensor]:
    """Pyro's MultivariateNormal."""
    distributions = import_module("pyro.distributions")
    loc, scale_tril = gaussian
    return lambda _: distributions.MultivariateNormal(loc, scale_tril=scale_tril).log_prob(data)


def pyro_nll(data: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean negative log-likelihood of loc and scale_tril."""
    distributions = import_module("pyro.distributions")

    def nll(loc: Tensor, scale_tril: Tensor) -> Tensor:
        normal = distributions.MultivariateNormal(loc, scale_tril=scale_tril)
        return -normal.log_prob(data).mean()

    return nll


def jax_log_prob(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Any]:
    """Compiled, with the inverse of the factor."""
    return _compiled(_jax_formula(), data, gaussian)


def jax_gradient(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Any]:
    """Its gradient, compiled."""
    return _compiled_gradient(_jax_formula(), data, gaussian)


def numpyro_log_prob(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Any]:
    """NumPyro's MultivariateNormal, compiled."""
    return _compiled(_numpyro_formula(), data, gaussian)


def numpyro_gradient(data: Tensor, gaussian: Gaussian) -> Callable[[Any], Any]:
    """Its gradient, compiled."""
    return _compiled_gradient(_numpyro_formula(), data, gaussian)


def _jax_formula() -> Callable[[Any, Any, Any], Any]:
    xla = jax()
    jnp = xla.numpy

    def formula(x: Any, loc: Any, scale_tril: Any) -> Any:
        identity = jnp.eye(len(loc), dtype=x.dtype)
        inverse = xla.scipy.linalg.solve_triangular(scale_tril, identity, lower=True)
        distance = jnp.square((x - loc) @ inverse.T).sum(axis=-1)
        log_det = 2 * jnp.log(jnp.diagonal(scale_tril)).sum()
        return -0.5 * (len(loc) * LOG_2PI + log_det + distance)

    return formula


def _numpyro_formula() -> Callable[[Any, Any, Any], Any]:
    distributions = import_module("numpyro.distributions")

    def formula(x: Any, loc: Any, scale_tril: Any) -> Any:
        return distributions.MultivariateNormal(loc, scale_tril=scale_tril).log_prob(x)

    return formula


def _compiled(
    formula: Callable[[Any, Any, Any], Any], data: Tensor, gaussian: Gaussian
) -> Callable[[Any], Any]:
    xla = jax()
    x, loc, scale_tril = (xla.numpy.asarray(part.numpy()) for part in (data, *gaussian))
    compiled = xla.jit(formula)
    np = import_module("numpy")
    return lambda _: np.asarray(compiled(x, loc, scale_tril))


def _compiled_gradient(
    formula: Callable[[Any, Any, Any], Any], data: Tensor, gaussian: Gaussian
) -> Callable[[Any], Any]:
    xla = jax()
    x, loc, scale_tril = (xla.numpy.asarray(part.numpy()) for part in (data, *gaussian))
    gradient = xla.jit(xla.grad(lambda x, m, L: -formula(x, m, L).mean(), argnums=(1, 2)))

    def work(_: Any) -> Any:
        by_loc, by_factor = gradient(x, loc, scale_tril)
        return from_jax(by_loc), from_jax(by_factor)

    return work


# The pass over the data -------------------------------------------------------------------------


def numpy_covariance(data: Tensor) -> Callable[[Any], Any]:
    """`numpy.cov`."""
    np = import_module("numpy")
    array = data.numpy()
    return lambda _: np.cov(array, rowvar=False, bias=True)


def sklearn_empirical(data: Tensor) -> Callable[[Any], Any]:
    """`EmpiricalCovariance().fit` without the precision."""
    covariance = import_module("sklearn.covariance")
    array = data.numpy()
    return lambda _: covariance.EmpiricalCovariance(store_precision=False).fit(array).covariance_


def jax_covariance(data: Tensor) -> Callable[[Any], Any]:
    """`jax.numpy.cov`, compiled."""
    xla = jax()
    np = import_module("numpy")
    array = xla.numpy.asarray(data.numpy())
    compiled = xla.jit(lambda x: xla.numpy.cov(x, rowvar=False, bias=True))
    return lambda _: np.asarray(compiled(array))
