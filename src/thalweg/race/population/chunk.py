"""Rows of members that are trained together, whatever computes their gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from thalweg.race.population.base import Advanced, Tick
from thalweg.race.population.flock import Flock
from thalweg.race.population.outputs import Outputs
from thalweg.risk.criterion import Scores

if TYPE_CHECKING:
    from thalweg.race.population.batched import Batched

LOOK_EVERY = 64  # steps between looks at the losses: each look waits for the device


class Gradients(Protocol):
    """Losses and gradients of a flock."""

    @property
    def solo_differs(self) -> bool:
        """Whether a member's bits change when it is left alone."""
        ...

    def losses(self, step: int) -> Tensor:
        """Losses ``(K,)`` at ``step``; fills ``flock.g``."""
        ...

    def outputs(self, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Outputs ``(K, n, ...)`` of a held-out input in evaluation mode."""
        ...

    def rebind(self) -> None:
        """Follow the flock after members were dropped."""
        ...


class Chunk:
    """Rows that are trained together.

    Attributes:
        labels: The engine's indices, kept ones in the flock's order.
        step: Steps done.
        pending: Members that arrived and were not yet handed out, with the step they arrived at.
        leaving: Members that go along up to a step and are dropped then.
    """

    def __init__(self, engine: Batched, labels: Sequence[int]) -> None:
        self._engine, self._first = engine, tuple(labels)
        self.labels = list(labels)
        self.step = 0
        self.pending: dict[int, tuple[int, Advanced]] = {}
        self.leaving: dict[int, int] = {}
        self._live: tuple[Flock, Gradients] | None = None
        self._outputs: dict[str, Outputs] = {}

    # ------------------------------------------------------------------ live or not

    @property
    def started(self) -> bool:
        """Whether it holds memory now."""
        return self._live is not None

    def live(self) -> tuple[Flock, Gradients]:
        """The flock and its gradients, built when first asked for."""
        if self._live is None:
            e = self._engine
            members = [e.members[i] for i in self._first]
            flock = Flock(e.risk, members, self._first, e.total, e.names(members[0]))
            self._live = flock, e.attach(flock, e.stochastic)
            if set(self.labels) != set(self._first):
                self._compact(set(self.labels))
        return self._live

    def keep(self, labels: set[int]) -> None:
        """Go on with these members only."""
        left = [label for label in self.labels if label in labels]
        if len(left) == len(self.labels):
            return
        self.labels = left
        if not left:
            self._live = None
            self._outputs.clear()
        elif self._live is not None:
            self._compact(set(left))

    def _compact(self, labels: set[int]) -> None:
        assert self._live is not None
        flock, gradients = self._live
        rows, seen = [], set()
        for row, label in enumerate(flock.labels):
            if label in labels and label not in seen:
                rows.append(row)
                seen.add(label)
        if len(rows) == 1 and gradients.solo_differs:
            rows = rows * 2  # a ghost: alone, kernels of another shape would change bits
        flock.keep(rows)
        gradients.rebind()
        self._outputs.clear()

    # ------------------------------------------------------------------ training

    def train(self, stop: int, tick: Tick) -> None:
        """Bring all members to ``stop``; what arrived (or diverged) is pending afterwards."""
        first = self.step
        self.keep({i for i in self.labels if self.leaving.get(i, stop) > first})
        totals = dict.fromkeys(self.labels, 0.0)
        self._outputs.clear()
        while self.step < stop and self.labels:
            count = min(LOOK_EVERY, stop - self.step)
            sums = self._steps(count)
            tick(count * len(self.labels))
            for label, total in sums.items():
                totals[label] += total
            lost = [label for label in self.labels if not math.isfinite(totals[label])]
            for label in lost:
                done = Advanced(label, math.nan, self.step, False)
                self.pending[label] = stop, done
            self.keep(set(self.labels) - set(lost))
        if not self.labels:
            return
        flock, _ = self.live()
        finite = dict(zip(flock.labels, flock.finite().tolist(), strict=True))
        for label in self.labels:
            mean = totals[label] / max(1, stop - first)
            self.pending[label] = stop, Advanced(label, mean, self.step, finite[label])
        self.keep({label for label in self.labels if finite[label]})

    def _steps(self, count: int) -> dict[int, float]:
        """``count`` steps; each member's sum of losses."""
        flock, gradients = self.live()
        rates = flock.rates(self.step, self.step + count)
        losses = flock.w.new_empty(count, len(flock))
        for i in range(count):
            losses[i] = gradients.losses(self.step)
            flock.step([None if r is None else r[i] for r in rates])
            self.step += 1
        return dict(zip(flock.labels, losses.double().sum(0).tolist(), strict=True))

    # ------------------------------------------------------------------ scores and states

    def score(self, label: int, part: str) -> Scores:
        """The criterion of one member, from outputs made for all at once where that is possible."""
        flock, gradients = self.live()
        risk = self._engine.risk
        if risk.task.forward == "pair":
            if part not in self._outputs:
                self._outputs[part] = Outputs(gradients.outputs, flock.labels)
            outputs = self._outputs[part]
            found = outputs.score(risk, label, part)
            if found is not None:
                return found
        return risk.score(self.module(label), part)

    def module(self, label: int) -> nn.Module:
        """One member as an ordinary module, good until the next one is asked for."""
        flock, _ = self.live()
        return flock.module(flock.labels.index(label))

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, JSON and tensors mixed."""
        pending = [
            (stop, a.index, a.train_loss, a.evaluations, a.finite)
            for stop, a in self.pending.values()
        ]
        made: dict[str, Any] = {"labels": list(self.labels), "step": self.step}
        made |= {"pending": pending, "leaving": dict(self.leaving)}
        if self.labels and (self.started or self.step):
            made["flock"] = self.live()[0].export()
        return made

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.keep(set(state["labels"]))
        self.step, self.leaving = state["step"], dict(state["leaving"])
        self.pending = {
            index: (stop, Advanced(index, loss, evaluations, finite))
            for stop, index, loss, evaluations, finite in state["pending"]
        }
        if "flock" in state and self.labels:
            self.live()[0].load(state["flock"])

    def park(self) -> dict[str, Any]:
        """Give the memory back; the returned state goes to :meth:`unpark`."""
        flock, _ = self.live()
        state = flock.export()
        self._live = None
        self._outputs.clear()
        return state

    def unpark(self, state: Mapping[str, Any]) -> None:
        """Take the memory again."""
        self.live()[0].load(dict(state))
