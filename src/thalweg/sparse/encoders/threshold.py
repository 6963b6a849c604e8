"""The soft threshold as a layer: the same values as `soft_threshold`, a cheaper backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from thalweg.sparse.penalties.base import soft_threshold


class Threshold(torch.autograd.Function):
    r""":math:`h_\theta(v)` with gradients read off its output.

    Where ``z ≠ 0`` the slope in v is 1 and in θ is −sign(z); elsewhere both are 0. Autograd through
    clamps gives the same and takes several passes over memory for it.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, theta: Tensor) -> Tensor:
        """Values ``(b, m)`` for ``v (b, m)`` and thresholds ``(m,)``."""
        z = soft_threshold(v, theta)
        ctx.save_for_backward(z)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, Tensor | None]:  # pyrefly: ignore
        """Gradients of v and θ."""
        (z,) = ctx.saved_tensors
        sign = z.sign()
        g_theta = None
        if ctx.needs_input_grad[1]:
            g_theta = (grad_outputs[0] * sign).sum(0).neg_()
        return grad_outputs[0] * sign.abs_(), g_theta


def threshold(v: Tensor, theta: Tensor) -> Tensor:
    r"""The layer :math:`h_\theta(v)`: ``v (b, m)``, ``theta (m,)``."""
    return Threshold.apply(v, theta)  # pyrefly: ignore
