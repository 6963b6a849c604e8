"""An engine by its name in the plan."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.race.population.activity import footprint
from thalweg.race.population.base import Engine
from thalweg.race.population.batched import Attach, Batched
from thalweg.race.population.chunk import Gradients
from thalweg.race.population.flat import Unsupported
from thalweg.race.population.flock import Flock, gradient_names
from thalweg.race.population.looped import Looped
from thalweg.race.space import Member
from thalweg.risk import Risk

LARGEST = 64  # members beyond which a CPU gains nothing more from one pass
FEWEST = 4  # members in one pass however much they keep
# Activations that a pass keeps, with their margin: beyond it they leave the processor's caches
# (measured: the transformer of char-lm by 4 instead of 8 members 12 % faster, LeNet at batch 64 by
# 16 instead of 32 members 20 %).
PASS_BYTES = 96 * 2**20


def _stacked(flock: Flock, stochastic: bool) -> Gradients:
    if flock.risk.autocast is not None:
        raise Unsupported("fused passes have one precision; autocast chooses another per operation")
    from thalweg.race.population.stacked.gradient import Stacked

    return Stacked(flock, stochastic)


def _vmapped(flock: Flock, stochastic: bool) -> Gradients:
    from thalweg.race.population.vmapped import Vmapped

    return Vmapped(flock, stochastic)


ATTACH: dict[str, Attach] = {"stacked": _stacked, "vmap": _vmapped}
NAMES = ("looped", *ATTACH)


def make(
    name: str,
    risk: Risk,
    members: Sequence[Member],
    total: int,
    stochastic: bool,
    memory: int,
    chunk: int | None = None,
) -> Engine:
    """Build the engine ``name`` for members of one batch size.

    Args:
        name: ``looped``, ``stacked`` or ``vmap``.
        risk: The task on its device.
        members: Training runs.
        total: Steps of each run.
        stochastic: Whether the forward pass draws random numbers.
        memory: Bytes that runs may hold at once, about.
        chunk: Most members in one pass; None: what :func:`chunk_size` says. A plan keeps it, for
            a resumed race must go on in the same chunks.

    Raises:
        ValueError: No such engine.
        Unsupported: The engine cannot run this task at all (found before the first step).
    """
    if name == "looped":
        return Looped(risk, members, total, stochastic, memory)
    if name not in ATTACH:
        raise ValueError(f"unknown engine '{name}'. Known: {', '.join(NAMES)}.")
    if not members:
        raise ValueError("an engine needs at least one member")
    size = members[0].configuration.batch_size
    each = footprint(risk, members[0].seed, size)
    chunk = chunk or chunk_size(risk, len(members), each, memory)
    known: dict[int, tuple[str, ...]] = {}

    def names(member: Member) -> Sequence[str]:
        if member.seed not in known:
            known[member.seed] = gradient_names(risk, size, member.seed)
        return known[member.seed]

    live = max(1, memory // max(1, sum(each) * chunk))
    return Batched(risk, members, total, stochastic, name, ATTACH[name], chunk, live, names)


def chunk_size(risk: Risk, members: int, each: tuple[int, int], memory: int) -> int:
    """Members per pass: as many as memory holds; on a CPU no more than profit from it.

    Args:
        risk: The task on its device.
        members: How many there are.
        each: Bytes of one member, see :func:`thalweg.race.population.activity.footprint`.
        memory: Bytes that runs may hold at once.
    """
    fits = max(1, memory // max(1, sum(each)))
    if risk.device.type != "cpu":
        return min(members, fits)
    cached = max(FEWEST, PASS_BYTES // max(1, each[1]))
    return max(1, min(members, fits, cached, LARGEST))


__all__ = ["ATTACH", "NAMES", "Unsupported", "chunk_size", "make"]
