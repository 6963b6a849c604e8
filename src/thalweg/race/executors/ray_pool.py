"""The workers of a race as actors of a Ray cluster, with the manners of :class:`Pool`.

The same orders and answers travel, so the same engines are cut in the same way and the journal
holds the same rows. A machine that is lost takes its workers along; they are started elsewhere and
go on from their last state.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from thalweg.cluster import seats
from thalweg.race.executors.messages import Answer, Died, Failed, Order, Setup
from thalweg.race.executors.pool import rebuilt

LISTEN = 5.0  # seconds that a worker waits for something to say before it says nothing
RESTARTS = 20  # of one worker: machines may come and go


class Queues:
    """A worker's end of two queues."""

    def __init__(self) -> None:
        self.orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

    def recv(self) -> Order:
        """The next order, waited for."""
        return self.orders.get()

    def poll(self) -> bool:
        """Whether there is one."""
        return not self.orders.empty()

    def send(self, answer: Answer) -> None:
        """Tell the driver."""
        self.answers.put(answer)


class Seat:
    """What runs in an actor: a worker in a thread of its own, and a door on either side."""

    def __init__(self, setup: Setup) -> None:
        from thalweg.race.executors.worker import serve

        self._line, self._folder = Queues(), tempfile.mkdtemp(prefix="thalweg-worker-")
        told = replace(setup, folder=self._folder)
        threading.Thread(target=serve, args=(self._line, told), daemon=True).start()

    def put(self, order: Order) -> None:
        """An order."""
        self._line.orders.put(order)

    def take(self) -> list[Answer]:
        """Everything there is to say; waits a little for the first of it."""
        found: list[Answer] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._line.answers.get(timeout=LISTEN))
            while True:
                found.append(self._line.answers.get_nowait())
        return found

    def leave(self) -> None:
        """Remove temporary files."""
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class _Place:
    actor: Any = None
    answers: Any = None  # the request for answers that is out
    life: int = 0


class RayPool:
    """``count`` places for workers on whichever machines have room.

    Args:
        ray: The module, connected.
        count: Workers.
        setup: How they get the task, which every machine must find under the same name.
    """

    def __init__(self, ray: Any, count: int, setup: Setup) -> None:
        self._ray, self._setup = ray, setup
        self._seat = ray.remote(concurrency_groups={"orders": 1, "answers": 1})(_with_groups(ray))
        self._cpus = seats(ray, count)
        self._places = [_Place() for _ in range(count)]

    @property
    def count(self) -> int:
        """Workers at most."""
        return len(self._places)

    def life(self, slot: int) -> int:
        """Which actor of this place runs now; 0: none does."""
        place = self._places[slot]
        return 0 if place.actor is None else place.life

    def start(self, slot: int) -> None:
        """See to it that an actor runs there."""
        place = self._places[slot]
        if place.actor is not None:
            return
        # one that replaces another may share a processor: its machine may be gone
        options: dict[str, Any] = {"num_cpus": 0 if place.life else self._cpus}
        options["scheduling_strategy"] = "SPREAD"
        place.actor = self._seat.options(**options).remote(self._setup)
        place.answers = place.actor.take.remote()
        place.life += 1

    def send(self, slot: int, order: Order) -> None:
        """Say something to a worker; one that is dead is noticed by :meth:`receive`."""
        actor = self._places[slot].actor
        if actor is not None:
            actor.put.remote(order)

    def receive(self) -> Iterator[tuple[int, Answer]]:
        """Wait for any worker, then yield everything that has come; deaths come as ``Died``.

        Raises:
            ChildProcessError: A worker died once more than it may.
            ValueError, TypeError, OSError, RuntimeError: What was raised in a worker.
        """
        asked = {p.answers: n for n, p in enumerate(self._places) if p.actor is not None}
        for ref in self._ray.wait(list(asked), num_returns=1)[0]:
            number = asked[ref]
            place = self._places[number]
            try:
                answers = self._ray.get(ref)
            except self._ray.exceptions.RayActorError as error:
                yield number, self._bury(number, error)
                continue
            place.answers = place.actor.take.remote()
            for answer in answers:
                if isinstance(answer, Failed):
                    raise rebuilt(answer)
                yield number, answer

    def _bury(self, number: int, error: Exception) -> Died:
        place = self._places[number]
        place.actor = place.answers = None
        how = " ".join(str(error).split())[:200]
        if place.life > RESTARTS:
            raise ChildProcessError(
                f"worker {number + 1} of {self.count} died {place.life} times (last: {how}). What "
                "had finished is kept where a run directory was named."
            )
        return Died(how)

    def close(self) -> None:
        """End all workers; their temporary files go with them."""
        going = [place.actor for place in self._places if place.actor is not None]
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.get([actor.leave.remote() for actor in going], timeout=5)
        for actor in going:
            self._ray.kill(actor)
        for place in self._places:
            place.actor = place.answers = None

    def __enter__(self) -> RayPool:
        """Nothing starts before it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        self.close()


def _with_groups(ray: Any) -> type[Seat]:
    """The seat whose doors do not wait for each other; orders keep their order."""

    class Grouped(Seat):
        put = ray.method(concurrency_group="orders")(Seat.put)
        take = ray.method(concurrency_group="answers")(Seat.take)

    return Grouped
