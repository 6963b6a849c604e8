"""What does one unit of a convolutional net see, and how does it learn shared weights?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WINDOWED = (nn.Conv1d, nn.Conv2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    r"""Places a window fits: :math:`\lfloor(M + 2p - m)/s\rfloor + 1`.

    The "/2 + 1" written beside 28x28 on a slide is no part of it at stride 1.

    >>> output_size(32, 5), output_size(28, 2, stride=2)
    (28, 14)

    Raises:
        ValueError: The window does not fit once, or a number is below its least.
    """
    if min(size, kernel, stride) < 1 or padding < 0 or size + 2 * padding < kernel:
        raise ValueError(
            f"a window of {kernel} (stride {stride}, padding {padding}) does not fit into {size}."
        )
    return (size + 2 * padding - kernel) // stride + 1


def receptive_field(layers: nn.Module | Iterable[tuple[int, int]]) -> tuple[int, ...]:
    r"""Inputs that one unit of each layer sees: :math:`r_l = r_{l-1} + (k_l-1)\prod_{i<l}s_i`.

    >>> receptive_field([(3, 1), (3, 1)])
    (3, 5)

    Args:
        layers: Pairs (kernel, stride), or a module whose convolutions and poolings with square
            windows are read in order.

    Returns:
        One size a layer with a window.

    Raises:
        ValueError: Windows that are not square.
    """
    pairs = _pairs(layers) if isinstance(layers, nn.Module) else list(layers)
    field, jump, found = 1, 1, []
    for kernel, stride in pairs:
        field += (kernel - 1) * jump
        jump *= stride
        found.append(field)
    return tuple(found)


def _pairs(model: nn.Module) -> list[tuple[int, int]]:
    pairs = []
    for name, module in model.named_modules():
        if isinstance(module, _WINDOWED):
            kernel, stride, dilation = (
                _one(getattr(module, what, 1), name)
                for what in ("kernel_size", "stride", "dilation")
            )
            pairs.append((dilation * (kernel - 1) + 1, stride))
    return pairs


def _one(value: int | Sequence[int], name: str) -> int:
    values = {value} if isinstance(value, int) else set(value)
    if len(values) != 1:
        raise ValueError(f"'{name}' has a window of {tuple(values)}; only square ones are read.")
    return values.pop()


def seen_inputs(function: Callable[[Tensor], Tensor], x: Tensor, place: tuple[int, ...]) -> Tensor:
    """Which inputs one output depends on at ``x``: where its gradient is not zero.

    Args:
        function: A network or a part of it.
        x: One batch of inputs.
        place: Index of one number of the output.

    Returns:
        Booleans of the shape of ``x``.
    """
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x)[place], x)
    return gradient != 0


def conv_true(signal: Tensor, kernel: Tensor) -> Tensor:
    r"""Convolution as signal processing means it: :math:`(f*g)(n) = \sum_u f(u)\,g(n-u)`.

    torch's ``conv`` does not flip the kernel (it correlates). Only places where the kernel fits
    ("valid").

    >>> conv_true(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 2.0]))
    tensor([2., 0.])

    Args:
        signal: ``(M,)`` or ``(M, N)``.
        kernel: Of as many axes, not larger.

    Raises:
        ValueError: Other numbers of axes.
    """
    if signal.ndim != kernel.ndim or signal.ndim not in (1, 2):
        raise ValueError(
            f"signal has shape {tuple(signal.shape)}, kernel {tuple(kernel.shape)}; wanted both "
            "with one axis or both with two."
        )
    correlate = F.conv1d if signal.ndim == 1 else F.conv2d
    flipped = kernel.flip(tuple(range(kernel.ndim)))
    return correlate(signal[None, None], flipped[None, None])[0, 0]


def gradients_by_use(x: Tensor, weight: Tensor, by_output: Tensor) -> Tensor:
    r"""What each use of shared weights asks for: the weights' gradient is the sum over uses.

    For a convolution of stride 1 without padding a weight is used once at every output place:
    :math:`\partial L/\partial W = \sum_p (\partial L/\partial h_p)\,\text{patch}_p^\top`.

    Args:
        x: Inputs ``(b, c, M, N)``.
        weight: ``(o, c, m, n)``.
        by_output: ``∂L/∂h (b, o, M-m+1, N-n+1)``.

    Returns:
        ``(places, o, c, m, n)``, summed over the batch; places row by row.
    """
    patches = F.unfold(x, weight.shape[2:])  # (b, c·m·n, places)
    uses = torch.einsum("bop,bqp->poq", by_output.flatten(2), patches)
    return uses.reshape(-1, *weight.shape)
