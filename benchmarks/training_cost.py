"""What training's extras cost beside a step: exchanges, checkpoints, Entropy-SGD's inner step.

    OMP_NUM_THREADS=1 python benchmarks/training_cost.py [--repeats 30]

CPU time of this process, one thread, ours and the plain step in turns; medians. Networks: the
lectures' LeNet (minibatch 128 of 32x32 images) and a perceptron of ten million weights (128 of
1,024 inputs).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from race_plain import keep
from torch import nn

from thalweg.models.lenet import LeNetD1
from thalweg.optim import EntropySGD
from thalweg.parallel import METHODS, FileCenter
from thalweg.rundir import RunDir
from thalweg.rundir.checkpoint import pack

EVERY = 300.0  # seconds between checkpoints


def networks() -> dict[str, tuple[nn.Module, torch.Tensor, int]]:
    """Model, input and the period at which its exchanges are judged."""
    wide = nn.Sequential(
        nn.Linear(1024, 2432), nn.ReLU(), nn.Linear(2432, 2432), nn.ReLU(),
        nn.Linear(2432, 640), nn.ReLU(), nn.Linear(640, 10),
    )  # fmt: skip
    return {
        "LeNet": (LeNetD1(), torch.randn(128, 1, 32, 32), 4),
        "10 M weights": (wide, torch.randn(128, 1024), 16),
    }


def paired(one: Callable[[], None], two: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Median CPU seconds of each, run in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for k in range(2 * repeats + 2):
        begun = time.process_time()
        (one, two)[k % 2]()
        if k >= 2:
            times[k % 2].append(time.process_time() - begun)
    return statistics.median(times[0]), statistics.median(times[1])


def measure(name: str, model: nn.Module, x: torch.Tensor, tau: int, repeats: int) -> dict:
    """All costs of one network."""
    y = torch.randint(10, (len(x),))
    weights = sum(p.numel() for p in model.parameters())

    def gradient() -> None:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()

    plain = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
    entropy = EntropySGD(model.parameters(), lr=1.0, lr_inner=1e-3, scope=1e-2, n_langevin=20)

    def step(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        def run() -> None:
            gradient()
            optimizer.step()

        return run

    base, ours = paired(step(plain), step(entropy), repeats)
    alone, inner = paired(plain.step, entropy.step, repeats)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "center"
        worker = METHODS.load("easgd")(plain, FileCenter(path, torch.zeros(weights), 1), tau, 0.2)
        exchange = paired(worker._meet, gradient, repeats)[0]
        with RunDir.open(Path(place) / "run", {"bench": name}) as run:

            def save() -> None:
                state = {"model": dict(model.state_dict()), "optimizer": plain.state_dict()}
                run.checkpoints.save("state", *pack(state))

            begun = time.perf_counter()
            for _ in range(5):
                save()
            checkpoint = (time.perf_counter() - begun) / 5
    found = {
        "weights": weights,
        "step ms": 1e3 * base,
        "exchange ms": 1e3 * exchange,
        "tau": tau,
        "exchange % of steps": 100 * exchange / (tau * base),
        "checkpoint ms (wall)": 1e3 * checkpoint,
        f"checkpoint % at one every {EVERY:g} s": 100 * checkpoint / EVERY,
        "Entropy-SGD / fused SGD, per gradient": ours / base,
        "optimiser alone: Entropy-SGD / fused SGD": inner / alone,
    }
    print(name)
    for key, value in found.items():
        print(f"  {key:44s} {value:.4g}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {name: measure(name, *how, asked.repeats) for name, how in networks().items()}
    keep("training_cost", **found)


if __name__ == "__main__":
    main()
