"""Losses and gradients of K members by one pass over the twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.flock import Flock
from thalweg.race.population.stacked import losses as ways
from thalweg.race.population.stacked.calls import watch
from thalweg.race.population.stacked.linear import Linear
from thalweg.race.population.stacked.losses import Intercept
from thalweg.race.population.stacked.stack import Stack
from thalweg.race.population.stacked.tape import AGAIN, Tape, Watch
from thalweg.race.population.stacked.twin import build, replaced
from thalweg.race.population.stacked.wide import Wide
from thalweg.risk import source, tree

EVALUATE_ROWS = 16384  # samples of all members together in one evaluation pass, about


class Stacked:
    """The stacked engine's gradients over one flock.

    Args:
        flock: Members; its ``g`` is filled by :meth:`losses`.
        stochastic: Whether the forward pass draws random numbers.

    Attributes:
        solo_differs: Whether a member's bits change when it is left alone.

    Raises:
        Unsupported: The model has no twin; says why.
    """

    def __init__(self, flock: Flock, stochastic: bool) -> None:
        self.flock, self.stochastic = flock, stochastic
        self.task = flock.risk.task
        model = flock.template
        names = replaced(model)
        self.calls = watch(flock.risk, flock.seeds[0], flock.batch_size, names)
        self.stack = Stack(flock)
        self.twin = build(self.stack, model, self.calls)
        self.solo_differs = any(isinstance(leaf, Wide) for leaf in self.stack.leaves)
        self._loss: Callable[[Any, Any], Tensor] | None = None
        self._plain = self._known_loss()
        self._tape: Tape | None = None

    def _known_loss(self) -> str | None:
        task, data = self.task, self.flock.risk.train
        if task.forward != "pair":
            return None
        if ways.is_plain_square(task.loss):
            return "square"
        if not ways.is_plain_cross_entropy(task.loss) or not isinstance(data, source.Resident):
            return None
        target = data.samples[1]
        counted = isinstance(target, Tensor) and not target.is_floating_point()
        return "entropy" if counted and not bool((target == ways.IGNORED).any()) else None

    def rebind(self) -> None:
        """Follow the flock after members were dropped."""
        self.stack.rebind()

    # ------------------------------------------------------------------ training

    def losses(self, step: int) -> Tensor:
        """The loss of every member ``(K,)`` at ``step``; their gradients go to ``flock.g``."""
        stack = self.stack
        stack.begin(step, self.stochastic)
        if self._tape is not None and step % AGAIN:
            return self._taped(self._tape, self.flock.batches(step))
        batch = self._fold(self.flock.batches(step))
        if self.task.forward != "pair":
            with Intercept(stack):
                found = self.task.loss(self.twin, batch)
            losses = self._backward(found)
        else:
            output = self._watched(batch[0], batch[1])
            losses = self._pair(output, batch[1])
        stack.forget_inputs()
        left = stack.untouched()
        if left:
            raise Unsupported(f"parameter '{left[0]}' received no gradient at step {step}")
        return losses

    def _watched(self, inputs: Any, target: Any) -> Any:
        """The forward pass, with a look whether it is a row of layers that a tape can run."""
        if self._plain is None or not all(isinstance(leaf, Linear) for leaf in self.stack.leaves):
            return self._forward(inputs)
        watch = Watch()
        with watch.over(self.stack.leaves):
            output = self._forward(inputs)
        layers = watch.row(inputs, output, self.stack.leaves)
        if self._tape is not None and layers != list(self._tape.layers):
            raise Unsupported("the forward pass is another one than some steps ago")
        if layers is not None and (self._plain == "entropy" or output.shape == target.shape):
            self._tape = Tape(self.stack, layers)
        return output

    def _taped(self, tape: Tape, batches: Sequence[Any]) -> Tensor:
        flock, k = self.flock, self.stack.k
        x, target = ([batch[i] for batch in batches] for i in (0, 1))
        output = tape.forward(flock.spread([t.flatten(1) for t in x]))
        if self._plain == "entropy":
            y = target[0] if len(target) == 1 else flock.spread(target).flatten()
            losses, d = ways.cross_entropy(output.flatten(0, 1), y, k)
        else:
            losses, d = ways.square(output, flock.spread(target).reshape(output.shape), k)
        tape.backward(d.view(output.shape))
        return losses

    def _fold(self, batches: Sequence[Any]) -> Any:
        """The batch of every seed as one of all members."""
        first = batches[0]
        self.stack.b = b = tree.count(first)
        rows = iter(zip(*(tree.tensors(batch) for batch in batches), strict=True))

        def fold(t: Tensor) -> Tensor:
            each = next(rows)
            if t.dim() and t.shape[0] == b:
                if any(other.shape != t.shape for other in each):
                    raise Unsupported("batches of several seeds differ in shape")
                return self.stack.fold(each)
            if any(other is not t and not torch.equal(other, t) for other in each):
                raise Unsupported("a part of the batch without samples differs from seed to seed")
            return t

        return tree.tree_map(fold, first)

    def _forward(self, inputs: Any) -> Any:
        if self.calls.noise and self.twin.training:
            with Intercept(self.stack):
                return call(self.twin, inputs)
        return call(self.twin, inputs)

    def _pair(self, output: Any, target: Any) -> Tensor:
        k = self.stack.k
        if self._plain == "entropy" and output.dim() == 2:
            losses, d = ways.cross_entropy(output.detach(), target, k)
            torch.autograd.backward(output, d)
            return losses
        if self._plain == "square" and output.shape == target.shape:
            losses, d = ways.square(output.detach(), target, k)
            torch.autograd.backward(output, d)
            return losses
        if self._loss is None:
            self.loss_name, self._loss = ways.pick(self.stack, self.task.loss, output, target)
        return self._backward(self._loss(output, target))

    def _backward(self, losses: Any) -> Tensor:
        if not isinstance(losses, Tensor) or losses.shape != (self.stack.k,):
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise Unsupported(f"the loss of all members is {shape}, not one number a member")
        losses.backward(torch.ones_like(losses))
        return losses.detach()

    # ------------------------------------------------------------------ evaluation

    @torch.no_grad()
    def outputs(self, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Outputs ``(K, n, ...)`` in evaluation mode of one held-out input of n samples."""
        stack, inputs = self.stack, (tuple(args), dict(kwargs))
        n = tree.count(inputs)
        size = max(self.flock.batch_size, EVALUATE_ROWS // stack.k)
        pieces = []
        self.twin.eval()
        try:
            for start in range(0, n, size):
                stack.begin(None, self.stochastic)
                cut = tree.tree_map(
                    lambda t, s=start: t[s : s + size] if t.dim() and t.shape[0] == n else t, inputs
                )
                a, kw = self._fold([cut])
                output = self.twin(*a, **kw)
                pieces.append(tree.tree_map(lambda t: t.unflatten(0, (stack.k, -1)), output))
        finally:
            self.twin.train()
            stack.forget_inputs()
        return pieces[0] if len(pieces) == 1 else _joined(pieces)


def call(model: nn.Module, inputs: Any) -> Any:
    """``model(inputs)``, tuples and dictionaries spread over the arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, list | tuple):
        return model(*inputs)
    return model(inputs)


def _joined(pieces: list[Any]) -> Any:
    rows = iter(zip(*(tree.tensors(piece) for piece in pieces), strict=True))
    return tree.tree_map(lambda t: torch.cat(next(rows), 1), pieces[0])
