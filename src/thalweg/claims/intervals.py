"""How sure is a mean over a few seeds? Student's interval, and the words for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from thalweg.records import Interval


def interval(values: Sequence[float]) -> Interval:
    """Mean of independent values with its 95 % interval (Student's, n - 1 degrees of freedom).

    >>> found = interval([1.0, 2.0, 3.0])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (2.0, -0.484, 4.484)

    Raises:
        ValueError: Fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"{n} values; an interval needs at least two.")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / n**0.5
    half = float(stdtrit(n - 1, 0.975)) * error
    return Interval(mean, error, mean - half, mean + half)


def spoken(name: str, values: Sequence[float], unit: str = "%") -> str:
    """One note: mean, interval and number of seeds.

    >>> spoken("plain", [71.0, 72.0, 73.0])
    'plain: 72.0 % (95 % interval 69.5 to 74.5, 3 seeds).'
    """
    found = interval(values)
    low, high, mean = (f"{v:.3g}" if abs(v) < 10 else f"{v:.1f}" for v in _three(found))
    unit = f" {unit}" if unit else ""
    return f"{name}: {mean}{unit} (95 % interval {low} to {high}, {len(values)} seeds)."


def _three(found: Interval) -> tuple[float, float, float]:
    return found.low, found.high, found.value
