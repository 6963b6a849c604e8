"""What is a rule? Hyperparameters as data, a state, a pure update and an in-place twin.

A rule never keeps state on itself. ``update`` is the mathematics, written to be read; ``step_`` is
the same step in place on one tensor, written for few passes over memory. Tests hold them together.

Hyperparameters are floats or tensors that broadcast against the parameters: for a population of K
members over flat parameters ``(K, P)`` they are columns ``(K, 1)``. Columns are kept in float64 and
cast on use, because ``1 - beta`` taken in float32 would be wrong in the fifth digit.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

Params = dict[str, Tensor]
Number = float | Tensor  # one value for all members, or a column of one value each
Pair = tuple[Number, Number]

FLAT = "flat"  # the one name under which flat parameters travel
NOTHING: Mapping[str, Any] = {}


class Oracle(Protocol):
    """What a rule may ask. Rules of this folder ask for gradients only."""

    def grad(self, params: Params) -> Params:
        """The gradient at ``params``, same names and shapes."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """An oracle that answers with gradients computed beforehand, whatever the point."""

    gradients: Params

    def grad(self, params: Params) -> Params:
        """The stored gradients; ``params`` is not looked at."""
        return self.gradients


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """Name, default and valid range of one knob, for checks, the command line and the docs.

    A ``None`` default means that ``None`` is a valid value; a pair as default means that a pair is
    wanted, each half within the range.
    """

    name: str
    default: float | tuple[float, float] | None
    meaning: str
    low: float = 0.0
    high: float = math.inf
    low_open: bool = False  # True: ``low`` itself is excluded; ``high`` always is

    @property
    def interval(self) -> str:
        """The valid range, such as ``[0, 1)``."""
        return f"{'(' if self.low_open else '['}{self.low:g}, {self.high:g})"

    @property
    def wanted(self) -> str:
        """What a valid value is, in words."""
        if isinstance(self.default, tuple):
            return f"two numbers in {self.interval}"
        return f"a number in {self.interval}" + (" or None" if self.default is None else "")

    def check(self, value: Any) -> float | tuple[float, float] | None:
        """The value as plain Python numbers.

        Raises:
            ValueError: it is not a number (bools and strings are not), not finite or out of range.
        """
        if value is None and self.default is None:
            return None
        if isinstance(self.default, tuple):
            if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
                raise ValueError(f"{self.name} must be {self.wanted}, got {value!r}")
            return self._number(value[0], value), self._number(value[1], value)
        return self._number(value, value)

    def _number(self, number: Any, shown: Any) -> float:
        if isinstance(number, numbers.Real) and not isinstance(number, bool):
            number = float(number)
            above = number > self.low if self.low_open else number >= self.low
            if above and number < self.high:
                return number
        raise ValueError(f"{self.name} must be {self.wanted}, got {shown!r}")


def require_order(values: Mapping[str, Any]) -> None:
    """``ValueError`` where ``lr_max`` lies below ``lr_min`` (tensors are not looked into)."""
    low, high = values.get("lr_min"), values.get("lr_max")
    if isinstance(low, int | float) and isinstance(high, int | float) and high < low:
        raise ValueError(f"lr_max={high!r} is below lr_min={low!r}")


class Rule(Protocol):
    """A way to choose the next point. Frozen; settings only.

    ``State`` is a ``NamedTuple`` whose first field ``step`` counts updates and whose other fields
    are dictionaries of tensors named like the parameters.
    """

    needs: ClassVar[tuple[str, ...]]  # what the oracle must answer
    vectorises: ClassVar[bool]  # one update may serve a whole population
    kernel: ClassVar[str]  # its one-pass loop in ``thalweg.optim.kernels``
    scratch: ClassVar[int]  # tensors of the parameters' shape that ``step_`` writes on
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]]

    def init(self, params: Params, hyperparameters: Mapping[str, Any] = NOTHING) -> Any:
        """The state before the first step."""
        ...

    @property
    def update(self) -> Callable[..., tuple[Params, Any]]:
        """``(oracle, params, state, *, lr, …)`` to new parameters and new state, purely.

        Each rule names its own hyperparameters as keywords; the arguments are left as they were.
        """
        ...

    def step_(
        self,
        w: Tensor,
        g: Tensor,
        state: Any,
        columns: Mapping[str, Any],
        scratch: Sequence[Tensor],
    ) -> Any:
        """The same step in place on ``w`` and on the tensors of ``state``; ``g`` is only read."""
        ...


LR = Hyperparameter("lr", 1e-3, "learning rate")
WEIGHT_DECAY = Hyperparameter("weight_decay", 0.0, "adds weight_decay times w to the gradient")


def zeros(params: Params) -> Params:
    """A zero tensor per parameter."""
    return {name: torch.zeros_like(w) for name, w in params.items()}


def cast(x: Any, w: Tensor) -> Any:
    """A float as it is; a tensor in the dtype of ``w``, so that nothing is promoted."""
    return x.to(w.dtype) if isinstance(x, Tensor) else x


def is_zero(x: Any) -> bool:
    """Whether ``x`` is known to be zero without looking into a tensor."""
    return not isinstance(x, Tensor) and x == 0


def decayed(g: Tensor, w: Tensor, weight_decay: Number) -> Tensor:
    """``g + weight_decay * w``."""
    return g if is_zero(weight_decay) else g + cast(weight_decay, w) * w


def decayed_into(out: Tensor, g: Tensor, w: Tensor, weight_decay: Number) -> Tensor:
    """``g + weight_decay * w`` written to ``out``; ``g`` itself where there is no decay."""
    if isinstance(weight_decay, Tensor):
        return torch.addcmul(g, w, cast(weight_decay, w), out=out)
    return g if weight_decay == 0 else torch.add(g, w, alpha=weight_decay, out=out)


def add_scaled_(w: Tensor, d: Tensor, scale: Number, sign: float = 1.0) -> None:
    """``w += sign * scale * d`` in one pass."""
    if isinstance(scale, Tensor):
        w.addcmul_(d, cast(scale, w), value=sign)
    else:
        w.add_(d, alpha=sign * scale)


def mean_square_(v: Tensor, g: Tensor, beta: Number, out: Tensor) -> None:
    """``v = beta v + (1 - beta) g²`` in two passes; ``out`` may be overwritten."""
    if isinstance(beta, Tensor):
        torch.mul(g, g, out=out)
        v.lerp_(out, cast(1 - beta, v))
    else:
        v.mul_(beta).addcmul_(g, g, value=1 - beta)
