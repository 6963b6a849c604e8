"""Pools that overlap: a smoothed sum of their norms, with a bound and a dual for it.

Overlapping pools have no closed prox, so this is no member of ``PENALTIES``: it is minimised by
majorisation (``thalweg.sparse.topographic``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.sparse.penalties.base import check_weight


@dataclass(frozen=True, slots=True, eq=False)
class OverlappingGroup:
    r"""The smoothed overlapping group penalty.

    .. math:: \Omega_\varepsilon(z) = \alpha \sum_p \sqrt{\textstyle\sum_{i\in p} w_i z_i^2
        + \varepsilon}

    It is convex and smooth; it exceeds the unsmoothed penalty by at most
    :math:`\alpha\sqrt\varepsilon` a pool.

    >>> pools = OverlappingGroup(1.0, torch.tensor([[0, 1], [1, 2]]), eps=0.0)
    >>> pools.value(torch.tensor([3.0, 4.0, 0.0])).item()
    9.0

    Args:
        l1: The weight α, positive.
        pools: Units of each pool ``(pools, size)``; every unit in at least one.
        weights: Weight of each place in a pool ``(size,)``, positive; ones by default.
        eps: The smoothing ε, on the scale of a squared pool norm; above 0 for inference.

    References:
        Kavukcuoglu, Ranzato, Fergus and LeCun, "Learning invariant features through topographic
        filter maps", 2009; Hyvärinen and Hoyer 2001.
    """

    l1: float
    pools: Tensor
    weights: Tensor | None = None
    eps: float = 1e-6

    def __post_init__(self) -> None:
        l1 = check_weight(self.l1)
        if not isinstance(l1, float):
            raise ValueError("l1 must be one number for all pools")
        if not (self.eps >= 0 and math.isfinite(self.eps)):
            raise ValueError(f"eps must be 0 or more and finite, got {self.eps!r}")
        pools = torch.as_tensor(self.pools)
        if pools.ndim != 2 or pools.dtype != torch.int64 or pools.numel() == 0:
            raise ValueError(
                "pools must list the units of each pool, integers (pools, size), got "
                f"{pools.dtype} of shape {tuple(pools.shape)}"
            )
        used = torch.unique(pools)
        if not torch.equal(used, torch.arange(len(used), device=pools.device)):
            raise ValueError("every unit must be in a pool: numbers 0 … m - 1, none left out")
        ordered = pools.sort(1).values
        if bool((ordered[:, 1:] == ordered[:, :-1]).any()):
            raise ValueError("a pool names a unit twice")
        weights = torch.ones(pools.shape[1]) if self.weights is None else self.weights
        weights = torch.as_tensor(weights).to(torch.float64)
        if weights.shape != (pools.shape[1],) or not bool(
            (torch.isfinite(weights) & (weights > 0)).all()
        ):
            raise ValueError(f"weights must be {pools.shape[1]} positive numbers")
        object.__setattr__(self, "l1", l1)
        object.__setattr__(self, "pools", pools)
        object.__setattr__(self, "weights", weights)

    @property
    def units(self) -> int:
        """Number of units m."""
        return int(self.pools.max()) + 1

    def matrix(self, like: Tensor) -> Tensor:
        """The weights as a matrix ``(pools, m)``, zero outside a pool, in the kind of ``like``."""
        held = torch.zeros(len(self.pools), self.units, dtype=torch.float64)
        held.scatter_(1, self.pools.cpu(), torch.as_tensor(self.weights).expand(self.pools.shape))
        return held.to(like)

    def norms(self, z: Tensor, matrix: Tensor | None = None) -> Tensor:
        """``√(Σ w z² + ε)``: ``(..., m)`` to ``(..., pools)``; without ε where it is 0."""
        matrix = self.matrix(z) if matrix is None else matrix
        return (z.square() @ matrix.T + self.eps).sqrt()

    def value(self, z: Tensor, matrix: Tensor | None = None) -> Tensor:
        """The penalty per sample: ``(..., m)`` to ``(...)``."""
        return self.l1 * self.norms(z, matrix).sum(-1)

    def curvature(self, z: Tensor, matrix: Tensor | None = None) -> Tensor:
        r"""Diagonal λ of the quadratic above the penalty that touches it at z: ``(..., m)``.

        :math:`\Omega(v) \le \Omega(z) + \tfrac12\sum_i\lambda_i(v_i^2 - z_i^2)` for all v, with
        :math:`\lambda_i = \alpha\sum_{p\ni i} w_i / \|z\|_p`; the gradient at z is ``λ z``.
        """
        matrix = self.matrix(z) if matrix is None else matrix
        return self.l1 * (1.0 / self.norms(z, matrix)) @ matrix

    def dual(self, z: Tensor, c: Tensor) -> tuple[Tensor, Any]:
        r"""Largest scale and conjugate that make ``c (b, m)`` a point of the dual.

        ``c`` is split over the pools: the gradient's own parts, plus what differs from it in
        proportion to the weights. Then :math:`s\,c` is feasible for
        ``s <= scale``, and ``conjugate(s)`` bounds :math:`\Omega^*_\varepsilon(s c)` from above.
        """
        pools, w = self.pools.to(z.device), torch.as_tensor(self.weights).to(z)
        matrix = self.matrix(z)
        norms = self.norms(z, matrix).clamp_min(1e-300)
        rest = (c - self.curvature(z, matrix) * z) / matrix.sum(0)  # (b, m), shared out by weight
        parts = self.l1 * z[:, pools] / norms.unsqueeze(-1) + rest[:, pools]  # u / w, (b, p, size)
        size = (parts.square() * w).sum(-1).sqrt()  # ‖u‖ in the dual norm of the pool
        largest = self.l1 / size.amax(-1)

        def conjugate(s: Tensor) -> Tensor:
            inside = (self.l1**2 - (s.unsqueeze(-1) * size).square()).clamp_min(0)
            return -math.sqrt(self.eps) * inside.sqrt().sum(-1)

        return largest, conjugate
