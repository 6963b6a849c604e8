"""How does the loss move? A bounded memory of any number of losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BINS = 64
OPENING = 8


@dataclass
class Losses:
    """Means over bins of equal counts; when all are full, neighbours are merged."""

    opening: list[float] = field(default_factory=list)  # the very first losses
    means: list[float] = field(default_factory=list)
    width: int = 1
    count: int = 0
    bad: int = 0  # losses that were NaN or infinite
    _sum: float = 0.0
    _held: int = 0

    def add(self, value: float) -> None:
        """Take in one loss."""
        self.count += 1
        if not math.isfinite(value):
            self.bad += 1
            return
        if len(self.opening) < OPENING:
            self.opening.append(value)
        self._sum += value
        self._held += 1
        if self._held == self.width:
            self.means.append(self._sum / self._held)
            self._sum, self._held = 0.0, 0
        if len(self.means) == BINS:
            pairs = zip(self.means[::2], self.means[1::2], strict=True)
            self.means = [(a + b) / 2 for a, b in pairs]
            self.width *= 2

    def start(self) -> tuple[float, float]:
        """Mean of the first losses and its standard error."""
        return estimate(self.opening)

    def quarter(self, back: int = 1) -> tuple[float, float]:
        """Mean over the last quarter (``back=2``: the one before it) and its standard error."""
        size = len(self.means) // 4
        if size < 2:
            return math.nan, math.nan
        end = len(self.means) - (back - 1) * size
        return estimate(self.means[end - size : end])

    def fallen(self) -> float:
        """How far the loss has come down since the start, in standard errors of the difference."""
        (one, a), (two, b) = self.start(), self.quarter()
        error = math.hypot(a, b)
        if not math.isfinite(one - two):
            return math.nan
        return (one - two) / error if error > 0 else math.copysign(math.inf, one - two)


def estimate(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error; the error of one value is infinite."""
    n = len(values)
    if n < 2:
        return (values[0] if n else math.nan), math.inf
    mean = math.fsum(values) / n
    square = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return mean, math.sqrt(square / n)
