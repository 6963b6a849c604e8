"""Rates that adapt to gradients: what AdaGrad, RMSProp and Adam do in their first steps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from scipy.signal import lfilter

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart

BETAS = (0.9, 0.999)


def _steps(name: str, gradients: Iterable[float], **values: float) -> np.ndarray:
    """The steps of a torch optimiser on one weight that is shown these gradients."""
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = getattr(torch.optim, name)([w], **values)
    seen = [0.0]
    for g in gradients:
        w.grad = torch.full_like(w, float(g))
        optimizer.step()
        seen.append(float(w.detach()[0]))
    return -np.diff(seen)


@claim(
    name="adaptive-rates",
    title="Adaptive rates fall with the gradients seen",
    decks=("D0", "D3", "D4"),
    section="momentum#m4",
    says=(
        "AdaGrad's rate falls as one over the root of the sum of squares, so a feature seen in 1 % "
        "of samples keeps a rate about ten times that of one always seen; steps do not depend on "
        "the scale of the gradient."
    ),
    targets=(
        Target("rate of a feature seen in 1 % of samples over one always seen", 10.0, 1.0,
               source="[D]"),
        Target("largest error of AdaGrad's steps against lr/√k", 0.0, 1e-12, source="[C]"),
        Target("largest error of RMSProp's steps against lr/√(1 - alpha^k)", 0.0, 1e-12,
               source="[C]"),
        Target("largest change of a step when gradients grow a thousandfold", 0.0, 1e-9,
               source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def adaptive_rates(setting: Setting) -> Outcome:
    """Constant gradients of 0.3 without a floor; a feature present at random in 2,000 samples."""
    k = np.arange(1, 51)
    constant = [0.3] * 50
    ada = _steps("Adagrad", constant, lr=0.01, eps=0.0)
    rms = _steps("RMSprop", constant, lr=0.01, alpha=0.99, eps=0.0)
    rng = np.random.default_rng(setting.seed)
    shown = rng.permutation(np.arange(2000) < 20).astype(float)
    rare, often = (0.01 / np.sqrt(np.cumsum(seen**2)[-1]) for seen in (shown, np.ones(2000)))
    moved = rng.standard_normal(50)
    scaled = max(
        float(np.abs(_steps(n, moved, eps=0.0) - _steps(n, 1000 * moved, eps=0.0)).max())
        for n in ("Adagrad", "RMSprop", "Adam")
    )
    last = _steps("Adagrad", [*shown[shown > 0], 1.0], lr=0.01, eps=0.0)[-1]
    always = _steps("Adagrad", [1.0] * 2001, lr=0.01, eps=0.0)[-1]
    return Outcome(
        {
            "rate of a feature seen in 1 % of samples over one always seen": float(last / always),
            "largest error of AdaGrad's steps against lr/√k": np.abs(ada - 0.01 / np.sqrt(k)).max(),
            "largest error of RMSProp's steps against lr/√(1 - alpha^k)": np.abs(
                rms - 0.01 / np.sqrt(1 - 0.99**k)
            ).max(),
            "largest change of a step when gradients grow a thousandfold": scaled,
        },
        charts=(
            Chart(
                "Steps at a constant gradient and a rate of 0.01",
                "step k",
                "size of the step",
                (
                    curve("AdaGrad", k, ada, "points"),
                    curve("lr/√k", k, 0.01 / np.sqrt(k)),
                    curve("RMSProp", k, rms, "points"),
                    curve("lr/√(1 - alpha^k)", k, 0.01 / np.sqrt(1 - 0.99**k)),
                    curve("Adam", k, _steps("Adam", constant, lr=0.01, eps=0.0)),
                ),
                y_log=True,
            ),
        ),
        notes=(f"Without the step just taken the two rates are {rare:.2g} and {often:.2g}.",),
    )


@claim(
    name="rmsprop-floor",
    title="RMSProp's floor stands outside the root",
    decks=("D0", "D3", "D4"),
    section="momentum#m4",
    says="RMSProp divides by the root of the mean square plus epsilon.",
    targets=(
        Target("torch's first step over the form with epsilon outside", 1.0, 1e-12, source="[C]"),
        Target("the form with epsilon inside over it, gradient 1e-6", 1.1e-3, 1e-5, source="[C]"),
        Target("the form with epsilon inside over it, gradient 1", 1.0, 1e-5, source="[C]"),
    ),
    seconds=1,
    correction=(
        "One slide prints √(δ + r), two print √r + ε; right, as in torch, is the latter. For "
        "gradients far above the floor there is no difference, for tiny ones a thousandfold."
    ),
)
def rmsprop_floor(setting: Setting) -> Outcome:
    """The first step at alpha 0.99 and epsilon 1e-8."""
    sizes = np.geomspace(1e-8, 1, 33)
    root = np.sqrt(0.01) * sizes
    outside, inside = sizes / (root + 1e-8), sizes / np.sqrt(root**2 + 1e-8)
    torchs = np.array([_steps("RMSprop", [g], lr=1.0)[0] for g in sizes])
    tiny = int(np.argmin(np.abs(sizes - 1e-6)))
    ratio = torchs / outside
    return Outcome(
        {
            "torch's first step over the form with epsilon outside": ratio[
                np.argmax(np.abs(ratio - 1))
            ],
            "the form with epsilon inside over it, gradient 1e-6": inside[tiny] / outside[tiny],
            "the form with epsilon inside over it, gradient 1": inside[-1] / outside[-1],
        },
        charts=(
            Chart(
                "First step of RMSProp at a rate of 1",
                "gradient",
                "step",
                (
                    curve("torch", sizes, torchs, "points"),
                    curve("epsilon outside", sizes, outside),
                    curve("epsilon inside", sizes, inside),
                ),
                x_log=True,
                y_log=True,
            ),
        ),
    )


@claim(
    name="moving-average",
    title="The moving average starts too low",
    decks=("D3",),
    section="momentum#m5",
    says=(
        "An exponentially weighted average started at 0 has weights that sum to 1 - beta^i; "
        "dividing by that corrects it."
    ),
    targets=(
        Target("first value for a constant series of 1, beta 0.9", 0.1, 1e-12, source="[C]"),
        Target("tenth value", 1 - 0.9**10, 1e-12, source="[C]"),
        Target("largest error after division by 1 - beta^i", 0.0, 1e-12, source="[C]"),
        Target("difference from a linear filter and from the unrolled sum", 0.0, 1e-12,
               source="[C]"),
        Target("error of the sum as printed, over the series' deviation", 0.1, 0.0, "at least",
               source="[C]"),
    ),
    seconds=1,
    correction="The unrolled sum has no index on x; right is (1 - beta) Σ beta^(i-k) x_k.",
)  # fmt: skip
def moving_average(setting: Setting) -> Outcome:
    """A constant series and a noisy one of 60 numbers."""
    beta = 0.9
    noisy = np.random.default_rng(setting.seed).standard_normal(60) + 1
    seen = {name: _average(x, beta) for name, x in (("ones", np.ones(60)), ("noisy", noisy))}
    i = np.arange(1, 61)
    weights = (1 - beta) * np.tril(beta ** np.maximum(i[:, None] - i[None, :], 0).astype(float))
    filtered = lfilter([1 - beta], [1.0, -beta], noisy)
    printed = weights.sum(1) * noisy  # the sum with x in place of x_k
    return Outcome(
        {
            "first value for a constant series of 1, beta 0.9": seen["ones"][0],
            "tenth value": seen["ones"][9],
            "largest error after division by 1 - beta^i": np.abs(
                seen["ones"] / (1 - beta**i) - 1
            ).max(),
            "difference from a linear filter and from the unrolled sum": max(
                np.abs(seen["noisy"] - filtered).max(),
                np.abs(seen["noisy"] - weights @ noisy).max(),
            ),
            "error of the sum as printed, over the series' deviation": np.sqrt(
                np.mean((printed - seen["noisy"]) ** 2)
            )
            / noisy.std(),
        },
        charts=(
            Chart(
                "Average of a noisy series around 1, beta = 0.9",
                "step",
                "value",
                (
                    curve("series", i, noisy, "points"),
                    curve("average", i, seen["noisy"]),
                    curve("divided by 1 - beta^i", i, seen["noisy"] / (1 - beta**i)),
                ),
            ),
        ),
    )


def _average(x: np.ndarray, beta: float) -> np.ndarray:
    v, values = 0.0, []
    for value in x:
        v = beta * v + (1 - beta) * value
        values.append(v)
    return np.array(values)


@claim(
    name="optimizer-memory",
    title="What an optimiser keeps for every weight",
    decks=("D0",),
    section="momentum#m9",
    says=(
        "Plain SGD keeps nothing per weight, momentum, AdaGrad and RMSProp one number, AdaDelta "
        "and Adam two."
    ),
    targets=tuple(
        Target(f"numbers per weight, {name}", float(count), 0.0, source="[D]")
        for name, count in (
            ("SGD", 0),
            ("momentum", 1),
            ("AdaGrad", 1),
            ("RMSProp", 1),
            ("AdaDelta", 2),
            ("Adam", 2),
        )
    ),
    seconds=1,
)
def optimizer_memory(setting: Setting) -> Outcome:
    """The state tensors of torch's optimisers after one step on 1,000 weights."""
    made = {
        "SGD": lambda w: torch.optim.SGD([w], lr=0.1),
        "momentum": lambda w: torch.optim.SGD([w], lr=0.1, momentum=0.9),
        "AdaGrad": lambda w: torch.optim.Adagrad([w]),
        "RMSProp": lambda w: torch.optim.RMSprop([w]),
        "AdaDelta": lambda w: torch.optim.Adadelta([w]),
        "Adam": lambda w: torch.optim.Adam([w]),
    }
    kept = {}
    for name, make in made.items():
        w = torch.nn.Parameter(torch.ones(1000))
        optimizer = make(w)
        w.grad = torch.ones_like(w)
        optimizer.step()
        tensors = [v for v in optimizer.state[w].values() if isinstance(v, torch.Tensor)]
        kept[name] = sum(t.numel() for t in tensors if t.shape == w.shape) / 1000
    return Outcome(
        {f"numbers per weight, {name}": count for name, count in kept.items()},
        charts=(
            Chart(
                "Numbers kept per weight",
                ", ".join(kept),
                "numbers",
                (curve("state", range(len(kept)), kept.values(), "bars"),),
            ),
        ),
    )
