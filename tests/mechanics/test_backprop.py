"""Backpropagation by hand and as constrained optimisation equal autograd."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.mechanics.backprop import manual_backprop
from thalweg.mechanics.lagrangian import LagrangianNet

PHI = {
    "tanh": (torch.tanh, lambda a: 1 - torch.tanh(a) ** 2),
    "sigmoid": (torch.sigmoid, lambda a: torch.sigmoid(a) * (1 - torch.sigmoid(a))),
    "relu": (torch.relu, lambda a: (a > 0).to(a.dtype)),
}


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@pytest.fixture
def chain():
    """Layers of several kinds, inputs and targets."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh()),
            nn.Sequential(nn.Flatten(), nn.Linear(48, 7)),
            nn.ReLU(),
            nn.Linear(7, 2),
        ]
    return [layer.double() for layer in layers], normal(4, 1, 6, 6), normal(4, 2, seed=1)


def cost(z, y):
    return 0.5 * (z - y).square().sum() / len(z)


@pytest.mark.parametrize("name", PHI)
def test_manual_deltas_equal_autograd(name):
    phi, dphi = PHI[name]
    layers = [(normal(n, m, seed=n), normal(n, seed=m)) for m, n in ((4, 6), (6, 5), (5, 3))]
    x, y = normal(9, 4, seed=8), normal(9, 3, seed=9)
    risk, gradients = manual_backprop(layers, x, y, phi, dphi)
    leaves = [t.clone().requires_grad_() for layer in layers for t in layer]
    z = x
    for weight, bias in zip(leaves[::2], leaves[1::2], strict=True):
        z = phi(z @ weight.T + bias)
    expected = cost(z, y)
    torch.testing.assert_close(risk, expected.detach(), atol=1e-12, rtol=0)
    flat = [t for layer in gradients for t in layer]
    for mine, theirs in zip(flat, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


def test_multipliers_are_the_gradients_of_the_cost(chain):
    layers, x, y = chain
    solution = LagrangianNet(layers, cost).solve(x, y)
    states = [x]
    for layer in layers:
        states.append(layer(states[-1]))
        states[-1].retain_grad()
    cost(states[-1], y).backward()
    for multiplier, state in zip(solution.multipliers, states[1:], strict=True):
        torch.testing.assert_close(multiplier, state.grad, atol=1e-12, rtol=0)
    for found, layer in zip(solution.gradients, layers, strict=True):
        assert found.keys() == dict(layer.named_parameters()).keys()
        for name, weight in layer.named_parameters():
            torch.testing.assert_close(found[name], weight.grad, atol=1e-12, rtol=0)


def test_the_slides_sign_turns_the_multipliers_and_not_the_weight_gradients(chain):
    layers, x, y = chain
    ours, slides = (LagrangianNet(layers, cost, sign).solve(x, y) for sign in (1, -1))
    for a, b in zip(ours.multipliers, slides.multipliers, strict=True):
        assert a.abs().max() > 1e-6
        torch.testing.assert_close(a, -b, atol=1e-14, rtol=0)
    for a, b in zip(ours.gradients, slides.gradients, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-14, rtol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_solution_is_stationary_in_states_and_multipliers(chain, sign):
    layers, x, y = chain
    net = LagrangianNet(layers, cost, sign)
    states, multipliers, gradients = net.solve(x, y)
    residuals = net.residuals(states, multipliers, y)
    assert residuals.constraint < 1e-12
    assert residuals.adjoint < 1e-12
    largest = max(float(g.abs().max()) for layer in gradients for g in layer.values())
    assert residuals.weight == pytest.approx(largest, rel=1e-12)
    value = net.value(states, multipliers, y).detach()
    torch.testing.assert_close(value, cost(states[-1], y), atol=1e-12, rtol=0)
    moved = [states[0], states[1] + 0.1, *states[2:]]
    assert net.residuals(moved, multipliers, y).constraint > 0.01


def test_all_three_residuals_vanish_at_a_minimum():
    layer = nn.Linear(2, 1, bias=False).double()
    x, y = normal(20, 2), normal(20, 1, seed=1)
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    net = LagrangianNet([layer], cost)
    states, multipliers, _ = net.solve(x, y)
    assert max(net.residuals(states, multipliers, y)) < 1e-12


def test_adjoint_identity_of_each_layer(chain):
    layers, x, y = chain
    states = LagrangianNet(layers, cost).solve(x, y).states
    for seed, (layer, z, out) in enumerate(zip(layers, states[:-1], states[1:], strict=True)):
        v, u = normal(*z.shape, seed=seed), normal(*out.shape, seed=seed + 50)
        _, forward = torch.autograd.functional.jvp(layer, z, v)
        (back,) = torch.func.vjp(layer, z)[1](u)
        left, right = (forward * u).sum(), (v * back).sum().detach()
        torch.testing.assert_close(left, right, atol=1e-12, rtol=0)


def test_relaxation_reaches_the_solution_exactly_after_two_sweeps_a_layer(chain):
    layers, x, y = chain
    net = LagrangianNet(layers, cost)
    wanted, found = net.solve(x, y), net.relax(x, y, sweeps=2 * len(layers))
    early = net.relax(x, y, sweeps=len(layers) - 1)
    assert not torch.allclose(early.states[-1], wanted.states[-1])
    for part in ("states", "multipliers"):
        for a, b in zip(getattr(found, part), getattr(wanted, part), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    damped = net.relax(x, y, sweeps=200, rate=0.5)
    torch.testing.assert_close(damped.multipliers[0], wanted.multipliers[0], atol=1e-10, rtol=0)


def test_a_gradient_of_shared_weights_is_the_sum_over_uses():
    w = normal(3, 3).requires_grad_()
    x = normal(5, 3, seed=1)
    out = torch.tanh(torch.tanh(x @ w) @ w).sum()
    (shared,) = torch.autograd.grad(out, w)
    first, second = (w.detach().clone().requires_grad_() for _ in range(2))
    uses = torch.autograd.grad(torch.tanh(torch.tanh(x @ first) @ second).sum(), (first, second))
    torch.testing.assert_close(shared, sum(uses), atol=1e-12, rtol=0)


def test_gradcheck_of_a_chain(chain):
    layers, x, y = chain
    tail = nn.Sequential(*layers)
    assert torch.autograd.gradcheck(lambda z: F.mse_loss(tail(z), y), x.requires_grad_())


def test_bad_arguments_are_refused(chain):
    layers, x, y = chain
    with pytest.raises(ValueError, match="sign"):
        LagrangianNet(layers, cost, 2)
    with pytest.raises(ValueError, match="0 layers"):
        LagrangianNet([], cost)
    with pytest.raises(ValueError, match="rate"):
        LagrangianNet(layers, cost).relax(x, y, 1, rate=0)
