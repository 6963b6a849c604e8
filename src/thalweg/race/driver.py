"""Train members segment by segment; every result is in the journal before the next one starts.

What goes on at each segment (who diverged, who is culled) is a function of the journal's rows
alone. So a killed race replays them, trains only what is missing, and ends with the same table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from thalweg.race.cull import RUNGS, survivors
from thalweg.race.plan import stops
from thalweg.race.population.base import Advanced, Engine
from thalweg.race.population.driven import is_driven
from thalweg.race.score import Comparison, Floats
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk

SAVE_EVERY = 30.0  # seconds of work that a kill may cost
FLUSH_EVERY = 0.3  # seconds between waits for the disk; rows of this span are kept together
SAVE_SHARE = 0.02  # of the time at most goes into checkpoints


@dataclass
class Row:
    """One journal row: a member after a segment."""

    member: str
    segment: int
    status: str  # "running", "finished" or "diverged"
    evaluations: int
    train_loss: float
    held_out: float
    loss: float
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def payload(self) -> dict[str, Any]:
        """The row's numbers, as the journal keeps them."""
        return {
            "status": self.status,
            "evaluations": self.evaluations,
            "train_loss": self.train_loss,
            "held_out": self.held_out,
            "loss": self.loss,
        }


@dataclass
class Group:
    """Members that share batch size, steps and kind, and the engine that trains them."""

    name: str
    members: tuple[Member, ...]
    stops: list[int]
    engine: Engine


MakeEngine = Callable[[Sequence[Member], int], Engine]


