"""What the rules must do where the answer can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.optim import OPTIMIZERS
from thalweg.optim.build import defaults
from thalweg.optim.population import Population, rule_for
from thalweg.optim.rule import FLAT, Given

F64 = torch.float64


def steps_under(name, gradients, **hyperparameters):
    """The step taken at each of a sequence of gradients (scalars or tensors), from the origin."""
    values = defaults(name) | {"weight_decay": 0.0} | hyperparameters
    rule = rule_for(name, [values])
    first = torch.as_tensor(gradients[0], dtype=F64)
    params = {FLAT: torch.zeros_like(first)}
    state, steps = rule.init(params, values), []
    for g in gradients:
        old = params[FLAT]
        params, state = rule.update(
            Given({FLAT: torch.as_tensor(g, dtype=F64)}), params, state, **values
        )
        steps.append(params[FLAT] - old)
    return steps


def test_adagrad_under_a_constant_gradient_steps_lr_over_root_k():
    steps = steps_under("adagrad", [-3.0] * 30, lr=0.5, eps=0.0)
    for k, step in enumerate(steps, start=1):
        assert step.item() == pytest.approx(0.5 / math.sqrt(k), rel=1e-12)


def test_rmsprop_under_a_constant_gradient_steps_lr_over_root_one_minus_alpha_to_the_k():
    steps = steps_under("rmsprop", [2.0] * 30, lr=0.5, alpha=0.9, eps=0.0)
    for k, step in enumerate(steps, start=1):
        assert step.item() == pytest.approx(-0.5 / math.sqrt(1 - 0.9**k), rel=1e-12)


def test_adam_first_step_has_size_lr():
    (step,) = steps_under("adam", [1e-3])
    assert step.item() == pytest.approx(-9.9999e-4, rel=1e-9)


def test_adam_without_mean_is_rmsprop_with_debiasing():
    gradients = [math.sin(k) for k in range(1, 30)]
    adam = steps_under("adam", gradients, lr=0.1, betas=(0.0, 0.9), eps=0.0)
    plain = steps_under("rmsprop", gradients, lr=0.1, alpha=0.9, eps=0.0)
    for k, (a, b) in enumerate(zip(adam, plain, strict=True), start=1):
        assert a.item() == pytest.approx(b.item() * math.sqrt(1 - 0.9**k), rel=1e-12)


def test_heavy_ball_under_a_constant_gradient_reaches_lr_over_one_minus_beta():
    steps = steps_under("momentum", [1.0] * 40, lr=0.1, momentum=0.9)
    for k, step in enumerate(steps, start=1):
        assert step.item() == pytest.approx(-0.1 * (1 - 0.9**k) / (1 - 0.9), rel=1e-12)


def test_nesterov_at_constant_rate_is_the_lookahead_form():
    # theta is the ball, torch's w the point ahead of it: w = theta + alpha v
    a = torch.tensor([1.0, 0.1], dtype=F64)
    theta, v = torch.ones(2, dtype=F64), torch.zeros(2, dtype=F64)
    rule, params = OPTIMIZERS.load("nesterov")(), {FLAT: theta.clone()}
    state = rule.init(params)
    for _ in range(20):
        g = a * (theta + 0.9 * v)
        v = 0.9 * v - 0.5 * g
        theta = theta + v
        params, state = rule.update(Given({FLAT: a * params[FLAT]}), params, state, lr=0.5)
        torch.testing.assert_close(params[FLAT], theta + 0.9 * v, rtol=0, atol=1e-13)


def test_adadelta_first_step_is_that_of_its_formula():
    (step,) = steps_under("adadelta", [4.0], rho=0.9, eps=1e-6)
    assert step.item() == pytest.approx(-math.sqrt(1e-6 / (0.1 * 16 + 1e-6)) * 4.0, rel=1e-12)


def test_adamw_decay_is_decoupled_from_the_gradient():
    rule, params = OPTIMIZERS.load("adamw")(), {FLAT: torch.full((1,), 2.0, dtype=F64)}
    zero = Given({FLAT: torch.zeros(1, dtype=F64)})
    new, _ = rule.update(zero, params, rule.init(params), lr=0.1, weight_decay=0.5)
    assert new[FLAT].item() == pytest.approx(2.0 * (1 - 0.05), rel=1e-15)


@pytest.mark.parametrize(("name", "low", "high"), [("adam", 0.95, 1.0), ("amsgrad", -1.0, -0.95)])
def test_adam_goes_to_the_worst_point_where_amsgrad_finds_the_best(name, low, high):
    """Losses 3x, -x, -x in turn on [-1, 1]: the mean slope is positive, so -1 is best."""
    rule, x = OPTIMIZERS.load(name)(), {FLAT: torch.zeros(1, dtype=F64)}
    state = rule.init(x)
    for t in range(1, 3001):
        g = Given({FLAT: torch.tensor([3.0 if t % 3 == 1 else -1.0], dtype=F64)})
        x, state = rule.update(g, x, state, lr=0.5 / math.sqrt(t), betas=(0.0, 1 / 10))
        x = {FLAT: x[FLAT].clamp(-1, 1)}
    assert low <= x[FLAT].item() <= high


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam", "adamw", "amsgrad"])
@settings(max_examples=25, deadline=None)
@given(
    gradients=st.lists(
        st.floats(0.01, 100).flatmap(lambda x: st.sampled_from([x, -x])), min_size=1, max_size=12
    ),
    scale=st.floats(1e-6, 1e6),
)
def test_steps_do_not_change_when_gradients_are_rescaled(name, gradients, scale):
    ours = steps_under(name, gradients, eps=0.0)
    scaled = steps_under(name, [scale * g for g in gradients], eps=0.0)
    torch.testing.assert_close(ours, scaled, rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from(OPTIMIZERS.names()), seed=st.integers(0, 2**31))
def test_a_member_of_a_population_walks_as_it_does_alone(data, name, seed):
    number = st.floats(1e-3, 0.9)
    draw = {
        entry.name: st.tuples(number, number) if isinstance(entry.default, tuple) else number
        for entry in OPTIMIZERS.load(name).hyperparameters
        if entry.name not in ("lr_max", "lr_min")
    }
    group = [data.draw(st.fixed_dictionaries({}, optional=draw)) for _ in range(3)]
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(3, 5, generator=generator, dtype=F64)
    alone = [w[i : i + 1].clone() for i in range(3)]
    together = Population(name, group, w)
    single = [Population(name, group[i : i + 1], alone[i]) for i in range(3)]
    for _ in range(6):
        g = torch.randn(3, 5, generator=generator, dtype=F64)
        together.step(g)
        for i in range(3):
            single[i].step(g[i : i + 1])
    torch.testing.assert_close(w, torch.cat(alone), rtol=1e-10, atol=1e-12)
