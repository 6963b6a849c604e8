"""Which losses does torch not have in this form? And which have no Hessian that says anything?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor

Loss = TypeVar("Loss", bound=Callable[..., Any])
_MARKED: list[tuple[Callable[..., Any], str]] = []


def no_spectrum(reason: str) -> Callable[[Loss], Loss]:
    """Mark a loss whose gradient is right and whose Hessian is not that of what is minimised."""

    def mark(loss: Loss) -> Loss:
        _MARKED.append((loss, reason))
        return loss

    return mark


def refuse_spectrum(name: str, loss: Callable[..., Any]) -> None:
    """``ValueError`` where the Hessian of a marked loss is asked for.

    Args:
        name: Of the task.
        loss: Its loss.
    """
    for marked, reason in _MARKED:
        if loss is marked:
            raise ValueError(f"task '{name}' has no spectrum: {reason}")


def half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    r"""Mean over samples of :math:`\tfrac12\|\text{output}_i - \text{target}_i\|^2`.

    The half makes the Hessian of a linear unit the second moment of its inputs, without a 2.

    Args:
        output: Shape ``(b, ...)``.
        target: The same shape.

    Returns:
        A scalar.

    Raises:
        ValueError: Shapes differ (they would broadcast to something else).
    """
    if output.shape != target.shape:
        raise ValueError(
            f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}; "
            "they must agree."
        )
    return (output - target).square().sum() / (2 * len(output))


def token_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the tokens that are not padding.

    Args:
        output: Logits ``(b, T, vocabulary)``.
        target: Codes ``(b, T)`` int64; -100 marks padding.

    Returns:
        A scalar.
    """
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def token_count(batch: tuple[Tensor, Tensor]) -> Tensor:
    """Number of tokens in a batch ``(input, target)`` that are not padding (target -100)."""
    return (batch[1] != -100).sum()
