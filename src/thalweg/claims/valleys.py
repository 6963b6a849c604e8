"""What plain descent leaves of a long valley, at two rates that may both be called best."""

from __future__ import annotations

import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart

CURVATURES = (1e-3, 1e-2, 1e-1, 1.0)
STEPS = 500


@claim(
    name="long-valley",
    title="What the best fixed rate leaves of a long valley",
    decks=("D4",),
    section="momentum#m3",
    says=(
        "On curvatures 0.001, 0.01, 0.1 and 1, started at ones, 500 steps of descent at its best "
        "fixed rate leave a loss of 6.8e-2."
    ),
    targets=(
        Target("loss at the rate of best contraction, 2/(μ + L)", 6.8e-2, 5e-4, source="[C]"),
        Target("measured over the closed form Σ a (1 - lr a)^1000 / 2", 1.0, 1e-10, source="[C]"),
        Target("loss at the rate of the lowest loss, of 2000", relation="reported"),
    ),
    seconds=1,
)
def long_valley(setting: Setting) -> Outcome:
    """F = Σ a w²/2, float64; rate 2/(μ + L), and a grid of rates up to 2/L."""
    a = torch.tensor(CURVATURES, dtype=torch.float64)
    lr, w, seen = 2 / (CURVATURES[0] + CURVATURES[-1]), torch.ones_like(a), []
    for _ in range(STEPS):
        w = w - lr * a * w
        seen.append(float(0.5 * (a * w.square()).sum()))
    closed = float(0.5 * (a * (1 - lr * a) ** (2 * STEPS)).sum())
    rates = torch.linspace(0.01, 2.0, 2000, dtype=torch.float64)[:, None]
    ends = 0.5 * (a * (1 - rates * a) ** (2 * STEPS)).sum(1)
    return Outcome(
        {
            "loss at the rate of best contraction, 2/(μ + L)": seen[-1],
            "measured over the closed form Σ a (1 - lr a)^1000 / 2": seen[-1] / closed,
            "loss at the rate of the lowest loss, of 2000": float(ends.min()),
        },
        (
            Chart(
                "Descent in the valley",
                "step",
                "loss",
                (curve("rate 2/(μ + L)", range(1, STEPS + 1), seen),),
                y_log=True,
            ),
        ),
        notes=(
            "The best contraction balances the flattest and the sharpest direction; this loss "
            "weighs the sharp one a thousand times more, so that a slightly smaller rate leaves a "
            "thousandth.",
        ),
    )
