"""Flatness: closed forms on quadratics, and the invariances it has and has not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.curvature.probes import flatness
from thalweg.curvature.surface import of_function

F64 = torch.float64


def bowl(n: int = 6):
    g = torch.Generator().manual_seed(3)
    a = torch.randn(n, n, generator=g, dtype=F64)
    a, b = a @ a.T / n, torch.randn(n, generator=g, dtype=F64)
    w = torch.randn(n, generator=g, dtype=F64)
    return a, of_function(lambda x: 0.5 * x @ a @ x + b @ x, w)


def test_the_mean_rise_on_a_quadratic_is_half_the_trace_whatever_the_slope() -> None:
    a, at = bowl()
    found = flatness(at, sigma=0.3, perturbations=20_000)
    wanted = 0.5 * 0.09 * float(at.w.square().mean()) * float(a.trace())
    assert found.rise == pytest.approx(wanted, abs=4 * found.rise_stderr)
    assert found.rise_stderr < 0.02 * wanted


def test_the_entropy_on_a_quadratic_is_the_closed_form() -> None:
    """E exp(-(f(w+u) - f(w))) of a Gaussian: slope g and curvature A at scope gamma."""
    a, at = bowl()
    found = flatness(at, sigma=0.1, relative=False, perturbations=40_000)
    g, scope = at.grad(), found.scope
    assert scope == pytest.approx(100)
    m = a + scope * torch.eye(6, dtype=F64)
    wanted = 0.5 * float(torch.logdet(m) - 6 * math.log(scope)) - 0.5 * float(
        g @ torch.linalg.solve(m, g)
    )
    assert found.entropy == pytest.approx(wanted, abs=4 * found.entropy_stderr)
    assert found.entropy_stderr < 2e-3


def test_a_flat_loss_is_flat() -> None:
    found = flatness(of_function(lambda x: 0 * x.sum() + 2.5, torch.ones(4, dtype=F64)))
    assert (found.loss, found.rise, found.worst, found.entropy) == (2.5, 0, 0, 0)


def test_rescaled_relu_layers_compute_the_same_and_measure_otherwise() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, y = torch.randn(60, 4, dtype=F64), torch.arange(60) % 3
    one = flatness(net, F.cross_entropy, (x, y), perturbations=512)
    with torch.no_grad():
        for p in net[0].parameters():
            p.mul_(20)
        net[2].weight.div_(20)
    two = flatness(net, F.cross_entropy, (x, y), perturbations=512)
    assert two.loss == pytest.approx(one.loss, abs=1e-12)
    assert two.rise > 2 * one.rise
    assert "rescaling" in two.warning


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_model_alone() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x, y = torch.randn(40, 4), torch.randn(40, 1)
    rng = torch.get_rng_state()
    one, two = (flatness(net, F.mse_loss, (x, y), perturbations=8) for _ in range(2))
    assert one == two
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("options", "said"),
    [({"sigma": 0.0}, "sigma"), ({"perturbations": 5}, "even"), ({"perturbations": 2}, "least 4")],
)
def test_numbers_out_of_range_are_named(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        flatness(of_function(lambda x: x.sum(), torch.ones(2)), **options)


def test_zero_weights_have_no_relative_size() -> None:
    with pytest.raises(ValueError, match="relative=False"):
        flatness(of_function(lambda x: x.sum(), torch.zeros(2)))
