"""What is raced: configurations, their names, and the grid they span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thalweg.optim.methods import check, defaults, method
from thalweg.registry import suggest
from thalweg.steps import SCHEDULES

SETTINGS = ("batch_size", "schedule", "clip")


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to train: an optimiser with hyperparameters, and the settings around it."""

    optimizer: str
    hyperparameters: tuple[tuple[str, Any], ...]
    batch_size: int
    schedule: str = "constant"
    clip: float | None = None  # gradients are scaled down to at most this norm
    default: bool = field(default=False, compare=False)

    @property
    def lr(self) -> float:
        """The learning rate."""
        return dict(self.hyperparameters)["lr"]

    @property
    def settings(self) -> dict[str, Any]:
        """Batch size (None: all samples), schedule and clipping by name."""
        size = None if method(self.optimizer).full_batch else self.batch_size
        return {"batch_size": size, "schedule": self.schedule, "clip": self.clip}

    @property
    def key(self) -> str:
        """A readable name that is one to one with the configuration; journal rows carry it."""
        values = [f"{name}={value!r}" for name, value in self.hyperparameters]
        values += [f"batch_size={self.batch_size}"]
        if self.schedule != "constant":
            values.append(f"schedule={self.schedule}")
        if self.clip is not None:
            values.append(f"clip={self.clip!r}")
        return f"{self.optimizer} {' '.join(values)}"

    def without_lr(self) -> tuple[Any, ...]:
        """Everything but the learning rate: configurations that share it form one U-curve."""
        rest = tuple((name, value) for name, value in self.hyperparameters if name != "lr")
        return self.optimizer, rest, self.batch_size, self.schedule, self.clip


@dataclass(frozen=True, slots=True)
class Member:
    """A configuration under one seed: one training run."""

    configuration: Configuration
    seed: int

    @property
    def key(self) -> str:
        """The journal's name of this run."""
        return f"{self.configuration.key} seed={self.seed}"


@dataclass(frozen=True, slots=True)
class Space:
    """Optimisers and the axes beside the learning rate.

    Attributes:
        optimizers: Names from the registry.
        axes: Per axis (``batch_size``, ``schedule``, ``clip`` or any hyperparameter of a raced
            optimiser) the values to try. An optimiser is given those that it knows; methods with a
            line search take all samples and find their own step, so they know no settings.
        batch_size: Used where no axis says otherwise.
        schedule: Likewise.
        fixed: Hyperparameters given to every optimiser that knows them.
    """

    optimizers: tuple[str, ...]
    axes: tuple[tuple[str, tuple[Any, ...]], ...]
    batch_size: int
    schedule: str = "constant"
    fixed: tuple[tuple[str, Any], ...] = ()

    def grid(self, optimizer: str, lrs: Iterable[float]) -> list[Configuration]:
        """Every configuration of one optimiser over ``lrs``."""
        known = set(defaults(optimizer)) | (set() if method(optimizer).evaluates else {*SETTINGS})
        axes = [(name, values) for name, values in self.axes if name in known]
        names = [name for name, _ in axes]
        fixed = {k: v for k, v in self.fixed if k in known and k not in names}
        found = {}
        for lr, *values in itertools.product(lrs, *(values for _, values in axes)):
            chosen = dict(zip(names, values, strict=True))
            configuration = self._make(optimizer, {"lr": lr} | fixed | chosen)
            found[configuration.key] = configuration
        return list(found.values())

    def probe(self, optimizer: str, lr: float) -> Configuration:
        """The configuration whose learning-rate ladder is climbed: first value of every axis."""
        return self.grid(optimizer, [lr])[0]

    def library_default(self, optimizer: str) -> Configuration:
        """The optimiser as the library builds it when only asked by name."""
        made = self._make(optimizer, {"lr": defaults(optimizer)["lr"]})
        return Configuration(
            made.optimizer, made.hyperparameters, made.batch_size, made.schedule, default=True
        )

    def _make(self, optimizer: str, chosen: Mapping[str, Any]) -> Configuration:
        hyper = {name: value for name, value in chosen.items() if name not in SETTINGS}
        checked, searches = check(optimizer, hyper), method(optimizer).evaluates
        checked["lr"] = float(checked["lr"])  # one number has one name
        return Configuration(
            optimizer,
            tuple(sorted((name, checked[name]) for name in hyper)),
            chosen.get("batch_size", self.batch_size),
            chosen.get("schedule", "constant" if searches else self.schedule),
            chosen.get("clip"),
        )


def make_space(
    optimizers: Sequence[str],
    space: Mapping[str, Sequence[Any]] | None,
    batch_size: int,
    schedule: str | None,
    weight_decay: float,
) -> Space:
    """Check names and values and build the space.

    Raises:
        ValueError: Unknown optimiser, axis or value; names it and what is known.
    """
    if isinstance(optimizers, str) or not optimizers:
        raise ValueError(
            f"optimizers={optimizers!r}: wanted a list of names, such as ('sgd', 'adam')."
        )
    if len(set(optimizers)) < len(optimizers):
        raise ValueError(f"optimizers={list(optimizers)}: a name stands twice.")
    known = {name: tuple(defaults(name)) for name in optimizers}  # refuses unknown names
    axes = []
    for axis, values in (space or {}).items():
        if isinstance(values, str | int | float) or values is None or not len(values):
            raise ValueError(f"space[{axis!r}]={values!r}: wanted a list of values to try.")
        if axis == "lr":
            raise ValueError("space['lr']: give learning rates by lrs=, not as an axis.")
        if axis not in SETTINGS and not any(axis in names for names in known.values()):
            every = tuple(sorted({n for names in known.values() for n in names} - {"lr"}))
            raise ValueError(
                f"space[{axis!r}]: no raced optimiser has this hyperparameter. "
                + suggest(axis, SETTINGS + every)
            )
        axes.append((axis, tuple(_check_setting(axis, value) for value in values)))
    fixed = (("weight_decay", weight_decay),) if weight_decay else ()
    chosen = Space(
        tuple(optimizers),
        tuple(axes),
        batch_size,
        _check_setting("schedule", schedule or "constant"),
        fixed,
    )
    for name in optimizers:  # a wrong hyperparameter value must fail here, not in the race
        chosen.probe(name, defaults(name)["lr"])
    return chosen


def _check_setting(axis: str, value: Any) -> Any:
    if axis == "batch_size":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"batch_size={value!r}: wanted a whole number of at least 1.")
    elif axis == "schedule":
        SCHEDULES[str(value)]
    elif axis == "clip" and value is not None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise ValueError(f"clip={value!r}: wanted a positive gradient norm, or none.")
        return float(value)
    return value


def check_lrs(lrs: Any) -> tuple[float, ...] | None:
    """The learning rates to race, sorted; None for ``"auto"``.

    Raises:
        ValueError: Empty, not numbers, or not positive and finite.
    """
    if isinstance(lrs, str):
        if lrs == "auto":
            return None
        raise ValueError(f"lrs={lrs!r}: wanted 'auto' or a list of positive numbers.")
    try:
        rates = sorted({float(lr) for lr in lrs})
    except (TypeError, ValueError) as error:
        raise ValueError(f"lrs={lrs!r}: wanted 'auto' or a list of positive numbers.") from error
    bad = [lr for lr in rates if not math.isfinite(lr) or lr <= 0]
    if bad or not rates:
        raise ValueError(f"lrs={lrs!r}: learning rates must be positive and finite numbers.")
    return tuple(rates)
