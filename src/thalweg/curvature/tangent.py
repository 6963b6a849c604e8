"""Trace a product once, then keep what does not depend on the vector and run only what does.

A product ``v → A v`` written with forward-mode derivatives is recorded as a graph of elementary
operations. Whatever does not depend on ``v`` is computed once a chunk and kept; the rest, linear in
``v``, is all that a product costs: for a Hessian two thirds of forward over reverse.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental import proxy_tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from thalweg.curvature.economy import fuse, gather, moving, overwrite
from thalweg.curvature.outputs import PlainLosses
from thalweg.curvature.rewriting import ZEROS, Untraceable, simplify, without_changes

aten = torch.ops.aten
_VIEWS = (
    aten.view.default,
    aten.t.default,
    aten.transpose.int,
    aten.permute.default,
    aten.unsqueeze.default,
    aten.expand.default,
    operator.getitem,
)


def first_line(error: BaseException) -> str:
    """Of a message."""
    return (str(error).splitlines() or [""])[0][:200]


class Tangent:
    """A recorded ``(vector, rest) → answer`` in two parts.

    Attributes:
        primal: ``rest leaves → (kept …, value)``.
        linear: ``(vector leaves, kept …) → answer``, without changes in place, for ``vmap``.
        lean: The same with fewer passes over memory, for one vector; or compiled.
    """

    def __init__(
        self, function: Callable[..., Any], v: tuple[Tensor, ...], rest: Any, thrift: bool = True
    ) -> None:
        """Record ``function(v, rest) -> (value, answer)`` at these arguments.

        ``value`` does not depend on ``v``: whoever compares it with the function's own sees
        whether the record fits other arguments as well. Without ``thrift`` operations stay as
        they were recorded.

        Raises:
            Untraceable: It reads numbers in Python, changes tensors in place, or uses an operation
                without a forward derivative.
        """
        leaves, self._spec = pytree.tree_flatten(rest)
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        tensors = [leaves[i] for i in self._places]

        def flat(v: list[Tensor], tensors: list[Tensor]) -> Any:
            filled = list(leaves)
            for i, t in zip(self._places, tensors, strict=True):
                filled[i] = t
            value, answer = function(tuple(v), pytree.tree_unflatten(filled, self._spec))
            return [value, *answer]

        try:
            with PlainLosses(), _plain_shapes():
                graph = make_fx(flat, tracing_mode="real")(list(v), tensors)
        except Exception as error:
            raise Untraceable(f"{type(error).__name__}: {first_line(error)}") from error
        without_changes(graph.graph)
        simplify(graph.graph, v[0].device)
        if thrift:
            gather(graph.graph, len(v))
        self.primal, self.linear = _split(graph, len(v))
        self.lean: Callable[..., Any] = self.linear
        if thrift:
            few = copy.deepcopy(self.linear.graph)
            fuse(few)
            overwrite(few, moving(few, len(v)))
            few.lint()
            self.lean = fx.GraphModule(self.linear, few)

    def keep(self, rest: Any) -> tuple[list[Any], Tensor]:
        """What products at this ``rest`` need, computed now, and the value."""
        leaves = pytree.tree_flatten(rest)[0]
        with torch.no_grad():
            *kept, value = self.primal(*[leaves[i] for i in self._places])
        return kept, value

    def __call__(self, v: Iterable[Tensor], kept: list[Any]) -> tuple[Tensor, ...]:
        """The product, from what was kept."""
        with torch.no_grad():
            return tuple(self.lean(*v, *kept))

    def compile(self) -> None:
        """Let ``torch.compile`` make the product of one vector; it happens at the next one.

        From ``linear``: the compiler fuses more where nothing is written in place.
        """
        self.lean = torch.compile(self.linear, fullgraph=True, dynamic=False)

    def wide(self, v: Iterable[Tensor], kept: list[Any]) -> tuple[Tensor, ...]:
        """The same, in a form that ``vmap`` can take over vectors."""
        with torch.no_grad():
            return tuple(self.linear(*v, *kept))


_full_shapes: Any = getattr(proxy_tensor, "extract_val", None)


def _shape(value: Any, *args: Any, **options: Any) -> Any:
    if type(value) is Tensor and value.layout is torch.strided:
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return _full_shapes(value, *args, **options)


@contextmanager
def _plain_shapes() -> Iterator[None]:
    """Note shapes of recorded values without a fake-tensor mode for each: twice as fast.

    torch 2.13 makes one for every real tensor. Where its function is gone, nothing is changed.
    """
    if _full_shapes is None:
        yield
        return
    proxy_tensor.extract_val = _shape
    try:
        yield
    finally:
        proxy_tensor.extract_val = _full_shapes


def _split(whole: fx.GraphModule, vectors: int) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Two graphs: without and with the vector."""
    nodes = list(whole.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder"]
    moves = set(inputs[:vectors])
    for node in nodes:
        if any(a in moves for a in node.all_input_nodes):
            moves.add(node)
    end = nodes[-1]
    moves.discard(end)
    # views are made anew: no work, and what they look at is kept once
    needed, late = [], set()
    for node in nodes:
        if node in moves and node.op != "placeholder":
            needed += [a for a in node.all_input_nodes if a not in moves]
    value, *answers = pytree.tree_flatten(end.args[0])[0]
    if not isinstance(value, fx.Node) or value in moves:
        raise Untraceable("the value of a chunk is no tensor, or depends on the vector")
    needed += [a for a in answers if isinstance(a, fx.Node) and a not in moves]
    kept: list[fx.Node] = []
    stack = list(dict.fromkeys(needed))
    while stack:
        node = stack.pop()
        cheap = node.op == "get_attr" or (
            node.op == "call_function" and node.target in (*_VIEWS, *ZEROS) and not _tuple_of(node)
        )
        if cheap:
            if node not in late:
                late.add(node)
                stack += node.all_input_nodes
        elif node not in kept:
            kept.append(node)
    kept.sort(key=nodes.index)
    primal, linear = fx.Graph(), fx.Graph()
    here: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        if node not in moves and node is not end:
            here[node] = primal.node_copy(node, here.__getitem__)
    primal.output([*(here[n] for n in kept), here[value]])
    there: dict[fx.Node, fx.Node] = {}
    for node in inputs[:vectors]:
        there[node] = linear.node_copy(node)
    for i, node in enumerate(kept):
        there[node] = linear.placeholder(f"kept_{i}")
    for node in nodes:
        if (node in moves and node.op != "placeholder") or node in late:
            there[node] = linear.node_copy(node, there.__getitem__)
    linear.output([there[a] if isinstance(a, fx.Node) else a for a in answers])
    for graph in (primal, linear):
        graph.eliminate_dead_code()
        graph.lint()
    return fx.GraphModule(whole, primal), fx.GraphModule(whole, linear)


def _tuple_of(node: fx.Node) -> bool:
    """Whether this picks from an operation with several answers: then the answer itself is kept."""
    return node.target is operator.getitem
