"""What flows through the layers? One forward and backward pass, recorded for any module.

Activations are caught where torch's functions are called, so ``F.relu(x)`` in a ``forward`` counts
as much as an ``nn.ReLU``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.risk import Risk, tree

RELUS = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.relu_}
SQUASHES = {
    torch.sigmoid: "sigmoid", Tensor.sigmoid: "sigmoid", F.sigmoid: "sigmoid",
    torch.tanh: "tanh", Tensor.tanh: "tanh", F.tanh: "tanh", F.hardtanh: "tanh",
    Tensor.sigmoid_: "sigmoid", Tensor.tanh_: "tanh", F.hardsigmoid: "sigmoid",
}  # fmt: skip
SOFTMAXES = {F.softmax, torch.softmax, Tensor.softmax}
END = 0.05  # a squashing unit whose slope is below this share of its largest one is at its end


@dataclass
class Activation:
    """One call of an activation function."""

    kind: str  # "relu", "sigmoid", "tanh", "softmax"
    where: str  # the module in whose forward it was called
    silent: float = math.nan  # share of units at zero on every sample
    zero: float = math.nan  # share of single outputs at zero
    saturated: float = math.nan
    units: int = 0
    output: Tensor | None = None


@dataclass
class Leaf:
    """One module with weights of its own."""

    name: str
    kind: str
    parameters: int
    output_rms: float = math.nan
    input_rms: float = math.nan
    gradient_rms: float = math.nan  # of the loss in the weights
    back_norm: float = math.nan  # of the loss in the outputs, over the batch
    equal: float = 0.0  # share of units whose weights and gradients equal another unit's
    weight_rms: float = math.nan
    fan_in: int = 0


@dataclass
class Anatomy:
    """One pass over one batch."""

    loss: float
    leaves: list[Leaf] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    output: Any = None
    target: Any = None
    last: str = ""  # activation whose result is the model's output
    last_where: str = ""
    unreached: list[str] = field(default_factory=list)  # trainable, but no gradient
    zero: list[str] = field(default_factory=list)  # gradient exactly zero
    frozen: list[str] = field(default_factory=list)
    detached: bool = False  # the loss has no graph at all
    failed: str = ""
    gradient_norm: float = math.nan
    nonfinite_gradient: list[str] = field(default_factory=list)


class _Watch(TorchFunctionMode):
    """Notes calls of activation functions; ``where`` says which module is running."""

    def __init__(self, where: Callable[[], str]) -> None:
        super().__init__()
        self.where, self.seen = where, []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = _kind(func, args, kwargs or {})
        if kind and isinstance(out, Tensor):
            self.seen.append(_activation(kind, self.where(), out))
        return out


def _kind(func: Any, args: Any, kwargs: Any) -> str:
    if func in RELUS:
        return "relu"
    if func in SQUASHES:
        return SQUASHES[func]
    if func in SOFTMAXES:
        return "softmax"
    if func in (torch.clamp, Tensor.clamp, torch.clamp_min, Tensor.clamp_min):
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        return "relu" if isinstance(low, int | float) and low == 0 and len(args) < 3 else ""
    return ""


@torch.no_grad()
def _activation(kind: str, where: str, out: Tensor) -> Activation:
    found = Activation(kind, where, output=out)
    value = out.detach()
    if value.dim() < 2 or not value.is_floating_point():
        return found
    axis = 1 if value.dim() in (2, 4, 5) else value.dim() - 1  # units: features or channels
    rows = value.transpose(0, axis).reshape(value.shape[axis], -1)
    found.units = len(rows)
    if kind == "relu":
        found.zero = float((rows == 0).double().mean())
        found.silent = float((rows == 0).all(1).double().mean())
    elif kind in ("sigmoid", "tanh"):
        scaled = 2 * rows - 1 if kind == "sigmoid" else rows
        found.saturated = float((1 - scaled.square() < END).double().mean())
    return found


def examine(risk: Risk, model: nn.Module, batch: Any) -> Anatomy:
    """Run one batch forward and backward through a model (not the user's: a copy)."""
    names = {module: name for name, module in model.named_modules()}
    stack: list[str] = [""]
    leaves: dict[str, Leaf] = {}
    handles: list[Any] = []

    def before(module: nn.Module, args: Any) -> None:
        stack.append(names.get(module, ""))

    def after(module: nn.Module, args: Any, output: Any) -> None:
        name = stack.pop() if len(stack) > 1 else ""
        own = list(module.parameters(recurse=False))
        first = next(iter(tree.tensors(output)), None)
        if not own or first is None or name in leaves:
            return
        given = next(iter(tree.tensors(args)), None)
        leaf = Leaf(name, type(module).__name__, sum(p.numel() for p in own))
        leaf.output_rms = rms(first)
        weight = max(own, key=lambda p: p.dim())
        leaf.weight_rms = rms(weight)
        leaf.fan_in = weight[0].numel() if weight.dim() > 1 else 0
        if given is not None and given.is_floating_point():
            leaf.input_rms = rms(given)
        leaves[name] = leaf
        if first.requires_grad:
            first.register_hook(lambda g, leaf=leaf: setattr(leaf, "back_norm", float(g.norm())))

    for module in model.modules():
        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))
    try:
        with _Watch(lambda: stack[-1]) as watch:
            return _pass(risk, model, batch, leaves, watch)
    finally:
        for handle in handles:
            handle.remove()


def _pass(
    risk: Risk, model: nn.Module, batch: Any, leaves: dict[str, Leaf], watch: _Watch
) -> Anatomy:
    pair = risk.task.forward == "pair"
    output = risk.forward(model, batch) if pair else None
    calls = list(watch.seen)
    loss = risk.task.loss(output, batch[1]) if pair else risk.task.loss(model, batch)
    seen = calls if pair else watch.seen
    found = Anatomy(float(loss.detach()), [*leaves.values()], seen, output)
    found.target = batch[1] if pair else None
    found.frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    for activation in seen:
        if activation.output is output:
            found.last, found.last_where = activation.kind, activation.where
        activation.output = None
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not loss.requires_grad:
        found.detached = True
        return found
    grads = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    square = 0.0
    for (name, _), grad in zip(named, grads, strict=True):
        if grad is None:
            found.unreached.append(name)
            continue
        if not bool(torch.isfinite(grad).all()):
            found.nonfinite_gradient.append(name)
        elif not bool(grad.any()):
            found.zero.append(name)
        square += float(grad.double().square().sum())
        leaf = leaves.get(name.rpartition(".")[0])
        if leaf is not None and (grad.dim() > 1 or math.isnan(leaf.gradient_rms)):
            leaf.gradient_rms = rms(grad)
        if leaf is not None and grad.dim() > 1:
            leaf.equal = max(leaf.equal, _equal(dict(named)[name], grad))
    found.gradient_norm = math.sqrt(square) if math.isfinite(square) else square
    return found


def _equal(weight: Tensor, grad: Tensor) -> float:
    """Share of rows that repeat an earlier one, in the weights and in their gradient."""
    if len(weight) < 2 or len(weight) > 4096:
        return 0.0
    both = torch.cat([weight.detach().flatten(1), grad.flatten(1)], 1).cpu()
    return 1 - (len(torch.unique(both, dim=0)) - 1) / (len(both) - 1)


def rms(x: Tensor) -> float:
    """Root of the mean square of all numbers."""
    value = x.detach()
    if not value.is_floating_point() or not value.numel():
        return math.nan
    return float(value.double().square().mean().sqrt())
