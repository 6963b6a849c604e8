"""Every engine gives the trajectories of the looped one: weights, buffers, losses and scores."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.models.losses import half_squared_error
from thalweg.optim import OPTIMIZERS

ENGINES = ("stacked", "vmap")
BOUND = 1e-10  # float64, after 100 steps
UNSTACKED = ("bare",)  # parameters outside modules: vmap only
# masks drawn over a transposed layout, which vmap does not keep; a count read as a number
UNMAPPED = ("encoder", "conv-net")


def supported(engine, models):
    leave = UNSTACKED if engine == "stacked" else UNMAPPED
    return [name for name in models if name not in leave]


def check(twins, steps):
    ours, theirs = (twins.advance(e, steps) for e in (twins.engine, twins.looped))
    assert sorted(ours) == sorted(theirs) == list(range(len(twins.members)))
    for i, done in ours.items():
        assert done.finite
        assert done.evaluations == theirs[i].evaluations == steps
        assert done.train_loss == pytest.approx(theirs[i].train_loss, rel=1e-9)
        for part in ("selection", "confirmation"):
            a, b = twins.engine.score(i, part), twins.looped.score(i, part)
            assert a.loss == pytest.approx(b.loss, rel=1e-9)
            torch.testing.assert_close(a.values, b.values, rtol=1e-8, atol=1e-10)
    assert twins.gap() <= BOUND


def pytest_generate_tests(metafunc):
    if {"engine", "model"} <= set(metafunc.fixturenames):
        import importlib.util
        from pathlib import Path

        spec = importlib.util.spec_from_file_location(
            "engine_models", Path(__file__).with_name("conftest.py")
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        cases = [(e, m) for e in ENGINES for m in supported(e, module.MODELS)]
        metafunc.parametrize(("engine", "model"), cases)


def test_a_hundred_steps_equal_the_looped_run(engine, model, models, pair, task_of, members, mixed):
    stochastic = models[model][2]
    check(pair(engine, task_of(model), members(mixed), 100, stochastic), 100)


def test_seeds_with_their_own_batches_and_masks_share_a_chunk(
    engine, model, models, pair, task_of, members, mixed
):
    stochastic = models[model][2]
    group = members(mixed[:2], seeds=(3, 1, 7))
    twins = pair(engine, task_of(model), group, 12, stochastic)
    assert len(twins.engine._chunks) == 1
    check(twins, 12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", OPTIMIZERS.names())
def test_every_rule_follows_its_schedule_and_clip(engine, rule, pair, task_of, members):
    table = {entry.name for entry in OPTIMIZERS.load(rule).hyperparameters}
    how = [(rule, {"lr": 0.02}), (rule, {"lr": 0.05})]
    if "weight_decay" in table:
        how.append((rule, {"lr": 0.01, "weight_decay": 0.1}))
    group = members(how, schedule="cosine") + members(how[:1], clip=0.05)
    group += members(how[1:], schedule="linear", clip=0.5)
    check(pair(engine, task_of("mlp"), group, 30, False), 30)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(weight=torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)),
        nn.MultiMarginLoss(),
    ],
    ids=lambda loss: f"{type(loss).__name__}-{getattr(loss, 'label_smoothing', 0)}",
)
def test_class_losses_are_taken_per_member(engine, loss, pair, task_of, members, mixed):
    if engine == "vmap" and isinstance(loss, nn.MultiMarginLoss):
        pytest.skip("torch has no vmap rule for this loss; the probe then takes another engine")
    check(pair(engine, task_of("mlp", loss=loss), members(mixed), 10, False), 10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        nn.MSELoss(),
        F.smooth_l1_loss,
        half_squared_error,
        lambda o, t: (o - t).abs().max(),
    ],
    ids=["mse", "module", "smooth", "half", "largest"],
)
def test_losses_on_numbers_are_taken_per_member(engine, loss, pair, members, mixed):
    from thalweg.task import Recipe, Task

    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 6, generator=g), torch.randn(40, 2, generator=g)
    task = Task(
        "numbers",
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)),
        loss,
        train=(x, y),
        held_out=(x, y),
        metric="loss",
        recipe=Recipe(batch_size=8),
    )
    check(pair(engine, task, members(mixed), 10, False), 10)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_over_model_and_batch_is_taken_per_member(engine, pair, task_of, members, mixed):
    def loss(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.0)

    task = task_of("batch-norm", loss=loss, forward="batch")
    check(pair(engine, task, members(mixed, seeds=(0, 1)), 10, False), 10)


@pytest.mark.parametrize("engine", ENGINES)
def test_targets_that_do_not_count_do_not_count(engine, pair, task_of, members, mixed):
    task = task_of("char-lm")
    codes, target = task.train
    target = target.clone()
    target[:, ::3] = -100
    from dataclasses import replace

    task = replace(task, train=(codes, target), weight=lambda batch: (batch[1] != -100).sum())
    check(pair(engine, task, members(mixed), 10, False), 10)


@pytest.mark.parametrize("engine", ENGINES)
def test_inputs_may_be_dictionaries_and_tuples(engine, pair, members, mixed):
    from thalweg.task import Recipe, Task

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)

        def forward(self, left, right):
            return self.a(left) * self.b(right)

    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(40, 3, generator=g), torch.randn(40, 2, generator=g)
    y = torch.randint(4, (40,), generator=g)
    for inputs in ((left, right), {"right": right, "left": left}):
        task = Task(
            "two",
            Two,
            F.cross_entropy,
            train=(inputs, y),
            held_out=(inputs, y),
            recipe=Recipe(batch_size=8),
        )
        check(pair(engine, task, members(mixed, seeds=(0, 1)), 10, False), 10)
