"""Write a file whole or not at all: temporary, fsync, rename, fsync of the folder.

Every byte of a run goes through the four functions below, so that tests can make each of them fail.
"""

from __future__ import annotations

import os
from pathlib import Path

from thalweg.rundir.damage import refused


def _write(descriptor: int, data: memoryview) -> int:
    return os.write(descriptor, data)


def _fsync(descriptor: int) -> None:
    os.fsync(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: str | os.PathLike[str], data: bytes | str | memoryview) -> None:
    """Replace ``path`` by ``data``; after any failure the old file is intact.

    Args:
        path: Where to; its folder must exist.
        data: Text is written as UTF-8.

    Raises:
        OSError: Names the file, the reason and the free space. Nothing half-made is left.
    """
    target = Path(path)
    left = memoryview(data.encode() if isinstance(data, str) else data).cast("B")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            while left:
                written = _write(descriptor, left)
                left = left[written:]
            _fsync(descriptor)
        finally:
            os.close(descriptor)
        _replace(temporary, target)
        _fsync_folder(target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise refused(error, target) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
