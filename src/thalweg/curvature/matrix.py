"""The operator behind ``hessian``, ``ggn`` and the Fisher matrices: products over chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.graph import GraphEngine
from thalweg.curvature.layout import Layout
from thalweg.curvature.problem import Problem
from thalweg.curvature.products import Product
from thalweg.linalg.operator import LinearOperator


class CurvatureOperator(LinearOperator):
    """A symmetric ``(p, p)`` matrix of second derivatives over data, known by products.

    The weights are those at construction; later changes of the model do not reach it.

    Attributes:
        problem: The function whose curvature it is.
        notes: What a reader of the numbers should know.
    """

    def __init__(
        self,
        problem: Problem,
        product: Product,
        chunk: int | None = None,
        memory: int = 2 * 2**30,
        engine: str = "auto",
    ) -> None:
        self.problem, self.product = problem, product
        self._engine = GraphEngine(problem, product, chunk or problem.chunks.largest(), True)

    @property
    def shape(self) -> tuple[int, int]:
        """``(p, p)``."""
        return self.layout.p, self.layout.p

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; float32 for half precision."""
        return self.problem.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.problem.device

    @property
    def layout(self) -> Layout:
        """Names of the weights and their places in vectors."""
        return self.problem.layout

    @property
    def notes(self) -> tuple[str, ...]:
        """Random draws held fixed, half precision inside, batches taken as given."""
        return tuple(self.problem.notes)

    @property
    def adjoint(self) -> CurvatureOperator:
        """Itself: the matrix is symmetric."""
        return self

    def apply(self, v: Tensor) -> Tensor:
        """The product with ``(p,)`` or ``(p, k)``."""
        if v.dtype != self.dtype or v.device != self.device:
            raise ValueError(
                f"vectors of this operator are {self.dtype} on {self.device}, got {v.dtype} on "
                f"{v.device}; convert them."
            )
        rows = v.detach().reshape(self.layout.p, -1).mT.contiguous()
        found = self._engine.rows(rows)
        return found.mT.reshape(v.shape)
