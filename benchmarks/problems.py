"""The data of the benchmarks: Gaussians of a known condition number, a seed each."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import Gaussian, kl_divergence, maximum_likelihood

CONDITION = 100.0  # between the standardised wine (46) and iris (141) data


def samples(
    n: int,
    d: int,
    *,
    batch_shape: tuple[int, ...] = (),
    condition: float = CONDITION,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Tensor:
    """Samples of a Gaussian whose covariance has eigenvalues from 1/sqrt(c) to sqrt(c).

    Parameters
    ----------
    n, d : int
    batch_shape : tuple of int
        Each element has axes of its own.
    condition : float
        Largest eigenvalue over the smallest: c.
    dtype : torch.dtype
    seed : int

    Returns
    -------
    Tensor, shape (*batch_shape, n, d)
        With means of size one.
    """
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*batch_shape, *shape, dtype=dtype, generator=generator)

    axes = torch.linalg.qr(randn(d, d)).Q  # (*batch, d, d)
    half = 0.25 * torch.log10(torch.tensor(condition)).item()
    lengths = torch.logspace(half, -half, d, dtype=dtype)  # square roots of the eigenvalues
    return randn(n, d) @ (axes * lengths).mT + randn(1, d)


class Truth:
    """The exact optimum of some data, in float64, and how far from it an answer is."""

    def __init__(self, data: Tensor) -> None:
        self.optimum = maximum_likelihood(data.double())

    def gap(self, loc: Tensor, scale_tril: Tensor) -> float:
        """Mean NLL above its minimum, in nats; the worst of a batch."""
        answer = Gaussian(loc.detach().double(), scale_tril.detach().double())
        return kl_divergence(self.optimum, answer).abs().max().item()

    def gap_of_covariance(self, loc: Tensor, covariance_matrix: Tensor) -> float:
        """The same of a covariance, which is factorised."""
        return self.gap(loc, torch.linalg.cholesky(covariance_matrix.double()))
