"""Which engine, and how many samples at once? Measured on the problem at hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.curvature.chunks import sizes
from thalweg.curvature.graph import GraphEngine
from thalweg.curvature.problem import Problem, samples_of
from thalweg.curvature.products import Product
from thalweg.curvature.rewriting import Untraceable
from thalweg.curvature.split import SplitEngine, clock

PATIENCE = 0.5  # seconds of products before a record is worth trying, at least
TRACE = 0.01  # seconds that recording takes for every tensor that the graph saves
NEAR = 1.1  # the largest chunk within this of the fastest
WORSE = 1.3  # a chunk this much slower is too large, and so are all larger ones
SMALL = 64  # samples below which chunks are not looked for
SHORT = 128  # samples whose gradient is timed twice: the first run of all is slow


class AutoEngine:
    """A kept backward graph for few products; a recorded one where there are many.

    A record makes a product a third to a half cheaper. What recording costs is told by the size of
    the graph. Whoever knows how many products will come says so (:meth:`expect`), and it is made
    at once where it pays; else when the products have cost about twice what it will cost itself:
    small models with few products never make one, and where no more come, little was lost.

    Args:
        problem: The function.
        product: What is multiplied.
        chunk: Samples at once; None: chosen by the time of a gradient.
        memory: Bytes to keep.
    """

    name = "auto"

    def __init__(self, problem: Problem, product: Product, chunk: int | None, memory: int) -> None:
        self.problem, self.product, self.memory = problem, product, memory
        self.chunk = chunk
        self.engine: GraphEngine | SplitEngine | None = None
        self.reason = ""  # why there is no record
        self._spent, self._rows, self._tried = 0.0, 0, False
        self._expected = 0
        self._recording = math.inf  # seconds, an estimate
        self._saving = 0.0  # seconds by which a record makes each product cheaper, an estimate

    def expect(self, products: int) -> None:
        """About so many more are coming."""
        self._expected = products

    def rows(self, v: Tensor) -> Tensor:
        """Each row of ``v (k, p)`` times the matrix: ``(k, p)``."""
        if self.engine is None:
            self.chunk = self.chunk or best_chunk(self.problem)
            self._open()
        if not self._tried and self._worth_a_record():
            self._try()
        start = clock(v.device)
        if self._rows == 0 and len(v) > 1 and not self._tried:
            first = self.engine.rows(v[:1])  # pyrefly: ignore
            self._count(1, start)
            return torch.cat([first, self.rows(v[1:])])
        found = self.engine.rows(v)  # pyrefly: ignore
        self._count(len(v), start)
        return found

    def _open(self) -> None:
        kept = _first_graph(self.problem, self.product, self.chunk)
        # building a graph takes what a gradient takes, which is what a record saves in a product
        self._saving = kept.seconds * kept.chunks
        self._recording = TRACE * kept.saved
        keep = kept.bytes * kept.chunks <= self.memory
        self.engine = GraphEngine(self.problem, self.product, self.chunk, keep)

    def _worth_a_record(self) -> bool:
        if self._spent > max(PATIENCE, 2 * self._recording):
            return True
        return self._expected * self._saving > self._recording

    def _count(self, rows: int, start: float) -> None:
        self._spent += clock(self.problem.device) - start
        self._rows += rows
        self._expected -= rows

    def _try(self) -> None:
        self._tried = True
        try:
            split = SplitEngine(self.problem, self.product, self.chunk, self.memory)
        except Untraceable as error:
            self.reason = str(error)
            return
        if split.recomputed:  # then the first chunk does not tell what a product takes
            if not self._rows:
                self._seconds(self.engine)  # builds the graphs
            faster = self._seconds(split) < self._seconds(self.engine)
        else:
            faster = split.seconds < split.graph_seconds
        if faster:
            self.engine = split

    def _seconds(self, engine: GraphEngine | SplitEngine | None) -> float:
        assert engine is not None
        probe = torch.ones(1, self.problem.layout.p, dtype=self.problem.dtype)
        start = clock(self.problem.device)
        engine.rows(probe.to(self.problem.device))
        return clock(self.problem.device) - start


class _Graph(NamedTuple):
    """The backward graph of the first chunk."""

    seconds: float  # to build it
    bytes: int  # that it keeps
    saved: int  # how often it saves a tensor: says how long it is
    chunks: int  # in all


def _first_graph(problem: Problem, product: Product, chunk: int | None) -> _Graph:
    size = None if problem.couples else chunk
    batch = next(iter(problem.chunks.walk(size)))
    chunks = sum(1 for _ in problem.chunks.walk(size))
    found: dict[int, int] = {}
    saved = 0

    def note(t: Tensor) -> Tensor:
        nonlocal saved
        saved += 1
        storage = t.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return t

    start = clock(problem.device)
    with (
        problem.steady(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        product.graph(problem.theta, batch)
    return _Graph(clock(problem.device) - start, sum(found.values()), saved, chunks)


def best_chunk(problem: Problem) -> int | None:
    """The largest of a few sizes whose gradient takes about the least time a sample."""
    n = problem.chunks.n
    if problem.couples or n <= SMALL:
        return None if problem.couples else n
    tried: list[tuple[float, int]] = []
    for size in sorted(s for s in sizes(n) if SMALL // 2 <= s <= 2048):
        batch = next(iter(problem.chunks.walk(size)))
        runs = 2 if size <= SHORT or problem.device.type != "cpu" else 1
        cost = min(_gradient(problem, batch) for _ in range(runs)) / size
        tried.append((cost, size))
        if cost > WORSE * min(tried)[0]:
            break  # it only gets worse: caches are full
    least = min(tried)[0]
    return max(size for cost, size in tried if cost <= NEAR * least)


def seconds_of_a_gradient(problem: Problem) -> float:
    """Of a few samples, as short as training's batches are: the least of three."""
    batch = samples_of(next(iter(problem.chunks.walk(None))), SHORT)
    return min(_gradient(problem, batch) for _ in range(3))


def _gradient(problem: Problem, batch: object) -> float:
    start = clock(problem.device)
    with problem.steady():
        theta = tuple(t.detach().clone().requires_grad_() for t in problem.theta)
        loss = problem.loss(theta, batch)
        if loss.requires_grad:
            torch.autograd.grad(loss, theta, allow_unused=True)
    return clock(problem.device) - start
