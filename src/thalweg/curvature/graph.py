"""Products from backward graphs: kept for all chunks while memory lasts, else built anew."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.curvature.problem import Problem, Theta
from thalweg.curvature.products import Linear, Product


class GraphEngine:
    """One vector at a time through the graph of the gradient (or of the outputs).

    Args:
        problem: The function.
        product: What is multiplied.
        chunk: Samples at once.
        keep: Whether the graphs of all chunks stay in memory.
    """

    name = "graph"

    def __init__(self, problem: Problem, product: Product, chunk: int | None, keep: bool) -> None:
        self.problem, self.product, self.chunk, self.keep = problem, product, chunk, keep
        self.kept: list[tuple[Linear, float]] | None = None

    def rows(self, v: Tensor) -> Tensor:
        """Each row of ``v (k, p)`` times the matrix: ``(k, p)``."""
        layout, dtypes = self.problem.layout, self.problem.dtypes
        vectors = [layout.split(row, dtypes) for row in v]
        total = torch.zeros_like(v)
        for index, (linear, share) in enumerate(self._chunks()):
            with self.problem.steady(index):
                for row, vector in enumerate(vectors):
                    found = linear(vector)
                    total[row] += layout.join(found, v.dtype, None).detach() * self.product.factor(
                        share
                    )
        return total

    def _chunks(self) -> Any:
        if self.kept is not None:
            return self.kept
        if not self.keep:
            return self._build()
        self.kept = list(self._build())
        return self.kept

    def _build(self) -> Any:
        theta: Theta = self.problem.theta
        for index, (batch, share) in enumerate(self.problem.parts(self.chunk)):
            with self.problem.steady(index):
                linear = self.product.graph(theta, batch)
            yield linear, share
