"""What worker processes are told at their start; refuses tasks that they could not load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from thalweg.cluster import connected
from thalweg.race.executors.messages import Setup
from thalweg.race.executors.pool import Pool
from thalweg.risk import Risk
from thalweg.task import Task, task_data, task_source

if TYPE_CHECKING:
    from thalweg.race.executors.ray_pool import RayPool


def require_source(task: Task, workers: int, ray: str | None = None) -> None:
    """Refuse workers for a task that only this process has.

    Raises:
        ValueError: It was not loaded by name.
    """
    if (workers > 1 or ray is not None) and task_source(task) is None:
        asked = f"workers={workers}" if ray is None else f"ray={ray!r}"
        raise ValueError(
            f"{asked}: worker processes load the task by its name, and task "
            f"'{task.name}' was made in Python. Use load_task('file.py:name') or "
            "load_task('package.module:name'), or train in this process."
        )


@contextmanager
def open_pool(
    risk: Risk,
    plan: Mapping[str, Any],
    asked: Mapping[str, Any],
    memory: int,
    ray: str | None = None,
) -> Iterator[Pool | RayPool | None]:
    """The processes that the plan wants; None where this process trains by itself.

    Args:
        risk: The driver's task on its device.
        plan: With ``workers``; nothing starts before there is something to train.
        asked: With ``seed`` (of the held-out split) and ``data`` (the task's fingerprint).
        memory: Bytes that live runs of all workers may hold together.
        ray: Address of a Ray cluster that the workers run on; None: children of this process.
    """
    workers = plan.get("workers", 1)
    if workers == 1 and ray is None:
        yield None
        return
    require_source(risk.task, workers, ray)
    setup = Setup(
        source=task_source(risk.task) or "",
        data=task_data(risk.task),
        device=str(risk.device),
        dtype=None if risk.dtype is None else str(risk.dtype),
        split_seed=asked["seed"],
        plan=dict(plan),
        fingerprint=dict(asked["data"]),
        memory=memory // workers,
        folder="",
        default_dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        matmul_precision=torch.get_float32_matmul_precision(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    with connected(ray) as cluster, _pool(cluster, workers, setup) as pool:
        yield pool


def _pool(cluster: Any, workers: int, setup: Setup) -> Pool | RayPool:
    if cluster is None:
        return Pool(workers, setup)
    from thalweg.race.executors.ray_pool import RayPool

    return RayPool(cluster, workers, setup)
