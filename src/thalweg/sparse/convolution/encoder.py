"""One convolution and a curve: the networks that predict code maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.sparse.convolution.inputs import read_filters
from thalweg.sparse.convolution.operator import Boundary, ConvDictionary
from thalweg.sparse.encoders.smoothed import smooth_shrink

CURVES = ("linear", "tanh", "tanh-shrink", "sh")
SHARP = 10.0  # sharpness times threshold at the start


class ConvEncoder(nn.Module):
    r"""Code maps by a correlation with K filters of its own and a curve with settings per map.

    .. math:: z_k = f_k(V_k \star Y)

    =============== ==============================================================
    ``linear``      :math:`f_k(s) = s + c_k`
    ``tanh``        :math:`f_k(s) = g_k \tanh(s + c_k)`
    ``tanh-shrink`` :math:`f_k(s) = g_k (a - \tanh a)`, :math:`a = s + c_k`
    ``sh``          :math:`\mathrm{sh}_{\beta_k,b_k}(s)`, a smooth soft threshold
    =============== ==============================================================

    Untrained, V is the dictionary over its Lipschitz bound L and ``sh``, with thresholds ``l1/L``,
    is the first step of ISTA with its corners rounded. Images may have any size.

    Args:
        filters: Dictionary ``(K, c, a, b)``; float64.
        l1: Weight of the absolute values.
        curve: One of the table.
        boundary: As in `ConvDictionary`.

    References:
        Kavukcuoglu et al., "Learning convolutional feature hierarchies for visual recognition",
        NIPS 2010.
    """

    unit: Tensor

    def __init__(
        self, filters: Any, l1: float, curve: str = "sh", boundary: Boundary = "full"
    ) -> None:
        super().__init__()
        if curve not in CURVES:
            raise ValueError(f"unknown curve {curve!r}; choose one of {', '.join(CURVES)}")
        W = read_filters(filters)
        K, _, a, b = W.shape
        self.curve, self.boundary = curve, boundary
        L = ConvDictionary(W, (4 * a, 4 * b), "circular").lipschitz()
        self.register_buffer("unit", W.new_tensor(float(l1) / L))
        self.V = nn.Parameter((W / L).contiguous())
        if curve == "sh":
            self.raw_threshold = nn.Parameter(_inverse_softplus(W.new_ones(K)))
            self.raw_sharpness = nn.Parameter(_inverse_softplus(W.new_full((K,), SHARP)))
        else:
            self.shift = nn.Parameter(W.new_zeros(K))
        if curve in ("tanh", "tanh-shrink"):
            self.gain = nn.Parameter(W.new_ones(K))

    def forward(self, Y: Tensor) -> Tensor:
        """Code maps ``(b, K, h, w)`` of images ``(b, c, H, W)``."""
        s = ConvDictionary(self.V, (Y.shape[2], Y.shape[3]), self.boundary).correlate(Y)
        if self.curve == "sh":
            threshold = F.softplus(self.raw_threshold) * self.unit
            sharpness = F.softplus(self.raw_sharpness) / self.unit
            return smooth_shrink(s, _wide(sharpness), _wide(threshold))
        s = s + _wide(self.shift)
        if self.curve == "linear":
            return s
        return _wide(self.gain) * (s.tanh() if self.curve == "tanh" else s - s.tanh())


def _wide(per_map: Tensor) -> Tensor:
    return per_map[:, None, None]


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))
