"""What is to be trained: a model, a loss and data, as a user hands them in."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg.task.recipe import Recipe

FORWARDS = ("pair", "batch")
METRICS = ("accuracy", "loss")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Task:
    r"""A model, a loss and data: the empirical risk :math:`f(w) = \frac1n\sum_i L(x_i, y_i, w)`.

    Only kinds and ranges are checked here; shapes, NaN and one forward pass are checked where the
    risk is built. Two tasks are equal only if they are one object.

    Attributes:
        name: A label for tables and reports, never a path: not empty, no control characters.
        model: ``() -> nn.Module`` (a class, a function), called under a seed for a fresh start; or
            an ``nn.Module`` (pretrained): it is copied, never trained in place.
        loss: With ``forward="pair"``: ``(output, target) -> scalar``, the mean over the batch. With
            ``forward="batch"``: ``(model, batch) -> scalar``.
        forward: ``"pair"``: a batch is ``(input, target)`` and output = ``model(input)``, where an
            input that is a tuple is spread into positional and a dict into keyword arguments.
            ``"batch"``: loss and metric get ``(model, batch)`` and do as they like.
        weight: ``batch -> number``: what the mean runs over (tokens, class weights, targets that
            are not ignored). None: samples. The mean over all data must equal the mean of chunk
            means weighted by it.
        train: ``(inputs, targets)`` of tensors whose first axis counts samples (inputs may be a
            tuple or dict of such); with ``forward="batch"`` a tensor, tuple or dict of tensors; or
            a torch ``Dataset``, or a ``DataLoader`` (its batch size, collate and sampler are
            kept). Required.
        held_out: Data of the same kind that training never sees; without ``test`` it is split by
            seed into a selection part (culling and ranking) and a confirmation part (scored once).
        test: Data of the same kind for confirmation; then all of ``held_out`` selects.
        metric: ``"accuracy"``, ``"loss"`` (scored as minus the loss), or a callable with the
            loss's arguments that returns a float, higher is better. None: accuracy if targets are
            classes, otherwise minus the loss.
        recipe: How it is trained today.

    Raises:
        TypeError: A field has the wrong type.
        ValueError: A field is empty, unknown, missing, or contradicts another.

    Example:
        >>> task = Task("half", model=object, loss=max, train=([0.0, 1.0], [0.0, 0.5]))
        >>> task.name, task.forward, task.recipe.lr
        ('half', 'pair', 0.1)
    """

    name: str
    model: Callable[..., Any] = field(repr=False)
    loss: Callable[..., Any] = field(repr=False)
    forward: str = "pair"
    weight: Callable[[Any], Any] | None = field(default=None, repr=False)
    train: Any = field(default=None, repr=False)
    held_out: Any = field(default=None, repr=False)
    test: Any = field(default=None, repr=False)
    metric: str | Callable[..., Any] | None = None
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        """Check kinds and ranges; nothing is computed and no data is read."""
        _check_name(self.name)
        _check_callables(self)
        where = f"task '{self.name}'"
        if self.train is None:
            raise ValueError(
                f"{where} has no training data; pass train=(inputs, targets), a Dataset or a "
                "DataLoader."
            )
        if self.test is not None and self.held_out is None:
            raise ValueError(
                f"{where} has test= but no held_out=; ranking needs held-out data of its own."
            )
        for part in ("train", "held_out", "test"):
            _check_data(where, part, getattr(self, part), self.forward)
        if not isinstance(self.recipe, Recipe):
            raise TypeError(
                f"{where}: recipe is a {type(self.recipe).__name__}; it must be a thalweg.Recipe."
            )


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a task's name is a {type(name).__name__}; it must be a string.")
    if not name.strip():
        raise ValueError("a task's name is empty; give it a short label.")
    # Cc, Cf, Cs: control, invisible formatting, lone surrogates; Zl, Zp: line and paragraph breaks
    bad = [c for c in name if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if bad:
        raise ValueError(f"the task name {name!a} holds the control character {bad[0]!a}.")


def _check_callables(task: Task) -> None:
    where = f"task '{task.name}'"
    if not callable(task.model):
        raise TypeError(
            f"{where}: model is a {type(task.model).__name__}; pass an nn.Module or a function "
            "that returns a fresh one."
        )
    if not callable(task.loss):
        raise TypeError(
            f"{where}: loss is a {type(task.loss).__name__}; pass a function such as "
            "torch.nn.functional.cross_entropy."
        )
    if task.forward not in FORWARDS:
        got = repr(task.forward) if isinstance(task.forward, str) else type(task.forward).__name__
        raise ValueError(f"{where}: forward is {got}; known: {', '.join(FORWARDS)}.")
    if task.weight is not None and not callable(task.weight):
        raise TypeError(
            f"{where}: weight is a {type(task.weight).__name__}; pass a function of a batch, or "
            "None for the number of samples."
        )
    if isinstance(task.metric, str):
        if task.metric not in METRICS:
            raise ValueError(
                f"{where}: metric is {task.metric!r}; known: {', '.join(METRICS)}, or a function."
            )
    elif task.metric is not None and not callable(task.metric):
        raise TypeError(f"{where}: metric is a {type(task.metric).__name__}; pass a function.")


def _check_data(where: str, part: str, data: Any, forward: str) -> None:
    if data is None:
        return
    readable = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    if isinstance(data, str | bytes | type) or not readable:
        raise TypeError(
            f"{where}: {part} is a {type(data).__name__}; pass (inputs, targets), a Dataset or a "
            "DataLoader."
        )
    if forward == "pair" and isinstance(data, Mapping):
        raise TypeError(
            f"{where}: {part} is a dictionary, but forward='pair' needs (inputs, targets); "
            "pass (dictionary, targets) or use forward='batch'."
        )
    if isinstance(data, tuple):
        if forward == "pair" and len(data) != 2:
            raise ValueError(
                f"{where}: {part} is a tuple of {len(data)}; forward='pair' needs two: "
                "(inputs, targets). Several inputs go into an inner tuple."
            )
        if not data or any(item is None for item in data):
            raise ValueError(f"{where}: {part} holds nothing where a tensor should be.")
