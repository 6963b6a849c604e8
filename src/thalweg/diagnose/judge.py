"""How good is a model, on a scale that different losses share? Skill over a constant answer."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.risk import Risk
from thalweg.risk.criterion import IGNORED, class_axis
from thalweg.risk.risk import evaluating

MOST = 2048  # held-out samples looked at
CHUNK = 512
NAMED = 1024  # classes up to which answers are counted class by class


@dataclass(frozen=True, slots=True)
class Look:
    """One look at held-out data, in evaluation mode."""

    value: float  # the criterion, higher is better
    loss: float
    balanced: float = math.nan  # mean over classes of the share found, for class targets
    predicted: tuple[float, ...] = ()  # share of answers per class
    renamed: float = 0.0  # deviation of the accuracy over random renamings of the classes


@dataclass(frozen=True, slots=True)
class Judge:
    """What a task's criterion is, and what the best constant answer scores.

    Attributes:
        measure: ``accuracy``, ``loss`` (scored as minus the loss) or the metric's name.
        floor: What the best constant answer scores; NaN where none can be computed.
        floor_loss: The loss of that answer on training data.
        shares: Share of each class in the training targets.
    """

    measure: str
    floor: float
    floor_loss: float
    shares: tuple[float, ...] = ()

    def skill(self, value: float, start: float = math.nan) -> float:
        """0 for a constant answer, 1 for a perfect one; negative is worse than constant."""
        if not math.isfinite(value):
            return 0.0
        floor = self.floor if math.isfinite(self.floor) else start
        if self.measure == "accuracy":
            return (value - floor) / max(1e-9, 1 - floor)
        scale = abs(floor)
        return (value - floor) / scale if scale > 1e-12 else value - floor


def judge_of(risk: Risk) -> Judge:
    """The judge of a task as it is."""
    measure = risk.metric
    if risk.task.forward != "pair":
        return Judge(measure, math.nan, math.nan)
    batch = _sample(risk, "train")
    model = risk.model(0)
    with evaluating(model):
        output = risk.forward(model, batch)
    held = _sample(risk, "selection")
    answers = _constants(output, batch[1])
    floor_loss = _best(risk, answers, output, batch[1])
    shares = _shares(output, batch[1])
    if measure == "accuracy" and shares:
        common = max(range(len(shares)), key=shares.__getitem__)
        counted = held[1][held[1] != IGNORED]
        return Judge(measure, float((counted == common).double().mean()), floor_loss, shares)
    if measure != "loss":
        return Judge(measure, math.nan, floor_loss, shares)
    with evaluating(model):
        held_output = risk.forward(model, held)
    return Judge(measure, -_best(risk, answers, held_output, held[1]), floor_loss, shares)


def look(risk: Risk, model: nn.Module) -> Look:
    """Score a model on at most 2,048 samples of the selection part."""
    scores = risk.score(model, "selection", most=MOST)
    if risk.task.forward != "pair":
        return Look(scores.mean, scores.loss)
    table, c = None, 0
    with evaluating(model):
        chunks = risk.selection.chunks(min(CHUNK, risk.selection.n))
        for batch in itertools.islice(chunks, MOST // CHUNK):
            output, target = risk.forward(model, batch), batch[1]
            axis = class_axis(output, target)
            if axis is None or axis < 0 or target.dim() != 1:
                return Look(scores.mean, scores.loss)
            c = output.shape[axis]
            if c > NAMED:
                return Look(scores.mean, scores.loss)
            guess, counted = output.argmax(axis), (target >= 0) & (target < c)
            pairs = torch.bincount(target[counted] * c + guess[counted], minlength=c * c)
            table = pairs if table is None else table + pairs
    if table is None or not int(table.sum()):
        return Look(scores.mean, scores.loss)
    table = table.reshape(c, c).double()
    counts = table.sum(1)
    found = counts > 0
    balanced = float((table.diagonal()[found] / counts[found]).mean())
    shares = (table.sum(0) / table.sum()).tolist()
    return Look(scores.mean, scores.loss, balanced, tuple(shares), _renamed(table))


def _renamed(table: Tensor) -> float:
    """Deviation of the accuracy if predictions were matched with classes at random.

    Answers about samples of one kind go together, so that chance moves them in whole classes and
    a binomial error is too small. Over random permutations π the sum of n[c, π(c)] has variance
    Σ d² / (C - 1), d the table less its row and column means (Hoeffding 1951, theorem 2).
    """
    c = len(table)
    if c < 4:  # hardly any other names
        return 0.0
    share = table / table.sum()
    apart = share - share.mean(0, keepdim=True) - share.mean(1, keepdim=True) + share.mean()
    return math.sqrt(float(apart.square().sum()) / (c - 1))


def _sample(risk: Risk, part: str) -> Any:
    data = getattr(risk, part)
    return next(iter(data.chunks(min(MOST, data.n))))


def _shares(output: Any, target: Any) -> tuple[float, ...]:
    axis = class_axis(output, target)
    if axis is None or axis < 0:
        return ()
    c = output.shape[axis]
    valid = target[(target >= 0) & (target < c)]
    counts = torch.bincount(valid.flatten(), minlength=c).double()
    return tuple((counts / counts.sum().clamp(min=1)).tolist())


def _constants(output: Any, target: Any) -> list[Tensor]:
    """Constant answers worth trying, one sample each: priors, their logarithms, means, medians."""
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return []
    shares = _shares(output, target)
    found = [torch.zeros_like(output[0])]
    if shares:
        axis = (class_axis(output, target) or 1) - 1
        shape = [1] * (output.dim() - 1)
        shape[axis] = len(shares)
        prior = torch.tensor(shares, dtype=output.dtype, device=output.device).clamp(min=1e-7)
        found += [p.reshape(shape).expand_as(output[0]) for p in (prior.log(), prior)]
    if target.is_floating_point() and target.dim() >= 1:
        values = [target.mean(0), target.median(0)[0]]
        middle = target.mean(0).clamp(1e-6, 1 - 1e-6)
        values.append((middle / (1 - middle)).log())  # the logit, for targets in [0, 1]
        for value in values:
            if value.numel() == output[0].numel():
                found.append(value.reshape(output[0].shape).to(output.dtype))
    return found


def _best(risk: Risk, answers: list[Tensor], output: Any, target: Any) -> float:
    best = math.nan
    for answer in answers:
        try:
            with torch.no_grad():
                constant = answer[None].expand(len(output), *answer.shape).contiguous()
                value = float(risk.task.loss(constant, target))
        except Exception:  # a loss that refuses such an answer (probabilities wanted, say)
            continue
        if math.isfinite(value) and not value >= best:
            best = value
    return best
