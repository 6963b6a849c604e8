"""Critical points and Newton steps on functions whose every curvature is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from thalweg.curvature.critical import classify
from thalweg.curvature.newton import SurfaceHessian, newton_descent, newton_step
from thalweg.curvature.surface import of_function
from thalweg.curvature.surfaces import surface
from thalweg.linalg import DenseOperator
from thalweg.models import MLP, OneOneOne
from thalweg.models.one_one_one import (
    one_one_one_hessian,
    one_one_one_loss,
    one_one_one_samples,
)

F64 = torch.float64


def at(f, *w):
    return of_function(f, torch.tensor(w, dtype=F64))


def quadratic(curvatures, w=None):
    """½ wᵀ Q diag(c) Qᵀ w with random directions Q."""
    c = torch.as_tensor(curvatures, dtype=F64)
    g = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(len(c), len(c), generator=g, dtype=F64))
    a = (q * c) @ q.T
    start = torch.zeros(len(c), dtype=F64) if w is None else torch.as_tensor(w, dtype=F64)
    return of_function(lambda w: 0.5 * w @ a @ w, start), a


@pytest.mark.parametrize(
    ("f", "kind", "index"),
    [
        (lambda w: w[0] ** 2 + w[1] ** 2, "minimum", 0),
        (lambda w: w[0] ** 2 - w[1] ** 2, "saddle", 1),
        (lambda w: -(w[0] ** 2) - w[1] ** 2, "maximum", 2),
        (lambda w: w[0] ** 4 + w[1] ** 4, "plateau", 0),
        (lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2, "plateau", 0),  # monkey saddle
        (lambda w: w[0] ** 2 + w[1] ** 4, "degenerate", 0),
        (lambda w: w[0] ** 2 + w[1], "not critical", 0),
        (one_one_one_loss, "saddle", 1),
    ],
)
def test_kinds_of_known_functions_at_the_origin(f, kind, index) -> None:
    found = classify(at(f, 0.0, 0.0)).record
    assert (found.kind, found.index) == (kind, index)
    assert found.proved
    assert found.index_low == found.index_high == index


def test_the_escape_of_x2_minus_y2_is_y_and_the_loss_falls_by_the_square() -> None:
    found = classify(at(lambda w: w[0] ** 2 - w[1] ** 2, 0.0, 0.0))
    assert found.escape is not None
    torch.testing.assert_close(found.escape.abs(), torch.tensor([0.0, 1.0], dtype=F64))
    record = found.record
    assert record.drop == pytest.approx(record.drop_step**2)  # pyrefly: ignore


def test_the_escape_points_to_the_side_that_falls_further() -> None:
    found = classify(at(lambda w: -(w[0] ** 2) - w[0] ** 3, 0.0))
    assert found.escape is not None
    assert float(found.escape[0]) == 1.0


def test_lanczos_proves_a_saddle_that_the_dense_spectrum_has() -> None:
    f, a = quadratic([*torch.linspace(0.5, 4, 58).tolist(), -0.3, -1.5])
    found = classify(f, dense_below=10, probes=8, steps=30)
    record, exact = found.record, torch.linalg.eigvalsh(a)
    assert record.kind == "saddle"
    assert record.proved
    assert abs(record.lowest - float(exact[0])) <= record.lowest_residual + 1e-12
    assert record.lowest + record.lowest_residual < 0
    assert record.index_low <= 2 <= record.index_high
    v = found.escape
    assert v is not None
    assert float(v @ a @ v) < -1.49
    assert classify(f).record.index == 2  # and the full spectrum counts them


def test_lanczos_calls_a_minimum_likely_and_not_proved() -> None:
    f, _ = quadratic(torch.linspace(0.5, 4, 60))
    record = classify(f, dense_below=10).record
    assert (record.kind, record.proved) == ("minimum", False)
    assert "likely" in record.reason
    assert classify(f).record.proved


def test_an_operator_of_the_callers_is_used() -> None:
    f, a = quadratic(torch.linspace(-0.5, 4, 40))
    record = classify(f, operator=DenseOperator(a)).record
    assert record.kind == "saddle"
    assert record.method != "dense"
    with pytest.raises(ValueError, match="operator has shape"):
        classify(f, operator=DenseOperator(a[:3, :3]))


def test_curvature_below_rounding_counts_as_zero_in_float32() -> None:
    f = of_function(lambda w: 1e6 * w[0] ** 2 - 1e-2 * w[1] ** 2, torch.zeros(2))
    record = classify(f).record
    assert record.kind == "degenerate"
    assert record.tol_curvature > 1.0


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        classify(at(lambda w: w.log().sum(), 0.0))
    with pytest.raises(ValueError, match="tolerances"):
        classify(at(lambda w: w.sum(), 0.0), tol_gradient=0.0)


def test_one_one_one_network_has_its_closed_hessian() -> None:
    net = OneOneOne((0.7, -1.3))
    data = torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64)
    f = surface(net, F.mse_loss, data)
    w = torch.tensor([0.7, -1.3], dtype=F64)
    torch.testing.assert_close(f.dense_hessian(), one_one_one_hessian(w), atol=1e-12, rtol=0)
    assert f.value() == pytest.approx(float(one_one_one_loss(w)), abs=1e-14)
    x, y = one_one_one_samples(seed=1)
    assert x.shape == y.shape == (20, 1)
    found = OneOneOne((1.0, 1.0), kind="tanh")(x)
    wanted = 1.71 * torch.tanh(2 / 3 * 1.71 * torch.tanh(2 / 3 * x))
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("krylov", [None, 12])
def test_newton_step_solves_a_quadratic_at_once(krylov) -> None:
    f, _ = quadratic(torch.linspace(0.5, 4, 12), torch.linspace(-1, 1, 12))
    step = newton_step(f, method="newton", krylov=krylov)
    torch.testing.assert_close(f.w + step, torch.zeros(12, dtype=F64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("krylov", [None, 10])
def test_saddle_free_step_is_the_absolute_inverse(krylov) -> None:
    f, a = quadratic([-2.0, -0.5, *torch.linspace(0.5, 4, 8).tolist()], torch.linspace(-1, 2, 10))
    values, vectors = torch.linalg.eigh(a)
    wanted = -(vectors * (1 / (values.abs() + 0.1))) @ vectors.T @ (a @ f.w)
    found = newton_step(f, damping=0.1, krylov=krylov)
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)


def test_newton_goes_to_the_saddle_and_the_two_cures_to_a_minimum() -> None:
    start = at(one_one_one_loss, 0.1, 0.1)
    ends = {m: newton_descent(start, method=m) for m in ("newton", "damped", "saddle-free")}
    assert ends["newton"].points[-1].norm() < 1e-8
    for method in ("damped", "saddle-free"):
        assert ends[method].converged
        assert float(ends[method].points[-1].prod()) == pytest.approx(1.0, abs=1e-7)
        assert list(ends[method].values) == sorted(ends[method].values, reverse=True)


def test_saddle_free_newton_leaves_at_a_rate_that_curvature_does_not_change() -> None:
    for c in (1e-3, 1.0, 1e3):
        f = at(lambda w, c=c: w[0] ** 2 - c * w[1] ** 2, 1e-3, 1e-3)
        after = f.w + newton_step(f)
        torch.testing.assert_close(after, torch.tensor([0.0, 2e-3], dtype=F64), atol=1e-12, rtol=0)


def test_newton_steps_refuse_what_they_cannot_use() -> None:
    f = at(lambda w: w @ w, 1.0)
    assert not newton_step(f, torch.zeros(1, dtype=F64)).any()
    with pytest.raises(ValueError, match="known: newton"):
        newton_step(f, method="quasi")
    with pytest.raises(ValueError, match="damping"):
        newton_step(f, damping=-1.0)
    with pytest.raises(ValueError, match="not finite"):
        newton_step(at(lambda w: w.log().sum(), 0.0))


def test_minimum_of_a_small_network_is_recognised_after_descent() -> None:
    torch.manual_seed(0)
    net = MLP((2, 3, 1), activation="tanh").double()
    x = torch.randn(30, 2, dtype=F64)
    y = torch.tanh(x.sum(1, keepdim=True)) + 0.1 * torch.randn(30, 1, dtype=F64)

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(output, target)

    f = surface(net, loss, (x, y))
    found = newton_descent(f, steps=200, tol=1e-9)
    assert found.converged
    there = of_function(lambda w: f.loss(w, (x, y)), found.points[-1])
    record = classify(there).record
    exact = torch.linalg.eigvalsh(f.dense_hessian(found.points[-1]))
    assert record.kind in ("minimum", "degenerate")
    assert record.lowest == pytest.approx(float(exact[0]), abs=1e-10)
    assert math.isfinite(record.highest)


def test_hessian_operator_multiplies_blocks_like_vectors() -> None:
    f, a = quadratic(torch.linspace(-1, 3, 7))
    op = SurfaceHessian(f)
    block = torch.randn(7, 3, generator=torch.Generator().manual_seed(2), dtype=F64)
    torch.testing.assert_close(op @ block, a @ block, atol=1e-12, rtol=0)
    torch.testing.assert_close(op.adjoint @ block[:, 0], a @ block[:, 0], atol=1e-12, rtol=0)
