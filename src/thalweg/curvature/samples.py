"""What is the gradient of every single sample? In blocks that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from thalweg.curvature.surface import MEMORY, REFUSALS, Surface, exact_attention, stacking
from thalweg.risk import tree

ROWS = 256  # samples at once, at most
KEEP = 1 << 30  # bytes: what :func:`per_sample_gradients` may return


def gradient_blocks(
    surface: Surface, indices: Tensor | None = None, rows: int | None = None
) -> Iterator[Tensor]:
    """Gradients of single samples, block by block, such that their mean is ∇f.

    Vectorised over samples (``vmap`` of the gradient), or one by one where a layer refuses that.
    Where the mean is weighted (tokens, say), a sample's gradient carries its weight over the mean
    weight.

    Args:
        surface: Where; its samples must not influence each other.
        indices: Which samples, ``(n,)`` int64, and in which order; None: all.
        rows: Samples a block; None: what a quarter of a gigabyte holds, at most 256.

    Yields:
        Blocks ``(b, p)``.

    Raises:
        ValueError: Samples are coupled by batch statistics, or there are none.
    """
    if surface.take is None:
        raise ValueError("a plain function has no samples; pass a task, or model, loss and data.")
    if surface.couples:
        raise ValueError(
            "with batch statistics a single sample has no gradient of its own; take mode='eval', "
            "or measure noise between batches (method='batches')."
        )
    indices = torch.arange(surface.samples) if indices is None else indices
    size = surface.w.element_size() * max(1, surface.p)
    rows = rows or max(1, min(ROWS, MEMORY // (4 * size)))
    mean = _mean_weight(surface)
    stacks = True
    for block in indices.split(rows):
        batch = surface.take(block)
        weights = torch.tensor(
            [surface.weigh(_row(batch, i)) / mean for i in range(len(block))],
            dtype=surface.w.dtype,
            device=surface.w.device,
        )
        gradients = _stacked(surface, batch) if stacks else None
        if gradients is None:
            stacks = False
            gradients = torch.stack([_single(surface, _row(batch, i)) for i in range(len(block))])
        yield gradients * weights[:, None]


def per_sample_gradients(surface: Surface, indices: Tensor | None = None) -> Tensor:
    """The gradients of single samples as one matrix ``(n, p)``; see :func:`gradient_blocks`.

    Raises:
        ValueError: As there; or the matrix would take more than a gigabyte.
    """
    n = surface.samples if indices is None else len(indices)
    size = n * surface.p * surface.w.element_size()
    if size > KEEP:
        raise ValueError(
            f"{n} gradients of {surface.p} weights take {size / 2**30:.1f} GiB; ask for fewer "
            "samples, or go through them with gradient_blocks."
        )
    return torch.cat(list(gradient_blocks(surface, indices)))


def _stacked(surface: Surface, batch: Any) -> Tensor | None:
    """All gradients at once, or None where a layer refuses (LSTM, control flow on data)."""

    def one(w: Tensor, sample: Any) -> Tensor:
        return surface.loss(w, tree.tree_map(lambda t: t[None], sample))

    try:
        with exact_attention(), stacking():
            return vmap(grad(one), in_dims=(None, 0))(surface.w, batch).detach()
    except (*REFUSALS, TypeError, KeyError):
        return None


def _single(surface: Surface, sample: Any) -> Tensor:
    at = surface.w.clone().requires_grad_()
    with torch.enable_grad(), exact_attention():
        (g,) = torch.autograd.grad(surface.loss(at, sample), at, allow_unused=True)
    return torch.zeros_like(at) if g is None else g


def _row(batch: Any, i: int) -> Any:
    return tree.tree_map(lambda t: t[i : i + 1], batch)


def _mean_weight(surface: Surface) -> float:
    total = sum(surface.weigh(batch) for batch in surface.batches(surface.chunk()))
    if not total > 0:
        raise ValueError(f"the {surface.data} hold nothing that the loss is a mean over.")
    return total / surface.samples
