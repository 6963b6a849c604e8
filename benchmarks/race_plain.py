"""The yardstick of the race benchmarks: a plain loop over minibatches cut in advance.

Fused ``torch.optim`` where torch has it, every minibatch of every seed cut before the clock starts,
no look at the loss, one held-out score where a sweep needs one. The orders of the data and the
initial weights are those of the race, so that both train the same runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from places import results

from thalweg.optim.build import make, supports_fused
from thalweg.race.space import Configuration, Member
from thalweg.risk import Risk
from thalweg.risk.order import stream
from thalweg.rundir.machine import machine


class Batches:
    """Minibatches of all seeds for all steps, cut in advance."""

    def __init__(self, risk: Risk, seeds: Sequence[int], batch_size: int, steps: int) -> None:
        order = risk.order(batch_size)
        self.per_epoch = order.steps_per_epoch
        self.epochs = -(-steps // self.per_epoch)
        self._cut = {
            seed: [
                batch
                for epoch in range(self.epochs)
                for batch in risk.train.epoch(order, seed, epoch)
            ]
            for seed in seeds
        }

    def of(self, seed: int) -> list[Any]:
        """One seed's minibatches, in order."""
        return self._cut[seed]


class PlainRun:
    """One run that a person would write: model, optimiser, loop."""

    def __init__(self, risk: Risk, member: Member, stochastic: bool = False) -> None:
        how = member.configuration
        self.risk, self.seed, self.stochastic = risk, member.seed, stochastic
        self.model = risk.model(member.seed)
        parameters = list(self.model.parameters())
        fused = True if supports_fused(how.optimizer, "cpu") else None
        self.optimizer = make(how.optimizer, parameters, fused=fused, **dict(how.hyperparameters))
        self.done = 0

    def train(self, batches: Sequence[Any], stop: int) -> None:
        """Train up to step ``stop``."""
        model, loss, optimizer = self.model, self.risk.task.loss, self.optimizer
        pair = self.risk.task.forward == "pair"
        for step in range(self.done, stop):
            if self.stochastic:  # dropout: the same masks as the race's
                torch.manual_seed(stream(self.seed, "step", step))
            batch = batches[step]
            optimizer.zero_grad(set_to_none=True)
            value = loss(model(batch[0]), batch[1]) if pair else loss(model, batch)
            value.backward()
            optimizer.step()
        self.done = stop

    def score(self, part: str = "selection") -> tuple[float, float]:
        """Criterion and minus the loss on held-out data: a key to sort by."""
        found = self.risk.score(self.model, part)
        return found.mean, -found.loss


def configurations(
    optimizers: Sequence[str], lrs: Sequence[float], batch_size: int
) -> list[Configuration]:
    """The grid."""
    return [Configuration(o, (("lr", lr),), batch_size) for o in optimizers for lr in lrs]


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` returns, and the process CPU and wall seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.process_time() - cpu, time.perf_counter() - wall


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median with everything that was measured, lowest first."""
    return {"median": median(values), "all": sorted(values)}


def keep(name: str, **found: dict[str, Any]) -> None:
    """Write results, each with the processor it was measured on; others in the file are kept."""
    path = results(name)
    known = json.loads(path.read_text()) if path.exists() else {}
    here = machine()
    known |= {key: entry | {"processor": here["processor"]} for key, entry in found.items()}
    known |= {"machine": here, "threads": torch.get_num_threads()}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def load() -> list[float]:
    """The machine's load averages: other work disturbs timings."""
    return [round(value, 2) for value in os.getloadavg()]
