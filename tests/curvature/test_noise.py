"""Gradient noise against dense sums over samples, closed forms and repeated draws."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov
from torch import nn

from thalweg.curvature.floor import (
    advise_batch_size,
    floor_of,
    noise_floor,
    stationary_variance,
)
from thalweg.curvature.noise import batch_gradient, minibatch_errors, noise_scale
from thalweg.curvature.samples import gradient_blocks, per_sample_gradients
from thalweg.curvature.surface import of_function
from thalweg.curvature.surfaces import surface
from thalweg.models import MLP, LinearUnit
from thalweg.models.losses import half_squared_error, token_count, token_cross_entropy
from thalweg.task import Task

F64 = torch.float64


class Counting(nn.Module):
    """A network that vmap refuses: its flow depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.a(x)
        return out * 2 if float(x.sum()) > 0 else out


def classes(n: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=g, dtype=F64), torch.randint(0, 3, (n,), generator=g)


def linear(n: int = 40, seed: int = 0):
    """A linear unit, whose gradients of samples are (w·x - y) x."""
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 3, generator=g, dtype=F64), torch.randn(n, generator=g, dtype=F64)
    torch.manual_seed(seed)
    net = LinearUnit(3).double()
    w = net.linear.weight.detach()[0]
    return surface(net, half_squared_error, (x, y)), (x @ w - y)[:, None] * x


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_gradients_of_samples_have_the_closed_form_of_a_linear_unit(rows) -> None:
    at, wanted = linear()
    found = torch.cat(list(gradient_blocks(at, rows=rows)))
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("model", [lambda: MLP((4, 5, 3), activation="tanh"), Counting])
def test_gradients_of_samples_equal_a_loop_over_samples(model) -> None:
    torch.manual_seed(0)
    net, (x, y) = model().double(), classes(20)
    found = per_sample_gradients(surface(net, F.cross_entropy, (x, y)))
    for i in range(20):
        loss = F.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        g = torch.autograd.grad(loss, list(net.parameters()))
        torch.testing.assert_close(
            found[i], torch.cat([t.flatten() for t in g]), atol=1e-12, rtol=0
        )


def test_an_lstm_is_gone_through_sample_by_sample() -> None:
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 3, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0][:, -1]

    x, y = torch.randn(9, 5, 4, dtype=F64), torch.randint(0, 3, (9,))
    at = surface(Last().double(), F.cross_entropy, (x, y))
    torch.testing.assert_close(per_sample_gradients(at).mean(0), at.grad(), atol=1e-12, rtol=0)


def test_weighted_means_are_the_mean_of_the_gradients_of_samples() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 5, (30, 4))
    y = torch.where(torch.rand(30, 4) < 0.5, -100, x)
    y[:, 0] = x[:, 0]
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5)).double()
    task = Task("t", net, token_cross_entropy, weight=token_count, train=(x, y), held_out=(x, y))
    at = surface(task, device="cpu")
    torch.testing.assert_close(per_sample_gradients(at).mean(0), at.grad(), atol=1e-12, rtol=0)


def test_noise_scale_over_all_samples_is_the_dense_ratio() -> None:
    at, g = linear()
    found = noise_scale(at)
    trace, square = float(g.var(0).sum()), float(g.mean(0).square().sum())
    assert found.trace == pytest.approx(trace, rel=1e-10)
    assert found.gradient_square == pytest.approx(square, rel=1e-10)
    assert found.scale == pytest.approx(trace / square, rel=1e-10)
    assert sum(a for a, _ in found.layers.values()) == pytest.approx(trace, rel=1e-10)
    assert sum(b for _, b in found.layers.values()) == pytest.approx(square, rel=1e-10)


def test_parts_of_the_samples_estimate_both_parts_without_bias() -> None:
    at, g = linear(200)
    trace, square = float(g.var(0).sum()), float(g.mean(0).square().sum())
    for method, size in (("samples", 1), ("batches", 4)):
        found = [
            noise_scale(at, samples=64, method=method, batch_size=size, seed=s) for s in range(100)
        ]
        for wanted, values in (
            (trace, [f.trace for f in found]),
            (square, [f.gradient_square for f in found]),
        ):
            v = torch.tensor(values)
            assert abs(float(v.mean()) - wanted) < 4 * float(v.std()) / math.sqrt(100)


def test_jackknife_error_is_the_spread_over_data_sets() -> None:
    scales, errors = [], []
    for s in range(60):
        at, _ = linear(400, seed=s)
        # the same weights and law of data each time: y is noise, w as at seed 0
        at.w = torch.tensor([1.0, -1.0, 0.5], dtype=F64)
        found = noise_scale(at)
        scales.append(found.scale)
        errors.append(found.stderr)
    spread = float(torch.tensor(scales).std())
    mean = sum(errors) / len(errors)
    assert 0.7 * spread < mean < 1.4 * spread  # 60 draws know their spread to 9 %


