"""What is a multilayer perceptron here? Linear layers, one activation, optional batch norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky-relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


class MLP(nn.Module):
    """Linear layers of the given widths with an activation between them, none at the end.

    Weights start as torch's own defaults (Kaiming uniform with a = √5: variance 1/(3 fan-in)).

    >>> sum(p.numel() for p in MLP((64, 64, 10)).parameters())
    4810
    """

    def __init__(
        self, widths: Sequence[int], activation: str = "relu", batch_norm: bool = False
    ) -> None:
        """Build the network.

        Args:
            widths: Inputs, hidden widths, outputs: at least two numbers >= 1.
            activation: One of ``ACTIVATIONS``, such as ``relu tanh sigmoid identity``.
            batch_norm: Normalise before each activation (the linear layer then has no bias, which
                the normalisation would cancel).

        Raises:
            ValueError: Fewer than two widths, a width < 1, or an unknown activation.
        """
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths are {tuple(widths)}; give at least two numbers >= 1.")
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation '{activation}'; known: {', '.join(ACTIVATIONS)}.")
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths[:-1]):
            layers.append(nn.Linear(wide, narrow, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(narrow))
            layers.append(ACTIVATIONS[activation]())
        layers.append(nn.Linear(widths[-2], widths[-1]))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(b, widths[-1])`` of inputs ``(b, ...)``, flattened to ``(b, widths[0])``."""
        return self.layers(x.flatten(1))
