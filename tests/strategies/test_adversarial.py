"""Turns: only the network whose turn it is moves, and k steps of one follow one of the other."""

from __future__ import annotations

import pytest
import torch

import thalweg as tw
from thalweg.models.gan import AdversarialPair, discriminator_loss, generator_loss
from thalweg.strategies import adversarial
from thalweg.training import Hook


class Moves(Hook):
    """Which network each step moved."""

    def __init__(self):
        self.moved, self._before = [], None

    def batch(self, training, step, batch):
        self._before = {k: v.clone() for k, v in training.model.named_parameters()}
        return batch

    def after_step(self, training):
        now = dict(training.model.named_parameters())
        changed = {k.split(".")[0] for k in now if not torch.equal(now[k], self._before[k])}
        self.moved.append("+".join(sorted(changed)))


@pytest.mark.parametrize("k", [1, 3])
def test_only_the_network_whose_turn_it_is_moves(k):
    moves = Moves()
    run = adversarial(
        tw.load_task("gan-gaussian"),
        k=k,
        evaluations=8,
        hooks=[moves],
        optimizer="adamw",
        hyperparameters={"weight_decay": 0.1},
    )
    expected = ["generator" if step % (k + 1) == k else "discriminator" for step in range(8)]
    assert moves.moved == expected
    assert run.settings["k"] == k
    assert run.model().turn is None


@pytest.mark.parametrize("loss", ["minimax", "nonsaturating"])
def test_each_turn_descends_on_its_own_loss(loss):
    task = tw.load_task("gan-gaussian")
    pair = task.model().eval()  # the noise of the batch is used
    pair.loss = loss
    x, z = (t[:32] for t in task.train)
    fake = pair.generator(z)
    wanted = {
        "discriminator": discriminator_loss(pair.logits(x), pair.logits(fake.detach())),
        "generator": generator_loss(pair.logits(fake), loss),
    }
    for turn, expected in wanted.items():
        pair.turn = turn
        torch.testing.assert_close(task.loss(pair, (x, z)), expected)


def test_it_repeats_bit_for_bit_and_other_models_are_refused():
    task = tw.load_task("gan-ring")
    states = [adversarial(task, k=2, evaluations=9, seed=3).model().state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert isinstance(task.model(), AdversarialPair)
    with pytest.raises(ValueError, match="needs an AdversarialPair"):
        adversarial(tw.load_task("wine"))
    with pytest.raises(ValueError, match="k >= 1"):
        adversarial(task, k=0)
