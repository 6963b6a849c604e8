"""Steps of filters: statistics equal brute force, and no step raises the energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.sparse.convolution import ConvDictionary
from thalweg.sparse.convolution.filters import centre, largest_eigenvalues, objective, sweep
from thalweg.sparse.convolution.online import FilterLearner

SIZE = (8, 9)


def codes(boundary, K=3, c=2, a=3, b=2, seed=0):
    """Filters, images, codes, and a learner that has met exactly these."""
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(K, c, a, b, generator=g, dtype=torch.float64)
    W /= W.flatten(1).norm(dim=1)[:, None, None, None]
    D = ConvDictionary(W, SIZE, boundary)
    Z = torch.randn(2, *D.code_shape, generator=g, dtype=torch.float64)
    Z *= torch.rand(Z.shape, generator=g) < 0.4
    Y = torch.randn(2, c, *SIZE, generator=g, dtype=torch.float64)
    learner = FilterLearner(K, (c, a, b), 1.0, boundary=boundary, init=W)
    for y, z in zip(Y, Z, strict=True):
        learner._remember(y.numpy(), z.permute(1, 2, 0).numpy(), 1)
    return W, Y, Z, learner


@pytest.mark.parametrize("boundary", ["full", "circular"])
def test_statistics_are_the_correlations_of_codes(boundary):
    W, Y, Z, learner = codes(boundary)
    a, b, h, w = *W.shape[2:], *Z.shape[2:]
    A, B = torch.zeros_like(learner.A), torch.zeros_like(learner.B)
    for y, z in zip(Y, Z, strict=True):
        for i in range(h):
            for j in range(w):
                for dy in range(1 - a, a):
                    for dx in range(1 - b, b):
                        p, q = i + dy, j + dx
                        if boundary == "circular":
                            p, q = p % h, q % w
                        elif not (0 <= p < h and 0 <= q < w):
                            continue
                        A[:, dy + a - 1, dx + b - 1] += torch.outer(z[:, i, j], z[:, p, q])
                for t in range(a):
                    for u in range(b):
                        pixel = y[:, (i + t) % SIZE[0], (j + u) % SIZE[1]]
                        B[:, :, t, u] += torch.outer(z[:, i, j], pixel)
    torch.testing.assert_close(learner.A, A, atol=1e-12, rtol=0)
    torch.testing.assert_close(learner.B, B, atol=1e-12, rtol=0)


@pytest.mark.parametrize("boundary", ["full", "circular"])
def test_the_quadratic_of_the_statistics_is_the_datafit(boundary):
    _, Y, Z, learner = codes(boundary)
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        W = torch.randn(learner.filters.shape, generator=g, dtype=torch.float64)
        rest = Y - ConvDictionary(W, SIZE, boundary).decode(Z)
        expected = 0.5 * rest.square().sum() - 0.5 * Y.square().sum()
        torch.testing.assert_close(objective(W, learner.A, learner.B), expected)


def test_the_bound_is_the_largest_eigenvalue_of_the_quadratic_in_one_filter():
    _, _, Z, learner = codes("circular", K=2, c=1)
    found = largest_eigenvalues(learner.A, 3, 2)
    for k in range(2):
        columns = []
        for t in range(3):
            for u in range(2):
                W = torch.zeros(2, 1, 3, 2, dtype=torch.float64)
                W[k, 0, t, u] = 1
                columns.append(ConvDictionary(W, SIZE, "circular").decode(Z).flatten())
        M = torch.stack(columns, 1)
        torch.testing.assert_close(found[k], torch.linalg.matrix_norm(M, 2) ** 2, rtol=1e-8, atol=0)


@pytest.mark.parametrize("boundary", ["full", "circular"])
def test_a_sweep_never_raises_the_datafit_and_ends_where_no_filter_gains(boundary):
    W, _, _, learner = codes(boundary)
    values = [float(objective(W, learner.A, learner.B))]
    for _ in range(400):
        sweep(W, learner.A, learner.B)
        values.append(float(objective(W, learner.A, learner.B)))
    assert np.diff(values).max() <= 1e-10
    torch.testing.assert_close(W.flatten(1).norm(dim=1), torch.ones(3, dtype=torch.float64))
    W.requires_grad_(True)
    (slope,) = torch.autograd.grad(objective(W, learner.A, learner.B), W)
    with torch.no_grad():  # a minimum on the sphere: the gradient is along the filter, inwards
        along = (slope * W).sum((1, 2, 3))
        across = slope - along[:, None, None, None] * W
        assert float(across.abs().max()) < 1e-5 * float(slope.abs().max())


def test_unused_filters_stay():
    W, _, _, learner = codes("full")
    learner.A[1], learner.A[..., 1], learner.B[1] = 0, 0, 0
    before = W.clone()
    sweep(W, learner.A, learner.B)
    assert torch.equal(W[1], before[1])
    assert not torch.equal(W[0], before[0])


def test_a_filter_off_the_middle_moves_there_and_codes_shifted_against_it_give_the_same_image():
    W = torch.zeros(2, 1, 5, 5, dtype=torch.float64)
    W[0, 0, 0, 3:5] = 0.5**0.5  # centre of energy at (0, 3.5): two rows too high, two columns right
    W[1, 0, 2, 2] = 1.0
    Z = torch.zeros(1, 2, 12, 12, dtype=torch.float64)
    Z[0, 0, 4, 4], Z[0, 1, 7, 5] = 2.0, 1.0
    moved = Z.clone()
    moved[0, 0] = Z[0, 0].roll((-2, 2), (0, 1))
    Y = ConvDictionary(W, (16, 16)).decode(Z)
    learner, expected = (FilterLearner(2, (1, 5, 5), 1.0, init=W) for _ in range(2))
    for one, codes_ in ((learner, Z), (expected, moved)):
        one._remember(Y[0].numpy(), codes_[0].permute(1, 2, 0).numpy(), 1)
    assert centre(learner.filters, learner.A, learner.B, torch.tensor([True, True])) == 1
    assert float(learner.filters[0, 0, 2, 1:3].min()) == pytest.approx(0.5**0.5)
    assert torch.equal(learner.filters[1], W[1])
    torch.testing.assert_close(ConvDictionary(learner.filters, (16, 16)).decode(moved), Y)
    torch.testing.assert_close(learner.A, expected.A)
    assert centre(learner.filters, learner.A, learner.B, torch.tensor([True, True])) == 0
    W[1, 0] = W[0, 0]
    assert centre(W, learner.A, learner.B, torch.tensor([False, False])) == 0
