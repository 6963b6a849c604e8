"""Further parts of cured tasks: models whose calls are corrected on the way."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.diagnose.pieces import fresh

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Modes(TorchFunctionMode):
    """Switches off ``F.dropout`` unless the model is being trained."""

    def __init__(self, training: bool) -> None:
        super().__init__()
        self.training = training

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.dropout and not self.training:
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))


class _Attached(TorchFunctionMode):
    """Lets gradients pass where ``detach`` is called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.detach or func is torch.detach:
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))


class Attached(nn.Module):
    """The model with its calls of ``detach`` left out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run with the graph kept."""
        with _Attached():
            return self.model(*args, **kwargs)


def attached(model: Any) -> nn.Module:
    """See :class:`Attached`."""
    return Attached(fresh(model))


class Heeded(nn.Module):
    """The model with dropout that asks for its mode."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run; without dropout when evaluated."""
        with _Modes(self.training):
            return self.model(*args, **kwargs)


def modes_heeded(model: Any) -> nn.Module:
    """See :class:`Heeded`."""
    return Heeded(fresh(model))


def batches_first(model: Any) -> nn.Module:
    """Recurrent and attention layers told that samples come first."""
    made = fresh(model)
    for module in made.modules():
        if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
            module.batch_first = True
    return made


class Activated(nn.Module):
    """A layer followed by a ReLU."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The positive part."""
        return F.relu(self.layer(x))


def activated(model: Any) -> nn.Module:
    """A ReLU after every layer but the last, in the order in which they stand in the model."""
    made = fresh(model)
    for parent, name, child in _layers(made)[:-1]:
        setattr(parent, name, Activated(child))
    return made


def normalised(model: Any) -> nn.Module:
    """Layer normalisation after every layer but the last."""
    made = fresh(model)
    for parent, name, child in _layers(made)[:-1]:
        width = child.out_features if isinstance(child, nn.Linear) else child.out_channels
        norm = nn.LayerNorm(width) if isinstance(child, nn.Linear) else nn.GroupNorm(1, width)
        setattr(parent, name, nn.Sequential(child, norm.to(child.weight.device)))
    return made


def _layers(made: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    return [
        (parent, name, child)
        for parent in list(made.modules())
        for name, child in list(parent.named_children())
        if isinstance(child, LAYERS)
    ]


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every variable (a channel for images), broadcastable against ``x``."""
    axes = (0,) if x.dim() < 3 else (0, *range(2, x.dim()))
    x = x.double()
    return x.mean(axes, keepdim=True), x.std(axes, keepdim=True, unbiased=False)


def like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` with the means and deviations of ``other``."""
    (mean, std), (to_mean, to_std) = moments(x), moments(other)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return ((x - mean) / std * to_std + to_mean).to(x.dtype)
