"""What is there to look at? Modules to hang hooks on and weights to read, found once and kept."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

ENTRIES = 2048  # of each weight tensor: a root mean square is then known to about 2 %
AGAIN = 16  # looks after which modules are searched anew: people exchange them while they train
KINDS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu", nn.Sigmoid: "sigmoid", nn.Hardsigmoid: "sigmoid",
    nn.Tanh: "tanh", nn.Hardtanh: "tanh",
}  # fmt: skip
HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a distributed tensor; any other tensor as it is."""
    if type(tensor) is Tensor or type(tensor) is nn.Parameter:
        return tensor
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


@dataclass
class Row:
    """One trainable tensor of the optimiser."""

    name: str
    tensor: Tensor
    stride: int
    entries: int

    def entries_of(self, tensor: Tensor) -> Tensor:
        """The same entries of any tensor of this shape, in float32 or wider; call without grad."""
        flat = local(tensor)
        if flat.is_sparse:
            flat = flat.to_dense()
        if flat.is_complex():
            flat = torch.view_as_real(flat)
        if flat.is_contiguous():
            picked = torch.as_strided(flat, (self.entries,), (self.stride,))
        else:
            picked = flat.reshape(-1)[:: self.stride][: self.entries]
        wide = picked.dtype in (torch.float32, torch.float64)
        return picked if wide else picked.float()


@dataclass
class Group:
    """Rows on one device in one precision, so that they are read by few kernels."""

    rows: list[Row] = field(default_factory=list)
    _weight: Tensor | None = None

    @property
    def sizes(self) -> list[int]:
        """Entries of each row."""
        return [row.entries for row in self.rows]

    def weight(self, like: Tensor) -> Tensor:
        """By what an inner product over the entries becomes one over all numbers: its root."""
        if self._weight is None or self._weight.device != like.device:
            share = [math.sqrt(r.tensor.numel() / r.entries) for r in self.rows]
            self._weight = torch.repeat_interleave(
                torch.tensor(share, device=like.device), torch.tensor(self.sizes).to(like.device)
            )
        return self._weight


@dataclass
class Place:
    """A module and how much of it must be followed."""

    module: weakref.ref[nn.Module]
    name: str
    kind: str  # of its activation, if it is one
    around: bool  # hooks before and after it: functions may be called in it, or it is the model


class Plan:
    """Modules and weights of one model and one optimiser.

    Modules of torch that hold no others call no activation function but their own: those with
    weights and the activations among them are read after they ran, the others not at all. If there
    is no other module, no function needs to be followed.

    Args:
        model: Without wrappers; not kept.
        optimizer: Its weights are the rows.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.looks = 0
        modules, parameters = named(model)
        self._key = _key(optimizer)
        self.names = {tensor: name for name, tensor in parameters.items()}
        self.parameters = {n: p.numel() for n, p in parameters.items() if p.requires_grad}
        wide = [n for n, p in parameters.items() if p.dim() > 1 and p.numel() > len(p)]
        self.wide = frozenset(name.rpartition(".")[0] for name in wide)
        self.groups = _groups(optimizer, self.names)
        self.rows = [row for group in self.groups for row in group.rows]
        self.owned = frozenset(row.name for row in self.rows)
        floats = [row.tensor.dtype for row in self.rows if row.tensor.is_floating_point()]
        coarse = max(floats, key=lambda d: torch.finfo(d).eps, default=None)
        self.precision = str(coarse).removeprefix("torch.") if coarse else ""
        held = {id(row.tensor) for row in self.rows}
        self.outside = {n: p for n, p in parameters.items() if id(p) not in held}
        self.functions = any(not _leaf(m) and type(m) not in HOLDERS for m in modules)
        self.places = list(self._places(model, modules))
        self._whole = len(parameters) == sum(1 for _ in model.parameters())

    def _places(self, model: nn.Module, modules: dict[nn.Module, str]) -> Iterator[Place]:
        for module, name in modules.items():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            kind = KINDS.get(type(module), "")
            if _leaf(module):
                around = bool(kind) and self.functions
                if not kind and next(module.parameters(recurse=False), None) is None:
                    continue
            else:
                around = self.functions or module is model
                if not around:
                    continue
            yield Place(weakref.ref(module), name, kind, around)

    def fits(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the weights are those that were found, and modules were searched lately."""
        self.looks += 1
        return self.looks < AGAIN and self._whole and self._key == _key(optimizer)


def _key(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [(id(p), p.requires_grad, p.dtype, p.device)
            for group in optimizer.param_groups for p in group["params"]]  # fmt: skip


def _leaf(module: nn.Module) -> bool:
    """Whether it is one of torch's own modules that holds no other."""
    return (
        type(module).__module__.startswith("torch.nn.modules.")
        and not module._modules
        and type(module) not in HOLDERS
        and "forward" not in vars(module)
    )


def _groups(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> list[Group]:
    kinds: dict[Any, Group] = {}
    count = 0
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            count += 1
            if not tensor.requires_grad or isinstance(tensor, nn.UninitializedParameter):
                continue
            numel = local(tensor.detach()).numel() * (2 if tensor.is_complex() else 1)
            entries = min(numel, ENTRIES)
            name = names.get(tensor, f"parameter {count - 1}")
            kind = (tensor.device, tensor.dtype == torch.float64)
            if entries:
                row = Row(name, tensor, max(1, numel // entries), entries)
                kinds.setdefault(kind, Group()).rows.append(row)
    return list(kinds.values())


def named(model: nn.Module) -> tuple[dict[nn.Module, str], dict[str, Tensor]]:
    """Modules with their names, and weights by name; weights that are shared come once."""
    modules = {module: name for name, module in model.named_modules()}
    return modules, {n: p for n, p in model.named_parameters()
                     if not isinstance(p, nn.UninitializedParameter)}  # fmt: skip
