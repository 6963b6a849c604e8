"""What does thalweg.watch cost a plain training loop? CPU time with it over CPU time without.

    OMP_NUM_THREADS=1 python benchmarks/watch_cost.py [--seconds 2] [--pairs 9]

Whole runs from equal starts in equal steps, with and without in turn, the first of a pair changing;
CPU seconds of this process, one thread. A run with it includes making the watch, its first look
(which warms up), handing over every loss, and closing. ``short`` is what a run of a few seconds
pays at worst; in a long one the first look weighs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time

import torch
import torch.nn.functional as F
from race_plain import keep, load
from torch import nn

import thalweg as tw
from thalweg.models.lenet import LeNetD1


def digits(size: int):
    """Inputs, classes: the digits at a size, flat where it is 8."""
    task = tw.load_task("digits" if size == 32 else "digits-mlp")
    return task.train


def mlp():
    """A 64-64-10 perceptron, SGD with momentum, batches of 64."""
    x, y = digits(8)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), x, y


def lenet():
    """The lectures' LeNet, SGD with momentum, batches of 64."""
    x, y = digits(32)
    model = LeNetD1()
    return model, torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9), x, y


def large():
    """10.5 million weights: 64-2048-2048-2048-1024-10, Adam, batches of 64."""
    x, y = digits(8)
    sizes = (64, 2048, 2048, 2048, 1024)
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(1024, 10))
    return model, torch.optim.Adam(model.parameters(), lr=1e-4), x, y


MODELS = {"MLP 64-64-10": mlp, "LeNet": lenet, "MLP 10.5 M": large}


def run(build, steps: int, watched: bool, batch: int = 64) -> tuple[float, object]:
    """CPU seconds of a run, and its watch."""
    torch.manual_seed(0)
    model, optimizer, x, y = build()
    orders = [torch.randperm(len(x)) for _ in range(1 + steps * batch // len(x))]
    begun = time.process_time()
    w = tw.watch(model, optimizer) if watched else None
    done = 0
    with w if w is not None else contextlib.nullcontext():
        for order in orders:
            for chosen in order.split(batch):
                optimizer.zero_grad()
                value = F.cross_entropy(model(x[chosen]), y[chosen])
                if w is not None:
                    w.loss(value)
                value.backward()
                optimizer.step()
                done += 1
                if done == steps:
                    break
    return time.process_time() - begun, w


def measure(name: str, seconds: float, pairs: int) -> dict:
    """Pairs of runs of about ``seconds`` each."""
    build = MODELS[name]
    run(build, 20, True)
    trial, _ = run(build, 30, False)
    steps = max(30, int(seconds * 30 / trial))
    ratios, looks, shares, findings = [], [], [], set()
    plain, with_it = [], []
    for pair in range(pairs):
        cost = {}
        for watched in (pair % 2 == 0, pair % 2 == 1):
            cost[watched], w = run(build, steps, watched)
            if w is not None:
                looks.append(len(w.history.looks))
                shares.append(w.overhead)
                findings |= {f.code for f in w.findings}
        ratios.append(cost[True] / cost[False])
        plain.append(cost[False])
        with_it.append(cost[True])
    return {
        "steps": steps,
        "milliseconds_per_step": round(1e3 * statistics.median(plain) / steps, 4),
        "ratio_cpu": {"median": statistics.median(ratios), "all": sorted(ratios)},
        "ratio_of_medians": statistics.median(with_it) / statistics.median(plain),
        "own_clock": statistics.median(shares),
        "looks": statistics.median(looks),
        "findings": sorted(findings),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        found = measure(name, given.seconds, given.pairs) | {"load": load()}
        keep("watch_cost", **{f"{name}, {given.seconds:g} s": found})
        print(f"{name}: {found['ratio_cpu']['median']:.4f}, of medians "
              f"{found['ratio_of_medians']:.4f} ({found['looks']} looks in "
              f"{found['steps']} steps of {found['milliseconds_per_step']} ms, own clock "
              f"{found['own_clock']:.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
