"""Is this the same task as last time? A digest of data and initial weights for ``run.json``."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from thalweg.risk import tree
from thalweg.risk.risk import Risk
from thalweg.risk.source import Resident, Source

WHOLE = 2**26  # elements hashed whole; of larger tensors every k-th row
ITEMS = 64  # samples hashed of data sets that are read item by item


def fingerprint(risk: Risk) -> dict[str, str]:
    """Digests of the three data parts and of the model under seed 0."""
    parts = {name: _data(getattr(risk, name)) for name in ("train", "selection", "confirmation")}
    return parts | {"weights": _weights(risk.model(0))}


def _data(source: Source) -> str:
    if isinstance(source, Resident):
        return _digest(tree.tensors(source.samples))
    step = max(1, source.n // ITEMS)
    return _digest(tree.tensors(source.take(range(0, source.n, step))))


def _weights(model: nn.Module) -> str:
    state = model.state_dict()
    named = hashlib.sha256("\n".join(state).encode()).hexdigest()
    return _digest([t for t in state.values() if isinstance(t, Tensor)], named)


def _digest(tensors: list[Tensor], start: str = "") -> str:
    digest = hashlib.sha256(start.encode())
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.dim() and tensor.numel() > WHOLE:
            tensor = tensor[:: tensor.numel() // WHOLE + 1]
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
