"""Where the climb to the highest rate begins: closed forms, refusals, and what stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.race import ladder, surface
from thalweg.race.space import make_space
from thalweg.race.surface import footing
from thalweg.risk import Risk

PLENTY = 10**6


def half_square(output, target):
    return 0.5 * (output - target).square().sum(1).mean()


def bowl(scale=1.0, model=None, loss=half_square):
    """Two samples in orthogonal directions: the Hessian is diag(scale², 1) / 2."""
    x = torch.diag(torch.tensor([scale, 1.0])).repeat(8, 1)
    y = torch.zeros(16, 1)
    return tw.Task(
        "bowl",
        model or (lambda: nn.Linear(2, 1, bias=False)),
        loss,
        train=(x, y),
        held_out=(x, y),
        recipe=tw.Recipe(batch_size=16, epochs=3),
    )


def look(task, *optimizers, gradients=PLENTY, decay=0.0):
    risk = Risk(task, "cpu")
    space = make_space(optimizers, None, 16, None, decay)
    return footing(risk, {name: space.probe(name, 1.0) for name in optimizers}, gradients)


@pytest.mark.parametrize("scale", [1.0, 10.0, 300.0])
def test_the_climb_begins_at_the_closed_form_of_a_quadratic(scale):
    curvature = max(scale**2, 1.0) / 2
    found = look(bowl(scale), "sgd", "momentum", "nesterov")
    assert found.curvature == pytest.approx(curvature, rel=1e-4)
    limits = {
        "sgd": 2 / curvature,
        "momentum": 2 * 1.9 / curvature,
        "nesterov": 2 * 1.9 / (2.8 * curvature),
    }
    assert found.limits == pytest.approx(limits, rel=1e-4)
    for name, limit in limits.items():
        assert found.starts[name] == ladder.rate(ladder.rung(limit))
    assert not found.reasons


def test_weight_decay_adds_to_the_curvature():
    assert look(bowl(), "sgd", decay=1.5).limits["sgd"] == pytest.approx(2 / (0.5 + 1.5), rel=1e-4)


def test_adam_is_limited_by_the_hessian_between_root_mean_squares():
    task = bowl(10.0)
    risk = Risk(task, "cpu")
    model, batch = risk.model(0), risk.feed(0, 16).batch(0)
    (gradient,) = torch.autograd.grad(risk.loss(model, batch), model.parameters())
    scale = (gradient.abs() + 1e-8).rsqrt().flatten()
    dense = scale[:, None] * torch.diag(torch.tensor([50.0, 0.5])) * scale
    wanted = 2 * 1.9 / (0.1 * float(torch.linalg.eigvalsh(dense)[-1]))
    assert look(task, "adam").limits["adam"] == pytest.approx(wanted, rel=1e-3)


class Once(torch.autograd.Function):
    """A square that refuses to be differentiated twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, *gradients):
        if torch.is_grad_enabled():
            raise NotImplementedError("this square has no second derivative")
        (x,) = ctx.saved_tensors
        return 2 * x * gradients[0]


def test_a_module_that_refuses_double_differentiation_begins_as_usual_and_says_why():
    found = look(bowl(loss=lambda output, target: Once.apply(output - target).mean()), "sgd")
    assert found.starts == {"sgd": ladder.rate(ladder.rung(0.01))}
    assert found.curvature is None
    assert "this square has no second derivative" in found.reasons["sgd"]


def test_a_loss_that_curves_nowhere_upwards_limits_nothing():
    found = look(bowl(loss=lambda output, target: -half_square(output, target)), "sgd", "adam")
    assert not found.limits
    assert all("nowhere upwards" in found.reasons[name] for name in ("sgd", "adam"))


def test_short_races_and_methods_without_a_closed_form_say_so():
    assert "curvature is looked at from" in look(bowl(), "sgd", gradients=100).reasons["sgd"]
    found = look(bowl(), "sgd", "rmsprop")
    assert found.reasons == {"rmsprop": "no closed form of its limit"}
    assert found.starts["rmsprop"] == 0.1


def test_a_look_at_curvature_leaves_training_bit_for_bit(blobs, run_race, monkeypatch):
    asked = {"lrs": "auto", "seeds": 1, "evaluations": 40, "cull": False}
    usual = run_race(blobs, ("sgd", "adam"), **asked)
    monkeypatch.setattr(surface, "SHARE", 10.0)
    looked = run_race(blobs, ("sgd", "adam"), **asked)
    assert usual.plan["surface"]["curvature"] is None
    assert looked.plan["surface"]["curvature"] > 0
    assert looked.plan["highest"].keys() == {"sgd", "adam"}
    scores = {(e.optimizer, e.lr): e.held_out for e in usual.table}
    both = [e for e in looked.table if (e.optimizer, e.lr) in scores]
    assert len(both) >= 8
    assert all(e.held_out == scores[e.optimizer, e.lr] for e in both)


def test_the_climb_goes_past_the_limit_while_training_survives(run_race, monkeypatch):
    monkeypatch.setattr(surface, "SHARE", 10.0)
    asked = {"lrs": "auto", "seeds": 1, "evaluations": 40, "cull": False}
    answer = run_race(bowl(10.0), **asked)  # limit 2 / 50 = 0.04, its nearest rung 0.032
    assert answer.plan["surface"]["starts"] == {"sgd": 0.032}
    assert answer.plan["highest"] == {"sgd": 0.032}  # 0.1 is beyond the limit of a quadratic
