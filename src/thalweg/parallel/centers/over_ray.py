"""A centre that workers on other machines reach: an actor in front of the file on one of them.

The file is the centre (:mod:`thalweg.parallel.centers.file`); the actor only opens it. So an actor
that is killed loses nothing: Ray starts another, which opens the same file. A request that was in
hand is asked again: a push is taken once, by its number; an elastic exchange may be taken twice,
which pulls the centre a little further towards that worker.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.parallel.centers.base import Hyper
from thalweg.parallel.centers.file import FileCenter

TELL_EVERY = 0.5  # seconds between two words about how far a worker is


class Keeper:
    """What runs in the actor: a file centre that speaks numpy."""

    def __init__(self, path: str) -> None:
        self._center = FileCenter(path)

    def read(self) -> np.ndarray:
        """A copy of the centre."""
        return self._center.read().numpy()

    def mean(self) -> np.ndarray:
        """The averaged centre where one is kept."""
        return self._center.mean().numpy()

    def elastic(self, x: np.ndarray, alpha: float, worker: int) -> np.ndarray:
        """See :meth:`FileCenter.elastic`."""
        return self._center.elastic(_tensor(x), alpha, worker).numpy()

    def push(self, delta: np.ndarray, worker: int, sequence: int, hyper: Any) -> np.ndarray:
        """See :meth:`FileCenter.push`."""
        hyper = None if hyper is None else Hyper(*hyper)
        return self._center.push(_tensor(delta), worker, sequence, hyper).numpy()

    def sequence(self, worker: int) -> int:
        """See :meth:`FileCenter.sequence`."""
        return self._center.sequence(worker)

    def steps(self, worker: int) -> int:
        """See :meth:`FileCenter.steps`."""
        return self._center.steps(worker)

    def tell(self, worker: int, step: int) -> None:
        """See :meth:`FileCenter.tell`."""
        self._center.tell(worker, step)


class RayCenter:
    """A worker's end: the same requests as of a file, over the network.

    Args:
        keeper: Handle of the actor, as :func:`keep` made it.
    """

    def __init__(self, keeper: Any) -> None:
        import ray

        self._keeper, self._get, self._told = keeper, ray.get, -TELL_EVERY

    def read(self) -> Tensor:
        """A copy of the centre."""
        return _tensor(self._get(self._keeper.read.remote()))

    def mean(self) -> Tensor:
        """The averaged centre where one is kept, else the centre."""
        return _tensor(self._get(self._keeper.mean.remote()))

    def elastic(self, x: Tensor, alpha: float, worker: int) -> Tensor:
        """See :class:`~thalweg.parallel.centers.base.Center`."""
        return _tensor(self._get(self._keeper.elastic.remote(x.numpy(), alpha, worker)))

    def push(self, delta: Tensor, worker: int, sequence: int, hyper: Hyper | None = None) -> Tensor:
        """See :class:`~thalweg.parallel.centers.base.Center`."""
        sent = None if hyper is None else tuple(hyper)
        return _tensor(self._get(self._keeper.push.remote(delta.numpy(), worker, sequence, sent)))

    def sequence(self, worker: int) -> int:
        """The first sequence number that this worker has not used."""
        return self._get(self._keeper.sequence.remote(worker))

    def steps(self, worker: int) -> int:
        """How far this worker was when it last said so."""
        return self._get(self._keeper.steps.remote(worker))

    def tell(self, worker: int, step: int, at_once: bool = False) -> None:
        """Say how far this worker is; now and then, unless ``at_once``."""
        now = time.monotonic()
        if at_once or now - self._told > TELL_EVERY:
            self._told = now
            said = self._keeper.tell.remote(worker, step)
            if at_once:
                self._get(said)


def keep(ray: Any, path: Path) -> Any:
    """Start the actor beside a centre's file; it comes back for ever, on this machine only."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Keeper).options(scheduling_strategy=here, **options).remote(str(path))


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(x))  # what Ray delivers may not be written to
