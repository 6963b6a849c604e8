"""Every operator against dense matrices by brute force, in float64, for networks of every kind."""

from __future__ import annotations

import pytest
import torch

from thalweg.curvature import hessian
from thalweg.linalg import eigenvalues

F64 = torch.float64


def close(found, wanted, tol=1e-8):
    """To ``tol`` of the largest entry."""
    assert float((found - wanted).abs().max()) <= tol * max(1.0, float(wanted.abs().max()))


@pytest.fixture
def look(net):
    """How the case is handed over."""
    return (net.model, net.loss, net.data), {"mode": net.mode}


@pytest.mark.parametrize("engine", ["graph"])
def test_hessian_equals_brute_force(net, look, dense, dense_hessian, engine) -> None:
    args, options = look
    close(dense(hessian(*args, engine=engine, **options)), dense_hessian(net))


def test_extreme_eigenvalues_equal_the_dense_ones(net, look, dense_hessian) -> None:
    args, options = look
    exact = torch.linalg.eigvalsh(dense_hessian(net)).flip(0)
    op = hessian(*args, **options)
    scale = float(exact.abs().max())
    top = eigenvalues(op, k=10, tol=1e-7)
    bottom = eigenvalues(op, k=5, which="smallest", tol=1e-7)
    assert float((top.values - exact[:10]).abs().max()) <= 1e-6 * scale
    assert float((bottom.values - exact.flip(0)[:5]).abs().max()) <= 1e-6 * scale
    for found in (top, bottom):
        distance = (found.values[:, None] - exact).abs().min(1).values
        assert bool((distance <= found.residuals).all())
