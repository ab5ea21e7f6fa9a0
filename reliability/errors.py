r"""How far rounding takes each function from the exact answer, as the condition grows.

``python -m reliability errors`` asks every function the same questions in float32 and in float64,
with conditions from 1 to 1e12, and holds the answers against arithmetic with 60 digits. What is
allowed is a formula with a reason, and ``tests/test_properties_errors.py`` allows just that.

In the formulas, eps is the distance from 1 to the next number of the dtype, d the number of
variables, n that of samples, kappa the condition number of the factor L (the covariance has its
square), sigma_i a standard deviation. They are of first order: they hold where the part with kappa
is below 1/10, and promise nothing beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

import helpers
from helpers import Gaussian, SufficientStatistics
from reliability import records
from reliability.exact import (
    FACTORS,
    Exact,
    cholesky,
    exactly,
    logarithm,
    mp,
    norm,
    solve_lower,
    to_float,
)

FIRST_ORDER = 0.1  # where the part with the condition is larger, squares of errors count too
LARGEST_ACCEPTED = 0.25  # relative error of an estimate that is not refused: 0.07 was seen
CONDITIONS = [10.0**k for k in range(0, 13, 2)]
DIMS = (1, 2, 3, 5, 8)
DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Problem:
    """One question to all functions: two Gaussians, and samples of a known covariance.

    Attributes
    ----------
    dim : int
    condition : float
        Of the factor.
    seed : int
    dtype : torch.dtype
    kind : str
        Where the condition comes from, a key of `FACTORS`.
    """

    dim: int
    condition: float
    seed: int
    dtype: torch.dtype
    kind: str = "rotated"

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number."""
        return torch.finfo(self.dtype).eps

    @cached_property
    def scale_tril(self) -> Tensor:
        """L, (d, d)."""
        return FACTORS[self.kind](self.dim, self.condition, self.seed, self.dtype)

    @cached_property
    def kappa(self) -> float:
        """Condition number of L as it was rounded."""
        return float(np.linalg.cond(self.scale_tril.double().numpy()))

    def normal(self, *shape: int, number: int) -> Tensor:
        """Standard normal numbers, others for another `number`."""
        rng = np.random.default_rng([self.seed, number])
        return torch.as_tensor(rng.standard_normal(shape), dtype=self.dtype)

    @cached_property
    def loc(self) -> Tensor:
        """A mean, (d,)."""
        return self.normal(self.dim, number=0)

    @cached_property
    def value(self) -> Tensor:
        """Points, (d + 2, d): half of them as far off as the Gaussian's own samples, half farther.

        More than d of them, so that they are multiplied by an inverse; see `few`.
        """
        wide = self.normal(self.dim + 2, self.dim, number=1)
        near = wide @ self.scale_tril.mT
        return torch.where(torch.arange(self.dim + 2)[:, None] % 2 == 0, near, wide) + self.loc

    @property
    def few(self) -> Tensor:
        """As many points as are solved for one by one, (1, d)."""
        return self.value[-1:]

    @cached_property
    def near(self) -> Tensor:
        """A factor that a well-conditioned turn takes away from L, (d, d)."""
        turn = torch.eye(self.dim) + 0.3 * self.normal(self.dim, self.dim, number=2).tril(-1)
        return self.scale_tril @ turn.to(self.dtype)

    @cached_property
    def covariance(self) -> Tensor:
        """A covariance near that of L, (d, d), symmetric to the bit."""
        product = self.near.double() @ self.near.double().mT
        return product.to(self.dtype)

    @cached_property
    def data(self) -> Tensor:
        """Samples (n, d) whose own covariance is that of L, up to rounding."""
        n = 4 * self.dim + 8
        raw = self.normal(n, self.dim, number=3).double()
        white = torch.linalg.qr(raw - raw.mean(dim=0)).Q * n**0.5
        return (white @ self.scale_tril.double().mT + self.loc.double()).to(self.dtype)

    @property
    def substitution(self) -> float:
        """Relative error of L^-1 x: 2 d^2 eps kappa."""
        return 2 * self.dim**2 * self.eps * self.kappa


