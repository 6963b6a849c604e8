"""Local entropy against its closed form on quadratics and against quadrature."""

from __future__ import annotations

import pytest
import torch

from thalweg.curvature.local_entropy import (
    local_entropy,
    local_entropy_grad,
    local_entropy_on_grid,
    quadratic_local_entropy,
)

F64 = torch.float64


def two_wells(x: torch.Tensor) -> torch.Tensor:
    """A narrow deep well at -2 and a wide shallow one at 2."""
    x = x[:, 0]
    narrow = 5 * torch.exp(-((x + 2) ** 2) / (2 * 0.1**2))
    wide = 4 * torch.exp(-((x - 2) ** 2) / (2 * 0.8**2))
    return -narrow - wide + 0.05 * x**2


@pytest.mark.parametrize("scope", [0.5, 3.0, 40.0])
def test_quadrature_gives_the_closed_form_in_two_dimensions(scope) -> None:
    a = torch.tensor([[2.0, 0.5], [0.5, 0.3]], dtype=F64)
    x = torch.tensor([0.4, -0.7], dtype=F64)
    f = lambda p: 0.5 * ((p @ a) * p).sum(1)  # noqa: E731
    found = local_entropy_on_grid(f, x[None], scope, -12.0, 12.0, points=481)
    wanted, _ = quadratic_local_entropy(a, x, scope)
    assert float(found[0]) == pytest.approx(float(wanted), abs=1e-10)


def test_the_closed_gradient_is_the_derivative_of_the_closed_value() -> None:
    g = torch.Generator().manual_seed(1)
    root = torch.randn(5, 5, generator=g, dtype=F64)
    a, x = root @ root.T, torch.randn(5, generator=g, dtype=F64).requires_grad_()
    value, gradient = quadratic_local_entropy(a, x, 0.7)
    (derivative,) = torch.autograd.grad(-value, x)
    torch.testing.assert_close(gradient, derivative, atol=1e-12, rtol=1e-12)


def test_sampling_lies_within_its_error_bars_of_the_closed_form() -> None:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=g, dtype=F64)
    a, x, scope = root @ root.T / 4, torch.randn(4, generator=g, dtype=F64), 2.0
    f = lambda p: 0.5 * ((p @ a) * p).sum(1)  # noqa: E731
    value, gradient = quadratic_local_entropy(a, x, scope)
    estimate = local_entropy(f, x, scope, samples=200_000, generator=g)
    assert abs(float(estimate.value - value)) < 4 * float(estimate.stderr) < 0.02
    slope = local_entropy_grad(f, x, scope, samples=200_000, generator=g)
    assert bool(((slope.value - gradient).abs() < 4 * slope.stderr).all())
    assert float((slope.value - gradient).norm() / gradient.norm()) < 0.02


def test_the_gradient_of_two_wells_is_the_finite_difference_of_the_quadrature() -> None:
    x, scope, h = torch.tensor([1.2], dtype=F64), 3.0, 1e-4
    around = torch.stack([x - h, x + h])
    f = local_entropy_on_grid(two_wells, around, scope, -14.0, 14.0, points=8001)
    wanted = -(f[1] - f[0]) / (2 * h)
    g = torch.Generator().manual_seed(2)
    slope = local_entropy_grad(two_wells, x, scope, samples=400_000, generator=g)
    assert abs(float(slope.value[0] - wanted)) < 4 * float(slope.stderr[0]) < 0.05


@pytest.mark.parametrize(("scope", "well"), [(10.0, 1.97), (57.9, 1.97), (60.1, -2.0), (300.0, -2)])
def test_a_wide_scope_prefers_the_wide_well_and_a_narrow_one_the_deep_well(scope, well) -> None:
    x = torch.linspace(-3, 3, 2401, dtype=F64)[:, None]
    f = local_entropy_on_grid(two_wells, x, scope, -8.0, 8.0, points=4001)
    assert float(x[f.argmax(), 0]) == pytest.approx(well, abs=0.06)


def test_it_is_not_gaussian_smoothing() -> None:
    x, scope = torch.tensor([0.3], dtype=F64), 5.0
    g = torch.Generator().manual_seed(0)
    u = torch.randn(200_000, 1, generator=g, dtype=F64) / scope**0.5
    smoothed = float(two_wells(x + u).mean())
    f = local_entropy_on_grid(two_wells, x[None], scope, -8.0, 8.0)
    free = -float(f[0]) + 0.5 * float(torch.log(torch.tensor(2 * torch.pi / scope)))
    assert free < smoothed - 0.05  # Jensen: -log E exp(-f) lies below E f


def test_bad_arguments_are_named() -> None:
    x = torch.zeros(2, dtype=F64)
    f = lambda p: p.square().sum(1)  # noqa: E731
    for scope in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scope must be > 0"):
            local_entropy(f, x, scope)
    with pytest.raises(ValueError, match="one value per point"):
        local_entropy(lambda p: p, x, 1.0)
    with pytest.raises(ValueError, match="NaN"):
        local_entropy(lambda p: p.sum(1) * torch.nan, x, 1.0)
    with pytest.raises(ValueError, match="finite vector"):
        local_entropy(f, x[None], 1.0)
    with pytest.raises(ValueError, match="larger scope"):
        quadratic_local_entropy(-torch.eye(2, dtype=F64), x, 0.5)
    with pytest.raises(ValueError, match=r"\(b, 1\) or \(b, 2\)"):
        local_entropy_on_grid(f, torch.zeros(1, 3), 1.0, -1, 1)
