"""Monitors and saddles: what a gradient says about a step, and how descent leaves a saddle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.curvature.critical import classify
from thalweg.curvature.monitors import ConditioningMonitor, GradientNormMonitor
from thalweg.curvature.newton import newton_step
from thalweg.curvature.surface import of_function
from thalweg.data import synthetic
from thalweg.records_claims import Chart


@claim(
    name="ill-conditioning-monitor",
    title="When a gradient step raises the loss",
    decks=("D4",),
    section="curvature#k3",
    says=(
        "A step lowers the loss only if g'g exceeds half the rate times g'Hg: on the linear unit "
        "the ratio tends to 1.05 at a rate of 2.5 and stays below 0.63 at 1.5."
    ),
    targets=(
        Target("ratio at the end at 2.5", 1.05, 1e-3, source="[C]"),
        Target("largest ratio at 1.5", 0.63, 1e-9, "at most", source="[C]"),
        Target("steps whose rise or fall the ratio calls wrongly", 0, 0, source="[D] [C]"),
        Target("largest error of the predicted change, over the loss", 0.0, 1e-12, source="[C]"),
    ),
    seconds=1,
)
def ill_conditioning_monitor(setting: Setting) -> Outcome:
    """The exact data of the unit, 80 epochs at each of six rates, every step recorded."""
    x, y = (torch.from_numpy(a) for a in synthetic.linear_unit("exact", seed=setting.seed))
    ratios: dict[float, tuple[float, ...]] = {}
    wrong, off = 0, 0.0
    for lr in (0.5, 1.19, 1.5, 2.283, 2.37, 2.5):
        w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        monitor = ConditioningMonitor(every=1)
        losses = []
        for step in range(80):
            loss = 0.5 * (y - x @ w).square().mean()
            monitor.record(step, loss, [w], lr)
            (g,) = torch.autograd.grad(loss, w)
            losses.append(float(loss.detach()))
            w = (w.detach() - lr * g).requires_grad_()
        record = monitor.result
        actual = np.diff(losses)
        predicted = np.array(record.predicted[:-1])
        ratios[lr] = record.ratio
        off = max(off, float(np.max(np.abs(predicted - actual) / np.array(losses[:-1]))))
        clear = np.abs(actual) > 1e-13  # below, rounding decides
        wrong += int(np.sum(((actual > 0) != (np.array(record.ratio[:-1]) > 1))[clear]))
    return Outcome(
        {
            "ratio at the end at 2.5": ratios[2.5][-1],
            "largest ratio at 1.5": max(ratios[1.5]),
            "steps whose rise or fall the ratio calls wrongly": wrong,
            "largest error of the predicted change, over the loss": off,
        },
        charts=(
            Chart(
                "Half the rate times g'Hg, over g'g",
                "epoch",
                "ratio",
                tuple(curve(f"rate {lr:g}", range(80), r) for lr, r in ratios.items()),
                caption="Above 1 the step raises the loss.",
            ),
        ),
    )


@claim(
    name="gradient-norm-rises",
    title="The gradient can grow while the error falls",
    decks=("D4",),
    section="curvature#k4",
    says=(
        "In the training of a convolutional network the gradient norm rises while the error "
        "falls, so training is not stuck at a critical point."
    ),
    targets=(
        Target("gradient norm late over early, 30 % of labels drawn", 1.0, 0.0, "at least",
               source="[D]"),
        Target("held-out error late over early, 30 % of labels drawn", 1.0, 0.0, "at most",
               source="[D]"),
        Target("gradient norm late over early, labels that can be fitted", relation="reported"),
    ),
    seconds=5,
    correction=(
        "The slide's rule says that a norm that does not shrink rules out global minima; right is "
        "local minima and other critical points."
    ),
)  # fmt: skip
def gradient_norm_rises(setting: Setting) -> Outcome:
    """The small LeNet at 14x14 on the digits, SGD at 0.02 in minibatches of 32."""
    norms, errors = {}, {}
    for name, share in (("30 % of labels drawn", 0.3), ("labels as they are", 0.0)):
        norms[name], errors[name] = _watched(share, setting.seed)

    def rise(values: np.ndarray) -> float:
        tenth = len(values) // 10
        return float(values[-tenth:].mean() / values[:tenth].mean())

    drawn = errors["30 % of labels drawn"]
    return Outcome(
        {
            "gradient norm late over early, 30 % of labels drawn": rise(
                norms["30 % of labels drawn"]
            ),
            "held-out error late over early, 30 % of labels drawn": drawn[-1] / drawn[0],
            "gradient norm late over early, labels that can be fitted": rise(
                norms["labels as they are"]
            ),
        },
        charts=(
            Chart(
                "Norm of the minibatch gradient, mean over 20 steps",
                "step",
                "norm",
                tuple(
                    curve(n, np.arange(len(v) // 20) * 20 + 10,
                          v[: len(v) // 20 * 20].reshape(-1, 20).mean(1))
                    for n, v in norms.items()
                ),
            ),
            Chart(
                "Held-out error",
                "epoch",
                "error",
                tuple(curve(n, range(1, len(e) + 1), e, "both") for n, e in errors.items()),
            ),
        ),
        notes=(
            "The rise lasts only on data that the network does not fit: on the digits as they are "
            "the norm peaks early and falls again.",
        ),
        reduced="digits of 14x14 and a network of 3,032 weights, in place of object detection",
    )  # fmt: skip


def _watched(share: float, seed: int) -> tuple[np.ndarray, list[float]]:
    """Gradient norm of each step and held-out error of each epoch, ``share`` of labels drawn."""
    from thalweg.task import load_task
    from thalweg.training import train

    task = load_task("small-lenet-14")
    x, y = task.train
    generator, y = torch.Generator().manual_seed(seed), y.clone()
    drawn = torch.randperm(len(y), generator=generator)[: int(share * len(y))]
    y[drawn] = torch.randint(10, (len(drawn),), generator=generator)
    monitor = GradientNormMonitor(every=1)
    run = train(
        replace(task, train=(x, y)),
        "sgd",
        {"lr": 0.02},
        epochs=9,
        batch_size=32,
        seed=seed,
        hooks=[monitor],
    )
    return np.array(monitor.result.total), [1 - h for h in run.trace.held_out]


@claim(
    name="saddle-escape",
    title="How a saddle is left",
    decks=("D4",),
    section="curvature#k5",
    says=(
        "Near a saddle descent leaves by (1 + 2 lr) a step, Newton's method jumps onto the saddle, "
        "and with absolute curvatures it leaves at a rate that curvature does not change."
    ),
    targets=(
        Target("largest error of descent against (1 + 2 lr)^k, relative", 0.0, 1e-12,
               source="[C]"),
        Target("distance to the saddle after one step of Newton", 0.0, 1e-12, source="[C]"),
        Target("growth per step with absolute curvatures, curvature -2", 2.0, 1e-9, source="[C]"),
        Target("growth per step with absolute curvatures, curvature -0.0002", 2.0, 1e-9,
               source="[C]"),
        Target("kinds of known critical points told wrongly, of five", 0, 0, source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def saddle_escape(setting: Setting) -> Outcome:
    """From (0.001, 0.001) on x² - y² and on x² - 0.0001 y²; five functions at the origin."""
    start, lr = torch.full((2,), 1e-3, dtype=torch.float64), 0.05
    saddle = of_function(lambda w: w[0] ** 2 - w[1] ** 2, start)
    flat = of_function(lambda w: w[0] ** 2 - 1e-4 * w[1] ** 2, start)
    w, heights = start, [1e-3]
    for _ in range(60):
        w = w - lr * saddle.grad(w)
        heights.append(float(w[1]))
    k = np.arange(61)
    growth = 1e-3 * (1 + 2 * lr) ** k
    free = {name: _free(at, start) for name, at in (("-2", saddle), ("-0.0002", flat))}
    plain = _descent(flat.grad, start, lr, 60)
    return Outcome(
        {
            "largest error of descent against (1 + 2 lr)^k, relative": float(
                np.max(np.abs(heights / growth - 1))
            ),
            "distance to the saddle after one step of Newton": float(
                (start + newton_step(saddle, method="newton")).norm()
            ),
            **{
                f"growth per step with absolute curvatures, curvature {name}": path[1] / path[0]
                for name, path in free.items()
            },
            "kinds of known critical points told wrongly, of five": _wrong_kinds(),
        },
        charts=(
            Chart(
                "Distance from the saddle along its falling direction",
                "step",
                "distance",
                (
                    curve("descent, curvature -2", k, heights),
                    curve("descent, curvature -0.0002", k, plain),
                    curve("saddle-free Newton, -2", range(len(free["-2"])), free["-2"], "both"),
                    curve("saddle-free Newton, -0.0002", range(len(free["-0.0002"])),
                          free["-0.0002"], "points"),
                ),
                y_log=True,
            ),
        ),
    )  # fmt: skip


def _free(at, start: Tensor) -> list[float]:
    w, heights = start, [float(start[1])]
    for _ in range(10):
        w = w + newton_step(at, w, method="saddle-free")
        heights.append(float(w[1]))
    return heights


def _descent(gradient, w: Tensor, lr: float, steps: int) -> list[float]:
    heights = [float(w[1])]
    for _ in range(steps):
        w = w - lr * gradient(w)
        heights.append(float(w[1]))
    return heights


def _wrong_kinds() -> int:
    known = {
        "minimum": lambda w: (w * w).sum(),
        "saddle": lambda w: w[0] ** 2 - w[1] ** 2,
        "maximum": lambda w: -(w * w).sum(),
        "degenerate": lambda w: w[0] ** 4 + w[1] ** 2,
        "plateau": lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2,  # every curvature 0: no verdict
    }
    origin = torch.zeros(2, dtype=torch.float64)
    return sum(classify(of_function(f, origin)).record.kind != kind for kind, f in known.items())
