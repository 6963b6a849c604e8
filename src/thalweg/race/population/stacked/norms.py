"""Normalisations of K members: batch statistics per member, affine maps per member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from thalweg.race.population.stacked.stack import Leaf, Ref, Stack
from thalweg.race.population.stacked.wide import WideNorm
from thalweg.registry import resolve


class BatchNorm(Leaf):
    """Batch normalisation of ``(K b, c)`` or ``(K b, c, ...)``."""

    def __init__(
        self, stack: Stack, where: str, module: Any, weight: Ref | None, bias: Ref | None
    ) -> None:
        super().__init__(stack, where)
        self._norm = WideNorm(stack, module, where, weight, bias, lambda: self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Every member by the statistics of its own samples."""
        axis, k = self.axis(x), self.stack.k
        x = self.lead(x, axis)
        members = x.unflatten(0, (k, -1)).transpose(0, 1)  # (b, K, c, ...)
        y = self._norm(members.flatten(1, 2))
        y = y.unflatten(1, (k, -1)).transpose(0, 1).flatten(0, 1)
        return self.back(y, axis)


class Normalised(Leaf):
    """A normalisation within each sample, then each member's own scale and shift.

    Args:
        stack: The shared state.
        where: The module's name.
        plain: The normalisation without affine map.
        weight: ``(K, *shape)`` or None.
        bias: Likewise.
        channels: Whether the affine map runs over axis 1 (else over the last axes).
        layer_eps: Epsilon where this is layer normalisation.
    """

    def __init__(
        self,
        stack: Stack,
        where: str,
        plain: Callable[[Tensor], Tensor],
        weight: Ref | None,
        bias: Ref | None,
        channels: bool = False,
        layer_eps: float | None = None,
    ) -> None:
        super().__init__(stack, where)
        self.layer_eps = layer_eps
        self.plain, self.ref, self.bias_ref, self.channels = plain, weight, bias, channels

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        axis = self.axis(x)
        x = self.lead(x, axis)
        if self.layer_eps is not None and self.ref is not None and x.device.type == "cpu":
            args = self.stack.anchor, self.stack.k, self.ref, self.bias_ref, self.layer_eps
            return self.back(_LayerNorm.apply(x, *args), axis)
        y = self.plain(x)
        if self.ref is not None:
            weight = self._shaped(self.ref, x)
            y = y.unflatten(0, (self.stack.k, -1))
            if self.bias_ref is not None:
                y = self._shaped(self.bias_ref, x).addcmul(y, weight)
            else:
                y = y * weight
            y = y.flatten(0, 1)
        return self.back(y, axis)

    def _shaped(self, ref: Ref, x: Tensor) -> Tensor:
        """The parameter ``(K, 1, ..., *shape, ...)`` as it meets ``x (K, r, ...)``."""
        value = ref.take(self.stack.anchor)
        behind = x.dim() - 1  # axes after the samples
        if self.channels:
            return value.view(value.shape[0], 1, -1, *(1,) * (behind - 1))
        return value.view(value.shape[0], *(1,) * (behind + 2 - value.dim()), *value.shape[1:])


class _LayerNorm(torch.autograd.Function):
    """Layer normalisation with every member's own affine map, in one pass (CPU)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, anchor: Tensor, k: int, weight: Ref, bias: Ref | None, eps: float
    ) -> Tensor:
        layer_norm = resolve(f"{__package__}.kernels:layer_norm")
        size = weight.value[0].numel()
        rows, y = x.reshape(k, -1, size).contiguous(), x.new_empty(x.shape)
        shift = (
            weight.value.new_zeros(k, size)
            if bias is None
            else bias.value.reshape(k, size).contiguous()
        )
        scale = rows.new_empty(k, rows.shape[1])
        arrays = (t.numpy() for t in (rows, weight.value.reshape(k, size).contiguous(), shift))
        layer_norm(*arrays, eps, y.view(rows.shape).numpy(), scale.numpy())
        ctx.save_for_backward(rows, scale)
        ctx.use = weight, bias, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore
        layer_norm_backward = resolve(f"{__package__}.kernels:layer_norm_backward")
        rows, scale = ctx.saved_tensors
        weight, bias, shape = ctx.use
        dy = grad_outputs[0].reshape(rows.shape).contiguous()
        dx, dw, db = torch.empty_like(rows), *torch.zeros(2, *weight.value.shape, dtype=rows.dtype)
        flat = (len(rows), -1)
        arrays = (
            dy,
            rows,
            scale,
            weight.value.reshape(flat).contiguous(),
            dx,
            dw.view(flat),
            db.view(flat),
        )
        layer_norm_backward(*(t.numpy() for t in arrays))
        weight.add(dw)
        if bias is not None:
            bias.add(db)
        return dx.view(shape), None, None, None, None, None


def plain_norm(module: nn.Module) -> tuple[Callable[[Tensor], Tensor], bool]:
    """The normalisation of a module without its affine map, and whether that is over channels."""
    if isinstance(module, nn.LayerNorm):
        shape, eps = module.normalized_shape, module.eps
        return lambda x: F.layer_norm(x, shape, None, None, eps), False
    if isinstance(module, nn.RMSNorm):
        shape, root = module.normalized_shape, module.eps
        return lambda x: F.rms_norm(x, list(shape), None, root), False
    if isinstance(module, nn.GroupNorm):
        groups, eps = module.num_groups, module.eps
        return lambda x: F.group_norm(x, groups, None, None, eps), True
    raise TypeError(f"no plain form of {type(module).__name__}")
