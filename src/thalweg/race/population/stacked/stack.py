"""What the rules share while a step runs: parameters of K members, seeds, and who asked when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.flock import Flock
from thalweg.risk.order import stream


class Ref:
    """One parameter of all members, as rules see it: modules that share it share the ref.

    Attributes:
        value: ``(K, *shape)`` in the flat weights.
        grad: Its place in the flat gradients; None where it is not trained.
        fresh: Nothing was written to ``grad`` in this step yet (so it holds old numbers).
    """

    __slots__ = ("fresh", "grad", "name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Tensor
        self.grad: Tensor | None
        self.fresh = True

    def add(self, gradient: Tensor) -> None:
        """Add a use's gradient ``(K, *shape)``; the first of a step overwrites."""
        if self.grad is None:
            return
        if self.fresh:
            self.grad.copy_(gradient)
        else:
            self.grad.add_(gradient)
        self.fresh = False

    def add_product(self, a: Tensor, b: Tensor) -> None:
        """:meth:`add` of the matrix products ``a @ b``, with as few copies as the device allows."""
        if self.grad is None:
            return
        if self.fresh and self.grad.device.type != "cpu":
            torch.bmm(a, b, out=self.grad)
        elif self.fresh:  # into place, torch would multiply one member after another
            self.grad.copy_(torch.bmm(a, b))
        else:
            self.grad.add_(torch.bmm(a, b))
        self.fresh = False

    def add_sum(self, rows: Tensor) -> None:
        """:meth:`add` of the sums over axis 1 of ``rows (K, n, m)``."""
        if self.grad is None:
            return
        if self.fresh:
            torch.sum(rows, 1, out=self.grad)
        else:
            self.grad.add_(rows.sum(1))
        self.fresh = False

    def take(self, anchor: Tensor) -> Tensor:
        """The parameter as a differentiable tensor whose gradient goes to :meth:`add`."""
        return _Take.apply(anchor, self)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, ref: Ref) -> Tensor:
        ctx.ref = ref
        return ref.value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore
        ctx.ref.add(grad_outputs[0])
        return None, None


class Stack:
    """The state of one pass over the twin.

    Attributes:
        k: Members.
        b: Samples of each in this pass.
        anchor: A number that requires a gradient: rules hang their parameters on it.
        refs: Parameters by name.
    """

    def __init__(self, flock: Flock) -> None:
        self.flock = flock
        self.refs = {name: Ref(name) for name, _ in flock.template.named_parameters()}
        self.anchor = torch.zeros((), dtype=flock.w.dtype, device=flock.w.device)
        self.anchor.requires_grad_()
        self.leaves: list[Leaf] = []
        self.b = 0
        self._shared: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._generators: list[torch.Generator] | None = None
        self.rebind()

    def rebind(self) -> None:
        """Look at the flock's rows anew, after some were dropped."""
        flock = self.flock
        self.k = len(flock)
        for name, ref in self.refs.items():
            trained = name in flock.views
            ref.value = flock.views[name] if trained else flock.frozen[name]
            ref.grad = flock.gradients[name] if trained else None
        self._shared = {}
        self._generators = None

    # ------------------------------------------------------------------ one step

    def begin(self, step: int | None, stochastic: bool) -> None:
        """Forget the last pass. ``step`` None: an evaluation pass, which draws nothing."""
        for leaf in self.leaves:
            leaf.calls = 0
        if step is None:
            return
        for ref in self.refs.values():
            ref.fresh = True
        if stochastic:
            self._reseed(step)

    def _reseed(self, step: int) -> None:
        """Every seed draws what its sequential twin draws under ``manual_seed`` at this step."""
        flock = self.flock
        values = [stream(seed, "step", step) for seed in flock.seeds]
        if flock.w.device.type != "cpu":
            torch.manual_seed(values[0])  # chunks of one seed only, see mask
            return
        if self._generators is None:
            self._generators = [torch.Generator() for _ in values]
        for generator, value in zip(self._generators, values, strict=True):
            generator.manual_seed(value)

    def untouched(self) -> list[str]:
        """Trained parameters that the last backward pass did not reach."""
        return [r.name for r in self.refs.values() if r.grad is not None and r.fresh]

    # ------------------------------------------------------------------ inputs

    def fold(self, per_seed: Sequence[Tensor]) -> Tensor:
        """Input ``(b, ...)`` of every seed to ``(K b, ...)``, member by member."""
        spread = self.flock.spread(per_seed)  # (K, b, ...)
        folded = spread.reshape(-1, *spread.shape[2:])
        if len(per_seed) == 1 and folded.dim() > 1:
            self._shared[id(folded)] = folded, folded._version, per_seed[0]
        return folded

    def forget_inputs(self) -> None:
        """Let go of the tensors of :meth:`fold`."""
        self._shared = {}

    def shared(self, x: Tensor) -> Tensor | None:
        """The one input ``(b, ...)`` that all members see, if ``x`` is it, untouched."""
        found = self._shared.get(id(x))
        if found is None or found[0] is not x or found[1] != x._version:
            return None
        return found[2]

    # ------------------------------------------------------------------ masks

    def mask(
        self, shape: Sequence[int], p: float, like: Tensor, order: Sequence[int] | None = None
    ) -> Tensor:
        """Dropout noise ``(1 or K, *shape)``, 0 or 1/(1 - p): one drawing a seed.

        Args:
            shape: What one member's tensor has in its sequential run.
            p: Probability of zero.
            like: Gives dtype and device.
            order: That tensor's axes by falling stride; None: contiguous. Torch draws in memory
                order.
        """
        flock = self.flock
        if p >= 1:  # drawn by no kernel, as in torch
            return like.new_zeros(1, *shape)
        if like.device.type != "cpu":
            if len(flock.seeds) > 1:
                raise Unsupported("dropout of several seeds at once on this device")
            ones = _laid_out(like, shape, order).fill_(1.0)
            return torch.native_dropout(ones, p, True)[0][None]
        if self._generators is None:
            raise Unsupported("dropout in a model that drew no random number at the door")
        drawn = [
            _laid_out(like, shape, order).bernoulli_(1 - p, generator=g).div_(1 - p)
            for g in self._generators
        ]
        return drawn[0][None] if len(drawn) == 1 else flock.spread(drawn)


