"""What is in a dictionary file, and how is one read without being fooled?

A file is safetensors: one matrix plus JSON that says its orientation, the weight it was learned
with and how the signals were prepared. The orientation is stored because a square matrix does not
show it, and the digest because one flipped bit loads silently.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from thalweg.rundir.atomic import atomic_write
from thalweg.sparse.patches import Preprocessing

FORMAT = "thalweg.dictionary/1"
ORIENTATIONS = ("atoms-are-columns", "atoms-are-rows")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A learned dictionary and what is needed to use it.

    Attributes:
        D: Atoms as columns ``(n, m)``; numpy or torch, as the signals were.
        l1: The weight it was learned with, None if unknown.
        preprocessing: How signals were prepared.
        seen: Signals it learned from, repeats counted.
        batches: Batches it learned from.
        reseeded: Atoms that had died and were replaced on the way.
        curve_seen: Signals seen at each point of the curve.
        curve_energy: Mean energy of the signals met since the point before, measured before the
            atoms moved: a held-out figure during the first pass.
    """

    D: Any
    l1: float | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    seen: int = 0
    batches: int = 0
    reseeded: int = 0
    curve_seen: tuple[int, ...] = ()
    curve_energy: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        """Length of a signal."""
        return self.D.shape[0]

    @property
    def m(self) -> int:
        """Number of atoms."""
        return self.D.shape[1]

    @property
    def components_(self) -> Any:
        """Atoms as rows ``(m, n)``, scikit-learn's orientation."""
        return self.D.T

    def save(self, path: str | Path) -> Path:
        """Write a dictionary file; a reader sees the old file or the new one, never half."""
        D = self.D.detach().cpu().numpy() if isinstance(self.D, torch.Tensor) else self.D
        D = np.ascontiguousarray(D)
        if D.ndim != 2 or not np.isfinite(D).all():
            raise ValueError(f"cannot save: a dictionary is a finite matrix, got shape {D.shape}")
        meta = {
            "format": FORMAT,
            "orientation": "atoms-are-columns",
            "n": D.shape[0],
            "m": D.shape[1],
            "l1": self.l1,
            "preprocessing": self.preprocessing.to_dict(),
            "seen": self.seen,
            "batches": self.batches,
            "reseeded": self.reseeded,
            "curve": [list(self.curve_seen), list(self.curve_energy)],
            "sha256": hashlib.sha256(D.tobytes()).hexdigest(),
        }
        path = Path(path)
        atomic_write(path, save({"D": D}, {"thalweg": json.dumps(meta)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and verify a dictionary file.

        Raises:
            ValueError: Not a dictionary file, damaged, or of the wrong orientation.
            FileNotFoundError: There is no such file.
        """
        path = Path(path)
        D, meta = _read(path)
        if meta.get("orientation") not in ORIENTATIONS:
            raise ValueError(
                f"{path} does not say whether atoms are columns or rows "
                f"(orientation {meta.get('orientation')!r}); save it again with Dictionary.save"
            )
        if meta["orientation"] == "atoms-are-rows":
            D = np.ascontiguousarray(D.T)
        if D.shape != (meta.get("n"), meta.get("m")):
            raise ValueError(
                f"{path} holds a matrix {D.shape} but says n = {meta.get('n')}, m = {meta.get('m')}"
            )
        check_orientation(D, str(path))
        seen, energy = meta.get("curve", ([], []))
        l1 = meta.get("l1")
        return cls(
            D=D,
            l1=None if l1 is None else float(l1),
            preprocessing=Preprocessing.from_dict(meta.get("preprocessing", {})),
            seen=int(meta.get("seen", 0)),
            batches=int(meta.get("batches", 0)),
            reseeded=int(meta.get("reseeded", 0)),
            curve_seen=tuple(int(s) for s in seen),
            curve_energy=tuple(float(e) for e in energy),
        )


def check_orientation(D: np.ndarray, where: str) -> None:
    """Refuse a matrix whose rows have norm 1 and whose columns do not: it is transposed."""
    columns, rows = np.linalg.norm(D, axis=0), np.linalg.norm(D, axis=1)
    if np.allclose(rows, 1, atol=1e-3) and not np.allclose(columns, 1, atol=1e-3):
        raise ValueError(
            f"{where}: the rows of this {D.shape} matrix have norm 1 and its columns do not, so "
            "it looks transposed; atoms are columns here (scikit-learn's components_ is D.T)"
        )


def _read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    if not path.exists():
        raise FileNotFoundError(f"no dictionary file {path}; make one with `thalweg dictionary`")
    try:
        with safe_open(path, framework="np") as file:
            meta = json.loads((file.metadata() or {}).get("thalweg", "null"))
            D = file.get_tensor("D") if "D" in file.keys() else None  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise ValueError(f"{path} is not a readable dictionary file: {error}") from error
    if D is None or not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(f"{path} is not a {FORMAT} file; make one with `thalweg dictionary`")
    if hashlib.sha256(np.ascontiguousarray(D).tobytes()).hexdigest() != meta.get("sha256"):
        raise ValueError(f"{path} is damaged: its content does not match its SHA-256")
    if D.ndim != 2 or not np.isfinite(D).all():
        raise ValueError(f"{path} does not hold a finite matrix (shape {D.shape})")
    return D, meta
