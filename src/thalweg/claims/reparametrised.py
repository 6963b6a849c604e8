"""Equal networks with different weights: their steps differ, and batch norm makes them alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.mechanics.three_networks import (
    NETWORKS,
    k_layer_polynomial,
    k_layer_update,
    three_networks,
    with_batch_norm,
)
from thalweg.records_claims import Chart


@claim(
    name="three-networks",
    title="Three equal networks take three different steps",
    decks=("D4",),
    section="conditioning#c3",
    says=(
        "One layer of weight w², two layers sharing w, and two layers each of weight w compute "
        "the same and change by factors 1, 4w² and 2w² under one gradient step."
    ),
    targets=(
        Target("largest error of the three outputs against automatic gradients", 0.0, 1e-12,
               source="[C]"),
        Target("first-order factor, shared weight, w = 0.7", 1.96, 1e-4, source="[C]"),
        Target("first-order factor, two weights, w = 0.7", 0.98, 1e-4, source="[C]"),
        Target("error of the shared update as printed, relative", 0.01, 0.0, "at least",
               source="[C]"),
        Target("largest error of the polynomial in the rate, 1 to 6 layers, relative", 0.0, 1e-12,
               source="[C]"),
    ),
    seconds=1,
    correction="The slide prints x (w² - 2εxw) for the shared weight; right is x w² (1 - 2εx)².",
)  # fmt: skip
def three_steps(setting: Setting) -> Outcome:
    """At x = 1.3 and w = 0.7; rates up to 0.3."""
    x, w, tiny = 1.3, 0.7, 1e-6
    rates = np.linspace(0, 0.3, 31)
    off = max(
        abs(three_networks(x, w, eps)[name] - _stepped(name, x, w, eps))
        for eps in rates
        for name in NETWORKS
    )
    before, after = three_networks(x, w, 0.0), three_networks(x, w, tiny)
    first = {n: (after[n] - before[n]) / (-tiny * x * x) for n in NETWORKS}
    printed = x * (w * w - 2 * 0.1 * x * w)
    right = three_networks(x, w, 0.1)[NETWORKS[1]]
    rng = np.random.default_rng(setting.seed)
    apart = 0.0
    for k in range(1, 7):
        weights = rng.uniform(0.5, 1.5, k).tolist()
        value = sum(c * 0.05**i for i, c in enumerate(k_layer_polynomial(x, weights)))
        apart = max(apart, abs(value / k_layer_update(x, weights, 0.05) - 1))
    return Outcome(
        {
            "largest error of the three outputs against automatic gradients": off,
            "first-order factor, shared weight, w = 0.7": first[NETWORKS[1]],
            "first-order factor, two weights, w = 0.7": first[NETWORKS[2]],
            "error of the shared update as printed, relative": abs(printed / right - 1),
            "largest error of the polynomial in the rate, 1 to 6 layers, relative": apart,
        },
        charts=(
            Chart(
                "Output after one step, w = 0.7, x = 1.3",
                "rate",
                "output",
                (
                    *(curve(n, rates, [three_networks(x, w, e)[n] for e in rates])
                      for n in NETWORKS),
                    curve("shared, as printed", rates, x * (w * w - 2 * rates * x * w)),
                ),
            ),
        ),
    )  # fmt: skip


def _stepped(name: str, x: float, w: float, eps: float) -> float:
    """The same step by automatic differentiation."""
    start = {NETWORKS[0]: [w * w], NETWORKS[1]: [w], NETWORKS[2]: [w, w]}[name]
    weights = torch.tensor(start, dtype=torch.float64, requires_grad=True)

    def output(v: Tensor) -> Tensor:
        return x * (v[0] * v[0] if name == NETWORKS[1] else v.prod())

    (g,) = torch.autograd.grad(output(weights), weights)
    return float(output(weights.detach() - eps * g))


@claim(
    name="three-networks-normalised",
    title="Batch norm makes the three networks one",
    decks=("D4",),
    section="conditioning#c3",
    says=(
        "Behind batch norm the three networks give the same output, their weights get no gradient, "
        "and they take the same step."
    ),
    targets=(
        Target("largest difference of the three after a step", 0.0, 1e-10, source="[C]"),
        Target("largest gradient of a linear weight", 0.0, 1e-8, source="[C]"),
        Target("response less sign(w)(x - mean)/deviation", 0.0, 1e-10, source="[C]"),
        Target("response less the form as printed, negative weight", 0.1, 0.0, "at least",
               source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide has (x - μ)/σ; right is that times the sign of the total weight, with nothing "
        "added to the variance."
    ),
)  # fmt: skip
def three_networks_normalised(setting: Setting) -> Outcome:
    """Fifty inputs; a positive weight 0.7 for the three, a negative -1.3 for the sign."""
    generator = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(50, generator=generator, dtype=torch.float64) + 2
    w = 0.7
    steps = [
        with_batch_norm(x, weights, 0.1, gamma=1.2, beta=0.3, eps=1e-12)
        for weights in ([w * w], [w, w], [w, w])
    ]
    negative = with_batch_norm(x, [-1.3], 0.1)
    white = (x - x.mean()) / x.var(correction=0).sqrt()
    return Outcome(
        {
            "largest difference of the three after a step": max(
                float((step.updated - steps[0].updated).abs().max()) for step in steps
            ),
            "largest gradient of a linear weight": max(
                float(step.weight_jacobian.abs().max()) for step in steps
            ),
            "response less sign(w)(x - mean)/deviation": float(
                (negative.response + white).abs().max()
            ),
            "response less the form as printed, negative weight": float(
                (negative.response - white).abs().max()
            ),
        },
        charts=(
            Chart(
                "Normalised response",
                "input",
                "response",
                (
                    curve("weight 0.7", x.tolist(), steps[0].response.tolist(), "points"),
                    curve("weight -1.3", x.tolist(), negative.response.tolist(), "points"),
                ),
            ),
        ),
    )
