r"""How does curvature leave a saddle? Damped and saddle-free Newton steps for small models.

Newton's step :math:`-H^{-1}g` is drawn to any critical point, saddles among them. Two cures:
shift the spectrum until it is positive (damped), or take absolute values (saddle-free):

.. math:: -\,(H + \mu I)^{-1} g, \quad \mu > -\lambda_{\min} \qquad\qquad -\,(|H| + \mu I)^{-1} g

References:
    Dauphin et al., "Identifying and attacking the saddle point problem in high-dimensional
    non-convex optimization", 2014.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.curvature.surface import Surface
from thalweg.linalg.operator import LinearOperator

DENSE = 2000  # parameters up to which the full Hessian is formed
METHODS = ("newton", "damped", "saddle-free")


class SurfaceHessian(LinearOperator):
    """The Hessian of a surface at ``w`` through products with vectors."""

    def __init__(self, at: Surface, w: Tensor | None = None) -> None:
        self._at, self._w = at, at.w if w is None else w

    @property
    def shape(self) -> tuple[int, int]:
        """``(p, p)``."""
        return self._at.p, self._at.p

    @property
    def dtype(self) -> torch.dtype:
        """The weights'."""
        return self._at.w.dtype

    @property
    def device(self) -> torch.device:
        """The weights'."""
        return self._at.w.device

    def apply(self, v: Tensor) -> Tensor:
        """``H v`` for ``(p,)`` or a block ``(p, k)``."""
        return self._at.hvp(v, self._w)

    @property
    def adjoint(self) -> LinearOperator:
        """Itself: a Hessian is symmetric."""
        return self


def newton_step(
    at: Surface,
    w: Tensor | None = None,
    *,
    method: str = "saddle-free",
    damping: float = 0.0,
    krylov: int | None = None,
    seed: int = 0,
) -> Tensor:
    r"""One step ``(p,)`` from the gradient and the Hessian.

    Directions of curvature 0 (to rounding) are left alone where nothing damps them.

    Args:
        at: The surface.
        w: Where, ``(p,)``; None: where the surface was built.
        method: ``"newton"``: :math:`-(H + \mu I)^{-1}g`, also towards saddles. ``"damped"``: the
            spectrum is first shifted by :math:`\max(0, -\lambda_{\min})`. ``"saddle-free"``:
            :math:`-(|H| + \mu I)^{-1}g`.
        damping: :math:`\mu \ge 0`, in units of curvature.
        krylov: Number of Lanczos vectors that H is restricted to, started from the gradient; None:
            all of H up to 2,000 weights, 50 vectors above.
        seed: For vectors that replace exhausted ones.

    Raises:
        ValueError: An unknown method, a negative damping, or numbers that are not finite.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; known: {', '.join(METHODS)}.")
    if not (damping >= 0 and math.isfinite(damping)):
        raise ValueError(f"damping must be a number >= 0, got {damping!r}.")
    w = at.w if w is None else w
    g = at.grad(w)
    if not bool(torch.isfinite(g).all()):
        raise ValueError("the gradient here is not finite: there is no Newton step.")
    if not bool(g.any()):
        return torch.zeros_like(g)
    if krylov is None and at.p <= DENSE:
        values, vectors = torch.linalg.eigh(at.dense_hessian(w).double())
        return _step(values, vectors, g.double(), method, damping).to(g.dtype)
    from thalweg.linalg.krylov import Krylov

    size = min(at.p, krylov or 50)
    space = Krylov(
        SurfaceHessian(at, w), (g / g.norm())[:, None], size, torch.Generator().manual_seed(seed)
    )
    for _ in range(size):
        space.grow()
        if space.exhausted:
            break
    found = space.ritz()
    vectors = space.vectors(found.coordinates).double()
    return _step(found.values.to(g.device), vectors, g.double(), method, damping).to(g.dtype)


def _step(values: Tensor, vectors: Tensor, g: Tensor, method: str, damping: float) -> Tensor:
    rounding = len(values) * torch.finfo(values.dtype).eps * float(values.abs().max())
    if method == "saddle-free":
        divisor = values.abs() + damping
    elif method == "damped":
        divisor = values - values.min().clamp(max=0) + damping
    else:
        divisor = values + damping
    flat = divisor.abs() <= rounding
    coefficients = torch.where(flat, 0.0, (vectors.mT @ g) / torch.where(flat, 1.0, divisor))
    return -(vectors @ coefficients)


class Trajectory(NamedTuple):
    """A descent: points ``(k + 1, p)``, losses and gradient norms at each, and whether it ended."""

    points: Tensor
    values: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    converged: bool  # gradient norm at most tol


def newton_descent(
    at: Surface,
    start: Tensor | None = None,
    *,
    method: str = "saddle-free",
    steps: int = 50,
    damping: float = 1e-3,
    tol: float = 1e-8,
    krylov: int | None = None,
) -> Trajectory:
    """Newton steps that may only lower the loss.

    Where a step would raise it, the damping is multiplied by four and the step taken again; after
    each success it is divided by three. ``method="newton"`` takes its steps unchecked.

    Args:
        at: The surface.
        start: First point ``(p,)``; None: where the surface was built.
        method: As :func:`newton_step`.
        steps: At most so many.
        damping: First damping.
        tol: Gradient norm at which to stop.
        krylov: As :func:`newton_step`.
    """
    w = (at.w if start is None else start).clone()
    value, g = at.value_and_grad(w)
    points, values, norms = [w], [value], [float(g.norm())]
    for _ in range(steps):
        if norms[-1] <= tol:
            break
        for _ in range(30):
            step = newton_step(at, w, method=method, damping=damping, krylov=krylov)
            there = at.value(w + step)
            if method == "newton" or there < values[-1]:
                damping /= 3
                break
            damping = max(4 * damping, 1e-12)
        else:  # no damping lowers the loss: rounding is all that is left
            break
        w = w + step
        value, g = at.value_and_grad(w)
        points.append(w)
        values.append(value)
        norms.append(float(g.norm()))
    return Trajectory(torch.stack(points), tuple(values), tuple(norms), norms[-1] <= tol)
