"""Gaussian smoothing has closed forms; continuation passes where descent stops."""

from __future__ import annotations

import math

import pytest
import torch

from thalweg.risk import Risk
from thalweg.strategies import continuation, continue_training, gaussian_smooth, geometric
from thalweg.strategies.noise import WeightNoise
from thalweg.strategies.smoothing import descend
from thalweg.training import Hook, train

A = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)


def one(f):
    return lambda w: f(w[..., 0])


FORMS = [
    (lambda w: 0.5 * (w @ A * w).sum(-1), 2, lambda s: lambda w: 0.5 * w @ A @ w + s * s * 1.5),
    (
        one(lambda w: torch.cos(3 * w)),
        1,
        lambda s: one(lambda w: math.exp(-4.5 * s * s) * torch.cos(3 * w)),
    ),
    (one(lambda w: w**4), 1, lambda s: one(lambda w: w**4 + 6 * s * s * w * w + 3 * s**4)),
    (
        lambda w: (1 - w[..., 0] * w[..., 1]) ** 2,
        2,
        lambda s: lambda w: (1 - w[0] * w[1]) ** 2 + s * s * (w * w).sum() + s**4,
    ),
]


@pytest.mark.parametrize(("f", "d", "exact"), FORMS)
@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_smoothing_by_quadrature_is_exact_and_by_samples_near(f, d, exact, sigma):
    w = torch.tensor([0.7, -0.4], dtype=torch.float64)[:d]
    expected = float(exact(sigma)(w))
    grid = gaussian_smooth(f, sigma, 40, dimension=d, rule="quadrature")
    assert float(grid(w)) == pytest.approx(expected, abs=1e-10)
    g = torch.Generator().manual_seed(0)
    sampled = gaussian_smooth(f, sigma, 200_000, generator=g, dimension=d)
    assert float(sampled(w)) == pytest.approx(expected, abs=0.01 * max(1, abs(expected)))


def test_no_width_is_the_function_itself():
    f = FORMS[2][0]
    assert gaussian_smooth(f, 0.0) is f
    assert geometric(2.0, 0.01, 10)[0] == 2.0
    assert geometric(2.0, 0.01, 10)[-2:] == (pytest.approx(0.01), 0.0)
    with pytest.raises(ValueError, match="falling"):
        geometric(0.1, 1.0, 3)
    with pytest.raises(ValueError, match="axes"):
        gaussian_smooth(f, 1.0, dimension=4, rule="quadrature")


def test_the_saddle_of_the_1_1_1_network_becomes_a_minimum_at_width_one():
    f = FORMS[3][0]
    for sigma in (0.5, 0.999, 1.001, 1.5):
        smoothed = gaussian_smooth(f, sigma, 8, dimension=2, rule="quadrature")
        origin = torch.zeros(2, dtype=torch.float64)
        h = torch.autograd.functional.hessian(smoothed, origin)
        values = torch.linalg.eigvalsh(h)
        expected = torch.tensor([2 * sigma**2 - 2, 2 * sigma**2 + 2]).double()
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)
        assert (values[0] > 0) == (sigma > 1)


def test_continuation_passes_the_hills_at_which_descent_stops():
    f = one(lambda w: w * w / 20 + 1 - torch.cos(3 * w))
    start = torch.tensor([9.0], dtype=torch.float64)
    solver = descend(0.05, 400)
    assert float(solver(f, start)) == pytest.approx(8.284, abs=1e-3)
    path = continuation(f, start, geometric(2.0, 0.01, 10), solver, n=40, rule="quadrature")
    assert abs(float(path[-1])) < 1e-6
    assert len(path) == 11


def test_noise_takes_gradients_elsewhere_and_applies_them_where_the_weights_were(maker):
    task = maker(batch_size=96, momentum=0.0)
    moved: list[torch.Tensor] = []

    class Look(Hook):
        def loss(self, training, model, batch, loss):
            moved.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
            return loss

    ended = continue_training(
        task, sigma=0.2, last=0.1, stages=2, share=0.5, epochs=4, dtype="float64", hooks=[Look()]
    )
    model = Risk(task, "cpu").model(0).double()
    x, y = task.train[0].double(), task.train[1]
    w = torch.cat([p.detach().flatten() for p in model.parameters()])
    names = [(n, p.shape, p.numel()) for n, p in model.named_parameters()]

    def slope(flat):
        parts = flat.split([k for _, _, k in names])
        values = {n: p.view(s) for (n, s, _), p in zip(names, parts, strict=True)}
        return torch.func.grad(lambda v: task.loss(torch.func.functional_call(model, v, (x,)), y))(
            values
        )

    noise = []
    for at in moved:
        noise.append(at - w)
        g = slope(at)
        w = w - 0.1 * torch.cat([g[n].flatten() for n, _, _ in names])
    torch.testing.assert_close(noise[0] / 0.2, -noise[1] / 0.1, atol=1e-10, rtol=0)  # antithetic
    assert noise[0].std() == pytest.approx(0.2, rel=0.2)
    assert noise[2].abs().max() < 1e-10  # the last part is the loss itself
    assert noise[3].abs().max() < 1e-10
    final = torch.cat([p.detach().flatten() for p in ended.model().parameters()])
    torch.testing.assert_close(final, w, atol=1e-10, rtol=0)


def test_widths_follow_the_run():
    hook = WeightNoise((0.4, 0.2, 0.0), 0.5)
    assert [hook.sigma(k, 100) for k in (0, 24, 25, 49, 50, 99)] == [0.4, 0.4, 0.2, 0.2, 0.0, 0.0]


def test_continuation_repeats_and_goes_on_to_the_same_bits(maker, tmp_path):
    task = maker()
    one_run, other = (continue_training(task, epochs=2, run=tmp_path / n) for n in "ab")
    assert one_run.weights == other.weights
    assert continue_training(task, epochs=2, run=tmp_path / "a").weights == other.weights
    plain = train(task, epochs=2)
    assert not torch.equal(
        plain.model().state_dict()["layers.0.weight"],
        one_run.model().state_dict()["layers.0.weight"],
    )
    with pytest.raises(ValueError, match="share"):
        continue_training(task, share=1.5)
