"""Held-out outputs of all members from one pass, scored member by member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from thalweg.risk import Risk, tree
from thalweg.risk.criterion import Scores

KEPT_BYTES = 256 * 2**20  # of outputs; beyond that members are evaluated one by one


class Outputs:
    """The outputs of a flock on one held-out part, made when the first member is scored.

    Args:
        make: Positional and named arguments of the model to outputs ``(K, n, ...)``.
        labels: Who stands in which row.
    """

    def __init__(self, make: Callable[[Any, Any], Any], labels: Sequence[int]) -> None:
        self._make, self._labels = make, tuple(labels)
        self._made: list[Any] = []
        self._bytes = 0

    def score(self, risk: Risk, label: int, part: str, most: int | None = None) -> Scores | None:
        """What ``risk.score`` says of this member; None where outputs take too much memory."""
        if self._bytes > KEPT_BYTES:
            return None
        return risk.score(_Replay(self, self._labels.index(label)), part, most)

    def at(self, index: int, args: Any, kwargs: Any) -> Any:
        """The outputs of the ``index``-th input of this part."""
        if index < len(self._made):
            return self._made[index]
        made = self._make(args, kwargs)
        self._bytes += sum(t.numel() * t.element_size() for t in tree.tensors(made))
        if self._bytes <= KEPT_BYTES:
            self._made.append(made)
        return made


class _Replay(nn.Module):
    """Stands for one member's model: answers the inputs of one part in their order."""

    def __init__(self, outputs: Outputs, row: int) -> None:
        super().__init__()
        self._outputs, self._row, self._at = outputs, row, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        made = self._outputs.at(self._at, args, kwargs)
        self._at += 1
        return tree.tree_map(lambda t: t[self._row], made)
