"""Checkpoints: written whole or not at all, read without running any code."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

FORMAT = "covariance-course fit 1"


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state` so that the file is the old one or the new one, at every moment.

    Parameters
    ----------
    path : str or Path
        The folder must exist.
    state : dict
        Tensors, numbers, strings, and lists and dicts of them.

    Raises
    ------
    OSError
        If the file cannot be written; an older checkpoint is then untouched.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name on old bytes
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        The state, with tensors on the CPU.

    Raises
    ------
    OSError
        If there is no such file, or it may not be read.
    ValueError
        If the file is damaged or something else than a checkpoint of this course.
    """
    content = io.BytesIO(Path(path).read_bytes())  # that it can be read is the system's business
    try:
        broken = zipfile.ZipFile(content).testzip()  # torch.load does not compare the check sums
        if broken is not None:
            raise zipfile.BadZipFile(f"wrong check sum of {broken}")
        content.seek(0)
        state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in a dozen types, from BadZipFile to IndexError
        raise ValueError(
            f"checkpoint: expected a file written by fit, got {str(path)!r}, which cannot be read; "
            f"delete it to start anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint: expected a file of format {FORMAT!r}, got {str(path)!r}, which is not"
        )
    return state
