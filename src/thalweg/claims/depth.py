"""Deep networks: gradients that vanish, weights that are alike, outputs as sums over paths."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.curvature.surfaces import surface
from thalweg.mechanics.paths import active_path_sum
from thalweg.mechanics.symmetry import count_symmetries, permute_units, rescale_units
from thalweg.models.losses import half_squared_error
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


@claim(
    name="weight-symmetry",
    title="Many weights, one function",
    decks=("D4",),
    section="curvature#k8",
    says=(
        "m layers of n units can be permuted in (n!)^m ways without changing the function, and "
        "ReLU layers be rescaled in infinitely many, which changes the sharpness."
    ),
    targets=(
        Target("permutations of three layers of four units", 13_824, 0, source="[D]"),
        Target("change of the output under permutation and rescaling", 0.0, 1e-12, source="[C]"),
        Target("change of the curvatures under permutation, over the largest", 0.0, 1e-9,
               source="[C]"),
        Target("largest curvature after rescaling over that before", 1.1, 0.0, "at least",
               source="[C]"),
        Target("curvature along the rescaling direction, over the largest", 0.0, 1e-9,
               source="[C]"),
    ),
    seconds=2,
)  # fmt: skip
def weight_symmetry(setting: Setting) -> Outcome:
    """A 3-4-4-2 ReLU network at a minimum: targets are its own outputs."""
    generator = torch.Generator().manual_seed(setting.seed)
    net = _relu_net((3, 4, 4, 2), generator)
    x = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    y = net(x).detach()
    permuted = permute_units(net, "0", [2, 0, 3, 1])
    scales = (0.25, 0.5, 1.0, 2.0, 4.0)
    scaled = {a: rescale_units(net, "0", [a] * 4) for a in scales}
    spectra = {
        name: torch.linalg.eigvalsh(surface(model, half_squared_error, (x, y)).dense_hessian())
        for name, model in (("net", net), ("permuted", permuted), *scaled.items())
    }
    top = float(spectra["net"][-1])
    at = surface(net, half_squared_error, (x, y))
    direction = _rescaling(net)
    return Outcome(
        {
            "permutations of three layers of four units": count_symmetries((4, 4, 4)).permutations,
            "change of the output under permutation and rescaling": max(
                float((model(x) - y).detach().abs().max()) for model in (permuted, *scaled.values())
            ),
            "change of the curvatures under permutation, over the largest": float(
                (spectra["permuted"] - spectra["net"]).abs().max()
            )
            / top,
            "largest curvature after rescaling over that before": float(spectra[4.0][-1]) / top,
            "curvature along the rescaling direction, over the largest": float(
                (at.hvp(direction)).norm() / direction.norm()
            )
            / top,
        },
        charts=(
            Chart(
                "Largest curvature of one function",
                "first layer times a, second over a",
                "largest curvature",
                (curve("ReLU network", scales, [float(spectra[a][-1]) for a in scales], "both"),),
                x_log=True,
                y_log=True,
            ),
        ),
    )


def _relu_net(widths: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (m, n) in enumerate(pairwise(widths)):
        layer = nn.Linear(m, n, bias=False, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(n, m, generator=generator) * math.sqrt(2 / m))
        layers += [nn.ReLU(), layer] if i else [layer]
    return nn.Sequential(*layers)


def _rescaling(net: nn.Sequential) -> Tensor:
    """The direction in which the first layer grows and the second shrinks at equal function."""
    first, second, *rest = [p.detach() for p in net.parameters()]
    parts = [first, -second, *(torch.zeros_like(p) for p in rest)]
    return torch.cat([part.flatten() for part in parts])


@claim(
    name="path-sums",
    title="A ReLU network is a sum over paths",
    decks=("D2",),
    section="curvature#k9",
    says=(
        "With its switches fixed a ReLU network's output is the sum over active paths of input "
        "times weights: a polynomial of degree depth, full of saddles."
    ),
    targets=(
        Target("largest difference of the path sum from the output", 0.0, 1e-12, source="[C]"),
        Target("log of the output's growth over log of the weights' growth", 4.0, 1e-9,
               source="[C]"),
        Target("sum of w times its derivative over the output", 4.0, 1e-9, source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def path_sums(setting: Setting) -> Outcome:
    """A 3-5-5-5-1 network without biases: 375 paths."""
    generator = torch.Generator().manual_seed(setting.seed)
    net = _relu_net((3, 5, 5, 5, 1), generator)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    output = net(x).detach()
    found = active_path_sum(net, x)
    live = int(output.abs().argmax())
    one = net(x[live : live + 1]).sum()
    euler = sum(
        float((p.detach() * g).sum())
        for p, g in zip(net.parameters(), torch.autograd.grad(one, list(net.parameters())),
                        strict=True)
    )  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.5)
    grown = float(net(x).detach()[live, 0]) / float(output[live, 0])
    return Outcome(
        {
            "largest difference of the path sum from the output": float(
                (found.output - output).abs().max()
            ),
            "log of the output's growth over log of the weights' growth": math.log(grown)
            / math.log(1.5),
            "sum of w times its derivative over the output": euler / float(one.detach()),
        },
        charts=(
            Chart(
                "Active paths and output",
                f"active paths of {found.paths}",
                "output",
                (curve("40 inputs", found.active.tolist(), output[:, 0].tolist(), "points"),),
            ),
        ),
    )
