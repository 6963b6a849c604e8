"""How is a whole task conditioned? A new task with prepared inputs, or with prepared weights."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from thalweg.conditioning import CONDITIONERS
from thalweg.conditioning.conditioner import Conditioner
from thalweg.task import Task

ITEMS = 512  # samples of a data set looked at together
PLACES = ("data", "model")


def condition(
    task: Task,
    how: str | Conditioner = "whiten",
    *,
    place: str = "data",
    per: str = "auto",
) -> Task:
    """A task whose inputs are conditioned by statistics of its training part alone.

    Args:
        task: With ``forward="pair"`` and one floating tensor as input.
        how: ``centre``, ``scale``, ``whiten`` (ZCA) or ``whiten-pca``; or a conditioner: a fitted
            one is used as it is, another is copied and fitted.
        place: ``"data"``: inputs of every part are transformed. ``"model"``: they stay, and the
            model gets a fixed first layer, so that saved weights carry the statistics.
        per: What a variable is (:func:`thalweg.conditioning.layout.resolve_layout`), for ``how``
            given by name.

    Returns:
        A new task called ``NAME, HOW``; the old one is untouched.

    Raises:
        TypeError: Inputs that are not one floating tensor.
        ValueError: ``held_out`` is missing (it would be taken from data whose statistics were
            used), or the data cannot be conditioned.
    """
    where = f"task '{task.name}'"
    if place not in PLACES:
        raise ValueError(f"place is {place!r}; known: {', '.join(PLACES)}.")
    if task.forward != "pair":
        raise ValueError(
            f"{where} has forward='batch', so nothing says which part of a batch is the input. Put "
            "a fitted conditioner into the model as its first layer."
        )
    if task.held_out is None:
        raise ValueError(
            f"{where} has no held_out data; some of train would be held out later, and statistics "
            "of all of train would have seen it. Pass held_out=(inputs, targets)."
        )
    if isinstance(how, str):
        conditioner = CONDITIONERS.load(how)(per=per)
    else:
        conditioner = copy.deepcopy(how)
    try:
        if not conditioner.fitted:
            conditioner.fit(_inputs(task.train))
        changes = _data(task, conditioner) if place == "data" else _model(task, conditioner)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from error
    label = how if isinstance(how, str) else type(how).__name__.lower()
    return dataclasses.replace(task, name=f"{task.name}, {label}", **changes)


def initialised(
    task: Task, scheme: str = "he", *, bias: float | None = 0.0, **settings: Any
) -> Task:
    """The task with its fresh models started by ``scheme``, under whatever seed they are made.

    Args:
        task: Its ``model`` may be a function or an instance (copied each time).
        scheme: A name of ``INITIALISATIONS``. ``lsuv`` looks at the first training samples.
        bias: What every bias starts as; None leaves them.
        settings: Of the scheme, as ``gain`` or ``k``.

    Raises:
        ValueError: An unknown scheme.
    """
    from thalweg.conditioning import INITIALISATIONS

    start = INITIALISATIONS.load(scheme)
    if scheme == "lsuv":
        settings = {"batch": next(_inputs(task.train)), **settings}
    else:
        settings = {"bias": bias, **settings}
    made = partial(_started, task.model, start, settings)
    return dataclasses.replace(task, name=f"{task.name}, {scheme}", model=made)


def _started(
    model: nn.Module | Callable[[], nn.Module], start: Callable[..., Any], settings: Any
) -> nn.Module:
    fresh = _fresh(model)
    start(fresh, **settings)
    return fresh


def _fresh(model: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    return copy.deepcopy(model) if isinstance(model, nn.Module) else model()


def _fronted(conditioner: Conditioner, model: Any) -> nn.Module:
    return nn.Sequential(copy.deepcopy(conditioner), _fresh(model))


def _model(task: Task, conditioner: Conditioner) -> dict[str, Any]:
    first = next(_inputs(task.train))
    return {"model": partial(_fronted, conditioner.to(first.dtype), task.model)}


def _data(task: Task, conditioner: Conditioner) -> dict[str, Any]:
    parts = {part: getattr(task, part) for part in ("train", "held_out", "test")}
    return {part: _apply(data, conditioner) for part, data in parts.items() if data is not None}


def _apply(data: Any, conditioner: Conditioner) -> Any:
    if isinstance(data, DataLoader):
        return DataLoader(
            ConditionedDataset(data.dataset, conditioner),
            batch_sampler=data.batch_sampler,
            num_workers=data.num_workers,
            collate_fn=data.collate_fn,
            pin_memory=data.pin_memory,
        )
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list):
        inputs = _tensor(data[0])
        return (conditioner.transform(inputs), *data[1:])
    return ConditionedDataset(data, conditioner)


class ConditionedDataset(Dataset):
    """A data set of (input, target, ...) items whose inputs pass through a conditioner."""

    def __init__(self, dataset: Any, conditioner: Conditioner) -> None:
        self.dataset, self.conditioner = dataset, conditioner

    def __len__(self) -> int:
        return len(self.dataset)

    @torch.no_grad()
    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The item ``index``, conditioned."""
        item = self.dataset[index]
        return (self.conditioner(_tensor(item[0])[None])[0], *item[1:])


def _inputs(data: Any) -> Iterator[Tensor]:
    """The inputs of a task's part, chunk by chunk."""
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, IterableDataset):
        raise ValueError("an IterableDataset cannot be read twice; pass a map-style Dataset.")
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list):
        yield from _tensor(data[0]).split(4096)
        return
    with _own_randomness():
        for start in range(0, len(data), ITEMS):
            stop = min(start + ITEMS, len(data))
            yield torch.stack([_tensor(data[index][0]) for index in range(start, stop)])


def _tensor(inputs: Any) -> Tensor:
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "fiub":
        inputs = torch.from_numpy(np.ascontiguousarray(inputs))
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"the input is a {type(inputs).__name__}; conditioning needs one tensor. For several "
            "inputs, put a fitted conditioner into the model where each enters."
        )
    return inputs


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Let a data set draw random numbers (augmentation) without moving the user's generators."""
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])
