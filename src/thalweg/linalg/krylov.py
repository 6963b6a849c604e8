"""An orthonormal basis of a block Krylov space, and what the operator is on it.

One implementation serves single vectors and blocks, first runs and restarts. Every new vector is
orthogonalised against all others, twice, so no eigenvalue appears as a ghost; the coefficients
found on the way are kept in float64, so that the residual of a Ritz pair is *measured* without a
further product and a lack of symmetry shows at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.linalg.checks import multiply, refuse_asymmetric
from thalweg.linalg.operator import LinearOperator

LOST = {torch.float32: 1e-6, torch.float64: 1e-14}  # of ‖A‖: below it there is only rounding


class Ritz(NamedTuple):
    """Eigenpairs on the basis: values ascending ``(n,)``, coordinates ``(n, n)``, ``‖A y − θ y‖``.

    All float64 on the CPU.
    """

    values: Tensor
    coordinates: Tensor
    residuals: Tensor


class Krylov:
    r"""``A V = V H + V_next E`` with orthonormal ``V (p, n)``, grown a block at a time.

    Args:
        op: Symmetric operator ``(p, p)``.
        start: Block ``(p, b)`` of independent vectors.
        capacity: Vectors that fit; memory is ``p (capacity + 2 b)`` numbers.
        generator: For vectors that replace those lost when the space turns out to be invariant.
    """

    def __init__(
        self, op: LinearOperator, start: Tensor, capacity: int, generator: torch.Generator
    ) -> None:
        self.op, self.capacity, self._generator = op, capacity, generator
        self.p, self.block = start.shape
        self.size = 0  # vectors that were multiplied
        self.ready = 0  # orthonormal vectors that wait to be multiplied
        self.products = 0
        width = capacity + 2 * self.block
        # rows are basis vectors: each is contiguous, and the basis grows in place
        self._rows = torch.empty(width, self.p, device=op.device, dtype=op.dtype)
        self._H = torch.zeros(width, width, dtype=torch.float64)
        self._defect = 0.0
        self._unit: float | None = None  # of all numbers here, chosen at the first product
        self._append(start.mT.to(op.device, op.dtype), None)

    @property
    def full(self) -> bool:
        """Whether another block would not fit."""
        return self.size + self.ready > self.capacity

    @property
    def exhausted(self) -> bool:
        """Whether the whole space is spanned."""
        return self.ready == 0

    def grow(self, newest: bool = False) -> None:
        """Multiply the waiting block, or only its newest vector, and find what follows."""
        n, b = self.size, self.ready
        m = 1 if newest else b
        if newest:  # to the front: what was multiplied stands before what waits
            for store in (self._rows, self._H):
                store[[n, n + b - 1]] = store[[n + b - 1, n]]
        block = self._rows[n : n + m]
        image = multiply(self.op, block[0] if m == 1 else block.mT.contiguous(), self.products)
        image = (image[None] if m == 1 else image.mT).contiguous()
        self.products += m
        image = self._in_units(image)
        known = self._rows[: n + b]
        found = torch.zeros(n + b, m, dtype=torch.float64)
        for _ in range(2):  # twice is enough (Giraud, Langou, Rozložník 2005)
            coefficients = known @ image.mT
            image = image - coefficients.mT @ known
            found += coefficients.double().cpu()
        before = self._H[n : n + m, :n].clone()
        self._H[: n + b, n : n + m] = found
        self._check(found[: n + m], before)
        self.size = n + m
        scale = float(self._H[: self.size, : self.size].norm(dim=0).max())
        self._append(image, scale, b - m)

    def _in_units(self, image: Tensor) -> Tensor:
        """The image, divided by a power of two where squares of its numbers would leave the type.

        That is exact, and lets an operator of size 1e-200 be seen like one of size 1.
        """
        if self._unit is None:
            size = float(image.abs().max())
            if size == 0:
                return image
            exponent = math.frexp(size)[1] - 1
            far = abs(exponent) > math.frexp(torch.finfo(self.op.dtype).max)[1] // 4
            self._unit = 2.0**exponent if far else 1.0
        return image if self._unit == 1.0 else image / self._unit

    def _check(self, found: Tensor, before: Tensor) -> None:
        n = self.size
        inner = found[n:]
        defect = float((inner - inner.mT).abs().max())
        if n:
            defect = max(defect, float((found[:n] - before.mT).abs().max()))
        self._defect = max(self._defect, defect)
        if self._defect:
            known = n + len(inner)
            norm = float(torch.linalg.vector_norm(self._H[:known, :known], dim=0).max())
            refuse_asymmetric(self._defect, norm, self.op.dtype)

    def _append(self, rows: Tensor, scale: float | None, parked: int = 0) -> None:
        """Orthonormalise ``rows`` against the basis and each other; note what they were made of.

        They stand behind ``parked`` vectors that wait already.
        """
        n = self.size
        first = n + parked
        wanted = min(len(rows), self.p - first)
        kept = 0
        coupling = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        for i, row in enumerate(rows):
            length = float(row.norm())
            if kept:
                mates = self._rows[first : first + kept]
                for _ in range(2):
                    c = mates @ row
                    row = row - c @ mates
                    coupling[:kept, i] += c.double().cpu()
            left = float(row.norm())
            floor = LOST[self.op.dtype] * (length if scale is None else max(scale, length))
            if kept < wanted and left > floor:
                row = self._clean(row / left, first + kept)
                coupling[kept, i] = left
                self._rows[first + kept] = row
                kept += 1
        if scale is not None:
            self._H[first : first + kept, n - len(rows) : n] = coupling[:kept]
        while kept < wanted:  # an invariant space: go on from a new direction, coupled to nothing
            fresh = self._random(first + kept)
            if fresh is None:
                break
            self._rows[first + kept] = fresh
            kept += 1
        self.ready = parked + kept

    def _clean(self, row: Tensor, known: int) -> Tensor:
        """Remove what rounding let in of the basis, which matters where little was left."""
        basis = self._rows[:known]
        if known:
            row = row - (basis @ row) @ basis
        return row / row.norm()

    def _random(self, known: int) -> Tensor | None:
        for _ in range(3):
            row = torch.randn(self.p, generator=self._generator, dtype=torch.float64)
            row = (row / row.norm()).to(self.op.device, self.op.dtype)
            basis = self._rows[:known]
            row = row - (basis @ row) @ basis
            left = float(row.norm())
            if left > 1e-3 / self.p**0.5:
                return self._clean(self._clean(row / left, known), known)
        return None

    def ritz(self) -> Ritz:
        """Eigenpairs of the operator on the basis, with measured residuals."""
        n, H = self.size, self._H
        inner = H[:n, :n]
        values, S = torch.linalg.eigh((inner + inner.mT) / 2)
        defect = inner @ S - S * values
        outer = H[n : n + self.ready, :n] @ S
        residuals = (defect.square().sum(0) + outer.square().sum(0)).sqrt()
        unit = self._unit or 1.0
        return Ritz(unit * values, S, unit * residuals)

    def vectors(self, coordinates: Tensor) -> Tensor:
        """Vectors ``(p, k)`` of coordinates ``(n, k)``, of unit length."""
        y = coordinates.mT.to(self.op.device, self.op.dtype) @ self._rows[: self.size]
        return (y / y.norm(dim=1, keepdim=True)).mT.contiguous()

    def widen(self) -> None:
        """Add a random direction to the waiting block: it sees what the start vectors cannot.

        A Krylov space of one vector holds one vector of each eigenspace, so copies of a multiple
        eigenvalue stay hidden from it.
        """
        known = self.size + self.ready
        if known >= self.p or known >= len(self._rows):
            return
        fresh = self._random(known)
        if fresh is not None:
            self._rows[known] = fresh
            self.ready += 1

    def restart(self, coordinates: Tensor) -> None:
        """Keep only the space of these coordinates ``(n, k)`` and the waiting block.

        References:
            Wu and Simon, "Thick-restart Lanczos method", 2000.
        """
        n, b, k = self.size, self.ready, coordinates.shape[1]
        S = coordinates
        inner = S.mT @ self._H[:n, :n] @ S
        outer = self._H[n : n + b, :n] @ S
        # the waiting block's coefficients against the basis are found by its own product
        rows = S.mT.to(self.op.device, self.op.dtype) @ self._rows[:n]
        waiting = self._rows[n : n + b].clone()
        self._rows[:k] = rows
        self._rows[k : k + b] = waiting
        self._H.zero_()
        self._H[:k, :k] = inner
        self._H[k : k + b, :k] = outer
        self.size = k
