"""What the functions of this family do with their arguments before they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from thalweg.curvature.problem import Options, Problem, open_problem
from thalweg.task import Task

ENGINES = ("auto", "graph", "split", "compiled", "recompute")
_SPEED = ("chunk", "memory", "engine")


def opened(
    problem: Task | nn.Module | Problem | None,
    loss: Callable[..., Any] | None,
    data: Any,
    params: Iterable[str | Tensor] | None,
    options: Options,
) -> tuple[Problem, dict[str, Any]]:
    """The problem, and the settings that decide speed only.

    Raises:
        TypeError: An option that is not known.
        ValueError: Options out of range.
    """
    unknown = [key for key in options if key not in Options.__annotations__]
    if unknown:
        raise TypeError(
            f"unknown option '{unknown[0]}'; known: {', '.join(Options.__annotations__)}."
        )
    speed = {key: options[key] for key in _SPEED if key in options}  # pyrefly: ignore
    rest: dict[str, Any] = {key: v for key, v in options.items() if key not in _SPEED}
    if speed.get("engine", "auto") not in ENGINES:
        raise ValueError(f"engine is {speed['engine']!r}; known: {', '.join(ENGINES)}.")
    for key in ("chunk", "memory"):
        value: Any = speed.get(key)
        if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
            raise ValueError(f"{key} must be a whole number of at least 1, got {value!r}.")
    if problem is None:
        problem = rest.pop("model", None)  # hessian(model=net, loss=..., data=...)
        if problem is None:
            raise TypeError("pass a task, or a model with loss and data.")
    return open_problem(problem, loss, data, params, **rest), speed
