"""What stands before the first layer of a model counts as its inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.diagnose import cures
from thalweg.diagnose.entry import entry

GOOD = tw.Recipe(optimizer="momentum", lr=0.02, momentum=0.9, batch_size=32, epochs=6)


class Crooked(nn.Module):
    """Scales columns in its forward, by factors that are a buffer."""

    def __init__(self, n=64, out=10):
        super().__init__()
        self.register_buffer("factors", torch.logspace(-2.5, 0.5, n))
        self.body = nn.Sequential(nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, out))

    def forward(self, x):
        return self.body(x * self.factors)


def task(model, digits):
    train, held = digits
    return tw.Task(
        "digits", model, nn.functional.cross_entropy, train=train, held_out=held, recipe=GOOD
    )


def test_what_the_first_layer_gets_is_read_to_the_number(digits):
    name, given = entry(task(Crooked, digits))
    assert name == "body.0"
    torch.testing.assert_close(given, digits[0][0] * torch.logspace(-2.5, 0.5, 64))


@pytest.mark.parametrize("front", [[], [nn.Flatten()], [nn.Identity(), nn.Dropout(0.5)]])
def test_nothing_is_said_where_the_inputs_come_as_they_are(front, digits):
    assert entry(task(lambda: nn.Sequential(*front, nn.Linear(64, 10)), digits)) is None


@pytest.mark.parametrize("first", [nn.BatchNorm1d(64), nn.LayerNorm(64), nn.Embedding(20, 4)])
def test_layers_that_are_no_linear_maps_are_left_alone(first, digits):
    assert entry(task(lambda: nn.Sequential(first, nn.Linear(64, 10)), digits)) is None


def test_the_cure_standardises_behind_the_fault_and_leaves_the_model_of_the_user(digits):
    crooked = Crooked()
    before = [p.clone() for p in crooked.parameters()]
    cured = cures.standardised_entry(task(crooked, digits))
    made = cured.model()
    seen = []
    made.body[0][1].register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    made(digits[0][0])
    given = (digits[0][0] * crooked.factors).std(0)
    live = given > given[given > 0].median()  # what hardly varies is kept small on purpose
    torch.testing.assert_close(seen[0].std(0)[live], torch.ones(int(live.sum())), rtol=0.02, atol=0)
    assert float(seen[0].mean(0).abs().max()) < 1e-4
    assert all(torch.equal(a, b) for a, b in zip(before, crooked.parameters(), strict=True))
    assert made.body[0][1] is not crooked.body[0]
    bare = task(nn.Linear(64, 10), digits)
    with pytest.raises(ValueError, match="standardised_inputs"):
        cures.standardised_entry(bare)


def test_scales_inside_the_model_are_found_and_cured(digits):
    found = tw.diagnose(task(Crooked, digits), evaluations=170, cure=True)
    first = found.findings[0]
    assert (first.code, first.where) == ("input-scale", "body.0"), found.codes
    assert first.trial.steps[0].cure == "standardised_entry"
    assert found.cured is not None
    assert found.cured.trial.skill_after > found.cured.trial.skill_before + 0.05


class Forgotten(nn.Module):
    """A detach before the last layer."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU()), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.body(x).detach())


def test_a_forgotten_detach_is_left_out_by_its_cure(digits):
    x, y = digits[0]
    torch.manual_seed(0)
    model = Forgotten()
    whole = nn.Sequential(model.body, model.head)
    nn.functional.cross_entropy(whole(x), y).backward()
    expect = [p.grad.clone() for p in model.parameters()]
    made = cures.attached(task(model, digits)).model()
    nn.functional.cross_entropy(made(x), y).backward()
    for p, g in zip(made.parameters(), expect, strict=True):
        torch.testing.assert_close(p.grad, g)
    found = tw.diagnose(task(Forgotten, digits), evaluations=60, cure=True)
    assert found.codes[0] == "frozen-parameters"
    assert [s.cure for s in found.findings[0].trial.steps] == ["attached"]
