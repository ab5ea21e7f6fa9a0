"""What the drawing functions share: tensors and arrays as NumPy arrays on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from helpers.validation import require_finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def as_array(
    value: Tensor | ArrayLike, name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Finite float64 array on the CPU; None in `shape` stands for any size but 0."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    tensor = torch.as_tensor(value, dtype=torch.float64)
    fits = tensor.ndim == len(shape) and all(
        size > 0 if expected is None else size == expected
        for size, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape ({expected}), got {tuple(tensor.shape)}")
    require_finite(tensor, name)
    return tensor.numpy()
