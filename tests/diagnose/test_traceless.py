"""Diagnosing leaves everything as it was found, bit for bit, and takes models as they come."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw

FEW = {"evaluations": 12, "seconds": 60}


class Answers(nn.Module):
    """A model whose answer is a tuple or a dictionary."""

    def __init__(self, kind=tuple):
        super().__init__()
        self.a, self.b, self.kind = nn.Linear(64, 32), nn.Linear(32, 10), kind

    def forward(self, x):
        h = F.relu(self.a(x))
        return (self.b(h), h) if self.kind is tuple else {"logits": self.b(h), "hidden": h}


def test_weights_buffers_mode_gradients_and_random_states_stay_as_found(make_task):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(),
                          nn.Linear(16, 10))  # fmt: skip
    model.train()
    model[1].eval()
    model[0].weight.grad = torch.randn(16, 64)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    grad = model[0].weight.grad.clone()
    modes = [m.training for m in model.modules()]
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    task = make_task(model)
    before = [t.clone() for t in (*task.train, *task.held_out)]
    tw.diagnose(task, cure=True, **FEW)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, grad)
    assert [p.grad is None for p in model.parameters()] == [False] + [True] * 5
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert all(
        torch.equal(a, b) for a, b in zip(before, (*task.train, *task.held_out), strict=True)
    )
    assert torch.is_grad_enabled()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(("kind", "pick"), [(tuple, lambda o: o[0]), (dict, lambda o: o["logits"])])
def test_models_that_answer_tuples_or_dictionaries_are_diagnosed(kind, pick, make_task):
    task = make_task(lambda: Answers(kind), loss=lambda o, y: F.cross_entropy(pick(o), y),
                     recipe={"lr": 1e-7})  # fmt: skip
    found = tw.diagnose(task, evaluations=60, seconds=60)
    assert "lr-too-low" in found.codes


def test_half_precision_is_diagnosed(make_task, perceptron, digits):
    def half(pair):
        return pair[0].to(torch.bfloat16), pair[1]

    task = make_task(lambda: perceptron()().to(torch.bfloat16), train=half(digits[0]),
                     held_out=half(digits[1]))  # fmt: skip
    found = tw.diagnose(task, evaluations=60, seconds=60)
    assert "mixed-samples" not in found.codes
    assert found.numbers["largest curvature at the start"] > 0


def test_a_loss_that_is_constant_is_a_loss_without_a_gradient(make_task):
    found = tw.diagnose(make_task(loss=lambda o, y: o.sum() * 0 + 1.0), **FEW)
    assert not found.healthy
    constant = tw.diagnose(make_task(loss=lambda o, y: torch.tensor(1.0)), **FEW)
    assert constant.codes[0] == "frozen-parameters"
    assert constant.findings[0].severity == "error"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"seconds": 0}, "seconds"), ({"seconds": float("nan")}, "seconds"),
     ({"evaluations": 1}, "evaluations")],
)  # fmt: skip
def test_senseless_settings_are_refused_in_one_line(options, said, make_task):
    with pytest.raises(ValueError, match=said):
        tw.diagnose(make_task(), **options)


def test_what_is_no_task_is_refused():
    with pytest.raises(TypeError, match="Task"):
        tw.diagnose(nn.Linear(2, 2))


def test_a_model_that_cannot_take_its_data_is_refused_in_one_line(make_task):
    with pytest.raises(ValueError, match="digits") as error:
        tw.diagnose(make_task(lambda: nn.Linear(7, 10)), **FEW)
    assert "\n" not in str(error.value)
