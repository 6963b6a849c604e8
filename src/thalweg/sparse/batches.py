"""Which samples does step s see? A function of the seed and of s alone, so that work can resume."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Batches:
    """Row indices of step s: the rows are reshuffled every epoch, a short last batch is left out.

    >>> batches = Batches(10, 4, seed=0)
    >>> torch.equal(batches[3], Batches(10, 4, seed=0)[3])
    True

    Args:
        n: Number of rows.
        size: Rows a step; all of them where there are fewer.
        seed: Decides the order.
        device: Where the indices are wanted.
    """

    def __init__(
        self, n: int, size: int, seed: int, device: torch.device | str | None = None
    ) -> None:
        self.n, self.size, self.seed, self.device = n, min(size, n), seed, device
        self.per_epoch = n // self.size
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, step: int) -> Tensor:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            self._epoch, self._order = epoch, torch.from_numpy(order).to(self.device)
        return self._order[position * self.size : (position + 1) * self.size]
