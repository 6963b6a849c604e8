"""How much memory does a member take while it trains? Measured on one, once."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.risk import Risk, tree
from thalweg.risk.order import stream

MATRICES = 6  # weights, gradients, two moments, a copy while members are dropped, scratch
MARGIN = 3  # kernels keep copies of what autograd says it keeps


def member_bytes(risk: Risk, seed: int, batch_size: int) -> int:
    """Bytes per member of a chunk: state, and what a backward pass keeps, with a margin."""
    return sum(footprint(risk, seed, batch_size))


def footprint(risk: Risk, seed: int, batch_size: int) -> tuple[int, int]:
    """Bytes per member of the state, and of what a backward pass keeps (with a margin)."""
    model = risk.model(seed)
    batch = risk.feed(seed, batch_size).batch(0)
    known = {_place(t) for t in (*model.parameters(), *tree.tensors(batch))}
    kept: dict[int, int] = {}

    def note(t: Tensor) -> Tensor:
        if (place := _place(t)) not in known:
            kept[place] = t.untyped_storage().nbytes()
        return t

    devices = [risk.device] if risk.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream(seed, "step", 0))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            risk.loss(model, batch)
    own = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    return MATRICES * own, MARGIN * sum(kept.values())


def _place(t: Tensor) -> int:
    """Where the memory begins that ``t`` is a view of."""
    return t.untyped_storage().data_ptr()
