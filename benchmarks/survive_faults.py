"""Every write, sync, rename and creation of every operation on a run fails in turn.

The faults are made below Python and SQLite, by a small library (``survive_faults.c``) that stands
between them and the system. As a script this file is the process that suffers them; it prints one
JSON line: how many faults were injected per operation, and every broken promise.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thalweg.rundir import RunDir

SOURCE = Path(__file__).with_suffix(".c")
ASKED = {"what": "faults"}
KINDS = {  # (error, kind of survive_faults.c)
    "full": (errno.ENOSPC, 0),
    "stays full": (errno.ENOSPC, 1),
    "broken": (errno.EIO, 0),
    "stays broken": (errno.EIO, 1),
    "short write": (errno.ENOSPC, 2),
}


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def suffer(base: Path) -> dict[str, Any]:
    """Build the library, run this file under it, and return what it found.

    Raises:
        RuntimeError: The process ended in an unforeseen way; holds what it said.
    """
    cc = compiler()
    if cc is None:
        raise RuntimeError("no C compiler")
    shim = base / "faults.so"
    build = [cc, "-shared", "-fPIC", "-O1", "-o", str(shim), str(SOURCE), "-ldl"]
    subprocess.run(build, check=True, capture_output=True)
    environment = os.environ | {"LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(base)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def _shim() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ["LD_PRELOAD"])


def row(k: int) -> tuple[str, int, dict[str, Any], dict[str, np.ndarray]]:
    """Row ``k``."""
    return f"m{k % 3}", k, {"loss": k / 7}, {"a": np.full(700, k / 3)}


def state(k: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """State ``k``."""
    return {"w": torch.full((50,), k / 3), "n": torch.tensor(k)}, {"step": k}


def original(folder: Path) -> None:
    """A run with something of everything."""
    with RunDir.open(folder, ASKED) as run:
        for k in range(4):
            run.journal.put([row(k)])
            run.checkpoints.save("s", *state(k))
        run.write("race.json", "old")


def content(folder: Path) -> tuple[Any, ...]:
    """What a later reader finds: plan, rows, newest state, files."""
    with RunDir.open(folder, ASKED) as run:
        rows = [
            (r.member, r.segment, r.payload, r.arrays["a"].tobytes()) for r in run.journal.rows()
        ]
        tensors, meta = run.checkpoints.load("s")
        text = (folder / "race.json").read_text()
        odd = [p.name for p in folder.rglob("*.part")]
        return run.plan, rows, (tensors["w"].tolist(), int(tensors["n"]), meta), text, odd


OPERATIONS = {
    "row": lambda run: run.journal.put([row(4), row(5)]),
    "checkpoint": lambda run: run.checkpoints.save("s", *state(4)),
    "first checkpoint of a name": lambda run: run.checkpoints.save("t", *state(4)),
    "plan": lambda run: run.set_plan({"steps": 10}),
    "table": lambda run: run.write("race.json", "new"),
    "close": lambda run: run.close(),
}


def strike(
    work: Path, folder: Path, operate: Any, kind: tuple[int, int], k: int
) -> tuple[int, OSError | None]:
    """One operation with call k failing; returns (calls made, error or None)."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work, folder)
    error = None
    with RunDir.open(folder, ASKED) as run:
        run.journal.put([row(3)])  # known already: nothing is written
        _shim().fault_arm(k, *kind)
        try:
            operate(run)
        except OSError as caught:
            error = caught
        finally:
            calls = _shim().fault_disarm()
    return calls, error


def check(
    name: str, error: OSError | None, before: Any, after: Any, found: Any, folder: Path
) -> Iterable[str]:
    """The promises that are broken by what was found."""
    if error is None and name != "close" and found not in (after, before):
        yield "changed something else"
    if error is None and name != "close" and found != after:
        yield "said it was kept, and it is not"
    if error is not None:
        said = str(error)
        if str(folder) not in said or "free there" not in said:
            yield f"message: {said}"
        if found not in (before, after):
            yield "neither the old state nor the new one"
    if name == "close" and found != before:
        yield "closing changed the results"
    if found[-1]:
        yield f"left {found[-1]}"


def campaign(base: Path) -> tuple[dict[str, int], list[str]]:
    """All operations on a run that is there."""
    work, folder = base / "work", base / "run"
    original(work)
    before, counts, broken = content(work), {}, []
    for name, operate in OPERATIONS.items():
        strike(work, folder, operate, (0, 0), 10**6)
        after = content(folder)
        for label, kind in KINDS.items():
            k = 0
            while True:
                calls, error = strike(work, folder, operate, kind, k)
                found = content(folder)
                problems = check(name, error, before, after, found, folder)
                broken += [f"{name}, {label}, call {k}: {problem}" for problem in problems]
                counts[name] = counts.get(name, 0) + (calls > k)
                if calls <= k:
                    break
                k += 1
    return counts, broken


def creation(base: Path) -> tuple[int, list[str]]:
    """A run that cannot be made leaves nothing behind, neither its folder nor the parents."""
    broken, count = [], 0
    for label, kind in KINDS.items():
        k = 0
        while True:
            _shim().fault_arm(k, *kind)
            error = None
            try:
                run = RunDir.open(base / "new" / "a", ASKED)
            except OSError as caught:
                error = caught
            calls = _shim().fault_disarm()
            if error is None:
                run.close()
                with RunDir.open(base / "new" / "a", ASKED) as run:
                    broken += [f"creation, {label}, {k}: rows"] * bool(run.journal.rows())
                shutil.rmtree(base / "new")
            else:
                if "free there" not in str(error) or str(base / "new") not in str(error):
                    broken.append(f"creation, {label}, call {k}: message: {error}")
                if (base / "new").exists():
                    left = [str(p) for p in (base / "new").rglob("*")]
                    broken.append(f"creation, {label}, call {k}: left {left}")
                    shutil.rmtree(base / "new")
            count += calls > k
            if calls <= k:
                break
            k += 1
    return count, broken


if __name__ == "__main__":
    place = Path(sys.argv[1])
    counts, broken = campaign(place)
    counts["creation"], more = creation(place)
    print(json.dumps({"faults": counts, "broken": broken + more}))
