r"""What does backpropagation compute? The deltas of the lectures, written out by hand.

Autograd does this for users; the recursion stands here to be read and to be tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

Layer = tuple[Tensor, Tensor]
Function = Callable[[Tensor], Tensor]


def manual_backprop(
    layers: Sequence[Layer], x: Tensor, y: Tensor, phi: Function, dphi: Function
) -> tuple[Tensor, list[Layer]]:
    r"""Risk and gradients of a perceptron whose every layer ends in φ.

    .. math:: R = \frac1N\sum_n\tfrac12\|y_n - z_n\|^2, \qquad
        \delta_{out} = -(y - z)\,\varphi'(a), \qquad
        \delta_j = \varphi'(a_j)\sum_k w_{jk}\,\delta_k

    and :math:`\partial R/\partial w_{ij} = \frac1N\sum_n \delta_j z_i`.

    Args:
        layers: Weight ``(out, in)`` and bias ``(out,)`` of each layer.
        x: Inputs ``(n, d)``.
        y: Targets ``(n, c)``.
        phi: The activation.
        dphi: Its derivative (at a kink: whatever convention is meant; torch's ReLU has 0 at 0).

    Returns:
        The risk, and for each layer its weight's and bias's gradient.

    Example:
        >>> import torch
        >>> one = [(torch.tensor([[2.0]]), torch.zeros(1))]
        >>> linear = lambda a: a, torch.ones_like
        >>> risk, gradients = manual_backprop(one, torch.ones(1, 1), torch.zeros(1, 1), *linear)
        >>> risk.item(), gradients[0][0].item()
        (2.0, 2.0)
    """
    outputs, inner = [x], []  # z and a of each layer
    for weight, bias in layers:
        inner.append(outputs[-1] @ weight.mT + bias)
        outputs.append(phi(inner[-1]))
    n = len(x)
    risk = 0.5 * (y - outputs[-1]).square().sum() / n
    delta = -(y - outputs[-1]) * dphi(inner[-1])
    gradients: list[Layer] = []
    for k in range(len(layers) - 1, -1, -1):
        gradients.append((delta.mT @ outputs[k] / n, delta.sum(0) / n))
        if k:
            delta = dphi(inner[k - 1]) * (delta @ layers[k][0])
    return risk, gradients[::-1]
