"""Racing never loses: any built-in task, one run or six, against a plain loop over the same runs.

    OMP_NUM_THREADS=1 python benchmarks/race_small.py [TASK ...] [--seconds 5] [--repeats 3]

CPU seconds of this process, paired and interleaved. The race's include its checks at the door, the
timing probe, looks at held-out data and the journal on disk; the plain loop's one held-out score a
run. Each side trains for about ``--seconds``. K = 1 is Adam at its default rate (which is raced
anyway), K = 6 two rates under three seeds, no culling. ``--more`` adds its repeats to those in the
results, so that a long measurement can be made in short calls.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace

import torch
from places import results
from race_plain import Batches, PlainRun, clocked, configurations, keep, load, spread

import thalweg as tw
from thalweg.race.space import Member
from thalweg.risk import Risk
from thalweg.risk.door import check

TASKS = (
    "digits",
    "digits-mlp",
    "digits-batchnorm",
    "diabetes",
    "breast-cancer",
    "wine",
    "linear-unit",
    "quadratic",
    "char-lm",
)
FIELDS = {1: ((0.001,), 1), 6: ((0.0005, 0.001), 3)}  # K: rates, seeds


def plain(risk, field, seeds, batches, steps, stochastic):
    """Every run to its end."""
    scores = []
    for c in field:
        for seed in range(seeds):
            run = PlainRun(risk, Member(c, seed), stochastic)
            run.train(batches.of(seed), steps)
            scores.append(run.score())
    return scores


def race(task, lrs, seeds, steps):
    """The same runs as a race."""
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


def seconds_per_step(risk, configuration, stochastic):
    """CPU seconds of one plain step."""
    batches = Batches(risk, [0], configuration.batch_size, 100)
    run = PlainRun(risk, Member(configuration, 0), stochastic)
    run.train(batches.of(0), 20)
    begun = time.process_time()
    run.train(batches.of(0), 100)
    return (time.process_time() - begun) / 80


def measure(name: str, members: int, seconds: float, repeats: int):
    """Ratios of one task at one K."""
    lrs, seeds = FIELDS[members]
    task = tw.load_task(name)
    recipe = tw.Recipe(batch_size=task.recipe.batch_size, order=task.recipe.order)
    task = replace(task, recipe=recipe)  # no weight decay or schedule: Adam's default is the grid's
    risk = Risk(task, "cpu")
    stochastic = check(risk).stochastic
    field = configurations(("adam",), lrs, risk.batch_size())
    steps = max(16, int(seconds / seconds_per_step(risk, field[0], stochastic) / members))
    batches = Batches(risk, range(seeds), risk.batch_size(), steps)
    race(task, lrs, seeds, 16)  # imports
    fixed = min(clocked(lambda: race(task, lrs, seeds, 16))[1] for _ in range(3))
    ratios, ours_all, theirs_all = [], [], []
    for repeat in range(repeats):
        sides = [
            lambda: race(task, lrs, seeds, steps),
            lambda: plain(risk, field, seeds, batches, steps, stochastic),
        ]
        order = (0, 1) if repeat % 2 == 0 else (1, 0)
        found = {side: clocked(sides[side]) for side in order}
        result, ours, _ = found[0]
        theirs = found[1][1]
        assert result.executed == members * steps, (result.executed, members, steps)
        ratios.append(theirs / ours)
        ours_all.append(ours)
        theirs_all.append(theirs)
    print(
        f"{name:17s} K={members} {steps:6d} steps: ratio {spread(ratios)['median']:.3f} "
        f"({min(ratios):.3f} ... {max(ratios):.3f}), engine {result.plan['engine']}, "
        f"plain {min(theirs_all):.1f} s, fixed {fixed:.2f} s, load {load()[0]}",
        flush=True,
    )
    return {
        "engine": result.plan["engine"],
        "ratio_cpu": spread(ratios),
        "plain_cpu_seconds": spread(theirs_all),
        "race_cpu_seconds": spread(ours_all),
        "fixed_cpu_seconds": fixed,  # a race of 16 steps: what does not grow with the work
        "gradients": members * steps,
        "gradients_probe": result.plan["probe_evaluations"],
        "load": load(),
    }


def joined(key: str, found: dict) -> dict:
    """Both an earlier measurement's repeats and these."""
    path = results("race_small")
    before = json.loads(path.read_text()).get(key) if path.exists() else None
    if before is None:
        return found
    lists = ("ratio_cpu", "plain_cpu_seconds", "race_cpu_seconds")
    return found | {name: spread(before[name]["all"] + found[name]["all"]) for name in lists}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--members", type=int, nargs="*", default=tuple(FIELDS))
    parser.add_argument("--more", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.tasks:
        for members in asked.members:
            found = measure(name, members, asked.seconds, asked.repeats)
            key = f"{name}, K={members}, {asked.seconds:g} s"
            keep("race_small", **{key: joined(key, found) if asked.more else found})


if __name__ == "__main__":
    main()
