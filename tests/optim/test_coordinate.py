"""One block after another: never up, optimal at the end, Gauss-Seidel on quadratics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from thalweg.optim.coordinate import block_coordinate_descent, coordinate_descent_quadratic

F64 = torch.float64


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 8), st.integers(0, 1000))
def test_a_sweep_is_exact_minimisation_of_each_coordinate_in_turn(n: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    m = torch.randn(n, n, generator=g, dtype=F64)
    a, b = m @ m.T + torch.eye(n, dtype=F64), torch.randn(n, generator=g, dtype=F64)
    x = torch.randn(n, generator=g, dtype=F64)
    slow = x.clone()
    for i in range(n):
        slow[i] = (b[i] - a[i] @ slow + a[i, i] * slow[i]) / a[i, i]
    torch.testing.assert_close(coordinate_descent_quadratic(a, b, x), slow)
    end = coordinate_descent_quadratic(a, b, x, sweeps=3000)
    torch.testing.assert_close(end, torch.linalg.solve(a, b), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("a", [0.01, 0.1, 1.0])
def test_the_slow_valley_contracts_as_the_closed_form_says(a: float) -> None:
    """(x1 - x2)^2 + a (x1^2 + x2^2): each sweep multiplies x2 by 1 / (1 + a)^2."""
    matrix = torch.tensor([[2 + 2 * a, -2.0], [-2.0, 2 + 2 * a]], dtype=F64)
    x = torch.tensor([5.0, 1.0], dtype=F64)
    for sweep in range(1, 6):
        x = coordinate_descent_quadratic(matrix, torch.zeros(2, dtype=F64), x)
        assert float(x[1]) == pytest.approx((1 + a) ** (-2 * sweep), rel=1e-12)


def test_dictionary_and_codes_in_turns_end_where_neither_can_improve() -> None:
    """J(H, W) = |H|_1 + |X - W^T H|^2 + |W|^2, the deck's example with its missing bound on W."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 20, generator=g, dtype=F64)
    lasso = Lasso(alpha=1 / 12, fit_intercept=False, tol=1e-12, max_iter=100_000)

    def codes(at):
        return torch.as_tensor(lasso.fit(at["W"].T.numpy(), x.numpy()).coef_.T)

    def dictionary(at):
        h = at["H"]
        return torch.linalg.solve(h @ h.T + torch.eye(4, dtype=F64), h @ x.T)

    def j(at) -> float:
        fit = (x - at["W"].T @ at["H"]).square().sum()
        return float(at["H"].abs().sum() + fit + at["W"].square().sum())

    start = {"H": torch.zeros(4, 20, dtype=F64), "W": torch.randn(4, 6, generator=g, dtype=F64)}
    found = block_coordinate_descent(start, {"H": codes, "W": dictionary}, j, 3000, 1e-13)
    assert found.converged
    assert len(found.objective) == 2 * found.sweeps + 1
    assert all(
        b <= a + 1e-9 * a for a, b in zip(found.objective, found.objective[1:], strict=False)
    )
    h, w = found.blocks["H"], found.blocks["W"]
    slope_h = 2 * w @ (w.T @ h - x)  # optimal codes: slope -sign where active, within 1 elsewhere
    active = h != 0
    assert float((slope_h + h.sign())[active].abs().max()) < 1e-5
    assert float(slope_h[~active].abs().max()) < 1 + 1e-5
    assert float((2 * h @ (h.T @ w - x.T) + 2 * w).abs().max()) < 1e-5


def test_a_solver_that_does_not_minimise_is_named() -> None:
    with pytest.raises(ValueError, match="'x' was solved for in sweep 1"):
        block_coordinate_descent({"x": 1.0}, {"x": lambda b: b["x"] + 1}, lambda b: b["x"] ** 2)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="one of each name"):
        block_coordinate_descent({"x": 1.0}, {"y": lambda b: 0.0}, lambda b: 0.0)
    with pytest.raises(ValueError, match="at the start"):
        block_coordinate_descent({"x": 1.0}, {"x": lambda b: 0.0}, lambda b: np.nan)
    with pytest.raises(ValueError, match="coordinate 1 has curvature 0"):
        coordinate_descent_quadratic(torch.diag(torch.tensor([1.0, 0.0])), torch.ones(2))
    with pytest.raises(ValueError, match=r"\(n, n\)"):
        coordinate_descent_quadratic(torch.ones(2, 3), torch.ones(2))
