"""How much faster are K members at once than K plain loops over the same minibatches?

    OMP_NUM_THREADS=1 python benchmarks/race_engines.py [ROW ...] [--pairs 11] [--races 1]

Two questions per row, both in CPU seconds of this process, one thread, paired and interleaved:

- *engine*: the steps alone. Every pair trains all members a little further, once by the engine and
  once run by run; the ratio is plain / engine, its interval that of the median (sign test, 95 %).
- *race*: whole races without culling against the plain loop with one held-out score a run: checks,
  probe, looks at held-out data and the journal on disk are counted.

Both sides execute the same number of gradients, which stands beside every ratio. K members of one
seed share their minibatches; "own" gives every member a seed of its own.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from race_plain import Batches, PlainRun, clocked, configurations, keep, load, spread

import thalweg as tw
from thalweg.models import CharTransformer, LeNetD1
from thalweg.race.population.make import make
from thalweg.race.space import Member
from thalweg.risk import Risk
from thalweg.risk.door import check

MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    task: str
    members: int
    batch_size: int
    gate: float
    stretch: float
    own: bool = False


ROWS = (
    Row("mlp-16", "digits-mlp", 32, 16, 8.0, 10.0),
    Row("mlp-64", "digits-mlp", 32, 64, 4.5, 6.0),
    Row("mlp-256", "digits-mlp", 32, 256, 2.0, 2.5),
    Row("lenet-16", "lenet", 32, 16, 1.5, 2.0),
    Row("lenet-16-own", "lenet", 32, 16, 1.25, 2.0, own=True),
    Row("lenet-64", "lenet", 32, 64, 1.0, 1.3),
    Row("transformer-16", "small-transformer", 8, 16, 1.5, 2.0),
    Row("char-lm-16", "char-lm", 8, 16, 1.0, 1.5),
)


def lenet() -> tw.Task:
    """The lectures' LeNet on digits of 1 x 32 x 32, without dropout."""
    return replace(tw.load_task("digits"), name="lenet", model=lambda: LeNetD1(p_drop=0.0))


def small_transformer() -> tw.Task:
    """The transformer of ``char-lm`` at half its width over windows of half the length."""
    task = tw.load_task("char-lm")
    vocabulary = task.model().token.num_embeddings

    def shorter(data: Any) -> Any:
        return tuple(part[:, :32].contiguous() for part in data)

    return replace(
        task,
        name="small-transformer",
        model=lambda: CharTransformer(vocabulary, context=32, width=32),
        train=shorter(task.train),
        held_out=shorter(task.held_out),
        test=None if task.test is None else shorter(task.test),
    )


OWN = {"lenet": lenet, "small-transformer": small_transformer}


def task_of(row: Row) -> tw.Task:
    """The row's task at its batch size, without weight decay or schedule."""
    task = OWN[row.task]() if row.task in OWN else tw.load_task(row.task)
    return replace(task, recipe=tw.Recipe(batch_size=row.batch_size))


