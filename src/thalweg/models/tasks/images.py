"""The built-in tasks on scikit-learn's handwritten digits."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from thalweg.data import bundled
from thalweg.models.lenet import LeNetD1
from thalweg.models.mlp import MLP
from thalweg.models.tasks.arrays import Parts, classes, partition, standardised, thirds
from thalweg.task import Recipe, Task


def digits() -> Task:
    """The lectures' LeNet on 1797 handwritten digits, enlarged once from 8x8 to 32x32."""
    x, y = bundled.digits()
    large = F.interpolate(torch.from_numpy(x)[:, None], size=(32, 32), mode="bilinear")
    indices = thirds(len(y), y)
    x = standardised(large.numpy(), indices[0], (0, 1, 2, 3))
    recipe = Recipe(optimizer="sgd", lr=0.02, momentum=0.9, batch_size=64, epochs=30)
    return classes("digits", LeNetD1, partition(x, y, indices), recipe)


def digits_mlp() -> Task:
    """A 64-64-10 perceptron on 1797 handwritten digits of 8x8."""
    recipe = Recipe(optimizer="sgd", lr=0.1, momentum=0.9, batch_size=64, epochs=30)
    return classes("digits-mlp", partial(MLP, (64, 64, 10)), _flat_digits(), recipe)


def digits_batchnorm() -> Task:
    """A 64-64-64-10 perceptron with batch normalisation on 1797 handwritten digits of 8x8."""
    model = partial(MLP, (64, 64, 64, 10), batch_norm=True)
    recipe = Recipe(optimizer="sgd", lr=0.1, momentum=0.9, batch_size=64, epochs=30)
    return classes("digits-batchnorm", model, _flat_digits(), recipe)


def _flat_digits() -> Parts:
    x, y = bundled.digits()
    indices = thirds(len(y), y)
    return partition(standardised(x, indices[0], (0, 1, 2)).reshape(-1, 64), y, indices)
