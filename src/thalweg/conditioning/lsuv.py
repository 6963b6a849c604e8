"""How does every layer's output get variance 1? Measured on a batch, layer after layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from thalweg.conditioning.rules import orthogonal
from thalweg.conditioning.weights import Weight, assign, weights


class LayerVariance(NamedTuple):
    """One layer: its output's variance at first and at last, and how often it was rescaled."""

    name: str
    start: float
    variance: float
    rescaled: int
    reached: bool  # whether |variance - 1| <= tol


class _Output(NamedTuple):
    variance: float
    mean: Tensor  # per unit


@torch.no_grad()
def lsuv_(
    model: nn.Module,
    batch: Tensor | None = None,
    *,
    tol: float = 0.1,
    max_attempts: int = 10,
    orthonormal: bool = True,
    center: bool = False,
    bias: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[LayerVariance, ...]:
    r"""Layer-sequential unit-variance initialisation, in place.

    Every linear and convolutional layer starts orthonormal; then, in the order in which they run,
    :math:`W \leftarrow W/\sqrt v` until its output's variance v over one batch is within ``tol`` of
    1. Without bias one rescaling suffices: the output is linear in W. A layer that a model calls
    several times (or ties) is measured at its first call and rescaled once.

    Args:
        model: Any module; runs in eval mode and without gradients, its mode is put back.
        batch: Inputs ``(b, …)`` for ``model(batch)``, of about unit variance themselves.
        tol: How far v may be from 1.
        max_attempts: Rescalings per layer at most.
        orthonormal: Begin with orthonormal weights; False keeps those that are there.
        center: Also shift biases so that each unit's mean output is 0.
        bias: What every bias starts as.
        generator: Of the orthonormal weights; None for torch's own.

    Returns:
        A line per layer, in the order of execution. ``reached`` is False where ``max_attempts``
        did not suffice.

    Raises:
        ValueError: No batch, an argument out of range, no layer that runs, or a layer whose output
            does not vary or is not finite.

    References:
        Mishkin and Matas, "All you need is a good init", ICLR 2016.
    """
    if batch is None:
        raise ValueError("lsuv measures outputs; pass batch=, one minibatch of inputs.")
    if not (math.isfinite(tol) and tol > 0) or max_attempts < 1:
        raise ValueError(f"lsuv needs tol > 0 and max_attempts >= 1, got {tol}, {max_attempts}.")
    if orthonormal:
        orthogonal(model, bias=bias, generator=generator)
    layers = {id(w.module): w for w in weights(model) if isinstance(w.module, nn.Linear | _ConvNd)}
    with _evaluating(model):
        order = _execution_order(model, layers, batch)
        if not order:
            raise ValueError(f"no linear or convolutional layer of {type(model).__name__} ran.")
        return tuple(_settle(model, weight, batch, tol, max_attempts, center) for weight in order)


def _settle(
    model: nn.Module, weight: Weight, batch: Tensor, tol: float, attempts: int, center: bool
) -> LayerVariance:
    name = weight.name.removesuffix("weight").removesuffix(".") or "(model)"
    output = _measure(model, weight.module, batch)
    start, rescaled = output.variance, 0
    while True:
        if not math.isfinite(output.variance) or output.variance <= 0:
            raise ValueError(
                f"layer '{name}' has output variance {output.variance} on this batch, so no scale "
                "brings it to 1: its inputs are dead, constant or not finite."
            )
        if abs(output.variance - 1) <= tol or rescaled == attempts:
            break
        stored = getattr(weight.module, weight.field).detach()
        assign(weight, stored / math.sqrt(output.variance))
        rescaled += 1
        output = _measure(model, weight.module, batch)
    shift = getattr(weight.module, "bias", None)
    if center and isinstance(shift, Tensor):
        shift.sub_(output.mean.to(shift))
        output = _measure(model, weight.module, batch)
    return LayerVariance(
        name, start, output.variance, rescaled, bool(abs(output.variance - 1) <= tol)
    )


class _Stop(Exception):
    """Ends a forward pass at the layer that is measured."""


def _measure(model: nn.Module, layer: nn.Module, batch: Tensor) -> _Output:
    found: list[_Output] = []

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        units = output.double()
        if isinstance(layer, _ConvNd):
            units = units.movedim(-layer.weight.ndim + 1, -1)
        units = units.flatten(0, -2)
        found.append(_Output(float(units.var(correction=0)), units.mean(0)))
        raise _Stop

    handle = layer.register_forward_hook(hook)
    try:
        model(batch)
    except _Stop:
        pass
    finally:
        handle.remove()
    return found[0]


def _execution_order(model: nn.Module, layers: dict[int, Weight], batch: Tensor) -> list[Weight]:
    """Layers in the order in which they first run."""
    order: dict[int, Weight] = {}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        order.setdefault(id(module), layers[id(module)])

    handles = [weight.module.register_forward_hook(hook) for weight in layers.values()]
    try:
        model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(order.values())


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
