"""How deep is a network whose residual blocks are dropped at random while it trains?"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def linear_decay(blocks: int, p_last: float = 0.5) -> tuple[float, ...]:
    r"""Survival probabilities :math:`p_l = 1 - \frac lL(1 - p_L)`, l = 1 … L.

    Their sum is the expected depth, :math:`(3L-1)/4` for :math:`p_L = \tfrac12`.

    >>> round(sum(linear_decay(54)), 10)
    40.25

    Raises:
        ValueError: No blocks, or a probability outside [0, 1].
    """
    if blocks < 1 or not 0 <= p_last <= 1:
        raise ValueError(f"{blocks} blocks with p_last {p_last}; wanted >= 1 and [0, 1].")
    return tuple(1 - layer / blocks * (1 - p_last) for layer in range(1, blocks + 1))


class StochasticDepthBlock(nn.Module):
    r"""``ReLU(b f(h) + h)``, b drawn once a batch in training; ``ReLU(p f(h) + h)`` in evaluation.

    The paper's convention: torchvision's layer divides by p in training instead. A dropped block is
    multiplied by 0, not skipped, so that a population of networks can share one pass.

    Args:
        branch: f, with the shape of its input as output.
        p: Probability that the branch survives, in [0, 1].

    Raises:
        ValueError: Another p.

    References:
        Huang, Sun, Liu, Sedra, Weinberger, "Deep networks with stochastic depth", 2016.
    """

    def __init__(self, branch: nn.Module, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}; wanted a probability in [0, 1].")
        self.branch, self.p = branch, p

    def forward(self, h: Tensor) -> Tensor:
        """Of the shape of ``h``."""
        if self.training:
            alive: Tensor | float = (torch.rand((), device=h.device) < self.p).to(h.dtype)
        else:
            alive = self.p
        return torch.relu(alive * self.branch(h) + h)

    def extra_repr(self) -> str:
        """Shown when the module is printed."""
        return f"p={self.p:.3g}"


class StochasticDepthNet(nn.Module):
    """A linear layer, residual blocks of two linear layers each, and a linear read-out.

    Args:
        inputs: Width of the flattened input.
        width: Units of each block.
        blocks: Their number L.
        outputs: Outputs.
        p_last: Survival of the last block; 1 is the plain residual network.
    """

    def __init__(
        self, inputs: int, width: int, blocks: int, outputs: int, p_last: float = 0.5
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())
        self.blocks = nn.Sequential(
            *(StochasticDepthBlock(_branch(width), p) for p in linear_decay(blocks, p_last))
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(b, outputs)`` of inputs ``(b, …)``, flattened."""
        return self.head(self.blocks(self.stem(x.flatten(1))))


def _branch(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
