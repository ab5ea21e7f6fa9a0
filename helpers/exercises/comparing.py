"""How an answer is compared with the solution: its kind, its shape, its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

ORDINALS = ("first", "second", "third", "fourth")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}  # an answer may be computed another way, or in float32


def is_nothing(value: Any) -> bool:
    """Whether a value is what a stub gives."""
    return value is None or value is Ellipsis


def kind_of(value: Any) -> str:
    """The name of the type of a value."""
    return type(value).__name__


def agree(expected: Sequence[Any], given: Sequence[Any]) -> bool:
    """Whether each value given is of the kind, the shape and the value expected."""
    pairs = zip(expected, given, strict=True)
    return all(not complaint(wanted, value) and _equal(wanted, value) for wanted, value in pairs)


def complaint(wanted: Any, value: Any) -> str:
    """What is wrong with the kind or the shape of a value; empty where nothing is."""
    if isinstance(wanted, tuple):
        return _complaint_about_tuple(wanted, value)
    if isinstance(wanted, (bool, str)):
        kind = kind_of(wanted)
        return "" if isinstance(value, type(wanted)) else f"a {kind} is asked for, got {value!r}."
    if callable(value) and not isinstance(value, Tensor):
        return (
            f"numbers are asked for, this is a {kind_of(value)}. Are the parentheses of a call "
            "missing, as in `.sum` for `.sum()`?"
        )
    if isinstance(value, tuple):
        return f"one result is asked for, this is a tuple of {len(value)}. Return one of them."
    return _complaint_about_numbers(wanted, value)


def _complaint_about_tuple(wanted: tuple[Any, ...], value: Any) -> str:
    if not isinstance(value, (tuple, list)):
        return f"a tuple of {len(wanted)} is asked for, this is a {kind_of(value)}."
    if len(value) != len(wanted):
        kind = kind_of(value)
        return f"a tuple of {len(wanted)} is asked for, this is a {kind} of {len(value)}."
    complaints = map(complaint, wanted, value)
    named = zip(ORDINALS, complaints, strict=False)
    told = next((f"the {which} part: {told}" for which, told in named if told), "")
    if told and agree(wanted, value[::-1]):
        told += " Each part is right; they are in the wrong order."
    return told


def _complaint_about_numbers(wanted: Any, value: Any) -> str:
    try:
        numbers = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        if isinstance(value, list) and any(isinstance(part, Tensor) for part in value):
            return (
                f"one tensor is asked for, this is a list of {len(value)}; `torch.stack` makes one "
                "of them."
            )
        return f"numbers are asked for, this is a {kind_of(value)}."
    if numbers.is_complex():
        return "real numbers are asked for, yours are complex."
    shape, asked = tuple(numbers.shape), tuple(torch.as_tensor(wanted).shape)
    return "" if shape == asked else f"the shape should be {asked}, yours is {shape}."


def is_finite(wanted: Any, value: Any) -> bool:
    """False where a value holds a NaN, or an infinity that the one wanted has not."""
    if isinstance(wanted, tuple):
        return all(map(is_finite, wanted, value))
    if isinstance(wanted, (bool, str)):
        return True
    wanted, value = _double(wanted), _double(value)
    return bool((torch.isfinite(value) | (wanted == value)).all())


def _equal(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, tuple):
        return all(map(_equal, wanted, value))
    if isinstance(wanted, (bool, str)):
        return wanted == value
    # No solution has a NaN; a mistake may have one, and is recognised by it.
    return torch.allclose(_double(wanted), _double(value), **TOLERANCE, equal_nan=True)


def _double(value: Any) -> Tensor:
    """Numbers in the precision and the place in which they are compared."""
    return torch.as_tensor(value).to("cpu", torch.float64)


# What a wrong shape has in common with the right one ------------------------------------------


def _without_ones(shape: torch.Size) -> list[int]:
    return [length for length in shape if length != 1]


def _is_reshaped(wanted: Tensor, value: Tensor) -> bool:
    same = _without_ones(wanted.shape) == _without_ones(value.shape)
    return same and _equal(wanted, value.reshape(wanted.shape))


def _is_transposed(wanted: Tensor, value: Tensor) -> bool:
    return wanted.ndim == value.ndim >= 2 and _fits(wanted, value.mT)


def _is_unsummed(wanted: Tensor, value: Tensor) -> bool:
    return any(_fits(wanted, value.sum(dim)) for dim in range(value.ndim))


def _is_unaveraged(wanted: Tensor, value: Tensor) -> bool:
    return any(_fits(wanted, value.mean(dim)) for dim in range(value.ndim))


def _fits(wanted: Tensor, value: Tensor) -> bool:
    return wanted.shape == value.shape and _equal(wanted, value)


_RELATIONS: tuple[tuple[Callable[[Tensor, Tensor], bool], str], ...] = (
    (
        _is_reshaped,
        "The numbers are right: only axes of length one differ, as `keepdim` or `[None]` make.",
    ),
    (_is_transposed, "The numbers are right: this is the transpose."),
    (_is_unsummed, "The numbers are right so far: over one axis they are still to be added up."),
    (_is_unaveraged, "The numbers are right so far: over one axis their mean is still missing."),
)


def relation(expected: Sequence[Any], given: Sequence[Any]) -> str:
    """What numbers of a wrong shape have to do with the right ones; empty where it is nothing."""
    pairs = list(zip(expected, given, strict=True))
    if not all(map(_can_be_numbers, pairs)):
        return ""
    tensors = [(_double(wanted), _double(value)) for wanted, value in pairs]
    holds = (told for is_related, told in _RELATIONS if all(is_related(*pair) for pair in tensors))
    return next(holds, "")


def _can_be_numbers(pair: tuple[Any, Any]) -> bool:
    """Whether nothing but the shape keeps two values from being compared."""
    return not any(isinstance(value, (tuple, bool, str)) for value in pair) and (
        complaint(*pair)[:9] in ("", "the shape")
    )
