"""Atoms that come and go in pools: the penalty counts pools, not atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from thalweg.sparse.penalties.base import Penalty, check_weight, scale_below, weight_like


@dataclass(frozen=True, slots=True, eq=False)
class Group(Penalty):
    r"""The group lasso :math:`\sum_g \alpha_g \|z_g\|_2` over pools that do not overlap.

    >>> Group(1.0, [0, 0]).prox(torch.tensor([3.0, 4.0]), 1.0)
    tensor([2.4000, 3.2000])

    Args:
        l1: One weight, or one per pool ``(pools,)``; positive.
        pools: The pool of each atom, ``(m,)`` integers ``0 … pools - 1``, each used at least once.

    References:
        Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006.
    """

    name: ClassVar[str] = "group"
    l1: float | Tensor
    pools: Sequence[int] | Tensor
    count: int = field(init=False, default=0)
    table: Tensor = field(init=False, repr=False, default_factory=lambda: torch.zeros(0, 0))
    in_order: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "l1", check_weight(self.l1))
        labels = torch.as_tensor(self.pools)
        if (
            labels.ndim != 1
            or labels.is_floating_point()
            or labels.is_complex()
            or labels.dtype is torch.bool
        ):
            raise ValueError(
                "pools must name the pool of each atom, a vector of integers (m,), got "
                f"{labels.dtype} of shape {tuple(labels.shape)}"
            )
        labels = labels.detach().to("cpu", torch.int64)
        used = torch.unique(labels)
        if not torch.equal(used, torch.arange(used.numel())):
            raise ValueError(
                f"pools must use every number from 0 to {used.numel() - 1}, got {used.tolist()[:9]}"
            )
        if not isinstance(self.l1, float) and self.l1.shape[0] != used.numel():
            raise ValueError(
                f"l1 has {self.l1.shape[0]} entries but there are {used.numel()} pools"
            )
        object.__setattr__(self, "pools", labels)
        object.__setattr__(self, "count", used.numel())
        table = _members(labels, used.numel())
        object.__setattr__(self, "table", table)
        in_order = torch.equal(table.flatten(), torch.arange(len(labels)))
        object.__setattr__(self, "in_order", in_order)

    @property
    def curvature(self) -> float:
        """Zero: there is no quadratic part."""
        return 0.0

    def labels(self, device: torch.device) -> Tensor:
        """The pool of each atom ``(m,)`` on ``device``."""
        return torch.as_tensor(self.pools).to(device)

    def members(self, device: torch.device) -> Tensor:
        """The atoms of each pool ``(pools, widest)``, filled up with the number m."""
        return self.table.to(device)

    def check(self, atoms: int) -> None:
        """Every atom has a pool."""
        if len(self.pools) != atoms:
            raise ValueError(
                f"pools has {len(self.pools)} entries but the dictionary has {atoms} atoms"
            )

    def norms(self, z: Tensor) -> Tensor:
        """``‖z_g‖₂``: ``(..., m)`` to ``(..., pools)``."""
        members = self.members(z.device)
        if self.in_order:
            pooled = z.unflatten(-1, tuple(members.shape))
        else:
            last = z.new_zeros(*z.shape[:-1], 1)
            pooled = torch.cat([z, last], -1).index_select(-1, members.flatten())
            pooled = pooled.unflatten(-1, tuple(members.shape))
        return torch.linalg.vector_norm(pooled, dim=-1)

    def spread(self, values: Tensor) -> Tensor:
        """One value per pool given to each of its atoms: ``(..., pools)`` to ``(..., m)``."""
        if self.in_order:
            return values.repeat_interleave(self.table.shape[1], dim=-1)
        return values.index_select(-1, self.labels(values.device))

    def value(self, z: Tensor) -> Tensor:
        """``Σ α_g ‖z_g‖₂`` per sample."""
        return (weight_like(self.l1, z) * self.norms(z)).sum(-1)

    def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        """Each pool shrinks along itself: ``v_g max(1 - step α_g / ‖v_g‖, 0)``."""
        norms = self.norms(v)
        shrink = (1.0 - step * weight_like(self.l1, v) / norms).clamp(min=0.0)
        shrink = torch.where(norms > 0, shrink, 0.0)
        return v * self.spread(shrink)

    def distance(self, z: Tensor, c: Tensor) -> Tensor:
        """``‖c_g‖ <= α_g``, and ``c_g = α_g z_g / ‖z_g‖`` in pools that are on."""
        weight, norms = weight_like(self.l1, z), self.norms(z)
        unit = weight / torch.where(norms > 0, norms, 1.0)
        on = self.norms(c - z * self.spread(unit))
        each = torch.where(norms > 0, on, (self.norms(c) - weight).clamp(min=0.0))
        return each.amax(-1)

    def largest_scale(self, c: Tensor) -> Tensor:
        """``min α_g / ‖c_g‖``."""
        return scale_below(self.norms(c), weight_like(self.l1, c))


def _members(labels: Tensor, count: int) -> Tensor:
    counts = torch.bincount(labels, minlength=count)
    order = labels.argsort(stable=True)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    table = torch.full((count, int(counts.max()) if count else 0), len(labels))
    table[labels[order], place] = order
    return table
