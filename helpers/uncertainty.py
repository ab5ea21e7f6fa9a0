"""How good a fit can be: sampling error, and what an optimiser's gap means beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.validation import (
    as_covariance,
    as_tensor,
    require_count,
    require_number,
    require_semidefinite,
)

NEGLIGIBLE = 0.01  # of the sampling error, which new data add in any case
ROUNDING = 1e-12  # nats; below it, the digits of a gap are those of the machine


def n_free_parameters(dim: int) -> int:
    """Free parameters of a Gaussian: d for the mean and d(d+1)/2 for the covariance.

    Parameters
    ----------
    dim : int
        Number of variables d.

    Returns
    -------
    int
        p = d(d+3)/2.

    Raises
    ------
    TypeError, ValueError
        If `dim` is no positive whole number.
    """
    dim = require_count(dim, "dim")
    return dim * (dim + 3) // 2


def expected_gap(dim: int, count: int) -> float:
    r"""What n samples leave open: p / 2n nats.

    The expected excess negative log-likelihood of the estimate on new data, and the expected
    gap of the true parameters on the data seen, to first order.

    Parameters
    ----------
    dim : int
        Number of variables d; p = d (d + 3) / 2.
    count : int
        Number of samples n.

    Returns
    -------
    float
        In nats per sample.

    Raises
    ------
    TypeError, ValueError
        If `dim` or `count` is no positive whole number.

    References
    ----------
    Wilks (1938), The large-sample distribution of the likelihood ratio. Annals of Mathematical
    Statistics 9, 60-62.
    """
    return n_free_parameters(dim) / (2 * require_count(count, "count"))


def mean_standard_error(covariance_matrix: Tensor, count: int) -> Tensor:
    r"""Standard error of each entry of a sample mean, :math:`\sqrt{\sigma_{ii} / n}`.

    Parameters
    ----------
    covariance_matrix : Tensor, shape (*batch, d, d)
    count : int
        Number of samples n.

    Returns
    -------
    Tensor, shape (*batch, d)
        In the units of the data.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    """
    sigma = require_semidefinite(
        as_covariance(covariance_matrix, "covariance_matrix"), "covariance_matrix"
    )
    return (sigma.diagonal(dim1=-2, dim2=-1) / require_count(count, "count")).sqrt()


def covariance_standard_error(covariance_matrix: Tensor, count: int) -> Tensor:
    r"""Standard error of each entry of a sample covariance of Gaussian data.

    .. math:: \sqrt{(\sigma_{ii} \sigma_{jj} + \sigma_{ij}^2) / n}

    Parameters
    ----------
    covariance_matrix : Tensor, shape (*batch, d, d)
    count : int
        Number of samples n.

    Returns
    -------
    Tensor, shape (*batch, d, d)
        In the units of the covariance.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    Anderson (2003), An Introduction to Multivariate Statistical Analysis, section 3.4.
    """
    sigma = require_semidefinite(
        as_covariance(covariance_matrix, "covariance_matrix"), "covariance_matrix"
    )
    scale = sigma.diagonal(dim1=-2, dim2=-1).sqrt()  # (*batch, d)
    # No product of variances, which may be beyond what the dtype holds where its root is not.
    unit = scale[..., :, None] * scale[..., None, :]
    root = math.sqrt(require_count(count, "count"))
    return torch.hypot(unit / root, sigma / root)


@dataclass(frozen=True)
class Verdict:
    """A gap beside the sampling error; `print` it for the sentence.

    The two add up on average, for an error of the optimiser that has nothing to do with the sample.
    A gap is one number for all directions: at 0.01 of the sampling error, a single one may still be
    off by sqrt(0.01 p) standard errors, which is 0.2 for d = 2 and 2.2 for d = 30.

    Attributes
    ----------
    gap : float
        Mean negative log-likelihood above its minimum, in nats.
    sampling_error : float
        p / 2n, in nats.
    """

    gap: float
    sampling_error: float

    def __post_init__(self) -> None:
        """Check both numbers; ValueError or TypeError if they are none."""
        require_number(self.gap, "gap")
        require_number(self.sampling_error, "sampling_error", above=0)
        # A minimum is a minimum: below it there is rounding, and what rounding does is negligible.
        lowest = -max(ROUNDING, NEGLIGIBLE * self.sampling_error)
        if self.gap < lowest:
            raise ValueError(
                f"gap: expected a loss minus its minimum, at least {lowest:.1e} with rounding, "
                f"got {self.gap:.6g}"
            )
        if not math.isfinite(self.ratio):
            raise ValueError(
                f"sampling_error: expected one that a gap of {self.gap:.3g} can be divided by, "
                f"got {self.sampling_error:.3g}"
            )

    @property
    def ratio(self) -> float:
        """The gap in units of the sampling error."""
        return self.gap / self.sampling_error

    @property
    def negligible(self) -> bool:
        """Whether the optimiser's error is too small to see beside the sampling error."""
        return self.ratio <= NEGLIGIBLE

    def __str__(self) -> str:
        # Digits below the rounding error differ between machines, so they are not shown.
        tiny = self.gap < ROUNDING
        gap = f"below {ROUNDING:.0e}" if tiny else f"{self.gap:.2e}"
        unit = "of it" if self.ratio < 1 else "times that"
        share = "" if tiny else f" ({self.ratio:.2g} {unit})"
        return f"gap {gap} nats, sampling error {self.sampling_error:.2e}{share}: {self.meaning}"

    @property
    def meaning(self) -> str:
        """The verdict in words."""
        if self.negligible:
            return "the optimiser is not what limits you"
        if self.ratio <= 1:
            return "the optimiser still adds to the error, though the data limit you more"
        return "not there yet, the optimiser is what limits you"


def judge(gap: float | Tensor, dim: int, count: int) -> Verdict:
    """Verdict on a gap: is it the optimiser or the data that limits the fit?

    Parameters
    ----------
    gap : float or Tensor
        Mean negative log-likelihood above its minimum, in nats; of several the largest counts.
    dim : int
        Number of variables.
    count : int
        Number of samples.

    Returns
    -------
    Verdict

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the gap is not finite, or negative by more than rounding.
    """
    if isinstance(gap, Tensor):
        if not as_tensor(gap, "gap").numel():
            raise ValueError(f"gap: expected at least one, got shape {tuple(gap.shape)}")
        worst = gap.max().item()
        # A difference of losses is off by some roundings of the dtype that they came in.
        is_rounding = -1000 * torch.finfo(gap.dtype).eps <= worst < 0
        gap = 0.0 if is_rounding else worst
    return Verdict(require_number(gap, "gap"), expected_gap(dim, count))
