"""What does the mean of a loss run over? Samples, targets that count, class weights: or a sum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.risk import tree
from thalweg.risk.criterion import IGNORED

_MODULES: dict[type, Callable[..., Tensor]] = {
    nn.CrossEntropyLoss: F.cross_entropy,
    nn.NLLLoss: F.nll_loss,
    nn.MSELoss: F.mse_loss,
    nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits,
}


@dataclass(frozen=True, slots=True)
class Usual:
    """A loss of torch that is known by name, with its settings."""

    function: Callable[..., Tensor]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def reduction(self) -> str:
        """``"mean"``, ``"sum"`` or ``"none"``."""
        return self.settings.get("reduction", "mean")


def usual(loss: Callable[..., Any]) -> Usual | None:
    """What torch loss this is: a function, a ``partial`` of one, or its module; None: another."""
    if type(loss) in _MODULES:
        keys = ("weight", "ignore_index", "label_smoothing", "reduction", "pos_weight")
        settings = {key: getattr(loss, key) for key in keys if hasattr(loss, key)}
        return Usual(_MODULES[type(loss)], settings)
    if isinstance(loss, functools.partial) and not loss.args:
        inner = usual(loss.func)
        return None if inner is None else Usual(inner.function, inner.settings | loss.keywords)
    return Usual(loss) if loss in _MODULES.values() else None


def weigher(loss: Callable[..., Any], forward: str) -> tuple[Callable[[Any], float], bool]:
    """``batch -> number`` that the mean runs over, and whether the loss is a sum instead.

    Known losses say it themselves (class weights, ignored targets); of others it is samples.
    """
    known = usual(loss) if forward == "pair" else None

    def samples(batch: Any) -> float:
        return float(tree.count(batch[1] if forward == "pair" else batch))

    if known is None:
        return samples, False
    if known.reduction == "sum":
        return samples, True
    if known.function in (F.cross_entropy, F.nll_loss):
        return functools.partial(_targets, known), False
    return functools.partial(_elements), False


def _targets(known: Usual, batch: Any) -> float:
    target = batch[1]
    if not isinstance(target, Tensor) or target.is_floating_point():  # class probabilities
        return float(tree.count(target))
    counted = target != known.settings.get("ignore_index", IGNORED)
    weight = known.settings.get("weight")
    if weight is None:
        return float(counted.sum())
    return float(weight.to(target.device)[target[counted]].double().sum())


def _elements(batch: Any) -> float:
    target = batch[1]
    return float(target.numel()) if isinstance(target, Tensor) else float(tree.count(target))
