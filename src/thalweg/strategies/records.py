"""How does a run say by which strategy it came about?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from thalweg.records_training import Run
from thalweg.rundir.atomic import atomic_write
from thalweg.task import Task, task_source
from thalweg.training.saved import NAME, save


def named(task: Task, strategy: str, options: Mapping[str, Any], **changes: Any) -> Task:
    """The task under a name that holds strategy and options: a run goes on only with the same."""
    said = ", ".join(f"{key} {_word(value)}" for key, value in options.items())
    return replace(task, name=f"{task.name} ({strategy}{': ' if said else ''}{said})", **changes)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def annotated(
    run: Run,
    task: Task,
    strategy: str,
    options: Mapping[str, Any],
    notes: tuple[str, ...] = (),
    before: int = 0,
) -> Run:
    """The run as one of ``task``, with strategy and options among its settings; also on disk.

    Args:
        run: What the last stage gave.
        task: The user's.
        strategy: Name in the registry.
        options: As they were used.
        notes: What happened before the last stage.
        before: Gradients consumed by earlier stages.
    """
    told = {key: value for key, value in options.items() if value is not None}
    settings = {**run.settings, "strategy": strategy, **{k: _plain(v) for k, v in told.items()}}
    if before:
        settings["gradients before"] = before
    changed = replace(
        run,
        task=task.name,
        source=task_source(task),
        settings=settings,
        notes=(*notes, *run.notes),
    )
    object.__setattr__(changed, "_live", getattr(run, "_live", None))
    if run.run:
        atomic_write(Path(run.run) / "train.json", changed.to_json())
    return changed


def with_model(run: Run, model: nn.Module) -> Run:
    """The run with another module as its trained model: the same weights under other names."""
    live = copy.deepcopy(model).cpu().eval()
    changed = run
    if run.run:
        facts = {"task": run.task, "source": run.source, "seed": run.seed}
        changed = replace(run, weights=save(Path(run.run) / NAME, live, facts))
    else:
        changed = replace(run)
    object.__setattr__(changed, "_live", live)
    return changed


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def stage_folder(run: str | Path | None, stage: str) -> Path | None:
    """Where an earlier stage keeps its run: beside the last one's directory."""
    if run is None:
        return None
    folder = Path(run)
    return folder.with_name(f"{folder.name}-{stage}")
