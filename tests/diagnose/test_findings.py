"""Each code is found where it was planted, first or second, and not where it was not."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg.diagnose import FINDINGS

RUN = 140  # gradients of each run
SECONDS = 200


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        return self.b(F.relu(self.a(x)).detach())


class Moody(nn.Module):
    """Answers by a counter, not by its weights alone."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = nn.Linear(64, 10), 0

    def forward(self, x):
        Moody.count = getattr(Moody, "count", 0) + 1
        return self.net(x) * (1 + 0.3 * (Moody.count % 3))


def dead(net):
    def make():
        model = net()
        model[0].bias.data.fill_(-8.0)
        model[2].bias.data.fill_(-4.0)
        return model

    return make


def sorted_by_class(pair):
    order = pair[1].argsort()
    return pair[0][order], pair[1][order]


def with_nan(pair):
    x = pair[0].clone()
    x[5, 3] = float("nan")
    return x, pair[1]


def noisy(pair, share=0.4):
    draw = torch.Generator().manual_seed(0)
    hit = torch.rand(len(pair[1]), generator=draw) < share
    drawn = torch.randint(10, pair[1].shape, generator=draw)
    return pair[0], torch.where(hit, drawn, pair[1])


def rare(pair, keep):
    y = (pair[1] == 3).long()
    kept = (y == 0) | (torch.arange(len(y)) % keep == 0)
    return pair[0][kept], y[kept]


