"""How far along a direction? A step that satisfies the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Probe(NamedTuple):
    """The function along the line at one step: value, slope, and whatever came with them."""

    step: float
    value: float
    slope: float
    extra: Any = None

    @property
    def finite(self) -> bool:
        """Whether value and slope are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


class Found(NamedTuple):
    """The best step seen, how many evaluations it took, and whether it is a Wolfe step."""

    probe: Probe
    evaluations: int
    satisfied: bool


def strong_wolfe(
    phi: Callable[[float], Probe],
    start: Probe,
    first: float,
    c1: float = 1e-4,
    c2: float = 0.1,
    max_evaluations: int = 25,
) -> Found:
    r"""Find :math:`t > 0` with sufficient decrease and a slope near zero.

    .. math:: \phi(t) \le \phi(0) + c_1 t\,\phi'(0), \qquad |\phi'(t)| \le c_2\,|\phi'(0)|

    The step grows until a minimum is bracketed, then cubic interpolation closes the bracket; a
    point that does not shrink it by a third twice running is replaced by its middle. On a parabola
    the first interpolation is exact.

    Args:
        phi: Step to :class:`Probe` (its ``extra`` comes back untouched, so gradients need not be
            computed again).
        start: The function at step 0, with a negative slope.
        first: Step tried first, > 0.
        c1: Sufficient decrease, in (0, c2).
        c2: Curvature condition, in (c1, 1): 0.1 for conjugate gradients, 0.9 for quasi-Newton.
        max_evaluations: Calls of ``phi``, at least 1.

    Returns:
        The Wolfe step; if none was found in time, the step of lowest value that decreases enough,
        else ``start`` itself.

    Raises:
        ValueError: An argument out of range or a direction that does not descend.

    References:
        Nocedal and Wright, "Numerical Optimization", 2006, algorithms 3.5 and 3.6.
    """
    _check(start, first, c1, c2, max_evaluations)
    search = _Search(phi, start, c1, c2, max_evaluations)
    low, t = start, first
    while search.left:
        probe = search.ask(t)
        if not probe.finite:  # beyond the edge of the function: come back
            found = search.zoom(low, probe)
            return found if found is not None else search.best()
        if search.too_high(probe) or (low is not start and probe.value >= low.value):
            found = search.zoom(low, probe)
            return found if found is not None else search.best()
        if search.flat(probe):
            return search.done(probe)
        if probe.slope >= 0:
            found = search.zoom(probe, low)
            return found if found is not None else search.best()
        low, t = probe, _grown(low, probe)
    return search.best()


class _Search:
    """The evaluations of one search and its two conditions."""

    def __init__(
        self, phi: Callable[[float], Probe], start: Probe, c1: float, c2: float, most: int
    ) -> None:
        self._phi, self._start, self._c1, self._c2 = phi, start, c1, c2
        self.left, self._asked = most, 0
        self._best = start

    def ask(self, t: float) -> Probe:
        """Evaluate, and remember the best step that decreases enough."""
        probe = self._phi(t)._replace(step=t)
        self.left -= 1
        self._asked += 1
        if probe.finite and not self.too_high(probe) and probe.value < self._best.value:
            self._best = probe
        return probe

    def too_high(self, probe: Probe) -> bool:
        """Whether the decrease is insufficient."""
        return probe.value > self._start.value + self._c1 * probe.step * self._start.slope

    def flat(self, probe: Probe) -> bool:
        """Whether the slope is small enough."""
        return abs(probe.slope) <= self._c2 * abs(self._start.slope)

    def done(self, probe: Probe) -> Found:
        """A Wolfe step."""
        return Found(probe, self._asked, True)

    def best(self) -> Found:
        """What there is when evaluations ran out."""
        return Found(self._best, self._asked, False)

    def zoom(self, low: Probe, high: Probe) -> Found | None:
        """Close the bracket: ``low`` is its end of lowest value, sloping towards ``high``."""
        slow = 0
        while self.left:
            width = abs(high.step - low.step)
            if width <= 1e-14 * max(low.step, high.step):
                return None
            t = _minimiser(low, high) if slow < 2 else 0.5 * (low.step + high.step)
            probe = self.ask(t)
            if not probe.finite or self.too_high(probe) or probe.value >= low.value:
                high = probe
            else:
                if self.flat(probe):
                    return self.done(probe)
                if probe.slope * (high.step - low.step) >= 0:
                    high = low
                low = probe
            slow = slow + 1 if abs(high.step - low.step) > 2 / 3 * width else 0
        return None


def _minimiser(a: Probe, b: Probe) -> float:
    """Where the cubic through both probes is lowest, kept off the ends; else their middle."""
    low, high = min(a.step, b.step), max(a.step, b.step)
    middle, margin = 0.5 * (low + high), 1e-3 * (high - low)
    if not (a.finite and b.finite):
        return middle
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return middle
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    down = b.slope - a.slope + 2 * d2
    if down == 0:
        return middle
    t = b.step - (b.step - a.step) * (b.slope + d2 - d1) / down
    return t if low + margin <= t <= high - margin else min(max(t, low + margin), high - margin)


def _grown(low: Probe, probe: Probe) -> float:
    """The next step outwards: where the slopes' line crosses zero, up to ten times as far."""
    bend = (probe.slope - low.slope) / (probe.step - low.step)
    t = probe.step - probe.slope / bend if bend > 0 else math.inf
    return min(max(t, 1.1 * probe.step), 10.0 * probe.step)


def _check(start: Probe, first: float, c1: float, c2: float, most: int) -> None:
    if not start.finite:
        raise ValueError(f"the search starts at value {start.value}, slope {start.slope}")
    if not start.slope < 0:
        raise ValueError(f"the direction does not descend: its slope is {start.slope:g}")
    if not 0 < c1 < c2 < 1:
        raise ValueError(f"wanted 0 < c1 < c2 < 1, got c1={c1}, c2={c2}")
    if not (math.isfinite(first) and first > 0) or most < 1:
        raise ValueError(f"wanted a first step > 0 and an evaluation, got {first}, {most}")
