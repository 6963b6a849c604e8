"""Tasks of the campaign that are not built in: what a forward pass may draw or carry along."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from thalweg.task import Recipe, Task


def _blobs(n: int = 240, inputs: int = 12, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(7)
    y = torch.arange(n) % classes
    centres = torch.randn(classes, inputs, generator=draw)
    return centres[y] + 0.8 * torch.randn(n, inputs, generator=draw), y


def _task(name: str, model: partial, **recipe: object) -> Task:
    x, y = _blobs()
    return Task(
        name=name,
        model=model,
        loss=F.cross_entropy,
        train=(x[:140], y[:140]),
        held_out=(x[140:], y[140:]),
        recipe=Recipe(batch_size=16, epochs=2, **recipe),
    )


def _dropout_net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 16), nn.ReLU(),
        nn.Dropout(0.1), nn.Linear(16, 4),
    )  # fmt: skip


def _normed_net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 4)
    )


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x.reshape(len(x), 4, 3))[0][:, -1])


dropout = _task("dropout", partial(_dropout_net))
normed = _task("batchnorm-dropout", partial(_normed_net))
lstm = _task("lstm", partial(_Recurrent))