@dataclass(frozen=True)
class Outcome:
    """What came out beside what is allowed; the arrays have one shape.

    Attributes
    ----------
    error, bound : ndarray
    first_order : float
        The part of the bound with the condition, relative; nothing is promised if it is large.
    """

    error: np.ndarray
    bound: np.ndarray
    first_order: float

    @property
    def promised(self) -> bool:
        """Whether the formula holds here."""
        return self.first_order <= FIRST_ORDER

    @property
    def finite(self) -> bool:
        """Whether no NaN and no infinity came out."""
        return bool(np.isfinite(self.error).all())

    @property
    def worst(self) -> tuple[float, float, float]:
        """Error, bound and their ratio, where that is largest."""
        ratio = np.where(self.error == 0, 0.0, self.error / np.maximum(self.bound, 1e-300))
        index = np.unravel_index(np.argmax(ratio), ratio.shape)
        return float(self.error[index]), float(self.bound[index]), float(ratio[index])


@dataclass(frozen=True)
class Case:
    """A function with its bound.

    Attributes
    ----------
    name, formula, reason : str
    measure : callable
        From a `Problem` to an `Outcome`.
    of_covariance : bool
        Whether the function meets the covariance, whose condition is the square of the factor's.
    """

    name: str
    formula: str
    reason: str
    measure: Callable[[Problem], Outcome]
    of_covariance: bool = False


CASES: list[Case] = []


def case(
    name: str, formula: str, reason: str, *, of_covariance: bool = False
) -> Callable[[Callable[[Problem], Outcome]], Callable[[Problem], Outcome]]:
    """Enter a measurement in the list of cases."""

    def enter(measure: Callable[[Problem], Outcome]) -> Callable[[Problem], Outcome]:
        CASES.append(Case(name, formula, reason, measure, of_covariance))
        return measure

    return enter


def compare(ours: Tensor, exact: Any, bound: Any, first_order: float = 0.0) -> Outcome:
    """An outcome from our answer, the exact one and the bound, which may be one number for all."""
    if not bool(torch.isfinite(ours).all()):
        error = np.full(tuple(ours.shape), np.nan)
    else:
        error = to_float(np.abs(exactly(ours) - exact))
    error = np.atleast_1d(error)
    return Outcome(error, np.broadcast_to(to_float(bound), error.shape), first_order)


def _logs(problem: Problem) -> Exact:
    """2 log L_ii, (d,)."""
    return 2 * logarithm(np.diagonal(exactly(problem.scale_tril)))


def _constant(dim: int) -> Any:
    return dim * mp.log(2 * mp.pi)


def _distances(problem: Problem, value: Tensor) -> Exact:
    """Squared Mahalanobis distances, (n,)."""
    centred = (exactly(value) - exactly(problem.loc)).T
    whitened = solve_lower(exactly(problem.scale_tril), centred)
    return (whitened * whitened).sum(axis=0)


@case(
    "log_det",
    "(1 + d/2) eps sum |2 log L_ii|",
    "each logarithm is right to its last place, and each addition rounds once",
)
def _log_det(problem: Problem) -> Outcome:
    logs = _logs(problem)
    bound = (1 + problem.dim / 2) * problem.eps * np.abs(logs).sum()
    return compare(helpers.log_det(problem.scale_tril), logs.sum(), bound)


@case(
    "entropy",
    "(2 + d/2) eps (d log 2 pi + sum |2 log L_ii| + d) / 2",
    "as log_det, and two more additions",
)
def _entropy(problem: Problem) -> Outcome:
    d, logs = problem.dim, _logs(problem)
    size = (_constant(d) + np.abs(logs).sum() + d) / 2
    exact = (_constant(d) + logs.sum() + d) / 2
    return compare(helpers.entropy(problem.scale_tril), exact, (2 + d / 2) * problem.eps * size)


