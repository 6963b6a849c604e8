"""A small non-convex problem in float64, and members with different hyperparameters per rule."""

from __future__ import annotations

import pytest
import torch

MEMBERS = {
    "sgd": [
        {"lr": 0.3},
        {"lr": 0.05, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.8},
        {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.01},
    ],
    "momentum": [
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.5},
        {"lr": 0.02, "momentum": 0.99, "weight_decay": 0.02},
    ],
    "nesterov": [
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.5},
        {"lr": 0.02, "momentum": 0.99, "weight_decay": 0.02},
    ],
    "adagrad": [
        {"lr": 0.1},
        {"lr": 0.3, "lr_decay": 0.1, "initial_accumulator_value": 0.2},
        {"lr": 0.05, "eps": 1e-3, "weight_decay": 0.1},
    ],
    "rmsprop": [
        {"lr": 0.01},
        {"lr": 0.02, "alpha": 0.8, "eps": 1e-4},
        {"lr": 0.003, "momentum": 0.9, "weight_decay": 0.05},
    ],
    "adadelta": [
        {"lr": 1.0},
        {"lr": 3.0, "rho": 0.5, "eps": 1e-4},
        {"lr": 0.5, "weight_decay": 0.1},
    ],
    "adam": [
        {"lr": 0.01},
        {"lr": 0.03, "betas": (0.5, 0.9), "eps": 1e-4},
        {"lr": 0.02, "betas": (0.0, 0.99), "weight_decay": 0.1},
    ],
    "adamw": [
        {"lr": 0.01},
        {"lr": 0.03, "betas": (0.5, 0.9), "eps": 1e-4, "weight_decay": 0.0},
        {"lr": 0.02, "betas": (0.0, 0.99), "weight_decay": 0.5},
    ],
    "amsgrad": [
        {"lr": 0.01},
        {"lr": 0.03, "betas": (0.5, 0.9), "eps": 1e-4},
        {"lr": 0.02, "betas": (0.0, 0.99), "weight_decay": 0.1},
    ],
    "delta-bar-delta": [
        {"lr": 0.1},
        {"lr": 0.05, "kappa": 0.02, "phi": 0.3, "gamma": 0.5, "lr_max": 0.4},
        {"lr": 0.02, "weight_decay": 0.1, "lr_min": 1e-3},
    ],
}

SIZE = 21  # weights of a 3-4-1 network with biases


def gradient(w, x, y):
    """Of the mean squared error of a tanh network with flat weights ``w (*batch, 21)``."""
    first, offset = w[..., :12].unflatten(-1, (3, 4)), w[..., None, 12:16]
    second, last = w[..., 16:20, None], w[..., 20:]
    hidden = torch.tanh(x @ first + offset)  # (*batch, n, 4)
    slope = 2 * ((hidden @ second)[..., 0] + last - y) / len(y)  # (*batch, n)
    back = slope[..., None] * second.mT * (1 - hidden**2)
    parts = [(x.mT @ back).flatten(-2), back.sum(-2), (slope[..., None] * hidden).sum(-2)]
    return torch.cat([*parts, slope.sum(-1, keepdim=True)], -1)


class Problem:
    """Gradients of the network's loss; step ``t`` sees its own minibatch."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(64, 3, generator=generator, dtype=torch.float64)
        self.y = torch.sin(2 * self.x[:, 0]) + self.x[:, 1] * self.x[:, 2]
        self.start = 0.5 * torch.randn(SIZE, generator=generator, dtype=torch.float64)

    def batch(self, t):
        rows = torch.arange(8 * t, 8 * t + 16) % 64
        return self.x[rows], self.y[rows]

    def grad(self, w, t):
        """The gradient of step ``t``'s minibatch at ``w (21,)`` or at each row of ``w (K, 21)``."""
        return gradient(w, *self.batch(t))


@pytest.fixture(scope="session")
def problem():
    return Problem()


@pytest.fixture(scope="session")
def members():
    return MEMBERS


@pytest.fixture(scope="session")
def torch_path(problem):
    """The path of torch's own optimiser: weights after each of ``steps`` updates."""

    def run(build, steps, dtype=torch.float64):
        w = torch.nn.Parameter(problem.start.to(dtype, copy=True))
        optimizer = build([w])
        path = []
        for t in range(steps):
            w.grad = problem.grad(w.detach().double(), t).to(dtype)
            optimizer.step()
            path.append(w.detach().clone())
        return path

    return run
