"""What layers do: convolution, receptive fields, size of maps, pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.claims.architectures import normal
from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.mechanics.convolution import (
    conv_true,
    gradients_by_use,
    output_size,
    receptive_field,
    seen_inputs,
)
from thalweg.mechanics.pooling import invariant_share, pool_shift_invariance
from thalweg.records_claims import Chart, Curve


@claim(
    name="convolution",
    title="Convolution flips its kernel, correlation does not",
    decks=("D1",),
    section="architectures#a5",
    says=(
        "A feature map is a convolution: it moves with its input, and its weights' gradient is the "
        "sum over all places that use them."
    ),
    targets=(
        Target("difference to the defining sum", 0.0, 1e-12, source="[C]"),
        Target("torch's conv with the kernel turned round: difference", 0.0, 1e-12, source="[C]"),
        Target("shift of the input against shift of the map", 0.0, 1e-12, source="[D] [C]"),
        Target("shared gradient against the sum over places", 0.0, 1e-12, source="[D] [C]"),
    ),
    seconds=1,
)
def convolution(setting: Setting) -> Outcome:
    """A 9x11 signal and a 3x2 kernel by loops; a layer of four maps."""
    x, k = normal(setting.seed, 9, 11), normal(setting.seed + 1, 3, 2)
    slow = torch.zeros(7, 10, dtype=torch.float64)
    for i in range(7):
        for j in range(10):
            for u in range(3):
                for v in range(2):
                    slow[i, j] += k[u, v] * x[i + 2 - u, j + 1 - v]
    turned = F.conv2d(x[None, None], k.flip(0, 1)[None, None])[0, 0]
    moved = conv_true(torch.roll(x, (1, 2), (0, 1)), k)[1:, 2:] - conv_true(x, k)[:-1, :-2]
    maps, weight = normal(setting.seed + 2, 2, 3, 6, 7), normal(setting.seed + 3, 4, 3, 2, 3)
    by_output = normal(setting.seed + 4, 2, 4, 5, 5)
    shared = torch.func.grad(lambda w: (F.conv2d(maps, w) * by_output).sum())(weight)
    uses = gradients_by_use(maps, weight, by_output)
    return Outcome(
        {
            "difference to the defining sum": _largest(conv_true(x, k) - slow),
            "torch's conv with the kernel turned round: difference": _largest(turned - slow),
            "shift of the input against shift of the map": _largest(moved),
            "shared gradient against the sum over places": _largest(uses.sum(0) - shared),
        }
    )


@claim(
    name="receptive-field",
    title="Two layers of width 3 see 3, then 5",
    decks=("D1",),
    section="architectures#a5",
    says="Units of deeper layers see more of the input: 3 inputs after one layer, 5 after two.",
    targets=(
        Target("inputs seen after one layer", 3.0, source="[D]"),
        Target("inputs seen after two layers", 5.0, source="[D]"),
        Target("largest difference of formula and gradient's support", 0.0, source="[C]"),
    ),
    seconds=1,
)
def receptive_fields(setting: Setting) -> Outcome:
    """The formula, and where the gradient of one unit is not zero, for six depths and strides."""
    stacks = [[(3, 1)] * depth for depth in (1, 2, 3, 4)] + [
        [(5, 1), (2, 2), (5, 1)],
        [(3, 2), (3, 2), (3, 1)],
    ]
    counted, worst = [], 0
    for stack in stacks:
        net = nn.Sequential(*(nn.Conv1d(1, 1, k, s, bias=False) for k, s in stack)).double()
        with torch.no_grad():
            for p in net.parameters():
                p.fill_(1.0)
        seen = seen_inputs(net, normal(setting.seed, 1, 1, 60), (0, 0, 1))
        counted.append(int(seen.sum()))
        worst = max(worst, abs(counted[-1] - receptive_field(stack)[-1]))
    depth = tuple(float(d) for d in range(1, 5))
    return Outcome(
        {
            "inputs seen after one layer": counted[0],
            "inputs seen after two layers": counted[1],
            "largest difference of formula and gradient's support": worst,
        },
        charts=(
            Chart(
                "Receptive field of layers of width 3",
                "layers",
                "inputs seen",
                (Curve("measured", depth, tuple(float(c) for c in counted[:4]), "both"),),
            ),
        ),
    )


@claim(
    name="map-size",
    title="A 5x5 window fits 28 times into 32",
    decks=("D1",),
    section="architectures#a7",
    says="A map has floor((M + 2p - m)/s) + 1 places along an axis: 28 for the first layer.",
    targets=(
        Target("places along an axis by the formula", 28.0, source="[D] [C]"),
        Target("places along an axis of torch's layer", 28.0, source="[C]"),
    ),
    correction=(
        "The slide writes (32-5+1)²/2 + 1 beside 28x28; the halving belongs to a stride of 2: "
        "floor((32-5)/1) + 1 = 28."
    ),
    seconds=1,
)
def map_size(setting: Setting) -> Outcome:
    """The formula beside torch."""
    seen = nn.Conv2d(1, 1, 5)(torch.zeros(1, 1, 32, 32)).shape[-1]
    return Outcome(
        {
            "places along an axis by the formula": output_size(32, 5),
            "places along an axis of torch's layer": seen,
        }
    )


@claim(
    name="pooling-2x2",
    title="Pooling over 2x2 stands 3 of 8 shifts",
    decks=("D1",),
    section="architectures#a6",
    says="Of the eight shifts by one pixel, three leave the output of 2x2 max pooling unchanged.",
    targets=(Target("share of shifts that change nothing", 3 / 8, source="[D] [C]"),),
    seconds=1,
)
def pooling_2x2(setting: Setting) -> Outcome:
    """One bright pixel at every place, shifted every way, through torch's pooling."""
    return Outcome({"share of shifts that change nothing": float(pool_shift_invariance(2).mean)})