PLANTS = {
    "nonfinite-data": lambda t, **k: t(train=with_nan(k["digits"][0])),
    "lr-too-high": lambda t, **k: t(recipe={"lr": 3.0}),
    "lr-too-low": lambda t, **k: t(recipe={"lr": 1e-5}),
    "input-scale": lambda t, **k: t(
        train=(k["digits"][0][0] * 30 + 100, k["digits"][0][1]),
        held_out=(k["digits"][1][0] * 30 + 100, k["digits"][1][1]),
        recipe=tw.Recipe(lr=0.1, batch_size=32, epochs=6),
    ),
    "loss-mismatch": lambda t, **k: t(k["net"](last=lambda: nn.Softmax(1))),
    "symmetric-init": lambda t, **k: t(k["filled"](k["net"](), lambda p: p.fill_(0.1))),
    "init-scale": lambda t, **k: t(k["filled"](k["net"](), lambda p: p.normal_(0, 3))),
    "vanishing-gradient": lambda t, **k: t(k["net"](act=nn.Sigmoid, depth=6)),
    "exploding-gradient": lambda t, **k: t(
        k["filled"](k["net"](depth=6), lambda p: p.normal_(0, 1.0))
    ),
    "dead-units": lambda t, **k: t(dead(k["net"]())),
    "saturated-units": lambda t, **k: t(
        k["filled"](k["net"](act=nn.Tanh), lambda p: p.normal_(0, 2))
    ),
    "frozen-parameters": lambda t, **k: t(Detached),
    "unshuffled-data": lambda t, **k: t(
        train=sorted_by_class(k["digits"][0]), recipe={"order": "ordered"}
    ),
    "imbalanced-targets": lambda t, **k: t(
        k["net"](outputs=2), recipe=tw.Recipe(lr=0.02, batch_size=32, epochs=6),
        train=rare(k["digits"][0], 6), held_out=rare(k["digits"][1], 1),
    ),
    "nondeterministic-loss": lambda t, **k: t(Moody),
    "norm-misuse": lambda t, **k: t(k["net"](norm=lambda: nn.BatchNorm1d(32, momentum=1e-4))),
    "leaked-samples": lambda t, **k: t(held_out=tuple(p[:300] for p in k["digits"][0])),
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(digits, perceptron, filled):
    return {"digits": digits, "net": perceptron, "filled": filled}


def diagnose(task, **options):
    return tw.diagnose(task, seconds=SECONDS, **({"evaluations": RUN} | options))


@pytest.mark.parametrize("code", PLANTS)
def test_a_planted_fault_is_named_first_or_second(code, make_task, parts):
    found = diagnose(PLANTS[code](make_task, **parts))
    assert code in found.codes[:2], (found.codes, found.considered)
    finding = next(f for f in found.findings if f.code == code)
    assert finding.message
    assert finding.remedy
    assert finding.derivation


@pytest.mark.parametrize(
    "healthy",
    [
        lambda t, **k: t(),
        lambda t, **k: t(recipe=tw.Recipe(optimizer="adam", lr=2e-3, batch_size=32, epochs=6)),
        lambda t, **k: t(k["net"](act=nn.Tanh)),
        lambda t, **k: t(k["net"](norm=lambda: nn.BatchNorm1d(32))),
        lambda t, **k: t(
            k["net"](last=lambda: nn.LogSoftmax(1)), loss=F.nll_loss
        ),
    ],
)  # fmt: skip
def test_a_healthy_task_is_told_that_nothing_limits_it(healthy, make_task, parts):
    found = diagnose(healthy(make_task, **parts))
    assert found.healthy, [(f.code, f.message, f.trial) for f in found.findings]
    assert found.numbers["criterion reached"] > 0.85


def test_a_healthy_regression_is_told_that_nothing_limits_it(make_regression):
    assert diagnose(make_regression()).healthy


def test_targets_broadcast_against_outputs_are_a_certain_fault(make_regression):
    first = diagnose(make_regression(column=False)).findings[0]
    assert (first.code, first.severity) == ("loss-mismatch", "error")
    assert first.trial is not None
    assert first.trial.verdict == "helps"


def test_scores_given_to_the_negative_log_likelihood_are_a_certain_fault(make_task):
    assert diagnose(make_task(loss=F.nll_loss), evaluations=40).codes[0] == "loss-mismatch"


def test_an_output_that_cannot_reach_its_targets_is_a_certain_fault(make_regression, perceptron):
    task = make_regression(standard=False, model=perceptron(inputs=10, outputs=1, last=nn.Sigmoid))
    assert diagnose(task, evaluations=40).codes[0] == "loss-mismatch"


def test_a_loss_with_the_wrong_sign_is_a_certain_fault(make_task):
    task = make_task(loss=lambda output, target: -F.cross_entropy(output, target))
    assert diagnose(task, evaluations=40).codes[0] == "loss-mismatch"


def test_statistics_that_no_run_can_bring_up_to_date_are_a_certain_fault(make_task, parts):
    def told(momentum):
        model = parts["net"](norm=lambda: nn.BatchNorm1d(32, momentum=momentum))
        found = diagnose(make_task(model), evaluations=12)
        return [f for f in found.findings if f.code == "norm-misuse"]

    (stale,) = told(1e-5)  # a trial of twelve gradients cannot show what is lost in the end
    assert "would still be to 100% what they were" in stale.message
    assert stale.evidence["share of the initial statistics at the end"] > 0.99
    assert not told(0.1)


def test_one_class_only_is_said_clearly(make_task, digits):
    (x, y), (xv, yv) = digits
    task = make_task(train=(x, torch.zeros_like(y)), held_out=(xv, torch.zeros_like(yv)))
    first = diagnose(task, evaluations=20).findings[0]
    assert first.code == "imbalanced-targets"
    assert "one class" in first.title.lower()


def test_every_code_of_the_contract_is_registered():
    promised = """input-scale input-correlation nonfinite-data lr-too-high lr-too-low
        ill-conditioned vanishing-gradient exploding-gradient dead-units saturated-units init-scale
        symmetric-init batch-noise unshuffled-data label-noise loss-mismatch frozen-parameters
        norm-misuse no-decay plateau-or-saddle sharp-minimum overfitting imbalanced-targets
        nondeterministic-loss"""
    assert set(promised.split()) <= set(FINDINGS.names())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "task"),
    [
        ("label-noise", lambda t, k: t(train=noisy(k["digits"][0]), recipe={"epochs": 30})),
        ("overfitting", lambda t, k: t(
            k["net"](width=256, depth=3), recipe={"epochs": 100, "batch_size": 16},
            train=tuple(p[:60] for p in noisy(k["digits"][0], 0.2)))),
        ("ill-conditioned", lambda t, k: t(
            recipe=tw.Recipe(lr=0.05, batch_size=32, epochs=6), **narrow(k["digits"]))),
        ("input-correlation", lambda t, k: t(
            recipe=tw.Recipe(lr=0.1, batch_size=32, epochs=6), **narrow(k["digits"]))),
    ],
)  # fmt: skip
def test_a_slow_fault_is_found_in_longer_runs(code, task, make_task, parts):
    found = diagnose(task(make_task, parts), evaluations=800)
    assert code in found.codes[:2], (found.codes, found.considered)


def narrow(digits):
    draw = torch.Generator().manual_seed(1)
    u, _, v = torch.linalg.svd(torch.randn(64, 64, generator=draw))
    mix = (u * torch.logspace(0, -2.5, 64)) @ v * 4
    return {name: (pair[0] @ mix, pair[1])
            for name, pair in zip(("train", "held_out"), digits, strict=True)}  # fmt: skip


def test_findings_survive_json(make_task):
    found = diagnose(make_task(recipe={"lr": 3.0}), evaluations=40)
    again = tw.Diagnosis.from_dict(found.to_dict())
    assert again.to_dict() == found.to_dict()
    assert dataclasses.replace(again) == again
