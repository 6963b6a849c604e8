r"""Can a hard function be replaced by an easy one above it? Majorisation-minimisation.

A surrogate :math:`Q(w\,|\,w_k) \ge J(w)` that touches J at :math:`w_k` is minimised instead:
:math:`J(w_{k+1}) \le Q(w_{k+1}|w_k) \le Q(w_k|w_k) = J(w_k)`. Gradient descent at 1/L, ISTA and
iteratively reweighted least squares are such methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thalweg.records import Trace
from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.rundir.machine import machine
from thalweg.strategies.records import annotated
from thalweg.task import Task, task_source
from thalweg.training.saved import NAME, save


class Majorised(NamedTuple):
    """``w`` at the end and the objective at the start and after each step."""

    w: Tensor
    values: tuple[float, ...]


def mm(
    objective: Callable[[Tensor], Tensor],
    surrogate: Callable[[Tensor, Tensor], Tensor],
    minimiser: Callable[[Tensor], Tensor],
    w: Tensor,
    steps: int = 100,
    check: bool = True,
    tolerance: float = 1e-10,
) -> Majorised:
    """Minimise by steps to the minimum of an upper bound.

    Args:
        objective: J, a number of ``w (d,)``.
        surrogate: Q(w | w_k).
        minimiser: w_k to the minimiser of Q(· | w_k).
        w: Start.
        steps: How many.
        check: Verify at each step that Q touches J at w_k and lies above it at the new point.
        tolerance: Of that check, relative to ``1 + |J|``.

    Raises:
        ValueError: The surrogate does not touch, or lies below the objective at the new point.
    """
    values = [float(objective(w))]
    for k in range(steps):
        new = minimiser(w)
        value = float(objective(new))
        if check:
            slack = tolerance * (1 + abs(values[-1]))
            touch, above = float(surrogate(w, w)) - values[-1], float(surrogate(new, w)) - value
            if abs(touch) > slack or above < -slack:
                raise ValueError(
                    f"step {k}: the surrogate misses J by {touch:.3g} where it should touch and is "
                    f"{above:.3g} above it at the new point: it is no majoriser."
                )
        w = new
        values.append(value)
    return Majorised(w, tuple(values))


def majorise(
    task: Task,
    *,
    l1: float = 0.0,
    curvature: float = 1.0,
    seed: int = 0,
    run: str | Path | None = None,
    epochs: float | None = None,
    evaluations: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    threads: int | None = None,
    progress: Any = None,
    log: Callable[[int, dict[str, float]], None] | None = None,
    **training: Any,
) -> Run:
    r"""Minimise :math:`f(w) + \lambda\|w\|_1` over all samples; it falls at every step.

    The bound is :math:`f(w_k) + g^\top d + \tfrac L2\|d\|^2`: its minimum is a gradient step at
    1/L, and a soft threshold where λ > 0 (ISTA on weights). L doubles until the bound holds at the
    new point, and shrinks by a tenth after each step. Every trial costs one pass over the data.

    Args:
        task: A deterministic loss (no dropout).
        l1: λ.
        curvature: First L.
        seed: Of the initial weights.
        run: A directory for record and weights; it must be new or an earlier one of this kind.
        epochs: Budget in passes over the data.
        evaluations: The same.
        device: As in ``train``.
        dtype: As in ``train``.
        threads: Not used: bits depend on nothing that is resumed.
        progress: Not called: a run of this kind is short.
        log: Called after each step with (passes, numbers).
        training: Nothing else is taken.

    Raises:
        ValueError: Options of another optimiser, or a model that draws random numbers.
    """
    refused = [k for k, v in training.items() if v and k not in ("checkpoint_seconds", "resume")]
    refused = [k for k in refused if k != "fresh"]
    if refused:
        raise ValueError(f"majorise takes its step from the bound: leave out {', '.join(refused)}.")
    begun, risk = time.monotonic(), Risk(task, device, dtype, split_seed=seed)
    model = risk.model(seed)
    _refuse_random(risk, model)
    budget = evaluations or round(epochs or task.recipe.epochs)
    climber = _Bound(risk, model, l1, curvature)
    rows: list[tuple[int, float, float, float]] = []
    while climber.passes < budget and climber.alive:
        climber.step()
        scores = risk.score(model, "selection")
        rows.append((climber.passes, climber.value, scores.mean, scores.loss))
        if log is not None:
            log(climber.passes, {"train_loss": climber.value, "held_out": scores.mean})
    record = Run(
        task=task.name,
        optimizer="sgd",
        hyperparameters={"lr": 1 / climber.curvature},
        settings={"batch_size": risk.train.n},
        criterion=risk.metric,
        held_out=rows[-1][2],
        confirmed=risk.score(model, "confirmation").mean,
        loss=rows[-1][3],
        status="finished",
        evaluations=climber.passes,
        steps=len(rows),
        best=climber.passes,
        trace=Trace(
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            tuple(row[2] for row in rows),
        ),
        rates=tuple(climber.rates),
        samples={p: getattr(risk, p).n for p in ("train", "selection", "confirmation")},
        seconds=round(time.monotonic() - begun, 3),
        seed=seed,
        machine=machine(),
        line=f"torch.optim.SGD(model.parameters(), lr={1 / climber.curvature!r})",
        source=task_source(task),
    )
    return _kept(record, model, task, run, {"l1": l1, "curvature": curvature})


class _Bound:
    """One point, its objective, and the bound's curvature."""

    def __init__(self, risk: Risk, model: nn.Module, l1: float, curvature: float) -> None:
        if l1 < 0 or curvature <= 0:
            raise ValueError(f"l1 {l1}, curvature {curvature}; wanted >= 0 and > 0.")
        self.risk, self.model, self.l1, self.curvature = risk, model, l1, curvature
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.batch = risk.feed(0, risk.train.n).batch(0)
        self.passes, self.alive, self.rates = 0, True, []
        self.value = self._objective()

    def _objective(self) -> float:
        self.passes += 1
        with torch.no_grad():
            return float(self.risk.loss(self.model, self.batch)) + self._penalty()

    def _penalty(self) -> float:
        return self.l1 * float(sum(p.detach().abs().sum() for p in self.weights))

    def step(self) -> None:
        """Double L until the bound holds at its own minimum, then go there."""
        loss = self.risk.loss(self.model, self.batch)
        self.passes += 1
        slopes = torch.autograd.grad(loss, self.weights, materialize_grads=True)
        f, before = float(loss.detach()), [p.detach().clone() for p in self.weights]
        for _ in range(60):
            bound = f
            with torch.no_grad():
                for p, old, g in zip(self.weights, before, slopes, strict=True):
                    moved = old - g / self.curvature
                    new = moved.sign() * (moved.abs() - self.l1 / self.curvature).clamp(min=0)
                    d = new - old
                    bound += float((g * d).sum() + self.curvature / 2 * d.square().sum())
                    p.copy_(new)
            value = self._objective()
            if value <= bound + self._penalty() + 1e-7 * (1 + abs(f)):
                break
            self.curvature *= 2
        else:  # a loss that no bound of this form holds: a jump
            value = self.value + 1
        if value > self.value:  # rounding has the last word: stay
            with torch.no_grad():
                for p, old in zip(self.weights, before, strict=True):
                    p.copy_(old)
            self.alive, value = False, self.value
        self.value = value
        self.rates.append(1 / self.curvature)
        self.curvature *= 0.9


def _refuse_random(risk: Risk, model: nn.Module) -> None:
    before = torch.random.get_rng_state()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        risk.loss(model, risk.feed(0, min(8, risk.train.n)).batch(0))
        drew = not torch.equal(before, torch.random.get_rng_state())
    if drew:
        raise ValueError(
            "this model draws random numbers in training (dropout): no bound can hold."
        )


def _kept(
    record: Run, model: nn.Module, task: Task, run: str | Path | None, options: dict[str, Any]
) -> Run:
    from dataclasses import replace

    live = model.cpu().eval()
    if run is not None:
        folder = Path(run)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / NAME).is_file():
            raise ValueError(f"{folder} holds other files. Choose an empty or new directory.")
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"task": task.name, "source": record.source, "seed": record.seed}
        record = replace(record, run=str(folder), weights=save(folder / NAME, live, facts))
    object.__setattr__(record, "_live", live)
    return annotated(record, task, "majorise", options)
