"""The answer to *which optimiser and which learning rate for this task*."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from thalweg.optim.methods import method
from thalweg.race import advice, ladder
from thalweg.race.command import command
from thalweg.race.driver import Driver
from thalweg.race.executors.build import build_engine
from thalweg.race.executors.local import Workers
from thalweg.race.executors.setup import open_pool, require_source
from thalweg.race.executors.shards import shares
from thalweg.race.plan import ENGINES, LIVE_BYTES, Budget, Planner, batch_sizes
from thalweg.race.population.base import Engine
from thalweg.race.space import Configuration, Member, Space, check_lrs, make_space
from thalweg.race.table import Table
from thalweg.records import Progress, Race
from thalweg.registry import suggest
from thalweg.risk import Risk
from thalweg.risk.door import Facts, check
from thalweg.risk.fingerprint import fingerprint
from thalweg.rundir import RunDir
from thalweg.rundir.machine import machine
from thalweg.task import Task, task_source

LEADERS = 8


def race(
    task: Task,
    optimizers: Sequence[str] = ("sgd", "momentum", "adam"),
    lrs: str | Sequence[float] = "auto",
    space: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 3,
    seconds: float | None = None,
    epochs: float | None = None,
    evaluations: int | None = None,
    run: str | Path | None = None,
    resume: bool = True,
    fresh: bool = False,
    workers: int = 1,
    ray: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    autocast: str | None = None,
    seed: int = 0,
    cull: bool = True,
    engine: str = "auto",
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Race:
    """Race optimisers x learning rates x seeds and pick the winner on held-out data.

    Every configuration starts from the same weights and sees the same batches under one seed, so
    they are compared in pairs. The selection part of the held-out data decides who is culled, who
    is ranked where and who is tied; the confirmation part is looked at once, for the winner, its
    ties and the library's defaults.

    Args:
        task: Model, loss and data.
        optimizers: Names (``thalweg list optimizers``), and the methods ``entropy-sgd``,
            ``nonlinear-cg`` and ``lbfgs``, raced at equal gradients: Entropy-SGD pays one a step
            and is scored at its centre (``lr`` is the outer rate; give inner ones as
            ``space={"lr_inner": ...}``); line searches take all samples at once and pay for each
            evaluation as many gradients as an epoch has minibatches.
        lrs: ``"auto"`` (seven rates below the highest one that trains, sought from the limit that
            the first minibatches' curvature admits, and widened while the best lies on an edge) or
            positive numbers, the same for every optimiser.
        space: Further axes: ``weight_decay``, ``momentum``, ``batch_size``, ``schedule``
            (``constant``, ``linear``, ``cosine``), ``clip`` or any other hyperparameter.
        seeds: Initial weights and data orders per configuration; three give honest intervals.
        seconds: Budget of the whole race, converted once into gradients per run.
        epochs: Budget of each run in passes over the training data; default: the task's recipe.
        evaluations: Budget of each run in gradients.
        run: Directory to keep results in as they arrive; None keeps them in memory.
        resume: Go on where ``run`` was left; False: refuse an existing one.
        fresh: Remove what an earlier race left in ``run`` first.
        workers: Processes with one thread each, which split the members by seed; 1 runs in this
            one. They load the task by its name, and each holds its own copy of the data. A resumed
            race keeps the number in its plan.
        ray: Address of a Ray cluster on whose machines the workers run (``auto``, ``HOST:PORT`` or
            ``local``). Rows, plan and table are those of as many workers here.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float64`` or None (as the task has it).
        autocast: ``bfloat16`` runs forward passes in mixed precision (weights stay as they are);
            members are then mapped or looped, and equal to each other only up to its rounding.
        seed: Decides the held-out split and all seeds of the race.
        cull: Halve the field at 1/8, 1/4 and 1/2 of the budget (never within one standard error).
        engine: ``auto`` (proved on the task's first steps and timed), ``looped``, ``stacked`` or
            ``vmap``.
        threads: Of torch; None: one, unless more of them are measurably faster.
        progress: Called with a :class:`~thalweg.records.Progress` a few times a second.

    Returns:
        The table, best first, with the winner, its ties and the defaults.

    Raises:
        ValueError: Bad input, in one line: what, where, what to do.
        OSError: The run directory cannot be written.
    """
    rates, budget = check_lrs(lrs), Budget(seconds, epochs, evaluations)
    for name, value in (("seeds", seeds), ("workers", workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r}: wanted a whole number of at least 1.")
    if engine not in ENGINES:
        raise ValueError(f"unknown engine '{engine}'. {suggest(str(engine), ENGINES)}")
    require_source(task, workers, ray)
    with _untouched_globals():
        risk = Risk(task, device, dtype, split_seed=seed, autocast=autocast)
        facts = check(risk)
        recipe = task.recipe
        chosen = make_space(
            optimizers, space, risk.batch_size(), recipe.schedule, recipe.weight_decay
        )
        batch_sizes(risk, chosen)  # refused before a run directory is made
        asked = {
            "task": task.name,
            "source": task_source(task),
            "optimizers": list(optimizers),
            "lrs": "auto" if rates is None else list(rates),
            "space": {axis: list(values) for axis, values in (space or {}).items()},
            "seeds": seeds,
            "seed": seed,
            "budget": {"seconds": seconds, "epochs": epochs, "evaluations": evaluations},
            "cull": cull,
            "engine": engine,
            "device": str(risk.device),
            "dtype": None if risk.dtype is None else str(risk.dtype),
            "criterion": risk.metric,
            "batch_size": risk.batch_size(),
            "data": fingerprint(risk),
        }
        if autocast is not None:  # runs of before it was an option go on
            asked["autocast"] = autocast
        with RunDir.open(run, asked, resume=resume, fresh=fresh) as folder:
            one = _Race(
                risk, facts, chosen, asked, folder, rates, budget, threads, workers, ray, progress
            )
            return one.go()


@contextmanager
def _untouched_globals() -> Iterator[None]:
    """Give threads, random state and cuDNN's mode back as they were found."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn.deterministic
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.backends.cudnn.deterministic = True
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.deterministic = cudnn


class _Race:
    """One race in progress: plan, generations, table."""

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


_PARTS = ("selection", "confirmation")


def _seconds_before(path: Path | None) -> float:
    """What earlier sittings of the same race took; 0 where nothing can be read."""
    try:
        return float(json.loads((path / "race.json").read_text())["seconds"]) if path else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
