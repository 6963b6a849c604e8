"""Weights of the model that this optimiser does not hold: does anything else move them?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor

from thalweg.watching.ledger import Ledger
from thalweg.watching.plan import local

MOST = 64  # tensors that are followed
ENTRIES = 64


class Outside:
    """Follows a few entries of each such weight from the first look on."""

    def __init__(self) -> None:
        self._start: dict[str, Tensor] = {}
        self._looks = 0

    @torch.no_grad()
    def look(self, parameters: Mapping[str, Tensor], ledger: Ledger) -> None:
        """Note which weights have a gradient and are what they were at first."""
        self._looks += 1
        for name in [n for n in self._start if n not in parameters]:
            del self._start[name]
        for name, tensor in list(parameters.items())[:MOST]:
            if not tensor.requires_grad:
                continue
            part = local(tensor.detach()).reshape(-1)[:ENTRIES]
            if name not in self._start:
                self._start[name] = part.clone()
            elif tensor.grad is not None:
                equal = (part == self._start[name]).all()
                ledger.note(("still", name), equal)

    def still(self, numbers: Mapping[Hashable, float]) -> frozenset[str]:
        """Weights that get a gradient and have not changed since the first look."""
        if self._looks < 3:
            return frozenset()
        return frozenset(
            k[1] for k, v in numbers.items() if isinstance(k, tuple) and k[0] == "still" and v
        )
