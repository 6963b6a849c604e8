"""One minibatch over several workers: shards of unequal size are weighted rightly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def shard_weights(sizes: Sequence[int]) -> list[float]:
    """What to multiply each rank's mean loss by, so that averaging ranks equally is right.

    ``DistributedDataParallel`` averages the ranks' gradients with equal weight; a rank with m_i of
    m samples must count m_i / m, hence ``m_i p / m``.

    >>> shard_weights([5, 3, 8])
    [0.9375, 0.5625, 1.5]

    Raises:
        ValueError: No shard, or one that is empty or negative.
    """
    total = sum(sizes)
    if not sizes or min(sizes) < 0 or total == 0:
        raise ValueError(f"shards need sizes >= 0 that are not all 0, got {list(sizes)}")
    return [size * len(sizes) / total for size in sizes]


def data_parallel_gradient(
    loss: Callable[[nn.Module, Any], Tensor], model: nn.Module, shards: Sequence[tuple[Any, int]]
) -> list[Tensor]:
    """The full batch's gradient from its shards, in this process.

    Equals the gradient of the whole batch where the loss is a mean over samples and the model has
    no batch statistics.

    Args:
        loss: ``(model, batch)`` to the mean over the batch.
        model: Any module; its ``.grad`` is left alone.
        shards: ``(batch, samples)`` each.

    Returns:
        One tensor per parameter that requires a gradient.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in params]
    weights = shard_weights([size for _, size in shards])
    for (batch, size), weight in zip(shards, weights, strict=True):
        if size == 0:
            continue
        found = torch.autograd.grad(loss(model, batch), params, allow_unused=True)
        for out, g in zip(total, found, strict=True):
            if g is not None:
                out.add_(g, alpha=weight / len(shards))
    return total


def rank_weight(size: int, device: torch.device | str = "cpu") -> float:
    """This rank's factor under ``DistributedDataParallel``: see :func:`shard_weights`."""
    total = torch.tensor(float(size), device=device, dtype=torch.float64)
    dist.all_reduce(total)
    if float(total) == 0:
        raise ValueError("no rank has a sample in this step")
    return size * dist.get_world_size() / float(total)
