"""Small tasks that race in a second, and the campaign of which resume tests run a sample."""

import importlib
import inspect
import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.race.running import race

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def small_net():
    return lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.fixture(scope="session")
def make_task(small_net):
    """Three noisy blobs in five dimensions, as a task; fields can be replaced."""

    def make(name="blobs", n=180, noise=1.5, recipe=None, **fields):
        draw = torch.Generator().manual_seed(3)
        y = torch.arange(n) % 3
        x = torch.randn(3, 5, generator=draw)[y] + noise * torch.randn(n, 5, generator=draw)
        given = {
            "model": small_net,
            "loss": nn.functional.cross_entropy,
            "train": (x[:60], y[:60]),
            "held_out": (x[60:], y[60:]),
            "recipe": tw.Recipe(batch_size=12, epochs=2, **(recipe or {})),
        }
        return tw.Task(name, **(given | fields))

    return make


@pytest.fixture
def blobs(make_task):
    return make_task()


@pytest.fixture(scope="session")
def run_race():
    """A race that measures nothing: one thread and, where one can be chosen, the looped engine."""
    known = inspect.signature(race).parameters

    def run(task, optimizers=("sgd",), lrs=(0.01, 0.1), space=None, **asked):
        asked.setdefault("threads", 1)
        if "engine" in known:
            asked.setdefault("engine", "looped")
        return race(task, optimizers, lrs, space, **asked)

    return run


@pytest.fixture(scope="session")
def quick_disk(tmp_path_factory):
    """A folder in memory where there is one: tests that save at every step wait for no disk."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path_factory.mktemp("disk")
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def campaign():
    """The module ``benchmarks/<name>.py``, so that campaign and tests are one code."""

    def load(name):
        if str(BENCHMARKS) not in sys.path:
            sys.path.insert(0, str(BENCHMARKS))
        return importlib.import_module(name)

    return load
