"""Linear layers in a row, run without autograd: for small batches autograd costs half the step.

Whether the user's forward pass is such a row is not guessed from its structure. An ordinary pass is
watched: each layer must receive the very tensor that the one before returned, unchanged, and the
last one's must be the output. The proof is repeated every :data:`AGAIN` steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thalweg.race.population.stacked.linear import Linear, backward, forward
from thalweg.race.population.stacked.stack import Leaf, Stack

AGAIN = 64  # steps between proofs


class _Seen(NamedTuple):
    leaf: Leaf
    x: Tensor
    before: int  # version of the input when the layer was called
    y: Tensor
    after: int  # version of the output when the layer returned


class Watch:
    """What the leaves of a twin received and returned in one pass."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []

    @contextmanager
    def over(self, leaves: Sequence[Leaf]) -> Iterator[None]:
        """Watch these leaves within the block."""

        def note(module: Any, args: tuple[Any, ...], y: Any) -> None:
            x = args[0]
            self._seen.append(_Seen(module, x, x._version, y, y._version))

        handles = [leaf.register_forward_hook(note) for leaf in leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def row(self, x: Any, output: Any, leaves: Sequence[Leaf]) -> list[Linear] | None:
        """The layers in order, if the pass from ``x`` to ``output`` was nothing else."""
        seen = self._seen
        if not isinstance(x, Tensor) or len(seen) != len(leaves) or not seen:
            return None
        if len({id(s.leaf) for s in seen}) != len(leaves):
            return None
        layers = [s.leaf for s in seen if isinstance(s.leaf, Linear) and s.leaf.axes is None]
        if len(layers) != len(seen) or not _reshaped(x, seen[0]):
            return None
        for one, two in pairwise(seen):
            if two.x is not one.y or two.before != one.after:
                return None
        last = seen[-1]
        whole = output is last.y and output._version == last.after and output.dim() == 2
        return layers if whole else None


def _reshaped(x: Tensor, first: _Seen) -> bool:
    """Whether the first layer received the input itself, one row a sample."""
    same = first.x.data_ptr() == x.data_ptr() and first.x.numel() == x.numel()
    plain = first.x.is_contiguous() and x.is_contiguous() and first.x.dim() == 2
    return same and plain and first.x.shape[0] == x.shape[0] and first.before == x._version


class Tape:
    """A proven row of layers."""

    def __init__(self, stack: Stack, layers: Sequence[Linear]) -> None:
        self.stack, self.layers = stack, tuple(layers)
        self._kept: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(K, n, outputs)`` of inputs ``(K, n, inputs)``, which may be expanded."""
        self._kept = []
        for layer in self.layers:
            y = forward(x, layer.ref, layer.bias_ref, layer.relu)
            self._kept.append((x, y))
            x = y
        return x

    @torch.no_grad()
    def backward(self, d: Tensor) -> None:
        """Gradients of all layers from those of the outputs ``(K, n, outputs)``."""
        for layer, (x, y) in zip(reversed(self.layers), reversed(self._kept), strict=True):
            first = layer is self.layers[0]
            d = backward(d, x, y if layer.relu else None, layer.ref, layer.bias_ref, not first)
        self._kept = []
