"""Initialisations: laws over the registry, variances of the table, what special ones promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from thalweg.conditioning import (
    INITIALISATIONS,
    activation_report,
    forget_gate_bias_,
    init_,
    lsuv_,
    output_bias_,
)
from thalweg.conditioning.rules import sparse_per_unit_
from thalweg.models.mlp import MLP

RULES = tuple(name for name in INITIALISATIONS.names() if name != "lsuv")
RANDOM = tuple(name for name in RULES if name != "zero")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed():
    """One layer of every kind that is initialised, and some that are not."""
    return nn.ModuleDict(
        {
            "linear": nn.Linear(6, 4),
            "conv": nn.Conv2d(4, 6, 3, groups=2),
            "up": nn.ConvTranspose2d(4, 6, 3, groups=2),
            "lstm": nn.LSTM(5, 4, proj_size=2),
            "gru": nn.GRUCell(5, 4),
            "attention": nn.MultiheadAttention(4, 2),
            "norm": nn.BatchNorm1d(3),
            "words": nn.Embedding(3, 4),
        }
    )


def start(model, name, seed=0):
    extra = {"batch": torch.randn(64, 12, generator=generator(9))} if name == "lsuv" else {}
    return init_(model, name, generator=generator(seed), **extra)


@pytest.mark.parametrize("name", INITIALISATIONS.names())
def test_same_generator_same_weights_and_torchs_own_is_left_alone(name):
    one, two, other = (MLP((12, 8, 3)) for _ in range(3))
    state = torch.get_rng_state()
    start(one, name), start(two, name), start(other, name, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    same = all(map(torch.equal, one.parameters(), other.parameters()))
    assert same == (name == "zero")


@pytest.mark.parametrize("name", RULES)
def test_every_kind_of_layer_is_set_and_the_rest_is_named(name):
    model = mixed()
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    report = init_(model, name, generator=generator(), bias=0.25)
    assert set(report.left) == {"norm.weight", "norm.bias", "words.weight"}
    assert set(report.changed) | set(report.left) == set(before)
    for k, p in model.named_parameters():
        assert torch.equal(p, before[k]) == (k in report.left), k
        if "bias" in k and k in report.changed:
            assert bool((p == 0.25).all())


VARIANCES = {
    "fan-in": lambda m, n: 1 / (3 * m),
    "lecun": lambda m, n: 1 / m,
    "glorot": lambda m, n: 2 / (m + n),
    "glorot-normal": lambda m, n: 2 / (m + n),
    "he": lambda m, n: 2 / m,
    "he-uniform": lambda m, n: 2 / m,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variance_is_that_of_the_table(name):
    layer = nn.Linear(500, 2000)  # a million entries: 2 % is ten standard errors or more
    init_(layer, name, generator=generator())
    assert float(layer.weight.detach().var()) == pytest.approx(VARIANCES[name](500, 2000), rel=0.02)


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_counts_what_its_outputs_see(name, groups):
    layer = nn.ConvTranspose2d(64, 256, 3, groups=groups)
    init_(layer, name, generator=generator())
    m, n = 64 // groups * 9, 256 * 9  # torch's own counting for convolutions
    assert float(layer.weight.detach().var()) == pytest.approx(VARIANCES[name](m, n), rel=0.03)


def test_recurrent_gates_are_orthogonal_each():
    cell = nn.LSTMCell(8, 8).double()
    init_(cell, "orthogonal", generator=generator())
    for gate in cell.weight_hh.chunk(4):
        torch.testing.assert_close(gate.mT @ gate, torch.eye(8).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_orthogonal_rows_or_columns_times_gain(shape):
    layer = nn.Linear(shape[1], shape[0]).double()
    init_(layer, "orthogonal", gain=2.0, generator=generator())
    w = layer.weight if shape[0] < shape[1] else layer.weight.mT
    torch.testing.assert_close(w @ w.mT, 4 * torch.eye(4).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("k", [1, 3, 15])
def test_sparse_units_have_exactly_k_weights(k):
    layer = nn.Conv2d(4, 50, 2)  # 16 inputs a unit
    init_(layer, "sparse", k=k, generator=generator())
    assert (layer.weight.flatten(1) != 0).sum(1).tolist() == [k] * 50
    small = nn.Linear(2, 5)
    init_(small, "sparse", k=k, generator=generator())
    assert (small.weight != 0).sum(1).tolist() == [min(k, 2)] * 5


def test_sparse_weights_have_the_asked_deviation():
    w = sparse_per_unit_(torch.empty(20_000, 100), 15, std=2.0, generator=generator())
    assert float(w[w != 0].std()) == pytest.approx(2, rel=0.01)  # 300,000 draws
    assert float((w != 0).double().mean(0).std()) < 0.004  # places are uniform: 0.0025 expected


def test_tied_weights_are_set_once_and_frozen_ones_never():
    a, b, frozen = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    frozen.requires_grad_(False)
    before = frozen.weight.clone()
    report = init_(nn.Sequential(a, b, frozen), "he", generator=generator())
    assert report.changed.count("0.weight") == 1
    assert "1.weight" not in report.changed
    assert a.weight is b.weight
    assert torch.equal(frozen.weight, before)
    assert {"2.weight", "2.bias"} <= set(report.left)


def test_weight_norm_is_set_through_its_parametrisation():
    plain, normed = nn.Linear(4, 3), parametrizations.weight_norm(nn.Linear(4, 3))
    init_(plain, "he", generator=generator())
    init_(normed, "he", generator=generator())
    torch.testing.assert_close(normed.weight, plain.weight)


def test_equal_units_stay_equal_for_ever():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    init_(model, "he", generator=generator())
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0]
        model[2].weight[0, 1] = model[2].weight[0, 0]
    x = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        (model(x)[:, 0] - x.sin().sum(1)).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(model[0].weight[1], model[0].weight[0], atol=1e-12, rtol=0)
    assert not torch.allclose(model[0].weight[2], model[0].weight[0])


def test_forget_gates_open():
    model = nn.LSTM(3, 4, num_layers=2)
    forget_gate_bias_(model, 1.0)
    for layer in range(2):
        both = getattr(model, f"bias_ih_l{layer}") + getattr(model, f"bias_hh_l{layer}")
        assert bool((both[4:8] == 1).all())
    with pytest.raises(ValueError, match="no LSTM"):
        forget_gate_bias_(nn.GRU(2, 2))


def test_class_bias_starts_the_loss_at_the_entropy():
    y = torch.tensor([0] * 6 + [1] * 3 + [2])
    layer = nn.Linear(5, 3).double()
    init_(layer, "zero")
    output_bias_(layer, y)
    loss = nn.functional.cross_entropy(layer(torch.randn(10, 5).double()), y)
    shares = torch.tensor([0.6, 0.3, 0.1]).double()
    assert float(loss.detach()) == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-7)


def test_output_bias_turns_the_link_round():
    y = torch.tensor([[0.2, 3.0], [0.4, 5.0]]).double()
    inverse = {"identity": lambda b: b, "log": torch.exp}
    for link, back in inverse.items():
        layer = nn.Linear(1, 2).double()
        torch.testing.assert_close(back(output_bias_(layer, y, link)), y.mean(0))
    unit = nn.Linear(1, 1).double()
    assert float(torch.sigmoid(output_bias_(unit, y[:, 0], "logit"))) == pytest.approx(0.3)


def test_misuse_is_refused():
    layer = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="Did you mean 'glorot'"):
        init_(layer, "glorott")
    with pytest.raises(ValueError, match="no trainable linear"):
        init_(nn.BatchNorm1d(3), "he")
    with pytest.raises(ValueError, match="lazy"):
        init_(nn.LazyLinear(3), "he")
    with pytest.raises(ValueError, match="bias is nan"):
        init_(layer, "he", bias=math.nan)
    with pytest.raises(ValueError, match="between 1 and 3"):
        init_(layer, "sparse", k=0)
    with pytest.raises(ValueError, match="class 1 has no sample"):
        output_bias_(layer, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="no bias"):
        output_bias_(nn.Linear(2, 2, bias=False), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="inside the link's range"):
        output_bias_(nn.Linear(1, 1), torch.ones(3), "logit")


# ---------------------------------------------------------------- LSUV


class Reversed(nn.Module):
    """Declares its layers in the reverse of the order in which they run."""

    def __init__(self, bias=False):
        super().__init__()
        self.c = nn.Linear(16, 5, bias=bias)
        self.b = nn.Linear(64, 16, bias=bias)
        self.a = nn.Conv2d(2, 4, 3, padding=1, bias=bias)

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)).flatten(1))))


def images(n=200):
    return torch.randn(n, 2, 4, 4, generator=generator(3), dtype=torch.float64)


def test_lsuv_goes_in_the_order_of_execution_and_one_rescale_is_enough():
    model = Reversed().double()
    report = lsuv_(model, images(), generator=generator())
    assert [line.name for line in report] == ["a", "b", "c"]
    assert all(line.rescaled <= 1 and line.reached for line in report)
    rescaled = [line for line in report if line.rescaled]
    assert rescaled
    assert all(line.variance == pytest.approx(1, abs=1e-12) for line in rescaled)


def test_lsuv_leaves_each_output_at_unit_variance_and_is_idempotent():
    model = Reversed(bias=True).double()
    lsuv_(model, images(), tol=1e-9, generator=generator())
    after = {line.name: line for line in activation_report(model, images())}
    assert all(after[name].std ** 2 == pytest.approx(1, abs=1e-9) for name in "abc")
    before = [p.detach().clone() for p in model.parameters()]
    again = lsuv_(model, images(), tol=1e-9, orthonormal=False)
    assert all(line.rescaled == 0 for line in again)
    assert all(map(torch.equal, before, model.parameters()))


def test_lsuv_tolerance_and_attempts_are_those_asked_for():
    model = Reversed().double()
    lsuv_(model, images(), generator=generator())
    with torch.no_grad():
        model.c.weight.mul_(1.04)  # variance at most 1.1 * 1.0816 ...
        model.b.weight.mul_(10)
    report = lsuv_(model, images(), tol=0.5, max_attempts=3, orthonormal=False)
    assert [line.rescaled for line in report][:2] == [0, 1]


def test_lsuv_centres_units_on_request():
    model = Reversed(bias=True).double()
    lsuv_(model, images(), center=True, generator=generator())
    hidden = torch.relu(model.a(images()).double()).flatten(1)
    assert model.b(hidden).mean(0).abs().max() < 1e-12


def test_lsuv_puts_modes_back_and_leaves_running_statistics():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    model[2].eval()
    lsuv_(model, torch.randn(50, 4, generator=generator()), generator=generator())
    assert [m.training for m in model] == [True, True, False, True]
    assert bool((model[1].running_mean == 0).all())


def test_lsuv_refuses_dead_layers_and_missing_batches():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="pass batch="):
        init_(model, "lsuv")
    with pytest.raises(ValueError, match=r"layer '2' has output variance 0\.0.*dead"):
        lsuv_(model, torch.randn(9, 4), bias=-100.0)
    with pytest.raises(ValueError, match="tol > 0"):
        lsuv_(model, torch.randn(9, 4), tol=0)


# ---------------------------------------------------------------- activations


def test_activation_report_counts_saturation_and_dead_units():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), nn.Tanh())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.copy_(torch.tensor([0.0, -9.0]))
        model[2].weight.copy_(torch.tensor([[10.0, 0.0]]))
        model[2].bias.zero_()
    report = activation_report(model, torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
    assert [line.kind for line in report] == ["Linear", "ReLU", "Linear", "Tanh"]
    assert report[1].dead == 1
    assert report[1].saturated == 0.75
    assert report[3].saturated == 0.5  # tanh(10) and tanh(0)
    assert (report[2].mean, report[2].std) == (5.0, 5.0)
    assert report[0].saturated is None
    assert model.training
