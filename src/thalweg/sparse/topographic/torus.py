"""Which units are neighbours? Square pools on a grid whose edges are joined."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.sparse.penalties.pools import OverlappingGroup

WINDOWS = ("uniform", "gaussian")


def pool_index(a: int, b: int, size: int = 6, stride: int = 2) -> Tensor:
    """Units of each pool on an ``a x b`` torus: ``(pools, size²)``, unit ``(i, j)`` is ``i b + j``.

    >>> pool_index(2, 2, size=1, stride=1).flatten().tolist()
    [0, 1, 2, 3]

    Args:
        a: Rows of the grid.
        b: Columns.
        size: Side of a pool; at most the side of the grid.
        stride: Rows and columns between pools; must divide both sides, and be at most ``size``.
    """
    if not 1 <= size <= min(a, b):
        raise ValueError(f"a pool of side {size} does not fit on a {a} x {b} torus")
    if not 1 <= stride <= size or a % stride or b % stride:
        raise ValueError(
            f"stride must lie in 1 … {size} and divide {a} and {b}, so that every unit is in "
            f"equally many pools, got {stride}"
        )
    rows = (torch.arange(0, a, stride)[:, None] + torch.arange(size)) % a
    columns = (torch.arange(0, b, stride)[:, None] + torch.arange(size)) % b
    units = rows[:, None, :, None] * b + columns[None, :, None, :]
    return units.reshape(-1, size * size)


@dataclass(frozen=True, slots=True)
class TorusPools:
    """Overlapping square pools on a torus of ``a x b`` units.

    Args:
        a: Rows of the grid.
        b: Columns.
        size: Side of a pool, 6 in the lectures.
        stride: Units between pools: 2, or 1 for one pool a unit.
        window: ``"uniform"`` or ``"gaussian"`` (standard deviation a quarter of the side).
    """

    a: int
    b: int
    size: int = 6
    stride: int = 2
    window: str = "uniform"

    def __post_init__(self) -> None:
        pool_index(self.a, self.b, self.size, self.stride)  # refuses what does not fit
        if self.window not in WINDOWS:
            raise ValueError(f"window must be one of {', '.join(WINDOWS)}, got {self.window!r}")

    @property
    def units(self) -> int:
        """Number of units."""
        return self.a * self.b

    @property
    def index(self) -> Tensor:
        """Units of each pool ``(pools, size²)``."""
        return pool_index(self.a, self.b, self.size, self.stride)

    @property
    def weights(self) -> Tensor:
        """Weight of each place in a pool ``(size²,)``: those of the pools of one unit sum to 1.

        Then the price of a unit alone does not depend on how many pools it is in.
        """
        line = torch.ones(self.size, dtype=torch.float64)
        if self.window == "gaussian":
            away = torch.arange(self.size, dtype=torch.float64) - (self.size - 1) / 2
            line = torch.exp(-0.5 * (away / (self.size / 4)).square())
        square = torch.outer(line, line).flatten()
        return square * self.stride**2 / square.sum()

    def penalty(self, l1: float, eps: float = 1e-6) -> OverlappingGroup:
        """The smoothed penalty over these pools."""
        return OverlappingGroup(l1, self.index, self.weights, eps)

    def describe(self) -> str:
        """In words."""
        every = "one a unit" if self.stride == 1 else f"one every {self.stride} units"
        return f"{self.size} x {self.size} units, {every}, {self.window} weights"
