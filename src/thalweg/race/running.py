"""The answer to *which optimiser and which learning rate for this task*."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from thalweg.race.course import Course
from thalweg.race.executors.setup import require_source
from thalweg.race.plan import ENGINES, Budget, batch_sizes
from thalweg.race.space import check_lrs, make_space
from thalweg.records import Progress, Race
from thalweg.registry import suggest
from thalweg.risk import Risk
from thalweg.risk.door import check
from thalweg.risk.fingerprint import fingerprint
from thalweg.rundir import RunDir
from thalweg.task import Task, task_source


def race(
    task: Task,
    optimizers: Sequence[str] = ("sgd", "momentum", "adam"),
    lrs: str | Sequence[float] = "auto",
    space: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 3,
    seconds: float | None = None,
    epochs: float | None = None,
    evaluations: int | None = None,
    run: str | Path | None = None,
    resume: bool = True,
    fresh: bool = False,
    workers: int = 1,
    ray: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    autocast: str | None = None,
    seed: int = 0,
    cull: bool = True,
    engine: str = "auto",
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Race:
    """Race optimisers x learning rates x seeds and pick the winner on held-out data.

    Every configuration starts from the same weights and sees the same batches under one seed, so
    they are compared in pairs. The selection part of the held-out data decides who is culled, who
    is ranked where and who is tied; the confirmation part is looked at once, for the winner, its
    ties and the library's defaults.

    Args:
        task: Model, loss and data.
        optimizers: Names (``thalweg list optimizers``), and the methods ``entropy-sgd``,
            ``nonlinear-cg`` and ``lbfgs``, raced at equal gradients: Entropy-SGD pays one a step
            and is scored at its centre (``lr`` is the outer rate; give inner ones as
            ``space={"lr_inner": ...}``); line searches take all samples at once and pay for each
            evaluation as many gradients as an epoch has minibatches.
        lrs: ``"auto"`` (seven rates below the highest one that trains, sought from the limit that
            the first minibatches' curvature admits, and widened while the best lies on an edge) or
            positive numbers, the same for every optimiser.
        space: Further axes: ``weight_decay``, ``momentum``, ``batch_size``, ``schedule``
            (``constant``, ``linear``, ``cosine``), ``clip`` or any other hyperparameter.
        seeds: Initial weights and data orders per configuration; three give honest intervals.
        seconds: Budget of the whole race, converted once into gradients per run.
        epochs: Budget of each run in passes over the training data; default: the task's recipe.
        evaluations: Budget of each run in gradients.
        run: Directory to keep results in as they arrive; None keeps them in memory.
        resume: Go on where ``run`` was left; False: refuse an existing one.
        fresh: Remove what an earlier race left in ``run`` first.
        workers: Processes with one thread each, which split the members by seed; 1 runs in this
            one. They load the task by its name, and each holds its own copy of the data. A resumed
            race keeps the number in its plan.
        ray: Address of a Ray cluster on whose machines the workers run (``auto``, ``HOST:PORT`` or
            ``local``). Rows, plan and table are those of as many workers here.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float64`` or None (as the task has it).
        autocast: ``bfloat16`` runs forward passes in mixed precision (weights stay as they are);
            members are then mapped or looped, and equal to each other only up to its rounding.
        seed: Decides the held-out split and all seeds of the race.
        cull: Halve the field at 1/8, 1/4 and 1/2 of the budget (never within one standard error).
        engine: ``auto`` (proved on the task's first steps and timed), ``looped``, ``stacked`` or
            ``vmap``.
        threads: Of torch; None: one, unless more of them are measurably faster.
        progress: Called with a :class:`~thalweg.records.Progress` a few times a second.

    Returns:
        The table, best first, with the winner, its ties and the defaults.

    Raises:
        ValueError: Bad input, in one line: what, where, what to do.
        OSError: The run directory cannot be written.
    """
    rates, budget = check_lrs(lrs), Budget(seconds, epochs, evaluations)
    for name, value in (("seeds", seeds), ("workers", workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r}: wanted a whole number of at least 1.")
    if engine not in ENGINES:
        raise ValueError(f"unknown engine '{engine}'. {suggest(str(engine), ENGINES)}")
    require_source(task, workers, ray)
    with _untouched_globals():
        risk = Risk(task, device, dtype, split_seed=seed, autocast=autocast)
        facts = check(risk)
        recipe = task.recipe
        chosen = make_space(
            optimizers, space, risk.batch_size(), recipe.schedule, recipe.weight_decay
        )
        batch_sizes(risk, chosen)  # refused before a run directory is made
        asked = {
            "task": task.name,
            "source": task_source(task),
            "optimizers": list(optimizers),
            "lrs": "auto" if rates is None else list(rates),
            "space": {axis: list(values) for axis, values in (space or {}).items()},
            "seeds": seeds,
            "seed": seed,
            "budget": {"seconds": seconds, "epochs": epochs, "evaluations": evaluations},
            "cull": cull,
            "engine": engine,
            "device": str(risk.device),
            "dtype": None if risk.dtype is None else str(risk.dtype),
            "criterion": risk.metric,
            "batch_size": risk.batch_size(),
            "data": fingerprint(risk),
        }
        if autocast is not None:  # runs of before it was an option go on
            asked["autocast"] = autocast
        with RunDir.open(run, asked, resume=resume, fresh=fresh) as folder:
            course = Course(
                risk, facts, chosen, asked, folder, rates, budget, threads, workers, ray, progress
            )
            return course.go()


@contextmanager
def _untouched_globals() -> Iterator[None]:
    """Give threads, random state and cuDNN's mode back as they were found."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn.deterministic
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.backends.cudnn.deterministic = True
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.deterministic = cudnn
