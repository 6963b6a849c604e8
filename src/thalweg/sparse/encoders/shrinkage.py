"""The one-layer encoder: what a single linear map and a threshold can say about a sparse code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thalweg.linalg.power import gram_bound
from thalweg.sparse.encoders.base import Encoder
from thalweg.sparse.encoders.threshold import threshold


class Shrinkage(Encoder):
    r"""One layer, :math:`z = h_\theta(W_e x)`: LISTA of depth 0.

    Untrained it is ISTA's first iterate from zero: ``W_e = Dᵀ/L``, ``θ = l1/L``.

    >>> shrink = Shrinkage(torch.eye(2, dtype=torch.float64), l1=1.0)
    >>> shrink(torch.tensor([[3.0, -0.5]], dtype=torch.float64)).tolist()
    [[2.0, 0.0]]

    Args:
        D: Dictionary ``(n, m)``.
        l1: Weight of the L1 term.
        learn_theta: Train the thresholds too.

    References:
        Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    """

    def __init__(self, D: Any, l1: float, learn_theta: bool = True) -> None:
        super().__init__(D, l1)
        L = gram_bound(self.D)
        self.W_e = nn.Parameter((self.D.T / L).contiguous())
        self.theta = nn.Parameter(
            torch.full((self.m,), self.l1 / L, dtype=self.D.dtype, device=self.D.device),
            requires_grad=learn_theta,
        )

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        return threshold(X @ self.W_e.T, self.theta.clamp_min(0))

    @torch.no_grad()
    def project_(self) -> None:
        """Keep thresholds non-negative."""
        self.theta.clamp_min_(0)

    def multiplies(self) -> int:
        """Multiplications for one signal: ``nm``."""
        return self.n * self.m
