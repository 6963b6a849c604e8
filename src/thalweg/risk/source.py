"""Where batches come from: tensors kept at hand, or a data set asked item by item.

Whatever a user hands in (tensors, a ``Dataset``, a ``DataLoader`` with its own collate and sampler)
becomes a *source*: it knows how many samples it has and answers ``epoch(seed, epoch)`` with that
epoch's batches. Data sets that give the same item twice are read once and kept resident; those
that do not (random augmentation) are read each time, under a generator of (seed, epoch, index).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from thalweg.risk import tree
from thalweg.risk.order import Order, stream

RESIDENT_BYTES = 4 * 2**30  # larger data sets are read item by item


@contextmanager
def seeded(seed: int, *labels: object) -> Iterator[None]:
    """Run a block under its own global random state (torch, numpy, random), then put all back."""
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    value = stream(seed, *labels)
    torch.default_generator.manual_seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002
    random.seed(value)
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])


@dataclass(frozen=True)
class Resident:
    """Samples as one tree of tensors, each with ``n`` rows, on the device that trains."""

    samples: Any
    n: int

    def take(self, indices: torch.Tensor) -> Any:
        """The batch of these samples, in this order."""
        return tree.tree_map(lambda t: t.index_select(0, indices.to(t.device)), self.samples)

    def epoch(self, order: Order, seed: int, epoch: int) -> Sequence[Any]:
        """All batches of one epoch: one gather, then views (3x less per step than indexing)."""
        return self.epochs(order, seed, epoch, 1)

    def epochs(self, order: Order, seed: int, first: int, count: int) -> Sequence[Any]:
        """All batches of ``count`` epochs from ``first`` on, by one gather for them all."""
        if order.custom is not None:
            visits = [b for e in range(first, first + count) for b in order.batches(seed, e)]
            return [self.take(batch) for batch in visits]
        size, steps = min(order.batch_size, self.n), order.steps_per_epoch
        used = min(steps * size, self.n)  # fewer where short last batches are dropped
        visited = [order.permutation(seed, e)[:used] for e in range(first, first + count)]
        sizes = [*[size] * (used // size), *([used % size] if used % size else [])] * count
        whole = self.take(visited[0] if count == 1 else torch.cat(visited))
        pieces = [t.split(sizes) for t in tree.tensors(whole)]
        if _is_pair(whole):
            return list(zip(*pieces, strict=True))
        return [_like(whole, row) for row in zip(*pieces, strict=True)]

    def chunks(self, size: int) -> Iterator[Any]:
        """Every sample once, in order, at most ``size`` at a time."""
        for start in range(0, self.n, size):
            yield tree.tree_map(lambda t, s=start: t[s : s + size], self.samples)


def _like(tensors: Any, row: Sequence[torch.Tensor]) -> Any:
    """A tree like ``tensors`` with the tensors of ``row`` in their places."""
    places = iter(row)
    return tree.tree_map(lambda _: next(places), tensors)


def _is_pair(samples: Any) -> bool:
    """Whether this is a plain tuple of tensors, the usual case."""
    return type(samples) is tuple and all(isinstance(t, torch.Tensor) for t in samples)


@dataclass(frozen=True)
class Items:
    """A data set asked item by item and put together by ``collate``."""

    dataset: Any
    collate: Callable[[list[Any]], Any]
    n: int
    device: torch.device
    dtype: torch.dtype | None
    random: bool  # whether one index can answer differently

    def take(self, indices: Sequence[int], seed: int = 0, epoch: int = -1) -> Any:
        """The batch of these samples; augmentation is a function of (seed, epoch, index)."""
        if not self.random:
            items = [self.dataset[int(i)] for i in indices]
        else:
            items = []
            for i in indices:
                with seeded(seed, "item", epoch, int(i)):
                    items.append(self.dataset[int(i)])
        return tree.to(self.collate(items), self.device, self.dtype)

    def epoch(self, order: Order, seed: int, epoch: int) -> Sequence[Any]:
        """The batches of one epoch, each made when it is asked for."""
        return _Lazy(self, order.batches(seed, epoch), seed, epoch)

    def chunks(self, size: int) -> Iterator[Any]:
        """Every sample once, in order, at most ``size`` at a time."""
        for start in range(0, self.n, size):
            yield self.take(range(start, min(start + size, self.n)))


@dataclass(frozen=True)
class _Lazy(Sequence):
    """One epoch's batches, collated on access."""

    items: Items
    batches: Sequence[Any]
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: Any) -> Any:
        return self.items.take(self.batches[step].tolist(), self.seed, self.epoch)


Source = Resident | Items


@dataclass(frozen=True)
class Read:
    """A source and what a ``DataLoader`` said about how to walk it (None: it said nothing)."""

    source: Source
    batch_size: int | None = None
    kind: str | None = None
    drop_last: bool = False
    custom: Callable[[int, int], Sequence[Sequence[int]]] | None = None


def read(data: Any, what: str, device: torch.device, dtype: torch.dtype | None) -> Read:
    """Turn what a user handed in for ``what`` (``train``, ``held_out``, ``test``) into a source.

    Args:
        data: ``(input, target)`` tensors (trees of tensors or arrays with one row a sample), a
            map-style ``Dataset`` or a ``DataLoader``.
        what: The field's name, for messages.
        device: Where batches shall be.
        dtype: Type of floating tensors; None keeps theirs.

    Raises:
        ValueError: Empty, of unequal lengths, or a kind that has no index.
        TypeError: Not data at all.
    """
    if isinstance(data, DataLoader):
        return _read_loader(data, what, device, dtype)
    if isinstance(data, IterableDataset):
        raise ValueError(
            f"{what}: {type(data).__name__} is an IterableDataset, which has no length and no "
            "index, so runs could not share or repeat its order. Pass a map-style Dataset."
        )
    if isinstance(data, Dataset) or (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not _is_tree(data)
    ):
        return Read(_from_dataset(data, None, what, device, dtype))
    return Read(_from_tensors(data, what, device, dtype))


