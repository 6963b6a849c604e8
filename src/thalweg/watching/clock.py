"""When may the next look be taken, so that looking stays within its share of the time?"""

from __future__ import annotations

import math
import time

now = time.perf_counter
CALM = 0.1  # weight of the newest step in the running mean of plain steps
HIDDEN = 1.6  # times our own time: hooks being called, caches gone cold (measured 1.4 to 1.6)
MOST = 64
LEAST = 0.1  # of the budget stays for looks, however short steps are


class Clock:
    """Charges every look to the training and waits until it is paid for.

    A look that cost c seconds is followed by none for c / budget seconds: whatever the lengths of
    steps, looks take at most ``budget`` of the time. What a look costs is the longer of two
    measurements: the time inside our own hooks (and a part of it for what they slow down around
    them), and the length of the steps that were looked at beyond that of plain steps.

    Args:
        budget: Share of the time, 0 < budget <= 1.
        idle: Seconds that watching costs a plain step.
        every: Plain steps between looks, whatever they cost; None: as the budget allows.
    """

    def __init__(self, budget: float, idle: float, every: int | None = None) -> None:
        self.budget, self.idle, self.every = budget, idle, every
        self.begun = self.last = self.due = now()
        self.plain: float | None = None  # mean length of a plain step
        self.own = 0.0  # seconds inside our hooks, looks only
        self.spent = 0.0  # seconds charged
        self.looks = self.steps = self.since = 0
        self._excess: float | None = None
        self._began = self._own_began = self.begun

    def tick(self, steps: int) -> int:
        """So many plain steps have ended: in how many more to ask again; 0 for a look right now."""
        at = now()
        length = (at - self.last) / steps
        self.last = at
        self.steps += steps
        self.since += steps
        if self.plain is None:
            self.plain = length
        else:  # a pause (evaluation, saving) counts as one long step, no more
            weight = 1 - (1 - CALM) ** steps
            self.plain += weight * (min(length, 4 * self.plain) - self.plain)
        if self.every is not None:
            return max(0, self.every - self.since)
        if at >= self.due:
            return 0
        # Half of what is left, so that the clock is read a few times only and never far too late.
        return max(1, int(min(MOST, (self.due - at) / max(self.plain, 1e-9) / 2)))

    def reset(self) -> None:
        """Begin anew: nothing has been seen yet."""
        self.begun = self.last = now()
        self.steps = self.since = 0
        self.due, self.plain = 0.0, None

    def open(self) -> None:
        """A look begins with the next step."""
        self._began = now()
        self._own_began = self.own

    def stride(self, cost: float, share: float) -> int:
        """How many steps to let pass for each one that costs ``cost`` to keep to a share."""
        if self.every is not None or self.plain is None:
            return 1
        return max(1, math.ceil(cost / (share * self.budget * max(self.plain, 1e-9))))

    def close(self, steps: int) -> None:
        """A look over ``steps`` steps has ended; its bill sets when the next may begin."""
        at = now()
        own = self.own - self._own_began
        cost = HIDDEN * own
        if self.plain is not None and self.looks:  # the first look pays for warming up
            excess = at - self._began - steps * self.plain
            self._excess = (
                excess if self._excess is None else self._excess + (excess - self._excess) / 4
            )
            cost = max(cost, min(self._excess, 4 * own))
        self.looks += 1
        self.since = 0
        self.steps += steps
        self.spent += cost
        step = self.plain if self.plain else (at - self._began) / max(1, steps)
        share = max(LEAST * self.budget, self.budget - self.idle / max(step, 1e-9))
        self.last = at
        self.due = at + cost / share

    @property
    def share(self) -> float:
        """Part of the time since the first look that watching took, as it was charged."""
        passed = now() - self.begun
        return (self.spent + self.steps * self.idle) / passed if passed > 0 else 0.0
