"""K members of one rule over flat parameters ``(K, P)``: one step serves them all.

``rule_for`` picks the rule, ``columns`` turns K dictionaries of hyperparameters into floats and
columns, ``Population`` holds both with the state and steps in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.optim import OPTIMIZERS
from thalweg.optim.rule import FLAT, Rule
from thalweg.registry import resolve

Members = Sequence[Mapping[str, Any]]

ENGINES = ("auto", "kernel", "torch")
# One thread of the one-pass kernels equals about four of torch's many-pass steps (measured).
KERNEL_THREADS = 4


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
        engine: ``"kernel"`` steps with the compiled one-pass loops (CPU, float32 or float64),
            ``"torch"`` with the rule's ``step_``; ``"auto"`` takes kernels where they win. The two
            agree to rounding, not bit for bit: a resumed run must name the one it began with.

    Attributes:
        rule: The rule in use.
        columns: Hyperparameters as :func:`columns` made them; ``columns["lr"]`` is the base rate.
        state: The rule's state, its tensors under the name ``"flat"``.
        engine: ``"kernel"`` or ``"torch"``.

    Raises:
        ValueError: parameters of another shape, an unknown engine or kernels asked for where
            there are none.
    """

    def __init__(self, name: str, members: Members, w: Tensor, engine: str = "auto") -> None:
        self.name = name
        self.w = w
        self.rule = rule_for(name, members)
        self.columns = columns(name, members, w.device)
        self.engine = _choose(engine, w)
        _require_flat(w, len(members))
        self.state = self.rule.init({FLAT: w}, self.columns)
        self._numbers = _matrix(name, members) if self.engine == "kernel" else np.empty((0, 0))
        self._prepare()

    def _prepare(self) -> None:
        if self.engine == "torch":
            self._scratch = [torch.empty_like(self.w) for _ in range(self.rule.scratch)]
            return
        self._kernel = resolve(f"thalweg.optim.kernels:{self.rule.kernel}")
        buffers = [field[FLAT] for field in self.state[1:] if FLAT in field]
        self._arrays = [tensor.detach().numpy() for tensor in (self.w, *buffers)]
        self._base = self._numbers[:, 0].copy()

    def step(self, g: Tensor, lr: float | Tensor | None = None) -> None:
        """One step of every member.

        Args:
            g: Gradients ``(K, P)``; only read.
            lr: This step's rate, a float or a column ``(K, 1)``; ``None`` for the base rate.

        Raises:
            ValueError: gradients of another shape or dtype than the parameters.
        """
        if g.shape != self.w.shape or g.dtype != self.w.dtype:
            raise ValueError(
                f"gradients must be {tuple(self.w.shape)} of {self.w.dtype}, "
                f"got {tuple(g.shape)} of {g.dtype}"
            )
        if self.engine == "torch":
            values = self.columns if lr is None else {**self.columns, "lr": lr}
            self.state = self.rule.step_(self.w, g, self.state, values, self._scratch)
            return
        rates = lr.numpy()[:, 0] if isinstance(lr, Tensor) else lr
        self._numbers[:, 0] = self._base if rates is None else rates
        step = self.state.step + 1
        w, *buffers = self._arrays
        self._kernel(w, g.detach().contiguous().numpy(), *buffers, self._numbers, step)
        self.state = self.state._replace(step=step)

    def keep(self, rows: Tensor, w: Tensor) -> Population:
        """The members ``rows`` (an index tensor) over their parameters ``w (len(rows), P)``."""
        _require_flat(w, len(rows))
        kept = object.__new__(Population)
        kept.name, kept.rule, kept.engine, kept.w = self.name, self.rule, self.engine, w
        kept.columns, kept.state = take(self.columns, rows), take(self.state, rows)
        kept._numbers = self._numbers
        if self.engine == "kernel":
            kept._numbers = self._numbers[rows.numpy()]
            kept._numbers[:, 0] = self._base[rows.numpy()]
        kept._prepare()
        return kept

    def export(self) -> tuple[dict[str, Tensor], int]:
        """Named tensors and the step count, as :func:`export` gives them."""
        return export(self.state)

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Continue from what :meth:`export` gave; ``ValueError`` if it does not fit."""
        self.state = restore(self.rule, {FLAT: self.w}, tensors, step)
        if self.engine == "kernel":
            self._numbers[:, 0] = self._base
        self._prepare()


def _choose(engine: str, w: Tensor) -> str:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    able = w.device.type == "cpu" and w.dtype in (torch.float32, torch.float64)
    if engine == "kernel" and not able:
        raise ValueError(
            f"kernels step float32 or float64 on the CPU, got {w.dtype} on {w.device}; "
            "use engine='torch'"
        )
    if engine == "auto":
        return "kernel" if able and torch.get_num_threads() <= KERNEL_THREADS else "torch"
    return engine


def _require_flat(w: Tensor, members: int) -> None:
    if w.ndim != 2 or w.shape[0] != members or not w.is_contiguous():
        raise ValueError(
            f"{members} members need contiguous parameters ({members}, P), "
            f"got {'' if w.is_contiguous() else 'non-contiguous '}shape {tuple(w.shape)}"
        )


def _matrix(name: str, members: Members) -> np.ndarray:
    """Hyperparameters ``(K, columns)`` as the kernels read them: pairs spread, NaN for ``None``."""
    rows = []
    for member in members:
        row: list[float] = []
        for entry in OPTIMIZERS.load(name).hyperparameters:
            value = member.get(entry.name, entry.default)
            row += [math.nan if v is None else v for v in np.atleast_1d(np.array(value, object))]
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(members), -1)
