"""Where adaptive rates lead astray: the data of Wilson et al., the losses of Reddi et al."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart

SAMPLES, SHARE = 60, 0.75
SOLVED = 1e-5  # training loss at which a method counts as done
METHODS = ("SGD", "momentum", "AdaGrad", "RMSProp", "Adam")


class Wilson(NamedTuple):
    """Training and test data ``(n, 3 + 5 · samples)`` with labels ±1."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def wilson_data(n: int, share: float, tests: int, seed: int) -> Wilson:
    """Labels +1 with probability ``share``; a label feature, two ones, and blocks of one's own.

    Sample i owns five features: the first is 1 where y = +1, all five where y = -1. Test samples
    own fresh blocks, none of which was trained.

    Args:
        n: Training samples.
        share: Probability of +1.
        tests: Test samples.
        seed: Of the labels.

    References:
        Wilson et al., "The marginal value of adaptive gradient methods in machine learning", 2017.
    """
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n + tests) < share, 1.0, -1.0)
    x = np.zeros((n + tests, 3 + 5 * (n + tests)))
    x[:, 0], x[:, 1:3] = y, 1.0
    for i, label in enumerate(y):
        own = 3 + 5 * i
        x[i, own : own + (1 if label > 0 else 5)] = 1.0
    data, labels = torch.from_numpy(x), torch.from_numpy(y)
    seen = 3 + 5 * n  # no training sample has the test samples' features: their weights stay 0
    return Wilson(data[:n, :seen], labels[:n], data[n:, :seen], labels[n:])


@claim(
    name="adaptive-generalisation",
    title="Adaptive methods can generalise worse",
    decks=("D0", "D3"),
    section="momentum#m7",
    says=(
        "There are data on which SGD finds the solution that generalises and AdaGrad, RMSProp and "
        "Adam call every new sample positive, all at a training loss of 0."
    ),
    targets=(
        Target("test error of SGD", 0.0, 0.0, source="[C]"),
        Target("test error of momentum", 0.0, 0.0, source="[C]"),
        Target("test error of AdaGrad less the share of negatives", 0.0, 0.005, source="[C]"),
        Target("test error of RMSProp less the share of negatives", 0.0, 0.005, source="[C]"),
        Target("test error of Adam less the share of negatives", 0.0, 0.005, source="[C]"),
        Target("largest of AdaGrad's first three weights less 0.25", 0.0, 0.01, source="[C]"),
        Target("SGD less the solution of least norm", 0.0, 1e-8, source="[C]"),
        Target("X sign(X'y) less 4y", 0.0, 0.0, source="[C]"),
    ),
    seconds=3,
)
def adaptive_generalisation(setting: Setting) -> Outcome:
    """Sixty samples, three quarters positive; full batches, each method's best of seven rates."""
    data = wilson_data(SAMPLES, SHARE, 1000, setting.seed)
    negatives = float((data.y_test < 0).double().mean())
    found = {name: _best(name, data) for name in METHODS}
    least = torch.linalg.lstsq(data.x, data.y[:, None], driver="gelsd").solution[:, 0]
    end = _run("SGD", 0.5, data, 40_000, 1e-22)
    assert end is not None  # 0.5 is below the limit 2/λ of these data
    error = {name: _error(w, data) for name, w in found.items()}
    four = data.x @ torch.sign(data.x.mT @ data.y)
    return Outcome(
        {
            "test error of SGD": error["SGD"],
            "test error of momentum": error["momentum"],
            **{
                f"test error of {name} less the share of negatives": error[name] - negatives
                for name in ("AdaGrad", "RMSProp", "Adam")
            },
            "largest of AdaGrad's first three weights less 0.25": float(
                (found["AdaGrad"][:3] - 0.25).abs().max()
            ),
            "SGD less the solution of least norm": float((end - least).abs().max()),
            "X sign(X'y) less 4y": float((four - 4 * data.y).abs().max()),
        },
        charts=(
            Chart(
                "Test error at a training loss below 1e-5",
                ", ".join(METHODS),
                "test error",
                (
                    curve("test error", range(len(METHODS)), error.values(), "bars"),
                    curve("share of negatives", (0, len(METHODS) - 1), (negatives, negatives)),
                ),
            ),
            Chart(
                "Weights of the first eight features",
                "feature",
                "weight",
                tuple(curve(n, range(1, 9), w[:8].tolist(), "both") for n, w in found.items()),
            ),
        ),
    )


