"""What one worker process does: train against the centre until its share of steps is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from thalweg.parallel import METHODS
from thalweg.parallel.centers.base import Center
from thalweg.parallel.centers.file import FileCenter
from thalweg.parallel.worker import ElasticAveraging
from thalweg.risk import Risk
from thalweg.risk.order import stream
from thalweg.task import load_task
from thalweg.training.loop import Hook, Training
from thalweg.training.settings import Settings


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a worker is told; plain values, so that any process can be given it."""

    source: str
    data: str | None
    device: str
    dtype: str | None
    seed: int
    settings: dict[str, Any]
    method: str
    tau: int
    alpha: float
    steps: int
    worker: int
    center: str
    stochastic: bool


class Shared(Center, Protocol):
    """A centre that also keeps how far each worker is, and which pushes it has seen."""

    def sequence(self, worker: int) -> int:
        """The first sequence number that this worker has not used."""
        ...

    def steps(self, worker: int) -> int:
        """How far this worker was when it last said so."""
        ...

    def tell(self, worker: int, step: int, at_once: bool = False) -> None:
        """Say how far this worker is; a centre far away need not be told each step."""
        ...


class Report(Hook):
    """Writes how far this worker is beside the centre, for whoever watches."""

    def __init__(self, center: Shared, worker: int) -> None:
        self._center, self._worker = center, worker

    def after_step(self, training: Training) -> None:
        """One number."""
        self._center.tell(self._worker, training.step)


def run(job: Job) -> None:
    """Train; the process ends with code 0 when its steps are done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _work(job, FileCenter(job.center))


def run_afar(job: Job, keeper: Any) -> None:
    """The same as a Ray task, against an actor in front of the centre."""
    from thalweg.parallel.centers.over_ray import RayCenter

    _work(job, RayCenter(keeper))


def _work(job: Job, center: Shared) -> None:
    torch.set_num_threads(1)
    task = load_task(job.source, data=job.data)
    train(Risk(task, job.device, job.dtype, split_seed=job.seed), job, center)


def train(risk: Risk, job: Job, center: Shared) -> ElasticAveraging:
    """The same in this process, on a task at hand.

    Every worker begins at the centre and has an order of the data of its own.
    """
    training = Training(
        risk,
        Settings.from_dict(job.settings),
        job.steps,
        seed=stream(job.seed, "worker", job.worker),
        stochastic=job.stochastic,
        hooks=(Report(center, job.worker),),
        model=risk.model(job.seed),
    )
    kind = METHODS.load(job.method)
    more = {"sequence": center.sequence(job.worker)} if "downpour" in job.method else {}
    member = kind(training.optimizer, center, job.tau, job.alpha, job.worker, **more)
    training.optimizer = member
    # a worker that was killed goes on where it was in its share of the data, from the centre
    training.step = training.evaluations = member.clock = center.steps(job.worker)
    if not training.advance(job.steps) and training.step < job.steps:
        raise FloatingPointError("the loss is not finite")
    member.finish()
    center.tell(job.worker, training.step, at_once=True)
    return member


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
