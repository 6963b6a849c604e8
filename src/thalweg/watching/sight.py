"""One look: a step read in full, and the gradient of the step after it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.watching.clock import Clock, now
from thalweg.watching.history import History
from thalweg.watching.ledger import Ledger
from thalweg.watching.outside import Outside
from thalweg.watching.plan import Plan, Row
from thalweg.watching.probe import Call, Probe
from thalweg.watching.reader import Reader


class Sight:
    """Hangs hooks on for two steps and takes them off again.

    Args:
        model: Without wrappers.
        plan: What to look at in them.
        optimizer: Its step calls :meth:`ended`.
        history: Told what the model and the optimiser hold.
        clock: Charged with the time spent.
        outside: Follows weights that the optimiser does not hold.
        layers: Whether module hooks are called (not in compiled code).
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, history: History,
        clock: Clock, outside: Outside, layers: bool,
    ) -> None:  # fmt: skip
        self.optimizer, self.plan, self.history, self.clock = optimizer, plan, history, clock
        self.ledger, self.seen = Ledger(), dict[str, Any]()
        self._reader = Reader(optimizer, plan)
        self._first: Reader | None = None  # of the step that is looked at, once it has ended
        history.parameters, history.owned = plan.parameters, plan.owned
        history.precision, history.wide = plan.precision, plan.wide
        outside.look(plan.outside, self.ledger)
        self._probe = Probe(model, plan, self.ledger, clock) if layers else None
        self._cleared: Tensor | None = None
        self._leaf = self._catch()
        self._pre: Any = optimizer.register_step_pre_hook(self._before)

    def _catch(self) -> Any:
        """At every backward pass up to the step: were gradients zero, or those of the last step?

        A hook on a weight sees ``.grad`` as it is before the new gradient is added.
        """
        last = self.history.looks[-1] if self.history.looks else None
        fit = [row for row in self.plan.rows
               if row.tensor.is_leaf and last and last.gradients.get(row.name, 0) > 0]  # fmt: skip
        if not fit:
            return None
        chosen = min(fit, key=lambda row: row.tensor.numel())
        return chosen.tensor.register_hook(Call(self._backward, chosen))

    def _backward(self, row: Row, gradient: Tensor) -> None:
        at = now()
        held = row.tensor.grad
        clear = torch.ones((), dtype=torch.bool, device=gradient.device)
        if held is not None:
            clear = (row.entries_of(held) == 0).all()
        self._cleared = clear if self._cleared is None else self._cleared | clear
        self.clock.own += now() - at

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            return
        at = now()
        if self._first is None:
            self._reader.weights()
        if not closure(args, kwargs):
            self._gradients()
        self.clock.own += now() - at

    def _gradients(self) -> None:
        self._reader.gradients(self.ledger if self._first is None else None)

    def ended(self, args: Any, kwargs: Any) -> bool:
        """A step has ended; whether the look is complete."""
        if closure(args, kwargs):
            self._gradients()
        if self._first is None:
            self._full()
            return False
        self._first.compare(self._reader, self.ledger)
        lr = self.optimizer.param_groups[0].get("lr", math.nan)
        if isinstance(lr, Tensor):
            self.ledger.note("lr", lr.detach())
            lr = math.nan
        self.seen["lr"] = float(lr)
        self.stop()
        return True

    def _full(self) -> None:
        """Note what the step did, and keep its gradient for the next."""
        self._reader.updates(self.ledger)
        self.seen["unreached"] = tuple(self._reader.unreached)
        probe = self._probe
        self._release()
        if probe is not None:
            self.history.order = tuple(probe.leaves) or self.history.order
            self.history.blind |= probe.blind
            self.seen["used"] = frozenset(probe.used)
            self.seen["hidden"] = probe.hidden_squashes()
            self.history.units.add(probe.alive, probe.samples, self.ledger)
        if self._cleared is not None:
            self.ledger.note("cleared", self._cleared)
        self._first = self._reader
        self._reader = Reader(self.optimizer, self.plan)

    def _release(self) -> None:
        """Everything but the optimiser's hook comes off."""
        if self._probe is not None:
            self._probe.detach()
            self._probe = None
        if self._leaf is not None:
            self._leaf.remove()
            self._leaf = None

    def stop(self) -> None:
        """Take every hook off."""
        self._release()
        self._pre.remove()


def closure(args: Any, kwargs: Any) -> bool:
    """Whether a step was given a closure: its gradients are there only after it."""
    given = args[1] if len(args) > 1 else kwargs.get("closure")
    return callable(given)
