from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thalweg.optim import DeltaBarDelta
from thalweg.optim.delta_bar_delta import DeltaBarDeltaRule
from thalweg.optim.rule import FLAT, Given

F64 = torch.float64


def rates(gradients, lr=0.1, **hyperparameters):
    """The rate in use at each of a sequence of scalar gradients."""
    rule, params = DeltaBarDeltaRule(), {FLAT: torch.zeros(1, dtype=F64)}
    state, used = rule.init(params), []
    for g in gradients:
        oracle = Given({FLAT: torch.tensor([g], dtype=F64)})
        params, state = rule.update(oracle, params, state, lr=lr, **hyperparameters)
        used.append(lr * state.gain[FLAT].item())
    return used


def sign(x):
    return (x > 0) - (x < 0)


def reference(gradients, lr, kappa, phi, gamma, lr_max, lr_min):
    """Jacobs' recursion on plain numbers: rates and the weight, which starts at zero."""
    rate, trace, w, used = lr, 0.0, 0.0, []
    for g in gradients:
        agreement = sign(trace) * sign(g)
        if agreement > 0:
            rate += kappa
        elif agreement < 0:
            rate -= phi * rate
        rate = min(max(rate, lr_min), lr_max)
        w -= rate * g
        trace = (1 - gamma) * g + gamma * trace
        # where old and new cancel to rounding, the trace's sign is nobody's to say
        assume(trace == 0 or abs(trace) > 1e-9 * abs(g))
        used.append(rate)
    return used, w


def test_scripted_gradients_give_the_rates_worked_out_by_hand():
    # signs + + - - +; trace after each: 0.3, 0.51, 0.057, -0.2601: only the last two bars flip
    used = rates([1.0, 1.0, -1.0, -1.0, 1.0], kappa=0.02, phi=0.1, gamma=0.7)
    assert used == pytest.approx([0.1, 0.12, 0.108, 0.0972, 0.08748], rel=1e-14)


def test_kappa_defaults_to_a_twentieth_of_lr():
    assert rates([1.0] * 4, lr=0.4) == pytest.approx([0.4, 0.42, 0.44, 0.46], rel=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    gradients=st.lists(st.floats(-10, 10), min_size=1, max_size=40),
    lr=st.floats(1e-3, 1.0),
    kappa=st.floats(0, 0.5),
    phi=st.floats(0, 0.99),
    gamma=st.just(0.0) | st.floats(1e-3, 0.99),  # 1 - gamma must not round to 1
)
def test_rule_and_optimizer_follow_jacobs_recursion(gradients, lr, kappa, phi, gamma):
    used, end = reference(gradients, lr, kappa, phi, gamma, 1.2, 1e-4)
    knobs = {"kappa": kappa, "phi": phi, "gamma": gamma, "lr_max": 1.2, "lr_min": 1e-4}
    assert rates(gradients, lr, **knobs) == pytest.approx(used, rel=1e-12)
    w = torch.nn.Parameter(torch.zeros(1, dtype=F64))
    optimizer = DeltaBarDelta([w], lr=lr, **knobs)
    for g in gradients:
        w.grad = torch.tensor([g], dtype=F64)
        optimizer.step()
    assert w.item() == pytest.approx(end, rel=1e-11, abs=1e-11)


@settings(max_examples=40, deadline=None)
@given(gradients=st.lists(st.floats(-1, 1), min_size=1, max_size=60), phi=st.floats(0, 0.999))
def test_rates_stay_positive_and_within_their_limits(gradients, phi):
    for rate in rates(gradients, phi=phi, lr_max=0.13, lr_min=1e-3):
        assert 1e-3 * (1 - 1e-12) <= rate <= 0.13 * (1 + 1e-12)


def test_tiny_gradients_keep_their_sign_in_float32():
    # the product of two gradients of 1e-30 is zero in float32; its sign is not
    w = torch.nn.Parameter(torch.zeros(1))
    optimizer = DeltaBarDelta([w], lr=0.1, kappa=0.1)
    for _ in range(2):
        w.grad = torch.full((1,), 1e-30)
        optimizer.step()
    assert optimizer.state[w]["gain"].item() == pytest.approx(2.0)


def test_ill_conditioned_quadratic_of_the_lectures():
    """Curvatures 1e-3 to 1, 500 steps, loss left behind.

    6.8e-2 at the fixed rate of best contraction, 2/(smallest + largest curvature), which still
    rings along the steepest direction; 6.9e-5 at the fixed rate picked for this very loss; 3e-6
    with one rate per weight.
    """
    curvature = torch.tensor([1e-3, 1e-2, 1e-1, 1.0], dtype=F64)

    def final_loss(build):
        w = torch.nn.Parameter(torch.ones(4, dtype=F64))
        optimizer = build([w])
        for _ in range(500):
            w.grad = curvature * w.detach()
            optimizer.step()
        return 0.5 * float((curvature * w.detach() ** 2).sum())

    contraction = final_loss(lambda p: torch.optim.SGD(p, lr=2 / (1 + 1e-3)))
    grid = [1.9 + 0.005 * i for i in range(20)]
    picked = min(final_loss(lambda p, lr=lr: torch.optim.SGD(p, lr=lr)) for lr in grid)
    ours = final_loss(lambda p: DeltaBarDelta(p, lr=0.1, kappa=0.02, phi=0.1, gamma=0.7))
    assert contraction == pytest.approx(6.8e-2, rel=0.01)
    assert picked == pytest.approx(6.9e-5, rel=0.02)
    assert ours == pytest.approx(3e-6, rel=0.2)


def test_a_schedule_scales_the_rates_learnt_so_far():
    rule, params = DeltaBarDeltaRule(), {FLAT: torch.zeros(1, dtype=F64)}
    state, one = rule.init(params), Given({FLAT: torch.ones(1, dtype=F64)})
    for _ in range(3):
        params, state = rule.update(one, params, state, lr=0.1)
    gain = state.gain[FLAT].item()
    before = params[FLAT].item()
    params, state = rule.update(one, params, state, lr=0.01)
    assert gain == pytest.approx(1.1, rel=1e-14)
    assert before - params[FLAT].item() == pytest.approx(0.01 * 1.15, rel=1e-12)


def test_a_rate_that_passes_through_zero_comes_back():
    w = torch.nn.Parameter(torch.ones(1, dtype=F64))
    optimizer = DeltaBarDelta([w], lr=0.1, kappa=0.05, lr_max=0.3)
    for rate in (0.1, 0.0, torch.tensor(0.0), 0.1):
        optimizer.param_groups[0]["lr"] = rate
        w.grad = torch.ones_like(w)
        optimizer.step()
    # gains 1, then frozen twice at rate 0, then one growth by 0.05 / 0.1
    assert optimizer.state[w]["gain"].item() == pytest.approx(1.5)
    assert math.isfinite(w.item())
