"""With which numbers does descent start? Each rule of the lectures, applied to a model in place.

A rule is a function ``(model, *, generator=None, bias=0.0, …) -> Initialised``. With m inputs and n
outputs of a layer (kernels counted in), variances are those of the table ``INITIALISATIONS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thalweg.conditioning.weights import Weight, assign, biases, weights


class Initialised(NamedTuple):
    """Names of the parameters that were set, and of those left as they were."""

    changed: tuple[str, ...]
    left: tuple[str, ...]


def fan_in(
    model: nn.Module, *, generator: torch.Generator | None = None, bias: float | None = 0.0
) -> Initialised:
    r"""Uniform within :math:`\pm1/\sqrt m`, variance 1/(3m): the default of torch's linear layers.

    The variance of tanh units shrinks by 3 from layer to layer.

    Args:
        model: Any module; changed in place.
        generator: Of the random numbers; None for torch's own.
        bias: What every bias becomes; None leaves them. 0.1 keeps ReLUs alive at the start.
    """
    return _fill(
        model, lambda w: nn.init.kaiming_uniform_(w, math.sqrt(5), generator=generator), bias
    )


def lecun(
    model: nn.Module, *, generator: torch.Generator | None = None, bias: float | None = 0.0
) -> Initialised:
    """Normal with variance 1/m: a linear layer keeps the variance. Arguments as :func:`fan_in`."""
    return _fill(
        model,
        lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear", generator=generator),
        bias,
    )


def glorot(
    model: nn.Module,
    *,
    generator: torch.Generator | None = None,
    bias: float | None = 0.0,
    gain: float = 1.0,
) -> Initialised:
    r"""Uniform within :math:`\pm\sqrt{6/(m+n)}`, variance 2/(m+n): between forward and backward.

    Args:
        model: As :func:`fan_in`; likewise ``generator`` and ``bias``.
        generator: See there.
        bias: See there.
        gain: Factor on every weight.
    """
    return _fill(model, lambda w: nn.init.xavier_uniform_(w, gain, generator=generator), bias)


def glorot_normal(
    model: nn.Module,
    *,
    generator: torch.Generator | None = None,
    bias: float | None = 0.0,
    gain: float = 1.0,
) -> Initialised:
    """Normal with variance 2/(m+n). Arguments as :func:`glorot`."""
    return _fill(model, lambda w: nn.init.xavier_normal_(w, gain, generator=generator), bias)


def he(
    model: nn.Module, *, generator: torch.Generator | None = None, bias: float | None = 0.0
) -> Initialised:
    """Normal with variance 2/m: ReLU layers keep the mean square. Arguments as :func:`fan_in`."""
    return _fill(
        model, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=generator), bias
    )


def he_uniform(
    model: nn.Module, *, generator: torch.Generator | None = None, bias: float | None = 0.0
) -> Initialised:
    """Uniform with variance 2/m. Arguments as :func:`fan_in`."""
    return _fill(
        model, lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=generator), bias
    )


def orthogonal(
    model: nn.Module,
    *,
    generator: torch.Generator | None = None,
    bias: float | None = 0.0,
    gain: float = 1.0,
) -> Initialised:
    """Orthonormal rows, or columns where there are more rows, times ``gain``; per recurrent gate.

    Arguments as :func:`glorot`. Deep linear networks started so need a number of steps that does
    not grow with depth (Saxe, McClelland and Ganguli 2014).
    """
    return _fill(model, lambda w: nn.init.orthogonal_(w, gain, generator=generator), bias)


def sparse(
    model: nn.Module,
    *,
    generator: torch.Generator | None = None,
    bias: float | None = 0.0,
    k: int = 15,
    std: float = 1.0,
) -> Initialised:
    """``k`` normal weights in each unit, the rest 0 (Martens 2010): no weight needs to be tiny.

    Args:
        model: As :func:`fan_in`; likewise ``generator`` and ``bias``.
        generator: See there.
        bias: See there.
        k: Non-zero weights per unit; all of them where a unit has fewer inputs.
        std: Their standard deviation.
    """
    return _fill(
        model,
        lambda w: sparse_per_unit_(w, min(k, w[0].numel()), std, generator=generator),
        bias,
    )


def zero(
    model: nn.Module, *, generator: torch.Generator | None = None, bias: float | None = 0.0
) -> Initialised:
    """Every weight 0. Units of a hidden layer then stay equal for ever: for single layers only."""
    return _fill(model, nn.init.zeros_, bias)


@torch.no_grad()
def sparse_per_unit_(
    weight: Tensor, k: int, std: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Exactly ``k`` entries of each row N(0, std²), the others 0, in place.

    ``torch.nn.init.sparse_`` differs: it zeroes a share of each *column*.

    Args:
        weight: ``(units, …)``.
        k: Between 1 and the number of inputs of a unit.
        std: > 0.
        generator: Of the random numbers; None for torch's own.

    Raises:
        ValueError: ``k`` or ``std`` out of range.
    """
    inputs = weight[0].numel()
    if not 1 <= k <= inputs:
        raise ValueError(f"k is {k}; a unit with {inputs} inputs has between 1 and {inputs}.")
    if not (math.isfinite(std) and std > 0):
        raise ValueError(f"std is {std}; it must be finite and > 0.")
    rows = weight.new_zeros(len(weight), inputs)
    places = torch.rand(rows.shape, generator=generator, device=weight.device).topk(k, 1).indices
    drawn = weight.new_empty(places.shape).normal_(0.0, std, generator=generator)
    drawn = torch.where(drawn == 0, std, drawn)  # a draw of exactly 0 would make one too few
    return weight.copy_(rows.scatter_(1, places, drawn).view_as(weight))


def _fill(model: nn.Module, fill: Callable[[Tensor], Any], bias: float | None) -> Initialised:
    """Fill the blocks of each weight, set each bias, and say what was left."""
    _check_bias(bias)
    found: list[Weight] = list(weights(model))
    changed = []
    for weight in found:
        stored = getattr(weight.module, weight.field).detach()
        blocks = [
            torch.empty_like(b, memory_format=torch.contiguous_format)
            for b in weight.blocks(stored)
        ]
        for block in blocks:
            fill(block)
        assign(weight, weight.join(blocks))
        changed.append(weight.name)
    if bias is not None:
        with torch.no_grad():
            for name, tensor in biases(model):
                tensor.fill_(bias)
                changed.append(name)
    if not changed:
        raise ValueError(
            f"{type(model).__name__} has no trainable linear, convolutional, recurrent or attention"
            " layer to initialise."
        )
    known = set(changed)
    return Initialised(
        tuple(changed), tuple(name for name, _ in model.named_parameters() if name not in known)
    )


def _check_bias(bias: float | None) -> None:
    if bias is not None and not math.isfinite(bias):
        raise ValueError(f"bias is {bias}; it must be a finite number, or None to keep biases.")
