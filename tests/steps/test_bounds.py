from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.optim import OPTIMIZERS
from thalweg.steps import max_learning_rate


def companion(optimizer, x, beta):
    """One step on curvature x/lr as a matrix on (error now, error before)."""
    if optimizer == "nesterov":
        return np.array([[(1 + beta) * (1 - x), -beta * (1 - x)], [1.0, 0.0]])
    if optimizer == "adam":  # heavy ball whose gradient enters with weight 1 - beta
        x = (1 - beta) * x
    return np.array([[1 + beta - x, -beta], [1.0, 0.0]])


def radius(optimizer, x, beta):
    return np.abs(np.linalg.eigvals(companion(optimizer, x, beta))).max()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
@settings(max_examples=60, deadline=None)
@given(beta=st.floats(0.0, 0.99), curvature=st.floats(1e-6, 1e6))
def test_spectral_radius_crosses_one_exactly_at_the_limit(optimizer, beta, curvature):
    if optimizer == "adam":
        limit = max_learning_rate(curvature, "adam", betas=(beta, 0.999))
    else:
        limit = max_learning_rate(curvature, optimizer, momentum=beta)
    assert radius(optimizer, 0.999 * limit * curvature, beta) < 1
    assert radius(optimizer, 1.001 * limit * curvature, beta) > 1


@pytest.mark.parametrize(
    ("optimizer", "build"),
    [
        ("sgd", lambda p, lr: torch.optim.SGD(p, lr=lr)),
        ("momentum", lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)),
        ("nesterov", lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True)),
    ],
)
@pytest.mark.parametrize(("share", "shrinks"), [(0.98, True), (1.02, False)])
def test_torch_converges_below_the_limit_and_diverges_above(optimizer, build, share, shrinks):
    curvature = torch.tensor([0.5, 4.0], dtype=torch.float64)
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    momentum = 0.0 if optimizer == "sgd" else 0.9
    o = build([w], share * max_learning_rate(4.0, optimizer, momentum=momentum))
    for _ in range(600):
        w.grad = curvature * w.detach()
        o.step()
    error = float(w.detach().abs().max())
    assert (error < 1e-3) if shrinks else (error > 1e3)


@pytest.mark.parametrize(("share", "shrinks"), [(0.98, True), (1.02, False)])
def test_adam_with_a_frozen_preconditioner_obeys_the_limit(share, shrinks):
    # eps far above sqrt(v) makes the preconditioner the constant 1/eps
    eps, curvature, beta = 1e8, 3.0, 0.9
    w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    lr = share * max_learning_rate(curvature / eps, "adam", betas=(beta, 0.999))
    o = torch.optim.Adam([w], lr=lr, betas=(beta, 0.999), eps=eps)
    peak = 0.0
    for _ in range(800):
        w.grad = curvature * w.detach()
        o.step()
        peak = max(peak, abs(w.item()))
    if shrinks:
        assert abs(w.item()) < 1e-3
    else:  # it grows until sqrt(v) reaches eps, whereupon the preconditioner is no longer frozen
        assert peak > 1e6


def test_the_linear_unit_of_the_lectures_allows_2_38():
    assert round(max_learning_rate(0.84), 2) == 2.38


def test_every_optimizer_has_a_limit_and_flat_curvature_none():
    for name in OPTIMIZERS.names():
        assert 0 < max_learning_rate(2.0, name) < math.inf
        assert max_learning_rate(0.0, name) == math.inf


def test_tensor_and_numpy_curvatures_are_numbers_too():
    assert max_learning_rate(torch.tensor(4.0)) == max_learning_rate(np.float64(4.0)) == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lambda_max": -1.0}, "lambda_max"),
        ({"lambda_max": math.nan}, "lambda_max"),
        ({"lambda_max": math.inf}, "lambda_max"),
        ({"lambda_max": 1.0, "optimizer": "adma"}, "Did you mean"),
        ({"lambda_max": 1.0, "momentum": 1.0}, "momentum must be"),
        ({"lambda_max": 1.0, "optimizer": "adam", "momentum": 0.9}, "adam has no momentum"),
        ({"lambda_max": 1.0, "optimizer": "adam", "betas": (0.9, 1.0)}, "betas must be"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        max_learning_rate(**arguments)
