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
    """``ValueError`` for an unknown strategy or option, a missing one, or one of the wrong kind."""
    known = options_of(strategy)
    for name in given:
        if name not in known:
            raise ValueError(
                f"unknown option '{name}' of {strategy}. {suggest(name, tuple(known))}"
            )
    missing = [n for n, v in known.items() if v is inspect.Parameter.empty and n not in given]
    if missing:
        raise ValueError(f"{strategy} needs {', '.join(missing)}: give {missing[0]}=...")
    parameters = inspect.signature(STRATEGIES.load(strategy)).parameters
    for name, value in given.items():
        kinds = [kind.strip() for kind in str(parameters[name].annotation).split("|")]
        if set(kinds) <= set(_KINDS) and not any(_is(value, kind) for kind in kinds):
            wanted = " or ".join(_KINDS[kind] for kind in kinds if kind != "None")
            raise ValueError(f"{strategy}: {name} is {value!r}; wanted {wanted}.")


# only options of plain kinds are checked here: others, such as modules, by the strategy itself
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "str": "a word",
    "None": "nothing",
}


def _is(value: Any, kind: str) -> bool:
    if kind == "None":
        return value is None
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, {"int": int, "float": (int, float), "str": str}[kind])
