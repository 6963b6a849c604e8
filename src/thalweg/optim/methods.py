"""Everything one can train with, by name: the rules that race, and the methods that do not.

A method that ``evaluates`` calls a closure as often as it likes (line searches); all others consume
one gradient a step.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.optim import METHODS, OPTIMIZERS, build
from thalweg.registry import suggest


@dataclass(frozen=True, slots=True)
class Method:
    """How one optimiser is built and driven."""

    name: str
    evaluates: bool = False  # its step calls a closure that evaluates loss and gradient
    fixed: Mapping[str, Any] = field(default_factory=dict)  # differs from the class's own default

    @property
    def full_batch(self) -> bool:
        """Whether its steps compare values of one loss, so that batches may not change."""
        return self.evaluates


_OWN = {
    "entropy-sgd": Method("entropy-sgd"),
    "nonlinear-cg": Method("nonlinear-cg", evaluates=True),
    "lbfgs": Method("lbfgs", True, {"line_search_fn": "strong_wolfe", "history_size": 10}),
}


def method(name: str) -> Method:
    """How ``name`` is driven; ``ValueError`` with the nearest name if there is none such."""
    return _OWN.get(METHODS[name].name, Method(name))


def defaults(name: str) -> dict[str, Any]:
    """Hyperparameters and their defaults, as ``name`` is built here."""
    if name in OPTIMIZERS:
        return build.defaults(name)
    parameters = inspect.signature(METHODS.load(name)).parameters
    known = {key: p.default for key, p in parameters.items() if key != "params"}
    return known | dict(method(name).fixed)


def check(name: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The given hyperparameters, checked by building the optimiser over one number.

    Raises:
        ValueError: An unknown optimiser or hyperparameter (with the nearest name), or a value out
            of range.
    """
    if name in OPTIMIZERS:
        return build.check(name, hyperparameters)
    known = defaults(name)
    for key in hyperparameters:
        if key not in known:
            raise ValueError(
                f"unknown hyperparameter '{key}' of {name}. {suggest(str(key), tuple(known))}"
            )
    try:
        make(name, [torch.nn.Parameter(torch.zeros(1))], **hyperparameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    return dict(hyperparameters)


def make(
    name: str, params: Iterable[Tensor] | Iterable[dict[str, Any]], **hyperparameters: Any
) -> torch.optim.Optimizer:
    """Build the optimiser: torch's own class where torch has one.

    Args:
        name: A name of ``METHODS``.
        params: Parameters or groups.
        hyperparameters: Any subset; the rest at :func:`defaults`.
    """
    if name in OPTIMIZERS:
        return build.make(name, params, **hyperparameters)
    fixed = dict(method(name).fixed)
    return METHODS.load(name)(params, **fixed | hyperparameters)


def line(name: str, hyperparameters: Mapping[str, Any] | None = None) -> str:
    """A line of Python that builds the same optimiser over ``model.parameters()``."""
    if name in OPTIMIZERS:
        return build.line(name, hyperparameters)
    cls = METHODS.load(name)
    signature = inspect.signature(cls).parameters
    values = dict(method(name).fixed) | dict(hyperparameters or {})
    written = [
        f"{key}={value!r}"
        for key, value in values.items()
        if key == "lr" or value != signature[key].default
    ]
    where = "torch.optim" if cls.__module__.startswith("torch.") else "thalweg.optim"
    return f"{where}.{cls.__name__}({', '.join(['model.parameters()', *written])})"
