"""Is this operator one that the methods for symmetric matrices may be used on?"""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.linalg.operator import LinearOperator

# Largest |⟨u, A v⟩ − ⟨A u, v⟩| ÷ ‖A‖ of a symmetric operator: rounding leaves far less, an operator
# that is not symmetric (or answers differently each time) far more.
ASYMMETRY = {torch.float32: 2e-3, torch.float64: 1e-6}
KIND = "the eigenvalues, densities and solutions here are those of symmetric operators"


def square(op: LinearOperator) -> int:
    """The dimension p of an operator ``(p, p)`` of float32 or float64.

    Raises:
        TypeError: Not an operator, or of another type of number.
        ValueError: Not square, or of dimension zero.
    """
    if not isinstance(op, LinearOperator):
        raise TypeError(
            f"wanted a thalweg.linalg.LinearOperator, got {type(op).__name__}; wrap a matrix "
            "as DenseOperator(matrix)"
        )
    rows, columns = op.shape
    if rows != columns:
        raise ValueError(f"an operator of shape {op.shape} is not square; {KIND}")
    if rows == 0:
        raise ValueError("an operator of shape (0, 0) has no eigenvalues")
    if op.dtype not in ASYMMETRY:
        raise TypeError(f"an operator of {op.dtype} is too coarse here; use float32 or float64")
    return rows


def multiply(op: LinearOperator, v: Tensor, before: int = 0) -> Tensor:
    """``op @ v``, refused where it is not a number.

    Args:
        op: The operator.
        v: ``(p,)`` or ``(p, k)``.
        before: Products taken so far, for the message.

    Raises:
        ValueError: The product holds NaN or infinity.
    """
    image = op @ v
    if not bool(torch.isfinite(image).all()):
        bad = int((~torch.isfinite(image)).sum())
        raise ValueError(
            f"product {before + 1} with the operator holds {bad} numbers that are NaN or infinite; "
            "look for a loss or weights that are not finite"
        )
    return image


def refuse_asymmetric(defect: float, norm: float, dtype: torch.dtype) -> None:
    """Raise where ``⟨u, A v⟩`` and ``⟨A u, v⟩`` differ by more than rounding.

    Args:
        defect: Their largest difference seen, for unit vectors.
        norm: Norm of the operator, estimated from below.
        dtype: Of the operator.

    Raises:
        ValueError: The operator is not symmetric.
    """
    limits = torch.finfo(dtype)
    seen = norm > (limits.tiny / limits.eps) ** 0.5  # else squares underflow, and lengths are off
    if seen and defect > ASYMMETRY[dtype] * norm:
        raise ValueError(
            f"the operator is not symmetric: <u, A v> and <A u, v> differ by {defect / norm:.2g} "
            f"of its norm; {KIND}. A loss that is random (dropout in train mode) does this as well"
        )


def probe_symmetry(op: LinearOperator, seed: int = 0) -> None:
    """Compare ``⟨u, A v⟩`` with ``⟨A u, v⟩`` for one random pair (two products).

    Raises:
        ValueError: The operator is not symmetric, or a product is not finite.
    """
    p = square(op)
    pair = sphere(p, 2, seed, op)
    image = multiply(op, pair).double()
    cross = pair.double().mT @ image
    norm = float(image.norm(dim=0).max())
    # a random pair in p dimensions sees only 1/sqrt(p) of a defect, and so does <u, A v> itself
    refuse_asymmetric(float((cross[0, 1] - cross[1, 0]).abs()) * p**0.5 / 8, norm, op.dtype)


def sphere(p: int, k: int, seed: int, op: LinearOperator) -> Tensor:
    """``k`` random unit vectors ``(p, k)``, the same on every device; no global seed is touched."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(k, p, generator=generator, dtype=torch.float64)
    v = v / v.norm(dim=1, keepdim=True)
    return v.mT.to(op.device, op.dtype).contiguous()


def signs(p: int, k: int, generator: torch.Generator, op: LinearOperator) -> Tensor:
    """``k`` random vectors of ±1, ``(p, k)``."""
    bits = torch.randint(0, 2, (k, p), generator=generator, dtype=torch.int8)
    return (2 * bits - 1).mT.to(op.device, op.dtype).contiguous()