class Driver:
    """Runs generations of configurations against one journal.

    Args:
        risk: The task on its device.
        run: The run directory, opened.
        plan: What :class:`~thalweg.race.plan.Planner` decided.
        seeds: The seeds of every configuration.
        make_engine: Builds an engine for members with one batch size.
        report: Called after every row with the gradients executed since the last call.
    """

    def __init__(
        self,
        risk: Risk,
        run: Any,
        plan: dict[str, Any],
        seeds: Sequence[int],
        make_engine: MakeEngine,
        report: Callable[[int], None],
    ) -> None:
        self.risk, self.run, self.plan = risk, run, plan
        self.seeds = tuple(seeds)
        self._make_engine, self._report = make_engine, report
        self.rows: dict[tuple[str, int], Row] = {
            (row.member, row.segment): _read(row) for row in run.journal.rows()
        }
        self.culled: set[Configuration] = set()
        self._pending: list[Row] = []
        self._flushed = self._saved = time.monotonic()
        self._save_cost = 0.0

    @cached_property
    def comparison(self) -> Comparison:
        """Of members by the selection part; first asked for when that has been looked at."""
        return Comparison(self.risk.unit_weights("selection").numpy(), len(self.seeds))

    @property
    def executed(self) -> int:
        """Gradients that the journal's rows stand for."""
        last: dict[str, int] = {}
        for row in self.rows.values():
            last[row.member] = max(last.get(row.member, 0), row.evaluations)
        return sum(last.values())

    def stops(self, configuration: Configuration) -> list[int]:
        """The segment ends of a configuration, in steps."""
        total = self.plan["evaluations"][str(configuration.batch_size)]
        return stops(total, self.plan["looks"])

    def train(
        self,
        generation: int,
        configurations: Iterable[Configuration],
        after_rung: Callable[[], None],
    ) -> None:
        """Train configurations under every seed to the end, or until they diverge or are culled."""
        racing = list(configurations)
        groups = self._groups(generation, racing)
        for group in groups:
            saved = self.run.checkpoints.load(group.name)
            if saved is not None:
                group.engine.restore(*saved)
        for segment, share in enumerate(self.plan["looks"]):
            for group in groups:
                self._advance(group, segment, set(racing))
            racing = [c for c in racing if not self.diverged(c)]
            if self.plan["cull"] and share in RUNGS:
                racing = self._cull(racing, segment)
            for group in groups:
                going = set(racing)
                gone = [i for i, m in enumerate(group.members) if m.configuration not in going]
                group.engine.drop(gone)
            after_rung()
        for group in groups:
            self.run.checkpoints.remove(group.name)

    def row(self, member: Member, segment: int) -> Row | None:
        """The result of a member after a segment, if it is known."""
        return self.rows.get((member.key, segment))

    def last(self, member: Member) -> Row | None:
        """The newest result of a member."""
        for segment in reversed(range(len(self.stops(member.configuration)))):
            if (row := self.row(member, segment)) is not None:
                return row
        return None

    def history(self, member: Member) -> list[Row]:
        """All results of a member, oldest first."""
        found = (self.row(member, s) for s in range(len(self.stops(member.configuration))))
        return [row for row in found if row is not None]

    def diverged(self, configuration: Configuration) -> bool:
        """Whether training failed under any seed so far: such a rate cannot be recommended."""
        rows = (self.last(Member(configuration, seed)) for seed in self.seeds)
        return any(row is not None and row.status == "diverged" for row in rows)

    def values(self, configuration: Configuration, segment: int, part: str) -> Floats | None:
        """Criterion values ``(S, u)`` of a configuration after a segment; None if not all known."""
        rows = [self.row(Member(configuration, seed), segment) for seed in self.seeds]
        if any(row is None or part not in row.arrays for row in rows):
            return None
        return np.stack([row.arrays[part] for row in rows if row is not None]).astype(np.float64)

    # ------------------------------------------------------------------ inside

    def _groups(self, generation: int, configurations: Sequence[Configuration]) -> list[Group]:
        groups = []
        kinds = sorted({(c.batch_size, is_driven(c.optimizer)) for c in configurations})
        for size, driven in kinds:
            members = tuple(
                Member(c, seed)
                for seed in self.seeds
                for c in configurations
                if (c.batch_size, is_driven(c.optimizer)) == (size, driven)
            )
            total = self.plan["evaluations"][str(size)]
            engine = self._make_engine(members, total)
            name = f"generation-{generation}-batch-{size}{'-methods' if driven else ''}"
            groups.append(Group(name, members, stops(total, self.plan["looks"]), engine))
        return groups

    def _advance(self, group: Group, segment: int, racing: set[Configuration]) -> None:
        """Bring every racing member of a group to the end of a segment."""
        missing = [
            index
            for index, member in enumerate(group.members)
            if member.configuration in racing and self.row(member, segment) is None
        ]
        if not missing:
            return
        for at in range(segment + 1):  # earlier ones: only after a kill, to catch up
            for done in group.engine.advance(group.stops[at], missing, self._report):
                if at == segment:
                    self._record(group, segment, done)
                if group.engine.independent:
                    self._save(group)
        self._flush()
        self._save(group)

    def _record(self, group: Group, segment: int, done: Advanced) -> None:
        member = group.members[done.index]
        final = segment == len(group.stops) - 1
        row = Row(member.key, segment, "running", done.evaluations, done.train_loss, *(np.nan,) * 2)
        if done.finite:
            score = group.engine.score(done.index, "selection")
            row.held_out, row.loss = score.mean, score.loss
            if final or self.plan["looks"][segment] in RUNGS:
                row.arrays["selection"] = score.values.numpy().astype(np.float32)
        if not done.finite or not np.isfinite([row.held_out, row.loss]).all():
            row.status = "diverged"
        elif final:
            row.status = "finished"
            confirmation = group.engine.score(done.index, "confirmation")
            row.arrays["confirmation"] = confirmation.values.numpy().astype(np.float32)
        self._pending.append(row)
        self.rows[row.member, row.segment] = row
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self._flush()
        if row.status == "diverged":
            group.engine.drop([done.index])

    def _cull(self, racing: list[Configuration], segment: int) -> list[Configuration]:
        known = {c: self.values(c, segment, "selection") for c in racing}
        values = {c: v for c, v in known.items() if v is not None}
        keep = survivors(values, self.comparison)
        self.culled.update(c for c in values if c not in keep)
        return [c for c in racing if c in keep or c not in values]

    def _flush(self) -> None:
        self.run.journal.put([(r.member, r.segment, r.payload, r.arrays) for r in self._pending])
        self._pending.clear()
        self._flushed = time.monotonic()

    def _save(self, group: Group) -> None:
        since = time.monotonic() - self._saved
        if since < max(SAVE_EVERY, self._save_cost / SAVE_SHARE):
            return
        begun = time.monotonic()
        self._flush()  # a state must never be ahead of the rows it led to
        self.run.checkpoints.save(group.name, *group.engine.state())
        self._saved = time.monotonic()
        self._save_cost = self._saved - begun


def _read(row: Any) -> Row:
    return Row(row.member, row.segment, arrays=dict(row.arrays), **row.payload)
