"""The batch of step t under one seed, shared by every configuration that trains under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.risk.order import Order
from thalweg.risk.source import Source


class Feed:
    """Batches by step; keeps the epoch it is in, so members that walk together gather it once."""

    def __init__(self, source: Source, order: Order, seed: int) -> None:
        self._source, self._order, self._seed = source, order, seed
        self._epoch, self._start = -1, 0
        self._batches: Sequence[Any] = ()

    def batch(self, step: int) -> Any:
        """The batch of step ``step`` (from 0)."""
        at = step - self._start
        if not 0 <= at < len(self._batches):
            self._seek(step)
            at = step - self._start
        return self._batches[at]

    def _seek(self, step: int) -> None:
        if self._order.custom is None:
            per_epoch = self._order.steps_per_epoch
            self._epoch = step // per_epoch
            self._start = self._epoch * per_epoch
            self._batches = self._load(self._epoch)
            return
        if step < self._start or self._epoch < 0:  # a user's epochs may differ in length: walk
            self._epoch, self._start = 0, 0
            self._batches = self._load(0)
        while step >= self._start + len(self._batches):
            self._start += len(self._batches)
            self._epoch += 1
            self._batches = self._load(self._epoch)

    def _load(self, epoch: int) -> Sequence[Any]:
        return self._source.epoch(self._order, self._seed, epoch)
