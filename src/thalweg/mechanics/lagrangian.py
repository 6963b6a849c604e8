r"""Why is backpropagation an adjoint? Layers as constraints, and the multipliers that hold them.

Minimise :math:`C(z_K, y)` subject to :math:`z_{k+1} = g_k(z_k, w_k)`, :math:`z_0 = x`. With

.. math:: L = C(z_K, y) + \sum_k \lambda_{k+1}^\top\,(g_k(z_k, w_k) - z_{k+1})

the multipliers are the gradients, :math:`\lambda_k = \partial C/\partial z_k`. The slides write
:math:`z_{k+1} - g_k` instead, which turns every multiplier's sign (``sign=-1`` here).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Solution(NamedTuple):
    """Where the Lagrangian is stationary in states and multipliers.

    ``states`` are z₀ … z_K, ``multipliers`` λ₁ … λ_K, ``gradients`` one dictionary of weight
    gradients ``∂L/∂w`` a layer.
    """

    states: tuple[Tensor, ...]
    multipliers: tuple[Tensor, ...]
    gradients: tuple[dict[str, Tensor], ...]


class Residuals(NamedTuple):
    """Largest violation of each optimality condition, as absolute numbers.

    ``constraint``: ∂L/∂λ, a layer's output against its state; ``adjoint``: ∂L/∂z, the backward
    recursion; ``weight``: ∂L/∂w, zero only where training has ended.
    """

    constraint: float
    adjoint: float
    weight: float


class LagrangianNet:
    """A chain of layers under a cost, read as constrained optimisation.

    >>> layers = [nn.Linear(1, 1, bias=False)]
    >>> _ = layers[0].weight.data.fill_(3.0)
    >>> net = LagrangianNet(layers, lambda z, y: 0.5 * (z - y).square().sum())
    >>> solution = net.solve(torch.tensor([[2.0]]), torch.tensor([[5.0]]))
    >>> solution.multipliers[0].item(), solution.gradients[0]["weight"].item()
    (1.0, 2.0)

    Args:
        layers: Modules z → g(z), in order. Deterministic in the mode they are in; batch statistics
            would couple samples, which is allowed.
        cost: ``(z_K, y) -> scalar``.
        sign: +1 for L above; -1 for the slides' form, whose multipliers are minus the gradients.

    Raises:
        ValueError: No layers, or another sign.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        cost: Callable[[Tensor, Tensor], Tensor],
        sign: int = 1,
    ) -> None:
        if not layers or sign not in (1, -1):
            raise ValueError(f"{len(layers)} layers and sign {sign!r}; wanted some, and 1 or -1.")
        self.layers, self.cost, self.sign = tuple(layers), cost, sign

    def solve(self, x: Tensor, y: Tensor) -> Solution:
        """States by one forward sweep, multipliers and gradients by one backward sweep.

        Args:
            x: Inputs ``(b, …)``.
            y: What the cost compares with.
        """
        states, pullbacks = [x.detach()], []
        for layer in self.layers:
            z, pullback = _pull(layer, states[-1])
            states.append(z)
            pullbacks.append(pullback)
        multiplier = self.sign * torch.func.grad(lambda z: self.cost(z, y))(states[-1])
        multipliers, gradients = [multiplier], []
        for pullback in reversed(pullbacks):
            by_weight, multiplier = pullback(multiplier)  # (∂g/∂w)ᵀ λ and (∂g/∂z)ᵀ λ
            gradients.append({name: self.sign * g for name, g in by_weight.items()})
            multipliers.append(multiplier)
        return Solution(
            tuple(states), tuple(reversed(multipliers[:-1])), tuple(reversed(gradients))
        )

    def value(self, states: Sequence[Tensor], multipliers: Sequence[Tensor], y: Tensor) -> Tensor:
        """The Lagrangian, with all states and multipliers free."""
        total = self.cost(states[-1], y)
        for layer, before, after, multiplier in zip(
            self.layers, states[:-1], states[1:], multipliers, strict=True
        ):
            total = total + self.sign * (multiplier * (layer(before) - after)).sum()
        return total

    def residuals(
        self, states: Sequence[Tensor], multipliers: Sequence[Tensor], y: Tensor
    ) -> Residuals:
        """How far a point is from stationary, by derivatives of the Lagrangian itself."""
        free = [z.detach().requires_grad_() for z in states[1:]]
        held = [m.detach().requires_grad_() for m in multipliers]
        weights = [p for layer in self.layers for p in layer.parameters()]
        total = self.value([states[0].detach(), *free], held, y)
        found = torch.autograd.grad(
            total, [*held, *free, *weights], allow_unused=True, materialize_grads=True
        )
        k = len(held)
        parts = found[:k], found[k : 2 * k], found[2 * k :]
        return Residuals(
            *(max((float(g.abs().max()) for g in part), default=0.0) for part in parts)
        )

    def relax(self, x: Tensor, y: Tensor, sweeps: int, rate: float = 1.0) -> Solution:
        r"""States and multipliers as free variables, every layer updated from its neighbours alone.

        .. math:: z_{k+1} \leftarrow z_{k+1} + r\,(g_k(z_k) - z_{k+1}), \qquad
            \lambda_k \leftarrow \lambda_k + r\,(J_k^\top\lambda_{k+1} - \lambda_k)

        Each set moves along the Lagrangian's derivative by the other. From zero, with rate 1, the
        forward-backward solution is reached exactly after 2K sweeps; with 0 < r < 1 geometrically.

        Args:
            x: Inputs ``(b, …)``.
            y: What the cost compares with.
            sweeps: How many simultaneous updates.
            rate: In (0, 1].

        Raises:
            ValueError: A rate outside (0, 1].
        """
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate}; it must be in (0, 1].")
        shapes = self.solve(x, y).states  # for their shapes alone
        z = [x.detach(), *(torch.zeros_like(s) for s in shapes[1:])]
        m = [torch.zeros_like(s) for s in shapes[1:]]
        gradients: list[dict[str, Tensor]] = []
        for _ in range(sweeps):
            outputs, pulled, gradients = [], [], []
            for k, layer in enumerate(self.layers):
                out, pullback = _pull(layer, z[k])
                by_weight, by_state = pullback(m[k])
                outputs.append(out)
                pulled.append(by_state)
                gradients.append({name: self.sign * g for name, g in by_weight.items()})
            end = self.sign * torch.func.grad(lambda last: self.cost(last, y))(z[-1])
            m = [v + rate * (w - v) for v, w in zip(m, [*pulled[1:], end], strict=True)]
            z = [x.detach(), *(v + rate * (w - v) for v, w in zip(z[1:], outputs, strict=True))]
        return Solution(tuple(z), tuple(m), tuple(gradients))


def _pull(layer: nn.Module, z: Tensor) -> tuple[Tensor, Any]:
    """The layer's output, and the map from λ to ((∂g/∂w)ᵀ λ by name, (∂g/∂z)ᵀ λ)."""
    weights = {name: p.detach() for name, p in layer.named_parameters()}
    found: Any = torch.func.vjp(
        lambda w, state: torch.func.functional_call(layer, w, (state,)), weights, z
    )
    return found
