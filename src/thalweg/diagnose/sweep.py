"""Which learning rates work for this task? A short run at each of a few on a ladder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from thalweg.diagnose.bench import Bench
from thalweg.task import Task

STEP = 10**0.5  # between neighbouring rates
LOWEST, HIGHEST = 1e-7, 1e3
IDLE = 0.1  # of the loss of a run that learns nothing
LITTLE = 0.1  # of what the best rate gains on a constant answer: one that gains less has failed
FAR = 3.0  # times the loss of a constant answer
MOST = 13  # runs
ASTRAY = 3  # strides that a bracket found by one seed may be moved by others
LEAST = 6  # runs before time ends a search in which no rate has worked


@dataclass(frozen=True, slots=True)
class Sweep:
    """Short runs at geometric rates, sorted."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]  # mean of the last quarter; inf where it failed
    start: float  # loss at the initial weights
    steps: int
    best: float  # the rate of the lowest loss, of those below the failing one
    failing: float  # smallest rate above the best that hardly learns, to a factor 1.25; NaN: none

    def loss_at(self, rate: float) -> float:
        """The loss of the tried rate nearest to ``rate``."""
        near = min(range(len(self.rates)), key=lambda i: abs(math.log(self.rates[i] / rate)))
        return self.losses[near]


def at_rate(task: Task, lr: float) -> Task:
    """The task with another learning rate."""
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, lr=lr))


def sweep(
    bench: Bench, steps: int, seed: int, left: Callable[[], float], bisect: bool = True
) -> Sweep:
    """Walk outwards from the recipe's rate, both ways, until it fails above and idles below.

    Args:
        bench: The task.
        steps: Gradients of each run.
        seed: Of all runs: they share weights and batches.
        left: Seconds left.
        bisect: Also find the failing rate to a factor 1.25.
    """
    own, time = bench.task.recipe.lr, left()
    found: dict[float, float] = {}
    start, floor = _start(bench, seed, steps), bench.judge.floor_loss
    # of a run that learns nothing; from far above a constant answer every fall is progress
    nothing = min(start, floor) if start < FAR * floor else start

    def run(lr: float) -> float:
        if lr not in found:
            found[lr] = _final(bench, lr, steps, seed, start)
        return found[lr]

    run(own)
    up, down = own, own
    while len(found) < MOST:
        best = min(found, key=lambda lr: found[lr])
        idle = _idle(found[best], nothing)
        if left() <= 0 and not (idle and len(found) < LEAST):
            break
        lower = (best <= down * 1.01 or idle) and down / STEP >= LOWEST
        higher = math.isfinite(found[up]) and up * STEP <= HIGHEST
        # far away where nothing moves yet; a rate that breaks off is near one that does not
        stride = STEP**2 if idle and math.isfinite(found[best]) else STEP
        if higher and not (idle and lower and up * down > own * own * 1.01):  # else by turns
            up *= stride
            run(up)
        elif lower:
            down /= stride
            run(down)
        else:
            break

    def learns_mostly(lr: float) -> bool:
        """By most of three seeds, where half of the time is left; else by the first."""
        best = min([run(lr), *found.values()])
        votes = [learns(run(lr), nothing, best)]
        while left() > time / 2 and max(votes.count(True), votes.count(False)) < 2:
            loss = _final(bench, lr, steps, seed + len(votes), start)
            votes.append(learns(loss, nothing, best))
        return votes.count(True) > votes.count(False)

    failing = _failing(found, nothing, learns_mostly, left, bisect)
    rates = tuple(sorted(found))
    # where one seed worked and most fail, the rate is not the best one
    best = min([lr for lr in rates if not lr >= failing] or rates, key=lambda lr: found[lr])
    return Sweep(rates, tuple(found[lr] for lr in rates), start, steps, best, failing)


def _tail(steps: int) -> int:
    """How many of the last steps are averaged."""
    return min(steps, max(4, steps // 4))


def _idle(loss: float, nothing: float) -> bool:
    """Nothing learnt at any rate so far: which of them is lowest is chance."""
    return not loss < nothing - IDLE * abs(nothing)


def _start(bench: Bench, seed: int, steps: int) -> float:
    """Loss of the initial weights on the batches that end a run.

    On the same batches a run that goes nowhere ends where it started: other batches' noise would
    make it look like one that rises.
    """
    model = bench.risk.model(seed)
    size = min(bench.settings.batch_size or bench.risk.train.n, bench.risk.train.n)
    feed = bench.risk.feed(seed, size)
    span = range(steps - _tail(steps), steps)
    return sum(float(bench.risk.loss(model, feed.batch(i)).detach()) for i in span) / len(span)


def _final(bench: Bench, lr: float, steps: int, seed: int, start: float) -> float:
    """Mean loss of the last quarter; infinite where it failed or ended above its start."""
    trial = Bench(at_rate(bench.task, lr), bench.risk.device, bench.seed, like=bench)
    limit = start + 20 * abs(start) + 20
    walk = trial.walk(seed, steps, looks=0, stop=lambda loss: not loss < limit)
    if walk.diverged or len(walk.losses) < steps:
        return math.inf
    tail = walk.losses[-_tail(steps) :]
    mean = sum(tail) / len(tail)
    return mean if mean <= start + 1e-3 * abs(start) else math.inf


def learns(loss: float, nothing: float, best: float) -> bool:
    """Whether a run gained at least a tenth of what the best one did.

    Args:
        loss: Where it ended.
        nothing: Loss of a run that learns nothing: where it started or, if less, that of a constant
            answer, which a network is left with when its units have died.
        best: Where the run at the best rate ended.
    """
    return loss < nothing and nothing - loss >= LITTLE * (nothing - best)


def _failing(
    found: dict[float, float],
    nothing: float,
    works: Callable[[float], bool],
    left: Callable[[], float],
    bisect: bool,
) -> float:
    """The smallest rate above which runs fail: from the ladder, then to a factor 1.25."""
    best = min(found.values())
    failed = [lr for lr, loss in found.items() if not learns(loss, nothing, best)]
    worked = [lr for lr, loss in found.items() if learns(loss, nothing, best)]
    if not failed:
        return math.nan
    if not worked:
        return min(failed)
    low = max(worked)
    high = min((lr for lr in failed if lr > low), default=math.nan)
    if not bisect or not math.isfinite(high):
        return high
    for _ in range(ASTRAY):  # one seed may have led astray
        if left() > 0 and works(high):
            low, high = high, high * STEP
        elif left() > 0 and not works(low):
            low, high = low / STEP, low
        else:
            break
    while high / low > 1.25 and left() > 0:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if works(middle) else (low, middle)
    return high
