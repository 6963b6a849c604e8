"""Conjugate gradients and MINRES against dense solutions and scipy, with honest ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import linalg as scipy_linalg

from thalweg.linalg import DenseOperator, conjugate_gradients, minres


def random(n=100, seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    m = torch.randn(n, n, generator=g, dtype=torch.float64)
    return m + m.mT, torch.randn(n, generator=g, dtype=torch.float64)


S, B = random()
SPD = S @ S / 100 + torch.eye(100, dtype=torch.float64)


def test_cg_equals_the_dense_solution_and_tells_the_true_residual() -> None:
    found = conjugate_gradients(DenseOperator(SPD), B, tol=1e-10)
    assert found.converged
    torch.testing.assert_close(found.x, torch.linalg.solve(SPD, B), rtol=1e-7, atol=1e-9)
    true = float((B - SPD @ found.x).norm() / B.norm())
    assert found.residual == pytest.approx(true, rel=1e-3)


def test_cg_ends_after_as_many_steps_as_there_are_distinct_values() -> None:
    q = torch.linalg.eigh(S).eigenvectors
    values = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64).repeat_interleave(34)[:100]
    found = conjugate_gradients(DenseOperator((q * values) @ q.mT), B, tol=1e-10)
    assert found.converged
    assert found.products == 4  # three steps and the residual at the end


def test_cg_iterates_are_those_of_scipy() -> None:
    for steps in (2, 5, 20):
        x, _ = scipy_linalg.cg(SPD.numpy(), B.numpy(), rtol=1e-15, maxiter=steps)
        ours = conjugate_gradients(DenseOperator(SPD), B, tol=1e-15, max_products=steps + 1)
        np.testing.assert_allclose(ours.x.numpy(), x, rtol=1e-9, atol=1e-12)


def test_cg_stops_at_negative_curvature_and_shows_it() -> None:
    found = conjugate_gradients(DenseOperator(S), B)
    assert found.status == "negative curvature"
    assert float(found.direction @ S @ found.direction) <= 0


def test_a_preconditioner_saves_products_and_a_bad_one_is_refused() -> None:
    scale = torch.logspace(0, 3, 100, dtype=torch.float64)
    bad = scale[:, None] * SPD * scale
    plain = conjugate_gradients(DenseOperator(bad), B, tol=1e-8)
    helped = conjugate_gradients(
        DenseOperator(bad), B, tol=1e-8, precondition=lambda r: r / scale**2
    )
    assert helped.converged
    assert helped.products < plain.products / 2
    with pytest.raises(ValueError, match="preconditioner is not positive"):
        conjugate_gradients(DenseOperator(SPD), B, precondition=lambda r: -r)


def test_a_start_is_used_and_the_solution_itself_costs_one_check() -> None:
    exact = torch.linalg.solve(SPD, B)
    found = conjugate_gradients(DenseOperator(SPD), B, start=exact, tol=1e-8)
    assert found.converged
    assert found.products == 2


def test_minres_solves_an_indefinite_system_as_scipy_does() -> None:
    found = minres(DenseOperator(S), B, tol=1e-9)
    assert found.converged
    torch.testing.assert_close(found.x, torch.linalg.solve(S, B), rtol=1e-5, atol=1e-6)
    for steps in (3, 10):
        x, _ = scipy_linalg.minres(S.numpy(), B.numpy(), rtol=1e-15, maxiter=steps)
        ours = minres(DenseOperator(S), B, tol=1e-15, max_products=steps + 2)
        np.testing.assert_allclose(ours.x.numpy(), x, rtol=1e-6, atol=1e-9)


def test_minres_with_a_shift_solves_the_shifted_system() -> None:
    found = minres(DenseOperator(S), B, shift=0.7, tol=1e-9)
    shifted = S + 0.7 * torch.eye(100, dtype=torch.float64)
    assert float((shifted @ found.x - B).norm() / B.norm()) <= 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_minres_ends_at_least_squares_where_no_solution_exists(dtype) -> None:
    values, U = torch.linalg.eigh(S)
    values = values.sign() * (values.abs() + 0.5)
    values[:30] = 0
    singular = (U * values) @ U.mT
    found = minres(DenseOperator(singular.to(dtype)), B.to(dtype), tol=1e-5)
    assert found.status == "singular"
    least = B - singular @ (torch.linalg.pinv(singular) @ B)
    assert found.residual == pytest.approx(float(least.norm() / B.norm()), rel=1e-4)
    inside = minres(DenseOperator(singular.to(dtype)), (singular @ B).to(dtype), tol=1e-5)
    assert inside.converged


@pytest.mark.parametrize("solve", [conjugate_gradients, minres])
def test_running_out_of_products_is_said(solve) -> None:
    found = solve(DenseOperator(SPD), B, tol=1e-12, max_products=4)
    assert found.status == "limit"
    true = float((B - SPD @ found.x).norm() / B.norm())
    assert found.residual == pytest.approx(true, rel=1e-9)
    assert found.products <= 4


@pytest.mark.parametrize("solve", [conjugate_gradients, minres])
def test_zero_right_hand_sides_and_bad_arguments(solve) -> None:
    op = DenseOperator(SPD)
    assert float(solve(op, torch.zeros(100, dtype=torch.float64)).x.norm()) == 0
    for call, words in (
        (lambda: solve(op, B[:5]), "b has shape"),
        (lambda: solve(op, B, tol=0), "tol must be"),
        (lambda: solve(op, B * float("nan")), "not finite"),
        (lambda: solve(op, B, max_products=1), "at least 3"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="make them agree"):
        solve(op, B.float())
