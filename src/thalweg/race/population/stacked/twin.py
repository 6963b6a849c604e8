"""The user's module with every leaf replaced by its rule; its own forward code stays as it is."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.stacked.attention import EncoderLayer
from thalweg.race.population.stacked.calls import Calls
from thalweg.race.population.stacked.linear import Linear
from thalweg.race.population.stacked.noise import Dropout
from thalweg.race.population.stacked.rules import CHANNELWISE, POOLING, RANDOM, RULES, Find
from thalweg.race.population.stacked.stack import Leaf, Ref, Stack
from thalweg.race.population.stacked.wide import Convolution, Stage, Wide, WideNorm

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def replaced(model: nn.Module) -> list[str]:
    """The names of the modules that rules stand in for.

    Raises:
        Unsupported: A module holds parameters and no rule knows it; or it draws random numbers.
    """
    return [name for name, _ in _walk(model, "")]


def _walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    kind = type(module)
    if isinstance(module, RANDOM):
        raise Unsupported(f"'{name}' ({kind.__name__}) draws random numbers that no rule shares")
    if kind in RULES:
        if any(getattr(module, hook, None) for hook in HOOKS):
            raise Unsupported(f"'{name}' ({kind.__name__}) has hooks")
        yield name, module
        return
    own = [key for key, p in module._parameters.items() if p is not None]
    if own:
        raise Unsupported(f"'{name}' ({kind.__name__}) holds parameter '{own[0]}': no rule for it")
    for key, child in module.named_children():  # each object once
        yield from _walk(child, f"{name}.{key}" if name else key)


class Builder:
    """Builds the twin of one model over one stack."""

    def __init__(self, stack: Stack, model: nn.Module, calls: Calls) -> None:
        self.stack, self.calls = stack, calls
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._model = model
        every = [m for _, m in model.named_modules(remove_duplicate=False)]
        self._uses = Counter(id(m) for m in every)
        self._where = {id(m): name for name, m in model.named_modules()}
        self._made: dict[int, nn.Module] = {}

    def build(self) -> nn.Module:
        """The twin, in training mode."""
        self._free_buffers()
        return self._convert(self._model).train()

    def _free_buffers(self) -> None:
        """Buffers of the user's own modules stay in the twin, so all members must share them."""
        ruled = {id(m) for m in self._model.modules() if type(m) in RULES}
        for name, module in self._model.named_modules():
            for key in module._buffers:
                full = f"{name}.{key}" if name else key
                rows = self.stack.flock.buffers.get(full)
                if id(module) in ruled or rows is None:
                    continue
                if not bool((rows == rows[:1]).all()):
                    raise Unsupported(f"buffer '{full}' differs from seed to seed")

    def _find(self, module: nn.Module) -> Find:
        def find(path: str) -> Ref | None:
            *parents, last = path.split(".")
            holder = module
            for parent in parents:
                holder = getattr(holder, parent)
            parameter = getattr(holder, last, None)
            return None if parameter is None else self.stack.refs[self._names[id(parameter)]]

        return find

    def _convert(self, module: nn.Module) -> nn.Module:
        if id(module) in self._made:
            return self._made[id(module)]
        kind, where = type(module), self._where[id(module)]
        if kind in RULES:
            made = RULES[kind](self.stack, where, module, self._find(module))
            self._set_axes(made, where)
        elif not any(True for _ in module.children()):
            made = copy.deepcopy(module)
        else:
            made = self._container(module)
        self._made[id(module)] = made
        return made

    def _set_axes(self, made: nn.Module, where: str) -> None:
        if isinstance(made, Leaf):
            axes = self.calls.axes[where]
            counts = isinstance(made, Dropout) and any(
                list(order) != sorted(order) for order in self.calls.orders[where]
            )
            made.axes = None if all(axis == 0 for axis in axes) and not counts else axes
            made.orders = self.calls.orders[where] if counts else []

    def _container(self, module: nn.Module) -> nn.Module:
        """A copy of the container around converted children."""
        children = dict(module._modules)
        if type(module) is nn.Sequential:
            converted = self._sequence(module)
        else:
            converted = {
                key: None if child is None else self._convert(child)
                for key, child in children.items()
            }
        # children are passed through the memo, so that lists and other references follow
        memo: dict[int, Any] = {
            id(child): converted[key] for key, child in children.items() if child is not None
        }
        memo[id(module._modules)] = converted
        made = copy.deepcopy(module, memo)
        if type(module) is nn.TransformerEncoderLayer:
            return EncoderLayer(made)  # pyrefly: ignore
        return made

    # ------------------------------------------------------------------ runs in a Sequential

    def _sequence(self, module: nn.Sequential) -> dict[str, nn.Module | None]:
        keys, children = list(module._modules), list(module)
        made: dict[str, nn.Module | None] = {}
        at = 0
        while at < len(children):
            run = self._wide_run(children, at)
            if run > 1:
                first: nn.Module = self._wide(children[at : at + run])
            elif self._linear_relu(children, at):
                run, first = 2, self._fused(children[at])
            else:
                run, first = 1, self._convert(children[at])
            made[keys[at]] = first
            for key in keys[at + 1 : at + run]:
                made[key] = nn.Identity()
            at += run
        return made

    def _alone(self, module: nn.Module) -> bool:
        hooked = any(getattr(module, hook, None) for hook in HOOKS)
        return self._uses[id(module)] == 1 and not hooked

    def _linear_relu(self, children: list[nn.Module], at: int) -> bool:
        """Whether a ReLU follows whose input nobody else can see."""
        pair = children[at : at + 2]
        return [type(m) for m in pair] == [nn.Linear, nn.ReLU] and all(map(self._alone, pair))

    def _fused(self, module: nn.Module) -> nn.Module:
        where, find = self._where[id(module)], self._find(module)
        made = Linear(self.stack, where, find("weight"), find("bias"), relu=True)
        self._set_axes(made, where)
        return made

    def _wide_run(self, children: list[nn.Module], at: int) -> int:
        """How many modules from ``at`` on can run side by side in the channels; 0: none."""
        first = children[at]
        if type(first) not in (nn.Conv1d, nn.Conv2d) or not self._alone(first):
            return 0
        flat = type(first) is nn.Conv1d
        kinds: tuple[type, ...] = (type(first), *CHANNELWISE)
        kinds += (nn.BatchNorm1d,) if flat else (nn.BatchNorm2d, *POOLING)
        stop = at
        while (
            stop < len(children) and type(children[stop]) in kinds and self._alone(children[stop])
        ):
            if getattr(children[stop], "return_indices", False):
                break
            stop += 1
        return stop - at

    def _wide(self, run: list[nn.Module]) -> nn.Module:
        where = self._where[id(run[0])]
        wide = Wide(self.stack, where, [], 1 if type(run[0]) is nn.Conv1d else 2)
        wide.stages = tuple(self._stage(m, wide) for m in _pool_first(run))
        self._set_axes(wide, where)
        return wide

    def _stage(self, module: nn.Module, wide: Wide) -> Stage:
        find = self._find(module)
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            return Convolution(self.stack, module, find("weight"), find("bias"))
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            where = self._where[id(module)]
            refs = find("weight"), find("bias")
            return WideNorm(self.stack, module, where, *refs, lambda: wide.training)
        return copy.deepcopy(module)


def _pool_first(run: list[nn.Module]) -> list[nn.Module]:
    """Max-pooling moved before a ReLU: the same numbers and gradients from a quarter of the work.

    Both are monotone, so they commute; where the largest entry is negative the gradient is zero
    either way, and where it is positive both pick the same entry.
    """
    run = list(run)
    for i in range(len(run) - 1):
        if type(run[i]) is nn.ReLU and type(run[i + 1]) is nn.MaxPool2d:
            run[i], run[i + 1] = run[i + 1], run[i]
    return run


def build(stack: Stack, model: nn.Module, calls: Calls) -> nn.Module:
    """The twin of ``model`` for the members of ``stack``."""
    with torch.no_grad():
        return Builder(stack, model, calls).build()
