r"""Is training stuck on curvature or on a critical point? Two monitors to watch a training with.

A gradient step changes the loss by :math:`-\eta g^\top g + \tfrac12\eta^2 g^\top H g`, so it helps
as long as :math:`\tfrac12\eta\,g^\top H g < g^\top g`: :class:`ConditioningMonitor`. And while the
gradient norm does not shrink, critical points are not the problem: :class:`GradientNormMonitor`.

Both have the methods of ``thalweg.training`` hooks: pass them to ``thalweg.train(hooks=[...])``.
They can be called by hand as well: ``monitor.record(step, loss, parameters, lr)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from thalweg.curvature.once import once, twice
from thalweg.curvature.surface import exact_attention
from thalweg.curvature.surfaces import Losing
from thalweg.records_landscape import ConditioningRecord, GradientNorms


class Model(NamedTuple):
    """The second-order model of one gradient step."""

    loss: float
    gradient_square: float  # gᵀg
    gradient_curvature: float  # gᵀHg

    def change(self, lr: float) -> float:
        """Predicted change of the loss."""
        return -lr * self.gradient_square + 0.5 * lr**2 * self.gradient_curvature

    def ratio(self, lr: float) -> float:
        """Above 1 the step raises the loss; negative where the curvature along g is negative."""
        if self.gradient_square == 0:
            return 0.0
        return lr * self.gradient_curvature / (2 * self.gradient_square)

    @property
    def greedy_lr(self) -> float:
        """gᵀg / gᵀHg: exact line search on a quadratic; inf where there is no curvature to stop."""
        if self.gradient_curvature <= 0:
            return math.inf
        return self.gradient_square / self.gradient_curvature


def step_model(loss: Tensor, parameters: Sequence[Tensor]) -> Model:
    """Measure gᵀg and gᵀHg of a loss that still has its graph; the graph is kept.

    Args:
        loss: A scalar with its graph.
        parameters: Trainable tensors; those that the loss does not reach count as constant.

    Raises:
        RuntimeError: A layer has no second derivative (fused attention: compute the loss under
            :func:`thalweg.curvature.surface.exact_attention`).
    """
    twice(once(loss), "curvature along the gradient")
    with torch.enable_grad():
        first = torch.autograd.grad(
            loss, parameters, create_graph=True, retain_graph=True, allow_unused=True
        )
        known = [(p, g) for p, g in zip(parameters, first, strict=True) if g is not None]
        square = _dot([g for _, g in known], [g.detach() for _, g in known])
        if not square.requires_grad:  # linear in the weights: no curvature
            return Model(float(loss.detach()), float(square.detach()), 0.0)
        second = torch.autograd.grad(
            square, [p for p, _ in known], retain_graph=True, allow_unused=True
        )
    pairs = [(g.detach(), h) for (_, g), h in zip(known, second, strict=True) if h is not None]
    curvature = float(_dot([h for _, h in pairs], [g for g, _ in pairs])) if pairs else 0.0
    return Model(float(loss.detach()), float(square.detach()), curvature)


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum().double() for x, y in zip(a, b, strict=True)]).sum()


class ConditioningMonitor:
    """Records gᵀg against ½ lr gᵀHg every few steps, with predicted and actual change of the loss.

    One Hessian-vector product and one forward pass per record; nothing of the training changes:
    weights, running statistics and random numbers stay as they would have been. g is the gradient
    of the step's own batch, whatever the optimiser makes of it; the actual change is that of the
    weights' real step on that batch (for plain descent the two are comparable).

    Args:
        every: Steps between records, at least 1.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = _at_least_one(every)
        self._rows: list[tuple[float, ...]] = []
        self._pending: tuple[int, Any, float] | None = None

    def record(
        self,
        step: int,
        loss: Tensor,
        parameters: Sequence[Tensor],
        lr: float,
        actual: float = math.nan,
    ) -> Model:
        """Measure one step by hand; ``actual`` may be filled in by the caller."""
        model = step_model(loss, parameters)
        self._note(step, model, lr, actual)
        return model

    def _note(self, step: int, model: Model, lr: float, actual: float) -> None:
        greedy = model.greedy_lr
        self._rows.append(
            (
                step,
                model.loss,
                model.gradient_square,
                model.gradient_curvature,
                lr,
                model.ratio(lr),
                model.change(lr),
                actual,
                greedy,
                2 * greedy,
            )
        )

    @property
    def result(self) -> ConditioningRecord:
        """What was recorded so far."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 10
        steps, *rest = columns
        return ConditioningRecord(tuple(int(s) for s in steps), *(tuple(c) for c in rest))

    # the methods of a training hook

    def batch(self, training: Any, step: int, batch: Any) -> Any:
        """The batch, as it is."""
        return batch

    def loss(self, training: Any, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """Measure where a record is due; the loss goes on as it is."""
        if training.step % self.every == 0 and self._pending is None:
            found = self._measure(training, model, batch, loss)
            before = _quiet_loss(training, model, batch)
            self._note(training.step, found, training.lr, math.nan)
            self._pending = (len(self._rows) - 1, batch, before)
        return loss

    def after_step(self, training: Any) -> None:
        """Fill in the actual change."""
        if self._pending is None:
            return
        row, batch, before = self._pending
        self._pending = None
        actual = _quiet_loss(training, training.model, batch) - before
        self._rows[row] = (*self._rows[row][:7], actual, *self._rows[row][8:])

    def after_look(self, training: Any, numbers: Mapping[str, float]) -> None:
        """Nothing."""

    def _measure(self, training: Any, model: nn.Module, batch: Any, loss: Tensor) -> Model:
        parameters = [p for p in model.parameters() if p.requires_grad]
        try:
            return step_model(loss, parameters)
        except RuntimeError as error:
            if "derivative" not in str(error) and "not implemented" not in str(error):
                raise
        # a fused kernel without second derivative: once more with plain products
        with exact_attention(), torch.enable_grad():
            return step_model(_again(training, model, batch), parameters)


class GradientNormMonitor:
    """Records gradient norms in all and by layer every few steps, and what each look showed.

    Reads the ``.grad`` fields after each update: with clipping on, the clipped gradient.

    Args:
        every: Steps between records, at least 1.
        decay: Of the exponential average, in [0, 1).
    """

    def __init__(self, every: int = 1, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay!r}.")
        self.every, self.decay = _at_least_one(every), decay
        self._steps: list[int] = []
        self._total: list[float] = []
        self._smooth: list[float] = []
        self._average, self._mass = 0.0, 0.0
        self._layers: dict[str, list[float]] = {}
        self._look_steps: list[int] = []
        self._looks: dict[str, list[float]] = {}

    def record(self, step: int, model: nn.Module) -> float:
        """Read the gradients now; returns the total norm."""
        squares: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                layer = name.rpartition(".")[0] or name
                square = parameter.grad.detach().double().square().sum()
                squares[layer] = squares[layer] + square if layer in squares else square
        norms = torch.stack(list(squares.values())).sqrt().tolist() if squares else []
        for layer, norm in zip(squares, norms, strict=True):
            missed = [math.nan] * (len(self._steps) - len(self._layers.get(layer, ())))
            self._layers.setdefault(layer, []).extend([*missed, norm])
        total = math.hypot(*norms)
        self._average = self.decay * self._average + (1 - self.decay) * total
        self._mass = self.decay * self._mass + (1 - self.decay)
        self._steps.append(step)
        self._total.append(total)
        self._smooth.append(self._average / self._mass)
        return total

    @property
    def result(self) -> GradientNorms:
        """What was recorded so far."""
        n = len(self._steps)
        return GradientNorms(
            steps=tuple(self._steps),
            total=tuple(self._total),
            smooth=tuple(self._smooth),
            layers={k: (*v, *[math.nan] * (n - len(v))) for k, v in self._layers.items()},
            look_steps=tuple(self._look_steps),
            looks={name: tuple(values) for name, values in self._looks.items()},
        )

    # the methods of a training hook

    def batch(self, training: Any, step: int, batch: Any) -> Any:
        """The batch, as it is."""
        return batch

    def loss(self, training: Any, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """The loss, as it is."""
        return loss

    def after_step(self, training: Any) -> None:
        """Record where it is due."""
        if (training.step - 1) % self.every == 0:
            self.record(training.step - 1, training.model)

    def after_look(self, training: Any, numbers: Mapping[str, float]) -> None:
        """Keep what a look at held-out data showed."""
        for name, value in numbers.items():
            if isinstance(value, int | float):
                missed = [math.nan] * (len(self._look_steps) - len(self._looks.get(name, ())))
                self._looks.setdefault(name, []).extend([*missed, float(value)])
        self._look_steps.append(training.step)


def _quiet_loss(training: Any, model: nn.Module, batch: Any) -> float:
    """The loss of a batch in the model's own mode."""
    with torch.no_grad():
        return float(_again(training, model, batch))


def _again(training: Any, model: nn.Module, batch: Any) -> Tensor:
    """One more forward pass that leaves buffers and random state as they are."""
    device = training.risk.device
    buffers = {f"model.{name}": buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)  # the same dropout before and after the step
        return functional_call(Losing(model, training.risk.loss), buffers, (batch,))


def _at_least_one(every: int) -> int:
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every must be a whole number of at least 1, got {every!r}.")
    return every
