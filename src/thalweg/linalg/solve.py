"""How is ``A x = b`` solved with products alone? Conjugate gradients and MINRES."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.linalg.checks import multiply, square
from thalweg.linalg.operator import LinearOperator

REFRESH = 50  # steps after which the residual is computed anew: the recurrence drifts


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What a solver found, and how good it is.

    Attributes:
        x: ``(p,)``.
        residual: ``‖b − A x‖ / ‖b‖``, measured by a product at the end, not by the recurrence.
        products: With single vectors, that one included.
        status: ``"converged"``, ``"limit"`` (products ran out), ``"stalled"`` (rounding: no
            progress), ``"negative curvature"`` (CG: ``direction`` shows A is not positive definite)
            or ``"singular"`` (b is not in the range: a least-squares solution).
        direction: ``(p,)`` with ``dᵀ A d ≤ 0``, where one was met.
    """

    x: Tensor
    residual: float
    products: int
    status: str
    direction: Tensor | None = None

    @property
    def converged(self) -> bool:
        """Whether the tolerance was met."""
        return self.status == "converged"


def conjugate_gradients(
    op: LinearOperator,
    b: Tensor,
    *,
    start: Tensor | None = None,
    tol: float = 1e-6,
    max_products: int | None = None,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    """Solve ``A x = b`` for a positive definite A: at most p steps in exact arithmetic.

    Stops at ``‖b − A x‖ ≤ tol ‖b‖``. On meeting a direction of no positive curvature it stops and
    hands back the best x so far with that direction: for Newton's method that is a way down.

    >>> from thalweg.linalg import DenseOperator
    >>> A = DenseOperator(torch.tensor([[4.0, 1.0], [1.0, 3.0]]))
    >>> conjugate_gradients(A, torch.tensor([1.0, 2.0])).x
    tensor([0.0909, 0.6364])

    Args:
        op: Symmetric operator ``(p, p)``.
        b: Right-hand side ``(p,)``.
        start: First guess ``(p,)``; zero otherwise.
        tol: Relative residual wanted.
        max_products: Default: the larger of 1000 and 2 p, at most 10,000.
        precondition: ``r -> M⁻¹ r`` with M symmetric positive definite.

    Raises:
        ValueError: Shapes that do not fit, numbers that are not finite.

    References:
        Hestenes and Stiefel 1952; Shewchuk 1994; Steihaug 1983 for the negative curvature.
    """
    p, most = _checked(op, b, start, tol, max_products)
    solve = (lambda r: r) if precondition is None else precondition
    x = torch.zeros_like(b) if start is None else start.clone()
    norm, used = float(b.norm()), 0
    r = b.clone()
    if start is not None:
        r, used = b - multiply(op, x), 1
    if norm == 0:
        return Solution(torch.zeros_like(b), 0.0, used, "converged")
    z = solve(r)
    d, rho = z.clone(), float(r @ z)
    best, best_x, since, steps = float(r.norm()), x, 0, 0
    status, direction = "limit", None
    while used < most - 1:
        if float(r.norm()) <= tol * norm:
            r, used = b - multiply(op, x, used), used + 1
            if float(r.norm()) <= tol * norm:
                return Solution(x, float(r.norm()) / norm, used, "converged")
            z = solve(r)  # the recurrence drifted: start again from the true residual
            d, rho = z.clone(), float(r @ z)
        if rho <= 0:
            raise ValueError(
                f"the preconditioner is not positive definite: rᵀM⁻¹r = {rho:g} for a residual r"
            )
        image, used = multiply(op, d, used), used + 1
        bend = float(d @ image)
        if bend <= torch.finfo(b.dtype).eps * float(d.norm()) * float(image.norm()):
            status, direction = "negative curvature", d / d.norm()
            break
        step = rho / bend
        x = x + step * d
        steps += 1
        r = r - step * image
        if steps % REFRESH == 0:
            r, used = b - multiply(op, x, used), used + 1
        size = float(r.norm())
        if size < 0.999 * best:
            best, best_x, since = size, x, 0
        elif (since := since + 1) > max(p, 2 * REFRESH):
            status = "stalled"
            break
        z = solve(r)
        last, rho = rho, float(r @ z)
        d = z + (rho / last) * d
    x = best_x if status == "stalled" else x
    residual = float((b - multiply(op, x, used)).norm()) / norm
    if residual <= tol and status != "negative curvature":
        status = "converged"
    return Solution(x, residual, used + 1, status, direction)


def minres(
    op: LinearOperator,
    b: Tensor,
    *,
    shift: float = 0.0,
    tol: float = 1e-6,
    max_products: int | None = None,
) -> Solution:
    """Minimise ``‖b − (A + shift I) x‖`` for a symmetric A that may be indefinite or singular.

    The residual never grows. For a singular A whose range misses b it ends at a least-squares
    solution (status ``"singular"``), where ``‖A r‖`` has fallen to the level
    of rounding and ``‖r‖`` has not.

    Args:
        op: Symmetric operator ``(p, p)``.
        b: Right-hand side ``(p,)``.
        shift: Added to the diagonal.
        tol: Relative residual wanted.
        max_products: Default: the larger of 1000 and 4 p, at most 10,000.

    Raises:
        ValueError: Shapes that do not fit, numbers that are not finite.

    References:
        Paige and Saunders, "Solution of sparse indefinite systems of linear equations", 1975.
    """
    _, most = _checked(op, b, None, tol, max_products, 4)
    beta = norm = float(b.norm())
    x = torch.zeros_like(b)
    if norm == 0:
        return Solution(x, 0.0, 0, "converged")
    v, v_old = b / beta, torch.zeros_like(b)
    w, w_old = torch.zeros_like(b), torch.zeros_like(b)
    c, s, c_old, s_old = 1.0, 0.0, 1.0, 0.0  # the last two rotations
    left, used, status, size = norm, 0, "limit", 0.0
    bottom = (math.inf, norm, x)
    while used < most - 2:
        image, used = multiply(op, v, used) + shift * v, used + 1
        alpha = float(v @ image)
        image = image - alpha * v - (beta * v_old if used > 1 else 0.0)
        image = image - (v @ image) * v  # rounding
        beta_new = float(image.norm())
        size = max(size, math.sqrt(alpha**2 + beta_new**2 + (beta**2 if used > 1 else 0.0)))
        coupling = beta if used > 1 else 0.0
        # the new column of T, turned by the last two rotations: R has three diagonals
        top = s_old * coupling
        middle = c * c_old * coupling + s * alpha
        low = -s * c_old * coupling + c * alpha
        slope = math.hypot(low, c * beta_new)  # ‖A r‖ ÷ ‖r‖ before this step
        if slope < bottom[0]:
            bottom = (slope, abs(left), x)
        elif slope > 100 * bottom[0] and abs(left) > 0.99 * bottom[1] and bottom[0] < 0.01 * size:
            # r lies in the null space up to rounding: from here on x would only grow
            status, x = "singular", bottom[2]
            break
        length = math.hypot(low, beta_new)
        c_old, s_old = c, s
        c, s = low / length, beta_new / length
        w_new = (v - middle * w - top * w_old) / length
        x = x + (left * c) * w_new
        w, w_old = w_new, w
        left = -s * left
        if abs(left) <= 0.9 * tol * norm:
            residual = float((b - multiply(op, x, used) - shift * x).norm()) / norm
            used += 1
            if residual <= tol:
                return Solution(x, residual, used, "converged")
            if abs(left) <= 0.01 * tol * norm:
                status = "stalled"  # the recurrence no longer tells the truth
                break
        if beta_new <= torch.finfo(b.dtype).eps * size:
            status = "singular"
            break
        v_old, v = v, image / beta_new
        beta = beta_new
    r = b - multiply(op, x, used) - shift * x
    residual = float(r.norm()) / norm
    if residual <= tol:
        status = "converged"
    return Solution(x, residual, used + 1, status)


def _checked(
    op: LinearOperator,
    b: Tensor,
    start: Tensor | None,
    tol: float,
    most: int | None,
    factor: int = 2,
) -> tuple[int, int]:
    p = square(op)
    for name, v in (("b", b), ("start", start)):
        if v is None:
            continue
        if v.shape != (p,):
            raise ValueError(f"{name} has shape {tuple(v.shape)}; wanted ({p},) for this operator")
        if v.dtype != op.dtype:
            raise TypeError(f"{name} is {v.dtype}, the operator {op.dtype}; make them agree")
        if not bool(torch.isfinite(v).all()):
            raise ValueError(f"{name} holds numbers that are not finite")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be between 0 and 1, got {tol!r}")
    if most is not None and most < 3:
        raise ValueError(f"max_products must be at least 3, got {most!r}")
    return p, most if most is not None else min(10_000, max(1000, factor * p))
