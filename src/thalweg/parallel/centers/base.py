"""What a worker may ask of a centre; every request is atomic."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Hyper(NamedTuple):
    """What a master with momentum needs to know of a push."""

    lr: float
    momentum: float


class Center(Protocol):
    """The shared point. Vectors are flat ``(n,)``."""

    def read(self) -> Tensor:
        """A copy of the centre."""
        ...

    def elastic(self, x: Tensor, alpha: float, worker: int) -> Tensor:
        """Add ``alpha (x - centre)`` to the centre; returns it, for the worker to subtract."""
        ...

    def push(self, delta: Tensor, worker: int, sequence: int, hyper: Hyper | None = None) -> Tensor:
        """Add ``delta`` (``hyper``: it is a gradient) unless this ``sequence`` was seen.

        Returns:
            A copy of the centre afterwards.
        """
        ...

    def mean(self) -> Tensor:
        """The averaged centre where one is kept, else the centre."""
        ...


class NonFinite(ValueError):
    """A worker sent NaN or infinity; the centre did not take it."""
