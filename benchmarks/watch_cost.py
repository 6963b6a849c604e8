"""What does thalweg.watch cost a plain training loop? CPU time with it over CPU time without.

    OMP_NUM_THREADS=1 python benchmarks/watch_cost.py [--seconds 20] [--rounds 40]

Two trainings from equal starts, one with a watch, go on in turn, block by block; CPU seconds of
this process, one thread. The watch's clock stands still while the other side trains. Its cost
includes making it, every loss handed over, and closing it; the first look, which warms up, is also
told apart.
"""

from __future__ import annotations

import argparse
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


class Side:
    """One training that goes on block by block, with a watch or without."""

    def __init__(self, build, watched: bool, batch: int = 64) -> None:
        torch.manual_seed(0)
        self.model, self.optimizer, self.x, self.y = build()
        self.batches = torch.randperm(len(self.x)).split(batch)
        self.at, self.cpu, self.steps = 0, 0.0, 0
        begun = time.process_time()
        self.watch = tw.watch(self.model, self.optimizer) if watched else None
        self.cpu += time.process_time() - begun
        self.left = time.perf_counter()

    def block(self, steps: int) -> float:
        """CPU seconds of some steps."""
        w = self.watch
        if w is not None:  # its clock stands still while the other side trains
            away = time.perf_counter() - self.left
            for name in ("due", "last", "begun"):
                setattr(w._clock, name, getattr(w._clock, name) + away)
        begun = time.process_time()
        for _ in range(steps):
            chosen = self.batches[self.at]
            self.at = (self.at + 1) % len(self.batches)
            self.optimizer.zero_grad()
            value = F.cross_entropy(self.model(self.x[chosen]), self.y[chosen])
            if w is not None:
                w.loss(value)
            value.backward()
            self.optimizer.step()
        spent = time.process_time() - begun
        self.left = time.perf_counter()
        self.cpu += spent
        self.steps += steps
        return spent

    def close(self) -> None:
        """The watch's end is part of its cost."""
        if self.watch is not None:
            begun = time.process_time()
            self.watch.close()
            self.cpu += time.process_time() - begun


def measure(name: str, seconds: float, rounds: int) -> dict:
    """Both sides for about ``seconds`` each, in turn, in ``rounds`` blocks."""
    build = MODELS[name]
    trial = Side(build, True)
    trial.block(5)
    steps = max(1, int(seconds * 10 / trial.block(10) / rounds))
    trial.close()
    sides = {watched: Side(build, watched) for watched in (False, True)}
    for side in sides.values():
        side.block(5)
    whole = [side.cpu for side in sides.values()]  # making and the first look are told apart
    ratios = []
    for turn in range(rounds):
        order = (False, True) if turn % 2 else (True, False)
        cost = {watched: sides[watched].block(steps) for watched in order}
        ratios.append(cost[True] / cost[False])
    for side in sides.values():
        side.close()
    plain, watched = sides[False], sides[True]
    w = watched.watch
    return {
        "steps": watched.steps,
        "milliseconds_per_step": round(1e3 * plain.cpu / plain.steps, 4),
        "ratio_cpu": watched.cpu / plain.cpu,
        "ratio_after_the_first_look": (watched.cpu - whole[1]) / (plain.cpu - whole[0]),
        "ratio_of_blocks": {"median": statistics.median(ratios), "all": sorted(ratios)},
        "first_look_seconds": whole[1] - whole[0],
        "own_clock": w.overhead,
        "looks": len(w.history.looks),
        "findings": sorted(f.code for f in w.findings),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        found = measure(name, given.seconds, given.rounds) | {"load": load()}
        keep("watch_cost", **{f"{name}, {given.seconds:g} s": found})
        print(
            f"{name}: {found['ratio_cpu']:.4f} in all, {found['ratio_after_the_first_look']:.4f} "
            f"after the first look, median block {found['ratio_of_blocks']['median']:.4f} "
            f"({found['looks']} looks in {found['steps']} steps of "
            f"{found['milliseconds_per_step']} ms, own clock {found['own_clock']:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
