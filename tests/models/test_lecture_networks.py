"""Perceptron, activations, dropout, stochastic depth and the LSTM: closed forms and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Perceptron
from torch import nn
from torch.nn import functional as F

from thalweg.models.activations import Maxout, NoisyReLU, ScaledTanh
from thalweg.models.char_lstm import CharLSTM
from thalweg.models.dropout import DropoutMLP, WeightScaledDropout, mc_dropout
from thalweg.models.perceptron import (
    fit_perceptron,
    logistic_loss,
    mistake_bound,
    perceptron_loss,
    xor_network,
)
from thalweg.models.stochastic_depth import (
    StochasticDepthBlock,
    StochasticDepthNet,
    linear_decay,
)

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
XOR = torch.tensor([0, 1, 1, 0])


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def seeded(build, *arguments, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments, **options).double()


@pytest.fixture
def randomness():
    """A seeded random state that is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# ---------------------------------------------------------------- perceptron


@pytest.mark.parametrize(
    ("labels", "bias"), [([0, 0, 0, 1], -1.5), ([0, 1, 1, 1], -0.5), ([-1, -1, -1, 1], -1.5)]
)
def test_perceptron_learns_and_and_or_within_novikoffs_bound(labels, bias):
    y = torch.tensor(labels)
    found = fit_perceptron(CORNERS, y)
    assert found.separated
    assert torch.equal(CORNERS @ found.weights + found.bias > 0, y > 0)
    known = torch.ones(2).double(), torch.tensor(bias).double()
    assert 0 < found.mistakes <= mistake_bound(CORNERS, y, *known)


def test_perceptron_obeys_its_bound_on_many_separable_sets():
    for seed in range(20):
        x, w = normal(40, 3, seed=seed), normal(3, seed=100 + seed)
        x = x[(x @ w).abs() > 0.3]
        y = (x @ w > 0).long()
        found = fit_perceptron(x, y, max_epochs=1000)
        assert found.separated
        assert found.mistakes <= mistake_bound(x, y, w, torch.zeros(1).double())


@pytest.mark.parametrize("lr", [0.1, 1.0, 7.0])
def test_perceptron_rate_changes_no_decision(lr):
    one, other = (fit_perceptron(CORNERS, torch.tensor([0, 1, 1, 1]), lr=r) for r in (1.0, lr))
    assert one.mistakes == other.mistakes
    torch.testing.assert_close(other.weights, lr * one.weights)


def test_no_linear_unit_gets_beyond_three_of_four_on_xor():
    assert not fit_perceptron(CORNERS, XOR, max_epochs=1000).separated
    best = 0
    for a, b, c in itertools.product(np.linspace(-2, 2, 21), repeat=3):
        best = max(best, int(((CORNERS @ torch.tensor([a, b]) + c > 0).long() == XOR).sum()))
    assert best == 3


def test_two_hidden_units_compute_xor():
    assert xor_network().double()(CORNERS).flatten().tolist() == [0, 1, 1, 0]


def test_perceptron_agrees_with_scikit_learn_on_separability():
    x = normal(60, 2)
    for y in ((x[:, 0] > 0.2).long(), ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()):
        theirs = Perceptron(tol=None, max_iter=200, shuffle=False).fit(x.numpy(), y.numpy())
        separated = theirs.score(x.numpy(), y.numpy()) == 1
        assert fit_perceptron(x, y, max_epochs=200).separated == separated


def test_descent_on_the_perceptron_loss_is_the_rule():
    x, y = normal(30, 4), (normal(30, seed=1) > 0).long()
    unit = nn.Linear(4, 1).double()
    with torch.no_grad():
        unit.weight.fill_(1e-3)  # away from 0, where the loss has a kink
        unit.bias.fill_(1e-3)
    w = torch.full((5,), 1e-3, dtype=torch.float64)
    optimizer = torch.optim.SGD(unit.parameters(), lr=0.5)
    for row, label in zip(x, y, strict=True):
        optimizer.zero_grad()
        perceptron_loss(unit(row[None]), label[None]).backward()
        optimizer.step()
        s, extended = 2.0 * float(label) - 1, torch.cat([row, torch.ones(1).double()])
        if s * float(extended @ w) < 0:
            w = w + 0.5 * s * extended
    mine = torch.cat([unit.weight.detach()[0], unit.bias.detach()])
    torch.testing.assert_close(mine, w, atol=1e-12, rtol=0)


def test_logistic_loss_is_torchs_cross_entropy_of_one_logit():
    a, y = normal(9, 1), (normal(9, seed=1) > 0).long()
    expected = F.binary_cross_entropy_with_logits(a[:, 0], y.double())
    torch.testing.assert_close(logistic_loss(a, y), expected)


