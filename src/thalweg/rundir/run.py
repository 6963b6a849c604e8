"""One run's directory, opened by one driver at a time.

run.json         configuration, machine, and the plan once it is made
journal.sqlite   results as they arrive; journal.head says how far they had come
checkpoints/     states to go on from
race.json        the answer so far, for reports
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from thalweg.rundir import head, lock, record
from thalweg.rundir.atomic import atomic_write, make_folder, remove_empty, sweep
from thalweg.rundir.checkpoint import Checkpoints
from thalweg.rundir.damage import DamagedRun, refused
from thalweg.rundir.journal import Journal
from thalweg.rundir.memory import MemoryRun
from thalweg.rundir.owned import JOURNAL, KEPT, OWN, STATE, check, clear
from thalweg.rundir.reading import Snapshot, read


class Run(Protocol):
    """What a driver needs of a run, kept on disk or in memory."""

    plan: dict[str, Any] | None
    journal: Any
    checkpoints: Any

    @property
    def path(self) -> Path | None:
        """Where it is kept; None: in memory."""
        ...

    @property
    def report(self) -> Path | None:
        """Where its page belongs; None: nowhere."""
        ...

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Write down what was decided, once, before the first step."""
        ...

    def write(self, name: str, text: str) -> None:
        """Keep a file beside the results."""
        ...

    def close(self) -> None:
        """Fold everything into its files and let the next driver in."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class RunDir:
    """A run on disk. Use :meth:`open`; it is a context manager that closes journal and lock."""

    def __init__(self, path: Path, kept: dict[str, Any], held: int) -> None:
        self.path, self._record, self._lock = path, kept, held
        self.plan: dict[str, Any] | None = kept["plan"]
        self.journal = Journal(path / "journal.sqlite")
        self.checkpoints = Checkpoints(path / "checkpoints", witness=self.journal)

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
            path: The directory (or a link to one); None keeps everything in memory.
            configuration: What was asked for, JSON-ready; a run goes on only with the same. A run
                that failed before it had a plan or a result is replaced.
            resume: False refuses a directory that holds a run already.
            fresh: Remove an earlier run's files first (never anything else).

        Raises:
            ValueError: Another configuration's run, a folder with other people's files, a file in
                the way, a newer schema, or a run that another process drives.
            DamagedRun: ``run.json`` or the journal is not what was written.
            OSError: It cannot be written or read. A new run leaves nothing behind.
        """
        asked = record.plain(configuration)
        if path is None:
            return MemoryRun()
        folder = Path(path)
        made = _prepare(folder)
        begun, held = bool(made), -1
        try:
            held = lock.take(folder)
            sweep(folder)
            if fresh:
                clear(folder, but="lock")
            kept = record.read(folder / "run.json")
            if kept is not None and kept["configuration"] != asked and _is_empty(folder, kept):
                clear(folder, but="lock")
                kept = None
            if kept is None:
                _refuse_remains(folder)
                begun = True
                kept = _begin(folder, asked)
            else:
                record.same(folder, kept["configuration"], asked, resume)
            return RunDir(folder, kept, held)
        except BaseException:
            with contextlib.suppress(OSError):
                if begun and held >= 0:
                    clear(folder)
            remove_empty(made)
            if held >= 0:
                os.close(held)
            raise

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Snapshot:
        """What a run holds so far, without driving it: see :func:`thalweg.rundir.reading.read`."""
        return read(path)

    @property
    def report(self) -> Path:
        """Where the run's page belongs."""
        return self.path / "report.html"

    def set_plan(self, plan: dict[str, Any]) -> None:
        """Write down what was decided, once, before the first step.

        Raises:
            ValueError: There is another plan already; the same one again is fine.
            OSError: As :func:`~thalweg.rundir.atomic.atomic_write`; there is no plan then.
        """
        planned = self._record | {"plan": record.plain(plan)}
        if self.plan is not None:
            if record.sealed(planned) != record.sealed(self._record):
                raise ValueError(f"{self.path} has another plan already, and a plan never changes")
            return
        atomic_write(self.path / "run.json", record.sealed(planned))
        self._record, self.plan = planned, planned["plan"]

    def write(self, name: str, text: str) -> None:
        """Keep a file beside the results, written atomically.

        Raises:
            ValueError: ``name`` is a path, or a file that the run itself keeps.
            OSError: As :func:`~thalweg.rundir.atomic.atomic_write`.
        """
        if not name or name != Path(name).name or name in ("..", *KEPT):
            raise ValueError(f"{name!r} is no plain file name, or one that the run itself keeps")
        atomic_write(self.path / name, text)

    def close(self) -> None:
        """Fold the journal into one file and let the next driver in."""
        try:
            self.journal.close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _prepare(folder: Path) -> list[Path]:
    """Make the folder; tells which ones were made. Refuses what is not a run's."""
    try:
        found = folder.is_dir() or folder.is_symlink() or folder.exists()
    except OSError as error:
        raise refused(error, folder, "read") from error
    except ValueError as error:
        raise ValueError(f"{str(folder)!r} is no path: {error}") from error
    if not found:
        try:
            return make_folder(folder)
        except NotADirectoryError as error:
            raise ValueError(
                f"{folder} lies in a file; a run needs a directory. Choose another one."
            ) from error
    if not folder.is_dir():
        what = "a file" if folder.exists() else "a link to nothing"
        raise ValueError(f"{folder} is {what}; a run needs a directory. Choose another one.")
    check(folder)
    return []


def _refuse_remains(folder: Path) -> None:
    """Make way for a new run, where nothing that was ever acknowledged lies in the way."""
    left = [name for name in OWN if name != "lock" and _is_there(folder / name)]
    if not left:
        return
    begun = set(left) <= set(JOURNAL) and left[0] == "journal.head"
    if begun and head.read(folder / "journal.sqlite") == (0, head.START):
        clear(folder, but="lock")  # a driver was killed while it made the files
        return
    raise DamagedRun(f"{folder} holds '{left[0]}' but no run.json. Start afresh or elsewhere.")


def _is_empty(folder: Path, kept: dict[str, Any]) -> bool:
    """Whether a run ended before there was a plan or anything else worth keeping."""
    untouched = head.read(folder / "journal.sqlite") == (0, head.START)
    return kept["plan"] is None and untouched and not _is_there(folder / "checkpoints")


def _is_there(path: Path) -> bool:
    if path.name == "checkpoints" and path.is_dir():  # it may hold other people's files alone
        return any(STATE.fullmatch(file.name) for file in path.iterdir())
    return path.exists()


def _begin(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Make the files of a new run; ``run.json`` comes last and says that they are whole."""
    Journal(folder / "journal.sqlite", new=True).close()
    kept = record.new(asked)
    atomic_write(folder / "run.json", record.sealed(kept))
    return kept
