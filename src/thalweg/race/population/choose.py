"""Which engine trains this task fastest, on the same trajectories? Proved, then timed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from thalweg.race.population.activity import member_bytes
from thalweg.race.population.base import Engine
from thalweg.race.population.batched import one_seed, partition
from thalweg.race.population.flat import Unsupported
from thalweg.race.population.make import ATTACH, chunk_size, make
from thalweg.race.population.verify import Mismatch, verify
from thalweg.race.space import Member
from thalweg.risk import Risk

FASTER = 1.05  # another engine must beat the looped one by this much
ROUNDS = 3  # timed in turns, so that a busy machine troubles all alike
STEPS = 8  # per turn and engine at most
TURN_SECONDS = 0.15
HOPELESS = 2.0  # times slower than looped after warming up: not timed further
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
) -> Choice:
    """Prove and time the engines on the task's own first steps.

    Args:
        risk: The task on its device.
        stochastic: Whether the forward pass draws random numbers.
        members: The members that will be raced, of one batch size.
        total: Steps of each run.
        memory: Bytes that runs may hold at once.
        among: Engines tried beside the looped one.

    Returns:
        The looped engine, unless another gives the same losses, gradients, buffers and scores and
        is more than 5 % faster.
    """
    begun = time.perf_counter()
    reasons: dict[str, str] = {}
    size = members[0].configuration.batch_size
    chunk = chunk_size(risk, len(members), member_bytes(risk, members[0].seed, size), memory)
    alone = one_seed(risk, stochastic, size)
    first = [members[i] for i in partition(members, chunk, alone)[0]]
    engines: dict[str, Engine] = {}
    if len(first) == 1 and len(members) == 1:
        reasons = dict.fromkeys(("looped", *among), "one member: nothing to share")
        among = ()
    for name in among:
        try:
            engines[name] = _proved(name, risk, stochastic, first, total, memory, chunk)
        except (Unsupported, Mismatch) as refusal:
            reasons[name] = str(refusal)
        except Exception as error:  # whatever the user's code or torch raises: not this engine
            words = " ".join(str(error).split())[:300]
            reasons[name] = f"{type(error).__name__}: {words}"
    speeds = _timed(risk, stochastic, first, total, memory, engines, reasons)
    best = "looped"
    if speeds:
        fastest = max(speeds, key=lambda name: speeds[name])
        if speeds[fastest] > FASTER * speeds["looped"]:
            best = fastest
    for name, speed in speeds.items():
        ratio = speed / speeds["looped"]
        taken = ", taken" if name == best else ""
        reasons[name] = f"{ratio:.2f} times the gradients per second of looped{taken}"
    seconds = time.perf_counter() - begun
    return Choice(best, chunk, speeds, reasons, round(seconds, 3))


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
    risk: Risk,
    stochastic: bool,
    members: Sequence[Member],
    total: int,
    memory: int,
    engines: dict[str, Engine],
    reasons: dict[str, str],
) -> dict[str, float]:
    """Gradients per second of every engine, the best of a few interleaved turns."""
    if not engines:
        return {}
    few = list(dict.fromkeys((members[0], members[-1])))[:LOOPED_MEMBERS]
    looped = make("looped", risk, few, total, stochastic, memory)
    field = {"looped": looped, **engines}
    count = {name: len(few) if name == "looped" else len(members) for name in field}
    best = dict.fromkeys(field, 0.0)
    done = dict.fromkeys(field, 0)
    for turn in range(ROUNDS + 2):
        for name in list(field):
            # the first two turns build and warm up, of one step each
            steps = 1 if turn < 2 else _steps(best[name] / count[name])
            steps = min(steps, total - done[name])
            if steps < 1:
                continue
            took = _turn(field[name], done[name] + steps, count[name], risk)
            done[name] += steps
            if turn:
                best[name] = max(best[name], count[name] * steps / max(took, 1e-9))
        if turn == 1:
            for name in [n for n in field if best[n] * HOPELESS < best["looped"]]:
                del field[name]
    return best


def _steps(per_second: float) -> int:
    """Steps of one turn: some, but not more than fit a fraction of a second."""
    return max(1, min(STEPS, int(TURN_SECONDS * per_second)))


def _turn(engine: Engine, stop: int, count: int, risk: Risk) -> float:
    synchronise(risk)
    begun = time.perf_counter()
    for _ in engine.advance(stop, range(count), lambda n: None):
        pass
    synchronise(risk)
    return time.perf_counter() - begun


def synchronise(risk: Risk) -> None:
    """Wait until the device has done all it was given."""
    if risk.device.type == "cuda":
        torch.cuda.synchronize(risk.device)
