"""Where tensors live: choosing a device, and waiting for it before reading a clock."""

from __future__ import annotations

import torch


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


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was asked to do; a CPU always has.

    Without it a clock measures how long it took to ask.

    Parameters
    ----------
    device : torch.device
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def widest_dtype(device: torch.device) -> torch.dtype:
    """The most precise floating dtype the device computes in; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
