"""The clock of the watch, on a machine whose seconds are counted by the test."""

from __future__ import annotations

import pytest
import torch


class Machine:
    """A clock of its own and a training with looks of a known price, asked as the watch asks."""

    def __init__(self, monkeypatch, budget=0.05):
        from thalweg.watching import clock

        self.at, self.trained, self.looked, self.looks = 0.0, 0.0, 0.0, []
        monkeypatch.setattr(clock, "now", lambda: self.at)
        self.clock, self.left = clock.Clock(budget, 0.0), 0

    def look(self, own, hidden, step):
        """Two steps, a look in them, and the first plain step after it pays what is hidden."""
        self.clock.open()
        self.at += 2 * step + own
        self.clock.own += own
        self.trained += 2 * step
        self.looked += own + hidden
        self.looks.append(self.at)
        self.asked = self.left = self.clock.close(2)
        self.at += hidden

    def train(self, seconds, step, own, hidden=0.0):
        """Plain steps of some length (a number, or a function of nothing) and looks between."""
        if not self.looks:
            self.look(5 * own, hidden, step() if callable(step) else step)
        until = self.trained + seconds
        while self.trained < until:
            length = step() if callable(step) else step
            self.at += length
            self.trained += length
            self.left -= 1
            if not self.left:
                self.left = self.asked = self.clock.tick(self.asked)
                if not self.left:
                    self.look(own, hidden, length)


@pytest.mark.parametrize("step", [1e-4, 1e-3, 0.03, 0.4])
def test_looks_take_no_more_than_the_budget_whatever_they_hide(monkeypatch, step):
    run = Machine(monkeypatch)
    run.train(20.0, step, own=4e-3, hidden=6e-3)
    assert run.looked / run.trained <= 0.05
    run.train(20.0, step, own=4e-3, hidden=6e-3)
    most = 0.01 / (3 * step)  # two steps of a look and one after it
    assert min(0.028, 0.8 * most) < run.looked / run.trained <= 0.05
    if step < 0.1:  # beyond, nothing is left to pay for
        assert run.clock.share == pytest.approx(run.looked / run.trained, rel=0.15)


def test_the_first_look_is_paid_back_within_the_horizon(monkeypatch):
    from thalweg.watching.clock import HORIZON

    run = Machine(monkeypatch)
    run.train(0.1, 1e-3, own=0.05)  # the first costs a quarter of a second
    assert len(run.looks) == 1
    run.train(HORIZON, 1e-3, own=0.05)
    assert run.looked / run.trained <= 0.05
    run.train(HORIZON, 1e-3, own=0.05)
    assert run.looked / run.trained <= 0.05
    assert len(run.looks) >= 3


def test_a_pause_earns_no_looks_and_steps_that_scatter_do_no_harm(monkeypatch):
    run = Machine(monkeypatch)
    run.train(5.0, 1e-3, own=4e-3)
    count = len(run.looks)
    run.at += 1e4  # an evaluation
    run.train(0.3, 1e-3, own=4e-3)
    assert len(run.looks) <= count + 5
    lengths = torch.rand(100_000, generator=torch.Generator().manual_seed(4)).pow(4)
    run = Machine(monkeypatch)
    run.train(100.0, iter((lengths / 100).tolist()).__next__, own=4e-3, hidden=2e-3)
    assert 0.02 < run.looked / run.trained <= 0.06
