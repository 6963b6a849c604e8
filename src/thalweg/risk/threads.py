"""How many threads are worth it? Small networks run fastest on one, and most so beside other work.

Threads that wait for each other spin: two of them beside one other busy process can take ten times
as long as one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

FASTER = 0.8  # of the time of one thread: more of them must take less


def worthwhile(device: torch.device, seconds: Callable[[], float]) -> int:
    """One thread, unless all of torch's make a piece of work at least a fifth faster.

    Args:
        device: Where the work is done; off the CPU the number stays as it is.
        seconds: Does the work and says how long it took; called once with each number.
    """
    every = torch.get_num_threads()
    if device.type != "cpu" or every == 1:
        return every
    took = {}
    with threads_put_back():
        for threads in (1, every):
            torch.set_num_threads(threads)
            took[threads] = seconds()
    return every if took[every] < FASTER * took[1] else 1


@contextmanager
def threads_put_back() -> Iterator[None]:
    """Torch has as many threads afterwards as before, whatever happens inside."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
