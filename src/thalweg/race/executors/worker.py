"""What a worker process does: load the task, build engines, obey the driver, and die with it.

One thread of torch. Nothing is written but temporary files; only the driver keeps results.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from thalweg.race.executors.build import build_engine
from thalweg.race.executors.messages import (
    Advance,
    Arrived,
    Close,
    Drop,
    Failed,
    Finished,
    Open,
    Order,
    Parts,
    Save,
    Saved,
    Setup,
    Ticked,
    flat,
    freeze,
    thaw,
)
from thalweg.race.population.base import Advanced, Engine
from thalweg.risk import Risk
from thalweg.risk.fingerprint import fingerprint
from thalweg.task import load_task
from thalweg.task.execute import describe


class Line(Protocol):
    """Orders in, answers out: a pipe's end, or a pair of queues."""

    def recv(self) -> Any:
        """The next order, waited for."""
        ...

    def send(self, obj: Any, /) -> None:
        """Tell the driver."""
        ...

    def poll(self) -> bool:
        """Whether an order is there."""
        ...


TICK_EVERY = 0.2  # seconds between two words about progress
KINDS = (ValueError, TypeError, MemoryError, OSError)  # raised as themselves in the driver


def main(connection: Connection, setup: Setup) -> None:
    """Serve one driver until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone; the driver decides
    threading.Thread(target=_die_with_driver, args=(setup.folder,), daemon=True).start()
    serve(connection, setup)


def serve(line: Line, setup: Setup) -> None:
    """Obey what comes over the line until nobody is at its other end; errors go back over it."""
    tempfile.tempdir = setup.folder
    try:
        _Worker(line, setup).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the driver hung up
    except (Exception, SystemExit) as error:
        with contextlib.suppress(OSError):
            line.send(_failed(error))


def _die_with_driver(folder: str) -> None:
    """Leave at once when the driver is gone, whatever the other thread is in the middle of."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _failed(error: BaseException) -> Failed:
    kind = next((k.__name__ for k in KINDS if isinstance(error, k)), "RuntimeError")
    number = error.errno if isinstance(error, OSError) else None
    text = "".join(traceback.format_exception(error))
    return Failed(kind, describe(error), number, text)


class _Worker:
    """The task, one engine per group, and the line to the driver."""

    def __init__(self, line: Line, setup: Setup) -> None:
        torch.set_num_threads(setup.plan["threads"])
        torch.set_default_dtype(getattr(torch, setup.default_dtype))
        torch.set_float32_matmul_precision(setup.matmul_precision)
        torch.use_deterministic_algorithms(setup.deterministic)
        torch.backends.cudnn.deterministic = True
        self._line, self._setup = line, setup
        self._engines: dict[int, tuple[Engine, int]] = {}
        self._reached: dict[int, dict[int, int]] = {}  # per group, the last stop of each member
        self._executed, self._told = 0, time.monotonic()
        task = load_task(setup.source, data=setup.data)
        self._risk = Risk(
            task, setup.device, setup.dtype, setup.split_seed, setup.plan.get("autocast")
        )
        found = fingerprint(self._risk)
        differs = [what for what, digest in setup.fingerprint.items() if found[what] != digest]
        if differs:
            raise ValueError(
                f"'{setup.source}' loads with other {' and '.join(differs)} in a worker process "
                "than in this one. Make data and initial weights the same on every load (fixed "
                "seeds), or use workers=1."
            )

    def serve(self) -> None:
        """Do what the driver says until it hangs up."""
        while True:
            self._obey(self._line.recv())

    def _obey(self, order: Order) -> None:
        match order:
            case Open():
                self._open(order)
            case Advance():
                self._advance(order)
            case Drop(group, indices):
                self._engines[group][0].drop(indices)
            case Save(group):
                self._line.send(Saved(group, freeze(self._engines[group][0].state())))
            case Close(group):
                del self._engines[group], self._reached[group]
                self._risk.forget_feeds()

    def _open(self, order: Open) -> None:
        setup = self._setup
        engine = build_engine(setup.plan, self._risk, order.members, order.total, setup.memory)
        self._engines[order.group], self._reached[order.group] = (engine, order.total), {}
        if order.state is not None:
            engine.restore(*thaw(order.state))
        engine.drop(order.dropped)

    def _advance(self, order: Advance) -> None:
        engine, total = self._engines[order.group]
        reached = self._reached[order.group]
        *before, last = order.stops
        for stop in before:  # in a new process: the same way again, in the same pieces
            behind = [index for index in order.only if reached.get(index, 0) < stop]
            for done in engine.advance(stop, behind, self._tick) if behind else ():
                if not done.finite:
                    engine.drop([done.index])
            reached.update(dict.fromkeys(behind, stop))
        for done in engine.advance(last, order.only, self._tick):
            reached[done.index] = last
            parts = self._score(engine, done, last == total)
            self._line.send(Arrived(order.group, last, self._count(), done, parts))
            if not parts or not _finite(parts):
                engine.drop([done.index])
            if engine.independent:
                self._between()
        self._line.send(Finished(order.group, self._count()))

    def _between(self) -> None:
        """Answer what may be answered between two members."""
        while self._line.poll():
            self._obey(self._line.recv())

    def _score(self, engine: Engine, done: Advanced, last: bool) -> Parts:
        if not done.finite:
            return {}
        parts = {"selection": flat(engine.score(done.index, "selection"))}
        if last and _finite(parts):
            parts["confirmation"] = flat(engine.score(done.index, "confirmation"))
        return parts

    def _tick(self, evaluations: int) -> None:
        self._executed += evaluations
        if time.monotonic() - self._told > TICK_EVERY:
            self._line.send(Ticked(self._count()))

    def _count(self) -> int:
        executed, self._executed = self._executed, 0
        self._told = time.monotonic()
        return executed


def _finite(parts: Parts) -> bool:
    """Whether criterion and loss on the selection part are numbers, as the driver will ask."""
    values, weights, loss = parts["selection"]
    return math.isfinite(loss) and math.isfinite(float((values * weights).sum()))
