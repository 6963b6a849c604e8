"""The built-in tasks of one threshold unit, and of the problem that it cannot solve."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor, nn

from thalweg.data import bundled
from thalweg.models.mlp import MLP
from thalweg.models.perceptron import logistic_loss, perceptron_loss
from thalweg.models.tasks.arrays import Parts, partition, standardised, thirds
from thalweg.task import Recipe, Task


def perceptron() -> Task:
    """One threshold unit: is a digit below five? One sample a step is Rosenblatt's rule."""
    x, y = bundled.digits()
    indices = thirds(len(y), y)
    flat = standardised(x, indices[0], (0, 1, 2)).reshape(-1, 64)
    parts = partition(flat, (y < 5).astype(np.int64), indices)
    recipe = Recipe(optimizer="sgd", lr=0.1, batch_size=1, epochs=5)
    return _two_classes("perceptron", partial(nn.Linear, 64, 1), perceptron_loss, parts, recipe)


def xor() -> Task:
    """XOR of two noisy bits, a 2-2-1 network: no single threshold unit gets beyond 75 %."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (600, 2))
    x = 2.0 * bits - 1 + 0.25 * rng.standard_normal((600, 2))
    y = (bits[:, 0] ^ bits[:, 1]).astype(np.int64)
    indices = thirds(len(y), y)
    parts = partition(standardised(x, indices[0], (0, 1)), y, indices)
    recipe = Recipe(optimizer="sgd", lr=0.3, momentum=0.9, batch_size=32, epochs=30)
    return _two_classes("xor", partial(MLP, (2, 2, 1), "tanh"), logistic_loss, parts, recipe)


def _two_classes(
    name: str,
    model: Callable[[], nn.Module],
    loss: Callable[[Tensor, Tensor], Tensor],
    parts: Parts,
    recipe: Recipe,
) -> Task:
    return Task(
        name=name,
        model=model,
        loss=loss,
        train=parts.train,
        held_out=parts.held_out,
        test=parts.test,
        metric="accuracy",
        recipe=recipe,
    )
