"""Two worker processes against one: wall seconds of the same race.

    OMP_NUM_THREADS=1 python benchmarks/race_workers.py [--task digits] [--repeats 3]

One worker is this process itself. Checks, probe, start of the processes and the journal are
counted. A machine with other work on its cores shows less than it could; the load stands beside
the numbers. Stacked members gain less: each process stacks half as many.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch
from race_plain import keep, load, spread

import thalweg as tw


def race(name: str, workers: int, steps: int) -> tuple[float, tw.Race]:
    """Wall seconds of a race and its result."""
    task = tw.load_task(name)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        result = tw.race(
            task,
            ("momentum", "adam"),
            (0.001, 0.003, 0.01),
            seeds=4,
            evaluations=steps,
            threads=1,
            workers=workers,
            device="cpu",
            cull=False,
            run=f"{folder}/run",
        )
        return time.perf_counter() - begun, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    race(asked.task, 2, 8)  # imports, and the server that starts workers
    ratios, one_all, two_all = [], [], []
    for _ in range(asked.repeats):
        one, alone = race(asked.task, 1, asked.steps)
        two, spread_out = race(asked.task, 2, asked.steps)
        assert alone.plan["engine"] != "looped" or alone.table == spread_out.table
        ratios.append(one / two)
        one_all.append(one)
        two_all.append(two)
    print(
        f"{asked.task}, engine {alone.plan['engine']}: two workers {spread(ratios)['median']:.2f} "
        f"times as fast as one ({min(ratios):.2f} ... {max(ratios):.2f}), load {load()}"
    )
    found = {
        "engine": alone.plan["engine"],
        "gradients": alone.executed,
        "ratio_wall": spread(ratios),
        "one_wall_seconds": spread(one_all),
        "two_wall_seconds": spread(two_all),
        "load": load(),
    }
    keep(
        "race_workers",
        **{f"{asked.task}, {alone.executed} gradients, {alone.plan['engine']}": found},
    )


if __name__ == "__main__":
    main()