def _optimizer(name: str, w: Tensor, lr: float) -> torch.optim.Optimizer:
    if name == "AdaGrad":
        return torch.optim.Adagrad([w], lr=lr)
    if name == "RMSProp":
        return torch.optim.RMSprop([w], lr=lr)
    if name == "Adam":
        return torch.optim.Adam([w], lr=lr)
    return torch.optim.SGD([w], lr=lr, momentum=0.9 if name == "momentum" else 0.0)


def _run(name: str, lr: float, data: Wilson, steps: int, target: float) -> Tensor | None:
    """Weights when the loss first reaches ``target``; None where it never does."""
    w = torch.nn.Parameter(torch.zeros(data.x.shape[1], dtype=torch.float64))
    optimizer = _optimizer(name, w, lr)
    for _ in range(steps):
        gap = data.x @ w.detach() - data.y
        loss = 0.5 * float(gap.square().mean())
        if loss < target:
            return w.detach()
        if not loss < 1e3:
            return None
        w.grad = data.x.mT @ gap / len(gap)
        optimizer.step()
    return None


def _best(name: str, data: Wilson) -> Tensor:
    """The weights of lowest test error over rates that solve the training problem."""
    middle = {"SGD": 0.1, "momentum": 0.03, "AdaGrad": 0.01, "RMSProp": 1e-3, "Adam": 1e-3}[name]
    ends = [_run(name, middle * 10 ** (k / 2), data, 2000, SOLVED) for k in range(-3, 4)]
    solved = [w for w in ends if w is not None]
    if not solved:
        raise ValueError(f"{name} solved the training problem at none of its rates")
    return min(solved, key=lambda w: _error(w, data))


def _error(w: Tensor, data: Wilson) -> float:
    return float((torch.sign(data.x_test @ w) != data.y_test).double().mean())


@claim(
    name="adam-diverges",
    title="Adam need not converge",
    decks=("D0",),
    section="momentum#m8",
    says=(
        "On losses that are C x every third time and -x otherwise Adam walks to +1, the worst "
        "point of [-1, 1]; AMSGrad, which never forgets a large gradient, ends at -1."
    ),
    targets=(
        Target("where Adam ends", 1.0, 0.05, source="[P] [C]"),
        Target("where AMSGrad ends", -0.99, 0.04, source="[P] [C]"),
        Target("average slope of the losses", 1 / 3, 1e-12, source="[P]"),
    ),
    seconds=1,
)
def adam_diverges(setting: Setting) -> Outcome:
    """C = 3, beta1 0, beta2 1/(1 + C²), rate 0.5/√t, 3,000 steps from 0 with projection."""
    paths = {name: _online(amsgrad) for name, amsgrad in (("Adam", False), ("AMSGrad", True))}
    slopes = [3.0 if t % 3 == 1 else -1.0 for t in range(1, 3001)]
    return Outcome(
        {
            "where Adam ends": paths["Adam"][-1],
            "where AMSGrad ends": paths["AMSGrad"][-1],
            "average slope of the losses": float(np.mean(slopes)),
        },
        charts=(
            Chart(
                "Where the weight is",
                "step",
                "x",
                tuple(curve(name, range(3001), path) for name, path in paths.items()),
                caption="The average loss falls towards x = -1.",
            ),
        ),
    )


def _online(amsgrad: bool, c: float = 3.0, steps: int = 3000) -> list[float]:
    x = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([x], lr=0.5, betas=(0.0, 1 / (1 + c * c)), amsgrad=amsgrad)
    path = [0.0]
    for t in range(1, steps + 1):
        x.grad = torch.full_like(x, c if t % 3 == 1 else -1.0)
        optimizer.param_groups[0]["lr"] = 0.5 / t**0.5
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
        path.append(float(x.detach()))
    return path
