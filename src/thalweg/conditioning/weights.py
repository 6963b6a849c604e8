"""Which weights of a model feed its units, and how are they seen as (units, inputs, kernel)?

torch stores them in several ways: transposed convolutions the other way round, recurrent gates and
attention projections stacked. Here each is a block whose first axis counts units and whose others
count what one unit sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

_STACKED = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


class Weight(NamedTuple):
    """One weight tensor: its name, its module's field, and its blocks seen as (units, inputs, …).

    ``blocks`` cuts a tensor of the stored shape into blocks ``(units, inputs per unit, …)``;
    ``join`` is its inverse.
    """

    name: str
    module: nn.Module
    field: str
    blocks: Callable[[Tensor], list[Tensor]]
    join: Callable[[list[Tensor]], Tensor]


def weights(model: nn.Module) -> Iterator[Weight]:
    """The weights of linear, convolutional, recurrent and attention layers, tied ones once.

    Frozen tensors (``requires_grad=False``) are left out: they were given on purpose.

    Raises:
        ValueError: A lazy layer that has not seen an input yet.
    """
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for field, blocks, join in _fields(module):
            tensor = getattr(module, field, None)
            if isinstance(tensor, nn.parameter.UninitializedParameter):
                raise ValueError(
                    f"'{prefix}' is a lazy layer without a shape; run one batch through the model "
                    "before its weights are set."
                )
            key = _identity(module, field)
            if not isinstance(tensor, Tensor) or not tensor.requires_grad or key in seen:
                continue
            seen.add(key)
            yield Weight(f"{prefix}.{field}" if prefix else field, module, field, blocks, join)


@torch.no_grad()
def assign(weight: Weight, value: Tensor) -> None:
    """Put ``value`` in place, through the parametrisation where there is one.

    Raises:
        ValueError: A parametrisation that cannot be turned round.
    """
    if parametrize.is_parametrized(weight.module, weight.field):
        try:
            setattr(weight.module, weight.field, value)
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(
                f"'{weight.name}' is parametrised by something without a right inverse, so it "
                "cannot be set; initialise before the parametrisation is registered."
            ) from error
        return
    getattr(weight.module, weight.field).copy_(value)


def biases(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The trainable biases that go with :func:`weights`."""
    for prefix, module in model.named_modules():
        fields = [name for name, _ in module.named_parameters(recurse=False) if "bias" in name]
        if not isinstance(module, nn.Linear | _ConvNd | nn.RNNBase | nn.RNNCellBase) and not (
            isinstance(module, nn.MultiheadAttention)
        ):
            continue
        for field in fields:
            tensor = getattr(module, field)
            if tensor.requires_grad:
                yield f"{prefix}.{field}" if prefix else field, tensor


def _identity(module: nn.Module, field: str) -> int:
    if parametrize.is_parametrized(module, field):
        return id(module.parametrizations[field])  # pyrefly: ignore
    return id(getattr(module, field, None))


_Field = tuple[str, Callable[[Tensor], list[Tensor]], Callable[[list[Tensor]], Tensor]]


def _fields(module: nn.Module) -> Iterator[_Field]:
    if isinstance(module, _ConvTransposeNd):
        yield "weight", *_transposed(module.groups)
    elif isinstance(module, nn.Linear | _ConvNd):
        yield "weight", *_plain()
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        gates = _STACKED.get(getattr(module, "mode", type(module).__name__), 1)
        for name, _ in module.named_parameters(recurse=False):
            if name.startswith("weight"):
                yield name, *_chunked(1 if name.startswith("weight_hr") else gates)
    elif isinstance(module, nn.MultiheadAttention):
        yield "in_proj_weight", *_chunked(3)
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            yield name, *_plain()


def _plain() -> tuple[Callable[[Tensor], list[Tensor]], Callable[[list[Tensor]], Tensor]]:
    return lambda w: [w], lambda blocks: blocks[0]


def _chunked(
    count: int,
) -> tuple[Callable[[Tensor], list[Tensor]], Callable[[list[Tensor]], Tensor]]:
    return lambda w: list(w.chunk(count)), torch.cat


def _transposed(
    groups: int,
) -> tuple[Callable[[Tensor], list[Tensor]], Callable[[list[Tensor]], Tensor]]:
    """Stored ``(inputs, outputs / groups, …)``: seen as ``(outputs, inputs / groups, …)``."""

    def blocks(w: Tensor) -> list[Tensor]:
        parts = w.unflatten(0, (groups, -1)).transpose(1, 2)
        return [parts.flatten(0, 1)]

    def join(parts: list[Tensor]) -> Tensor:
        return parts[0].unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)

    return blocks, join