def _compare_distances(problem: Problem, value: Tensor) -> Outcome:
    ours = helpers.mahalanobis(value, problem.loc, problem.scale_tril)
    exact, relative = _distances(problem, value), problem.substitution
    return compare(ours, exact, 2 * relative * exact, relative)


@case(
    "mahalanobis, n > d",
    "4 d^2 eps kappa q",
    "L^-1 by solving X L = I leaves |X L - I| <= d eps/2 |X| |L| (Higham, section 14.2); the "
    "product and x - mu round once more, the square doubles it",
)
def _mahalanobis(problem: Problem) -> Outcome:
    return _compare_distances(problem, problem.value)


@case(
    "mahalanobis, n <= d",
    "4 d^2 eps kappa q",
    "forward substitution solves a system whose factor is off by d eps/2 |L| (Higham, theorem "
    "8.5); x - mu rounds once more, the square doubles it",
)
def _mahalanobis_of_few(problem: Problem) -> Outcome:
    return _compare_distances(problem, problem.few)


def _densities(problem: Problem) -> tuple[Exact, Exact]:
    """Log-densities of the values, (n,), and what they may be off by."""
    logs, distances = _logs(problem), _distances(problem, problem.value)
    exact = -(_constant(problem.dim) + logs.sum() + distances) / 2
    size = (_constant(problem.dim) + np.abs(logs).sum() + distances) / 2
    bound = problem.substitution * distances + (problem.dim + 3) * problem.eps * size
    return exact, bound


@case(
    "log_prob",
    "2 d^2 eps kappa q + (d + 3) eps (d log 2 pi + sum |2 log L_ii| + q) / 2",
    "half of mahalanobis and of log_det, and two more additions",
)
def _log_prob(problem: Problem) -> Outcome:
    exact, bound = _densities(problem)
    ours = helpers.log_prob(problem.value, problem.loc, problem.scale_tril)
    return compare(ours, exact, bound, problem.substitution)


@case(
    "mean_log_prob of samples",
    "mean of the bounds of log_prob, and sqrt(n) eps times the mean of |log p|",
    "the roundings of a sum of n terms walk at random",
)
def _mean_log_prob(problem: Problem) -> Outcome:
    exact, bound = _densities(problem)
    allowed = bound.mean() + len(exact) ** 0.5 * problem.eps * np.abs(exact).mean()
    ours = helpers.mean_log_prob(problem.value, problem.loc, problem.scale_tril)
    return compare(ours, exact.mean(), allowed, problem.substitution)


@case(
    "kl_divergence",
    "2 d^2 eps kappa_q (|W|^2 + |s|^2) + (d + 2) eps (d + sum |log W_ii|)",
    "W = L_q^-1 L_p and s = L_q^-1 (mu_p - mu_q) by forward substitution (Higham, theorem 8.5); "
    "each W_ii is one quotient",
)
def _kl_divergence(problem: Problem) -> Outcome:
    d, q = problem.dim, Gaussian(problem.loc, problem.scale_tril)
    p = Gaussian(problem.value[0], problem.near)
    w = solve_lower(exactly(q.scale_tril), exactly(p.scale_tril))
    s = solve_lower(exactly(q.scale_tril), (exactly(p.loc) - exactly(q.loc))[:, None])
    squares, logs = (w * w).sum() + (s * s).sum(), logarithm(np.diagonal(w))
    exact = (squares - d) / 2 - logs.sum()
    rest = (d + 2) * problem.eps * (d + np.abs(logs).sum())
    bound = problem.substitution * squares + rest
    return compare(helpers.kl_divergence(p, q), exact, bound, problem.substitution)


def _product(factor: Exact) -> Exact:
    return factor @ factor.T


