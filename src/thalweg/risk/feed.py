"""The batch of step t under one seed, shared by every configuration that trains under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.risk import tree
from thalweg.risk.order import Order
from thalweg.risk.source import Resident, Source

WINDOW_STEPS = (
    256  # that one gather should serve: cutting small epochs one by one costs 25 us a step
)
WINDOW_BYTES = 8 * 2**20  # beyond one epoch, what a gather of several may take


class Feed:
    """Batches by step; keeps the epochs it is in, so members that walk together gather them once.

    Small epochs are gathered several at a time, in windows that begin at multiples of their
    length: a batch lies at the same place in memory however often a run was interrupted, and
    kernels may round differently elsewhere.
    """

    def __init__(self, source: Source, order: Order, seed: int) -> None:
        self._source, self._order, self._seed = source, order, seed
        self._epoch, self._start = -1, 0
        self._batches: Sequence[Any] = ()
        self._per_epoch = 0 if order.custom is not None else order.steps_per_epoch
        self._window = _window(source, order)

    def batch(self, step: int) -> Any:
        """The batch of step ``step`` (from 0)."""
        at = step - self._start
        if not 0 <= at < len(self._batches):
            self._seek(step)
            at = step - self._start
        return self._batches[at]

    def ahead(self, step: int, most: int) -> Sequence[Any]:
        """The batches of steps ``step``, ``step + 1``, ...: at least one, at most ``most``.

        Batches that are made one by one when they are asked for come one at a time.
        """
        first = self.batch(step)
        if not isinstance(self._source, Resident):
            return (first,)
        at = step - self._start
        return self._batches[at : at + most]

    def _seek(self, step: int) -> None:
        if self._order.custom is None:
            self._epoch = step // (self._per_epoch * self._window) * self._window
            self._start = self._epoch * self._per_epoch
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
        if self._window == 1 or not isinstance(self._source, Resident):
            return self._source.epoch(self._order, self._seed, epoch)
        if self._order.repeats:
            return [*self._source.epoch(self._order, self._seed, 0)] * self._window
        return self._source.epochs(self._order, self._seed, epoch, self._window)


def _window(source: Source, order: Order) -> int:
    """Epochs gathered at once: more than one only for small ones of resident data."""
    if order.custom is not None or not isinstance(source, Resident):
        return 1
    each = sum(t.numel() * t.element_size() for t in tree.tensors(source.samples))
    return max(1, min(WINDOW_STEPS // order.steps_per_epoch, WINDOW_BYTES // max(1, each)))