def _laid_out(like: Tensor, shape: Sequence[int], order: Sequence[int] | None) -> Tensor:
    """An empty tensor of this shape whose axes lie in memory in this order."""
    if order is None or list(order) == sorted(order):
        return like.new_empty(shape)
    back = sorted(range(len(order)), key=lambda i: order[i])
    return like.new_empty([shape[i] for i in order]).permute(back)


class Leaf(nn.Module):
    """A rule applied to one leaf module: what stands in its place in the twin.

    Attributes:
        where: The module's name in the user's model.
        axes: For each call in a forward pass the axis of its first argument that carries samples,
            or the argument's shape where it carries none. None: axis 0 always.
    """

    def __init__(self, stack: Stack, where: str) -> None:
        super().__init__()
        self.stack, self.where = stack, where
        self.axes: list[int | torch.Size] | None = None
        self.orders: list[tuple[int, ...]] = []
        self.calls = 0
        stack.leaves.append(self)

    def axis(self, x: Tensor) -> int | None:
        """Where ``x`` carries the samples of all members; None: it carries none."""
        if self.axes is None:
            return 0
        if self.calls >= len(self.axes):
            raise Unsupported(f"'{self.where}' is called more often than in the first step")
        found = self.axes[self.calls]
        self.calls += 1
        if isinstance(found, int):
            return found
        return None if x.shape == found else 0  # a rule before gave it samples

    def lead(self, x: Tensor, axis: int | None) -> Tensor:
        """``x`` with members and samples in front: ``(K r, ...)``."""
        if axis is None:
            return x.expand(self.stack.k, *x.shape).reshape(-1, *x.shape[1:])
        return x.movedim(axis, 0) if axis else x

    def back(self, y: Tensor, axis: int | None) -> Tensor:
        """The inverse of :meth:`lead`; what carried no samples gets ``b`` equal ones."""
        if axis is not None:
            return y.movedim(0, axis) if axis else y
        k, b = self.stack.k, self.stack.b
        rows = y.shape[0] // k
        if rows == 1:
            return y.view(k, 1, *y.shape[1:]).expand(k, b, *y.shape[1:]).reshape(-1, *y.shape[1:])
        return y.view(k, 1, rows, *y.shape[1:]).expand(k, b, rows, *y.shape[1:]).flatten(0, 1)
