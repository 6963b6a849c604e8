"""Where do the multiplications of a network go? A table by layer, beside torch's own count."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LayerCost(NamedTuple):
    """One layer for one sample: multiply-adds, weights (biases too) and outputs it keeps."""

    name: str
    kind: str
    output: tuple[int, ...]
    macs: int
    parameters: int
    activations: int


class Cost(NamedTuple):
    """A network for one sample.

    ``counted`` is half of what torch's flop counter saw: where it exceeds ``macs``, products were
    made outside linear and convolutional layers (attention, recurrence).
    """

    layers: tuple[LayerCost, ...]
    macs: int
    parameters: int
    counted: int


def convolution_macs(outputs: tuple[int, ...], window: int, inputs: int, maps: int) -> int:
    """Multiply-adds of a convolution: places x window x input maps x maps.

    >>> convolution_macs((28, 28), 25, 1, 4)
    78400
    """
    places = 1
    for size in outputs:
        places *= size
    return places * window * inputs * maps


def layer_costs(model: nn.Module, shape: tuple[int, ...]) -> Cost:
    """What one forward pass of one sample costs, layer by layer in order of execution.

    Linear and convolutional layers by their closed forms, others 0. The model runs once in
    evaluation mode on zeros (on ones of int64 codes where it starts with an embedding).

    Args:
        model: Any module with one tensor as input; its modes are put back.
        shape: Of one sample, such as ``(1, 32, 32)``.

    Raises:
        ValueError: The model refuses an input of that shape.
    """
    lines: list[LayerCost] = []
    handles = [
        module.register_forward_hook(_recorder(name or type(module).__name__, lines))
        for name, module in model.named_modules()
        if next(module.children(), None) is None
    ]
    modes = [(module, module.training) for module in model.modules()]
    try:
        counted = _counted(model.eval(), _sample(model, shape))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return Cost(
        tuple(lines),
        sum(line.macs for line in lines),
        sum(p.numel() for p in model.parameters()),
        counted,
    )


def _sample(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    like = next(model.parameters(), torch.zeros(()))
    codes = any(isinstance(module, nn.Embedding) for module in model.modules())
    if codes:
        return torch.zeros(1, *shape, dtype=torch.long, device=like.device)
    return torch.zeros(1, *shape, dtype=like.dtype, device=like.device)


def _counted(model: nn.Module, x: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            model(x)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{type(model).__name__} refuses a sample of shape {tuple(x.shape[1:])}: {reason}"
            ) from error
    return counter.get_total_flops() // 2


def _recorder(name: str, lines: list[LayerCost]) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            own = sum(p.numel() for p in module.parameters())
            shape = tuple(output.shape[1:])
            macs = _macs(module, shape)
            lines.append(
                LayerCost(name, type(module).__name__, shape, macs, own, shape_size(shape))
            )

    return hook


def _macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    if isinstance(module, _CONVOLUTIONS):
        window = module.weight[0, 0].numel()
        return convolution_macs(
            shape[1:], window, module.in_channels // module.groups, module.out_channels
        )
    if isinstance(module, nn.Linear):
        return shape_size(shape) * module.in_features
    return 0


def shape_size(shape: tuple[int, ...]) -> int:
    """How many numbers a tensor of that shape holds."""
    return int(torch.Size(shape).numel())
