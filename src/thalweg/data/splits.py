"""Who trains and who is held out? One seeded split, the same on every machine and version."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def split(
    n: int, parts: Sequence[float], seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Cut ``0 .. n-1`` at random into disjoint parts.

    >>> [part.tolist() for part in split(5, (0.6, 0.4), seed=0)]
    [[3, 2, 1], [0, 4]]

    Args:
        n: Number of samples.
        parts: Shares, each > 0, that sum to 1. Sizes are the shares of n, rounded so that they
            sum to n.
        seed: Whole number >= 0. The order comes from the raw stream of PCG64, which numpy
            promises never to change.
        labels: Classes ``(n,)``. Given, every part holds each class in proportion (to within a
            few samples); sizes are unchanged.

    Returns:
        For each share the int64 indices, in random order.

    Raises:
        ValueError: Shares do not sum to 1, a part would be empty, or labels have another length.
    """
    shares = [float(share) for share in parts]
    if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"the shares of a split must be > 0 and sum to 1; got {list(parts)}.")
    sizes = _sizes(n, shares)
    if min(sizes) < 1:
        raise ValueError(f"{n} samples are too few for {len(shares)} parts {list(parts)}.")
    order = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
    if labels is None:
        cut = order
    else:
        if np.shape(labels) != (n,):
            raise ValueError(f"labels have shape {np.shape(labels)}; expected ({n},).")
        cut = _interleave(order, np.asarray(labels))
    position = np.empty(n, np.int64)
    position[order] = np.arange(n)
    ends = np.cumsum(sizes)
    chosen = (cut[end - size : end] for end, size in zip(ends, sizes, strict=True))
    return tuple(part[np.argsort(position[part])].astype(np.int64) for part in chosen)


def _sizes(n: int, shares: list[float]) -> list[int]:
    """Largest remainders: floors first, the rest to those who lost most."""
    # 0.2 * 10 must not become 1.9999: round away the last bits before taking the floor
    exact = [round(share * n, 6) for share in shares]
    sizes = [math.floor(value) for value in exact]
    by_loss = sorted(range(len(shares)), key=lambda i: sizes[i] - exact[i])
    for i in by_loss[: n - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _interleave(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Reorder so that every stretch holds the classes in proportion (systematic sampling)."""
    shuffled = labels[order]
    key = np.empty(len(order))
    for value in np.unique(shuffled):
        members = np.flatnonzero(shuffled == value)
        key[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(key, kind="stable")]