def test_batches_serve_models_whose_samples_are_coupled() -> None:
    torch.manual_seed(0)
    net = MLP((4, 5, 3), batch_norm=True).double()
    data = classes(120)
    with pytest.raises(ValueError, match="batches"):
        next(gradient_blocks(surface(net, F.cross_entropy, data, mode="train")))
    found = noise_scale(net, F.cross_entropy, data, mode="train", batch_size=8)
    assert found.method == "batches"
    assert found.samples == 120
    at = surface(net, F.cross_entropy, data, mode="train")
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    each = torch.stack([batch_gradient(at, part) for part in order.split(8)])
    assert found.trace == pytest.approx(8 * float(each.var(0).sum()), rel=1e-9)


@pytest.mark.parametrize("replace", [True, False])
def test_minibatch_errors_follow_sigma_over_root_m(replace) -> None:
    at, g = linear(50)
    sizes = (1, 2, 5, 20, 50)
    found = minibatch_errors(at, sizes=sizes, repeats=2000, replace=replace)
    variance = float(g.var(0, correction=0).sum())
    for m, error, stderr, said in zip(
        sizes, found.errors, found.stderrs, found.predicted, strict=True
    ):
        factor = 1.0 if replace else (50 - m) / 49
        assert said == pytest.approx(math.sqrt(variance / m * factor), abs=1e-12)
        assert abs(error - said) <= 4 * stderr + 1e-7
    if replace:
        assert found.slope == pytest.approx(-0.5, abs=0.03)
    else:
        assert found.errors[-1] < 1e-7  # the whole set has no error


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 2), st.floats(0.05, 0.95), st.floats(0, 0.9))
def test_stationary_variance_solves_the_lyapunov_equation(curvature, share, momentum) -> None:
    import numpy as np

    lr = share * 2 * (1 + momentum) / curvature
    a = np.array([[1 - lr * curvature, momentum], [-lr * curvature, momentum]])  # (w, v)
    q = lr**2 * np.ones((2, 2))
    found = stationary_variance(curvature, lr, 1.0, momentum)
    assert found == pytest.approx(solve_discrete_lyapunov(a, q)[0, 0], rel=1e-7)


def test_noise_floor_lies_within_the_bounds_from_trace_and_largest_curvature() -> None:
    at, _ = linear()
    noise = noise_scale(at)
    curvatures = [0.1, 0.5, 2.0]
    share = noise.trace / 3 / 8
    exact = noise_floor(curvatures, [share] * 3, 0.3)
    low, high = floor_of(noise, 0.3, 8, 2.0)
    assert low < exact < high
    same = floor_of(noise, 0.3, 8, 2.0, momentum=0.5)
    assert same.low == pytest.approx(2 * low)
    assert stationary_variance(1.0, 2.0) == math.inf


def test_advice_is_the_power_of_two_at_the_noise_scale_and_twice_the_cost() -> None:
    at, _ = linear(400)
    noise = noise_scale(at)
    advice = advise_batch_size(noise)
    assert advice.batch_size & (advice.batch_size - 1) == 0
    assert abs(math.log2(advice.batch_size / noise.scale)) <= 0.5
    place = advice.sizes.index(advice.batch_size)
    assert 1.7 < advice.steps[place] < 2.5
    assert f"{noise.scale:.3g}" in advice.reason


def test_advice_says_when_nothing_but_noise_is_left() -> None:
    at, _ = linear(40)
    x = torch.stack([at.take(torch.arange(40))[0]])[0]  # pyrefly: ignore
    y = at.take(torch.arange(40))[1]  # pyrefly: ignore
    at.w = torch.linalg.lstsq(x, y[:, None])[0][:, 0]
    noise = noise_scale(at)
    assert noise.gradient_square < 1e-20
    assert not noise.resolved
    assert "does not stand out" in advise_batch_size(noise).reason


def test_bad_input_is_refused_in_one_line() -> None:
    at, _ = linear()
    for call, words in (
        (lambda: noise_scale(at, method="guess"), "known: auto"),
        (lambda: noise_scale(at, samples=4), "at least 8"),
        (lambda: minibatch_errors(at, sizes=(0, 1)), "between 1 and the 40"),
        (lambda: noise_scale(of_function(torch.sum, torch.ones(2))), "no samples"),
        (lambda: stationary_variance(-1.0, 0.1), "curvature > 0"),
        (lambda: floor_of(noise_scale(at), 0.1, 0, 1.0), "batch_size >= 1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
