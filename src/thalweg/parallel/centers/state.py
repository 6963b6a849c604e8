"""The arithmetic of a centre on tensors at hand, whoever owns the memory."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.parallel.centers.base import Hyper, NonFinite
from thalweg.parallel.elastic import elastic_pull, momentum_push

AVERAGES = ("none", "running", "moving")
MOVING = 0.001  # rate of the moving average (MVADOWNPOUR)


def take_elastic(centre: Tensor, x: Tensor, alpha: float) -> Tensor:
    """Move the centre towards ``x`` in place; returns the pull."""
    require_finite(x)
    pull = elastic_pull(x, centre, alpha)
    centre.add_(pull)
    return pull


def take_push(
    centre: Tensor,
    velocity: Tensor | None,
    mean: Tensor | None,
    delta: Tensor,
    hyper: Hyper | None,
    pushes: int,
    average: str,
) -> None:
    """Take a worker's sum of steps, or its gradient, into the centre in place.

    Args:
        centre: ``(n,)``.
        velocity: Of the master's momentum; needed with ``hyper``.
        mean: Averaged centre, None for none.
        delta: What the worker did since its last push, or its gradient.
        hyper: Rate and momentum of the master; None: ``delta`` is added as it is.
        pushes: How many came before.
        average: ``running`` or ``moving``, for ``mean``.
    """
    require_finite(delta)
    if hyper is None:
        centre.add_(delta)
    else:
        assert velocity is not None
        new, speed = momentum_push(centre, velocity, delta, hyper.lr, hyper.momentum)
        centre.copy_(new)
        velocity.copy_(speed)
    if mean is not None:
        weight = 1 / (pushes + 1) if average == "running" else MOVING
        mean.lerp_(centre, weight)


def require_finite(x: Tensor) -> None:
    """:class:`NonFinite` if anything in ``x`` is not a number."""
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise NonFinite(f"a worker sent {bad} of {x.numel()} weights that are NaN or infinite")
