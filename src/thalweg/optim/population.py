"""K members of one rule over flat parameters ``(K, P)``: one step serves them all.

``rule_for`` picks the rule, ``columns`` turns K dictionaries of hyperparameters into floats and
columns, ``Population`` holds both with the state and steps in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.optim import OPTIMIZERS
from thalweg.optim.rule import FLAT, Rule

Members = Sequence[Mapping[str, Any]]

# Elements per block of one in-place step on the CPU: about five tensors of it fit a core's L2.
BLOCK = 65_536


def rule_for(name: str, members: Members = ()) -> Rule:
    """The rule that runs optimiser ``name`` for these members, with no buffer that none needs.

    Args:
        name: A name of ``OPTIMIZERS``.
        members: Their hyperparameters; a missing one is at its default.
    """
    rule = OPTIMIZERS.load(name)
    if any(member.get("momentum", 0.0) != 0 for member in members):
        return OPTIMIZERS.load("momentum")() if name == "sgd" else rule()
    return rule(keep_velocity=False) if name == "rmsprop" and members else rule()


def columns(name: str, members: Members, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Every hyperparameter of ``name``: a float where all members agree, else a column ``(K, 1)``.

    Args:
        name: A name of ``OPTIMIZERS``; its table gives missing hyperparameters their defaults.
        members: One dictionary each, checked (:func:`thalweg.optim.build.check`).
        device: Where the columns live. They are float64; rules cast them on use.

    Returns:
        By name. ``betas`` is a pair of such; ``None`` where all members leave an optional one at
        ``None``, and NaN in the column where only some do.
    """
    table = OPTIMIZERS.load(name).hyperparameters
    result: dict[str, Any] = {}
    for entry in table:
        values = [member.get(entry.name, entry.default) for member in members]
        if isinstance(entry.default, tuple):
            result[entry.name] = tuple(_column([v[i] for v in values], device) for i in (0, 1))
        else:
            result[entry.name] = _column(values, device)
    return result


def _column(values: list[Any], device: torch.device | str) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    numbers = [math.nan if value is None else value for value in values]
    return torch.tensor(numbers, dtype=torch.float64, device=device)[:, None]


def take(value: Any, rows: slice | Tensor) -> Any:
    """Rows of a column, of each half of a pair, of every tensor in a dictionary or state."""
    if isinstance(value, Tensor):
        return value[rows]
    if isinstance(value, dict):
        return {name: take(item, rows) for name, item in value.items()}
    if isinstance(value, tuple):
        items = [take(item, rows) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def export(state: Any) -> tuple[dict[str, Tensor], int]:
    """A state as named tensors (``"mean.flat"``, …) and its step count, for checkpoints."""
    tensors = {
        f"{field}.{name}": tensor
        for field, value in zip(state._fields[1:], state[1:], strict=True)
        for name, tensor in value.items()
    }
    return tensors, int(state.step)


def restore(rule: Rule, params: dict[str, Tensor], tensors: Mapping[str, Tensor], step: int) -> Any:
    """The inverse of :func:`export`; tensors are copied.

    Raises:
        ValueError: names or shapes are not those of ``rule``'s state for ``params``.
    """
    fresh = rule.init(params)
    wanted, _ = export(fresh)
    if set(wanted) != set(tensors):
        raise ValueError(
            f"the saved state of {type(rule).__name__} has tensors {sorted(tensors)}, "
            f"wanted {sorted(wanted)}"
        )
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"saved tensor '{name}' has shape {tuple(tensors[name].shape)}, "
                f"wanted {tuple(tensor.shape)}"
            )
        tensor.copy_(tensors[name])
    return fresh._replace(step=step)


class Population:
    """K members of one optimiser stepping together, in place on ``w``.

    Args:
        name: A name of ``OPTIMIZERS``.
        members: K dictionaries of hyperparameters, checked.
        w: Flat parameters ``(K, P)``, contiguous; written by :meth:`step`.

    Attributes:
        rule: The rule in use.
        columns: Hyperparameters as :func:`columns` made them; ``columns["lr"]`` is the base rate.
        state: The rule's state, its tensors under the name ``"flat"``.
    """

    def __init__(self, name: str, members: Members, w: Tensor) -> None:
        if w.ndim != 2 or len(members) != w.shape[0] or not w.is_contiguous():
            raise ValueError(
                f"{len(members)} members need contiguous parameters ({len(members)}, P), "
                f"got shape {tuple(w.shape)}"
            )
        self.name = name
        self.w = w
        self.rule = rule_for(name, members)
        self.columns = columns(name, members, w.device)
        self.state = self.rule.init({FLAT: w}, self.columns)
        self._prepare()

    def _prepare(self) -> None:
        k, p = self.w.shape
        rows = k if self.w.device.type != "cpu" else max(1, min(k, BLOCK // max(p, 1)))
        self._blocks = [slice(i, min(i + rows, k)) for i in range(0, k, rows)]
        self._states = [take(self.state, block) for block in self._blocks]
        self._weights = [self.w[block] for block in self._blocks]
        self._columns = [take(self.columns, block) for block in self._blocks]
        self._scratch = [self.w.new_empty(rows, p) for _ in range(self.rule.scratch)]

    def step(self, g: Tensor, lr: float | Tensor | None = None) -> None:
        """One step of every member.

        Args:
            g: Gradients ``(K, P)``; only read.
            lr: This step's rate, a float or a column ``(K, 1)``; ``None`` for the base rate.
        """
        after = self.state.step
        for i, block in enumerate(self._blocks):
            values = self._columns[i]
            if lr is not None:
                values = {**values, "lr": take(lr, block)}
            w = self._weights[i]
            scratch = [buffer[: w.shape[0]] for buffer in self._scratch]
            state = self._states[i]._replace(step=self.state.step)
            after = self.rule.step_(w, g[block], state, values, scratch).step
        self.state = self.state._replace(step=after)

    def keep(self, rows: Tensor, w: Tensor) -> Population:
        """The members ``rows`` (an index tensor) over their parameters ``w (len(rows), P)``."""
        kept = object.__new__(Population)
        kept.name, kept.rule, kept.w = self.name, self.rule, w
        kept.columns = take(self.columns, rows)
        kept.state = take(self.state, rows)
        kept._prepare()
        return kept

    def export(self) -> tuple[dict[str, Tensor], int]:
        """Named tensors and the step count, as :func:`export` gives them."""
        return export(self.state)

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Continue from what :meth:`export` gave; ``ValueError`` if it does not fit."""
        self.state = restore(self.rule, {FLAT: self.w}, tensors, step)
        self._prepare()
