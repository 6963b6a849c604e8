"""The arithmetic of a centre on tensors at hand, whoever owns the memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.parallel.centers.base import Hyper, NonFinite
from thalweg.parallel.elastic import elastic_pull, momentum_push

Part = tuple[Tensor, Tensor | None, float]  # weights (k,), momentum buffer (k,), its factor
CHUNK = 2**15  # numbers that stay in a core's cache while they are worked on
AVERAGES = ("none", "running", "moving")
MOVING = 0.001  # rate of the moving average (MVADOWNPOUR)


def take_elastic(centre: Tensor, x: Tensor, alpha: float) -> Tensor:
    """Move the centre towards ``x`` in place; returns the pull."""
    require_finite(x)
    pull = elastic_pull(x, centre, alpha)
    centre.add_(pull)
    return pull


def meet(centre: Tensor, parts: Sequence[Part], alpha: float) -> None:
    """Both sides of an elastic exchange in place, a cache's worth at a time.

    Args:
        centre: ``(n,)``, moved towards the worker.
        parts: The worker's weights in order, moved towards the centre by as much.
        alpha: Elastic rate.

    Raises:
        NonFinite: A weight is NaN or infinite; nothing was moved.
    """
    for x, buffer, ahead in parts:
        if not bool(torch.isfinite(x.sum())):  # one pass; a sum may overflow where no entry does
            require_finite(x)
        if buffer is not None and ahead and not bool(torch.isfinite(buffer.sum())):
            require_finite(buffer)
    spare = centre.new_empty(min(CHUNK, centre.numel()))
    lengths = [x.numel() for x, _, _ in parts]
    for own, (x, buffer, ahead) in zip(centre.split(lengths), parts, strict=True):
        buffers = [None] * (1 + len(x) // CHUNK) if buffer is None else buffer.split(CHUNK)
        for c, w, b in zip(own.split(CHUNK), x.split(CHUNK), buffers, strict=False):
            d = torch.sub(w, c, out=spare[: len(c)])
            if b is not None:
                d.add_(b, alpha=ahead)
            c.add_(d, alpha=alpha)
            w.sub_(d, alpha=alpha)


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
