"""Which learning rates are worth racing? A short climb finds the upper end; the grid hangs from it.

Rates are the rungs 10^(k/2) of one ladder for everyone, written with two digits: 1, 0.32, 0.1, ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

LOWEST, HIGHEST = -16, 6  # 1e-8 and 1e3: nobody trains outside
POINTS = 7  # three decades, spec m9
WIDEN_BY = 2  # rungs added below an edge that wins
WIDENINGS = 3


def rate(rung: int) -> float:
    """The learning rate of a rung.

    >>> [rate(k) for k in (0, -1, -2, -3)]
    [1.0, 0.32, 0.1, 0.032]
    """
    return float(f"{10 ** (rung / 2):.1e}")


def rung(lr: float) -> int:
    """The rung nearest to ``lr``."""
    return min(HIGHEST, max(LOWEST, round(2 * math.log10(lr))))


def climb(survives: Callable[[float], bool], start: int) -> int | None:
    """The highest rung at which training still goes down; None if not even the lowest does.

    Walks up from ``start`` while training survives, else down until it does.
    """
    at = start
    if survives(rate(at)):
        while at < HIGHEST and survives(rate(at + 1)):
            at += 1
        return at
    while at > LOWEST:
        at -= 1
        if survives(rate(at)):
            return at
    return None


def grid(top: int) -> list[float]:
    """The rates hanging from a rung, lowest first."""
    return [rate(k) for k in range(max(LOWEST, top - POINTS + 1), top + 1)]


def widened(lrs: Sequence[float], best: float, failed: Sequence[float]) -> list[float]:
    """Rates to add because ``best`` lies on an edge of ``lrs``; none if it does not.

    Above, one rung at a time and never past a rate that is known to fail; below, two rungs.
    """
    rungs = sorted({rung(lr) for lr in lrs})
    at, ceiling = rung(best), min((rung(lr) for lr in failed), default=HIGHEST + 1)
    added = []
    if at >= rungs[-1] and at + 1 < ceiling:
        added.append(at + 1)
    if at <= rungs[0]:
        added += range(at - WIDEN_BY, at)
    return [rate(k) for k in added if LOWEST <= k <= HIGHEST]
