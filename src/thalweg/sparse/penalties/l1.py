"""The absolute value as penalty: plain, weighted per atom, and on non-negative codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thalweg.sparse.penalties.base import (
    Penalty,
    check_length,
    check_weight,
    scale_below,
    soft_threshold,
    weight_like,
)


@dataclass(frozen=True, slots=True)
class L1(Penalty):
    r"""The lasso penalty :math:`\alpha \sum_i |z_i|`.

    >>> L1(2.0).prox(torch.tensor([3.0, -1.0]), 1.0)
    tensor([1., 0.])

    Args:
        l1: The weight α, positive.

    References:
        Olshausen and Field, "Emergence of simple-cell receptive field properties", Nature 1996.
    """

    name: ClassVar[str] = "l1"
    l1: float

    def __post_init__(self) -> None:
        weight = check_weight(self.l1)
        if not isinstance(weight, float):
            raise ValueError(f"L1 takes one number, got {tuple(weight.shape)}; use WeightedL1")
        object.__setattr__(self, "l1", weight)

    @property
    def curvature(self) -> float:
        """Zero: there is no quadratic part."""
        return 0.0

    def check(self, atoms: int) -> None:
        """Fits any number of atoms."""

    def value(self, z: Tensor) -> Tensor:
        """``α ‖z‖₁`` per sample."""
        return self.l1 * torch.linalg.vector_norm(z, ord=1, dim=-1)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """Soft threshold at ``step α``."""
        return soft_threshold(v, step * self.l1)

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """``|c| <= α``, with equality and the sign of ``z`` where ``z`` is not zero."""
        return _two_sided(z, c, self.l1)

    def largest_scale(self, c: Tensor) -> Tensor:
        """``α / ‖c‖_∞``."""
        return self.l1 / torch.linalg.vector_norm(c, ord=torch.inf, dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class WeightedL1(Penalty):
    r"""One weight per atom: :math:`\sum_i \alpha_i |z_i|`.

    >>> WeightedL1(torch.tensor([1.0, 2.0])).value(torch.tensor([[3.0, -1.0]]))
    tensor([5.])

    Args:
        l1: The weights ``(m,)``, each positive.

    References:
        Zou, "The adaptive lasso and its oracle properties", JASA 2006.
    """

    name: ClassVar[str] = "weighted-l1"
    l1: Tensor

    def __post_init__(self) -> None:
        weight = check_weight(self.l1)
        if isinstance(weight, float):
            raise ValueError("WeightedL1 takes one weight per atom, got one number; use L1")
        object.__setattr__(self, "l1", weight)

    @property
    def curvature(self) -> float:
        """Zero: there is no quadratic part."""
        return 0.0

    def check(self, atoms: int) -> None:
        """One weight per atom."""
        check_length(self.l1, atoms)

    def value(self, z: Tensor) -> Tensor:
        """``Σ αᵢ |zᵢ|`` per sample."""
        return (weight_like(self.l1, z) * z.abs()).sum(-1)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """Soft threshold at ``step αᵢ``."""
        return soft_threshold(v, step * weight_like(self.l1, v))

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """``|cᵢ| <= αᵢ``, with equality and the sign of ``zᵢ`` where ``zᵢ`` is not zero."""
        return _two_sided(z, c, weight_like(self.l1, z))

    def largest_scale(self, c: Tensor) -> Tensor:
        """``min αᵢ / |cᵢ|``."""
        return scale_below(c.abs(), weight_like(self.l1, c))


@dataclass(frozen=True, slots=True, eq=False)
class NonNegativeL1(Penalty):
    r"""Non-negative codes: :math:`\sum_i \alpha_i z_i` where :math:`z \ge 0`, infinite elsewhere.

    >>> NonNegativeL1(1.0).prox(torch.tensor([3.0, -3.0]), 1.0)
    tensor([2., 0.])

    Args:
        l1: One weight, or one per atom ``(m,)``; positive.

    References:
        Hoyer, "Non-negative sparse coding", NNSP 2002.
    """

    name: ClassVar[str] = "non-negative"
    l1: float | Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "l1", check_weight(self.l1))

    @property
    def curvature(self) -> float:
        """Zero: there is no quadratic part."""
        return 0.0

    def check(self, atoms: int) -> None:
        """One weight, or one per atom."""
        check_length(self.l1, atoms)

    def value(self, z: Tensor) -> Tensor:
        """``Σ αᵢ zᵢ``; infinite where an entry is negative."""
        total = (weight_like(self.l1, z) * z).sum(-1)
        return torch.where((z < 0).any(-1), torch.inf, total)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """``max(v - step α, 0)``."""
        return (v - step * weight_like(self.l1, v)).clamp(min=0.0)

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """``cᵢ <= αᵢ``, with equality where ``zᵢ > 0``."""
        excess = c - weight_like(self.l1, z)
        each = torch.where(z > 0, excess.abs(), excess.clamp(min=0.0))
        return torch.where(z < 0, torch.inf, each).amax(-1)

    def largest_scale(self, c: Tensor) -> Tensor:
        """``min αᵢ / cᵢ`` over positive ``cᵢ``."""
        return scale_below(c.clamp(min=0.0), weight_like(self.l1, c))


def _two_sided(z: Tensor, c: Tensor, weight: float | Tensor) -> Tensor:
    inside = (c.abs() - weight).clamp(min=0.0)
    return torch.where(z != 0, (c - weight * z.sign()).abs(), inside).amax(-1)