def _is_tree(data: Any) -> bool:
    return isinstance(data, tuple | list | dict | torch.Tensor | np.ndarray)


def _from_tensors(
    data: Any, what: str, device: torch.device, dtype: torch.dtype | None
) -> Resident:
    data = _as_tensors(data)
    lengths = {}
    for path, leaf in tree.leaves(data):
        name = what + path
        if not isinstance(leaf, torch.Tensor):
            raise TypeError(
                f"{name} is {type(leaf).__name__}, not a tensor. Pass (input, target) tensors with "
                "one row a sample, a Dataset or a DataLoader."
            )
        if leaf.dim() == 0:
            raise ValueError(f"{name} is a single number; wanted one row a sample.")
        lengths[name] = leaf.shape[0]
    if not lengths:
        raise ValueError(f"{what} holds no tensors. Pass (input, target) with one row a sample.")
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"{what}: unequal numbers of samples: {sizes}. Wanted one row a sample.")
    return Resident(tree.to(data, device, dtype), next(iter(lengths.values())))


def _as_tensors(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in "fiub":
            return data
        return torch.from_numpy(np.ascontiguousarray(data))
    if isinstance(data, dict):
        return {key: _as_tensors(item) for key, item in data.items()}
    if isinstance(data, list | tuple) and not hasattr(data, "_fields"):
        return tuple(_as_tensors(item) for item in data)
    return data


def _from_dataset(
    dataset: Any,
    collate: Callable[[list[Any]], Any] | None,
    what: str,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Source:
    if isinstance(dataset, TensorDataset) and collate is None:
        return _from_tensors(dataset.tensors, what, device, dtype)
    n = len(dataset)
    if n == 0:
        raise ValueError(f"{what} is empty: its length is 0.")
    varies = _answers_differently(dataset, n, what)
    items = Items(dataset, collate or default_collate, n, device, dtype, varies)
    if varies or collate is not None:
        return items if varies else _keep_items(items)
    try:
        first = items.take([0])
        size = sum(t.numel() * t.element_size() for t in tree.tensors(first))
        if size * n > RESIDENT_BYTES:
            return items
        return Resident(items.take(range(n)), n)
    except (RuntimeError, TypeError, ValueError):  # ragged items: only batches of them collate
        return _keep_items(items)


def _keep_items(items: Items) -> Items:
    """Read a repeatable data set once, if what it holds is small enough to keep."""
    size = sum(t.numel() * t.element_size() for t in tree.tensors(items.dataset[0]))
    if size * items.n > RESIDENT_BYTES:
        return items
    kept = [items.dataset[i] for i in range(items.n)]
    return Items(kept, items.collate, items.n, items.device, items.dtype, random=False)


def _answers_differently(dataset: Any, n: int, what: str) -> bool:
    """Whether reading one index twice gives two answers (random augmentation)."""
    probe = sorted({0, n - 1, *(n * k // 8 for k in range(8))})
    for index in probe:
        try:
            with seeded(0, "probe", index):
                first = dataset[index]
            with seeded(1, "probe", index):
                second = dataset[index]
        except Exception as error:
            raise ValueError(
                f"{what}: reading sample {index} of {n} failed: {type(error).__name__}: {error}"
            ) from error
        if not tree.same(first, second):
            return True
    return False


def _read_loader(
    loader: DataLoader, what: str, device: torch.device, dtype: torch.dtype | None
) -> Read:
    if isinstance(loader.dataset, IterableDataset):
        return read(loader.dataset, what, device, dtype)
    if loader.batch_sampler is None:
        raise ValueError(
            f"{what}: this DataLoader has batch_size=None, so its items are whole batches. Give it "
            "a batch size, or pass the Dataset itself."
        )
    collate = None if loader.collate_fn is default_collate else loader.collate_fn
    source = _from_dataset(loader.dataset, collate, what, device, dtype)
    batching = loader.batch_sampler
    if type(batching) is not BatchSampler:
        return Read(source, loader.batch_size, custom=_custom(batching, batching, what))
    sampler, size, drop = batching.sampler, batching.batch_size, batching.drop_last
    if type(sampler) is SequentialSampler:
        return Read(source, size, "ordered", drop)
    if type(sampler) is RandomSampler and sampler.num_samples == source.n:
        return Read(source, size, "iid" if sampler.replacement else "reshuffle", drop)
    return Read(source, size, custom=_custom(batching, sampler, what))


def _custom(
    batching: Any, sampler: Any, what: str
) -> Callable[[int, int], Sequence[Sequence[int]]]:
    """A user's sampler as a function of (seed, epoch)."""

    def batches(seed: int, epoch: int) -> Sequence[Sequence[int]]:
        if getattr(sampler, "generator", None) is not None:
            sampler.generator.manual_seed(stream(seed, "sampler", epoch))
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        with seeded(seed, "sampler", epoch):
            drawn = [list(batch) for batch in batching]
        if not drawn:
            raise ValueError(f"{what}: the sampler {type(sampler).__name__} gave no batches.")
        return drawn

    return batches
