"""Deep networks: gradients that vanish, and the slopes that make them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart

WIDTH, DEPTHS = 64, (2, 5, 10, 15, 20, 30, 40, 50)
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "ReLU": torch.relu}


@claim(
    name="vanishing-gradients",
    title="Gradients vanish exponentially with depth",
    decks=("D1", "D4"),
    section="curvature#k10",
    says=(
        "The gradient at the first layer falls exponentially with depth, for sigmoids by a factor "
        "of at least 4 a layer; connections that skip layers or batch normalisation remove this."
    ),
    targets=(
        Target("factor lost per layer, sigmoid", 4.0, 0.0, "at least", source="[C]"),
        Target("share of the log-norm that a line in depth explains, sigmoid", 0.99, 0.0,
               "at least", source="[C]"),
        Target("log-slope with skips over that without, sigmoid", 0.0, 0.2, source="[C]"),
        Target("log-slope with batch norm over that without, sigmoid", 0.0, 0.2, source="[C]"),
        Target("error of a chain of scalars at 0 against (w/4)^depth, relative", 0.0, 1e-12,
               source="[C]"),
        Target("change of the norm through 50 orthogonal layers, relative", 0.0, 1e-12,
               source="[C]"),
    ),
    seconds=2,
)  # fmt: skip
def vanishing_gradients(setting: Setting) -> Outcome:
    """Width 64, weights uniform within 1/√64, depths 2 to 50, 32 random inputs."""
    curves, slopes, fits = [], {}, {}
    for name in ACTIVATIONS:
        for way in ("plain", "skips", "batch norm"):
            norms = np.array([_first_gradient(name, way, d, setting.seed) for d in DEPTHS])
            shown = norms > 0
            logs = np.log(norms[shown])
            depths = np.array(DEPTHS)[shown]
            slopes[name, way] = float(np.polyfit(depths, logs, 1)[0])
            fits[name, way] = float(np.corrcoef(depths, logs)[0, 1] ** 2)
            curves.append(curve(f"{name}, {way}", depths, norms[shown], "both"))
    plain = slopes["sigmoid", "plain"]
    return Outcome(
        {
            "factor lost per layer, sigmoid": math.exp(-plain),
            "share of the log-norm that a line in depth explains, sigmoid": fits[
                "sigmoid", "plain"
            ],
            "log-slope with skips over that without, sigmoid": slopes["sigmoid", "skips"] / plain,
            "log-slope with batch norm over that without, sigmoid": slopes["sigmoid", "batch norm"]
            / plain,
            "error of a chain of scalars at 0 against (w/4)^depth, relative": _scalar_chain(),
            "change of the norm through 50 orthogonal layers, relative": _orthogonal(setting.seed),
        },
        charts=(
            Chart(
                "Gradient norm at the first layer",
                "depth",
                "norm",
                tuple(curves),
                y_log=True,
                caption="At the start of training, in units of the gradient at the output.",
            ),
        ),
    )


def _first_gradient(name: str, way: str, depth: int, seed: int) -> float:
    """Norm of the first weight's gradient over that of the output's."""
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(WIDTH)
    phi = ACTIVATIONS[name]
    h = torch.randn(32, WIDTH, generator=generator, dtype=torch.float64)
    first: Tensor | None = None
    for _ in range(depth):
        w = (2 * torch.rand(WIDTH, WIDTH, generator=generator, dtype=torch.float64) - 1) * bound
        if first is None:
            first = w.requires_grad_()
        a = h @ w.mT
        if way == "batch norm":
            a = (a - a.mean(0)) / (a.var(0, correction=0) + 1e-5).sqrt()
        h = h + phi(a) if way == "skips" else phi(a)
    assert first is not None
    direction = torch.randn(32, WIDTH, generator=generator, dtype=torch.float64)
    (g,) = torch.autograd.grad((h * direction / direction.norm()).sum(), first)
    return float(g.norm())


def _scalar_chain(w: float = 1.7, depth: int = 20) -> float:
    """A chain of sigmoids whose biases keep every input at 0: each layer passes on w/4."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    h = x
    for _ in range(depth):
        h = torch.sigmoid(w * (h - h.detach()))
    (g,) = torch.autograd.grad(h.sum(), x)
    return abs(float(g) / (w / 4) ** depth - 1)


def _orthogonal(seed: int, depth: int = 50) -> float:
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(WIDTH, generator=generator, dtype=torch.float64)
    g = v
    for _ in range(depth):
        w = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
        g = torch.linalg.qr(w)[0].mT @ g
    return abs(float(g.norm() / v.norm()) - 1)


@claim(
    name="activation-slopes",
    title="How steep activations are",
    decks=("D1",),
    section="curvature#k10",
    says="The slope of tanh lies in (0, 1], that of the sigmoid in (0, 1/4].",
    targets=(
        Target("largest slope of the sigmoid", 0.25, 1e-12, source="[C]"),
        Target("largest slope of tanh", 1.0, 1e-12, source="[C]"),
        Target("smallest slope of either within 10 of the origin", 0.0, 0.0, "at least",
               source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide has derivatives in (-1, 1) or [0, 1]; right is (0, 1] for tanh and (0, 1/4] for "
        "the sigmoid: none is negative, and the sigmoid loses a factor of 4 at least."
    ),
)  # fmt: skip
def activation_slopes(setting: Setting) -> Outcome:
    """Automatic derivatives on 2,001 points from -10 to 10."""
    x = torch.linspace(-10, 10, 2001, dtype=torch.float64, requires_grad=True)
    slopes = {}
    for name in ("sigmoid", "tanh"):
        (slopes[name],) = torch.autograd.grad(ACTIVATIONS[name](x).sum(), x)
    places = x.detach().tolist()
    return Outcome(
        {
            "largest slope of the sigmoid": float(slopes["sigmoid"].max()),
            "largest slope of tanh": float(slopes["tanh"].max()),
            "smallest slope of either within 10 of the origin": min(
                float(s.min()) for s in slopes.values()
            ),
        },
        charts=(
            Chart(
                "Slopes",
                "input",
                "derivative",
                tuple(curve(name, places, s.tolist()) for name, s in slopes.items()),
            ),
        ),
    )
