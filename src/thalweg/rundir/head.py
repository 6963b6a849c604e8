"""How far had the journal come? Two lines of fixed length beside it, overwritten in turn.

A line is not waited for: after a loss of power it may lag behind the journal, but it is never
ahead. A line that was cut short by a full disk leaves the other one, which lags by one commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from thalweg.rundir.atomic import atomic_write
from thalweg.rundir.damage import DamagedRun, refused

START: str = "0" * 64  # the digest before the first row


def beside(journal: Path) -> Path:
    """Where the lines are."""
    return journal.with_suffix(".head")


def create(journal: Path) -> None:
    """Begin at nothing."""
    atomic_write(beside(journal), 2 * _line(0, START))


def read(journal: Path) -> tuple[int, str]:
    """Number of rows acknowledged (at least) and the digest of the last of them.

    Raises:
        DamagedRun: The lines are missing or were altered.
        OSError: They cannot be read.
    """
    path = beside(journal)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DamagedRun(f"{path} is missing") from error
    except OSError as error:
        raise refused(error, path, "read") from error
    size = len(_line(0, START))
    found = [_parse(data[:size]), _parse(data[size:])]
    whole = [line for line in found if line is not None]
    if not whole:
        raise DamagedRun(f"{path} was altered")
    return max(whole)


class Head:
    """The lines of a journal that is being written."""

    def __init__(self, journal: Path) -> None:
        path = beside(journal)
        try:
            self._descriptor = os.open(path, os.O_WRONLY)
        except OSError as error:
            raise refused(error, path) from error
        self._turn = 0

    def note(self, count: int, digest: str) -> None:
        """Write down that ``count`` rows are safe."""
        line = _line(count, digest)
        with contextlib.suppress(OSError):  # the rows are safe all the same; the line only lags
            if os.pwrite(self._descriptor, line, self._turn * len(line)) == len(line):
                self._turn = 1 - self._turn  # else the same line again: the other one is whole

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _line(count: int, digest: str) -> bytes:
    text = f"{count:020d} {digest}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}\n".encode()


def _parse(line: bytes) -> tuple[int, str] | None:
    try:
        number, digest, _ = line.decode("ascii").split()
        return (int(number), digest) if _line(int(number), digest) == line else None
    except ValueError:
        return None
