r"""Does a rugged function look better from afar? Gaussian smoothing, and descent as it fades."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
Solver = Callable[[Function, Tensor], Tensor]


def gaussian_smooth(
    f: Function,
    sigma: float,
    n: int = 64,
    antithetic: bool = True,
    generator: torch.Generator | None = None,
    dimension: int = 1,
    rule: str = "samples",
) -> Function:
    r""":math:`J_\sigma(w) = E_u\,f(w + \sigma u)`, u standard normal.

    The draws are made once, so that the smoothed function is one function: line searches work.

    Args:
        f: Takes ``(…, d)`` and gives ``(…,)``.
        sigma: Width >= 0; at 0 it is f itself.
        n: Draws, or nodes an axis for ``quadrature``.
        antithetic: Use every draw with both signs.
        generator: Of the draws.
        dimension: d.
        rule: ``samples`` or ``quadrature`` (Gauss-Hermite on a grid: exact for polynomials of
            degree < 2n; d up to 3).

    Raises:
        ValueError: A negative width, no draws, an unknown rule, or a grid of too many axes.

    Example:
        >>> bowl = gaussian_smooth(lambda w: w[..., 0] ** 2, 2.0, 5, rule="quadrature")
        >>> round(bowl(torch.tensor([1.0], dtype=torch.float64)).item(), 6)
        5.0
    """
    if sigma < 0 or n < 1 or rule not in ("samples", "quadrature"):
        raise ValueError(f"sigma {sigma}, n {n}, rule {rule!r}; wanted >= 0, >= 1, a known rule.")
    if sigma == 0:
        return f
    if rule == "quadrature":
        if dimension > 3:
            raise ValueError(f"a grid of {dimension} axes is too large; take rule='samples'.")
        draws, weights = _grid(n, dimension)
    else:
        draws = torch.randn(n, dimension, generator=generator, dtype=torch.float64)
        if antithetic:
            draws = torch.cat([draws, -draws])
        weights = torch.full((len(draws),), 1 / len(draws), dtype=torch.float64)

    def smoothed(w: Tensor) -> Tensor:
        u, share = draws.to(w), weights.to(w)
        return (f(w[..., None, :] + sigma * u) * share).sum(-1)

    return smoothed


def _grid(n: int, dimension: int) -> tuple[Tensor, Tensor]:
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(n))
    weights = weights / weights.sum()
    draws = torch.cartesian_prod(*[nodes] * dimension).reshape(-1, dimension)
    products = torch.cartesian_prod(*[weights] * dimension).reshape(-1, dimension).prod(1)
    return draws, products


def geometric(first: float, last: float, stages: int) -> tuple[float, ...]:
    """Widths falling by one factor from ``first`` to ``last``, and then 0: the function itself.

    >>> geometric(2.0, 0.5, 3)
    (2.0, 1.0, 0.5, 0.0)

    Raises:
        ValueError: Not falling, or fewer than one stage.
    """
    if not first >= last > 0 or stages < 1:
        raise ValueError(f"from {first} to {last} in {stages} stages; wanted falling widths > 0.")
    if stages == 1:
        return (first, 0.0)
    ratio = (last / first) ** (1 / (stages - 1))
    return (*(first * ratio**k for k in range(stages)), 0.0)


def continuation(
    f: Function,
    w: Tensor,
    sigmas: Sequence[float],
    solver: Solver,
    n: int = 64,
    seed: int = 0,
    rule: str = "samples",
) -> list[Tensor]:
    """Minimise smoothed forms of f one after another, each from where the last ended.

    A heuristic: the minimum of a smoothed function may lie above a worse valley.

    Args:
        f: As :func:`gaussian_smooth` takes it.
        w: Start ``(d,)``.
        sigmas: Widths in order, such as :func:`geometric` gives; the last one is 0 where the
            function itself is to be minimised.
        solver: ``(function, start) -> minimiser``.
        n: Draws of each stage (one set a stage).
        seed: Of the draws.
        rule: As :func:`gaussian_smooth`.

    Returns:
        The point after each stage.
    """
    path = []
    for stage, sigma in enumerate(sigmas):
        g = torch.Generator().manual_seed(seed * 1000 + stage)
        smoothed = gaussian_smooth(f, sigma, n, True, g, w.shape[-1], rule)
        w = solver(smoothed, w)
        path.append(w)
    return path


def descend(lr: float, steps: int) -> Solver:
    """Plain gradient descent as a solver."""

    def solve(f: Function, w: Tensor) -> Tensor:
        slope = torch.func.grad(f)
        for _ in range(steps):
            w = w - lr * slope(w)
        return w

    return solve
