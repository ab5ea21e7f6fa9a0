"""Checks of arguments: every message names the argument, what was expected and what came."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64)
LARGEST_COUNT = 2**63 - 1  # what an int64 holds
FAR = 1_000_000  # a limit from here on is no help to who is below the other one
LARGEST_SIZE = 2**40  # numbers in one tensor; as float32 they would take four tebibytes

Parameters = ParamSpec("Parameters")


def as_tensor(value: Any, name: str) -> Tensor:
    """Return a float32 or float64 tensor; a NumPy array is taken without copying where possible."""
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(
                f"{name}: expected an array without a mask, which would be ignored, got a "
                f"numpy.ma.MaskedArray; leave out what is masked"
            )
        if value.dtype.name not in ("float32", "float64"):
            raise ValueError(
                f"{name}: expected dtype float32 or float64, got {value.dtype}; "
                f"{_cure(np.iscomplexobj(value), '.astype(float)')}"
            )
        # torch wants native byte order, no negative strides, and warns of read-only memory.
        value = torch.as_tensor(np.require(value, value.dtype.newbyteorder("="), "CW"))
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}: expected a torch.Tensor or numpy.ndarray, got {_describe_table(value)}"
        )
    if value.dtype not in FLOATING:
        raise ValueError(
            f"{name}: expected dtype float32 or float64, got {_dtype_name(value.dtype)}; "
            f"{_cure(value.is_complex(), '.double()')}"
        )
    if value.is_meta or value.layout != torch.strided:
        came = "one on device meta" if value.is_meta else f"layout {value.layout}"
        raise ValueError(f"{name}: expected a dense tensor that holds its numbers, got {came}")
    return value


def _cure(is_complex: bool, conversion: str) -> str:
    return "pass its .real part" if is_complex else f"convert it, for example with {conversion}"


def is_table(value: Any) -> bool:
    """Whether numbers stand in a DataFrame or in lists, which no tensor was made of yet."""
    return hasattr(value, "to_numpy") or _levels_of_lists(value) > 0


def _levels_of_lists(value: Any) -> int:
    """How many lists stand in each other around a number; 0 if there is something else inside."""
    levels = 0
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
        levels += 1
    return levels if isinstance(value, (int, float)) else 0


def _describe_table(value: Any) -> str:
    """What came, and how to convert it if that is known."""
    if hasattr(value, "to_numpy"):
        return f"a {type(value).__name__}; convert it, for example with .to_numpy()"
    if levels := _levels_of_lists(value):
        of = "lists" if levels > 1 else "numbers"
        return f"a list of {of}; convert it, for example with torch.tensor(...)"
    return _describe(value)


def require_finite(tensor: Tensor, name: str) -> None:
    """Raise ValueError at the first NaN or infinity, with its index."""
    # A sum carries every NaN and infinity along, so one number usually settles it.
    if math.isfinite(tensor.sum().item()):
        return
    bad = (~torch.isfinite(tensor.detach())).nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        raise ValueError(
            f"{name}: expected finite values, got {tensor[index].item()} at index {index}"
            f" ({len(bad)} such values in all)"
        )


def require_answer(answer: Tensor, named: str, wanted: str) -> Tensor:
    """Return `answer` if it is finite; else the arguments `named` are too large or too small."""
    if math.isfinite(answer.sum().item()):
        return answer
    bad = answer.detach()[~torch.isfinite(answer.detach())]
    if len(bad):
        raise ValueError(
            f"{named}: expected numbers whose {wanted} {_dtype_name(answer.dtype)} can hold, "
            f"got {bad[0].item()}; other units may help"
        )
    return answer


def refuse_overflow(
    named: str,
) -> Callable[[Callable[Parameters, Tensor]], Callable[Parameters, Tensor]]:
    """Refuse finite arguments whose answer is not, unless a call says `validate_args=False`."""

    def decorate(function: Callable[Parameters, Tensor]) -> Callable[Parameters, Tensor]:
        @wraps(function)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Tensor:
            answer = function(*args, **kwargs)
            if not kwargs.get("validate_args", True):
                return answer
            return require_answer(answer, named, function.__name__)

        return checked

    return decorate


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
    if not torch.equal(scale_tril, scale_tril.tril()):
        raise ValueError(
            f"{name}: expected a lower-triangular matrix, got values above the diagonal"
        )
    smallest = _smallest(scale_tril.diagonal(dim1=-2, dim2=-1))
    if not smallest > 0:
        raise ValueError(f"{name}: expected a positive diagonal, got {smallest:.6g} on it")
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
    return as_symmetric(matrix, name, dim=dim, variances=True)


def as_symmetric(
    matrix: Any, name: str, *, dim: int | None = None, variances: bool = False
) -> Tensor:
    """Return a symmetric matrix (*batch, dim, dim), with or without variances on its diagonal."""
    matrix = as_square(matrix, name, dim=dim)
    variance = matrix.detach().diagonal(dim1=-2, dim2=-1)  # (*batch, dim)
    if variances and _smallest(variance) < 0:
        raise ValueError(
            f"{name}: expected variances on the diagonal, got {_smallest(variance):.6g}"
        )
    if torch.equal(matrix, matrix.mT):
        return matrix  # to ask how large an asymmetry may be takes microseconds
    scale = variance.abs().sqrt()
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


def require_semidefinite(matrix: Tensor, name: str) -> Tensor:
    """Return a symmetric matrix (*batch, dim, dim) if no eigenvalue is negative."""
    values = matrix.detach()
    scale = values.diagonal(dim1=-2, dim2=-1).sqrt()  # (*batch, dim)
    # In units of the scales, where a variance of one variable cannot hide that of another.
    units = torch.where(scale > 0, scale, 1.0)
    correlation = values / units[..., :, None] / units[..., None, :]
    smallest = torch.linalg.eigvalsh(correlation)[..., 0]  # (*batch,)
    rounding = 64 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    if bool((smallest < -rounding).any()):
        raise ValueError(
            f"{name}: expected a covariance, got a matrix whose correlations have the eigenvalue "
            f"{smallest.min().item():.3g}, which is negative"
        )
    return matrix


def try_cholesky(matrix: Tensor, count: Tensor | int = 0) -> tuple[Tensor, Tensor]:
    """Cholesky factor (*batch, d, d), and whether each failed (*batch,).

    `count`, one number or (*batch,), says how many samples a covariance was summed over.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if matrix.ndim == 2 and not info.item() and _is_clearly_definite(matrix, factor, count):
        return factor, info.bool()
    return factor, (info > 0) | _dependent_columns(matrix, factor, count).any(dim=-1)


