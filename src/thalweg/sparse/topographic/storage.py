"""What is in a file of a learned map? Atoms, whitening and pools, with a digest over them all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from thalweg.rundir.atomic import atomic_write
from thalweg.sparse.topographic.coder import GroupSparseCoder
from thalweg.sparse.topographic.psd import TopographicPSD
from thalweg.sparse.topographic.torus import TorusPools
from thalweg.sparse.topographic.whitening import Whitening

FORMAT = "thalweg.topographic/1"
_ARRAYS = ("D", "mean", "basis", "scale")


@dataclass(frozen=True, slots=True, eq=False)
class TopographicMap:
    """A learned map and what is needed to use it.

    Attributes:
        D: Atoms as columns ``(k, m)`` over whitened components; unit ``(i, j)`` is ``i b + j``.
        whitening: From pixels to components.
        pools: The torus.
        l1: Weight of a pool.
        eps: Smoothing of the penalty.
        patch: ``(height, width)`` of a patch.
    """

    D: torch.Tensor
    whitening: Whitening
    pools: TorusPools
    l1: float
    eps: float
    patch: tuple[int, int]

    @classmethod
    def of(cls, model: TopographicPSD, whitening: Whitening, patch: tuple[int, int]) -> Self:
        """The map that a model has learned."""
        D = model.D.detach().cpu().contiguous().clone()
        return cls(D, whitening, model.pools, model.penalty.l1, model.penalty.eps, patch)

    @property
    def filters(self) -> np.ndarray:
        """Atoms as white pixels at their places ``(a, b, height, width)``."""
        return self.whitening.pixels(self.D).reshape(self.pools.a, self.pools.b, *self.patch)

    def coder(self) -> GroupSparseCoder:
        """Certified codes of whitened patches."""
        return GroupSparseCoder(self.D, self.pools.penalty(self.l1, self.eps))

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; a reader sees the old file or the new one, never half."""
        arrays = self._arrays()
        meta = {
            "format": FORMAT,
            "pools": asdict(self.pools),
            "l1": self.l1,
            "eps": self.eps,
            "patch": list(self.patch),
            "sha256": _digest(arrays),
        }
        path = Path(path)
        atomic_write(path, save(arrays, {"thalweg": json.dumps(meta)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and verify a file of a map.

        Raises:
            ValueError: Not such a file, or damaged.
            FileNotFoundError: There is no such file.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(
                f"no map {path}; make one with `thalweg dictionary --topographic 16x16`"
            )
        try:
            with safe_open(path, framework="np") as file:
                meta = json.loads((file.metadata() or {}).get("thalweg", "null"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError, OSError) as error:
            raise ValueError(f"{path} is not a readable map: {error}") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT or set(arrays) != {*_ARRAYS}:
            raise ValueError(f"{path} is not a {FORMAT} file")
        if _digest(arrays) != meta.get("sha256"):
            raise ValueError(f"{path} is damaged: its content does not match its SHA-256")
        held = {name: torch.from_numpy(value) for name, value in arrays.items()}
        height, width = meta["patch"]
        return cls(
            held["D"],
            Whitening(held["mean"], held["basis"], held["scale"]),
            TorusPools(**meta["pools"]),
            float(meta["l1"]),
            float(meta["eps"]),
            (int(height), int(width)),
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        w = self.whitening
        values: dict[str, Any] = {"D": self.D, "mean": w.mean, "basis": w.basis, "scale": w.scale}
        return {name: np.ascontiguousarray(value.numpy()) for name, value in values.items()}


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
