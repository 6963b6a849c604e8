"""Hints and distillation: closed forms, and which layers each stage touches."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thalweg.risk import Risk
from thalweg.strategies import fitnets, hint_loss, kd_loss
from thalweg.strategies.hints import Distil, Follower, output_of, regressor, softened
from thalweg.training import Hook, train


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def test_a_sure_teacher_at_temperature_one_is_one_plus_lambda_cross_entropies():
    a, y = normal(7, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    sure = 1e4 * F.one_hot(y, 4).double()
    for lam in (0.0, 1.0, 4.0):
        expected = (1 + lam) * F.cross_entropy(a, y)
        torch.testing.assert_close(kd_loss(a, sure, y, 1.0, lam), expected, atol=1e-10, rtol=0)


def test_gradient_by_the_students_logits_is_its_closed_form():
    a, t = normal(5, 4).requires_grad_(), normal(5, 4, seed=1)
    lam, tau = 2.5, 3.0
    (found,) = torch.autograd.grad(lam * softened(a, t, tau), a)
    expected = lam / tau * ((a / tau).softmax(1) - (t / tau).softmax(1)) / 5
    torch.testing.assert_close(found, expected.detach(), atol=1e-12, rtol=0)


def test_hint_loss_is_half_the_square_and_zero_for_equal_networks():
    u, r = normal(6, 3), normal(6, 3, seed=1)
    torch.testing.assert_close(hint_loss(u, r), 0.5 * (u - r).square().sum(1).mean())
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    same = Follower(net, "1", nn.Identity())
    assert float(hint_loss(output_of(net, "1", lambda m: m(u)), same(u)).detach()) == 0
    with pytest.raises(ValueError, match="regressor"):
        hint_loss(u, r[:, :2])


def test_the_regressor_has_the_hints_shape_and_a_small_kernel():
    made = regressor(torch.zeros(2, 3, 8, 9), torch.zeros(2, 5, 6, 6))
    assert made[0].kernel_size == (3, 4)
    assert made(torch.zeros(2, 3, 8, 9)).shape == (2, 5, 6, 6)
    assert regressor(torch.zeros(2, 7), torch.zeros(2, 4))(torch.zeros(2, 7)).shape == (2, 4)
    with pytest.raises(ValueError, match="smaller"):
        regressor(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 5, 5))


def test_hint_stage_leaves_upper_layers_of_the_student_and_the_teacher_untouched(maker):
    task = maker((6, 8, 7, 5, 3), weight_decay=0.1)
    teacher = train(maker((6, 16, 3)), epochs=1).model()
    kept = {k: v.clone() for k, v in teacher.state_dict().items()}
    fresh = Risk(task, "cpu").model(3).state_dict()
    seen: list[dict] = []

    class First(Hook):
        def batch(self, training, step, batch):
            if not seen:
                seen.append({k: v.clone() for k, v in training.model.state_dict().items()})
            return batch

    ended = fitnets(
        task,
        teacher=teacher,
        hint="layers.1",
        guided="layers.3",
        hint_epochs=1,
        epochs=1,
        seed=3,
        hooks=[First()],
    )
    after_hint = seen[0]
    for name, value in fresh.items():
        lower = name.startswith(("layers.0", "layers.2"))
        assert torch.equal(value, after_hint[name]) != lower, name
    assert all(torch.equal(kept[k], v) for k, v in teacher.state_dict().items())
    assert ended.settings["gradients before"] == 6
    assert set(ended.model().state_dict()) == set(fresh)  # the regressor is gone


def test_distillation_descends_on_the_combined_loss(maker):
    task = maker(batch_size=96, momentum=0.0)
    teacher = train(maker((6, 16, 3)), epochs=2).model()
    ended = fitnets(
        task, teacher=teacher, temperature=2.0, start=4.0, end=1.0, epochs=4, dtype="float64"
    )
    model = Risk(task, "cpu").model(0).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = task.train[0].double(), task.train[1]
    teacher = teacher.double()
    for step in range(4):
        optimizer.zero_grad()
        with torch.no_grad():
            answer = teacher(x)
        kd_loss(model(x), answer, y, 2.0, 4.0 - step).backward()
        optimizer.step()
    for mine, theirs in zip(ended.model().parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    assert not ended.model()._forward_hooks


def test_a_teacher_is_found_by_its_directory(maker, tmp_path, monkeypatch):
    task = maker()
    with pytest.raises(ValueError, match=r"no train\.json"):
        fitnets(task, teacher=tmp_path)
    with pytest.raises(ValueError, match="both hint= "):
        fitnets(task, teacher=task.model(), hint="layers.1")
    with pytest.raises(ValueError, match="known: layers"):
        fitnets(task, teacher=task.model(), hint="middle", guided="layers.1")
    assert Distil(task.model(), 3.0, 4.0, 0.0).start == 4.0


def test_a_teacher_of_other_classes_or_inputs_is_refused(maker):
    task = maker()
    for widths, said in (((6, 16, 4), "the same classes"), ((5, 16, 3), "cannot read task")):
        with pytest.raises(ValueError, match=said):
            fitnets(task, teacher=maker(widths).model(), epochs=1)
    with pytest.raises(ValueError, match="temperature 0"):
        fitnets(task, teacher=task.model(), temperature=0.0)
    with pytest.raises(ValueError, match="start -1"):
        fitnets(task, teacher=task.model(), start=-1.0)
