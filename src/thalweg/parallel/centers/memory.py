"""A centre in this process: for simulations and threads."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from thalweg.parallel.centers.base import Hyper
from thalweg.parallel.centers.state import AVERAGES, take_elastic, take_push


class MemoryCenter:
    """A centre whose memory is a tensor.

    Args:
        start: Where it begins, ``(n,)``; copied.
        average: ``none``, ``running`` (mean of the centre over pushes) or ``moving``.
    """

    def __init__(self, start: Tensor, average: str = "none") -> None:
        if start.ndim != 1 or not start.is_floating_point():
            raise ValueError(f"a centre is a vector (n,) of floats, got {tuple(start.shape)}")
        if average not in AVERAGES:
            raise ValueError(f"average={average!r}: known are {', '.join(AVERAGES)}")
        self.centre = start.detach().clone()
        self.velocity = torch.zeros_like(self.centre)
        self._mean = None if average == "none" else self.centre.clone()
        self._average, self._pushes = average, 0
        self._seen: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self) -> Tensor:
        """A copy of the centre."""
        with self._lock:
            return self.centre.clone()

    def elastic(self, x: Tensor, alpha: float, worker: int) -> Tensor:
        """See :class:`~thalweg.parallel.centers.base.Center`."""
        with self._lock:
            return take_elastic(self.centre, x, alpha)

    def push(self, delta: Tensor, worker: int, sequence: int, hyper: Hyper | None = None) -> Tensor:
        """See :class:`~thalweg.parallel.centers.base.Center`."""
        with self._lock:
            if self._seen.get(worker, -1) < sequence:
                take_push(
                    self.centre,
                    self.velocity,
                    self._mean,
                    delta,
                    hyper,
                    self._pushes,
                    self._average,
                )
                self._seen[worker] = sequence
                self._pushes += 1
            return self.centre.clone()

    def mean(self) -> Tensor:
        """The averaged centre where one is kept, else the centre."""
        with self._lock:
            return (self.centre if self._mean is None else self._mean).clone()
