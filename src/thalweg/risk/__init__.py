"""A task as a function of its weights: data at hand, loss, criterion, checks at the door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.risk.risk import Risk

__all__ = ["Risk"]


def __getattr__(name: str) -> Any:
    if name == "Risk":
        from thalweg.risk.risk import Risk

        return Risk
    raise AttributeError(f"module 'thalweg.risk' has no attribute '{name}'")
