"""How much do a sparse autoencoder's one-pass codes lose against the best codes of its decoder?

Importing this package is cheap; names are resolved when they are used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_HERE = "thalweg.sparse.amortisation"
_NAMES = {
    "amortisation_gap": f"{_HERE}.gap:amortisation_gap",
    "Gap": f"{_HERE}.result:Gap",
    "Measured": f"{_HERE}.result:Measured",
    "Autoencoder": f"{_HERE}.autoencoder:Autoencoder",
    "load_autoencoder": f"{_HERE}.layouts:load_autoencoder",
    "read_activations": f"{_HERE}.activations:read_activations",
    "summarise": f"{_HERE}.summary:summarise",
}

__all__ = list(_NAMES)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return resolve(_NAMES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
