"""What flows through the layers during one forward and one backward pass of somebody's own loop?"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.diagnose.anatomy import END, RELUS, SQUASHES
from thalweg.risk import tree
from thalweg.watching.clock import Clock, now
from thalweg.watching.ledger import Ledger
from thalweg.watching.plan import Place, Plan, local

ENOUGH = 1 << 18  # numbers of one activation that are read; of larger ones, the first samples
NAMES = {**dict.fromkeys(RELUS, "relu"), **SQUASHES}


class Call:
    """A hook that neither copies nor pickles what it belongs to: copied models get an empty one."""

    def __init__(self, function: Callable[..., None] | None = None, *first: Any) -> None:
        self.function = weakref.WeakMethod(function) if function is not None else None
        self.first = first

    def __call__(self, *arguments: Any) -> None:
        """Call the function, if what it belongs to is still there."""
        if torch.compiler.is_compiling():
            return
        function = self.function() if self.function is not None else None
        if function is not None:
            function(*self.first, *arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return Call, ()


class _Mode(TorchFunctionMode):
    """Notes calls of activation functions while a module runs."""

    def __init__(self, tell: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = NAMES.get(func)
        if kind is not None and isinstance(out, Tensor):
            self.tell(kind, out)
        return out


class Probe:
    """Hooks on the modules of a plan, for one step; each module's first call is read.

    Args:
        model: Left as found once :meth:`detach` was called.
        plan: Says which modules, and whether functions are followed in them.
        ledger: Takes the numbers.
        clock: Charged with the time spent.
    """

    def __init__(self, model: nn.Module, plan: Plan, ledger: Ledger, clock: Clock) -> None:
        self.ledger, self.clock = ledger, clock
        self.training = model.training
        self.root = weakref.ref(model)
        self.leaves: list[str] = []  # in the order of their first call
        self.used: set[str] = set()
        self.squashes: dict[str, str] = {}
        self.alive: dict[str, Tensor] = {}  # units that were on, by place
        self.samples = 0
        self.last: tuple[int, str] = (0, "")  # the result of the last squashing call
        self.output: int = -1
        self.blind = False  # to activations that are called as functions
        self._functions = plan.functions
        self._stack: list[str] = []
        self._mode: _Mode | None = None
        self._calls: dict[str, int] = {}
        self._handles: list[Any] = []
        hang = self._handles.append
        for place in plan.places:
            module = place.module()
            if module is None:
                continue
            if place.around:
                before, after = Call(self._before, place.name), Call(self._after, place)
                hang(module.register_forward_pre_hook(before, with_kwargs=True))
                hang(module.register_forward_hook(after, always_call=True))
            else:
                hang(module.register_forward_hook(Call(self._ran, place), with_kwargs=True))

    def detach(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._leave()

    def _leave(self) -> None:
        if self._mode is not None:
            mode, self._mode = self._mode, None
            mode.__exit__(None, None, None)

    def _silent(self) -> bool:
        root = self.root()
        return not torch.is_grad_enabled() or root is None or root.training != self.training

    def _before(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._silent():
            return
        at = now()
        if not self._stack:
            self._inputs(args, kwargs)
            if self._functions and self._mode is None:
                self.blind = compiles()
                if not self.blind:
                    self._mode = _Mode(self._activation)
                    self._mode.__enter__()
        self._stack.append(name)
        self.clock.own += now() - at

    def _inputs(self, args: Any, kwargs: Any) -> None:
        if self.used:
            return
        for place, tensor in enumerate(tree.tensors((args, kwargs))[:4]):
            if tensor.is_floating_point():
                self.ledger.note(("input", place), torch.isfinite(local(tensor.detach())).all())

    def _after(self, place: Place, module: nn.Module, args: Any, output: Any) -> None:
        if not self._stack or self._stack[-1] != place.name:
            return
        at = now()
        if place.kind and self._mode is None and isinstance(output, Tensor):
            self._activation(place.kind, output)
        self._stack.pop()
        if not self._stack:
            self._leave()
        self._leaf(place.name, module, output)
        self.clock.own += now() - at

    def _ran(self, place: Place, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """After a module of torch's own, in which nothing else is to be seen."""
        if not self._stack and self._silent():
            return
        at = now()
        if not self._stack:
            self._inputs(args, kwargs)
        if place.kind and isinstance(output, Tensor):
            self._stack.append(place.name)
            self._activation(place.kind, output)
            self._stack.pop()
        self._leaf(place.name, module, output)
        self.clock.own += now() - at

    def _leaf(self, name: str, module: nn.Module, output: Any) -> None:
        if name in self.used:
            return
        self.used.add(name)
        first = output if isinstance(output, Tensor) else next(iter(tree.tensors(output)), None)
        if first is None:
            return
        if not self._stack:
            self.output = id(first)
        if next(module.parameters(recurse=False), None) is None or not first.is_floating_point():
            return
        self.leaves.append(name)
        part = _part(first)
        self.samples = max(self.samples, len(part) if part.dim() else 1)
        size = torch.linalg.vector_norm(part, dtype=torch.float32) / max(1, part.numel()) ** 0.5
        self.ledger.note(("output", name), size)
        if first.requires_grad:
            first.register_hook(Call(self._back, name))

    def _back(self, name: str, gradient: Tensor) -> None:
        at = now()
        norm = torch.linalg.vector_norm(local(gradient.detach()), dtype=torch.float32)
        self.ledger.note(("back", name), norm)
        self.clock.own += now() - at

    def _activation(self, kind: str, out: Tensor) -> None:
        at = now()
        where = self._stack[-1] if self._stack else ""
        turn = self._calls[where] = self._calls.get(where, 0) + 1
        place = where if turn == 1 else f"{where}#{turn}"
        if out.dim() >= 2 and out.is_floating_point() and place not in self.alive:
            part = _part(out)
            if kind == "relu":
                axis = 1 if part.dim() in (2, 4, 5) else part.dim() - 1  # features or channels
                rest = [d for d in range(part.dim()) if d != axis]
                self.alive[place] = part.amax(rest) > 0
            elif place not in self.squashes:
                scaled = 2 * part - 1 if kind == "sigmoid" else part
                self.squashes[place] = kind
                self.last = (id(out), place)
                ends = (1 - scaled.float().square() < END).float().mean()
                self.ledger.note(("saturated", place), ends)
        self.clock.own += now() - at

    def hidden_squashes(self) -> dict[str, str]:
        """Squashing calls whose result is not the model's output."""
        return {
            place: kind for place, kind in self.squashes.items()
            if self.last != (self.output, place)
        }  # fmt: skip


def compiles() -> bool:
    """Whether torch.compile has been at work: a mode around compiled code would recompile it."""
    dynamo = sys.modules.get("torch._dynamo")
    return dynamo is not None and bool(dynamo.utils.counters["frames"])


def _part(tensor: Tensor) -> Tensor:
    """As many of the first samples as are read."""
    value = local(tensor.detach())
    if value.dim() < 2 or value.numel() <= ENOUGH:
        return value
    return value[: max(1, math.floor(ENOUGH * len(value) / value.numel()))]
