"""How are files found and opened? In a folder the user names, plain or gzip, never trusted."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking gzip (told by its first bytes, not by its name).

    Raises:
        ValueError: It is missing, unreadable, or its gzip stream is damaged (also while reading).
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream  # pyrefly: ignore
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}. Fetch it again.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_at_most(stream: IO[bytes], count: int) -> bytearray:
    """Read up to ``count`` bytes in blocks, so that a forged size allocates nothing."""
    found = bytearray()
    while len(found) < count:
        block = stream.read(min(_BLOCK, count - len(found)))
        if not block:
            break
        found += block
    return found


def locate(folder: str | Path, names: Sequence[str], subfolders: Sequence[str]) -> dict[str, Path]:
    """Find files that belong together: all of ``names`` in one folder, plain or ``.gz``.

    Args:
        folder: Where to look.
        names: File names without ``.gz``; the older spelling ``train-images.idx3-ubyte`` for
            ``train-images-idx3-ubyte`` is found too.
        subfolders: Folders inside to look in first, in this order; ``"."`` is the folder itself.

    Returns:
        The path of each name.

    Raises:
        ValueError: No single folder holds them all; the message names files and folders.
    """
    root = Path(folder)
    for place in subfolders:
        found = {name: _variant(root / place, name) for name in names}
        if all(found.values()):
            return {name: path for name, path in found.items() if path is not None}
    inside = ", ".join(str(root / place) for place in subfolders)
    raise ValueError(f"none of {inside} holds all of {', '.join(names)} (plain or .gz).")


def _variant(folder: Path, name: str) -> Path | None:
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if path.is_file():
                return path
    return None
