"""The built-in tasks whose networks are thinned at random while they train."""

from __future__ import annotations

from functools import partial

from thalweg.models.dropout import DropoutMLP
from thalweg.models.stochastic_depth import StochasticDepthNet
from thalweg.models.tasks.arrays import classes
from thalweg.models.tasks.images import flat_digits
from thalweg.task import Recipe, Task

_RECIPE = Recipe(optimizer="sgd", lr=0.05, momentum=0.9, batch_size=64, epochs=40)


def dropout() -> Task:
    """A 64-256-10 perceptron with torch's dropout on 8x8 digits."""
    return classes("dropout", partial(DropoutMLP, (64, 256, 10)), flat_digits(), _RECIPE)


def dropout_lecture() -> Task:
    """The same with the lectures' dropout: plain masks in training, weights times p at test."""
    model = partial(DropoutMLP, (64, 256, 10), 0.5, "lecture")
    return classes("dropout-lecture", model, flat_digits(), _RECIPE)


def stochastic_depth() -> Task:
    """Twelve residual blocks of width 32, the last surviving half of the time, on 8x8 digits."""
    model = partial(StochasticDepthNet, 64, 32, 12, 10)
    return classes("stochastic-depth", model, flat_digits(), _RECIPE)
