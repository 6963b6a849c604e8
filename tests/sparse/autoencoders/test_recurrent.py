"""DrSAE: non-negative ISTA at its first weights, bounds, unrolled gradients, roles of units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.sparse import NonNegativeL1, encode
from thalweg.sparse.autoencoders import DrSAE
from thalweg.sparse.autoencoders.roles import roles


def signals(b=20, n=15, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(b, n, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("T", [1, 2, 7])
def test_the_first_weights_are_those_of_non_negative_ista(T):
    model, X = DrSAE(15, 10, T=T, l1=0.2).double(), signals()
    D = model.D.detach()
    step = float(model.E[0].detach().norm() / D[:, 0].norm())
    z = torch.zeros(20, 10, dtype=torch.float64)
    for _ in range(T):
        z = (z - step * ((z @ D.T - X) @ D) - step * 0.2).clamp_min(0)
    torch.testing.assert_close(model.encode(X).detach(), z, atol=1e-6, rtol=0)


def test_many_steps_reach_the_exact_non_negative_codes():
    model, X = DrSAE(15, 10, T=4000, l1=0.2).double(), signals()
    D = model.D.detach() / model.D.detach().norm(dim=0)
    step = 1 / float(torch.linalg.matrix_norm(D, 2)) ** 2
    with torch.no_grad():
        model.D.copy_(D)
        model.S.copy_(torch.eye(10) - step * D.T @ D)
        model.E.copy_(step * D.T)
        model.b.fill_(step * 0.2)
    model.T = 1  # the bound on E loosens to 1.25, above the step
    z = model.encode(X)
    drive = X @ model.E.T - model.b
    for _ in range(4000):
        z = torch.relu(drive + z @ model.S.T)
    exact = encode(X, D, penalty=NonNegativeL1(0.2), tol=1e-12).z
    torch.testing.assert_close(z.detach(), exact, atol=1e-6, rtol=0)


def test_one_step_is_a_plain_layer_of_rectifiers():
    model, X = DrSAE(15, 10, T=1).double(), signals()
    plain = torch.relu(X @ model.E.T - model.b)
    torch.testing.assert_close(model.encode(X), plain)
    normed = plain / plain.norm(dim=1, keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(model(X), normed @ model.C.T, atol=1e-9, rtol=0)


def test_bounds_hold_in_the_pass_and_projecting_changes_no_output():
    model, X = DrSAE(15, 10, T=5).double(), signals()
    with torch.no_grad():
        for weight in (model.D, model.E, model.C):
            weight.mul_(1 + 20 * torch.rand(weight.shape[1], dtype=torch.float64))
        model.S.mul_(0.3)
    y = torch.arange(20) % 10
    before = model.losses(X, y)
    model.project_()
    for old, new in zip(before, model.losses(X, y), strict=True):
        torch.testing.assert_close(old, new)
    assert float(model.D.detach().norm(dim=0).max()) <= 1 + 1e-12
    assert float(model.E.detach().norm(dim=1).max()) <= 1.25 / 5 + 1e-12
    assert float(model.C.detach().norm(dim=1).max()) <= 5 + 1e-12


def test_the_unrolled_gradient_is_right():
    model, X = DrSAE(6, 5, T=4, n_classes=3, l1=0.02).double(), signals(4, 6)
    y = torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        model.E.mul_(0.9)  # off the bound and off the corners
        model.D.mul_(0.9)
    assert torch.autograd.gradcheck(
        lambda *_: model.losses(X, y).total, tuple(model.parameters()), atol=1e-6
    )


def test_silent_codes_have_finite_scores_and_gradients():
    model = DrSAE(6, 5, T=3)
    loss = model.losses(torch.zeros(2, 6), torch.tensor([0, 1])).total
    loss.backward()
    assert torch.equal(model(torch.zeros(2, 6)), torch.zeros(2, 10))
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_roles_part_aligned_units_from_the_others():
    g = torch.Generator().manual_seed(0)
    D = torch.randn(30, 12, generator=g)
    E = D.T.clone()
    E[8:] = torch.randn(4, 30, generator=g)
    C = torch.zeros(3, 12)
    C[0, 8:] = 3
    C[:, 0] = 7  # the same for all classes: no say in the decision
    found = roles(D, E, C)
    assert found.categorical.tolist() == [False] * 8 + [True] * 4
    torch.testing.assert_close(found.alignment[:8], torch.ones(8))
    assert float(found.classifier[0]) < 1e-5
    assert float(found.classifier[9]) == pytest.approx(3 * (2 / 3) ** 0.5)


def test_training_learns_classes_that_plain_pretraining_does_not():
    g = np.random.default_rng(0)
    prototypes = g.random((3, 16)) > 0.5
    y = g.integers(0, 3, 600)
    X = prototypes[y] + 0.3 * g.standard_normal((600, 16))
    model = DrSAE(16, 20, T=5, n_classes=3, l1=0.05)
    curve = model.fit(X[:400], y[:400], pretrain=50, steps=150, lr=5e-3, batch_size=50)
    assert curve.steps[-1] == 200
    held = model(torch.from_numpy(X[400:]).float()).argmax(1).numpy()
    assert float((held == y[400:]).mean()) > 0.95
    again = DrSAE(16, 20, T=5, n_classes=3, l1=0.05)
    again.fit(X[:400], y[:400], pretrain=50, steps=150, lr=5e-3, batch_size=50)
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: DrSAE(0), "at least 1"),
        (lambda: DrSAE(4, l1=-1.0), "l1"),
        (lambda: DrSAE(4, 3).fit(np.ones((5, 3))), "length 4"),
        (lambda: DrSAE(4, 3).fit(np.ones((5, 4)), np.ones(5)), "5 integers"),
        (lambda: DrSAE(4, 3).fit(np.ones((5, 4)), np.full(5, 10)), "0 … 9"),
        (lambda: DrSAE(4, 3).fit(np.ones((5, 4)), steps=0, pretrain=0), "count"),
        (lambda: DrSAE(4, 3).fit(np.ones((5, 4)), lr=0.0), "lr"),
    ],
)
def test_bad_settings_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
