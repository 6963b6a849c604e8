"""Minimise an energy, over weights and over codes.

Over weights: which optimiser, which learning rate, why does it stall? Over codes: sparse modelling.
Importing this package loads nothing heavy; names resolve on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thalweg.registry import resolve

if TYPE_CHECKING:
    from thalweg import diagnose as diagnose
    from thalweg import optim as optim
    from thalweg import sparse as sparse
    from thalweg import steps as steps
    from thalweg.curvature.survey import spectrum as spectrum
    from thalweg.race.running import race as race
    from thalweg.records import Codes as Codes
    from thalweg.records import Entry as Entry
    from thalweg.records import Race as Race
    from thalweg.records_diagnosis import Diagnosis as Diagnosis
    from thalweg.records_training import Run as Run
    from thalweg.task import Recipe as Recipe
    from thalweg.task import Task as Task
    from thalweg.task import load_task as load_task
    from thalweg.training.fit import train as train
    from thalweg.watching.watcher import watch as watch

__version__ = "0.1.0"

_PUBLIC = {
    "Task": "thalweg.task:Task",
    "Recipe": "thalweg.task:Recipe",
    "load_task": "thalweg.task:load_task",
    "Race": "thalweg.records:Race",
    "Entry": "thalweg.records:Entry",
    "Codes": "thalweg.records:Codes",
    "Run": "thalweg.records_training:Run",
    "Diagnosis": "thalweg.records_diagnosis:Diagnosis",
    "train": "thalweg.training.fit:train",
    "spectrum": "thalweg.curvature.survey:spectrum",
    "watch": "thalweg.watching.watcher:watch",
}
_PACKAGES = ("diagnose", "optim", "race", "sparse", "steps")  # thalweg.race(task) works as well

__all__ = ["__version__", *_PUBLIC, *_PACKAGES]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return resolve(_PUBLIC[name])
    if name in _PACKAGES:
        import importlib

        return importlib.import_module(f"thalweg.{name}")
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_PACKAGES})