def members_of(row: Row) -> tuple[list[float], int]:
    """Learning rates and seeds, the library's default rate among them (it is raced anyway)."""
    if row.own:
        return [0.001], row.members
    above = [float(f"{0.001 * 1.1 ** (k - row.members // 2):.3g}") for k in range(row.members)]
    return [0.001 if math.isclose(lr, 0.001) else lr for lr in above], 1


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with at least 95 %, by the sign test (the ends where pairs are few)."""
    ranked, n = sorted(ratios), len(ratios)
    below, cut = 0.0, 0
    while cut < n // 2:
        below += math.comb(n, cut) / 2**n
        if 2 * below > 0.05:
            break
        cut += 1
    low = max(0, cut - 1)
    return ranked[low], ranked[n - 1 - low]


def engine(row: Row, risk: Risk, stochastic: bool, name: str, pairs: int) -> dict[str, Any]:
    """Ratios of the steps alone."""
    lrs, seeds = members_of(row)
    field = configurations(("adam",), lrs, row.batch_size)
    members = [Member(c, s) for s in range(seeds) for c in field]
    per = 8 if row.task != "digits-mlp" else 24
    total = per * (pairs + 2)
    batches = Batches(risk, range(seeds), row.batch_size, total)
    runner = make(name, risk, members, total, stochastic, MEMORY)
    loops = [PlainRun(risk, m, stochastic) for m in members]

    def ours(stop: int) -> None:
        for _ in runner.advance(stop, range(len(members)), lambda n: None):
            pass

    def theirs(stop: int) -> None:
        for loop in loops:
            loop.train(batches.of(loop.seed), stop)

    ratios = []
    for pair in range(pairs + 2):
        stop = per * (pair + 1)
        took = {}
        for side in (ours, theirs) if pair % 2 else (theirs, ours):
            took[side] = clocked(lambda side=side, stop=stop: side(stop))[1]
        if pair > 1:  # the first two wake everything up
            ratios.append(took[theirs] / took[ours])
    low, high = interval(ratios)
    return {
        "ratio": median(ratios),
        "low": low,
        "high": high,
        "pairs": len(ratios),
        "gradients_each": per * len(members) * len(ratios),
    }


def whole(row: Row, risk: Risk, stochastic: bool, races: int, seconds: float) -> dict[str, Any]:
    """Ratios of whole races; each plain side takes about ``seconds``."""
    lrs, seeds = members_of(row)
    field, task = configurations(("adam",), lrs, row.batch_size), task_of(row)
    batches = Batches(risk, [0], row.batch_size, 60)
    timed = PlainRun(risk, Member(field[0], 0), stochastic)
    timed.train(batches.of(0), 20)
    step = clocked(lambda: timed.train(batches.of(0), 60))[1] / 40
    steps = max(8, round(seconds / step / row.members))
    batches = Batches(risk, range(seeds), row.batch_size, steps)

    def race(steps: int = steps) -> tw.Race:
        with tempfile.TemporaryDirectory() as folder:
            return tw.race(
                task,
                ("adam",),
                lrs,
                seeds=seeds,
                evaluations=steps,
                threads=1,
                cull=False,
                device="cpu",
                run=f"{folder}/run",
            )

    def plain() -> list[Any]:
        scores = []
        for c in field:
            for seed in range(seeds):
                run = PlainRun(risk, Member(c, seed), stochastic)
                run.train(batches.of(seed), steps)
                scores.append(run.score())
        return scores

    race(8)  # imports
    ratios, walls, took = [], [], []
    for number in range(races):
        found = {}
        for side in (race, plain) if number % 2 else (plain, race):
            found[side] = clocked(side)
        result = found[race][0]
        assert result.executed == row.members * steps
        ratios.append(found[plain][1] / found[race][1])
        walls.append(found[plain][2] / found[race][2])
        took.append(found[plain][1])
    choice = result.plan["engines"][str(row.batch_size)]
    return {
        "ratio": spread(ratios),
        "ratio_wall": spread(walls),
        "plain_cpu_seconds": spread(took),
        "engine": choice["engine"],
        "probe_seconds": choice["seconds"],
        "reasons": choice["reasons"],
        "gradients_race": result.executed + result.plan["probe_evaluations"],
        "gradients_plain": row.members * steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=[row.name for row in ROWS])
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--races", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--engine", default="stacked", choices=("stacked", "vmap", "looped"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for row in ROWS:
        if row.name not in asked.rows:
            continue
        risk = Risk(task_of(row), "cpu")
        stochastic = check(risk).stochastic
        steps = engine(row, risk, stochastic, asked.engine, asked.pairs)
        found = {"members": row.members, "batch_size": row.batch_size, "own_batches": row.own}
        found |= {"gate": row.gate, "stretch": row.stretch, asked.engine: steps, "load": load()}
        line = (
            f"{row.name:15s} K={row.members} {asked.engine} {steps['ratio']:.2f} "
            f"({steps['low']:.2f} ... {steps['high']:.2f}), gate {row.gate:g}, "
            f"stretch {row.stretch:g}, {steps['gradients_each']} gradients each"
        )
        if asked.races:
            found["race"] = race = whole(row, risk, stochastic, asked.races, asked.seconds)
            line += (
                f"; race {race['ratio']['median']:.2f} ({race['engine']}, "
                f"{race['gradients_race']} gradients, plain {race['gradients_plain']})"
            )
        print(f"{line}, load {load()[0]}", flush=True)
        keep("race_engines", **{f"{row.name}, {asked.engine}": found})


if __name__ == "__main__":
    main()
