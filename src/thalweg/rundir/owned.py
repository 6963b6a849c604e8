"""Which files of a folder belong to a run? Nothing else is ever overwritten or removed."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from thalweg.rundir import record
from thalweg.rundir.atomic import is_part
from thalweg.rundir.damage import DamagedRun, refused

JOURNAL = (
    "journal.head",
    "journal.sqlite",
    "journal.sqlite-wal",
    "journal.sqlite-shm",
    "journal.sqlite-journal",
)
OWN = (
    "run.json",
    "race.json",
    "train.json",
    "model.safetensors",
    "center.bin",
    "report.html",
    "checkpoints",
    *JOURNAL,
    "lock",
)
KEPT = ("run.json", "checkpoints", *JOURNAL, "lock")  # written by the run itself alone
STATE = re.compile(r"[A-Za-z0-9_-]*-[0-9a-f]{12}\.\d{8,}\.(json|safetensors)")


def check(folder: Path) -> None:
    """Refuse a folder that is neither empty nor a run's, whatever its files are called.

    A run is known by its journal, the first thing to be made, or by a whole ``run.json``.

    Raises:
        ValueError: Names one of the files that are in the way.
        OSError: The folder cannot be read.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not is_part(entry.name))
    except OSError as error:
        raise refused(error, folder, "read") from error
    if "journal.head" in names or "journal.sqlite" in names:
        return
    with contextlib.suppress(DamagedRun):
        if record.read(folder / "run.json") is not None:
            return
    others = [name for name in names if name != "lock" or not _is_lock(folder / name)]
    if others:
        raise ValueError(
            f"{folder} holds other files ('{others[0]}') and no run. Choose an empty or new "
            "directory."
        )


def _is_lock(path: Path) -> bool:
    """Whether it is what a driver leaves that was killed before it made anything else."""
    try:
        return path.stat().st_size <= 32 and path.read_bytes().strip(b"0123456789") == b""
    except OSError:
        return False


def clear(folder: Path, but: str = "") -> None:
    """Remove a run's own files; ``run.json`` goes first, for without it there is no run.

    Raises:
        OSError: One of them cannot be removed; names it.
    """
    for name in OWN:
        path = folder / name
        if name == but:
            continue
        try:
            if name == "checkpoints" and path.is_dir() and not path.is_symlink():
                for file in path.iterdir():
                    if STATE.fullmatch(file.name) or is_part(file.name):
                        file.unlink()
                with contextlib.suppress(OSError):  # other people's files stay
                    path.rmdir()
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise refused(error, path) from error
