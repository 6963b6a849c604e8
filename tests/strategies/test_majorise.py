"""Surrogates lie above and touch; known methods come out of them step by step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn

import thalweg as tw
from thalweg.strategies import majorise, mm


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def quadratic():
    a = normal(12, 5)
    h, b = a.T @ a / 12, normal(5, seed=1)
    return h, b, float(torch.linalg.eigvalsh(h)[-1])


@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_the_quadratic_bound_gives_descent_and_ista(l1):
    h, b, big = quadratic()

    def smooth(w):
        return 0.5 * w @ h @ w - b @ w

    def objective(w):
        return smooth(w) + l1 * w.abs().sum()

    def bound(w, at):
        d = w - at
        return smooth(at) + (h @ at - b) @ d + big / 2 * d @ d + l1 * w.abs().sum()

    def minimiser(at):
        moved = at - (h @ at - b) / big
        return moved.sign() * (moved.abs() - l1 / big).clamp(min=0)

    w = normal(5, seed=2)
    found = mm(objective, bound, minimiser, w, steps=50)
    for _ in range(50):
        w = torch.nn.functional.softshrink(w - (h @ w - b) / big, l1 / big)
    torch.testing.assert_close(found.w, w, atol=1e-12, rtol=0)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(found.values))
    for seed in range(50):  # bound and touch at random points
        at, other = normal(5, seed=seed), 3 * normal(5, seed=seed + 100)
        assert float(bound(other, at)) >= float(objective(other)) - 1e-10
        assert float(bound(at, at)) == pytest.approx(float(objective(at)), rel=1e-12)


def test_reweighted_squares_reach_the_least_absolute_deviation():
    x, y = normal(40, 3), normal(40, seed=1)

    def objective(w):
        return (y - x @ w).abs().sum()

    def bound(w, at):
        r, s = y - x @ w, (y - x @ at).abs()
        return (r * r / (2 * s) + s / 2).sum()

    def minimiser(at):
        weight = 1 / (y - x @ at).abs().clamp(min=1e-9)
        return torch.linalg.solve(x.T @ (weight[:, None] * x), x.T @ (weight * y))

    found = mm(objective, bound, minimiser, torch.zeros(3).double(), 300, check=False)
    n = len(y)
    rows = np.block([[x.numpy(), -np.eye(n)], [-x.numpy(), -np.eye(n)]])
    cost = np.concatenate([np.zeros(3), np.ones(n)])
    exact = scipy.optimize.linprog(
        cost, rows, np.concatenate([y, -y]), bounds=[(None, None)] * 3 + [(0, None)] * n
    )
    assert found.values[-1] == pytest.approx(exact.fun, rel=1e-4)
    np.testing.assert_allclose(found.w.numpy(), exact.x[:3], atol=1e-4)


def test_what_is_no_majoriser_is_refused():
    with pytest.raises(ValueError, match="no majoriser"):
        mm(
            lambda w: (w * w).sum(),
            lambda w, at: (w * w).sum() - (w - at).square().sum(),
            lambda at: at - 1,
            torch.ones(2),
            steps=3,
        )


def linear_task(l1=0.0):
    x, w = normal(60, 4).float(), torch.tensor([1.0, -2.0, 0.0, 0.5])
    y = (x @ w)[:, None] + 0.1 * normal(60, 1, seed=3).float()
    return tw.Task(
        "line",
        lambda: nn.Linear(4, 1, bias=False),
        nn.functional.mse_loss,
        train=(x, y),
        held_out=(x, y),
        metric="loss",
    )


def test_a_task_descends_at_every_step_to_the_least_squares_solution():
    task = linear_task()
    run = majorise(task, epochs=200, dtype="float64")
    values = run.trace.train_loss
    assert all(b <= a for a, b in itertools.pairwise(values))
    x, y = (t.double() for t in task.train)
    exact = torch.linalg.lstsq(x, y).solution.T
    torch.testing.assert_close(run.model().weight.detach(), exact, atol=1e-6, rtol=0)


def test_a_penalty_on_weights_leaves_the_lassos_zeros():
    from sklearn.linear_model import Lasso

    task = linear_task()
    run = majorise(task, l1=0.8, epochs=400, dtype="float64")
    x, y = (t.double().numpy() for t in task.train)
    lasso = Lasso(alpha=0.4, fit_intercept=False, tol=1e-12).fit(x, y[:, 0])
    np.testing.assert_allclose(run.model().weight.detach().numpy()[0], lasso.coef_, atol=1e-6)
    assert (run.model().weight == 0).any()


def test_it_keeps_its_weights_and_refuses_what_it_cannot_use(tmp_path):
    task = linear_task()
    run = majorise(task, epochs=10, run=tmp_path / "m")
    assert (tmp_path / "m" / "train.json").is_file()
    assert (tmp_path / "m" / "model.safetensors").is_file()
    assert run.settings["strategy"] == "majorise"
    with pytest.raises(ValueError, match="leave out clip"):
        majorise(task, clip=1.0)
    with pytest.raises(ValueError, match="draws random numbers"):
        majorise(tw.load_task("dropout"), epochs=1)
