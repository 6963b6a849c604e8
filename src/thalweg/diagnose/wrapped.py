"""Losses and criteria around a task's own, for cured tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class OfLogarithm:
    """``loss(log(output), target)``."""

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        self.loss = loss

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        """The loss of probabilities."""
        return self.loss(output.clamp(min=1e-12).log(), target)


class OfLogSoftmax(OfLogarithm):
    """``loss(log_softmax(output), target)``, classes along axis 1."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        """The loss of scores."""
        return self.loss(F.log_softmax(output, 1), target)


class OfLogit(OfLogarithm):
    """``loss(logit(output), target)``."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        """The loss of probabilities."""
        return self.loss(torch.logit(output, 1e-6), target)


class Matched(OfLogarithm):
    """``loss(output, target in the output's shape)``."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        """The loss without broadcasting."""
        return self.loss(output, target.reshape(output.shape))


class InUnits:
    """The loss of outputs and targets in units of ``std`` from ``mean``."""

    def __init__(self, loss: Callable[..., Tensor], mean: float, std: float) -> None:
        self.loss, self.mean, self.std = loss, mean, std

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss in those units."""
        return self.loss((output - self.mean) / self.std, (target - self.mean) / self.std)


class Weighted:
    """Cross-entropy with a weight for each class, a mean over samples."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        self.weights = weights

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The weighted loss."""
        weight = torch.zeros(output.shape[1], dtype=output.dtype, device=output.device)
        weight[: len(self.weights)] = torch.tensor(self.weights, dtype=output.dtype)
        each = F.cross_entropy(output, target, weight=weight, reduction="none")
        return each.mean()


class MinusLoss:
    """Minus the loss a task had, as a criterion."""

    __name__ = "loss"

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        self.loss = loss

    def __call__(self, output: Any, target: Any) -> float:
        """Higher is better."""
        return -float(self.loss(output, target))
