"""How is whatever a user calls data walked in chunks that fit into memory?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from thalweg.risk import source, tree
from thalweg.risk.order import generator


@dataclass(frozen=True, slots=True)
class Chunks:
    """All samples, each once, in a fixed order.

    Attributes:
        given: Batches as they were handed in, or None where ``source`` is cut by size.
        source: Samples by index.
        batch_size: Of the batches that training would see; None: all samples are one batch.
        order: Index batches of a user's own sampler (a subset, weighted draws).
    """

    given: tuple[Any, ...] | None
    source: source.Source | None
    batch_size: int | None
    order: tuple[torch.Tensor, ...] | None = None

    @property
    def n(self) -> int:
        """Samples in all."""
        if self.given is not None:
            return sum(tree.count(batch) for batch in self.given)
        if self.order is not None:
            return sum(len(indices) for indices in self.order)
        assert self.source is not None
        return self.source.n

    def largest(self) -> int:
        """Samples of the largest batch as given."""
        if self.given is not None:
            return max(tree.count(batch) for batch in self.given)
        if self.order is not None:
            return max(len(indices) for indices in self.order)
        return min(self.n, self.batch_size or self.n)

    def walk(self, size: int | None) -> Iterator[Any]:
        """Batches of at most ``size`` samples; None: as they were given."""
        if self.given is not None:
            for batch in self.given:
                yield from _cut(batch, size)
        elif self.order is not None:
            assert self.source is not None
            for indices in self.order:
                for part in indices.split(size or len(indices)):
                    yield self.source.take(part)  # pyrefly: ignore
        else:
            assert self.source is not None
            yield from self.source.chunks(size or self.batch_size or self.n)


def _cut(batch: Any, size: int | None) -> Iterator[Any]:
    n = tree.count(batch)
    if size is None or size >= n:
        yield batch
        return
    if any(t.dim() == 0 or t.shape[0] != n for t in tree.tensors(batch)):
        yield batch  # holds something that is not one row a sample
        return
    for start in range(0, n, size):
        yield tree.tree_map(lambda t, s=start: t[s : s + size], batch)


def chunks_of(
    data: Any, device: torch.device, dtype: torch.dtype | None, batch_size: int | None = None
) -> Chunks:
    """Read what a user handed in as data.

    Args:
        data: A tuple or dict of tensors (one batch, ``(inputs, targets)`` for pairs), a *list* of
            such batches, a ``Dataset`` or a ``DataLoader`` (its collate function is used, and its
            sampler where it is the user's own; order and ``drop_last`` are not: every sample
            counts once).
        device: Where batches shall be.
        dtype: Of floating tensors; None keeps theirs.
        batch_size: Of batches in training, where data do not say.

    Raises:
        ValueError: No data, or lengths that differ.
        TypeError: Not data.
    """
    if isinstance(data, list) and data and all(isinstance(b, tuple | dict | list) for b in data):
        batches = tuple(tree.to(_plain(batch), device, dtype) for batch in data)
        return Chunks(batches, None, None)
    read = source.read(data, "data", device, dtype)
    order = None
    if isinstance(data, DataLoader) and read.custom is not None:
        order = tuple(torch.as_tensor(list(b), dtype=torch.int64) for b in read.custom(0, 0))
    if order is None and read.source.n == 0:
        raise ValueError("data is empty: 0 samples, so there is no curvature to measure.")
    return Chunks(None, read.source, batch_size or read.batch_size, order)


def some(chunks: Chunks, samples: int | None, seed: int, whole: bool) -> Chunks:
    """A random part of the data, without replacement, in a fixed order.

    Args:
        chunks: All of it.
        samples: How many at most; None: all.
        seed: Of the choice.
        whole: As one batch, to be cut as one likes; else in batches of the size of training.

    Raises:
        ValueError: Not a positive number, or data that cannot be chosen from.
    """
    if samples is None:
        return chunks
    if isinstance(samples, bool) or int(samples) != samples or samples < 1:
        raise ValueError(f"samples must be a whole number of at least 1, got {samples!r}.")
    if samples >= chunks.n:
        return chunks
    if chunks.given is not None or chunks.source is None or chunks.order is not None:
        raise ValueError(
            "samples= chooses from tensors, a Dataset or a DataLoader without a sampler of its "
            "own; from a list of batches choose some yourself."
        )
    chosen = torch.randperm(chunks.n, generator=generator(seed, "curvature samples"))[:samples]
    chosen = chosen.sort()[0]
    order = (chosen,) if whole else chosen.split(chunks.batch_size or samples)
    return Chunks(None, chunks.source, chunks.batch_size, tuple(order))


def _plain(batch: Any) -> Any:
    """Numpy leaves as tensors."""
    if isinstance(batch, dict):
        return {key: _plain(value) for key, value in batch.items()}
    if isinstance(batch, list | tuple) and not hasattr(batch, "_fields"):
        return tuple(_plain(value) for value in batch)
    return torch.as_tensor(batch) if hasattr(batch, "__array__") else batch


def sizes(n: int, fixed: Sequence[int] = (16, 32, 64, 128, 250, 500, 1000, 2000)) -> list[int]:
    """Chunk sizes worth trying for n samples, the largest first."""
    return [n, *sorted((size for size in fixed if size < n), reverse=True)]
