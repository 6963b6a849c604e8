"""How badly conditioned is it? Largest to smallest non-zero eigenvalue, or an explicit bound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thalweg.linalg.density import Density
from thalweg.linalg.lanczos import Eigenpairs


class Condition(NamedTuple):
    """The ratio (None: not even a bound), whether it is exact, and why it is what it is."""

    value: float | None
    exact: bool
    reason: str


def exact_condition(values: Tensor, dtype: torch.dtype) -> Condition:
    """From all eigenvalues ``(p,)`` of a matrix made of products in ``dtype``."""
    size = values.abs()
    top = float(size.max())
    floor = top * len(values) * torch.finfo(dtype).eps
    left = size[size > floor]
    if not len(left):
        return Condition(None, False, "every eigenvalue is zero to rounding.")
    zero = len(values) - len(left)
    negative = int((values < -floor).sum())
    parts = [f"{zero} of {len(values)} eigenvalues are zero to rounding (below {floor:.2g})"]
    if negative:
        parts.append(f"{negative} are negative, so this is a ratio of absolute values")
    return Condition(top / float(left.min()), True, "; ".join(parts) + ".")


def bounded_condition(ends: Eigenpairs, density: Density) -> Condition:
    """From what Lanczos found: an eigenvalue lies within the residual of every Ritz value.

    The smallest Ritz value whose interval does not hold zero bounds the smallest non-zero
    eigenvalue from above, so the ratio from below.
    """
    top = float((ends.values.abs() - ends.residuals).max())
    best = float("inf")
    for probe in density.jacobi:
        matrix = np.diag(probe.alpha) + np.diag(probe.beta, 1) + np.diag(probe.beta, -1)
        nodes, vectors = np.linalg.eigh(matrix)
        radius = probe.last * np.abs(vectors[-1]) + density.resolution
        sure = np.abs(nodes) > radius
        if sure.any():
            best = min(best, float((np.abs(nodes) + radius)[sure].min()))
    for value, radius in zip(ends.values.tolist(), ends.residuals.tolist(), strict=True):
        if abs(value) > radius:
            best = min(best, abs(value) + radius)
    if not np.isfinite(best) or top <= 0:
        return Condition(None, False, "no eigenvalue was told apart from zero.")
    return Condition(
        max(1.0, top / best),
        False,
        f"an eigenvalue other than zero with |λ| <= {best:.3g} exists for certain; smaller ones "
        "may, so this is a lower bound.",
    )
