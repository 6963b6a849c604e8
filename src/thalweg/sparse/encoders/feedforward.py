"""The plain encoders of predictive sparse decomposition: one linear map and a fixed curve."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thalweg.sparse.encoders.base import Encoder


class _FeedForward(Encoder):
    """What the three share: ``a = W_e x + bias``, from ``W_e = Dᵀ`` and no bias."""

    def __init__(self, D: Any, l1: float) -> None:
        super().__init__(D, l1)
        self.W_e = nn.Parameter(self.D.T.contiguous())
        self.bias = nn.Parameter(self.D.new_zeros(self.m))

    def project_(self) -> None:
        """Nothing to keep in bounds."""

    def multiplies(self) -> int:
        """Multiplications for one signal: ``nm`` (and m for a gain)."""
        return self.n * self.m


class Linear(_FeedForward):
    r"""A linear predictor of codes, :math:`z = W_e x + b`.

    >>> Linear(torch.eye(2), l1=1.0)(torch.tensor([[3.0, -0.5]])).tolist()
    [[3.0, -0.5]]
    """

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        return X @ self.W_e.T + self.bias


class Tanh(_FeedForward):
    r"""The encoder of the paper, :math:`z = G \tanh(W_e x + b)` with a diagonal gain G.

    >>> Tanh(torch.eye(2), l1=1.0)(torch.zeros(1, 2)).tolist()
    [[0.0, 0.0]]

    References:
        Kavukcuoglu, Ranzato and LeCun, "Fast inference in sparse coding algorithms with
        applications to object recognition", 2008.
    """

    def __init__(self, D: Any, l1: float) -> None:
        super().__init__(D, l1)
        self.gain = nn.Parameter(self.D.new_ones(self.m))

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        return self.gain * torch.tanh(X @ self.W_e.T + self.bias)


class TanhShrink(_FeedForward):
    r"""A smooth shrinkage, :math:`z = G\,(a - \tanh a)` with :math:`a = W_e x + b`.

    >>> TanhShrink(torch.eye(2), l1=1.0)(torch.zeros(1, 2)).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, D: Any, l1: float) -> None:
        super().__init__(D, l1)
        self.gain = nn.Parameter(self.D.new_ones(self.m))

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        a = X @ self.W_e.T + self.bias
        return self.gain * (a - torch.tanh(a))
