"""Where does each parameter lie in a member's row? One flat matrix for a whole population."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALIGNMENT = 64  # bytes: every parameter starts on one, so bits do not depend on a member's place


class Unsupported(Exception):
    """This model or task cannot be run by this engine; another one can. Says why."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one parameter in a row."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Numbers in the parameter."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows of ``width`` numbers hold the trained parameters of one model each.

    Parameters start at multiples of :data:`ALIGNMENT` bytes; the gaps stay zero under every rule,
    since their gradient is zero.
    """

    slots: tuple[Slot, ...]
    width: int
    dtype: torch.dtype
    device: torch.device

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter of ``flat (K, width)`` as ``(K, *shape)``, sharing its storage."""
        k = flat.shape[0]
        return {s.name: flat[:, s.offset : s.offset + s.size].view(k, *s.shape) for s in self.slots}

    def zeros(self, k: int) -> Tensor:
        """An empty matrix for ``k`` members."""
        return torch.zeros(k, self.width, dtype=self.dtype, device=self.device)


def layout(model: nn.Module, names: Iterable[str]) -> Layout:
    """The layout of the parameters called ``names`` (as ``named_parameters`` calls them).

    Raises:
        Unsupported: They differ in dtype or device.
    """
    wanted = set(names)
    chosen = [(name, p) for name, p in model.named_parameters() if name in wanted]
    kinds = {(p.dtype, p.device) for _, p in chosen}
    if len(kinds) != 1:
        raise Unsupported(f"trained parameters of {len(kinds)} dtypes or devices in one model")
    dtype, device = next(iter(kinds))
    step = max(1, ALIGNMENT // dtype.itemsize)
    slots, offset = [], 0
    for name, p in chosen:
        slots.append(Slot(name, tuple(p.shape), offset))
        offset += -(-p.numel() // step) * step
    return Layout(tuple(slots), offset, dtype, device)
