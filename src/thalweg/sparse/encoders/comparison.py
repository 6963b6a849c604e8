"""How many iterations of a plain solver is an encoder worth?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.linalg.power import gram_bound
from thalweg.sparse.penalties.base import soft_threshold


def code_error(z: Tensor, exact: Tensor) -> float:
    """Mean squared error to exact codes over their mean square: ``Σ‖z − z*‖² / Σ‖z*‖²``."""
    return float((z - exact).double().square().sum() / exact.double().square().sum())


def fista_errors(
    X: Tensor, D: Tensor, l1: float, exact: Tensor, iterations: int, accelerate: bool = True
) -> list[float]:
    r"""`code_error` of plain FISTA from zero after 1, 2, …, ``iterations`` steps.

    .. math:: z_{k+1} = h_{\alpha/L}\bigl(y - D^\top(Dy - x)/L\bigr), \quad
              t^+ = \tfrac12\bigl(1 + \sqrt{1 + 4t^2}\bigr), \quad
              y = z_{k+1} + \tfrac{t-1}{t^+}(z_{k+1} - z_k)

    Args:
        X: Signals ``(b, n)``.
        D: Dictionary ``(n, m)``.
        l1: Weight α of the L1 term.
        exact: Exact codes ``(b, m)``.
        iterations: Steps to take.
        accelerate: False gives ISTA, ``y = z``.

    References:
        Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009.
    """
    L = gram_bound(D)
    step = D.T @ D / L
    b, theta = X @ D / L, l1 / L
    z = y = torch.zeros_like(exact)
    t, errors = 1.0, []
    for _ in range(iterations):
        new = soft_threshold(y - y @ step + b, theta)
        t_new = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
        y = new + ((t - 1) / t_new) * (new - z) if accelerate else new
        z, t = new, t_new
        errors.append(code_error(z, exact))
    return errors


def crossover(errors: Sequence[float], error: float) -> int | None:
    """Iterations after which a solver's error is at most ``error``; None if it never is.

    >>> crossover([0.5, 0.2, 0.1], 0.15)
    3
    """
    return next((k for k, e in enumerate(errors, 1) if e <= error), None)
