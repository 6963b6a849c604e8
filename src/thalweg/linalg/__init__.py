"""Linear algebra that needs nothing but matrix–vector products."""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_LAZY = {
    "LinearOperator": "thalweg.linalg.operator:LinearOperator",
    "DenseOperator": "thalweg.linalg.operator:DenseOperator",
    "power_iteration": "thalweg.linalg.power:power_iteration",
    "gram_bound": "thalweg.linalg.power:gram_bound",
}

__all__ = ["DenseOperator", "LinearOperator", "gram_bound", "power_iteration"]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return resolve(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
