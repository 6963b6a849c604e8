"""One member after another with torch's own optimisers: right for any module, and the yardstick.

What is trained here is exactly what the winner's line builds; the loop is the plain one over
batches at hand, so that racing one configuration costs what training it costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.optim.build import make, supports_fused
from thalweg.race.population.base import Advanced, Tick
from thalweg.race.population.driven import Driven, is_driven
from thalweg.race.population.parking import Parking
from thalweg.race.space import Member
from thalweg.risk import Risk
from thalweg.risk.criterion import Scores
from thalweg.risk.order import stream
from thalweg.rundir.checkpoint import pack, unpack
from thalweg.steps import SCHEDULES

LOOK_EVERY = 64  # steps between looks at the loss: each look waits for the device


class Run:
    """One training run that can be advanced in pieces, saved and gone on with.

    Args:
        risk: The task on its device.
        member: Configuration and seed.
        total: Steps of the whole run (what the schedule is stretched over).
        stochastic: Whether the forward pass draws random numbers; it is then reseeded by
            (seed, step), so that a resumed or vectorised twin draws the same.
    """

    def __init__(self, risk: Risk, member: Member, total: int, stochastic: bool) -> None:
        self.risk, self.member, self.total, self.stochastic = risk, member, total, stochastic
        self.step = 0
        self.model = risk.model(member.seed)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._loss = risk.direct_loss
        self.optimizer = make(
            member.configuration.optimizer,
            self.parameters,
            fused=_fused(member.configuration.optimizer, self.parameters),
            **dict(member.configuration.hyperparameters),
        )

    def advance(self, stop: int, tick: Tick) -> float:
        """Train up to step ``stop``; return the mean training loss (NaN ends it early)."""
        risk, model, optimizer, seed = self.risk, self.model, self.optimizer, self.member.seed
        how = self.member.configuration
        factor = SCHEDULES.load(how.schedule) if how.schedule != "constant" else None
        feed = risk.feed(seed, how.batch_size)
        total, first, losses = 0.0, self.step, []
        while self.step < stop:
            room = min(LOOK_EVERY - len(losses), stop - self.step)
            for batch in feed.ahead(self.step, room):
                if self.stochastic:
                    reseed(risk.device, stream(seed, "step", self.step))
                loss = self._loss(model, batch)
                for parameter in self.parameters:  # as zero_grad, which takes 5 us a step
                    parameter.grad = None
                loss.backward()
                if how.clip is not None:
                    nn.utils.clip_grad_norm_(self.parameters, how.clip)
                if factor is not None:
                    rate = how.lr * factor(self.step, self.total)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                optimizer.step()
                losses.append(loss.detach())
                self.step += 1
            if len(losses) == LOOK_EVERY or self.step == stop:
                total += float(torch.stack(losses).double().sum())
                tick(len(losses))
                losses.clear()
                if not math.isfinite(total):
                    return math.nan
        return total / max(1, stop - first)

    @property
    def evaluations(self) -> int:
        """Gradients executed so far."""
        return self.step

    def score(self, part: str) -> Scores:
        """The criterion of the weights as they are now."""
        return self.risk.score(self.model, part)

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters)

    def bytes(self) -> int:
        """Memory of weights, gradients and an optimiser with two moments."""
        return 4 * sum(p.numel() * p.element_size() for p in self.model.parameters())

    def state(self) -> dict[str, Any]:
        """Weights, buffers, optimiser state and step."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def start(risk: Risk, member: Member, total: int, stochastic: bool) -> Run | Driven:
    """The run of a member: of a rule, or of a method that is driven by its own steps."""
    kind = Driven if is_driven(member.configuration.optimizer) else Run
    return kind(risk, member, total, stochastic)


def reseed(device: torch.device, value: int) -> None:
    """As ``torch.manual_seed``, which takes 0.1 ms to think of devices that are not in use."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(value)
    else:
        torch.manual_seed(value)


def _fused(optimizer: str, parameters: Sequence[Tensor]) -> bool | None:
    """Torch's one-kernel step where it has one for these parameters."""
    device = parameters[0].device.type
    plain = all(p.is_floating_point() and p.device.type == device for p in parameters)
    return True if plain and supports_fused(optimizer, device) else None


class Looped:
    """The looped engine.

    Args:
        risk: The task on its device.
        members: Training runs with one batch size.
        total: Steps of each run.
        stochastic: See :class:`Run`.
        memory: Bytes that live runs may hold together; beyond that they are parked on disk.
    """

    name = "looped"
    independent = True

    def __init__(
        self, risk: Risk, members: Sequence[Member], total: int, stochastic: bool, memory: int
    ) -> None:
        self.members = tuple(members)
        self._risk, self._total, self._stochastic = risk, total, stochastic
        self._memory = memory
        self._kept = dict.fromkeys(range(len(members)))
        self._live: dict[int, Run | Driven] = {}
        self._parking, self._parked = Parking(), set[int]()

    def advance(self, step: int, only: Sequence[int], tick: Tick) -> Iterator[Advanced]:
        """Train the kept members in ``only`` up to ``step``; yield each as it arrives there."""
        for index in only:
            if index not in self._kept or (run := self.run(index)).step >= step:
                continue
            loss = run.advance(step, tick)
            yield Advanced(index, loss, run.evaluations, math.isfinite(loss) and run.finite())

    def score(self, index: int, part: str) -> Scores:
        """The criterion of one member on one held-out part."""
        return self.run(index).score(part)

    def drop(self, indices: Sequence[int]) -> None:
        """Forget these members."""
        for index in indices:
            self._kept.pop(index, None)
            self._live.pop(index, None)
            if index in self._parked:
                self._parked.discard(index)
                self._parking.drop(index)

    def run(self, index: int) -> Run | Driven:
        """The live run of a member, started or fetched from where it is parked."""
        if index not in self._live:
            run = start(self._risk, self.members[index], self._total, self._stochastic)
            room = max(1, self._memory // max(1, run.bytes()))
            while len(self._live) >= room:
                self._send_away(next(iter(self._live)))
            if index in self._parked:
                run.restore(self._parking.take(index))
                self._parked.discard(index)
            self._live[index] = run
        return self._live[index]

    def _send_away(self, index: int) -> None:
        self._parking.put(index, self._live[index].state())
        del self._live[index]
        self._parked.add(index)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All kept runs that have started."""
        started = {}
        for index in self._kept:
            if index in self._live or index in self._parked:
                started[self.members[index].key] = self.run(index).state()
        return pack(started)

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on from a state; members it does not name start afresh."""
        states = unpack(tensors, meta)
        for index, member in enumerate(self.members):
            if member.key in states:
                self.run(index).restore(states[member.key])
