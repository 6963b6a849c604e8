"""The built-in tasks whose answers are known in closed form."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from thalweg.data import synthetic
from thalweg.models.linear import LinearUnit, QuadraticBowl
from thalweg.models.losses import half_squared_error
from thalweg.models.tasks.arrays import Pair
from thalweg.task import Recipe, Task


def linear_unit() -> Task:
    """The lectures' two-input unit, full batch: curvatures 0.036 and 0.84, diverges above 2.38."""
    train, held_out, test = (
        _pair(*synthetic.linear_unit("exact", seed=seed, n=n))
        for seed, n in ((0, 100), (1, 1000), (2, 1000))
    )
    return Task(
        name="linear-unit",
        model=partial(LinearUnit, 2),
        loss=half_squared_error,
        train=train,
        held_out=held_out,
        test=test,
        metric="loss",
        recipe=Recipe(optimizer="sgd", lr=1.5, batch_size=100, epochs=100),
    )


def quadratic() -> Task:
    """Twenty curvatures log-spaced from 0.01 to 1, gradient noise 0.1: the minimum is at 0.

    Every part has the same mean loss at every point: ½ wᵀAw + ½ 0.1² trace(A).
    """
    spectrum = np.logspace(-2, 0, 20).tolist()
    bowls = [synthetic.quadratic(spectrum, draw=draw) for draw in range(3)]
    train, held_out, test = (_pair(bowl.centres, np.zeros_like(bowl.centres)) for bowl in bowls)
    root = torch.from_numpy(bowls[0].root).float()
    return Task(
        name="quadratic",
        model=partial(QuadraticBowl, root),
        loss=half_squared_error,
        train=train,
        held_out=held_out,
        test=test,
        metric="loss",
        recipe=Recipe(optimizer="sgd", lr=0.5, momentum=0.9, batch_size=32, epochs=30),
    )


def _pair(x: np.ndarray, y: np.ndarray) -> Pair:
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()
