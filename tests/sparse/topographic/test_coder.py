"""Codes under overlapping pools: limits with known answers, falling energy, certificates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from thalweg.sparse import Group, encode
from thalweg.sparse.penalties.pools import OverlappingGroup
from thalweg.sparse.topographic import GroupSparseCoder, TorusPools, pool_index
from thalweg.sparse.topographic.coder import Problem, certificate, solve

G = torch.Generator().manual_seed(0)


def problem(n=10, m=16, b=12):
    g = torch.Generator().manual_seed(0)
    D = torch.randn(n, m, generator=g, dtype=torch.float64)
    return D / D.norm(dim=0), torch.randn(b, n, generator=g, dtype=torch.float64)


def test_pools_of_one_unit_are_the_lasso_up_to_the_smoothing():
    D, X = problem()
    penalty = OverlappingGroup(0.3, torch.arange(16)[:, None], eps=1e-12)
    found = GroupSparseCoder(D, penalty).encode(X, tol=1e-6, max_iterations=50_000)
    exact = encode(X, D, 0.3, tol=1e-12)
    assert bool(found.converged.all())
    bias = 0.3 * 16 * 1e-6
    assert bool((found.energy >= exact.energy - 1e-9).all())
    assert bool((found.energy <= exact.energy + bias + 1e-6 * 0.5 * X.square().sum(1)).all())


def test_pools_that_do_not_overlap_are_the_group_lasso():
    D, X = problem()
    pools = torch.arange(16).reshape(4, 4)
    found = GroupSparseCoder(D, OverlappingGroup(0.4, pools, eps=1e-12)).encode(X, tol=1e-6)
    exact = encode(X, D, penalty=Group(0.4, [i // 4 for i in range(16)]), tol=1e-10)
    torch.testing.assert_close(found.energy, exact.energy, atol=2e-5, rtol=0)


def test_minimum_is_that_of_an_independent_solver():
    D, X = problem(b=3)
    penalty = TorusPools(4, 4, 3, 1, "gaussian").penalty(0.2, eps=1e-2)
    coder = GroupSparseCoder(D, penalty)
    found = coder.encode(X, tol=1e-13)
    for x, energy in zip(X, found.energy, strict=True):

        def value(z, x=x):
            z = torch.from_numpy(z)[None]
            return float(coder.energy(x[None], z))

        best = minimize(value, np.zeros(16), method="BFGS", options={"gtol": 1e-9})
        assert float(energy) == pytest.approx(best.fun, abs=1e-8)
    assert float(coder.slope(X, found.z).max()) < 1e-6


def test_energies_never_rise_whatever_the_start():
    D, X = problem()
    penalty = TorusPools(4, 4, 2, 1).penalty(0.3, eps=1e-6)
    coder, shared = GroupSparseCoder(D, penalty), Problem.of(D, penalty)
    start = torch.randn(12, 16, generator=G, dtype=torch.float64)
    before = coder.energy(X, start)
    for steps in range(1, 60):
        now = coder.energy(X, solve(shared, X, None, start, steps, None)[0])
        assert bool((now <= before + 1e-12).all()), steps
        before = now


def test_the_certificate_bounds_the_distance_from_the_least_energy():
    D, X = problem()
    penalty = TorusPools(4, 4, 2, 2).penalty(0.3, eps=1e-4)
    coder = GroupSparseCoder(D, penalty)
    least = coder.encode(X, tol=1e-12).energy
    half = 0.5 * X.square().sum(1)
    for steps in (0, 1, 3, 10):
        z = solve(Problem.of(D, penalty), X, None, None, steps, None)[0]
        energy, gap = certificate(Problem.of(D, penalty), X, None, z)
        assert bool(((energy - least) / half <= gap + 1e-10).all())


def test_the_joint_problem_is_that_of_the_stacked_signal():
    D, X = problem()
    penalty, beta = TorusPools(4, 4, 2, 1).penalty(0.2, eps=1e-4), 0.7
    guess = torch.randn(12, 16, generator=G, dtype=torch.float64)
    z, _ = solve(Problem.of(D, penalty, beta), X, guess, guess, 20_000, 1e-12)
    stacked = torch.cat([D, beta**0.5 * torch.eye(16, dtype=torch.float64)])
    both = torch.cat([X, beta**0.5 * guess], 1)
    exact = GroupSparseCoder(stacked, penalty).encode(both, tol=1e-12)
    torch.testing.assert_close(z, exact.z, atol=1e-5, rtol=0)


def test_each_unit_is_in_equally_many_pools_and_its_weights_sum_to_one():
    for stride, window in ((1, "uniform"), (2, "gaussian"), (3, "uniform")):
        pools = TorusPools(12, 6, 6, stride, window)
        counts = torch.bincount(pools.index.flatten(), minlength=72)
        assert set(counts.tolist()) == {36 // stride**2}
        if window == "uniform" or stride == 1:
            total = pools.penalty(1.0).matrix(torch.zeros(1, dtype=torch.float64)).sum(0)
            torch.testing.assert_close(total, torch.ones(72, dtype=torch.float64))


def test_moving_the_torus_permutes_the_pools():
    index = pool_index(6, 8, 3, 1)
    grid = torch.arange(48).reshape(6, 8)
    moved = grid.roll((2, 5), (0, 1)).flatten()  # unit u is where moved[u] was
    sets = {tuple(sorted(pool)) for pool in index.tolist()}
    assert {tuple(sorted(moved[pool].tolist())) for pool in index} == sets


def test_the_majoriser_touches_the_penalty_and_lies_above_it():
    penalty = TorusPools(4, 4, 2, 1).penalty(0.7, eps=1e-3)
    z, v = (torch.randn(50, 16, generator=G, dtype=torch.float64) for _ in range(2))
    bound = penalty.value(z) + 0.5 * (penalty.curvature(z) * (v**2 - z**2)).sum(1)
    assert bool((bound >= penalty.value(v) - 1e-12).all())
    leaf = z.clone().requires_grad_()
    (grad,) = torch.autograd.grad(penalty.value(leaf).sum(), leaf)
    torch.testing.assert_close(grad, penalty.curvature(z) * z)


def test_numpy_in_numpy_out_zero_signals_and_float32():
    D, X = problem()
    penalty = TorusPools(4, 4, 2, 1).penalty(0.3)
    X[0] = 0
    found = GroupSparseCoder(D.float().numpy(), penalty).encode(X.float().numpy(), tol=1e-5)
    assert isinstance(found.z, np.ndarray)
    assert found.z.dtype == np.float32
    assert not found.z[0].any()
    assert found.gap[0] == 0
    assert found.converged.all()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: pool_index(4, 4, 5, 1), "does not fit"),
        (lambda: pool_index(4, 6, 4, 3), "divide"),
        (lambda: TorusPools(4, 4, 2, 1, "flat"), "window"),
        (lambda: OverlappingGroup(0.0, torch.zeros(1, 1, dtype=torch.int64)), "positive"),
        (lambda: OverlappingGroup(1.0, torch.zeros(1, 2, dtype=torch.int64)), "twice"),
        (lambda: OverlappingGroup(1.0, torch.tensor([[0, 2]])), "left out"),
        (lambda: OverlappingGroup(1.0, torch.tensor([[0, 1]]), torch.ones(3)), "2 positive"),
        (lambda: OverlappingGroup(1.0, torch.tensor([[0, 1]]), eps=-1.0), "eps"),
        (
            lambda: GroupSparseCoder(torch.eye(3), OverlappingGroup(1.0, torch.tensor([[0, 1]]))),
            "3 atoms",
        ),
        (
            lambda: GroupSparseCoder(
                torch.eye(2), OverlappingGroup(1.0, torch.tensor([[0, 1]]), eps=0.0)
            ).encode(torch.eye(2)),
            "smoothed",
        ),
    ],
)
def test_bad_settings_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
