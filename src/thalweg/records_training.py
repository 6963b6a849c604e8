"""What one training run comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thalweg.records import Record, Trace
from thalweg.registry import resolve


@dataclass(frozen=True)  # without slots: a model that was just trained is kept beside the numbers
class Run(Record):
    """One training: how it went, how good the model is, and where its weights are."""

    task: str
    optimizer: str
    hyperparameters: dict[str, Any]
    settings: dict[str, Any]  # batch_size, schedule, clip, average …: what is not the optimiser's
    criterion: str  # "accuracy", "loss" or the metric's name
    held_out: float  # the criterion on the selection part, higher is better
    confirmed: float  # the same on the confirmation part, looked at once
    loss: float  # held-out loss on the selection part
    status: str  # "finished", "stopped early" or "diverged"
    evaluations: int  # gradients consumed
    steps: int  # updates of the weights
    best: int  # evaluations after which the kept weights were reached
    trace: Trace
    rates: tuple[float, ...] = ()  # learning rate at each point of the trace
    samples: dict[str, int] = field(default_factory=dict)  # train, selection, confirmation
    seconds: float = 0.0
    seed: int = 0
    plan: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    line: str = ""  # paste-able: builds the torch optimiser
    command: str = ""
    run: str = ""
    weights: str = ""  # SHA-256 of the saved weights
    source: str | None = None  # what the command line calls the task

    def model(self) -> Any:
        """A copy of the trained ``nn.Module`` in evaluation mode, weights loaded.

        Raises:
            ValueError: The run was kept in memory by another process, or its task cannot be named
                on a command line: use ``thalweg.training.load(weights, task)``.
        """
        return resolve("thalweg.training.saved:model_of")(self)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page and return where it is."""
        return resolve("thalweg.report.page:write")([self], path)
