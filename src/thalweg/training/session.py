"""One sitting of a training run: looks, checkpoints, and what is kept at the end."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from thalweg.optim import methods
from thalweg.records import Progress, Trace
from thalweg.records_training import Run
from thalweg.risk import Risk
from thalweg.risk.door import Facts
from thalweg.rundir.checkpoint import pack, unpack
from thalweg.rundir.machine import machine
from thalweg.task import task_source
from thalweg.training import saved
from thalweg.training.loop import Clock, Hook, Training
from thalweg.training.settings import Settings

LOOKS = 100  # at most so many looks at held-out data, at least one an epoch where epochs are fewer
MEMBER, STATE = "run", "state"


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """A list that Ctrl-C fills, so that the step in hand is finished; pressed twice, at once."""
    asked: list[int] = []

    def take(signum: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signum)

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours:  # somebody else decides what Ctrl-C means
        yield asked
        return
    signal.signal(signal.SIGINT, take)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Session:
    """One sitting of a run: from its last checkpoint to the end."""

    def __init__(
        self,
        risk: Risk,
        facts: Facts,
        settings: Settings,
        total: int,
        seed: int,
        folder: Any,
        hooks: Sequence[Hook],
        log: Callable[[int, dict[str, float]], None] | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.risk, self.facts, self.settings, self.total = risk, facts, settings, total
        self.folder, self.seed, self.hooks = folder, seed, hooks
        self._log, self._progress = log, progress
        self._begun = time.monotonic()
        self.training = Training(risk, settings, total, seed, facts.stochastic, hooks)
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None  # weights of the best look, with patience
        self.best_row, self.status = 0, "training"
        self._before = 0.0

    # ------------------------------------------------------------------ going on

    def go(self, checkpoint_seconds: float) -> Run:
        """Train to the end, score once on the confirmation part, keep the weights."""
        self._restore()
        clock = Clock(checkpoint_seconds)
        every = self._every()
        with asked_to_stop() as asked:
            while self.status == "training":
                done = self.training.evaluations
                stop = min(self.total, (done // every + 1) * every)
                sound = self.training.advance(stop, lambda: clock.due() or bool(asked))
                if not sound or self.training.evaluations >= stop:
                    self._look(sound)
                if clock.due() or asked:
                    self._save()
                    clock.reset()
                if asked:
                    raise KeyboardInterrupt
        return self._finish()

    def _every(self) -> int:
        """Gradients between looks."""
        size = self.training.batch_size
        epoch = 1 if self.training.how.full_batch else self.risk.order(size).steps_per_epoch
        return epoch if self.total <= LOOKS * epoch else -(-self.total // LOOKS)

    def _look(self, sound: bool) -> None:
        """Score the selection part, keep a row, and decide whether to go on."""
        training = self.training
        loss = training.train_loss()
        if sound:
            scores = training.score("selection")
            held, held_loss = scores.mean, scores.loss
        else:
            held = held_loss = math.nan
        row = {
            "evaluations": training.evaluations,
            "steps": training.step,
            "train_loss": loss,
            "held_out": held,
            "loss": held_loss,
            "lr": training.lr,
        }
        self.rows.append(row)
        self.folder.journal.put([(MEMBER, len(self.rows), row, {})])
        for hook in self.hooks:
            hook.after_look(training, row)
        if self._log is not None:
            self._log(training.evaluations, {k: float(v) for k, v in row.items()})
        self._decide(sound and math.isfinite(held_loss))
        self._tell()

    def _decide(self, sound: bool) -> None:
        patience = self.settings.patience
        if not sound:
            self.status = "diverged"
            return
        last = len(self.rows) - 1
        if last == 0 or self._better(last):
            self.best_row = last
            if patience is not None:
                with self.training.kept() as model:
                    self.best = {k: v.detach().clone() for k, v in _tensors(model).items()}
        if self.training.evaluations >= self.total:
            self.status = "finished"
        elif patience is not None and last - self.best_row >= patience:
            self.status = "stopped early"

    def _better(self, row: int) -> bool:
        """By the criterion; ties by the loss."""
        new, old = self.rows[row], self.rows[self.best_row]
        return (new["held_out"], -new["loss"]) > (old["held_out"], -old["loss"])

    # ------------------------------------------------------------------ keeping

    def _save(self) -> None:
        state = {
            "training": self.training.state(),
            "rows": self.rows,
            "best": self.best,
            "best_row": self.best_row,
            "status": self.status,
            "seconds": self._seconds(),
        }
        tensors, meta = pack(state)
        self.folder.checkpoints.save(STATE, tensors, meta)

    def _restore(self) -> None:
        found = self.folder.checkpoints.load(STATE)
        if found is None:
            return
        state = unpack(*found)
        self.training.restore(state["training"])
        self.rows, self.best, self.best_row = state["rows"], state["best"], state["best_row"]
        self.status, self._before = state["status"], state["seconds"]

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def _finish(self) -> Run:
        training, settings = self.training, self.settings
        sound = self.status != "diverged"
        kept = self.best_row if settings.patience is not None else len(self.rows) - 1
        with training.kept() as model:
            final = copy.deepcopy(model)
        if self.best is not None:
            final.load_state_dict(self.best, strict=False)
        row = self.rows[kept]
        confirmed = self.risk.score(final, "confirmation").mean if sound else math.nan
        final = final.cpu().eval()
        source, path = task_source(self.risk.task), self.folder.path
        facts = {
            "task": self.risk.task.name,
            "source": source,
            "seed": self.seed,
            "settings": settings.to_dict(),
            "evaluations": row["evaluations"],
            "criterion": self.risk.metric,
        }
        weights = "" if path is None else saved.save(path / saved.NAME, final, facts)
        record = Run(
            task=self.risk.task.name,
            optimizer=settings.optimizer,
            hyperparameters=methods.defaults(settings.optimizer) | settings.hyperparameters,
            settings=_around(settings, training.batch_size),
            criterion=self.risk.metric,
            held_out=row["held_out"],
            confirmed=confirmed,
            loss=row["loss"],
            status=self.status,
            evaluations=training.evaluations,
            steps=training.step,
            best=row["evaluations"],
            trace=Trace(
                tuple(r["evaluations"] for r in self.rows),
                tuple(r["train_loss"] for r in self.rows),
                tuple(r["held_out"] for r in self.rows),
            ),
            rates=tuple(r["lr"] for r in self.rows),
            samples={p: getattr(self.risk, p).n for p in ("train", "selection", "confirmation")},
            seconds=round(self._seconds(), 3),
            seed=self.seed,
            plan=dict(self.folder.plan or {}),
            machine=machine(),
            notes=(*self.facts.notes, *self._notes()),
            line=methods.line(settings.optimizer, settings.hyperparameters),
            run="" if path is None else str(path),
            weights=weights,
            source=source,
        )
        object.__setattr__(record, "_live", final)
        self._save()
        self.folder.write("train.json", record.to_json())
        return record

    def _notes(self) -> list[str]:
        if self.status == "diverged":
            return [
                "The loss became NaN or infinite: lower the learning rate, or run "
                "'thalweg diagnose' to see why."
            ]
        if self.status == "stopped early":
            return [
                f"Stopped after {self.settings.patience} looks without improvement; the weights "
                f"of the best look are kept."
            ]
        return []

    def _tell(self) -> None:
        if self._progress is None:
            return
        done, passed = self.training.evaluations, self._seconds()
        left = passed * (self.total - done) / max(1, done) if done > 0.01 * self.total else None
        row = self.rows[-1]
        self._progress(
            Progress(
                "training",
                done,
                self.total,
                passed,
                left,
                (),
                f"training loss {row['train_loss']:.4g}, held out {row['held_out']:.4g}",
                self.risk.metric,
            )
        )


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}


def _around(settings: Settings, batch_size: int) -> dict[str, Any]:
    """What is not the optimiser's and not left at nothing."""
    values = settings.to_dict()
    for name in ("optimizer", "hyperparameters"):
        values.pop(name)
    values["batch_size"] = batch_size
    if settings.average != "exponential":
        values.pop("decay")
    return {name: value for name, value in values.items() if value not in (None, 0)}
