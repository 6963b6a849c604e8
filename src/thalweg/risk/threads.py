"""How many threads are worth it? Small networks run fastest on one, and most so beside other work.

Threads that wait for each other spin: two of them beside one other busy process can take ten times
as long as one alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

FASTER = 0.8  # of the time of one thread: more of them must take less
_P = ParamSpec("_P")
_T = TypeVar("_T")


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
    try:
        for threads in (1, every):
            torch.set_num_threads(threads)
            took[threads] = seconds()
    finally:
        torch.set_num_threads(every)
    return every if took[every] < FASTER * took[1] else 1


def threads_put_back(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function after which torch has as many threads as before, whatever happened in it."""

    @functools.wraps(function)
    def inside(*args: _P.args, **options: _P.kwargs) -> _T:
        before = torch.get_num_threads()
        try:
            return function(*args, **options)
        finally:
            torch.set_num_threads(before)

    return inside
