"""A network that learns badly, on purpose: handwritten digits and three faults of daily life."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import thalweg as tw


def network() -> nn.Module:
    """Three hidden layers of 64 rectified units."""
    sizes = (64, 64, 64, 64)
    pairs = itertools.pairwise(sizes)
    layers: list[nn.Module] = [m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.8)  # fault 1: signals grow fourfold a layer
    return model


def task() -> tw.Task:
    """1,797 digits of 8 x 8 pixels, two thirds of them to learn from."""
    pixels, classes = map(torch.tensor, load_digits(return_X_y=True))
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    inputs = (pixels.float() / 16 + 3)[order]  # fault 2: far from zero
    targets = classes[order]
    return tw.Task(
        name="sick digits",
        model=network,
        loss=F.cross_entropy,
        train=(inputs[:1200], targets[:1200]),
        held_out=(inputs[1200:], targets[1200:]),
        recipe=tw.Recipe(optimizer="sgd", lr=1.0, batch_size=64, epochs=12),  # fault 3: too fast
    )
