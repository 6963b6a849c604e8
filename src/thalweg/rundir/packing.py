"""Nested states of training as flat tensors and JSON, and back exactly. No pickle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from thalweg.rundir.damage import DamagedRun

if TYPE_CHECKING:
    from torch import Tensor


def pack(tree: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A nested state (dicts, lists, tuples, numbers, strings, tensors) as tensors and JSON.

    The tensors are copies: what is trained on does not change them, and none shares memory.

    Raises:
        TypeError: Something else is in it; names what.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, {"tree": _pack(tree, tensors)}


def unpack(tensors: dict[str, Tensor], meta: dict[str, Any]) -> Any:
    """The inverse of :func:`pack`: equal tensors (on the CPU after a file), numbers and keys.

    Types come back too, except that every kind of dictionary is a plain one.

    Raises:
        DamagedRun: Not what :func:`pack` made.
    """
    try:
        return _unpack(meta["tree"], tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRun(f"a packed state is not whole: {error!r}") from error


def _pack(item: Any, tensors: dict[str, Tensor]) -> Any:
    import torch

    if isinstance(item, torch.Tensor):
        if item.layout != torch.strided or item.is_quantized:
            raise TypeError(f"a checkpoint cannot hold a tensor of layout {item.layout}")
        name = str(len(tensors))
        if item.is_meta:
            raise TypeError("a checkpoint cannot hold a tensor without numbers (meta device)")
        plain = item.detach().clone(memory_format=torch.contiguous_format)
        wide = plain.dtype == torch.complex128  # safetensors knows the narrower one only
        tensors[name] = torch.view_as_real(plain.resolve_conj()).clone() if wide else plain
        return ["complex" if wide else "tensor", name]
    if isinstance(item, dict):
        pairs = [[_pack(_key(key), tensors), _pack(value, tensors)] for key, value in item.items()]
        return ["dict", pairs]
    if type(item) in (list, tuple):  # a named tuple would come back as a plain one
        kind = "list" if isinstance(item, list) else "tuple"
        return [kind, [_pack(value, tensors) for value in item]]
    if isinstance(item, float) and not math.isfinite(item):
        return ["float", repr(float(item))]
    if item is None or isinstance(item, bool | int | float | str):
        return ["plain", item]
    raise TypeError(f"a checkpoint cannot hold {type(item).__name__}: {item!r:.80}")


def _key(key: Any) -> Any:
    if key is None or isinstance(key, bool | int | float | str | tuple):
        return key
    raise TypeError(f"a checkpoint cannot hold {type(key).__name__} as a key: {key!r:.80}")


def _unpack(item: Any, tensors: dict[str, Tensor]) -> Any:
    kind, value = item
    if kind == "tensor":
        return tensors[value]
    if kind == "complex":
        import torch

        return torch.view_as_complex(tensors[value])
    if kind == "dict":
        return {_unpack(key, tensors): _unpack(entry, tensors) for key, entry in value}
    if kind in ("list", "tuple"):
        entries = [_unpack(entry, tensors) for entry in value]
        return entries if kind == "list" else tuple(entries)
    if kind not in ("float", "plain"):
        raise ValueError(f"unknown kind {kind!r}")
    return float(value) if kind == "float" else value
