"""Checks of arguments: every message names the argument, what was expected and what came."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64)


def as_tensor(value: Any, name: str) -> Tensor:
    """Return a float32 or float64 tensor; a NumPy array is taken without copying where possible."""
    if isinstance(value, np.ndarray):
        if value.dtype.name not in ("float32", "float64"):
            raise ValueError(
                f"{name}: expected dtype float32 or float64, got {value.dtype}; "
                f"convert it, for example with .astype(float)"
            )
        # torch wants native byte order, no negative strides, and warns of read-only memory.
        value = torch.as_tensor(np.require(value, value.dtype.newbyteorder("="), "CW"))
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor or numpy.ndarray, got {_describe(value)}")
    if value.dtype not in FLOATING:
        raise ValueError(
            f"{name}: expected dtype float32 or float64, got {_dtype_name(value.dtype)}; "
            f"convert it, for example with .double()"
        )
    return value


def require_finite(tensor: Tensor, name: str) -> None:
    """Raise ValueError at the first NaN or infinity, with its index."""
    # A sum carries every NaN and infinity along, so one number usually settles it.
    if math.isfinite(tensor.detach().sum()):
        return
    bad = (~torch.isfinite(tensor.detach())).nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        raise ValueError(
            f"{name}: expected finite values, got {tensor[index].item()} at index {index}"
            f" ({len(bad)} such values in all)"
        )


def require_shape(tensor: Tensor, name: str, trailing: tuple[int, ...], meaning: str) -> None:
    """Raise ValueError unless the last dimensions of `tensor` are `trailing`."""
    if tensor.ndim < len(trailing) or tuple(tensor.shape[-len(trailing) :]) != trailing:
        raise ValueError(f"{name}: expected shape {meaning}, got {tuple(tensor.shape)}")


def require_same_kind(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors share one dtype and one device."""
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.dtype != first.dtype:
            raise ValueError(
                f"{name}: expected dtype {_dtype_name(first.dtype)} like {first_name}, "
                f"got {_dtype_name(tensor.dtype)}"
            )
        if tensor.device != first.device:
            raise ValueError(
                f"{name}: expected device {first.device} like {first_name}, got {tensor.device}"
            )


def require_broadcastable(expected: torch.Size, name: str, actual: torch.Size) -> None:
    """Raise ValueError unless batch shape `actual` can be expanded to `expected`."""
    if actual == expected:
        return  # broadcast_shapes takes microseconds
    try:
        fits = torch.broadcast_shapes(expected, actual) == torch.Size(expected)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: expected batch shape {tuple(expected)} or one that expands to it, "
            f"got {tuple(actual)}"
        )


def common_batch_shape(**shapes: torch.Size) -> torch.Size:
    """Return the batch shape that all of them expand to; the last is blamed if there is none."""
    *others, (name, actual) = shapes.items()
    if all(shape == actual for _, shape in others):
        return actual  # broadcast_shapes takes microseconds
    try:
        return torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        expected = ", ".join(f"{tuple(shape)} of {other}" for other, shape in others)
        raise ValueError(
            f"{name}: expected a batch shape that goes with {expected}, got {tuple(actual)}"
        ) from None


def as_samples(data: Any, name: str = "data", *, dim: int | None = None) -> Tensor:
    """Return `data` as a finite float tensor of shape (*batch, n, dim)."""
    data = as_tensor(data, name)
    require_rows(data, name, dim=dim)
    require_finite(data, name)
    return data


def require_rows(data: Tensor | np.ndarray, name: str, *, dim: int | None = None) -> None:
    """Raise ValueError unless `data` has the shape (*batch, n, dim)."""
    meaning = f"(..., n, {'dim' if dim is None else dim})"
    if data.ndim < 2:
        raise ValueError(
            f"{name}: expected shape {meaning}, one row a sample, got {tuple(data.shape)}"
        )
    if dim is not None and data.shape[-1] != dim:
        raise ValueError(f"{name}: expected shape {meaning}, got {tuple(data.shape)}")
    if data.shape[-1] == 0:
        raise ValueError(f"{name}: expected at least one column, got shape {tuple(data.shape)}")