def _is_clearly_definite(matrix: Tensor, factor: Tensor, count: Tensor | int) -> bool:
    """The first question of `_dependent_columns` about one matrix, where numbers are quicker."""
    variance = matrix.diagonal().tolist()
    pivots = factor.diagonal().tolist()
    share = math.prod(pivot / own * pivot for pivot, own in zip(pivots, variance, strict=True))
    return share > math.e * rounding_of_sums(matrix, float(count))


def _dependent_columns(matrix: Tensor, factor: Tensor, count: Tensor | int) -> Tensor:
    """Which columns, (*batch, d), have no variance left beyond the columns before them.

    Row j of L^-1 diag(sigma) says how rounding moves the variance that is left to column j: by its
    squared length, relatively. It is at least one over the share of the column that is left, and
    more where the columns before it are themselves nearly dependent.
    """
    variance = matrix.diagonal(dim1=-2, dim2=-1)  # (*batch, d)
    if isinstance(count, Tensor):
        count = count.to(matrix.dtype).unsqueeze(-1)
    rounding = rounding_of_sums(matrix, count)
    # The shares multiply to the determinant of the correlation matrix, and no eigenvalue of that is
    # below its determinant / e. This settles most cases without solving for anything.
    share = factor.diagonal(dim1=-2, dim2=-1).square() / variance  # (*batch, d)
    if bool((share.prod(dim=-1, keepdim=True) > math.e * rounding).all()):
        return torch.zeros_like(share, dtype=torch.bool)
    scale = torch.diag_embed(variance.sqrt())  # NaN where a variance is negative
    spread = torch.linalg.solve_triangular(factor, scale, upper=False).square().sum(dim=-1)
    return ~(rounding * spread < 1)  # NaN where a pivot is zero


def rounding_of_sums(matrix: Tensor, count: Any) -> Any:
    """What rounding may move the entries of a covariance by, relatively, summed over `count`.

    It grows with the columns and, like a random walk, with the samples: up to half of this was
    seen for up to 500,000 samples, four times leaves room.
    """
    return 4 * torch.finfo(matrix.dtype).eps * (matrix.shape[-1] + count**0.5)


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
    if below_diagonal.shape != expected or d == 0:
        raise ValueError(
            f"below_diagonal: expected shape {expected} for the {d} variables of log_diagonal, "
            f"got {tuple(below_diagonal.shape)}"
        )
    require_finite(log_diagonal, "log_diagonal")
    require_finite(below_diagonal, "below_diagonal")
    require_same_kind(log_diagonal=log_diagonal, below_diagonal=below_diagonal)
    scale = log_diagonal.detach().exp()
    if not (_smallest(scale) > 0 and _smallest(-scale) > -math.inf):
        furthest = log_diagonal.detach().flatten()[log_diagonal.detach().abs().argmax()]
        raise ValueError(
            f"log_diagonal: expected numbers whose exponential {_dtype_name(log_diagonal.dtype)} "
            f"can hold, got {furthest.item():.6g}"
        )
    return log_diagonal, below_diagonal


