"""Which engine, and how many samples at once? Measured on the problem at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.chunks import sizes
from thalweg.curvature.graph import GraphEngine
from thalweg.curvature.problem import Problem
from thalweg.curvature.products import Product
from thalweg.curvature.rewriting import Untraceable
from thalweg.curvature.split import SplitEngine, clock

PATIENCE = 0.5  # seconds of products before a record is worth trying, at least
TRACE = 0.04  # ... for every tensor that the graph saves: twice what recording it takes
NEAR = 1.1  # the largest chunk within this of the fastest
SMALL = 64  # samples below which chunks are not looked for


class AutoEngine:
    """A kept backward graph for few products; a recorded one where there are many.

    A record makes a product a third to a half cheaper, so it is made once the products have cost
    about twice what it will cost itself, by the size of the graph: small models with few products
    never make one, and where no more products come, little was lost.

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
        self._patience = PATIENCE

    def rows(self, v: Tensor) -> Tensor:
        """Each row of ``v (k, p)`` times the matrix: ``(k, p)``."""
        if self.engine is None:
            self.chunk = self.chunk or best_chunk(self.problem)
            self.engine, saved = graph_engine(self.problem, self.product, self.chunk, self.memory)
            self._patience = max(PATIENCE, TRACE * saved)
        if self._spent > self._patience and not self._tried:
            self._try()
        start = clock(v.device)
        if self._rows == 0 and len(v) > 1 and not self._tried:
            first = self.engine.rows(v[:1])
            self._spent += clock(v.device) - start
            self._rows += 1
            return torch.cat([first, self.rows(v[1:])])
        found = self.engine.rows(v)
        self._spent += clock(v.device) - start
        self._rows += len(v)
        return found

    def _try(self) -> None:
        self._tried = True
        per_row = self._spent / self._rows
        try:
            split = SplitEngine(self.problem, self.product, self.chunk, self.memory)
        except Untraceable as error:
            self.reason = str(error)
            return
        probe = torch.ones(1, self.problem.layout.p, dtype=self.problem.dtype)
        start = clock(self.problem.device)
        split.rows(probe.to(self.problem.device))
        if clock(self.problem.device) - start < per_row:
            self.engine = split


def graph_engine(
    problem: Problem, product: Product, chunk: int | None, memory: int
) -> tuple[GraphEngine, int]:
    """Graphs kept if those of all chunks fit into memory, by the size of the first.

    Also how often that one saves a tensor, which says how long it is.
    """
    batch = next(iter(problem.chunks.walk(None if problem.couples else chunk)))
    chunks = sum(1 for _ in problem.chunks.walk(None if problem.couples else chunk))
    found: dict[int, int] = {}
    saved = 0

    def note(t: Tensor) -> Tensor:
        nonlocal saved
        saved += 1
        storage = t.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return t

    with (
        problem.steady(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        product.graph(problem.theta, batch)
    keep = sum(found.values()) * chunks <= memory
    return GraphEngine(problem, product, chunk, keep), saved


def best_chunk(problem: Problem) -> int | None:
    """The largest of a few sizes whose gradient takes about the least time a sample."""
    n = problem.chunks.n
    if problem.couples or n <= SMALL:
        return None if problem.couples else n
    tried: list[tuple[float, int]] = []
    for size in sorted(s for s in sizes(n) if SMALL // 4 <= s <= 2048):
        batch = next(iter(problem.chunks.walk(size)))
        cost = min(_gradient(problem, batch) for _ in range(2)) / size
        tried.append((cost, size))
        if cost > 1.5 * min(tried)[0]:
            break  # it only gets worse: caches are full
    least = min(tried)[0]
    return max(size for cost, size in tried if cost <= NEAR * least)


def _gradient(problem: Problem, batch: object) -> float:
    start = clock(problem.device)
    with problem.steady():
        theta = tuple(t.detach().clone().requires_grad_() for t in problem.theta)
        loss = problem.loss(theta, batch)
        if loss.requires_grad:
            torch.autograd.grad(loss, theta, allow_unused=True)
    return clock(problem.device) - start
