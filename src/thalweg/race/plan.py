"""Everything decided before the first step, from measurements made once and written down."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from thalweg.optim.methods import defaults, method
from thalweg.race import ladder
from thalweg.race.cull import RUNGS
from thalweg.race.pace import Pace
from thalweg.race.population.choose import Choice, choose
from thalweg.race.population.driven import Driven, is_driven, price
from thalweg.race.population.looped import Run, start
from thalweg.race.space import Configuration, Member, Space
from thalweg.race.surface import Footing, footing
from thalweg.risk import Risk
from thalweg.risk.door import Facts

EIGHTHS = tuple(k / 8 for k in range(1, 9))  # when held-out data is looked at
LOOKS = (EIGHTHS, (0.125, 0.25, 0.5, 0.75, 1.0), (*RUNGS, 1.0), (1.0,))  # most of them first
LOOKING = 0.02  # share of the training that looks before the last one may cost
LOOK_STEPS = 3.0  # steps that a look at the smallest held-out part takes
WORTH_A_PROBE = 3.0  # seconds of looped training below which one loop is as good as any engine
PROBE_SHARE = 0.03  # of the looped training's time may go into finding a faster engine
PROOF_STEPS = 100  # what proof and first turns of an engine take, in steps of one member (measured)
LIVE_BYTES = 4 * 2**30  # what live runs may hold together before some are parked on disk
ENGINES = ("auto", "looped", "stacked", "vmap")
PROBE_STEPS = (20, 200)  # fewest and most steps of one learning-rate probe
RESERVE = 0.75  # share of a budget in seconds planned for; the rest is for widening and scoring
CULLED_COST = 0.5  # what a race with culling costs at most of one without (halving alone: 0.31)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long each run trains: exactly one of the three, or the recipe's epochs."""

    seconds: float | None = None
    epochs: float | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        given = {
            name: value
            for name in ("seconds", "epochs", "evaluations")
            if (value := getattr(self, name)) is not None
        }
        if len(given) > 1:
            raise ValueError(
                f"budget given twice ({', '.join(given)}): give only one of seconds (of the whole "
                "race), epochs or evaluations (gradients per run)."
            )
        for name, value in given.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise ValueError(f"{name}={value!r}: wanted a positive number.")
            if name == "evaluations" and value != int(value):
                raise ValueError(f"evaluations={value!r}: wanted a whole number of gradients.")


def stops(total: int, looks: Sequence[float]) -> list[int]:
    """The steps at which held-out data is looked at, the last one being ``total``."""
    return [max(1, math.ceil(total * share)) for share in looks]


def batch_sizes(risk: Risk, space: Space) -> list[int]:
    """The batch sizes that a race will use, smallest first.

    Raises:
        ValueError: One of them is more than all samples, or not one that the sampler can have.
    """
    sizes = {space.batch_size, *dict(space.axes).get("batch_size", ())}
    too_large = [size for size in sizes if size > risk.train.n]
    if too_large:
        raise ValueError(
            f"batch_size={too_large[0]} is more than the {risk.train.n} training samples."
        )
    for size in sizes:
        risk.order(size)  # refuses sizes that a user's sampler cannot have
    return sorted(sizes)


