"""Sharpness as a hook: it measures the Hessian's λmax and leaves the training as it was."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from thalweg.curvature import hessian
from thalweg.curvature.surfaces import surface
from thalweg.models import MLP
from thalweg.steps import Sharpness
from thalweg.steps.adaptive import scale_of
from thalweg.task import Task
from thalweg.training import train


@pytest.fixture
def task() -> Task:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=g)
    y = (x[:, 0] + 0.5 * torch.randn(60, generator=g) > 0).long()
    return Task(
        name="two-classes",
        model=lambda: MLP((4, 6, 2), "tanh"),
        loss=F.cross_entropy,
        train=(x[:40], y[:40]),
        held_out=(x[40:], y[40:]),
    )


def watch_for(task: Task, **options) -> Sharpness:
    return Sharpness(
        lambda m: hessian(m, F.cross_entropy, task.train, dtype="float64"), tol=1e-6, **options
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_watched_training_ends_at_the_same_bits(task, optimizer) -> None:
    settings = {"lr": 0.05}
    plain = train(task, optimizer, settings, evaluations=24, batch_size=10, seed=1)
    watch = watch_for(task, every=5)
    watched = train(task, optimizer, settings, evaluations=24, batch_size=10, seed=1, hooks=[watch])
    assert [s.step for s in watch.history] == [0, 5, 10, 15, 20]
    assert all(s.lr == 0.05 for s in watch.history)
    for p, q in zip(plain.model().parameters(), watched.model().parameters(), strict=True):
        assert torch.equal(p, q)


def test_each_number_is_the_top_of_the_dense_hessian_there(task) -> None:
    seen = []

    class Look(Sharpness):
        def measure(self, step, model, lr=float("nan"), optimizer=None):
            at = surface(model, F.cross_entropy, task.train, dtype="float64")
            seen.append(float(torch.linalg.eigvalsh(at.dense_hessian())[-1]))
            return super().measure(step, model, lr, optimizer)

    watch = Look(lambda m: hessian(m, F.cross_entropy, task.train, dtype="float64"), 6, tol=1e-6)
    train(task, "momentum", {"lr": 0.1}, evaluations=20, batch_size=10, seed=0, hooks=[watch])
    assert [s.value for s in watch.history] == pytest.approx(seen, rel=1e-5)


def test_preconditioned_sharpness_is_that_of_the_matrix_divided_by_adams_roots(task) -> None:
    model = MLP((4, 6, 2), "tanh").double()
    data = (task.train[0].double(), task.train[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    watch = Sharpness(lambda m: hessian(m, F.cross_entropy, data), tol=1e-8, of="preconditioned")
    found = watch.measure(5, model, 0.01, optimizer)
    dense = surface(model, F.cross_entropy, data).dense_hessian()
    scale = scale_of(optimizer, list(model.parameters()))
    exact = torch.linalg.eigvals(dense / scale[:, None]).real.max()
    assert found.value == pytest.approx(float(exact), rel=1e-6)


def test_preconditioned_sharpness_starts_with_the_first_step_and_needs_an_optimiser(task) -> None:
    watch = watch_for(task, every=4, of="preconditioned")
    train(task, "adam", {"lr": 0.01}, evaluations=10, batch_size=10, seed=0, hooks=[watch])
    assert [s.step for s in watch.history] == [4, 8]
    with pytest.raises(ValueError, match="needs the optimizer"):
        watch.measure(0, MLP((4, 6, 2), "tanh"))
    with pytest.raises(ValueError, match="known: hessian, preconditioned"):
        watch_for(task, of="fisher")
