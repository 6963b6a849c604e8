"""How fast does descent converge on a quadratic? Closed forms in its curvatures μ … L."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Rate(NamedTuple):
    """A learning rate, the momentum that goes with it, and the factor per step on the error."""

    lr: float
    momentum: float
    contraction: float


def safe_rate(mu: float, largest: float) -> Rate:
    r"""``1/L``: every coordinate shrinks without oscillation, the flattest by :math:`1 - \mu/L`.

    >>> safe_rate(0.25, 1.0)
    Rate(lr=1.0, momentum=0.0, contraction=0.75)
    """
    _check(mu, largest)
    return Rate(1 / largest, 0.0, 1 - mu / largest)


def best_rate(mu: float, largest: float) -> Rate:
    r"""The best fixed rate of plain descent: :math:`2/(\mu + L)`, factor :math:`(κ-1)/(κ+1)`.

    >>> best_rate(1.0, 3.0)
    Rate(lr=0.5, momentum=0.0, contraction=0.5)

    References:
        Nesterov, "Introductory lectures on convex optimization", 2004, theorem 2.1.15.
    """
    _check(mu, largest)
    return Rate(2 / (mu + largest), 0.0, (largest - mu) / (largest + mu))


def best_heavy_ball(mu: float, largest: float) -> Rate:
    r"""The best pair for momentum: :math:`4/(\sqrt L+\sqrt\mu)^2`, :math:`β = ρ^2`.

    Its factor :math:`ρ = (\sqrt κ-1)/(\sqrt κ+1)` is the same along every eigenvector.

    >>> best_heavy_ball(1.0, 9.0)
    Rate(lr=0.25, momentum=0.25, contraction=0.5)

    References:
        Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """
    _check(mu, largest)
    low, high = math.sqrt(mu), math.sqrt(largest)
    factor = (high - low) / (high + low)
    return Rate(4 / (low + high) ** 2, factor**2, factor)


def contraction(lr: float, mu: float, largest: float, momentum: float = 0.0) -> float:
    r"""The factor per step by which the error shrinks (or grows) in the end, for any rate.

    The spectral radius of :math:`[[1+β-η λ, -β], [1, 0]]` is largest at one end of [μ, L].

    >>> round(contraction(1.5, 0.036, 0.84), 3), round(contraction(2.5, 0.036, 0.84), 3)
    (0.946, 1.1)
    """
    _check(mu, largest)
    return max(_radius(lr * value, momentum) for value in (mu, largest))


def steps_per_digit(rate: float, factor: float = 1e-3) -> float:
    """How many steps shrink the error by ``factor``; infinite where it does not shrink.

    >>> round(steps_per_digit(0.946))
    124
    """
    return math.log(factor) / math.log(rate) if 0 < rate < 1 else (0.0 if rate <= 0 else math.inf)


def descend(
    matrix: np.ndarray,
    b: np.ndarray,
    start: np.ndarray,
    lr: float,
    steps: int,
    momentum: float = 0.0,
) -> np.ndarray:
    r"""Gradient descent on :math:`\tfrac12 w^\top A w - b^\top w`, torch's form of momentum.

    Args:
        matrix: A ``(n, n)``, symmetric.
        b: ``(n,)``.
        start: ``(n,)``.
        lr: Learning rate.
        steps: How many.
        momentum: β in ``p ← β p + g``, ``w ← w - lr p``.

    Returns:
        All iterates ``(steps + 1, n)``, float64.
    """
    w = np.array(start, dtype=np.float64)
    path, p = [w.copy()], np.zeros_like(w)
    for _ in range(steps):
        p = momentum * p + (matrix @ w - b)
        w = w - lr * p
        path.append(w.copy())
    return np.stack(path)


def _radius(x: float, beta: float) -> float:
    """Spectral radius of the companion matrix at lr λ = x: roots of z² - (1 + β - x) z + β."""
    half = (1 + beta - x) / 2
    square = half * half - beta
    return math.sqrt(beta) if square < 0 else abs(half) + math.sqrt(square)


def _check(mu: float, largest: float) -> None:
    if not (math.isfinite(mu) and math.isfinite(largest) and 0 < mu <= largest):
        raise ValueError(
            f"wanted finite curvatures 0 < mu <= L, got mu = {mu!r} and L = {largest!r}; mu is the "
            "smallest non-zero one"
        )
