"""What does keeping a run cost? Acknowledged rows, states and records, on a given disk.

    OMP_NUM_THREADS=1 python benchmarks/rundir_cost.py [FOLDER]

Wall-clock medians with 10 and 90 % points: most of it is waiting for the disk. One thread.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from thalweg.rundir import RunDir, atomic_write


def clock(act: Callable[[int], object], repeats: int) -> list[float]:
    """Seconds of each repeat, shortest first."""
    spans = []
    for k in range(repeats):
        begun = time.perf_counter()
        act(k)
        spans.append(time.perf_counter() - begun)
    return sorted(spans)


def show(what: str, spans: list[float], megabytes: float = 0.0) -> None:
    """One line of the table."""
    n, middle = len(spans), statistics.median(spans)
    low, high = spans[n // 10], spans[9 * n // 10]
    rate = f", {megabytes / middle:.0f} MB/s" if megabytes else ""
    print(f"{what:34} {middle * 1e6:10.0f} µs  ({low * 1e6:.0f} to {high * 1e6:.0f}){rate}")


def main(folder: Path) -> None:
    """Measure on the disk of ``folder``."""
    payload = {"status": "running", "evaluations": 100, "train_loss": 1 / 7, "held_out": 0.5}
    values = {"selection": np.zeros(360, np.float32)}
    with RunDir.open(folder / "run", {}) as run:
        show("row", clock(lambda k: run.journal.put([("one", k, payload, {})]), 400))
        show(
            "32 rows with 360 float32 each",
            clock(
                lambda k: run.journal.put([(f"{k}", j, payload, values) for j in range(32)]), 100
            ),
        )
        for size in (1, 16, 128):
            state = {"w": torch.randn(size * 250_000)}
            save = clock(lambda _, s=state: run.checkpoints.save("s", s, {}), 7)
            show(f"save a state of {size} MB", save, size)
            load = clock(lambda _: run.checkpoints.load("s"), 7)
            show(f"load a state of {size} MB", load, size)
    again = clock(lambda _: RunDir.open(folder / "run", {}).close(), 7)
    show("open and close with 3600 rows", again)
    show("read with 3600 rows", clock(lambda _: RunDir.read(folder / "run"), 7))
    show("atomic_write of 20 kB", clock(lambda _: atomic_write(folder / "x", bytes(20_000)), 100))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        main(Path(place))
