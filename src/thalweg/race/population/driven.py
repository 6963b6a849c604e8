"""Methods that no rule stands for, raced at equal gradients: driven by their own steps.

One gradient of one minibatch is the currency of a race. Entropy-SGD consumes one at each step and
is scored at its centre. Methods with a line search (``nonlinear-cg``, ``lbfgs``) compare values of
one loss, so they see all samples at once, and every evaluation is charged as many gradients as an
epoch has minibatches: the same number of samples.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.optim import OPTIMIZERS, methods
from thalweg.race.population.base import Tick
from thalweg.race.space import Member
from thalweg.risk import Risk
from thalweg.risk.criterion import Scores
from thalweg.training.loop import Hook, Training
from thalweg.training.settings import Settings


def is_driven(optimizer: str) -> bool:
    """Whether ``optimizer`` is driven by its own step: no engine can train its members at once."""
    return optimizer not in OPTIMIZERS


class Spent(Exception):
    """The run's gradients are used up in the middle of a line search."""


class Budget(Hook):
    """Ends a line search when the run's gradients are used up, at the best weights it has seen.

    Args:
        most: Evaluations that the run may use.
        searches: Whether one step of the method evaluates several times.
    """

    def __init__(self, most: int, searches: bool) -> None:
        self.most, self.searches = most, searches
        self.last = math.nan  # the newest loss
        self._step, self._best = -1, math.inf
        self._weights: list[Tensor] = []

    def loss(self, training: Training, model: nn.Module, batch: Any, loss: Tensor) -> Tensor:
        """Note this evaluation; refuse it where none is left."""
        if not self.searches:
            return loss
        if training.evaluations >= self.most:
            raise Spent
        self.last = float(loss.detach())
        if training.step != self._step:
            self._step, self._best = training.step, math.inf
        if self.last < self._best:
            self._best = self.last
            self._weights = [p.detach().clone() for p in training.parameters]
        return loss

    @torch.no_grad()
    def rest(self, training: Training) -> None:
        """Put the model at the best weights of the search that was ended."""
        for p, best in zip(training.parameters, self._weights, strict=True):
            p.copy_(best)


class Driven:
    """One training run of a method, as :class:`thalweg.race.population.looped.Run` is of a rule.

    Args:
        risk: The task on its device.
        member: Configuration and seed.
        total: Gradients of the whole run.
        stochastic: Whether the forward pass draws random numbers.

    Attributes:
        step: Where the race has asked it to go, in gradients.
        cost: Gradients charged for one evaluation.
    """

    def __init__(
        self,
        risk: Risk,
        member: Member,
        total: int,
        stochastic: bool,
    ) -> None:
        self.risk, self.member, self.total = risk, member, total
        how = member.configuration
        method = methods.method(how.optimizer)
        self.cost = price(risk, how.optimizer, how.batch_size)
        settings = Settings(
            how.optimizer,
            dict(how.hyperparameters),
            None if method.full_batch else how.batch_size,
            how.schedule,
            clip=how.clip,
        )
        self._budget = Budget(total // self.cost, method.evaluates)
        self._training = Training(
            risk, settings, total, member.seed, stochastic, hooks=(self._budget,)
        )
        self.step, self._over = 0, False

    @property
    def model(self) -> nn.Module:
        """The module being trained."""
        return self._training.model

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Its trained parameters."""
        return self._training.parameters

    @property
    def evaluations(self) -> int:
        """Gradients charged so far."""
        return self._training.evaluations * self.cost

    def advance(self, stop: int, tick: Tick) -> float:
        """Train until ``stop`` gradients are charged; return the mean loss (NaN ends it early).

        A line search that began earlier is finished, so more may be charged than asked, never more
        than the whole run has.
        """
        training, told = self._training, self.evaluations
        fine = True
        while fine and not self._over and training.evaluations < stop // self.cost:
            try:
                fine = training.advance(min(stop // self.cost, training.evaluations + 64))
            except Spent:
                self._budget.rest(training)
                self._over = True
            tick(self.evaluations - told)
            told = self.evaluations
        self.step = stop
        mean = training.train_loss()
        if not fine:
            return math.nan
        return self._budget.last if math.isnan(mean) else mean

    def score(self, part: str) -> Scores:
        """The criterion of the weights that the method would keep now."""
        return self._training.score(part)

    def finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters)

    def bytes(self) -> int:
        """Memory of weights, gradients and what the method keeps, L-BFGS's history at most."""
        kept = 24 if self._budget.searches else 7
        return kept * sum(p.numel() * p.element_size() for p in self.model.parameters())

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        here = {"step": self.step, "over": self._over, "last": self._budget.last}
        return {"training": self._training.state(), "driven": here}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self._training.restore(state["training"])
        here = state["driven"]
        self.step, self._over, self._budget.last = here["step"], here["over"], here["last"]


def price(risk: Risk, optimizer: str, batch_size: int) -> int:
    """Gradients of minibatches that one evaluation of this method is charged."""
    full = methods.method(optimizer).full_batch
    return risk.order(batch_size).steps_per_epoch if full else 1
