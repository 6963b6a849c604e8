"""No engine is taken that is wrong or slower: proof on the first steps, then the clock."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.race.population import choose as choosing
from thalweg.race.population.choose import choose
from thalweg.race.population.flat import Unsupported
from thalweg.race.population.make import make
from thalweg.race.population.verify import Mismatch, verify
from thalweg.risk import Risk

MEMORY = 2**30


def risk_of(task):
    return Risk(task, "cpu")


class Mixing(nn.Module):
    """Subtracts the mean over the batch in the middle: members would reach each other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x):
        h = self.a(x)
        return self.b(h - h.mean(0))


class Drawing(nn.Module):
    """Adds noise of its own."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4)

    def forward(self, x):
        return self.a(x + 0.1 * torch.randn_like(x))


class Counting(nn.Module):
    """Keeps a running mean that no rule knows of."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 4)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        y = self.a(x)
        if self.training:
            self.mean.lerp_(y.detach().mean(), 0.1)
        return y - self.mean


class Listed(nn.Module):
    """Calls its layers through a list that modules do not know."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)
        self.__dict__["secret"] = [self.a]

    def forward(self, x):
        return self.b(torch.relu(self.secret[0](x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.b(self.a(x.view(-1, 2, 3))[0][:, -1])


def test_a_model_that_mixes_samples_is_found_out(task_of, members, mixed):
    risk = risk_of(task_of("mlp", model=Mixing))
    with pytest.raises(Mismatch, match="losses at step 0 differ"):
        verify("stacked", risk, False, members(mixed), 100)
    verify("vmap", risk, False, members(mixed), 100)  # maps each member apart: right


@pytest.mark.parametrize("model", [Drawing, Counting])
def test_draws_and_states_of_the_users_own_are_found_out(model, task_of, members, mixed):
    risk = risk_of(task_of("mlp", model=model))
    with pytest.raises(Mismatch):
        verify("stacked", risk, model is Drawing, members(mixed), 100)


def test_layers_called_behind_the_modules_back_are_served_or_refused(task_of, members, mixed):
    """The list is copied with the module, so its layers are the twin's."""
    verify("stacked", risk_of(task_of("mlp", model=Listed)), False, members(mixed), 100)


def test_models_that_a_fused_pair_would_change_are_found_out(task_of, members, mixed):
    class Peeking(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
            self.out = nn.Linear(5, 4)

        def forward(self, x):
            return self.out(self.body(x) + self.body[0](x))  # sees what the pair hides

    with pytest.raises(Mismatch):
        verify("stacked", risk_of(task_of("mlp", model=Peeking)), False, members(mixed), 100)


@pytest.mark.parametrize("engine", ["stacked", "vmap"])
def test_recurrent_kernels_are_refused_by_name(engine, task_of, members, mixed):
    risk = risk_of(task_of("mlp", model=Recurrent))
    run = make(engine, risk, members(mixed), 10, False, MEMORY)
    with pytest.raises(Unsupported, match="LSTM"):
        list(run.advance(1, range(4), lambda n: None))


def test_an_lstm_is_looped_and_the_reasons_say_why(task_of, members, mixed):
    found = choose(risk_of(task_of("mlp", model=Recurrent)), False, members(mixed), 100, MEMORY)
    assert found.engine == "looped"
    assert "LSTM" in found.reasons["stacked"]
    assert "LSTM" in found.reasons["vmap"]


def test_the_fastest_proved_engine_is_taken_and_written_as_json(task_of, members, mixed):
    group = members(mixed * 4)
    found = choose(risk_of(task_of("mlp")), False, group, 200, MEMORY)
    assert found.engine == "stacked"  # measured: 8 times the looped engine with 16 members
    assert found.chunk == 16
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert "taken" in found.reasons["stacked"]


def test_an_engine_that_is_not_faster_enough_is_not_taken(monkeypatch, task_of, members, mixed):
    speeds = {"looped": 100.0, "stacked": 104.0, "vmap": 50.0}
    monkeypatch.setattr(choosing, "_timed", lambda *args: dict(speeds))
    risk = risk_of(task_of("mlp"))
    assert choose(risk, False, members(mixed), 100, MEMORY).engine == "looped"
    speeds["stacked"] = 109.0
    assert choose(risk, False, members(mixed), 100, MEMORY).engine == "stacked"


def test_an_engine_that_raises_is_survived(monkeypatch, task_of, members, mixed):
    def broken(*args):
        raise RuntimeError("the kernel\nfell over")

    monkeypatch.setitem(choosing.ATTACH, "stacked", broken)
    found = choose(risk_of(task_of("mlp")), False, members(mixed), 100, MEMORY)
    assert found.reasons["stacked"] == "RuntimeError: the kernel fell over"


def test_one_member_is_looped_without_a_probe(task_of, members, mixed):
    found = choose(risk_of(task_of("mlp")), False, members(mixed[:1]), 100, MEMORY)
    assert found.engine == "looped"
    assert not found.gradients_per_second


def test_chunks_fit_the_memory(task_of, members, mixed):
    risk = risk_of(task_of("lenet"))
    from thalweg.race.population.activity import member_bytes

    each = member_bytes(risk, 0, 8)
    found = choose(risk, True, members(mixed * 3), 100, 5 * each)
    assert found.chunk == 5


def test_probing_leaves_the_task_and_its_random_state_alone(task_of, members, mixed):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    before = {key: t.clone() for key, t in model.state_dict().items()}
    choose(risk_of(task_of("mlp", model=model)), False, members(mixed), 100, MEMORY)
    assert all(torch.equal(before[key], t) for key, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training


def test_an_unknown_engine_is_named(task_of, members, mixed):
    with pytest.raises(ValueError, match="unknown engine 'warp'"):
        make("warp", risk_of(task_of("mlp")), members(mixed), 10, False, MEMORY)


def test_hooks_and_random_activations_are_refused(task_of, members, mixed):
    def hooked():
        model = nn.Sequential(nn.Linear(6, 4))
        model[0].register_forward_hook(lambda module, args, output: output * 2)
        return model

    for model, word in (
        (hooked, "hooks"),
        (lambda: nn.Sequential(nn.RReLU(), nn.Linear(6, 4)), "RReLU"),
    ):
        with pytest.raises(Unsupported, match=word):
            verify("stacked", risk_of(task_of("mlp", model=model)), False, members(mixed), 10)


def test_weighted_losses_keep_their_weights(task_of, members, mixed):
    def loss(output, target):
        return F.cross_entropy(output, target, weight=output.new_tensor([1.0, 2.0, 3.0, 4.0]))

    verify("stacked", risk_of(task_of("mlp", loss=loss)), False, members(mixed), 10)
