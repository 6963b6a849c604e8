r"""What does a narrow middle keep? Autoencoders, and the linear one beside principal components."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Decoder after encoder: undercomplete where the code is narrower than the input.

    Args:
        encoder: x to its code.
        decoder: Code to x′.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        """x′, of the shape of ``x``."""
        return self.decoder(self.encoder(x))


def undercomplete(inputs: int, hidden: int, code: int) -> Autoencoder:
    """inputs-hidden-code-hidden-inputs with tanh, linear code and output."""
    encoder = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, code))
    decoder = nn.Sequential(nn.Linear(code, hidden), nn.Tanh(), nn.Linear(hidden, inputs))
    return Autoencoder(encoder, decoder)


class LinearAutoencoder(nn.Module):
    r""":math:`x' = W_d(W_e x + b_e) + b_d`; its best k units span the first k principal directions.

    Units need not be the components themselves: :math:`(AW_e, W_dA^{-1})` is as good for any
    invertible A. There are no bad local minima; other eigenspaces are saddles (Baldi, Hornik 1989).

    Args:
        inputs: n.
        units: k.
        tied: :math:`W_d = W_e^\top`.
        bias: Of decoder and encoder; without them X must be centred.

    Raises:
        ValueError: k outside 1 … n.
    """

    def __init__(self, inputs: int, units: int, tied: bool = False, bias: bool = True) -> None:
        super().__init__()
        if not 1 <= units <= inputs:
            raise ValueError(f"{units} units for {inputs} inputs; wanted 1 to {inputs}.")
        self.encoder = nn.Linear(inputs, units, bias=bias)
        self.decoder = None if tied else nn.Linear(units, inputs, bias=bias)
        self.shift = nn.Parameter(torch.zeros(inputs)) if tied and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x′ ``(b, n)`` of x ``(b, n)``."""
        code = self.encoder(x)
        if self.decoder is not None:
            return self.decoder(code)
        out = code @ self.encoder.weight
        return out if self.shift is None else out + self.shift

    def projection(self) -> Tensor:
        """:math:`W_dW_e` ``(n, n)``; at the optimum the orthogonal projection on k components."""
        decoder = self.encoder.weight.mT if self.decoder is None else self.decoder.weight
        return decoder @ self.encoder.weight


class Principal(NamedTuple):
    """PCA of ``X (P, n)``.

    ``basis (n, k)`` of the first k components, ``mean (n,)``, ``tail`` = Σ_{j>k} σ_j²: the least
    ‖X - X′‖²_F of any rank-k reconstruction (Eckart, Young 1936); ``singular (min(P, n),)``.
    """

    basis: Tensor
    mean: Tensor
    tail: float
    singular: Tensor


def pca_reference(x: Tensor, k: int, centre: bool = True) -> Principal:
    """Principal components by a singular value decomposition.

    >>> found = pca_reference(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 1)
    >>> found.basis.abs().flatten().tolist(), round(found.tail, 5)
    ([1.0, 0.0], 2.0)

    Args:
        x: ``(P, n)``.
        k: Components, 1 … n.
        centre: Subtract the mean first; an autoencoder without biases sees data as they are.
    """
    mean = x.mean(0) if centre else torch.zeros_like(x[0])
    _, singular, vectors = torch.linalg.svd(x - mean, full_matrices=False)
    return Principal(vectors[:k].mT, mean, float(singular[k:].double().square().sum()), singular)


def largest_angle(first: Tensor, second: Tensor) -> float:
    """The sine of the largest principal angle between the column spans of two ``(n, k)``.

    Computed as the norm of what of one span lies outside the other: exact also where tiny.
    """
    a, _ = torch.linalg.qr(first)
    b, _ = torch.linalg.qr(second)
    return float(torch.linalg.matrix_norm(b - a @ (a.mT @ b), 2))
