"""Products from a recorded tangent graph; what it reads is kept for as many chunks as fit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thalweg.curvature.outputs import PlainLosses
from thalweg.curvature.problem import Problem, Theta, samples_of
from thalweg.curvature.products import Product
from thalweg.curvature.rewriting import Untraceable
from thalweg.curvature.tangent import Tangent, first_line

AGREE = {torch.float32: 1e-3, torch.float64: 1e-8}  # of the norm of a product
COMPILED = {torch.float32: 1e-4, torch.float64: 1e-9}  # ... as compiled
VALUE = {torch.float32: 1e-4, torch.float64: 1e-9}
SHAPES = 4  # kinds of chunks that are worth recording
BLOCK = 8  # vectors at once


class SplitEngine:
    """Record once, keep what does not depend on the vector, run only what does.

    The record is compared with a backward graph on the first chunk of each shape, and its value
    (the loss, or the sum of the outputs) with the function's own on every chunk, so control flow
    that depends on data cannot make it silently wrong.

    Args:
        problem: The function.
        product: What is multiplied.
        chunk: Samples at once.
        memory: Bytes to keep; chunks beyond them are recomputed with every product.
        compiled: Hand the tangent graphs to ``torch.compile``, and use what comes back where its
            products agree with those of the graph on the first chunk of each shape: on some
            networks (torch 2.13, CPU, convolutions in large chunks) they do not.

    Raises:
        Untraceable: The function cannot be recorded, or the record differs from it.
    """

    name = "split"  # "compiled" where a compiled graph is in use

    def __init__(
        self,
        problem: Problem,
        product: Product,
        chunk: int | None,
        memory: int,
        compiled: bool = False,
    ) -> None:
        self.problem, self.product, self.chunk, self.memory = problem, product, chunk, memory
        self._compiled = compiled
        self.records: dict[Any, Tangent] = {}
        self.kept: list[tuple[Tangent, list[Any], float]] = []
        self.bytes = 0
        self.recomputed = 0  # chunks that did not fit
        self.seconds = self.graph_seconds = 0.0  # of a product on the first chunk, and by a graph
        self._wide: bool | None = None
        self._prepare()

    def _prepare(self) -> None:
        seen: set[int] = {t.untyped_storage().data_ptr() for t in self.problem.theta}
        for index, (batch, share) in enumerate(self.problem.parts(self.chunk)):
            record = self._record(index, batch)
            kept = self._keep(record, index, batch)
            with self.problem.steady(index), torch.no_grad():
                want = float(self.product.value(self.problem.theta, batch))
            if not abs(float(kept[1]) - want) <= VALUE[self.problem.dtype] * max(1.0, abs(want)):
                raise Untraceable(
                    f"the record gives {float(kept[1]):.8g} on chunk {index}, the function "
                    f"{want:.8g}: it decides by the data"
                )
            size = _bytes(kept[0], seen)
            if self.recomputed or self.bytes + size > self.memory:
                self.recomputed += 1
                continue
            self.bytes += size
            self.kept.append((record, kept[0], self.product.factor(share)))

    def _keep(self, record: Tangent, index: int, batch: Any) -> tuple[list[Any], Tensor]:
        with self.problem.steady(index):
            return record.keep((self.problem.theta, batch))

    def _record(self, index: int, batch: Any) -> Tangent:
        key = _signature(batch)
        if key not in self.records:
            if len(self.records) == SHAPES:
                raise Untraceable(f"chunks come in more than {SHAPES} shapes")
            self.records[key] = self._trace(index, batch)
        return self.records[key]

    def _trace(self, index: int, batch: Any) -> Tangent:
        problem, product = self.problem, self.product
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn(2, problem.layout.p, generator=generator, dtype=torch.float64)
        rows = problem.layout.split(draw.to(problem.device, problem.dtype), problem.dtypes)
        v, u = (tuple(r[i] for r in rows) for i in range(2))

        def function(v: Theta, rest: Any) -> Any:
            return product.linear(rest[0], rest[1], v)

        few = batch if problem.couples else samples_of(batch, 8)
        with problem.steady(index), PlainLosses():
            try:  # what fails while it is recorded can take the interpreter with it
                function(v, (problem.theta, few))
            except Exception as error:
                raise Untraceable(f"{type(error).__name__}: {first_line(error)}") from error
        with problem.steady(index):
            graph = product.graph(problem.theta, batch)
            want, slow = _timed(graph, (v, u), problem)
            del graph  # memory, before recording takes its own
        off = [math.inf]
        for thrift in (True, False):  # saving passes is worth no risk: else as it was recorded
            with problem.steady(index):
                record = Tangent(function, v, (problem.theta, batch), thrift)
            try:
                kept, _ = self._keep(record, index, batch)
                with _plain(problem):
                    mine, fast = _timed(lambda w: record(w, kept), (v, u, v), problem)  # noqa: B023
            except RuntimeError:
                if not thrift:
                    raise
                continue
            off = [_off(a, b) for a, b in zip(mine, (*want, want[0]), strict=True)]
            if max(off) <= AGREE[problem.dtype]:
                if self._compiled:
                    fast = min(fast, self._compile(record, kept, (v, u), mine))
                if not self.records:
                    self.seconds, self.graph_seconds = fast, slow
                return record
        raise Untraceable(f"forward-mode and backward products differ by {max(off):.2g}")

    def _compile(
        self, record: Tangent, kept: list[Any], vectors: Iterable[Theta], want: list[Tensor]
    ) -> float:
        """Compile a record, where that works and agrees. Returns the seconds of a product."""
        eager = record.lean
        why = ""
        try:
            record.compile()
            with _plain(self.problem):
                found, _ = _timed(lambda w: record(w, kept), vectors, self.problem)
                _, fast = _timed(lambda w: record(w, kept), vectors, self.problem)
            off = max(_off(a, b) for a, b in zip(found, want, strict=False))
            if off <= COMPILED[self.problem.dtype]:
                self.name = "compiled"
                return fast
            why = f"its products are {off:.2g} off"
        except Exception as error:  # no compiler, or one of its many own errors
            lines = str(error).split("\n")[:2]  # the first often names the compiler alone
            why = f"{type(error).__name__}: {' '.join(lines).strip()[:200]}"
        record.lean = eager
        self.problem.notes.append(f"torch.compile is not used here: {why}.")
        warnings.warn(self.problem.notes[-1], stacklevel=2)
        return math.inf

    def rows(self, v: Tensor) -> Tensor:
        """Each row of ``v (k, p)`` times the matrix: ``(k, p)``."""
        if len(v) == 1 or not self._blocks(v):
            return torch.stack([self._one(row) for row in v])
        return torch.cat([self._many(part) for part in v.split(BLOCK)])

    def _one(self, row: Tensor) -> Tensor:
        layout = self.problem.layout
        vector = layout.split(row, self.problem.dtypes)

        def add(record: Tangent, kept: list[Any], share: float, total: Tensor) -> None:
            total.add_(layout.join(record(vector, kept), row.dtype, None), alpha=share)

        return self._sum(add, torch.zeros_like(row))

    def _many(self, rows: Tensor) -> Tensor:
        layout = self.problem.layout
        vectors = layout.split(rows, self.problem.dtypes)

        def add(record: Tangent, kept: list[Any], share: float, total: Tensor) -> None:
            found = _wide(record, vectors, kept)
            total.add_(layout.join(found, rows.dtype, len(rows)), alpha=share)

        return self._sum(add, torch.zeros_like(rows))

    def _sum(self, add: Callable[..., None], total: Tensor) -> Tensor:
        with _plain(self.problem):
            for record, kept, share in self.kept:
                add(record, kept, share, total)
        if self.recomputed:
            for index, (batch, share) in enumerate(self.problem.parts(self.chunk)):
                if index < len(self.kept):
                    continue
                record = self._record(index, batch)
                kept, _ = self._keep(record, index, batch)
                with _plain(self.problem):
                    add(record, kept, self.product.factor(share), total)
        return total

    def _blocks(self, v: Tensor) -> bool:
        """Whether several vectors at once are faster than one by one: tried once."""
        if self._wide is None:
            if not self.kept:
                return False
            record, kept, _ = self.kept[0]
            vectors = self.problem.layout.split(v[:BLOCK], self.problem.dtypes)
            singles = [tuple(t[i] for t in vectors) for i in range(len(v[:BLOCK]))]
            try:
                with _plain(self.problem):
                    many = _wide(record, vectors, kept)
                    one = record(singles[0], kept)
                    a = self.problem.layout.join([t[0] for t in many], v.dtype, None)
                    b = self.problem.layout.join(one, v.dtype, None)
                    agree = float((a - b).norm()) <= AGREE[v.dtype] * float(b.norm())
                    fast = _seconds(lambda: _wide(record, vectors, kept), v.device)
                    slow = _seconds(lambda: [record(s, kept) for s in singles], v.device)
                self._wide = agree and fast < slow
            except (RuntimeError, ValueError):  # an operation that cannot be batched
                self._wide = False
        return self._wide


def _timed(
    product: Callable[[Theta], Theta], vectors: Iterable[Theta], problem: Problem
) -> tuple[list[Tensor], float]:
    """The products as vectors, and the least time of one."""
    found, least = [], math.inf
    for w in vectors:
        start = clock(problem.device)
        answer = product(w)
        least = min(least, clock(problem.device) - start)
        found.append(problem.layout.join(answer, problem.dtype, None))
    return found, least


def _off(a: Tensor, b: Tensor) -> float:
    """Relative to ``b``; infinite for what is not finite."""
    gap, size = float((a - b).norm()), float(b.norm())
    if gap == 0:
        return 0.0
    return gap / size if size and math.isfinite(gap) else math.inf


def _wide(record: Tangent, vectors: Theta, kept: list[Any]) -> tuple[Tensor, ...]:
    # an operation without a batching rule runs in a loop: slower, so not chosen, but no warning
    binding: Any = torch._C._functorch  # pyrefly: ignore
    binding._set_vmap_fallback_warning_enabled(False)  # it has no getter; torch starts with True
    try:
        return torch.func.vmap(lambda *v: record.wide(v, kept))(*vectors)
    finally:
        binding._set_vmap_fallback_warning_enabled(True)


def _seconds(function: Callable[[], Any], device: torch.device) -> float:
    """The faster of two runs."""
    best = float("inf")
    for _ in range(2):
        start = clock(device)
        function()
        best = min(best, clock(device) - start)
    return best


def clock(device: torch.device) -> float:
    """Seconds, after everything queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _plain(problem: Problem) -> Any:
    return torch.autocast(problem.device.type, enabled=False)


def _signature(batch: Any) -> Any:
    leaves, spec = pytree.tree_flatten(batch)
    kinds = tuple(
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)
        for leaf in leaves
    )
    return str(spec), kinds


def _bytes(kept: list[Any], seen: set[int]) -> int:
    """Of storages not counted before."""
    total = 0
    for t in kept:
        if isinstance(t, Tensor):
            storage = t.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                total += storage.nbytes()
    return total
