"""Which engine trains this task fastest, on the same trajectories? Proved, then timed."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from thalweg.race.population.activity import footprint
from thalweg.race.population.base import Engine
from thalweg.race.population.batched import one_seed, partition
from thalweg.race.population.flat import Unsupported
from thalweg.race.population.make import ATTACH, chunk_size, make
from thalweg.race.population.verify import Mismatch, verify
from thalweg.race.space import Member
from thalweg.risk import Risk

FASTER = 1.08  # another engine must beat the looped one by this much: less may be chance
ROUNDS = 8  # timed in turns, so that a busy machine troubles all alike
STEPS = 8  # per turn and engine at most
TURN_SECONDS = 0.15
HOPELESS = 2.0  # times slower than looped after warming up: not timed further
CLEAR = 1.4  # times faster or slower after a turn of several steps: no more turns are needed
LOOPED_MEMBERS = 2  # of the looped engine are timed; their mean stands for all


@dataclass(frozen=True, slots=True)
class Choice:
    """What the probe found, JSON-ready through :meth:`to_dict`.

    Attributes:
        engine: The name for :func:`~thalweg.race.population.make.make`.
        chunk: Most members in one pass.
        gradients_per_second: By engine, of those that were timed.
        reasons: By engine in words: why it was or was not taken.
        seconds: What the probe cost.
    """

    engine: str
    chunk: int
    gradients_per_second: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For the plan."""
        return {
            "engine": self.engine,
            "chunk": self.chunk,
            "gradients_per_second": dict(self.gradients_per_second),
            "reasons": dict(self.reasons),
            "seconds": self.seconds,
        }


def choose(
    risk: Risk,
    stochastic: bool,
    members: Sequence[Member],
    total: int,
    memory: int,
    among: Sequence[str] = ("stacked", "vmap"),
    allowed: float = math.inf,
) -> Choice:
    """Prove and time the engines on the task's own first steps.

    Args:
        risk: The task on its device.
        stochastic: Whether the forward pass draws random numbers.
        members: The members that will be raced, of one batch size.
        total: Steps of each run.
        memory: Bytes that runs may hold at once.
        among: Engines tried beside the looped one, in this order; one that pays ends the search.
        allowed: Seconds that the probe may take, about: no engine is tried and no further turn is
            timed beyond them.

    Returns:
        The looped engine, unless another gives the same losses, gradients, buffers and scores and
        is clearly faster (:data:`FASTER`).
    """
    begun = time.perf_counter()
    size = members[0].configuration.batch_size
    each = footprint(risk, members[0].seed, size)
    chunk = chunk_size(risk, len(members), each, memory)
    if len(members) == 1:
        alone = dict.fromkeys(("looped", *among), "one member: nothing to share")
        return Choice("looped", chunk, reasons=alone)
    parts = partition(members, chunk, one_seed(risk, stochastic, size))
    first = [members[i] for i in parts[0]]
    reasons: dict[str, str] = {}
    speeds: dict[str, float] = {}
    clock = Clock(risk, begun + allowed)
    for name in among:
        if speeds and _fastest(speeds) != "looped":
            reasons[name] = f"not tried: {_fastest(speeds)} pays already"
        elif clock.late:
            reasons[name] = "not tried: the probe had taken its share of the race"
        else:
            try:
                engine = _proved(name, risk, stochastic, first, total, memory, chunk)
                found = _timed(clock, stochastic, first, total, memory, name, engine)
                speeds[name] = found[name]
                speeds["looped"] = max(found["looped"], speeds.get("looped", 0.0))
            except (Unsupported, Mismatch) as refusal:
                reasons[name] = str(refusal)
            except Exception as error:  # whatever the user's code or torch raises: not this engine
                words = " ".join(str(error).split())[:300]
                reasons[name] = f"{type(error).__name__}: {words}"
    best = _fastest(speeds) if speeds else "looped"
    for name, speed in speeds.items():
        taken = ", taken" if name == best else ""
        ratio = speed / speeds["looped"]
        reasons[name] = f"{ratio:.2f} times the gradients per second of looped{taken}"
    return Choice(best, chunk, speeds, reasons, round(time.perf_counter() - begun, 3))


def _fastest(speeds: Mapping[str, float]) -> str:
    """The engine to take: the looped one unless another is clearly faster."""
    best = max(speeds, key=lambda name: speeds[name])
    return best if speeds[best] > FASTER * speeds["looped"] else "looped"


class Clock:
    """Times turns: by this process's own seconds where it computes with one thread.

    Other work on the machine then troubles no choice.
    """

    def __init__(self, risk: Risk, deadline: float) -> None:
        self.risk, self._deadline = risk, deadline
        alone = risk.device.type == "cpu" and torch.get_num_threads() == 1
        self._now = time.process_time if alone else time.perf_counter

    @property
    def late(self) -> bool:
        """Whether the time for the probe is over."""
        return time.perf_counter() > self._deadline

    def turn(self, engine: Engine, stop: int, count: int) -> float:
        """Seconds that ``count`` members take to reach step ``stop``."""
        synchronise(self.risk)
        begun = self._now()
        for _ in engine.advance(stop, range(count), lambda n: None):
            pass
        synchronise(self.risk)
        return max(self._now() - begun, 1e-9)


def _proved(
    name: str,
    risk: Risk,
    stochastic: bool,
    members: Sequence[Member],
    total: int,
    memory: int,
    chunk: int,
) -> Engine:
    """The engine over the first chunk, after its first steps agreed with the looped engine's."""
    if name not in ATTACH:
        raise ValueError(f"unknown engine '{name}'. Known: {', '.join(ATTACH)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's own warnings were shown by the looped run
        verify(name, risk, stochastic, members, total)
    return make(name, risk, members, total, stochastic, memory, chunk)


def _timed(
    clock: Clock,
    stochastic: bool,
    members: Sequence[Member],
    total: int,
    memory: int,
    name: str,
    engine: Engine,
) -> dict[str, float]:
    """Gradients per second of an engine and the looped one, the best of interleaved turns."""
    few = list(dict.fromkeys((members[0], members[-1])))[:LOOPED_MEMBERS]
    looped = make("looped", clock.risk, few, total, stochastic, memory)
    field = {"looped": (looped, len(few)), name: (engine, len(members))}
    best, done = dict.fromkeys(field, 0.0), dict.fromkeys(field, 0)
    for turn in range(ROUNDS + 2):
        for each, (runner, count) in field.items():
            # the first two turns build and warm up, of one step each
            steps = 1 if turn < 2 else _steps(best[each] / count)
            steps = min(steps, total - done[each])
            if steps < 1:
                continue
            took = clock.turn(runner, done[each] + steps, count)
            done[each] += steps
            if turn:
                best[each] = max(best[each], count * steps / took)
        hopeless = turn and best[name] * HOPELESS < best["looped"]
        clear = turn > 1 and not 1 / CLEAR < best[name] / best["looped"] < CLEAR
        if hopeless or clear or (turn and clock.late):
            break
    return best


def _steps(per_second: float) -> int:
    """Steps of one turn: some, but not more than fit a fraction of a second."""
    return max(1, min(STEPS, int(TURN_SECONDS * per_second)))


def synchronise(risk: Risk) -> None:
    """Wait until the device has done all it was given."""
    if risk.device.type == "cuda":
        torch.cuda.synchronize(risk.device)
