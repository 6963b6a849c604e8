"""Embeddings of K members: one table, each member's codes shifted to its own rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.race.population.stacked.stack import Leaf, Ref, Stack


class Embedding(Leaf):
    """Rows of ``(K, codes, width)`` tables."""

    def __init__(self, stack: Stack, where: str, module: nn.Embedding, weight: Ref) -> None:
        super().__init__(stack, where)
        self.ref, self.padding = weight, module.padding_idx
        self.by_frequency = module.scale_grad_by_freq

    def forward(self, codes: Tensor) -> Tensor:
        """``(K r, ..., width)`` of codes ``(K r, ...)``."""
        axis = self.axis(codes)
        codes = self.lead(codes, axis)
        stack = self.stack
        table = self.ref.take(stack.anchor)  # (K, codes, width)
        size = table.shape[1]
        shift = torch.arange(stack.k, device=codes.device) * size
        members = codes.view(stack.k, -1) + shift[:, None]
        y = F.embedding(
            members, table.flatten(0, 1), scale_grad_by_freq=self.by_frequency
        )  # (K, r ..., width)
        if self.padding is not None:  # the padding row is read but receives no gradient
            y = _without_gradient(y, codes.view(stack.k, -1) == self.padding)
        return self.back(y.view(*codes.shape, -1), axis)


def _without_gradient(y: Tensor, where: Tensor) -> Tensor:
    return torch.where(where[..., None], y.detach(), y)
