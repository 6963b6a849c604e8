"""How are the autoencoders trained? Adam in two stages for the recurrent one, else L-BFGS."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.sparse.batches import Batches
from thalweg.sparse.encoders.training import Training
from thalweg.sparse.inputs import read

if TYPE_CHECKING:
    from thalweg.sparse.autoencoders.recurrent import DrSAE
    from thalweg.sparse.autoencoders.sigmoid import SparseAutoencoder

_CLIP = 1.0  # largest norm of a gradient


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast: see `DrSAE.fit`."""

    pretrain: int
    steps: int
    lr: float
    batch_size: int
    seed: int
    every: int

    def __post_init__(self) -> None:
        if min(self.pretrain, self.steps) < 0 or self.pretrain + self.steps < 1:
            raise ValueError(
                f"pretrain and steps count batches, got {self.pretrain} and {self.steps}"
            )
        if min(self.batch_size, self.every) < 1:
            raise ValueError("batch_size and every must each be at least 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be positive and finite, got {self.lr!r}")


def signals_for(X: Any, n: int, like: Tensor) -> Tensor:
    """Signals ``(N, n)`` in the dtype and on the device of ``like``, checked.

    Raises:
        TypeError: Not an array of real numbers.
        ValueError: None, of another length, or not finite.
    """
    checked = read(X, "X", "(samples, inputs)")
    count, width = checked.shape
    if width != n or count == 0:
        raise ValueError(f"X must hold signals of length {n}, got {(count, width)}")
    return checked.rows(0, count).to(like)


def labels_for(y: Any, count: int, classes: int, device: torch.device) -> Tensor:
    """Classes ``(count,)`` as integers, checked."""
    labels = torch.as_tensor(y, device=device)
    if labels.shape != (count,) or labels.is_floating_point():
        raise ValueError(
            f"y must be {count} integers, one for each signal, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    labels = labels.long()
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(
            f"y must lie in 0 … {classes - 1}, got {int(labels.min())} … {int(labels.max())}"
        )
    return labels


def train_drsae(
    model: DrSAE, X: Any, y: Any, plan: Plan, progress: Callable[[int, int, float], None] | None
) -> Training:
    """Train in place; see `DrSAE.fit`."""
    x = signals_for(X, model.D.shape[0], model.D)
    labels = None if y is None else labels_for(y, len(x), len(model.C), x.device)
    adam = torch.optim.Adam(model.parameters(), lr=plan.lr)
    batches = Batches(len(x), plan.batch_size, plan.seed, x.device)
    whole = plan.pretrain + plan.steps
    marks, losses, total, since = [], [], 0.0, 0
    for step in range(whole):
        for group in adam.param_groups:
            group["lr"] = plan.lr * 0.5 * (1 + math.cos(math.pi * step / whole))
        rows = batches[step]
        target = None if labels is None or step < plan.pretrain else labels[rows]
        adam.zero_grad(set_to_none=True)
        loss = model.losses(x[rows], target).total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        adam.step()
        model.project_()
        total += float(loss.detach())
        if (step + 1) % plan.every == 0 or step + 1 == whole:
            marks.append(step + 1)
            losses.append(total / (step + 1 - since))
            total, since = 0.0, step + 1
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"diverged before step {step + 1}; lower lr")
            if progress:
                progress(step + 1, whole, losses[-1])
    return Training(tuple(marks), tuple(losses))


def minimise(model: SparseAutoencoder, X: Any, iterations: int, tol: float) -> Training:
    """Train in place on the whole batch; see `SparseAutoencoder.fit`."""
    x = signals_for(X, model.W.shape[1], model.W)
    if float(x.min()) < 0 or float(x.max()) > 1:
        raise ValueError(
            f"X must lie in [0, 1], where the sigmoid output can reach it (best in [0.1, 0.9]), "
            f"got {float(x.min()):g} … {float(x.max()):g}"
        )
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    solver = torch.optim.LBFGS(
        model.parameters(),
        max_iter=iterations,
        history_size=20,
        tolerance_grad=tol,
        tolerance_change=tol,
        line_search_fn="strong_wolfe",
    )
    values: list[float] = []

    def closure() -> Tensor:
        solver.zero_grad(set_to_none=True)
        loss = model.loss(x)
        loss.backward()
        values.append(float(loss.detach()))
        return loss

    solver.step(closure)
    return Training(tuple(range(1, len(values) + 1)), tuple(values))
