"""How fast may a curriculum grow? The share of samples that is open after a share of the run."""

from __future__ import annotations

import math
from collections.abc import Callable

Pacing = Callable[[float], float]


def linear(t: float, start: float = 0.2, full: float = 0.8) -> float:
    """From ``start`` to all samples at ``full`` of the run, in a straight line.

    >>> linear(0.0), linear(0.8), linear(1.0)
    (0.2, 1.0, 1.0)
    """
    return min(1.0, start + (1 - start) * t / full)


def root(t: float, start: float = 0.2, full: float = 0.8) -> float:
    """The same with a square root: fast at first, so that new samples come at an even pace."""
    return min(1.0, math.sqrt(start**2 + (1 - start**2) * t / full))


def step(t: float, start: float = 0.2, full: float = 0.8) -> float:
    """``start``, then halfway, then all, in three equal parts up to ``full``."""
    parts = (start, (1 + start) / 2, 1.0)
    return parts[min(2, int(3 * t / full))]


PACING: dict[str, Callable[..., float]] = {"linear": linear, "root": root, "step": step}
