"""Which samples are hard? Their loss under a trained model, ranked within their class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thalweg.risk import Risk, tree
from thalweg.risk.risk import evaluating
from thalweg.task import Task


def difficulty(task: Task, teacher: nn.Module, seed: int = 0) -> Tensor:
    """The loss of each training sample under ``teacher``, one by one, in evaluation mode.

    Args:
        task: Training data that lie in memory.
        teacher: A trained model of the task.
        seed: Of the split, where the task names no held-out data.

    Returns:
        ``(n,)`` float64 on the CPU, in the order of the training data.

    Raises:
        ValueError: Training data that are read item by item.
    """
    risk = Risk(task, "cpu", split_seed=seed)
    losses = []
    with evaluating(teacher):
        for index in range(risk.train.n):
            batch = take(risk, torch.tensor([index]))
            losses.append(float(risk.loss(teacher, batch)))
    return torch.tensor(losses, dtype=torch.float64)


def take(risk: Risk, indices: Tensor) -> Any:
    """Training samples by index, for data that lie in memory."""
    samples = getattr(risk.train, "samples", None)
    if samples is None:
        raise ValueError(
            f"task '{risk.task.name}' reads its samples one by one; a curriculum needs them in "
            "memory, as (inputs, targets)."
        )
    return tree.tree_map(lambda t: t[indices.to(t.device)], samples)


def ranks(scores: Tensor, classes: Tensor | None = None) -> Tensor:
    """Ranks in [0, 1), easiest first; within each class, so that no class is left out at first.

    >>> ranks(torch.tensor([3.0, 1.0, 2.0, 9.0])).tolist()
    [0.5, 0.0, 0.25, 0.75]

    Args:
        scores: Difficulty ``(n,)``.
        classes: Labels ``(n,)``, or None to rank all together.
    """
    found = torch.empty(len(scores), dtype=torch.float64)
    groups = [torch.arange(len(scores))]
    if classes is not None:
        groups = [(classes == c).nonzero()[:, 0] for c in classes.unique()]
    for group in groups:
        order = scores[group].argsort(stable=True)
        place = torch.empty(len(group), dtype=torch.float64)
        place[order] = torch.arange(len(group), dtype=torch.float64) / len(group)
        found[group] = place
    return found
