"""How is a task looked at without leaving a trace? Copies of its models, random states put back."""

from __future__ import annotations

import copy
import dataclasses
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.risk.threads import threads_put_back
from thalweg.task import Task


@dataclasses.dataclass(frozen=True, slots=True)
class Copied:
    """A model factory whose models are nobody else's: a function may return one shared module."""

    model: Callable[..., Any]

    def __call__(self) -> nn.Module:
        """A copy without gradients; the original's mode, buffers and ``.grad`` stay as they are."""
        made = self.model if isinstance(self.model, nn.Module) else self.model()
        if not isinstance(made, nn.Module):
            raise TypeError(f"model() returned {type(made).__name__}; wanted a torch.nn.Module.")
        fresh = copy.deepcopy(made)
        fresh.zero_grad(set_to_none=True)
        return fresh


def own(task: Task) -> Task:
    """The task with a model factory that hands out copies."""
    if isinstance(task.model, Copied):
        return task
    return dataclasses.replace(task, model=Copied(task.model))


@contextmanager
def untouched() -> Iterator[None]:
    """Put back random states (torch on every device, numpy, random), grad mode and threads."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        with threads_put_back(), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's code: what matters becomes a finding
            yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
