"""Group sparsity on a torus: codes, dictionaries laid out in maps, and what the maps show.

Overlapping pools are *smoothed* (ε under the root), not split: the energy stays convex, its
minimum is found by majorisation with falling energy and certified by a duality gap.
Importing this package is cheap; names are resolved when they are used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_HERE = "thalweg.sparse.topographic"
_NAMES = {
    "TorusPools": f"{_HERE}.torus:TorusPools",
    "pool_index": f"{_HERE}.torus:pool_index",
    "GroupSparseCoder": f"{_HERE}.coder:GroupSparseCoder",
    "TopographicPSD": f"{_HERE}.psd:TopographicPSD",
    "TopographicMap": f"{_HERE}.storage:TopographicMap",
    "TopographicCoder": f"{_HERE}.estimator:TopographicCoder",
    "Whitening": f"{_HERE}.whitening:Whitening",
    "orientation_map": f"{_HERE}.maps:orientation_map",
    "pinwheels": f"{_HERE}.maps:pinwheels",
    "windings": f"{_HERE}.maps:windings",
    "neighbour_similarity": f"{_HERE}.maps:neighbour_similarity",
    "invariance": f"{_HERE}.invariance:invariance",
    "summarise": f"{_HERE}.summary:summarise",
}

__all__ = list(_NAMES)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return resolve(_NAMES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