@claim(
    name="pooling-3x3",
    title="Pooling over 3x3 stands 5 of 9 shifts on average",
    decks=("D1",),
    section="architectures#a6",
    says="Larger windows stand more shifts: (k-1)(2k-1)/(2k²) of them.",
    targets=(
        Target("share of shifts that change nothing, k = 3", 5 / 9, 1e-12, source="[C]"),
        Target("share for a pixel on an edge (the slide's 5/8)", 5 / 8, 1e-12, source="[D] [C]"),
        Target("share of shifts that change nothing, k = 4", 21 / 32, 1e-12, source="[C]"),
        Target("largest difference of formula and enumeration", 0.0, 1e-12, source="[C]"),
    ),
    correction=(
        "The slide says 5/8; enumeration gives 5/9 on average. 5/8 holds for the four edge places; "
        "corners stand 3/8, the centre all 8."
    ),
    seconds=1,
)
def pooling_3x3(setting: Setting) -> Outcome:
    """Enumeration with torch's pooling for k = 1 to 8."""
    sizes = tuple(range(1, 9))
    found = [pool_shift_invariance(k) for k in sizes]
    formula = [invariant_share(k) for k in sizes]
    gaps = [abs(float(a.mean - b)) for a, b in zip(found, formula, strict=True)]
    xs = tuple(float(k) for k in sizes)
    return Outcome(
        {
            "share of shifts that change nothing, k = 3": float(found[2].mean),
            "share for a pixel on an edge (the slide's 5/8)": found[2].table[0][1] / 8,
            "share of shifts that change nothing, k = 4": float(found[3].mean),
            "largest difference of formula and enumeration": max(gaps),
        },
        charts=(
            Chart(
                "Shifts by one pixel that max pooling does not notice",
                "window k",
                "share of the eight shifts",
                (
                    Curve("enumerated", xs, tuple(float(f.mean) for f in found), "points"),
                    Curve("(k-1)(2k-1)/(2k²)", xs, tuple(float(f) for f in formula)),
                ),
            ),
        ),
    )


def _largest(t: Tensor) -> float:
    return float(t.abs().max())
