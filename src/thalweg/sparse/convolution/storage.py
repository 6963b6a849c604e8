"""What is in a file of filters, and how is one read without being fooled?"""

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
from thalweg.sparse.convolution.operator import BOUNDARIES
from thalweg.sparse.convolution.preparation import Preparation

FORMAT = "thalweg.filters/1"


@dataclass(frozen=True, slots=True)
class Filters:
    """Learned filters and what is needed to use them.

    Attributes:
        W: Filters ``(K, c, a, b)``; numpy or torch, as the images were.
        l1: The weight they were learned with, None if unknown.
        boundary: How images end, see `ConvDictionary`.
        non_negative: Whether codes were not to be negative.
        preparation: How images were prepared.
        seen: Pixels learned from, repeats counted.
        steps: Batches learned from.
        reseeded: Filters that had died and were replaced on the way.
        curve_steps: Steps at each point of the curve.
        curve_energy: Mean energy a pixel since the point before, measured before filters moved.
        use: Mean absolute coefficient a pixel of each filter over the last steps.
    """

    W: Any
    l1: float | None = None
    boundary: str = "full"
    non_negative: bool = False
    preparation: Preparation = field(default_factory=lambda: Preparation("none"))
    seen: int = 0
    steps: int = 0
    reseeded: int = 0
    curve_steps: tuple[int, ...] = ()
    curve_energy: tuple[float, ...] = ()
    use: tuple[float, ...] = ()

    @property
    def components_(self) -> Any:
        """Filters as rows ``(K, cab)``."""
        return self.W.reshape(self.W.shape[0], -1)

    def save(self, path: str | Path) -> Path:
        """Write a file of filters; a reader sees the old file or the new one, never half."""
        W = self.W.detach().cpu().numpy() if isinstance(self.W, torch.Tensor) else self.W
        W = np.ascontiguousarray(W)
        if W.ndim != 4 or not np.isfinite(W).all():
            raise ValueError(f"cannot save: filters are finite (K, c, a, b), got shape {W.shape}")
        meta = {
            "format": FORMAT,
            "l1": self.l1,
            "boundary": self.boundary,
            "non_negative": self.non_negative,
            "preparation": self.preparation.to_dict(),
            "seen": self.seen,
            "steps": self.steps,
            "reseeded": self.reseeded,
            "curve": [list(self.curve_steps), list(self.curve_energy)],
            "use": list(self.use),
            "sha256": hashlib.sha256(W.tobytes()).hexdigest(),
        }
        path = Path(path)
        atomic_write(path, save({"W": W}, {"thalweg": json.dumps(meta)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and verify a file of filters.

        Raises:
            ValueError: Not such a file, or damaged.
            FileNotFoundError: There is no such file.
        """
        path = Path(path)
        W, meta = _read(path)
        try:
            return cls(W=W, **_settings(meta))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} holds filters with unreadable settings: {error}") from error


def is_filters(path: str | Path) -> bool:
    """Whether a file says that it holds filters (and not, say, a plain dictionary)."""
    try:
        with safe_open(Path(path), framework="np") as file:
            meta = json.loads((file.metadata() or {}).get("thalweg", "null"))
    except (SafetensorError, json.JSONDecodeError, OSError):
        return False
    return isinstance(meta, dict) and meta.get("format") == FORMAT


def _settings(meta: dict[str, Any]) -> dict[str, Any]:
    """Fields of `Filters` from what stands in a file."""
    steps, energy = meta.get("curve", ([], []))
    l1 = meta.get("l1")
    return {
        "l1": None if l1 is None else float(l1),
        "boundary": meta["boundary"],
        "non_negative": bool(meta.get("non_negative", False)),
        "preparation": Preparation.from_dict(meta.get("preparation", {"kind": "none"})),
        "seen": int(meta.get("seen", 0)),
        "steps": int(meta.get("steps", 0)),
        "reseeded": int(meta.get("reseeded", 0)),
        "curve_steps": tuple(int(s) for s in steps),
        "curve_energy": tuple(float(e) for e in energy),
        "use": tuple(float(u) for u in meta.get("use", ())),
    }


def _read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    if not path.exists():
        raise FileNotFoundError(
            f"no file of filters {path}; make one with `thalweg dictionary --filters K`"
        )
    try:
        with safe_open(path, framework="np") as file:
            meta = json.loads((file.metadata() or {}).get("thalweg", "null"))
            W = file.get_tensor("W") if "W" in file.keys() else None  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise ValueError(f"{path} is not a readable file of filters: {error}") from error
    if W is None or not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a {FORMAT} file; make one with `thalweg dictionary --filters K`"
        )
    if hashlib.sha256(np.ascontiguousarray(W).tobytes()).hexdigest() != meta.get("sha256"):
        raise ValueError(f"{path} is damaged: its content does not match its SHA-256")
    usable = W.ndim == 4 and W.dtype.kind == "f" and bool(np.isfinite(W).all())
    if not usable or meta.get("boundary") not in BOUNDARIES:
        raise ValueError(f"{path} does not hold finite filters and a boundary (shape {W.shape})")
    return W, meta
