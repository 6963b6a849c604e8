"""How large is the largest eigenvalue? Power iteration, and a bound safe for step sizes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.linalg.operator import LinearOperator


class PowerResult(NamedTuple):
    """Eigenvalue of largest magnitude, its vector ``(p,)``, ``‖A v - λ v‖`` and products used."""

    value: float
    vector: Tensor
    residual: float
    products: int


def power_iteration(
    op: LinearOperator, *, tol: float = 1e-6, max_products: int = 1000, seed: int = 0
) -> PowerResult:
    r"""Largest eigenvalue in magnitude of a symmetric operator, ``v ← A v / ‖A v‖``.

    Stops when the residual is below ``tol |λ|``; then an eigenvalue lies within ``residual`` of the
    answer. That it is the *largest* one is likely, not certain: the start might miss its vector.

    >>> from thalweg.linalg import DenseOperator
    >>> op = DenseOperator(torch.tensor([[1.0, 0.0], [0.0, -3.0]]))
    >>> round(power_iteration(op).value, 5)
    -3.0

    Args:
        op: Symmetric operator ``(p, p)``; symmetry is the caller's promise.
        tol: Relative residual at which to stop.
        max_products: Products allowed.
        seed: Of the random start vector; the global generator is not touched.

    Raises:
        ValueError: If ``op`` is not square.
    """
    rows, columns = op.shape
    if rows != columns:
        raise ValueError(f"power iteration needs a square operator, got shape {op.shape}")
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(rows, generator=generator, dtype=torch.float64).to(op.device, op.dtype)
    v = v / v.norm()
    value, residual, products = 0.0, float("inf"), 0
    while products < max_products:
        image = op @ v
        products += 1
        value = float(v @ image)
        residual = float((image - value * v).norm())
        norm = float(image.norm())
        if norm == 0.0 or residual <= tol * abs(value):
            break
        v = image / norm
    return PowerResult(value, v, residual, products)


def gram_bound(matrix: Tensor, *, exact_below: int = 1500) -> float:
    """An upper bound on ``λ_max(Aᵀ A)``: the Lipschitz constant of ``½‖x - A z‖²`` in ``z``.

    Exact to rounding where the smaller side of ``A (n, m)`` is at most ``exact_below``; above that,
    power iteration plus its residual plus 1 %, never more than the squared Frobenius norm.

    >>> round(gram_bound(torch.tensor([[3.0, 0.0], [0.0, 1.0]])), 6)
    9.0
    """
    a = matrix.to(torch.float64)
    if a.numel() == 0:
        return 0.0
    if min(a.shape) <= exact_below:
        small = a @ a.mT if a.shape[0] <= a.shape[1] else a.mT @ a
        return float(torch.linalg.eigvalsh(small)[-1]) * (1 + 1e-12)
    frobenius = float(a.square().sum())
    found = power_iteration(_Normal(a), tol=1e-4, max_products=300)
    return min(1.01 * (found.value + found.residual), frobenius)


class _Normal(LinearOperator):
    """``A Aᵀ`` without forming it."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    def apply(self, v: Tensor) -> Tensor:
        return self.matrix @ (self.matrix.mT @ v)

    @property
    def adjoint(self) -> LinearOperator:
        return self