class Planner:
    """Measures and decides; :meth:`plan` returns what goes into ``run.json``."""

    def __init__(
        self, risk: Risk, facts: Facts, space: Space, tick: Callable[[str, int], None]
    ) -> None:
        self.risk, self.facts, self.space = risk, facts, space
        self._tick = tick
        self._begun = time.monotonic()
        self._evaluations = 0
        self._scoring = 0.0  # seconds per look at the selection part
        self._pace = Pace(risk, space, facts.stochastic)

    def plan(
        self,
        lrs: Sequence[float] | None,
        seeds: int,
        budget: Budget,
        cull: bool,
        threads: int | None,
        engine: str,
    ) -> dict[str, Any]:
        """Threads, learning rates, engines, and the steps of each run."""
        sizes = batch_sizes(self.risk, self.space)
        threads = threads or self._pace.threads()
        torch.set_num_threads(threads)
        cost = {size: self._pace.step(size) for size in sizes}
        if budget.seconds is not None:
            self._scoring = self._pace.look()
        rough = self._steps(budget, cost, ladder.POINTS * len(self.space.optimizers) * seeds, cull)
        highest: dict[str, float | None] = {}
        rates: dict[str, list[float]] = {}
        start = self._footing(rough, seeds) if lrs is None else None
        for name in self.space.optimizers:
            if lrs is not None:
                rates[name] = list(lrs)
                continue
            if method(name).evaluates:  # a line search corrects any rate
                rates[name] = [float(defaults(name)["lr"])]
                continue
            steps = rough[self.space.probe(name, 1.0).batch_size]
            length = min(max(PROBE_STEPS[0], steps // 8), PROBE_STEPS[1])
            top = self._highest(name, length, start.starts[name] if start else None)
            highest[name] = None if top is None else ladder.rate(top)
            hang = ladder.rung(defaults(name)["lr"]) + 2 if top is None else top
            rates[name] = ladder.grid(hang)
        field = [c for n in self.space.optimizers for c in self.space.grid(n, rates[n])]
        runs = seeds * (len(field) + len(self.space.optimizers))
        rough = self._steps(budget, cost, runs, cull)
        engines = {
            size: self._engine(engine, [c for c in field if c.batch_size == size], seeds, n, cost)
            for size, n in rough.items()
        }
        for size, choice in engines.items():
            if choice.engine != "looped":
                cost[size] = 1 / choice.gradients_per_second[choice.engine]
        steps = self._steps(budget, cost, runs, cull)
        self._require_passes(steps)
        return {
            "engine": engines[self.space.batch_size].engine,
            "engines": {str(size): choice.to_dict() for size, choice in engines.items()},
            "threads": threads,
            "device": str(self.risk.device),
            "dtype": None if self.risk.dtype is None else str(self.risk.dtype),
            "autocast": self.risk.autocast,
            "stochastic": self.facts.stochastic,
            "evaluations": {str(size): n for size, n in steps.items()},
            "looks": list(self._looks(steps, cull)),
            "rates": rates,
            "highest": highest,
            "surface": None if start is None else start.to_dict(),
            "auto": lrs is None,
            "cull": cull,
            "probe_evaluations": self._evaluations,
            "seconds_per_evaluation": {str(size): s for size, s in cost.items()},
        }

    def _engine(
        self,
        wanted: str,
        field: Sequence[Configuration],
        seeds: int,
        steps: int,
        cost: dict[int, float],
    ) -> Choice:
        """The engine for one batch size: asked for, or proved and timed where that can pay."""
        if wanted == "looped" or not field:
            return Choice("looped", 1, reasons={"looped": "asked for"})
        members = [Member(c, seed) for seed in range(seeds) for c in field]
        if all(is_driven(c.optimizer) for c in field):
            return Choice("looped", 1, reasons={"looped": "every method steps in its own way"})
        members = [m for m in members if not is_driven(m.configuration.optimizer)]
        looped = len(members) * steps * cost[field[0].batch_size]
        if wanted == "auto" and looped < WORTH_A_PROBE:
            return Choice("looped", 1, reasons={"looped": "a race too short to probe engines"})
        among = ("stacked", "vmap") if wanted == "auto" else (wanted,)
        allowed = PROBE_SHARE * looped if wanted == "auto" else math.inf
        proof = PROOF_STEPS * cost[field[0].batch_size]
        if wanted == "auto" and proof > 2 * allowed:
            why = f"a race of about {looped:.0f} s, in which probing engines takes {proof:.1f} s"
            return Choice("looped", 1, reasons={"looped": why})
        self._tick("which engine is fastest?", 0)
        found = choose(self.risk, self.facts.stochastic, members, steps, LIVE_BYTES, among, allowed)
        if wanted in ("auto", found.engine):
            return found
        if wanted not in found.gradients_per_second:
            raise ValueError(f"engine '{wanted}' cannot run this task: {found.reasons[wanted]}")
        return dataclasses.replace(found, engine=wanted)  # slower here, but asked for

    def _require_passes(self, steps: dict[int, int]) -> None:
        """Refuse line searches that could not look at the data twice."""
        for name in self.space.optimizers:
            size = self.space.batch_size
            each = price(self.risk, name, size)
            if each > 1 and steps[size] < 2 * each:
                raise ValueError(
                    f"{name} takes all samples at once, which costs as much as {each} gradients at "
                    f"batch size {size}; a budget of {steps[size]} gradients a run is too small. "
                    f"Give at least {2 * each} evaluations (2 epochs), many more to be useful."
                )

    def _run(self, configuration: Configuration, total: int) -> Run | Driven:
        return start(self.risk, Member(configuration, 0), total, self.facts.stochastic)

    def _footing(self, rough: dict[int, int], seeds: int) -> Footing:
        """Where the climbs begin, by the curvature of the first minibatches."""
        probes = {n: self.space.probe(n, 1.0) for n in self.space.optimizers}
        probes = {n: c for n, c in probes.items() if not method(n).evaluates}
        runs = ladder.POINTS * len(self.space.optimizers) * seeds
        gradients = rough[self.space.batch_size] * runs
        self._tick("how does the loss surface curve?", 0)
        return footing(self.risk, probes, gradients)

    def _highest(self, name: str, steps: int, start: float | None) -> int | None:
        def survives(lr: float) -> bool:
            self._tick(f"{name}: does lr {lr:g} train?", steps)
            return self._survives(self.space.probe(name, lr), steps)

        return ladder.climb(survives, ladder.rung(start or defaults(name)["lr"] * 10))

    @cached_property
    def _initial_loss(self) -> float:
        """The held-out loss that every probe starts from: they share their first weights."""
        return self.risk.score(self.risk.model(0), "selection").loss

    def _survives(self, configuration: Configuration, steps: int) -> bool:
        """Whether a short run ends with finite weights and a lower held-out loss."""
        run = self._run(configuration, steps)
        before = self._initial_loss
        loss = run.advance(steps, lambda n: None)
        self._evaluations += run.evaluations
        if not math.isfinite(loss) or not run.finite():
            return False
        after = run.score("selection").loss
        return math.isfinite(after) and after <= before * (1 + 1e-3) + 1e-12

    def _steps(
        self, budget: Budget, cost: dict[int, float], runs: int, cull: bool
    ) -> dict[int, int]:
        """Gradient evaluations of one run, by batch size."""
        if budget.evaluations is not None:
            return dict.fromkeys(cost, int(budget.evaluations))
        if budget.seconds is not None:
            left = max(budget.seconds - (time.monotonic() - self._begun), 0.2 * budget.seconds)
            share = left * RESERVE / runs / (CULLED_COST if cull else 1.0)
            share -= (len(RUNGS) + 2) * self._scoring  # each run is scored that often at least
            return {size: max(len(EIGHTHS), int(share / s)) for size, s in cost.items()}
        epochs = budget.epochs if budget.epochs is not None else self.risk.task.recipe.epochs
        per_epoch = {size: self.risk.order(size).steps_per_epoch for size in cost}
        return {size: max(1, round(epochs * n)) for size, n in per_epoch.items()}

    def _looks(self, steps: dict[int, int], cull: bool) -> tuple[float, ...]:
        """When held-out data is looked at: as often as costs little beside the training.

        The end is always worth a look, and culling needs one at each of its rungs. Counted in
        samples, not in seconds, so that the same race looks at the same steps on every machine.
        """
        if min(steps.values()) < len(EIGHTHS):
            return (1.0,)  # a handful of steps: only the end is worth a look
        worth = min(
            n / max(LOOK_STEPS, self.facts.selection / (3 * size)) for size, n in steps.items()
        )  # looks that cost as much as the training; a forward pass is a third of a gradient
        for looks in LOOKS[: -1 if cull else None]:
            if len(looks) - 1 <= LOOKING * worth:
                return looks
        return LOOKS[-2] if cull else LOOKS[-1]
