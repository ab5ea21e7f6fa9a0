"""What the tests of the mathematics share: a hypothesis profile, random Gaussians, exact truth."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import Gaussian
from reliability.exact import random_scale_tril

__all__ = ["random_scale_tril"]  # which other modules take from here

# The same examples at every run, on any machine; a slow machine is no failure.
settings.register_profile(
    "course", max_examples=25, deadline=None, derandomize=True, database=None, print_blob=False
)
# HYPOTHESIS_PROFILE=deep: many more, and others at every run; what fails is printed to be repeated.
settings.register_profile(
    "deep", max_examples=500, deadline=None, derandomize=False, database=None, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "course"))

DTYPES = (torch.float32, torch.float64)
BATCH_SHAPES = ((), (1,), (0,), (3, 2))

seeds = st.integers(0, 2**31 - 1)
dims = st.integers(1, 6)


def eps(dtype: torch.dtype) -> float:
    """Distance from 1 to the next number of this dtype."""
    return torch.finfo(dtype).eps


def random_gaussian(
    dim: int,
    batch_shape: tuple[int, ...] = (),
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Gaussian:
    """A well-conditioned Gaussian: unit diagonal give or take, correlations of either sign."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(*batch_shape, dim, generator=generator, dtype=torch.float64)
    below = torch.randn(*batch_shape, dim, dim, generator=generator, dtype=torch.float64) / dim
    spread = torch.rand(*batch_shape, dim, generator=generator, dtype=torch.float64) + 0.5
    return Gaussian(loc.to(dtype), (below.tril(-1) + torch.diag_embed(spread)).to(dtype))


def random_samples(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def correlated_samples(n: int, dim: int, seed: int = 0) -> Tensor:
    """Samples (n, dim) with correlated columns and a mean that is not zero."""
    gaussian = random_gaussian(dim, seed=seed)
    return random_samples(n, dim, seed=seed + 1) @ gaussian.scale_tril.mT + gaussian.loc


def exact_mahalanobis(value: Tensor, loc: Tensor, scale_tril: Tensor) -> float:
    """The squared distance of one sample in rational arithmetic, rounded once at the end."""
    x, mu, lower = (to_fractions(t) for t in (value, loc, scale_tril))
    whitened: list[Fraction] = []
    for i, row in enumerate(lower):
        explained = sum((row[j] * whitened[j] for j in range(i)), Fraction(0))
        whitened.append((x[i] - mu[i] - explained) / row[i])
    return float(sum(z * z for z in whitened))


def exact_log_det(scale_tril: Tensor) -> float:
    """Log-determinant of the covariance, summed without rounding in between."""
    return 2 * math.fsum(math.log(x) for x in scale_tril.diagonal().tolist())


def to_fractions(tensor: Tensor) -> list:
    """Nested lists of exact fractions."""

    def exact(value):
        return [exact(v) for v in value] if isinstance(value, list) else Fraction(value)

    return exact(tensor.tolist())


def elements(*tensors: Tensor, batch_shape: tuple[int, ...]):
    """Run over a batch: each index, with that element of every tensor."""
    for index in np.ndindex(*batch_shape):
        yield index, *(tensor[index] for tensor in tensors)
