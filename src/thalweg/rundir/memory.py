"""A run that is kept nowhere: the same interface for people who named no directory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from thalweg.rundir.journal import Put, Row


class MemoryRun:
    """A run in memory; nothing of it outlives the process."""

    path: Path | None = None

    def __init__(self) -> None:
        self.plan: dict[str, Any] | None = None
        self.journal, self.checkpoints = _Rows(), _NoCheckpoints()

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Keep the plan, as it would come back from a file."""
        self.plan = json.loads(json.dumps(plan, allow_nan=False))

    def write(self, name: str, text: str) -> None:
        """Nothing to keep."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Rows:
    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], Row] = {}

    def put(self, rows: Iterable[Put]) -> None:
        for member, segment, payload, arrays in rows:
            row = Row(member, int(segment), dict(payload), dict(arrays))
            self._rows.setdefault((member, row.segment), row)

    def rows(self, member: str | None = None) -> list[Row]:
        return [row for row in self._rows.values() if member is None or row.member == member]

    def get(self, member: str, segment: int) -> Row | None:
        return self._rows.get((member, segment))


class _NoCheckpoints:
    def save(self, name: str, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        pass

    def load(self, name: str) -> None:
        return None

    def remove(self, name: str) -> None:
        pass
