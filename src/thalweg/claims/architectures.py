"""How networks compute: one unit, deltas, squashing functions."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.mechanics.backprop import manual_backprop
from thalweg.models.perceptron import fit_perceptron, mistake_bound, xor_network
from thalweg.records_claims import Chart, Curve

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers, float64."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def built(seed: int, model: nn.Module) -> nn.Module:
    """The model in float64 with normal weights of variance 1/fan-in under a seed."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.double().parameters():
            scale = p[0].numel() ** -0.5 if p.ndim > 1 else 0.1
            p.copy_(scale * torch.randn(p.shape, generator=g, dtype=torch.float64))
    return model


@claim(
    name="perceptron-xor",
    title="One threshold unit learns AND and OR, never XOR",
    decks=("D1",),
    section="architectures#a1",
    says=(
        "The perceptron learns what is linearly separable, with at most (R/gamma)^2 mistakes; on "
        "XOR every linear threshold is wrong on a quarter, and two hidden units solve it."
    ),
    targets=(
        Target("errors left on AND and OR", 0.0, source="[D]"),
        Target("mistakes over Novikoff's bound, at most", 1.0, 0.0, "at most", source="[P]"),
        Target("best share of XOR by a linear threshold", 0.75, source="[D] [C]"),
        Target("errors of the 2-2-1 network on XOR", 0.0, source="[D] [C]"),
    ),
    seconds=1,
)
def perceptron_xor(setting: Setting) -> Outcome:
    """Rosenblatt's rule from zero; every sign pattern of a linear threshold on the four points."""
    wrong, ratios = 0, []
    for labels, bias in (((0, 0, 0, 1), -1.5), ((0, 1, 1, 1), -0.5)):
        y = torch.tensor(labels)
        found = fit_perceptron(CORNERS, y)
        wrong += int(((CORNERS @ found.weights + found.bias > 0).long() != y).sum())
        known = torch.ones(2, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64)
        ratios.append(found.mistakes / mistake_bound(CORNERS, y, *known))
    xor = torch.tensor([0, 1, 1, 0])
    # thresholds between all sums of the corners under weights of every direction
    angles = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)[:-1] + 1e-3
    sums = CORNERS @ torch.stack([angles.cos(), angles.sin()])  # (4, directions)
    cuts = torch.cat([sums - 1e-9, sums + 1e-9])  # (8, directions)
    guesses = sums[:, None] > cuts[None]
    best = (guesses.long() == xor[:, None, None]).double().mean(0).max()
    answers = xor_network().double()(CORNERS).flatten().long()
    return Outcome(
        {
            "errors left on AND and OR": wrong,
            "mistakes over Novikoff's bound, at most": max(ratios),
            "best share of XOR by a linear threshold": float(best),
            "errors of the 2-2-1 network on XOR": int((answers != xor).sum()),
        },
    )


@claim(
    name="backprop-deltas",
    title="Deltas by hand are the gradient",
    decks=("D1",),
    section="architectures#a2",
    says="The recursion of deltas gives the risk's gradient; shared weights sum over their uses.",
    targets=(
        Target("largest difference to autograd", 0.0, 1e-12, source="[C]"),
        Target("largest difference for a weight used twice", 0.0, 1e-12, source="[D] [C]"),
    ),
    seconds=1,
)
def backprop_deltas(setting: Setting) -> Outcome:
    """Three layers with tanh, sigmoid and ReLU, float64; one matrix used in two layers."""
    functions = (
        (torch.tanh, lambda a: 1 - torch.tanh(a) ** 2),
        (torch.sigmoid, lambda a: torch.sigmoid(a) * (1 - torch.sigmoid(a))),
        (torch.relu, lambda a: (a > 0).to(a.dtype)),
    )
    worst = 0.0
    for phi, dphi in functions:
        layers = [
            (normal(setting.seed + n, n, m), normal(setting.seed + m + n, n))
            for m, n in itertools.pairwise((4, 6, 5, 3))
        ]
        x, y = normal(setting.seed + 90, 9, 4), normal(setting.seed + 91, 9, 3)
        _, mine = manual_backprop(layers, x, y, phi, dphi)
        leaves = [t.clone().requires_grad_() for layer in layers for t in layer]
        z = x
        for weight, bias in zip(leaves[::2], leaves[1::2], strict=True):
            z = phi(z @ weight.mT + bias)
        theirs = torch.autograd.grad(0.5 * (z - y).square().sum() / 9, leaves)
        flat = [t for layer in mine for t in layer]
        worst = max(worst, *(gap(a, b) for a, b in zip(flat, theirs, strict=True)))
    w, x = normal(setting.seed, 4, 4), normal(setting.seed + 1, 7, 4)

    def out(first: Tensor, second: Tensor) -> Tensor:
        return torch.tanh(torch.tanh(x @ first) @ second).sum()

    uses = torch.func.grad(out, (0, 1))(w, w)
    shared = torch.func.grad(lambda one: out(one, one))(w)
    return Outcome(
        {
            "largest difference to autograd": worst,
            "largest difference for a weight used twice": gap(shared, uses[0] + uses[1]),
        }
    )


