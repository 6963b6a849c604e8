"""Strategies on digits, five seeds and more: layer by layer, hints of a teacher, copied layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.intervals import interval, spoken
from thalweg.models.mlp import MLP
from thalweg.records_claims import Chart, Curve
from thalweg.task import Recipe, Task

Results = dict[str, list[float]]  # a way's name: one number a seed


@claim(
    name="greedy-pretraining",
    title="Layer by layer, a deep sigmoid network learns",
    decks=("D4",),
    section="curriculum#p1",
    says=(
        "Six hidden sigmoid layers from scratch stay at chance; trained greedily, each under a "
        "head of its own, they reach 95 %, and 97 % after training all together."
    ),
    targets=(
        Target("from scratch", 10.0, 1.0, unit="%", source="[C]"),
        Target("greedy", 95.0, 1.5, unit="%", source="[C]"),
        Target("greedy, then all layers together", 96.7, 1.5, unit="%", source="[C]"),
    ),
    seconds=30,
)
def greedy_pretraining(setting: Setting) -> Outcome:
    """8x8 digits, torch's own start, SGD 0.1 with momentum 0.9; 400 steps a layer, 1500 at last."""
    from thalweg.strategies import greedy
    from thalweg.training import train

    recipe = Recipe(lr=0.1, momentum=0.9, batch_size=64)
    task = digits((64, *[64] * 6, 10), "sigmoid", recipe)
    found: Results = {
        "from scratch": [],
        "greedy": [],
        "greedy, then all layers together": [],
    }
    scratch, staged, tuned = found.values()
    for seed in seeds(setting, 5):
        setting.progress(f"seed {seed}")
        scratch.append(100 * train(task, evaluations=1500, seed=seed).confirmed)
        stages = greedy(task, stage_evaluations=400, fine_tune=False, seed=seed)
        staged.append(100 * stages.confirmed)
        together = replace(task, model=stages.model())
        tuned.append(100 * train(together, evaluations=1500, seed=seed).confirmed)
    return Outcome(_means(found), (_bars("Held-out accuracy", found),), notes=_notes(found))


@claim(
    name="fitnets",
    title="Hints carry a thin deep student further",
    decks=("D4",),
    section="curriculum#p3",
    says=(
        "A student of eight layers of 16 learns more with a teacher's softened outputs than alone, "
        "and more still with hints for its middle layer first."
    ),
    targets=(
        Target("gain of distillation", 0.0, 0.0, "at least", "points", "[C]"),
        Target("gain of hints over distillation", 0.0, 0.0, "at least", "points", "[C]"),
        Target("gain of hints over the student alone", 5.0, 0.0, "at least", "points", "[C]"),
        Target("student alone, the hint stage's steps added", 71.9, 0, "reported", "%", "[C]"),
        Target("distillation", 80.3, 0, "reported", "%", "[C]"),
        Target("hints, then distillation", 90.1, 0, "reported", "%", "[C]"),
        Target("teacher", 97.0, 0, "reported", "%", "[C]"),
    ),
    seconds=80,
)
def fitnets(setting: Setting) -> Outcome:
    """Digits, 300 samples for the student, τ 3, λ from 4 to 0, Adam 1e-3, six seeds."""
    from thalweg.strategies import fitnets as follow
    from thalweg.training import train

    recipe = Recipe(optimizer="adam", lr=1e-3, batch_size=64)
    found: Results = {
        "student alone, the hint stage's steps added": [],
        "distillation": [],
        "hints, then distillation": [],
        "teacher": [],
    }
    alone, soft, hinted, wise = found.values()
    hints: dict[str, Any] = {"hint": "layers.1", "guided": "layers.7", "hint_optimizer": "adam"}
    hints |= {"hint_lr": 1e-3, "hint_evaluations": 1000}
    for seed in seeds(setting, 6):
        setting.progress(f"seed {seed}")
        teacher = train(digits((64, 256, 10), "relu", recipe), evaluations=800, seed=seed)
        task = few(digits((64, *[16] * 8, 10), "relu", recipe), 300, seed)
        wise.append(100 * teacher.confirmed)
        alone.append(100 * train(task, evaluations=2500, seed=seed).confirmed)
        with_teacher: dict[str, Any] = {"teacher": teacher, "evaluations": 1500, "seed": seed}
        soft.append(100 * follow(task, **with_teacher).confirmed)
        hinted.append(100 * follow(task, **hints, **with_teacher).confirmed)
    means = _means(found)
    gains = {
        "gain of distillation": float(np.mean(soft) - np.mean(alone)),
        "gain of hints over distillation": float(np.mean(hinted) - np.mean(soft)),
        "gain of hints over the student alone": float(np.mean(hinted) - np.mean(alone)),
    }
    return Outcome(gains | means, (_bars("Held-out accuracy", found),), notes=_notes(found))


