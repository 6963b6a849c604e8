"""``thalweg.watch``: what can be measured of somebody's own training loop as it runs."""

from __future__ import annotations

import statistics
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.records_diagnosis import SEVERITIES, Finding
from thalweg.watching import DETECTORS, sinks
from thalweg.watching.clock import Clock, now
from thalweg.watching.history import History, look
from thalweg.watching.ledger import Reading
from thalweg.watching.losses import OPENING
from thalweg.watching.outside import Outside
from thalweg.watching.plan import Plan
from thalweg.watching.sight import Sight
from thalweg.watching.wrappers import eager, inner_model, inner_optimizer

HELD = 4096  # losses that wait on a device before they are averaged
KEEP = 64
DEAR = 0.1  # of the budget may go into keeping losses
COLD = 2.0  # between a model's kernels the same lines run about half as fast as in a loop


class Watch:
    """Watches one model and one optimiser; :func:`watch` makes it.

    Attributes:
        history: Everything measured so far.
    """

    def __init__(
        self, model: nn.Module, optimizer: Any, *, budget: float = 0.05, logger: Any = None,
        steps: int | None = None, every: int | None = None,
        tell: Callable[[Finding], None] | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(model, nn.Module):
            raise TypeError(f"watch needs a torch.nn.Module, got {type(model).__name__}.")
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget <= 1:
            raise ValueError(f"budget={budget!r}: wanted a share of the time, 0 < budget <= 1.")
        for name, count in (("steps", steps), ("every", every)):
            if count is not None and (isinstance(count, bool) or not count >= 1):
                raise ValueError(f"{name}={count!r}: wanted a number of steps, at least 1.")
        begun = now()
        self._optimizer = inner_optimizer(optimizer)
        self._model = weakref.ref(inner_model(model))
        self._log = sinks.sink(logger)
        self._tell, self._told = tell, set[str]()
        self._layers, self._notes = eager(model)
        self.history = History(total=steps, optimizer=type(self._optimizer).__name__)
        self._losses: list[Tensor] = []  # on devices that are not waited for
        self._sight: Sight | None = None
        self._reading: tuple[Reading, dict[str, Any]] | None = None
        self._outside = Outside()
        self._plan: Plan | None = None
        self._closed = False
        self._idle = self._cost()
        self._clock = Clock(budget, self._idle, every)
        self._skip, self._stride, self._given, self._pace = 0, 1, 0, 1
        self._kept = deque[float](maxlen=OPENING)  # seconds that keeping one loss took
        self._post = self._optimizer.register_step_post_hook(self._hook())
        self._clock.charge(now() - begun)
        self._open()

    # What people use

    def loss(self, value: Any) -> Any:
        """Hand over the loss of a step (or of each part of an accumulated one); returned as it is.

        Nothing is read from the device here. Where steps are so short that keeping every loss
        would be felt, after the first ones only every few are kept.
        """
        self._skip -= 1
        if self._skip <= 0 and not self._closed:
            at = now()
            self._given += 1
            if isinstance(value, Tensor):
                self._keep(value.detach())
            else:
                self.history.losses.add(float(value))
            self._kept.append(now() - at)
            self._skip = self._space() if self._given >= OPENING else 1
        return value

    def _space(self) -> int:
        """Every how many losses one is kept, by what keeping them costs and steps last now."""
        dear = COLD * statistics.median(self._kept)
        self._stride = self._clock.stride(dear, DEAR)
        self._clock.idle = self._idle + dear / self._stride
        return self._stride

    def _keep(self, value: Tensor) -> None:
        value = value.mean() if value.dim() else value
        if value.is_cpu:  # nothing to wait for, and nothing to stack at the next look
            self.history.losses.add(value.item())
            return
        self._losses.append(value)
        if len(self._losses) >= HELD:
            self._shorten()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong as far as was seen, worst first; empty while nothing is."""
        self._settle(wait=True)
        self._drain()
        return self._judge()

    def _judge(self) -> tuple[Finding, ...]:
        found = [finding for d in DETECTORS if (finding := d.load()(self.history)) is not None]
        return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))

    @property
    def overhead(self) -> float:
        """Share of the time that watching took so far, by its own clock."""
        return self._clock.share

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be watched, and why."""
        if self._given > 2 * OPENING and not self.history.looks and not self.history.steps:
            return *self._notes, (
                "The optimiser's step called no hook (it is compiled, or never called): only the "
                "loss was watched."
            )
        if self.history.blind:
            return *self._notes, (
                "torch.compile has been at work in this process: activations that are modules were "
                "watched, those called as functions (F.relu) were not."
            )
        return self._notes

    def scalars(self) -> dict[str, float]:
        """The latest numbers by name, fit for any logger."""
        self._settle(wait=True)
        return self._scalars()

    def _scalars(self) -> dict[str, float]:
        return sinks.scalars(self.history, self.overhead, self._judge())

    def close(self) -> None:
        """Take every hook off; what was found stays. Called twice, nothing happens."""
        if self._closed:
            return
        self._closed = True
        if self._sight is not None:
            self._sight.stop()
            self._sight = None
        self._post.remove()
        self._plan = None
        self._settle(wait=True)
        self._drain()
        self._report()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __str__(self) -> str:
        return sinks.words(self.history, self.findings, self.overhead, self.notes)

    def _hook(self, left: int = 1) -> Callable[[Any, Any, Any], None]:
        """The hook after every step; a plain step costs it a countdown."""

        def after(optimizer: Any, args: Any, kwargs: Any) -> None:
            nonlocal left
            if torch.compiler.is_dynamo_compiling():
                return  # a compiled step: a countdown in it would be compiled anew at every step
            left -= 1
            if not left:
                left = self._turn(args, kwargs)

        return after

    def _turn(self, args: Any, kwargs: Any) -> int:
        """Read the clock, or go on with a look; after how many steps to come again."""
        if self._reading is not None:
            self._settle()
        if self._sight is not None:
            self._pace = self._looked(self._sight, args, kwargs)
        else:
            self._pace = self._clock.tick(self._pace)
            if not self._pace:
                self._open()
                self._pace = 1
        return self._pace

    def _cost(self) -> float:
        """Seconds of a plain step's hook and of a loss that is not kept, measured."""
        hook, self._skip = self._hook(KEEP + 1), KEEP + 1
        begun = now()
        for _ in range(KEEP):
            hook(self._optimizer, (), {})
            self.loss(0.0)
        return COLD * (now() - begun) / KEEP

    def _open(self) -> None:
        at = now()
        self._clock.open()
        model = self._model()
        if model is not None:
            if self._plan is None or not self._plan.fits(self._optimizer):
                self._plan = Plan(model, self._optimizer)
            self._sight = Sight(
                model, self._optimizer, self._plan, self.history, self._clock, self._outside,
                self._layers,
            )  # fmt: skip
        self._clock.own += now() - at

    def _looked(self, sight: Sight, args: Any, kwargs: Any) -> int:
        """A step of a look has ended; after how many to come again."""
        at = now()
        complete = sight.ended(args, kwargs)
        if complete:
            self._sight = None
            self._settle(wait=True)  # of the look before: long there
            self.history.steps = self._clock.steps + 2  # and the two of this look
            sight.seen["step"] = self.history.steps - 1
            for place, line in enumerate(self._lines()):
                sight.ledger.line(("loss", place), line)
            self._reading = sight.ledger.close(), sight.seen
            self._settle()
        self._clock.own += now() - at
        if not complete:
            return 1
        return self._clock.close(2)

    # Losses wait as they are, on their device

    def _shorten(self) -> None:
        """Average pairs without reading them: a long time between looks costs bounded memory."""
        self._losses = [
            part for line in self._lines() for part in line[: len(line) // 2 * 2].reshape(-1, 2)
            .mean(1).unbind()
        ]  # fmt: skip

    def _lines(self) -> list[Tensor]:
        """The waiting losses, one line for each kind."""
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for value in self._losses:
            kinds.setdefault((value.device, value.dtype), []).append(value)
        self._losses = []
        return [torch.stack(values) for values in kinds.values()]

    def _drain(self) -> None:
        """Read the waiting losses."""
        for line in self._lines():
            for value in line.tolist():
                self.history.losses.add(value)

    def _settle(self, wait: bool = False) -> None:
        """Take in what was read."""
        if self._reading is None or not (wait or self._reading[0].ready()):
            return
        (reading, seen), self._reading = self._reading, None
        numbers, lines = reading.values()
        for line in lines.values():
            for value in line:
                self.history.losses.add(value)
        self.history.units.settle(numbers)
        self.history.still = self._outside.still(numbers)
        hidden = seen.pop("hidden", {})
        kept = {k: v for k, v in numbers.items() if not _of_output(k, hidden)}
        if "cleared" in numbers:
            seen["cleared"] = bool(numbers["cleared"])
        self.history.add(look(seen.pop("step"), seen.pop("lr"), kept, **seen))
        self._report()

    def _report(self) -> None:
        if self._log is not None and self.history.looks:
            self._log(self.history.looks[-1].step, self._scalars())
        if self._tell is not None:
            for finding in self._judge():
                if finding.code not in self._told:
                    self._told.add(finding.code)
                    self._tell(finding)


def _of_output(key: Any, hidden: Mapping[str, str]) -> bool:
    """Whether a number is of the activation that makes the model's output."""
    return isinstance(key, tuple) and key[0] == "saturated" and key[1] not in hidden


def watch(
    model: nn.Module, optimizer: Any, *, budget: float = 0.05, logger: Any = None,
    steps: int | None = None, every: int | None = None,
    tell: Callable[[Finding], None] | None = None,
) -> Watch:  # fmt: skip
    """Watch a training loop of your own, at a bounded cost.

    Hooks on the optimiser's step read gradients and updates; on the steps that are looked at,
    hooks on the modules also read what flows through them. The time between looks is set so that
    looking takes at most ``budget`` of the time. Nothing of the training is changed, and on steps
    that are not looked at nothing is read from the device.

    >>> model = nn.Linear(2, 1)
    >>> with watch(model, torch.optim.SGD(model.parameters(), lr=0.1)) as w:
    ...     w.findings
    ()

    Args:
        model: Plain, or wrapped by DDP or torch.compile. Compiled code runs without module hooks:
            gradients, updates and the loss are watched all the same, and ``notes`` says so.
        optimizer: Any ``torch.optim.Optimizer``, also one that takes closures; make one watch for
            each where there are several.
        budget: Share of the training time, 0 < budget <= 1.
        logger: Takes the scalars at each look: an object with ``add_scalar(name, value, step)``
            such as TensorBoard's ``SummaryWriter``, or a function ``(step, {name: value})``.
        steps: How many steps are planned: "too slow" can then be told from "just slow".
        every: Plain steps between looks, whatever they cost, instead of ``budget``.
        tell: Called once with each new finding.

    Returns:
        A context manager with ``findings``, ``scalars()``, ``loss(value)`` and ``close()``.

    Raises:
        TypeError: No module, or no ``torch.optim.Optimizer``.
        ValueError: ``budget`` or ``steps`` out of range.
    """
    return Watch(model, optimizer, budget=budget, logger=logger, steps=steps, every=every,
                 tell=tell)  # fmt: skip
