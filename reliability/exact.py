"""Arithmetic with 60 digits, and factors of a wanted condition: what errors are measured against.

Every number of a tensor is taken as it stands, so that the answer is that of the same question and
differs by the rounding of the helpers alone.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

mp = mpmath.mp.clone()  # a context of its own, so that nobody else's precision changes
mp.dps = 60  # a condition of 1e12, squared, leaves more than 30 of them
Exact = np.ndarray  # of mpf numbers


def exactly(values: Tensor | np.ndarray) -> Exact:
    """The same numbers, each with 60 digits."""
    flat = [mp.mpf(value) for value in values.detach().flatten().tolist()]
    return np.array([*flat, None], dtype=object)[:-1].reshape(tuple(values.shape))


def logarithm(values: Exact) -> Exact:
    """The natural logarithm of each."""
    return np.array([*map(mp.log, values.flat), None], dtype=object)[:-1].reshape(values.shape)


def solve_lower(factor: Exact, right: Exact) -> Exact:
    """X, (d, k), from L X = B by forward substitution."""
    solution = right.copy()
    for i in range(len(factor)):
        solution[i] = (right[i] - factor[i, :i] @ solution[:i]) / factor[i, i]
    return solution


def cholesky(covariance: Exact) -> Exact:
    """The factor, (d, d), of a covariance."""
    factor = mp.cholesky(mp.matrix(covariance.tolist()))
    return np.array(factor.tolist(), dtype=object).reshape(covariance.shape)


def norm(values: Exact) -> Any:
    """The root of the sum of squares."""
    return mp.sqrt((values * values).sum())


def to_float(values: Any) -> np.ndarray:
    """Rounded, for a table or a comparison."""
    return np.asarray(values).astype(float)


def random_scale_tril(
    dim: int, condition: float, seed: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """A factor (dim, dim) whose condition number is `condition`; its covariance has the square."""
    rng = np.random.default_rng(seed)
    rotations = [np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(2)]
    singular = condition ** -np.linspace(0, 1, dim) if dim > 1 else np.ones(1)
    upper = np.linalg.qr((rotations[0] * singular) @ rotations[1])[1]
    return torch.as_tensor((upper * np.sign(np.diag(upper))[:, None]).T, dtype=dtype).tril()


def graded_scale_tril(
    dim: int, condition: float, seed: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """A factor (dim, dim) of condition near `condition` that comes from the units of the rows."""
    rng = np.random.default_rng(seed)
    units = rng.permutation(condition ** -np.linspace(0, 1, dim)) if dim > 1 else np.ones(1)
    return (torch.as_tensor(units)[:, None] * random_scale_tril(dim, 3.0, seed)).to(dtype)


FACTORS = {"rotated": random_scale_tril, "units": graded_scale_tril}
