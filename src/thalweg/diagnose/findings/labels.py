"""Targets that contradict the inputs."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from thalweg.diagnose.bench import Bench
from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.risk.order import generator
from thalweg.risk.risk import evaluating
from thalweg.risk.source import Resident

SHARE = 0.05
REACHED = 0.95  # of skill: noise that does not keep a model from this is not looked for
FOLDS = 3


def label_noise(seen: Observation) -> Suspicion | None:
    """Training targets that models trained on other samples contradict with confidence.

    Confident learning: a sample is contradicted if another class reaches the mean confidence that
    samples labelled with that class get.

    References:
        Northcutt, Jiang and Chuang, "Confident learning", 2021.
    """
    risk = seen.bench.risk
    data = risk.train
    if seen.diverged or risk.metric != "accuracy" or not 0.2 < seen.skill < REACHED:
        return None
    if not isinstance(data, Resident) or risk.task.held_out is None or data.n < 100:
        return None
    target = data.samples[1]
    if target.dim() != 1 or risk.task.forward != "pair":
        return None
    wrong = _contradicted(seen, data, target)
    if wrong is None or len(wrong) < SHARE * data.n:
        return None
    share = len(wrong) / data.n
    return Suspicion(
        "label-noise",
        "Targets contradict the inputs",
        f"Models trained on the other samples contradict {share:.0%} of the training targets with "
        "the confidence that the contradicting class usually gets.",
        "Look through these targets, or leave them out.",
        (
            (
                step(
                    "without_samples",
                    f"{len(wrong)} contradicted samples left out",
                    indices=tuple(wrong),
                ),
            ),
        ),
        measured=share,
        threshold=SHARE,
        derivation="Share of samples where another class reaches the mean confidence of samples "
        "labelled so (confident learning); clean sets of common size stay below a twentieth. "
        "Whether it limits is decided by the trial, unless it is more than twice the held-out "
        "error and a twentieth: a sound model contradicts sound targets about as often as it errs.",
        where="targets of train",
        plain=share > 2 * (1 - seen.value) + SHARE,
    )


def _contradicted(seen: Observation, data: Resident, target: Tensor) -> list[int] | None:
    """Indices of contradicted samples, by three models that each saw the other two thirds."""
    order = torch.randperm(data.n, generator=generator(seen.bench.seed, "folds"))
    scores: Tensor | None = None
    task = seen.bench.task
    for fold in order.tensor_split(FOLDS):
        rest = order[~torch.isin(order, fold)]
        train = data.take(rest)
        part = Bench(dataclasses.replace(task, train=train), seen.bench.risk.device,
                     seen.bench.seed)  # fmt: skip
        walk = part.walk(seen.bench.seed, part.gradients(min(seen.epochs, 10)), looks=1, keep=True)
        if walk.diverged or walk.model is None:
            return None
        with evaluating(walk.model):
            for some in fold.split(1024):
                out = torch.as_tensor(part.risk.forward(walk.model, data.take(some))).float()
                if out.dim() != 2:
                    return None
                simplex = bool((out >= 0).all()) and bool(((out.sum(1) - 1).abs() < 1e-3).all())
                if scores is None:
                    scores = torch.zeros(data.n, out.shape[1], device=out.device)
                scores[some.to(out.device)] = out if simplex else out.softmax(1)
    if scores is None:
        return None
    usual = torch.stack([
        scores[target == c, c].mean() if bool((target == c).any()) else torch.tensor(2.0)
        for c in range(scores.shape[1])
    ]).to(scores.device)  # fmt: skip
    own = scores.gather(1, target[:, None].clamp(min=0))[:, 0]
    rivals = torch.where(scores >= usual, scores, torch.zeros_like(scores))
    rivals.scatter_(1, target[:, None].clamp(min=0), 0.0)
    return [int(i) for i in (rivals.max(1)[0] > own).nonzero()[:, 0]]
