"""Everything measured before a verdict: one pass of reads, a few short runs, a sweep of rates."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from thalweg.diagnose.anatomy import Anatomy, examine
from thalweg.diagnose.bench import LOOKS, Bench, Walk
from thalweg.diagnose.judge import look
from thalweg.diagnose.reading import DataFacts, read
from thalweg.diagnose.sharpness import ends, noise
from thalweg.diagnose.sweep import Sweep, sweep
from thalweg.risk import tree

FEWEST = 2  # looks in a walk
CURVED = 256  # samples of the batch whose curvature is measured


@dataclass
class Observation:
    """What the detectors read."""

    bench: Bench
    data: DataFacts
    anatomy: Anatomy
    repeats: tuple[float, float]  # the loss twice, under equal random states
    walks: list[Walk] = field(default_factory=list)
    end: Anatomy | None = None  # after the first walk
    sweep: Sweep | None = None
    sharp_start: float = math.nan  # λmax
    sharp_end: float = math.nan
    bent_end: float = math.nan  # λmin
    noise_start: float = math.nan  # gradient noise scale, samples
    noise_end: float = math.nan
    train_mode_loss: float = math.nan  # held-out batch, batch statistics
    eval_mode_loss: float = math.nan  # the same batch, stored statistics
    evaluations: int = 0  # of each walk
    epochs: float = 0.0
    per_gradient: float = 0.0  # seconds
    whole: bool = False  # whether the walks are as long as the recipe
    errors: list[str] = field(default_factory=list)  # why a change could not be tried
    long: Walk | None = None  # a longer run of the recipe, where one was asked for
    kept: dict[str, list[Walk]] = field(default_factory=dict)  # runs of changed copies

    @property
    def recipe(self) -> Any:
        """How the task is trained today."""
        return self.bench.task.recipe

    @property
    def value(self) -> float:
        """The criterion the recipe reaches, mean over seeds."""
        scores = [self.bench.score(walk) for walk in self.walks]
        return sum(scores) / len(scores) if scores else math.nan

    @property
    def skill(self) -> float:
        """The same between 0 (a constant answer) and 1 (perfect)."""
        values = [self.bench.judge.skill(self.bench.score(walk)) for walk in self.walks]
        return sum(values) / len(values) if values else math.nan

    @property
    def diverged(self) -> bool:
        """Whether a run of the recipe ended in NaN or infinity."""
        return any(walk.diverged for walk in self.walks)


def static(bench: Bench) -> Observation:
    """Data, and one pass through the initial model; nothing is trained."""
    data = read(bench)
    model = bench.risk.model(bench.seed)
    batch = first_batch(bench)
    anatomy = examine(bench.risk, model, batch)
    return Observation(bench, data, anatomy, _twice(bench, batch))


def first_batch(bench: Bench) -> Any:
    """The first batch of training, of at most 256 samples."""
    size = min(bench.settings.batch_size or bench.risk.train.n, bench.risk.train.n, CURVED)
    return bench.risk.feed(bench.seed, max(1, size)).batch(0)


def _wide_batch(bench: Bench) -> Any:
    size = min(CURVED, bench.risk.train.n)
    if bench.risk._read.custom is not None:
        return first_batch(bench)
    return bench.risk.feed(bench.seed, size).batch(0)


def _twice(bench: Bench, batch: Any) -> tuple[float, float]:
    found = []
    model = bench.risk.model(bench.seed)
    for _ in range(2):
        twin = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(7)
            found.append(float(bench.risk.loss(twin, tree.tree_map(torch.clone, batch))))
    return found[0], found[1]


def moving(
    seen: Observation, seconds: float, progress: Callable[[str], None], fixed: int | None = None
) -> None:
    """The short runs: the recipe under its first seed, curvature, noise, and a sweep of rates.

    Args:
        seen: Filled in place.
        seconds: For all of diagnosing; a third of it is spent here.
        progress: Told what is being done.
        fixed: Gradients of each run, instead of what the seconds allow.
    """
    bench = seen.bench
    begun = time.monotonic()
    seen.per_gradient = cost(bench)
    share = seconds / 24  # a run may take: most suspicions are cleared by a single one
    longest = max(20, int(share / max(1e-6, seen.per_gradient)))
    whole = bench.gradients(bench.task.recipe.epochs)
    seen.evaluations = min(whole, fixed or min(longest, 4000))
    seen.epochs = seen.evaluations / bench.per_epoch
    seen.whole = seen.evaluations >= whole
    if not fixed:
        bench.looks = _looks(bench, seen.evaluations * seen.per_gradient)
    progress("training by your own recipe")
    seen.walks.append(bench.walk(bench.seed, seen.evaluations, keep=True))
    model, batch = seen.walks[0].model, _wide_batch(bench)
    progress("measuring curvature and noise")
    size = bench.settings.batch_size or bench.risk.train.n
    start = bench.risk.model(bench.seed)
    seen.sharp_start, _ = ends(bench.risk, start, batch)
    seen.noise_start = noise(bench.risk, start, bench.seed, size)
    if model is not None and not seen.walks[0].diverged:
        seen.sharp_end, seen.bent_end = ends(bench.risk, model, batch)
        seen.noise_end = noise(bench.risk, model, bench.seed, size)
        seen.end = examine(bench.risk, copy.deepcopy(model), batch)
        _modes(seen, model)
    if not bench.full_batch:
        progress("trying other learning rates")
        steps = max(20, min(seen.evaluations, seen.evaluations // 2, 400))
        limit = begun + seconds / 2
        seen.sweep = sweep(bench, steps, bench.seed, lambda: limit - time.monotonic())


def cost(bench: Bench, handfuls: int = 3, size: int = 5) -> float:
    """Seconds of one gradient, from a few handfuls: the least, as others may load the machine."""
    costs = []
    for _ in range(handfuls):
        begun = time.monotonic()
        bench.walk(bench.seed, size, looks=0)
        costs.append((time.monotonic() - begun) / size)
    return min(costs)


def _looks(bench: Bench, seconds: float) -> int:
    """How often a walk of so many seconds may look at held-out data to take at most twice that."""
    model = bench.risk.model(bench.seed)
    begun = time.monotonic()
    look(bench.risk, model)
    return min(LOOKS, max(FEWEST, int(seconds / max(1e-6, time.monotonic() - begun))))


def _modes(seen: Observation, model: Any) -> None:
    """The loss of one held-out batch by batch statistics and by stored ones."""
    risk = seen.bench.risk
    size = min(seen.bench.settings.batch_size or 64, risk.selection.n)
    losses = {True: 0.0, False: 0.0}
    count = 0
    for batch in risk.selection.chunks(size):
        if tree.count(batch) < min(size, 2) or count >= 16:
            break
        count += 1
        for mode in (True, False):
            twin = copy.deepcopy(model).train(mode)
            for module in twin.modules():
                if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                    module.eval()
            with torch.no_grad():
                losses[mode] += float(risk.loss(twin, batch))
    if count:
        seen.train_mode_loss, seen.eval_mode_loss = losses[True] / count, losses[False] / count
