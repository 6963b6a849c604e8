"""What the race asks of an engine, whatever it does inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from thalweg.risk.criterion import Scores

Tick = Callable[[int], None]  # told the number of gradients just executed


@dataclass(frozen=True, slots=True)
class Advanced:
    """A member reached the end of a segment (or its loss stopped being finite before that)."""

    index: int
    train_loss: float  # mean over the segment's steps
    evaluations: int  # gradients executed by this member since its start
    finite: bool


class Engine(Protocol):
    """A group of members that share batch size and number of steps.

    Members keep the index they have in ``members`` for the engine's whole life.
    """

    @property
    def name(self) -> str:
        """Which engine this is, for the plan."""
        ...

    @property
    def independent(self) -> bool:
        """Whether members advance one by one, so that a state between two of them is whole."""
        ...

    def advance(self, step: int, only: Sequence[int], tick: Tick) -> Iterator[Advanced]:
        """Train members up to ``step``; yield each as it arrives there.

        At least the kept members in ``only`` are trained; members already at ``step`` are not
        touched and not yielded.
        """
        ...

    def score(self, index: int, part: str) -> Scores:
        """The criterion of one member on one held-out part."""
        ...

    def drop(self, indices: Sequence[int]) -> None:
        """Forget these members; they are never advanced again."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to go on later, as tensors and JSON."""
        ...

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from a state."""
        ...
