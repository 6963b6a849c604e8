"""What reaches the first layer with weights? Inputs are scaled inside models as well."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.diagnose.pieces import fresh, fronted, pairs, standardising
from thalweg.risk.source import seeded
from thalweg.task import Task

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
MOST = 2048  # samples read


class _Reached(Exception):
    """The rest of the model need not be run."""


def entry(task: Task) -> tuple[str, Tensor] | None:
    """Name of the layer with weights that runs first, and what it gets from training samples.

    Returns:
        None where the first layer gets the inputs as they are, is of another kind (an embedding,
        a recurrent layer), has weights in front of it, or gets numbers that are not finite.
    """
    model, got = fresh(task.model).eval(), list[Tensor]()
    first: list[str] = []

    def before(name: str) -> Any:
        def note(module: nn.Module, args: Any) -> None:
            if isinstance(module, LAYERS) and args and isinstance(args[0], Tensor):
                first.append(name)
                got.append(args[0].detach())
            raise _Reached

        return note

    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_pre_hook(before(name))
    same, count = True, 0
    with torch.no_grad(), seeded(0, "entry"):
        for batch in pairs(task):
            x = batch[0] if task.forward == "pair" else None
            if not isinstance(x, Tensor):
                return None
            x = x[: MOST - count].to(next(model.parameters()).device)
            before_this = len(got)
            with contextlib.suppress(_Reached):
                model(x)
            if len(got) == before_this:
                return None
            same = same and _equal(got[-1], x)
            count += len(x)
            if count >= MOST:
                break
    if same or not got or len(set(first)) != 1:
        return None
    found = torch.cat(got)
    fits = found.is_floating_point() and found.dim() > 1 and bool(torch.isfinite(found).all())
    return (first[0], found) if fits else None


def _equal(x: Tensor, other: Tensor) -> bool:
    """Whether the numbers are the same, in whatever shape."""
    return x.numel() == other.numel() and torch.equal(x.reshape(-1), other.reshape(-1).to(x.dtype))


def standardised(task: Task) -> Any:
    """A builder of the model with a fixed standardising layer before its first layer."""
    found = entry(task)
    if found is None:
        raise ValueError(
            f"task '{task.name}': nothing stands before the first layer of the model, or that is "
            "neither linear nor a convolution; use standardised_inputs."
        )
    name, given = found
    layer = standardising([given])
    return _Standardised(task.model, name, layer)


class _Standardised:
    """Builds the model, then sets the layer before the one of that name."""

    def __init__(self, model: Any, name: str, layer: nn.Module) -> None:
        self.model, self.name, self.layer = model, name, layer

    def __call__(self) -> nn.Module:
        """A model of its own."""
        if not self.name:
            return fronted(self.layer, self.model)
        made = fresh(self.model)
        parent, _, child = self.name.rpartition(".")
        holder = made.get_submodule(parent)
        old = getattr(holder, child)
        setattr(holder, child, nn.Sequential(copy.deepcopy(self.layer).to(old.weight.device), old))
        return made
