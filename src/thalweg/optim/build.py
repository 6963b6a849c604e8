"""From a name and hyperparameters to an optimiser: checked, built, and as a line to paste."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from thalweg.optim import OPTIMIZERS
from thalweg.optim.delta_bar_delta import DeltaBarDelta
from thalweg.optim.rule import Hyperparameter, require_order
from thalweg.registry import suggest

# Which class users get, and the arguments that select the variant.
_CLASSES: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {}),
    "nesterov": (torch.optim.SGD, {"nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "delta-bar-delta": (DeltaBarDelta, {}),
}


def table(name: str) -> dict[str, Hyperparameter]:
    """The hyperparameters of optimiser ``name`` by name; ``ValueError`` if there is none such."""
    return {entry.name: entry for entry in OPTIMIZERS.load(name).hyperparameters}


def defaults(name: str) -> dict[str, Any]:
    """The library's default hyperparameters, ``lr`` among them.

    >>> defaults("momentum")
    {'lr': 0.001, 'momentum': 0.9, 'weight_decay': 0.0}
    """
    return {key: entry.default for key, entry in table(name).items()}


def check(name: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The given hyperparameters as plain Python numbers.

    Args:
        name: A name of ``OPTIMIZERS``.
        hyperparameters: Any subset of the optimiser's; numpy scalars and integers are welcome.

    Returns:
        The same names, with floats (pairs of floats for ``betas``), in the table's order.

    Raises:
        ValueError: an unknown optimiser or hyperparameter (with the nearest name), or a value that
            is not a number in range.
    """
    known = table(name)
    for key in hyperparameters:
        if key not in known:
            raise ValueError(
                f"unknown hyperparameter '{key}' of {name}. {suggest(str(key), tuple(known))}"
            )
    given = {key: entry for key, entry in known.items() if key in hyperparameters}
    try:
        values = {key: entry.check(hyperparameters[key]) for key, entry in given.items()}
        require_order(defaults(name) | values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return values


def supports_fused(name: str, device_type: str) -> bool:
    """Whether this build of torch has a fused kernel for ``name`` on a kind of device.

    Args:
        name: A name of ``OPTIMIZERS``.
        device_type: ``"cpu"``, ``"cuda"``, …; a build without that device answers False.
    """
    cls, _ = _class(name)
    if "fused" not in inspect.signature(cls).parameters:
        return False
    kernel = f"aten::_fused_{cls.__name__.lower()}_"
    return torch._C._dispatch_has_kernel_for_dispatch_key(kernel, device_type.upper())


def make(
    name: str,
    params: Iterable[Tensor] | Iterable[dict[str, Any]],
    *,
    fused: bool | None = None,
    foreach: bool | None = None,
    **hyperparameters: Any,
) -> torch.optim.Optimizer:
    """Build the optimiser: torch's own class where torch has one.

    Args:
        name: A name of ``OPTIMIZERS``.
        params: Parameters or groups.
        fused: Passed to torch where its class takes it; ``None`` leaves torch its choice.
        foreach: As ``fused``.
        hyperparameters: Any subset; the rest at :func:`defaults`.

    Raises:
        ValueError: as :func:`check`; or ``fused``/``foreach`` for a class that takes neither.
    """
    cls, fixed = _class(name)
    options = {"fused": fused, "foreach": foreach}
    options = {key: value for key, value in options.items() if value is not None}
    accepted = inspect.signature(cls).parameters
    for key in options:
        if key not in accepted:
            raise ValueError(f"{cls.__name__} of optimiser '{name}' has no option '{key}'")
    values = defaults(name) | check(name, hyperparameters)
    return cls(params, **values, **fixed, **options)  # pyrefly: ignore


def line(name: str, hyperparameters: Mapping[str, Any] | None = None) -> str:
    """A line of Python that builds the same optimiser over ``model.parameters()``.

    The learning rate is always written out; other hyperparameters where they differ from what the
    class would take. Numbers are written so that they read back exactly.

    >>> line("momentum", {"lr": 0.1})
    'torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)'
    """
    cls, fixed = _class(name)
    signature = inspect.signature(cls).parameters
    values = defaults(name) | check(name, hyperparameters or {}) | fixed
    written = [
        f"{key}={value!r}"
        for key, value in values.items()
        if key == "lr" or value != signature[key].default
    ]
    where = "torch.optim" if cls.__module__.startswith("torch.") else "thalweg.optim"
    return f"{where}.{cls.__name__}(model.parameters(), {', '.join(written)})"


def _class(name: str) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    return _CLASSES[OPTIMIZERS[name].name]