def as_unread_samples(data: Any, name: str = "data", *, dim: int | None = None) -> Any:
    """Return `data` of shape (*batch, n, dim) before any value in it is looked at.

    A NumPy array, which may be a file larger than memory, is returned as it is.
    """
    if isinstance(data, np.ndarray):
        as_tensor(np.empty(0, data.dtype), name)  # is it a dtype that can be read?
    else:
        data = as_tensor(data, name)
    require_rows(data, name, dim=dim)
    return data


def as_square(matrix: Any, name: str, *, dim: int | None = None) -> Tensor:
    """Return `matrix` as a finite float tensor of shape (*batch, dim, dim)."""
    matrix = as_tensor(matrix, name)
    side = "dim" if dim is None else dim
    square = matrix.ndim >= 2 and matrix.shape[-1] == matrix.shape[-2] > 0
    if not square or (dim is not None and matrix.shape[-1] != dim):
        raise ValueError(f"{name}: expected shape (..., {side}, {side}), got {tuple(matrix.shape)}")
    require_finite(matrix, name)
    return matrix


def as_scale_tril(scale_tril: Any, name: str = "scale_tril", *, dim: int | None = None) -> Tensor:
    """Return a lower-triangular tensor (*batch, dim, dim) with a positive diagonal."""
    scale_tril = as_square(scale_tril, name, dim=dim)
    if bool((scale_tril.detach().triu(1) != 0).any()):
        raise ValueError(
            f"{name}: expected a lower-triangular matrix, got values above the diagonal"
        )
    smallest = scale_tril.detach().diagonal(dim1=-2, dim2=-1)
    if smallest.numel() and not bool((smallest > 0).all()):
        raise ValueError(
            f"{name}: expected a positive diagonal, got {smallest.min().item():.6g} on it"
        )
    return scale_tril


def as_gaussian(gaussian: Any, name: str) -> tuple[Tensor, Tensor]:
    """Return (loc, scale_tril) of anything that has both, checked against each other."""
    if not (hasattr(gaussian, "loc") and hasattr(gaussian, "scale_tril")):
        raise TypeError(
            f"{name}: expected an object with loc and scale_tril, got {_describe(gaussian)}"
        )
    return as_loc_and_scale_tril(
        gaussian.loc, gaussian.scale_tril, f"{name}.loc", f"{name}.scale_tril"
    )


def as_loc_and_scale_tril(
    loc: Any, scale_tril: Any, loc_name: str = "loc", scale_name: str = "scale_tril"
) -> tuple[Tensor, Tensor]:
    """Return loc (*batch, dim) and scale_tril (*batch, dim, dim), checked against each other."""
    scale_tril = as_scale_tril(scale_tril, scale_name)
    loc = as_tensor(loc, loc_name)
    dim = scale_tril.shape[-1]
    require_shape(loc, loc_name, (dim,), f"(..., {dim})")
    require_finite(loc, loc_name)
    require_same_kind(**{scale_name: scale_tril, loc_name: loc})
    common_batch_shape(**{scale_name: scale_tril.shape[:-2], loc_name: loc.shape[:-1]})
    return loc, scale_tril


def as_covariance(matrix: Any, name: str, *, dim: int | None = None) -> Tensor:
    """Return a symmetric matrix (*batch, dim, dim); that it is definite, its factor will tell."""
    matrix = as_square(matrix, name, dim=dim)
    variance = matrix.detach().diagonal(dim1=-2, dim2=-1)  # (*batch, dim)
    if bool((variance < 0).any()):
        raise ValueError(
            f"{name}: expected variances on the diagonal, got {variance.min().item():.6g}"
        )
    scale = variance.sqrt()
    unit = scale[..., :, None] * scale[..., None, :]
    asymmetry = (matrix - matrix.mT).detach().abs()
    # Rounding leaves an asymmetry of a few units in the last place, relative to the scales.
    allowed = 64 * torch.finfo(matrix.dtype).eps * unit
    if bool((asymmetry > allowed).any()):
        raise ValueError(
            f"{name}: expected a symmetric matrix, got entries that differ from their mirror "
            f"image by up to {asymmetry.max().item():.6g}"
        )
    return matrix


