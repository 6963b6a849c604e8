"""Wide valleys: local entropy prefers them, and how Entropy-SGD trains beside SGD."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.curvature.local_entropy import local_entropy_on_grid, quadratic_local_entropy
from thalweg.optim.entropy_sgd import EntropySGD
from thalweg.records_claims import Chart, Curve


def two_wells(x: Tensor) -> Tensor:
    """A narrow deep well at -2 beside a wide shallow one at 2; points ``(b, 1)``."""
    x = x[:, 0]
    narrow = 5 * torch.exp(-((x + 2) ** 2) / (2 * 0.1**2))
    wide = 4 * torch.exp(-((x - 2) ** 2) / (2 * 0.8**2))
    return -narrow - wide + 0.05 * x**2


@claim(
    name="wide-well",
    title="Local entropy prefers the wide valley",
    decks=("D1",),
    section="flat-minima#f1",
    says=(
        "The minimum of the loss lies in a narrow deep well; the minimum of minus the local "
        "entropy lies in a wide shallow one until its scope gamma grows past 59."
    ),
    targets=(
        Target("scope at which the minimiser jumps", 59.0, 1.0, source="[C]"),
        Target("minimiser of minus the local entropy at gamma 10", 1.97, 0.05, source="[C]"),
        Target("minimiser of the loss", -2.0, 0.02, source="[D]"),
    ),
    seconds=3,
)
def wide_well(setting: Setting) -> Outcome:
    """Quadrature on an even grid; the switch by bisection."""
    x = torch.linspace(-3.5, 3.5, 1401, dtype=torch.float64)[:, None]

    def lowest(scope: float) -> float:
        return float(x[_entropy(x, scope).argmax(), 0])

    low, high = 10.0, 300.0
    for _ in range(24):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if lowest(middle) > 0 else (low, middle)
    loss = two_wells(x)
    grid = tuple(float(v) for v in x[::7, 0])

    def shown(scope: float) -> Curve:
        f = -_entropy(x, scope) - 0.5 * math.log(scope / (2 * math.pi))
        return Curve(f"scope {scope:g}", grid, tuple(float(v) for v in f[::7]))

    return Outcome(
        {
            "scope at which the minimiser jumps": low,
            "minimiser of minus the local entropy at gamma 10": lowest(10.0),
            "minimiser of the loss": float(x[loss.argmin(), 0]),
        },
        charts=(
            Chart(
                "The loss and minus its local entropy",
                "x",
                "value",
                (
                    Curve("loss", grid, tuple(float(v) for v in loss[::7])),
                    shown(1000.0),
                    shown(10.0),
                    shown(1.0),
                ),
                caption="Minus the local entropy is drawn up to the constant that makes it the "
                "loss itself as the scope grows.",
            ),
        ),
    )


def _entropy(x: Tensor, scope: float) -> Tensor:
    return local_entropy_on_grid(two_wells, x, scope, -8.0, 8.0, points=4001)


@claim(
    name="entropy-gradient",
    title="Entropy-SGD's step is the gradient of the local entropy",
    decks=("D1",),
    section="flat-minima#f2",
    says=(
        "On a quadratic the inner walk's mean gives gamma A (A + gamma I)^-1 x: sharp curvatures "
        "are capped at gamma, flat ones kept."
    ),
    targets=(
        Target("largest error of the step", 0.0, 1e-6, source="[C]"),
        Target("largest effective curvature over the scope", 1.0, 0.0, "at most", source="[C]"),
    ),
    seconds=2,
)
def entropy_gradient(setting: Setting) -> Outcome:
    """A long noiseless walk on a bowl with curvatures over five decades."""
    curvatures = torch.logspace(-2, 1.0, 7, dtype=torch.float64)
    scope, x = 0.5, torch.ones(7, dtype=torch.float64)
    w = nn.Parameter(x.clone())
    optimizer = EntropySGD(
        [w],
        lr=1.0,
        lr_inner=0.15,
        n_langevin=4000,
        scope=scope,
        noise=0.0,
        momentum=0.0,
        rescale=False,
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (curvatures * w * w).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    step = x - w.detach()
    _, wanted = quadratic_local_entropy(torch.diag(curvatures), x, scope)
    a = tuple(float(c) for c in curvatures)
    return Outcome(
        {
            "largest error of the step": float((step - wanted).abs().max()),
            "largest effective curvature over the scope": float(step.max()) / scope,
        },
        charts=(
            Chart(
                "Curvature that local entropy leaves",
                "curvature of the loss",
                "curvature of minus the local entropy",
                (
                    Curve("Entropy-SGD's step", a, tuple(float(s) for s in step), "points"),
                    Curve("scope a / (scope + a)", a, tuple(scope * c / (scope + c) for c in a)),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


@claim(
    name="entropy-sgd-parity",
    title="Entropy-SGD beside SGD at equal gradients",
    decks=("D1",),
    section="flat-minima#f2",
    says=(
        "At equal effective epochs Entropy-SGD reaches the accuracy of tuned SGD; the curvature "
        "of both ends is reported."
    ),
    targets=(
        Target("points by which Entropy-SGD is behind SGD", 0.0, 1.0, unit="points", source="[C]"),
        Target("Entropy-SGD's test accuracy", relation="reported", unit="%"),
        Target("SGD's test accuracy", relation="reported", unit="%"),
        Target("largest curvature at Entropy-SGD's end", relation="reported"),
        Target("largest curvature at SGD's end", relation="reported"),
    ),
    seconds=25,
)
def entropy_sgd_parity(setting: Setting) -> Outcome:
    """Digits, 64-64-10, 6,000 gradients each, three seeds; top Hessian eigenvalue at the end."""
    from thalweg.curvature import hessian
    from thalweg.linalg import eigenvalues
    from thalweg.task import load_task

    task = load_task("digits-mlp")
    decay = {"weight_decay": 1e-3}
    outer = {"lr": 1.0, "lr_inner": 0.1, "outer_momentum": 0.0, "scope": 0.03}
    ways = {
        "Entropy-SGD": ("entropy-sgd", decay | outer | {"outer_weight_decay": 1e-3}),
        "SGD": ("nesterov", decay | {"lr": 0.1}),
    }
    accuracy, sharpness, curves = {}, {}, []
    for name, (method, values) in ways.items():
        ends = []
        for seed in range(setting.seed, setting.seed + 3):
            setting.progress(f"{name}, seed {seed}")
            run = _trained(task, method, values, 6000, 32, seed)
            op = hessian(replace(task, model=run.model()))
            ends.append((run.confirmed, float(eigenvalues(op, k=1, tol=1e-2).values[0])))
            if seed == setting.seed:
                curves.append(_errors(name, run))
        accuracy[name], sharpness[name] = np.mean(ends, axis=0) * (100, 1)
    return Outcome(
        {
            "points by which Entropy-SGD is behind SGD": accuracy["SGD"] - accuracy["Entropy-SGD"],
            "Entropy-SGD's test accuracy": accuracy["Entropy-SGD"],
            "SGD's test accuracy": accuracy["SGD"],
            "largest curvature at Entropy-SGD's end": sharpness["Entropy-SGD"],
            "largest curvature at SGD's end": sharpness["SGD"],
        },
        charts=(_chart(curves),),
        notes=(
            "Curvature is reported, not judged: no probe of flatness is invariant to the rescaling "
            "of ReLU layers.",
        ),
    )


@claim(
    name="entropy-sgd-mnist",
    title="Entropy-SGD and SGD on MNIST",
    decks=("D1",),
    section="flat-minima#f2",
    says="LeNet with batch norm and dropout: test error 0.50 % (Entropy-SGD) and 0.51 % (SGD).",
    targets=(
        Target("Entropy-SGD's test error", 0.50, 0.15, unit="%", source="[P]"),
        Target("SGD's test error", 0.51, 0.15, unit="%", source="[P]"),
        Target("points between them", 0.01, 0.15, unit="points", source="[P]"),
    ),
    seconds=1500,
    full_seconds=15_000,
    needs=("mnist",),
)
def entropy_sgd_mnist(setting: Setting) -> Outcome:
    """The released recipe at equal gradients: 20 effective epochs here, 100 at the full size."""
    from thalweg.task import load_task

    mnist = load_task("mnist-small-lenet", data=setting.folder("mnist"))
    task = replace(mnist, name="mnist-lenet-bn", model=Lenet)
    epochs = 100 if setting.full else 20
    gradients = -(-epochs * 50_000 // (128 * 20)) * 20
    ways = {
        "Entropy-SGD": ("entropy-sgd", {"lr": 1.0, "lr_inner": 0.1, "scope": 1e-4}),
        "SGD": ("nesterov", {"lr": 0.05, "weight_decay": 5e-4}),
    }
    errors, curves = {}, []
    for name, (method, values) in ways.items():
        setting.progress(name)
        run = _trained(task, method, values, gradients, 128, setting.seed, "linear")
        errors[name] = 100 * (1 - run.confirmed)
        curves.append(_errors(name, run))
    return Outcome(
        {
            "Entropy-SGD's test error": errors["Entropy-SGD"],
            "SGD's test error": errors["SGD"],
            "points between them": abs(errors["SGD"] - errors["Entropy-SGD"]),
        },
        charts=(_chart(curves),),
        notes=("Scored on MNIST's 10,000 test images; 50,000 of the 60,000 others trained.",),
        reduced=f"{epochs} effective epochs, one seed, rates that fall linearly",
    )


class Lenet(nn.Sequential):
    """The network of the released code: two convolutions, batch norm and dropout throughout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(3), nn.BatchNorm2d(20), nn.ReLU(), nn.Dropout(),
            nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.BatchNorm2d(50), nn.ReLU(), nn.Dropout(),
            nn.Flatten(), nn.Linear(200, 500), nn.BatchNorm1d(500), nn.ReLU(), nn.Dropout(),
            nn.Linear(500, 10),
        )  # fmt: skip


def _trained(
    task: Any,
    method: str,
    values: dict[str, Any],
    gradients: int,
    batch: int,
    seed: int,
    schedule: str | None = None,
) -> Any:
    from thalweg.training import train

    schedule = schedule or ("constant" if method == "entropy-sgd" else "linear")
    how: dict[str, Any] = {"evaluations": gradients, "batch_size": batch, "schedule": schedule}
    return train(task, method, values, seed=seed, **how)


def _errors(name: str, run: Any) -> Curve:
    shown = tuple(float(e) for e in run.trace.evaluations)
    return Curve(name, shown, tuple(100 * (1 - h) for h in run.trace.held_out))


def _chart(curves: list[Curve]) -> Chart:
    title = "Held-out error at equal gradients"
    return Chart(title, "gradient evaluations", "error in %", tuple(curves), y_log=True)
