r"""Which other weights compute the same function? Permutations, sign flips and rescalings of units.

Everything here takes a chain: each layer with weights feeds the next one alone, through layers
without weights. Models are copied, never changed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.MaxPool1d, nn.MaxPool2d)  # f(az) = a f(z) for a > 0
_ODD = (nn.Tanh, nn.Hardtanh, nn.Softsign, nn.Tanhshrink)  # f(-z) = -f(z)
_LINEAR = (nn.Identity, nn.Flatten, nn.Dropout, nn.AvgPool1d, nn.AvgPool2d, nn.Unflatten)


class Symmetries(NamedTuple):
    """How many weight vectors compute one network's function.

    ``permutations`` of units within layers, ``flips`` of signs (odd activations), ``continuous``
    the dimension of the family of rescalings (ReLU: one a unit, so infinitely many).
    """

    permutations: int
    flips: int
    continuous: int


def count_symmetries(hidden: Sequence[int], activation: str = "relu") -> Symmetries:
    r"""Symmetries of a perceptron with these hidden widths: :math:`\prod_l n_l!` permutations.

    >>> count_symmetries((3, 3), "tanh")
    Symmetries(permutations=36, flips=64, continuous=0)

    Args:
        hidden: Units of each hidden layer.
        activation: ``relu`` (rescalings), ``tanh`` (odd: flips) or ``sigmoid`` (permutations only).

    Raises:
        ValueError: Another activation or a width below 1.
    """
    if activation not in ("relu", "tanh", "sigmoid") or min(hidden, default=1) < 1:
        raise ValueError(
            f"hidden {tuple(hidden)} with {activation!r}; wanted widths >= 1 with relu, tanh or "
            "sigmoid."
        )
    units = sum(hidden)
    return Symmetries(
        math.prod(math.factorial(n) for n in hidden),
        2**units if activation == "tanh" else 1,
        units if activation == "relu" else 0,
    )


def permute_units(model: nn.Module, layer: str, order: Sequence[int]) -> nn.Module:
    """The same function with a layer's units in another order.

    Rows of its weight and bias move, statistics of a batch norm behind it too, and columns of the
    next layer's weight with them.

    Args:
        model: A chain.
        layer: Name of a linear or convolutional layer that is not the last.
        order: A permutation of its units: unit i becomes what unit ``order[i]`` was.

    Raises:
        ValueError: No such layer, the last one, or no permutation.
    """
    changed, first, between, after = _around(model, layer)
    index = torch.as_tensor(list(order), device=first.weight.device)
    n = len(first.weight)
    if sorted(index.tolist()) != list(range(n)):
        raise ValueError(f"order is no permutation of the {n} units of '{layer}'.")
    with torch.no_grad():
        for module in (first, *(m for m in between if isinstance(m, _NORMS))):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.ndim:
                    tensor.copy_(tensor[index].clone())
        columns = _columns(after, n)
        columns.copy_(columns[:, index].clone())
    return changed


def rescale_units(model: nn.Module, layer: str, scales: Sequence[float] | Tensor) -> nn.Module:
    """The same function with a layer's units a times as large and the next weights 1/a.

    Args:
        model: A chain.
        layer: Name of a linear or convolutional layer that is not the last.
        scales: One factor a unit: above 0 behind ReLU, leaky ReLU and max pooling, ±1 behind odd
            activations (tanh), any but 0 where all between is linear.

    Raises:
        ValueError: As :func:`permute_units`; or factors that what lies between does not carry.
    """
    changed, first, between, after = _around(model, layer)
    factor = torch.as_tensor(scales, dtype=first.weight.dtype, device=first.weight.device)
    if factor.shape != (len(first.weight),):
        raise ValueError(
            f"scales have shape {tuple(factor.shape)}; '{layer}' has {len(first.weight)} units."
        )
    _check_scales(factor, between, layer)
    with torch.no_grad():
        first.weight.mul_(factor.reshape(-1, *([1] * (first.weight.ndim - 1))))
        if first.bias is not None:
            first.bias.mul_(factor)
        columns = _columns(after, len(factor))
        columns.div_(factor.reshape(1, -1, *([1] * (columns.ndim - 2))))
    return changed


def _check_scales(factor: Tensor, between: list[nn.Module], layer: str) -> None:
    if not bool(torch.isfinite(factor).all()) or bool((factor == 0).any()):
        raise ValueError("scales must be finite and not 0.")
    for module in between:
        if isinstance(module, _LINEAR):
            continue
        if isinstance(module, _HOMOGENEOUS) and bool((factor > 0).all()):
            continue
        if isinstance(module, _ODD) and bool((factor.abs() == 1).all()):
            continue
        raise ValueError(
            f"{type(module).__name__} behind '{layer}' does not carry these scales: ReLU carries "
            "factors above 0, tanh ±1, batch norm and other activations none."
        )


def _around(model: nn.Module, layer: str) -> tuple[nn.Module, Any, list[nn.Module], Any]:
    """A copy of the model; in it the layer, what lies behind it, and the next with weights."""
    changed = copy.deepcopy(model)
    leaves = [(n, m) for n, m in changed.named_modules() if next(m.children(), None) is None]
    names = [n for n, m in leaves if isinstance(m, _WEIGHTED)]
    if layer not in names[:-1]:
        raise ValueError(
            f"'{layer}' is no hidden layer of a chain; known: {', '.join(names[:-1]) or 'none'}."
        )
    place = [n for n, _ in leaves].index(layer)
    between: list[nn.Module] = []
    for _, module in leaves[place + 1 :]:
        if isinstance(module, _WEIGHTED):
            return changed, leaves[place][1], between, module
        between.append(module)
    raise AssertionError("a layer of names[:-1] has one behind it")


def _columns(module: Any, units: int) -> Tensor:
    """A view of the next weight as ``(out, units, …)``: flattened maps have many columns a unit."""
    weight = module.weight.data
    inputs = weight.shape[1]
    if inputs % units:
        raise ValueError(f"the next layer has {inputs} inputs, no multiple of {units} units.")
    return weight.view(len(weight), units, inputs // units, *weight.shape[2:])