def try_cholesky(matrix: Tensor, count: Tensor | int = 0) -> tuple[Tensor, Tensor]:
    """Cholesky factor (*batch, d, d), and whether each failed (*batch,).

    `count`, one number or (*batch,), says how many samples a covariance was summed over.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor, (info > 0) | _dependent_columns(matrix, factor, count).any(dim=-1)


def _dependent_columns(matrix: Tensor, factor: Tensor, count: Tensor | int) -> Tensor:
    """Which columns, (*batch, d), have no variance left beyond the columns before them."""
    pivot = factor.diagonal(dim1=-2, dim2=-1)  # (*batch, d)
    variance = matrix.diagonal(dim1=-2, dim2=-1)  # (*batch, d)
    # Rounding grows with the columns and, like a random walk, with the samples that are summed:
    # up to half of this was seen for up to 500,000 samples, four times leaves room.
    if isinstance(count, Tensor):
        count = count.to(matrix.dtype).unsqueeze(-1)
    terms = matrix.shape[-1] + count**0.5
    rounding = 4 * torch.finfo(matrix.dtype).eps * terms
    # pivot^2 / variance is the share of a column that the columns before it leave unexplained.
    return pivot.square() <= rounding * variance


def cholesky_factor(matrix: Tensor, name: str, count: Tensor | int = 0) -> Tensor:
    """Cholesky factor (*batch, d, d); a ValueError says which element and column fails, and why."""
    factor, failed = try_cholesky(matrix, count)
    if bool(failed.any()):
        where = tuple(failed.nonzero()[0].tolist())
        element = f" in batch element {where}" if where else ""
        # LAPACK names the leading minor that fails; what stands in the factor after it means
        # nothing.
        info = torch.linalg.cholesky_ex(matrix).info
        dependent = _dependent_columns(matrix, factor, count).int().argmax(dim=-1)
        column = torch.where(info > 0, info - 1, dependent)
        raise ValueError(
            f"{name}: expected a positive definite matrix, got one that is not{element}: "
            f"column {int(column[where])} has no variance left beyond the columns before it"
        )
    return factor


def as_free_numbers(log_diagonal: Any, below_diagonal: Any) -> tuple[Tensor, Tensor]:
    """Return log_diagonal (*batch, d) and below_diagonal (*batch, d(d-1)/2), checked together."""
    log_diagonal = as_tensor(log_diagonal, "log_diagonal")
    below_diagonal = as_tensor(below_diagonal, "below_diagonal")
    if log_diagonal.ndim == 0:
        raise ValueError("log_diagonal: expected shape (..., d), got ()")
    *batch, d = log_diagonal.shape
    expected = (*batch, d * (d - 1) // 2)
    if below_diagonal.shape != expected:
        raise ValueError(
            f"below_diagonal: expected shape {expected} for {d} variables, "
            f"got {tuple(below_diagonal.shape)}"
        )
    require_same_kind(log_diagonal=log_diagonal, below_diagonal=below_diagonal)
    return log_diagonal, below_diagonal


def require_variance(variance: Tensor, name: str) -> Tensor:
    """Return `variance` if it is positive throughout; else the matrix `name` is not definite."""
    if not bool((variance.detach() > 0).all()):
        raise ValueError(
            f"{name}: expected a positive definite matrix, got one with variance "
            f"{variance.min().item():.3g} in some direction"
        )
    return variance


def as_device(device: Any, name: str = "device") -> torch.device:
    """Return a torch.device that this machine has."""
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected a device such as 'cpu', 'cuda' or 'mps', got {device!r}"
        ) from error
    present = ["cpu"]
    present += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    present += ["mps"] if torch.backends.mps.is_available() else []
    known = {*present, *(name.split(":")[0] for name in present)}
    if str(device) not in known and not (device.type in ("cpu", "mps") and device.type in known):
        raise ValueError(
            f"{name}: expected a device that is there ({', '.join(present)}), got {str(device)!r}"
        )
    return device


def require_count(value: Any, name: str, *, minimum: int = 1, maximum: float = math.inf) -> int:
    """Return a whole number between `minimum` and `maximum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected a whole number, got {_describe(value)}")
    if not minimum <= value <= maximum:
        limit = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
        raise ValueError(f"{name}: expected a whole number {limit}, got {value}")
    return int(value)


def require_number(value: Any, name: str, *, above: float = -math.inf) -> float:
    """Return a finite real number greater than `above`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name}: expected a number, got {_describe(value)}")
    if not math.isfinite(value) or value <= above:
        limit = "a finite number" if above == -math.inf else f"a finite number above {above}"
        raise ValueError(f"{name}: expected {limit}, got {value}")
    return float(value)


def _describe(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r}"[:80]


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
