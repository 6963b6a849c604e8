"""How are values laid out on an axis? Log where ratios matter, ticks that people can read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from thalweg.report.numbers import THIN, Criterion, rate, significant

# On the error scale the step from 90 to 95 % is as long as that from 95 to 97.5 %.
ACCURACIES = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
FINER = (
    0.5,
    0.6,
    0.7,
    0.75,
    0.8,
    0.85,
    0.88,
    0.9,
    0.92,
    0.94,
    0.95,
    0.96,
    0.97,
    0.975,
    0.98,
    0.985,
    0.99,
)


@dataclass(frozen=True, slots=True)
class Axis:
    """Where a stored value is drawn, and the plotly axis that goes with it."""

    place: Callable[[float], float | None]
    layout: dict[str, Any]


def finite(values: Iterable[float | None]) -> list[float]:
    """The finite numbers among ``values``."""
    return [x for x in values if x is not None and math.isfinite(x)]


def criterion_axis(criterion: Criterion, stored: Iterable[float], samples: int | None) -> Axis:
    """The axis of a criterion.

    Args:
        criterion: What the stored values mean.
        stored: Every value that will be drawn, higher is better.
        samples: How many held-out samples an accuracy is over: none wrong is drawn as half a one.
    """
    values = finite(stored)
    title = f"{criterion.label} ({criterion.better} is better)"
    if criterion.name == "accuracy" and values and max(values) > 0.85 and min(values) >= 0:
        return _error_axis(values, title, 0.5 / samples if samples else 1e-4)
    people = [criterion.read(x) for x in values]
    if criterion.flipped:
        return loss_axis(people, title, sign=-1)

    def place(x: float) -> float | None:
        return criterion.read(x) if math.isfinite(x) else None

    layout: dict[str, Any] = {"title": {"text": title}}
    if criterion.name == "accuracy":
        layout["tickformat"] = ".0%"
    return Axis(place, layout)


def _error_axis(values: list[float], title: str, floor: float) -> Axis:
    def place(x: float) -> float | None:
        return -math.log10(max(1 - min(x, 1.0), floor)) if math.isfinite(x) else None

    low, high = min(values), max(values)
    coarse = [a for a in ACCURACIES if low <= a <= high]
    choice = ACCURACIES if len(coarse) > 2 else sorted({*ACCURACIES, *FINER})
    shown = [a for a in choice if low - 0.3 * (1 - low) <= a <= high + 0.6 * (1 - high)]
    marks = [place(a) for a in shown]
    text = [f"{a * 100:g}{THIN}%" for a in shown]
    if high >= 1:
        marks.append(place(1.0))
        text.append(f"100{THIN}%")
    return Axis(place, {"title": {"text": title}, "tickvals": marks, "ticktext": text})


def loss_axis(values: Iterable[float], title: str, sign: int = 1) -> Axis:
    """A log axis where losses are positive and span more than a factor of three, else linear.

    ``sign = -1`` for stored values that are the negatives of losses.
    """
    seen = finite(values)
    log = bool(seen) and min(seen) > 0 and max(seen) / min(seen) > 3

    def place(x: float) -> float | None:
        y = sign * x
        return y if math.isfinite(y) and (y > 0 or not log) else None

    layout: dict[str, Any] = {"title": {"text": title}}
    if log:
        layout |= {"type": "log", **ticks(min(seen), max(seen), significant)}
    return Axis(place, layout)


def rate_axis(rates: Iterable[float]) -> dict[str, Any]:
    """A log axis of learning rates with a margin of a tenth of a decade."""
    seen = [x for x in finite(rates) if x > 0]
    title = {"title": {"text": "learning rate (log scale)"}}
    if not seen:
        return {**title, "type": "log"}
    low, high = min(seen), max(seen)
    span = [math.log10(low) - 0.15, math.log10(high) + 0.15]
    return {**title, "type": "log", "range": span, **ticks(low, high, rate)}


def ticks(low: float, high: float, write: Callable[[float], str]) -> dict[str, Any]:
    """About ten tick marks of a log axis at most: decades, with 2 and 5 between where they fit."""
    first, last = math.floor(math.log10(low) - 0.2), math.ceil(math.log10(high) + 0.2)
    decades = last - first
    step = max(1, math.ceil(decades / 9))
    parts = (1, 2, 5) if decades <= 3 else (1,)
    marks = [part * 10.0**power for power in range(first, last + 1, step) for part in parts]
    if sum(low / 1.3 <= mark <= high * 1.3 for mark in marks) < 2:
        marks = sorted({low, high})  # too narrow for round numbers
    return {"tickvals": marks, "ticktext": [write(mark) for mark in marks]}
