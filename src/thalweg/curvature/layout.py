"""Where does each named weight sit in the flat vector that operators multiply?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Named tensors laid end to end.

    >>> layout = Layout(("a", "b"), (torch.Size([2]), torch.Size([1, 3])))
    >>> layout.p, layout.slices
    (5, {'a': slice(0, 2, None), 'b': slice(2, 5, None)})

    Attributes:
        names: As in ``model.named_parameters()``; tied weights once.
        shapes: One per name.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @property
    def sizes(self) -> list[int]:
        """Numbers per tensor."""
        return [shape.numel() for shape in self.shapes]

    @property
    def p(self) -> int:
        """Numbers in all."""
        return sum(self.sizes)

    @property
    def slices(self) -> dict[str, slice]:
        """Of each name, in a vector ``(p,)``."""
        found, start = {}, 0
        for name, size in zip(self.names, self.sizes, strict=True):
            found[name] = slice(start, start + size)
            start += size
        return found

    @property
    def layers(self) -> dict[str, slice]:
        """Of each module that owns weights (``"fc1"`` for ``fc1.weight`` and ``fc1.bias``).

        Weights of one module that do not lie side by side form ``"name"``, ``"name (2)"``, ...
        """
        found: dict[str, slice] = {}
        last = None
        for name, place in self.slices.items():
            layer = name.rpartition(".")[0] or name
            if last is not None and last[0] == layer:
                key = last[1]
                found[key] = slice(found[key].start, place.stop)
                continue
            key, count = layer, 1
            while key in found:
                count += 1
                key = f"{layer} ({count})"
            found[key] = place
            last = (layer, key)
        return found

    def split(self, v: Tensor, dtypes: Sequence[torch.dtype]) -> tuple[Tensor, ...]:
        """A vector ``(p,)`` or rows ``(k, p)`` as tensors ``(*shape)`` or ``(k, *shape)``."""
        parts = v.split(self.sizes, -1)
        return tuple(
            part.reshape(*v.shape[:-1], *shape).to(dtype)
            for part, shape, dtype in zip(parts, self.shapes, dtypes, strict=True)
        )

    def join(self, tensors: Sequence[Tensor], dtype: torch.dtype, rows: int | None) -> Tensor:
        """Tensors ``(*shape)`` (or ``(rows, *shape)``) end to end: ``(p,)`` or ``(rows, p)``."""
        if rows is None:
            return torch.cat([t.reshape(-1).to(dtype) for t in tensors])
        return torch.cat([t.reshape(rows, -1).to(dtype) for t in tensors], 1)
