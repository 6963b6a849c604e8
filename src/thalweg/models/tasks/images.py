"""The built-in tasks on scikit-learn's handwritten digits."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from thalweg.data import bundled
from thalweg.models.lenet import LeNetD1
from thalweg.models.mlp import MLP
from thalweg.models.small_lenet import SmallLeNet
from thalweg.models.tasks.arrays import Parts, classes, partition, standardised, thirds
from thalweg.task import Recipe, Task


def digits() -> Task:
    """The lectures' LeNet on 1797 handwritten digits, enlarged once from 8x8 to 32x32."""
    recipe = Recipe(optimizer="sgd", lr=0.02, momentum=0.9, batch_size=64, epochs=30)
    return classes("digits", LeNetD1, _enlarged_digits(32), recipe)


def small_lenet() -> Task:
    """The small LeNet (47,658 weights) of the spectrum figure on digits enlarged to 28x28."""
    recipe = Recipe(optimizer="sgd", lr=0.02, momentum=0.9, batch_size=64, epochs=30)
    return classes("small-lenet", SmallLeNet, _enlarged_digits(28), recipe)


def small_lenet_14() -> Task:
    """The same network at 3,032 weights on 14x14: small enough for its whole Hessian."""
    model = partial(SmallLeNet, (5, 10), 32, 14)
    recipe = Recipe(optimizer="sgd", lr=0.02, momentum=0.9, batch_size=64, epochs=30)
    return classes("small-lenet-14", model, _enlarged_digits(14), recipe)


def digits_mlp() -> Task:
    """A 64-64-10 perceptron on 1797 handwritten digits of 8x8."""
    recipe = Recipe(optimizer="sgd", lr=0.1, momentum=0.9, batch_size=64, epochs=30)
    return classes("digits-mlp", partial(MLP, (64, 64, 10)), flat_digits(), recipe)


def digits_batchnorm() -> Task:
    """A 64-64-64-10 perceptron with batch normalisation on 1797 handwritten digits of 8x8."""
    model = partial(MLP, (64, 64, 64, 10), batch_norm=True)
    recipe = Recipe(optimizer="sgd", lr=0.1, momentum=0.9, batch_size=64, epochs=30)
    return classes("digits-batchnorm", model, flat_digits(), recipe)


def _enlarged_digits(size: int) -> Parts:
    """Bilinear enlargement of 8x8 to ``size``, standardised over all pixels together."""
    x, y = bundled.digits()
    large = F.interpolate(torch.from_numpy(x)[:, None], size=(size, size), mode="bilinear")
    indices = thirds(len(y), y)
    return partition(standardised(large.numpy(), indices[0], (0, 1, 2, 3)), y, indices)


def flat_digits() -> Parts:
    """Digits as 64 numbers each, standardised over all pixels together."""
    x, y = bundled.digits()
    indices = thirds(len(y), y)
    return partition(standardised(x, indices[0], (0, 1, 2)).reshape(-1, 64), y, indices)
