"""All workers in one process, in an order that a seed decides: for tests, theory and lessons.

Asynchronous runs cannot be repeated; here the same rules run on the same classes, one request after
the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.parallel import METHODS
from thalweg.parallel.centers.memory import MemoryCenter
from thalweg.parallel.elastic import synchronous_update
from thalweg.parallel.worker import ElasticAveraging, default_alpha

Gradient = Callable[[int, int, Tensor], Tensor]  # (worker, step, x (n,)) -> gradient (n,)
SCHEDULES = ("round_robin", "random", "sync")


@dataclass(frozen=True, slots=True)
class Simulation:
    """How it ended: centre ``(n,)``, workers ``(p, n)``, and what was recorded on the way."""

    centre: Tensor
    mean: Tensor
    workers: Tensor
    exchanges: int
    path: Tensor  # the centre after every ``record`` sweeps, (r, n)


def simulate(
    gradient: Gradient,
    start: Tensor,
    method: str = "easgd",
    workers: int = 4,
    steps: int = 100,
    lr: float = 0.1,
    tau: int = 10,
    alpha: float | None = None,
    momentum: float | None = None,
    schedule: str = "random",
    average: str = "none",
    seed: int = 0,
    record: int = 1,
) -> Simulation:
    """Run ``workers`` workers of one method for ``steps`` steps each.

    Args:
        gradient: ``(worker, step, x)`` to the gradient of that worker's next minibatch.
        start: Where all begin, ``(n,)``.
        method: A name of ``METHODS``.
        workers: How many.
        steps: Of each worker.
        lr: Learning rate.
        tau: Steps between exchanges.
        alpha: Elastic rate; None for 0.9 over the number of workers.
        momentum: None for the method's own (0, or 0.99 for EAMSGD, 0.9 for MDOWNPOUR).
        schedule: ``round_robin``, ``random`` (a seeded order; some workers run ahead), or ``sync``
            (EASGD's synchronous form: all exchange at once, from values of the same time).
        average: Of the centre: ``none``, ``running`` or ``moving``.
        seed: Of the random schedule.
        record: Sweeps (``workers`` steps) between two points of ``path``.

    Raises:
        ValueError: Unknown method or schedule, or the synchronous form of another method.
    """
    kind = METHODS.load(method)
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}: known are {', '.join(SCHEDULES)}")
    momentum = kind.momentum if momentum is None else momentum
    alpha = default_alpha(workers) if alpha is None else alpha
    if schedule == "sync":
        if method != "easgd":
            raise ValueError(f"the synchronous form is of easgd alone, not of {method}")
        return _synchronous(gradient, start, workers, steps, lr, tau, alpha, record)
    center = MemoryCenter(start, average)
    team = [
        _worker(kind, center, start, lr, tau, alpha, momentum, number) for number in range(workers)
    ]
    path = []
    for turn, number in enumerate(_order(workers, steps, schedule, seed)):
        member = team[number]
        (w,) = member.params
        w.grad = gradient(number, member.clock, w.detach())
        member.step()
        if (turn + 1) % (workers * record) == 0:
            path.append(center.read())
    return Simulation(
        center.read(),
        center.mean(),
        torch.stack([member.flat() for member in team]),
        sum(member.traffic.exchanges for member in team),
        torch.stack(path),
    )


def _worker(
    kind: type[ElasticAveraging],
    center: MemoryCenter,
    start: Tensor,
    lr: float,
    tau: int,
    alpha: float,
    momentum: float,
    number: int,
) -> ElasticAveraging:
    w = nn.Parameter(start.detach().clone())
    optimizer = torch.optim.SGD([w], lr=lr, momentum=momentum, nesterov=momentum > 0)
    return kind(optimizer, center, tau, alpha, number)


def _order(workers: int, steps: int, schedule: str, seed: int) -> np.ndarray:
    """Whose turn it is, ``workers * steps`` times."""
    turns = np.tile(np.arange(workers), steps)
    if schedule == "random":
        np.random.default_rng(seed).shuffle(turns)
    return turns


def _synchronous(
    gradient: Gradient,
    start: Tensor,
    workers: int,
    steps: int,
    lr: float,
    tau: int,
    alpha: float,
    record: int,
) -> Simulation:
    x, centre = start.detach().repeat(workers, 1), start.detach().clone()
    path, exchanges = [], 0
    for step in range(steps):
        g = torch.stack([gradient(i, step, x[i]) for i in range(workers)])
        if step % tau == 0:
            x, centre = synchronous_update(x, centre, alpha)
            exchanges += workers
        x = x - lr * g
        if (step + 1) % record == 0:
            path.append(centre.clone())
    return Simulation(centre, centre, x, exchanges, torch.stack(path))
