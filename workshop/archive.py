"""Zips that are the same, byte by byte, whenever and wherever the same files are packed."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier time
UNIX = 3
FILE_MODE, FOLDER_MODE = 0o100644, 0o040755


def pack(folder: Path, archive: Path) -> Path:
    """Pack a folder, its name on top, so that unpacking makes one folder.

    Parameters
    ----------
    folder : Path
        Folders in it are packed even if they are empty.
    archive : Path
        Written anew.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    ValueError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"folder: expected one that exists, got {str(folder)!r}")
    with ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*"), key=lambda each: each.relative_to(folder).parts):
            name = path.relative_to(folder.parent).as_posix()
            packed.writestr(*_entry(path, name), compresslevel=9)
    return archive


def _entry(path: Path, name: str) -> tuple[ZipInfo, bytes]:
    is_folder = path.is_dir()
    entry = ZipInfo(f"{name}/" if is_folder else name, EARLIEST)
    entry.create_system = UNIX
    entry.external_attr = (FOLDER_MODE if is_folder else FILE_MODE) << 16
    entry.compress_type = ZIP_STORED if is_folder else ZIP_DEFLATED
    return entry, b"" if is_folder else path.read_bytes()
