"""How near is the failing rate that ``diagnose`` finds to the true one? Twenty tasks.

    OMP_NUM_THREADS=1 python benchmarks/diagnose_rates.py

The true one: whole recipes at constant rates on a ladder of factor 1.25, three seeds each; it lies
between the last rate at which most seeds learn and the next one. To learn is to gain on a constant
answer at least a tenth of what the best rate does. (Ending above the start would not do: a network
whose units have died answers with a constant, which is better than most starts.) Two answers are
held against it: that of short runs, which diagnose prints, and the bound (2 + 2 momentum)/curvature
at the start.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any

import torch
from diagnose_bases import BASES
from race_plain import keep

from thalweg.diagnose.bench import Bench
from thalweg.diagnose.observation import first_batch
from thalweg.diagnose.private import untouched
from thalweg.diagnose.sharpness import ends
from thalweg.diagnose.sweep import at_rate, learns, sweep
from thalweg.task import Task

RUNG = 1.25
SEEDS = 3
WITHIN = 1.5
NAMES = ("wine", "diabetes", "cancer", "digits-relu", "digits-tanh", "digits-batchnorm",
         "digits-layernorm")  # fmt: skip
OPTIMIZERS = {"sgd": 0.1, "nesterov": 0.02, "adam": 0.003}


def tasks() -> list[Task]:
    """Seven trainings by three optimisers, less one."""
    found = []
    for name in NAMES:
        for optimizer, lr in OPTIMIZERS.items():
            task = BASES[name](7)
            how = replace(task.recipe, optimizer=optimizer, lr=lr, schedule=None, weight_decay=0.0,
                          momentum=0.9 if optimizer == "nesterov" else 0.0)  # fmt: skip
            found.append(replace(task, name=f"{name}, {optimizer}", recipe=how))
    return found[:20]


def ends_at(bench: Bench, lr: float, evaluations: int) -> list[float]:
    """Training losses at the end of whole runs of three seeds; inf where they broke off."""
    trial, found = Bench(at_rate(bench.task, lr), "cpu", bench.seed, like=bench), []
    for seed in range(10, 10 + SEEDS):
        walk = trial.walk(seed, evaluations, looks=0, stop=lambda loss: not loss < 1e6)
        tail = walk.losses[-max(4, evaluations // 8) :]
        ended = walk.diverged or len(walk.losses) < evaluations
        found.append(math.inf if ended else sum(tail) / len(tail))
    return found


def fails(bench: Bench, lr: float, evaluations: int, best: list[float]) -> bool:
    """Whether most seeds do not learn."""
    pairs = zip(ends_at(bench, lr, evaluations), best, strict=True)
    return sum(not learns(e, bench.judge.floor_loss, b) for e, b in pairs) > SEEDS // 2


def true_rate(bench: Bench, guess: float, evaluations: int, best: list[float]) -> float:
    """Up or down the ladder from ``guess`` until the answer changes, and stays for two rungs."""
    rate = guess
    if fails(bench, rate, evaluations, best):
        fine = 0
        while fine < 2 and rate > 1e-8:
            rate /= RUNG
            fine = 0 if fails(bench, rate, evaluations, best) else fine + 1
        return rate * RUNG**fine / math.sqrt(RUNG)
    bad = 0
    while bad < 2 and rate < 1e4:
        rate *= RUNG
        bad = bad + 1 if fails(bench, rate, evaluations, best) else 0
    return rate / RUNG ** (bad - 1) / math.sqrt(RUNG)


def row(task: Task) -> dict[str, Any]:
    """The rates of one task."""
    bench = Bench(task, "cpu", 0)
    whole = bench.gradients(task.recipe.epochs)
    steps = max(20, min(whole // 2, 400))
    found = sweep(bench, steps, 0, lambda: 1.0)
    model = bench.risk.model(0)
    top, _ = ends(bench.risk, model, first_batch(bench))
    bound = 2 * (1 + task.recipe.momentum) / top if task.recipe.optimizer != "adam" else math.nan
    tried = [ends_at(bench, found.best / k, whole) for k in (1, 3, 10)]
    true = true_rate(bench, found.failing, whole, [min(one) for one in zip(*tried, strict=True)])
    return {"task": task.name, "true": true, "probe": found.failing, "bound": bound,
            "ratio": found.failing / true}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for task in tasks():
        if asked.only not in task.name:
            continue
        with untouched():
            rows.append(row(task))
        one = rows[-1]
        print(f"{one['task']:28s} true {one['true']:.3g}  probe {one['probe']:.3g} "
              f"({one['ratio']:.2f})  bound {one['bound']:.3g}", flush=True)  # fmt: skip
    near = sum(1 / WITHIN <= r["ratio"] <= WITHIN for r in rows)
    print(f"probe within {WITHIN}x: {near} of {len(rows)}")
    if not asked.only:
        for one in rows:
            one["bound"] = None if math.isnan(one["bound"]) else one["bound"]
        keep("diagnose_rates", rates={"within 1.5x": near, "tasks": len(rows), "rows": rows})


if __name__ == "__main__":
    main()
