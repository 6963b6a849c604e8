"""Digits for a small perceptron: a healthy task, and ways to break it."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes, load_digits
from torch import nn

import thalweg as tw

GOOD = tw.Recipe(optimizer="momentum", lr=0.02, momentum=0.9, batch_size=32, epochs=6)


@pytest.fixture(scope="session")
def digits():
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    x = (x - x[:900].mean()) / x[:900].std()
    return (x[:900], y[:900]), (x[900:], y[900:])


@pytest.fixture(scope="session")
def diabetes():
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.tensor(x / x.std(0), dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    return x, y


@pytest.fixture(scope="session")
def perceptron():
    def net(act=nn.ReLU, depth=2, last=None, inputs=64, width=32, outputs=10, norm=None):
        def make():
            layers = []
            for i in range(depth):
                layers.append(nn.Linear(width if i else inputs, width))
                layers += [norm()] if norm else []
                layers.append(act())
            layers.append(nn.Linear(width, outputs))
            return nn.Sequential(*layers, *([last()] if last else []))

        return make

    return net


@pytest.fixture(scope="session")
def filled():
    """A model whose weight matrices are drawn by another rule."""

    def wrap(net, fill):
        def make():
            model = net()
            for p in model.parameters():
                if p.dim() > 1:
                    fill(p.data)
            return model

        return make

    return wrap


@pytest.fixture(scope="session")
def make_task(digits, perceptron):
    def make(model=None, loss=F.cross_entropy, recipe=None, **changes):
        fields = {"train": digits[0], "held_out": digits[1]} | changes
        given = recipe or {}
        how = given if isinstance(given, tw.Recipe) else dataclasses.replace(GOOD, **given)
        return tw.Task("digits", model or perceptron(), loss, recipe=how, **fields)

    return make


@pytest.fixture(scope="session")
def make_regression(diabetes, perceptron):
    def make(standard=True, column=True, **changes):
        x, y = diabetes
        y = (y - y.mean()) / y.std() if standard else y
        y = y[:, None] if column else y
        fields = {
            "model": perceptron(inputs=10, outputs=1),
            "recipe": tw.Recipe(
                optimizer="momentum", lr=0.005, momentum=0.9, batch_size=32, epochs=20
            ),
        } | changes
        return tw.Task(
            "diabetes", loss=F.mse_loss, train=(x[:300], y[:300]), held_out=(x[300:], y[300:]),
            **fields,
        )  # fmt: skip

    return make
