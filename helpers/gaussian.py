r"""The multivariate normal distribution, always through its Cholesky factor.

Throughout, :math:`\Sigma = L L^\top` with `scale_tril` :math:`L` lower triangular, positive on the
diagonal. Nothing here inverts a matrix, takes a determinant, or factorises a covariance again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from helpers.devices import widest_dtype
from helpers.validation import (
    as_gaussian,
    as_loc_and_scale_tril,
    as_samples,
    as_scale_tril,
    as_tensor,
    common_batch_shape,
    refuse_overflow,
    require_answer,
    require_counts,
    require_finite,
    require_same_kind,
    require_shape,
)

LOG_2PI = math.log(2 * math.pi)
CHUNK = 2**19  # numbers in a chunk of samples: smaller pays for calls, larger leaves the cache
LARGEST_SUBSTITUTION = 5  # variables; beyond, a solver that takes one matrix at a time is as fast
MANY = 60  # matrices for each entry of one; below, the solver is as fast
LARGEST_INVERSE = 256  # variables; beyond, triangular solves are as fast and more accurate


class Gaussian(NamedTuple):
    """A mean and a Cholesky factor that belong together.

    Attributes
    ----------
    loc : Tensor, shape (*batch, d)
    scale_tril : Tensor, shape (*batch, d, d)
    """

    loc: Tensor
    scale_tril: Tensor

    @property
    def covariance_matrix(self) -> Tensor:
        """Tensor, shape (*batch, d, d): the covariance :math:`L L^\\top`."""
        return self.scale_tril @ self.scale_tril.mT


def log_det(scale_tril: Tensor, *, validate_args: bool = True) -> Tensor:
    r"""Log-determinant of the covariance, from its factor.

    .. math:: \log\det\Sigma = 2 \sum_i \log L_{ii}

    Parameters
    ----------
    scale_tril : Tensor, shape (*batch, d, d)
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch,)

    Raises
    ------
    ValueError
        If `scale_tril` is not lower triangular with a positive diagonal.

    References
    ----------
    Golub and Van Loan (2013), Matrix Computations, section 4.2.
    """
    if validate_args:
        scale_tril = as_scale_tril(scale_tril)
    return 2 * scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def mahalanobis(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    r"""Squared Mahalanobis distance of each sample from the mean.

    .. math:: (x - \mu)^\top \Sigma^{-1} (x - \mu) = \lVert L^{-1} (x - \mu) \rVert^2

    Parameters
    ----------
    value : Tensor, shape (*batch, n, d)
        One row a sample.
    loc : Tensor, shape (*batch, d)
    scale_tril : Tensor, shape (*batch, d, d)

    Returns
    -------
    Tensor, shape (*batch, n)
        Squared, without unit; chi-squared with d degrees of freedom if the samples come from
        this Gaussian.

    Raises
    ------
    ValueError
        If shapes or dtypes do not match, or a value is not finite.
    """
    distance = _mahalanobis(*_as_fitting(value, loc, scale_tril))
    return require_answer(distance, "value, loc, scale_tril", "squared distance")


@refuse_overflow("value, loc, scale_tril")
def log_prob(
    value: Tensor, loc: Tensor, scale_tril: Tensor, *, validate_args: bool = True
) -> Tensor:
    r"""Log-density of each sample under a multivariate normal.

    .. math::
        \log p(x) = -\tfrac12 \left( d \log 2\pi + \log\det\Sigma
                    + (x - \mu)^\top \Sigma^{-1} (x - \mu) \right)

    Parameters
    ----------
    value : Tensor, shape (*batch, n, d)
        One row a sample.
    loc : Tensor, shape (*batch, d)
    scale_tril : Tensor, shape (*batch, d, d)
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch, n)
        In nats. It is a density: it may be positive, and it changes with the units of the data.

    Raises
    ------
    ValueError
        If shapes or dtypes do not match, or a value is not finite.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 2.3.
    """
    if validate_args:
        value, loc, scale_tril = _as_fitting(value, loc, scale_tril)
    d = loc.shape[-1]
    distance = _mahalanobis(value, loc, scale_tril)  # (*batch, n)
    return -0.5 * (d * LOG_2PI + log_det(scale_tril, validate_args=False)[..., None] + distance)


def entropy(scale_tril: Tensor, *, validate_args: bool = True) -> Tensor:
    r"""Differential entropy, which is also the smallest mean negative log-likelihood.

    .. math:: H = \tfrac12 \left( d \log 2\pi + \log\det\Sigma + d \right)

    Parameters
    ----------
    scale_tril : Tensor, shape (*batch, d, d)
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch,)
        In nats.

    Raises
    ------
    ValueError
        If `scale_tril` is not lower triangular with a positive diagonal.
    """
    if validate_args:
        scale_tril = as_scale_tril(scale_tril)
    d = scale_tril.shape[-1]
    return 0.5 * (d * LOG_2PI + log_det(scale_tril, validate_args=False) + d)


@refuse_overflow("p, q")
def kl_divergence(p: Any, q: Any, *, validate_args: bool = True) -> Tensor:
    r"""Kullback-Leibler divergence from `q` to `p`, both multivariate normal.

    .. math::
        \mathrm{KL}(p \,\Vert\, q) = \tfrac12 \left( \lVert W \rVert_F^2 - d \right)
            - \sum_i \log W_{ii} + \tfrac12 \lVert L_q^{-1} (\mu_p - \mu_q) \rVert^2,
        \qquad W = L_q^{-1} L_p

    If `p` is the maximum likelihood estimate, this is exactly the gap in mean negative
    log-likelihood between `q` and the optimum.

    Parameters
    ----------
    p, q : objects with `loc` (*batch, d) and `scale_tril` (*batch, d, d)
        A `Gaussian`, a `GaussianLikelihood` or a `torch.distributions.MultivariateNormal`.
    validate_args : bool
        False skips all checks, as in torch.distributions: for loops that checked before.

    Returns
    -------
    Tensor, shape (*batch,)
        In nats. Rounding may leave it a few units in the last place below zero.

    Raises
    ------
    TypeError
        If `p` or `q` has no `loc` and `scale_tril`.
    ValueError
        If dimensions or dtypes differ, or a value is not finite.

    References
    ----------
    Kullback (1959), Information Theory and Statistics, chapter 9.
    """
    if validate_args:
        p, q = _as_comparable(p, q)
    whitened = torch.linalg.solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    delta = (p.loc - q.loc)[..., None]  # (*batch, d, 1)
    shift = torch.linalg.solve_triangular(q.scale_tril, delta, upper=False)
    return divergence(whitened, shift)


def divergence(whitened: Tensor, shift: Tensor | None) -> Tensor:
    """`kl_divergence` from W, (*batch, d, d), and L_q^-1 (mu_p - mu_q), (*batch, d, 1).

    No shift stands for equal means.
    """
    squares = whitened.square().sum(dim=(-2, -1)) - whitened.shape[-1]
    if shift is not None:
        squares = squares + shift.square().sum(dim=(-2, -1))
    return 0.5 * squares - whitened.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def marginal(gaussian: Any, dims: Sequence[int]) -> Gaussian:
    r"""Distribution of some of the variables, whatever the others do.

    Parameters
    ----------
    gaussian : object with `loc` (*batch, d) and `scale_tril` (*batch, d, d)
    dims : sequence of int
        The variables to keep, in the order wanted.

    Returns
    -------
    Gaussian
        Of dimension `len(dims)`.

    Raises
    ------
    ValueError
        If an index is out of range or comes twice.

    Notes
    -----
    The rows of L that are kept are a factor of the marginal covariance, only not a triangular one;
    a QR factorisation rotates them into triangular form without forming a covariance.
    """
    loc, scale_tril = as_gaussian(gaussian, "gaussian")
    kept = _as_dims(dims, loc.shape[-1])
    factor = triangular(scale_tril[..., kept, :])
    return Gaussian(loc[..., kept], as_scale_tril(factor, "gaussian: scale_tril of the marginal"))


def condition(gaussian: Any, dims: Sequence[int], value: Tensor) -> Gaussian:
    r"""Distribution of the remaining variables once some are known.

    Parameters
    ----------
    gaussian : object with `loc` (*batch, d) and `scale_tril` (*batch, d, d)
    dims : sequence of int
        The variables that are known.
    value : Tensor, shape (*batch, len(dims))
        What they are.

    Returns
    -------
    Gaussian
        Of the other variables, in their order.

    Raises
    ------
    ValueError
        If an index is out of range or comes twice, if nothing is left, or `value` does not fit.

    Notes
    -----
    With the known variables first, the factor reads [[A, 0], [B, C]]: the conditional mean is
    :math:`\mu_2 + B A^{-1} (x_1 - \mu_1)` and C is the conditional factor, as it stands.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, section 2.3.1.
    """
    loc, scale_tril = as_gaussian(gaussian, "gaussian")
    known = _as_dims(dims, loc.shape[-1])
    rest = [i for i in range(loc.shape[-1]) if i not in known]
    if not rest:
        raise ValueError("dims: expected at least one variable to be left out, got all of them")
    value = as_tensor(value, "value")
    require_shape(value, "value", (len(known),), f"(..., {len(known)})")
    require_finite(value, "value")
    require_same_kind(loc=loc, value=value)
    common_batch_shape(loc=loc.shape[:-1], scale_tril=scale_tril.shape[:-2], value=value.shape[:-1])
    k = len(known)
    factor = triangular(scale_tril[..., known + rest, :])
    a, b, c = factor[..., :k, :k], factor[..., k:, :k], factor[..., k:, k:]
    residual = (value - loc[..., known])[..., None]  # (*batch, k, 1)
    shift = b @ torch.linalg.solve_triangular(a, residual, upper=False)
    mean = loc[..., rest] + shift[..., 0]
    return Gaussian(
        require_answer(mean, "gaussian, value", "conditional mean"),
        as_scale_tril(c, "gaussian: scale_tril of what is left"),
    )


def _as_fitting(value: Tensor, loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    loc, scale_tril = as_loc_and_scale_tril(loc, scale_tril)
    value = as_samples(value, "value", dim=loc.shape[-1])
    require_same_kind(scale_tril=scale_tril, value=value)
    common_batch_shape(loc=loc.shape[:-1], scale_tril=scale_tril.shape[:-2], value=value.shape[:-2])
    return value, loc, scale_tril


def _as_comparable(p: Any, q: Any) -> tuple[Gaussian, Gaussian]:
    p, q = Gaussian(*as_gaussian(p, "p")), Gaussian(*as_gaussian(q, "q"))
    d = p.loc.shape[-1]
    require_shape(q.loc, "q.loc", (d,), f"(..., {d}) like p")
    require_same_kind(p=p.loc, q=q.loc)
    common_batch_shape(
        p_loc=p.loc.shape[:-1],
        p_scale_tril=p.scale_tril.shape[:-2],
        q_loc=q.loc.shape[:-1],
        q=q.scale_tril.shape[:-2],
    )
    return p, q


def _mahalanobis(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    if not _multiplies(value, scale_tril):
        return _whiten_by_solving(value, loc, scale_tril).square().sum(dim=-2)
    # A chunk of samples stays in the cache from one operation to the next.
    inverse = inverse_factor(scale_tril)
    chunks = value.split(rows_of_a_chunk(value, scale_tril.shape[:-2]), dim=-2)
    distances = [whiten_by_product(x, loc, inverse).square().sum(dim=-1) for x in chunks]
    return distances[0] if len(distances) == 1 else torch.cat(distances, dim=-1)


def _multiplies(value: Tensor, scale_tril: Tensor) -> bool:
    """Whether to solve for L^-1 and multiply: d right-hand sides, in place of one a sample.

    Measured on a CPU. Its error has the same bound (see `inverse_factor`) and is a few times as
    large.
    """
    return value.shape[-2] > scale_tril.shape[-1] <= LARGEST_INVERSE


def _whiten_by_solving(value: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    """L^-1 (x - mu) for each sample, (*batch, d, n): a triangular system for each."""
    centred = (value - loc[..., None, :]).mT
    return torch.linalg.solve_triangular(scale_tril, centred, upper=False)


def whiten_by_product(value: Tensor, loc: Tensor, inverse: Tensor) -> Tensor:
    """L^-1 (x - mu) for each sample, (*batch, n, d): one matrix product for all.

    The mean comes off first: taken off after the product, it would leave its own rounding behind.
    """
    return (value - loc[..., None, :]) @ inverse.mT


def inverse_factor(scale_tril: Tensor) -> Tensor:
    """L^-1, (*batch, d, d), for products with samples.

    In float64, so that rounding it to the dtype of the samples is all the error that it brings; and
    row by row, from X L = I, so that X (x - mu) is off by no more than the condition of L times the
    rounding of X. From L X = I it may be the square of the condition (Higham 2002, section 14.2).
    """
    wide = scale_tril.to(widest_dtype(scale_tril.device))
    return solve_for_inverse(wide, left=False).to(scale_tril.dtype)


def solve_for_inverse(scale_tril: Tensor, *, left: bool = True) -> Tensor:
    """L^-1, (*batch, d, d), in the dtype of L: X from L X = I, or from X L = I if not `left`."""
    d = scale_tril.shape[-1]
    many = d <= LARGEST_SUBSTITUTION and scale_tril.numel() >= MANY * d**4
    # Substitution writes over what a gradient would need.
    if many and not (scale_tril.requires_grad and torch.is_grad_enabled()):
        return _by_substitution(scale_tril)
    identity = torch.eye(d, dtype=scale_tril.dtype, device=scale_tril.device)
    return torch.linalg.solve_triangular(scale_tril, identity, upper=False, left=left)


def _by_substitution(scale_tril: Tensor) -> Tensor:
    """L^-1, (*batch, d, d), from X L = I: a large batch at once, where a solver would loop."""
    inverse = torch.zeros_like(scale_tril)
    d = scale_tril.shape[-1]
    for j in reversed(range(d)):
        pivot = scale_tril[..., j, j]  # (*batch,)
        inverse[..., j, j] = pivot.reciprocal()
        known = inverse[..., j + 1 :, j + 1 :] @ scale_tril[..., j + 1 :, j, None]
        inverse[..., j + 1 :, j] = known[..., 0] / -pivot[..., None]
    return inverse


def rows_of_a_chunk(value: Tensor, batch_shape: torch.Size) -> int:
    """How many rows of samples (*batch, n, d) to take at a time, but no fewer than d."""
    batch = value.shape[:-2]
    if batch != batch_shape:
        batch = torch.broadcast_shapes(batch, batch_shape)
    d = value.shape[-1]
    return max(d, CHUNK // (math.prod(batch) * d or 1))


def triangular(factor: Tensor) -> Tensor:
    """The lower-triangular L, positive on the diagonal, with L L^T = factor factor^T.

    The factor may have more columns than rows, and not fewer. Nothing is squared on the way.
    """
    upper = torch.linalg.qr(factor.mT).R  # (*batch, k, k)
    sign = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(upper.dtype)
    return (upper * sign[..., None]).mT


def _as_dims(dims: Sequence[int], d: int) -> list[int]:
    indices = require_counts(dims, "dims", minimum=0, maximum=d - 1)
    if not indices or len(set(indices)) != len(indices):
        raise ValueError(f"dims: expected different indices, at least one, got {list(dims)}")
    return indices
