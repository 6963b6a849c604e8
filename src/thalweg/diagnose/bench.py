"""A task on the bench: its risk, how it is trained today, and one short run of that."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.diagnose.judge import Judge, Look, judge_of, look
from thalweg.diagnose.private import own
from thalweg.optim import methods
from thalweg.records import Trace
from thalweg.risk import Risk, tree
from thalweg.risk.source import Resident
from thalweg.task import Task
from thalweg.training.loop import Hook, Training
from thalweg.training.settings import Settings

LOOKS = 8
SCARCE = 1024  # held-out samples below which both halves are looked at: nothing is selected here
_CACHED = ("direct_loss", "metric", "_loss_parts", "_at_once")


@dataclass
class Walk:
    """One run, step by step."""

    seed: int
    evaluations: int
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)  # of the gradient
    at: list[int] = field(default_factory=list)  # where held-out data was looked at
    looks: list[Look] = field(default_factory=list)
    train: list[float] = field(default_factory=list)  # mean loss since the look before
    diverged: bool = False
    model: nn.Module | None = None  # as it ended

    @property
    def values(self) -> list[float]:
        """The criterion at every look."""
        return [seen.value for seen in self.looks]

    @property
    def trace(self) -> Trace:
        """The curve as a record."""
        return Trace(tuple(self.at), tuple(self.train), tuple(self.values))


class Bench:
    """A task ready to be run for a while, as often as one likes.

    Args:
        task: What to look at; its models are copied.
        device: As for ``Risk``.
        seed: Of the held-out split and the first run.
        like: Another bench that shares the data, so that nothing is read twice.
    """

    def __init__(
        self, task: Task, device: str | torch.device = "auto", seed: int = 0,
        like: Bench | None = None,
    ) -> None:  # fmt: skip
        self.task, self.seed = own(task), seed
        shares = like is not None and all(
            getattr(like.task, part) is getattr(task, part)
            for part in ("train", "held_out", "test")
        )
        if shares and like is not None:
            self.risk = copy.copy(like.risk)
            for name in _CACHED:
                self.risk.__dict__.pop(name, None)
            self.risk._feeds, self.risk._weights = {}, {}
            self.risk.task = self.task
            self.risk.order_kind = self.risk._read.kind or task.recipe.order
        else:
            self.risk = Risk(self.task, device, None, split_seed=seed)
            if task.test is None and self.risk.selection.n < SCARCE:
                self.risk.selection = _both(self.risk.selection, self.risk.confirmation)
        recipe = self.task.recipe
        self.settings = Settings.of_recipe(recipe, self.risk.batch_size()).checked()
        self.full_batch = methods.method(self.settings.optimizer).full_batch
        self.looks = like.looks if like is not None else LOOKS  # of every walk
        self._judge: Judge | None = None

    @property
    def judge(self) -> Judge:
        """The criterion with its floor, computed once."""
        if self._judge is None:
            self._judge = judge_of(self.risk)
        return self._judge

    @property
    def per_epoch(self) -> int:
        """Gradients in one pass over the training data."""
        if self.full_batch:
            return 1
        return self.risk.order(self.settings.batch_size or self.risk.train.n).steps_per_epoch

    def gradients(self, epochs: float) -> int:
        """Gradients in so many passes, at least two."""
        return max(2, round(epochs * self.per_epoch))

    def walk(
        self, seed: int, evaluations: int, *, looks: int | None = None, keep: bool = False,
        stop: Callable[[float], bool] | None = None, total: int | None = None,
    ) -> Walk:  # fmt: skip
        """Train for a while by the task's own recipe.

        Args:
            seed: Of initial weights, batches and dropout.
            evaluations: Gradients.
            looks: Times to look at held-out data, evenly spaced; 0: never; default ``self.looks``.
            keep: Keep the model.
            stop: Asked with the loss of every step; true ends the run.
            total: What a schedule is stretched over; default ``evaluations``.
        """
        looks = self.looks if looks is None else looks
        note = Note(stop)
        still = self.risk.model(seed)
        if not any(p.requires_grad for p in still.parameters()):
            return Walk(seed, evaluations, at=[0], looks=[look(self.risk, still)],
                        train=[math.nan], model=still if keep else None)  # fmt: skip
        training = Training(
            self.risk, self.settings, total or evaluations, seed, True, (note,), still
        )
        found = Walk(seed, evaluations, note.losses, note.norms)
        before = 0
        points = [round(evaluations * (i + 1) / max(1, looks)) for i in range(max(1, looks))]
        for point in dict.fromkeys(max(1, p) for p in points):
            try:
                fine = training.advance(point)
            except _Stopped:
                found.diverged = not all(map(math.isfinite, note.losses[-1:]))
                break
            except (RuntimeError, ValueError, AssertionError) as error:
                if note.losses and not _sound(training.model):  # what NaN does to a loss
                    found.diverged = True
                    break
                raise ValueError(
                    f"task '{self.task.name}': step {training.step} failed: "
                    f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                ) from error
            fresh = note.losses[before:]
            before = len(note.losses)
            found.diverged = not fine or not _sound(training.model)
            if looks:
                self._look(found, training, fresh)
            if found.diverged:
                break
        found.model = training.model if keep else None
        return found

    def _look(self, found: Walk, training: Training, fresh: list[float]) -> None:
        found.at.append(training.evaluations)
        found.train.append(sum(fresh) / len(fresh) if fresh else math.nan)
        if found.diverged:
            found.looks.append(Look(-math.inf, math.inf))
            return
        with training.kept() as model:
            found.looks.append(look(self.risk, model))

    def score(self, walk: Walk, measure: str = "") -> float:
        """What a run came to: the criterion at its end (mean of the last two looks)."""
        if walk.diverged or not walk.looks:
            return -math.inf
        last = walk.looks[-2:] if len(walk.looks) > 3 else walk.looks[-1:]
        pick = [seen.balanced if measure == "balanced accuracy" else seen.value for seen in last]
        return sum(pick) / len(pick)


def _both(one: Any, other: Any) -> Any:
    """Two parts that lie in memory as one; others stay as they are."""
    if not isinstance(one, Resident) or not isinstance(other, Resident):
        return one
    pairs = zip(tree.tensors(one.samples), tree.tensors(other.samples), strict=True)
    places = iter([torch.cat(pair) for pair in pairs])
    return Resident(tree.tree_map(lambda _: next(places), one.samples), one.n + other.n)


class _Stopped(Exception):
    """A run that was ended on purpose."""


class Note(Hook):
    """Writes down every loss and every gradient's norm."""

    def __init__(self, stop: Callable[[float], bool] | None) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self._stop = stop

    def loss(self, training: Training, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """Keep the number."""
        if not loss.requires_grad:  # nothing to descend: keep the loop going without a step
            loss = loss + 0.0 * sum(p.sum() for p in training.parameters)
        self.losses.append(float(loss.detach()))
        return loss

    def after_step(self, training: Training) -> None:
        """Keep the gradient's norm; end the run if told so."""
        grads = [p.grad for p in training.parameters if p.grad is not None]
        self.norms.append(float(torch.stack(torch._foreach_norm(grads)).norm()) if grads else 0.0)
        if self._stop is not None and self._stop(self.losses[-1]):
            raise _Stopped


def _sound(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())
