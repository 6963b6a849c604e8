"""How long do a step and a look take on this machine? Timed once, before anything is planned."""

from __future__ import annotations

import time

import torch

from thalweg.optim.methods import defaults
from thalweg.race.population.driven import is_driven
from thalweg.race.population.looped import start
from thalweg.race.space import Configuration, Member, Space
from thalweg.risk import Risk
from thalweg.risk.threads import worthwhile

STEPS = (4, 12)  # fewest and most steps that are timed, the first two of which warm up ...
LOOKS = (2, 3)  # ... and looks at held-out data, of which the first does
ENOUGH = 0.1  # seconds of either that tell enough


class Pace:
    """Times a task's steps and looks; every answer is measured once.

    Args:
        risk: The task on its device.
        space: What will be raced.
        stochastic: Whether the forward pass draws random numbers.
    """

    def __init__(self, risk: Risk, space: Space, stochastic: bool) -> None:
        self._risk, self._space, self._stochastic = risk, space, stochastic
        self._steps: dict[tuple[int, int], float] = {}  # by threads and batch size

    def threads(self) -> int:
        """One thread, unless all of torch's make a step at least a fifth faster."""
        size = self._space.batch_size
        return worthwhile(self._risk.device, lambda: self.step(size))

    def step(self, size: int) -> float:
        """Seconds of the fastest of a few steps of the first rule on batches of this size."""
        key = torch.get_num_threads(), size
        if key not in self._steps:
            self._steps[key] = self._time_steps(size)
        return self._steps[key]

    def look(self) -> float:
        """Seconds of scoring the selection part."""
        model, took = self._risk.model(0), list[float]()
        while _unsure(took, LOOKS):
            begun = time.perf_counter()
            self._risk.score(model, "selection")
            took.append(time.perf_counter() - begun)
        return min(took[1:])

    def _time_steps(self, size: int) -> float:
        name = next((n for n in self._space.optimizers if not is_driven(n)), "sgd")
        base = self._space.probe(name, defaults(name)["lr"])
        how = Configuration(name, base.hyperparameters, size)
        run = start(self._risk, Member(how, 0), STEPS[1], self._stochastic)
        took = list[float]()
        while _unsure(took, STEPS):
            begun = time.perf_counter()
            run.advance(len(took) + 1, lambda n: None)
            took.append(time.perf_counter() - begun)
        return min(took[2:])


def _unsure(took: list[float], bounds: tuple[int, int]) -> bool:
    fewest, most = bounds
    return len(took) < fewest or (len(took) < most and sum(took) < ENOUGH)
