from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from thalweg.steps import SCHEDULES
from thalweg.steps.schedules import (
    SCHEDULE_FUNCTIONS,
    cosine,
    inverse_time,
    is_robbins_monro,
    linear,
    milestones,
)

schedulers = torch.optim.lr_scheduler


def torch_rates(build, steps, lr=0.3):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("total", [1, 7, 100])
def test_linear_equals_torch_linear_lr_at_every_step(total):
    theirs = torch_rates(
        lambda o: schedulers.LinearLR(o, start_factor=1.0, end_factor=0.01, total_iters=total),
        3 * total,
    )
    ours = [0.3 * linear(step, total) for step in range(3 * total)]
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_linear_at_the_start_the_middle_the_end_and_beyond():
    assert [linear(k, 200) for k in (0, 100, 200, 2000)] == [1.0, 0.505, 0.01, 0.01]


@pytest.mark.parametrize("total", [1, 7, 100])
def test_cosine_equals_torch_cosine_annealing_at_every_step(total):
    theirs = torch_rates(lambda o: schedulers.CosineAnnealingLR(o, T_max=total), total + 1)
    ours = [0.3 * cosine(step, total) for step in range(total + 1)]
    assert ours == pytest.approx(theirs, rel=1e-11, abs=1e-15)
    assert cosine(5 * total, total) == 0.0


def test_milestones_equal_torch_multi_step_lr_at_every_step():
    theirs = torch_rates(lambda o: schedulers.MultiStepLR(o, milestones=[3, 8], gamma=0.5), 12)
    assert [0.3 * milestones(k, [3, 8], 0.5) for k in range(12)] == pytest.approx(theirs, rel=1e-12)


def test_inverse_time_equals_torch_lambda_lr_at_every_step():
    theirs = torch_rates(lambda o: schedulers.LambdaLR(o, lambda k: (1 + k / 5.0) ** -0.75), 20)
    ours = [0.3 * inverse_time(k, 5.0, 0.75) for k in range(20)]
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_every_schedule_starts_at_one_and_the_two_tables_agree():
    assert SCHEDULES.names() == tuple(SCHEDULE_FUNCTIONS)
    for member in SCHEDULES:
        assert member.load() is SCHEDULE_FUNCTIONS[member.name]
        assert member.load()(0, 50) == 1.0


@pytest.mark.parametrize("name", SCHEDULES.names())
@pytest.mark.parametrize(("step", "total"), [(-1, 10), (0, 0)])
def test_schedules_refuse_impossible_steps(name, step, total):
    with pytest.raises(ValueError, match="step >= 0 and total >= 1"):
        SCHEDULES.load(name)(step, total)


def test_milestones_and_inverse_time_refuse_bad_arguments():
    with pytest.raises(ValueError, match="increasing"):
        milestones(0, [5, 2])
    with pytest.raises(ValueError, match="k0 > 0"):
        inverse_time(0, 0.0)


@pytest.mark.parametrize(
    ("name", "power", "answer"),
    [
        ("constant", 1.0, False),
        ("linear", 1.0, False),
        ("cosine", 1.0, False),
        ("milestones", 1.0, False),
        ("inverse-time", 0.5, False),
        ("inverse-time", 0.51, True),
        ("inverse-time", 1.0, True),
        ("inverse-time", 1.01, False),
    ],
)
def test_only_inverse_time_with_power_in_one_half_to_one_is_robbins_monro(name, power, answer):
    assert is_robbins_monro(name, power) is answer


def test_robbins_monro_refuses_an_unknown_schedule():
    with pytest.raises(ValueError, match="unknown schedule 'cosin'"):
        is_robbins_monro("cosin")


@pytest.mark.parametrize("package", ["thalweg.steps", "thalweg.optim"])
def test_importing_the_package_loads_nothing_heavy(package):
    code = f"import sys, {package}; print([m for m in ('torch', 'numba') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
