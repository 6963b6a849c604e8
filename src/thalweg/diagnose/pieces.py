"""The parts that cured tasks are made of: wrapped models, wrapped losses, fixed first layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset, default_collate

from thalweg.conditioning.inputs import Standardizer, Whitener
from thalweg.diagnose.anatomy import _kind
from thalweg.risk import tree
from thalweg.risk.source import seeded
from thalweg.task import Task

MOST = 16384  # samples read for statistics
ROOM = 0.1  # variables that vary less than this share of the typical one are taken as that


# ---------------------------------------------------------------------- data


def as_tensors(data: Any) -> Any:
    """Arrays as tensors, trees kept."""
    if isinstance(data, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(data))
    if isinstance(data, Mapping):
        return {key: as_tensors(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return tuple(as_tensors(item) for item in data)
    return data


def pairs(task: Task) -> Iterator[Any]:
    """Training pairs in chunks, at most 16,384 samples."""
    data = task.train
    collate = default_collate
    if isinstance(data, DataLoader):
        collate, data = data.collate_fn or default_collate, data.dataset
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list):
        whole = as_tensors(data)
        yield tree.tree_map(lambda t: t[:MOST], whole)
        return
    with seeded(0, "pairs"):
        n = min(len(data), MOST)
        for start in range(0, n, 512):
            yield collate([data[i] for i in range(start, min(start + 512, n))])


def first_input(task: Task) -> Any:
    """The first 256 inputs."""
    found = next(pairs(task))
    inputs = found[0] if task.forward == "pair" else found
    return tree.tree_map(lambda t: t[:256], inputs)


def standardising(chunks: list[Tensor]) -> nn.Module:
    """A first layer that centres and scales, fitted."""
    rows = torch.cat([c.reshape(len(c), -1)[:512] for c in _finite_rows(chunks)]).double()
    each = rows[:4096].std(0, unbiased=False)
    live = each[each > 1e-6 * each.max()]  # the typical variable: one in large units is none
    scale = float(live.median()) if len(live) else 1.0
    per = {2: "feature", 3: "last"}.get(chunks[0].dim(), "channel")
    layer = Standardizer(per, eps=max(ROOM * scale, 1e-12))
    return layer.fit(iter(_finite_rows(chunks))).to(chunks[0].dtype)


def whitening(chunks: list[Tensor]) -> nn.Module:
    """First layers that standardise, then decorrelate; directions below a tenth stay small."""
    first = standardising(chunks)
    standard = [first(c) for c in _finite_rows(chunks)]
    second = Whitener(eps=ROOM**2, per="last" if chunks[0].dim() == 3 else "feature")
    return nn.Sequential(first, second.fit(iter(standard)).to(chunks[0].dtype))


def _finite_rows(chunks: list[Tensor]) -> list[Tensor]:
    return [c[torch.isfinite(c.flatten(1)).all(1)] for c in chunks]


# ---------------------------------------------------------------------- models


def fresh(model: Any) -> nn.Module:
    """A model of the task that nobody else holds."""
    return copy.deepcopy(model if isinstance(model, nn.Module) else model())


class Fronted(nn.Module):
    """``model(layer(input))``."""

    def __init__(self, layer: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.layer, self.model = layer, model

    def forward(self, x: Tensor) -> Any:
        """The answer for prepared inputs."""
        return self.model(self.layer(x).to(x.dtype))


def fronted(layer: nn.Module, model: Any) -> nn.Module:
    """A fixed layer in front."""
    return Fronted(copy.deepcopy(layer), fresh(model))


class Scaled(nn.Module):
    """``factor · model(input) + shift``."""

    def __init__(self, model: nn.Module, factor: float, shift: float) -> None:
        super().__init__()
        self.model, self.factor, self.shift = model, factor, shift

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The answer in other units."""
        return self.model(*args, **kwargs) * self.factor + self.shift


