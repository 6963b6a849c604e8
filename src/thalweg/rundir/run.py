"""One run's directory, opened by one driver at a time.

run.json         configuration, machine, and the plan once it is made
journal.sqlite   results as they arrive
checkpoints/     states to go on from
race.json        the answer so far, for reports
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from thalweg.rundir.atomic import atomic_write
from thalweg.rundir.checkpoint import Checkpoints
from thalweg.rundir.damage import DamagedRun, refused
from thalweg.rundir.journal import Journal, Put, Row
from thalweg.rundir.machine import machine

SCHEMA = 1
OWN = ("run.json", "race.json", "report.html", "lock", "checkpoints", "journal.sqlite")
SIDE_FILES = ("journal.sqlite-wal", "journal.sqlite-shm", "journal.sqlite-journal")


class Run(Protocol):
    """What a driver needs of a run, kept on disk or in memory."""

    path: Path | None
    plan: dict[str, Any] | None
    journal: Any
    checkpoints: Any

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Write down what was decided, once, before the first step."""
        ...

    def write(self, name: str, text: str) -> None:
        """Keep a file beside the results."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class RunDir:
    """A run on disk. Use :meth:`open`; it is a context manager that closes journal and lock."""

    def __init__(self, path: Path, record: dict[str, Any], lock: int) -> None:
        self.path, self._record, self._lock = path, record, lock
        self.plan: dict[str, Any] | None = record["plan"]
        self.journal = Journal(path / "journal.sqlite")
        self.checkpoints = Checkpoints(path / "checkpoints")

    @staticmethod
    def open(
        path: str | os.PathLike[str] | None,
        configuration: Mapping[str, Any],
        *,
        resume: bool = True,
        fresh: bool = False,
    ) -> Run:
        """Begin a run or go on with it.

        Args:
            path: The directory; None keeps everything in memory.
            configuration: What was asked for, JSON-ready; a run goes on only with the same.
            resume: False refuses a directory that holds a run already.
            fresh: Remove an earlier run's files first (never anything else).

        Raises:
            ValueError: Another configuration's run, a folder with other people's files, a file.
            DamagedRun: ``run.json`` or the journal is not what was written.
            OSError: It cannot be written, or another process drives it.
        """
        if path is None:
            return MemoryRun()
        folder = Path(path)
        asked = json.loads(json.dumps(configuration, allow_nan=False))
        made = _prepare(folder)
        try:
            lock = _take_lock(folder)
        except BaseException:
            if made:
                _clear(folder)
            raise
        try:
            if fresh:
                _clear(folder, keep=("lock",))
            record = _read_record(folder)
            if record is None:
                record = _begin(folder, asked)
            else:
                _same(folder, record["configuration"], asked, resume)
            return RunDir(folder, record, lock)
        except BaseException:
            os.close(lock)
            if made:
                _clear(folder)
            raise

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Write down what was decided, once, before the first step."""
        if self.plan is not None:
            raise DamagedRun(f"{self.path} has a plan already")
        plan = json.loads(json.dumps(plan, allow_nan=False))
        self._record["plan"] = plan
        self.write("run.json", _sealed(self._record))
        self.plan = plan

    def write(self, name: str, text: str) -> None:
        """Keep a file beside the results, written atomically."""
        atomic_write(self.path / name, text)

    def close(self) -> None:
        """Fold the journal into one file and let the next driver in."""
        self.journal.close()
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


def _prepare(folder: Path) -> bool:
    """Make the folder; tells whether it was made. Refuses what is not a run's."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a run needs a directory. Choose another one.")
    if folder.is_dir():
        names = {entry.name for entry in folder.iterdir()}
        if names - {"lock"} and "run.json" not in names:
            foreign = sorted(names - set(OWN) - set(SIDE_FILES))
            if foreign:
                raise ValueError(
                    f"{folder} holds other files ('{foreign[0]}') and no run. Choose an empty or "
                    "new directory."
                )
        return False
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise refused(error, folder) from error
    return True


def _take_lock(folder: Path) -> int:
    path = folder / "lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise refused(error, path) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise ValueError(
            f"{folder} is in use by process {owner}. Wait for it, or choose another directory."
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _begin(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    left = [name for name in (*OWN, *SIDE_FILES) if name != "lock" and (folder / name).exists()]
    if left:
        raise DamagedRun(f"{folder} holds '{left[0]}' but no run.json. Start afresh or elsewhere.")
    record = {"schema": SCHEMA, "configuration": asked, "machine": machine(), "plan": None}
    atomic_write(folder / "run.json", _sealed(record))
    return record


def _sealed(record: dict[str, Any]) -> str:
    """The record as JSON with a digest of itself."""
    import hashlib

    body = {key: value for key, value in record.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True)
    body["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def _read_record(folder: Path) -> dict[str, Any] | None:
    path = folder / "run.json"
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DamagedRun(f"{path} was altered") from error
    try:
        record = json.loads(text)
        intact = json.loads(_sealed(record))["sha256"] == record["sha256"]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedRun(f"{path} was altered: {error}") from error
    if not intact:
        raise DamagedRun(f"{path} was altered: its digest does not match")
    if record["schema"] > SCHEMA:
        raise ValueError(f"{path} was written by a newer thalweg (schema {record['schema']}).")
    return record


def _same(folder: Path, kept: dict[str, Any], asked: dict[str, Any], resume: bool) -> None:
    if not resume:
        raise ValueError(f"{folder} holds a run already. Resume it, start afresh or go elsewhere.")
    differ = [
        f"{key} was {kept.get(key)!r:.60}, now {asked.get(key)!r:.60}"
        for key in sorted(kept.keys() | asked.keys())
        if kept.get(key) != asked.get(key)
    ]
    if differ:
        more = f" and {len(differ) - 2} more" if len(differ) > 2 else ""
        raise ValueError(
            f"{folder} holds another run: {'; '.join(differ[:2])}{more}. Use --fresh to replace it "
            "or --run for another directory."
        )


def _clear(folder: Path, keep: Iterable[str] = ()) -> None:
    """Remove a run's own files, and the folder if nothing else is in it."""
    for name in {*OWN, *SIDE_FILES} - set(keep):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            for file in path.iterdir():
                if file.suffix in (".json", ".safetensors", ".part"):
                    file.unlink()
            with contextlib.suppress(OSError):
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


class MemoryRun:
    """A run that is kept nowhere: the same interface for people who named no directory."""

    path: Path | None = None

    def __init__(self) -> None:
        self.plan: dict[str, Any] | None = None
        self.journal, self.checkpoints = _MemoryJournal(), _NoCheckpoints()

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Keep the plan, as it would come back from a file."""
        self.plan = json.loads(json.dumps(plan, allow_nan=False))

    def write(self, name: str, text: str) -> None:
        """Nothing to keep."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _MemoryJournal:
    def __init__(self) -> None:
        self._rows: list[Row] = []

    def put(self, rows: Iterable[Put]) -> None:
        self._rows += [Row(m, s, dict(payload), dict(arrays)) for m, s, payload, arrays in rows]

    def rows(self) -> list[Row]:
        return self._rows


class _NoCheckpoints:
    def save(self, name: str, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        pass

    def load(self, name: str) -> None:
        return None

    def remove(self, name: str) -> None:
        pass
