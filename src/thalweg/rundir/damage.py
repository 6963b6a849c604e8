"""The one exception for a run that cannot be trusted, and one wording for disks that refuse."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


class DamagedRun(ValueError):
    """What is on disk is not what was written: a flipped bit, a cut file, another run's rows."""


def refused(error: OSError, path: Path, doing: str = "write") -> OSError:
    """The same error with a message that names the file, the reason and the free space.

    Args:
        error: What the system said.
        path: The file that was meant, not the temporary one.
        doing: ``write`` or ``read``.
    """
    number = error.errno or errno.EIO
    reason = os.strerror(error.errno) if error.errno else str(error)
    intact = "; what was written before is intact" if number in _MEANWHILE else ""
    return OSError(number, f"cannot {doing} {path}: {reason} ({_free(path)} free there){intact}")


_MEANWHILE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _free(path: Path) -> str:
    for near in (path, *path.absolute().parents):
        try:
            return _human(shutil.disk_usage(near).free)
        except OSError:
            continue
    return "unknown space"


def _human(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
