"""Does a loss go through a function that says it can be differentiated only once?"""

from __future__ import annotations

from torch import Tensor
from torch.autograd.function import once_differentiable

_WRAPPED = once_differentiable(lambda ctx: None).__code__  # shared by all that it wraps


def once(loss: Tensor) -> str:
    """The name of such a function in the graph of ``loss``; empty where there is none.

    torch leaves the part of second derivatives that runs through ``@once_differentiable`` out
    without a word whenever unused inputs are allowed, as they must be here.
    """
    seen, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        owner = getattr(node, "_forward_cls", None)
        if getattr(getattr(owner, "backward", None), "__code__", None) is _WRAPPED:
            return str(getattr(owner, "__qualname__", owner))
        todo.extend(parent for parent, _ in node.next_functions)
    return ""


def twice(name: str, wanted: str) -> None:
    """Refuse what :func:`once` found.

    Raises:
        ValueError: ``name`` is not empty.
    """
    if name:
        raise ValueError(
            f"{wanted}: the loss goes through '{name}', whose backward pass is marked "
            "once_differentiable, so it has no second derivative here. Write it in torch "
            "operations, or give it a backward pass that can be differentiated."
        )
