"""Oracles of systems that no other test file proves: closed forms and brute force, float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.models import MLP

F64 = torch.float64


def test_the_running_mean_of_noisy_optima_has_variance_one_over_k() -> None:
    """f = (w - c)²/2 with c drawn anew and rate 1/(k+1): w_k is the mean of the draws."""
    g = torch.Generator().manual_seed(0)
    runs, k = 20_000, 50
    draws = torch.randn(k, runs, generator=g, dtype=F64)
    w = nn.Parameter(torch.zeros(runs, dtype=F64))
    optimizer = torch.optim.SGD([w], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    for c in draws:
        optimizer.zero_grad()
        (0.5 * (w - c).square()).sum().backward()
        optimizer.step()
        schedule.step()
    assert torch.allclose(w.detach(), draws.mean(0), atol=1e-12)
    error = k * float(w.detach().square().mean())
    assert error == pytest.approx(1.0, abs=4 * math.sqrt(2 / runs))


def test_surrogate_losses_lie_above_the_zero_one_loss() -> None:
    g = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(5000, 7, generator=g, dtype=F64)
    y = torch.randint(7, (5000,), generator=g)
    wrong = (logits.argmax(1) != y).double()
    bits = F.cross_entropy(logits, y, reduction="none") / math.log(2)
    assert bool((bits >= wrong).all())
    margin = 3 * torch.randn(5000, generator=g, dtype=F64)
    missed = (margin <= 0).double()
    for above in ((1 - margin).clamp(min=0), F.softplus(-margin) / math.log(2), (1 - margin) ** 2):
        assert bool((above >= missed).all())
    touching = torch.zeros(1, 2, dtype=F64)  # a tie of two classes costs exactly one bit
    assert float(F.cross_entropy(touching, torch.tensor([0]))) == pytest.approx(math.log(2))


def test_lbfgs_of_full_memory_and_exact_lines_walks_the_conjugate_directions() -> None:
    """Torch's own on a bowl of four curvatures: the exact minimum, long before descent's."""
    curvatures = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=F64)
    w = nn.Parameter(torch.ones(4, dtype=F64))
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = 0.5 * (curvatures * w.square()).sum()
        loss.backward()
        return loss

    optimizer = torch.optim.LBFGS(
        [w],
        max_iter=20,
        max_eval=25,
        tolerance_grad=1e-14,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(closure)
    best_rate = (3.0 - 0.1) / (3.0 + 0.1)
    assert calls <= 25
    assert float(w.detach().norm()) < 1e-8 < 2 * best_rate**calls


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_an_exponential_mean_of_a_constant_is_short_by_beta_to_the_t(beta) -> None:
    """Adam's own first moment, read from its state, for gradients of three."""
    w = nn.Parameter(torch.zeros(1, dtype=F64))
    optimizer = torch.optim.Adam([w], lr=1e-3, betas=(beta, 0.999))
    for t in range(1, 30):
        w.grad = torch.full_like(w, 3.0)
        optimizer.step()
        mean = float(optimizer.state[w]["exp_avg"])
        assert mean == pytest.approx(3.0 * (1 - beta**t), rel=1e-12)
        assert mean / (1 - beta**t) == pytest.approx(3.0, rel=1e-12)


def _wilson(n: int, positive: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, and features: the label, two ones, then one unit (of five) owned by each sample."""
    y = torch.full((n,), -1.0, dtype=F64)
    y[:positive] = 1.0
    x = torch.zeros(n, 3 + 5 * 2 * n, dtype=F64)
    x[:, 0], x[:, 1:3] = y, 1.0
    for i in range(n):
        own = 3 + 5 * (first + i)
        x[i, own : own + (1 if y[i] > 0 else 5)] = 1.0
    return x, y


@pytest.mark.parametrize(
    ("make", "adaptive"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.05), False),
        (lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9), False),
        (lambda p: torch.optim.Adagrad(p, lr=0.05), True),
        (lambda p: torch.optim.RMSprop(p, lr=0.002), True),
        (lambda p: torch.optim.Adam(p, lr=0.002), True),
    ],
)
def test_adaptive_methods_err_on_every_negative_where_sgd_errs_on_none(make, adaptive) -> None:
    n, positive = 40, 30
    x, y = _wilson(n, positive, 0)
    unseen, labels = _wilson(n, positive, n)
    w = nn.Parameter(torch.zeros(x.shape[1], dtype=F64))
    optimizer = make([w])
    for _ in range(3000):
        optimizer.zero_grad()
        (0.5 * (x @ w - y).square().mean()).backward()
        optimizer.step()
    assert bool(((x @ w.detach()).sign() == y).all())
    wrong = (unseen @ w.detach()).sign() != labels
    assert int(wrong.sum()) == (n - positive if adaptive else 0)


def test_random_symmetric_matrices_are_positive_as_often_as_their_closed_forms_say() -> None:
    """Off-diagonal variance half of the diagonal's: 1/2, (2 - √2)/4, (π - 2√2)/(4π)."""
    g = torch.Generator().manual_seed(3)
    draws = 100_000
    closed = {1: 0.5, 2: (2 - math.sqrt(2)) / 4, 3: (math.pi - 2 * math.sqrt(2)) / (4 * math.pi)}
    for n, chance in closed.items():
        a = torch.randn(draws, n, n, generator=g, dtype=F64)
        lowest = torch.linalg.eigvalsh((a + a.mT) / 2)[:, 0]
        share = float((lowest > 0).double().mean())
        assert abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / draws)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_a_gradient_is_the_product_of_the_jacobians_above(activation) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = MLP((5, 6, 6, 6, 1), activation).double()
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(5), dtype=F64)
    layers = list(model.layers)
    z, states = x, [x]
    for layer in layers:
        z = layer(z)
        states.append(z)
    slopes = torch.autograd.grad(states[-1].sum(), states[1:-1])
    product = torch.ones(1, 1, dtype=F64)
    for k in range(len(layers) - 1, 0, -1):
        jacobian = torch.func.jacrev(layers[k])(states[k][0].detach())
        product = product @ jacobian
        assert torch.allclose(product, slopes[k - 1], rtol=1e-12, atol=1e-15)
        factor = float(torch.linalg.matrix_norm(jacobian.detach(), 2))
        if isinstance(layers[k], nn.Sigmoid):
            assert factor <= 0.25
