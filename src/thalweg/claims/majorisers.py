"""Bounds that touch the objective are minimised in its place."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.claims.curves import curve
from thalweg.records_claims import Chart
from thalweg.strategies.bounds import mm


@claim(
    name="majorise-minimise",
    title="Minimise a bound, and the objective never rises",
    decks=("D4",),
    section="curriculum#p6",
    says=(
        "Descent at 1/L, ISTA and reweighted least squares each minimise an upper bound that "
        "touches the objective."
    ),
    targets=(
        Target("descent at 1/L less minimised bounds, largest", 0.0, 1e-12, source="[C]"),
        Target("ISTA less minimised bounds, largest", 0.0, 1e-12, source="[C]"),
        Target("reweighted squares less linear programming", 0.0, 1e-4, source="[C]"),
        Target("steps at which an objective rose", 0.0, 0.0, source="[D]"),
    ),
    seconds=2,
)
def majorise_minimise(setting: Setting) -> Outcome:
    """Least squares of 40 by 6, its lasso, and its least absolute deviations, float64."""
    g = torch.Generator().manual_seed(setting.seed)
    x = torch.randn(40, 6, generator=g, dtype=torch.float64)
    y = x @ torch.randn(6, generator=g, dtype=torch.float64)
    y = y + torch.randn(40, generator=g, dtype=torch.float64) ** 3
    start = torch.zeros(6, dtype=torch.float64)
    largest = float(torch.linalg.eigvalsh(x.mT @ x / 40)[-1])
    descent, smooth = _by_bounds(x, y, start, largest, 0.0)
    ista, lasso = _by_bounds(x, y, start, largest, 0.2)
    least = mm(
        lambda w: (y - x @ w).abs().sum(),
        lambda w, at: _above(y - x @ w, y - x @ at),
        lambda at: _weighted(x, y, (y - x @ at).abs().clamp(min=1e-9)),
        start,
        400,
        tolerance=1e-6,
    )
    rose = sum(
        b > a + 1e-9 * (1 + abs(a))
        for values in (smooth, lasso, least.values)
        for a, b in itertools.pairwise(values)
    )
    steps = range(60)
    return Outcome(
        {
            "descent at 1/L less minimised bounds, largest": descent,
            "ISTA less minimised bounds, largest": ista,
            "reweighted squares less linear programming": least.values[-1] - _programmed(x, y),
            "steps at which an objective rose": rose,
        },
        (
            Chart(
                "Objectives of three methods",
                "step",
                "above the end",
                tuple(
                    curve(name, steps, [v[i] - v[-1] + 1e-12 for i in steps])
                    for name, v in (
                        ("descent", smooth),
                        ("ISTA", lasso),
                        ("reweighted squares", least.values),
                    )
                ),
                y_log=True,
            ),
        ),
    )


def _by_bounds(
    x: Tensor, y: Tensor, w: Tensor, largest: float, l1: float
) -> tuple[float, tuple[float, ...]]:
    """The quadratic bound, minimised by coordinates; how far the known iteration is from it."""

    def loss(w: Tensor) -> Tensor:
        return (y - x @ w).square().mean() / 2

    def bound(w: Tensor, at: Tensor) -> Tensor:
        d = w - at
        quadratic = loss(at) + torch.func.grad(loss)(at) @ d + largest / 2 * d.square().sum()
        return quadratic + l1 * w.abs().sum()

    def lowest(at: Tensor) -> Tensor:
        """Each coordinate's candidates: the two stationary points of its sides, and zero."""
        slope = torch.func.grad(loss)(at)
        right, left = at - (slope + l1) / largest, at - (slope - l1) / largest
        zero = torch.zeros_like(at)
        return torch.where(right > 0, right, torch.where(left < 0, left, zero))

    ours = mm(lambda w: loss(w) + l1 * w.abs().sum(), bound, lowest, w, 100)
    known = w
    for _ in range(100):
        moved = known + x.mT @ (y - x @ known) / len(y) / largest
        known = moved.sign() * (moved.abs() - l1 / largest).clamp(min=0)
    return float((known - ours.w).abs().max()), ours.values


def _above(residual: Tensor, at: Tensor) -> Tensor:
    """Σ r²/(2|r_k|) + |r_k|/2, above Σ |r|."""
    size = at.abs().clamp(min=1e-9)
    return (residual.square() / (2 * size) + size / 2).sum()


def _weighted(x: Tensor, y: Tensor, sizes: Tensor) -> Tensor:
    root = sizes.rsqrt()
    return torch.linalg.lstsq(x * root[:, None], (y * root)[:, None]).solution[:, 0]


def _programmed(x: Tensor, y: Tensor) -> float:
    """Least absolute deviations by linear programming."""
    import numpy as np
    from scipy.optimize import linprog

    n, d = x.shape
    cost = np.concatenate([np.zeros(d), np.ones(2 * n)])
    equal = np.hstack([x.numpy(), np.eye(n), -np.eye(n)])
    bounds = [(None, None)] * d + [(0, None)] * (2 * n)
    return float(linprog(cost, A_eq=equal, b_eq=y.numpy(), bounds=bounds).fun)
