"""Which models have a loss surface known in full? The linear unit and the quadratic bowl."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearUnit(nn.Module):
    r"""One output :math:`w^\top x`: with half the mean squared error the Hessian is E[x xᵀ]."""

    def __init__(self, inputs: int = 2, bias: bool = False) -> None:
        """Build the unit.

        Args:
            inputs: Number of inputs.
            bias: Add a constant input; on centred, balanced data it adds a curvature of 1.
        """
        super().__init__()
        self.linear = nn.Linear(inputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(b,)`` of inputs ``(b, inputs)``."""
        return self.linear(x).squeeze(-1)


class QuadraticBowl(nn.Module):
    r"""Residuals :math:`A^{1/2}(w - c)`: half their squared norm has the Hessian A everywhere.

    Weights start as standard normal numbers.
    """

    root: Tensor

    def __init__(self, root: Tensor) -> None:
        """Build the bowl.

        Args:
            root: :math:`A^{1/2}`, shape ``(p, p)``; its dtype becomes the weights'.
        """
        super().__init__()
        if root.ndim != 2 or root.shape[0] != root.shape[1]:
            raise ValueError(f"root has shape {tuple(root.shape)}; expected a square matrix.")
        self.register_buffer("root", root)
        self.w = nn.Parameter(torch.randn(len(root), dtype=root.dtype, device=root.device))

    def forward(self, centres: Tensor) -> Tensor:
        """Residuals ``(b, p)`` for centres ``(b, p)``."""
        return (self.w - centres) @ self.root.mT
