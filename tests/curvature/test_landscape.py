"""Slices, interpolation and smoothness where the surface is known in closed form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from thalweg.curvature.landscape import direction, interpolate, line_slice, plane_slice
from thalweg.curvature.smoothness import covariate_shift, landscape_along_gradient
from thalweg.curvature.surface import of_function
from thalweg.curvature.surfaces import surface
from thalweg.models import MLP, SmallConvNet
from thalweg.records_landscape import LineSlice, PlaneSlice, Smoothness

F64 = torch.float64
A = torch.tensor([[2.0, 0.3], [0.3, 0.5]], dtype=F64)


def bowl(*w):
    return of_function(lambda w: 0.5 * w @ A @ w, torch.tensor(w, dtype=F64))


def net(batch_norm=False, seed=0):
    torch.manual_seed(seed)
    x, y = torch.randn(40, 4), torch.randint(0, 3, (40,))
    return MLP((4, 6, 3), batch_norm=batch_norm).double(), (x.double(), y)


def test_filter_direction_has_the_norm_of_every_row_and_no_part_on_biases() -> None:
    torch.manual_seed(0)
    model = SmallConvNet()
    data = torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    at = surface(model, F.cross_entropy, data)
    parts, weights = at.split(direction(at)), at.split(at.w)
    for name, d in parts.items():
        if d.ndim < 2:
            assert not d.any()
        else:
            torch.testing.assert_close(
                d.flatten(1).norm(dim=1), weights[name].flatten(1).norm(dim=1)
            )
    layer = at.split(direction(at, "layer"))
    for name, d in layer.items():
        if d.ndim > 1:
            torch.testing.assert_close(d.norm(), weights[name].norm())
    assert float(direction(at, "none").norm()) == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(direction(at, seed=4), direction(at, seed=4))


def test_scaling_a_relu_layer_up_and_the_next_down_leaves_the_filter_slice_unchanged() -> None:
    model, data = net()
    torch.nn.init.zeros_(model.layers[0].bias)  # pyrefly: ignore
    at = surface(model, F.cross_entropy, data)
    scaled, _ = net()
    scaled.load_state_dict(model.state_dict())
    with torch.no_grad():
        scaled.layers[0].weight.mul_(10.0)  # pyrefly: ignore
        scaled.layers[2].weight.div_(10.0)  # pyrefly: ignore
    span = (-0.5, 0.5)
    a = line_slice(at, span=span, points=9)
    b = line_slice(scaled, F.cross_entropy, data, span=span, points=9)
    assert b.loss == pytest.approx(a.loss, abs=1e-9)
    plain = line_slice(scaled, F.cross_entropy, data, span=span, points=9, normalise="none")
    other = line_slice(at, span=span, points=9, normalise="none")
    assert plain.loss != pytest.approx(other.loss, abs=1e-3)  # Dinh et al.: sharpness is not


def test_line_and_plane_slices_are_the_quadratic() -> None:
    at = bowl(1.0, -1.0)
    d, e = torch.tensor([1.0, 0.0], dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    line = line_slice(at, along=d, span=(-2, 2), points=5)
    plane = plane_slice(
        at, along=(d, e), span=(-1, 1), points=3, path=[torch.tensor([0.0, 0.0], dtype=F64)]
    )

    def f(x, y):
        w = torch.tensor([1.0 + x, -1.0 + 2 * y], dtype=F64)
        return float(0.5 * w @ A @ w)

    assert line.loss == pytest.approx([f(a, 0.0) for a in line.at], abs=1e-12)
    for i, y in enumerate(plane.y):
        for j, x in enumerate(plane.x):
            assert plane.loss[i][j] == pytest.approx(f(x, y), abs=1e-12)
    assert (plane.path_x, plane.path_y) == (pytest.approx((-1.0,)), pytest.approx((0.5,)))
    assert LineSlice.from_dict(line.to_dict()) == line
    assert PlaneSlice.from_dict(plane.to_dict()) == plane


def test_random_plane_has_orthogonal_directions() -> None:
    model, data = net()
    at = surface(model, F.cross_entropy, data)
    found = plane_slice(at, points=3, span=(-0.1, 0.1), path=[at.w + direction(at, seed=0)])
    assert found.path_x[0] == pytest.approx(1.0, abs=1e-9)
    assert found.path_y[0] == pytest.approx(0.0, abs=1e-9)
    assert found.loss[1][1] == pytest.approx(at.value(), abs=1e-12)


def test_barrier_between_two_wells_is_its_height_over_the_chord() -> None:
    f = of_function(lambda w: ((w**2 - 1) ** 2).sum(), torch.tensor([-1.0], dtype=F64))
    found = interpolate(f, other=torch.tensor([1.0], dtype=F64), span=(0, 1), points=41)
    assert found.barrier == pytest.approx(1.0, abs=1e-12)
    assert found.barrier_at == pytest.approx(0.5)
    flat = interpolate(bowl(1.0, 1.0), other=torch.tensor([-1.0, 2.0], dtype=F64))
    assert flat.barrier == 0.0  # convex: below the chord everywhere


def test_interpolation_ends_at_the_other_model() -> None:
    (a, data), (b, _) = net(), net(seed=1)
    found = interpolate(a, F.cross_entropy, data, other=b)
    wanted = surface(b, F.cross_entropy, data).value()
    assert found.loss[found.at.index(1.0)] == pytest.approx(wanted, abs=1e-12)
    with pytest.raises(ValueError, match="differ"):
        interpolate(a, F.cross_entropy, data, other=MLP((4, 5, 3)))
    with pytest.raises(ValueError, match="cover"):
        interpolate(a, F.cross_entropy, data, other=b, span=(0.2, 1))


def test_smoothness_measures_of_a_quadratic_are_closed_forms() -> None:
    at = bowl(1.0, -2.0)
    g = A @ at.w
    found = landscape_along_gradient(at, lr=0.1)
    assert len(found.steps) == 8
    assert found.steps[0] == pytest.approx(0.05)
    assert found.steps[-1] == pytest.approx(0.4)
    for s, moved, loss in zip(found.steps, found.predictiveness, found.losses, strict=True):
        assert moved == pytest.approx(s * float((A @ g).norm()), rel=1e-9)
        there = at.w - s * g
        assert loss == pytest.approx(float(0.5 * there @ A @ there), abs=1e-12)
    assert found.beta == pytest.approx(float((A @ g).norm() / g.norm()), rel=1e-9)
    assert found.beta <= float(torch.linalg.eigvalsh(A)[-1]) + 1e-9
    assert found.scaled_beta == pytest.approx(found.beta * 5.0)
    assert Smoothness.from_dict(found.to_dict()) == found


def test_a_linear_loss_is_perfectly_smooth() -> None:
    at = of_function(lambda w: w.sum(), torch.ones(3, dtype=F64))
    assert landscape_along_gradient(at, lr=0.1).beta == 0.0
    with pytest.raises(ValueError, match="exactly 0"):
        landscape_along_gradient(bowl(0.0, 0.0), lr=0.1)
    with pytest.raises(ValueError, match="lr > 0"):
        landscape_along_gradient(at, lr=0.0)


def test_smoothness_leaves_parameters_and_statistics_as_they_were() -> None:
    model, data = net(batch_norm=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    landscape_along_gradient(model, F.cross_entropy, data, lr=0.1)
    covariate_shift(model, F.cross_entropy, data, lr=0.1)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_covariate_shift_of_a_product_is_its_closed_form() -> None:
    class Product(torch.nn.Module):
        """y = b (a x): the gradient for b is linear in a."""

        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(1, 1, bias=False, dtype=F64)
            self.second = torch.nn.Linear(1, 1, bias=False, dtype=F64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    model = Product()
    a, b = model.first.weight.item(), model.second.weight.item()
    x = torch.ones(1, 1, dtype=F64)
    found = covariate_shift(model, lambda o, t: o.sum(), (x, x), lr=0.5)
    assert found.layers == ("first", "second")
    assert found.distance == pytest.approx((0.0, 0.5 * abs(b)))  # a moves by lr * b
    assert found.cosine[0] == pytest.approx(1.0)
    assert a != 0


def test_bad_grids_and_names_are_refused() -> None:
    at = bowl(1.0, 1.0)
    for call, words in (
        (lambda: direction(at, "row"), "known: filter"),
        (lambda: direction(at), "normalise='none'"),
        (lambda: line_slice(at, along=torch.ones(3)), "shape"),
        (lambda: line_slice(at, normalise="none", points=1), "2 points"),
        (lambda: line_slice(at, normalise="none", span=(1, 0)), "low < high"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
