"""Several worker processes of one host around a centre in a file, watched and brought back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thalweg.cluster import connected
from thalweg.optim import methods
from thalweg.parallel import METHODS
from thalweg.parallel.centers.file import FileCenter
from thalweg.parallel.hosts import Cluster, Here
from thalweg.parallel.process import Job
from thalweg.parallel.worker import default_alpha
from thalweg.records import Progress, Trace
from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.risk.door import check
from thalweg.risk.fingerprint import fingerprint
from thalweg.risk.risk import evaluating
from thalweg.rundir import RunDir
from thalweg.rundir.machine import machine
from thalweg.task import Task, task_data, task_source
from thalweg.training import saved
from thalweg.training.loop import refresh_norms
from thalweg.training.settings import Settings

CENTER = "center.bin"
LIVES = 20  # how often one worker is brought back before the run is given up
POLL = 0.05  # seconds
LOOKS = 40
MEASURED = 8  # batches over which the centre's training loss is measured


def train(
    task: Task,
    method: str = "eamsgd",
    workers: int = 4,
    tau: int = 10,
    alpha: float | None = None,
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    batch_size: int | None = None,
    epochs: float | None = None,
    average: str = "none",
    ray: str | None = None,
    run_directory: str | Path = "runs/parallel",
    fresh: bool = False,
    device: str = "cpu",
    dtype: str | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a task with asynchronous workers around one centre; the centre is the answer.

    Workers are processes with one thread each. One that dies is started again from the centre and
    goes on in its share of the data. The same command goes on after the parent itself was killed.
    Asynchronous runs do not repeat bit for bit; ``simulate`` does.

    Args:
        task: Loaded by name (workers load it themselves).
        method: ``easgd``, ``eamsgd``, ``downpour`` or ``mdownpour``.
        workers: Processes.
        tau: Steps between exchanges.
        alpha: Elastic rate; None for 0.9 over the number of workers.
        lr: Learning rate; None for the recipe's.
        momentum: None for the method's own (EAMSGD 0.99, others 0).
        weight_decay: None for the recipe's.
        batch_size: Samples a gradient of one worker.
        epochs: Passes over the training data of all workers together; None for the recipe's.
        average: Of the centre, with the DOWNPOUR forms: ``none``, ``running`` or ``moving``.
        ray: Address of a Ray cluster whose machines the workers run on (``auto``, ``HOST:PORT`` or
            ``local``); None: children of this process. The centre stays on this machine.
        run_directory: Where centre, journal, weights and record are kept.
        fresh: Remove an earlier run there first.
        device: Of the workers' models.
        dtype: ``float32``, ``float64`` or None.
        seed: Of initial weights, data orders and the held-out split.
        progress: Called with a :class:`~thalweg.records.Progress` now and then.

    Returns:
        The record, scored at the centre.

    Raises:
        ValueError: Bad input, or a worker that cannot stay alive.
    """
    kind = METHODS.load(method)
    source = task_source(task)
    if source is None:
        raise ValueError(
            f"worker processes load the task by its name, and task '{task.name}' was made in "
            "Python: use load_task('file.py:name')"
        )
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers={workers!r}: wanted a whole number of at least 1")
    momentum = kind.momentum if momentum is None else momentum
    decay = task.recipe.weight_decay if weight_decay is None else weight_decay
    values = {"lr": task.recipe.lr if lr is None else lr, "weight_decay": decay}
    name = "nesterov" if momentum else "sgd"
    values |= {"momentum": momentum} if momentum else {}
    risk = Risk(task, device, dtype, split_seed=seed)
    facts = check(risk)
    settings = Settings(name, values, risk.batch_size(batch_size)).checked()
    whole = risk.order(settings.batch_size or 1).steps_per_epoch
    steps = max(1, math.ceil((epochs or task.recipe.epochs) * whole / workers))
    job = Job(
        source=source,
        data=task_data(task),
        device=str(risk.device),
        dtype=None if risk.dtype is None else str(risk.dtype),
        seed=seed,
        settings=settings.to_dict(),
        method=method,
        tau=tau,
        alpha=default_alpha(workers) if alpha is None else alpha,
        steps=steps,
        worker=0,
        center="",
        stochastic=facts.stochastic,
    )
    asked = {k: v for k, v in asdict(job).items() if k not in ("worker", "center")}
    asked |= {"kind": method, "workers": workers, "average": average, "data": fingerprint(risk)}
    with RunDir.open(run_directory, asked, fresh=fresh) as folder, connected(ray) as cluster:
        folder.set_plan({"threads": 1, "workers": workers})
        team = _Team(risk, job, workers, average, folder, facts.notes, progress)
        return team.go(cluster)


