"""The 90-run digits race against a plain loop over the same 90 runs, to the same winner.

    OMP_NUM_THREADS=1 python benchmarks/race_campaign.py [--repeats 3] [--batch-size 64]

2 optimisers x 15 learning rates x 3 seeds x 800 steps of a 64-64-10 perceptron, culling on. CPU
seconds of this process, paired and interleaved; the race's include its checks, probes, journal and
the confirmation, the plain loop's one held-out score a run and no cutting of minibatches. Executed
gradients stand beside every ratio: culling saves gradients, the engine makes each one cheaper.
"""

from __future__ import annotations

import argparse
import tempfile
from statistics import fmean

import torch
from race_plain import Batches, PlainRun, clocked, configurations, keep, load, spread

import thalweg as tw
from thalweg.race.space import Member
from thalweg.risk import Risk

OPTIMIZERS = ("sgd", "adam")
LRS = tuple(float(f"{10 ** (-3 + k / 4):.2g}") for k in range(15))  # 0.001 ... 3.2
SEEDS, STEPS = 3, 800


def sweep(risk: Risk, field, batches: Batches):
    """Every run to its end; configurations best first by their mean over seeds."""
    mean = {}
    for c in field:
        scores = []
        for seed in range(SEEDS):
            run = PlainRun(risk, Member(c, seed))
            run.train(batches.of(seed), STEPS)
            scores.append(run.score())
        mean[c] = tuple(fmean(values) for values in zip(*scores, strict=True))
    return sorted(field, key=lambda c: mean[c], reverse=True)


def race(task, batch_size: int):
    """The same runs as a race."""
    with tempfile.TemporaryDirectory() as folder:
        return tw.race(
            task, OPTIMIZERS, LRS, seeds=SEEDS, evaluations=STEPS, threads=1, run=f"{folder}/run"
        )


def verdict(result, best) -> str:
    """Whether the exhaustive winner is the race's, or tied with it, or was lost."""
    for entry in result.table:
        if (entry.optimizer, entry.hyperparameters["lr"]) == (best.optimizer, best.lr):
            if entry == result.best:
                return "equal"
            return "tied" if entry.tied else f"lost: {entry.status}"
    return "lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    task = tw.load_task("digits-mlp")
    if asked.batch_size != task.recipe.batch_size:
        from dataclasses import replace

        task = replace(task, recipe=replace(task.recipe, batch_size=asked.batch_size))
    risk = Risk(task, "cpu")
    field = configurations(OPTIMIZERS, LRS, asked.batch_size)
    batches = Batches(risk, range(SEEDS), asked.batch_size, STEPS)
    PlainRun(risk, Member(field[0], 0)).train(batches.of(0), 50)  # wake torch up
    ratios, walls, verdicts, plain_cpu, race_cpu = [], [], [], [], []
    for _ in range(asked.repeats):
        result, ours, ours_wall = clocked(lambda: race(task, asked.batch_size))
        ranked, theirs, theirs_wall = clocked(lambda: sweep(risk, field, batches))
        ratios.append(theirs / ours)
        walls.append(theirs_wall / ours_wall)
        plain_cpu.append(theirs)
        race_cpu.append(ours)
        verdicts.append(verdict(result, ranked[0]))
    whole = len(field) * SEEDS * STEPS
    executed = result.executed + result.plan["probe_evaluations"]
    print(
        f"batch {asked.batch_size}, engine {result.plan['engine']}: ratio "
        f"{spread(ratios)['median']:.2f} (all {', '.join(f'{r:.2f}' for r in sorted(ratios))}), "
        f"gradients {executed:,} of {whole:,} ({whole / executed:.2f}x fewer), winner {verdicts}"
    )
    found = {
        "engine": result.plan["engine"],
        "ratio_cpu": spread(ratios),
        "ratio_wall": spread(walls),
        "plain_cpu_seconds": spread(plain_cpu),
        "race_cpu_seconds": spread(race_cpu),
        "gradients_race": executed,
        "gradients_plain": whole,
        "engine_alone": spread([r * executed / whole for r in ratios]),
        "winner": verdicts,
        "best": [result.best.optimizer, result.best.hyperparameters["lr"]],
        "exhaustive_best": [ranked[0].optimizer, ranked[0].lr],
        "load": load(),
    }
    keep("race_campaign", **{f"batch {asked.batch_size}, {result.plan['engine']}": found})


if __name__ == "__main__":
    main()
