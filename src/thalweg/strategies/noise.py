"""Train on a smoothed loss first: noise on the weights that shrinks to none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.records_training import Run
from thalweg.risk.order import stream
from thalweg.strategies.copying import refuse_average
from thalweg.strategies.records import annotated, named
from thalweg.strategies.smoothing import geometric
from thalweg.task import Task
from thalweg.training import Hook, Training, train


def continue_training(
    task: Task,
    *,
    sigma: float = 0.1,
    last: float = 0.001,
    stages: int = 10,
    share: float = 0.75,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    r"""Descend on :math:`E_u\,f(w + \sigma u)` while σ falls; the last part is the loss itself.

    Each gradient is taken at weights moved by σ u, and applied where they were before. Two steps
    in a row use u and -u.

    Args:
        task: Any.
        sigma: First width, in the weights' own units.
        last: Last width above 0.
        stages: Widths, falling geometrically, equally many gradients each.
        share: Part of the budget that these stages take; the rest has no noise.
        run: Run directory.
        training: As :func:`thalweg.training.train` takes it.

    Raises:
        ValueError: Widths that do not fall, or a share outside (0, 1).

    References:
        Mobahi, Fisher, "A theoretical analysis of optimization by Gaussian continuation", 2015.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; wanted a number between 0 and 1.")
    options = {"sigma": sigma, "last": last, "stages": stages, "share": share}
    hook = WeightNoise(geometric(sigma, last, stages), share)
    hooks = [*training.pop("hooks", ()), hook]
    ended = train(named(task, "continuation", options), run=run, hooks=hooks, **training)
    return annotated(ended, task, "continuation", options)


class WeightNoise(Hook):
    """Move the weights by Gaussian noise for the gradient alone.

    Args:
        sigmas: Widths of equally long stages; the last lasts to the end.
        share: Part of the run that all but the last width take.
    """

    def __init__(self, sigmas: tuple[float, ...], share: float) -> None:
        self.sigmas, self.share = sigmas, share
        self._kept: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    def sigma(self, evaluations: int, total: int) -> float:
        """The width in use after so many gradients."""
        stage = int(evaluations / max(1.0, total * self.share) * (len(self.sigmas) - 1))
        return self.sigmas[min(stage, len(self.sigmas) - 1)]

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Move the weights; what the step adds is taken from there to where they were."""
        refuse_average(training, "noise on the weights")
        self._kept = []
        sigma = self.sigma(training.evaluations, training.total)
        if sigma == 0:
            return batch
        device = training.risk.device
        g = torch.Generator(device).manual_seed(stream(training.seed, "smoothing", step // 2))
        sign = 1.0 if step % 2 == 0 else -1.0
        with torch.no_grad():
            for p in training.parameters:
                before = p.detach().clone()
                u = torch.randn(p.shape, generator=g, device=device, dtype=p.dtype)
                p.add_(u, alpha=sign * sigma)
                self._kept.append((p, before, p.detach().clone()))
        return batch

    def after_step(self, training: Training) -> None:
        """Apply the step to the weights without noise."""
        with torch.no_grad():
            for parameter, before, moved in self._kept:
                parameter.copy_(before + (parameter - moved))
        self._kept = []
