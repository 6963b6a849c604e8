"""What does thalweg.watch cost a plain training loop? CPU time with it over CPU time without.

    OMP_NUM_THREADS=1 python benchmarks/watch_cost.py [--seconds 20] [--only LeNet] [--control]

Two trainings from equal starts, one with a watch, go on in turn, in short blocks, each for so many
seconds: whatever else slows the machine down slows both. CPU seconds of this process, one thread.
The watch's clock stands still while the other side trains. Its cost includes making it, the first
look, every loss handed over, and closing it. The interval is a bootstrap over pairs of blocks
(95 %). With --control the second training has no watch either: what the method itself says of no
difference.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time

import torch
import torch.nn.functional as F
from race_plain import keep, load
from torch import nn

import thalweg as tw
from thalweg.models.lenet import LeNetD1
from thalweg.watching import clock, probe, sight, watcher


def digits(size: int):
    """Inputs, classes: the digits at a size, flat where it is 8."""
    task = tw.load_task("digits" if size == 32 else "digits-mlp")
    return task.train


def linear():
    """A 64-10 linear classifier, SGD, batches of 8: as short as steps get."""
    x, y = digits(8)
    model = nn.Linear(64, 10)
    return model, torch.optim.SGD(model.parameters(), lr=0.01), x, y


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


MODELS = {"linear 64-10": linear, "MLP 64-64-10": mlp, "LeNet": lenet, "MLP 10.5 M": large}


class Side:
    """One training that goes on block by block, with a watch or without."""

    def __init__(self, name: str, watched: bool) -> None:
        torch.manual_seed(0)
        self.model, self.optimizer, self.x, self.y = MODELS[name]()
        batches = torch.randperm(len(self.x)).split(8 if name == "linear 64-10" else 64)
        self.batches = itertools.cycle(batches[:-1])
        self.cpu, self.steps, self.watch = 0.0, 0, None
        if watched:
            begun = time.process_time()
            self.watch = tw.watch(self.model, self.optimizer)
            self.cpu += time.process_time() - begun

    def block(self, steps: int) -> float:
        """CPU seconds of some steps."""
        w, x, y, model, optimizer = self.watch, self.x, self.y, self.model, self.optimizer
        begun = time.process_time()
        for chosen in itertools.islice(self.batches, steps):
            optimizer.zero_grad()
            value = F.cross_entropy(model(x[chosen]), y[chosen])
            if w is not None:
                w.loss(value)
            value.backward()
            optimizer.step()
        spent = time.process_time() - begun
        self.cpu += spent
        self.steps += steps
        return spent

    def close(self) -> float:
        """The watch's end is part of its cost."""
        begun = time.process_time()
        if self.watch is not None:
            self.watch.close()
        return time.process_time() - begun


class Stopped:
    """A clock that stands still while the watched side does not train."""

    def __init__(self) -> None:
        self.away, self.left = 0.0, time.perf_counter()
        for module in (clock, probe, sight, watcher):
            module.now = self.now  # pyrefly: ignore

    def now(self) -> float:
        """Seconds of the watched side."""
        return time.perf_counter() - self.away


def ratio(above: list[float], below: list[float]) -> tuple[float, list[float]]:
    """Ratio of two sums and its bootstrap interval."""
    draw = random.Random(0)
    found = []
    for _ in range(1000):
        pairs = draw.choices(range(len(above)), k=len(above))
        found.append(sum(above[i] for i in pairs) / sum(below[i] for i in pairs))
    found.sort()
    return sum(above) / sum(below), [found[25], found[974]]


def measure(name: str, seconds: float, block: float, watched: bool) -> dict:
    """Two sides for about ``seconds`` each, in turn, in short blocks."""
    warm = Side(name, False)
    warm.block(20)
    steps = max(1, round(block * 10 / warm.block(10)))
    stopped = Stopped()
    plain, other = Side(name, False), Side(name, watched)
    without, with_it = [], [other.cpu]  # making the watch goes with the first block
    stopped.left = time.perf_counter()
    begun, own = time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < 2 * seconds:
        if len(without) % 2:
            without.append(plain.block(steps))
        stopped.away += time.perf_counter() - stopped.left
        with_it.append(other.block(steps))
        stopped.left = time.perf_counter()
        if len(without) < len(with_it) - 1:
            without.append(plain.block(steps))
    cpu = (time.process_time() - own) / (time.perf_counter() - begun)
    with_it[1] += with_it.pop(0)
    with_it[-1] += other.close()
    whole, interval = ratio(with_it, without)
    early = max(1, round(len(without) * 2 / seconds))
    found = {
        "steps": plain.steps,
        "share_of_a_core": round(cpu, 2),
        "milliseconds_per_step": round(1e3 * plain.cpu / plain.steps, 4),
        "ratio_cpu": whole,
        "interval": interval,
        "ratio_first_2_s": sum(with_it[:early]) / sum(without[:early]),
        "median_of_blocks": statistics.median(a / b for a, b in zip(with_it, without, strict=True)),
    }
    w = other.watch
    if w is not None:
        found |= {
            "own_clock": w.overhead,
            "milliseconds_per_look": 1e3 * w._clock.spent / w._clock.looks,
            "looks": len(w.history.looks),
            "findings": sorted(f.code for f in w.findings),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--block", type=float, default=0.03)
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    parser.add_argument("--control", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        found = measure(name, given.seconds, given.block, not given.control) | {"load": load()}
        kind = ", control" if given.control else ""
        keep("watch_cost", **{f"{name}, {given.seconds:g} s{kind}": found})
        low, high = found["interval"]
        print(
            f"{name}{kind}: {found['ratio_cpu']:.4f} [{low:.4f}, {high:.4f}], first 2 s "
            f"{found['ratio_first_2_s']:.4f} ({found['steps']} steps of "
            f"{found['milliseconds_per_step']} ms; {found.get('looks', 0)} looks, own clock "
            f"{found.get('own_clock', 0.0):.4f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
