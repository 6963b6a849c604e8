"""Convolutions of K members side by side in the channels, with what follows them.

Between them activations are ``(b, K c, h, w)``, channels last in memory: one grouped convolution,
one pooling and one batch normalisation serve all members, and vectors run over members. On the
lectures' LeNet this takes a quarter of the time of one convolution per member.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.race.population.flat import Unsupported
from thalweg.race.population.stacked.stack import Leaf, Ref, Stack

Stage = Callable[[Tensor], Tensor]
COLUMNS = 256  # entries of a patch up to which a shared input is cut into patches for one product


class Wide(Leaf):
    """A run of stages, the first of them a convolution.

    Args:
        stack: The shared state.
        where: The first module's name.
        stages: Maps of ``(b, K c, h, w)``; the first one takes the shared input as well.
        spatial: 1 or 2 axes behind the channels.
    """

    def __init__(self, stack: Stack, where: str, stages: Sequence[Stage], spatial: int) -> None:
        super().__init__(stack, where)
        self.stages, self.spatial = tuple(stages), spatial

    def forward(self, x: Tensor) -> Tensor:
        """``(K b, c', ...)`` of ``(K b, c, ...)``."""
        if self.axis(x) != 0 or x.dim() != self.spatial + 2:
            raise Unsupported(f"'{self.where}': an input without a leading axis of samples")
        k = self.stack.k
        first = self.stages[0]
        shared = self.stack.shared(x) if isinstance(first, Convolution) else None
        if shared is not None and isinstance(first, Convolution):
            h = first.of_shared(shared[:, :, None] if self.spatial == 1 else shared)
        else:
            h = first(_widen(x[:, :, None] if self.spatial == 1 else x, k))
        for stage in self.stages[1:]:
            h = stage(h)
        y = _narrow(h, k)
        return y.squeeze(2) if self.spatial == 1 else y


def _widen(x: Tensor, k: int) -> Tensor:
    """``(K b, c, h, w)`` to ``(b, K c, h, w)``, channels last."""
    members = x.view(k, -1, *x.shape[1:]) if x.is_contiguous() else x.unflatten(0, (k, -1))
    wide = members.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    return wide.contiguous(memory_format=torch.channels_last)  # one channel: still a view


def _narrow(h: Tensor, k: int) -> Tensor:
    """``(b, K c, h, w)`` to ``(K b, c, h, w)``, contiguous."""
    return h.unflatten(1, (k, -1)).transpose(0, 1).reshape(-1, h.shape[1] // k, *h.shape[2:])


class Convolution:
    """One convolution of every member: grouped, or one product over patches of a shared input."""

    def __init__(
        self, stack: Stack, module: nn.Conv1d | nn.Conv2d, weight: Ref, bias: Ref | None
    ) -> None:
        self.stack, self.ref, self.bias_ref = stack, weight, bias
        flat = module.weight.dim() == 3
        self.stride = (1, *module.stride) if flat else tuple(module.stride)
        self.dilation = (1, *module.dilation) if flat else tuple(module.dilation)
        self.groups, self.flat = module.groups, flat
        self.mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        pads = list(module._reversed_padding_repeated_twice)
        self.pads = [*pads, 0, 0] if flat else pads  # left, right, top, bottom
        even = self.mode == "constant" and pads[::2] == pads[1::2]
        self.padding = (self.pads[2], self.pads[0]) if even else None

    def _weights(self) -> tuple[Tensor, Tensor | None]:
        w = self.ref.take(self.stack.anchor).flatten(0, 1)  # (K o, c, kh, kw)
        bias = None if self.bias_ref is None else self.bias_ref.take(self.stack.anchor).flatten()
        return (w[:, :, None] if self.flat else w), bias

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        if self.padding is not None:
            return x, self.padding
        return F.pad(x, self.pads, mode=self.mode), (0, 0)

    def __call__(self, h: Tensor) -> Tensor:
        """Every member's own channels."""
        w, bias = self._weights()
        h, padding = self._padded(h)
        groups = self.stack.k * self.groups
        return F.conv2d(h, w, bias, self.stride, padding, self.dilation, groups)

    def of_shared(self, x: Tensor) -> Tensor:
        """``(b, K o, h', w')`` of one input ``(b, c, h, w)`` that all members see."""
        w, bias = self._weights()
        x, padding = self._padded(x)
        size = w.shape[2:]
        if self.groups > 1 or self.dilation != (1, 1) or w[0].numel() > COLUMNS:
            if self.groups > 1:  # every member's groups need their own copy of the channels
                x = x.repeat(1, self.stack.k, 1, 1)
            x = x.contiguous(memory_format=torch.channels_last)
            groups = 1 if self.groups == 1 else self.stack.k * self.groups
            return F.conv2d(x, w, bias, self.stride, padding, self.dilation, groups)
        if padding != (0, 0):
            x = F.pad(x, self.pads)
        patches = x.unfold(2, size[0], self.stride[0]).unfold(3, size[1], self.stride[1])
        b, _, high, wide = patches.shape[:4]
        columns = patches.permute(0, 2, 3, 1, 4, 5).reshape(b * high * wide, -1)
        kernels = w.flatten(1).t()
        y = columns @ kernels if bias is None else torch.addmm(bias, columns, kernels)
        return y.view(b, high, wide, -1).permute(0, 3, 1, 2)


class WideNorm:
    """Batch normalisation: members have channels of their own, hence statistics of their own."""

    def __init__(
        self,
        stack: Stack,
        module: nn.modules.batchnorm._BatchNorm,
        where: str,
        weight: Ref | None,
        bias: Ref | None,
        leaf: Callable[[], bool],
    ) -> None:
        self.stack, self.where = stack, where
        self.ref, self.bias_ref = weight, bias
        self.momentum, self.eps = module.momentum, module.eps
        self.tracks = module.track_running_stats and module.running_mean is not None
        self._training = leaf

    def __call__(self, h: Tensor) -> Tensor:
        """Normalise ``(b, K c, ...)``."""
        stack, training = self.stack, self._training()
        w = None if self.ref is None else self.ref.take(stack.anchor).flatten()
        bias = None if self.bias_ref is None else self.bias_ref.take(stack.anchor).flatten()
        if not self.tracks:
            return F.batch_norm(h, None, None, w, bias, True, 0.0, self.eps)
        buffers = stack.flock.buffers
        mean, variance = (buffers[f"{self.where}.running_{s}"].view(-1) for s in ("mean", "var"))
        momentum = self.momentum
        if training:
            seen = buffers[f"{self.where}.num_batches_tracked"]
            seen.add_(1)
            if momentum is None:  # the plain average: all members have seen equally many
                momentum = 1.0 / float(seen[0])
        return F.batch_norm(h, mean, variance, w, bias, training, momentum or 0.0, self.eps)