@claim(
    name="softmax-index",
    title="The softmax needs an index in its numerator",
    decks=("D1",),
    section="architectures#a4",
    says="Softmax outputs are probabilities that a common shift of the inputs leaves alone.",
    targets=(
        Target("sum of the outputs", 1.0, 1e-12, source="[C]"),
        Target("change under a shift by 300", 0.0, 1e-12, source="[C]"),
        Target("tanh(a) - (2 sigmoid(2a) - 1), largest", 0.0, 1e-12, source="[C]"),
        Target("sum where the numerator has no index: 10 equal outputs", relation="reported"),
    ),
    correction="The slide's numerator lacks its index: it is exp(w_kᵀx), one for each class k.",
    seconds=1,
)
def softmax_index(setting: Setting) -> Outcome:
    """Ten classes, float64; the printed form read as one numerator for all classes."""
    a = normal(setting.seed, 10)
    grid = torch.linspace(-6, 6, 241, dtype=torch.float64)
    p = a.softmax(0)
    printed = 10 * float(a[0].exp() / a.exp().sum())
    sigmoid = torch.sigmoid(grid)
    xs = tuple(grid.tolist())
    curves = {
        "sigmoid": sigmoid,
        "tanh": grid.tanh(),
        "softplus": F.softplus(grid),
        "ReLU": F.relu(grid),
        "leaky ReLU": F.leaky_relu(grid, 0.01),
    }
    return Outcome(
        {
            "sum of the outputs": float(p.sum()),
            "change under a shift by 300": gap((a + 300).softmax(0), p),
            "tanh(a) - (2 sigmoid(2a) - 1), largest": gap(
                grid.tanh(), 2 * torch.sigmoid(2 * grid) - 1
            ),
            "sum where the numerator has no index: 10 equal outputs": printed,
        },
        charts=(
            Chart(
                "Activations of the lectures",
                "sum of inputs",
                "output",
                tuple(Curve(name, xs, tuple(v.tolist())) for name, v in curves.items()),
            ),
        ),
    )


@claim(
    name="maxout-relu",
    title="Maxout with a zero piece is a ReLU layer",
    decks=("D4",),
    section="curriculum#p7",
    says="Models changed so that plain SGD could train them: maxout contains the ReLU.",
    targets=(Target("largest difference of the outputs", 0.0, 1e-12, source="[C]"),),
    seconds=1,
)
def maxout_relu(setting: Setting) -> Outcome:
    """Two pieces a unit, one of them zero."""
    from thalweg.models.activations import Maxout

    layer: Maxout = built(setting.seed, Maxout(5, 7))  # pyrefly: ignore
    with torch.no_grad():
        layer.linear.weight[1::2] = 0
        layer.linear.bias[1::2] = 0
        x = normal(setting.seed + 1, 50, 5)
        relu = F.relu(F.linear(x, layer.linear.weight[::2], layer.linear.bias[::2]))
        return Outcome({"largest difference of the outputs": gap(layer(x), relu)})


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors."""
    return float((a - b).detach().abs().max())
