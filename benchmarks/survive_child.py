"""What is killed: jobs in processes forked from a server that has imported torch once.

The server reads one JSON line a job (``{"job", "acks", "arguments"}``), forks, answers with the
child's process id, and, when it has ended, with how it ended. The child appends a line to ``acks``
after everything it was told is safe on disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CANNOT = 9  # exit code: the engine asked for has no rule for this task


class Server:
    """The parent's end of one server process."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._read() == "ready"

    def start(self, job: str, acks: Path, **arguments: Any) -> int:
        """Start a job; returns its process id."""
        self._tell(json.dumps({"job": job, "acks": str(acks), "arguments": arguments}))
        return int(self._read())

    def wait(self) -> int:
        """Wait for the job; 0 if it ended by itself and well, else minus the signal or its code."""
        self._tell("reap")
        return int(self._read())

    def run(self, job: str, acks: Path, kill_after: float | None = None, **arguments: Any) -> int:
        """A job from start to end, killed after some seconds."""
        child = self.start(job, acks, **arguments)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)  # not reaped before we ask: never another process
        return self.wait()

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the server of killed processes is gone")
        return line


# ---------------------------------------------------------------- jobs


def race(acks: int, arguments: dict[str, Any]) -> None:
    """A race whose state is saved at every chance."""
    from thalweg.race import driver
    from thalweg.race.running import race as run_race
    from thalweg.rundir.journal import Journal
    from thalweg.task import load_task

    driver.SAVE_EVERY, driver.SAVE_SHARE = arguments.pop("save_every", 0.0), 1e9
    driver.FLUSH_EVERY = arguments.pop("flush_every", 0.0)
    plain_put = Journal.put

    def put(self: Journal, rows: Any) -> None:
        rows = list(rows)
        plain_put(self, rows)
        lines = "".join(json.dumps([member, segment]) + "\n" for member, segment, *_ in rows)
        os.write(acks, lines.encode())

    Journal.put = put
    task = load_task(arguments.pop("task"))
    try:
        run_race(task, **arguments)
    except ValueError as error:
        if "cannot run this task" not in str(error):
            raise
        os._exit(CANNOT)


def append(acks: int, arguments: dict[str, Any]) -> None:
    """Rows and states one after another, for ever."""
    import numpy as np
    import torch

    from thalweg.rundir import RunDir

    with RunDir.open(arguments["run"], {"job": "append"}) as run:
        k = len(run.journal.rows())
        while True:
            run.journal.put([(f"m{k % 7}", k, {"k": k / 3}, {"a": np.full(50, k)})])
            os.write(acks, f'["row", {k}]\n'.encode())
            weights = torch.full((20_000,), float(k))
            run.checkpoints.save("state", {"w": weights}, {"k": k})
            os.write(acks, f'["state", {k}]\n'.encode())
            k += 1


def train(acks: int, arguments: dict[str, Any]) -> None:
    """A training whose state is saved at every chance."""
    from thalweg.task import load_task
    from thalweg.training import loop
    from thalweg.training.fit import train as run_training

    loop.LOOK_AT_CLOCK = 4  # a chance every few steps
    arguments = {"checkpoint_seconds": 0.0, "threads": 1, "device": "cpu"} | arguments
    run_training(load_task(arguments.pop("task")), **arguments)


JOBS = {"race": race, "append": append, "train": train}


# ---------------------------------------------------------------- the server


def _child(order: dict[str, Any]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    acks = os.open(order["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        JOBS[order["job"]](acks, order["arguments"])
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _serve() -> None:
    import torch

    import thalweg.race.running
    import thalweg.task
    import thalweg.training.fit  # noqa: F401

    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        print(child, flush=True)
        sys.stdin.readline()  # "reap": until then the id stays the child's
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _serve()
