"""Small chains on separable classes: strategies run in hundredths of a second."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.models import MLP


def make(widths=(6, 8, 7, 3), n=96, seed=5, **recipe) -> tw.Task:
    """Three classes by a linear rule with noise, a perceptron of the given widths."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * n, 6, generator=g)
    y = (x @ torch.randn(6, 3, generator=g) + 0.3 * torch.randn(2 * n, 3, generator=g)).argmax(1)
    return tw.Task(
        "small",
        model=lambda: MLP(widths, "tanh"),
        loss=F.cross_entropy,
        train=(x[:n], y[:n]),
        held_out=(x[n:], y[n:]),
        recipe=tw.Recipe(**{"lr": 0.1, "momentum": 0.9, "batch_size": 16, "epochs": 4, **recipe}),
    )


@pytest.fixture
def task() -> tw.Task:
    return make()


@pytest.fixture(scope="session")
def maker():
    return make


@pytest.fixture(scope="session")
def normed():
    """A chain with convolutions and batch norms on 6x6 images."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(80, 1, 6, 6, generator=g)
    y = (x.mean((1, 2, 3)) > 0).long()

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.ReLU(),
            nn.Linear(5, 2),
        )

    return tw.Task(
        "normed",
        build,
        F.cross_entropy,
        train=(x[:40], y[:40]),
        held_out=(x[40:], y[40:]),
        recipe=tw.Recipe(lr=0.05, batch_size=10, epochs=2),
    )
