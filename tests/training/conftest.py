"""Small tasks for training: random layers, batch statistics, and a deterministic bowl."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import thalweg as tw


class Small(nn.Module):
    """Dropout and batch normalisation in 150 weights."""

    def __init__(self, dropout: float = 0.2, norm: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 12),
            nn.BatchNorm1d(12) if norm else nn.Identity(),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(12, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def make_task(dropout: float = 0.2, norm: bool = True, n: int = 90, **recipe) -> tw.Task:
    g = torch.Generator().manual_seed(5)
    x = torch.randn(2 * n, 6, generator=g)
    y = (x @ torch.randn(6, 3, generator=g) + 0.5 * torch.randn(2 * n, 3, generator=g)).argmax(1)
    return tw.Task(
        "small",
        model=lambda: Small(dropout, norm),
        loss=F.cross_entropy,
        train=(x[:n], y[:n]),
        held_out=(x[n:], y[n:]),
        recipe=tw.Recipe(**{"lr": 0.1, "batch_size": 16, "epochs": 6, **recipe}),
    )


@pytest.fixture
def task() -> tw.Task:
    return make_task()


@pytest.fixture
def plain_task() -> tw.Task:
    return make_task(0.0, False)


@pytest.fixture(scope="session")
def task_maker():
    return make_task