class _Team:
    """The parent's side: start, watch, bring back, look at the centre, answer."""

    def __init__(
        self,
        risk: Risk,
        job: Job,
        workers: int,
        average: str,
        folder: Any,
        notes: tuple[str, ...],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.risk, self.job, self.workers, self.folder = risk, job, workers, folder
        self._notes, self._progress = list(notes), progress
        self._begun = time.monotonic()
        self.model = risk.model(job.seed)
        path = folder.path / CENTER
        start = flat(self.model) if not path.is_file() else None
        self.center = FileCenter(path, start, workers, average)
        self.restarts = 0
        self.rows: list[dict[str, Any]] = [r.payload for r in folder.journal.rows("run")]

    def go(self, cluster: Any = None) -> Run:
        """Train until every worker has done its steps, here or on a Ray cluster."""
        path = self.folder.path.resolve() / CENTER
        hosts = Here() if cluster is None else Cluster(cluster, path, self.workers)
        jobs = [replace(self.job, worker=i, center=str(path)) for i in range(self.workers)]
        team = {i: hosts.start(jobs[i]) for i in range(self.workers) if not self._done(i)}
        lives = dict.fromkeys(team, 0)
        every = max(1, self.job.steps // LOOKS)
        try:
            while team:
                time.sleep(POLL)
                for i, process in list(team.items()):
                    if process.is_alive():
                        continue
                    process.join()
                    del team[i]
                    if process.exitcode != 0 and not self._done(i):
                        lives[i] += 1
                        self.restarts += 1
                        if lives[i] > LIVES:
                            raise ValueError(
                                f"worker {i} ended {lives[i]} times (last exit code "
                                f"{process.exitcode}); run the task with 'thalweg train' and one "
                                "process to see why"
                            )
                        team[i] = hosts.start(jobs[i], again=True)
                if self._steps() - self._looked() >= every * self.workers:
                    self._look()
        finally:
            for process in team.values():
                process.kill()
                process.join()
        if self._looked() < self._steps() or not self.rows:
            self._look()
        return self._answer()

    def _done(self, worker: int) -> bool:
        return int(self.center.progress[worker]) >= self.job.steps

    def _looked(self) -> int:
        """Gradients at the last look."""
        return self.rows[-1]["evaluations"] if self.rows else 0

    def _steps(self) -> int:
        return int(self.center.progress[: self.workers].sum())

    def _centre_model(self) -> nn.Module:
        """The model at the centre, its batch statistics measured there."""
        put(self.model, self.center.mean())
        refresh_norms(self.risk, self.model, self.job.seed, self._batch)
        return self.model

    def _train_loss(self, model: nn.Module) -> float:
        """Mean loss of the centre over the first batches of the training data."""
        feed, steps = self.risk.feed(self.job.seed, self._batch), self.job.steps
        with evaluating(model):
            losses = [self.risk.loss(model, feed.batch(k)) for k in range(min(steps, MEASURED))]
        return float(torch.stack(losses).mean())

    @property
    def _batch(self) -> int:
        return self.job.settings["batch_size"]

    def _look(self) -> None:
        done = self._steps()
        scores = self.risk.score(model := self._centre_model(), "selection")
        row = {
            "evaluations": done,
            "train_loss": self._train_loss(model),
            "held_out": scores.mean,
            "loss": scores.loss,
            "exchanges": self.center.exchanges,
            "seconds": time.monotonic() - self._begun,
        }
        self.rows.append(row)
        self.folder.journal.put([("run", len(self.rows), row, {})])
        if self._progress is not None:
            total = self.job.steps * self.workers
            passed = row["seconds"]
            # Workers take seconds to start: the pace is measured from the first look on.
            first = self.rows[0]
            fresh = row["evaluations"] - first["evaluations"]
            pace = (passed - first["seconds"]) / fresh if fresh else None
            left = None if pace is None else pace * (total - row["evaluations"])
            said = f"centre: held out {scores.mean:.4g}, {self.restarts} workers brought back"
            self._progress(
                Progress(
                    "training", row["evaluations"], total, passed, left, (), said, self.risk.metric
                )
            )

    def _answer(self) -> Run:
        model, job, last = self._centre_model(), self.job, self.rows[-1]
        confirmed = self.risk.score(model, "confirmation").mean
        settings = Settings.from_dict(job.settings)
        inner = methods.line(settings.optimizer, settings.hyperparameters)
        kind = METHODS.load(job.method).__name__
        line = f"{kind}({inner}, center, tau={job.tau}, alpha={job.alpha:g})"
        if self.restarts:
            self._notes.append(f"{self.restarts} workers died and were brought back.")
        facts = {"task": self.risk.task.name, "source": job.source, "method": job.method}
        record = Run(
            task=self.risk.task.name,
            optimizer=job.method,
            hyperparameters=methods.defaults(settings.optimizer) | settings.hyperparameters,
            settings={
                "workers": self.workers,
                "tau": job.tau,
                "alpha": job.alpha,
                "batch_size": self._batch,
                "exchanges": self.center.exchanges,
                "bytes": 2 * self.center.bytes * self.center.exchanges,
            },
            criterion=self.risk.metric,
            held_out=last["held_out"],
            confirmed=confirmed,
            loss=last["loss"],
            status="finished" if math.isfinite(last["loss"]) else "diverged",
            evaluations=last["evaluations"],
            steps=last["evaluations"],
            best=last["evaluations"],
            trace=Trace(
                tuple(r["evaluations"] for r in self.rows),
                tuple(r["train_loss"] for r in self.rows),
                tuple(r["held_out"] for r in self.rows),
            ),
            rates=tuple(settings.lr or math.nan for _ in self.rows),
            samples={p: getattr(self.risk, p).n for p in ("train", "selection", "confirmation")},
            seconds=round(time.monotonic() - self._begun, 3),
            seed=job.seed,
            plan=dict(self.folder.plan or {}),
            machine=machine(),
            notes=tuple(self._notes),
            line=line,
            run=str(self.folder.path),
            weights=saved.save(self.folder.path / saved.NAME, model, facts),
            source=job.source,
        )
        self.folder.write("train.json", record.to_json())
        return record


def flat(model: nn.Module) -> torch.Tensor:
    """The trainable weights as one vector on the CPU."""
    return torch.cat([p.detach().reshape(-1).cpu() for p in model.parameters() if p.requires_grad])


@torch.no_grad()
def put(model: nn.Module, weights: torch.Tensor) -> None:
    """The inverse of :func:`flat`."""
    params = [p for p in model.parameters() if p.requires_grad]
    parts = weights.split([p.numel() for p in params])
    for p, part in zip(params, parts, strict=True):
        p.copy_(part.view_as(p))
