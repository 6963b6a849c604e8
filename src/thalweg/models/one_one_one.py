r"""Which network has a loss surface that fits on a page? One input, one hidden unit, one output."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class OneOneOne(nn.Module):
    r"""The 1-1-1 network: :math:`w_2 w_1 x`, or with biases and a sigmoid after both layers.

    ``linear``: two weights, no bias. On the one sample (1, 1) with the squared error the loss is
    :math:`(1 - w_1 w_2)^2`: minima along the hyperbola :math:`w_1 w_2 = 1`, a saddle at the origin
    with curvatures ±2. ``tanh``: :math:`f(w_2 f(w_1 x + b_1) + b_2)` with
    :math:`f(a) = 1.71\tanh(2a/3)`.

    Weights start as standard normal numbers.

    >>> OneOneOne((2.0, 3.0))(torch.ones(1, 1)).item()
    6.0

    References:
        LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 5.3.
    """

    def __init__(self, weights: tuple[float, float] | None = None, kind: str = "linear") -> None:
        """Build the network.

        Args:
            weights: :math:`w_1` and :math:`w_2`, float64; drawn where None.
            kind: ``"linear"`` or ``"tanh"`` (then with two biases, starting at 0).

        Raises:
            ValueError: An unknown kind.
        """
        super().__init__()
        if kind not in ("linear", "tanh"):
            raise ValueError(f"kind is {kind!r}; known: linear, tanh.")
        self.kind = kind
        start = torch.randn(2) if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.w = nn.Parameter(start)
        self.b = nn.Parameter(torch.zeros_like(start)) if kind == "tanh" else None

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(b, 1)`` of inputs ``(b, 1)``."""
        if self.b is None:
            return self.w[1] * (self.w[0] * x)
        return _sigmoid(self.w[1] * _sigmoid(self.w[0] * x + self.b[0]) + self.b[1])


def _sigmoid(a: Tensor) -> Tensor:
    return 1.71 * torch.tanh(2 * a / 3)


def one_one_one_loss(w: Tensor) -> Tensor:
    r""":math:`(1 - w_1 w_2)^2` at points ``(*batch, 2)``, shape ``(*batch,)``."""
    return (1 - w[..., 0] * w[..., 1]).square()


def one_one_one_hessian(w: Tensor) -> Tensor:
    r"""Its Hessian ``(*batch, 2, 2)`` in closed form.

    .. math:: \begin{pmatrix} 2w_2^2 & 4w_1w_2 - 2 \\ 4w_1w_2 - 2 & 2w_1^2 \end{pmatrix}
    """
    a, b = w[..., 0], w[..., 1]
    cross = 4 * a * b - 2
    rows = [torch.stack([2 * b * b, cross], -1), torch.stack([cross, 2 * a * a], -1)]
    return torch.stack(rows, -2)


def one_one_one_samples(n: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two classes of ``n`` numbers from N(∓1, 0.4²) with targets ∓1, each ``(2n, 1)`` float64."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.cat([-torch.ones(n, 1), torch.ones(n, 1)]).double()
    noise = torch.randn(2 * n, 1, generator=generator, dtype=torch.float64)
    return target + math.sqrt(0.16) * noise, target
