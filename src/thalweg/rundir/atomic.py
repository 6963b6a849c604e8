"""Write a file whole or not at all: temporary, fsync, rename, fsync of the folder.

Every byte of a run but the journal's goes through the small functions below, so that tests can make
each of them fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from pathlib import Path

from thalweg.rundir.damage import refused

_PART = re.compile(r"\.thalweg-(\d+)-[0-9a-f]{8}\.part")
_in_flight: set[str] = set()  # temporaries that this process is writing just now


def _create(path: Path, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)


def _write(descriptor: int, data: memoryview) -> int:
    return os.write(descriptor, data)


def _fsync(descriptor: int) -> None:
    os.fsync(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)


def _mkdir(folder: Path) -> None:
    os.mkdir(folder)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


def atomic_write(path: str | os.PathLike[str], data: bytes | str | memoryview) -> None:
    """Replace ``path`` by ``data``: at every instant, and after any failure, one of both is whole.

    Only if the very last step fails (the folder's fsync, after the rename) is it the new one. A
    link stays and its target is replaced; a file that is there keeps its permissions; what is no
    regular file (a pipe, a terminal, ``/dev/null``) is written to and never replaced.

    Args:
        path: Where to; its folder must exist.
        data: Text is written as UTF-8.

    Raises:
        OSError: Names the file, the reason and the free space. Nothing half-made is left.
    """
    target = Path(os.path.realpath(path))
    left = memoryview(data.encode() if isinstance(data, str) else data).cast("B")
    mode = _mode(Path(path))
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return _pour(Path(path), left)
    temporary = target.with_name(f".thalweg-{os.getpid()}-{os.urandom(4).hex()}.part")
    _in_flight.add(temporary.name)
    try:
        _fill(temporary, left, stat.S_IMODE(mode))
        _replace(temporary, target)
        _fsync_folder(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise refused(error, Path(path)) from error
        raise
    finally:
        _in_flight.discard(temporary.name)


def _mode(path: Path) -> int:
    """Type and permissions of what is there, or of a file to be made."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return stat.S_IFREG | 0o644
    except OSError as error:
        raise refused(error, path) from error


def _pour(path: Path, left: memoryview) -> None:
    """Write to something that is no file: there is nothing to keep whole."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            _write_all(descriptor, left)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise refused(error, path) from error


def _write_all(descriptor: int, left: memoryview) -> None:
    while left:
        written = _write(descriptor, left)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = left[written:]


def _fill(path: Path, left: memoryview, mode: int) -> None:
    descriptor = _create(path, mode)
    try:
        _write_all(descriptor, left)
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and its parents so that they last; those that were made, deepest first.

    Raises:
        OSError: As :func:`atomic_write`; none of them is left behind.
    """
    missing = [folder]
    while not os.path.exists(missing[-1].parent):
        missing.append(missing[-1].parent)
    made: list[Path] = []
    try:
        for each in reversed(missing):
            with contextlib.suppress(FileExistsError):
                _mkdir(each)
                made.insert(0, each)
                _fsync_folder(each.parent)
        if not folder.is_dir():
            raise FileExistsError(errno.EEXIST, "a file or a dangling link is in the way")
    except BaseException as error:
        remove_empty(made)
        if isinstance(error, OSError):
            raise refused(error, folder) from error
        raise
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove folders, deepest first, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def is_part(name: str) -> bool:
    """Whether a file name is that of a temporary."""
    return _PART.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove temporaries of writers that were killed."""
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            found = _PART.fullmatch(entry.name)
            if found and entry.name not in _in_flight and not _alive(int(found[1])):
                entry.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # what this process writes is in flight, the rest is an earlier namesake's
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
