"""How far apart may workers drift? Accuracy over the communication period, equal samples for all.

    OMP_NUM_THREADS=1 python benchmarks/parallel_periods.py [--seeds 5]

Four workers, digits, a 64-64-10 perceptron, 600 minibatches of 32 each. EASGD, EAMSGD and DOWNPOUR
run in the seeded simulator in random order; local SGD averages all workers every period; data
parallel averages their gradients at every step (period 1 alone). Rates were chosen once, at period
1: 0.5 without and 0.01 with momentum 0.99.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from race_plain import keep

from thalweg.claims.distributed import PERIODS, Digits

WORKERS, STEPS = 4, 600
METHODS = {"easgd": 0.5, "eamsgd": 0.01, "downpour": 0.5}


def averaged(digits: Digits, lr: float, tau: int, seed: int) -> float:
    """Local SGD: workers in step, their weights averaged every ``tau`` steps; 1 is data parallel.

    Averaging weights after every single step from one point is averaging gradients.
    """
    g = torch.Generator().manual_seed(seed)
    start = digits.start(g)
    workers = [start.clone() for _ in range(WORKERS)]
    for step in range(STEPS):
        workers = [w - lr * digits.gradient(w, g) for w in workers]
        if (step + 1) % tau == 0 or step == STEPS - 1:
            mean = torch.stack(workers).mean(0)
            workers = [mean.clone() for _ in workers]
    return digits.score(workers[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    digits, found = Digits(0), {}
    rows: dict[str, list[list[float]]] = {}
    for method, lr in METHODS.items():
        rows[method] = [
            [digits.accuracy(method, lr, tau, seed) for seed in range(asked.seeds)]
            for tau in PERIODS
        ]
    local = [[averaged(digits, 0.5, tau, s) for s in range(asked.seeds)] for tau in PERIODS]
    rows["local SGD"], rows["data parallel"] = local, local[:1]
    print(f"accuracy in %, mean ± two standard errors of {asked.seeds} seeds")
    print("period".ljust(16) + "".join(f"{tau:>16d}" for tau in PERIODS))
    for name, table in rows.items():
        means = [100 * statistics.mean(row) for row in table]
        halves = [200 * statistics.stdev(row) / len(row) ** 0.5 for row in table]
        cells = [f"{m:.2f} ± {h:.2f}" for m, h in zip(means, halves, strict=True)]
        print(name.ljust(16) + "".join(f"{cell:>16s}" for cell in cells))
        found[name] = {
            "accuracy": dict(zip(map(str, PERIODS), means, strict=False)),
            "two standard errors": dict(zip(map(str, PERIODS), halves, strict=False)),
            "seeds": asked.seeds,
        }
    keep("parallel_periods", **found)


if __name__ == "__main__":
    main()
