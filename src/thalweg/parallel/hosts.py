"""Where worker processes run: children of this one, or tasks of a Ray cluster."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any, Protocol

from thalweg.parallel.process import Job, run, run_afar


class Worker(Protocol):
    """One running worker."""

    @property
    def exitcode(self) -> int | None:
        """0 after a good end, None while it runs."""
        ...

    def is_alive(self) -> bool:
        """Whether it still runs."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...

    def join(self) -> None:
        """Wait for its end."""
        ...


class Here:
    """Children of this process, around the file itself."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")

    def start(self, job: Job, again: bool = False) -> Worker:
        """A process of its own."""
        process = self._context.Process(target=run, args=(job,), daemon=True)
        process.start()
        return process


class Cluster:
    """Tasks of Ray on whichever machine has room, around an actor in front of the file."""

    def __init__(self, ray: Any, center: Path, workers: int) -> None:
        from thalweg.cluster import seats
        from thalweg.parallel.centers.over_ray import keep

        self._ray, self.keeper = ray, keep(ray, center)
        self._remote = ray.remote(run_afar)
        self._cpus = seats(ray, workers)

    def start(self, job: Job, again: bool = False) -> Worker:
        """A task; one that is brought back may share a processor, if a machine was lost."""
        options: dict[str, Any] = {"num_cpus": 0 if again else self._cpus, "max_retries": 0}
        options["scheduling_strategy"] = "SPREAD"
        return _Task(self._ray, self._remote.options(**options).remote(job, self.keeper))


class _Task:
    """A Ray task with the manners of a process."""

    def __init__(self, ray: Any, ref: Any) -> None:
        self._ray, self._ref = ray, ref

    def is_alive(self) -> bool:
        return not self._ray.wait([self._ref], timeout=0)[0]

    @property
    def exitcode(self) -> int | None:
        if self.is_alive():
            return None
        try:
            self._ray.get(self._ref)
        except self._ray.exceptions.RayError:  # its own exception, or its process or machine gone
            return 1
        return 0

    def join(self) -> None:
        self._ray.wait([self._ref])

    def kill(self) -> None:
        self._ray.cancel(self._ref, force=True)
