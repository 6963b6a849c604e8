"""What would a plain model make of the same data? Least squares and nearest neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.diagnose.observation import Observation

MOST = 2048  # training samples
WIDEST = 4096  # numbers of an input
NEIGHBOURS = 10
RIDGE = 1e-2  # of the mean variance


@dataclass(frozen=True, slots=True)
class Reference:
    """A plain model's skill: 0 for a constant answer, 1 for a perfect one."""

    name: str
    held_out: float
    inside: float  # fitted to two thirds of the training part, on the last third


def reference(seen: Observation) -> Reference | None:
    """The better of least squares and nearest neighbours; None where neither can be asked."""
    train, held = _part(seen, "train"), _part(seen, "selection")
    if train is None or held is None or len(train[0]) < 30:
        return None
    order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(0))
    x, y = train[0][order], train[1][order]
    cut = len(x) * 2 // 3
    best: Reference | None = None
    for name, model in (("least squares", _linear), ("nearest neighbours", _nearest)):
        outside = _skill(model(x, y, held[0]), held[1], y)
        found = Reference(name, outside, _skill(model(x[:cut], y[:cut], x[cut:]), y[cut:], y[:cut]))
        if best is None or found.held_out > best.held_out:
            best = found
    return best


def _part(seen: Observation, name: str) -> tuple[Tensor, Tensor] | None:
    """Flat inputs and targets (one-hot for classes), float64."""
    risk = seen.bench.risk
    if risk.task.forward != "pair" or risk.metric not in ("accuracy", "loss"):
        return None
    data = getattr(risk, name)
    batch = next(iter(data.chunks(min(MOST, data.n))))
    x, y = batch[0], batch[1]
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.is_floating_point():
        return None
    flat = x.flatten(1).double() if x.dim() > 1 else x[:, None].double()
    if flat.shape[1] > WIDEST:
        return None
    if risk.metric == "accuracy":
        if y.dim() != 1 or y.is_floating_point() or not len(seen.bench.judge.shares):
            return None
        y = torch.nn.functional.one_hot(y.clamp(min=0), len(seen.bench.judge.shares))
    elif not y.is_floating_point():
        return None
    target = y.reshape(len(y), -1).double()
    fine = torch.isfinite(flat).all(1) & torch.isfinite(target).all(1)
    return flat[fine], target[fine]


def _standard(x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = x.mean(0), x.std(0)
    std = torch.where(std > 1e-6 * std.max().clamp(min=1e-300), std, torch.inf)
    return (x - mean) / std, (other - mean) / std


def _linear(x: Tensor, y: Tensor, other: Tensor) -> Tensor:
    x, other = _standard(x, other)
    mean = y.mean(0)
    if len(x) < x.shape[1]:
        gram = x @ x.T
        gram.diagonal().add_(RIDGE * len(x) + 1e-9)
        return other @ (x.T @ torch.linalg.solve(gram, y - mean)) + mean
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * len(x) + 1e-9)
    return other @ torch.linalg.solve(gram, x.T @ (y - mean)) + mean


def _nearest(x: Tensor, y: Tensor, other: Tensor) -> Tensor:
    x, other = _standard(x, other)
    near = torch.cdist(other, x).topk(min(NEIGHBOURS, len(x)), largest=False)[1]
    return y[near].mean(1)


def _skill(answer: Tensor, target: Tensor, trained: Tensor) -> float:
    """Accuracy for one-hot targets, explained variance else, over a constant answer."""
    if not bool(torch.isfinite(answer).all()) or not len(target):
        return math.nan
    simplex = target.shape[1] > 1 and bool((target.sum(1) == 1).all()) and bool(
        ((target == 0) | (target == 1)).all()
    )  # fmt: skip
    if simplex:
        truth = target.argmax(1)
        floor = float((truth == trained.mean(0).argmax()).double().mean())
        value = float((answer.argmax(1) == truth).double().mean())
        return (value - floor) / max(1e-9, 1 - floor)
    error = (answer - target).square().mean()
    constant = (target - trained.mean(0)).square().mean()
    return float(1 - error / constant) if constant > 0 else math.nan
