"""The one exception for a run that cannot be trusted, and one wording for disks that refuse."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


class DamagedRun(ValueError):
    """What is on disk is not what was written: a flipped bit, a cut file, another run's rows."""


def refused(error: OSError, path: Path) -> OSError:
    """The same error with a message that names the file, the reason and the free space."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    near = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    try:
        free = f"{_human(shutil.disk_usage(near).free)} free there"
    except OSError:
        free = "free space unknown"
    advice = {
        errno.ENOSPC: " Make room or choose another folder; what was written before is intact.",
        errno.EROFS: " The file system is read-only: choose another folder.",
        errno.EACCES: " Choose a folder you may write to.",
    }.get(error.errno or 0, "")
    return OSError(error.errno, f"cannot write {path}: {reason} ({free}).{advice}")


def _human(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
