"""Entropy-SGD against the closed forms of local entropy and against a plain float64 loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from thalweg.optim.entropy_sgd import EntropySGD

F64 = torch.float64


def bowl(n: int = 4, seed: int = 0) -> tuple[torch.Tensor, nn.Parameter]:
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=g, dtype=F64)
    return root @ root.T / n, nn.Parameter(torch.randn(n, generator=g, dtype=F64))


def closure_of(optimizer, a, w, calls=None):
    def closure():
        optimizer.zero_grad()
        loss = 0.5 * w @ a @ w
        loss.backward()
        if calls is not None:
            calls.append(w.detach().clone())
        return loss

    return closure


@pytest.mark.parametrize("average", [0.25, 0.75, 1.0])
@pytest.mark.parametrize("scope", [0.1, 1.0])
def test_the_outer_step_is_the_gradient_of_the_local_entropy_of_a_quadratic(average, scope) -> None:
    a, w = bowl()
    x = w.detach().clone()
    optimizer = EntropySGD(
        [w],
        lr=1.0,
        lr_inner=0.3,
        n_langevin=3000,
        scope=scope,
        noise=0.0,
        momentum=0.0,
        average=average,
        rescale=False,
    )
    optimizer.step(closure_of(optimizer, a, w))
    resolvent = torch.linalg.inv(a + scope * torch.eye(4, dtype=F64))
    wanted = scope * a @ resolvent @ x
    torch.testing.assert_close(x - w.detach(), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_three_cycles_equal_the_recursion_written_out(nesterov, rescale) -> None:
    a, w = bowl()
    setting = {
        "lr": 0.7,
        "lr_inner": 0.05,
        "n_langevin": 5,
        "scope": 0.3,
        "scope_rate": 0.1,
        "average": 0.6,
    }
    optimizer = EntropySGD(
        [w],
        **setting,
        noise=0.0,
        momentum=0.8,
        outer_momentum=0.4,
        nesterov=nesterov,
        weight_decay=0.02,
        outer_weight_decay=0.01,
        rescale=rescale,
        data_weight=0.2,
    )
    x, outer = w.detach().clone(), torch.zeros(4, dtype=F64)
    for t in range(3):
        scope = 0.3 * 1.1**t
        data, y, mean, v = a @ x, x.clone(), x.clone(), torch.zeros(4, dtype=F64)
        for _ in range(5):
            d = a @ y + 0.02 * y - scope * (x - y)
            v = 0.8 * v + d
            y = y - 0.05 * (d + 0.8 * v if nesterov else v)
            mean = 0.4 * mean + 0.6 * y
        d = (x - mean) * (1 if rescale else scope) + 0.01 * x + 0.2 * data
        outer = 0.4 * outer + d
        x = x - 0.7 * (d + 0.4 * outer if nesterov else outer)
        optimizer.step(closure_of(optimizer, a, w))
        torch.testing.assert_close(w.detach(), x, atol=1e-13, rtol=1e-12)
        assert optimizer.scope() == pytest.approx(0.3 * 1.1 ** (t + 1), rel=1e-14)


def test_an_ordinary_loop_and_a_closure_give_the_same_bits() -> None:
    a, w = bowl()
    twin = nn.Parameter(w.detach().clone())
    setting = {"n_langevin": 4, "noise": 0.01, "seed": 3, "scope": 0.1}
    one, two = EntropySGD([w], **setting), EntropySGD([twin], **setting)
    for _ in range(3):
        one.step(closure_of(one, a, w))
        for _ in range(4):
            closure_of(two, a, twin)()
            two.step()
        assert torch.equal(w, twin)


def test_the_closure_is_called_once_per_inner_gradient_and_once_for_the_data() -> None:
    a, w = bowl()
    for data_weight, wanted in ((0.0, 6), (0.5, 7)):
        calls: list[torch.Tensor] = []
        optimizer = EntropySGD([w], n_langevin=6, data_weight=data_weight)
        optimizer.step(closure_of(optimizer, a, w, calls))
        assert len(calls) == wanted


def test_with_no_walk_and_the_data_gradient_it_is_gradient_descent() -> None:
    a, w = bowl()
    twin = nn.Parameter(w.detach().clone())
    entropy = EntropySGD(
        [w], lr=0.1, lr_inner=1e-300, n_langevin=1, data_weight=1.0, momentum=0.0, noise=0.0
    )
    sgd = torch.optim.SGD([twin], lr=0.1)
    for _ in range(5):
        entropy.step(closure_of(entropy, a, w))
        closure_of(sgd, a, twin)()
        sgd.step()
    torch.testing.assert_close(w, twin, atol=0, rtol=1e-15)


def test_the_centre_is_lent_within_a_cycle_and_the_walk_given_back() -> None:
    a, w = bowl()
    start = w.detach().clone()
    optimizer = EntropySGD([w], n_langevin=5)
    for _ in range(3):
        closure_of(optimizer, a, w)()
        optimizer.step()
    walk = w.detach().clone()
    with optimizer.at_centre():
        assert torch.equal(w, start)
    assert torch.equal(w, walk)
    assert not torch.equal(walk, start)


@pytest.mark.parametrize(("variant", "factor"), [("paper", 1.0), ("code", 2.0)])
def test_the_walk_samples_its_stationary_variance(variant, factor) -> None:
    # curvature a + scope = 1.3, noise s sqrt(rate): variance s² / (2 h (1 - rate h / 2))
    w = nn.Parameter(torch.zeros(20_000, dtype=F64))
    optimizer = EntropySGD(
        [w],
        n_langevin=10**6,
        lr_inner=0.4,
        noise=0.5,
        momentum=0.0,
        scope=0.3,
        variant=variant,
    )
    for _ in range(40):
        w.grad = w.detach().clone()
        optimizer.step()
    wanted = factor * 0.25 / (2 * 1.3 * (1 - 0.4 * 1.3 / 2))
    assert float(w.detach().var()) == pytest.approx(wanted, rel=0.03)  # 3 standard errors


def test_a_run_resumed_in_mid_cycle_goes_on_bit_for_bit() -> None:
    a, w = bowl()
    optimizer = EntropySGD([w], n_langevin=7, noise=0.1)
    for _ in range(10):
        closure_of(optimizer, a, w)()
        optimizer.step()
    twin = nn.Parameter(w.detach().clone())
    resumed = EntropySGD([twin], n_langevin=7, noise=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(9):
        for o, p in ((optimizer, w), (resumed, twin)):
            closure_of(o, a, p)()
            o.step()
    assert torch.equal(w, twin)
    assert resumed.outer_steps == 2


def test_parameters_without_a_gradient_stay_where_they_are() -> None:
    a, w = bowl()
    idle = nn.Parameter(torch.ones(3, dtype=F64))
    optimizer = EntropySGD([w, idle], n_langevin=2)
    idle.grad = torch.ones(3, dtype=F64)
    closure_of_w = closure_of(optimizer, a, w)
    optimizer.step(closure_of_w)  # zero_grad in the closure removes the gradient of idle
    assert torch.equal(idle.detach(), torch.ones(3, dtype=F64))


def test_runaway_weights_are_warned_of_once() -> None:
    w = nn.Parameter(torch.ones(2))
    optimizer = EntropySGD([w], n_langevin=1, momentum=0.0, noise=0.0)

    def grow() -> None:
        for _ in range(40):
            w.grad = -10.0 * w.detach()
            optimizer.step()

    with pytest.warns(UserWarning, match="norm grew from"):
        grow()


@pytest.mark.parametrize("scheduler", ["StepLR", "CosineAnnealingLR"])
def test_schedulers_of_torch_act_on_the_outer_rate(scheduler) -> None:
    _, w = bowl()
    optimizer = EntropySGD([w], n_langevin=1)
    kind = getattr(torch.optim.lr_scheduler, scheduler)
    schedule = kind(optimizer, 2)
    w.grad = torch.ones_like(w)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] < 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be >= 0"),
        ({"lr_inner": 0.0}, "lr_inner must be > 0"),
        ({"n_langevin": 0}, "n_langevin must be a whole number"),
        ({"average": 0.0}, "average must be in"),
        ({"momentum": 1.0}, "momentum must be in"),
        ({"noise": math.nan}, "noise must be"),
        ({"scope": 30.0}, "lr_inner [*] scope = 3"),
        ({"variant": "lua"}, "known: paper, code"),
    ],
)
def test_values_out_of_range_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        EntropySGD([nn.Parameter(torch.ones(2))], **options)


def test_a_closure_in_mid_cycle_and_data_weight_without_one_are_refused() -> None:
    a, w = bowl()
    optimizer = EntropySGD([w], n_langevin=3)
    closure = closure_of(optimizer, a, w)
    closure()
    optimizer.step()
    with pytest.raises(RuntimeError, match="finish the cycle"):
        optimizer.step(closure)
    with pytest.raises(RuntimeError, match="mid-cycle"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    data = EntropySGD([w], data_weight=1.0)
    with pytest.raises(RuntimeError, match="pass a closure"):
        data.step()
