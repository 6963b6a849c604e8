from __future__ import annotations

import math

import pytest
import torch

from thalweg.optim import OPTIMIZERS, population
from thalweg.optim.population import Population, columns, export, restore, rule_for
from thalweg.optim.rule import FLAT

NAMES = OPTIMIZERS.names()


def run(flock, problem, steps, start=0, lr=None):
    for t in range(start, start + steps):
        flock.step(problem.grad(flock.w, t), lr)


@pytest.fixture(params=["kernel", "torch"])
def fresh(request, members, problem):
    """A population at the start, by name, on each engine."""

    def build(name, group=None, w=None):
        group = members[name] if group is None else group
        w = problem.start.repeat(len(group), 1) if w is None else w
        return Population(name, group, w, engine=request.param)

    return build


@pytest.mark.parametrize("name", NAMES)
def test_keeping_rows_leaves_the_survivors_on_their_path(name, fresh, problem):
    flock = fresh(name)
    run(flock, problem, 7)
    rows = torch.tensor([2, 0])
    kept = flock.keep(rows, flock.w[rows].clone())
    run(kept, problem, 7, start=7)
    run(flock, problem, 7, start=7)
    torch.testing.assert_close(kept.w, flock.w[rows], rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_population_continues_bit_for_bit(name, fresh, problem):
    flock = fresh(name)
    run(flock, problem, 7)
    tensors, step = flock.export()
    saved = {key: tensor.clone() for key, tensor in tensors.items()}
    again = fresh(name, w=flock.w.clone())
    again.load(saved, step)
    run(flock, problem, 7, start=7)
    run(again, problem, 7, start=7)
    assert torch.equal(flock.w, again.w)
    assert again.export()[1] == 14


@pytest.mark.parametrize("name", NAMES)
def test_one_member_that_is_not_finite_reaches_no_other(name, fresh, members, problem):
    clean, sick = fresh(name), fresh(name)
    for t in range(5):
        g = problem.grad(clean.w, t)
        clean.step(g)
        g = g.clone()
        g[1] = math.nan
        sick.step(g)
    others = [i for i in range(len(members[name])) if i != 1]
    assert torch.equal(clean.w[others], sick.w[others])
    assert bool(sick.w[1].isnan().all())


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_of_a_step_may_be_a_number_or_a_column(name, fresh, members, problem):
    group = [m | {"lr": 0.03} for m in members[name]]
    a = fresh(name, group)
    b = fresh(name, group)
    column = torch.full((len(group), 1), 0.015, dtype=torch.float64)
    run(a, problem, 4, lr=0.015)
    run(b, problem, 4, lr=column)
    torch.testing.assert_close(a.w, b.w, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_of_zero_moves_nothing_and_harms_no_state(name, fresh, members, problem):
    flock = fresh(name)
    column = torch.zeros(len(members[name]), 1, dtype=torch.float64)
    for rate in (0.0, column):
        before = flock.w.clone()
        run(flock, problem, 2, lr=rate)
        assert torch.equal(flock.w, before)
    run(flock, problem, 3)
    assert bool(flock.w.isfinite().all())
    assert not torch.equal(flock.w, before)


def test_rules_carry_no_buffer_that_no_member_needs():
    assert type(rule_for("sgd", [{"lr": 1.0}])).__name__ == "SGD"
    assert type(rule_for("sgd", [{"lr": 1.0}, {"momentum": 0.5}])).__name__ == "HeavyBall"
    w = {FLAT: torch.zeros(2, 3)}
    assert rule_for("rmsprop", [{"momentum": 0.0}]).init(w).velocity == {}
    assert set(rule_for("rmsprop", [{"momentum": 0.9}]).init(w).velocity) == {FLAT}


def test_columns_are_numbers_where_all_agree_and_columns_where_not():
    table = columns("adam", [{"lr": 0.1}, {"lr": 0.2, "betas": (0.9, 0.5)}])
    assert table["lr"].dtype == torch.float64
    assert table["lr"].tolist() == [[0.1], [0.2]]
    assert table["betas"][0] == 0.9
    assert table["betas"][1].tolist() == [[0.999], [0.5]]
    assert (table["eps"], table["weight_decay"]) == (1e-8, 0.0)


def test_an_optional_hyperparameter_that_some_members_leave_out_becomes_nan():
    table = columns("delta-bar-delta", [{"kappa": 0.1}, {}])
    assert table["kappa"][0].item() == 0.1
    assert math.isnan(table["kappa"][1].item())
    assert table["lr_max"] is None


def test_momentum_without_a_velocity_is_refused():
    w = torch.zeros(2)
    for name in ("sgd", "rmsprop"):
        rule = rule_for(name, [{}])
        with pytest.raises(ValueError, match="momentum"):
            rule.step_(w, w, rule.init({FLAT: w}), {"lr": 0.1, "momentum": 0.9}, [w, w])


def test_a_state_that_does_not_fit_is_refused_by_name_and_shape():
    rule = rule_for("adam")
    params = {FLAT: torch.zeros(2, 3)}
    tensors, step = export(rule.init(params))
    assert sorted(tensors) == ["mean.flat", "square_mean.flat"]
    with pytest.raises(ValueError, match=r"has tensors \['mean.flat'\]"):
        restore(rule, params, {"mean.flat": tensors["mean.flat"]}, step)
    wrong = tensors | {"square_mean.flat": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"'square_mean.flat' has shape \(3,\)"):
        restore(rule, params, wrong, step)


@pytest.mark.parametrize("w", [torch.zeros(3, 2), torch.zeros(2), torch.zeros(4, 2).T])
def test_parameters_of_another_shape_are_refused(w):
    with pytest.raises(ValueError, match="2 members need contiguous parameters"):
        Population("sgd", [{}, {}], w)
    flock = Population("sgd", [{}, {}, {}], torch.zeros(3, 4))
    with pytest.raises(ValueError, match="2 members need contiguous parameters"):
        flock.keep(torch.tensor([0, 2]), w)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
def test_gradients_that_do_not_fit_are_refused(engine):
    # the compiled loops check no bounds
    flock = Population("sgd", [{}, {}], torch.zeros(2, 3), engine=engine)
    for g in (torch.zeros(2, 2), torch.zeros(1, 3), torch.zeros(2, 3, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"gradients must be \(2, 3\) of torch.float32"):
            flock.step(g)


def test_the_engine_is_chosen_by_device_dtype_and_threads(monkeypatch):
    w, half = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bfloat16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: population.KERNEL_THREADS)
    assert Population("sgd", [{}], w).engine == "kernel"
    assert Population("sgd", [{}], half).engine == "torch"
    assert Population("sgd", [{}], torch.zeros(1, 2, device="meta")).engine == "torch"
    monkeypatch.setattr(torch, "get_num_threads", lambda: population.KERNEL_THREADS + 1)
    assert Population("sgd", [{}], w).engine == "torch"
    with pytest.raises(ValueError, match="kernels step float32 or float64 on the CPU"):
        Population("sgd", [{}], half, engine="kernel")
    with pytest.raises(ValueError, match="engine must be one of auto, kernel, torch"):
        Population("sgd", [{}], w, engine="cuda")


@pytest.mark.parametrize("name", NAMES)
def test_kernels_read_gradients_of_any_layout(name, members):
    group = members[name]
    g = torch.arange(4.0 * len(group)).reshape(4, -1).T - 5
    flocks = [Population(name, group, torch.ones(len(group), 4), engine="kernel") for _ in "ab"]
    flocks[0].step(g)
    flocks[1].step(g.contiguous())
    assert torch.equal(flocks[0].w, flocks[1].w)
