"""A race in progress: plan, generations of configurations, what is told and kept on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from thalweg.optim.methods import method
from thalweg.race import advice, ladder
from thalweg.race.command import command
from thalweg.race.driver import Driver
from thalweg.race.executors.build import build_engine
from thalweg.race.executors.local import Workers
from thalweg.race.executors.setup import open_pool
from thalweg.race.executors.shards import shares
from thalweg.race.plan import LIVE_BYTES, Budget, Planner
from thalweg.race.population.base import Engine
from thalweg.race.space import Configuration, Member, Space
from thalweg.race.table import Table
from thalweg.records import Progress, Race
from thalweg.risk import Risk
from thalweg.risk.door import Facts
from thalweg.rundir.machine import machine

LEADERS = 8
_PARTS = ("selection", "confirmation")


class Course:
    """One race in progress: plan, generations, table.

    Args:
        risk: The task on its device.
        facts: What the door learnt of it.
        space: What is raced.
        asked: The request, as ``run.json`` keeps it.
        folder: The run directory, opened.
        rates: Learning rates that were given; None: to be sought.
        budget: How long each run trains.
        threads: Of torch; None: to be chosen.
        workers: Processes.
        ray: Address of a cluster.
        progress: Whom to tell.
    """

    def __init__(
        self,
        risk: Risk,
        facts: Facts,
        space: Space,
        asked: dict[str, Any],
        folder: Any,
        rates: tuple[float, ...] | None,
        budget: Budget,
        threads: int | None,
        workers: int,
        ray: str | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.risk, self.facts, self.space, self.asked = risk, facts, space, asked
        self.folder, self._progress = folder, progress
        self._begun = self._told = time.monotonic()
        self._before = _seconds_before(folder.path)
        self._started = self._begun  # of the race itself, after the probes
        self._done = 0
        self._phase = "probing learning rates"
        if folder.plan is None:
            planner = Planner(risk, facts, space, self._probing)
            threads = threads or (1 if workers > 1 or ray is not None else None)
            plan = planner.plan(
                rates, asked["seeds"], budget, asked["cull"], threads, asked["engine"]
            )
            split = {"workers": workers, "shards": shares(asked["seeds"], workers)}
            folder.set_plan(plan | split)
        self.plan: dict[str, Any] = folder.plan or {}
        self._ray = ray
        self._asked_workers = workers
        self._pool: Any = None  # of processes here or on a cluster
        self._groups = 0
        torch.set_num_threads(self.plan["threads"])
        self.seeds = [asked["seed"] + k for k in range(asked["seeds"])]
        self.configurations: list[Configuration] = []
        self.driver = Driver(
            risk,
            folder,
            self.plan,
            self.seeds,
            self._engine,
            self._tick,
        )
        self._table = Table(self.driver, self.configurations)

    # ------------------------------------------------------------------ the race

    def go(self) -> Race:
        """Race the grid, widen it while a best rate lies on an edge, and answer."""
        with open_pool(self.risk, self.plan, self.asked, LIVE_BYTES, self._ray) as self._pool:
            self._race()
        self._phase = "confirming"
        self._tell(force=True)
        answer = self._answer(unfinished=False)
        self._keep(answer)
        return answer

    def _race(self) -> None:
        generation, field = 0, self._first_generation()
        self._started = time.monotonic()
        while field:
            self._phase = "racing" if generation == 0 else "widening"
            self.configurations += field
            self._table.configurations = self.configurations
            self.driver.train(generation, field, self._after_rung)
            generation += 1
            field = self._widened() if generation <= ladder.WIDENINGS else []

    def _first_generation(self) -> list[Configuration]:
        field: dict[Configuration, Configuration] = {}
        for name in self.space.optimizers:
            field |= {c: c for c in self.space.grid(name, self.plan["rates"][name])}
            default = self.space.library_default(name)
            field.pop(default, None)  # equal but for the mark: keep the marked one
            field[default] = default
        return list(field.values())

    def _widened(self) -> list[Configuration]:
        if not self.plan["auto"]:
            return []
        known, added = set(self.configurations), []
        for name in self.space.optimizers:
            if method(name).evaluates:
                continue
            found = advice.best_on_edge(self._table, name)
            if found is not None:
                best, lrs, failed = found
                wider = self.space.grid(name, ladder.widened(lrs, best.lr, failed))
                same = (c for c in wider if c.without_lr() == best.without_lr())
                added += [c for c in same if c not in known]
        return added

    def _engine(self, members: Sequence[Member], total: int) -> Engine:
        if self._pool is None:
            return build_engine(self.plan, self.risk, members, total, LIVE_BYTES)
        self._groups += 1
        return Workers(self._pool, self._groups, members, total, self.plan["engine"])

    # ------------------------------------------------------------------ telling

    def _probing(self, message: str, evaluations: int) -> None:
        if self._progress is not None:
            passed = time.monotonic() - self._begun
            self._progress(Progress(self._phase, 0, 0, passed, None, (), message, self.risk.metric))

    def _tick(self, evaluations: int) -> None:
        self._done += evaluations
        if self._progress is not None and time.monotonic() - self._told > 0.5:
            self._tell()

    def _after_rung(self) -> None:
        self._tell(force=True)
        if self.folder.path is not None:
            self._keep(self._answer(unfinished=True))

    def _tell(self, force: bool = False) -> None:
        self._told = now = time.monotonic()
        if self._progress is None:
            return
        passed, total = now - self._begun, self._remaining()
        known = self._done > 0.01 * (self._done + total) and passed > 2.0
        left = (now - self._started) * total / self._done if known else None
        self._progress(
            Progress(
                self._phase,
                self._done,
                self._done + total,
                passed,
                left,
                self._table.partial(LEADERS),
                f"{len(self.configurations)} configurations x {len(self.seeds)} seeds",
                self.risk.metric,
            )
        )

    def _remaining(self) -> int:
        """Gradients still to execute, if nobody else diverges or is culled."""
        left = 0
        for c in self.configurations:
            if c in self.driver.culled or self.driver.diverged(c):
                continue
            total = self.plan["evaluations"][str(c.batch_size)]
            for s in self.seeds:
                last = self.driver.last(Member(c, s))
                left += total - (last.evaluations if last else 0)
        return left

    # ------------------------------------------------------------------ the answer

    def _answer(self, unfinished: bool) -> Race:
        entries = self._table.partial() if unfinished else self._table.final()
        notes = [*self.facts.notes]
        planned = self.plan.get("workers", 1)
        if planned != self._asked_workers:
            notes.append(
                f"Resumed with {planned} worker(s), as the plan says; {self._asked_workers} was "
                "asked for. A fresh race can have another number."
            )
        if not unfinished:
            notes += advice.outcome(entries) + advice.edges(self._table)
        sizes = {p: getattr(self.risk, p).n for p in ("train", *_PARTS)}
        per_run = self.plan["evaluations"]
        epochs = {
            size: n / self.risk.order(int(size)).steps_per_epoch for size, n in per_run.items()
        }
        budget = {k: v for k, v in self.asked["budget"].items() if v is not None}
        return Race(
            task=self.risk.task.name,
            criterion=self.risk.metric,
            table=entries,
            sensitivity=()
            if unfinished
            else advice.sensitivity(self._table, self.space.optimizers),
            seeds=len(self.seeds),
            samples=sizes,
            budget={"asked": budget, "evaluations": per_run, "epochs": epochs},
            executed=self.driver.executed,
            seconds=round(self._before + time.monotonic() - self._begun, 3),
            plan=self.plan,
            machine=machine(),
            notes=tuple(notes),
            command=command(self.asked, self.folder.path, self.plan.get("workers", 1)),
            run="" if self.folder.path is None else str(self.folder.path),
            unfinished=unfinished,
        )

    def _keep(self, answer: Race) -> None:
        if self.folder.path is not None:
            self.folder.write("race.json", answer.to_json())


def _seconds_before(path: Path | None) -> float:
    """What earlier sittings of the same race took; 0 where nothing can be read."""
    try:
        return float(json.loads((path / "race.json").read_text())["seconds"]) if path else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