def test_perceptron_refuses_other_labels():
    with pytest.raises(ValueError, match="labels 0, 1"):
        fit_perceptron(CORNERS, torch.tensor([0, 1, 2, 1]))
    with pytest.raises(ValueError, match="margin"):
        mistake_bound(CORNERS, XOR, torch.ones(2).double(), torch.zeros(1).double())


# ---------------------------------------------------------------- activations


def test_derivatives_stay_within_the_bounds_of_the_table():
    a = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    for function, low, high in (
        (torch.sigmoid, 0.0, 0.25),
        (torch.tanh, 0.0, 1.0),
        (F.softplus, 0.0, 1.0),
        (lambda t: F.leaky_relu(t, 0.01), 0.01, 1.0),
    ):
        slope = torch.func.vmap(torch.func.grad(function))(a)
        assert low < float(slope.min()) + 1e-15
        assert float(slope.max()) <= high + 1e-12
        assert float(slope.max()) > 0.99 * high
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(F.softplus))(a), torch.sigmoid(a))


def test_identities_of_squashing_functions():
    a = normal(7, 5)
    torch.testing.assert_close(torch.tanh(a), 2 * torch.sigmoid(2 * a) - 1)
    p = a.softmax(1)
    torch.testing.assert_close(p.sum(1), torch.ones(7).double())
    torch.testing.assert_close((a + 300).softmax(1), p)
    torch.testing.assert_close(p, a.exp() / a.exp().sum(1, keepdim=True))


def test_scaled_tanh_maps_one_to_one_and_bends_most_there():
    layer, one = ScaledTanh(), torch.tensor(1.0).double()
    assert abs(float(layer(one)) - 1) < 1e-4
    grid = torch.linspace(0.2, 3, 281).double()
    curvature = torch.func.vmap(torch.func.grad(torch.func.grad(layer.forward)))(grid)
    assert abs(float(grid[curvature.argmin()]) - 1) < 0.02


def test_noisy_relu_has_the_noise_it_says_and_none_in_evaluation(randomness):
    layer = NoisyReLU()
    a = torch.full((400_000,), 6.0, dtype=torch.float64)  # far from the kink
    noise = layer(a) - a
    variance = float(torch.sigmoid(a[0]))
    assert abs(float(noise.mean())) < 4 * math.sqrt(variance / len(a))
    assert abs(float(noise.var()) / variance - 1) < 4 * math.sqrt(2 / len(a))
    assert torch.equal(layer.eval()(-a), 0 * a)


def test_maxout_with_a_zero_piece_is_a_relu_layer():
    layer, x = seeded(Maxout, 3, 4), normal(6, 3)
    with torch.no_grad():
        layer.linear.weight[1::2] = 0
        layer.linear.bias[1::2] = 0
    expected = F.relu(x @ layer.linear.weight[::2].T + layer.linear.bias[::2])
    torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ValueError, match="at least 2"):
        Maxout(3, 4, 1)


# ---------------------------------------------------------------- dropout


def masks(n):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=n)), dtype=torch.float64)


def test_scaled_weights_are_the_average_over_all_thinned_linear_layers():
    x, w, keep = normal(10), normal(10, 3, seed=1), 0.7
    m = masks(10)
    probability = (keep**m * (1 - keep) ** (1 - m)).prod(1)
    average = (probability[:, None] * ((m * x) @ w)).sum(0)
    layer = WeightScaledDropout(keep).eval()
    torch.testing.assert_close(layer(x) @ w, average, atol=1e-12, rtol=0)


def test_scaled_weights_are_the_geometric_mean_of_thinned_softmaxes():
    x, w, b = normal(6), normal(6, 3, seed=1), normal(3, seed=2)
    logs = ((masks(6) * x) @ w + b).log_softmax(1).mean(0)  # keep 1/2: all masks alike
    geometric = logs.exp() / logs.exp().sum()
    layer = WeightScaledDropout(0.5).eval()
    torch.testing.assert_close((layer(x) @ w + b).softmax(0), geometric, atol=1e-12, rtol=0)


def test_both_forms_agree_at_test_time_once_weights_are_matched():
    lecture = seeded(DropoutMLP, (5, 8, 6, 3), 0.3, "lecture").eval()
    torchs = seeded(DropoutMLP, (5, 8, 6, 3), 0.3).eval()
    with torch.no_grad():
        for mine, theirs in zip(lecture.parameters(), torchs.parameters(), strict=True):
            theirs.copy_(mine)
        for layer in list(torchs.layers)[3::3]:
            layer.weight.mul_(0.7)  # every weight behind a mask times the keep probability
    x = normal(4, 5)
    torch.testing.assert_close(lecture(x), torchs(x), atol=1e-12, rtol=0)


