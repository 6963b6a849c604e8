"""The absolute value plus a little ridge: unique codes even where atoms are nearly equal."""

from __future__ import annotations

import math
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


@dataclass(frozen=True, slots=True, eq=False)
class ElasticNet(Penalty):
    r"""The elastic net :math:`\sum_i \alpha_i |z_i| + \tfrac{\beta}{2}\|z\|^2`.

    It equals the lasso for the dictionary with :math:`\sqrt\beta I` appended below it and zeros
    appended to the signals; its certificate is that lasso's.

    >>> ElasticNet(1.0, 1.0).prox(torch.tensor([3.0]), 1.0)
    tensor([1.])

    Args:
        l1: One weight, or one per atom ``(m,)``; positive.
        l2: The weight β, zero or positive.

    References:
        Zou and Hastie, "Regularization and variable selection via the elastic net", JRSS B 2005.
    """

    name: ClassVar[str] = "elastic-net"
    l1: float | Tensor
    l2: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "l1", check_weight(self.l1))
        if isinstance(self.l2, bool) or not isinstance(self.l2, int | float):
            raise TypeError(f"l2 must be a number, got {type(self.l2).__name__}")
        if not (math.isfinite(self.l2) and self.l2 >= 0):
            raise ValueError(f"l2 must be zero or positive and finite, got {self.l2}")
        object.__setattr__(self, "l2", float(self.l2))

    @property
    def curvature(self) -> float:
        """β."""
        return self.l2

    def check(self, atoms: int) -> None:
        """One weight, or one per atom."""
        check_length(self.l1, atoms)

    def value(self, z: Tensor) -> Tensor:
        """``Σ αᵢ |zᵢ| + β/2 ‖z‖²`` per sample."""
        return (weight_like(self.l1, z) * z.abs() + 0.5 * self.l2 * z.square()).sum(-1)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """Soft threshold at ``step α``, then divide by ``1 + step β``."""
        return soft_threshold(v, step * weight_like(self.l1, v)) / (1.0 + step * self.l2)

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """``|c - β z| <= α``, with equality and the sign of ``z`` where ``z`` is not zero."""
        weight = weight_like(self.l1, z)
        rest = c - self.l2 * z
        inside = (rest.abs() - weight).clamp(min=0.0)
        each = torch.where(z != 0, (rest - weight * z.sign()).abs(), inside)
        return each.amax(-1)

    def largest_scale(self, c: Tensor) -> Tensor:
        """``min αᵢ / |cᵢ|`` for ``c`` of the appended problem, that is ``Dᵀr - β z``."""
        return scale_below(c.abs(), weight_like(self.l1, c))


@dataclass(frozen=True, slots=True, eq=False)
class NonNegativeElasticNet(Penalty):
    r"""The elastic net on non-negative codes, infinite elsewhere.

    :math:`\sum_i \alpha_i z_i + \tfrac{\beta}{2}\|z\|^2` where :math:`z \ge 0`.

    >>> NonNegativeElasticNet(1.0, 1.0).prox(torch.tensor([3.0, -3.0]), 1.0)
    tensor([1., 0.])

    Args:
        l1: One weight, or one per atom ``(m,)``; positive.
        l2: The weight β, zero or positive.

    References:
        Zou and Hastie, "Regularization and variable selection via the elastic net", JRSS B 2005.
    """

    name: ClassVar[str] = "non-negative-elastic-net"
    l1: float | Tensor
    l2: float

    def __post_init__(self) -> None:
        signed = ElasticNet(self.l1, self.l2)
        object.__setattr__(self, "l1", signed.l1)
        object.__setattr__(self, "l2", signed.l2)

    @property
    def curvature(self) -> float:
        """β."""
        return self.l2

    def check(self, atoms: int) -> None:
        """One weight, or one per atom."""
        check_length(self.l1, atoms)

    def value(self, z: Tensor) -> Tensor:
        """``Σ αᵢ zᵢ + β/2 ‖z‖²``; infinite where an entry is negative."""
        total = (weight_like(self.l1, z) * z + 0.5 * self.l2 * z.square()).sum(-1)
        return torch.where((z < 0).any(-1), torch.inf, total)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """``max(v - step α, 0) / (1 + step β)``."""
        return (v - step * weight_like(self.l1, v)).clamp(min=0.0) / (1.0 + step * self.l2)

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """``c - β z <= α``, with equality where ``z > 0``."""
        excess = c - self.l2 * z - weight_like(self.l1, z)
        each = torch.where(z > 0, excess.abs(), excess.clamp(min=0.0))
        return torch.where(z < 0, torch.inf, each).amax(-1)

    def largest_scale(self, c: Tensor) -> Tensor:
        """``min αᵢ / cᵢ`` over positive ``cᵢ``, for ``c = Dᵀr - β z``."""
        return scale_below(c.clamp(min=0.0), weight_like(self.l1, c))
