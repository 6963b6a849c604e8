"""Faster than descent on full batches: Nesterov's method and a rate for every weight."""

from __future__ import annotations

import numpy as np
import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve, slope
from thalweg.optim.delta_bar_delta import DeltaBarDelta
from thalweg.records_claims import Chart
from thalweg.steps.rates import descend


@claim(
    name="nesterov-rate",
    title="Nesterov's method is a power faster on convex functions",
    decks=("D0", "D4"),
    section="momentum#m2",
    says="On convex functions the excess falls as 1/k² where that of plain descent falls as 1/k.",
    targets=(
        Target("steps at which a bound is broken", 0, 0, source="[P]"),
        Target("slope over that of descent, from a spike", 1.5, 0.0, "at least", source="[C]"),
        Target("slope over that of descent, from a step", 1.5, 0.0, "at least", source="[C]"),
        Target("slope of Nesterov from a spike", -3.3, relation="reported", source="[C]"),
        Target("slope of descent from a spike", -1.5, relation="reported", source="[C]"),
        Target("slope of Nesterov from a step", -1.1, relation="reported", source="[C]"),
        Target("slope of descent from a step", -0.5, relation="reported", source="[C]"),
    ),
    seconds=1,
)
def nesterov_rate(setting: Setting) -> Outcome:
    """Half the sum of squared differences of 200 neighbours; slopes over steps 20 to 300."""
    n = 200
    laplacian = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    laplacian[0, 0] = laplacian[-1, -1] = 1
    top = float(np.linalg.eigvalsh(laplacian)[-1])
    spike, step = np.zeros(n), np.zeros(n)
    spike[n // 2] = 1
    step[: n // 2] = 1
    values: dict[str, float] = {}
    curves, broken = [], 0
    k = np.arange(301)
    for name, start in (("spike", spike), ("step", step)):
        square = float(np.sum((start - start.mean()) ** 2))  # to the nearest minimum
        slow = descend(laplacian, np.zeros(n), start, 1 / top, 300)
        fast = _accelerated(laplacian, start, 1 / top, 300)
        excess = {
            way: 0.5 * np.einsum("ki,ij,kj->k", path, laplacian, path)
            for way, path in (("descent", slow), ("Nesterov", fast))
        }
        bounds = {
            "descent": top * square / (2 * np.maximum(k, 1)),
            "Nesterov": 2 * top * square / (k + 1) ** 2,
        }
        for way, e in excess.items():
            broken += int(np.sum(e[1:] > bounds[way][1:] * (1 + 1e-12)))
            values[f"slope of {way} from a {name}"] = slope(k[20:], e[20:])
            curves.append(curve(f"{way}, {name}", k[1:], e[1:]))
        values[f"slope over that of descent, from a {name}"] = (
            values[f"slope of Nesterov from a {name}"] / values[f"slope of descent from a {name}"]
        )
    return Outcome(
        {"steps at which a bound is broken": broken, **values},
        charts=(
            Chart(
                "Excess over the minimum",
                "step k",
                "excess",
                tuple(curves),
                x_log=True,
                y_log=True,
            ),
        ),
    )


def _accelerated(a: np.ndarray, start: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """Nesterov 1983: t' = (1 + √(1 + 4t²))/2, momentum (t - 1)/t'."""
    w, y, t, path = start, start, 1.0, [start]
    for _ in range(steps):
        new = y - lr * (a @ y)
        longer = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y = new + (t - 1) / longer * (new - w)
        w, t = new, longer
        path.append(w)
    return np.stack(path)


@claim(
    name="delta-bar-delta",
    title="A rate for every weight, learnt from signs",
    decks=("D4",),
    section="momentum#m3",
    says=(
        "Rates that grow by a constant while a gradient keeps its sign and shrink by a factor when "
        "it flips leave far less loss than the best single rate on stretched bowls."
    ),
    targets=(
        Target("loss of descent at its best rate", 6.8e-2, 5e-4, source="[C]"),
        Target("loss of delta-bar-delta", 3e-6, 1e-6, source="[C]"),
        Target("largest error of the rates after gradients + + - - +", 0.0, 1e-12, source="[C]"),
    ),
    seconds=2,
)
def delta_bar_delta(setting: Setting) -> Outcome:
    """Curvatures 1e-3, 1e-2, 1e-1 and 1, all weights from 1, 500 steps."""
    curvatures = torch.tensor([1e-3, 1e-2, 1e-1, 1.0], dtype=torch.float64)
    a = curvatures.numpy()
    best = 2 / float(a[0] + a[-1])  # the rate of best contraction, as the lectures use the word
    w = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    optimizer = DeltaBarDelta([w], lr=0.1, kappa=0.02, phi=0.1, gamma=0.7)
    losses, learnt = [float(0.5 * curvatures.sum())], []
    for _ in range(500):
        w.grad = curvatures * w.detach()
        optimizer.step()
        losses.append(float(0.5 * (curvatures * w.detach() ** 2).sum()))
        learnt.append(0.1 * _gains(optimizer, w))
    steps = np.arange(501)
    plain = [float(0.5 * np.sum(a * (1 - best * a) ** (2 * k))) for k in steps]
    return Outcome(
        {
            "loss of descent at its best rate": plain[-1],
            "loss of delta-bar-delta": losses[-1],
            "largest error of the rates after gradients + + - - +": _scripted(),
        },
        charts=(
            Chart(
                "Loss on curvatures from 0.001 to 1",
                "step",
                "loss",
                (
                    curve(f"descent at {best:.3g}", steps, plain),
                    curve("delta-bar-delta", steps, losses),
                ),
                y_log=True,
            ),
            Chart(
                "Rates learnt",
                "step",
                "rate",
                tuple(
                    curve(f"curvature {c:g}", steps[1:], [float(r[i]) for r in learnt])
                    for i, c in enumerate(a)
                ),
                y_log=True,
            ),
        ),
        notes=(
            "The best rate is the one of best contraction, 2/(μ + L). A slightly smaller one "
            "leaves a thousandth of that loss (see long-valley); delta-bar-delta is ahead of both.",
        ),
    )


def _gains(optimizer: DeltaBarDelta, w: torch.Tensor) -> torch.Tensor:
    """Each weight's rate over ``lr``."""
    return optimizer.state[w]["gain"].detach().clone().reshape(-1)


def _scripted() -> float:
    """Rates by hand: 0.1, + 0.02, then three times less a tenth (the trace turns round late)."""
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = DeltaBarDelta([w], lr=0.1, kappa=0.02, phi=0.1, gamma=0.7)
    off = 0.0
    wanted = (0.1, 0.12, 0.12 * 0.9, 0.12 * 0.9**2, 0.12 * 0.9**3)
    for sign, rate in zip((1.0, 1.0, -1.0, -1.0, 1.0), wanted, strict=True):
        w.grad = torch.full_like(w, sign)
        optimizer.step()
        off = max(off, abs(0.1 * float(_gains(optimizer, w)[0]) - rate))
    return off


@claim(
    name="nesterov-under-noise",
    title="Nesterov's gain does not survive noise",
    decks=("D4",),
    section="momentum#m2",
    says="The rate 1/k² does not carry over to SGD: with noisy gradients acceleration ends higher.",
    targets=(
        Target("excess of Nesterov over that of descent at step 30, no noise", 1.0, 0.0, "at most",
               source="[D]"),
        Target("excess of Nesterov over that of descent at the end, with noise", 1.0, 0.0,
               "at least", source="[D]"),
    ),
    seconds=1,
)  # fmt: skip
def nesterov_under_noise(setting: Setting) -> Outcome:
    """Curvatures 0.001 to 1 in 100 dimensions, noise of deviation 0.1, 1,000 steps at rate 0.5."""
    curvatures = np.geomspace(1e-3, 1, 100)
    paths = {
        (way, noise): _noisy(curvatures, way, noise, setting.seed)
        for way in ("descent", "Nesterov")
        for noise in (0.0, 0.1)
    }
    late = {way: float(np.mean(paths[way, 0.1][-200:])) for way in ("descent", "Nesterov")}
    k = np.arange(1, 1001)
    return Outcome(
        {
            "excess of Nesterov over that of descent at step 30, no noise": paths["Nesterov", 0.0][
                29
            ]
            / paths["descent", 0.0][29],
            "excess of Nesterov over that of descent at the end, with noise": late["Nesterov"]
            / late["descent"],
        },
        charts=(
            Chart(
                "Excess over the minimum",
                "step",
                "excess",
                tuple(
                    curve(f"{way}, {'noise' if noise else 'no noise'}", k, np.maximum(p, 1e-16))
                    for (way, noise), p in paths.items()
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


def _noisy(curvatures: np.ndarray, way: str, noise: float, seed: int) -> np.ndarray:
    """Excess after each step, mean over 20 runs."""
    rng = np.random.default_rng(seed)
    w = y = np.ones((20, len(curvatures)))
    t, excess = 1.0, []
    for _ in range(1000):
        g = curvatures * y + noise * rng.standard_normal(w.shape)
        new = y - 0.5 * g
        longer = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y = new + (t - 1) / longer * (new - w) if way == "Nesterov" else new
        w, t = new, longer
        excess.append(float(np.mean(0.5 * np.sum(curvatures * w * w, axis=1))))
    return np.array(excess)


@claim(
    name="momentum-in-networks",
    title="On networks both momenta behave alike",
    decks=("D0",),
    section="momentum#m2",
    says="Heavy ball and Nesterov's momentum train a network to the same accuracy.",
    targets=(
        Target("accuracy of Nesterov less that of heavy ball", 0.0, 1.0, unit="points",
               source="[D]"),
        Target("accuracy of heavy ball", relation="reported", unit="%"),
    ),
    seconds=4,
)  # fmt: skip
def momentum_in_networks(setting: Setting) -> Outcome:
    """The perceptron on digits, rate 0.05 and momentum 0.9, eight epochs, three seeds."""
    from thalweg.task import load_task
    from thalweg.training import train

    task = load_task("digits-mlp")
    ends: dict[str, list[float]] = {}
    curves = []
    for name, method in (("heavy ball", "momentum"), ("Nesterov", "nesterov")):
        for seed in range(setting.seed, setting.seed + 3):
            values = {"lr": 0.05, "momentum": 0.9}
            run = train(task, method, values, epochs=8, batch_size=64, seed=seed)
            ends.setdefault(name, []).append(100 * run.confirmed)
            if seed == setting.seed:
                errors = [1 - h for h in run.trace.held_out]
                curves.append(curve(name, run.trace.evaluations, errors, "both"))
    mean = {name: float(np.mean(values)) for name, values in ends.items()}
    return Outcome(
        {
            "accuracy of Nesterov less that of heavy ball": mean["Nesterov"] - mean["heavy ball"],
            "accuracy of heavy ball": mean["heavy ball"],
        },
        charts=(Chart("Held-out error on digits", "gradients", "error", tuple(curves)),),
        reduced="one perceptron on digits stands for networks",
    )
