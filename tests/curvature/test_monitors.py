"""Monitors of a training against the closed forms of quadratics, and that they change nothing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.curvature.monitors import ConditioningMonitor, GradientNormMonitor, step_model
from thalweg.data.synthetic import linear_unit
from thalweg.models import MLP, LinearUnit
from thalweg.models.losses import half_squared_error
from thalweg.records_landscape import ConditioningRecord, GradientNorms
from thalweg.task import Task
from thalweg.training import train

F64 = torch.float64
HOW = {"seed": 0, "device": "cpu"}


def unit():
    x, y = (torch.from_numpy(a) for a in linear_unit())
    return LinearUnit().double(), x, y


def descend(lr, steps, monitor, start=(0.3, -0.2)):
    net, x, y = unit()
    with torch.no_grad():
        net.linear.weight.copy_(torch.tensor([start], dtype=F64))
    params, changes = list(net.parameters()), []
    for step in range(steps):
        loss = half_squared_error(net(x), y)
        monitor.record(step, loss, params, lr)
        (g,) = torch.autograd.grad(loss, params)
        with torch.no_grad():
            params[0] -= lr * g
            changes.append(float(half_squared_error(net(x), y) - loss))
    return changes


@pytest.mark.parametrize("lr", [0.5, 1.5, 2.5])
def test_prediction_on_a_quadratic_is_the_change_itself(lr) -> None:
    monitor = ConditioningMonitor()
    changes = descend(lr, 20, monitor)
    assert monitor.result.predicted == pytest.approx(changes, abs=1e-12)
    for change, ratio in zip(changes, monitor.result.ratio, strict=True):
        assert (change > 0) == (ratio > 1)


def test_ratio_tends_to_that_of_the_top_curvature() -> None:
    monitor = ConditioningMonitor()
    descend(2.5, 150, monitor)
    assert monitor.result.ratio[-1] == pytest.approx(2.5 * 0.84 / 2, abs=1e-6)


def test_greedy_rate_is_exact_line_search_on_a_quadratic() -> None:
    net, x, y = unit()
    loss = half_squared_error(net(x), y)
    found = step_model(loss, list(net.parameters()))
    (g,) = torch.autograd.grad(loss, list(net.parameters()))
    h = x.T @ x / len(x)
    wanted = float(g[0] @ g[0] / (g[0] @ h @ g[0]))
    assert found.greedy_lr == pytest.approx(wanted, rel=1e-12)
    assert found.ratio(2 * wanted) == pytest.approx(1.0, rel=1e-12)
    assert found.change(wanted) < min(found.change(0.99 * wanted), found.change(1.01 * wanted))


def test_negative_curvature_is_reported_and_not_divided_by() -> None:
    w = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    found = step_model(-(w @ w), [w, unused])
    assert found.gradient_curvature == pytest.approx(-2 * 20.0)
    assert found.greedy_lr == math.inf
    assert found.ratio(0.1) < 0
    flat = step_model((3 * w).sum(), [w])
    assert (flat.gradient_square, flat.gradient_curvature) == (18.0, 0.0)


class Attending(nn.Module):
    """Attention through torch's fused kernel, batch norm and dropout: all that may go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.drop, self.out = nn.Dropout(0.3), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.norm(self.first(x)).reshape(-1, 1, 2, 4)
        return self.out(self.drop(F.scaled_dot_product_attention(z, z, z).flatten(1)))


def task(model):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(96, 8, generator=g), torch.randint(0, 3, (96,), generator=g)
    return Task("t", model, F.cross_entropy, train=(x, y), held_out=(x[:40], y[:40]))


@pytest.mark.parametrize("model", [Attending, lambda: MLP((8, 6, 3), batch_norm=True)])
def test_a_watched_training_is_the_same_bit_for_bit(model) -> None:
    plain = train(task(model), "momentum", epochs=2, batch_size=16, **HOW)
    monitors = ConditioningMonitor(every=3), GradientNormMonitor(every=2)
    watched = train(task(model), "momentum", epochs=2, batch_size=16, hooks=monitors, **HOW)
    a, b = plain.model().state_dict(), watched.model().state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    conditioning, norms = (m.result for m in monitors)
    assert conditioning.steps == (0, 3, 6, 9)
    assert all(math.isfinite(v) for v in conditioning.actual)
    assert norms.steps == (0, 2, 4, 6, 8, 10)
    assert norms.looks
    assert ConditioningRecord.from_dict(conditioning.to_dict()) == conditioning
    assert GradientNorms.from_dict(norms.to_dict()) == norms


def test_hooks_measure_what_a_full_batch_step_does() -> None:
    _, x, y = unit()
    net = LinearUnit().double()
    whole = Task("u", net, half_squared_error, train=(x, y), held_out=(x, y), metric="loss")
    monitor = ConditioningMonitor(every=1)
    train(whole, "sgd", {"lr": 1.0}, epochs=6, batch_size=100, hooks=[monitor], **HOW)
    found = monitor.result
    assert len(found.steps) == 6
    assert found.actual == pytest.approx(found.predicted, abs=1e-12)
    assert set(found.lr) == {1.0}


def test_gradient_norms_by_layer_add_up_to_the_total() -> None:
    torch.manual_seed(0)
    net = MLP((4, 5, 3))
    monitor = GradientNormMonitor(decay=0.5)
    for step in range(3):
        net.zero_grad()
        F.cross_entropy(net(torch.randn(9, 4)), torch.zeros(9, dtype=torch.int64)).backward()
        total = monitor.record(step, net)
        assert total == pytest.approx(
            float(nn.utils.get_total_norm([p.grad for p in net.parameters()]))
        )  # pyrefly: ignore
    found = monitor.result
    assert set(found.layers) == {"layers.0", "layers.2"}
    for i, total in enumerate(found.total):
        assert math.hypot(*(v[i] for v in found.layers.values())) == pytest.approx(total)
    t = found.total
    assert found.smooth == pytest.approx(
        (t[0], (t[0] + 2 * t[1]) / 3, (t[0] + 2 * t[1] + 4 * t[2]) / 7)
    )


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ConditioningMonitor(every=0)
    with pytest.raises(ValueError, match="decay"):
        GradientNormMonitor(decay=1.0)
    assert ConditioningMonitor().result.steps == ()
    assert GradientNormMonitor().result.total == ()
