"""One function, many descriptions: weights that are alike, outputs as sums over paths."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.curvature.surfaces import surface
from thalweg.mechanics.paths import active_path_sum
from thalweg.mechanics.symmetry import count_symmetries, permute_units, rescale_units
from thalweg.models.losses import half_squared_error
from thalweg.records_claims import Chart


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
