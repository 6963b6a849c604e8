"""Minimise over one block of unknowns while the others stand still, in turns.

For problems that are hard together and easy apart: a dictionary and its codes, factors of a matrix,
the two halves of a model with a closed form each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

Block = TypeVar("Block")
RISE = 1e-9  # relative; rounding may lift an objective by so much and no more


@dataclass(frozen=True, slots=True)
class Alternation(Generic[Block]):
    """How it ended."""

    blocks: dict[str, Block]
    objective: tuple[float, ...]  # at the start, then after every single block
    sweeps: int
    converged: bool  # the last sweep gained less than the tolerance


def block_coordinate_descent(
    blocks: Mapping[str, Block],
    solvers: Mapping[str, Callable[[dict[str, Block]], Block]],
    objective: Callable[[dict[str, Block]], float],
    sweeps: int = 100,
    tolerance: float = 1e-10,
) -> Alternation[Block]:
    r"""Solve for each block in turn, ``sweeps`` times or until a sweep gains nothing.

    Where every solver finds the minimum of its block, the objective never rises, and a point at
    which no block can improve is stationary if the objective is smooth or its kinks are separable
    over blocks. A solver that makes the objective rise is reported, not followed.

    Args:
        blocks: Where to begin, by name.
        solvers: For each block in the order of the sweep, the best value of it given the others.
        objective: Of all blocks.
        sweeps: At most.
        tolerance: Stop after a sweep whose gain is below this share of the objective.

    Raises:
        ValueError: Solvers of other names than the blocks, an objective that is not a finite
            number, or a solver after which the objective is larger than before.

    References:
        Tseng, "Convergence of a block coordinate descent method for nondifferentiable
        minimization", 2001.

    >>> found = block_coordinate_descent(
    ...     {"x": 0.0, "y": 3.0},
    ...     {"x": lambda b: b["y"] / 2, "y": lambda b: b["x"] / 2},  # of x^2 + y^2 - x y
    ...     lambda b: b["x"] ** 2 + b["y"] ** 2 - b["x"] * b["y"],
    ... )
    >>> round(found.blocks["x"], 4), found.converged
    (0.0, True)
    """
    if set(blocks) != set(solvers):
        raise ValueError(f"blocks {sorted(blocks)} and solvers {sorted(solvers)}: one of each name")
    if sweeps < 1 or not tolerance >= 0:
        raise ValueError(f"wanted sweeps >= 1 and tolerance >= 0, got {sweeps!r}, {tolerance!r}")
    now = dict(blocks)
    path = [_value(objective, now, "at the start")]
    for sweep in range(1, sweeps + 1):
        before = path[-1]
        for name, solve in solvers.items():
            tried = {**now, name: solve(now)}
            value = _value(objective, tried, f"after '{name}' in sweep {sweep}")
            if value > path[-1] + RISE * max(1.0, abs(path[-1])):
                raise ValueError(
                    f"the objective rose from {path[-1]:.10g} to {value:.10g} when '{name}' was "
                    f"solved for in sweep {sweep}: that solver does not minimise over its block"
                )
            now = tried
            path.append(value)
        if before - path[-1] <= tolerance * max(1.0, abs(before)):
            return Alternation(now, tuple(path), sweep, True)
    return Alternation(now, tuple(path), sweeps, False)


def coordinate_descent_quadratic(
    a: Tensor, b: Tensor, x: Tensor | None = None, sweeps: int = 1
) -> Tensor:
    r"""Exact minimisation of :math:`\tfrac12 x^\top A x - b^\top x` over one coordinate at a time.

    This is Gauss-Seidel: with :math:`A = L + U`, L lower triangular, a sweep solves
    :math:`L x' = b - U x`, which is done at once rather than coordinate by coordinate.

    Args:
        a: ``(n, n)``, symmetric with a positive diagonal; sweeps converge if it is positive
            definite.
        b: ``(n,)`` or ``(n, k)``.
        x: Where to begin, as ``b``; None for zero.
        sweeps: Over all coordinates, in order.

    Returns:
        x after the last sweep.

    Raises:
        ValueError: Shapes that do not fit, or a coordinate without positive curvature.
    """
    if a.ndim != 2 or a.shape[0] != a.shape[1] or b.shape[0] != a.shape[0] or b.ndim > 2:
        raise ValueError(f"wanted a (n, n) and b (n,) or (n, k), got {a.shape} and {b.shape}")
    if not bool((a.diagonal() > 0).all()):
        worst = int(a.diagonal().argmin())
        raise ValueError(f"coordinate {worst} has curvature {float(a[worst, worst]):g}: not > 0")
    x = torch.zeros_like(b) if x is None else x.clone()
    lower, upper = a.tril(), a.triu(1)
    for _ in range(sweeps):
        right = b - upper @ x
        x = torch.linalg.solve_triangular(lower, right.reshape(len(b), -1), upper=False)
        x = x.reshape(b.shape)
    return x


def _value(
    objective: Callable[[dict[str, Block]], float], at: dict[str, Block], where: str
) -> float:
    value = float(objective(at))
    if not math.isfinite(value):
        raise ValueError(f"the objective is {value} {where}")
    return value
