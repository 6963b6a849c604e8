"""When may the next look be taken, so that looking stays within its share of the time?"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque

now = time.perf_counter
HIDDEN = 1.6  # times our own time, where the boundaries cannot tell (measured 1.0 to 1.6)
DEAREST = 8.0  # times our own time: more is somebody else's
TRUSTED = 0.5  # standard error of the factor up to which the boundaries are believed
PRICES, SAMPLES = 15, 31  # looks and plain windows over which medians are taken
UNSAMPLED = 4  # looks that may go by without a plain step that is timed
AFTER = 64  # plain steps after a look that may still be slower, at most
SLOWER = 16.0  # times our own time: so long they may be (steps of 0.2 ms: measured up to 30 ms)
LONG = 64.0  # looks are as nothing to a step so many times as long
MOST = 64
CREDIT = 2.0
LEAST = 0.1  # of the budget stays for looks, however short steps are
MARGIN = 0.6  # of the budget is planned: what is measured scatters
HORIZON = 20.0  # seconds of training within which the first look is paid back


class Clock:
    """Charges every look to the training and lets none begin that is not paid for.

    The price of a look is the time from the end of the last plain step before it to the end of the
    first plain ones after it, less that of as many plain steps in a row: hooks hung on and taken
    off, caches gone cold and all. Both are medians, over windows of equally many steps, for on a
    busy machine long windows are broken into more often than short ones. Each look is charged the
    time inside our own hooks times a *factor*, the price over the median of those times.
    Where windows scatter so much that the factor is not known, it is ``HIDDEN``.

    Each second of training (watching not counted) earns r seconds of looking, r being the budget
    less a margin and less what plain steps pay; a look begins when its price has been earned. The
    first comes before anything is: its price c is lent, and asked back evenly over the first
    ``HORIZON`` seconds, so that at second t looks have taken at most r t + c (1 - t / HORIZON).
    What is earned and cannot be used (steps far longer than looks) is kept for ``CREDIT`` looks.

    Args:
        budget: Share of the time, 0 < budget <= 1.
        idle: Seconds that watching costs a plain step.
        every: Plain steps between looks, whatever they cost; None: as the budget allows.
    """

    def __init__(self, budget: float, idle: float, every: int | None = None) -> None:
        self.budget, self.idle, self.every = budget, idle, every
        self.last = self._began = now()
        self.plain: float | None = None  # median length of a plain step
        self.trained = 0.0  # seconds of training; a pause counts as one long step, no more
        self.own = 0.0  # seconds inside our hooks, looks only
        self._charged = 0.0  # seconds charged for looks after the first
        self._balance = 0.0  # seconds earned and not spent
        self._cost = 0.0  # what the next look is thought to cost
        self.factor = HIDDEN  # price of a look over the time inside our own hooks
        self.looks = self.steps = self.since = 0
        self.lent = 0.0  # seconds of making the watch and of the first look
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._excess: deque[float] = deque(maxlen=PRICES)
        self._owns: deque[float] = deque(maxlen=PRICES)
        self._own_began = 0.0
        self._looked = 0  # steps of the look that has no price yet
        self._window = 1  # plain steps that are timed together, as many as around a look
        self._unsampled = 0  # looks since a window was

    def tick(self, steps: int) -> int:
        """So many plain steps have ended: in how many more to ask again; 0 for a look right now."""
        at = now()
        length = (at - self.last) / steps
        longer = not self._looked or length > LONG * self._owns[-1]
        if self._looked:
            self._price(at, steps)
        if self.plain is None or (steps == self._window and longer):
            self._samples.append(length)
            self._unsampled = 0
            if self.plain is None or len(self._samples) < SAMPLES:
                self.plain = statistics.median(self._samples)
        self.last = at
        self.steps += steps
        self.since += steps
        usual = self.plain if self.plain is not None else length
        self._earn(steps * min(length, 4 * usual), max(usual, 1e-9))
        if self.every is not None:
            return max(0, self.every - self.since)
        if not self.looks:
            return 0
        wait = self._wait(max(usual, 1e-9))
        if wait <= 0 and self._unsampled < UNSAMPLED:
            return 0
        if steps != self._window or len(self._samples) < 5:
            return self._window
        # Half of what is left, so that the clock is read a few times only and never far too late.
        return max(1, int(min(MOST, wait / 2)))

    def _rate(self, step: float) -> float:
        """Seconds of looking that a second of training earns now."""
        rate = max(LEAST * self.budget, MARGIN * self.budget - self.idle / step)
        return rate - (self.lent / HORIZON if self.trained < HORIZON else 0.0)

    def _earn(self, seconds: float, step: float) -> None:
        self._balance += seconds * self._rate(step)
        self._balance = min(self._balance, CREDIT * self._cost)
        self.trained += seconds

    def _wait(self, step: float) -> float:
        """Plain steps until the next look is paid for."""
        missing, rate = self._cost - self._balance, self._rate(step)
        return missing / (rate * step) if rate > 0 else (HORIZON - self.trained) / step

    def open(self) -> None:
        """A look begins with the next step."""
        self._began = self.last if self.looks else now()
        self._own_began = self.own

    def close(self, steps: int) -> int:
        """A look over ``steps`` steps has ended; after how many plain steps it is to be priced."""
        at = now()
        own = self.own - self._own_began
        self.looks += 1
        self.since = 0
        self.steps += steps
        if self._owns:  # a pause in a look is not its price
            own = min(own, 3 * statistics.median(self._owns))
        if self.looks == 1:
            self.lent += own  # caches were cold before it, too
        else:
            self._charged += own * self.factor
            self._balance -= own * self.factor
        self.last = at
        self._looked = steps
        self._owns.append(own)
        self._cost = self.factor * statistics.median(self._owns)
        step = self.plain or max((at - self._began - own) / steps, 1e-9)
        self._earn(steps * step, step)
        self._unsampled += 1
        after = max(1, min(AFTER, math.ceil(SLOWER * own / self.plain))) if self.plain else 1
        after = after if self.every is None else min(after, self.every)
        if self.plain:
            self._window = steps + after
        return after

    def _price(self, at: float, steps: int) -> None:
        """The first plain steps after a look have ended."""
        if self.looks > 1:
            self.plain = statistics.median(self._samples)
            self._excess.append(at - self._began - (self._looked + steps) * self.plain)
            self.factor = self._learn()
            self._cost = self.factor * statistics.median(self._owns)
        self._looked = 0

    def charge(self, seconds: float) -> None:
        """Take in what was spent before any training."""
        self.lent += seconds

    @property
    def spent(self) -> float:
        """Seconds charged."""
        return self.lent + self._charged

    def _learn(self) -> float:
        """The factor, from what the last looks took."""
        if len(self._excess) < 3:
            return HIDDEN
        own, middle = statistics.median(self._owns), statistics.median(self._excess)
        scatter = statistics.median(abs(e - middle) for e in self._excess)
        error = 1.86 * scatter / math.sqrt(len(self._excess))  # of a median, from its MAD
        if own <= 0 or error > TRUSTED * own:
            return HIDDEN
        return min(max(middle / own, 1.0), DEAREST)

    def stride(self, cost: float, share: float) -> int:
        """How many steps to let pass for each one that costs ``cost`` to keep to a share."""
        if self.every is not None or self.plain is None:
            return 1
        return max(1, math.ceil(cost / (share * self.budget * max(self.plain, 1e-9))))

    @property
    def share(self) -> float:
        """What watching took, as it was charged, over the time of the training without it."""
        trained = self.trained or now() - self._began
        return (self.spent + self.steps * self.idle) / trained if trained > 0 else 0.0