def require_variance(variance: Tensor, name: str) -> Tensor:
    """Return `variance` if it is positive throughout; else the matrix `name` is not definite."""
    smallest = _smallest(variance)
    if not smallest > 0:  # NaN is not
        raise ValueError(
            f"{name}: expected a positive definite matrix, got one with variance "
            f"{smallest:.3g} in some direction"
        )
    return variance


def _smallest(numbers: Tensor) -> float:
    """The smallest number in a tensor, NaN if any is; infinity where there is none."""
    return numbers.amin().item() if numbers.numel() else math.inf


def as_dtype(dtype: Any, name: str = "dtype") -> torch.dtype:
    """Return torch.float32 or torch.float64."""
    if dtype not in FLOATING:
        raise ValueError(f"{name}: expected torch.float32 or torch.float64, got {dtype!r}")
    return dtype


def as_kind_of_device(device: Any, name: str = "device") -> torch.device:
    """Return a torch.device, whether this machine has it or not."""
    if isinstance(device, torch.device):
        return device
    if isinstance(device, (str, int)) and not isinstance(device, bool):
        try:
            return torch.device(device)
        except (RuntimeError, ValueError):
            pass
    raise ValueError(f"{name}: expected a device such as 'cpu', 'cuda' or 'mps', got {device!r}")


def as_device(device: Any, name: str = "device") -> torch.device:
    """Return a torch.device that this machine has."""
    device = as_kind_of_device(device, name)
    if device.type == "cpu" and not device.index:
        return device  # looking for others takes microseconds
    present = ["cpu"]
    present += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    present += ["mps"] if torch.backends.mps.is_available() else []
    known = {*present, *(name.split(":")[0] for name in present)}
    if str(device) not in known and not (device.type in ("cpu", "mps") and device.type in known):
        raise ValueError(
            f"{name}: expected a device that is there ({', '.join(present)}), got {str(device)!r}"
        )
    return device


def as_kind(dtype: Any, device: Any) -> dict[str, Any]:
    """Return dtype and device of new parameters, by name: torch's defaults where they are None."""
    return {
        "dtype": as_dtype(torch.get_default_dtype() if dtype is None else dtype),
        "device": None if device is None else as_device(device),
    }


def require_count(value: Any, name: str, *, minimum: int = 1, maximum: int = LARGEST_COUNT) -> int:
    """Return a whole number between `minimum` and `maximum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected a whole number, got {_describe(value)}")
    if not minimum <= value <= maximum:
        is_limited = maximum < FAR or value > maximum
        limit = f"from {minimum} to {maximum}" if is_limited else f"at least {minimum}"
        raise ValueError(f"{name}: expected a whole number {limit}, got {value}")
    return int(value)


def require_counts(
    values: Any, name: str, *, minimum: int = 1, maximum: int = LARGEST_COUNT
) -> list[int]:
    """Return a sequence of whole numbers as a list."""
    if isinstance(values, (str, bytes, Tensor)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a sequence of whole numbers, got {_describe(values)}")
    return [require_count(each, name, minimum=minimum, maximum=maximum) for each in values]


def require_number(
    value: Any, name: str, *, above: float = -math.inf, below: float = math.inf
) -> float:
    """Return a finite real number between `above` and `below`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name}: expected a number, got {_describe(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number) or not above < number < below:
        limit = "" if above == -math.inf else f" above {above}"
        if below != math.inf:
            limit = f" between {above:g} and {below:g}"
        raise ValueError(f"{name}: expected a finite number{limit}, got {number}")
    return number


def require_flag(value: Any, name: str) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {_describe(value)}")
    return bool(value)


def require_text(value: Any, name: str) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {_describe(value)}")
    return value


def require_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return one of some strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def as_file(path: Any, name: str) -> Path:
    """Return the path of a file that is there or could be."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected the name of a file, got {_describe(path)}")
    if not text or "\0" in text or Path(text).is_dir():
        raise ValueError(f"{name}: expected the name of a file, got {text!r}")
    return Path(text)


def require_callable(value: Any, name: str) -> Any:
    """Return a function."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {_describe(value)}")
    return value


def _describe(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r}"[:80]


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
