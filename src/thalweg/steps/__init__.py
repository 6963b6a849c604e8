"""Step sizes: how large may a step be (bounds), and how should it change (schedules).

Importing this package loads nothing heavy; names resolve on first use.
"""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

SCHEDULES = Registry(
    "schedule",
    Member("constant", "thalweg.steps.schedules:constant", "the rate stays"),
    Member(
        "linear",
        "thalweg.steps.schedules:linear",
        "straight down to 1 % of the rate at the end",
        "Goodfellow, Bengio and Courville 2016, section 8.3.1",
    ),
    Member(
        "cosine",
        "thalweg.steps.schedules:cosine",
        "half a cosine down to 0 at the end",
        "Loshchilov and Hutter 2017",
    ),
)

_PUBLIC = {
    "max_learning_rate": "thalweg.steps.bounds:max_learning_rate",
    "safe_rate": "thalweg.steps.rates:safe_rate",
    "best_rate": "thalweg.steps.rates:best_rate",
    "best_heavy_ball": "thalweg.steps.rates:best_heavy_ball",
    "contraction": "thalweg.steps.rates:contraction",
    "preconditioned": "thalweg.steps.adaptive:preconditioned",
    "Sharpness": "thalweg.steps.sharpness:Sharpness",
    "is_robbins_monro": "thalweg.steps.schedules:is_robbins_monro",
}

__all__ = ["SCHEDULES", *_PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'thalweg.steps' has no attribute {name!r}")
    return resolve(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