def _kept(problem: Problem) -> list[int]:
    """Some variables, in an order that is not theirs."""
    order = np.random.default_rng([problem.seed, 9]).permutation(problem.dim)
    return order[: max(1, problem.dim // 2)].tolist()


def _deviations(covariance: Exact) -> np.ndarray:
    return to_float(np.diagonal(covariance)) ** 0.5


@case(
    "marginal",
    "d^2 eps sigma_i sigma_j, in the covariance",
    "a QR factorisation moves each row of L by d^2 eps of its length (Higham, theorem 19.4), "
    "whatever the condition",
)
def _marginal(problem: Problem) -> Outcome:
    kept, gaussian = _kept(problem), Gaussian(problem.loc, problem.scale_tril)
    ours = helpers.marginal(gaussian, kept)
    exact = _product(exactly(problem.scale_tril)[kept])
    sigma = _deviations(exact)
    error = to_float(np.abs(_product(exactly(ours.scale_tril)) - exact))
    return Outcome(error, problem.dim**2 * problem.eps * np.outer(sigma, sigma), 0.0)


def _conditional(
    problem: Problem, known: list[int], value: Tensor
) -> tuple[Exact, Exact, np.ndarray, float]:
    """Exact mean and covariance of the rest, its deviations before, and |A^-1 (x - mu)|."""
    rest = [i for i in range(problem.dim) if i not in known]
    factor, loc = exactly(problem.scale_tril), exactly(problem.loc)
    joint = cholesky(_product(factor[known + rest]))
    k = len(known)
    whitened = solve_lower(joint[:k, :k], (exactly(value) - loc[known])[:, None])
    mean = loc[rest] + (joint[k:, :k] @ whitened)[:, 0]
    sigma = _deviations(_product(factor[rest]))
    return mean, _product(joint[k:, k:]), sigma, float(norm(whitened))


@case(
    "condition, mean",
    "2 d^2 eps kappa sigma_i |A^-1 (x - mu)| + eps |mean|",
    "as marginal, with the rotation of the known variables off by d^2 eps kappa",
)
def _condition_mean(problem: Problem) -> Outcome:
    if problem.dim == 1:
        return Outcome(np.zeros(1), np.ones(1), 0.0)  # nothing is left
    known, value = _kept(problem), problem.value[0]
    value = value[known]
    ours = helpers.condition(Gaussian(problem.loc, problem.scale_tril), known, value)
    mean, _, sigma, length = _conditional(problem, known, value)
    bound = problem.substitution * sigma * length + problem.eps * np.abs(to_float(mean))
    return compare(ours.loc, mean, bound, problem.substitution)


@case(
    "condition, covariance",
    "t (sigma_i c_j + sigma_j c_i) + t^2 sigma_i sigma_j, where t = 2 d^2 eps kappa and c_i is the "
    "standard deviation that is left",
    "as condition, mean: each row of the factor that is left moves by t sigma_i",
)
def _condition_covariance(problem: Problem) -> Outcome:
    if problem.dim == 1:
        return Outcome(np.zeros(1), np.ones(1), 0.0)  # nothing is left
    known, value = _kept(problem), problem.value[0]
    value = value[known]
    ours = helpers.condition(Gaussian(problem.loc, problem.scale_tril), known, value)
    _, exact, sigma, _ = _conditional(problem, known, value)
    left, t = _deviations(exact), problem.substitution
    cross = np.outer(sigma, left)
    bound = t * (cross + cross.T) + t**2 * np.outer(sigma, sigma)
    error = to_float(np.abs(_product(exactly(ours.scale_tril)) - exact))
    return Outcome(error, bound, problem.substitution)


@case(
    "log_cholesky, there and back",
    "(2 + |log L_ii|) eps L_ii on the diagonal, 0 below",
    "a logarithm and an exponential, right to the last place",
)
def _log_cholesky(problem: Problem) -> Outcome:
    ours = helpers.log_cholesky(*helpers.log_cholesky_inverse(problem.scale_tril))
    pivot = problem.scale_tril.diagonal().double().numpy()
    bound = np.diag((2 + np.abs(np.log(pivot))) * problem.eps * pivot)
    return compare(ours, exactly(problem.scale_tril), bound)


def _whitened(problem: Problem) -> tuple[Exact, float, float]:
    """Exact A = L^-1 S L^-T, what it may be off by, and that part relative to kappa only."""
    factor = exactly(problem.scale_tril)
    exact = solve_lower(factor, solve_lower(factor, exactly(problem.covariance)).T)
    relative = problem.dim**2 * problem.eps * problem.kappa**2
    return exact, relative * float(norm(exact)), relative


@case(
    "whiten",
    "d^2 eps kappa^2 |A|",
    "two systems by forward substitution (Higham, theorem 8.5), and the error of the first goes "
    "through the second",
    of_covariance=True,
)
def _whiten(problem: Problem) -> Outcome:
    exact, bound, relative = _whitened(problem)
    return compare(helpers.whiten(problem.covariance, problem.scale_tril), exact, bound, relative)


def _turn(whitened: Exact) -> Exact:
    """tril(A diag(A)^(-1/2)), (d, d)."""
    scale = np.array([mp.sqrt(a) for a in np.diagonal(whitened)], dtype=object)
    return np.tril(whitened / scale)


@case(
    "natural_turn",
    "2 eps T_ij",
    "a root and a quotient",
    of_covariance=True,
)
def _natural_turn(problem: Problem) -> Outcome:
    whitened = (torch.eye(problem.dim) + _product_of_near(problem)).to(problem.dtype)
    exact = _turn(exactly(whitened))
    return compare(helpers.natural_turn(whitened), exact, 2 * problem.eps * np.abs(exact))


def _product_of_near(problem: Problem) -> Tensor:
    return problem.near @ problem.near.mT


@case(
    "natural_step",
    "|L| E + d eps |L| |T|, where E_ij = e (A_jj^(-1/2) + |A_ij| A_jj^(-3/2)), e = bound of whiten",
    "the derivative of T with respect to A, and one product",
    of_covariance=True,
)
def _natural_step(problem: Problem) -> Outcome:
    ours = helpers.natural_step(problem.scale_tril, problem.covariance)
    exact, error, relative = _whitened(problem)
    if min(np.diagonal(exact)) <= 0:  # rounded to its dtype, S is no covariance any more
        return compare(ours, exactly(ours), 0.0, np.inf)
    turn, scale = _turn(exact), to_float(np.diagonal(exact)) ** 0.5
    spread = np.tril(error * (1 / scale + np.abs(to_float(exact)) / scale**3))
    factor = np.abs(problem.scale_tril.double().numpy())
    bound = factor @ spread + problem.dim * problem.eps * factor @ np.abs(to_float(turn))
    return compare(ours, exactly(problem.scale_tril) @ turn, bound, relative)


def _moments(data: Tensor) -> tuple[Exact, Exact]:
    """Exact mean, (d,), and scatter, (d, d), of samples."""
    samples = exactly(data)
    mean = samples.sum(axis=0) / len(samples)
    centred = samples - mean
    return mean, centred.T @ centred


def _mean_bound(problem: Problem, mean: Exact, scatter: Exact) -> np.ndarray:
    n = len(problem.data)
    return problem.eps * (np.abs(to_float(mean)) + n**0.5 * _deviations(scatter / n))


@case(
    "SufficientStatistics.from_data, mean",
    "eps (|m_i| + sqrt(n) sigma_i)",
    "centred samples round once each, the roundings of their sum walk at random, and the mean "
    "itself rounds once",
    of_covariance=True,
)
def _from_data_mean(problem: Problem) -> Outcome:
    mean, scatter = _moments(problem.data)
    ours = SufficientStatistics.from_data(problem.data)
    return compare(ours.mean, mean, _mean_bound(problem, mean, scatter))


def _share(problem: Problem) -> float:
    """How much a covariance entry may be off by, in units of sigma_i sigma_j."""
    return (4 + len(problem.data) / 2) * problem.eps


@case(
    "SufficientStatistics.from_data, scatter",
    "(4 + n/2) eps sqrt(C_ii C_jj)",
    "centred samples round once each, a sum of n products is off by n eps/2 (Higham, section 3.1); "
    "more than 4,096 are summed in blocks and do better",
    of_covariance=True,
)
def _from_data_scatter(problem: Problem) -> Outcome:
    _, scatter = _moments(problem.data)
    sigma = _deviations(scatter)
    bound = _share(problem) * np.outer(sigma, sigma)
    return compare(SufficientStatistics.from_data(problem.data).scatter, scatter, bound)


@case(
    "SufficientStatistics.merge, scatter",
    "2 (4 + n/2) eps sqrt(C_ii C_jj) + w (e_i |D_j| + e_j |D_i| + e_i e_j), where D is the "
    "difference of the means, e_i = 2 eps (|m_i| + sqrt(n) sigma_i) and w = n_a n_b / n",
    "the parts as from_data, and their means were rounded: far from zero that is what counts",
    of_covariance=True,
)
def _merge(problem: Problem) -> Outcome:
    mean, scatter = _moments(problem.data)
    sigma = _deviations(scatter)
    parts = problem.data.tensor_split([len(problem.data) // 3])
    (n_a, n_b), means = map(len, parts), [_moments(part)[0] for part in parts]
    apart = np.abs(to_float(means[1] - means[0]))
    rounded = 2 * _mean_bound(problem, mean, scatter)
    cross = np.outer(rounded, apart)
    between = cross + cross.T + np.outer(rounded, rounded)
    bound = 2 * _share(problem) * np.outer(sigma, sigma) + n_a * n_b / (n_a + n_b) * between
    first, second = map(SufficientStatistics.from_data, parts)
    return compare(first.merge(second).scatter, scatter, bound)


@case(
    "mean_log_prob of statistics",
    "2 d^2 eps kappa^2 sqrt(d) |A| / 2 + (d + 3) eps (d log 2 pi + sum |2 log L_ii| + tr A) / 2",
    "the trace of what whiten gives, of a second moment that rounds twice",
    of_covariance=True,
)
def _mean_log_prob_of_statistics(problem: Problem) -> Outcome:
    d = problem.dim
    statistics = SufficientStatistics.from_data(problem.data)
    n = int(statistics.count)
    delta = exactly(statistics.mean) - exactly(problem.loc)
    moment = exactly(statistics.scatter) / n + np.outer(delta, delta)
    factor = exactly(problem.scale_tril)
    whitened = solve_lower(factor, solve_lower(factor, moment).T)
    logs, trace = _logs(problem), np.trace(whitened)
    relative = d**2 * problem.eps * problem.kappa**2
    size = (_constant(d) + np.abs(logs).sum() + trace) / 2
    bound = relative * d**0.5 * norm(whitened) + (d + 3) * problem.eps * size
    exact = -(_constant(d) + logs.sum() + trace) / 2
    ours = helpers.mean_log_prob(statistics, problem.loc, problem.scale_tril)
    return compare(ours, exact, bound, relative)


def correlation_condition(scatter: Exact) -> float:
    """Condition number of the correlation matrix: what units cannot change."""
    sigma = np.array([mp.sqrt(c) for c in np.diagonal(scatter)], dtype=object)
    unit = scatter / np.outer(sigma, sigma)
    values = [abs(v) for v in mp.eigsy(mp.matrix(unit.tolist()), eigvals_only=True)]
    return float(max(values) / min(values))


def _whitened_error(problem: Problem, scatter: Exact) -> float:
    """|L^-1 (error of the covariance) L^-T| allowed for an estimate."""
    d = problem.dim
    relative = d * (d * problem.eps + _share(problem)) * correlation_condition(scatter)
    return min(relative, LARGEST_ACCEPTED)


@case(
    "maximum_likelihood",
    "d (d + 4 + n/2) eps kappa_R, and 1/4, for |L^-1 S L^-T - I|, with kappa_R the condition "
    "of the correlation matrix",
    "the factor is that of a covariance off by d eps sigma_i sigma_j (Higham, theorem 10.5), the "
    "statistics by (4 + n/2) eps; units do not enter (theorem 10.7); what might be off by more "
    "is refused",
    of_covariance=True,
)
def _maximum_likelihood(problem: Problem) -> Outcome:
    ours = exactly(helpers.maximum_likelihood(problem.data).scale_tril)
    _, scatter = _moments(problem.data)
    factor = cholesky(scatter / len(problem.data))
    turn = solve_lower(factor, ours)
    error = float(norm(_product(turn) - exactly(torch.eye(problem.dim))))
    return Outcome(np.array([error]), np.array([_whitened_error(problem, scatter)]), 0.0)


@case(
    "minimum_nll",
    "sqrt(d)/2 times the bound of maximum_likelihood, and that of entropy",
    "a logarithm of the determinant is off by the trace of the relative error",
    of_covariance=True,
)
def _minimum_nll(problem: Problem) -> Outcome:
    ours = helpers.minimum_nll(problem.data)
    d = problem.dim
    _, scatter = _moments(problem.data)
    logs = 2 * logarithm(np.diagonal(cholesky(scatter / len(problem.data))))
    size = (_constant(d) + np.abs(logs).sum() + d) / 2
    relative = _whitened_error(problem, scatter)
    allowed = relative * d**0.5 / 2 + (2 + d / 2) * problem.eps * size
    return compare(ours, (_constant(d) + logs.sum() + d) / 2, allowed)


@case(
    "mean_standard_error, covariance_standard_error",
    "4 eps, relative",
    "a quotient, a product, a sum and a root of numbers that are not negative",
    of_covariance=True,
)
def _standard_errors(problem: Problem) -> Outcome:
    sigma, n = exactly(problem.covariance), len(problem.data)
    variance = np.diagonal(sigma)
    squares = np.concatenate([variance / n, ((np.outer(variance, variance) + sigma**2) / n).flat])
    exact = np.array([mp.sqrt(square) for square in squares], dtype=object)
    ours = torch.cat(
        [
            helpers.mean_standard_error(problem.covariance, n),
            helpers.covariance_standard_error(problem.covariance, n).flatten(),
        ]
    )
    return compare(ours, exact, 4 * problem.eps * exact)


def factor_condition(case: Case, condition: float) -> float:
    """The condition of the factor where what the function is given has `condition`."""
    return condition**0.5 if case.of_covariance else condition


def sure_to_be_factored(problem: Problem) -> bool:
    """Whether a covariance of the problem must be accepted: 8 (d + sqrt n) eps kappa_R <= 1.

    A column is refused as dependent on others where they leave 4 (d + sqrt n) eps of its variance.
    """
    _, scatter = _moments(problem.data)
    rounding = 8 * (problem.dim + len(problem.data) ** 0.5) * problem.eps
    return rounding * correlation_condition(scatter) <= 1


@dataclass
class Tally:
    """What was seen of a function: how often it was asked, and the error nearest to its bound."""

    error: float | None = None
    bound: float | None = None
    ratio: float | None = None
    asked: int = 0
    promised: int = 0
    refused: int = 0
    not_finite: int = 0

    @property
    def settled(self) -> bool:
        """Whether every question had a bound or was refused."""
        return self.promised + self.refused == self.asked

    def add(self, case: Case, problem: Problem) -> None:
        """Ask one more question."""
        self.asked += 1
        try:
            outcome = case.measure(problem)
        except ValueError:
            self.refused += 1
            return
        self.not_finite += not outcome.finite
        if not outcome.promised:
            return
        self.promised += 1
        error, bound, ratio = outcome.worst
        if self.ratio is None or ratio > self.ratio:
            self.error, self.bound, self.ratio = error, bound, ratio


def tally(case: Case, dtype: torch.dtype, condition: float, kind: str, seeds: range) -> Tally:
    """Ask a function about several dimensions and seeds."""
    seen = Tally()
    factor = factor_condition(case, condition)
    for dim in DIMS if condition == 1 else DIMS[1:]:  # one variable has no condition
        for seed in seeds:
            seen.add(case, Problem(dim, factor, seed, dtype, kind))
    return seen


def measure(seeds: range, command: str) -> dict[str, Any]:
    """The record: every function, with a condition of its own and with one made by units."""
    rows, limits, everything = [], [], []
    for each in CASES:
        for dtype in DTYPES:
            own = {c: tally(each, dtype, c, "rotated", seeds) for c in CONDITIONS}
            units = [tally(each, dtype, c, "units", seeds) for c in CONDITIONS]
            rows += [_row(each, dtype, condition, seen) for condition, seen in own.items()]
            limits.append(_limits(each, dtype, own, units))
            everything += [*own.values(), *units]
    return {
        "command": command,
        "tables": {
            "bounds": {
                "columns": ["function", "off by at most", "because"],
                "rows": [[each.name, each.formula, each.reason] for each in CASES],
            },
            "errors": {
                "columns": ["function", "dtype", "condition", "error", "bound", "ratio"],
                "rows": rows,
            },
            "limits": {
                "columns": [
                    "function",
                    "dtype",
                    "condition of",
                    "the bound applies up to",
                    "largest error / bound",
                    "refusals begin at",
                    "largest error / bound, units",
                ],
                "rows": limits,
            },
        },
        "summary": {
            "functions": len(CASES),
            "questions": sum(seen.asked for seen in everything),
            "judged_by_a_bound": sum(seen.promised for seen in everything),
            "refused": sum(seen.refused for seen in everything),
            "only_finite": sum(seen.asked - seen.promised - seen.refused for seen in everything),
            "not_finite": sum(seen.not_finite for seen in everything),
            "over_the_bound": sum((seen.ratio or 0) > 1 for seen in everything),
            "largest_ratio": _largest_ratio(everything),
        },
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _row(case: Case, dtype: torch.dtype, condition: float, seen: Tally) -> list[Any]:
    numbers = (seen.error, seen.bound, seen.ratio)
    return [case.name, _name(dtype), f"{condition:.0e}", *map(_rounded, numbers)]


def _limits(
    case: Case, dtype: torch.dtype, own: dict[float, Tally], units: list[Tally]
) -> list[Any]:
    """Up to which condition all questions had a bound or were refused, and where refusals begin."""
    held = [c for c, _ in takewhile(lambda each: each[1].settled, own.items())]
    refused = [c for c, seen in own.items() if seen.refused]
    return [
        case.name,
        _name(dtype),
        "covariance" if case.of_covariance else "factor",
        f"{max(held):.0e}",
        _largest_ratio(own.values()),
        f"{min(refused):.0e}" if refused else "never",
        _largest_ratio(units),
    ]


def _largest_ratio(tallies: Iterable[Tally]) -> float | None:
    return _rounded(max((seen.ratio for seen in tallies if seen.ratio is not None), default=None))


def _rounded(number: float | None) -> float | None:
    """Two digits, which other machines share."""
    return None if number is None else float(f"{number:.1e}")


def main(arguments: list[str]) -> int:
    """Ask every function; 1 if a bound was broken or a NaN came out."""
    parser = records.parser("errors", __doc__)
    parser.add_argument(
        "--seeds", type=records.count(), default=10, help="questions of each kind (10)"
    )
    asked = parser.parse_args(arguments)
    record = measure(range(asked.seeds), records.command("errors", arguments))
    summary = record["summary"]
    print(", ".join(f"{key}: {value}" for key, value in summary.items()))
    records.keep("errors", record, asked.record)
    return int(summary["over_the_bound"] + summary["not_finite"] > 0)
