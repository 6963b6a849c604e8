"""Which activations of the lectures does torch not have? Noisy ReLU, scaled tanh, maxout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaledTanh(nn.Module):
    r""":math:`A\tanh(Sa)`: with A = 1.7159 and S = 2/3 it maps ±1 to ±1.

    >>> round(ScaledTanh()(torch.tensor(1.0)).item(), 3)
    1.0

    References:
        LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 4.4.
    """

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3) -> None:
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, a: Tensor) -> Tensor:
        """Elementwise."""
        return self.amplitude * torch.tanh(self.slope * a)


class NoisyReLU(nn.Module):
    r""":math:`\max(0, a + \mathcal N(0, \sigma(a)))` in training, plain ReLU in evaluation.

    The sigmoid :math:`\sigma(a)` is the noise's variance.

    References:
        Nair, Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """

    def forward(self, a: Tensor) -> Tensor:
        """Elementwise."""
        if self.training:
            a = a + torch.sigmoid(a).sqrt() * torch.randn_like(a)
        return F.relu(a)


class Maxout(nn.Module):
    r"""The largest of several linear maps: :math:`\max_p (W_p x + b_p)`.

    Two pieces, one of them zero, are a ReLU layer.

    Args:
        inputs: Width of the input.
        outputs: Units.
        pieces: Linear maps a unit, >= 2.

    Raises:
        ValueError: Fewer than two pieces.

    References:
        Goodfellow, Warde-Farley, Mirza, Courville, Bengio, "Maxout networks", 2013.
    """

    def __init__(self, inputs: int, outputs: int, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 2:
            raise ValueError(f"pieces is {pieces}; a maximum needs at least 2.")
        self.pieces = pieces
        self.linear = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """``(…, inputs)`` to ``(…, outputs)``; a unit's pieces are consecutive rows."""
        return self.linear(x).unflatten(-1, (-1, self.pieces)).amax(-1)
