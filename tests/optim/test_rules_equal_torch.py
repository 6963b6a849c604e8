"""Every rule against torch, its in-place twin against itself, step by step in float64."""

from __future__ import annotations

import pytest
import torch

from thalweg.optim import OPTIMIZERS
from thalweg.optim.build import defaults, make
from thalweg.optim.population import Population, columns, rule_for
from thalweg.optim.rule import FLAT, Given

STEPS = 60
TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def pure_path(rule, hyperparameters, problem, w, steps=STEPS):
    """Weights after each pure update; ``w`` is ``(P,)`` or ``(K, P)``."""
    params, path = {FLAT: w}, []
    state = rule.init(params, hyperparameters)
    for t in range(steps):
        oracle = Given({FLAT: problem.grad(params[FLAT], t)})
        params, state = rule.update(oracle, params, state, **hyperparameters)
        path.append(params[FLAT])
    return path


def pytest_generate_tests(metafunc):
    if "index" in metafunc.fixturenames:
        pairs = [(n, i) for n in OPTIMIZERS.names() for i in range(4 if n == "sgd" else 3)]
        metafunc.parametrize(("name", "index"), pairs)


def test_the_catalogue_of_members_covers_every_rule(members):
    assert tuple(members) == OPTIMIZERS.names()
    assert [len(members[n]) for n in members] == [4] + [3] * 9


def test_pure_update_equals_torch(name, index, members, problem, torch_path):
    member = members[name][index]
    theirs = torch_path(lambda p: make(name, p, **member), STEPS)
    rule = rule_for(name, [member])
    ours = pure_path(rule, defaults(name) | member, problem, problem.start)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **TIGHT)


def test_in_place_step_equals_pure_update_with_numbers(name, index, members, problem):
    member = members[name][index]
    rule, values = rule_for(name, [member]), defaults(name) | member
    pure = pure_path(rule, values, problem, problem.start)
    w = problem.start.clone()
    state = rule.init({FLAT: w}, values)
    scratch = [torch.empty_like(w) for _ in range(rule.scratch)]
    for t in range(STEPS):
        g = problem.grad(w, t)
        kept = g.clone()
        state = rule.step_(w, g, state, values, scratch)
        assert torch.equal(g, kept), "a gradient was written to"
        torch.testing.assert_close(w, pure[t], **TIGHT)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_population_equals_torch_runs_of_its_members(name, engine, members, problem, torch_path):
    group = members[name]
    w = problem.start.repeat(len(group), 1)
    population = Population(name, group, w, engine=engine)
    theirs = [torch_path(lambda p, m=m: make(name, p, **m), STEPS) for m in group]
    for t in range(STEPS):
        population.step(problem.grad(w, t))
        for row, path in zip(w, theirs, strict=True):
            torch.testing.assert_close(row, path[t], **TIGHT)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_pure_update_of_columns_equals_in_place_population(name, engine, members, problem):
    group = members[name]
    w = problem.start.repeat(len(group), 1)
    pure = pure_path(rule_for(name, group), columns(name, group), problem, w.clone())
    population = Population(name, group, w, engine=engine)
    for t in range(STEPS):
        population.step(problem.grad(w, t))
        torch.testing.assert_close(w, pure[t], **TIGHT)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_update_vmapped_over_members_equals_the_loop(name, members, problem):
    rule = OPTIMIZERS.load("momentum" if name == "sgd" else name)()
    starts = torch.stack([problem.start, 2 * problem.start, -problem.start])
    values = defaults(name) | members[name][1] | ({"momentum": 0.5} if name == "sgd" else {})

    def two_steps(w, g):
        params, state = {FLAT: w}, rule.init({FLAT: w}, values)
        for scale in (1.0, -0.5):
            params, state = rule.update(Given({FLAT: scale * g}), params, state, **values)
        return params[FLAT]

    grads = problem.grad(starts, 0)
    together = torch.vmap(two_steps)(starts, grads)
    alone = torch.stack([two_steps(w, g) for w, g in zip(starts, grads, strict=True)])
    torch.testing.assert_close(together, alone, **TIGHT)


class Counting:
    """Counts what was asked; answers nothing but gradients."""

    def __init__(self, gradients):
        self.gradients, self.asked = gradients, 0

    def grad(self, params):
        self.asked += 1
        return self.gradients


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_update_asks_for_one_gradient_and_leaves_its_arguments_alone(name):
    rule = OPTIMIZERS.load(name)()
    params = {"a": torch.ones(2, 3), "b": torch.tensor(2.0)}
    oracle = Counting({"a": torch.full((2, 3), 0.5), "b": torch.tensor(-1.0)})
    state = rule.init(params, defaults(name))
    before = [v.clone() for f in state[1:] for v in f.values()]
    new, after = rule.update(oracle, params, state, **defaults(name))
    assert oracle.asked == 1
    assert (state.step, after.step) == (0, 1)
    assert torch.equal(params["a"], torch.ones(2, 3))
    for kept, now in zip(before, [v for f in state[1:] for v in f.values()], strict=True):
        assert torch.equal(kept, now)
    assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in params.items()}
    assert bool((new["a"] < 1).all())
    assert new["b"] > 2


@pytest.mark.parametrize("engine", ["kernel", "torch"])
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_columns_do_not_promote_float32_parameters(name, engine, members):
    group = members[name]
    w = torch.ones(len(group), 4)
    Population(name, group, w, engine=engine).step(torch.ones_like(w))
    values = columns(name, group)
    params, state = {FLAT: torch.ones_like(w)}, rule_for(name, group).init({FLAT: w}, values)
    new, state = rule_for(name, group).update(
        Given({FLAT: torch.ones_like(w)}), params, state, **values
    )
    assert new[FLAT].dtype == torch.float32
    assert {v.dtype for f in state[1:] for v in f.values()} <= {torch.float32}
    torch.testing.assert_close(w, new[FLAT], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
def test_beta_columns_in_float32_keep_one_minus_beta_exact(engine):
    # 1 - 0.999 from a float32 column is wrong by 3e-5; v after one step shows it
    group = [{"lr": 0.1, "betas": (0.9, 0.999)}, {"lr": 0.1, "betas": (0.9, 0.99)}]
    w = torch.zeros(2, 1)
    population = Population("adam", group, w, engine=engine)
    population.step(torch.ones(2, 1))
    v = population.state.square_mean[FLAT][:, 0].double()
    torch.testing.assert_close(
        v, torch.tensor([1e-3, 1e-2], dtype=torch.float64), rtol=1e-7, atol=0
    )
