"""What can be seen of a training from outside, while it runs and at little cost?

``thalweg.watch(model, optimizer)`` hangs on the optimiser's step and looks now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thalweg.registry import Member, Registry, resolve

if TYPE_CHECKING:
    from thalweg.watching.watcher import Watch as Watch
    from thalweg.watching.watcher import watch as watch

_HERE = "thalweg.watching.findings"

# The codes of ``thalweg.diagnose``, where they can be seen without a trial, and three more.
DETECTORS = Registry(
    "watched finding",
    Member("nonfinite-data", f"{_HERE}.faults:nonfinite_data", "NaN or infinite inputs"),
    Member(
        "nonfinite-values",
        f"{_HERE}.faults:nonfinite_values",
        "NaN or infinite loss, gradients or weights",
    ),
    Member(
        "frozen-parameters",
        f"{_HERE}.faults:frozen_parameters",
        "weights that get no gradient, or that no optimiser moves",
    ),
    Member(
        "stale-gradients",
        f"{_HERE}.faults:stale_gradients",
        "gradients that are never set back to zero",
    ),
    Member("dead-units", f"{_HERE}.flow:dead_units", "rectified units that are always off"),
    Member("saturated-units", f"{_HERE}.flow:saturated_units", "squashing units at their ends"),
    Member(
        "vanishing-gradient",
        f"{_HERE}.flow:vanishing_gradient",
        "gradients shrink on the way back",
        "Hochreiter 1991",
    ),
    Member(
        "exploding-gradient",
        f"{_HERE}.flow:exploding_gradient",
        "gradients grow on the way back, or come in bursts",
        "Bengio, Simard and Frasconi 1994",
    ),
    Member("lr-too-high", f"{_HERE}.pace:lr_too_high", "steps that raise the loss"),
    Member("lost-updates", f"{_HERE}.pace:lost_updates", "updates below the weights' precision"),
    Member("lr-too-low", f"{_HERE}.pace:lr_too_low", "steps too small to arrive anywhere"),
    Member("plateau-or-saddle", f"{_HERE}.pace:plateau_or_saddle", "the loss has not fallen"),
    Member("no-decay", f"{_HERE}.pace:no_decay", "hovers at the noise floor of a constant rate"),
)

_PUBLIC = {
    "watch": "thalweg.watching.watcher:watch",
    "Watch": "thalweg.watching.watcher:Watch",
}

__all__ = ["DETECTORS", *_PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return resolve(_PUBLIC[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
