"""Where runs wait that do not fit into memory: temporary files of this process alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from thalweg.rundir.checkpoint import pack, unpack
from thalweg.rundir.damage import refused

_NAME = re.compile(r"thalweg-parked-(\d+)-.+")


class Parking:
    """States by number, in a folder that goes when its owner does.

    Nothing here need outlive the process (what must is in checkpoints), so no write waits for the
    disk. A process that is killed leaves its folder; the next one that parks removes it.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None

    def put(self, number: int, state: Any) -> None:
        """Keep a state.

        Raises:
            OSError: Names the file, the reason and the free space.
        """
        tensors, meta = pack(state)
        stem = self._open() / str(number)
        apart = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        try:
            stem.with_suffix(".bin").write_bytes(save(apart))
            stem.with_suffix(".json").write_text(json.dumps(meta))
        except OSError as error:
            raise refused(error, stem.with_suffix(".bin")) from error

    def take(self, number: int) -> Any:
        """Give a state back and forget it."""
        stem = self._open() / str(number)
        state = unpack(load_file(f"{stem}.bin"), json.loads(stem.with_suffix(".json").read_text()))
        self.drop(number)
        return state

    def drop(self, number: int) -> None:
        """Forget a state."""
        for kind in (".bin", ".json"):
            (self._open() / str(number)).with_suffix(kind).unlink(missing_ok=True)

    def _open(self) -> Path:
        if self._folder is None:
            sweep(Path(tempfile.gettempdir()))
            self._folder = Path(tempfile.mkdtemp(prefix=f"thalweg-parked-{os.getpid()}-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder


def sweep(folder: Path) -> None:
    """Remove what processes parked in ``folder`` that are gone."""
    with contextlib.suppress(OSError):
        for entry in folder.glob("thalweg-parked-*"):
            found = _NAME.fullmatch(entry.name)
            if found and not _alive(int(found[1])):
                shutil.rmtree(entry, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True
