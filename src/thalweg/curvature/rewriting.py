"""Rewrites of a recorded graph: no changes in place, no products with zero, nothing twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
_LINEAR = {  # zero in any of these arguments makes the answer zero
    aten.mul.Tensor: (0, 1),
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.convolution.default: (0, 1),
    aten.div.Tensor: (0,),
    aten.div.Scalar: (0,),
    aten.mul.Scalar: (0,),
    aten.neg.default: (0,),
    aten.sum.dim_IntList: (0,),
    aten.sum.default: (0,),
    aten.mean.dim: (0,),
    aten.gather.default: (0,),
    aten.index_select.default: (0,),
    aten.expand.default: (0,),
    aten.view.default: (0,),
    aten._unsafe_view.default: (0,),
    aten.reshape.default: (0,),
    aten.t.default: (0,),
    aten.transpose.int: (0,),
    aten.permute.default: (0,),
    aten.unsqueeze.default: (0,),
    aten.squeeze.dim: (0,),
    aten.slice.Tensor: (0,),
    aten.select.int: (0,),
    aten.clone.default: (0,),
}
ZEROS = (
    aten.zeros.default,
    aten.zeros_like.default,
    aten.new_zeros.default,
    aten._new_zeros_with_same_feature_meta.default,
    aten._efficientzerotensor.default,
)
_SAME = (aten.detach.default, aten.alias.default, aten.lift_fresh.default)


class Untraceable(RuntimeError):
    """A function that cannot be recorded faithfully, with the reason."""


def simplify(graph: fx.Graph, device: torch.device) -> None:
    """Drop no-ops, repeated operations, products with zero and sums with zero."""
    zero: set[fx.Node] = set()
    seen: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _SAME:
            node.replace_all_uses_with(node.args[0])
            continue
        if node.target in ZEROS:
            zero.add(node)
        elif node.target in _LINEAR:
            bias = node.target is aten.convolution.default and node.args[2] is not None
            factors = [node.args[i] for i in _LINEAR[node.target] if i < len(node.args)]
            if not bias and any(a in zero for a in factors):
                zero.add(node)
        elif node.target is aten.add.Tensor and not node.kwargs:
            a, b = node.args
            for this, other in ((a, b), (b, a)):
                if this in zero and isinstance(other, fx.Node) and _alike(node, other):
                    node.replace_all_uses_with(other)
                    if other in zero:
                        zero.add(node)
                    break
            else:
                _merge(node, seen)
            continue
        _merge(node, seen)
    for node in zero:
        _as_zeros(graph, node, device)
    graph.eliminate_dead_code()


def _alike(a: fx.Node, b: fx.Node) -> bool:
    one, two = (n.meta.get("tensor_meta") for n in (a, b))
    if one is None or two is None:
        return False
    return (one.shape, one.dtype, one.stride) == (two.shape, two.dtype, two.stride)


def _dense(node: fx.Node, source: fx.Node) -> bool:
    """Whether the copy is contiguous, of the source's shape and type."""
    one, two = (n.meta.get("tensor_meta") for n in (node, source))
    if one is None or two is None or one.shape != two.shape or one.dtype != two.dtype:
        return False
    return one.memory_format is torch.contiguous_format


def _as_zeros(graph: fx.Graph, node: fx.Node, device: torch.device) -> None:
    """A product with zero becomes zeros of its shape."""
    meta = node.meta.get("val")
    if not isinstance(meta, Tensor) or node.target in ZEROS:
        return
    with graph.inserting_before(node):
        made = graph.call_function(
            aten.zeros.default, (list(meta.shape),), {"dtype": meta.dtype, "device": device}
        )
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)


def _merge(node: fx.Node, seen: dict[Any, fx.Node]) -> None:
    """One node where the same pure operation stands twice."""
    schema = getattr(node.target, "_schema", None)
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags or (schema is not None and schema.is_mutable):
        return
    try:
        key = (node.target, _key(node.args), _key(node.kwargs))
        hash(key)
    except TypeError:
        return
    if key in seen:
        node.replace_all_uses_with(seen[key])
    else:
        seen[key] = node


def _key(item: Any) -> Any:
    if isinstance(item, list | tuple):
        return tuple(_key(i) for i in item)
    if isinstance(item, dict):
        return tuple(sorted((k, _key(v)) for k, v in item.items()))
    return (type(item), item) if isinstance(item, int | float | bool) else item


def without_changes(graph: fx.Graph) -> None:
    """Write changes in place as new tensors, where nothing else looks at the changed one.

    Raises:
        Untraceable: A tensor that others may share storage with is changed.
    """
    current: dict[fx.Node, fx.Node] = {}
    seen_through: set[fx.Node] = set()  # tensors that a view of exists
    for node in list(graph.nodes):
        node.args, node.kwargs = (
            fx.map_arg(item, lambda a: current.get(a, a)) for item in (node.args, node.kwargs)
        )
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None:
            continue
        if not schema.is_mutable:
            if any(a.alias_info is not None for a in schema.arguments):
                seen_through.add(node)
                seen_through.update(a for a in node.all_input_nodes)
            continue
        changed = node.args[0]
        plain = _PLAIN.get(node.target)
        fresh = isinstance(changed, fx.Node) and changed.op == "call_function"
        if plain is None or not fresh or changed in seen_through:
            raise Untraceable(f"the graph changes tensors in place ({node.target})")
        if node.target is aten.copy_.default and _alike(node, node.args[1]):
            made = node.args[1]
        elif node.target is aten.copy_.default and _dense(node, node.args[1]):
            with graph.inserting_before(node):
                made = graph.call_function(
                    aten.clone.default,
                    (node.args[1],),
                    {"memory_format": torch.contiguous_format},
                )
            made.meta = dict(node.meta)
        else:
            with graph.inserting_before(node):
                made = graph.call_function(plain, node.args, node.kwargs)
            made.meta = dict(node.meta)
        for old in [changed, node, *(k for k, v in current.items() if v is changed)]:
            current[old] = made
    # later uses were renamed on the way; what is left of the changes does nothing
    for node in reversed(list(graph.nodes)):
        schema = getattr(node.target, "_schema", None)
        if node.op == "call_function" and schema is not None and schema.is_mutable:
            graph.erase_node(node)


def _functional() -> dict[Any, Any]:
    """``add_`` → ``add`` and so on, for operations that change their first argument only."""
    names = ("add_.Tensor", "mul_.Tensor", "div_.Tensor", "sub_.Tensor", "copy_.default",
             "fill_.Scalar", "fill_.Tensor", "zero_.default", "masked_fill_.Scalar",
             "index_put_.default", "index_add_.default", "scatter_add_.default", "neg_.default",
             "sigmoid_.default", "tanh_.default", "relu_.default", "addcmul_.default",
             "mul_.Scalar", "exp_.default", "clamp_.default", "clamp_min_.default",
             "leaky_relu_.default", "elu_.default", "silu_.default", "hardtanh_.default",
             "masked_fill_.Tensor", "add_.Scalar", "div_.Scalar", "sub_.Scalar", "scatter_.src",
             "scatter_.value", "threshold_.default", "pow_.Scalar", "rsqrt_.default",
             "sqrt_.default", "log_.default", "log1p_.default", "unsqueeze_.default",
             "squeeze_.dim", "reciprocal_.default")  # fmt: skip
    found = {}
    for name in names:
        base, overload = name.split(".")
        plain = getattr(aten, base[:-1], None)
        here = getattr(getattr(aten, base), overload, None)
        if plain is not None and here is not None and hasattr(plain, overload):
            found[here] = getattr(plain, overload)
    return found


_PLAIN = _functional()
