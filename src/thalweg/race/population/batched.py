"""An engine that trains members in chunks of rows, whatever computes the gradients inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.race.population.base import Advanced, Tick
from thalweg.race.population.chunk import Chunk, Gradients
from thalweg.race.population.flock import Flock
from thalweg.race.population.parking import Parking
from thalweg.race.space import Member
from thalweg.risk import Risk
from thalweg.risk.criterion import Scores
from thalweg.rundir.checkpoint import pack, unpack

FEWEST = 8  # members of one seed that make a chunk of their own worth while

Attach = Callable[[Flock, bool], Gradients]


def one_seed(risk: Risk, stochastic: bool, batch_size: int) -> bool:
    """Whether seeds cannot share a chunk: batches of unequal length, or masks only CUDA draws."""
    custom = risk.order(batch_size).custom is not None
    return custom or (stochastic and risk.device.type != "cpu")


def partition(members: Sequence[Member], size: int, alone: bool) -> list[list[int]]:
    """Members in chunks of at most ``size`` of about equal length.

    Members of one seed stay together, since they share batches; few of them join other seeds
    unless seeds train ``alone``.
    """
    seeds: dict[int, list[int]] = {}
    for index, member in enumerate(members):
        seeds.setdefault(member.seed, []).append(index)
    groups = list(seeds.values())
    if not alone and max(map(len, groups)) < FEWEST:
        groups = [[index for group in groups for index in group]]
    chunks = []
    for group in groups:
        count = -(-len(group) // max(1, size))
        step = -(-len(group) // count)
        chunks += [group[at : at + step] for at in range(0, len(group), step)]
    return chunks


class Batched:
    """The engine protocol over chunks of rows.

    Args:
        risk: The task on its device.
        members: Training runs with one batch size.
        total: Steps of each run.
        stochastic: Whether the forward pass draws random numbers.
        name: What the plan calls this engine.
        attach: Builds the gradients of a flock.
        chunk: Most members trained together.
        live: Most chunks that hold memory at once; others wait on disk.
        names: The trained parameters, see :func:`thalweg.race.population.flock.gradient_names`.
    """

    independent = False  # a chunk arrives as one

    def __init__(
        self,
        risk: Risk,
        members: Sequence[Member],
        total: int,
        stochastic: bool,
        name: str,
        attach: Attach,
        chunk: int,
        live: int,
        names: Callable[[Member], Sequence[str]],
    ) -> None:
        self.name, self.risk, self.total, self.stochastic = name, risk, total, stochastic
        self.members, self.attach, self.names = tuple(members), attach, names
        self._room = max(1, live)
        alone = one_seed(risk, stochastic, members[0].configuration.batch_size)
        self._chunks = [Chunk(self, c) for c in partition(members, chunk, alone)]
        self._of = {label: chunk for chunk in self._chunks for label in chunk.labels}
        self._parking, self._parked = Parking(), set[int]()

    def advance(self, step: int, only: Sequence[int], tick: Tick) -> Iterator[Advanced]:
        """Train the chunks of the members in ``only`` up to ``step``; yield those members.

        Chunk mates of a member in ``only`` are trained with it, for a member's bits may depend on
        how many others there are.
        """
        wanted = set(only)
        for chunk in self._chunks:
            mine = wanted.intersection(chunk.labels) | wanted.intersection(chunk.pending)
            if not mine:
                continue
            stale = [i for i, (stop, _) in chunk.pending.items() if stop < step]
            for index in stale:
                del chunk.pending[index]
            if chunk.step < step and wanted.intersection(chunk.labels):
                self._make_room(chunk)
                chunk.train(step, tick)
            for index in sorted(mine.intersection(chunk.pending)):
                if chunk.pending[index][0] != step:
                    continue
                _, done = chunk.pending.pop(index)
                yield done

    def score(self, index: int, part: str) -> Scores:
        """The criterion of one member on one held-out part."""
        chunk = self._of[index]
        self._make_room(chunk)
        return chunk.score(index, part)

    def module(self, index: int) -> nn.Module:
        """One member's model; its numbers are overwritten when another one is asked for."""
        chunk = self._of[index]
        self._make_room(chunk)
        return chunk.module(index)

    def drop(self, indices: Sequence[int], at: int | None = None) -> None:
        """Forget these members.

        Args:
            indices: Who.
            at: The step that they had reached when they were first dropped; None: the present
                one. A chunk that is behind it (its state was lost) takes them along so far: then
                the others repeat their path bit by bit.
        """
        gone = set(indices)
        for chunk in self._chunks:
            if at is None or chunk.step >= at:
                continue
            late = gone.intersection(chunk.labels)
            chunk.leaving.update(dict.fromkeys(late, at))
            gone -= late
        for chunk in self._chunks:
            left = set(chunk.labels) - gone
            if len(left) == len(chunk.labels):
                continue
            if left:
                self._make_room(chunk)
            chunk.keep(left)
            for index in gone.intersection(chunk.pending):
                del chunk.pending[index]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Every chunk's state, under the keys of its members."""
        made = []
        for chunk in self._chunks:
            if chunk.labels and (chunk.step or chunk.started):
                self._make_room(chunk)
            made.append(chunk.state())
        return pack({"members": [m.key for m in self.members], "chunks": made})

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from a state of the same members in the same chunks.

        Raises:
            ValueError: It is another engine's, or of other members.
        """
        state = unpack(tensors, meta)
        known = isinstance(state, dict) and state.get("members") == [m.key for m in self.members]
        if not known or len(state["chunks"]) != len(self._chunks):
            raise ValueError(
                "this state was saved by another engine, other members or other chunks; resume "
                "with the plan it was saved under."
            )
        for chunk, saved in zip(self._chunks, state["chunks"], strict=True):
            if saved["step"] or "flock" in saved:
                self._make_room(chunk)
            chunk.restore(saved)

    # ------------------------------------------------------------------ memory

    def _make_room(self, chunk: Chunk) -> None:
        """Bring a chunk into memory, parking others on disk beyond the bound."""
        if chunk.started:
            return
        others = [c for c in self._chunks if c.started]
        while len(others) >= self._room:
            self._send_away(others.pop(0))
        at = self._chunks.index(chunk)
        if at in self._parked:
            chunk.unpark(self._parking.take(at))
            self._parked.discard(at)

    def _send_away(self, chunk: Chunk) -> None:
        at = self._chunks.index(chunk)
        self._parking.put(at, chunk.park())
        self._parked.add(at)
        if self.risk.device.type == "cuda":
            torch.cuda.empty_cache()
