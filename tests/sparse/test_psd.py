"""PSD: its limits in beta, its optimality, and an encoder whose codes become good."""

from __future__ import annotations

import pytest
import torch

from thalweg.sparse import encode
from thalweg.sparse.encoders import LISTA, Shrinkage, Tanh
from thalweg.sparse.psd import PSD


def problem(n=12, m=20, b=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    D = torch.randn(n, m, generator=g, dtype=torch.float64)
    D = D / D.norm(dim=0)
    Z = torch.randn(b, m, generator=g, dtype=torch.float64)
    Z = Z * (torch.rand(b, m, generator=g) < 0.1)
    return D, Z @ D.T


def test_beta_zero_is_sparse_coding():
    D, X = problem()
    z = PSD(Tanh(D, 0.125), beta=0.0, tol=1e-10).infer(X)
    torch.testing.assert_close(z, encode(X, D, 0.125, tol=1e-10).z, atol=1e-6, rtol=0)


def test_a_large_beta_gives_what_the_encoder_says():
    D, X = problem()
    psd = PSD(Tanh(D, 0.125), beta=1e6, tol=1e-12)
    torch.testing.assert_close(psd.infer(X), psd.encoder.encode(X), atol=2e-5, rtol=0)


def test_inferred_codes_satisfy_the_optimality_conditions_of_the_joint_energy():
    D, X = problem()
    psd = PSD(Shrinkage(D, 0.125), beta=0.5, tol=1e-12)
    z = psd.infer(X)
    slope = (X - z @ D.T) @ D - 0.5 * (z - psd.encoder.encode(X))  # must lie in l1 ∂‖z‖₁
    on = z != 0
    assert float(slope.abs().max()) <= 0.125 + 1e-5
    assert float((slope - 0.125 * z.sign())[on].abs().max()) < 1e-5


def test_the_joint_energy_of_the_answer_is_least_among_neighbours():
    D, X = problem(b=20)
    psd = PSD(Tanh(D, 0.125), beta=0.3, tol=1e-12)
    z = psd.infer(X)
    g = torch.Generator().manual_seed(1)
    for size in (1e-3, 1e-1):
        other = z + size * torch.randn(z.shape, generator=g, dtype=torch.float64)
        assert bool((psd.energy(X, z) <= psd.energy(X, other)).all())


def test_without_joint_inference_ignores_the_encoder():
    D, X = problem()
    z = PSD(Tanh(D, 0.125), beta=5.0, joint=False, tol=1e-10).infer(X)
    torch.testing.assert_close(z, encode(X, D, 0.125, tol=1e-10).z, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [lambda D: Tanh(D, 0.125), lambda D: LISTA(D, 0.125, 2)])
def test_training_brings_the_encoder_near_the_optimum_and_keeps_unit_atoms(make):
    X = problem()[1]
    g = torch.Generator().manual_seed(3)
    start = torch.randn(12, 20, generator=g, dtype=torch.float64)
    psd = PSD(make(start / start.norm(dim=0)), beta=0.5)
    exact = encode(X, psd.D, 0.125).energy.mean()
    before = psd.encoder.gap(X).median()
    psd.fit(X, steps=150, lr_encoder=1e-2, batch_size=100)
    torch.testing.assert_close(psd.D.norm(dim=0), torch.ones(20, dtype=torch.float64))
    assert float(encode(X, psd.D, 0.125).energy.mean()) < 0.9 * float(exact)
    assert float(psd.encoder.gap(X).median()) < 0.8 * float(before)


def test_the_same_seed_gives_the_same_bits():
    D, X = problem()
    runs = []
    for _ in range(2):
        psd = PSD(Tanh(D, 0.125))
        psd.fit(X, steps=5)
        runs.append(psd.D.clone())
    assert torch.equal(*runs)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p, X: PSD(p.encoder, beta=-1.0), "beta must be"),
        (lambda p, X: p.fit(X[:0]), "empty batch"),
        (lambda p, X: p.fit(X, lr=0.0), "lr must be positive"),
        (lambda p, X: p.fit(X, steps=0), "at least 1"),
    ],
)
def test_bad_settings_are_refused(act, message):
    D, X = problem(b=10)
    with pytest.raises(ValueError, match=message):
        act(PSD(Tanh(D, 0.125)), X)
