"""Worker processes around one centre: they learn, die, come back, and end where others do."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

import thalweg as tw
from thalweg.parallel import train

TASK = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(900, 6, generator=g)
y = (x[:, :3].sum(1) > 0).long()
task = tw.Task(
    "half space",
    lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
    nn.functional.cross_entropy, train=(x[:600], y[:600]), held_out=(x[600:], y[600:]),
    recipe=tw.Recipe(lr=0.1, batch_size=10, epochs=6),
)
"""


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return tw.load_task(str(path))


def test_two_workers_train_the_centre_and_one_that_is_killed_comes_back(task, tmp_path) -> None:
    killed = []

    def kill(progress) -> None:
        if not killed and progress.done > 20:
            victim = multiprocessing.active_children()[0]
            victim.kill()
            killed.append(victim.pid)

    run = train(
        task, "easgd", workers=2, tau=4, epochs=60, run_directory=tmp_path / "r", progress=kill
    )
    assert killed
    assert run.status == "finished"
    assert run.evaluations == 2 * 60 * 60 // 2
    assert run.held_out > 0.9
    assert "brought back" in " ".join(run.notes)
    assert run.settings["exchanges"] >= run.evaluations // 4 - 5
    model = run.model()
    x, y = task.held_out
    with torch.no_grad():
        right = float((model(x).argmax(1) == y).float().mean())
    assert right == pytest.approx((run.held_out + run.confirmed) / 2, abs=1e-6)


def test_a_finished_run_is_answered_again_without_training(task, tmp_path) -> None:
    options = {"workers": 1, "tau": 2, "epochs": 1, "run_directory": tmp_path / "r"}
    one = train(task, "downpour", **options)
    two = train(task, "downpour", **options)
    assert one.weights == two.weights
    assert one.held_out == two.held_out
    with pytest.raises(ValueError, match="another run"):
        train(task, "easgd", **options)


def test_a_task_without_a_name_and_bad_numbers_are_refused(task, tmp_path) -> None:
    import dataclasses

    nameless = dataclasses.replace(task, name="other")
    with pytest.raises(ValueError, match="was made in Python"):
        train(nameless, run_directory=tmp_path / "r")
    with pytest.raises(ValueError, match="workers=0"):
        train(task, workers=0, run_directory=tmp_path / "r")
    with pytest.raises(ValueError, match="Did you mean 'eamsgd'"):
        train(task, "eamsdg", run_directory=tmp_path / "r")
