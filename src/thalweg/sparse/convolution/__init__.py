"""Convolutional sparse coding: filters that slide over images, code maps, encoders.

Importing this package is cheap; names are resolved when they are used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_LAZY = {
    "ConvDictionary": "thalweg.sparse.convolution.operator:ConvDictionary",
    "ConvEnergy": "thalweg.sparse.convolution.energy:ConvEnergy",
    "encode_images": "thalweg.sparse.convolution.inference:encode_images",
    "certify_images": "thalweg.sparse.convolution.inference:certify_images",
    "learn_filters": "thalweg.sparse.convolution.learning:learn_filters",
    "ConvPSD": "thalweg.sparse.convolution.psd:ConvPSD",
    "ConvEncoder": "thalweg.sparse.convolution.encoder:ConvEncoder",
    "Filters": "thalweg.sparse.convolution.storage:Filters",
}

__all__ = list(_LAZY)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
