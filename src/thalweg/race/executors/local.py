"""Members spread over worker processes, seen by the driver as one engine.

A worker that dies is replaced: its members go on from the last saved state, or start again. Both
end with the same numbers, since initial weights, data order and masks are functions of the seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from thalweg.race.executors.messages import (
    Advance,
    Arrived,
    Close,
    Died,
    Drop,
    Finished,
    Frozen,
    Open,
    Save,
    Saved,
    Ticked,
    flat,
    freeze,
    scores,
    thaw,
)
from thalweg.race.executors.shards import split
from thalweg.race.population.base import Advanced, Tick
from thalweg.race.space import Member
from thalweg.risk.criterion import Scores
from thalweg.rundir import DamagedRun
from thalweg.rundir.checkpoint import pack, unpack

if TYPE_CHECKING:
    from thalweg.race.executors.pool import Pool
    from thalweg.race.executors.ray_pool import RayPool

KEEP_BYTES = 2**30  # states kept for workers that die; larger ones are trained again instead


@dataclass
class _Shard:
    """What one worker trains, and how far it is known to be."""

    indices: tuple[int, ...]  # of the engine's members
    life: int = 0  # of the process that holds the engine; 0: none does
    state: Frozen | None = None  # to go on from in a new process
    busy: Advance | None = None
    saving: bool = False
    local: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.local = {index: place for place, index in enumerate(self.indices)}

    def places(self, indices: Sequence[int]) -> tuple[int, ...]:
        """These members' places in the worker's engine."""
        return tuple(self.local[index] for index in indices if index in self.local)


class Workers:
    """The engine over worker processes.

    A state is whole between any two members: each worker answers when its own engine is whole, and
    what has arrived but was not yielded is part of it.

    Args:
        pool: The race's processes, shared by all its groups.
        group: A number of this engine's own among those that share the pool.
        members: Training runs with one batch size.
        total: Steps of each run.
        name: The engine inside the workers.
    """

    independent = True

    def __init__(
        self, pool: Pool | RayPool, group: int, members: Sequence[Member], total: int, name: str
    ) -> None:
        self.name = name
        self.members = tuple(members)
        self._pool, self._group, self._total = pool, group, total
        self._shards = [_Shard(indices) for indices in split(self.members, pool.count)]
        self._kept = set(range(len(self.members)))
        self._stops: list[int] = []
        self._come: deque[Arrived] = deque()  # at the last stop, not yet yielded
        self._later: list[Arrived] = []  # of a restored state, at stops not yet asked for
        self._seen: set[int] = set()  # members that arrived at the last stop
        self._latest: Arrived | None = None  # the one that was yielded last
        self._ticks = 0

    # ------------------------------------------------------------------ what the driver asks

    def advance(self, step: int, only: Sequence[int], tick: Tick) -> Iterator[Advanced]:
        """Train kept members up to ``step`` in all workers; yield each as it arrives there."""
        wanted = [index for index in only if index in self._kept]
        self._turn_to(step, set(wanted))
        for slot, shard in enumerate(self._shards):
            if own := shard.places([index for index in wanted if index not in self._seen]):
                shard.busy = Advance(self._group, tuple(self._stops), own)
                self._begin(slot)
        while True:
            while self._come:
                self._latest = self._come.popleft()
                yield self._latest.advanced
            tick(self._take_ticks())
            if not any(shard.busy for shard in self._shards):
                break
            self._listen()
        if step == self._total:
            self._close()

    def _turn_to(self, step: int, wanted: set[int]) -> None:
        if self._stops and self._stops[-1] == step:
            return
        self._stops = [*(stop for stop in self._stops if stop < step), step]
        known = (found for found in self._later if found.step == step)
        self._come = deque(found for found in known if found.advanced.index in wanted)
        self._later = [found for found in self._later if found.step > step]
        self._seen = {found.advanced.index for found in self._come}

    def score(self, index: int, part: str) -> Scores:
        """The criterion of the member that :meth:`advance` yielded last, computed where it trained.

        Raises:
            LookupError: It is another member, or not at its end (where the confirmation part is
                scored, once).
        """
        latest = self._latest
        if latest is None or latest.advanced.index != index or part not in latest.parts:
            raise LookupError(f"no {part} scores of '{self.members[index].key}' have come")
        return scores(latest.parts[part])

    def drop(self, indices: Sequence[int]) -> None:
        """Forget these members, here and in the workers."""
        gone = [index for index in indices if index in self._kept]
        self._kept.difference_update(gone)
        for slot, shard in enumerate(self._shards):
            if (own := shard.places(gone)) and self._alive(slot):
                self._pool.send(slot, Drop(self._group, own))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The states of all workers, and what has arrived from them but was not yielded yet.

        A busy worker answers between two members and trains on.
        """
        for slot, shard in enumerate(self._shards):
            if self._alive(slot):
                shard.saving = True
                self._pool.send(slot, Save(self._group))
        while any(shard.saving for shard in self._shards):
            self._listen()
        tree = {
            "shards": [list(shard.indices) for shard in self._shards],
            "states": [None if s.state is None else list(thaw(s.state)) for s in self._shards],
            "come": [_packed(found) for found in (*self._come, *self._later)],
        }
        for slot, shard in enumerate(self._shards):
            if self._alive(slot):
                self._forget_large(shard)
        return pack(tree)

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            DamagedRun: It is of members split in another way.
        """
        tree = unpack(tensors, meta)
        if tree["shards"] != [list(shard.indices) for shard in self._shards]:
            raise DamagedRun("the saved state is of members split over workers in another way")
        self._later = [_unpacked(found, self._group) for found in tree["come"]]
        for shard, state in zip(self._shards, tree["states"], strict=True):
            shard.state = None if state is None else freeze((state[0], state[1]))
            shard.life = 0

    # ------------------------------------------------------------------ workers

    def _alive(self, slot: int) -> bool:
        """Whether the process that holds this engine still runs, as far as is known."""
        return self._shards[slot].life == self._pool.life(slot) > 0

    def _begin(self, slot: int) -> None:
        """Give a worker its part of the present step; a new process gets the engine first."""
        shard = self._shards[slot]
        assert shard.busy is not None
        if not self._alive(slot):
            self._pool.start(slot)
            shard.life = self._pool.life(slot)
            members = tuple(self.members[index] for index in shard.indices)
            gone = shard.places([i for i in shard.indices if i not in self._kept])
            self._pool.send(slot, Open(self._group, members, self._total, shard.state, gone))
            self._forget_large(shard)
        self._pool.send(slot, shard.busy)

    def _listen(self) -> None:
        """Take what the workers have to say now; replace those that died."""
        for slot, answer in self._pool.receive():
            shard = self._shards[slot] if slot < len(self._shards) else None
            if isinstance(answer, Ticked | Arrived | Finished):
                self._ticks += answer.evaluations
            if shard is None or getattr(answer, "group", self._group) != self._group:
                continue
            match answer:
                case Arrived():
                    self._arrived(shard, answer)
                case Finished():
                    shard.busy = None
                case Saved(state=state):
                    shard.state, shard.saving = state, False
                case Died():
                    self._replace(slot)

    def _arrived(self, shard: _Shard, answer: Arrived) -> None:
        index = shard.indices[answer.advanced.index]
        if index in self._seen or index not in self._kept:
            return  # told before by a worker that died since
        self._seen.add(index)
        self._come.append(replace(answer, advanced=replace(answer.advanced, index=index)))

    def _replace(self, slot: int) -> None:
        """A new worker goes the way of the dead one from its last state, or from the start."""
        shard = self._shards[slot]
        shard.life, shard.saving = 0, False  # its last known state stands
        if shard.busy is not None:
            left = [i for i in shard.indices if i in self._kept and i not in self._seen]
            shard.busy = replace(shard.busy, only=shard.places(left))
            self._begin(slot)

    def _forget_large(self, shard: _Shard) -> None:
        if shard.state is not None and len(shard.state[0]) > KEEP_BYTES // len(self._shards):
            shard.state = None

    def _close(self) -> None:
        """Everyone is at the end and scored: the workers' memory is free for the next group."""
        for slot, shard in enumerate(self._shards):
            if self._alive(slot):
                self._pool.send(slot, Close(self._group))
            shard.life, shard.state = 0, None

    def _take_ticks(self) -> int:
        ticks, self._ticks = self._ticks, 0
        return ticks


def _packed(found: Arrived) -> dict[str, Any]:
    """An arrival as a tree that :func:`pack` takes."""
    done = found.advanced
    parts = {part: scores(values) for part, values in found.parts.items()}
    return {
        "step": found.step,
        "advanced": [done.index, done.train_loss, done.evaluations, done.finite],
        "parts": {p: [s.values, s.weights, s.loss] for p, s in parts.items()},
    }


def _unpacked(kept: dict[str, Any], group: int) -> Arrived:
    parts = {p: flat(Scores(*values)) for p, values in kept["parts"].items()}
    return Arrived(group, kept["step"], 0, Advanced(*kept["advanced"]), parts)
