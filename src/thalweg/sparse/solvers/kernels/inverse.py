"""The inverse of a Gram matrix under arrival and departure of single atoms, O(k²) each."""

from __future__ import annotations

import numpy as np

from thalweg.sparse.solvers.kernels import compiled, inlined

# Rows are padded with zeros to a multiple of 16, so that loops run in whole vector registers.


@inlined
def padded(k: int) -> int:
    """``k`` rounded up to a multiple of 16."""
    return (k + 15) // 16 * 16


@inlined
def multiply(inverse: np.ndarray, v: np.ndarray, k: int, out: np.ndarray) -> None:
    """``out = inverse v`` for the leading ``k`` entries; symmetric, so rows serve as columns."""
    width = padded(k)
    for t in range(width):
        out[t] = 0.0
    i = 0
    while i + 4 <= k:  # four rows at once: out is read and written a quarter as often
        r0, r1, r2, r3 = inverse[i], inverse[i + 1], inverse[i + 2], inverse[i + 3]
        v0, v1, v2, v3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        for t in range(width):
            out[t] += v0 * r0[t] + v1 * r1[t] + v2 * r2[t] + v3 * r3[t]
        i += 4
    while i < k:
        r0, v0 = inverse[i], v[i]
        for t in range(width):
            out[t] += v0 * r0[t]
        i += 1


@inlined
def border(inverse: np.ndarray, k: int, column: np.ndarray, complement: float) -> None:
    """Add atom ``k``: ``column = inverse a`` and the Schur complement ``g - aᵀ inverse a``."""
    width, scale = padded(k + 1), 1.0 / complement
    last = inverse[k]
    for t in range(width):
        last[t] = 0.0
    for t in range(k, width):
        column[t] = 0.0
    column[k] = -1.0  # so that entry k of each row, zero until now, becomes -scale · column
    for i in range(k + 1):
        f, row = column[i] * scale, inverse[i]
        for t in range(width):
            row[t] += f * column[t]


@compiled
def drop(inverse: np.ndarray, k: int, r: int) -> None:
    """Remove atom ``r`` of ``k``; the last atom takes its place."""
    width, gone = padded(k), inverse[r]
    scale = 1.0 / gone[r]
    for i in range(k):
        if i != r:
            f, row = gone[i] * scale, inverse[i]
            for t in range(width):
                row[t] -= f * gone[t]
    last = k - 1
    if r != last:
        moved = inverse[last]
        for t in range(k):
            gone[t] = moved[t]
        gone[r] = moved[last]
        for i in range(last):
            inverse[i, r] = gone[i]
    for i in range(last):
        inverse[i, last] = 0.0
