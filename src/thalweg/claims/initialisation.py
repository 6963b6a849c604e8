"""How a network starts: variances of the rules, sparse units, symmetry, LSUV, orthogonal layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.conditioning.activations import activation_report
from thalweg.conditioning.biases import output_bias_
from thalweg.conditioning.initialise import init_
from thalweg.conditioning.lsuv import lsuv_
from thalweg.conditioning.rules import sparse_per_unit_
from thalweg.records_claims import Chart


def _tanh_net(depth: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*layers)


@claim(
    name="activation-spread",
    title="Glorot's start keeps activations alive",
    decks=("D4",),
    section="conditioning#c5",
    says=(
        "Through ten tanh layers activations keep their spread within a factor of 2 under Glorot's "
        "rule and shrink by √3 a layer under U(±1/√m)."
    ),
    targets=(
        Target("largest over smallest spread of ten layers, Glorot", 2.0, 0.0, "at most",
               source="[C]"),
        Target("the same for inputs of deviation 0.1", relation="reported"),
        Target("spread of a layer over that before, U(±1/√m), near 0", 3**-0.5, 0.02,
               source="[C]"),
        Target("largest error of the rules' variances, relative", 0.0, 0.02, source="[C]"),
    ),
    seconds=2,
)  # fmt: skip
def activation_spread(setting: Setting) -> Outcome:
    """Width 512, 256 inputs of variance 1; variances over 1000 x 1000 entries."""
    generator = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(256, 512, generator=generator)
    spread: dict[str, list[float]] = {}
    for scheme in ("glorot", "fan-in", "he", "orthogonal"):
        net = _tanh_net(10, 512)
        init_(net, scheme, generator=generator)
        spread[scheme] = [a.std for a in activation_report(net, x) if a.kind == "Tanh"]
    fan_in = spread["fan-in"]
    net = _tanh_net(10, 512)
    init_(net, "glorot", generator=generator)
    small = [a.std for a in activation_report(net, 0.1 * x) if a.kind == "Tanh"]
    layer = nn.Linear(1000, 1000)
    wrong = 0.0
    for scheme, variance in (("fan-in", 1 / 3000), ("glorot", 2 / 2000), ("he", 2 / 1000)):
        init_(layer, scheme, generator=generator)
        wrong = max(wrong, abs(float(layer.weight.detach().var()) / variance - 1))
    return Outcome(
        {
            "largest over smallest spread of ten layers, Glorot": max(spread["glorot"])
            / min(spread["glorot"]),
            "the same for inputs of deviation 0.1": max(small) / min(small),
            "spread of a layer over that before, U(±1/√m), near 0": (fan_in[9] / fan_in[5]) ** 0.25,
            "largest error of the rules' variances, relative": wrong,
        },
        charts=(
            Chart(
                "Spread of activations, ten tanh layers",
                "layer",
                "standard deviation",
                tuple(curve(name, range(1, 11), s, "both") for name, s in spread.items()),
                y_log=True,
            ),
        ),
        notes=(
            "At inputs of variance 1 tanh bends: the spread falls like one over the root of the "
            "depth, from 0.63 to 0.23. It is flat where inputs are small.",
        ),
    )


@claim(
    name="equal-units",
    title="Equal units stay equal",
    decks=("D4",),
    section="conditioning#c5",
    says="Two units that start with equal weights stay equal under any deterministic rule.",
    targets=(
        Target("difference of the two after 100 steps", 0.0, 0.0, source="[D]"),
        Target("difference of two that start apart", 1e-3, 0.0, "at least",
               source="[D]"),
    ),
    seconds=2,
)  # fmt: skip
def equal_units(setting: Setting) -> Outcome:
    """A 5-4-1 tanh network on random data, 100 steps of SGD with momentum and of Adam."""
    curves, ends = [], {}
    for equal in (True, False):
        for name in ("SGD", "Adam"):
            gaps = _gaps(name, equal, setting.seed)
            ends[equal] = max(ends.get(equal, 0.0), gaps[-1])
            label = "equal" if equal else "apart"
            curves.append(curve(f"{name}, units start {label}", range(101), gaps))
    return Outcome(
        {
            "difference of the two after 100 steps": ends[True],
            "difference of two that start apart": ends[False],
        },
        charts=(Chart("Difference of two units' weights", "step", "norm", tuple(curves)),),
    )


def _gaps(name: str, equal: bool, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    y = torch.sin(x.sum(1, keepdim=True))
    w = (torch.randn(4, 5, generator=generator, dtype=torch.float64) / 2).requires_grad_()
    v = (torch.randn(1, 4, generator=generator, dtype=torch.float64) / 2).requires_grad_()
    if equal:
        with torch.no_grad():
            w[1], v[0, 1] = w[0], v[0, 0]
    optimizer: torch.optim.Optimizer = torch.optim.Adam([w, v], lr=0.02)
    if name == "SGD":
        optimizer = torch.optim.SGD([w, v], lr=0.1, momentum=0.9)
    gaps = []
    for _ in range(101):
        gaps.append(float((w[0] - w[1]).detach().norm()))
        optimizer.zero_grad()
        F.mse_loss(_two_layers(x, w, v), y).backward()
        optimizer.step()
    return gaps


def _two_layers(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """Units summed one by one: a blocked product may round equal rows differently."""
    units = [torch.tanh((x * row).sum(1)) for row in w]
    return sum(u * c for u, c in zip(units, v[0], strict=True))[:, None]  # pyrefly: ignore


@claim(
    name="output-bias",
    title="A biased start is at the entropy of the classes",
    decks=("D4",),
    section="conditioning#c5",
    says="With output biases log(class frequency) and zero weights the loss starts at the entropy.",
    targets=(
        Target("first loss less the entropy", 0.0, 1e-9, source="[C]"),
        Target("first loss with zero biases less log 3", 0.0, 1e-9, source="[C]"),
        Target("rows without exactly 15 weights, sparse start", 0, 0, source="[C]"),
        Target("rows without exactly 15 weights, torch's sparse_", 1, 0, "at least",
               source="[C]"),
    ),
    seconds=1,
)  # fmt: skip
def output_bias(setting: Setting) -> Outcome:
    """Three classes of shares 0.6, 0.3 and 0.1; 200 units of 150 inputs for the sparse start."""
    generator = torch.Generator().manual_seed(setting.seed)
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    x = torch.randn(100, 8, generator=generator, dtype=torch.float64)
    layer = nn.Linear(8, 3, dtype=torch.float64)
    init_(layer, "zero")
    plain = float(F.cross_entropy(layer(x), y).detach())
    output_bias_(layer, y)
    biased = float(F.cross_entropy(layer(x), y).detach())
    shares = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    entropy = float(-(shares * shares.log()).sum())
    ours = sparse_per_unit_(torch.empty(200, 150), 15, generator=generator)
    theirs = torch.empty(200, 150)
    nn.init.sparse_(theirs, sparsity=0.9, generator=generator)
    counts = {n: (w != 0).sum(1) for n, w in (("ours", ours), ("torch's sparse_", theirs))}
    return Outcome(
        {
            "first loss less the entropy": biased - entropy,
            "first loss with zero biases less log 3": plain - math.log(3),
            "rows without exactly 15 weights, sparse start": int((counts["ours"] != 15).sum()),
            "rows without exactly 15 weights, torch's sparse_": int(
                (counts["torch's sparse_"] != 15).sum()
            ),
        },
        charts=(
            Chart(
                "Weights per unit of a sparse start",
                "weights that are not 0",
                "units",
                tuple(
                    curve(n, range(31), torch.bincount(c, minlength=31)[:31].tolist(), "bars")
                    for n, c in counts.items()
                ),
            ),
        ),
    )


@claim(
    name="lsuv",
    title="LSUV: every layer's output at variance 1",
    decks=("D4",),
    section="conditioning#c6",
    says=(
        "Orthonormal weights, then each layer in order rescaled until its output has variance 1: "
        "one rescaling a layer suffices without biases."
    ),
    targets=(
        Target("largest distance of a layer's variance from 1", 0.1, 0.0, "at most", source="[P]"),
        Target("most rescalings of a layer", 1, 0, "at most", source="[C]"),
        Target("rescalings in a second run", 0, 0, source="[C]"),
        Target("layers out of the order of execution", 0, 0, source="[P]"),
        Target("largest distance if the layer of smallest output goes first", 0.1, 0.0,
               "at least", source="[C]"),
    ),
    seconds=1,
    correction=(
        "The slide says to find the layer with the smallest activations; LSUV takes the layers in "
        "the order in which they run. Rescaling each once, smallest first, misses variance 1."
    ),
)  # fmt: skip
def lsuv(setting: Setting) -> Outcome:
    """Eight ReLU layers of width 100 that are declared in reverse order; 500 inputs."""
    generator = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(500, 100, generator=generator, dtype=torch.float64)
    net = _Reversed(8, 100)
    lines = lsuv_(net, x, generator=generator)
    again = lsuv_(net, x, orthonormal=False)
    other = _Reversed(8, 100)
    init_(other, "orthogonal", generator=generator)
    missed = _smallest_first(other, x)
    wanted = [f"layers.{i}" for i in range(7, -1, -1)]
    return Outcome(
        {
            "largest distance of a layer's variance from 1": max(
                abs(line.variance - 1) for line in lines
            ),
            "most rescalings of a layer": max(line.rescaled for line in lines),
            "rescalings in a second run": sum(line.rescaled for line in again),
            "layers out of the order of execution": sum(
                line.name != name for line, name in zip(lines, wanted, strict=True)
            ),
            "largest distance if the layer of smallest output goes first": max(
                abs(v - 1) for v in missed
            ),
        },
        charts=(
            Chart(
                "Variance of each layer's output",
                "layer, in order of execution",
                "variance",
                (
                    curve("before its turn", range(1, 9), [line.start for line in lines], "both"),
                    curve("LSUV", range(1, 9), [line.variance for line in lines], "both"),
                    curve("each once, smallest first", range(1, 9), missed, "both"),
                ),
                y_log=True,
            ),
        ),
    )


class _Reversed(nn.Module):
    """A chain whose last layer is declared first."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(width, width, bias=False, dtype=torch.float64) for _ in range(depth)
        )

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What each layer gives, in order of execution."""
        found = []
        for layer in reversed(self.layers):
            found.append(layer(x))
            x = torch.relu(found[-1])
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The last output."""
        return self.outputs(x)[-1]


@torch.no_grad()
def _smallest_first(net: _Reversed, x: Tensor) -> list[float]:
    """Each layer rescaled once to variance 1, always the one whose output is smallest now."""
    order = list(reversed(net.layers))
    left = set(range(len(order)))
    while left:
        variances = [float(o.var(correction=0)) for o in net.outputs(x)]
        i = min(left, key=lambda j: variances[j])
        order[i].weight.div_(math.sqrt(variances[i]))  # pyrefly: ignore
        left.remove(i)
    return [float(o.var(correction=0)) for o in net.outputs(x)]
