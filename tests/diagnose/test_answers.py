"""Faults of how a model answers, and of data that do not belong together."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg.diagnose.unbounded import unbounded

RUN = {"evaluations": 140, "seconds": 200}


class Rows(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.read, self.head = nn.LSTM(8, 32, batch_first=first), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.read(x.view(-1, 8, 8))[0][:, -1])


class Dropping(nn.Module):
    def __init__(self, heeds):
        super().__init__()
        self.a, self.b, self.heeds = nn.Linear(64, 32), nn.Linear(32, 10), heeds

    def forward(self, x):
        on = self.training if self.heeds else True
        return self.b(F.dropout(F.relu(self.a(x)), 0.5, on))


ADAM = tw.Recipe(optimizer="adam", lr=0.005, batch_size=32, epochs=6)


def test_a_recurrent_net_that_takes_samples_for_time_is_told_so_and_cured(make_task):
    found = tw.diagnose(make_task(lambda: Rows(False), recipe=ADAM), **RUN)
    first = found.findings[0]
    assert first.code == "mixed-samples"
    assert first.trial.steps[0].cure == "batch_first"
    assert first.trial.verdict == "helps"
    right = tw.diagnose(make_task(lambda: Rows(True), recipe=ADAM), evaluations=20)
    assert "mixed-samples" not in right.codes


def test_a_softmax_over_samples_mixes_them(make_task, perceptron):
    task = make_task(perceptron(last=lambda: nn.Softmax(0)))
    assert tw.diagnose(task, evaluations=20).codes[0] == "mixed-samples"


@pytest.mark.parametrize("heeds", [True, False])
def test_dropout_that_stays_on_is_told_from_dropout_that_does_not(heeds, make_task):
    found = tw.diagnose(make_task(lambda: Dropping(heeds)), evaluations=30)
    assert ("dropout-misuse" in found.codes) is not heeds


def test_targets_shuffled_apart_from_inputs_are_told_so(make_task, digits):
    (x, y), _ = digits
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    found = tw.diagnose(make_task(train=(x, y[order])), **RUN)
    assert found.codes == ("label-noise",)
    assert found.findings[0].severity == "error"


def test_held_out_inputs_in_other_units_are_told_so(make_task, digits):
    _, (x, y) = digits
    found = tw.diagnose(make_task(held_out=(4 * x + 8, y)), evaluations=60)
    assert found.codes[0] == "held-out-shift"


def test_decay_that_forgets_is_told_so(make_task):
    found = tw.diagnose(make_task(recipe={"weight_decay": 1.0}), **RUN)
    assert "over-regularised" in found.codes[:2]


def test_layers_without_an_activation_are_one_linear_map(make_task):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 4, generator=g)
    y = (x[:, 0] * x[:, 1] > 0).long()

    def net(*between):
        return lambda: nn.Sequential(nn.Linear(4, 32), *between, nn.Linear(32, 2))

    parts = {"train": (x[:800], y[:800]), "held_out": (x[800:], y[800:])}
    recipe = tw.Recipe(optimizer="adam", lr=0.01, batch_size=32, epochs=12)
    found = tw.diagnose(make_task(net(), recipe=recipe, **parts), evaluations=300, seconds=200)
    assert found.codes[0] == "linear-model"
    assert found.findings[0].trial.skill_after > 0.7
    sound = tw.diagnose(make_task(net(nn.ReLU()), recipe=recipe, **parts), evaluations=300)
    assert sound.healthy, sound.findings


@pytest.mark.parametrize(
    ("loss", "low", "high", "falls"),
    [
        (F.binary_cross_entropy_with_logits, 0.0, 1.0, False),
        (F.binary_cross_entropy_with_logits, -1.0, 1.0, True),
        (F.binary_cross_entropy_with_logits, 1.0, 2.0, True),
        (F.mse_loss, -1.0, 1.0, False),
        (F.l1_loss, -1.0, 1.0, False),
        (lambda o, t: -F.mse_loss(o, t), -1.0, 1.0, True),
        (lambda o, t: (o - t).mean(), -1.0, 1.0, True),
    ],
)
def test_losses_without_a_lowest_value_are_told_from_those_with_one(loss, low, high, falls):
    target = torch.where(torch.arange(40) % 3 == 0, low, high)[:, None]
    found = unbounded(lambda o: float(loss(o, target)), torch.zeros(40, 1), target)
    assert (found > 1e-3) is falls


def test_binary_cross_entropy_of_signs_is_a_certain_fault(make_regression, perceptron):
    task = make_regression()
    y = torch.sign(task.train[1])
    held = (task.held_out[0], torch.sign(task.held_out[1]))
    task = dataclasses.replace(
        task, loss=F.binary_cross_entropy_with_logits, train=(task.train[0], y), held_out=held
    )
    first = tw.diagnose(task, evaluations=30).findings[0]
    assert (first.code, first.severity) == ("loss-mismatch", "error")
