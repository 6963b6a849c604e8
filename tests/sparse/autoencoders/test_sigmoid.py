"""The KL-sparse autoencoder: its penalty, its gradient, its activity and its favourite inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.sparse.autoencoders import SparseAutoencoder, kl_bernoulli


def signals(b=200, n=12, seed=0):
    g = np.random.default_rng(seed)
    parts = g.random((5, n))
    return 0.1 + 0.8 * np.clip(g.random((b, 5)) @ parts / 4, 0, 1)


def test_the_table_of_the_penalty_and_its_edges():
    found = kl_bernoulli(0.2, torch.tensor([0.1, 0.2, 0.5, 0.0, 1.0], dtype=torch.float64))
    assert found[:3].tolist() == pytest.approx([0.0444, 0.0, 0.1927], abs=5e-5)
    assert bool(torch.isfinite(found).all())
    assert float(found[3:].min()) > 2


def test_the_gradient_of_the_whole_loss_is_right():
    model = SparseAutoencoder(4, 3, rho=0.2, weight_decay=0.01, seed=1).double()
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]

    def loss(*values):
        weights = dict(zip(names, values, strict=True))
        a = torch.sigmoid(x @ weights["W"].T + weights["hidden_bias"])
        out = torch.sigmoid(a @ weights["V"].T + weights["output_bias"])
        rho = a.mean(0)
        kl = 0.2 * torch.log(0.2 / rho) + 0.8 * torch.log(0.8 / (1 - rho))
        decay = weights["W"].square().sum() + weights["V"].square().sum()
        return 0.5 * (out - x).square().sum() / 6 + 0.005 * decay + 3 * kl.sum()

    parameters = tuple(model.parameters())
    torch.testing.assert_close(model.loss(x), loss(*parameters))
    assert torch.autograd.gradcheck(lambda *_: model.loss(x), parameters)


def test_the_hidden_delta_has_the_extra_term_of_the_lecture():
    model = SparseAutoencoder(4, 3, rho=0.1, weight_decay=0.0, seed=2).double()
    x = torch.rand(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a = model.encode(x)
    with_penalty = torch.autograd.grad(model.loss(x), model.hidden_bias)[0]
    model.sparsity_weight = 0.0
    without = torch.autograd.grad(model.loss(x), model.hidden_bias)[0]
    mean = a.mean(0)
    extra = 3 * (-0.1 / mean + 0.9 / (1 - mean)) * (a * (1 - a)).mean(0)
    torch.testing.assert_close(with_penalty - without, extra)


def test_units_come_to_be_active_as_often_as_asked():
    X = signals()
    model = SparseAutoencoder(12, 8, rho=0.05)
    model.fit(X, iterations=200)
    mean = model.encode(torch.from_numpy(X).float()).detach().mean(0)
    assert float((mean - 0.05).abs().max()) < 0.01
    untrained = SparseAutoencoder(12, 8, rho=0.05)
    far = untrained.encode(torch.from_numpy(X).float()).detach().mean(0)
    assert float((far - 0.05).abs().min()) > 0.2


def test_the_favourite_input_of_a_unit_is_where_projected_ascent_ends():
    model = SparseAutoencoder(10, 6, seed=3).double()
    best = model.maximal_inputs()
    x = torch.full((6, 10), 0.1, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        activity = model.encode(x).diagonal().sum()
        (slope,) = torch.autograd.grad(activity, x)
        with torch.no_grad():
            x += 5 * slope
            x /= x.norm(dim=1, keepdim=True).clamp_min(1.0)
    assert float((x.detach() * best).sum(1).min()) > 1 - 1e-8


def test_the_running_mean_has_the_slope_of_the_batch_at_its_own_value():
    x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = SparseAutoencoder(4, 3, momentum=0.9, weight_decay=0.0, seed=2).double()
    slope = torch.autograd.grad(kept.loss(x), kept.hidden_bias)[0]
    a = kept.encode(x).detach()
    running = 0.9 * 0.05 + 0.1 * a.mean(0)
    torch.testing.assert_close(kept.rho_hat, running)
    kept.sparsity_weight = 0.0
    plain = torch.autograd.grad(kept.eval().loss(x), kept.hidden_bias)[0]
    extra = 3 * (-0.05 / running + 0.95 / (1 - running)) * (a * (1 - a)).mean(0)
    torch.testing.assert_close(slope - plain, extra)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: SparseAutoencoder(4, 3, rho=0.0), "rho"),
        (lambda: SparseAutoencoder(0, 3), "count"),
        (lambda: SparseAutoencoder(4, 3, weight_decay=-1.0), "weight_decay"),
        (lambda: SparseAutoencoder(4, 3, momentum=1.0), "momentum"),
        (lambda: SparseAutoencoder(4, 3).fit(np.ones((5, 3))), "length 4"),
        (lambda: SparseAutoencoder(4, 3).fit(2 * np.ones((5, 4))), r"\[0, 1\]"),
        (lambda: SparseAutoencoder(4, 3).fit(np.ones((5, 4)), iterations=0), "at least 1"),
    ],
)
def test_bad_settings_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
