"""One driver at a time: a lock that the kernel gives back however its holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from thalweg.rundir.damage import refused


def take(folder: Path) -> int:
    """Lock a run's folder; returns the descriptor that holds the lock until it is closed.

    Raises:
        ValueError: Another driver (or another part of this process) has it; names its process.
        OSError: The lock file cannot be made.
    """
    path = folder / "lock"
    while True:
        made = not path.exists()
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise refused(error, path) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(lock, path):
                with contextlib.suppress(OSError):  # only a courtesy to whoever comes second
                    os.ftruncate(lock, 0)
                    os.pwrite(lock, str(os.getpid()).encode(), 0)
                return lock
        except BlockingIOError as error:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            who = "this very process" if owner == str(os.getpid()) else f"process {owner}"
            raise ValueError(
                f"{folder} is in use by {who}. Wait for it, or choose another directory."
            ) from error
        except OSError as error:  # a file system without locks
            os.close(lock)
            if made:
                path.unlink(missing_ok=True)
            raise refused(error, path) from error
        os.close(lock)  # a driver that failed to begin removed the file meanwhile: try the new one


def _is(lock: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name."""
    held = os.fstat(lock)
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)
