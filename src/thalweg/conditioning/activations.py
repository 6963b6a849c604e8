"""How large are activations, layer by layer, and how many have nowhere left to go?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

# (low, high) of what an activation can give; outputs within 3 % of the range's ends are saturated
_RANGES: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardtanh: (-1.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
}
MARGIN = 0.03


class LayerActivity(NamedTuple):
    """Outputs of one layer over a batch.

    ``saturated`` is the share of a squashing function's outputs within 3 % of its ends, or of
    exact zeros of a ReLU; None for layers without such ends. ``dead`` counts units (axis 1) that
    give 0 for every sample of the batch, None where there is no ReLU.
    """

    name: str
    kind: str
    mean: float
    std: float
    saturated: float | None
    dead: int | None


@torch.no_grad()
def activation_report(model: nn.Module, x: Tensor) -> tuple[LayerActivity, ...]:
    """Mean, deviation and saturated share of each layer's output, in the order of execution.

    Layers are the modules without children. The model runs in eval mode, without gradients; its
    modes are put back.

    Args:
        model: Any module that takes ``model(x)``.
        x: A batch of inputs.

    Raises:
        ValueError: Nothing in it is a module that was called.
    """
    lines: list[LayerActivity] = []
    handles, modes = [], [(module, module.training) for module in model.modules()]
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            handles.append(module.register_forward_hook(_recorder(name or "(model)", lines)))
    try:
        model.eval()(x)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    if not lines:
        raise ValueError(f"{type(model).__name__} called no module whose output could be read.")
    return tuple(lines)


def _recorder(name: str, lines: list[LayerActivity]):
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            lines.append(_line(name, module, output))

    return hook


def _line(name: str, module: nn.Module, output: Tensor) -> LayerActivity:
    values = output.double()
    saturated, dead = None, None
    if isinstance(module, nn.ReLU):
        zero = values == 0
        saturated = float(zero.double().mean())
        others = [axis for axis in range(values.ndim) if axis != 1]
        dead = int(zero.all(dim=others).sum()) if values.ndim > 1 else None
    elif type(module) in _RANGES:
        low, high = _RANGES[type(module)]
        margin = MARGIN * (high - low) / 2
        ends = (values <= low + margin) | (values >= high - margin)
        saturated = float(ends.double().mean())
    return LayerActivity(
        name,
        type(module).__name__,
        float(values.mean()),
        float(values.std(correction=0)),
        saturated,
        dead,
    )
