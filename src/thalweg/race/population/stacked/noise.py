"""Dropout of K members: those of one seed share a mask, as their sequential runs do."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.stacked.stack import Leaf, Stack


class Dropout(Leaf):
    """Zero with probability ``p``, scaled by 1/(1 - p); whole channels if ``features``."""

    def __init__(self, stack: Stack, where: str, p: float, features: bool) -> None:
        super().__init__(stack, where)
        self.p, self.features = p, features

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        at, axis = self.calls, self.axis(x)
        if not self.training:
            return x
        order = None if self.features or at >= len(self.orders) else self.orders[at]
        return dropout(self.stack, x, self.p, axis, self.features, order)


def dropout(
    stack: Stack,
    x: Tensor,
    p: float,
    axis: int | None,
    features: bool = False,
    order: Sequence[int] | None = None,
) -> Tensor:
    """Dropout of ``x``, whose ``axis`` carries members and samples (None: neither).

    ``features`` drops whole channels; ``order`` is how the sequential run's tensor lies in memory.
    """
    if p == 0 or not x.numel():
        return x
    k = stack.k
    if axis is None:
        shape = list(x.shape)
    else:
        shape = [*x.shape[:axis], x.shape[axis] // k, *x.shape[axis + 1 :]]
    if features:
        shape[2:] = [1] * (len(shape) - 2)
    mask = stack.mask(shape, p, x, order)  # (1 or K, *shape)
    if axis is None:
        if mask.shape[0] > 1:
            raise Unsupported("dropout of several seeds on a tensor without an axis of samples")
        return x * mask[0]
    y = x.unflatten(axis, (k, -1)) * mask.movedim(0, axis)
    return y.flatten(axis, axis + 1)
