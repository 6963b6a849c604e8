"""Which samples does step t see? A pure function of (seed, t): nothing to save, nothing to skip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ORDERS = ("reshuffle", "iid", "once", "ordered")


def stream(seed: int, *labels: object) -> int:
    """A 63-bit seed for one purpose, independent of every other purpose.

    >>> stream(0, "init") == stream(0, "init"), stream(0, "init") == stream(0, "order", 3)
    (True, False)
    """
    digest = hashlib.blake2b(repr((int(seed), *labels)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *labels: object) -> torch.Generator:
    """A CPU generator of its own for one purpose."""
    return torch.Generator().manual_seed(stream(seed, *labels))


@dataclass(frozen=True, slots=True)
class Order:
    """The visiting order of ``n`` samples in batches (spec g5).

    ``kind``: ``reshuffle`` (a new permutation each epoch), ``iid`` (n draws with replacement),
    ``once`` (one stored permutation) or ``ordered``. An epoch is one visit of every sample
    (``iid``: n draws); the last short batch is kept unless ``drop_last``.

    ``custom`` replaces all of this by a user's sampler: epoch → list of index lists.
    """

    n: int
    batch_size: int
    kind: str = "reshuffle"
    drop_last: bool = False
    custom: Callable[[int, int], Sequence[Sequence[int]]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        if self.custom is not None:
            return len(self.custom(0, 0))
        whole, rest = divmod(self.n, min(self.batch_size, self.n))
        return whole + (1 if rest and not self.drop_last else 0)

    @property
    def repeats(self) -> bool:
        """Whether every epoch visits the samples in the same way."""
        if self.custom is not None:
            return False
        return self.kind in ("ordered", "once") or (
            self.batch_size >= self.n and self.kind != "iid"
        )

    def permutation(self, seed: int, epoch: int) -> Tensor:
        """The ``(n,)`` indices of one epoch, in visiting order."""
        if self.kind == "ordered" or (self.batch_size >= self.n and self.kind != "iid"):
            return torch.arange(self.n)  # one batch holds everything: order changes nothing
        if self.kind == "iid":
            g = generator(seed, "order", epoch)
            return torch.randint(self.n, (self.n,), generator=g)
        epoch = 0 if self.kind == "once" else epoch
        return torch.randperm(self.n, generator=generator(seed, "order", epoch))

    def batches(self, seed: int, epoch: int) -> Sequence[Tensor]:
        """The index tensors of one epoch, one a step."""
        if self.custom is not None:
            return [torch.as_tensor(batch) for batch in self.custom(seed, epoch)]
        split = self.permutation(seed, epoch).split(min(self.batch_size, self.n))
        return split[: self.steps_per_epoch]
