"""How does a task, or a model with loss and data, become a function of its weights?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.curvature.surface import Surface, split
from thalweg.risk import Risk, source, tree
from thalweg.risk.risk import pick_device, pick_dtype
from thalweg.task import Task

BLOCK_PARAMETERS = 50_000  # above this, and with convolutions, points are visited one by one
MODES = ("eval", "train")
PARTS = ("train", "selection", "confirmation")


def surface(
    problem: Task | nn.Module | Surface,
    loss: Callable[..., Tensor] | None = None,
    data: Any = None,
    *,
    model: nn.Module | None = None,
    part: str = "train",
    mode: str = "eval",
    forward: str = "pair",
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Surface:
    """A task, or a model with loss and data, as f(w).

    Args:
        problem: A task; or a model, with ``loss`` and ``data``; or a surface, handed back.
        loss: ``(output, target) -> scalar`` mean; with ``forward="batch"`` ``(model, batch)``.
        data: ``(inputs, targets)``, a ``Dataset`` or a ``DataLoader``.
        model: With a task: the weights to look from; None: fresh ones under ``seed``.
        part: With a task: ``"train"``, ``"selection"`` or ``"confirmation"``.
        mode: ``"eval"``: dropout off, stored batch statistics. ``"train"``: statistics of the
            batch (all data in one pass), stored ones untouched; dropout stays off.
        forward: As in :class:`thalweg.Task`, where there is no task.
        seed: Of fresh weights.
        device: None: the model's; of a task ``auto``.
        dtype: None: the model's; ``"float64"`` computes in double precision.

    Raises:
        ValueError: An unknown part or mode, missing loss or data, nothing to train, half-precision
            weights that were not asked to become float32.
        TypeError: ``problem`` is none of the three.
    """
    if isinstance(problem, Surface):
        return problem
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; known: {', '.join(MODES)}.")
    if isinstance(problem, Task):
        if loss is not None or data is not None:
            raise ValueError("a task brings its own loss and data; leave them out.")
        if part not in PARTS:
            raise ValueError(f"part is {part!r}; known: {', '.join(PARTS)}.")
        risk = Risk(problem, device or "auto", dtype)
        net = copy.deepcopy(model) if model is not None else risk.model(seed)
        net = net.to(risk.device) if risk.dtype is None else net.to(risk.device, risk.dtype)
        return _of_model(net, risk.loss, getattr(risk, part), risk.weight, part, mode)
    if not isinstance(problem, nn.Module):
        raise TypeError(f"got a {type(problem).__name__}; pass a Task, an nn.Module or a Surface.")
    if loss is None or data is None:
        raise ValueError("with a model, pass its loss and data as well: (model, loss, data).")
    return _given(problem, loss, data, forward, mode, device, dtype)


def _given(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Any,
    forward: str,
    mode: str,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
) -> Surface:
    first = next(model.parameters(), None)
    if first is None:
        raise ValueError("the model has no parameters.")
    at = pick_device(device) if device is not None else first.device
    kind = pick_dtype(dtype)
    net = copy.deepcopy(model).to(at) if kind is None else copy.deepcopy(model).to(at, kind)
    real = next((t.dtype for t in net.parameters() if t.is_floating_point()), None)
    read = source.read(data, "data", at, real).source

    def of(module: nn.Module, batch: Any) -> Tensor:
        if forward == "batch":
            return loss(module, batch)
        inputs, target = batch
        if isinstance(inputs, dict):
            return loss(module(**inputs), target)
        return loss(module(*inputs) if isinstance(inputs, tuple | list) else module(inputs), target)

    def weigh(batch: Any) -> float:
        return float(tree.count(batch[1] if forward == "pair" else batch))

    return _of_model(net, of, read, weigh, "data", mode)


class Losing(nn.Module):
    """A model together with its loss, so that one functional call covers both."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        """Join the two; the loss takes (model, batch)."""
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        """The loss of a batch."""
        return self._loss(self.model, batch)


def _of_model(
    net: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    data: source.Source,
    weigh: Callable[[Any], float],
    part: str,
    mode: str,
) -> Surface:
    net.eval()
    couples = False
    if mode == "train":
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train()
                module.track_running_stats, couples = False, True  # reads the batch, writes nothing
    named = {name: t for name, t in net.named_parameters() if t.requires_grad}
    if not named:
        raise ValueError("no parameter of the model is trainable (requires_grad).")
    half = [n for n, t in named.items() if t.dtype not in (torch.float32, torch.float64)]
    if half:
        raise ValueError(
            f"weights '{half[0]}' are {named[half[0]].dtype}; pass dtype='float32': products of "
            "half-precision numbers are off by per cents."
        )
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in named.values()) else None
    w = torch.cat([t.detach().flatten().to(dtype or torch.float32) for t in named.values()])
    names, shapes = tuple(named), tuple(t.shape for t in named.values())
    kinds = {name: t.dtype for name, t in named.items()}
    losing = Losing(net, loss)

    def at(w: Tensor, batch: Any) -> Tensor:
        given = {f"model.{k}": v.to(kinds[k]) for k, v in split(w, names, shapes).items()}
        return functional_call(losing, given, (batch,))

    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in net.modules())
    return Surface(
        at,
        w,
        lambda rows: data.chunks(rows),
        weigh,
        data.n,
        names,
        shapes,
        part,
        couples,
        grouped=w.numel() <= BLOCK_PARAMETERS and not convolves,
        take=lambda indices: data.take(indices),  # pyrefly: ignore
    )
