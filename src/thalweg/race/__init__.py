"""Optimisers x learning rates x seeds, raced on held-out data with honest intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.race.race import race

__all__ = ["race"]


def __getattr__(name: str) -> Any:
    if name == "race":
        import importlib

        return importlib.import_module("thalweg.race.race").race
    raise AttributeError(f"module 'thalweg.race' has no attribute '{name}'")
