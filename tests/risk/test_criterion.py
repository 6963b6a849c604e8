"""Held-out values sample by sample: their weighted mean is the number a plain loop gives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thalweg.risk import Risk
from thalweg.risk.criterion import class_axis, correct, loss_parts
from thalweg.task import Task

G = torch.Generator().manual_seed(0)
X = torch.randn(60, 4, generator=G)
LOGITS, LABELS = torch.randn(60, 3, generator=G), torch.randint(3, (60,), generator=G)


def test_accuracy_of_class_scores_and_of_logits():
    hits, counted = correct(LOGITS, LABELS)
    assert torch.equal(hits.bool(), LOGITS.argmax(1) == LABELS)
    assert counted.sum() == 60
    two = torch.tensor([[0.3], [-1.0], [2.0]])
    assert correct(two, torch.tensor([1, 1, 1]))[0].tolist() == [1.0, 0.0, 1.0]


def test_accuracy_of_sequences_is_per_sample_and_skips_ignored_targets():
    output = torch.randn(5, 7, 11, generator=G)  # (b, T, C)
    target = torch.randint(11, (5, 7), generator=G)
    target[:, 4:] = -100
    hits, counted = correct(output, target)
    right = output.argmax(-1)[:, :4] == target[:, :4]
    assert torch.allclose(hits, right.double().mean(1))
    assert counted.tolist() == [4.0] * 5
    assert class_axis(output.transpose(1, 2), target) == 1


@pytest.mark.parametrize(
    ("loss", "output", "target"),
    [
        (F.cross_entropy, LOGITS, LABELS),
        (nn.CrossEntropyLoss(label_smoothing=0.1), LOGITS, LABELS),
        (F.mse_loss, LOGITS, torch.randn(60, 3, generator=G)),
        (nn.SmoothL1Loss(), LOGITS, torch.randn(60, 3, generator=G)),
        (lambda o, y: (o.logsumexp(1) - o.gather(1, y[:, None])[:, 0]).mean(), LOGITS, LABELS),
        (lambda o, y: ((o - y) ** 2).sum(1).mean() / 2, LOGITS, torch.randn(60, 3, generator=G)),
    ],
    ids=["function", "module", "mse", "smooth l1", "own classification", "own regression"],
)
def test_a_mean_loss_is_taken_apart_exactly(loss, output, target):
    values, weights = loss_parts(loss, output, target)(output, target)
    each = [float(loss(output[i : i + 1], target[i : i + 1])) for i in range(60)]
    assert values.tolist() == pytest.approx(each, rel=1e-4, abs=1e-6)
    assert torch.all(weights == 1)


def test_losses_that_are_no_mean_over_samples_are_not_taken_apart():
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1]))
    assert loss_parts(weighted, LOGITS, LABELS) is None
    assert loss_parts(lambda o, y: F.cross_entropy(o, y, reduction="sum"), LOGITS, LABELS) is None


def plain(model, loss, x, y):
    model.eval()
    with torch.no_grad():
        return float(loss(model(x), y))


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(torch.tensor([1.0, 5, 1]))])
def test_held_out_loss_equals_a_plain_pass(loss):
    count = (lambda b: float(loss.weight[b[1]].sum())) if isinstance(loss, nn.Module) else None
    task = Task(
        name="t",
        model=lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout()),
        loss=loss,
        weight=count,
        train=(X, LABELS),
        held_out=(X, LABELS),
        metric="loss",
    )
    risk = Risk(task, device="cpu")
    model = risk.model(0)
    scores = risk.score(model, "selection")
    expected = plain(model.eval(), loss, *risk.selection.samples)
    assert scores.loss == pytest.approx(expected, rel=1e-5)
    assert scores.mean == pytest.approx(-expected, rel=1e-5)


def test_a_users_metric_is_averaged_over_blocks():
    def margin(output, target):
        return float(output.sort(1).values.diff(dim=1)[:, -1].mean())

    task = Task(
        name="t", model=lambda: nn.Linear(4, 3), loss=F.cross_entropy, metric=margin,
        train=(X, LABELS), held_out=(X, LABELS),
    )  # fmt: skip
    risk = Risk(task, device="cpu")
    model = risk.model(0)
    with torch.no_grad():
        expected = margin(model(risk.selection.samples[0]), None)
    scores = risk.score(model, "selection")
    assert risk.metric == "margin"
    assert len(scores.values) > 5
    assert scores.mean == pytest.approx(expected, rel=1e-6)


def test_scoring_leaves_the_model_in_training_mode_with_its_buffers():
    task = Task(
        name="t", model=lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)),
        loss=F.cross_entropy, train=(X, LABELS), held_out=(X, LABELS),
    )  # fmt: skip
    risk = Risk(task, device="cpu")
    model = risk.model(0)
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    risk.score(model, "selection")
    assert model[0].training
    assert not model[1].training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_criterion_defaults_to_accuracy_for_classes_and_to_loss_otherwise():
    def risk(loss, targets):
        return Risk(
            Task(name="t", model=lambda: nn.Linear(4, 3), loss=loss,
                 train=(X, targets), held_out=(X, targets)), device="cpu",
        )  # fmt: skip

    assert risk(F.cross_entropy, LABELS).metric == "accuracy"
    assert risk(F.mse_loss, torch.zeros(60, 3)).metric == "loss"
