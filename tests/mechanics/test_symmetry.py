"""Symmetries leave the function; path sums are the function."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from thalweg.mechanics.paths import active_path_sum
from thalweg.mechanics.symmetry import count_symmetries, permute_units, rescale_units
from thalweg.models import MLP, LeNetD1


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def seeded(build, *arguments, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments, **options).double().eval()


CASES = [
    (lambda: seeded(MLP, (5, 6, 4, 3), "tanh"), "layers.0", (5,)),
    (lambda: seeded(MLP, (5, 6, 4, 3), batch_norm=True), "layers.3", (5,)),
    (lambda: seeded(LeNetD1), "features.0", (1, 32, 32)),
    (lambda: seeded(LeNetD1), "features.3", (1, 32, 32)),
]


@pytest.mark.parametrize(("build", "layer", "shape"), CASES)
def test_permuting_units_leaves_the_function(build, layer, shape):
    model, x = build(), normal(3, *shape)
    if any(isinstance(m, nn.BatchNorm1d) for m in model.modules()):
        model.train()(normal(20, *shape, seed=4))  # statistics of its own for each unit
        model.eval()
    units = len(model.get_submodule(layer).weight)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(1)).tolist()
    other = permute_units(model, layer, order)
    torch.testing.assert_close(other(x), model(x), atol=1e-12, rtol=0)
    weight = model.get_submodule(layer).weight
    assert torch.equal(other.get_submodule(layer).weight, weight[order])


@pytest.mark.parametrize(
    ("build", "layer", "shape", "scales"),
    [
        (lambda: seeded(MLP, (5, 4, 3), "relu"), "layers.0", (5,), [0.1, 2.0, 30.0, 1.0]),
        (lambda: seeded(MLP, (5, 4, 3), "tanh"), "layers.0", (5,), [-1.0, 1.0, 1.0, -1.0]),
        (lambda: seeded(MLP, (5, 4, 3), "identity"), "layers.0", (5,), [-3.0, 0.1, 2.0, 1.0]),
        (lambda: seeded(LeNetD1), "features.0", (1, 32, 32), [0.5, 3.0, 7.0, 0.1]),
        (lambda: seeded(LeNetD1), "features.3", (1, 32, 32), [0.5, 3.0, 7.0, 0.1, 1.0, 9.0]),
    ],
)
def test_rescaling_units_leaves_the_function(build, layer, shape, scales):
    model, x = build(), normal(3, *shape)
    other = rescale_units(model, layer, scales)
    torch.testing.assert_close(other(x), model(x), atol=1e-12, rtol=0)
    assert not torch.equal(other.get_submodule(layer).weight, model.get_submodule(layer).weight)


def hessian(model, x, y):
    names = [n for n, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def risk(w):
        parts = w.split([s.numel() for s in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return (torch.func.functional_call(model, values, (x,)) - y).square().mean()

    return torch.autograd.functional.hessian(risk, flat)


def test_curvatures_survive_a_permutation_and_not_a_rescaling():
    model = seeded(MLP, (3, 4, 2), "relu")
    x, y = normal(12, 3), normal(12, 2, seed=1)
    before = torch.linalg.eigvalsh(hessian(model, x, y))
    after = torch.linalg.eigvalsh(hessian(permute_units(model, "layers.0", [2, 0, 3, 1]), x, y))
    torch.testing.assert_close(after, before, atol=1e-10, rtol=0)
    scaled = rescale_units(model, "layers.0", [10.0] * 4)
    assert torch.linalg.eigvalsh(hessian(scaled, x, y))[-1] > 2 * before[-1]


def test_the_direction_of_rescaling_is_flat_at_a_minimum():
    model = seeded(MLP, (3, 4, 2), "relu")
    x = normal(12, 3)
    with torch.no_grad():
        y = model(x)  # this model is a minimum: its loss is 0
    h = hessian(model, x, y)
    first, second = (m for m in model.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        v = [torch.zeros_like(p) for p in model.parameters()]
        v[0][1], v[1][1], v[2][:, 1] = first.weight[1], first.bias[1], -second.weight[:, 1]
        direction = torch.cat([t.flatten() for t in v])
    assert float((h @ direction).abs().max()) < 1e-12
    assert float(torch.linalg.eigvalsh(h)[-1]) > 0.01


def test_symmetries_are_counted_and_all_of_them_hold():
    assert tuple(count_symmetries((2, 3), "sigmoid")) == (12, 1, 0)
    assert count_symmetries((3,), "tanh").flips == 8
    assert count_symmetries((3, 2)).continuous == 5
    model, x = seeded(MLP, (2, 3, 1), "tanh"), normal(4, 2)
    found = set()
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((-1.0, 1.0), repeat=3):
            other = rescale_units(permute_units(model, "layers.0", order), "layers.0", signs)
            torch.testing.assert_close(other(x), model(x), atol=1e-12, rtol=0)
            found.add(tuple(p.item() for p in other.layers[0].weight.flatten()))
    counted = count_symmetries((3,), "tanh")
    assert len(found) == counted.permutations * counted.flips == 48
    with pytest.raises(ValueError, match="relu, tanh"):
        count_symmetries((3,), "gelu")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: permute_units(m, "layers.2", [0]), "no hidden layer"),
        (lambda m: permute_units(m, "layers.0", [0, 0, 1, 2]), "no permutation"),
        (lambda m: rescale_units(m, "layers.0", [1.0, 2.0]), "4 units"),
        (lambda m: rescale_units(m, "layers.0", [-1.0, 1, 1, 1]), "does not carry"),
        (lambda m: rescale_units(m, "layers.0", [0.0, 1, 1, 1]), "not 0"),
    ],
)
def test_what_is_no_symmetry_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(seeded(MLP, (5, 4, 3), "relu"))


def bias_free(*widths):
    layers = []
    for m, n in itertools.pairwise(widths):
        layers += [nn.Linear(m, n, bias=False), nn.ReLU()]
    return seeded(nn.Sequential, *layers[:-1])


def test_path_sum_is_the_output_and_counts_open_paths():
    model, x = bias_free(3, 5, 4, 2), normal(6, 3)
    found = active_path_sum(model, x)
    torch.testing.assert_close(found.output, model(x), atol=1e-12, rtol=0)
    assert found.paths == 3 * 5 * 4 * 2
    hidden = model[1](model[0](x))
    upper = model[3](model[2](hidden))
    expected = 3 * (hidden > 0).sum(1) * (upper > 0).sum(1) * 2
    assert torch.equal(found.active, expected)


def test_a_relu_network_is_homogeneous_in_its_weights_of_degree_depth():
    model, x = bias_free(3, 5, 4, 2), normal(6, 3)
    out = model(x)
    gradients = torch.autograd.grad(out.sum(), list(model.parameters()))
    euler = sum((w * g).sum() for w, g in zip(model.parameters(), gradients, strict=True))
    torch.testing.assert_close(euler.detach(), 3 * out.sum().detach(), atol=0, rtol=1e-12)
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(2)
    torch.testing.assert_close(model(x), 8 * out, atol=1e-12, rtol=1e-12)


def test_path_sums_refuse_what_they_cannot_enumerate():
    with pytest.raises(ValueError, match="without bias"):
        active_path_sum(MLP((2, 2)), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="more than 100,000"):
        active_path_sum(bias_free(60, 60, 60), torch.zeros(1, 60).double())
    with pytest.raises(ValueError, match="no linear"):
        active_path_sum(nn.ReLU(), torch.zeros(1, 2))
