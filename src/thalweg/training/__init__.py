"""Training one configuration to the end: resumable bit for bit, with what ``torch.optim`` lacks."""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_PUBLIC = {
    "train": "thalweg.training.fit:train",
    "Settings": "thalweg.training.settings:Settings",
    "Hook": "thalweg.training.loop:Hook",
    "Training": "thalweg.training.loop:Training",
    "load": "thalweg.training.saved:load",
    "save": "thalweg.training.saved:save",
}

__all__ = list(_PUBLIC)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'thalweg.training' has no attribute {name!r}")
    return resolve(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
