"""What can one threshold unit learn? The perceptron's rule, its bound on mistakes, and XOR."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PerceptronFit(NamedTuple):
    """Weights ``(d,)``, bias, mistakes on the way, epochs, and whether the last had none."""

    weights: Tensor
    bias: Tensor
    mistakes: int
    epochs: int
    separated: bool


def fit_perceptron(x: Tensor, y: Tensor, lr: float = 1.0, max_epochs: int = 100) -> PerceptronFit:
    r"""Rosenblatt's rule, sample by sample in order, from zero.

    A mistake moves the weights, :math:`w \leftarrow w + \eta(t-o)x`, all else leaves them.
    The bias is the weight of a constant input 1; the output is 1 where the sum is above 0.

    >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> fit_perceptron(x, torch.tensor([0, 0, 0, 1])).separated  # AND
    True
    >>> fit_perceptron(x, torch.tensor([0, 1, 1, 0])).separated  # XOR
    False

    Args:
        x: Inputs ``(n, d)``.
        y: Labels ``(n,)``, 0 and 1 or -1 and 1.
        lr: Rate; from zero it scales the weights and changes no decision.
        max_epochs: Passes over the samples, at most.

    Raises:
        ValueError: Labels of another kind, or shapes that do not fit.

    References:
        Rosenblatt, "The perceptron", Psychological Review, 1958.
    """
    sign = _signs(x, y)
    w = torch.zeros(x.shape[1] + 1, dtype=x.dtype, device=x.device)
    inputs = torch.cat([x, x.new_ones(len(x), 1)], 1)
    mistakes, epoch, wrong = 0, 0, 1
    while wrong and epoch < max_epochs:
        wrong, epoch = 0, epoch + 1
        for row, s in zip(inputs, sign, strict=True):
            if ((row @ w) > 0) != (s > 0):
                w = w + lr * s * row
                wrong += 1
        mistakes += wrong
    return PerceptronFit(w[:-1], w[-1], mistakes, epoch, wrong == 0)


def mistake_bound(x: Tensor, y: Tensor, weights: Tensor, bias: Tensor) -> float:
    r"""Novikoff's bound :math:`(R/\gamma)^2` on all mistakes, from any separating unit.

    R is the longest input and γ the margin of (weights, bias), both with the constant input 1.

    Raises:
        ValueError: The unit does not separate the samples.
    """
    sign = _signs(x, y)
    inputs = torch.cat([x, x.new_ones(len(x), 1)], 1)
    w = torch.cat([weights, bias.reshape(1)])
    margin = float((sign * (inputs @ w)).min() / w.norm())
    if margin <= 0:
        raise ValueError(f"the unit separates with margin {margin:.3g}; wanted one above 0.")
    return float(inputs.norm(dim=1).max()) ** 2 / margin**2


def _signs(x: Tensor, y: Tensor) -> Tensor:
    values = set(y.tolist())
    if not (values <= {0, 1} or values <= {-1, 1}) or x.ndim != 2 or y.shape != (len(x),):
        raise ValueError(
            f"x has shape {tuple(x.shape)}, y shape {tuple(y.shape)} with values "
            f"{sorted(values)[:5]}; wanted (n, d), (n,) and labels 0, 1 or -1, 1."
        )
    return torch.where(y > 0, 1.0, -1.0).to(x.dtype)


class Step(nn.Module):
    """1 where the input is above 0, else 0; it has no useful gradient."""

    def forward(self, a: Tensor) -> Tensor:
        """Of the shape and type of ``a``."""
        return (a > 0).to(a.dtype)


def xor_network() -> nn.Sequential:
    r"""Two threshold units and a third compute XOR exactly.

    :math:`h_1 = [x_1+x_2 > \tfrac12]`, :math:`h_2 = [x_1+x_2 > \tfrac32]`,
    :math:`o = [h_1-h_2 > \tfrac12]`.

    >>> xor_network()(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])).tolist()
    [[0.0], [1.0], [1.0], [0.0]]
    """
    hidden, out = nn.Linear(2, 2), nn.Linear(2, 1)
    with torch.no_grad():
        hidden.weight.copy_(torch.ones(2, 2))
        hidden.bias.copy_(torch.tensor([-0.5, -1.5]))
        out.weight.copy_(torch.tensor([[1.0, -1.0]]))
        out.bias.copy_(torch.tensor([-0.5]))
    return nn.Sequential(hidden, Step(), out, Step())


def perceptron_loss(output: Tensor, target: Tensor) -> Tensor:
    r"""Mean of :math:`\max(0, -s\,a)`, s = ±1: descent on it one sample at a time is the rule.

    Args:
        output: Sums a, ``(b,)`` or ``(b, 1)``.
        target: Classes 0 and 1, ``(b,)``.
    """
    return F.relu(-_sign(target, output) * output.reshape(target.shape)).mean()


def logistic_loss(output: Tensor, target: Tensor) -> Tensor:
    r"""Mean of :math:`\log(1+e^{-s a})`: cross-entropy of one logit a with classes 0 and 1."""
    return F.softplus(-_sign(target, output) * output.reshape(target.shape)).mean()


def _sign(target: Tensor, output: Tensor) -> Tensor:
    return 2 * target.to(output.dtype) - 1