def scaled(model: Any, factor: float, shift: float) -> nn.Module:
    """A fixed affine map behind."""
    return Scaled(fresh(model), factor, shift)


class _Swap(TorchFunctionMode):
    """Calls another function in place of every activation of one kind (or the n-th of any)."""

    def __init__(self, old: str, new: Callable[[Tensor], Tensor], only: int | None) -> None:
        super().__init__()
        self.old, self.new, self.only, self.count = old, new, only, -1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = _kind(func, args, kwargs or {})
        if kind:
            self.count += 1
            if (kind == self.old or not self.old) and self.only in (None, self.count):
                return self.new(args[0] if args else next(iter((kwargs or {}).values())))
        return func(*args, **(kwargs or {}))


class _Count(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if _kind(func, args, kwargs or {}):
            self.outputs.append(out)
        return out


NEW: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.01),
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Exchanged(nn.Module):
    """The model with its activation function exchanged, the one that makes the output kept."""

    def __init__(self, model: nn.Module, old: str, new: str) -> None:
        super().__init__()
        self.model, self.old, self.new = model, old, new

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run with the other function."""
        with _Swap(self.old, NEW[self.new], None):
            return self.model(*args, **kwargs)


def exchanged(model: Any, old: str, new: str) -> nn.Module:
    """See :class:`Exchanged`."""
    return Exchanged(fresh(model), old, new)


class Bare(nn.Module):
    """The model without the activation that makes its output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.last = model, -1

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run without it; which call it is was found at the first run."""
        if self.last < 0:
            with torch.no_grad(), _Count() as seen:
                twin = copy.deepcopy(self.model)
                out = twin(*args, **kwargs)
            same = [i for i, made in enumerate(seen.outputs) if made is out]
            if not same:
                raise ValueError("the model's output is not made by an activation function")
            self.last = same[-1]
        with _Swap("", NEW["identity"], self.last):
            return self.model(*args, **kwargs)


def bare(model: Any) -> nn.Module:
    """See :class:`Bare`; where the activation is a module at the end it is simply taken out."""
    made = fresh(model)
    if (
        isinstance(made, nn.Sequential)
        and len(made)
        and not any(True for _ in made[-1].parameters())
    ):
        made[-1] = nn.Identity()
        return made
    return Bare(made)


def restarted(model: Any, scheme: str) -> nn.Module:
    """Weights drawn anew."""
    from thalweg.conditioning import INITIALISATIONS

    made = fresh(model)
    INITIALISATIONS.load(scheme)(made, bias=0.0)
    return made


def settled(model: Any, start: Any) -> nn.Module:
    """Weights drawn anew and scaled layer by layer on ``start``."""
    from thalweg.conditioning.lsuv import lsuv_

    made = fresh(model)
    lsuv_(made, start)
    return made


def thawed(model: Any) -> nn.Module:
    """Every weight trainable."""
    return fresh(model).requires_grad_(True)


def renormed(model: Any, momentum: float, eps: float) -> nn.Module:
    """Batch normalisation with these settings, in the model's own mode."""
    made = fresh(model)
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum, module.eps = momentum, eps
    return made


def grouped(model: Any) -> nn.Module:
    """Group normalisation for batch normalisation."""
    made = fresh(model)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                c = child.num_features
                groups = next(g for g in (8, 4, 2, 1) if (c % g == 0 and c // g > 1) or g == 1)
                setattr(parent, name, nn.GroupNorm(groups, c))
    return made


def clipped(model: Any, norm: float) -> nn.Module:
    """Gradients of each weight tensor cut to ``norm`` on their way."""
    made = fresh(model)

    def cut(g: Tensor) -> Tensor:
        return g * (norm / g.norm().clamp(min=1e-30)).clamp(max=1.0)

    for p in made.parameters():
        if p.requires_grad:
            p.register_hook(cut)
    return made


def undropped(model: Any) -> nn.Module:
    """Dropout at rate 0."""
    made = fresh(model)
    for module in made.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return made
