"""What the drawing functions share: checks of arguments, and tensors as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like
from matplotlib.lines import Line2D
from torch import Tensor

from helpers.validation import as_tensor, require_finite, require_text

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


LARGEST_DRAWN = 1e150  # its square is a number, too


def as_array(
    value: Tensor | ArrayLike, name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Finite float64 array on the CPU; None in `shape` stands for any size but 0."""
    tensor = _as_real_tensor(value, name)
    fits = tensor.ndim == len(shape) and all(
        size > 0 if expected is None else size == expected
        for size, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape ({expected}), got {tuple(tensor.shape)}")
    require_finite(tensor, name)
    if bool((tensor.abs() > LARGEST_DRAWN).any()):
        raise ValueError(
            f"{name}: expected numbers up to {LARGEST_DRAWN:g}, which can be drawn, "
            f"got {tensor.abs().max():.3g}"
        )
    return tensor.numpy()


def _as_real_tensor(value: Any, name: str) -> Tensor:
    """Tensor of float64 on the CPU, of anything that holds real numbers and nothing else."""
    if isinstance(value, Tensor):
        if value.is_complex() or value.is_meta or value.layout != torch.strided:
            as_tensor(value, name)  # raises
        return value.detach().to("cpu", torch.float64)
    if isinstance(value, np.ma.MaskedArray):
        as_tensor(value, name)  # raises
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.array(None)  # of no kind of number
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected real numbers, got {type(value).__name__} {value!r}"[:200]
        )
    return torch.from_numpy(array.astype(np.float64))


def require_axes(ax: Any) -> Axes:
    """Return axes; an array of them, as `plt.subplots` gives, is none."""
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected one matplotlib Axes, got {type(ax).__name__}")
    return ax


def require_look(color: Any, label: Any = None, linestyle: Any = "-") -> None:
    """Raise an error at what matplotlib cannot draw with, or would write as something else."""
    if not isinstance(color, str) or not is_color_like(color):
        raise ValueError(f"color: expected one of COLORS or of matplotlib's, got {color!r}")
    if label is not None:
        require_text(label, "label")
    if not _is_linestyle(linestyle):
        raise ValueError(
            f"linestyle: expected one of matplotlib's, such as '--', got {linestyle!r}"
        )


def _is_linestyle(value: Any) -> bool:
    if not isinstance(value, (str, tuple)):
        return False
    try:
        Line2D([], [], linestyle=value)
    except (TypeError, ValueError):
        return False
    return True


def require_labels(labels: Any, count: int) -> list[str] | None:
    """Return `count` texts as a list; None stays None."""
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise TypeError(f"labels: expected a sequence of {count} texts, got {labels!r}")
    texts = [require_text(label, "labels") for label in labels]
    if len(texts) != count:
        raise ValueError(f"labels: expected {count} labels, got {len(texts)} labels")
    return texts


def require_mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return a mapping from names to something, perhaps an empty one."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name}: expected a dict with texts as keys, got {type(value).__name__}")
    return value
