"""How is a pair of networks trained that play against each other? In turns, k to one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import nn

from thalweg.models.gan import LOSSES, AdversarialPair, simultaneous_loss
from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.strategies.records import annotated, named
from thalweg.task import Task
from thalweg.training import Hook, Training, train


def adversarial(
    task: Task,
    *,
    k: int = 1,
    loss: str | None = None,
    run: str | Path | None = None,
    **training: Any,
) -> Run:
    """Train a generator and a discriminator in turns: k steps of D, one of G, and so on.

    Every step sees a fresh batch and fresh noise. One gradient is one step of one network; weights
    of the other get none and are not moved (weight decay included).

    Args:
        task: One whose model is an :class:`~thalweg.models.gan.AdversarialPair` and whose batches
            are (samples, noise), such as ``gan-gaussian`` and ``gan-ring``.
        k: Discriminator steps for each generator step.
        loss: The generator's, ``nonsaturating`` or ``minimax``; default: the pair's own.
        run: Run directory.
        training: As :func:`thalweg.training.train` takes it.

    Raises:
        ValueError: Another kind of model, k below 1, or an unknown loss.

    References:
        Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville, Bengio, "Generative
        adversarial nets", 2014, algorithm 1.
    """
    probe = Risk(task, "cpu").model(0)
    if not isinstance(probe, AdversarialPair):
        raise ValueError(
            f"the model of task '{task.name}' is a {type(probe).__name__}; adversarial training "
            "needs an AdversarialPair of a generator and a discriminator."
        )
    kind = probe.loss if loss is None else loss
    if k < 1 or kind not in LOSSES:
        raise ValueError(f"k {k}, loss {kind!r}; wanted k >= 1 and one of {', '.join(LOSSES)}.")
    options = {"k": k, "loss": kind}
    hooks = [*training.pop("hooks", ()), Turns(k)]
    step = named(
        task, "adversarial", options, model=_With(task.model, kind), loss=simultaneous_loss
    )
    ended = train(step, run=run, hooks=hooks, **training)
    return annotated(ended, task, "adversarial", options)


class Turns(Hook):
    """Whose turn it is decides what the loss of a step is.

    Args:
        k: Discriminator steps for each generator step.
    """

    def __init__(self, k: int = 1) -> None:
        self.k = k

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """Say whose turn it is."""
        judges = step % (self.k + 1) < self.k
        training.model.turn = "discriminator" if judges else "generator"  # pyrefly: ignore
        return batch

    def after_step(self, training: Training) -> None:
        """Between steps the pair is nobody's."""
        training.model.turn = None  # pyrefly: ignore


class _With:
    """The task's pair with a loss of one's choice."""

    def __init__(self, model: Any, loss: str) -> None:
        self.model, self.loss = model, loss

    def __call__(self) -> nn.Module:
        made = copy.deepcopy(self.model) if isinstance(self.model, nn.Module) else self.model()
        made.loss = self.loss  # pyrefly: ignore
        return made
