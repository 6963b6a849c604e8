"""Run a strategy by its name, with options checked against its signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from thalweg.records_training import Run
from thalweg.registry import suggest
from thalweg.strategies import STRATEGIES
from thalweg.task import Task


def options_of(strategy: str) -> dict[str, Any]:
    """Names and defaults of a strategy's own options; ``inspect.Parameter.empty`` where needed."""
    parameters = inspect.signature(STRATEGIES.load(strategy)).parameters.values()
    return {
        item.name: item.default
        for item in parameters
        if item.kind is item.KEYWORD_ONLY and item.name not in ("seed", "run")
    }


def run(
    task: Task, strategy: str, options: Mapping[str, Any] | None = None, **training: Any
) -> Run:
    """Train ``task`` by a strategy.

    Args:
        task: Model, loss and data.
        strategy: A name of ``STRATEGIES``.
        options: The strategy's own.
        training: What :func:`thalweg.training.train` takes: optimizer, epochs, run, seed …

    Raises:
        ValueError: An unknown strategy or option, or one that is missing.
    """
    given = dict(options or {})
    check_options(strategy, given)
    return STRATEGIES.load(strategy)(task, **given, **training)


def check_options(strategy: str, given: Mapping[str, Any]) -> None:
    """``ValueError`` for an unknown strategy, an option it has not, or one that it needs."""
    known = options_of(strategy)
    for name in given:
        if name not in known:
            raise ValueError(
                f"unknown option '{name}' of {strategy}. {suggest(name, tuple(known))}"
            )
    missing = [n for n, v in known.items() if v is inspect.Parameter.empty and n not in given]
    if missing:
        raise ValueError(f"{strategy} needs {', '.join(missing)}: give {missing[0]}=...")
