"""Linear layers of K members: one batched product, with bias, ReLU and a backward of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.race.population.stacked.stack import Leaf, Ref, Stack


class Linear(Leaf):
    r"""K maps :math:`y_k = x_k W_k^\top + b_k`, with :math:`\max(0, \cdot)` fused if asked.

    Args:
        stack: The shared state.
        where: The module's name.
        weight: ``(K, outputs, inputs)``.
        bias: ``(K, outputs)`` or None.
        relu: Whether a ReLU follows that nobody else sees.
    """

    def __init__(
        self, stack: Stack, where: str, weight: Ref, bias: Ref | None, relu: bool = False
    ) -> None:
        super().__init__(stack, where)
        self.ref, self.bias_ref, self.relu = weight, bias, relu

    def forward(self, x: Tensor) -> Tensor:
        """``(K r, ..., outputs)`` of ``(K r, ..., inputs)``."""
        axis = self.axis(x)
        if axis == 0:
            return linear(self.stack, x, self.ref, self.bias_ref, self.relu)
        y = linear(self.stack, self.lead(x, axis), self.ref, self.bias_ref, self.relu)
        return self.back(y, axis)


def linear(
    stack: Stack, x: Tensor, weight: Ref, bias: Ref | None = None, relu: bool = False
) -> Tensor:
    """The map itself; also for the projections inside attention."""
    return _Linear.apply(x, stack.anchor, stack.k, weight, bias, relu)


def forward(rows: Tensor, weight: Ref, bias: Ref | None, relu: bool) -> Tensor:
    """``(K, r, outputs)`` of ``(K, r, inputs)``."""
    y = torch.bmm(rows, weight.value.mT)
    if bias is not None:  # baddbmm fills y with the bias first: a step takes 0 to 3 % longer
        y.add_(bias.value[:, None])
    return y.relu_() if relu else y


def backward(
    d: Tensor, rows: Tensor, y: Tensor | None, weight: Ref, bias: Ref | None, passes: bool
) -> Tensor:
    """Put the parameters' gradients in their place; return the input's if it ``passes`` on.

    ``y`` is the output where a ReLU was fused.
    """
    if y is not None:
        d = torch.ops.aten.threshold_backward(d, y, 0)
    weight.add_product(d.mT, rows)
    if bias is not None:
        bias.add_sum(d)
    return torch.bmm(d, weight.value) if passes else d


class _Linear(torch.autograd.Function):
    """Weight gradients go straight to the flat buffer; only the input's is passed on."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, anchor: Tensor, k: int, weight: Ref, bias: Ref | None, relu: bool
    ) -> Tensor:
        rows = x.reshape(k, -1, weight.value.shape[2])
        y = forward(rows, weight, bias, relu).view(*x.shape[:-1], -1)
        ctx.save_for_backward(rows, y if relu else None)
        ctx.use = k, weight, bias, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore
        (dy,) = grad_outputs
        rows, y = ctx.saved_tensors
        k, weight, bias, shape = ctx.use
        passes = ctx.needs_input_grad[0]
        if y is not None:
            y = y.view(k, -1, y.shape[-1])
        dx = backward(dy.reshape(k, -1, dy.shape[-1]), rows, y, weight, bias, passes)
        return dx.view(shape) if passes else None, None, None, None, None, None
