"""Closed forms of convergence on quadratics against iterates and companion matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.steps import best_heavy_ball, best_rate, contraction, safe_rate
from thalweg.steps.rates import descend, steps_per_digit

ENDS = st.tuples(st.floats(1e-3, 1.0), st.floats(1.0, 1e3))


def bowl(mu, largest, n=6, seed=0):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    values = np.concatenate([[mu], rng.uniform(mu, largest, n - 2), [largest]])
    return (q * values) @ q.T, rng.standard_normal(n), rng.standard_normal(n), q, values


def test_iterates_are_powers_of_the_error_matrix() -> None:
    a, b, w0, _, _ = bowl(0.2, 3.0)
    best = np.linalg.solve(a, b)
    path = descend(a, b, w0, 0.5, 40)
    for k in (0, 1, 7, 40):
        power = np.linalg.matrix_power(np.eye(6) - 0.5 * a, k)
        np.testing.assert_allclose(path[k], power @ (w0 - best) + best, atol=1e-10)


@pytest.mark.parametrize("rate", [safe_rate, best_rate, best_heavy_ball])
def test_measured_slopes_equal_the_closed_form(rate) -> None:
    a, b, w0, _, _ = bowl(0.1, 2.0)
    found = rate(0.1, 2.0)
    path = descend(a, b, w0, found.lr, 400, found.momentum)
    error = np.linalg.norm(path - np.linalg.solve(a, b), axis=1)
    if rate is best_heavy_ball:  # a double root: k ρ^k
        slope = (error[60] / 60 / (error[30] / 30)) ** (1 / 30)
    else:
        slope = (error[200] / error[100]) ** (1 / 100)
    assert slope == pytest.approx(found.contraction, rel=1e-2)
    radius = contraction(found.lr, 0.1, 2.0, found.momentum)
    assert radius == pytest.approx(found.contraction, rel=1e-7)


@settings(deadline=None, max_examples=60)
@given(ends=ENDS, lr=st.floats(1e-4, 1.0), beta=st.floats(0, 0.99), inside=st.floats(0, 1))
def test_contraction_bounds_the_companion_matrix_on_the_whole_interval(ends, lr, beta, inside):
    mu, largest = ends
    lr = lr * 3 / largest
    bound = contraction(lr, mu, largest, beta)
    for value in (mu, largest, mu + inside * (largest - mu)):
        companion = np.array([[1 + beta - lr * value, -beta], [1.0, 0.0]])
        radius = np.abs(np.linalg.eigvals(companion)).max()
        assert radius <= bound * (1 + 1e-6) + 1e-7


@settings(deadline=None, max_examples=60)
@given(ends=ENDS, factor=st.floats(0.3, 3.0))
def test_no_other_rate_is_better_than_the_best(ends, factor) -> None:
    mu, largest = ends
    plain, heavy = best_rate(mu, largest), best_heavy_ball(mu, largest)
    other = contraction(plain.lr * factor, mu, largest)
    assert other >= plain.contraction - 1e-12
    assert heavy.contraction <= plain.contraction + 1e-12
    assert contraction(heavy.lr * factor, mu, largest, heavy.momentum) >= heavy.contraction - 1e-7


def test_the_linear_unit_of_the_lectures() -> None:
    mu, largest = 0.036, 0.84
    assert best_heavy_ball(mu, largest).contraction == pytest.approx(0.657, abs=1e-3)
    assert best_rate(mu, largest).contraction == pytest.approx(0.918, abs=1e-3)
    assert contraction(1.5, mu, largest) == pytest.approx(0.946, abs=1e-9)
    assert contraction(2.5, mu, largest) == pytest.approx(1.10, abs=1e-9)
    assert [round(steps_per_digit(contraction(lr, mu, largest))) for lr in (1.5, 1 / 0.84)] == [
        124,
        158,
    ]
    assert steps_per_digit(1.1) == math.inf


def test_torch_sgd_walks_the_same_path() -> None:
    a, b, w0, _, _ = bowl(0.1, 2.0)
    w = torch.nn.Parameter(torch.from_numpy(w0.copy()))
    optimizer = torch.optim.SGD([w], lr=0.3, momentum=0.6)
    for _ in range(25):
        w.grad = torch.from_numpy(a) @ w.detach() - torch.from_numpy(b)
        optimizer.step()
    np.testing.assert_allclose(w.detach(), descend(a, b, w0, 0.3, 25, 0.6)[-1], rtol=1e-12)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (1.0, math.inf)])
def test_curvatures_out_of_order_are_refused(ends) -> None:
    with pytest.raises(ValueError, match="0 < mu <= L"):
        best_rate(*ends)
