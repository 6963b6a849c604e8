"""Backpropagation as constrained optimisation: which sign and which index the slides mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thalweg.claims.architectures import built, gap, normal
from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.mechanics.lagrangian import LagrangianNet
from thalweg.models.mlp import MLP


@claim(
    name="lagrangian-sign",
    title="Which sign makes the multipliers gradients",
    decks=("D0",),
    section="architectures#a3",
    says="Backpropagation is the stationarity of a Lagrangian; its multipliers are gradients.",
    targets=(
        Target("ours, C + λ(g - z): multipliers over gradients", 1.0, 1e-12, source="[C]"),
        Target("the slide's C + λ(z - g): multipliers over gradients", -1.0, 1e-12, source="[C]"),
        Target("largest residual of the constraints and adjoints", 0.0, 1e-12, source="[C]"),
        Target("weight gradients against autograd", 0.0, 1e-12, source="[C]"),
    ),
    correction=(
        "The slide adds λ(z - g), calls λ the gradient and writes ∂L/∂w = λᵀ∂g/∂w. With that sign "
        "λ is minus the gradient and ∂L/∂w = -λᵀ∂g/∂w; with λ(g - z) both statements are right."
    ),
    seconds=1,
)
def lagrangian_sign(setting: Setting) -> Outcome:
    """A convolution, two linear layers and tanh, float64, both signs."""
    layers, x, y = _layers(setting.seed)
    states = [x]
    for layer in layers:
        states.append(layer(states[-1]))
    loss = _half(states[-1], y)
    weights = [p for layer in layers for p in layer.parameters()]
    exact = torch.autograd.grad(loss, [*states[1:], *weights])
    ratios, residual, off = {}, 0.0, 0.0
    for sign in (1, -1):
        net = LagrangianNet(layers, _half, sign)
        found = net.solve(x, y)
        ratios[sign] = [_ratio(m, g) for m, g in zip(found.multipliers, exact, strict=False)]
        left = net.residuals(found.states, found.multipliers, y)
        residual = max(residual, left.constraint, left.adjoint)
        flat = [g for layer in found.gradients for g in layer.values()]
        wanted = exact[len(layers) :]
        off = max(off, *(gap(a, b) for a, b in zip(flat, wanted, strict=True)))
    return Outcome(
        {
            "ours, C + λ(g - z): multipliers over gradients": _farthest(ratios[1], 1.0),
            "the slide's C + λ(z - g): multipliers over gradients": _farthest(ratios[-1], -1.0),
            "largest residual of the constraints and adjoints": residual,
            "weight gradients against autograd": off,
        }
    )


@claim(
    name="lagrangian-index",
    title="Which layer's Jacobian carries the multiplier back",
    decks=("D0",),
    section="architectures#a3",
    says="The multipliers obey λ_k = (∂g_k/∂z_k)ᵀ λ_{k+1}.",
    targets=(
        Target("error of the recursion with g_k", 0.0, 1e-12, source="[C]"),
        Target("error with the printed g_{k-1}, relative", 0.1, 0.0, "at least", source="[C]"),
    ),
    correction=(
        "The slide's final recursion has the Jacobian of g_{k-1} and z_{k-1}; it is that of g_k at "
        "z_k, the layer in front of the multiplier."
    ),
    seconds=1,
)
def lagrangian_index(setting: Setting) -> Outcome:
    """Four square layers, so that the printed indices have shapes that fit."""
    weights = [normal(setting.seed + k, 5, 5) for k in range(4)]
    x, y = normal(setting.seed + 8, 3, 5), normal(setting.seed + 9, 3, 5)
    states = [x]
    for w in weights:
        states.append(torch.tanh(states[-1] @ w))

    def back(k: int, multiplier: Tensor) -> Tensor:
        slope = 1 - states[k + 1] ** 2
        return (multiplier * slope) @ weights[k].mT

    exact = [states[4] - y]
    for k in (3, 2, 1):
        exact.insert(0, back(k, exact[0]))  # λ_k from λ_{k+1} through g_k
    leaves = [s.detach().requires_grad_() for s in states[1:]]
    errors = []
    for shift in (0, -1):
        worst = 0.0
        for k in (1, 2, 3):
            z = leaves[k - 1]
            out = z
            for j in range(k, 4):
                out = torch.tanh(out @ weights[j])
            (truth,) = torch.autograd.grad(0.5 * (out - y).square().sum(), z)
            guess = back(k + shift, exact[k])
            scale = 1.0 if shift == 0 else float(truth.abs().max())
            worst = max(worst, gap(guess, truth) / scale)
        errors.append(worst)
    return Outcome(
        {
            "error of the recursion with g_k": errors[0],
            "error with the printed g_{k-1}, relative": errors[1],
        }
    )


def _layers(seed: int) -> tuple[list[nn.Module], Tensor, Tensor]:
    layers = [
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh()),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 7)),
        nn.Tanh(),
        MLP((7, 4, 2), "tanh"),
    ]
    made = [built(seed + k, layer) for k, layer in enumerate(layers)]
    return made, normal(seed + 50, 4, 1, 6, 6), normal(seed + 51, 4, 2)


def _half(z: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (z - y).square().sum() / len(z)


def _ratio(a: Tensor, b: Tensor) -> float:
    """A over b as vectors; their directions must agree for it to be ±1."""
    return float((a * b).sum() / (b * b).sum())


def _farthest(values: list[float], wanted: float) -> float:
    return max(values, key=lambda value: abs(value - wanted))
