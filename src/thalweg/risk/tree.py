"""Batches are trees: tensors in dicts, lists and (named) tuples. Three small walks over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def tree_map(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply ``function`` to every tensor; everything else stays as it is."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: tree_map(function, item) for key, item in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, item) for item in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(function, item) for item in tree)
    return tree


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with a readable path such as ``input['mask']`` or ``target``."""
    if isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from leaves(item, f"{path}[{key!r}]")
    elif isinstance(tree, list | tuple):
        for index, item in enumerate(tree):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, tree


def tensors(tree: Any) -> list[Tensor]:
    """The tensors of a tree in a fixed order."""
    return [leaf for _, leaf in leaves(tree) if isinstance(leaf, Tensor)]


def to(tree: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Move every tensor to ``device``; floating tensors also to ``dtype`` where one is given."""

    def move(tensor: Tensor) -> Tensor:
        floating = dtype is not None and tensor.is_floating_point()
        return tensor.to(device=device, dtype=dtype if floating else tensor.dtype)

    return tree_map(move, tree)


def count(tree: Any) -> int:
    """How many samples a batch holds: the length of its first tensor that has one."""
    for tensor in tensors(tree):
        if tensor.dim():
            return tensor.shape[0]
    return 1


def same(left: Any, right: Any) -> bool:
    """Whether two trees hold equal leaves (NaN equals NaN)."""
    a, b = list(leaves(left)), list(leaves(right))
    if [path for path, _ in a] != [path for path, _ in b]:
        return False
    return all(_same_leaf(x, y) for (_, x), (_, y) in zip(a, b, strict=True))


def _same_leaf(x: Any, y: Any) -> bool:
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        if x.shape != y.shape or x.dtype != y.dtype:
            return False
        return bool(torch.equal(x, y) or torch.allclose(x, y, rtol=0, atol=0, equal_nan=True))
    try:
        return bool(x == y) or x is y
    except (ValueError, RuntimeError):  # numpy arrays answer element by element
        return bool((x == y).all())
