"""The same strategies on MNIST: layer by layer, hints, and layers copied between halves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curriculum import Results, _bars, _means, _notes, few, per_class, seeds
from thalweg.claims.intervals import spoken
from thalweg.models.lenet import LeNetD1
from thalweg.models.mlp import MLP
from thalweg.task import Recipe, Task, load_task

PIXELS = 1024  # 28 x 28 and the rim of the lectures' LeNet


@claim(
    name="greedy-mnist",
    title="Layer by layer on MNIST",
    decks=("D4",),
    section="curriculum#p1",
    says="Six hidden sigmoid layers from scratch stay at chance; trained greedily they do not.",
    targets=(
        Target("from scratch", 20.0, 0.0, "at most", "%"),
        Target("gain of greedy over scratch", 50.0, 0.0, "at least", "points"),
        Target("gain of training all together at last", 0.0, 0.0, "at least", "points"),
        Target("greedy", relation="reported", unit="%"),
        Target("greedy, then all layers together", relation="reported", unit="%"),
    ),
    seconds=150,
    needs=("mnist",),
)
def greedy_mnist(setting: Setting) -> Outcome:
    """1024-64-64-64-64-64-64-10, SGD 0.1 with momentum 0.9, 600 steps a layer, 3000 at last."""
    from thalweg.strategies import greedy
    from thalweg.training import train

    task = _perceptron(setting, (PIXELS, *[64] * 6, 10), "sigmoid", "sgd")
    found: Results = {"from scratch": [], "greedy": [], "greedy, then all layers together": []}
    scratch, staged, tuned = found.values()
    for seed in seeds(setting, 5):
        setting.progress(f"seed {seed}")
        scratch.append(100 * train(task, evaluations=3000, seed=seed).confirmed)
        stages = greedy(task, stage_evaluations=600, fine_tune=False, seed=seed)
        staged.append(100 * stages.confirmed)
        together = replace(task, model=stages.model())
        tuned.append(100 * train(together, evaluations=3000, seed=seed).confirmed)
    means = _means(found)
    gains = {
        "gain of greedy over scratch": means["greedy"] - means["from scratch"],
        "gain of training all together at last": float(np.mean(tuned) - np.mean(staged)),
    }
    return Outcome(gains | means, (_bars("Test accuracy", found),), notes=_notes(found))


@claim(
    name="fitnets-mnist",
    title="Hints on MNIST",
    decks=("D4",),
    section="curriculum#p3",
    says="A thin deep student with hints errs less than its teacher (0.51 % against 0.55 %).",
    targets=(
        Target("gain of hints over the student alone", 0.0, 0.0, "at least", "points"),
        Target("gain of hints over distillation", 0.0, 0.0, "at least", "points"),
        Target("student less teacher", 0.04, 0, "reported", "points", "[U]"),
        Target("student alone, the hint stage's steps added", relation="reported", unit="%"),
        Target("distillation", relation="reported", unit="%"),
        Target("hints, then distillation", relation="reported", unit="%"),
        Target("teacher", relation="reported", unit="%"),
    ),
    seconds=240,
    needs=("mnist",),
)
def fitnets_mnist(setting: Setting) -> Outcome:
    """Perceptrons in place of maxout convolutions, 1000 samples for the student, five seeds."""
    from thalweg.strategies import fitnets as follow
    from thalweg.training import train

    found: Results = {
        "student alone, the hint stage's steps added": [],
        "distillation": [],
        "hints, then distillation": [],
        "teacher": [],
    }
    alone, soft, hinted, wise = found.values()
    hints: dict[str, Any] = {"hint": "layers.1", "guided": "layers.7", "hint_optimizer": "adam"}
    hints |= {"hint_lr": 1e-3, "hint_evaluations": 1500}
    thin = _perceptron(setting, (PIXELS, *[16] * 8, 10), "relu", "adam")
    wide = _perceptron(setting, (PIXELS, 256, 10), "relu", "adam")
    for seed in seeds(setting, 5):
        setting.progress(f"seed {seed}")
        teacher = train(wide, evaluations=2500, seed=seed)
        task = few(thin, 1000, seed)
        wise.append(100 * teacher.confirmed)
        alone.append(100 * train(task, evaluations=4000, seed=seed).confirmed)
        with_teacher: dict[str, Any] = {"teacher": teacher, "evaluations": 2500, "seed": seed}
        soft.append(100 * follow(task, **with_teacher).confirmed)
        hinted.append(100 * follow(task, **hints, **with_teacher).confirmed)
    gains = {
        "gain of hints over the student alone": float(np.mean(hinted) - np.mean(alone)),
        "gain of hints over distillation": float(np.mean(hinted) - np.mean(soft)),
        "student less teacher": float(np.mean(hinted) - np.mean(wise)),
    }
    return Outcome(
        gains | _means(found),
        (_bars("Test accuracy", found),),
        notes=_notes(found),
        reduced="perceptrons of 16 units and 1,000 samples in place of convolutional maxout "
        "networks and 60,000",
    )


@claim(
    name="transfer-mnist",
    title="The lectures' LeNet from 0-4 to 5-9",
    decks=("D1", "D4"),
    section="curriculum#p2",
    says="Convolutions learned on one half of the classes help the other half with few labels.",
    targets=(
        *(
            Target(f"gain of {way}, {n} labels a class", relation="reported", unit="points")
            for n in (1, 3, 10)
            for way in ("fine-tuning", "frozen convolutions")
        ),
        Target("largest gain of fine-tuning", 0.0, 0.0, "at least", "points", "[D]"),
    ),
    seconds=200,
    needs=("mnist",),
)
def transfer_mnist(setting: Setting) -> Outcome:
    """Both convolutions copied, 600 steps on 0-4, then 200 on a few labels of 5-9, five seeds."""
    from thalweg.strategies import transfer
    from thalweg.training import train

    first, second = (_half(setting, start) for start in (0, 5))
    gains: Results = {}
    for seed in seeds(setting, 5):
        setting.progress(f"seed {seed}")
        source = train(first, evaluations=600, seed=seed)
        for n in (1, 3, 10):
            task = per_class(second, n, seed)
            how: dict[str, Any] = {"evaluations": 200, "seed": seed}
            fresh = train(task, **how).confirmed
            for mode, way in (("finetune", "fine-tuning"), ("frozen", "frozen convolutions")):
                run = transfer(task, source=source, layers=2, mode=mode, **how)
                name = f"gain of {way}, {n} labels a class"
                gains.setdefault(name, []).append(100 * (run.confirmed - fresh))
    means = _means(gains)
    largest = max(value for name, value in means.items() if "fine-tuning" in name)
    return Outcome(
        means | {"largest gain of fine-tuning": largest},
        notes=tuple(spoken(name, values, "points") for name, values in gains.items()),
    )


def _perceptron(setting: Setting, widths: tuple[int, ...], activation: str, optimizer: str) -> Task:
    recipe = (
        Recipe(lr=0.1, momentum=0.9, batch_size=64)
        if optimizer == "sgd"
        else Recipe(optimizer="adam", lr=1e-3, batch_size=64)
    )
    task = _mnist(setting)
    return replace(
        task, name="mnist-perceptron", model=partial(MLP, widths, activation), recipe=recipe
    )


def _half(setting: Setting, start: int) -> Task:
    """Five classes from ``start`` on, named 0 to 4, for the lectures' LeNet."""
    task = _mnist(setting)

    def kept(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        here = (part[1] >= start) & (part[1] < start + 5)
        return part[0][here], part[1][here] - start

    return replace(
        task,
        name=f"mnist from {start}",
        model=partial(LeNetD1, 5, 0.0),
        train=kept(task.train),
        held_out=kept(task.held_out),
        test=kept(task.test),
        recipe=Recipe(lr=0.02, momentum=0.9, batch_size=32),
    )


def _mnist(setting: Setting) -> Task:
    """MNIST, looked at on 500 held-out images along the way and on all test images at the end."""
    task = load_task("mnist", data=setting.folder("mnist"))
    x, y = task.held_out
    return replace(task, held_out=(x[:500], y[:500]))
