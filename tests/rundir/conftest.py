"""Runs to damage, small disks to fill, and the campaign of which these tests run a sample."""

import contextlib
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from thalweg.rundir import RunDir

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ASKED = {"task": "digits", "lrs": [0.1, 0.01]}


class Sample:
    """Rows, states and runs with known content."""

    asked = ASKED

    @staticmethod
    def row(k):
        return f"sgd lr={k % 3}", k // 3, {"loss": k / 7}, {"values": np.arange(k, k + 5.0)}

    @staticmethod
    def state(k):
        return {"w": torch.full((7,), k / 3), "n": torch.tensor(k)}, {"step": k}

    def fill(self, folder, rows=6):
        with RunDir.open(folder, ASKED) as run:
            run.set_plan({"steps": 100})
            for k in range(rows):
                run.journal.put([self.row(k)])
                run.checkpoints.save("group", *self.state(k))
        return folder


@pytest.fixture
def sample():
    return Sample()


@pytest.fixture(scope="session")
def campaign():
    """The module ``benchmarks/<name>.py``, so that campaign and tests are one code."""

    def load(name):
        if str(BENCHMARKS) not in sys.path:
            sys.path.insert(0, str(BENCHMARKS))
        return importlib.import_module(name)

    return load


@pytest.fixture
def mounted(tmp_path):
    """A small disk of its own: ``mounted("size=64k")``; skipped where nobody may mount one."""
    with contextlib.ExitStack() as stack:

        def mount(*words, at="disk"):
            place = tmp_path / at
            place.mkdir(exist_ok=True)
            done = subprocess.run(
                ["mount", *words, str(place)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"may not mount: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "-l", str(place)], check=False)
            return place

        yield mount
