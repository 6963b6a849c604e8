"""Train one configuration to the end; killed at any instant, it goes on to the same answer."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from thalweg.optim import methods
from thalweg.records import Entry, Progress, Race
from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.risk.door import check
from thalweg.risk.fingerprint import fingerprint
from thalweg.rundir import RunDir
from thalweg.task import Task, task_source
from thalweg.training.loop import Hook
from thalweg.training.session import Session
from thalweg.training.settings import Settings


def train(
    task: Task,
    optimizer: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    start: Race | Entry | Settings | str | Path | None = None,
    epochs: float | None = None,
    evaluations: int | None = None,
    batch_size: int | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    clip: float | None = None,
    average: str | None = None,
    decay: float | None = None,
    burn_in: int | None = None,
    patience: int | None = None,
    autocast: str | None = None,
    run: str | Path | None = None,
    resume: bool = True,
    fresh: bool = False,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    seed: int = 0,
    threads: int | None = None,
    checkpoint_seconds: float = 300.0,
    hooks: Sequence[Hook] = (),
    log: Callable[[int, dict[str, float]], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a task with one optimiser.

    What is not given comes from ``start`` and else from the task's recipe. Batches, dropout masks
    and noise are functions of (seed, step), so a run that was killed goes on from its last
    checkpoint to the same bits.

    Args:
        task: Model, loss and data.
        optimizer: A name (``thalweg list methods``).
        hyperparameters: As torch names them, ``lr`` among them.
        start: A race (its winner), an entry of one, settings, or the directory of a race.
        epochs: Budget in passes over the training data; default: the recipe's.
        evaluations: Budget in gradients, instead.
        batch_size: Samples a gradient; methods with a line search take all samples.
        schedule: ``constant``, ``linear`` or ``cosine``.
        warmup: Gradients over which the rate first grows.
        clip: Largest norm of a gradient.
        average: ``polyak`` or ``exponential``.
        decay: Of the exponential average.
        burn_in: Steps before averaging.
        patience: Looks without improvement before stopping early; then the best weights are kept.
        autocast: ``bfloat16`` for a mixed-precision forward pass.
        run: Directory for journal, checkpoints, weights and record; None keeps all in memory.
        resume: Go on where ``run`` was left; False: refuse an existing one.
        fresh: Remove what an earlier training left in ``run`` first.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float64`` or None (as the task has it).
        seed: Of initial weights, data order, dropout and the held-out split.
        threads: Of torch; None: as they are. Part of what bits depend on.
        checkpoint_seconds: Time between checkpoints; one is written on Ctrl-C as well.
        hooks: See :class:`~thalweg.training.loop.Hook`.
        log: Called at every look with (gradients, numbers), for TensorBoard and the like.
        progress: Called with a :class:`~thalweg.records.Progress` at every look.

    Returns:
        The record; its ``model()`` is the trained module.

    Raises:
        ValueError: Bad input, in one line: what, where, what to do.
        OSError: The run directory cannot be written.
    """
    before = torch.get_num_threads()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            torch.set_num_threads(threads or before)
            risk = Risk(task, device, dtype, split_seed=seed)
            facts = check(risk)
            given = {
                "batch_size": batch_size,
                "schedule": schedule,
                "warmup": warmup,
                "clip": clip,
                "average": average,
                "decay": decay,
                "burn_in": burn_in,
                "patience": patience,
                "autocast": autocast,
            }
            settings = _settings(
                _base(start, task, risk, optimizer, batch_size), hyperparameters or {}, given
            )
            if facts.stochastic and methods.method(settings.optimizer).full_batch:
                raise ValueError(
                    f"{settings.optimizer} needs a deterministic loss, and this model draws random "
                    "numbers in training (dropout): switch them off or take another optimiser"
                )
            total = _total(risk, settings, epochs, evaluations)
            asked = _asked(risk, settings, total, seed)
            with RunDir.open(run, asked, resume=resume, fresh=fresh) as folder:
                plan = folder.plan or {"threads": torch.get_num_threads()}
                folder.set_plan(plan)
                torch.set_num_threads(plan["threads"])  # bits depend on it
                session = Session(risk, facts, settings, total, seed, folder, hooks, log, progress)
                return session.go(checkpoint_seconds)
        finally:
            torch.set_num_threads(before)


def _base(
    start: Any, task: Task, risk: Risk, optimizer: str | None, batch_size: int | None
) -> Settings:
    if start is None:
        recipe = task.recipe
        if optimizer is not None and optimizer != recipe.optimizer:
            full = methods.method(optimizer).full_batch
            return Settings(optimizer, batch_size=None if full else risk.batch_size(batch_size))
        return Settings.of_recipe(recipe, risk.batch_size(batch_size))
    if isinstance(start, str | Path):
        start = _race_of(Path(start))
    if isinstance(start, Race):
        start = start.best
    settings = start if isinstance(start, Settings) else Settings.of_entry(start)
    if optimizer is not None and optimizer != settings.optimizer:
        raise ValueError(
            f"start says {settings.optimizer} and optimizer says {optimizer}; give one of them"
        )
    return settings


def _race_of(folder: Path) -> Race:
    file = folder / "race.json" if folder.is_dir() else folder
    try:
        return Race.from_dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{file} is not the record of a race ({error}); give the directory of one"
        ) from error


def _settings(
    base: Settings, hyperparameters: Mapping[str, Any], given: Mapping[str, Any]
) -> Settings:
    """The base with what was given in its place."""
    said = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(
        base, hyperparameters={**base.hyperparameters, **hyperparameters}, **said
    ).checked()


def _total(risk: Risk, settings: Settings, epochs: float | None, evaluations: int | None) -> int:
    """The budget in gradients, whole cycles of methods that have them."""
    if epochs is not None and evaluations is not None:
        raise ValueError("budget given twice: give either epochs or evaluations (gradients)")
    for name, value in (("epochs", epochs), ("evaluations", evaluations)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value!r}: wanted a positive number")
    if evaluations is not None:
        total = int(evaluations)
    else:
        per_epoch = risk.order(settings.batch_size or risk.train.n).steps_per_epoch
        total = max(1, round((epochs or risk.task.recipe.epochs) * per_epoch))
    if settings.optimizer == "entropy-sgd":
        cycle = settings.hyperparameters.get(
            "n_langevin", methods.defaults("entropy-sgd")["n_langevin"]
        )
        total = -(-total // cycle) * cycle
    return total


def _asked(risk: Risk, settings: Settings, total: int, seed: int) -> dict[str, Any]:
    return {
        "kind": "train",
        "task": risk.task.name,
        "source": task_source(risk.task),
        "settings": settings.to_dict(),
        "evaluations": total,
        "seed": seed,
        "device": str(risk.device),
        "dtype": None if risk.dtype is None else str(risk.dtype),
        "criterion": risk.metric,
        "data": fingerprint(risk),
    }
