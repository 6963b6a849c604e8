"""How is a task trained today? The settings a race is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg.records import Record

ORDERS = ("reshuffle", "iid", "once", "ordered")
_NAMED = ("lr", "momentum", "weight_decay")  # hyperparameters with a field of their own


@dataclass(frozen=True, slots=True)
class Recipe(Record):
    """How a task is trained today: optimiser, its hyperparameters, batches and their order.

    >>> Recipe(optimizer="adam", lr=1e-3, hyperparameters={"betas": [0.9, 0.99]}).hyperparameters
    {'betas': (0.9, 0.99)}

    Attributes:
        optimizer: Name of an optimiser, as ``thalweg list optimizers`` prints it.
        lr: Learning rate, finite and > 0.
        momentum: Momentum coefficient in [0, 1); optimisers without momentum ignore it at 0 and
            refuse anything else.
        weight_decay: Coefficient >= 0, as torch names it.
        batch_size: Samples a step, >= 1. A DataLoader handed to the task brings its own instead.
        epochs: Passes over the training data, >= 1.
        schedule: Name of a learning-rate schedule; None keeps the rate constant.
        order: ``reshuffle`` (a new permutation every epoch), ``iid`` (drawn with replacement),
            ``once`` (one permutation for all epochs) or ``ordered`` (as stored).
        hyperparameters: Whatever else the optimiser takes, by torch's names (``betas``, ``eps``):
            numbers, strings, booleans, None, or sequences of these (kept as tuples).

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field is out of its range, or ``hyperparameters`` repeats a field.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 10
    schedule: str | None = None
    order: str = "reshuffle"
    hyperparameters: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every field, so that a mistake is found here and not at step 900."""
        _name("optimizer", self.optimizer)
        if self.schedule is not None:
            _name("schedule", self.schedule)
        _number("lr", self.lr, "finite and > 0", lambda v: v > 0)
        _number("momentum", self.momentum, "in [0, 1)", lambda v: 0 <= v < 1)
        _number("weight_decay", self.weight_decay, "finite and >= 0", lambda v: v >= 0)
        _count("batch_size", self.batch_size)
        _count("epochs", self.epochs)
        if self.order not in ORDERS:
            raise ValueError(f"recipe order is {self.order!r}; known: {', '.join(ORDERS)}.")
        object.__setattr__(self, "hyperparameters", _hyperparameters(self.hyperparameters))


def _name(label: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(
            f"recipe {label} is a {type(value).__name__}; it must be a name (a string)."
        )
    if not value.strip():
        raise ValueError(f"recipe {label} is an empty string; give a name.")


def _number(label: str, value: Any, wanted: str, fits: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"recipe {label} is {value!r}; it must be a number {wanted}.")
    if not math.isfinite(value) or not fits(value):
        raise ValueError(f"recipe {label} is {value}; it must be {wanted}.")


def _count(label: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"recipe {label} is {value!r}; it must be a whole number >= 1.")
    if value < 1:
        raise ValueError(f"recipe {label} is {value}; it must be >= 1.")


def _hyperparameters(values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise TypeError(
            f"recipe hyperparameters is a {type(values).__name__}; it must be a dictionary "
            "of names and values."
        )
    for key in values:
        if not isinstance(key, str):
            raise TypeError(f"recipe hyperparameters has the key {key!r}; keys must be strings.")
        if key in _NAMED:
            raise ValueError(f"recipe hyperparameters repeats '{key}'; give it as {key}= alone.")
    return {key: _plain(key, value) for key, value in values.items()}


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(key, item) for item in value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(
        f"recipe hyperparameter '{key}' is a {type(value).__name__}; it must be a number, string, "
        "boolean, None or a sequence of these."
    )
