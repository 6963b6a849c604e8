"""When may the next look be taken, so that looking stays within its share of the time?"""

from __future__ import annotations

import math
import time

now = time.perf_counter
HIDDEN = 1.6  # times our own time: hooks being called, caches gone cold (measured 1.4 to 1.6)
MOST = 64
RECENT = 2000  # steps over which the mean is taken, about
LEAST = 0.1  # of the budget stays for looks, however short steps are


class Clock:
    """Charges every look to the training and waits until it is paid for.

    A look that cost c seconds is followed by none for c / budget seconds: whatever the lengths of
    steps, looks take at most ``budget`` of the time. What a look costs is the longer of two
    measurements: the time inside our own hooks (and a part of it for what they slow down around
    them), and the length so far of all steps that were looked at beyond that of plain ones.

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
        self._excess = 0.0  # seconds that looks took beyond plain steps
        self._plain, self._count, self._fresh = 0.0, 0.0, False
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
        if self._fresh:  # the step after a look still pays for cold caches
            self._fresh = False
            self._excess += min(length, 4 * self.plain) - self.plain
        else:  # a pause (evaluation, saving) counts as one long step, no more
            self._plain += steps * min(length, 4 * self.plain)
            self._count += steps
            self.plain = self._plain / self._count
            if self._count > RECENT:
                self._plain, self._count = self._plain / 2, self._count / 2
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
        self.due, self.plain, self._plain, self._count = 0.0, None, 0.0, 0.0

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
            self._excess += at - self._began - steps * self.plain
            cost = max(cost, min(self._excess - self.spent, 4 * own))
        self._fresh = True
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
