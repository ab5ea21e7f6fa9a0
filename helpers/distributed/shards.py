"""Shards: which files there are, which rank reads which, and their rows chunk by chunk."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from glob import glob
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

CHUNK = 2**18  # numbers read at a time, two MiB in float64: what stays in a cache
FIRST = 128  # rows whose median is near the others
APART = 16  # numbers between two columns
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DTYPES = ("float32", "float64")
DOUBLE = torch.float64


@dataclass(frozen=True)
class Shard:
    """One `.npy` file, as its header and its folder describe it.

    Attributes
    ----------
    path : str
        Absolute, links followed.
    rows, columns : int
        Shape of the array in it.
    dtype : str
        "float32" or "float64".
    size : int
        Bytes of the file.
    mtime_ns : int
        When it was written to, in nanoseconds.
    """

    path: str
    rows: int
    columns: int
    dtype: str
    size: int
    mtime_ns: int

    def identity(self) -> dict[str, Any]:
        """What tells this shard from what may stand under its name later."""
        return asdict(self)


@dataclass(frozen=True)
class _Header:
    """What the first bytes of a `.npy` file say."""

    shape: tuple[int, ...]
    dtype: np.dtype
    by_columns: bool  # in Fortran's order
    start: int  # of the numbers, in bytes


def list_shards(paths: Any) -> tuple[Shard, ...]:
    """Find shards and read their headers; the rows themselves are not looked at.

    Parameters
    ----------
    paths : str, Path or iterable of them
        `.npy` files, folders of them, and patterns such as ``data/**/part-*.npy``.

    Returns
    -------
    tuple of Shard
        Each file once, however often it was named, in natural order of the names: part-2 comes
        before part-10. The order of `paths` makes no difference. Each with `path`, `rows`,
        `columns`, `dtype`, `size` in bytes and `mtime_ns`, when it was written to.

    Raises
    ------
    TypeError, ValueError
        If `paths` names no shard, or one is damaged, or not like the others: the message names the
        file, and the row where there is one.
    OSError
        If a file is not there or cannot be read.
    """
    return find_shards(paths)


def find_shards(paths: Any, beat: Callable[[], None] = lambda: None) -> tuple[Shard, ...]:
    """`list_shards`; `beat` is called before each header is read."""
    found = sorted({_followed(file) for file in _files(paths)}, key=_natural)
    shards = tuple(_read_one(path, beat) for path in found)
    filled = [shard for shard in shards if shard.rows]
    if not filled:
        raise ValueError(
            f"paths: expected shards with at least one row, got {len(shards)} that are all empty"
        )
    for shard in shards:
        _require_alike(shard, filled[0])
    return shards


def _followed(name: str) -> str:
    """Where a file really is; a link to nowhere is spoken of by its own name."""
    place = os.path.realpath(name)
    return place if os.path.lexists(place) else os.path.abspath(name)


def _read_one(path: str, beat: Callable[[], None]) -> Shard:
    beat()
    return read_header(path)


def _files(paths: Any) -> Iterator[str]:
    """Every file that the paths name."""
    named = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    if isinstance(named, (bytes, Tensor, np.ndarray)) or not isinstance(named, Iterable):
        raise TypeError(
            f"paths: expected names of files or folders, got {type(paths).__name__} {paths!r}"[:200]
        )
    named = list(named)
    if not named:
        raise ValueError("paths: expected at least one file, folder or pattern, got none")
    for path in named:
        yield from _files_of(_as_name(path))


def _as_name(path: Any) -> str:
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(name, str):
        raise TypeError(
            f"paths: expected names of files or folders, got {type(path).__name__} {path!r}"[:200]
        )
    if not name or "\0" in name:
        raise ValueError(f"paths: expected names of files or folders, got {name!r}")
    return name


def _files_of(name: str) -> list[str]:
    """The files that one name stands for: itself, those of a folder, those that match a pattern."""
    if os.path.isdir(name):
        return _files_in(name)
    if os.path.lexists(name):
        return [name]
    matches = glob(name, recursive=True)
    files = [match for match in matches if not os.path.isdir(match)]
    if not files:  # a pattern of folders
        files = [file for match in matches for file in _files_in(match)]
    if not files:
        what = "no file matches the pattern" if _is_pattern(name) else "no such file"
        words = f"paths: expected a file, a folder or a pattern, {what}"
        raise FileNotFoundError(errno.ENOENT, words, name)
    return files


def _is_pattern(name: str) -> bool:
    """Whether a name holds what makes it a pattern."""
    return any(sign in name for sign in "*?[")


def _files_in(folder: str) -> list[str]:
    """The shards in a folder, without those in its folders and without hidden ones."""
    names = sorted(os.listdir(folder))
    files = [name for name in names if name.endswith(".npy") and not name.startswith(".")]
    if not files:
        raise ValueError(f"paths: expected a folder with .npy files, got {folder!r} with none")
    return [os.path.join(folder, name) for name in files]


def _natural(path: str) -> tuple[list[Any], str]:
    """A key that sorts part-2 before part-10."""
    pieces = re.split(r"([0-9]+)", path)  # text and digits in turn
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], path


def read_header(path: str) -> Shard:
    """What a file says of itself, held against its size."""
    with _named_errors(path), open(path, "rb") as file:
        shard, _ = _described(file, path)
    return shard


def _described(file: BinaryIO, path: str) -> tuple[Shard, _Header]:
    """The shard in an open file, if it is one."""
    header = _read_header(file, path)
    state = os.fstat(file.fileno())
    if header.dtype.name not in DTYPES:
        raise ValueError(
            f"{path}: expected dtype float32 or float64, got {header.dtype}; "
            f"write it anew, for example with numpy.save(file, array.astype('float32'))"
        )
    if len(header.shape) != 2 or header.shape[1] == 0:
        raise ValueError(f"{path}: expected shape (n, d), one row a sample, got {header.shape}")
    rows, columns = header.shape
    shard = Shard(path, rows, columns, header.dtype.name, state.st_size, state.st_mtime_ns)
    _require_whole(shard, header)
    return shard, header


def _read_header(file: BinaryIO, path: str) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"version {version} of the format")
        shape, by_columns, dtype = HEADERS[version](file)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        what = f"another: {reason}"
        if reason.startswith("EOF"):  # NumPy's word for a file that ends too early
            size = os.fstat(file.fileno()).st_size
            what = f"one that is cut off in its header, after {size} bytes"
        raise ValueError(f"{path}: expected a .npy file of numbers, got {what}") from None
    return _Header(shape, dtype, by_columns, file.tell())


def _require_whole(shard: Shard, header: _Header) -> None:
    """Raise ValueError unless the file holds the rows that its header promises, and no more."""
    a_row = shard.columns * header.dtype.itemsize
    there = shard.size - header.start
    if there == shard.rows * a_row:
        return
    if there > shard.rows * a_row:
        raise ValueError(
            f"{shard.path}: expected {shard.rows} rows of {a_row} bytes, got "
            f"{there - shard.rows * a_row} bytes more: is it still being written?"
        )
    raise ValueError(f"{shard.path}: {_cut_off(shard, header, there)}")


def _cut_off(shard: Shard, header: _Header, there: int) -> str:
    """What is missing in a file that holds too few bytes of numbers."""
    row = max(0, there) // (shard.columns * header.dtype.itemsize)
    where = "in its columns" if header.by_columns else f"in row {row}"
    return f"expected {shard.rows} rows, got a file that is cut off {where}"


def _require_alike(shard: Shard, first: Shard) -> None:
    """Raise ValueError unless a shard has the columns and the dtype of the first one."""
    if shard.columns != first.columns:
        raise ValueError(
            f"{shard.path}: expected {first.columns} columns like {first.path}, got {shard.columns}"
        )
    if shard.dtype != first.dtype:
        raise ValueError(
            f"{shard.path}: expected dtype {first.dtype} like {first.path}, got {shard.dtype}"
        )


def share_out(shards: Iterable[Shard], n_ranks: int) -> list[list[Shard]]:
    """Shards of each rank: the largest first, each to the rank with the fewest rows so far."""
    shares: list[list[int]] = [[] for _ in range(n_ranks)]
    loads = [0] * n_ranks
    shards = list(shards)
    for i in sorted(range(len(shards)), key=lambda i: (-shards[i].rows, i)):
        # An empty shard is work too, for who has the fewest shards.
        rank = min(range(n_ranks), key=lambda r: (loads[r], len(shares[r]), r))
        shares[rank].append(i)
        loads[rank] += shards[i].rows
    return [[shards[i] for i in sorted(share)] for share in shares]


class Rows:
    """The rows of a shard, of which only one chunk is in memory.

    They are read, not mapped into memory: to touch a page that is beyond the end of a file by now,
    or that a disk cannot read, would end the process without a word.

    Parameters
    ----------
    shard : Shard
        As it was listed; a file that has changed since is refused.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard

    def __enter__(self) -> Rows:
        path = self.shard.path
        with _named_errors(path):
            self._file = open(path, "rb")
        try:
            found, self._header = _described(self._file, path)
            if found != self.shard:
                raise ValueError(_changed(path))
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def first(self) -> Tensor:
        """The median of the first rows, (d,), in float64: near the others, whatever one row is."""
        rows = self._read(0, FIRST).astype(self.shard.dtype, order="C")
        self._require_finite(rows, 0)
        return torch.from_numpy(rows).to(DOUBLE).median(dim=0).values

    def chunks(self) -> Iterator[Tensor]:
        """The rows, some at a time, (k, d), in float64, whatever the file holds.

        All chunks share one piece of memory: each is only good until the next one is asked for,
        and may be written over.
        """
        longest = min(self._step, self.shard.rows)
        room = torch.empty(longest, self.shard.columns, dtype=DOUBLE)
        # What is in the file as it is in `room` goes there directly.
        is_alike = self._header.dtype == room.numpy().dtype and not self._header.by_columns
        place = room.numpy() if is_alike else self._room(longest)
        for start in range(0, self.shard.rows, self._step):
            chunk = room[: self.shard.rows - start]
            rows = self._read(start, start + self._step, place)
            if not is_alike:
                np.copyto(chunk.numpy(), rows)
            yield chunk
        self._require_unchanged()

    def refuse(self, start: int, error: ValueError) -> ValueError:
        """The error of a chunk that begins with row `start`, with the file and the row it is in."""
        try:
            self._require_finite(self._read(start, start + self._step), start)
        except ValueError as found:
            return found
        return ValueError(f"{self.shard.path}: from row {start}: {error}")

    @property
    def _step(self) -> int:
        """Rows of a chunk: no fewer than columns, or adding up would take longer than summing."""
        return max(self.shard.columns, CHUNK // self.shard.columns)

    def _read(self, start: int, stop: int, place: np.ndarray | None = None) -> np.ndarray:
        """Rows up to `stop` or the last one, (k, d), as the file has them.

        They are read into the beginning of `place`, if it is given. Raises ValueError if the file
        has become shorter.
        """
        shard, header = self.shard, self._header
        k, d = min(stop, shard.rows) - start, shard.columns
        rows = (self._room(k) if place is None else place)[:k]
        with _named_errors(shard.path):
            if header.by_columns:
                read = sum(map(self._fill, rows.T, range(start, shard.rows * d, shard.rows)))
            else:
                read = self._fill(rows, start * d)
            size = os.fstat(self._file.fileno()).st_size
        if read < rows.nbytes or size < shard.size:
            raise ValueError(f"{shard.path}: {_cut_off(shard, header, size - header.start)}")
        return rows

    def _room(self, k: int) -> np.ndarray:
        """Room for k rows as they are in the file, (k, d)."""
        header, d = self._header, self.shard.columns
        if not header.by_columns:
            return np.empty((k, d), header.dtype)
        # Columns that were a power of two apart would push each other out of the cache.
        return np.empty((d, k + APART), header.dtype)[:, :k].T

    def _fill(self, numbers: np.ndarray, first: int) -> int:
        """Read numbers that follow each other in the file, from one on; how many bytes."""
        self._file.seek(self._header.start + first * numbers.itemsize)
        return self._file.readinto(numbers)

    def _require_unchanged(self) -> None:
        """Raise ValueError if somebody has written to the file while it was read."""
        state = os.fstat(self._file.fileno())
        if (state.st_size, state.st_mtime_ns) != (self.shard.size, self.shard.mtime_ns):
            raise ValueError(_changed(self.shard.path))

    def _require_finite(self, rows: np.ndarray, start: int) -> None:
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            row, column = bad[0].tolist()
            raise ValueError(
                f"{self.shard.path}: expected finite values, got {rows[row, column]} in row "
                f"{start + row}, column {column}"
            )


def _changed(path: str) -> str:
    return f"{path}: expected the file as it was listed, got one that has changed since"


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Let an OSError say which shard could not be read."""
    try:
        yield
    except OSError as error:
        words = f"a shard cannot be read, {error.strerror or error}"
        raise OSError(error.errno, words, path) from error
