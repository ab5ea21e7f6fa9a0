"""Checkpoints: written whole or not at all, read without running any code."""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from helpers.validation import FLOATING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FORMAT = "covariance-course fit 2"
BEGINNING = b"PK\x03\x04"  # of every zip archive, which is what torch.save writes
MEMBER = b"archive/data.pkl"  # its first, named in its first bytes; other archives hold others
FOREIGN = "is no checkpoint of this course; name another file"
WAY_OUT = "name another file, or delete this one to start anew"
PLAIN = (type(None), bool, int, float, str)


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state` so that the file is the old one or the new one, at every moment.

    Where a process is killed while it writes, a hidden file `.NAME.XXXXXXXX.part` stays behind;
    the next save to the same path removes it.

    Parameters
    ----------
    path : str or Path
        The folder must exist.
    state : dict
        Tensors, numbers, strings, None, and lists, tuples and dicts of them.

    Raises
    ------
    TypeError, ValueError
        If `path` names no file, or `state` holds something else; nothing is then written.
    OSError
        If the file cannot be written; an older checkpoint is then untouched.
    """
    path = as_checkpoint_path(path, "path")
    if not isinstance(state, dict):
        raise TypeError(f"state: expected a dict, got {type(state).__name__}")
    write_files({path: packed(state)})


def packed(state: dict[str, Any]) -> memoryview:
    """The content of a checkpoint."""
    content = io.BytesIO()
    torch.save({**_plain(state, "state"), "format": FORMAT}, content)
    return content.getbuffer()


def write_files(
    contents: Mapping[Path, bytes | memoryview], name: str = "checkpoint", *, tidy: bool = True
) -> None:
    """Write files so that each is the old one or the new one, at every moment.

    All of them are on the disk before the first takes its name, in the order given: where one
    cannot be written, none is. Of several the last one stands for all: an older one is gone before
    the first takes its name, so that nobody sees it beside files that are not its own.

    With `tidy`, what killed processes left of these files is removed, for which the whole folder
    is looked through.
    """
    with ExitStack() as stack:
        made = []
        for path, content in contents.items():
            with _named_errors(path, name):
                if tidy:
                    sweep(path.parent, path.name)
                file, temporary = stack.enter_context(_part(path))
                _write_all(file, content)
                if hasattr(os, "fchmod"):  # a temporary file is for nobody else to read
                    os.fchmod(file.fileno(), 0o666 & ~_umask())
                os.fsync(file.fileno())  # or a power cut could leave the new name on old bytes
                if fcntl is None:
                    file.close()  # Windows renames no open file; elsewhere the lock lasts on
                made.append((temporary, path))
        if len(made) > 1:
            _, last = made[-1]
            with _named_errors(last, name):
                last.unlink(missing_ok=True)
        for temporary, path in made:
            with _named_errors(path, name):
                os.replace(temporary, path)


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
    TypeError, ValueError
        If `path` names no file, or one that is damaged or no checkpoint of this course.
    """
    path = as_checkpoint_path(path, "path")
    with path.open("rb") as file:  # that it can be read is the system's business
        # The wrong file may be larger than memory, so its beginning is looked at first.
        content = io.BytesIO(file.read() if file.peek(4).startswith(BEGINNING) else b"")
    try:
        _require_whole(content)
        state = torch.load(content, map_location="cpu", weights_only=True)
        _require_compact(state)
    except Exception as error:  # damage shows in a dozen types, from BadZipFile to IndexError
        # What is not ours may be dear to somebody: nothing is said about deleting it.
        is_ours = MEMBER in content.getvalue()[:100]
        what = f"cannot be read; {WAY_OUT}" if is_ours else FOREIGN
        raise ValueError(
            f"checkpoint: expected a file written by fit, got {str(path)!r}, which {what}"
        ) from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        what = f"is of format {found!r}; {WAY_OUT}" if _is_a_format(found) else FOREIGN
        raise ValueError(
            f"checkpoint: expected a file of format {FORMAT!r}, got {str(path)!r}, which {what}"
        )
    return state


def _is_a_format(found: Any) -> bool:
    return isinstance(found, str) and found.startswith(FORMAT.rstrip("0123456789"))


def as_checkpoint_path(path: Any, name: str = "checkpoint") -> Path:
    """Return the absolute path of a file that is there or could be; links are followed."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected the name of a file, got {type(path).__name__} {path!r}")
    if not text or "\0" in text:
        raise ValueError(f"{name}: expected the name of a file, got {text!r}")
    # A link is followed, or the file would take its place; a later change of folder does no harm.
    place = Path(os.path.realpath(text))
    if place.exists() and not place.is_file():
        what = "a folder" if place.is_dir() else "no ordinary file"
        raise ValueError(f"{name}: expected the name of a file, got {text!r}, which is {what}")
    return place


def require_writable(path: Path, name: str = "checkpoint") -> None:
    """Raise OSError if no file can be made beside `path`, before anybody trains for hours."""
    with _named_errors(path, name):
        sweep(path.parent, path.name)
        with _part(path) as (file, temporary):
            file.close()
            os.unlink(temporary)


def require_entry(state: Any, name: str, kind: type) -> Any:
    """Return what a checkpoint holds under `name`; ValueError if it is not there or no `kind`."""
    if not isinstance(state, dict) or name not in state:
        raise ValueError(f"checkpoint: expected an entry {name!r}, got a file without it")
    # True is an int for isinstance.
    if type(state[name]) is not kind and not (kind is Tensor and isinstance(state[name], Tensor)):
        raise ValueError(
            f"checkpoint: expected {name!r} to be of type {kind.__name__}, "
            f"got {type(state[name]).__name__}"
        )
    return state[name]


def require_tensor_entry(
    state: Any, name: str, shape: Iterable[int], dtypes: tuple[torch.dtype, ...] = FLOATING
) -> Tensor:
    """Return the tensor under `name`; ValueError unless it has this shape, dtype and is finite."""
    tensor, shape = require_entry(state, name, Tensor), tuple(shape)
    if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
        raise ValueError(
            f"checkpoint: expected {name!r} of shape {shape} and dtype "
            f"{' or '.join(map(str, dtypes))}, got {tuple(tensor.shape)} and {tensor.dtype}"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"checkpoint: expected finite numbers in {name!r}, got NaN or infinity")
    return tensor


def _plain(value: Any, name: str) -> Any:
    """The same in types that can be read without running code; TypeError where there is none."""
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        return tensor if _is_compact(tensor) else tensor.contiguous().clone()
    if isinstance(value, np.generic):
        return _plain(value.item(), name)
    if isinstance(value, dict):
        return {_plain(k, name): _plain(v, f"{name}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_plain(v, f"{name}[{i}]") for i, v in enumerate(value)]
        return tuple(parts) if isinstance(value, tuple) else parts
    if type(value) not in PLAIN:
        raise TypeError(
            f"{name}: expected tensors, numbers, strings, and lists and dicts of them, "
            f"got {type(value).__name__}"
        )
    return value


def _is_compact(tensor: Tensor) -> bool:
    """Whether a tensor lies on the CPU and in a storage of exactly its size."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return False
    size = tensor.numel() * tensor.element_size()
    return tensor.is_contiguous() and tensor.untyped_storage().nbytes() == size


def _require_whole(content: BinaryIO) -> None:
    """Raise BadZipFile if anything in the archive is damaged, or larger than the archive is."""
    archive = zipfile.ZipFile(content)
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise zipfile.BadZipFile("torch.save compresses nothing")
    broken = archive.testzip()  # torch.load does not compare the check sums
    if broken is not None:
        raise zipfile.BadZipFile(f"wrong check sum of {broken}")
    content.seek(0)


def _require_compact(state: Any) -> None:
    """Raise ValueError at a tensor that claims more numbers than the file holds."""
    waiting, seen = [state], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor) and not _is_compact(value):
            raise ValueError(f"a tensor of shape {tuple(value.shape)} beyond its numbers")
        if isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()


@contextmanager
def _named_errors(path: Path, name: str) -> Iterator[None]:
    """Let an OSError say what could not be written, and where."""
    try:
        yield
    except OSError as error:
        words = f"{name}: cannot be written, {error.strerror or error}"
        raise OSError(error.errno, words, str(path)) from error


@contextmanager
def _part(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """A new locked file beside `path` and its name; removed unless all goes well."""
    handle, temporary = _new_part(path)
    try:
        # Without a buffer: what did not fit on the disk would be tried again when it is closed.
        with os.fdopen(handle, "wb", 0) as file:
            yield file, temporary
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_all(file: BinaryIO, content: bytes | memoryview) -> None:
    """Write until all is written: a file without a buffer may take less than it is given."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _umask() -> int:
    """What others may not do with new files: it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _new_part(path: Path) -> tuple[int, str]:
    """Create and lock a hidden file: its handle, and its name."""
    while True:
        handle, temporary = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks, where nothing is swept either
                fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # another process swept it before it was locked


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left half written of one file in a folder, or of all `.pt`.

    A writer that is alive holds a lock.
    """
    if fcntl is None:
        return
    written = r".+\.pt" if name is None else re.escape(name)
    part = re.compile(rf"\.{written}\.[a-z0-9_]{{8}}\.part")
    for left in filter(part.fullmatch, os.listdir(folder)):
        # It may be locked, or gone by now.
        with suppress(OSError), open(folder / left, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(folder / left)
