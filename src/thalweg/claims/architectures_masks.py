"""Networks thinned at random: dropout as an average, its two readings, stochastic depth."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from thalweg.claims.architectures import normal
from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.models.dropout import WeightScaledDropout
from thalweg.models.stochastic_depth import linear_decay
from thalweg.records_claims import Chart, Curve

UNITS = 10


@claim(
    name="dropout-average",
    title="Scaled weights average all thinned networks",
    decks=("D1",),
    section="architectures#a9",
    says=(
        "Multiplying weights by p at test time averages exponentially many thinned networks: "
        "exactly for a linear layer, and as a geometric mean for the softmax."
    ),
    targets=(
        Target("linear layer against all 1,024 masks", 0.0, 1e-12, source="[C]"),
        Target("softmax against the geometric mean of 1,024", 0.0, 1e-12, source="[C]"),
        Target("mean of 100,000 drawn masks: off by, in standard errors", 4.5, 0, "at most"),
    ),
    seconds=2,
)
def dropout_average(setting: Setting) -> Outcome:
    """Ten inputs, keep probability 0.7 (linear) and 0.5 (softmax), float64."""
    x, w, b = normal(setting.seed, UNITS), normal(setting.seed + 1, UNITS, 3), normal(2, 3)
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=UNITS)), dtype=torch.float64)
    keep = 0.7
    share = (keep**masks * (1 - keep) ** (1 - masks)).prod(1)
    average = (share[:, None] * ((masks * x) @ w)).sum(0)
    scaled = WeightScaledDropout(keep).eval()(x) @ w
    logs = ((masks * x) @ w + b).log_softmax(1).mean(0)
    soft = (WeightScaledDropout(0.5).eval()(x) @ w + b).softmax(0)
    drawn = _drawn(x, w, keep, setting.seed)
    counts = (10, 100, 1_000, 10_000, 100_000)
    errors = tuple(_largest(drawn[:n].mean(0) - scaled) for n in counts)
    return Outcome(
        {
            "linear layer against all 1,024 masks": _largest(scaled - average),
            "softmax against the geometric mean of 1,024": _largest(soft - logs.softmax(0)),
            "mean of 100,000 drawn masks: off by, in standard errors": _largest(
                (drawn.mean(0) - scaled) / (drawn.std(0) / len(drawn) ** 0.5)
            ),
        },
        charts=(
            Chart(
                "Drawn masks near the scaled weights",
                "masks",
                "largest difference",
                (Curve("mean over masks", tuple(float(c) for c in counts), errors, "both"),),
                x_log=True,
                y_log=True,
            ),
        ),
    )


def _drawn(x: Tensor, w: Tensor, keep: float, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    masks = torch.rand(100_000, UNITS, generator=g, dtype=torch.float64) < keep
    return (masks * x) @ w


@claim(
    name="dropout-p",
    title="Dropout's p: kept or dropped",
    decks=("D1",),
    section="architectures#a9",
    says="At test time weights are multiplied by the probability that a unit was kept.",
    targets=(
        Target("test output over the mean in training, p = keep 0.8", 1.0, 1e-12, source="[C]"),
        Target("the same where p = 0.8 is read as drop", 4.0, 1e-12, source="[C]"),
        Target("the same at p = 0.5, either way", 1.0, 1e-12, source="[C]"),
    ),
    correction=(
        "p is the keep probability on one slide and the drop probability on the LeNet slide, where "
        "0.5 hides it. Multiplying by p is right for keep; read as drop it is off by p/(1-p)."
    ),
    seconds=1,
)
def dropout_p(setting: Setting) -> Outcome:
    """Exact means over all masks of ten units."""
    x, w = normal(setting.seed, UNITS), normal(setting.seed + 1, UNITS)
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=UNITS)), dtype=torch.float64)

    def ratio(p: float, keep: float) -> float:
        share = (keep**masks * (1 - keep) ** (1 - masks)).prod(1)
        trained = (share * ((masks * x) @ w)).sum()
        return float(p * (x @ w) / trained)

    return Outcome(
        {
            "test output over the mean in training, p = keep 0.8": ratio(0.8, 0.8),
            "the same where p = 0.8 is read as drop": ratio(0.8, 0.2),
            "the same at p = 0.5, either way": ratio(0.5, 0.5),
        }
    )


@claim(
    name="stochastic-depth",
    title="A network of 54 blocks is 40.25 blocks deep",
    decks=("D1",),
    section="architectures#a10",
    says="With survival falling linearly to a half, (3L-1)/4 of L blocks take part on average.",
    targets=(
        Target("expected depth, L = 54", 40.25, 1e-9, source="[C]"),
        Target("mean depth of 100,000 drawn networks", 40.25, 0.05, source="[C]"),
    ),
    seconds=1,
)
def stochastic_depth(setting: Setting) -> Outcome:
    """The sum of survival probabilities, and draws."""
    p = torch.tensor(linear_decay(54), dtype=torch.float64)
    g = torch.Generator().manual_seed(setting.seed)
    depths = (torch.rand(100_000, 54, generator=g, dtype=torch.float64) < p).sum(1)
    counts = torch.bincount(depths, minlength=55).double() / len(depths)
    xs = tuple(float(d) for d in range(25, 55))
    return Outcome(
        {
            "expected depth, L = 54": float(p.sum()),
            "mean depth of 100,000 drawn networks": float(depths.double().mean()),
        },
        charts=(
            Chart(
                "Blocks that take part in one step",
                "blocks of 54",
                "share of steps",
                (Curve("drawn", xs, tuple(counts[25:].tolist()), "bars"),),
            ),
        ),
    )


def _largest(t: Tensor) -> float:
    return float(t.abs().max())