@claim(
    name="transfer-digits",
    title="Copied layers bring nothing from one half of the digits to the other",
    decks=("D1", "D4"),
    section="curriculum#p2",
    says=(
        "The first layer of a network for the digits 0-4, copied into one for 5-9 with ten labels "
        "a class: fine-tuned it is no better than a fresh start, frozen it is worse."
    ),
    targets=(
        Target("gain of fine-tuning over scratch", 0.0, 1.0, "at most", "points", "[C]"),
        Target("gain of frozen layers over scratch", 0.0, 0.0, "at most", "points", "[C]"),
        Target("scratch", 93.4, 0, "reported", "%", "[C]"),
        Target("copied and fine-tuned", 92.9, 0, "reported", "%", "[C]"),
        Target("copied and frozen", 75.4, 0, "reported", "%", "[C]"),
        Target(
            "gain from clean to inverted digits, fine-tuned", relation="reported", unit="points"
        ),
    ),
    seconds=20,
)
def transfer_digits(setting: Setting) -> Outcome:
    """A 64-64-5 perceptron, its hidden layer copied, five seeds; all ten classes for the last."""
    from thalweg.strategies import transfer
    from thalweg.training import train

    recipe = Recipe(lr=0.1, momentum=0.9, batch_size=32)
    found: Results = {"scratch": [], "copied and fine-tuned": [], "copied and frozen": []}
    fresh, tuned, frozen = found.values()
    shift: list[float] = []
    whole = digits((64, 64, 10), "relu", recipe)
    inverted = inverse(whole)
    for seed in seeds(setting, 5):
        setting.progress(f"seed {seed}")
        how: dict[str, Any] = {"evaluations": 400, "seed": seed}
        source = train(_half(0, recipe), **how)
        task = per_class(_half(5, recipe), 10, seed)
        fresh.append(100 * train(task, **how).confirmed)
        for kind, into in (("finetune", tuned), ("frozen", frozen)):
            into.append(100 * transfer(task, source=source, layers=1, mode=kind, **how).confirmed)
        clean, turned = train(whole, **how), per_class(inverted, 10, seed)
        copied = transfer(turned, source=clean, layers=1, **how)
        shift.append(100 * (copied.confirmed - train(turned, **how).confirmed))
    gains = {
        "gain of fine-tuning over scratch": float(np.mean(tuned) - np.mean(fresh)),
        "gain of frozen layers over scratch": float(np.mean(frozen) - np.mean(fresh)),
        "gain from clean to inverted digits, fine-tuned": float(np.mean(shift)),
    }
    notes = (*_notes(found), spoken("gain from clean to inverted digits", shift, "points"))
    return Outcome(gains | _means(found), (_bars("Held-out accuracy on 5-9", found),), notes=notes)


def seeds(setting: Setting, n: int) -> range:
    """``n`` seeds from the setting's on."""
    return range(setting.seed, setting.seed + n)


def digits(widths: tuple[int, ...], activation: str, recipe: Recipe) -> Task:
    """8x8 digits for a perceptron: 1078 to train, 360 to select, 359 to confirm."""
    from thalweg.models.tasks.images import flat_digits

    train, select, confirm = flat_digits()
    return Task(
        name="digits",
        model=lambda: MLP(widths, activation),
        loss=F.cross_entropy,
        train=train,
        held_out=select,
        test=confirm,
        recipe=recipe,
    )


def few(task: Task, n: int, seed: int) -> Task:
    """The task with ``n`` random training samples."""
    x, y = task.train
    g = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(y), generator=g)[:n]
    return replace(task, train=(x[some], y[some]))


def per_class(task: Task, n: int, seed: int) -> Task:
    """The task with ``n`` random training samples of each class."""
    x, y = task.train
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=g)
    some = torch.cat([order[y[order] == c][:n] for c in y.unique()])
    return replace(task, train=(x[some], y[some]))


def inverse(task: Task) -> Task:
    """Dark for light in every part of the task; standardised grey levels only change sign."""

    def turned(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -part[0], part[1]

    return replace(
        task, train=turned(task.train), held_out=turned(task.held_out), test=turned(task.test)
    )


def _half(first: int, recipe: Recipe) -> Task:
    """Five classes from ``first`` on, named 0 to 4."""
    task = digits((64, 64, 5), "relu", recipe)

    def kept(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        here = (part[1] >= first) & (part[1] < first + 5)
        return part[0][here], part[1][here] - first

    return replace(task, train=kept(task.train), held_out=kept(task.held_out), test=kept(task.test))


def _means(found: Results) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in found.items()}


def _notes(found: Results) -> tuple[str, ...]:
    return tuple(spoken(name, values) for name, values in found.items())


def _bars(title: str, found: Results) -> Chart:
    """Each way's seeds as points, and its interval as a short line."""
    curves = []
    for place, (name, values) in enumerate(found.items()):
        sure = interval(values)
        curves.append(Curve(name, (float(place),) * len(values), tuple(values), "points"))
        curves.append(
            Curve(f"{name}: 95 % interval", (place + 0.15,) * 2, (sure.low, sure.high), "line")
        )
    return Chart(title, "way", "accuracy in %", tuple(curves))
