"""A run that is kept nowhere: the same interface for people who named no directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from thalweg.rundir import record
from thalweg.rundir.rows import MemoryJournal


class MemoryRun:
    """A run in memory; nothing of it outlives the process."""

    path: Path | None = None
    report: Path | None = None

    def __init__(self) -> None:
        self.plan: dict[str, Any] | None = None
        self.journal, self.checkpoints = MemoryJournal(), _NoCheckpoints()

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Keep the plan, as it would come back from a file.

        Raises:
            ValueError: There is another plan already; the same one again is fine.
        """
        planned = record.plain(plan)
        if self.plan is not None and planned != self.plan:
            raise ValueError("the run has another plan already, and a plan never changes")
        self.plan = planned

    def write(self, name: str, text: str) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _NoCheckpoints:
    """Nobody goes on from a run that was kept nowhere, so copies of states would be waste."""

    def save(self, name: str, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        pass

    def load(self, name: str) -> None:
        return None

    def names(self) -> tuple[str, ...]:
        return ()

    def remove(self, name: str) -> None:
        pass
