"""From journal rows to entries: best first, with ties, intervals and the one confirmation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property
from statistics import fmean

from thalweg.optim.methods import line
from thalweg.race.driver import Driver
from thalweg.race.score import Comparison, Floats
from thalweg.race.space import Configuration, Member
from thalweg.records import Entry, Interval, SeedResult, Trace

ORDER = ("finished", "running", "culled", "diverged")


class Table:
    """Entries of everything that has run so far.

    Args:
        driver: Rows and paired intervals on the selection part; the confirmation part has its own.
        configurations: What was raced, in the order it was added.
    """

    def __init__(self, driver: Driver, configurations: Iterable[Configuration]) -> None:
        self.driver = driver
        self.configurations = list(configurations)

    @cached_property
    def _confirmation(self) -> Comparison:
        weights = self.driver.risk.unit_weights("confirmation")
        return Comparison(weights.numpy(), len(self.driver.seeds))

    def partial(self, most: int | None = None) -> tuple[Entry, ...]:
        """Entries by the newest results, without ties: for progress and unfinished runs."""
        entries = (self.entry(c) for c in self.configurations)
        return tuple(sorted((e for e in entries if e.seeds), key=rank)[:most])

    def final(self) -> tuple[Entry, ...]:
        """Entries best first; ties and intervals against the winner, confirmation scored once."""
        entries = {c: self.entry(c) for c in self.configurations}
        ranked = self.ranked(self.configurations, entries)
        compared = self.behind(ranked[0], ranked) if len(ranked) > 1 else {}
        for c, (behind, tied) in compared.items():
            entries[c] = dataclasses.replace(entries[c], behind=behind, tied=tied)
        for c, entry in entries.items():
            if entry.tied or entry.default or c in ranked[:1]:
                entries[c] = self._confirm(c, entry)
        return tuple(sorted((e for e in entries.values() if e.seeds), key=rank))

    def ranked(
        self, configurations: Iterable[Configuration], entries: dict[Configuration, Entry]
    ) -> list[Configuration]:
        """The finished ones, best first: by the criterion, then by loss."""
        finished = (c for c in configurations if entries[c].status == "finished")
        return sorted(finished, key=lambda c: rank(entries[c]))

    def behind(
        self, best: Configuration, ranked: list[Configuration]
    ) -> dict[Configuration, tuple[Interval, bool]]:
        """How far every other finished configuration is behind ``best``, and whether tied."""
        field = self.driver.comparison.field([self.values(c) for c in ranked])
        at = ranked.index(best)
        return {c: field.behind(at, k) for k, c in enumerate(ranked) if k != at}

    def values(self, c: Configuration, part: str = "selection") -> Floats:
        """Final criterion values ``(S, u)`` of a finished configuration."""
        values = self.driver.values(c, len(self.driver.stops(c)) - 1, part)
        if values is None:
            raise LookupError(f"'{c.key}' has no final {part} values")
        return values

    def entry(self, c: Configuration) -> Entry:
        """One configuration by its newest results."""
        d = self.driver
        seeds = tuple(result for seed in d.seeds if (result := self._seed(c, seed)) is not None)
        done = len(seeds) == len(d.seeds) and all(s.status == "finished" for s in seeds)
        status = "finished" if done else "running"
        if any(s.status == "diverged" for s in seeds):
            status = "diverged"
        elif c in d.culled:
            status = "culled"
        failed = status == "diverged"
        return Entry(
            optimizer=c.optimizer,
            hyperparameters=dict(c.hyperparameters),
            settings=c.settings,
            held_out=fmean(s.held_out for s in seeds) if seeds and not failed else math.nan,
            stderr=d.comparison.stderr(self.values(c)) if done else math.nan,
            loss=fmean(s.loss for s in seeds) if seeds and not failed else math.nan,
            default=c.default,
            status=status,
            seeds=seeds,
            line=line(c.optimizer, dict(c.hyperparameters)),
        )

    def _seed(self, c: Configuration, seed: int) -> SeedResult | None:
        rows = self.driver.history(Member(c, seed))
        if not rows:
            return None
        last = rows[-1]
        stopped = last.status == "running" and c in self.driver.culled
        trace = Trace(
            tuple(row.evaluations for row in rows),
            tuple(row.train_loss for row in rows),
            tuple(row.held_out for row in rows),
        )
        return SeedResult(
            seed=seed,
            status="culled" if stopped else last.status,
            held_out=last.held_out,
            loss=last.loss,
            train_loss=last.train_loss,
            evaluations=last.evaluations,
            trace=trace,
        )

    def _confirm(self, c: Configuration, entry: Entry) -> Entry:
        if entry.status != "finished":
            return entry
        found = self._confirmation.interval(self.values(c, "confirmation"))
        return dataclasses.replace(entry, confirmed=found.value, confirmation=found)


def rank(entry: Entry) -> tuple[int, int, float, float]:
    """Sort key: finished first, then who went further, then criterion, then loss."""
    held_out = -entry.held_out if math.isfinite(entry.held_out) else math.inf
    loss = entry.loss if math.isfinite(entry.loss) else math.inf
    far = 0 if entry.status == "finished" else -max((s.evaluations for s in entry.seeds), default=0)
    return ORDER.index(entry.status), far, held_out, loss
