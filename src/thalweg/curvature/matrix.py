"""The operator behind ``hessian``, ``ggn`` and the Fisher matrices: products over chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.curvature.choose import AutoEngine, best_chunk
from thalweg.curvature.graph import GraphEngine
from thalweg.curvature.layout import Layout
from thalweg.curvature.problem import Problem, samples_of
from thalweg.curvature.products import Product
from thalweg.curvature.rewriting import Untraceable
from thalweg.curvature.split import SplitEngine
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
        self._chunk, self._memory, self._asked = chunk, memory, engine
        self._engine: GraphEngine | SplitEngine | AutoEngine | None = None
        self._expected = 0

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
        if self._engine is None:
            symmetric(self.problem, self.product)
            self._engine = self._make()
        if isinstance(self._engine, AutoEngine) and self._expected:
            self._engine.expect(self._expected)
            self._expected = 0
        rows = v.detach().reshape(self.layout.p, -1).mT.contiguous()
        found = self._engine.rows(rows)
        return found.mT.reshape(v.shape)

    def expect(self, products: int) -> None:
        """About so many are coming: what makes each of them cheaper is prepared if it pays."""
        self._expected = products

    def of(self, problem: Problem) -> CurvatureOperator:
        """The same kind of matrix for another problem, such as one of fewer weights."""
        return CurvatureOperator(
            problem, self.product.on(problem), self.chunk, self._memory, self._asked
        )

    @property
    def engine(self) -> str:
        """What answers now: ``"graph"``, ``"split"``, ``"compiled"`` or ``"recompute"``."""
        inner = self._engine.engine if isinstance(self._engine, AutoEngine) else self._engine
        if isinstance(inner, GraphEngine):
            return "graph" if inner.keep else "recompute"
        return self._asked if inner is None else inner.name

    @property
    def chunk(self) -> int | None:
        """Samples at once; None before the first product, or where batches stay as given."""
        return self._chunk if self._engine is None else self._engine.chunk

    def _make(self) -> GraphEngine | SplitEngine | AutoEngine:
        problem, product = self.problem, self.product
        if self._asked == "auto":
            return AutoEngine(problem, product, self._chunk, self._memory)
        chunk = self._chunk or best_chunk(problem)
        if self._asked in ("split", "compiled"):
            try:
                return SplitEngine(
                    problem, product, chunk, self._memory, compiled=self._asked == "compiled"
                )
            except Untraceable as error:
                raise ValueError(
                    f"engine={self._asked!r} cannot be used here: {error}. Use engine='auto'."
                ) from error
        return GraphEngine(problem, product, chunk, keep=self._asked == "graph")


SYMMETRY = {torch.float32: 5e-3, torch.float64: 1e-7}
LOOK = 64  # samples on which symmetry is tested


def symmetric(problem: Problem, product: Product) -> None:
    """Refuse a model with an operation whose second derivative is wrong: ⟨u, H v⟩ ≠ ⟨H u, v⟩.

    Raises:
        ValueError: The products are not those of a symmetric matrix; names the weights.
    """
    whole = next(iter(problem.chunks.walk(None)))
    batch = whole if problem.couples else samples_of(whole, LOOK)
    generator = torch.Generator().manual_seed(1)
    p = problem.layout.p
    pair = torch.randn(2, p, generator=generator, dtype=torch.float64)
    u, v = pair.to(problem.device, problem.dtype)
    with problem.steady():
        graph = product.graph(problem.theta, batch)

        def times(x: Tensor) -> Tensor:
            found = graph(problem.layout.split(x, problem.dtypes))
            return problem.layout.join(found, problem.dtype, None).detach().double()

        a, b = times(v), times(u)
        size = float(a.norm() + b.norm())
        if not abs(float(u.double() @ a - v.double() @ b)) > SYMMETRY[problem.dtype] * size:
            return
        guilty = []
        for name, place in problem.layout.slices.items():
            mask = torch.zeros_like(u)
            mask[place] = 1
            one, two = times(v * mask), times(u * mask)
            gap = abs(float((u * mask).double() @ one - (v * mask).double() @ two))
            if gap > SYMMETRY[problem.dtype] * float(one.norm() + two.norm()):
                guilty.append(name)
    where = ", ".join(guilty[:3]) or "several weights together"
    raise ValueError(
        f"an operation of the model has a wrong second derivative: <u, H v> and <H u, v> differ. "
        f"It acts on {where}. Write that operation with plain tensor functions."
    )
