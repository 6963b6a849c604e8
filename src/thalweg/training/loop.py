"""The loop over batches: a state that can be saved and gone on with bit for bit."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.optim import methods
from thalweg.optim.averaging import Averaged
from thalweg.risk import Risk
from thalweg.risk.criterion import Scores
from thalweg.risk.order import stream
from thalweg.steps import SCHEDULES
from thalweg.training.settings import Settings

LOOK_AT_CLOCK = 64  # steps between looks at the clock and at the losses: each waits for the device
REFRESH_BATCHES = 64  # over which batch statistics are measured anew for weights never trained with


class Hook:
    """What may watch or steer a training; every method does nothing here.

    Hooks keep no state of their own that the run depends on: a resumed run makes them anew.
    """

    def batch(self, training: Training, step: int, batch: Any) -> Any:
        """The batch of this step, or another in its place."""
        return batch

    def loss(self, training: Training, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """The loss of this step, or another in its place."""
        return loss

    def after_step(self, training: Training) -> None:
        """After each update of the weights."""

    def after_look(self, training: Training, numbers: dict[str, float]) -> None:
        """After each look at held-out data."""


class Training:
    """One run in progress.

    Args:
        risk: The task on its device.
        settings: How to train, checked.
        total: Gradients of the whole run (what the schedule is stretched over).
        seed: Of initial weights, data order and random layers.
        stochastic: Whether the forward pass draws random numbers; it is then reseeded by
            (seed, step).
        hooks: Called in order.
        model: Trained in place of a fresh one of the task (already on the device).

    Attributes:
        model: The module being trained.
        evaluations: Gradients consumed so far.
        step: Updates so far (fewer than gradients for methods with a line search).
    """

    def __init__(
        self,
        risk: Risk,
        settings: Settings,
        total: int,
        seed: int,
        stochastic: bool,
        hooks: Sequence[Hook] = (),
        model: nn.Module | None = None,
    ) -> None:
        self.risk, self.settings, self.total, self.seed = risk, settings, total, seed
        self.hooks, self._stochastic = tuple(hooks), stochastic
        self.how = methods.method(settings.optimizer)
        self.evaluations = self.step = 0
        self.model = risk.model(seed) if model is None else model
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = methods.make(
            settings.optimizer, self.parameters, **settings.hyperparameters
        )
        self.average: Averaged | None = None
        if settings.average is not None:
            self.average = Averaged(self.model, settings.average, settings.decay, settings.burn_in)
        self.batch_size = settings.batch_size or risk.train.n
        self._feed = risk.feed(seed, self.batch_size)
        self._factor = SCHEDULES.load(settings.schedule)
        self._base = [group.get("lr") for group in self.optimizer.param_groups]
        self._sum, self._count = 0.0, 0  # of losses since the last look

    # ------------------------------------------------------------------ steps

    def advance(self, stop: int, pause: Callable[[], bool] = lambda: False) -> bool:
        """Train until ``stop`` gradients are consumed.

        Args:
            stop: Total number of gradients to have consumed.
            pause: Asked every 64 steps; when true, :meth:`advance` comes back early.

        Returns:
            Whether every loss was a finite number.
        """
        losses: list[Tensor] = []
        while self.evaluations < stop:
            losses.append(self._one())
            if len(losses) >= LOOK_AT_CLOCK or self.evaluations >= stop:
                if not self._take(losses):
                    return False
                if pause():
                    break
        return True

    def _take(self, losses: list[Tensor]) -> bool:
        self._sum += float(torch.stack(losses).double().sum())
        self._count += len(losses)
        losses.clear()
        return math.isfinite(self._sum)

    def _one(self) -> Tensor:
        """One update of the weights; its loss, detached."""
        batch = self._feed.batch(0 if self.how.full_batch else self.step)
        for hook in self.hooks:
            batch = hook.batch(self, self.step, batch)
        self._set_rate()
        if self.how.evaluates:
            loss: Any = self.optimizer.step(lambda: self._gradient(batch))  # pyrefly: ignore
        else:
            loss = self._gradient(batch)
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
            self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update_parameters(self.model)
        for hook in self.hooks:
            hook.after_step(self)
        return loss.detach()

    def _gradient(self, batch: Any) -> Tensor:
        if self._stochastic:
            _reseed(self.risk.device, stream(self.seed, "step", self.step))
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            loss = self.risk.loss(self.model, batch)
        for hook in self.hooks:
            loss = hook.loss(self, self.model, batch, loss)
        loss.backward()
        self.evaluations += 1
        return loss

    def _set_rate(self) -> None:
        settings = self.settings
        if settings.schedule == "constant" and not settings.warmup:
            return
        factor = self._factor(min(self.evaluations, self.total), self.total)
        if self.evaluations < settings.warmup:
            factor *= (self.evaluations + 1) / (settings.warmup + 1)
        for group, lr in zip(self.optimizer.param_groups, self._base, strict=True):
            group["lr"] = lr * factor

    @property
    def lr(self) -> float:
        """The rate in use now."""
        return float(self.optimizer.param_groups[0].get("lr", math.nan))

    def precision(self) -> Any:
        """The context of a forward pass."""
        if self.settings.autocast is None:
            return nullcontext()
        return torch.autocast(self.risk.device.type, getattr(torch, self.settings.autocast))

    # ------------------------------------------------------------------ held-out data

    def train_loss(self) -> float:
        """Mean of the losses since the last call."""
        mean = self._sum / self._count if self._count else math.nan
        self._sum, self._count = 0.0, 0
        return mean

    def score(self, part: str) -> Scores:
        """The criterion of the weights that would be kept now."""
        with self.kept() as model, self.precision():
            return self.risk.score(model, part)

    @contextmanager
    def kept(self) -> Iterator[nn.Module]:
        """The module whose weights are scored and kept: the average's, the centre's or the model.

        Where these are not the weights that were trained with, batch statistics are measured anew.
        """
        if self.average is not None:
            self._refresh(self.average.module)
            yield self.average.module
        elif hasattr(self.optimizer, "at_centre"):
            with self.optimizer.at_centre():  # pyrefly: ignore
                if not _normalised(self.model):
                    yield self.model
                    return
                centre = copy.deepcopy(self.model)
            self._refresh(centre)
            yield centre
        else:
            yield self.model

    def _refresh(self, model: nn.Module) -> None:
        if self.average is None or self.step > self.settings.burn_in:
            refresh_norms(self.risk, model, self.seed, self.batch_size)

    # ------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else dict(self.average.state_dict()),
            "counts": [self.evaluations, self.step, self._count],
            "sum": self._sum,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.evaluations, self.step, self._count = state["counts"]
        self._sum = state["sum"]


def refresh_norms(risk: Risk, model: nn.Module, seed: int, batch_size: int) -> None:
    """Measure running means and variances anew over the first batches of the data, in place."""
    norms = _normalised(model)
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    feed, steps = risk.feed(seed, batch_size), risk.order(batch_size).steps_per_epoch
    with torch.no_grad():
        for step in range(min(steps, REFRESH_BATCHES)):
            risk.loss(model, feed.batch(step))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes:
        module.training = mode


def _normalised(model: nn.Module) -> list[Any]:
    """The modules with running statistics."""
    kinds = nn.modules.batchnorm._BatchNorm
    return [m for m in model.modules() if isinstance(m, kinds) and m.track_running_stats]


def _reseed(device: torch.device, value: int) -> None:
    if device.type == "cpu":  # torch.manual_seed takes 0.1 ms to think of other devices
        torch.default_generator.manual_seed(value)
    else:
        torch.manual_seed(value)


class Clock:
    """Says when so many seconds have passed since it last said so."""

    def __init__(self, every: float) -> None:
        self.every, self._last = every, time.monotonic()

    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self._last >= self.every

    def reset(self) -> None:
        """Start counting anew."""
        self._last = time.monotonic()
