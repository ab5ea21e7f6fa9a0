"""A plugin of pytest: kernels talk over socket files, where there is no network at all."""

from __future__ import annotations

import tempfile
from functools import partial

import nbval.kernel
import pytest
from jupyter_client.manager import KernelManager


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval, which has no option for it, start its kernels so."""
    folder = tempfile.TemporaryDirectory(prefix="kernels-")
    config.add_cleanup(folder.cleanup)
    nbval.kernel.KernelManager = partial(KernelManager, transport="ipc", ip=f"{folder.name}/kernel")
