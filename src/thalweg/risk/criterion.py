"""How good is a model on held-out data, sample by sample? The race's one criterion.

Values are kept per sample where that is possible (accuracy; losses that can be taken apart), else
per block of samples: paired intervals need the parts, not only their mean. Higher is better.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.risk.tree import tree_map

IGNORED = -100  # torch's ignore_index: such targets count neither as right nor as wrong
BLOCKS = 24  # a criterion that only exists for sets of samples is measured on this many of them


@dataclass(frozen=True, slots=True)
class Scores:
    """One evaluation: ``values (u,)`` with ``weights (u,)`` summing to 1, and the mean loss."""

    values: Tensor
    weights: Tensor
    loss: float

    @property
    def mean(self) -> float:
        """The criterion: the weighted mean over the units."""
        return float((self.values.double() * self.weights).sum())


Parts = Callable[[Any, Any], "tuple[Tensor, Tensor] | None"]


def correct(output: Any, target: Tensor) -> tuple[Tensor, Tensor] | None:
    """Share of right classes per sample and how many targets that was; None if undecidable.

    ``output (b, C, ...)`` or ``(..., C)`` scores, ``target (b, ...)`` integer classes; a target
    of one number per sample with ``output (b,)`` or ``(b, 1)`` is read as a logit.
    """
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return None
    axis = class_axis(output, target)
    if axis is None:
        return None
    if axis < 0:
        guess = (output.reshape(target.shape) > 0).to(target.dtype)
    else:
        guess = output.argmax(axis)
    counted = target != IGNORED
    hits = ((guess == target) & counted).flatten(1) if target.dim() > 1 else (guess == target)
    if target.dim() == 1:
        return hits.double(), counted.double()
    number = counted.flatten(1).sum(1).double()
    return hits.sum(1).double() / number.clamp(min=1), number


def class_axis(output: Any, target: Any) -> int | None:
    """The axis of ``output`` over classes; -1: one logit for two classes; None: neither."""
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return None
    if target.is_floating_point() or target.is_complex() or not target.dim():
        return None
    if output.dim() == target.dim() + 1:
        if output.shape[:1] + output.shape[2:] == target.shape and output.shape[1] > 1:
            return 1
        if output.shape[:-1] == target.shape and output.shape[-1] > 1:
            return output.dim() - 1
    if output.numel() == target.numel() and output.shape[0] == target.shape[0]:
        return -1
    return None


def loss_parts(loss: Callable[..., Tensor], output: Any, target: Any) -> Parts | None:
    """A function giving the loss sample by sample, proved on this batch, or None.

    Tries the loss itself with ``reduction="none"``, then ``vmap`` over samples. Only a way whose
    mean equals the loss of the whole batch is kept.
    """
    try:
        whole = float(loss(output, target))
    except Exception:
        return None
    for parts in (_unreduced(loss), _vmapped(loss)):
        if parts is None:
            continue
        try:
            found = parts(output, target)
        except Exception:  # a loss that cannot be taken apart this way
            continue
        if found is None:
            continue
        values, weights = found
        mean = float((values.double() * weights).sum() / weights.sum())
        if abs(mean - whole) <= 1e-5 * max(1.0, abs(whole)):
            return parts
    return None


def _unreduced(loss: Callable[..., Tensor]) -> Parts | None:
    if isinstance(loss, nn.Module):
        if getattr(loss, "reduction", None) != "mean":
            return None
        each: Callable[..., Tensor] = copy.copy(loss)
        each.reduction = "none"  # pyrefly: ignore
    else:
        try:
            takes = "reduction" in inspect.signature(loss).parameters
        except (TypeError, ValueError):
            return None
        if not takes:
            return None
        each = partial(loss, reduction="none")

    def parts(output: Any, target: Any) -> tuple[Tensor, Tensor] | None:
        values = each(output, target)
        size = len(target)
        if values.dim() == 0 or values.shape[0] != size:
            return None
        values = values.reshape(size, -1).double()
        if isinstance(target, Tensor) and not target.is_floating_point() and target.dim() > 1:
            number = (target.flatten(1) != IGNORED).sum(1).double()
            return values.sum(1) / number.clamp(min=1), number
        return values.mean(1), torch.ones(size, dtype=torch.float64, device=values.device)

    return parts


def _vmapped(loss: Callable[..., Tensor]) -> Parts:
    def one(output: Any, target: Any) -> Tensor:
        return loss(tree_map(lambda t: t[None], output), tree_map(lambda t: t[None], target))

    def parts(output: Any, target: Any) -> tuple[Tensor, Tensor] | None:
        values = torch.func.vmap(one)(output, target).double()
        return values, torch.ones_like(values)

    return parts
