"""How is it trained? Optimiser, hyperparameters and everything around the optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from thalweg.optim import methods
from thalweg.optim.averaging import KINDS
from thalweg.records import Entry, Record
from thalweg.steps import SCHEDULES
from thalweg.task import Recipe

AUTOCAST = ("bfloat16",)


@dataclass(frozen=True, slots=True)
class Settings(Record):
    """One way to train.

    Attributes:
        optimizer: A name of ``thalweg.optim.methods.METHODS``.
        hyperparameters: As torch names them; missing ones at their defaults.
        batch_size: Samples a gradient; None for all of them (methods with a line search).
        schedule: ``constant``, ``linear`` or ``cosine``, stretched over the whole run.
        warmup: Gradients over which the rate first grows from 0, linearly.
        clip: The gradient's norm is cut to this; None leaves it.
        average: ``polyak`` or ``exponential``: the averaged weights are what is scored and kept.
        decay: Of the exponential average.
        burn_in: Steps before averaging begins.
        patience: Looks at held-out data without improvement after which training stops, and the
            best weights are kept; None trains to the end and keeps the last.
        autocast: ``bfloat16`` for a mixed-precision forward pass; None for the task's own type.
    """

    optimizer: str = "sgd"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    schedule: str = "constant"
    warmup: int = 0
    clip: float | None = None
    average: str | None = None
    decay: float = 0.999
    burn_in: int = 0
    patience: int | None = None
    autocast: str | None = None

    def checked(self) -> Settings:
        """The same, or ``ValueError`` that names the first thing wrong."""
        methods.check(self.optimizer, self.hyperparameters)
        SCHEDULES[self.schedule]
        how = methods.method(self.optimizer)
        if how.full_batch and self.batch_size is not None:
            raise ValueError(
                f"{self.optimizer} compares values of one loss along a line, so its batch must not "
                "change: leave batch_size out and it takes all samples"
            )
        if how.evaluates and (self.clip is not None or self.schedule != "constant" or self.warmup):
            raise ValueError(
                f"{self.optimizer} chooses its step by a line search: clip, schedule and warmup do "
                "not apply"
            )
        for name, low in (("batch_size", 1), ("warmup", 0), ("burn_in", 0), ("patience", 1)):
            _whole(name, getattr(self, name), low, name in ("batch_size", "patience"))
        if self.clip is not None and not (math.isfinite(self.clip) and self.clip > 0):
            raise ValueError(f"clip={self.clip!r}: wanted a number above 0, or None")
        if self.average is not None and self.average not in KINDS:
            raise ValueError(f"average={self.average!r}: known are {', '.join(KINDS)}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay!r}: wanted a number in [0, 1)")
        if self.autocast is not None and self.autocast not in AUTOCAST:
            raise ValueError(f"autocast={self.autocast!r}: known is {', '.join(AUTOCAST)}")
        return self

    @property
    def lr(self) -> float | None:
        """The base learning rate."""
        return self.hyperparameters.get("lr", methods.defaults(self.optimizer).get("lr"))

    @staticmethod
    def of_recipe(recipe: Recipe, batch_size: int) -> Settings:
        """How the task is trained today."""
        known = methods.defaults(recipe.optimizer)
        values = {"lr": recipe.lr, **recipe.hyperparameters}
        for name, off in (("momentum", 0.0), ("weight_decay", 0.0)):
            value = getattr(recipe, name)
            if name in known or value != off:  # a value that the optimiser lacks is refused later
                values[name] = value
        full = methods.method(recipe.optimizer).full_batch
        return Settings(
            recipe.optimizer,
            values,
            None if full else batch_size,
            recipe.schedule or "constant",
        )

    @staticmethod
    def of_entry(entry: Entry) -> Settings:
        """How one configuration of a race was trained."""
        how = entry.settings
        return Settings(
            entry.optimizer,
            dict(entry.hyperparameters),
            how.get("batch_size"),
            how.get("schedule") or "constant",
            clip=how.get("clip"),
        )


def _whole(name: str, value: Any, low: int, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name}={value!r}: wanted a whole number of at least {low}")
