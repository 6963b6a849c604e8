"""The built-in tasks on small tables of measurements."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch.nn.functional as F

from thalweg.data import bundled
from thalweg.models.mlp import MLP
from thalweg.models.tasks.arrays import Parts, classes, partition, standardised, thirds
from thalweg.task import Recipe, Task

_RECIPE = Recipe(optimizer="sgd", lr=0.02, momentum=0.9, batch_size=32, epochs=30)


def diabetes() -> Task:
    """Disease progression of 442 patients from ten measurements, all standardised, one output."""
    x, y = bundled.diabetes()
    indices = thirds(len(x), None)
    x, y = standardised(x, indices[0], 0), standardised(y[:, None], indices[0], 0)
    train, held_out, test = partition(x, y, indices)
    return Task(
        name="diabetes",
        model=partial(MLP, (10, 32, 1)),
        loss=F.mse_loss,
        train=train,
        held_out=held_out,
        test=test,
        metric="loss",
        recipe=Recipe(optimizer="sgd", lr=0.003, momentum=0.9, batch_size=32, epochs=30),
    )


def breast_cancer() -> Task:
    """Malignant or benign, 569 tumours, thirty standardised measurements."""
    parts = _scaled(*bundled.breast_cancer())
    return classes("breast-cancer", partial(MLP, (30, 32, 2)), parts, _RECIPE)


def wine() -> Task:
    """Which of three growers, 178 wines, thirteen standardised measurements."""
    return classes("wine", partial(MLP, (13, 32, 3)), _scaled(*bundled.wine()), _RECIPE)


def _scaled(x: np.ndarray, y: np.ndarray) -> Parts:
    indices = thirds(len(x), y)
    return partition(standardised(x, indices[0], 0), y, indices)
