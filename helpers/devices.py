"""Where tensors live: choosing a device, and waiting for it before reading a clock."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.validation import as_device, as_kind_of_device


def best_device() -> torch.device:
    """The fastest kind of device that this machine has.

    Returns
    -------
    torch.device
        cuda if there is one, else mps, else cpu.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def synchronize(device: torch.device | str) -> None:
    """Wait until a device has done all that it was asked to do; a CPU always has.

    Without it a clock measures how long it took to ask.

    Parameters
    ----------
    device : torch.device or str

    Raises
    ------
    ValueError
        If the device is not there.
    """
    device = as_device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def widest_dtype(device: torch.device | str) -> torch.dtype:
    """The most precise floating dtype that a device computes in.

    Parameters
    ----------
    device : torch.device or str
        It need not be there.

    Returns
    -------
    torch.dtype
        float64, but float32 on Apple's GPUs, which have nothing wider.

    Raises
    ------
    ValueError
        If there is no such kind of device.
    """
    return torch.float32 if as_kind_of_device(device).type == "mps" else torch.float64


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; float64 becomes float32 where the device has nothing wider."""
    too_wide = tensor.dtype == torch.float64 and widest_dtype(device) == torch.float32
    return tensor.to(device=device, dtype=torch.float32 if too_wide else tensor.dtype)
