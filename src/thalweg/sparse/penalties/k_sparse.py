"""A budget instead of a price: at most k atoms may be used."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thalweg.sparse.penalties.base import Penalty


@dataclass(frozen=True, slots=True)
class KSparse(Penalty):
    r"""Zero where :math:`\|z\|_0 \le k`, infinite elsewhere. Not convex: there is no duality gap.

    >>> KSparse(1).prox(torch.tensor([3.0, -4.0]), 1.0).tolist()
    [0.0, -4.0]

    Args:
        k: How many entries may differ from zero, at least 1.

    References:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993.
    """

    name: ClassVar[str] = "k-sparse"
    has_dual: ClassVar[bool] = False
    k: int

    def __post_init__(self) -> None:
        if isinstance(self.k, bool):
            raise TypeError("k must be an integer, got a bool")
        try:
            k = operator.index(self.k)
        except TypeError as error:
            raise TypeError(f"k must be an integer, got {self.k!r}") from error
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        object.__setattr__(self, "k", k)

    @property
    def curvature(self) -> float:
        """Zero: there is no quadratic part."""
        return 0.0

    def check(self, atoms: int) -> None:
        """No more entries than atoms."""
        if self.k > atoms:
            raise ValueError(f"k is {self.k} but the dictionary has only {atoms} atoms")

    def value(self, z: Tensor) -> Tensor:
        """0 within the budget, infinite above it."""
        return torch.where((z != 0).sum(-1) > self.k, torch.inf, 0.0).to(z.dtype)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """Keep the k entries of largest magnitude (the first of equals); ``step`` plays no role."""
        kept = v.abs().sort(dim=-1, descending=True, stable=True).indices[..., : self.k]
        return torch.zeros_like(v).scatter(-1, kept, v.gather(-1, kept))

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """Gradient on the support; on every atom where the budget is not used up.

        Zero means stationary: no small move within the budget improves. Larger moves might.
        """
        used = (z != 0).sum(-1, keepdim=True)
        free = (z != 0) | (used < self.k)
        return torch.where(
            used.squeeze(-1) > self.k, torch.inf, torch.where(free, c.abs(), 0.0).amax(-1)
        )

    def largest_scale(self, c: Tensor) -> Tensor:
        """There is no dual.

        Raises:
            ValueError: Always.
        """
        raise ValueError("k-sparse codes have no duality gap: the problem is not convex")
