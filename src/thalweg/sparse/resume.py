"""How does learning that was cut off go on where it stopped?"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from thalweg.rundir.checkpoint import Checkpoints

NAME = "sparse-learning"


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 of what the tensors hold, shapes included."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Keeper:
    """Checkpoints of one piece of work, refused by any other.

    Args:
        directory: Where they lie; made if needed.
        identity: What the work is (data, settings, seed). A checkpoint with another identity is an
            error, not a silent restart.
    """

    def __init__(self, directory: str | Path, identity: dict[str, Any]) -> None:
        self.directory = Path(directory)
        self.files = Checkpoints(self.directory, keep=2)
        self.identity = identity

    def save(self, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Keep the state after ``step``."""
        self.files.save(NAME, tensors, {"identity": self.identity, "step": step, **meta})

    def restore(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """The last state kept, as (step, tensors, meta), or None.

        Raises:
            ValueError: If the directory holds checkpoints of another piece of work.
        """
        found = self.files.load(NAME)
        if found is None:
            return None
        tensors, meta = found
        changed = [k for k, v in self.identity.items() if meta["identity"].get(k) != v]
        if changed:
            raise ValueError(
                f"the checkpoint in {self.directory} belongs to other work (different "
                f"{', '.join(changed)}); give the same arguments or another directory"
            )
        return int(meta["step"]), tensors, meta
