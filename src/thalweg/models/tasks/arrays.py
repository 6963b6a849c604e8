"""How do arrays become a task? Split by seed 0, scaled by the training part alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.data.splits import split
from thalweg.task import Recipe, Task

SHARES = (0.6, 0.2, 0.2)  # train, held out (selection), test (confirmation)
Pair = tuple[Tensor, Tensor]


class Parts(NamedTuple):
    """Training, held-out and test pairs of one task."""

    train: Pair
    held_out: Pair
    test: Pair


def standardised(x: np.ndarray, train: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Subtract the training part's mean and divide by its deviation, both taken over ``axis``.

    Args:
        x: All samples ``(n, ...)``.
        train: Indices of the training part: statistics come from these alone.
        axis: Axes the statistics run over; features constant there are only centred.

    Returns:
        float64 of the shape of ``x``.
    """
    known = x[train].astype(np.float64)
    mean, deviation = known.mean(axis, keepdims=True), known.std(axis, keepdims=True)
    return (x - mean) / np.where(deviation > 0, deviation, 1.0)


def partition(x: np.ndarray, y: np.ndarray, indices: tuple[np.ndarray, ...]) -> Parts:
    """Cut inputs and targets by three index arrays; real numbers become float32."""
    inputs, targets = _tensor(x), _tensor(y)
    parts = [(inputs[torch.from_numpy(i)], targets[torch.from_numpy(i)]) for i in indices]
    return Parts(*parts)


def thirds(n: int, labels: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Indices of the three parts of every bundled set (seed 0, stratified if there are labels)."""
    return split(n, SHARES, seed=0, labels=labels)


def classes(name: str, model: Callable[..., Any], parts: Parts, recipe: Recipe) -> Task:
    """A classification task: cross-entropy to learn, accuracy to judge."""
    return Task(
        name=name,
        model=model,
        loss=F.cross_entropy,
        train=parts.train,
        held_out=parts.held_out,
        test=parts.test,
        metric="accuracy",
        recipe=recipe,
    )


def _tensor(array: np.ndarray) -> Tensor:
    real = array.dtype.kind == "f"
    return torch.from_numpy(np.ascontiguousarray(array, np.float32 if real else np.int64))
