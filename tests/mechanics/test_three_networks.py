"""The closed forms of the three networks equal autograd's steps."""

from __future__ import annotations

import math

import pytest
import torch

from thalweg.mechanics.three_networks import (
    NETWORKS,
    k_layer_polynomial,
    k_layer_update,
    three_networks,
    with_batch_norm,
)

FORWARD = {
    "one layer": (lambda w: [w * w], lambda x, p: x * p[0]),
    "two layers, shared weight": (lambda w: [w], lambda x, p: x * p[0] * p[0]),
    "two layers": (lambda w: [w, w], lambda x, p: x * p[0] * p[1]),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("x", "w", "eps"), [(0.7, 1.3, 0.1), (-2.0, -0.4, 0.03)])
def test_each_row_is_an_autograd_step(network, x, w, eps):
    start, forward = FORWARD[network]
    params = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in start(w)]
    gradients = torch.autograd.grad(forward(x, params), params)
    stepped = [p.detach() - eps * g for p, g in zip(params, gradients, strict=True)]
    assert three_networks(x, w, eps)[network] == pytest.approx(
        float(forward(x, stepped)), rel=1e-12
    )


@pytest.mark.parametrize("k", range(1, 7))
def test_the_polynomial_in_the_rate_is_the_update(k):
    weights = [0.6 + 0.3 * i for i in range(k)]
    x, eps = -1.7, 0.05
    coefficients = k_layer_polynomial(x, weights)
    assert len(coefficients) == k + 1
    value = sum(c * eps**i for i, c in enumerate(coefficients))
    assert value == pytest.approx(k_layer_update(x, weights, eps), rel=1e-12)
    kappa = math.prod(weights)
    first = -(x**2) * sum((kappa / w) ** 2 for w in weights)
    assert coefficients[1] == pytest.approx(first, rel=1e-12)
    assert coefficients[-1] == pytest.approx(x * (-x) ** k * kappa ** (k - 1), rel=1e-12)


def test_k_layers_equal_autograd():
    w = torch.tensor([0.5, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(1.5 * w.prod(), w)
    after = 1.5 * (w.detach() - 0.1 * gradient).prod()
    assert k_layer_update(1.5, w.tolist(), 0.1) == pytest.approx(float(after), rel=1e-12)
    with pytest.raises(ValueError, match="at least one"):
        k_layer_update(1.0, [], 0.1)


def test_batch_normalisation_makes_the_three_alike():
    x = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    w, rate = -1.3, 0.1
    steps = [
        with_batch_norm(x, weights, rate, gamma=1.5, beta=0.2, eps=1e-12)
        for weights in ([w * w], [w, w], [2.0, 0.1, 9.0])
    ]
    for step in steps:
        torch.testing.assert_close(step.response, steps[0].response, atol=1e-10, rtol=0)
        torch.testing.assert_close(step.updated, steps[0].updated, atol=1e-10, rtol=0)
        assert step.weight_jacobian.abs().max() < 1e-8
    response = (x - x.mean()) / x.std(correction=0)
    torch.testing.assert_close(
        steps[0].updated, (1.5 - rate * response) * response + (0.2 - rate), atol=1e-9, rtol=0
    )
    negative = with_batch_norm(x, [w, 1.0], rate, eps=1e-12)
    torch.testing.assert_close(negative.response, -response, atol=1e-10, rtol=0)


def test_a_constant_response_is_refused():
    x = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="weight is 0"):
        with_batch_norm(x, [0.0, 1.0], 0.1)
    with pytest.raises(ValueError, match="differing inputs"):
        with_batch_norm(torch.ones(3), [1.0], 0.1)
