r"""Covariances for few samples: the sample covariance pulled towards something better conditioned.

The target is :math:`\mu I` with the mean variance :math:`\mu = \mathrm{tr}(S) / d`, or the scale
of a prior. With n samples and d variables, :math:`S` is divided by n throughout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from helpers.devices import widest_dtype
from helpers.estimators import as_statistics
from helpers.validation import (
    as_covariance,
    as_samples,
    as_tensor,
    cholesky_factor,
    common_batch_shape,
    require_answer,
    require_broadcastable,
    require_finite,
    require_number,
    require_same_kind,
    require_semidefinite,
    require_shape,
)


def shrunk_covariance(covariance_matrix: Tensor, shrinkage: float | Tensor) -> Tensor:
    r"""A covariance pulled towards a multiple of the identity that has the same mean variance.

    .. math:: (1 - \alpha) \, S + \alpha \, \frac{\mathrm{tr}(S)}{d} \, I

    The eigenvectors stay; each eigenvalue moves by the share :math:`\alpha` of the way to their
    mean. So columns should have comparable units: standardise them first.

    Parameters
    ----------
    covariance_matrix : Tensor, shape (*batch, d, d)
        :math:`S`; it may be singular.
    shrinkage : float or Tensor, shape (*batch,)
        :math:`\alpha` from 0 (:math:`S` itself) to 1 (the multiple of the identity).

    Returns
    -------
    Tensor, shape (*batch, d, d)
        Positive definite if :math:`\alpha > 0` and :math:`S` is a covariance other than zero.
        Gradients flow to both arguments.

    Raises
    ------
    TypeError, ValueError
        If `covariance_matrix` is no symmetric matrix with variances on its diagonal, or
        `shrinkage` is no number from 0 to 1.

    References
    ----------
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    Journal of Multivariate Analysis 88, 365-411. As `sklearn.covariance.shrunk_covariance`.
    """
    name = "covariance_matrix"
    covariance = require_semidefinite(as_covariance(covariance_matrix, name), name)
    share = as_shrinkage(shrinkage, covariance)
    require_broadcastable(covariance.shape[:-2], "shrinkage", share.shape)
    return require_answer(shrink(covariance, share), name, "mean variance")


def as_shrinkage(shrinkage: Any, like: Tensor) -> Tensor:
    """Return numbers from 0 to 1 as a tensor of the dtype and on the device of another."""
    if not isinstance(shrinkage, Tensor):
        number = require_number(shrinkage, "shrinkage")
        tensor = torch.tensor(number, dtype=like.dtype, device=like.device)
    else:
        tensor = as_tensor(shrinkage, "shrinkage")
        require_same_kind(covariance_matrix=like, shrinkage=tensor)
        require_finite(tensor, "shrinkage")
    outside = (tensor < 0) | (tensor > 1)
    if bool(outside.any()):
        raise ValueError(
            f"shrinkage: expected a number from 0 to 1, got {tensor[outside][0].item():.6g}"
        )
    return tensor


def shrink(covariance: Tensor, share: Tensor) -> Tensor:
    """`shrunk_covariance` of S, (*batch, d, d), and alpha, (*batch,), without checks."""
    # The mean of quotients: the sum of variances may be beyond what the dtype holds.
    d = covariance.shape[-1]
    mean_variance = (covariance.diagonal(dim1=-2, dim2=-1) / d).sum(dim=-1)  # (*batch,)
    identity = torch.eye(d, dtype=covariance.dtype, device=covariance.device)
    target = mean_variance[..., None, None] * identity
    share = share[..., None, None]
    return (1 - share) * covariance + share * target


def ledoit_wolf(data: Any) -> tuple[Tensor, Tensor]:
    r"""The shrunk covariance whose expected squared error is least, after Ledoit and Wolf.

    .. math::
        \alpha = \min\left( 1,
            \frac{\frac1{n^2} \sum_k \lVert x_k x_k^\top - S \rVert_F^2}
                 {\lVert S - \mu I \rVert_F^2} \right)

    for centred rows :math:`x_k`: the sampling variance of :math:`S` over its distance from the
    target. It uses no new data and no optimiser.

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d)
        One row a sample; n may be smaller than d. Columns in comparable units. Of two rows both
        are as far from their mean, so that the variance is zero and nothing is shrunk: three are
        the least that is of use.

    Returns
    -------
    covariance_matrix : Tensor, shape (*batch, d, d)
        In the dtype of `data`, computed in float64 where the device has it.
    shrinkage : Tensor, shape (*batch,)
        :math:`\alpha`, from 0 to 1. Gradients flow from both answers to `data`.

    Raises
    ------
    TypeError, ValueError
        If `data` are no finite samples, fewer than two, or all the same.

    References
    ----------
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    Journal of Multivariate Analysis 88, 365-411. As `sklearn.covariance.ledoit_wolf`.
    """
    rows, scale, dtype = _as_rows(data)  # (*batch, n, d), (*batch, 1, 1)
    n, d = rows.shape[-2:]
    sample = rows.mT @ rows / n
    mean_variance = sample.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    identity = torch.eye(d, dtype=rows.dtype, device=rows.device)
    distance = (sample - mean_variance[..., None, None] * identity).square().sum(dim=(-2, -1))
    fourth_moment = rows.square().sum(dim=-1).square().mean(dim=-1)
    variance = (fourth_moment - sample.square().sum(dim=(-2, -1))).clamp(min=0) / n
    # At distance zero every shrinkage gives the same matrix; 0 is what scikit-learn says.
    share = torch.where(distance > 0, variance / distance.clamp(min=_tiny(distance)), 0.0)
    share = share.clamp(max=1)
    return _in_units(shrink(sample, share), scale, dtype), share.to(dtype)


def oas(data: Any) -> tuple[Tensor, Tensor]:
    r"""The shrunk covariance of Chen, Wiesel, Eldar and Hero, for Gaussian data.

    .. math::
        \alpha = \min\left( 1, \frac{\mathrm{tr}(S^2) + \mathrm{tr}(S)^2}
            {(n + 1) \left( \mathrm{tr}(S^2) - \mathrm{tr}(S)^2 / d \right)} \right)

    Where Ledoit and Wolf measure the sampling variance of :math:`S`, this takes it from the
    Gaussian, so count and :math:`S` are all it needs.

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d)
        One row a sample, two or more; n may be smaller than d. Columns in comparable units.

    Returns
    -------
    covariance_matrix : Tensor, shape (*batch, d, d)
        In the dtype of `data`, computed in float64 where the device has it.
    shrinkage : Tensor, shape (*batch,)
        :math:`\alpha`, from 0 to 1. Gradients flow from both answers to `data`.

    Raises
    ------
    TypeError, ValueError
        If `data` are no finite samples, fewer than two, or all the same.

    References
    ----------
    Chen, Wiesel, Eldar and Hero (2010), Shrinkage algorithms for MMSE covariance estimation.
    IEEE Transactions on Signal Processing 58, 5016-5029, equation 23, where a term 2/d is left
    out. As `sklearn.covariance.oas`.
    """
    rows, scale, dtype = _as_rows(data)
    n, d = rows.shape[-2:]
    sample = rows.mT @ rows / n
    squares = sample.square().sum(dim=(-2, -1))
    trace = sample.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    spread = (n + 1) * (squares - trace.square() / d)
    found = (squares + trace.square()) / spread.clamp(min=_tiny(spread))
    # Of one variable every shrinkage gives the same matrix; 0 is what scikit-learn says.
    share = found.clamp(max=1) if d > 1 else torch.zeros_like(found)
    return _in_units(shrink(sample, share), scale, dtype), share.to(dtype)


def inverse_wishart_map(data: Any, scale: Tensor, df: float) -> Tensor:
    r"""The most probable covariance under an inverse-Wishart prior, in closed form.

    .. math:: \hat\Sigma = \frac{C + \Psi}{n + \nu + d + 1}

    with :math:`C` the scatter of the samples about their mean. It is the mode of the posterior of
    mean and covariance together, where nothing is known of the mean beforehand; the mean is then
    that of the samples. The same :math:`\hat\Sigma` minimises the negative log-likelihood of all
    samples plus :math:`\frac{\nu + d + 1}2 \log\det\Sigma + \frac12 \mathrm{tr}(\Psi
    \Sigma^{-1})`.

    Parameters
    ----------
    data : Tensor or ndarray, shape (*batch, n, d), or SufficientStatistics
        n may be smaller than d, and 0.
    scale : Tensor, shape (*batch, d, d)
        :math:`\Psi`, positive definite, in the units of a scatter: to expect the covariance
        :math:`\Sigma_0` before any data, give :math:`(\nu + d + 1) \Sigma_0` for the mode or
        :math:`(\nu - d - 1) \Sigma_0` for the mean.
    df : float
        :math:`\nu`, above d - 1. In the mode the prior counts as :math:`\nu + d + 1` samples.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        Positive definite, whatever the data. Gradients flow to `data` and `scale`.

    Raises
    ------
    TypeError, ValueError
        If `data` are no finite samples, `scale` is not positive definite or does not match, or
        `df` is d - 1 or less.

    References
    ----------
    Gelman, Carlin, Stern, Dunson, Vehtari and Rubin (2013), Bayesian Data Analysis, section 3.6
    and appendix A.
    """
    statistics = as_statistics(data)
    scale = as_covariance(scale, "scale")
    d = scale.shape[-1]
    require_shape(statistics.mean, "data.mean", (d,), f"(..., {d}) like scale")
    require_same_kind(data=statistics.mean, scale=scale)
    common_batch_shape(data=statistics.batch_shape, scale=scale.shape[:-2])
    cholesky_factor(scale, "scale")
    df = require_number(df, "df", above=d - 1)
    weight = statistics.count.to(scale.dtype) + (df + d + 1)  # (*batch,)
    # Each is divided on its own: their sum may be beyond what the dtype holds.
    weight = weight[..., None, None]
    mode = statistics.scatter / weight + scale / weight
    return require_answer(mode, "data, scale", "covariance")


def _as_rows(data: Any) -> tuple[Tensor, Tensor, torch.dtype]:
    """Centred rows (*batch, n, d) in units of the largest number among them, (*batch, 1, 1).

    In such units no square overflows, nor do all of them vanish.
    """
    data = as_samples(data)
    n = data.shape[-2]
    if n < 2:
        raise ValueError(f"data: expected at least 2 rows, got {n}")
    wide = data.to(widest_dtype(data.device))
    # The first row comes off without rounding where the mean is large beside the spread.
    shifted = wide - wide[..., :1, :]
    centred = shifted - shifted.mean(dim=-2, keepdim=True)
    require_answer(centred, "data", "differences")
    scale = centred.detach().abs().amax(dim=(-2, -1), keepdim=True)
    if bool((scale == 0).any()):
        raise ValueError("data: expected rows that differ, got rows that are all the same")
    return centred / scale, scale, data.dtype


def _in_units(covariance: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """A covariance of rows in units of `scale` in their own units again."""
    return require_answer((covariance * scale * scale).to(dtype), "data", "covariance")


def _tiny(tensor: Tensor) -> float:
    """A number to divide by in place of zero."""
    return torch.finfo(tensor.dtype).tiny
