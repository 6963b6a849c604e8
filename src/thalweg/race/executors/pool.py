"""Worker processes of one race: started when first needed, replaced when they die, never orphaned.

They come from a fork server that has imported torch once and computed nothing: a process that has
run OpenMP must not be forked. Each holds its own copy of the task's resident data.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType

from thalweg.race.executors import worker
from thalweg.race.executors.messages import Answer, Died, Failed, Order, Setup

PRELOAD = ("thalweg.race.executors.worker",)
USEFUL = ("torch._dynamo", "sklearn.datasets")  # slow imports, made once if the driver made them
RESTARTS = 2  # of one worker; after that something is wrong that a restart does not cure
PATIENCE = 0.3  # seconds that a worker has to leave by itself
_starting = threading.Lock()


class WorkerTraceback(Exception):
    """The traceback of an exception in a worker, as text: the cause of the one raised here."""

    def __str__(self) -> str:
        """Below what is raised from it."""
        return f"\n{self.args[0]}"


@dataclass
class _Slot:
    """One worker's place; ``life`` counts the processes that have had it."""

    process: BaseProcess | None = None
    line: Connection | None = None
    life: int = 0


class Pool:
    """``count`` places for workers. Use as a context manager, or :meth:`close` it.

    Args:
        count: Processes at most.
        setup: How they get the task; ``folder`` is filled in here.
    """

    def __init__(self, count: int, setup: Setup) -> None:
        self._setup = setup
        self._folder: str | None = None
        self._slots = [_Slot() for _ in range(count)]

    @property
    def count(self) -> int:
        """Processes at most."""
        return len(self._slots)

    @property
    def pids(self) -> list[int]:
        """Processes that run now."""
        found = (slot.process.pid for slot in self._slots if slot.process is not None)
        return [pid for pid in found if pid is not None]

    def life(self, slot: int) -> int:
        """Which process of this place runs now; 0: none does."""
        place = self._slots[slot]
        return 0 if place.process is None else place.life

    def start(self, slot: int) -> None:
        """See to it that a process runs there."""
        place = self._slots[slot]
        if place.process is not None:
            return
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="thalweg-workers-")
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        setup = replace(self._setup, folder=self._folder)
        process = context.Process(
            target=worker.main, args=(theirs, setup), name=f"thalweg-worker-{slot}", daemon=True
        )
        with _starting, _nobody_as_main():
            _serve_forks()
            process.start()
        theirs.close()
        place.process, place.line, place.life = process, ours, place.life + 1

    def send(self, slot: int, order: Order) -> None:
        """Say something to a worker; one that is dead is noticed by :meth:`receive`."""
        line = self._slots[slot].line
        if line is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.send(order)

    def receive(self) -> Iterator[tuple[int, Answer]]:
        """Wait for any worker, then yield everything that has come; deaths come as ``Died``.

        Raises:
            ChildProcessError: A worker died once more than it may.
            ValueError, TypeError, OSError, RuntimeError: What was raised in a worker.
        """
        lines = {slot.line: n for n, slot in enumerate(self._slots) if slot.line is not None}
        for line in wait(list(lines)):
            number = lines[line]  # pyrefly: ignore
            try:
                answer = line.recv()  # pyrefly: ignore
            except (EOFError, OSError):
                yield number, self._bury(number)
                continue
            if isinstance(answer, Failed):
                raise rebuilt(answer)
            yield number, answer

    def _bury(self, number: int) -> Died:
        place = self._slots[number]
        assert place.process is not None
        assert place.line is not None
        place.process.join(PATIENCE)
        how = _ending(place.process.exitcode)
        place.process.kill()
        place.line.close()
        place.process = place.line = None
        if place.life > RESTARTS:
            raise ChildProcessError(
                f"worker {number + 1} of {self.count} died {place.life} times (last: {how}). What "
                "had finished is kept where a run directory was named. Each worker holds its own "
                "copy of the data: use fewer workers if memory ran out, or workers=1."
            )
        return Died(how)

    def close(self) -> None:
        """End all workers; their temporary files go with them."""
        for slot in self._slots:
            if slot.line is not None:
                slot.line.close()
        for slot in self._slots:
            if slot.process is not None:
                slot.process.join(PATIENCE)
                slot.process.kill()
                slot.process.join()
            slot.process = slot.line = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Pool:
        """Nothing starts before it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        self.close()


def _serve_forks() -> None:
    """Start the fork server with the slow imports done once, and by nobody else."""
    loaded = [name for name in USEFUL if name in sys.modules]
    forkserver.set_forkserver_preload([*PRELOAD, *loaded])  # read only when the server starts
    forkserver.ensure_running()


@contextlib.contextmanager
def _nobody_as_main() -> Iterator[None]:
    """Hide the main module: a child would run it again, and a script without a guard would race."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _ending(code: int | None) -> str:
    if code is None:
        return "it closed its line"
    if code >= 0:
        return f"it left with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"killed by {name}" + (", perhaps out of memory" if name == "SIGKILL" else "")


def rebuilt(failed: Failed) -> Exception:
    """The exception of a worker, with its traceback as cause."""
    line = f"in a worker process: {failed.line}"
    error: Exception
    match failed.kind:
        case "ValueError":
            error = ValueError(line)
        case "TypeError":
            error = TypeError(line)
        case "MemoryError":
            error = MemoryError(line)
        case "OSError":
            error = OSError(line) if failed.number is None else OSError(failed.number, line)
        case _:
            error = RuntimeError(line)
    error.__cause__ = WorkerTraceback(failed.traceback)
    return error
