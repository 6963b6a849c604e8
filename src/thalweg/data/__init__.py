"""Where do samples come from? Readers (one file a format), bundled sets, generators with answers.

Everything here speaks numpy; nothing is imported until a name is used.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import resolve

_NAMES = {
    "split": "thalweg.data.splits",
    "read_idx": "thalweg.data.idx",
    "read_labelled_idx": "thalweg.data.idx",
    "read_cifar10": "thalweg.data.cifar",
    "locate": "thalweg.data.files",
    "Vocabulary": "thalweg.data.text",
    "python_topics": "thalweg.data.text",
    "distinct": "thalweg.data.text",
    "read_text": "thalweg.data.text",
    "windows": "thalweg.data.text",
    "linear_unit": "thalweg.data.synthetic",
    "quadratic": "thalweg.data.synthetic",
    "digits": "thalweg.data.bundled",
    "diabetes": "thalweg.data.bundled",
    "breast_cancer": "thalweg.data.bundled",
    "wine": "thalweg.data.bundled",
}

__all__ = sorted(_NAMES)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'thalweg.data' has no attribute '{name}'")
    return resolve(f"{_NAMES[name]}:{name}")


def __dir__() -> list[str]:
    return __all__
