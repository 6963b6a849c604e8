"""The smooth soft threshold ``sh`` of convolutional PSD, and the encoder that ends in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.linalg.power import gram_bound
from thalweg.sparse.encoders.base import Encoder

_START = 10.0  # sharpness times threshold at the start: the knee is within 7 % of the threshold


def smooth_shrink(s: Tensor, sharpness: Tensor | float, threshold: Tensor | float) -> Tensor:
    r"""A smooth, odd soft threshold with its knee at b.

    .. math:: \mathrm{sh}_{\beta,b}(s) = \mathrm{sign}(s)\,
        \bigl(\tfrac1\beta\log(e^{\beta b} + e^{\beta|s|} - 1) - b\bigr)

    It exceeds the soft threshold of b by at most :math:`\log 2/\beta`, at :math:`|s| = b`; its
    slope at 0 is :math:`e^{-\beta b}`. No exponential overflows.

    >>> smooth_shrink(torch.tensor([0.0, 3.0]), 100.0, 1.0).tolist()
    [0.0, 2.0]

    Args:
        s: Any shape.
        sharpness: β, positive; broadcast against ``s``.
        threshold: b, 0 or more; broadcast against ``s``.

    References:
        Kavukcuoglu et al., "Learning convolutional feature hierarchies for visual recognition",
        2010 (typeset there without the bracket that makes it odd).
    """
    side = torch.where(s >= 0, 1.0, -1.0).to(s)
    product = sharpness * threshold
    knee = product.to(s) if isinstance(product, Tensor) else s.new_tensor(product)
    size = sharpness * (s * side)  # β|s|, with the right slope at 0
    high, low = torch.maximum(knee, size), torch.minimum(knee, size)
    raised = high + torch.log1p(torch.exp(low - high) - torch.exp(-high))
    return side * (raised - knee) / sharpness


class SmoothShrink(Encoder):
    r"""One linear map and a smooth threshold for each unit.

    .. math:: z_i = \mathrm{sh}_{\beta_i,b_i}\bigl((W_e x)_i\bigr)

    Untrained it is ISTA's first step with its corners rounded: ``W_e = Dᵀ/L``, ``b = l1/L`` and
    ``β b = 10``. Both stay positive by a softplus, in units of ``l1/L``.

    >>> D = torch.eye(2, dtype=torch.float64)
    >>> z = SmoothShrink(D, l1=1.0)(torch.tensor([[3.0, 0.0]], dtype=torch.float64))
    >>> [round(v, 4) for v in z[0].tolist()]
    [2.0, 0.0]

    Args:
        D: Dictionary ``(n, m)``.
        l1: Weight of the L1 term.
    """

    unit: Tensor

    def __init__(self, D: Any, l1: float) -> None:
        super().__init__(D, l1)
        L = gram_bound(self.D)
        self.register_buffer("unit", self.D.new_tensor(self.l1 / L))
        self.W_e = nn.Parameter((self.D.T / L).contiguous())
        self.raw_threshold = nn.Parameter(_inverse_softplus(self.D.new_ones(self.m)))
        self.raw_sharpness = nn.Parameter(_inverse_softplus(self.D.new_full((self.m,), _START)))

    @property
    def threshold(self) -> Tensor:
        """The thresholds b ``(m,)``."""
        return F.softplus(self.raw_threshold) * self.unit

    @property
    def sharpness(self) -> Tensor:
        """The sharpnesses β ``(m,)``."""
        return F.softplus(self.raw_sharpness) / self.unit

    def forward(self, X: Tensor) -> Tensor:
        """Codes ``(b, m)`` of signals ``(b, n)``."""
        return smooth_shrink(X @ self.W_e.T, self.sharpness, self.threshold)

    def project_(self) -> None:
        """Nothing to keep in bounds: the softplus does."""

    def multiplies(self) -> int:
        """Multiplications for one signal: ``nm`` (and a few for each threshold)."""
        return self.n * self.m


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))