def test_masks_have_the_promised_mean_and_are_not_scaled(randomness):
    layer, x = WeightScaledDropout(0.8), torch.full((100_000,), 3.0)
    out = layer(x)
    assert set(out.unique().tolist()) == {0.0, 3.0}
    assert abs(float((out > 0).double().mean()) - 0.8) < 4 * math.sqrt(0.16 / 1e5)


def test_monte_carlo_dropout_nears_the_scaled_weights_of_a_linear_read_out():
    model = nn.Sequential(WeightScaledDropout(0.6), nn.Linear(5, 2)).double()
    x = normal(3, 5)
    draws = mc_dropout(model, x, 4000)
    error = draws.std(0) / math.sqrt(4000)
    assert ((draws.mean(0) - model.eval()(x)).abs() < 4.5 * error).all()
    assert torch.equal(draws, mc_dropout(model, x, 4000))
    with pytest.raises(ValueError, match="0 dropout layers"):
        mc_dropout(nn.Linear(2, 2), x, 3)


@pytest.mark.parametrize("keep", [0.0, 1.5])
def test_dropout_refuses(keep):
    with pytest.raises(ValueError, match="probability"):
        WeightScaledDropout(keep)
    with pytest.raises(ValueError, match="form"):
        DropoutMLP((2, 2, 2), form="both")


# ---------------------------------------------------------------- stochastic depth


def test_expected_depth_is_forty_and_a_quarter_of_54():
    p = linear_decay(54)
    assert sum(p) == pytest.approx(40.25, abs=1e-12)
    assert p[-1] == 0.5
    alive = torch.rand(20_000, 54, generator=torch.Generator().manual_seed(0)) < torch.tensor(p)
    depths = alive.sum(1).double()
    assert abs(float(depths.mean()) - 40.25) < 4 * float(depths.std()) / math.sqrt(20_000)
    with pytest.raises(ValueError, match="0 blocks"):
        linear_decay(0)


def test_a_block_that_always_survives_is_plain_and_one_that_never_does_is_the_identity():
    branch, h = seeded(nn.Linear, 4, 4), normal(3, 4).abs()
    plain = StochasticDepthBlock(branch, 1.0)
    torch.testing.assert_close(plain(h), F.relu(branch(h) + h))
    torch.testing.assert_close(plain.eval()(h), F.relu(branch(h) + h))
    dead = StochasticDepthBlock(branch, 0.0)
    h.requires_grad_()
    out = dead(h)
    assert torch.equal(out, h)
    by_input, by_weight = torch.autograd.grad(out.sum(), (h, branch.weight))
    assert (by_input == 1).all()
    assert not by_weight.any()


def test_evaluation_is_the_expectation_where_nothing_bends():
    branch, h = seeded(nn.Linear, 4, 4), normal(3, 4).abs() + 9  # the outer ReLU stays open
    block = StochasticDepthBlock(branch, 0.3).eval()
    expected = 0.3 * (branch(h) + h) + 0.7 * h
    torch.testing.assert_close(block(h), expected)


def test_stochastic_depth_net_draws_one_number_a_block_and_batch(randomness):
    net = seeded(StochasticDepthNet, 6, 5, 3, 2)
    x = normal(4, 6)
    outs = {tuple(net(x).flatten().tolist()) for _ in range(200)}
    assert len(outs) <= 2**3
    assert len(outs) > 3
    net.eval()
    assert torch.equal(net(x), net(x))


# ---------------------------------------------------------------- LSTM


def test_lstm_follows_its_equations_and_never_looks_ahead():
    model = seeded(CharLSTM, 7, width=3, hidden=4)
    codes = torch.tensor([[1, 5, 2, 0]])
    weights = [p for _, p in model.memory.named_parameters()]
    h = c = torch.zeros(4, dtype=torch.float64)
    outs = []
    for code in codes[0]:
        x = model.token.weight[code]
        gates = weights[0] @ x + weights[2] + weights[1] @ h + weights[3]
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outs.append(model.head(h))
    torch.testing.assert_close(model(codes)[0], torch.stack(outs), atol=1e-12, rtol=0)
    changed = torch.tensor([[1, 5, 6, 0]])
    assert torch.equal(model(changed)[0, :2], model(codes)[0, :2])


def test_forget_gates_start_open():
    memory = CharLSTM(7, hidden=4, layers=2).memory
    for layer in range(2):
        total = getattr(memory, f"bias_ih_l{layer}") + getattr(memory, f"bias_hh_l{layer}")
        assert (total[4:8] == 1).all()
