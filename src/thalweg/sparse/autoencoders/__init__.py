"""Networks trained to code sparsely and to reconstruct: names are resolved when they are used."""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_HERE = "thalweg.sparse.autoencoders"
_NAMES = {
    "DrSAE": f"{_HERE}.recurrent:DrSAE",
    "Losses": f"{_HERE}.recurrent:Losses",
    "Roles": f"{_HERE}.roles:Roles",
    "SparseAutoencoder": f"{_HERE}.sigmoid:SparseAutoencoder",
    "kl_bernoulli": f"{_HERE}.sigmoid:kl_bernoulli",
}

__all__ = list(_NAMES)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return resolve(_NAMES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
