"""What does a run's directory hold, while it is driven or long after? Read, never written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.rundir import record
from thalweg.rundir.journal import Journal
from thalweg.rundir.rows import MemoryJournal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one instant: what was asked, what was decided, and the results so far."""

    path: Path
    configuration: dict[str, Any]
    machine: dict[str, str]
    plan: dict[str, Any] | None  # None: killed, or read, before it was made
    journal: MemoryJournal

    @property
    def report(self) -> Path:
        """Where the run's page is, or would be."""
        return self.path / "report.html"


def read(path: str | os.PathLike[str]) -> Snapshot:
    """Read a run without a lock: also one that is being driven, was killed or is read-only.

    Raises:
        ValueError: There is no run, or a newer thalweg wrote it.
        DamagedRun: ``run.json`` or the journal is not what was written.
        OSError: It cannot be read.
    """
    folder = Path(path)
    kept = record.read(folder / "run.json") if folder.is_dir() else None
    if kept is None:
        raise ValueError(f"{folder} holds no run. Give the directory that a run was kept in.")
    rows = Journal.read(folder / "journal.sqlite")
    journal = MemoryJournal(rows, str(folder / "journal.sqlite"))
    return Snapshot(folder, kept["configuration"], kept["machine"], kept["plan"], journal)
