"""Curricula: weights grow, mixtures have their shares, a full curriculum is plain training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thalweg.risk import Risk
from thalweg.strategies import PACING, curriculum, difficulty, stochastic_curriculum
from thalweg.strategies.paced import Curriculum, StochasticCurriculum
from thalweg.strategies.scores import ranks
from thalweg.training import Hook, train


class Seen(Hook):
    """Which inputs each step saw."""

    def __init__(self):
        self.batches = []

    def loss(self, training, model, batch, loss):
        self.batches.append(batch[0].clone())
        return loss


def indices(task, batch):
    return [(task.train[0] == row).all(1).nonzero()[0, 0].item() for row in batch]


@pytest.mark.parametrize("name", PACING)
def test_pacing_grows_from_its_start_to_everything(name):
    pace = PACING[name]
    values = [pace(t / 100) for t in range(101)]
    assert values[0] == pytest.approx(0.2)
    assert values == sorted(values)
    assert values[80] == values[100] == 1.0


@pytest.mark.parametrize("name", PACING)
def test_weights_never_fall_and_entropy_grows(name):
    place = torch.arange(50, dtype=torch.float64) / 50
    hook = Curriculum(place, name)
    before = torch.zeros(50).double()
    entropies = []
    for t in range(0, 101, 5):
        w = hook.weights(t / 100)
        assert (w >= before).all()
        entropies.append(math.log(float(w.sum())))  # uniform over the open samples
        before = w
    assert entropies == sorted(entropies)
    assert (before == 1).all()


def test_ranks_are_taken_within_classes():
    scores, y = torch.tensor([5.0, 1.0, 3.0, 9.0, 7.0, 8.0]), torch.tensor([0, 0, 0, 1, 1, 1])
    expected = torch.tensor([2, 0, 1, 2, 0, 1]).double() / 3
    torch.testing.assert_close(ranks(scores, y), expected)
    open_ = ranks(scores, y) < 0.34
    assert torch.bincount(y[open_]).tolist() == [1, 1] or torch.bincount(y[open_]).tolist() == [
        2,
        2,
    ]


def test_difficulty_is_the_loss_of_each_sample(task):
    model = train(task, epochs=1).model()
    found = difficulty(task, model)
    x, y = task.train
    each = torch.nn.functional.cross_entropy(model(x), y, reduction="none").detach().double()
    torch.testing.assert_close(found, each, atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", ["easy", "hard"])
def test_only_open_samples_are_seen(maker, order):
    task, seen = maker(), Seen()
    scores = torch.arange(96.0)
    curriculum(task, scores=scores, order=order, pacing="step", epochs=5, hooks=[seen], seed=0)
    y = task.train[1]
    place = ranks(scores if order == "easy" else -scores, y)
    steps = len(seen.batches)
    for step, batch in enumerate(seen.batches):
        share = PACING["step"](step / steps)
        assert all(place[i] < share or share == 1 for i in indices(task, batch))


def test_weighting_keeps_the_open_samples_of_the_usual_batch(maker):
    task, usual, seen = maker(), Seen(), Seen()
    scores = torch.arange(96.0)
    train(task, epochs=3, hooks=[usual])
    curriculum(task, scores=scores, mode="weighting", epochs=3, hooks=[seen])
    place = ranks(scores, task.train[1])
    for step, (whole, part) in enumerate(zip(usual.batches, seen.batches, strict=True)):
        share = PACING["linear"](step / 18)
        expected = [i for i in indices(task, whole) if place[i] < share or share == 1]
        if expected:
            assert indices(task, part) == expected


def test_a_curriculum_that_is_all_open_is_plain_training(maker, monkeypatch):
    task = maker()
    monkeypatch.setitem(PACING, "linear", lambda t: 1.0)
    paced = curriculum(task, scores=torch.zeros(96), epochs=2)
    plain = train(task, epochs=2)
    for a, b in zip(paced.model().parameters(), plain.model().parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_mixture_has_its_proportions():
    level = torch.arange(1000) // 200
    hook = StochasticCurriculum(level, p_mix=0.2, full=0.8)
    n, g = 40_000, torch.Generator().manual_seed(0)
    for t, current in ((0.0, 0), (0.33, 2), (0.95, 4)):
        assert hook.current(t) == current
        found = torch.bincount(level[hook.draw(t, n, g)], minlength=5).double() / n
        expected = torch.tensor(
            [0.04 + 0.8 / (current + 1) * (k <= current) for k in range(5)]
        ).double()
        assert ((found - expected).abs() < 3.5 * (expected * (1 - expected) / n).sqrt()).all()


def test_without_mixing_it_is_a_plain_curriculum_of_levels():
    level = torch.arange(100) // 20
    hook = StochasticCurriculum(level, p_mix=0.0)
    drawn = hook.draw(0.2, 500, torch.Generator().manual_seed(0))
    assert int(level[drawn].max()) == hook.current(0.2) == 1


def test_without_easier_levels_all_but_the_mixture_is_of_the_current_one():
    level = torch.arange(100) // 20
    g = torch.Generator().manual_seed(0)
    for mix, share in ((0.0, 1.0), (0.5, 0.6)):
        hook = StochasticCurriculum(level, p_mix=mix, cumulative=False)
        drawn = level[hook.draw(0.33, 20_000, g)]
        assert hook.current(0.33) == 2
        assert float((drawn == 2).double().mean()) == pytest.approx(share, abs=0.015)


def test_curricula_count_their_teacher_and_repeat(task):
    first, second = (stochastic_curriculum(task, epochs=2, seed=4) for _ in range(2))
    for a, b in zip(first.model().parameters(), second.model().parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.settings["gradients before"] == 6
    assert first.settings["strategy"] == "stochastic-curriculum"
    given = curriculum(task, scores=torch.zeros(96), epochs=1)
    assert "gradients before" not in given.settings


def test_wrong_options_are_refused(task):
    with pytest.raises(ValueError, match=r"wanted \(96,\)"):
        curriculum(task, scores=[1.0, 2.0])
    with pytest.raises(ValueError, match="known: linear"):
        curriculum(task, pacing="cosine")
    with pytest.raises(ValueError, match="p_mix"):
        stochastic_curriculum(task, p_mix=2)
    assert Risk(task, "cpu").train.n == 96


def test_scores_come_from_a_file_and_a_teacher_may_be_a_run(task, tmp_path):
    np.save(tmp_path / "scores.npy", np.arange(96.0))
    given = (torch.arange(96), tmp_path / "scores.npy")
    runs = [curriculum(task, scores=s, epochs=1) for s in given]
    taught = train(task, epochs=1)
    runs += [curriculum(task, teacher=t, epochs=1) for t in (taught, taught.model())]
    for one, other in (runs[:2], runs[2:]):
        for a, b in zip(one.model().parameters(), other.model().parameters(), strict=True):
            assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"no \.npy file"):
        curriculum(task, scores=str(tmp_path / "none.npy"), epochs=1)
